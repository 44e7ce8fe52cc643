"""The user-level stack before outsiders: packetdrill's public scripts, against it and against this machine's kernel.

packetdrill and its scripts are Google's, under the GPL, and come with neither this package nor Debian; where both are,
:func:`run` runs each script of the fixed list (``tests/conformance``) in a network namespace of its own, without root:
once against our stack, in virtual time, and against the kernel, which a busy machine delays, until two of three agree.
"""

from __future__ import annotations

import csv
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import servers
from retrospective import paths

LISTS = paths.ROOT / "tests" / "conformance"
RECORDED = paths.REFERENCE / "conformance.csv"
#: Share of the eligible scripts that ours must pass; nor may it pass fewer than the kernel.
BOUND = 0.9
STACKS = ("ours", "kernel")
#: So many of the kernel's runs must agree.
KERNEL_MAJORITY = 2
_PATIENCE_S = 90
#: What the scripts call, and how to get it.
_TOOLS = {
    "unshare": "util-linux",
    "ip": "iproute2",
    "tc": "iproute2",
    "sysctl": "procps",
    "ethtool": "ethtool",
}
_CLONE = "git clone https://github.com/google/packetdrill"


@dataclass(frozen=True)
class Script:
    """A script of packetdrill's repository, and whether it is for us."""

    path: str  # in that repository
    eligible: bool
    reason: str  # why not

    @property
    def name(self) -> str:
        """Its path without what all have in common."""
        return self.path.removeprefix("gtests/net/")


@dataclass
class Outcome:
    """How one script went, and why."""

    script: str
    passes: dict[str, bool] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)  # packetdrill's words about a failure
    explanation: dict[str, str] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """Flat, as it is recorded."""
        return {
            "script": self.script,
            **{stack: self.word(stack) for stack in STACKS},
            **{f"{stack}_explanation": self.explanation.get(stack, "") for stack in STACKS},
            **{f"{stack}_said": self.said.get(stack, "") for stack in STACKS},
        }

    def word(self, stack: str) -> str:
        """One word for a table."""
        return {True: "passes", False: "fails", None: "not run"}[self.passes.get(stack)]


def scripts() -> list[Script]:
    """Every script of the list, eligible or not."""
    with (LISTS / "packetdrill.csv").open(newline="") as file:
        return [Script(r["script"], r["eligible"] == "yes", r["reason"]) for r in csv.DictReader(file)]


def explanations() -> dict[tuple[str, str], str]:
    """Why a script fails, by its name and the stack."""
    with (LISTS / "explanations.csv").open(newline="") as file:
        return {(r["script"], r["stack"]): r["explanation"] for r in csv.DictReader(file)}


def recorded() -> list[dict[str, str]]:
    """The rows that were recorded on the reference machine."""
    with RECORDED.open(newline="") as file:
        return list(csv.DictReader(file))


