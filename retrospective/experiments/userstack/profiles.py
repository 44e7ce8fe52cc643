"""How much of the chapter is measured: the profiles, and what a reader may change of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from retrospective.experiments.userstack.settings import (
    CELL_BYTES,
    CELL_S,
    CONGESTIONS,
    EXPERIMENTS,
    IMPAIRMENTS,
    LIVE_SENDERS,
    LIVE_TIMERS,
    SENDERS,
    SERIES,
    WRITE_BYTES,
)
from retrospective.lab.stacks import STACKS


@dataclass(frozen=True)
class Cells:
    """Impairments by congestion control, in so many rounds, each with lots of its own."""

    impairments: tuple[str, ...]
    congestions: tuple[str, ...]
    rounds: int


@dataclass(frozen=True)
class Profile:
    """What is measured, and for how long.

    A cell ends after ``cell_bytes`` or ``cell_s``. Where two parts name the same cell, the first one's number of rounds
    counts.
    """

    name: str
    rounds: int
    series: tuple[tuple[str, str], ...]
    #: Seconds of each run, and sizes of writes.
    write_bytes: tuple[int, ...]
    bulk_s: float
    rtt_s: float
    serve_s: float
    #: Of servers that sample themselves, and in how many rounds.
    where_s: float
    where_rounds: int
    cells: tuple[Cells, ...]
    cell_bytes: int = CELL_BYTES
    cell_s: float = CELL_S
    #: Of incast, and blocks that each sends, one after the other.
    senders: tuple[int, ...] = SENDERS
    blocks: int = 50
    #: The same of incast by the clock, its least time-outs with their ticks, and in how many rounds.
    live_senders: tuple[int, ...] = LIVE_SENDERS
    live_blocks: int = 5
    live_timers: tuple[tuple[int, int], ...] = LIVE_TIMERS
    live_rounds: int = 6
    experiments: tuple[str, ...] = EXPERIMENTS


_ALL = tuple(IMPAIRMENTS)

PROFILES = {
    # Seconds: every experiment once.
    "smoke": Profile(
        "smoke",
        rounds=1,
        series=((SERIES[0]), SERIES[3]),
        write_bytes=(16384,),
        bulk_s=0.1,
        rtt_s=0.05,
        serve_s=0.1,
        where_s=0.2,
        where_rounds=1,
        cells=(Cells(("loss 0.1 %",), ("cubic",), 1),),
        cell_bytes=1 << 20,
        cell_s=1.0,
        senders=(16,),
        blocks=5,
        live_senders=(16,),
        live_blocks=1,
        live_timers=LIVE_TIMERS[2:3],
        live_rounds=1,
    ),
    # Three rounds, the least of which an interval means something, and some of the cells: a minute.
    "quick": Profile(
        "quick",
        rounds=3,
        series=(SERIES[0], SERIES[2], SERIES[3], SERIES[4]),
        write_bytes=(64, 1024, 16384),
        bulk_s=0.15,
        rtt_s=0.1,
        serve_s=0.3,
        where_s=1.0,
        where_rounds=1,
        cells=(Cells(("loss 0.1 %", "loss 1 %, delay 10 ms", "delay 10 ms", "mix"), ("cubic",), 3),),
        cell_bytes=8 << 20,
        cell_s=3.0,
        senders=(4, 16, 64),
        blocks=20,
        live_senders=(4, 64),
        live_blocks=2,
        live_timers=(LIVE_TIMERS[0], LIVE_TIMERS[2]),
        live_rounds=3,
    ),
    "paper": Profile(
        "paper",
        rounds=10,
        series=SERIES,
        write_bytes=WRITE_BYTES,
        bulk_s=0.4,
        rtt_s=0.5,
        serve_s=1.0,
        where_s=2.0,
        where_rounds=3,
        cells=(Cells(_ALL, CONGESTIONS, 10),),
    ),
}


def profile_with(
    name: str,
    *,
    experiments: Sequence[str] | None = None,
    rounds: int | None = None,
    stacks: Sequence[str] | None = None,
    write_bytes: Sequence[int] | None = None,
    impairments: Sequence[str] | None = None,
    congestions: Sequence[str] | None = None,
    seconds: float | None = None,
) -> Profile:
    """A named profile with what a reader changed in the notebook; ``None`` keeps the profile's own.

    ``rounds`` then holds for everything; ``seconds`` is how long each run lasts, and a cell at most. Raises
    ``ValueError`` for what there is not.
    """
    if name not in PROFILES:
        raise ValueError(f"no profile {name!r}: there are {', '.join(PROFILES)}")
    _check("experiment", experiments, EXPERIMENTS)
    _check("stack", stacks, STACKS)
    _check("impairment", impairments, _ALL)
    _check("congestion control", congestions, CONGESTIONS)
    if not all(isinstance(one, int) and 1 <= one <= 65536 for one in write_bytes or ()):
        raise ValueError(f"a write has 1 to 65,536 bytes, unlike one of {list(write_bytes or ())}")
    if rounds is not None and rounds < 1:
        raise ValueError(f"there is at least one round, not {rounds}")
    if seconds is not None and seconds <= 0:
        raise ValueError(f"a run lasts longer than {seconds} s")
    profile = PROFILES[name]
    if rounds:
        profile = replace(profile, rounds=rounds, where_rounds=rounds, live_rounds=rounds)
    if seconds:
        profile = replace(
            profile, bulk_s=seconds, rtt_s=seconds, serve_s=seconds, where_s=seconds, cell_s=seconds
        )
    cells = profile.cells[:1] if impairments or congestions else profile.cells
    return replace(
        profile,
        experiments=tuple(e for e in profile.experiments if not experiments or e in experiments),
        series=tuple(one for one in profile.series if not stacks or one[0] in stacks),
        write_bytes=tuple(dict.fromkeys(write_bytes)) if write_bytes else profile.write_bytes,
        cells=tuple(
            Cells(
                tuple(dict.fromkeys(impairments)) if impairments else part.impairments,
                tuple(dict.fromkeys(congestions)) if congestions else part.congestions,
                rounds or part.rounds,
            )
            for part in cells
        ),
    )


def _check(what: str, given: Sequence[str] | None, known: Sequence[str]) -> None:
    if unknown := [word for word in given or () if word not in known]:
        raise ValueError(f"no {what} {', '.join(map(repr, unknown))}: there are {', '.join(known)}")
