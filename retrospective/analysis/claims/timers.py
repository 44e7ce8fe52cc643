"""What was said of timers: Vogels' first remark (V1), as far as it needs no network, and those who made timers cheap.

Not one author but the literature of four decades is asked here: Varghese & Lauck 1987, Aron & Druschel 1999, Linux's
wheel of 2016. What is published as a bound is tested as one. Nobody pays for packets: there are none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from retrospective.analysis import probes, timers
from retrospective.analysis.claims.claim import Claim, Tests, tested, whole
from retrospective.analysis.claims.lazy import NOBODY
from retrospective.analysis.evidence import Evidence, effect
from retrospective.analysis.formatting import fmt_integer, fmt_percent, fmt_us
from retrospective.analysis.mechanisms import Cause, Mechanism
from retrospective.analysis.statistics import Test
from retrospective.analysis.timers import CANCEL, CORES, EXPIRY, STACKS, TABLE_SIZE, TICKLESS, WHEEL, Cell

VARGHESE = "Varghese & Lauck 1987"
ARON = "Aron & Druschel 1999"
GLEIXNER = "Linux's timer wheel of 2016"

#: Beyond what caches explain: what an operation of O(1) may cost with a hundred times as many timers, relative.
FLAT = 2.0
FEW, MANY = 100, 10_000
#: "2–6 %" of the CPU, its upper end.
SOFT_LOSS = 0.06


def per_tick(count: int) -> float:
    """Varghese and Lauck's instructions of a tick of the hashed wheel that holds so many timers."""
    return 4 + 15 * count / TABLE_SIZE


# ------------------------------------------------------------------------------------------------- tests


def _wall(evidence: Evidence) -> list[Test]:
    """Hundreds of processes with a timer of 1 ms each: half of all CPUs are spent, and yet expiries are missed."""
    cells = timers.coarse_and_fine(evidence.frame)
    if cells is None:
        return []
    coarse, fine = (timers.at_cell(evidence.frame, cell, CORES) for cell in cells)
    burnt = probes.of(fine, "cores", TICKLESS)
    half = timers.cpus(evidence.frame) / 2
    where = f"{fmt_integer(cells[1].processes)} processes × {fmt_us(cells[1].granularity_us)}"
    beside = probes.of(coarse, "cores", TICKLESS)
    return whole(
        [
            tested(f"{where}: cores burnt ÷ half of all CPUs", effect(burnt / half), "matches", least=1.0),
            tested(
                f"{where}: cores burnt ÷ with {fmt_us(cells[0].granularity_us)} each", effect(burnt / beside)
            ),
        ]
    )


def _periodic(evidence: Evidence) -> list[Test]:
    """As many processes, their ticks 2.5 times as frequent: 2.5 times the cores."""
    found = _lwip_and_eros(evidence.frame)
    if found is None:
        return []
    series, slow, fast = found
    burnt = [timers.cores(evidence.frame, series, cell) for cell in (fast, slow)]
    times = slow.granularity_us / fast.granularity_us
    told = f"{fmt_integer(slow.processes)} processes ({series}): cores at 100 ms ÷ at 250 ms, ÷ {times:g}"
    return tested(told, effect((burnt[0] / burnt[1] / times).dropna()), "equal")


def _lwip_and_eros(frame: pd.DataFrame) -> tuple[str, Cell, Cell] | None:
    """The periodic driver, or else a periodic timer each, and the most processes that have both granularities."""
    for series in (timers.TICK, TICKLESS):
        there = timers.cells(frame, series)
        counts = [cell.processes for cell in there if cell.granularity_us == STACKS["lwIP"]]
        both = [count for count in counts if Cell(count, STACKS["EROS"]) in there]
        if both:
            return series, Cell(max(both), STACKS["lwIP"]), Cell(max(both), STACKS["EROS"])
    return None


def _constant_time(evidence: Evidence) -> list[Test]:
    """A sorted list's start grows with what is pending; a wheel's does not, beyond what caches explain."""
    grows = timers.growth(evidence.frame, "list", CANCEL, FEW, MANY)
    counts = f"{fmt_integer(MANY)} timers ÷ {fmt_integer(FEW)}"
    flat = [
        tested(
            f"cancel and start in {facility}, {fmt_integer(FEW)} timers ÷ {fmt_integer(MANY)}",
            effect(1 / timers.growth(evidence.frame, facility, CANCEL, FEW, MANY)),
            "matches",
            least=1 / FLAT,
        )
        for facility in ("hashed", WHEEL)
    ]
    return whole([tested(f"cancel and start in a sorted list, {counts}", effect(grows)), *flat])


