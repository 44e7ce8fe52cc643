"""How much of the chapter is measured: the profiles, and what a reader may change of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from retrospective.experiments.lazy.settings import (
    BYTES,
    CALLS,
    CLAIM_BYTES,
    CONCURRENCIES,
    DIRECT_BYTES,
    EXPERIMENTS,
    FITS,
    HELD,
    HIT_SHARES,
    KIB,
    LOADS,
    MOST_CLIENTS,
    SERIES,
    SERVER_WORKLOADS,
    SERVERS,
    SPILLS,
    SURFACE_BYTES,
)
from retrospective.experiments.lazy.traces import Part
from retrospective.lab import traces
from retrospective.lab.storage import Storage

if TYPE_CHECKING:
    from retrospective.lab.probe import Probe
    from retrospective.lab.trial import Trial

Call = tuple[str, str]  # operation, state


@dataclass(frozen=True)
class Grid:
    """Cells of the surface: sizes of a read, shares of reads that are in memory, and reads at a time."""

    bytes: tuple[int, ...] = SURFACE_BYTES
    hit_shares: tuple[float, ...] = HIT_SHARES
    concurrencies: tuple[int, ...] = CONCURRENCIES


@dataclass(frozen=True)
class Profile:
    """What is measured of each experiment, and for how long: seconds a probe, or a trial's window."""

    name: str
    rounds: int
    cost_s: float
    held_s: float
    upcall_s: float
    server_s: float
    #: Series whose costs are measured, at these sizes of a read by state, and for these calls.
    engines: tuple[str, ...]
    sizes: dict[str, tuple[int, ...]]
    calls: tuple[Call, ...]
    #: Series and calls of the matrix.
    held_engines: tuple[str, ...]
    held: tuple[Call, ...]
    #: Series whose upcalls are timed.
    upcalls: tuple[str, ...]
    #: Cells of the surface by series, and seconds of each.
    surface: Mapping[str, Grid]
    surface_s: float
    #: Ratios to the server's own peak, by workload.
    loads: Mapping[str, tuple[float, ...]] = field(
        default_factory=lambda: dict.fromkeys(SERVER_WORKLOADS, LOADS)
    )
    #: Most trials of the climb to that peak; instead of it, for the smoke profile, an assumed one, requests/s.
    calibration_steps: int = 4
    assumed_peak: float | None = None
    experiments: tuple[str, ...] = EXPERIMENTS
    #: Experiments that have a number of rounds of their own.
    rounds_by: Mapping[str, int] = field(default_factory=dict)
    #: Series that are seen once, but for reads of the size that claims are judged at.
    seldom: tuple[str, ...] = ()
    #: Servers on web traces, each part with a number of rounds of its own; those with most come first.
    parts: tuple[Part, ...] = ()

    def rounds_of(self, planned: Probe | Trial) -> int:
        """In how many rounds a probe or trial of the profile takes part."""
        asked = planned.options
        if planned.design in self.seldom and (asked.get("operation"), asked.get("bytes")) != (
            "read",
            CLAIM_BYTES,
        ):
            return 1
        return self.rounds_by.get(planned.experiment, self.rounds)


_MAIN = ("plain", "activation", "uring", "nowait", "posix-aio", "linux-aio")
_UPCALLS = ("activation", "activation (timer)")
_THIN = Grid((CLAIM_BYTES, 64 * KIB), (0.0, 0.9, 1.0), (1, 64))

RICE, BERKELEY = traces.TRACES
_SPILLS, _FITS = Storage("own", SPILLS, "warm"), Storage("own", FITS, "warm")
_SPILLS_COLD, _FITS_COLD = Storage("own", SPILLS, "cold"), Storage("own", FITS, "cold")
#: An arm that seeks and turns: a window must hold several answers of the slowest server to each of its clients.
_SPILLS_2004, _SPILLS_2004_COLD = Storage("2004", SPILLS, "warm"), Storage("2004", SPILLS, "cold")
_SLOWLY = {"warmup_s": 0.6, "duration_s": 2.2}
_BRIEFLY = {"warmup_s": 0.2, "duration_s": 0.4}
_GLIMPSE = {"warmup_s": 0.1, "duration_s": 0.2}
#: A neighbour's burst lasts a second or two: of what is compared one right after the other, short windows and many
#: rounds tell more than long windows.
_IN_TURN = {"warmup_s": 0.2, "duration_s": 0.5}

