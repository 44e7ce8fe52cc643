"""One function an experiment: from a profile to probes and trials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from retrospective.experiments.lazy.profiles import Profile
from retrospective.experiments.lazy.settings import (
    BACKLOG,
    CHAPTER,
    CLAIM_BYTES,
    COMPETITORS,
    NEEDS_DROPPED_CACHES,
    PARTNER_CPU,
    REQUESTS_PER_CONNECTION,
    SERIES,
    SERVER_ENGINES,
    SERVER_WORKLOADS,
    TIMEOUT_MS,
    bytes_name,
)
from retrospective.lab.pagecache import can_drop_caches
from retrospective.lab.plan import place_by_ratio
from retrospective.lab.probe import Probe
from retrospective.lab.trial import Trial

#: Warm-up of the server, seconds: connections are open and the file's descriptor is kept.
WARMUP_S = 0.2


def _probe(profile: Profile, experiment: str, series: str, label: str, **options: Any) -> Probe:
    """Make a probe of a series; ``label`` says what of it is measured."""
    engine, watch = SERIES[series]
    asked = {"engine": engine, "watch": watch, "partner-cpu": PARTNER_CPU, **options}
    if options.get("operation") in NEEDS_DROPPED_CACHES and options.get("state") == "cold":
        asked["drop-caches"] = can_drop_caches()
    return Probe(
        chapter=CHAPTER,
        experiment=experiment,
        kind="trial",
        profile=profile.name,
        design=series,
        options={name: value for name, value in asked.items() if value is not None},
        label=f"{series}: {label}",
    )


def _named(operation: str, state: str, count: int | None = None) -> str:
    words = (operation, state, bytes_name(count) if count else None)
    return " ".join(word for word in words if word)


def cost(profile: Profile) -> Iterator[Probe]:
    """What a call costs from its beginning until its result is there, beside the plain call in the same loop."""
    for series in profile.engines:
        for state, sizes in profile.sizes.items():
            for count in sizes:
                yield _probe(
                    profile,
                    "cost",
                    series,
                    _named("read", state, count),
                    operation="read",
                    state=state,
                    bytes=count,
                    seconds=profile.cost_s,
                )
        for operation, state in profile.calls:
            yield _probe(
                profile,
                "cost",
                series,
                _named(operation, state),
                operation=operation,
                state=state,
                seconds=profile.cost_s,
            )


def held(profile: Profile) -> Iterator[Probe]:
    """How long a call holds its caller, beside the plain call in turn."""
    for series in profile.held_engines:
        for operation, state in profile.held:
            yield _probe(
                profile,
                "held",
                series,
                _named(operation, state),
                operation=operation,
                state=state,
                bytes=CLAIM_BYTES if operation in ("read", "write") else None,
                seconds=profile.held_s,
            )


def upcall(profile: Profile) -> Iterator[Probe]:
    """From a call that blocks until the loop goes on, the other CPU being idle, or a thread computing on it."""
    for series in profile.upcalls:
        for busy in ("no", "yes"):
            words = "other CPU busy" if busy == "yes" else "other CPU idle"
            yield _probe(profile, "upcall", series, f"upcall, {words}", busy=busy, seconds=profile.upcall_s)


def preempted(profile: Profile) -> Iterator[Probe]:
    """Calls that do not block, on a CPU that others want, too: losing it may not be taken for a block."""
    for series in profile.upcalls:
        yield _probe(
            profile,
            "preempted",
            series,
            "preempted",
            competitors=COMPETITORS,
            seconds=profile.upcall_s,
        )


def sleep(profile: Profile) -> Iterator[Probe]:
    """What watching adds to a loop that sleeps in a call of its own, with and without the engine."""
    for series in profile.upcalls:
        yield _probe(profile, "sleep", series, "sleep", seconds=profile.upcall_s)


def surface(profile: Profile) -> Iterator[Probe]:
    """Reads that are lazy beside eager ones, by size, share that is in memory, and reads at a time."""
    for series, grid in profile.surface.items():
        for count, share, at_a_time in product(grid.bytes, grid.hit_shares, grid.concurrencies):
            yield _probe(
                profile,
                "surface",
                series,
                f"read {bytes_name(count)}, {share:.0%} in memory, {at_a_time} at a time",
                bytes=count,
                **{"hit-share": share, "concurrency": at_a_time},
                seconds=profile.surface_s,
            )


def server(
    profile: Profile,
    workload: str,
    engine: str,
    target_per_s: float,
    ratio: float | None,
    kind: str = "trial",
) -> Trial:
    """Offer the server ``lazy`` requests of cached files in open loop, on persistent connections."""
    words = [engine]
    if workload != SERVER_WORKLOADS[0]:
        words.append(workload)
    if ratio is not None:
        words.append(f"{ratio:g} of the peak")
    return Trial(
        chapter=CHAPTER,
        experiment="lazy-cpu",
        kind=kind,
        profile=profile.name,
        design="lazy",
        options={"backlog": BACKLOG, "engine": engine},
        workload=workload,
        load={
            "mode": "open",
            "rate": target_per_s,
            "requests-per-connection": REQUESTS_PER_CONNECTION,
            "timeout-ms": TIMEOUT_MS,
            "warmup-s": WARMUP_S,
            "duration-s": profile.server_s,
        },
        charge="receiver",
        x_ratio=ratio,
        label=", ".join(words),
    )


def servers_under_load(profile: Profile, peaks: Mapping[str, float]) -> Iterator[Trial]:
    """Both engines in the same server, offered the same; a workload without a peak is left out."""
    for workload, ratios in profile.loads.items():
        peak_per_s = peaks.get(workload, 0.0)
        if peak_per_s > 0:
            for ratio, target in zip(ratios, place_by_ratio(peak_per_s, ratios), strict=True):
                for engine in SERVER_ENGINES:
                    yield server(profile, workload, engine, target, ratio)


def compared(planned: Probe | Trial) -> tuple[Any, ...] | None:
    """Return what a trial of a server shares with those that it is compared with; ``None`` for a probe.

    A few percent decide, and a neighbour's burst lasts seconds: a :class:`Plan` has those that share it follow one
    another.
    """
    if isinstance(planned, Probe):
        return None
    place = planned.x_ratio or planned.load.get("clients")
    return (planned.experiment, planned.workload, planned.storage, place)


PROBES = {
    "cost": cost,
    "held": held,
    "upcall": upcall,
    "preempted": preempted,
    "sleep": sleep,
    "surface": surface,
}
