"""What 2004 said of all kinds of servers together, in the paper and in the weblog entry about it."""

from __future__ import annotations

import pandas as pd

from retrospective.analysis import comparisons, published
from retrospective.analysis.claims import knot, tux
from retrospective.analysis.claims.claim import ONE_PACKET, PAPER, Claim, tested, whole
from retrospective.analysis.evidence import Evidence, effect
from retrospective.analysis.formatting import fmt_gain, fmt_limit
from retrospective.analysis.mechanisms import Cause, getevents_share, phase_size
from retrospective.analysis.statistics import Test

NOTHING = pd.Series(dtype=float)
#: The design that stands for each kind.
STANDS_FOR = {"userver": "select", "tux": tux.NEARER, "knot": knot.DESIGN}


def _matters(evidence: Evidence) -> list[Test]:
    """Compare any two limits, whichever is the better: the claim is only that it matters which."""
    parts = []
    for kind, design in STANDS_FOR.items():
        name = f"{design}: replies/s, best ÷ worst limit"
        contrast = evidence.beside(design).contrast(ONE_PACKET).effect
        parts.append(tested(name, contrast, size=published.GAINS[kind][ONE_PACKET]))
    return whole(parts)


def _no_one_strategy(evidence: Evidence) -> list[Test]:
    """Every kind prefers the limit that 2004 found for it: the most, the fewest, some in between."""
    parts = []
    for kind, design in STANDS_FOR.items():
        over, under = (fmt_limit(limit) for limit in published.KINDS[kind].gain)
        gain = evidence.beside(design).gain(ONE_PACKET).effect
        parts.append(tested(f"{design}: replies/s, {over} ÷ {under}", gain))
    return whole(parts)


def _other_servers(evidence: Evidence) -> list[Test]:
    label, found = comparisons.best_peer(evidence.frame)
    return tested(f"CPU per reply, select ÷ {label}", found.effect)


def _kernel_time(evidence: Evidence) -> Cause:
    label, _ = comparisons.best_peer(evidence.frame)
    costs = comparisons.peer_costs(evidence.frame, "server_system_us_per_reply")
    both = {"select", label} <= set(costs)
    ratios = costs["select"] / costs[label] if both else NOTHING
    return Cause(f"CPU in the kernel per reply, select ÷ {label}", effect(ratios))


def claims() -> list[Claim]:
    """The paper's, then Vogels' (V2)."""
    gains = {kind: [published.GAINS[kind][w] for w in published.GAIN] for kind in STANDS_FOR}
    spans = ", ".join(
        f"{published.KINDS[kind].name} {fmt_gain(min(both))} to {fmt_gain(max(both))}"
        for kind, both in gains.items()
    )
    best = ", ".join(f"{kind.name} {fmt_limit(kind.gain[0])}" for kind in published.KINDS.values())
    return [
        Claim(
            "S1",
            f"{PAPER}, abstract",
            "The accept strategy alone changes the throughput of all three kinds of servers.",
            spans,
            _matters,
            getevents_share(ONE_PACKET),
            analog=True,
        ),
        Claim(
            "S3",
            PAPER,
            "Every server has an accept strategy, if only an implicit one, and accepting must be balanced against "
            "working: which limit is best depends on the server.",
            f"best on one-packet: {best}",
            _no_one_strategy,
            phase_size(ONE_PACKET),
            analog=True,
        ),
        Claim(
            "S2",
            f"{PAPER}, Fig. 16",
            "No connection is lost because the SYN queue is full (SynQFull is always 0): the accept queue is what "
            "overflows.",
            "SynQFull = 0",
            lambda _: [],
            lambda _: Cause("", effect(NOTHING)),
            untestable=(
                "the SYN queue of 1,024 behind an accept queue of 128 cannot be had: Linux now takes the listen "
                "backlog as the bound of both. Drops of SYNs and drops at the accept queue are counted apart instead "
                "(drop_syn_per_s, drop_overflow_per_s)"
            ),
        ),
        Claim(
            "V2",
            "Vogels 2004",
            "Other web servers already do better than the µserver: the best of today's spends less processor time on "
            "a reply than select.",
            "no number",
            _other_servers,
            _kernel_time,
            charges=("receiver",),
        ),
    ]
