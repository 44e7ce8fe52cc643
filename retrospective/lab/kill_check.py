"""A sweep killed at any moment must leave nothing behind and go on where it stopped: tried, not assumed.

The sweep is a real one in a process of its own (``python -m retrospective.lab.kill_check JOURNAL STARTED``):
servers, load and namespaces as in any other. Its processes are known by a mark in their environment, which
every child inherits; those of an inner pid namespace are visible from the outer one, pid_namespaces(7).
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import servers
from retrospective.lab.journal import Journal
from retrospective.lab.plan import Plan
from retrospective.lab.sweep import run_sweep
from retrospective.lab.trial import Trial, run_trial

MARK = "NAI_SWEEP_MARK"
#: How long the kernel and the holder may take to end what a killed sweep had started.
GRACE_S = 5.0


def short_plan() -> Plan:
    """Four trials of a few tenths of a second: select and epoll, two rounds."""
    load = {"mode": "closed", "clients": 4, "requests-per-connection": "inf"}
    trials = [
        Trial(
            chapter="lab",
            experiment="kill-check",
            kind="trial",
            profile="smoke",
            design=design,
            options={"backlog": 128},
            workload="one-packet",
            load=load | {"warmup-s": 0.05, "duration-s": 0.1},
            charge="receiver",
            x_ratio=None,
            label=design,
        )
        for design in ("select", "epoll")
    ]
    return Plan(trials, rounds=2, seed=2004)


def kill_and_resume(moments: int = 50, seed: int = 2004) -> dict[str, Any]:
    """Kill sweeps (SIGKILL) at random moments, look for leftovers after each kill, resume, compare.

    Returns
    -------
    dict
        ``moments``: kills made. ``leftovers``: a line for each thing that outlived a kill; good is none.
        ``repeated_max``: the most attempts begun again after one kill; good is at most 1. ``same_keys``:
        whether every killed sweep ended with the keys of an uninterrupted one. ``processes``: how many were
        alive at the kills, so that finding none afterwards says something.
    """
    built = servers.build("release").parent
    rng = random.Random(seed)
    leftovers: list[str] = []
    repeated: list[int] = [0]
    kills, sweeps, processes, same_keys = 0, 0, 0, True
    with tempfile.TemporaryDirectory(prefix="nai-kill-") as folder:
        whole = _Sweep(Path(folder) / "uninterrupted", built)
        began = time.monotonic()
        whole.live(None)
        duration_s = time.monotonic() - began
        whole.expected = whole.generated()
        leftovers += whole.left_behind("an uninterrupted sweep")
        while kills < moments:
            sweeps += 1
            sweep = _Sweep(Path(folder) / f"killed-{sweeps}", built, whole.expected)
            while sweep.live(rng.uniform(0, duration_s) if kills < moments else None):
                kills += 1
                leftovers += sweep.left_behind(f"kill {kills}")
            leftovers += sweep.left_behind(f"the end of sweep {sweeps}")
            processes += len(sweep.pids)
            repeated += sweep.repeated()
            same_keys = same_keys and sweep.keys() == whole.keys()
    return {
        "moments": kills,
        "leftovers": leftovers,
        "repeated_max": max(repeated),
        "same_keys": same_keys,
        "processes": processes,
    }


class _Sweep:
    """One sweep over its lives: what it may generate, where it keeps temporary files, its mark."""

    def __init__(self, folder: Path, built: Path, expected: frozenset[Path] = frozenset()) -> None:
        self.folder = folder
        self.build, self.temporary = folder / "build", folder / "tmp"
        self.journal = self.build / "journal.jsonl"
        self.expected = expected
        self.mark = uuid.uuid4().hex
        self.lives = 0
        self.pids: set[int] = set()
        self.namespaces: set[str] = set()
        self.build.mkdir(parents=True)
        self.temporary.mkdir()
        (self.build / "servers").symlink_to(built)

    def live(self, seconds: float | None) -> bool:
        """Run the sweep from where it stopped, to its end or for ``seconds``: return if it was killed."""
        self.lives += 1
        own = {"NAI_BUILD_DIR": str(self.build), "TMPDIR": str(self.temporary), MARK: self.mark}
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, self.journal, self._started(self.lives)],
            env=os.environ | own,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            _, error = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self._take_stock()
            process.kill()
            process.wait()
            process.stderr.close()
            return True
        if process.returncode:
            raise RuntimeError(f"the sweep to be killed ended by itself:\n{error[-2000:]}")
        return False

    def left_behind(self, when: str) -> list[str]:
        """Return what the ended life left: processes, namespaces, cgroups, files."""
        deadline = time.monotonic() + GRACE_S
        while (found := list(self._leftovers())) and time.monotonic() < deadline:
            time.sleep(0.02)
        return [f"after {when}: {what}" for what in found]

    def repeated(self) -> list[int]:
        """For every life but the first, count the attempts it began that an earlier one had begun already."""
        begun: set[str] = set()
        counts = []
        for life in range(1, self.lives + 1):
            started = self._started(life)
            now = set(started.read_text().splitlines()) if started.exists() else set()
            counts.append(len(now & begun))
            begun |= now
        return counts

    def keys(self) -> set[str]:
        """Keys of the trials in the journal."""
        with Journal(self.journal) as journal:
            return {row["key"] for row in journal.rows}

    def generated(self) -> frozenset[Path]:
        """Files and folders that were generated to stay; the link to the servers is not followed."""
        return frozenset(path.relative_to(self.folder) for path in self.build.rglob("*"))

    def _started(self, life: int) -> Path:
        return self.folder / f"started-{life}"

    def _take_stock(self) -> None:
        """Remember which processes and namespaces are the sweep's, to know them when they should be gone."""
        ours = set(_links(Path("/proc/self/ns")))
        for process in self._processes():
            self.pids.add(int(process.name))
            self.namespaces |= set(_links(process / "ns")) - ours

    def _leftovers(self) -> Iterator[str]:
        for process in self._processes():
            yield f"process {process.name}: {_command(process)}"
        for process in Path("/proc").glob("[0-9]*"):
            for namespace in self.namespaces & {*_links(process / "ns"), *_links(process / "fd")}:
                yield f"namespace {namespace}, kept by process {process.name}: {_command(process)}"
        for cgroup in Path("/sys/fs/cgroup").glob("**/nai-*"):
            if int(cgroup.name.split("-")[1]) in self.pids:
                yield f"cgroup {cgroup}"
        own = {path.relative_to(self.folder) for path in (self.journal, self.build / "servers")}
        for path in self.generated() - self.expected - own:
            yield f"file {path}"
        for path in self.temporary.rglob("*"):
            yield f"temporary file {path.relative_to(self.folder)}"

    def _processes(self) -> Iterator[Path]:
        """/proc folders of the living processes that carry the mark."""
        mark = f"{MARK}={self.mark}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    yield process
            except OSError:
                continue  # ended meanwhile, or somebody else's


def _links(folder: Path) -> list[str]:
    """Targets of the links in a /proc folder: namespaces, open files."""
    try:
        return [os.readlink(entry) for entry in folder.iterdir()]
    except OSError:
        return []


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200]
    except OSError:
        return "(ended)"


def main(journal_path: str, started_path: str) -> None:
    """Be the sweep; every attempt is written down before it begins, outside the journal."""

    def run(trial: Trial, **place: int) -> dict[str, Any]:
        with open(started_path, "a") as file:
            file.write(f"{trial.label} {place}\n")
        return run_trial(trial, **place)

    with Journal(journal_path) as journal:
        run_sweep(short_plan(), journal, run, progress=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
