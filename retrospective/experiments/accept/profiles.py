"""How much of the chapter is measured: the profiles, and what a reader may change of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import servers
from retrospective.experiments.accept.settings import (
    BACKLOG,
    CONCURRENCY_CLIENTS,
    CONCURRENCY_LIMITS,
    EXPERIMENTS,
    FAIRNESS_DURATION_S,
    NGINX_VARIANTS,
    SENSITIVITY_BACKLOGS,
    SENSITIVITY_DEFER_S,
    SENSITIVITY_RATIO,
    SENSITIVITY_TIMEOUTS_MS,
    SENSITIVITY_WORK_US,
    TIMEOUT_MS,
    WORKLOADS,
    kind_of,
)
from retrospective.lab.hosts import CHARGES


@dataclass(frozen=True)
class Series:
    """One curve a limit: a design under one workload and one charge mode, at ratios of its own peak.

    What is not given is that of the workload or of the kind of server.
    """

    workload: str
    design: str
    charge: str
    ratios: tuple[float, ...] = ()
    limits: tuple[str, ...] = ()
    #: Name of the experiment, if it is not the workload's.
    experiment: str = ""
    backlog: int = BACKLOG
    timeout_ms: int | None = None
    defer_accept_s: int = 0
    work_us: int | None = None

    def __post_init__(self) -> None:
        for name, default in (
            ("experiment", self.workload),
            ("limits", kind_of(self.design).limits),
            ("timeout_ms", TIMEOUT_MS[self.workload]),
        ):
            if not getattr(self, name):
                object.__setattr__(self, name, default)

    def base(self) -> Series:
        """The series by whose peak this one's load is placed: the same server, at the workload's own settings."""
        return Series(self.workload, self.design, self.charge, work_us=self.work_us)


@dataclass(frozen=True)
class Concurrency:
    """Closed loop, one request a connection: every design at every limit, with so many clients at a time."""

    designs: tuple[str, ...] = ("poll", "epoll", "uring")
    limits: tuple[str, ...] = CONCURRENCY_LIMITS
    clients: tuple[int, ...] = CONCURRENCY_CLIENTS


@dataclass(frozen=True)
class Profile:
    """How much of the chapter is measured: rounds, seconds a trial, and what of each experiment."""

    name: str
    rounds: int
    #: Warm-up beyond the clients' time-out, seconds: from then on connections time out as steadily as they begin.
    beyond_timeout_s: float
    #: Measuring windows, seconds: of concurrency, where every client counts at once, and of fairness, where requests
    #: that sleep are few, others than that of the rest.
    duration_s: float
    concurrency_s: float
    fairness_s: float
    #: Most trials of the climb to a server's peak.
    calibration_steps: int
    series: tuple[Series, ...]
    concurrency: Concurrency
    #: Label -> workloads, see ``trials.FAIRNESS``; a name that is none of its labels is a design.
    fairness: dict[str, tuple[str, ...]]
    peers: tuple[str, ...]
    nginx: tuple[dict[str, str], ...] = NGINX_VARIANTS
    experiments: tuple[str, ...] = EXPERIMENTS
    #: Instead of the added CPU work of overload and concurrency: a reader's choice.
    work_us: int | None = None
    #: Taken for every series' peak instead of calibrating, requests/s. Only for the smoke profile, which shows that
    #: the machinery runs, not where a knee lies.
    assumed_peak: float | None = None


def _overload(
    design: str,
    one_packet: Sequence[float] = (),
    specweb: Sequence[float] = (),
    *,
    sender: tuple[Sequence[float], Sequence[float]] = ((), ()),
) -> Iterable[Series]:
    """A design's overload series at the given ratios; ``sender`` where the sender pays, in the same order."""
    for charge, ratios_of in (("receiver", (one_packet, specweb)), ("sender", sender)):
        for workload, ratios in zip(WORKLOADS, ratios_of, strict=True):
            if ratios:
                yield Series(workload, design, charge, tuple(ratios))


def _sensitivities() -> Iterable[Series]:
    """The one-packet overload of ``select`` again, with one thing changed at a time."""
    ends = ("1", "inf")

    def series(experiment: str, limits: tuple[str, ...] = ends, **changed: int) -> Series:
        ratios = (SENSITIVITY_RATIO,)
        return Series(
            "one-packet", "select", "receiver", ratios, limits, f"sensitivity-{experiment}", **changed
        )

    yield from (series("backlog", ("1", "10", "inf"), backlog=value) for value in SENSITIVITY_BACKLOGS)
    yield from (series("timeout", timeout_ms=value) for value in SENSITIVITY_TIMEOUTS_MS)
    yield from (series("defer", defer_accept_s=value) for value in SENSITIVITY_DEFER_S)
    yield from (series("work", work_us=value) for value in SENSITIVITY_WORK_US)