def _per_tick(evidence: Evidence) -> list[Test]:
    few, many = (timers.tick_ns(evidence.frame, count) for count in (1_000, 10_000))
    told = "a tick of the hashed wheel, 10,000 timers ÷ 1,000"
    return tested(told, effect((many / few).dropna()), size=per_tick(10_000) / per_tick(1_000))


def _soft(evidence: Evidence) -> list[Test]:
    """At every period soft timers leave at least 94 % of the work, and more than interrupts do."""
    frame, found = evidence.frame, []
    bare = timers.work(frame, timers.bare_work(frame))
    for period in timers.soft_periods(frame):
        soft, interrupts = (timers.work(frame, design, period) for design in ("soft", TICKLESS))
        found.append(
            tested(
                f"every {fmt_us(period)}: work with soft timers ÷ without timers",
                effect((soft / bare).dropna()),
                "matches",
                least=1 - SOFT_LOSS,
            )
        )
        told = f"every {fmt_us(period)}: work with soft timers ÷ what interrupts and wake-ups leave"
        found.append(tested(told, effect((soft / bare / interrupts).dropna())))
    return whole(found)


# ------------------------------------------------------------------------------------------------- causes

Sides = tuple[pd.Series, pd.Series]


def moved(name: str, part: Callable[[pd.DataFrame], Sides | None]) -> Mechanism:
    """Make a cause of the quotient of two counters, a value a round each; nothing where they were not counted."""

    def cause(evidence: Evidence) -> Cause:
        over, under = part(evidence.frame) or (pd.Series(dtype=float), pd.Series(dtype=float))
        return Cause(name, effect((over / under).dropna()))

    return cause


def counted(
    name: str,
    column: str,
    over: str,
    under: str,
    experiment: str,
    place: Callable[[pd.DataFrame], Cell | None],
) -> Mechanism:
    """Compare how often two series did something a second at one cell."""

    def part(frame: pd.DataFrame) -> Sides | None:
        cell = place(frame)
        if cell is None:
            return None
        found = timers.at_cell(frame, cell, CORES, experiment)
        return timers.per_s(found, column, over), timers.per_s(found, column, under)

    return moved(f"{name} a second, {over} ÷ {under}", part)


def _interrupts_fine(frame: pd.DataFrame) -> Sides | None:
    cells = timers.coarse_and_fine(frame)
    if cells is None:
        return None
    coarse, fine = (timers.per_s(timers.at_cell(frame, cell), "timer_interrupts", TICKLESS) for cell in cells)
    return fine, coarse


def _wakeups_fast(frame: pd.DataFrame) -> Sides | None:
    found = _lwip_and_eros(frame)
    if found is None:
        return None
    series, slow, fast = found
    over, under = (timers.per_s(timers.at_cell(frame, cell), "wakeups", series) for cell in (fast, slow))
    return over, under


def steps_grow(facility: str, beside: str, mix: str, few: int = FEW, many: int = MANY) -> Mechanism:
    """What is walked through grows with what is pending in one facility, and less in the other."""

    def part(frame: pd.DataFrame) -> Sides:
        ours, theirs = (
            (timers.steps(frame, one, mix, many) + 1) / (timers.steps(frame, one, mix, few) + 1)
            for one in (facility, beside)
        )
        return ours, theirs

    return moved(
        f"growth of the links and entries looked at in an operation, {facility} ÷ {beside}",
        part,
    )


def more_steps(facility: str, beside: str, mix: str, count: int) -> Mechanism:
    """More is walked through in an operation of one facility than of the other."""

    def part(frame: pd.DataFrame) -> Sides:
        ours, theirs = (timers.steps(frame, one, mix, count) + 1 for one in (facility, beside))
        return ours, theirs

    where = f"with {fmt_integer(count)} timers"
    return moved(
        f"links and entries looked at in an operation {where}, plus one, {facility} ÷ {beside}", part
    )


def _steps_of_a_tick(frame: pd.DataFrame) -> Sides:
    many, few = (timers.steps(frame, "hashed", EXPIRY, count) * count for count in (10_000, 1_000))
    return many, few


