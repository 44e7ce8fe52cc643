"""What 2004 claimed of the µserver on select: the gain, the shape of the curves, and Eq. 1.

A claim that compares limits compares the µserver's own three, 1, 10 and Inf.
"""

from __future__ import annotations

from retrospective.analysis import published, rows
from retrospective.analysis.claims.claim import (
    ONE_PACKET,
    PAPER,
    SPECWEB,
    Claim,
    deepest_x,
    largest_gain,
    largest_x,
    matched_x,
    named,
    tested,
)
from retrospective.analysis.evidence import SATURATED, Evidence, effect
from retrospective.analysis.formatting import fmt_gain, fmt_limit, fmt_percent, fmt_ratio
from retrospective.analysis.mechanisms import accept_rate, getevents_share, phase_size, queue_drops, refused
from retrospective.analysis.statistics import Test

LIMITS = published.KINDS["userver"].limits[ONE_PACKET]


def _shape(evidence: Evidence) -> list[Test]:
    found = []
    replies = published.overload(ONE_PACKET).replies
    for limit in LIMITS:
        name = f"limit {fmt_limit(limit)}"
        found += tested(
            f"{name}: replies ÷ offered on the ramp", effect(evidence.ramp(ONE_PACKET, limit)), "matches"
        )
        size = float(replies[limit].max() / replies[limit].iloc[-1])
        found += tested(f"{name}: peak ÷ overload", evidence.decline(ONE_PACKET, limit), size=size)
    return found


def _order(evidence: Evidence) -> list[Test]:
    found = []
    for workload in rows.WORKLOADS:
        replies = published.overload(workload).replies.iloc[-1]
        upper = evidence.matched(workload, "replies_per_s", "inf", "10")
        found += tested(named(workload, "Inf ÷ 10"), effect(upper), "matches")
        lower = evidence.matched(workload, "replies_per_s", "10", "1")
        found += tested(named(workload, "10 ÷ 1"), effect(lower), size=float(replies["10"] / replies["1"]))
    return found


def _wider_gap(evidence: Evidence) -> list[Test]:
    one_packet, specweb = evidence.gain(ONE_PACKET), evidence.gain(SPECWEB)
    if not len(one_packet.ratios) or not len(specweb.ratios):
        return []
    size = published.GAIN[ONE_PACKET] / published.GAIN[SPECWEB]
    quotient = effect(one_packet.ratios / specweb.ratios, one_packet.choices * specweb.choices)
    return tested("gain on one-packet ÷ gain on SPECweb99-like", quotient, size=size)


def _limit_ten(evidence: Evidence) -> list[Test]:
    replies = published.overload(ONE_PACKET).replies
    found = []
    for limit in ("inf", "1"):
        ten, other = evidence.peak(ONE_PACKET, "10"), evidence.peak(ONE_PACKET, limit)
        if min(ten.choices, other.choices) >= 3:  # fewer x show no peak
            size = float(replies["10"].max() / replies[limit].max())
            quotient = effect(ten.ratios / other.ratios, ten.choices * other.choices)
            found += tested(f"peak of 10 ÷ peak of {fmt_limit(limit)}", quotient, size=size)
    overload = evidence.matched(ONE_PACKET, "replies_per_s", "inf", "10")
    size = float(replies["inf"].iloc[-1] / replies["10"].iloc[-1])
    return found + tested("overload: Inf ÷ 10", effect(overload), size=size)


def _select_ratio(evidence: Evidence) -> list[Test]:
    calls = published.SELECTS_PER_S
    items = published.WORK_ITEMS_PER_PHASE
    return tested(
        "getevents per second, 1 ÷ Inf",
        effect(evidence.matched(ONE_PACKET, "getevents_per_s", "1", "inf", SATURATED)),
        size=calls["1"] / calls["inf"],
    ) + tested(
        "connections per work phase, Inf ÷ 1",
        effect(evidence.matched(ONE_PACKET, "work_items_per_phase", "inf", "1", SATURATED)),
        size=items["inf"] / items["1"],
    )


def _identity(evidence: Evidence) -> list[Test]:
    found = []
    for limit in LIMITS:
        table = evidence.table(ONE_PACKET, "eq1_identity", limit)
        past = [x for x in table.columns if float(x) >= SATURATED]
        if past:
            name = f"limit {fmt_limit(limit)}: accept rate ÷ (getevents/s · connections per accept phase)"
            found += tested(name, effect(table[max(past)]), "equal")
    return found


def _drops(evidence: Evidence) -> list[Test]:
    found = []
    for workload in rows.WORKLOADS:
        drops = published.overload(workload).drops.iloc[-1]
        ratios = evidence.matched(workload, "queue_drops_per_s", "1", "inf")
        found += tested(
            named(workload, "queue drops/s, 1 ÷ Inf"), effect(ratios), size=float(drops["1"] / drops["inf"])
        )
    return found


def _accepts(evidence: Evidence) -> list[Test]:
    accepts = published.ACCEPTS_PER_S
    ratios = evidence.matched(SPECWEB, "accepts_per_s", "inf", "1")
    name = named(SPECWEB, "accepts per second, Inf ÷ 1")
    return tested(name, effect(ratios), size=accepts["inf"] / accepts["1"])


