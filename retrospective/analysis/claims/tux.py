"""What 2004 claimed of TUX, the server in the kernel, judged on a stand-in: a loop that only drains.

TUX cannot be had, and a process pays for every system call that it makes in vain, as TUX did not. The nearer
analog drains completions of io_uring (``drain-uring``), which it sees without a call; the same tests on the loop
of plain calls (``drain``) stand beside it. Neither reproduces TUX: at best an analog agrees.
"""

from __future__ import annotations

from dataclasses import replace

from retrospective.analysis import published, rows
from retrospective.analysis.claims.claim import (
    ONE_PACKET,
    PAPER,
    SPECWEB,
    Claim,
    largest_gain,
    largest_x,
    matched_x,
    named,
    tested,
    whole,
)
from retrospective.analysis.evidence import Evidence, effect
from retrospective.analysis.formatting import fmt_gain, fmt_limit, fmt_percent, fmt_ratio
from retrospective.analysis.mechanisms import phase_rate, phase_size, system_calls
from retrospective.analysis.statistics import Test

NEARER, WITH_CALLS = "drain-uring", "drain"
OLD = {workload: published.overload(workload, "tux") for workload in rows.WORKLOADS}
GAINS = published.GAINS["tux"]
NEIGHBOURS = (("1", "50"), ("50", "inf"))


def _widest_gap(workload: str, over: str, under: str) -> float:
    """2004's largest ratio of two limits past the knee."""
    gain = OLD[workload].gain(over, under)
    return float(gain[gain.index >= OLD[workload].kind.gain_from].max())


def _order(evidence: Evidence) -> list[Test]:
    found = []
    for workload in rows.WORKLOADS:
        for over, under in NEIGHBOURS:
            name = named(workload, f"{fmt_limit(over)} ÷ {fmt_limit(under)}")
            gain = evidence.gain(workload, over, under).effect
            found += tested(name, gain, size=_widest_gap(workload, over, under))
    return found


def _accept_rate(evidence: Evidence) -> list[Test]:
    found = []
    for workload in rows.WORKLOADS:
        gain = evidence.gain(workload, column="accepts_per_s").effect
        found += tested(named(workload, "accepts per second, 1 ÷ Inf"), gain)
    return found


def _response_time(evidence: Evidence) -> list[Test]:
    times = published.curves(published.LATENCY_FIGURE, "tux").iloc[-1]
    ratios = evidence.matched(SPECWEB, "httperf_mean_us", "inf", "1")
    name = "mean response time by httperf's definition, Inf ÷ 1"
    return tested(name, effect(ratios), size=float(times["inf"] / times["1"]))


def _tops(workload: str) -> tuple[float, float, float]:
    """2004's highest replies/s of the figures side by side: the µserver, unmodified TUX, TUX at its best."""
    figure = published.BEST_FIGURES[workload]
    ours, theirs = published.curves(figure), published.curves(figure, "tux")
    return float(ours.to_numpy().max()), float(theirs["inf"].max()), float(theirs.to_numpy().max())


def _rivals(evidence: Evidence) -> list[Test]:
    """Compare the peaks, the µserver's at its best limit and TUX's as it came; both within a round."""
    parts = []
    for workload in rows.WORKLOADS:
        ours, theirs = evidence.best(workload), evidence.beside(NEARER).peak(workload, "inf")
        comparable = min(ours.choices, theirs.choices) >= 3 and len(ours.ratios) > 0
        quotient = effect(
            ours.ratios / theirs.ratios if comparable else ours.ratios[:0], ours.choices * theirs.choices
        )
        parts.append(
            tested(named(workload, "peak of select ÷ peak of the analog at Inf"), quotient, "matches")
        )
    return whole(parts)


def _stays_ahead(evidence: Evidence) -> list[Test]:
    parts = []
    for workload in rows.WORKLOADS:
        ours, theirs = evidence.beside("select").best(workload), evidence.best(workload)
        quotient = effect(theirs.ratios / ours.ratios, ours.choices * theirs.choices)
        user, _, kernel = _tops(workload)
        name = named(workload, "peak of the analog ÷ peak of select")
        parts.append(tested(name, quotient, size=kernel / user))
    return whole(parts)


