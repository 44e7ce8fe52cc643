"""Questions that 2004 leaves open: its own tests on other designs, and what is asked of servers today."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from retrospective.analysis import comparisons, published, rows
from retrospective.analysis.claims import knot, tux, userver
from retrospective.analysis.claims.claim import (
    ONE_PACKET,
    PAPER,
    SPECWEB,
    Claim,
    deepest_x,
    matched_x,
    tested,
)
from retrospective.analysis.evidence import SATURATED, Evidence, effect
from retrospective.analysis.formatting import fmt_gain, fmt_integer
from retrospective.analysis.mechanisms import Cause, Mechanism, getevents_share, refused
from retrospective.analysis.statistics import Test

NOTHING = pd.Series(dtype=float)
#: What was measured in one charge mode only.
RECEIVER = ("receiver",)


def claims() -> list[Claim]:
    """Extensions, in the order of the chapter."""
    return [
        *_of_equation_one(),
        _of_fig_17(),
        *_elsewhere(),
        *tux.with_calls(),
        _nginx(),
        *(_concurrency(design) for design in ("poll", "epoll", "uring")),
        *_fairness(),
    ]


# ------------------------------------------------------------------------------------------ 2004's questions


def _prediction(evidence: Evidence) -> list[Test]:
    table = evidence.unexplained(ONE_PACKET)
    past = [x for x in table.columns if float(x) >= SATURATED]
    if not past:
        return []
    return tested("measured ÷ predicted gain in accept rate, Inf over 1", effect(table[max(past)]), "equal")


def _dilution(evidence: Evidence) -> list[Test]:
    """The gain at each amount of work as predicted, and smaller with the most work than with none."""
    measured = comparisons.sensitivity_gains(evidence.frame, "work", column="accepts_per_s")
    predicted = comparisons.work_predictions(evidence.frame)
    levels = [level for level in measured if level in predicted]
    if len(levels) < 2:
        return []
    least, most = levels[0], levels[-1]
    found = tested(
        f"gain with {least:.0f} µs of added work ÷ with {most:.0f} µs",
        effect(measured[least] / measured[most]),
    )
    for level in levels:
        name = f"{level:.0f} µs of added work: measured ÷ predicted gain in accept rate"
        found += tested(name, effect(measured[level] / predicted[level]), "equal")
    return found


def _getevents_diluted(evidence: Evidence) -> Cause:
    """Share of getevents in what a connection costs at limit 1: with the least work ÷ with the most."""
    trials = comparisons.sensitivity(evidence.frame, "work")
    trials = trials[trials["accept_limit"] == "1"] if len(trials) else trials
    parts = [rows.paired(trials, column, by="level") for column in ("getevents_cost", "other_cost")]
    shares = parts[0] / (parts[0] + parts[1])
    ratios = shares[shares.columns.min()] / shares[shares.columns.max()] if shares.shape[1] > 1 else NOTHING
    return Cause("share of getevents in a connection's cost, least ÷ most work", effect(ratios))


def _of_equation_one() -> list[Claim]:
    return [
        Claim(
            "A8b",
            f"extension of {PAPER}, Eq. 1",
            "The gain in accept rate is what Eq. 1 predicts from measured costs if only the share "
            "of getevents differs.",
            "no number",
            _prediction,
            getevents_share(ONE_PACKET),
            deepest_x,
            extension=True,
        ),
        Claim(
            "N3",
            f"extension of {PAPER}, Eq. 1",
            "Work added to each request dilutes the gain of Inf over 1 by as much as Eq. 1 predicts.",
            "no number",
            _dilution,
            _getevents_diluted,
            extension=True,
            charges=RECEIVER,
        ),
    ]


def _no_inversion(evidence: Evidence) -> list[Test]:
    ratios = evidence.matched(SPECWEB, "latency_mean_us", "1", "inf")
    return tested("mean latency from the intended send time, 1 ÷ Inf", effect(ratios))


def _of_fig_17() -> Claim:
    return Claim(
        "A10b",
        f"extension of {PAPER}, Fig. 17",
        "Counted from the intended send time, unanswered requests included, limit 1 is the slower one.",
        "no number",
        _no_inversion,
        refused(SPECWEB),
        matched_x(SPECWEB),
        extension=True,
    )


def _elsewhere() -> list[Claim]:
    """Put the first question, whether there is a gain at all, to the interfaces of today."""
    first, second = userver.claims()[:2]
    on_knot = knot.claims()[0]
    found = [
        replace(
            claim,
            id=f"{claim.id}-{design}",
            source=f"extension: {design} in select's place",
            published=f"select: {claim.published}",
            design=design,
            extension=True,
        )
        for claim, designs in ((first, ("poll", "epoll", "uring")), (second, ("epoll",)))
        for design in designs
    ]
    kernel = replace(
        on_knot,
        id="K1-kernel",
        source="extension: threads of the kernel in Knot's place",
        published=f"Knot: {on_knot.published}",
        design="kernel-threads",
        extension=True,
    )
    return [*found, kernel]


def _nginx() -> Claim:
    """Put ``multi_accept`` of nginx under the µserver's overload: off is limit 1, on is Inf."""

    def tests(evidence: Evidence) -> list[Test]:
        ratios = comparisons.nginx_ratios(evidence.frame, "replies_per_s")
        return tested("replies/s, on ÷ off", effect(ratios))

    def cause(evidence: Evidence) -> Cause:
        drops = comparisons.nginx_ratios(evidence.frame, "queue_drops_per_s", over="1", under="inf")
        return Cause("queue drops per second, off ÷ on", effect(drops))

    def place(evidence: Evidence) -> float:
        return float(rows.valid(evidence.frame, experiment="peers-overload")["x_ratio"].max())

    return Claim(
        "A1-nginx",
        "extension: a server of today (V2)",
        "nginx serves more with multi_accept on (accept until the queue is empty) than off (one a turn).",
        f"no number (select: {fmt_gain(published.GAIN[ONE_PACKET])})",
        tests,
        cause,
        place,
        design="nginx",
        extension=True,
        charges=RECEIVER,
    )


