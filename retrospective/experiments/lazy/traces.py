"""Servers on web traces, with memory enough for the files or not: from a profile to trials and their rounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from retrospective.experiments.lazy.settings import (
    BASE_SERVER,
    CHAPTER,
    MOST_CLIENTS,
    PEAK_CLIENTS,
    SERVERS,
    TRACE_REQUESTS_PER_CONNECTION,
    TRACE_TIMEOUT_MS,
)
from retrospective.lab.plan import place_by_ratio
from retrospective.lab.storage import Storage
from retrospective.lab.trial import Trial

if TYPE_CHECKING:
    from retrospective.experiments.lazy.profiles import Profile

#: Every client's first request waits in the accept queue at once.
BACKLOG = 2 * MOST_CLIENTS


@dataclass(frozen=True)
class Part:
    """Servers on one trace and storage, each in closed loop with so many ``clients``, or in open loop at ``loads``.

    Loads are ratios to the base server's peak; times are in seconds.
    """

    experiment: str
    workload: str
    storage: Storage
    servers: tuple[str, ...]
    rounds: int
    clients: tuple[int, ...] = ()
    loads: tuple[float, ...] = ()
    warmup_s: float = 0.3
    duration_s: float = 1.0


def _trial(profile: Profile, part: Part, server: str, load: dict[str, Any], place: str, **more: Any) -> Trial:
    design, options = SERVERS[server]
    storage = part.storage
    where = [f"{storage.disk} disk", storage.cache]
    if storage.memory_ratio is not None:
        where.insert(1, f"{storage.memory_ratio:g} × memory")
    asked = {"kind": "trial", "x_ratio": None} | more
    return Trial(
        chapter=CHAPTER,
        experiment=part.experiment,
        profile=profile.name,
        design=design,
        options={"backlog": BACKLOG, **options},
        workload=part.workload,
        load={
            "requests-per-connection": TRACE_REQUESTS_PER_CONNECTION[load["mode"]],
            **load,
            "timeout-ms": TRACE_TIMEOUT_MS[storage.disk],
            "warmup-s": part.warmup_s,
            "duration-s": part.duration_s,
        },
        charge="receiver",
        label=", ".join((server, part.workload, *where, place)),
        storage=storage,
        server=server,
        **asked,
    )


def closed(profile: Profile, part: Part, server: str, clients: int) -> Trial:
    """``clients`` ask one server, each as soon as it has its reply."""
    load = {"mode": "closed", "clients": clients}
    return _trial(profile, part, server, load, f"{clients} clients")


def opened(profile: Profile, part: Part, server: str, target_per_s: float, ratio: float) -> Trial:
    """One server is offered so many requests/s, whatever becomes of them."""
    load = {"mode": "open", "rate": target_per_s, "arrivals": "poisson"}
    return _trial(profile, part, server, load, f"{ratio:g} of {BASE_SERVER}'s peak", x_ratio=ratio)


def peak_trial(profile: Profile, part: Part) -> Trial:
    """Find the base server's peak: a closed loop offers all that it takes, and connects as the open loop does."""
    connects = {"requests-per-connection": TRACE_REQUESTS_PER_CONNECTION["open"]}
    load = {"mode": "closed", "clients": PEAK_CLIENTS, **connects}
    return _trial(profile, part, BASE_SERVER, load, f"{PEAK_CLIENTS} clients", kind="calibration")


def parts(profile: Profile) -> list[Part]:
    """Parts of the experiments that a profile has."""
    return [part for part in profile.parts if part.experiment in profile.experiments]


def calibrations(profile: Profile) -> dict[str, Trial]:
    """Workload -> the trial that finds the peak by which its offered loads are placed."""
    return {part.workload: peak_trial(profile, part) for part in parts(profile) if part.loads}


def of_part(profile: Profile, part: Part, peak_per_s: float = 0.0) -> Iterator[Trial]:
    """All trials of a part; without a peak of the base server, replies/s, none in open loop."""
    loads = part.loads if peak_per_s > 0 else ()
    targets = place_by_ratio(peak_per_s, loads) if loads else ()
    for server in part.servers:
        for clients in part.clients:
            yield closed(profile, part, server, clients)
        for target, ratio in zip(targets, loads, strict=True):
            yield opened(profile, part, server, target, ratio)


def planned(profile: Profile, peaks: Mapping[str, float]) -> Iterator[tuple[Trial, int]]:
    """Trials of a profile and their numbers of rounds; a workload without a peak, replies/s, has no open loop."""
    seen: list[Trial] = []
    for part in parts(profile):
        for trial in of_part(profile, part, peaks.get(part.workload, 0.0)):
            if trial not in seen:  # with a reader's numbers of clients two parts may be the same
                seen.append(trial)
                yield trial, part.rounds
