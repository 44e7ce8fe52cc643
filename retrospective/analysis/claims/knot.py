"""What 2004 claimed of Knot, whose threads each accept up to the limit and then serve all they accepted.

Judged on threads at user level with an event loop beneath them, as Knot's were (``user-threads``).
"""

from __future__ import annotations

from retrospective.analysis import published
from retrospective.analysis.claims.claim import (
    ONE_PACKET,
    PAPER,
    SPECWEB,
    Claim,
    largest_gain,
    largest_x,
    named,
    tested,
    whole,
)
from retrospective.analysis.evidence import Evidence, widest
from retrospective.analysis.formatting import fmt_gain, fmt_ratio
from retrospective.analysis.mechanisms import phase_size
from retrospective.analysis.statistics import Largest, Test, ratio_interval

DESIGN = "user-threads"
HIGHER = ("10", "50", "100")


def _most_gained(evidence: Evidence) -> Largest:
    """The most that any higher limit gains over limit 1 on the SPECweb99-like workload."""
    gains = [evidence.gain(SPECWEB, limit, "1") for limit in HIGHER]
    return widest([gain for gain in gains if len(gain.ratios)])


def _no_gain(evidence: Evidence) -> list[Test]:
    """Limit 1 at least matches whichever higher limit comes out best."""
    gain = _most_gained(evidence)
    inverse = ratio_interval(1 / gain.ratios, choices=gain.choices)
    return tested(named(SPECWEB, "1 ÷ the best higher limit"), inverse, "matches")


def _most(limit: str) -> float:
    """2004's largest ratio of limit 50 to another one past the knee, on one-packet requests."""
    gain = published.overload(ONE_PACKET, "knot").gain("50", limit)
    return float(gain[gain.index >= published.KINDS["knot"].gain_from].max())


def _optimum(evidence: Evidence) -> list[Test]:
    parts = []
    for limit in ("1", "100"):
        gain = evidence.gain(ONE_PACKET, "50", limit).effect
        parts.append(tested(named(ONE_PACKET, f"50 ÷ {limit}"), gain, size=_most(limit)))
    return whole(parts)


def claims() -> list[Claim]:
    """In the order of the chapter."""
    web = published.overload(SPECWEB, "knot")
    end = web.at_end("1", "50")
    return [
        Claim(
            "K1",
            f"{PAPER}, abstract and Fig. 12",
            "Accepting up to 50 connections at a time improves Knot's throughput on one-packet requests by as much as "
            "32 %.",
            fmt_gain(published.GAINS["knot"][ONE_PACKET]),
            largest_gain(ONE_PACKET),
            phase_size(ONE_PACKET, over="50"),
            largest_x(ONE_PACKET),
            design=DESIGN,
        ),
        Claim(
            "K2",
            f"{PAPER}, abstract and Fig. 4",
            "On the SPECweb99-like workload Knot gains nothing: accepting one at a time at least matches every "
            "higher limit.",
            f"0 % (past the knee limit 1 is ahead; 1 ÷ 50 = {fmt_ratio(end)} at x = {fmt_ratio(web.last_x)})",
            _no_gain,
            phase_size(SPECWEB, over="50"),
            lambda evidence: _most_gained(evidence).place,
            design=DESIGN,
        ),
        Claim(
            "K3",
            f"{PAPER}, Fig. 12",
            "On one-packet requests Knot's best limit lies in between: 50 serves more than 1 and more than 100.",
            f"at most 50 ÷ 1 = {fmt_ratio(_most('1'))}, 50 ÷ 100 = {fmt_ratio(_most('100'))}",
            _optimum,
            phase_size(ONE_PACKET, over="50"),
            largest_x(ONE_PACKET, "50", "100"),
            design=DESIGN,
        ),
    ]
