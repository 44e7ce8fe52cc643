"""What the chapter on timers promises, measured on the reader's machine: its own probes, fewer of them, in turn."""

from __future__ import annotations

import functools
import math
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import replace

import pandas as pd

import servers
from retrospective.analysis import cost_model, probes, statistics, timers
from retrospective.analysis.claims.timers_today import FASTER, FEWER, NEAR_FLOOR, OPERATIONS, WHEEL_BOUND_NS
from retrospective.analysis.formatting import fmt_integer, fmt_ratio
from retrospective.analysis.timers import (
    ALIGNED,
    CORES,
    DOMAIN,
    LIBRARIES,
    TCP,
    TICKLESS,
    WHEEL,
)
from retrospective.benchmark import ROUNDS, Benchmark, Measured, interleaved, text
from retrospective.experiments import timers as chapter
from retrospective.experiments.timers.profiles import Cells, Operations, Profile
from retrospective.lab.probe import Probe

RANDOM_OPERATIONS = 10_000_000
FACILITIES = ("list", "heap", "heap4", "hashed", "wheel", "lazy")
#: Of the TCP-like mix: what a host has, and what a large one has.
CONNECTIONS = (1_000, 100_000)
#: Where the cost model is fitted and held to account: below saturation, and told from nothing.
MODEL_PROCESSES, MODEL_US = (1, 3, 10, 30, 100, 300, 1_000), (1_000, 10_000, 100_000)
#: A cell takes a second; what is asked of the model is how far off it is in many of them.
MODEL_ROUNDS = 2

#: Nothing is measured of it but what a benchmark names.
NOTHING = replace(
    chapter.PROFILES["paper"],
    name="bench",
    rounds=ROUNDS,
    operations=(),
    operations_aa=(),
    prices=(),
    replicas=0,
    cells={},
    domain=(),
    soft=(),
)
OF_WHEEL = replace(
    NOTHING,
    operations=(Operations((WHEEL,), tuple(OPERATIONS), tuple(WHEEL_BOUND_NS), ROUNDS, beside=timers.BARE),),
)
OF_LIBRARIES = replace(NOTHING, operations=(Operations(LIBRARIES, (TCP,), CONNECTIONS, ROUNDS),))
OF_DOMAIN = replace(NOTHING, prices=("wake-same-cpu",), domain=chapter.PROFILES["paper"].domain)
OF_MODEL = replace(
    NOTHING,
    rounds=MODEL_ROUNDS,
    cells={"wall": (Cells((TICKLESS,), MODEL_PROCESSES, MODEL_US, MODEL_ROUNDS),)},
)


def _planned(profile: Profile, measures: Iterable[str]) -> dict[str, Probe]:
    """Probes of a profile by name; of those that tick, only such measures."""
    return {
        f"{probe.experiment}, {probe.label}": probe
        for probe in chapter.plan(profile).trials
        if probe.options.get("measure", CORES) in measures
    }


@functools.cache
def _rows(name: str) -> pd.DataFrame:
    """Valid rows of what one of the profiles above measures, in turn."""
    profile = {"wheel": OF_WHEEL, "libraries": OF_LIBRARIES, "domain": OF_DOMAIN, "model": OF_MODEL}[name]
    measures = (CORES, timers.LATENESS) if name == "domain" else (CORES,)
    found = interleaved(_planned(profile, measures), profile.rounds)
    return pd.DataFrame([row for rows in found.values() for row in rows if row])


def _wheel(mix: str, count: int) -> Callable[[], Measured]:
    """Price of an operation of the wheel, without the loop's own, ns."""

    def measured() -> Measured:
        found = timers.alone(_rows("wheel"), WHEEL, mix, count)
        if len(found) < 2:
            return Measured(math.nan, note=f"only {len(found)} of {ROUNDS} rounds valid")
        return Measured(*statistics.mean_interval(found))

    return measured


def _over_wheel(library: str) -> Callable[[], Measured]:
    """How much slower a library's timers are, where they are least; beside it the whole loop's."""

    def measured() -> Measured:
        effects, loops = (
            {
                count: statistics.ratio_interval(of(_rows("libraries"), library, TCP, count))
                for count in CONNECTIONS
            }
            for of in (timers.over_wheel_alone, timers.over_wheel)
        )
        decided = {count: one for count, one in effects.items() if one.decided}
        if len(decided) < len(effects):
            return Measured(math.nan, note=f"{library} is not built in; as root: make system")
        least = min(decided.values(), key=lambda one: one.low)
        told = ", ".join(
            f"{fmt_ratio(one.value)} × at {fmt_integer(count)} ({fmt_ratio(loops[count].value)} × with the loop's own)"
            for count, one in decided.items()
        )
        return Measured(least.low, least.low, least.high, told)

    return measured