_OURS = (
    *("floor", "select", "poll", "epoll", "uring", "uring, no DEFER_TASKRUN"),
    *("drain", "drain-uring", "user-threads", "kernel-threads"),
)

PROFILES = {
    # Seconds: every design serves once, and every experiment has a trial.
    "smoke": Profile(
        "smoke",
        rounds=1,
        beyond_timeout_s=0.0,
        duration_s=0.2,
        concurrency_s=0.2,
        fairness_s=0.2,
        calibration_steps=1,
        series=(
            Series("one-packet", "select", "receiver", (2.0,), ("1", "inf")),
            Series("one-packet", "epoll", "receiver", (2.0,), ("1", "inf")),
            *(
                Series("one-packet", design, "receiver", (2.0,), ("1",))
                for design in ("poll", "uring", "drain", "drain-uring", "user-threads", "kernel-threads")
            ),
            *(s for s in _sensitivities() if s.experiment == "sensitivity-defer" and s.defer_accept_s),
        ),
        concurrency=Concurrency(("epoll",), ("1",), (8,)),
        fairness={"shared": ("mixed",)},
        peers=("floor", "epoll"),
        nginx=NGINX_VARIANTS[:1],
        experiments=tuple(name for name in EXPERIMENTS if name != "peers-overload"),
        assumed_peak=4000.0,
    ),
    # Three rounds, the least of which an interval means something, of few points: little more than a minute.
    "quick": Profile(
        "quick",
        rounds=3,
        beyond_timeout_s=0.05,
        duration_s=0.3,
        concurrency_s=0.25,
        fairness_s=0.8,
        calibration_steps=3,
        series=(
            Series("one-packet", "select", "receiver", (2.0,)),
            Series("one-packet", "drain-uring", "receiver", (2.0,), ("1", "inf")),
            Series("one-packet", "user-threads", "receiver", (2.0,), ("1", "50")),
            Series("specweb99-like", "select", "receiver", (2.0,), ("1", "inf")),
        ),
        concurrency=Concurrency(("epoll",), ("1", "inf"), (8, 256)),
        fairness=dict.fromkeys(("shared", "reuseport"), ("mixed",)),
        peers=("floor", "select", "epoll", "uring"),
        nginx=NGINX_VARIANTS[:1],
        experiments=tuple(name for name in EXPERIMENTS if name != "peers-overload"),
    ),
    "paper": Profile(
        "paper",
        rounds=10,
        beyond_timeout_s=0.1,
        duration_s=0.5,
        concurrency_s=0.3,
        fairness_s=FAIRNESS_DURATION_S,
        calibration_steps=6,
        series=(
            *_overload("select", (0.7, 1.0, 1.4, 2.1), (0.8, 1.2, 2.1), sender=((1.4,), (2.1,))),
            *_overload("drain-uring", (0.7, 1.0, 1.4, 2.1), (0.8, 1.2, 2.1), sender=((1.4,), (2.1,))),
            *_overload("user-threads", (0.7, 1.0, 1.4, 2.1), (1.2, 2.1), sender=((1.4,), (2.1,))),
            Series("specweb99-like", "user-threads", "receiver", (2.1,), ("10",)),
            # Beside the three that stand for 2004's: fewer points.
            *_overload("drain", (1.4, 2.1), (2.1,), sender=((1.4,), (2.1,))),
            *_overload("kernel-threads", (1.4,), (2.1,)),
            *_overload("epoll", (1.0, 1.4, 2.1), (2.1,), sender=((1.4,), ())),
            *_overload("poll", (1.4,)),
            *_overload("uring", (1.4,)),
            *_sensitivities(),
        ),
        concurrency=Concurrency(),
        fairness={
            **dict.fromkeys(("shared", "reuseport"), ("one-packet", "mixed")),
            **dict.fromkeys(("exclusive", "one process", "kernel threads", "user threads"), ("mixed",)),
        },
        peers=_OURS,
    ),
}


