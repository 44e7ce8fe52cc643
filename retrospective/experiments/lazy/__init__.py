"""The lazy I/O chapter: what a call costs, whom it holds, and what laziness costs a server (Elmeleegy et al., 2004).

Its experiments share one journal. Those of lazybench (servers/lazy_io/bench) drive a loop by themselves:

- ``cost``: the price of a call that does not block, and of one that does, by engine and size, beside the plain call;
- ``held``: how long the *caller* is held, by engine and operation;
- ``upcall``: from the block until the loop goes on; ``preempted``: whether losing the CPU is taken for a block;
- ``sleep``: what watching adds to a loop that sleeps;
- ``surface``: reads a second, lazy and eager, by size, share of the reads that is in memory, and reads at a time;

The others are trials of servers. ``lazy-cpu``: CPU per reply of the server ``lazy`` with the lazy engine and with plain
calls, of one file and of SPECweb99's mix, all in memory. Then servers by the paper's names on files like its traces':

- ``traces``: by number of clients, with memory too small for the files and the popular ones in it at first, on the
  machine's own disk and on one as of 2004; ``traces-cold``: with none in it; ``traces-open``: the same in open loop;
- ``fits-cpu``: CPU per reply where all files are in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import servers
from retrospective.experiments.climb import climb
from retrospective.experiments.lazy import traces, trials
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
    SERVER_WORKLOADS,
    SERVERS,
)
from retrospective.experiments.runner import Measurement, measure
from retrospective.lab.disks import disk_of
from retrospective.lab.plan import Plan
from retrospective.lab.probe import Probe
from retrospective.lab.probe_lazy import FOLDER
from retrospective.lab.trial import Trial

if TYPE_CHECKING:
    import pandas as pd

Record = Callable[[Trial], dict[str, Any]]


def find_peak(profile: Profile, workload: str, record: Record) -> float:
    """Requests/s up to which server (with plain calls) and client keep up: recorded trials of a climb."""

    def offered(target_per_s: float) -> float:
        trial = trials.server(profile, workload, "plain", target_per_s, None, kind="calibration")
        return float(record(trial).get("replies_per_s") or 0.0)

    return climb(offered, CALIBRATION_TARGET[workload], profile.calibration_steps)


def plan(profile: Profile, peaks: Mapping[str, float]) -> Plan:
    """All probes and trials of a profile; a workload without a peak, requests/s, has no open loop."""
    planned: list[Probe | Trial] = []
    for experiment, probes in trials.PROBES.items():
        if experiment in profile.experiments:
            planned += probes(profile)
    if "lazy-cpu" in profile.experiments:
        planned += trials.servers_under_load(profile, peaks)
    on_traces = [*traces.planned(profile, peaks)]
    rounds_of = [profile.rounds_of(one) for one in planned] + [rounds for _, rounds in on_traces]
    planned += [trial for trial, _ in on_traces]
    if not planned:
        raise ValueError(
            "nothing is left to measure: check experiments, engines and bytes, or take the profile paper"
        )
    return Plan(planned, max(rounds_of), seed=2004, rounds_of=rounds_of, group=trials.compared)


def seconds(profile: Profile) -> float:
    """About how long a profile takes, calibration included, if nothing has to be repeated."""
    calibrations = traces.calibrations(profile)
    measured = plan(profile, CALIBRATION_TARGET | dict.fromkeys(calibrations, 1_000.0)).seconds()
    if profile.assumed_peak:
        return measured
    climbed = profile.loads if "lazy-cpu" in profile.experiments else ()
    once = [trials.server(profile, one, "plain", CALIBRATION_TARGET[one], None) for one in climbed]
    climbing = sum(trial.seconds() for trial in once) * profile.calibration_steps
    return measured + climbing + sum(trial.seconds() for trial in calibrations.values())


def facts() -> dict[str, Any]:
    """Who runs where, and on what the files lie, with a warning if it is no disk: stored beside the rows."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    return {"disk": disk_of(FOLDER), "probe_cpus": {"loop": LOOP_CPU, "partner": PARTNER_CPU}}


def run(profile: Profile | str = "quick", *, progress: bool = True) -> pd.DataFrame:
    """Measure what this machine's journal lacks of ``profile`` and return the rows of its complete rounds."""
    profile = PROFILES[profile] if isinstance(profile, str) else profile
    servers.build("release")
    if warning := facts()["disk"]["warning"]:
        print(f"{FOLDER.name}: {warning}; NAI_BUILD_DIR puts the build folder elsewhere")

    def planned(record: Record) -> Plan:
        climbed = profile.loads if "lazy-cpu" in profile.experiments else ()
        peaks = {one: profile.assumed_peak or find_peak(profile, one, record) for one in climbed}
        for one, trial in traces.calibrations(profile).items():
            peaks[one] = profile.assumed_peak or float(record(trial).get("replies_per_s") or 0.0)
        return plan(profile, peaks)

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
    "SERVERS",
    "SERVER_WORKLOADS",
    "Profile",
    "facts",
    "find_peak",
    "plan",
    "profile_with",
    "run",
    "seconds",
    "traces",
    "trials",
]
