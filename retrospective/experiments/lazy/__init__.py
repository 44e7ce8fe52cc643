"""The lazy I/O chapter: what a call costs, whom it holds, and what laziness costs a server (Elmeleegy et al., 2004).

Its experiments share one journal. Those of lazybench (servers/lazy_io/bench) drive a loop by themselves:

- ``cost``: the price of a call that does not block, and of one that does, by engine and size, beside the plain call;
- ``held``: how long the *caller* is held, by engine and operation;
- ``upcall``: from the block until the loop goes on; ``preempted``: whether losing the CPU is taken for a block;
- ``sleep``: what watching adds to a loop that sleeps;

and ``lazy-cpu`` is trials of the server ``lazy``: CPU per reply with the lazy engine and with plain calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import servers
from retrospective.experiments.climb import climb
from retrospective.experiments.lazy import trials
from retrospective.experiments.lazy.profiles import PROFILES, Profile, profile_with
from retrospective.experiments.lazy.settings import (
    BYTES,
    CALIBRATION_TARGET,
    CHAPTER,
    CLAIM_BYTES,
    EXPERIMENTS,
    HELD,
    LOADS,
    LOOP_CPU,
    PARTNER_CPU,
    REQUESTS_PER_CONNECTION,
    SERIES,
)
from retrospective.experiments.runner import Measurement, measure
from retrospective.lab import probe
from retrospective.lab.disks import disk_of
from retrospective.lab.plan import Plan
from retrospective.lab.trial import Trial

if TYPE_CHECKING:
    import pandas as pd

Record = Callable[[Trial], dict[str, Any]]


def absent() -> str | None:
    """Why the server ``lazy`` cannot run on this machine; ``None`` if it can."""
    if "lazy" not in servers.designs():
        return "servers/meson.build does not name it"
    return servers.unavailable().get("lazy")


def find_peak(profile: Profile, record: Record) -> float:
    """Requests/s up to which server (with plain calls) and client keep up: recorded trials of a climb."""

    def offered(target_per_s: float) -> float:
        trial = trials.server(profile, "plain", target_per_s, None, kind="calibration")
        return float(record(trial).get("replies_per_s") or 0.0)

    return climb(offered, CALIBRATION_TARGET, profile.calibration_steps)


def plan(profile: Profile, peak_per_s: float) -> Plan:
    """All probes and trials of a profile; without a peak those of the server are left out."""
    planned: list[Any] = []
    for experiment, probes in trials.PROBES.items():
        if experiment in profile.experiments:
            planned += probes(profile)
    if "lazy-cpu" in profile.experiments and peak_per_s > 0:
        planned += trials.servers_under_load(profile, peak_per_s)
    if not planned:
        raise ValueError("nothing is left to measure: check experiments, engines and bytes")
    return Plan(planned, rounds=profile.rounds, seed=2004)


def seconds(profile: Profile) -> float:
    """About how long a profile takes, calibration included, if nothing has to be repeated."""
    climbing = trials.server(profile, "plain", CALIBRATION_TARGET, None).seconds() * profile.calibration_steps
    measured = "lazy-cpu" in profile.experiments and profile.assumed_peak is None
    return plan(profile, CALIBRATION_TARGET).seconds() + (climbing if measured else 0.0)


def facts() -> dict[str, Any]:
    """Who runs where, and on what the files lie, with a warning if it is no disk: stored beside the rows."""
    probe.FOLDER.mkdir(parents=True, exist_ok=True)
    return {"disk": disk_of(probe.FOLDER), "probe_cpus": {"loop": LOOP_CPU, "partner": PARTNER_CPU}}


def run(profile: Profile | str = "quick", *, progress: bool = True) -> pd.DataFrame:
    """Measure what this machine's journal lacks of ``profile`` and return the rows of its complete rounds."""
    profile = PROFILES[profile] if isinstance(profile, str) else profile
    servers.build("release")
    why_absent = absent() if "lazy-cpu" in profile.experiments else None
    if why_absent:
        print(f"left out: lazy: {why_absent}")
    if warning := facts()["disk"]["warning"]:
        print(f"{probe.FOLDER.name}: {warning}; NAI_BUILD_DIR puts the build folder elsewhere")

    def planned(record: Record) -> Plan:
        wanted = "lazy-cpu" in profile.experiments and why_absent is None
        if not wanted or profile.assumed_peak:
            return plan(profile, (profile.assumed_peak or 0.0) if wanted else 0.0)
        return plan(profile, find_peak(profile, record))

    return measure(Measurement(CHAPTER, profile.name, planned, facts), progress=progress)


__all__ = [
    "BYTES",
    "CHAPTER",
    "CLAIM_BYTES",
    "EXPERIMENTS",
    "HELD",
    "LOADS",
    "PROFILES",
    "REQUESTS_PER_CONNECTION",
    "SERIES",
    "Profile",
    "absent",
    "facts",
    "find_peak",
    "plan",
    "profile_with",
    "run",
    "seconds",
    "trials",
]