def profile_with(
    name: str,
    *,
    experiments: Sequence[str] | None = None,
    rounds: int | None = None,
    designs: Sequence[str] | None = None,
    workloads: Sequence[str] | None = None,
    charges: Sequence[str] | None = None,
    limits: Sequence[str] | None = None,
    ratios: Sequence[float] | None = None,
    work_us: int | None = None,
    duration_s: float | None = None,
) -> Profile:
    """A named profile with what a reader changed in the notebook; ``None`` keeps the profile's own.

    A design that the profile has no overload of takes the place of the first one that it has. Raises ``ValueError`` for
    what there is not, and if nothing of the profile is left.
    """
    if name not in PROFILES:
        raise ValueError(f"no profile {name!r}: there are {', '.join(PROFILES)}")
    _check("experiment", experiments, EXPERIMENTS)
    _check("workload", workloads, WORKLOADS)
    _check("charge", charges, CHARGES)
    _check("design", designs, [*servers.designs()])
    for limit in limits or ():
        if str(limit) != "inf" and not (str(limit).isdecimal() and int(limit) > 0):
            raise ValueError(f"an accept-limit is a whole number above zero or 'inf', not {limit!r}")
    if not all(ratio > 0 for ratio in ratios or ()):
        raise ValueError(f"a ratio to the peak is above zero, unlike one of {list(ratios or ())}")
    if rounds is not None and rounds < 1:
        raise ValueError(f"there is at least one round, not {rounds}")
    if duration_s is not None and duration_s <= 0:
        raise ValueError(f"a trial lasts longer than {duration_s} s")
    profile = replace(
        PROFILES[name],
        rounds=rounds or PROFILES[name].rounds,
        work_us=work_us,
        experiments=tuple(e for e in PROFILES[name].experiments if not experiments or e in experiments),
    )
    if duration_s:
        profile = replace(profile, duration_s=duration_s, concurrency_s=duration_s, fairness_s=duration_s)
    if designs:
        profile = _with_designs(profile, tuple(designs))
    return _narrowed(profile, workloads, charges, limits, ratios)


def _check(what: str, given: Sequence[str] | None, known: Sequence[str]) -> None:
    if unknown := [word for word in given or () if word not in known]:
        raise ValueError(f"no {what} {', '.join(map(repr, unknown))}: there are {', '.join(known)}")


def _with_designs(profile: Profile, designs: tuple[str, ...]) -> Profile:
    """These designs instead of the profile's; peers and fairness, which compare, keep theirs beside a new one."""
    of_series = {s.design for s in profile.series}
    series = [
        s if design == s.design else _moved(s, design)
        for design in designs
        for s in profile.series
        if s.design == (design if design in of_series else profile.series[0].design)
    ]
    new = [d for d in designs if d not in of_series.union(profile.concurrency.designs, profile.peers)]
    return replace(
        profile,
        series=tuple(series),
        concurrency=replace(profile.concurrency, designs=designs),
        peers=(*profile.peers, *new),
        fairness=profile.fairness | dict.fromkeys(new, ("mixed",)),
    )


def _moved(series: Series, design: str) -> Series:
    """The same series for another design; the limits are its own kind's where they were the other's kind's."""
    own = series.limits == kind_of(series.design).limits
    return replace(series, design=design, limits=kind_of(design).limits if own else series.limits)


def _narrowed(
    profile: Profile,
    workloads: Sequence[str] | None,
    charges: Sequence[str] | None,
    limits: Sequence[str] | None,
    ratios: Sequence[float] | None,
) -> Profile:
    """Only these workloads and charges; these limits and ratios everywhere."""
    placing = next(
        (s for s in profile.series if s.experiment == "one-packet" and s.charge == "receiver"), None
    )
    series = [
        s
        for s in profile.series
        if (s.experiment in profile.experiments or (s is placing and "peers-overload" in profile.experiments))
        and (not workloads or s.workload in workloads)
        and (not charges or s.charge in charges)
    ]
    concurrency = profile.concurrency
    if limits:
        series = [replace(s, limits=tuple(str(limit) for limit in limits)) for s in series]
        concurrency = replace(concurrency, limits=tuple(str(limit) for limit in limits))
    if ratios:
        series = [replace(s, ratios=tuple(float(r) for r in ratios)) for s in series]
    # What is not overload is one-packet requests, paid for by whom receives them.
    others = (not workloads or "one-packet" in workloads) and (not charges or "receiver" in charges)
    left = {s.experiment for s in series}
    if others:
        left |= {"concurrency", "fairness", "peers", "peers-overload"}
    left &= set(profile.experiments)
    if not left:
        raise ValueError("nothing is left to measure: check experiments, workloads, charges and designs")
    return replace(
        profile,
        series=tuple(series),
        concurrency=concurrency,
        experiments=tuple(e for e in profile.experiments if e in left),
    )