# ------------------------------------------------------------------------------------------ today's questions


def _flips(evidence: Evidence) -> list[Test]:
    """Inf over 1 with the most clients, and 1 over Inf with the fewest; one number of clients shows no flip."""
    gains = comparisons.concurrency_gains(evidence.frame, evidence.design)
    if len(gains) < 2:
        return []
    few, many = min(gains), max(gains)
    return tested(f"{fmt_integer(many)} clients: replies/s, Inf ÷ 1", effect(gains[many])) + tested(
        f"{fmt_integer(few)} clients: replies/s, 1 ÷ Inf", effect(1 / gains[few])
    )


def _batches(evidence: Evidence) -> Cause:
    found = comparisons.concurrency_gains(evidence.frame, evidence.design, column="accepts_per_phase")
    name = "connections per accept phase with the most clients, Inf ÷ 1"
    return Cause(name, effect(found[max(found)] if found else NOTHING))


def _concurrency(design: str) -> Claim:
    return Claim(
        "N1" if design == "epoll" else f"N1-{design}",
        "extension: nobody published where the sign flips",
        f"Accepting more at a time helps with many clients and hurts with few ({design}).",
        "no number",
        _flips,
        _batches,
        design=design,
        extension=True,
        charges=RECEIVER,
    )


def _between(column: str, name: str, over: str, under: str, workload: str = "mixed") -> Mechanism:
    def cause(evidence: Evidence) -> Cause:
        ratios = comparisons.fairness_ratios(evidence.frame, column, over, under, workload)
        return Cause(f"{name}, {over} ÷ {under}", effect(ratios))

    return cause


def _stranded(evidence: Evidence) -> list[Test]:
    found = []
    for column, name in (
        ("latency_p99_us", "99th percentile of the latency"),
        ("held_up", "share of requests held up for a tenth of a sleep or longer"),
    ):
        ratios = comparisons.fairness_ratios(evidence.frame, column, "reuseport", "shared")
        found += tested(f"{name}, reuseport ÷ shared", effect(ratios))
    return found


def _uneven(evidence: Evidence) -> list[Test]:
    ratios = comparisons.fairness_ratios(
        evidence.frame, "worker_accept_share_max", "shared", "reuseport", ONE_PACKET
    )
    return tested("accepts of the busiest of two workers, shared ÷ reuseport", effect(ratios))


def _fairness() -> list[Claim]:
    busiest = "of the busiest of two workers"
    return [
        Claim(
            "N2",
            "extension: what users of SO_REUSEPORT report",
            "SO_REUSEPORT strands connections behind a worker that sleeps, while the other is idle; a shared listener "
            "does not.",
            "no number",
            _stranded,
            _between("worker_accept_share_max", f"accepts {busiest}", "shared", "reuseport"),
            design="prefork",
            extension=True,
            charges=RECEIVER,
        ),
        Claim(
            "N2b",
            "extension: what users of a shared listener report",
            "A shared listener loads its workers unevenly, since the last to wait is woken first; SO_REUSEPORT "
            "spreads the connections.",
            "no number",
            _uneven,
            _between("worker_cpu_share_max", f"CPU {busiest}", "shared", "reuseport", ONE_PACKET),
            design="prefork",
            extension=True,
            charges=RECEIVER,
        ),
    ]