def _soft_interrupts(frame: pd.DataFrame) -> Sides | None:
    periods = timers.soft_periods(frame)
    if not periods:
        return None
    soft = timers.trials(frame, "soft", design="soft", granularity_us=periods[0])
    waking = timers.trials(frame, "soft", design=TICKLESS, granularity_us=periods[0], measure=CORES)
    # Soft timers may do without any interrupt, and none has no logarithm.
    over, under = (
        timers.per_s(found, "timer_interrupts", series) + 1
        for found, series in ((waking, TICKLESS), (soft, "soft"))
    )
    return over, under


def unnamed(_: Evidence) -> Cause:
    """The cause of what no counter here shows."""
    return Cause("no counter tells", effect(pd.Series(dtype=float)))


# ------------------------------------------------------------------------------------------------- claims


def claim(
    name: str, source: str, statement: str, published: str, test: Tests, cause: Mechanism, **more: Any
) -> Claim:
    """Make a claim of this chapter."""
    own = {"design": WHEEL, "chapter": timers.CHAPTER, "charges": NOBODY}
    return Claim(name, source, statement, published, test, cause, **own | more)


def _none(_: Evidence) -> list[Test]:
    return []


def claims() -> list[Claim]:
    """Vogels' (V1), then of those who made timers cheap, by year."""
    return [
        claim(
            "V1",
            "Vogels 2004",
            "How to run hundreds of processes, each with a user-level stack that asks for very fine granularity "
            "timers, is a hard problem: with a single timer of 1 ms each, and no stack at all, they spend more than "
            "half of this machine's CPUs, and far more than with the coarse timers that such stacks have.",
            "no number",
            _wall,
            moved("timer interrupts a second, 1 ms ÷ 250 ms", _interrupts_fine),
            design=TICKLESS,
            floor="wall",
            note="The first half of the remark: timers alone. Stacks follow in their own chapter.",
        ),
        claim(
            "V1-tick",
            "the arithmetic behind V1",
            "A periodic tick costs each process a wake-up: what hundreds of them burn grows as processes ÷ "
            "granularity.",
            "2.5 times from 250 to 100 ms",
            _periodic,
            moved("wake-ups a second, 100 ms ÷ 250 ms", _wakeups_fast),
            design=timers.TICK,
            floor="wall",
        ),
        claim(
            "VL1",
            VARGHESE,
            "Starting and stopping a timer in a wheel costs the same however many are pending; in a sorted list it "
            "grows with them.",
            "O(1)",
            _constant_time,
            steps_grow("list", WHEEL, CANCEL),
        ),
        claim(
            "VL2",
            VARGHESE,
            "A tick of the hashed wheel costs a constant, and a part in proportion to n ÷ TableSize.",
            "4 + 15 n ÷ TableSize instructions",
            _per_tick,
            moved("entries looked at in a tick, 10,000 timers ÷ 1,000", _steps_of_a_tick),
            design="hashed",
            note="Published are instructions; what is compared is how a tick's price grows from 1,000 to 10,000 "
            f"timers with a table of {fmt_integer(TABLE_SIZE)}. Here each timer that is looked at is due, and is "
            "started again.",
        ),
        claim(
            "AD1",
            ARON,
            "Soft timers, checked where a busy program comes by anyway, give tens of µs at "
            f"{fmt_percent(SOFT_LOSS)} of the CPU or less, where interrupts cost more.",
            "2–6 %",
            _soft,
            moved("timer interrupts a second, timerfd ÷ soft", _soft_interrupts),
            design="soft",
            floor="wall",
            analog=True,
            note="Theirs were checked in the kernel, where system calls and interrupts end; ours in the loop of a "
            "busy process, which can be had without a kernel of one's own: an analog.",
        ),
        claim(
            "LW1",
            GLEIXNER,
            "A wheel that does not cascade is late by at most 12.5 % of how far ahead a timer was.",
            "12.5 %",
            _none,
            unnamed,
            untestable="the bound is arithmetic and no measurement: servers/tests/test_timers.c holds every expiry to "
            "granularity()",
        ),
        claim(
            "LW2",
            GLEIXNER,
            "Nearly all time-outs are cancelled or re-armed before they expire.",
            "99 % of 1 ms timers",
            _none,
            unnamed,
            untestable="it speaks of what programs do, not of what timers cost: the TCP-like mix assumes it",
        ),
    ]
