"""How much of the chapter is measured: the profiles, and what a reader may change of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from retrospective.experiments.timers.settings import (
    APART,
    DOMAIN_SERIES,
    EXACT,
    EXPERIMENTS,
    FACILITIES,
    GRANULARITIES_US,
    MEASURES,
    MIXES,
    NOTHING,
    OURS,
    PRICES,
    PROCESSES,
    SERIES,
    TIMERS,
)


@dataclass(frozen=True)
class Operations:
    """Facilities by mix and number of pending timers, each beside another facility, in so many rounds."""

    facilities: tuple[str, ...]
    mixes: tuple[str, ...]
    timers: tuple[int, ...]
    rounds: int
    beside: str = "wheel"


@dataclass(frozen=True)
class Cells:
    """Series by number of processes and granularity, µs, in so many rounds."""

    series: tuple[str, ...]
    processes: tuple[int, ...]
    granularities_us: tuple[int, ...]
    rounds: int
    measures: tuple[str, ...] = MEASURES


Part = TypeVar("Part", Operations, Cells)


@dataclass(frozen=True)
class Profile:
    """What is measured, and for how long.

    Where two parts name the same cell, the first one's number of rounds counts.
    """

    name: str
    rounds: int
    #: Seconds of an operations probe, at least, and for each pending timer: a slice touches all of them.
    operations_s: float
    operations_s_a_timer: float
    operations: tuple[Operations, ...]
    #: Mix and timers at which the wheel stands beside itself.
    operations_aa: tuple[tuple[str, int], ...]
    #: Series of primitives, and seconds of each.
    prices: tuple[str, ...]
    price_s: float
    #: Of an A/A in a round, and how many rounds have those of the wall.
    replicas: int
    aa_rounds: int
    #: Seconds of a slice, at least, and how many there are, of granularities below 100 ms and of others.
    slice_s: float
    slices: int
    long_slices: int
    cells: Mapping[str, tuple[Cells, ...]] = field(default_factory=dict)
    #: Series beside one another where the domain is judged, and in how many rounds; ``None``: in all there are.
    domain: tuple[str, ...] = DOMAIN_SERIES
    domain_rounds: int | None = None
    #: What is measured of the kernel's timers beside soft ones; nothing: there are none of either.
    soft: tuple[str, ...] = MEASURES
    experiments: tuple[str, ...] = EXPERIMENTS


#: What the ledger judges: the wheel's operations beside nothing, and on connections' time-outs beside libraries'.
_JUDGED_TIMERS = (100_000, 1_000_000)
_EACH_ALONE = (*APART, "rearm")
_LIBRARIES = ("libev", "libuv")
#: Between which numbers of timers a list's operation grows, and a tick of the hashed wheel.
_GROWTH, _A_TICK = (100, 10_000), (1_000, 10_000)
#: Prices that nothing is judged on.
_ASIDE = ("timerfd-moved", "wake-same-cpu (1 process)", "wake-other-cpu")
#: What waking together saves is seen in this crowd: processes, granularity in µs.
_CROWD = (400,), (10_000,)

PROFILES = {
    # Seconds: every experiment has a probe of each kind.
    "smoke": Profile(
        "smoke",
        rounds=1,
        operations_s=0.02,
        operations_s_a_timer=0.0,
        operations=(
            Operations(("wheel", "list", "libev"), ("tcp",), (1_000,), 1),
            Operations(("wheel",), ("rearm",), (1_000,), 1, beside=NOTHING),
        ),
        operations_aa=(("tcp", 1_000),),
        prices=("null-call", "timerfd-reprogrammed"),
        price_s=0.02,
        replicas=2,
        aa_rounds=1,
        slice_s=0.02,
        slices=2,
        long_slices=2,
        cells={
            "wall": (
                Cells(("timerfd", "timerfd (aligned)", "epoll"), (3,), (1_000, 10_000), 1),
                Cells(("domain",), (3,), (10_000,), 1),
                Cells(("timerfd",), (100,), (100,), 1),
            ),
            "shoot-out": (Cells(("uring", "spin"), (1,), (1_000,), 1),),
        },
        domain=DOMAIN_SERIES[:1],
        soft=(),
    ),
    # Three rounds, the least of which an interval means something, of what decides claims, and one of what stands
    # beside it: a minute.
    "quick": Profile(
        "quick",
        rounds=3,
        operations_s=0.05,
        operations_s_a_timer=0.2e-6,
        operations=(
            Operations(("wheel",), _EACH_ALONE, _JUDGED_TIMERS, 3, beside=NOTHING),
            Operations(_LIBRARIES, ("tcp",), (1_000, 100_000), 3),
            Operations(_LIBRARIES, ("tcp",), (100_000,), 3, beside="lazy"),
            Operations(("list", "hashed"), ("cancel",), (100, 1_000), 3),
            Operations((*OURS, "timerfd", NOTHING), ("tcp",), (1_000,), 1),
            Operations(("heap", "heap4", "lazy"), ("tcp",), (100_000,), 1),
            Operations(("heap",), ("cancel",), (100_000,), 1),
        ),
        operations_aa=(("tcp", 1_000), ("tcp", 100_000)),
        prices=tuple(one for one in PRICES if one not in _ASIDE),
        price_s=0.05,
        replicas=4,
        aa_rounds=2,
        slice_s=0.02,
        slices=4,
        long_slices=2,
        cells={
            "wall": (
                Cells(("timerfd",), (400,), (1_000, 250_000), 3, ("cores",)),
                Cells(("timerfd", "timerfd (aligned)"), (100,), (10_000,), 3, ("cores",)),
                Cells(("epoll", "epoll (slack 1 ms)"), (100,), (10_000,), 3),
                Cells(("timerfd", "timerfd (aligned)"), (1, 10, 100, 400), (10_000,), 1),
                Cells(("timerfd",), (1, 10, 100, 400), (1_000,), 1),
                Cells(("timerfd",), (400,), (100_000,), 1),
            ),
            "shoot-out": (Cells(EXACT, (1,), (1_000,), 1),),
        },
        soft=("cores",),
    ),
    "paper": Profile(
        "paper",
        rounds=10,
        operations_s=0.1,
        operations_s_a_timer=0.3e-6,
        operations=(
            Operations(("wheel",), _EACH_ALONE, _JUDGED_TIMERS, 20, beside=NOTHING),
            Operations(_LIBRARIES, ("tcp",), TIMERS, 10),
            Operations(_LIBRARIES, ("tcp",), TIMERS, 10, beside="lazy"),
            Operations(("list", "hashed"), ("cancel",), _GROWTH, 10),
            Operations(("hashed",), ("expiry",), _A_TICK, 10),
            Operations(("wheel",), (*_EACH_ALONE, "cancel"), TIMERS, 3, beside=NOTHING),
            Operations(("heap", "heap4"), ("cancel", "tcp"), (100_000,), 4),
            Operations((*OURS[1:], *_LIBRARIES), APART, _JUDGED_TIMERS[:1], 2),
            Operations(FACILITIES, MIXES, TIMERS[:-1], 2),
            Operations(FACILITIES, ("tcp",), TIMERS[-1:], 2),
        ),
        operations_aa=(("tcp", 1_000), ("tcp", 100_000)),
        prices=tuple(PRICES),
        price_s=0.25,
        replicas=3,
        aa_rounds=10,
        slice_s=0.05,
        slices=7,
        long_slices=4,
        cells={
            "wall": (
                # Hundreds of processes, at what stacks ask for: one timer of the kernel's each, or a periodic tick.
                Cells(("timerfd", "tick"), (400,), (100_000, 250_000), 10),
                Cells(("timerfd",), (400,), (1_000, 10_000), 10),
                Cells(("timerfd (aligned)", "epoll", "epoll (slack 1 ms)"), *_CROWD, 10),
                Cells(("timerfd",), PROCESSES, (1_000, 10_000, 100_000), 5, ("cores",)),
                Cells(("timerfd",), PROCESSES, GRANULARITIES_US, 2),
                Cells(("timerfd (aligned)", "epoll"), (1, 10, 100, 400, 1_000), (1_000, 10_000, 250_000), 2),
                Cells(("epoll (slack 1 ms)", "nanosleep", "uring"), (10, 100, 400), (1_000, 10_000), 2),
                Cells(("tick", "epoll (slack 1 ns)"), (10, 100, 400), (1_000, 10_000), 2),
                Cells(("spin",), (1, 3, 10), (1_000, 10_000), 2),
                Cells(("domain",), (1, 10, 100, 400, 1_000), (1_000, 10_000, 250_000), 2),
                Cells(("domain (aligned)",), (100, 400, 1_000), (1_000, 10_000), 2),
            ),
            "shoot-out": (Cells(EXACT, (1, 100), (1_000, 10_000), 3),),
        },
        domain_rounds=20,
    ),
}


def profile_with(
    name: str,
    *,
    experiments: Sequence[str] | None = None,
    rounds: int | None = None,
    facilities: Sequence[str] | None = None,
    timers: Sequence[int] | None = None,
    drivers: Sequence[str] | None = None,
    processes: Sequence[int] | None = None,
    granularities_us: Sequence[int] | None = None,
    seconds: float | None = None,
) -> Profile:
    """A named profile with what a reader changed in the notebook; ``None`` keeps the profile's own.

    ``rounds`` then holds for everything. ``facilities`` and ``timers`` take the place of those of all operations but
    the A/A's, ``drivers`` (series), ``processes`` and ``granularities_us`` that of all cells of wall and shoot-out.
    ``seconds`` is how long a probe ticks, or repeats operations. Raises ``ValueError`` for what there is not.
    """
    if name not in PROFILES:
        raise ValueError(f"no profile {name!r}: there are {', '.join(PROFILES)}")
    _check("experiment", experiments, EXPERIMENTS)
    _check("facility", facilities, FACILITIES)
    _check("driver", drivers, tuple(SERIES))
    for what, given, most in (
        ("timers", timers, 10_000_000),
        ("processes", processes, 10_000),
        ("granularities_us", granularities_us, 10_000_000),
    ):
        if not all(isinstance(one, int) and 1 <= one <= most for one in given or ()):
            raise ValueError(
                f"{what} are whole numbers from 1 to {most:,}, unlike one of {list(given or ())}"
            )
    if rounds is not None and rounds < 1:
        raise ValueError(f"there is at least one round, not {rounds}")
    if seconds is not None and seconds <= 0:
        raise ValueError(f"a probe lasts longer than {seconds} s")
    profile = PROFILES[name]
    if rounds:
        profile = replace(profile, rounds=rounds, aa_rounds=rounds, domain_rounds=None)
    if seconds:
        profile = replace(profile, operations_s=seconds, slice_s=seconds / profile.slices)
    of_operations = {"facilities": facilities, "timers": timers, "rounds": rounds}
    of_cells = {
        "series": drivers,
        "processes": processes,
        "granularities_us": granularities_us,
        "rounds": rounds,
    }
    return replace(
        profile,
        experiments=tuple(e for e in profile.experiments if not experiments or e in experiments),
        operations=tuple(_changed(part, of_operations) for part in profile.operations),
        cells={
            experiment: tuple(_changed(part, of_cells) for part in parts)
            for experiment, parts in profile.cells.items()
        },
    )


def _changed(part: Part, changes: Mapping[str, Sequence | int | None]) -> Part:
    """A part with what was given instead of its own; of lists, each entry once."""
    given = {
        name: tuple(dict.fromkeys(value)) if isinstance(value, Sequence) else value
        for name, value in changes.items()
        if value
    }
    return replace(part, **given)


def _check(what: str, given: Sequence[str] | None, known: Sequence[str]) -> None:
    if unknown := [word for word in given or () if word not in known]:
        raise ValueError(f"no {what} {', '.join(map(repr, unknown))}: there are {', '.join(known)}")
