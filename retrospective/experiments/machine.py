"""The machine chapter: what this machine can show at all, before any claim is judged on it.

Three experiments of trials, ``aa`` (the same trial against itself), ``who-pays`` (the same offered load in both charge
modes) and ``ceilings`` (how much each generator can offer), and two direct measurements, the clock and timer lateness.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from retrospective.experiments.runner import Measurement, measure
from retrospective.lab.plan import Plan
from retrospective.lab.trial import Trial

if TYPE_CHECKING:
    import pandas as pd

CHAPTER = "machine"

#: Connections/s offered when asking who pays: well below every server's knee, so that both modes serve the same.
WHO_PAYS_PER_S = 8_000.0
#: Requests/s of the A/A trials: closed loop needs none; 16 clients keep the server busy without a queue of its own.
AA_CLIENTS = 16


@dataclass(frozen=True)
class Profile:
    """How much of the chapter is measured."""

    name: str
    rounds: int
    warmup_s: float
    duration_s: float
    replicas: int  # A/A: n replicas give n(n-1)/2 ratios
    kernel_rates: tuple[float, ...]  # connections/s offered by the kernel-socket client
    raw_rates: tuple[float, ...]  # connections/s offered by the raw client


PROFILES = {
    "smoke": Profile("smoke", 1, 0.1, 0.2, 3, (5_000.0,), (20_000.0,)),
    "quick": Profile("quick", 3, 0.2, 0.4, 7, (12_000.0, 18_000.0), (40_000.0, 80_000.0)),
    "paper": Profile(
        "paper",
        10,
        0.2,
        0.5,
        21,
        (15_000.0, 18_000.0, 21_000.0, 24_000.0),
        (40_000.0, 60_000.0, 80_000.0, 120_000.0),
    ),
}


def profile_with(name: str, **changes: object) -> Profile:
    """A named profile with what a reader changed in the notebook (any field of :class:`Profile`).

    Raises ``ValueError`` for an unknown profile or field.
    """
    if name not in PROFILES:
        raise ValueError(f"no profile {name!r}: there are {', '.join(PROFILES)}")
    try:
        return replace(PROFILES[name], **changes)
    except TypeError as error:
        raise ValueError(f"no such part of a profile: {error}") from error


def plan(profile: Profile) -> Plan:
    """All trials of a profile."""
    window = {"warmup-s": profile.warmup_s, "duration-s": profile.duration_s}

    def trial(experiment: str, label: str, charge: str, load: dict[str, object], **more: object) -> Trial:
        return Trial(
            chapter=CHAPTER,
            experiment=experiment,
            kind=str(more.pop("kind", "trial")),
            profile=profile.name,
            design=str(more.pop("design", "epoll")),
            options={"backlog": 128, **more},
            workload="one-packet",
            load={**load, **window},
            charge=charge,
            x_ratio=None,
            label=label,
        )

    closed = {"mode": "closed", "clients": AA_CLIENTS, "requests-per-connection": "inf"}
    trials = [trial("aa", f"replica {i:02d}", "receiver", closed, kind="aa") for i in range(profile.replicas)]
    raw = {"mode": "raw", "arrivals": "uniform", "timeout-ms": 300}
    for charge in ("receiver", "sender"):
        trials.append(trial("who-pays", f"raw, {charge} pays", charge, {**raw, "rate": WHO_PAYS_PER_S}))
        kernel = {"mode": "open", "arrivals": "uniform", "timeout-ms": 2000, "requests-per-connection": 1}
        trials.append(
            trial("who-pays", f"kernel sockets, {charge} pays", charge, {**kernel, "rate": WHO_PAYS_PER_S})
        )
    # A ceiling is the generator's own, so the server is one that costs little. For kernel sockets it must keep up;
    # beyond what any server here takes, it must refuse cheaply: a short accept queue, and phases that end.
    cheap = {"design": "floor", "backlog": 4096}
    refusing = {"design": "epoll", "accept-limit": "10"}
    closing = {**kernel, "close": "client"}  # as httperf does
    trials += [
        trial("ceilings", f"kernel sockets, {rate:.0f}/s", "receiver", {**closing, "rate": rate}, **cheap)
        for rate in profile.kernel_rates
    ]
    trials += [
        trial("ceilings", f"raw, {rate:.0f}/s", "receiver", {**raw, "rate": rate}, **refusing)
        for rate in profile.raw_rates
    ]
    return Plan(trials, rounds=profile.rounds, seed=2004)


def clock_facts(samples: int = 2000) -> dict[str, float]:
    """Cost and step of the monotonic clock as Python sees it, ns (an upper bound: it includes the interpreter)."""
    reads = [time.perf_counter_ns() for _ in range(samples)]
    steps = [b - a for a, b in itertools.pairwise(reads)]
    return {
        "read_p50_ns": float(statistics.median(steps)),
        "step_min_ns": float(min(s for s in steps if s > 0)),
    }


def timer_lateness(
    requested_us: tuple[int, ...] = (50, 100, 500, 1000, 10_000), budget_s: float = 0.4
) -> list[dict[str, float]]:
    """How late clock_nanosleep(2) returns, µs, by requested sleep; a row a request: p50, p90, p99, max, samples.

    ``budget_s`` of sleeping is spent on each. Default timer slack (50 µs, prctl(2)) applies, as it does to servers.
    """
    rows = []
    for request in requested_us:
        late = []
        for _ in range(max(20, int(budget_s * 1e6 / (request + 80)))):
            begin = time.perf_counter_ns()
            time.sleep(request / 1e6)
            late.append((time.perf_counter_ns() - begin) / 1e3 - request)
        late.sort()

        def at(q: float, late: list[float] = late) -> float:
            return late[min(len(late) - 1, int(q * len(late)))]

        rows.append(
            {
                "requested_us": float(request),
                "p50_us": at(0.5),
                "p90_us": at(0.9),
                "p99_us": at(0.99),
                "max_us": late[-1],
                "samples": float(len(late)),
            }
        )
    return rows


def facts() -> dict[str, object]:
    """Clock and timer lateness, as stored beside the rows."""
    return {"clock": clock_facts(), "timers": timer_lateness()}


def run(profile: Profile | str = "quick", *, progress: bool = True) -> pd.DataFrame:
    """Measure what this machine's journal lacks of ``profile`` and return the rows of its complete rounds."""
    profile = PROFILES[profile] if isinstance(profile, str) else profile

    def planned(record: Callable[[Trial], dict[str, object]]) -> Plan:
        del record  # nothing to calibrate: the rates are the experiment
        return plan(profile)

    return measure(Measurement(CHAPTER, profile.name, planned, facts), progress=progress)