#: The paper's: what its abstract compares. With today's mechanism; and with what else there was and is.
_OF_2004 = ("NB-B", "NB-AMPED", "NB-LAIO")
_FEW = (*_OF_2004, "NB-LAIO (uring)", "threads")
_BESIDE = ("NB-pool", "LAIO-LAIO", "processes")
_BEGUN = ("NB-LAIO (begun)", "NB-B (begun)")
_JUDGED = (*_FEW, *_BEGUN, "NB-pool")
_ON_ONE_ARM = (*_OF_2004, "threads", *_BEGUN)
#: What laziness costs where all is in memory: nothing, it is said of these; these pay for processes or for each recv.
_TO_BE_ALIKE = ("NB-B", "NB-LAIO", "NB-LAIO (uring)", "NB-LAIO (nowait)")
_TO_BE_DEARER = ("NB-AMPED", "LAIO-LAIO", "LAIO-LAIO (uring)")

PROFILES = {
    # Seconds: every experiment has a probe, and the loop's two ways through the server are taken.
    "smoke": Profile(
        "smoke",
        rounds=1,
        cost_s=0.05,
        held_s=0.05,
        upcall_s=0.05,
        server_s=0.2,
        engines=("plain", "activation", "posix-aio"),
        sizes={"cached": (CLAIM_BYTES,), "cold": (CLAIM_BYTES,)},
        calls=(("pipe", "present"),),
        held_engines=("plain", "activation", "linux-aio"),
        held=(("read", "cold"), ("pipe", "absent")),
        upcalls=("activation",),
        surface={"activation": Grid((CLAIM_BYTES,), (0.9,), (8,))},
        surface_s=0.05,
        loads=dict.fromkeys(SERVER_WORKLOADS, (0.5,)),
        assumed_peak=4_000.0,
        parts=(
            Part("traces", RICE, _SPILLS, ("NB-B", "NB-LAIO"), 1, clients=(16,), **_GLIMPSE),
            Part("traces-open", RICE, _SPILLS, ("NB-LAIO",), 1, loads=(0.5,), **_GLIMPSE),
            # Without a bound on memory, so that it runs without root as well.
            Part("traces-cold", RICE, Storage(cache="cold"), ("NB-LAIO",), 1, clients=(16,), **_GLIMPSE),
            Part("fits-cpu", RICE, _FITS, ("NB-LAIO",), 1, clients=(16,), **_GLIMPSE),
        ),
    ),
    # Three rounds, the least of which an interval means something, of what decides most claims, and one of what stands
    # beside it: a minute and a bit.
    "quick": Profile(
        "quick",
        rounds=3,
        cost_s=0.07,
        held_s=0.07,
        upcall_s=0.25,
        server_s=0.3,
        engines=_MAIN,
        sizes={"cached": (CLAIM_BYTES, 64 * KIB), "cold": (CLAIM_BYTES,)},
        calls=(("pipe", "present"), ("pipe", "absent")),
        held_engines=_MAIN,
        held=(
            ("read", "cold"),
            ("read", "direct"),
            ("fsync", "dirty"),
            ("connect", "full"),
            ("pipe", "absent"),
        ),
        upcalls=_UPCALLS[:1],
        surface={"activation": Grid((CLAIM_BYTES, 64 * KIB), (0.0, 0.9, 1.0), (8,))},
        surface_s=0.15,
        loads={"one-packet": (LOADS[0], LOADS[-1]), "specweb99-like": LOADS[-1:]},
        calibration_steps=3,
        seldom=("plain", "nowait", "posix-aio", "linux-aio"),
        parts=(
            Part("traces", RICE, _SPILLS, (*_OF_2004, "NB-LAIO (uring)"), 2, clients=(64,), **_BRIEFLY),
            Part("traces", RICE, _SPILLS, ("NB-B", "NB-LAIO"), 1, clients=(16,), **_BRIEFLY),
            Part(
                "traces",
                RICE,
                _SPILLS_2004,
                ("NB-B", "NB-LAIO"),
                1,
                clients=(32,),
                warmup_s=0.5,
                duration_s=1.2,
            ),
            Part("fits-cpu", RICE, _FITS, ("NB-B", "NB-LAIO"), 2, clients=(64,), **_BRIEFLY),
        ),
    ),
    "paper": Profile(
        "paper",
        rounds=10,
        cost_s=0.15,
        held_s=0.2,
        upcall_s=1.0,
        server_s=0.8,
        engines=tuple(SERIES),
        sizes={"cached": BYTES, "cold": BYTES, "direct": DIRECT_BYTES},
        calls=CALLS,
        held_engines=tuple(SERIES),
        held=HELD,
        upcalls=_UPCALLS,
        surface={"activation": Grid(), **dict.fromkeys(("uring", "nowait", "pool"), _THIN)},
        surface_s=0.35,
        calibration_steps=6,
        rounds_by={"lazy-cpu": 12, "surface": 3},
        parts=(
            # Who is to be alike within ±5 % has many rounds.
            Part("fits-cpu", RICE, _FITS, _TO_BE_ALIKE, 56, clients=(64,), **_IN_TURN),
            Part("fits-cpu", RICE, _FITS, _TO_BE_DEARER, 12, clients=(64,), **_IN_TURN),
            # A peak is one of these places, and so is that of whom it is compared with: at each there are at least half
            # as many rounds as where there are many clients, which decides most claims.
            Part("traces", RICE, _SPILLS, _JUDGED, 10, clients=(64, 256), duration_s=0.8),
            Part("traces", RICE, _SPILLS, _JUDGED, 20, clients=(MOST_CLIENTS,), duration_s=0.8),
            Part("traces", BERKELEY, _SPILLS, (*_FEW, *_BEGUN), 10, clients=(256,), duration_s=0.8),
            Part("traces", BERKELEY, _SPILLS, (*_FEW, *_BEGUN), 5, clients=(64,), duration_s=0.8),
            Part("traces", RICE, _SPILLS_2004, _ON_ONE_ARM, 10, clients=(16,), **_SLOWLY),
            Part("traces", RICE, _SPILLS_2004, _ON_ONE_ARM, 20, clients=(64,), **_SLOWLY),
            Part("traces", BERKELEY, _SPILLS_2004, _ON_ONE_ARM[:-1], 15, clients=(64,), **_SLOWLY),
            Part("traces", RICE, _SPILLS, tuple(SERVERS), 2, clients=(MOST_CLIENTS,), duration_s=0.8),
            Part("traces", RICE, _SPILLS, _BESIDE[1:], 2, clients=(64, 256), duration_s=0.8),
            Part("traces", RICE, _SPILLS, (*_FEW, *_BEGUN, *_BESIDE), 2, clients=(1, 16), duration_s=0.8),
            Part("traces-open", RICE, _SPILLS, _FEW[:4], 5, loads=(0.5, 0.9)),
            Part("traces-cold", RICE, _SPILLS_COLD, _FEW, 4, clients=(256,)),
            Part("traces-cold", RICE, _FITS_COLD, _FEW, 2, clients=(256,)),
            Part("traces-cold", BERKELEY, _SPILLS_COLD, _FEW, 2, clients=(256,)),
            Part("traces-cold", RICE, _SPILLS_2004_COLD, _ON_ONE_ARM[:4], 3, clients=(64,), **_SLOWLY),
        ),
    ),
}


