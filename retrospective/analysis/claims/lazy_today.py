"""Questions that lazy I/O of 2004 leaves open: what laziness costs, and what today's interfaces make of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from retrospective.analysis import laziness, probes
from retrospective.analysis.claims.claim import Claim, Tests, tested
from retrospective.analysis.claims.lazy import ABSTRACT_AIO, claim, dearer, holds_nobody, moved, went_on
from retrospective.analysis.evidence import Evidence, effect
from retrospective.analysis.formatting import fmt_percent, fmt_ratio_interval, fmt_us
from retrospective.analysis.laziness import CACHED, COLD, LAZY
from retrospective.analysis.mechanisms import Cause, Mechanism
from retrospective.analysis.statistics import NEGLIGIBLE, Test

#: What asking first may cost more than the plain call.
ASKING = 1.10


def _as_cheap(series: str, reference: str, bound: float) -> Tests:
    """A cached read by ``series`` costs at most ``bound`` times the reference's, within the same loop."""

    def tests(evidence: Evidence) -> list[Test]:
        ratios = 1 / probes.of(laziness.cost(evidence.frame, CACHED), f"ratio_{reference}", series)
        name = {"plain": "the plain call", "glibc": "the C library's"}[reference]
        told = f"cost of a cached read of 4 KiB, {name} ÷ {series}"
        return tested(told, effect(ratios), "matches", least=1 / bound)

    return tests


def _soon(evidence: Evidence) -> list[Test]:
    found = []
    for busy, where in (("no", "other CPU idle"), ("yes", "other CPU busy")):
        blocks = laziness.upcalls(evidence.frame, LAZY, busy)
        for quantile, bound in (("p50", probes.UPCALL_BOUND_US), ("p99", probes.HELD_BOUND_US)):
            if quantile == "p99" or busy == "no":
                late = probes.of(blocks, f"resumed_{quantile}_ns", LAZY)
                told = f"{where}: {fmt_us(bound)} ÷ {quantile} from block to going on"
                found += tested(told, effect(bound * 1e3 / late), "matches", least=1.0)
    return found


def _mended(evidence: Evidence) -> list[Test]:
    ratios = probes.hold(probes.cell(evidence.frame, "held", COLD), "uring")
    return tested("cold buffered read: caller held, plain call ÷ uring", effect(1 / ratios))


def _spends_no_more(evidence: Evidence) -> list[Test]:
    return [
        test
        for load, ratios in laziness.server_costs(evidence.frame).items()
        for test in tested(
            f"CPU per reply at {fmt_percent(load)} of the peak, plain ÷ {LAZY}", effect(1 / ratios), "matches"
        )
    ]


def _processor(frame: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    found = laziness.cost(frame, CACHED)
    return probes.of(found, "call_cpu_ns", "linux-aio"), probes.of(found, "call_cpu_ns", LAZY)


def _asked(evidence: Evidence) -> Cause:
    """Name what the question alone costs, too: an engine that asks cannot be cheaper."""
    cause = went_on("nowait")(evidence)
    alone = effect(laziness.question(evidence.frame))
    if not alone.n:
        return cause
    ratio = fmt_ratio_interval(alone.value, alone.low, alone.high)
    return replace(cause, beside=f"preadv2(RWF_NOWAIT) alone ÷ pread, by the C library: {ratio}")


def _question(name: str, of: str, statement: str, test: Tests, cause: Mechanism, **more: Any) -> Claim:
    return claim(name, f"extension: {of}", statement, "no number", test, cause, extension=True, **more)


def claims() -> list[Claim]:
    """In the order of the chapter."""
    five, asking = fmt_percent(NEGLIGIBLE - 1), fmt_percent(ASKING - 1)
    return [
        _question(
            "L1-linux-aio",
            "L1 against the kernel's own interface of 2004",
            "Where the data are in memory, a lazy call costs less than a third of io_submit and io_getevents.",
            dearer("linux-aio", ABSTRACT_AIO),
            moved(f"CPU time per call, linux-aio ÷ {LAZY}", _processor),
        ),
        _question(
            "L1-glibc",
            "what laziness costs where it is not needed",
            f"A lazy call of a cached read costs at most {five} more than the C library's own function.",
            _as_cheap(LAZY, "glibc", NEGLIGIBLE),
            went_on(LAZY),
        ),
        _question(
            "L1-nowait",
            "asking first",
            f"A cached read that asks first (RWF_NOWAIT) costs at most {asking} more than the plain call.",
            _as_cheap("nowait", "plain", ASKING),
            _asked,
            design="nowait",
        ),
        _question(
            "L1-uring",
            "io_uring, one call at a time",
            f"A cached read through io_uring costs at most {five} more than the plain call.",
            _as_cheap("uring", "plain", NEGLIGIBLE),
            went_on("uring"),
            design="uring",
        ),
        _question(
            "L3-upcall",
            "how soon a loop goes on",
            f"A loop goes on within {fmt_us(probes.UPCALL_BOUND_US)} of a block at the median, and within "
            f"{fmt_us(probes.HELD_BOUND_US)} at the 99th percentile.",
            _soon,
            went_on(LAZY),
        ),
        _question(
            "L4-uring",
            "L4 asked of io_uring, for the calls that it has",
            "io_uring does not hold its caller where a plain call blocks.",
            holds_nobody("uring"),
            went_on("uring"),
            design="uring",
        ),
        _question(
            "V3-uring",
            "V3 asked of io_uring",
            "io_uring mends what V3 names: a cold buffered read does not hold its caller like a plain call.",
            _mended,
            went_on("uring"),
            design="uring",
        ),
        _question(
            "L-cpu",
            "what laziness costs a server whose files are in memory",
            f"A server spends at most {five} more processor time on a reply with lazy reads than with plain ones, at "
            "any load.",
            _spends_no_more,
            went_on(LAZY),
            charges=("receiver",),
        ),
    ]