def _inversion(evidence: Evidence) -> list[Test]:
    times = published.curves(published.LATENCY_FIGURE).iloc[-1]
    ratios = evidence.matched(SPECWEB, "httperf_mean_us", "inf", "1")
    name = "mean response time by httperf's definition, Inf ÷ 1"
    return tested(name, effect(ratios), size=float(times["inf"] / times["1"]))


def claims() -> list[Claim]:
    """In the order of the chapter."""
    one, web = (published.overload(workload) for workload in rows.WORKLOADS)
    end = f"at x = {fmt_ratio(one.last_x)}"
    last = one.replies.iloc[-1]
    times = published.curves(published.LATENCY_FIGURE).iloc[-1]
    return [
        Claim(
            "A1",
            f"{PAPER}, abstract and Fig. 8",
            "On one-packet requests the accept strategy alone improves throughput by as much as 71 %.",
            fmt_gain(published.GAIN[ONE_PACKET]),
            largest_gain(ONE_PACKET),
            getevents_share(ONE_PACKET),
            largest_x(ONE_PACKET),
        ),
        Claim(
            "A2",
            f"{PAPER}, abstract and Fig. 2",
            "On the SPECweb99-like workload it improves throughput by as much as 39 %.",
            fmt_gain(published.GAIN[SPECWEB]),
            largest_gain(SPECWEB),
            getevents_share(SPECWEB),
            largest_x(SPECWEB),
        ),
        Claim(
            "A3",
            f"{PAPER}, Fig. 8",
            "Throughput follows the offered load, bends at a knee and then declines, whatever the limit.",
            f"Inf keeps {fmt_percent(last['inf'] / one.replies['inf'].max())} of its peak, "
            f"1 keeps {fmt_percent(last['1'] / one.replies['1'].max())} ({end})",
            _shape,
            queue_drops(ONE_PACKET),
            matched_x(ONE_PACKET),
        ),
        Claim(
            "A4",
            f"{PAPER}, Figs. 2 and 8",
            "Past saturation more consecutive accepts serve more: Inf at least matches 10, and 10 exceeds 1.",
            f"10 ÷ 1 = {fmt_ratio(last['10'] / last['1'])} (one-packet), "
            f"{fmt_ratio(web.replies.iloc[-1]['10'] / web.replies.iloc[-1]['1'])} (SPECweb99-like)",
            _order,
            getevents_share(ONE_PACKET),
            matched_x(ONE_PACKET),
        ),
        Claim(
            "A5",
            f"{PAPER}, Figs. 2 and 8",
            "The gap between the strategies is wider on one-packet requests than on SPECweb99-like ones.",
            f"1.71 ÷ 1.39 = {fmt_ratio(published.GAIN[ONE_PACKET] / published.GAIN[SPECWEB])}",
            _wider_gap,
            getevents_share(ONE_PACKET),
            largest_x(ONE_PACKET),
        ),
        Claim(
            "A6",
            f"{PAPER}, Fig. 8",
            "A limit of 10 reaches the highest peak on one-packet requests, but falls below Inf in overload.",
            f"peak {fmt_ratio(one.replies['10'].max() / one.replies['inf'].max())} of Inf's; "
            f"Inf ÷ 10 = {fmt_ratio(last['inf'] / last['10'])} {end}",
            _limit_ten,
            phase_size(ONE_PACKET),
            matched_x(ONE_PACKET),
        ),
        Claim(
            "A7",
            f"{PAPER}, section 6.1 (at 24,000 requests/s)",
            "Limit 1 calls select 47 times as often as Inf, and serves 3.6 connections a work phase "
            "where Inf serves 184.9.",
            "12,507 ÷ 267 = 47 selects/s; 184.9 ÷ 3.6 = 51 connections",
            _select_ratio,
            phase_size(ONE_PACKET, SATURATED),
            matched_x(ONE_PACKET, SATURATED),
        ),
        Claim(
            "A8",
            f"{PAPER}, Eq. 1",
            "The accept rate is the number of phases times the mean connections per accept phase, over time: "
            "past saturation every turn of the loop is one accept phase.",
            "1.00 (an identity)",
            _identity,
            phase_size(ONE_PACKET),
            deepest_x,
        ),
        Claim(
            "A9",
            f"{PAPER}, Figs. 3 and 9",
            "Limit 1 drops more connections from the queues than Inf.",
            f"1 ÷ Inf = {fmt_ratio(one.drops.iloc[-1]['1'] / one.drops.iloc[-1]['inf'])} (one-packet), "
            f"{fmt_ratio(web.drops.iloc[-1]['1'] / web.drops.iloc[-1]['inf'])} (SPECweb99-like)",
            _drops,
            accept_rate(ONE_PACKET),
            matched_x(ONE_PACKET),
        ),
        Claim(
            "A9b",
            f"{PAPER}, section 6.1 (at 30,000 requests/s)",
            "A lower limit lowers the µserver's accept rate, since each phase costs a select.",
            "1,571 ÷ 1,127 = 1.39 accepts/s",
            _accepts,
            getevents_share(SPECWEB),
            matched_x(SPECWEB),
        ),
        Claim(
            "A10",
            f"{PAPER}, Fig. 17",
            "By httperf's definition the lowest mean response time belongs to the lowest throughput.",
            f"Inf ÷ 1 = {fmt_ratio(times['inf'] / times['1'])}",
            _inversion,
            refused(SPECWEB),
            matched_x(SPECWEB),
        ),
    ]
