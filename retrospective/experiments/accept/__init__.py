"""The accept() chapter: accept strategies of three kinds of server under overload (Brecht, Pariag & Gammo, USENIX '04).

Its experiments share one journal:

- ``one-packet`` and ``specweb99-like``, the paper's workloads: accept-limit × offered load × who pays for packets;
- ``sensitivity-backlog``, ``-timeout``, ``-defer``, ``-work``: the first of them with one thing changed at a time;
- ``concurrency``: where the sign of the gain flips, in closed loop;
- ``fairness``: who waits behind a request that sleeps, by how several processes share a port;
- ``peers``: CPU per reply on persistent connections, beside other web servers; and ``peers-overload``: nginx's own
  accept strategy, ``multi_accept``, under the same overload.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

import servers
from retrospective.experiments.accept import trials
from retrospective.experiments.accept.profiles import PROFILES, Profile, Series, profile_with
from retrospective.experiments.accept.settings import (
    BACKLOG,
    CALIBRATION_TARGET,
    CHAPTER,
    CONCURRENCY_WORK_US,
    EXPERIMENTS,
    FAIRNESS_PER_S,
    FAIRNESS_SLEEP_US,
    FAIRNESS_SLOW_SHARE,
    FAIRNESS_WORKERS,
    KIND_OF,
    LIMITS,
    MAX_CONNECTIONS,
    SENSITIVITY_RATIO,
    THREADS,
    TIMEOUT_MS,
    WORK_US,
    kind_of,
)
from retrospective.experiments.climb import climb
from retrospective.experiments.runner import Measurement, measure
from retrospective.lab.peers import PEERS
from retrospective.lab.plan import Plan, place_by_ratio
from retrospective.lab.trial import Trial

if TYPE_CHECKING:
    import pandas as pd

Record = Callable[[Trial], dict[str, Any]]


def absent(design: str) -> str | None:
    """Why a design or peer cannot run on this machine; ``None`` if it can."""
    if design in PEERS:
        return None if PEERS[design].path() else "not installed; as root: make system"
    if design not in servers.designs():
        return "servers/meson.build does not name it"
    return servers.unavailable().get(design)


def present(planned: Iterable[Trial]) -> list[Trial]:
    """The trials whose server can run here, each once."""
    found: list[Trial] = []
    for trial in planned:
        if absent(trial.design) is None and trial not in found:
            found.append(trial)
    return found


def find_peak(profile: Profile, series: Series, record: Record) -> float:
    """Peak of one design under one workload and charge mode, replies/s.

    Recorded trials at the limit of its kind's highest peak in the paper: one far beyond saturation, then a climb from
    what that yielded, since throughput declines past the knee, until the server no longer keeps up with what it is
    offered.
    """

    def offered(target_per_s: float) -> float:
        limit = kind_of(series.design).peak_limit
        trial = trials.overload(profile, series, limit, target_per_s, None, kind="calibration")
        return float(record(trial).get("replies_per_s") or 0.0)

    return climb(offered, CALIBRATION_TARGET[series.workload], profile.calibration_steps)


def plan(profile: Profile, peaks: dict[Series, float]) -> Plan:
    """All trials of a profile that can run here, given the peak of each series' base.

    Series whose peak could not be found are left out.
    """
    planned: list[Trial] = []
    for series in profile.series:
        peak = peaks.get(series.base(), 0.0)
        if peak > 0:
            for ratio, target in zip(series.ratios, place_by_ratio(peak, series.ratios), strict=True):
                planned += [trials.overload(profile, series, limit, target, ratio) for limit in series.limits]
    planned += [*trials.concurrency(profile), *trials.fairness(profile), *trials.peers(profile)]
    most = max(
        (t for t in planned if (t.experiment, t.charge) == ("one-packet", "receiver")),
        key=lambda t: t.x_ratio,
        default=None,
    )
    if most:
        planned += trials.peers_overload(profile, most.load["rate"], most.x_ratio)
    planned = present(t for t in planned if t.experiment in profile.experiments)
    if not planned:
        raise ValueError("nothing of what is to be measured can run on this machine")
    return Plan(planned, rounds=profile.rounds, seed=2004)


def bases(profile: Profile) -> list[Series]:
    """The series whose peaks a profile needs, each once."""
    needed = profile.series if not profile.assumed_peak else ()
    return list(dict.fromkeys(s.base() for s in needed if absent(s.design) is None))


def seconds(profile: Profile) -> float:
    """About how long a profile takes on this machine, calibration included, if nothing has to be repeated."""
    steps = max(2.0, 0.6 * profile.calibration_steps)  # a climb seldom takes all
    calibration = [
        trials.overload(profile, series, "1", CALIBRATION_TARGET[series.workload], 1.0)
        for series in bases(profile)
    ]
    once = Plan(calibration, 1, 0).seconds() * steps if calibration else 0.0
    return once + plan(profile, {s.base(): 1e4 for s in profile.series}).seconds()


def left_out(profile: Profile) -> dict[str, str]:
    """Design or peer of the profile -> why it cannot run on this machine."""
    everything = [*(s.design for s in profile.series), *profile.concurrency.designs]
    everything += [trial.design for trial in (*trials.fairness(profile), *trials.peers(profile))]
    return {design: reason for design in dict.fromkeys(everything) if (reason := absent(design))}


def run(profile: Profile | str = "quick", *, progress: bool = True) -> pd.DataFrame:
    """Measure what this machine's journal lacks of ``profile`` and return the rows of its complete rounds."""
    profile = PROFILES[profile] if isinstance(profile, str) else profile
    servers.build("release")
    for design, reason in left_out(profile).items():
        print(f"left out: {design}: {reason}")

    def planned(record: Record) -> Plan:
        if profile.assumed_peak:
            return plan(profile, {s.base(): profile.assumed_peak for s in profile.series})
        with tqdm(
            bases(profile), desc="finding each server's peak", unit="series", disable=not progress
        ) as series:
            return plan(profile, {one: find_peak(profile, one, record) for one in series})

    return measure(Measurement(CHAPTER, profile.name, planned), progress=progress)


__all__ = [
    "BACKLOG",
    "CHAPTER",
    "CONCURRENCY_WORK_US",
    "EXPERIMENTS",
    "FAIRNESS_PER_S",
    "FAIRNESS_SLEEP_US",
    "FAIRNESS_SLOW_SHARE",
    "FAIRNESS_WORKERS",
    "KIND_OF",
    "LIMITS",
    "MAX_CONNECTIONS",
    "PROFILES",
    "SENSITIVITY_RATIO",
    "THREADS",
    "TIMEOUT_MS",
    "WORK_US",
    "Profile",
    "Series",
    "absent",
    "bases",
    "find_peak",
    "left_out",
    "plan",
    "present",
    "profile_with",
    "run",
    "seconds",
]