def _of_domain(
    ratios: Callable[[pd.DataFrame, timers.Cell], pd.Series], *, lower: bool = False
) -> Callable[[], Measured]:
    """A ratio at the cell where the shared domain is judged; its ``lower`` end, or its mean."""

    def measured() -> Measured:
        frame = _rows("domain")
        cell = timers.domain_cell(frame)
        if cell is None:
            return Measured(math.nan, note="no valid run of the shared domain")
        found = statistics.ratio_interval(ratios(frame, cell))
        if not found.decided:
            return Measured(math.nan, note=f"only {found.n} of {ROUNDS} rounds valid")
        where = f"{fmt_integer(cell.processes)} processes × {timers.time_name(cell.granularity_us)}"
        value = found.low if lower else found.value
        return Measured(
            value, found.low, found.high, f"{where}, {fmt_ratio(found.value)}" if lower else where
        )

    return measured


def _tickless(frame: pd.DataFrame, cell: timers.Cell) -> pd.Series:
    return probes.over(timers.at_cell(frame, cell, CORES, "domain"), "cores", TICKLESS, DOMAIN)


def _later(frame: pd.DataFrame, cell: timers.Cell) -> pd.Series:
    late = [timers.lateness(frame, series, cell, "p99", "domain") for series in (DOMAIN, ALIGNED)]
    return (late[0] / late[1]).dropna()


def _model(quantile: float) -> Callable[[], Measured]:
    """Relative error of the cost model for numbers of processes that it has not seen."""

    def measured() -> Measured:
        held = cost_model.held_out(_rows("model"))
        if held.holds is None:
            return Measured(math.nan, note="too few cells were valid")
        return Measured(held.error(quantile), note=f"of {len(held.errors)} cells of {TICKLESS}")

    return measured


def conformance() -> Measured:
    """Checks that failed while every facility did random operations beside a model of what is promised."""
    program = servers.test_program("test_timers", "asan")
    failed, said = 0, ""
    for facility in FACILITIES:
        words = [str(program), facility, "--operations", str(RANDOM_OPERATIONS)]
        done = subprocess.run(words, capture_output=True, text=True, errors="replace")
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            failed += max(1, len(done.stderr.splitlines()))
            said = said or f"{facility}: {lines[0] if lines else f'it ended with {done.returncode}'}"
    each = f"{text(RANDOM_OPERATIONS)} random operations of each of {len(FACILITIES)} facilities"
    return Measured(failed, note=said or f"{each}, under address and undefined-behaviour sanitizers")


_WHEEL = "ns of the wheel, the loop's own taken off: "
_SHARED = "shared domain of hundreds of processes: "
_UNSEEN = "relative error of the cost model, numbers of processes held out: "

#: id, what is measured, how; then at most.
BENCHMARKS = (
    *(
        Benchmark(
            f"timers-wheel-{name.replace('-', '')}{'' if count == min(WHEEL_BOUND_NS) else '-million'}",
            f"{_WHEEL}{name} of {count:,} timers",
            _wheel(mix, count),
            bound,
        )
        for count, bound in WHEEL_BOUND_NS.items()
        for mix, name in OPERATIONS.items()
    ),
    *(
        Benchmark(
            f"timers-wheel-{library}",
            f"TCP-like mix, the loop's own taken off: {library} over the wheel, at least",
            _over_wheel(library),
            at_least=FASTER,
        )
        for library in LIBRARIES
    ),
    Benchmark(
        "timers-domain-floor",
        _SHARED + "cores over its floor, a wake-up on the same CPU for each expiry",
        _of_domain(lambda frame, _: timers.domain_floor(frame)),
        NEAR_FLOOR,
    ),
    Benchmark(
        "timers-domain-tickless",
        _SHARED + "cores of a timer a process over it, at least",
        _of_domain(_tickless, lower=True),
        at_least=FEWER,
    ),
    Benchmark(
        "timers-domain-lateness",
        _SHARED + "p99 lateness over that of timers on a common grid",
        _of_domain(_later),
        1.0,
    ),
    Benchmark("timers-model-error", _UNSEEN + "median", _model(0.5), cost_model.MEDIAN_BOUND),
    Benchmark("timers-model-error-p90", _UNSEEN + "90th percentile", _model(0.9), cost_model.P90_BOUND),
    Benchmark(
        "timers-conformance",
        f"checks failed in {RANDOM_OPERATIONS:,} operations of each facility of timers",
        conformance,
        0,
        long=True,
    ),
)