def _environment() -> dict[str, str]:
    """Ours, with the folders in which Debian has ip and tc also for those whose PATH lacks them."""
    return os.environ | {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin", "LC_ALL": "C"}


def find(folder: str | None) -> tuple[Path, Path]:
    """Folder and program of packetdrill; ``ValueError`` says in one line what is missing."""
    if not folder:
        raise ValueError(
            f"where are packetdrill's scripts? {_CLONE}, then: make conformance SCRIPTS=packetdrill"
        )
    root = Path(folder).expanduser().absolute()
    missing = [s.path for s in scripts() if s.eligible and not (root / s.path).is_file()]
    if missing:
        raise ValueError(f"{root} has no {missing[0]}: SCRIPTS is to be the folder that `{_CLONE}` makes")
    beside = root / "gtests" / "net" / "packetdrill" / "packetdrill"
    program = shutil.which("packetdrill") or (str(beside) if os.access(beside, os.X_OK) else None)
    if program is None:
        raise ValueError(
            f"packetdrill is not on PATH, nor made: cd {beside.parent} && ./configure && make (it wants flex and bison)"
        )
    for tool, package in _TOOLS.items():
        if shutil.which(tool, path=_environment()["PATH"]) is None:
            raise ValueError(f"{tool} is missing, which the scripts call: apt-get install {package}")
    namespace = subprocess.run(_inside("true", "true"), env=_environment(), capture_output=True, text=True)
    if namespace.returncode:
        raise ValueError(
            f"no network namespace can be made ({namespace.stderr.strip() or 'unshare failed'}); "
            "as root: sysctl kernel.unprivileged_userns_clone=1, and allow it in the container"
        )
    return root, Path(program)


def kernel_missing() -> str | None:
    """Why no script can be run against this kernel, in one line, or ``None``: they go through a tun device."""
    tun = "/dev/net/tun"
    if os.access(tun, os.R_OK | os.W_OK):
        return None
    return f"the kernel's column is left out: {tun} cannot be opened; as root: chmod 666 {tun}, or run this as root"


def _inside(prepare: str, *command: str) -> list[str]:
    """In a namespace in which we are root and own the network: shell commands first, then the program."""
    return [
        *("unshare", "--map-root-user", "--net", "--", "sh", "-c"),
        f'ip link set lo up && {prepare} && exec "$@"',
        "sh",
        *command,
    ]


def command(stack: str, program: Path, module: Path, script: str) -> list[str]:
    """Words that run one script against a stack. The module is preloaded for what preload.c says."""
    words = [str(program), "--ip_version=ipv4"]
    if stack == "kernel":
        return _inside("true", "env", f"LD_PRELOAD={module}", "NAI_CONGESTION=cubic", *words, script)
    # Scripts put a queue at tun0, which packetdrill makes for the kernel only: one that nothing goes through.
    device = "ip link add tun0 type veth peer name tun1 && ip link set tun0 up"
    return _inside(device, "env", f"LD_PRELOAD={module}", *words, f"--so_filename={module}", script)


def _attempt(words: list[str], folder: Path) -> str | None:
    """Run one script; ``None`` if it passes, else the words that say why not."""
    process = subprocess.Popen(
        words,
        cwd=folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    try:
        output, _ = process.communicate(timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"has not ended after {_PATIENCE_S} s"
    finally:  # set_sysctls.py leaves it there, with packetdrill's pid, which is the one that we started
        Path(f"/tmp/sysctl_restore_{process.pid}.sh").unlink(missing_ok=True)
    return None if process.returncode == 0 else _reason(output, process.returncode)


def _reason(output: str, code: int) -> str:
    """The line in which packetdrill says what went wrong, without the place; of Python's, the last."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for line in lines:
        found = re.match(r"\S*\.pkt:(\d+): (?!warning)(.*)", line)
        if found and "error executing code" not in line and "error in Python" not in line:
            return f"line {found[1]}: {found[2].strip()}"
    errors = [line for line in lines if re.match(r"\w*(Error|Exception)\b", line)]
    return errors[-1] if errors else lines[-1] if lines else f"exit code {code}"


def run(
    folder: str | None, *, stacks: Iterable[str] = STACKS, step: Callable[[str], None] = lambda _: None
) -> list[Outcome]:
    """Run every eligible script; ``step`` is told each one's name when it begins."""
    root, program = find(folder)
    why = explanations()
    outcomes = []
    with tempfile.TemporaryDirectory() as place:  # LD_PRELOAD knows no way to write a space
        module = Path(shutil.copy(servers.binary("packetdrill-userstack"), place))
        for script in scripts():
            if not script.eligible:
                continue
            step(script.name)
            outcome = Outcome(script.name)
            path = root / script.path
            for stack in stacks:
                said = _outcome(command(stack, program, module, path.name), path.parent, stack)
                outcome.passes[stack] = said is None
                if said is not None:
                    outcome.said[stack] = said
                    outcome.explanation[stack] = why.get((script.name, stack)) or _otherwise(stack, said)
            outcomes.append(outcome)
    return outcomes


def _otherwise(stack: str, said: str) -> str:
    """Of the kernel what needs no entry in the list: its time is the machine's, of which others take some."""
    late = "a busy machine, or the kernel's tick, was late: milliseconds are all that a script allows"
    return late if stack == "kernel" and "timing error" in said else ""


def _outcome(words: list[str], folder: Path, stack: str) -> str | None:
    """What a run, of the kernel the majority of runs, has come to: ``None`` if it passes."""
    enough = KERNEL_MAJORITY if stack == "kernel" else 1
    tries: list[str | None] = []
    while max(tries.count(None), len(tries) - tries.count(None)) < enough:
        tries.append(_attempt(words, folder))
    return None if tries.count(None) == enough else next(said for said in tries if said is not None)


def summary(outcomes: list[Outcome]) -> dict[str, Any]:
    """Totals, and whether the bounds hold: the share, no fewer than the kernel, and each failure of ours explained."""
    passed = {s: sum(o.passes.get(s, False) for o in outcomes) for s in STACKS}
    ran = {s: sum(s in o.passes for o in outcomes) for s in STACKS}
    unexplained = [
        o.script for o in outcomes if o.passes.get("ours") is False and not o.explanation.get("ours")
    ]
    holds = (
        ran["ours"] > 0
        and passed["ours"] >= BOUND * ran["ours"]
        and passed["ours"] >= passed["kernel"]
        and not unexplained
    )
    return {
        "eligible": len(outcomes),
        "excluded": sum(not s.eligible for s in scripts()),
        "passed": passed,
        "run": ran,
        "bound": BOUND,
        "unexplained": unexplained,
        "kernel": platform.release(),
        "holds": holds,
    }


def sentence(of: dict[str, Any]) -> str:
    """The totals for people."""
    counts = ", ".join(
        f"{'ours' if s == 'ours' else 'Linux ' + of['kernel']}: {of['passed'][s]} of {of['run'][s]}"
        + (f" ({100 * of['passed'][s] / of['run'][s]:.0f} %)" if of["run"][s] else "")
        for s in STACKS
    )
    verdict = "holds" if of["holds"] else "DOES NOT HOLD"
    said = f"; unexplained: {', '.join(of['unexplained'])}" if of["unexplained"] else ""
    return (
        f"{of['eligible']} scripts ({of['excluded']} more are not for this stack). {counts}. "
        f"Bound: {100 * of['bound']:.0f} %, and no fewer than the kernel: {verdict}{said}"
    )


def record(outcomes: list[Outcome]) -> None:
    """Write data/reference/conformance.csv."""
    rows = [outcome.row() for outcome in outcomes]
    with RECORDED.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def as_json(outcomes: list[Outcome]) -> dict[str, Any]:
    """All of it."""
    return {**summary(outcomes), "scripts": [asdict(outcome) for outcome in outcomes]}
