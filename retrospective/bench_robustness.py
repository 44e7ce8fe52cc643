"""What is promised of the user-level stack: how many connections, what an idle one costs, what fuzzing finds."""

from __future__ import annotations

import functools
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

import servers
from retrospective.benchmark import Benchmark, Measured, text

CONCURRENT = 10_000
IN_A_ROW = 100_000
SYNS = 100_000
#: A fuzz target's run ends when so many inputs, and as many as it took until then, have reached nothing new.
PLATEAU = 100_000
SEED = 2004
INPUTS_MOST = 3_000_000
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


def _fuzz_programs() -> Iterator[tuple[str, str, list[str]]]:
    """Yield programs, their corpus and what is expected of them: both targets, then those with a planted bug."""
    for target in ("packet", "stack"):
        yield f"fuzz_{target}", target, []
    for number in (1, 2):
        yield f"fuzz_stack_planted_{number}", "stack", ["--expect-planted"]
    listed = subprocess.run([sys.executable, TESTS / "plant.py"], capture_output=True, text=True, check=True)
    for bug, target, _ in map(str.split, listed.stdout.splitlines()):
        yield f"fuzz_{target}_planted_{bug}", target, ["--expect-crash"]


def fuzz() -> Measured:
    """Findings of both targets on their way to a plateau, and planted bugs that were not found."""
    bad, planted, told = 0, 0, []
    for name, target, expected in tqdm([*_fuzz_programs()], unit="target", leave=False):
        words = ["--iterations", INPUTS_MOST, "--seed", SEED, "--words", TESTS / "corpus" / f"{target}.dict"]
        inputs = sorted((TESTS / "corpus" / target).iterdir())
        done = _run(name, "asan", *words, *(expected or ["--plateau", PLATEAU]), *inputs)
        found = re.search(
            r"(\d+) iterations, .* (\d+) edges, the last of them at iteration (\d+)", done.stdout
        )
        if found is None:
            return Measured(math.nan, note=f"{name}: {_first_line(done)}")
        bad += done.returncode != 0
        planted += bool(expected)
        if not expected:
            tried, edges, last = (f"{int(number):,}" for number in found.groups())
            told.append(f"{target}: {tried} inputs, {edges} edges, the last at {last}")
        elif done.returncode:
            told.append(f"{name}: not found")
    return Measured(bad, note="; ".join([*told, f"{planted} bugs planted"]))


#: id, what is measured, how; then at most.
BENCHMARKS = (
    Benchmark(
        "userstack-scale",
        f"left of {CONCURRENT:,} connections at a time and {IN_A_ROW:,} in a row on one user-level stack",
        scale,
        0,
    ),
    Benchmark(
        "userstack-idle-bytes", "resident bytes of an idle connection of the user-level stack", idle_bytes
    ),
    Benchmark("userstack-flood", f"checks failed in a flood of {SYNS:,} SYNs, by cookies", flood, 0),
    Benchmark(
        "userstack-fuzz",
        "findings of fuzzing to a plateau, and planted bugs not found",
        fuzz,
        0,
        long=True,
    ),
)
