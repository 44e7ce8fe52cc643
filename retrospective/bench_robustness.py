"""What is promised of the user-level stack: how many connections, what an idle one costs, what fuzzing finds."""

from __future__ import annotations

import functools
import math
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

import servers
from retrospective.benchmark import Benchmark, Measured, text

CONCURRENT = 10_000
IN_A_ROW = 100_000
SYNS = 100_000
#: So many inputs a fuzz target tries at least before its coverage may be called a plateau, and at most. Powers of 2:
#: at these the driver looks back.
INPUTS_LEAST = 1 << 18
INPUTS_MOST = 1 << 20
#: Of so many edges at most one is new in a plateau (``FLAT`` of ``servers/tests/fuzz_driver.c``).
FLAT = 200
SEED = 2004
TESTS = Path(servers.__file__).parent / "tests"


def _run(program: str, variant: str, *words: object) -> subprocess.CompletedProcess[str]:
    command = [str(servers.test_program(program, variant)), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, errors="replace")


def _first_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr or done.stdout).strip().splitlines()
    return lines[0] if lines else f"it ended with {done.returncode}"


@functools.cache
def _scale() -> tuple[dict[str, float], str]:
    """What the test of scale found, by name, and what was wrong."""
    done = _run("test_userstack_scale", "release", "--concurrent", CONCURRENT, "--in-a-row", IN_A_ROW)
    found = {}
    for line in done.stdout.splitlines():
        name, _, value = line.partition(" ")
        found[name] = float(value)
    return found, _first_line(done) if done.returncode else ""


def scale() -> Measured:
    """Connections, chunks, packets and timers left, after all that were open at a time and in a row."""
    found, wrong = _scale()
    if wrong:
        return Measured(max(1, found.get("left", 1)), note=wrong)
    note = (
        f"{text(found['concurrent'])} at a time, {text(found['opened_and_closed'])} in a row; "
        f"{found[f'steps_of_{CONCURRENT}']:.2f} steps to find one, {found['steps_of_100']:.2f} of 100"
    )
    return Measured(found["left"], note=note)


def idle_bytes() -> Measured:
    """Resident bytes that an idle connection adds to one stack."""
    found, wrong = _scale()
    if wrong:
        return Measured(math.nan, note=wrong)
    note = (
        f"{text(found['bytes_of_a_connection'])} reserved with windows of 256 KiB, "
        f"{text(found['bytes_of_a_connection_with_16_KiB_windows'])} with 16 KiB"
    )
    return Measured(found[f"resident_bytes_of_{CONCURRENT}"], note=note)


def flood() -> Measured:
    """Checks that failed while SYNs from made-up sources came beside established connections and newcomers."""
    done = _run("test_userstack_flood", "release", "--syns", SYNS)
    if done.returncode:
        return Measured(max(1, len(done.stderr.splitlines())), note=_first_line(done))
    return Measured(0, note="; ".join(done.stdout.strip().splitlines()))


#: What is fuzzed to a plateau -> what its inputs are called.
FUZZED = {"packet": "packets", "stack": "sequences"}


@dataclass(frozen=True)
class Campaign:
    """A fuzz target's run: to a plateau (``expected`` is empty), or until it has found a bug that was planted."""

    program: str
    target: str
    expected: str = ""

    def run(self) -> subprocess.CompletedProcess[str]:
        """Run it, under sanitizers. What looks for a planted bug begins with none of what others have found."""
        corpus = TESTS / "corpus"
        words = ["--iterations", INPUTS_MOST, "--seed", SEED, "--words", corpus / f"{self.target}.dict"]
        if self.expected:
            words += [self.expected]
        else:
            words += ["--plateau", INPUTS_LEAST, "--inputs", corpus / f"{self.target}.found"]
        return _run(self.program, "asan", *words, *sorted((corpus / self.target).iterdir()))


def campaigns() -> list[Campaign]:
    """Both targets, the longest first; then with bugs planted in what they check, and in the stack itself."""
    listed = subprocess.run([sys.executable, TESTS / "plant.py"], capture_output=True, text=True, check=True)
    return [
        *(Campaign(f"fuzz_{target}", target) for target in FUZZED),
        *(Campaign(f"fuzz_stack_planted_{number}", "stack", "--expect-planted") for number in (1, 2)),
        *(
            Campaign(f"fuzz_{target}_planted_{bug}", target, "--expect-crash")
            for bug, target, _ in map(str.split, listed.stdout.splitlines())
        ),
    ]


def _plateau(target: str, done: subprocess.CompletedProcess[str]) -> tuple[bool, str]:
    """Whether a campaign without a finding ended on a plateau, and what it says of that."""
    found = re.search(r"^(\d+) iterations, .* (\d+) edges, the last of them at", done.stdout, re.MULTILINE)
    curve = re.search(r"^edges by iterations: .*?(\d+): (\d+), (\d+): (\d+)$", done.stdout, re.MULTILINE)
    if done.returncode or found is None or curve is None:
        return False, f"{target}: {_first_line(done)}"
    tried, edges = map(int, found.groups())
    half, before, whole, after = map(int, curve.groups())
    told = (
        f"{target}: {tried:,} {FUZZED[target]}, {edges:,} edges, "
        f"{after - before:,} of them new between {half:,} and {whole:,}"
    )
    flat = whole >= INPUTS_LEAST and (after - before) * FLAT <= after
    return flat, told if flat else f"{told}: no plateau"


def fuzz() -> Measured:
    """Targets that found something or reached no plateau, and planted bugs that were not found.

    A plateau: the last half of at least ``INPUTS_LEAST`` inputs has brought at most one edge in ``FLAT``, half a per
    cent. An edge is two basic blocks of a function, one after the other. A run begins with what earlier ones have
    found, few inputs that reach all (``servers/tests/corpus/*.found``), so that what is new is new.
    """
    planned = campaigns()
    for campaign in planned:
        servers.test_program(campaign.program, "asan")  # built one after the other
    with ThreadPoolExecutor(2) as pool:
        ended = list(tqdm(pool.map(Campaign.run, planned), total=len(planned), unit="target", leave=False))
    bad, told = 0, []
    for campaign, done in zip(planned, ended, strict=True):
        if campaign.expected:
            good, text_of_it = done.returncode == 0, f"{campaign.program}: not found"
        else:
            good, text_of_it = _plateau(campaign.target, done)
        bad += not good
        if not good or not campaign.expected:
            told.append(text_of_it)
    planted = sum(bool(campaign.expected) for campaign in planned)
    return Measured(bad, note="; ".join([*told, f"{planted} bugs planted"]))


#: id, what is measured, how; then at most.
BENCHMARKS = (
    Benchmark(
        "userstack-scale",
        f"left of {CONCURRENT:,} connections at a time and {IN_A_ROW:,} in a row on one user-level stack",
        scale,
        0,
        long=True,
    ),
    Benchmark(
        "userstack-idle-bytes",
        "resident bytes of an idle connection of the user-level stack",
        idle_bytes,
        long=True,
    ),
    Benchmark(
        "userstack-flood", f"checks failed in a flood of {SYNS:,} SYNs, by cookies", flood, 0, long=True
    ),
    Benchmark(
        "userstack-fuzz",
        "fuzz targets with a finding or without a plateau, and planted bugs not found",
        fuzz,
        0,
        long=True,
    ),
)
