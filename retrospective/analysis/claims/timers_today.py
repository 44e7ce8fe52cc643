"""Questions about timers that the literature leaves open: what a wheel costs today, and a wake-up, and who shares.

The bounds are this project's own promises, each tested as a lower or upper bound: its interval must lie beyond it.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from retrospective.analysis import probes, timers
from retrospective.analysis.claims.claim import Claim, Tests, tested, whole
from retrospective.analysis.claims.timers import claim, counted, more_steps, unnamed
from retrospective.analysis.evidence import Evidence, effect
from retrospective.analysis.formatting import fmt_integer, fmt_us
from retrospective.analysis.mechanisms import Mechanism
from retrospective.analysis.statistics import Test
from retrospective.analysis.timers import (
    ALIGNED,
    CANCEL,
    CORES,
    DOMAIN,
    DOMAIN_ALIGNED,
    LAZY_WHEEL,
    LIBRARIES,
    REARM,
    START,
    STOP,
    TCP,
    TICKLESS,
    WHEEL,
    Cell,
)

#: What an operation of the wheel may cost, ns, by how many timers are pending.
WHEEL_BOUND_NS = {100_000: 20.0, 1_000_000: 80.0}
#: What the bound is of.
OPERATIONS = {START: "start", STOP: "cancel", REARM: "re-arm"}
#: How many times faster than a library's loop the wheel is to be.
FASTER = 2.0
#: How many operations a wake-up is worth, at least, where the data structure is not the cost.
WORTH = 100.0
#: How many times its floor the shared domain may burn, and how many times less than a timer a process.
NEAR_FLOOR, FEWER = 2.0, 2.0
#: What re-programming the hardware deadline makes of arming a timer, at least.
REPROGRAMMED = 2.0
#: Which of our heaps is like a library's own.
HEAPS = {"libev": "heap4", "libuv": "heap"}
#: Crowds in which waking together is compared with waking apart.
APART_US = 10_000


# ------------------------------------------------------------------------------------------------- tests


def _wheel_s_price(evidence: Evidence) -> list[Test]:
    return whole(
        [
            tested(
                f"{fmt_integer(count)} timers, {what}: {bound:g} ns ÷ price",
                effect(bound / timers.alone(evidence.frame, WHEEL, mix, count)),
                "matches",
                least=1.0,
            )
            for count, bound in WHEEL_BOUND_NS.items()
            for mix, what in OPERATIONS.items()
        ]
    )


def _faster_than(library: str, wheel: str = WHEEL) -> Tests:
    """At every number of timers the library's take at least twice as long for the TCP-like mix."""

    def tests(evidence: Evidence) -> list[Test]:
        frame = evidence.frame
        counts = sorted({*timers.sizes(frame, TCP, library), *timers.sizes(frame, TCP)})
        return [
            test
            for count in counts
            for test in tested(
                f"TCP-like mix, {fmt_integer(count)} timers: {library} ÷ {wheel}, the loop's own taken off",
                effect(timers.over_wheel_alone(frame, library, TCP, count, wheel=wheel)),
                "matches",
                least=FASTER,
            )
        ]

    return tests


def crowd(frame: pd.DataFrame, over: str, under: str) -> Cell | None:
    """Hundreds of processes every 10 ms, as many as both were measured with."""
    both = set(timers.cells(frame, over)) & set(timers.cells(frame, under))
    first, last = timers.HUNDREDS
    there = [cell for cell in both if first <= cell.processes <= last and cell.granularity_us == APART_US]
    return max(there, default=None)


def _fewer_cores(evidence: Evidence, over: str, under: str) -> list[Test]:
    cell = crowd(evidence.frame, over, under)
    if cell is None:
        return []
    ratios = probes.over(timers.at_cell(evidence.frame, cell), "cores", over, under)
    where = f"{fmt_integer(cell.processes)} processes × {fmt_us(cell.granularity_us)}"
    return tested(f"{where}: cores burnt, {over} ÷ {under}", effect(ratios))


def _wake_up(evidence: Evidence) -> list[Test]:
    count = min(WHEEL_BOUND_NS)
    one = timers.alone(evidence.frame, WHEEL, REARM, count)
    told = f"a timer's wake-up ÷ a re-arm in the wheel, of {fmt_integer(count)} timers"
    ratios = (timers.price(evidence.frame, "timer-wake") / one).dropna()
    return whole(
        [
            tested(told, effect(ratios), "matches", least=WORTH),
            _fewer_cores(evidence, TICKLESS, ALIGNED),
        ]
    )


def _slack(evidence: Evidence) -> list[Test]:
    fewer = _fewer_cores(evidence, "epoll", "epoll (slack 1 ms)")
    cell = crowd(evidence.frame, "epoll", "epoll (slack 1 ms)")
    if cell is None:
        return []
    late = [
        timers.lateness(evidence.frame, series, cell, "p50") for series in ("epoll (slack 1 ms)", "epoll")
    ]
    later = tested(
        "median lateness, with 1 ms ÷ with the kernel's 50 µs", effect((late[0] / late[1]).dropna())
    )
    return whole([fewer, later])


def _reprogrammed(evidence: Evidence) -> list[Test]:
    armed = [timers.price(evidence.frame, f"timerfd-{how}") for how in ("reprogrammed", "untouched")]
    told = "timerfd_settime where it becomes the earliest ÷ where an earlier one pends"
    return tested(told, effect((armed[0] / armed[1]).dropna()), "matches", least=REPROGRAMMED)


