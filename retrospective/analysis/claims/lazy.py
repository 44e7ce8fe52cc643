"""What 2004 said of lazy asynchronous I/O, and of the interfaces that it was to replace (V3).

The evidence is probes, not trials of servers: no packets are involved, so nobody has to pay for them (``NOBODY``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from retrospective.analysis import laziness, probes
from retrospective.analysis.claims.claim import Claim, Tests, tested, whole
from retrospective.analysis.evidence import Evidence, effect
from retrospective.analysis.laziness import CACHED, CERTAIN, COLD, DIRECT, LAZY, NEVER, call_name
from retrospective.analysis.mechanisms import Cause, Mechanism
from retrospective.analysis.statistics import Test

PAPER = "Elmeleegy, Chanda, Cox & Zwaenepoel 2004"
NOBODY = ("",)
ABSTRACT_AIO = 3.0  # "over 3 times" cheaper than AIO when the data are in memory
SEVERAL = 2.0  # what "several times" means here, at least


def dearer(series: str, size: float | None = None) -> Tests:
    """Test a cached read by ``series`` against one by the lazy engine."""

    def tests(evidence: Evidence) -> list[Test]:
        ratios = probes.over(laziness.cost(evidence.frame, CACHED), "call_ns", series, LAZY)
        return tested(f"cost of a cached read of 4 KiB, {series} ÷ {LAZY}", effect(ratios), size=size)

    return tests


def _comparable(evidence: Evidence) -> list[Test]:
    ratios = probes.over(laziness.cost(evidence.frame, COLD), "call_ns", "posix-aio", LAZY)
    return tested(f"time of a cold read of 4 KiB, posix-aio ÷ {LAZY}", effect(ratios), "matches")


def _lazy(evidence: Evidence) -> list[Test]:
    """Test that what does not block is an ordinary call, that what does goes on alone, and that nothing else does."""
    frame = evidence.frame
    never, certain = probes.all_cells(frame, "cost", NEVER), probes.all_cells(frame, "held", CERTAIN)
    ordinary, continued, noticed, untaken = (
        tested(name, effect(ratios), "matches")
        for name, ratios in (
            ("calls that did not block: share that were ordinary", probes.share(never, LAZY, probes.AT_ONCE)),
            ("calls that blocked: share that were continued", probes.share(certain, LAZY, ("path_upcall",))),
            ("blocks that were noticed while they lasted", laziness.noticed(frame)),
            ("losses of the CPU that were not taken for a block", laziness.untaken(frame)),
        )
    )
    needed = whole([ordinary, continued])
    return needed + noticed + untaken if needed else []


def holds_nobody(series: str) -> Tests:
    """Test that every call that blocks holds its caller for less than the plain call does."""

    def tests(evidence: Evidence) -> list[Test]:
        return [
            test
            for call, part in laziness.blocking(evidence.frame, series)
            for test in tested(
                f"{call_name(call)}: caller held, plain call ÷ {series}",
                effect(1 / probes.hold(part, series)),
            )
        ]

    return tests


def _general(evidence: Evidence) -> list[Test]:
    shorter = holds_nobody(LAZY)(evidence)
    has = tested("calls that it has, of those tried", effect(laziness.issued(evidence.frame)), "matches")
    return has + shorter if shorter else []


def _once(evidence: Evidence) -> list[Test]:
    told, right = laziness.notifications(evidence.frame)
    once = tested("notifications ÷ operations that went on alone", effect(told), "equal")
    wrong = tested("1 for a round in which each came once, complete and right", effect(right), "matches")
    return whole([once, wrong])


def _broken(evidence: Evidence) -> list[Test]:
    cold = probes.cell(evidence.frame, "held", COLD)
    kernels = tested(
        "cold buffered read: caller held, linux-aio ÷ plain call",
        effect(probes.hold(cold, "linux-aio")),
        "matches",
    )
    dear = probes.of(laziness.cost(evidence.frame, CACHED), "ratio_plain", "posix-aio")
    librarys = tested(
        "cost of a cached read of 4 KiB, posix-aio ÷ plain call", effect(dear), "matches", least=SEVERAL
    )
    return whole([kernels, librarys])


# ------------------------------------------------------------------------------------------------- causes


def moved(name: str, part: Callable[[pd.DataFrame], tuple[pd.Series, pd.Series]]) -> Mechanism:
    """Make a cause of the quotient of two counters, a value a round each."""

    def cause(evidence: Evidence) -> Cause:
        over, under = part(evidence.frame)
        return Cause(name, effect((over / under).dropna()))

    return cause


def went_on(series: str) -> Mechanism:
    """Calls go on without their caller where they block, and hardly elsewhere."""
    return moved(
        f"share of {series}'s calls that went on without their caller, cold read ÷ cached read",
        lambda frame: tuple(
            probes.share(laziness.cost(frame, call), series, probes.WENT_ON) for call in (COLD, CACHED)
        ),
    )


def _threads(frame: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    found = laziness.cost(frame, CACHED)
    return laziness.sleeps(found, "posix-aio"), laziness.sleeps(found, LAZY)


def _kernel_s_word(frame: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    certain, never = probes.all_cells(frame, "held", CERTAIN), probes.all_cells(frame, "cost", NEVER)
    return laziness.sleeps(certain, LAZY), laziness.sleeps(never, LAZY)


def _later(frame: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    cold = probes.cell(frame, "held", COLD)
    return probes.of(cold, "total_p50_ns", LAZY), probes.of(cold, "held_p50_ns", LAZY)


def _complete(frame: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    cold, direct = (probes.cell(frame, "held", call) for call in (COLD, DIRECT))
    return tuple(probes.share(found, "linux-aio", ("path_inline",)) for found in (cold, direct))


# ------------------------------------------------------------------------------------------------- claims


def claim(
    name: str, source: str, statement: str, published: str, test: Tests, cause: Mechanism, **more: Any
) -> Claim:
    """Make a claim of this chapter."""
    own = {"design": LAZY, "chapter": probes.CHAPTER, "charges": NOBODY}
    return Claim(name, source, statement, published, test, cause, **own | more)


def claims() -> list[Claim]:
    """The paper's, then Vogels' (V3)."""
    abstract = f"{PAPER}, abstract"
    return [
        claim(
            "L1",
            abstract,
            "Where the data are in memory, a lazy call costs less than a third of what asynchronous I/O does.",
            "over 3 times",
            dearer("posix-aio", ABSTRACT_AIO),
            moved(f"sleeps of a thread per call, posix-aio ÷ {LAZY}", _threads),
        ),
        claim(
            "L2",
            abstract,
            "Where the disk is really read, the two are comparable: the lazy call takes no longer.",
            "comparable",
            _comparable,
            went_on(LAZY),
        ),
        claim(
            "L3",
            abstract,
            "It is lazy: a continuation is made only if the call actually blocks.",
            "no number",
            _lazy,
            moved("sleeps of a thread per call, calls that block ÷ calls that do not", _kernel_s_word),
        ),
        claim(
            "L4",
            abstract,
            "It is general: any call that may block can be made through it, not reads alone, and does not hold its "
            "caller.",
            "no number",
            _general,
            went_on(LAZY),
        ),
        claim(
            "L5",
            abstract,
            "There is one notification for an operation, when all of it is complete.",
            "one",
            _once,
            moved("cold read: time until its notification ÷ time held", _later),
        ),
        claim(
            "V3",
            "Vogels 2004",
            "Asynchronous I/O interfaces in Linux are just plain broken: the kernel's holds its caller on a buffered "
            "read like a plain call, and the C library's costs several plain calls when nothing blocks.",
            "no number",
            _broken,
            moved("share of linux-aio's calls complete when submitted, cold read ÷ O_DIRECT", _complete),
            design="linux-aio",
        ),
    ]
