"""The timers chapter: what a fine-grained timer costs, its structure and its wake-up, and where the wall is.

All of its experiments are probes and share one journal. ``operations`` and ``operations-aa`` are of timerbench
(servers/timers/bench): operations on the timers of one facility beside another's, or beside itself; ``prices`` is of
timercost, beside it: the primitives that timers are made of. The others are of ticker (servers/timers/drivers), N
processes with periodic timers:

- ``wall``: cores burnt and lateness, by number of processes, granularity and driver; ``wall-aa``: a cell beside itself;
- ``shoot-out``: every driver where none may be late by choice;
- ``domain``: the shared timer domain where it is judged, beside what it is compared with;
- ``soft``: what soft timers cost a process that works, and what interrupts would.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrospective.experiments.runner import Measurement, measure, planned
from retrospective.experiments.timers.probes import PROBES
from retrospective.experiments.timers.profiles import PROFILES, Profile, profile_with
from retrospective.experiments.timers.settings import CHAPTER, EXPERIMENTS, SERIES
from retrospective.lab import probe_timers
from retrospective.lab.plan import Plan

if TYPE_CHECKING:
    import pandas as pd


def plan(profile: Profile) -> Plan:
    """All probes of a profile, each once, in the first so many rounds."""
    probes, rounds = zip(*planned(PROBES, profile), strict=True)
    return Plan(probes, max(rounds), seed=1987, rounds_of=rounds)


def seconds(profile: Profile) -> float:
    """About how long a profile takes if nothing has to be repeated."""
    return plan(profile).seconds()


def facts() -> dict[str, Any]:
    """Where processes with timers run, and what of those CPUs others may have: stored beside the rows.

    Where there are groups by session, the spinner is idle only within its own (servers/timers/drivers/spinner.h).
    """
    autogroup = Path("/proc/sys/kernel/sched_autogroup_enabled")
    return {
        "autogroup": autogroup.read_text().strip() == "1" if autogroup.exists() else False,
        "timer_cpus": list(probe_timers.CPUS),
        "most_off_cores": probe_timers.MOST_OFF_CORES,
        "most_off_cores_drift": probe_timers.MOST_DRIFT,
    }


def run(profile: Profile | str = "quick", *, progress: bool = True) -> pd.DataFrame:
    """Measure what this machine's journal lacks of ``profile`` and return the rows of its complete rounds."""
    profile = PROFILES[profile] if isinstance(profile, str) else profile
    return measure(Measurement(CHAPTER, profile.name, lambda _: plan(profile), facts), progress=progress)


__all__ = [
    "CHAPTER",
    "EXPERIMENTS",
    "PROBES",
    "PROFILES",
    "SERIES",
    "Profile",
    "facts",
    "plan",
    "profile_with",
    "run",
    "seconds",
]