def _near_floor(evidence: Evidence) -> list[Test]:
    ratios = 1 / timers.domain_floor(evidence.frame)
    told = "floor (a wake-up on the same CPU for each expiry) ÷ cores burnt by the domain"
    return tested(told, effect(ratios), "matches", least=1 / NEAR_FLOOR)


def _shared(domain: str) -> Tests:
    """At least twice fewer cores than a timer a process, no later than timers on a common grid."""

    def tests(evidence: Evidence) -> list[Test]:
        cell = timers.domain_cell(evidence.frame)
        if cell is None:
            return []
        burnt = timers.at_cell(evidence.frame, cell, CORES, "domain")
        cores = probes.over(burnt, "cores", TICKLESS, domain)
        late = [timers.lateness(evidence.frame, one, cell, "p99", "domain") for one in (ALIGNED, domain)]
        where = f"{fmt_integer(cell.processes)} processes × {fmt_us(cell.granularity_us)}"
        return whole(
            [
                tested(f"{where}: cores burnt, {TICKLESS} ÷ {domain}", effect(cores), "matches", least=FEWER),
                tested(
                    f"{where}: p99 lateness, {ALIGNED} ÷ {domain}",
                    effect((late[0] / late[1]).dropna()),
                    "matches",
                    least=1.0,
                ),
            ]
        )

    return tests


# ------------------------------------------------------------------------------------------------- claims


def _domains_interrupts(domain: str) -> Mechanism:
    return counted("timer interrupts", "timer_interrupts", TICKLESS, domain, "domain", timers.domain_cell)


def _question(
    name: str,
    of: str,
    statement: str,
    test: Tests,
    cause: Mechanism,
    published: str = "no number",
    **more: Any,
) -> Claim:
    return claim(
        name,
        f"extension: {of}",
        statement,
        published,
        test,
        cause,
        **{"extension": True, "floor": "wall"} | more,
    )


def claims() -> list[Claim]:
    """In the order of the chapter."""
    bounds = " and ".join(f"{ns:g} ns with {fmt_integer(count)}" for count, ns in WHEEL_BOUND_NS.items())
    return [
        _question(
            "VL-wheel",
            "Varghese & Lauck's constants today",
            f"Starting, cancelling and re-arming one of our wheel's timers costs at most {bounds} of them.",
            _wheel_s_price,
            more_steps("heap", WHEEL, CANCEL, 100_000),
            floor=timers.CHAPTER,
        ),
        *(
            _question(
                f"VL-{library}",
                "what event loops use instead",
                f"On the TCP-like mix our wheel is at least {FASTER:g} times as fast as {library}'s timers.",
                _faster_than(library),
                more_steps(HEAPS[library], WHEEL, TCP, 100_000),
                design=library,
                floor=timers.CHAPTER,
            )
            for library in LIBRARIES
        ),
        *(
            _question(
                f"VL-{library}-lazy",
                "what event loops use instead",
                f"With lazy re-arming it is at least {FASTER:g} times as fast as {library}'s timers.",
                _faster_than(library, LAZY_WHEEL),
                more_steps(HEAPS[library], LAZY_WHEEL, TCP, 100_000),
                design=library,
                floor=timers.CHAPTER,
            )
            for library in LIBRARIES
        ),
        _question(
            "V1-wake",
            "what a fine timer costs",
            "The data structure is not the cost, the wake-up is: waking a process for its timer costs more than "
            f"{WORTH:g} operations of the wheel, and waking processes together costs less than one by one.",
            _wake_up,
            counted(
                "timer interrupts",
                "timer_interrupts",
                TICKLESS,
                ALIGNED,
                "wall",
                lambda frame: crowd(frame, TICKLESS, ALIGNED),
            ),
            design=TICKLESS,
        ),
        _question(
            "V1-slack",
            "what the kernel's slack buys",
            "A millisecond of slack buys cores and is paid for in lateness.",
            _slack,
            counted(
                "timer interrupts",
                "timer_interrupts",
                "epoll",
                "epoll (slack 1 ms)",
                "wall",
                lambda frame: crowd(frame, "epoll", "epoll (slack 1 ms)"),
            ),
            design="epoll",
        ),
        _question(
            "V1-deadline",
            "what virtualisation adds",
            "On this virtual machine, arming a timer that becomes the earliest costs at least "
            f"{REPROGRAMMED:g} times one that does not, since it re-programs the hardware.",
            _reprogrammed,
            unnamed,
            note="What a hypervisor does in an exit is not counted inside its guest.",
            floor=timers.CHAPTER,
        ),
        _question(
            "V1-domain-floor",
            "a shared timer domain",
            f"One process that keeps the timers of hundreds burns at most {NEAR_FLOOR:g} times what waking them costs.",
            _near_floor,
            _domains_interrupts(DOMAIN),
            design=DOMAIN,
        ),
        *(
            _question(
                name,
                "a shared timer domain",
                f"It burns at least {FEWER:g} times fewer cores than a timer a process{how}, and is no later (p99) "
                "than timers on a common grid.",
                _shared(domain),
                _domains_interrupts(domain),
                design=domain,
            )
            for name, domain, how in (
                ("V1-domain", DOMAIN, ""),
                ("V1-domain-aligned", DOMAIN_ALIGNED, " if it wakes on that grid, too"),
            )
        ),
    ]