def _on_tux() -> list[Claim]:
    one, web = OLD[ONE_PACKET], OLD[SPECWEB]
    times = published.curves(published.LATENCY_FIGURE, "tux").iloc[-1]
    peaks = web.replies["1"].max() / web.replies["inf"].max()
    gaps = [fmt_ratio(_widest_gap(ONE_PACKET, over, under)) for over, under in NEIGHBOURS]
    return [
        Claim(
            "T1",
            f"{PAPER}, abstract and Fig. 6",
            "Changing TUX's accept-limit from Inf to 1 improves its throughput on the SPECweb99-like workload by as "
            "much as 19 %.",
            fmt_gain(GAINS[SPECWEB]),
            largest_gain(SPECWEB),
            phase_size(SPECWEB),
            largest_x(SPECWEB),
            note=f"The text says that limit 1 raised the peak by 12 %; as plotted in Fig. 6 it is {fmt_gain(peaks)}.",
        ),
        Claim(
            "T2",
            f"{PAPER}, abstract and Fig. 10",
            "On one-packet requests it improves TUX's throughput by as much as 36 %.",
            fmt_gain(GAINS[ONE_PACKET]),
            largest_gain(ONE_PACKET),
            phase_size(ONE_PACKET),
            largest_x(ONE_PACKET),
        ),
        Claim(
            "T3",
            f"{PAPER}, Figs. 6 and 10",
            "TUX orders the limits the other way round than the µserver: 1 serves more than 50, and 50 more than Inf.",
            f"on one-packet at most 1 ÷ 50 = {gaps[0]}, 50 ÷ Inf = {gaps[1]}",
            _order,
            phase_size(ONE_PACKET),
            largest_x(ONE_PACKET),
        ),
        Claim(
            "T4",
            f"{PAPER}, Eq. 1",
            "A lower limit raises TUX's accept rate, since its additional accept phases cost nothing.",
            "no number",
            _accept_rate,
            phase_rate(ONE_PACKET),
            largest_x(ONE_PACKET),
        ),
        Claim(
            "T6",
            f"{PAPER}, Fig. 17",
            "TUX answers later, by httperf's definition, the more it accepts at once: Inf has the longer mean response "
            "time.",
            f"Inf ÷ 1 = {fmt_ratio(times['inf'] / times['1'])} (at x = {fmt_ratio(web.last_x)}; "
            f"one-packet sweeps end at {fmt_ratio(one.last_x)})",
            _response_time,
            phase_size(SPECWEB),
            matched_x(SPECWEB),
        ),
    ]


def _side_by_side() -> list[Claim]:
    (web, web_tux, web_best), (one, one_tux, one_best) = _tops(SPECWEB), _tops(ONE_PACKET)
    return [
        Claim(
            "T5",
            f"{PAPER}, abstract and Figs. 14 and 15",
            "A user-mode server with a tuned accept strategy rivals an unmodified TUX: its peak at least matches "
            "TUX's.",
            f"{fmt_ratio(web / web_tux)} (SPECweb99-like), {fmt_ratio(one / one_tux)} (one-packet) of TUX's peak",
            _rivals,
            system_calls("select", "1", "inf"),
            design="select",
            analog=True,
            note="The text of section 6.3 says 28 % where its plot shows about 31 %; both stand.",
        ),
        Claim(
            "T5b",
            f"{PAPER}, Figs. 14 and 15",
            "With its own strategy tuned as well, TUX keeps a lead over the µserver.",
            f"{fmt_percent(web_best / web - 1)} (SPECweb99-like), {fmt_percent(one_best / one - 1)} (one-packet)",
            _stays_ahead,
            system_calls("select", "inf", "1", other=NEARER),
            design=NEARER,
            analog=True,
        ),
    ]


def claims() -> list[Claim]:
    """2004's, on the nearer analog."""
    found = [replace(claim, design=NEARER, analog=True) for claim in _on_tux()]
    return sorted(found + _side_by_side(), key=lambda claim: claim.id)


def with_calls() -> list[Claim]:
    """The same on the loop of plain calls, which pays for looking in vain."""
    return [
        replace(
            claim,
            id=f"{claim.id}-calls",
            source=f"{claim.source}; analog with plain system calls",
            design=WITH_CALLS,
            analog=True,
            extension=True,
        )
        for claim in _on_tux()
    ]