def profile_with(
    name: str,
    *,
    experiments: Sequence[str] | None = None,
    rounds: int | None = None,
    engines: Sequence[str] | None = None,
    bytes: Sequence[int] | None = None,  # noqa: A002 (the notebook's word)
    seconds: float | None = None,
    servers: Sequence[str] | None = None,
    clients: Sequence[int] | None = None,
) -> Profile:
    """A named profile with what a reader changed in the notebook; ``None`` keeps the profile's own.

    ``rounds`` then holds for everything. ``engines`` takes the place of those of every probe (``plain`` is measured
    beside any other within each), ``bytes`` that of the sizes of a read, ``seconds`` that of every duration,
    ``servers`` that of all servers on traces, ``clients`` that of their closed loops but for CPU per reply. Raises
    ``ValueError`` for what there is not.
    """
    if name not in PROFILES:
        raise ValueError(f"no profile {name!r}: there are {', '.join(PROFILES)}")
    _check("experiment", experiments, EXPERIMENTS)
    _check("engine", engines, tuple(SERIES))
    _check("server", servers, tuple(SERVERS))
    if rounds is not None and rounds < 1:
        raise ValueError(f"there is at least one round, not {rounds}")
    if seconds is not None and seconds <= 0:
        raise ValueError(f"a probe lasts longer than {seconds} s")
    if not all(isinstance(count, int) and count > 0 for count in bytes or ()):
        raise ValueError(f"sizes are whole numbers of bytes above zero, unlike one of {list(bytes or ())}")
    if not all(isinstance(count, int) and 1 <= count <= MOST_CLIENTS for count in clients or ()):
        raise ValueError(
            f"clients are whole numbers from 1 to {MOST_CLIENTS}, unlike one of {list(clients or ())}"
        )
    profile = PROFILES[name]
    if rounds:
        profile = replace(profile, rounds=rounds, rounds_by={}, seldom=())
    profile = replace(
        profile,
        experiments=tuple(e for e in profile.experiments if not experiments or e in experiments),
    )
    if seconds:
        durations = ("cost_s", "held_s", "upcall_s", "surface_s", "server_s")
        profile = replace(profile, **dict.fromkeys(durations, seconds))
    profile = replace(profile, parts=_changed(profile.parts, rounds, seconds, servers, clients))
    if bytes:
        chosen = tuple(dict.fromkeys(int(count) for count in bytes))
        aligned = tuple(count for count in chosen if count % (4 * KIB) == 0)
        sizes = {state: aligned if state == "direct" else chosen for state in profile.sizes}
        surface = {series: replace(grid, bytes=chosen) for series, grid in profile.surface.items()}
        profile = replace(profile, sizes=sizes, surface=surface)
    if engines:
        chosen_engines = tuple(dict.fromkeys(engines))
        profile = replace(
            profile,
            engines=chosen_engines,
            held_engines=chosen_engines,
            upcalls=tuple(e for e in chosen_engines if e in _UPCALLS),
            surface=dict.fromkeys(chosen_engines, profile.surface["activation"]),
        )
    return profile


def _changed(
    parts: tuple[Part, ...],
    rounds: int | None,
    seconds: float | None,
    servers: Sequence[str] | None,
    clients: Sequence[int] | None,
) -> tuple[Part, ...]:
    """Parts with what a reader changed of them."""
    changes: dict[str, Any] = {"rounds": rounds, "duration_s": seconds}
    changes["servers"] = tuple(dict.fromkeys(servers or ()))
    everywhere = {name: value for name, value in changes.items() if value}
    on_traces = {"clients": tuple(dict.fromkeys(clients))} if clients else {}
    return tuple(
        replace(part, **everywhere, **(on_traces if part.clients and part.experiment != "fits-cpu" else {}))
        for part in parts
    )


def _check(what: str, given: Sequence[str] | None, known: Sequence[str]) -> None:
    if unknown := [word for word in given or () if word not in known]:
        raise ValueError(f"no {what} {', '.join(map(repr, unknown))}: there are {', '.join(known)}")
