"""The ledger: each claim of 2004 that a design here can test, its test, its mechanism check and its verdict.

A claim is a chain of tests and is worth its weakest link, which is also the number shown for it. Where
2004 states a size, ours is read at the same place: at the same ratio of offered load to the server's own
peak (2004's sweeps end at 1.36 for one-packet and 2.30 for SPECweb99-like; ours at 2.1), or, where 2004
says "as much as", at the x past saturation where the gain is largest, with an interval that allows for
the choice.

Every claim of 2004 is about the µserver on select. The same tests on other designs are listed as
extensions, under ids of their own, beside select's published number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from retrospective.analysis import published, rows
from retrospective.analysis.evidence import SATURATED, Evidence, effect
from retrospective.analysis.formatting import (
    fmt_gain,
    fmt_limit,
    fmt_percent,
    fmt_ratio,
)
from retrospective.analysis.mechanisms import (
    Cause,
    Mechanism,
    accept_rate,
    getevents_share,
    phase_size,
    queue_drops,
    refused,
)
from retrospective.analysis.statistics import (
    NEGLIGIBLE,
    WEAKEST_FIRST,
    Effect,
    Floor,
    Test,
    aa_floor,
    combined,
    decide,
    ratio_interval,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

ONE_PACKET, SPECWEB = rows.WORKLOADS
WORKLOAD_NAMES = {ONE_PACKET: "one-packet", SPECWEB: "SPECweb99-like"}
PAPER = "Brecht, Pariag & Gammo 2004"


@dataclass(frozen=True)
class Claim:
    """A claim of the literature and how the trials judge it.

    ``test`` and ``mechanism`` read the evidence of ``design`` in one charge mode; ``x`` says where (a
    ratio to the own peak). ``extension`` marks what 2004 did not claim: the same question put to
    another design.
    """

    id: str
    source: str
    statement: str
    published: str
    test: Callable[[Evidence], list[Test]]
    mechanism: Mechanism
    x: Callable[[Evidence], float]
    design: str = "select"
    extension: bool = False


def _test(name: str, found: Effect, kind: str = "gain", size: float | None = None) -> list[Test]:
    if found.n == 0:
        return []
    if size is not None and kind == "gain" and size < NEGLIGIBLE:
        kind = "matches"  # a published effect inside ±5 % can at most be matched
    return [Test(name, found, kind, size)]


def _named(workload: str, what: str) -> str:
    return f"{WORKLOAD_NAMES[workload]}, {what}"


# ------------------------------------------------------------------------------------------ tests


def _largest_gain(workload: str) -> Callable[[Evidence], list[Test]]:
    def tests(evidence: Evidence) -> list[Test]:
        gain = evidence.gain(workload).effect
        return _test(_named(workload, "replies/s, Inf ÷ 1"), gain, size=published.GAIN[workload])

    return tests


def _shape(evidence: Evidence) -> list[Test]:
    found = []
    replies = published.overload(ONE_PACKET).replies
    for limit in published.KINDS["userver"].limits[ONE_PACKET]:
        name = f"limit {fmt_limit(limit)}"
        found += _test(
            f"{name}: replies ÷ offered on the ramp", effect(evidence.ramp(ONE_PACKET, limit)), "matches"
        )
        size = float(replies[limit].max() / replies[limit].iloc[-1])
        found += _test(f"{name}: peak ÷ overload", evidence.decline(ONE_PACKET, limit), size=size)
    return found


def _order(evidence: Evidence) -> list[Test]:
    found = []
    for workload in rows.WORKLOADS:
        replies = published.overload(workload).replies.iloc[-1]
        upper = evidence.matched(workload, "replies_per_s", "inf", "10")
        found += _test(_named(workload, "Inf ÷ 10"), effect(upper), "matches")
        lower = evidence.matched(workload, "replies_per_s", "10", "1")
        found += _test(_named(workload, "10 ÷ 1"), effect(lower), size=float(replies["10"] / replies["1"]))
    return found


def _wider_gap(evidence: Evidence) -> list[Test]:
    one_packet, specweb = evidence.gain(ONE_PACKET), evidence.gain(SPECWEB)
    if not len(one_packet.ratios) or not len(specweb.ratios):
        return []
    size = published.GAIN[ONE_PACKET] / published.GAIN[SPECWEB]
    quotient = effect(one_packet.ratios / specweb.ratios, one_packet.choices * specweb.choices)
    return _test("gain on one-packet ÷ gain on SPECweb99-like", quotient, size=size)


def _limit_ten(evidence: Evidence) -> list[Test]:
    replies = published.overload(ONE_PACKET).replies
    found = []
    for limit in ("inf", "1"):
        ten, other = evidence.peak(ONE_PACKET, "10"), evidence.peak(ONE_PACKET, limit)
        if min(ten.choices, other.choices) >= 3:  # fewer x show no peak
            size = float(replies["10"].max() / replies[limit].max())
            quotient = effect(ten.ratios / other.ratios, ten.choices * other.choices)
            found += _test(f"peak of 10 ÷ peak of {fmt_limit(limit)}", quotient, size=size)
    overload = evidence.matched(ONE_PACKET, "replies_per_s", "inf", "10")
    size = float(replies["inf"].iloc[-1] / replies["10"].iloc[-1])
    return found + _test("overload: Inf ÷ 10", effect(overload), size=size)


def _select_ratio(evidence: Evidence) -> list[Test]:
    calls = published.SELECTS_PER_S
    items = published.WORK_ITEMS_PER_PHASE
    return _test(
        "getevents per second, 1 ÷ Inf",
        effect(evidence.matched(ONE_PACKET, "getevents_per_s", "1", "inf", SATURATED)),
        size=calls["1"] / calls["inf"],
    ) + _test(
        "connections per work phase, Inf ÷ 1",
        effect(evidence.matched(ONE_PACKET, "work_items_per_phase", "inf", "1", SATURATED)),
        size=items["inf"] / items["1"],
    )


def _identity(evidence: Evidence) -> list[Test]:
    found = []
    for limit in published.KINDS["userver"].limits[ONE_PACKET]:
        table = evidence.table(ONE_PACKET, "eq1_identity", limit)
        past = [x for x in table.columns if float(x) >= SATURATED]
        if past:
            name = f"limit {fmt_limit(limit)}: accept rate ÷ (getevents/s · connections per accept phase)"
            found += _test(name, effect(table[max(past)]), "equal")
    return found


def _prediction(evidence: Evidence) -> list[Test]:
    table = evidence.unexplained(ONE_PACKET)
    past = [x for x in table.columns if float(x) >= SATURATED]
    if not past:
        return []
    return _test("measured ÷ predicted gain in accept rate, Inf over 1", effect(table[max(past)]), "equal")


def _drops(evidence: Evidence) -> list[Test]:
    found = []
    for workload in rows.WORKLOADS:
        drops = published.overload(workload).drops.iloc[-1]
        ratios = evidence.matched(workload, "queue_drops_per_s", "1", "inf")
        found += _test(
            _named(workload, "queue drops/s, 1 ÷ Inf"), effect(ratios), size=float(drops["1"] / drops["inf"])
        )
    return found


def _accepts(evidence: Evidence) -> list[Test]:
    accepts = published.ACCEPTS_PER_S
    ratios = evidence.matched(SPECWEB, "accepts_per_s", "inf", "1")
    name = _named(SPECWEB, "accepts per second, Inf ÷ 1")
    return _test(name, effect(ratios), size=accepts["inf"] / accepts["1"])


def _inversion(evidence: Evidence) -> list[Test]:
    times = published.curves(published.LATENCY_FIGURE).iloc[-1]
    ratios = evidence.matched(SPECWEB, "httperf_mean_us", "inf", "1")
    name = "mean response time by httperf's definition, Inf ÷ 1"
    return _test(name, effect(ratios), size=float(times["inf"] / times["1"]))


def _no_inversion(evidence: Evidence) -> list[Test]:
    ratios = evidence.matched(SPECWEB, "latency_mean_us", "1", "inf")
    return _test("mean latency from the intended send time, 1 ÷ Inf", effect(ratios))


def _largest_x(workload: str) -> Callable[[Evidence], float]:
    return lambda evidence: evidence.gain(workload).place


def _matched_x(workload: str, x: float | None = None) -> Callable[[Evidence], float]:
    return lambda evidence: evidence.matched_x(workload, x)


def _deepest_x(evidence: Evidence) -> float:
    return float(evidence.trials(ONE_PACKET)["x_ratio"].max())


def _published_select() -> list[Claim]:
    """Claims of 2004 about the µserver on select, in the order of the chapter."""
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
            _largest_gain(ONE_PACKET),
            getevents_share(ONE_PACKET),
            _largest_x(ONE_PACKET),
        ),
        Claim(
            "A2",
            f"{PAPER}, abstract and Fig. 2",
            "On the SPECweb99-like workload it improves throughput by as much as 39 %.",
            fmt_gain(published.GAIN[SPECWEB]),
            _largest_gain(SPECWEB),
            getevents_share(SPECWEB),
            _largest_x(SPECWEB),
        ),
        Claim(
            "A3",
            f"{PAPER}, Fig. 8",
            "Throughput follows the offered load, bends at a knee and then declines, whatever the limit.",
            f"Inf keeps {fmt_percent(last['inf'] / one.replies['inf'].max())} of its peak, "
            f"1 keeps {fmt_percent(last['1'] / one.replies['1'].max())} ({end})",
            _shape,
            queue_drops(ONE_PACKET),
            _matched_x(ONE_PACKET),
        ),
        Claim(
            "A4",
            f"{PAPER}, Figs. 2 and 8",
            "Past saturation more consecutive accepts serve more: Inf at least matches 10, and 10 exceeds 1.",
            f"10 ÷ 1 = {fmt_ratio(last['10'] / last['1'])} (one-packet), "
            f"{fmt_ratio(web.replies.iloc[-1]['10'] / web.replies.iloc[-1]['1'])} (SPECweb99-like)",
            _order,
            getevents_share(ONE_PACKET),
            _matched_x(ONE_PACKET),
        ),
        Claim(
            "A5",
            f"{PAPER}, Figs. 2 and 8",
            "The gap between the strategies is wider on one-packet requests than on SPECweb99-like ones.",
            f"1.71 ÷ 1.39 = {fmt_ratio(published.GAIN[ONE_PACKET] / published.GAIN[SPECWEB])}",
            _wider_gap,
            getevents_share(ONE_PACKET),
            _largest_x(ONE_PACKET),
        ),
        Claim(
            "A6",
            f"{PAPER}, Fig. 8",
            "A limit of 10 reaches the highest peak on one-packet requests, but falls below Inf in overload.",
            f"peak {fmt_ratio(one.replies['10'].max() / one.replies['inf'].max())} of Inf's; "
            f"Inf ÷ 10 = {fmt_ratio(last['inf'] / last['10'])} {end}",
            _limit_ten,
            phase_size(ONE_PACKET),
            _matched_x(ONE_PACKET),
        ),
        Claim(
            "A7",
            f"{PAPER}, section 6.1 (at 24,000 requests/s)",
            "Limit 1 calls select 47 times as often as Inf, and serves 3.6 connections a work phase "
            "where Inf serves 184.9.",
            "12,507 ÷ 267 = 47 selects/s; 184.9 ÷ 3.6 = 51 connections",
            _select_ratio,
            phase_size(ONE_PACKET, SATURATED),
            _matched_x(ONE_PACKET, SATURATED),
        ),
        Claim(
            "A8",
            f"{PAPER}, Eq. 1",
            "The accept rate is the number of phases times the mean connections per accept phase, over time: "
            "past saturation every turn of the loop is one accept phase.",
            "1.00 (an identity)",
            _identity,
            phase_size(ONE_PACKET),
            _deepest_x,
        ),
        Claim(
            "A9",
            f"{PAPER}, Figs. 3 and 9",
            "Limit 1 drops more connections from the queues than Inf.",
            f"1 ÷ Inf = {fmt_ratio(one.drops.iloc[-1]['1'] / one.drops.iloc[-1]['inf'])} (one-packet), "
            f"{fmt_ratio(web.drops.iloc[-1]['1'] / web.drops.iloc[-1]['inf'])} (SPECweb99-like)",
            _drops,
            accept_rate(ONE_PACKET),
            _matched_x(ONE_PACKET),
        ),
        Claim(
            "A9b",
            f"{PAPER}, section 6.1 (at 30,000 requests/s)",
            "A lower limit lowers the µserver's accept rate, since each phase costs a select.",
            "1,571 ÷ 1,127 = 1.39 accepts/s",
            _accepts,
            getevents_share(SPECWEB),
            _matched_x(SPECWEB),
        ),
        Claim(
            "A10",
            f"{PAPER}, Fig. 17",
            "By httperf's definition the lowest mean response time belongs to the lowest throughput.",
            f"Inf ÷ 1 = {fmt_ratio(times['inf'] / times['1'])}",
            _inversion,
            refused(SPECWEB),
            _matched_x(SPECWEB),
        ),
    ]


def _beyond_2004() -> list[Claim]:
    """Questions 2004 leaves open, on select."""
    return [
        Claim(
            "A8b",
            f"extension of {PAPER}, Eq. 1",
            "The gain in accept rate is what Eq. 1 predicts from measured costs if only the share "
            "of getevents differs.",
            "no number",
            _prediction,
            getevents_share(ONE_PACKET),
            _deepest_x,
            extension=True,
        ),
        Claim(
            "A10b",
            f"extension of {PAPER}, Fig. 17",
            "Counted from the intended send time, unanswered requests included, limit 1 is the slower one.",
            "no number",
            _no_inversion,
            refused(SPECWEB),
            _matched_x(SPECWEB),
            extension=True,
        ),
    ]


def _nginx() -> Claim:
    """Put ``multi_accept`` of nginx under the µserver's overload: off is limit 1, on is Inf."""

    def tests(evidence: Evidence) -> list[Test]:
        return _test("replies/s, on ÷ off", effect(nginx_ratios(evidence.frame, "replies_per_s")))

    def cause(evidence: Evidence) -> Cause:
        drops = nginx_ratios(evidence.frame, "queue_drops_per_s", over="1", under="inf")
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
    )


def nginx_ratios(frame: pd.DataFrame, column: str, over: str = "inf", under: str = "1") -> pd.Series:
    """Ratio of ``column`` between nginx's multi_accept on (``inf``) and off (``1``), a value a round."""
    trials = rows.valid(frame, experiment="peers-overload", design="nginx")
    if trials.empty:
        return pd.Series(dtype=float)
    on = trials["label"].str.endswith("multi_accept on")
    table = rows.paired(trials.assign(strategy=np.where(on, "inf", "1")), column, by="strategy")
    return table[over] / table[under] if {over, under} <= set(table) else pd.Series(dtype=float)


def claims() -> list[Claim]:
    """Every claim of the ledger, 2004's first."""
    select, more = _published_select(), _beyond_2004()
    epoll = [
        replace(
            claim,
            id=f"{claim.id}-epoll",
            source="extension: epoll in select's place",
            published=f"select: {claim.published}" if claim.published != "no number" else "no number",
            design="epoll",
            extension=True,
        )
        for claim in select + more
    ]
    return select + more + epoll + [_nginx()]


# ------------------------------------------------------------------------------------------ verdicts


@dataclass(frozen=True)
class Judged:
    """A claim in one charge mode: its tests, their verdicts and the cause's check."""

    tests: Sequence[Test]
    verdicts: Sequence[str]
    cause: Cause
    x: float
    floor: Floor

    @property
    def weakest(self) -> int | None:
        """Index of the test that decides."""
        if not self.tests:
            return None

        def rank(i: int) -> tuple[int, float]:
            test = self.tests[i]
            size = np.log(test.published) if test.published else 0.0
            return WEAKEST_FIRST.index(self.verdicts[i]), test.effect.mean - size

        return min(range(len(self.tests)), key=rank)

    @property
    def verdict(self) -> str:
        """Word of the weakest link; an effect whose cause did not move is not explained, so undecided."""
        if self.weakest is None:
            return "not testable here"
        word = self.verdicts[self.weakest]
        return "undecided" if word in ("reproduced", "shrunk") and self.cause.moved is False else word

    @property
    def why(self) -> str:
        """Why the verdict is not better than it is."""
        if self.weakest is None:
            return "no valid trials of what it needs in this profile"
        test, word = self.tests[self.weakest], self.verdicts[self.weakest]
        if word != self.verdict:
            return f"{test.name}: the effect is there, but {self.cause.name} did not move with it"
        if word != "undecided":
            return test.name
        if not test.effect.decided:
            return (
                f"{test.name}: {'one round gives' if test.effect.n == 1 else 'these trials give'} no interval"
            )
        if test.kind == "equal" and test.effect.low > 1:
            return f"{test.name}: more than predicted; something else contributes"
        less = f"; 2004's {test.published:.3g} lies above the interval" if below_published(test) else ""
        if self.floor.measured and abs(test.effect.mean) <= np.log(self.floor.factor) and test.kind == "gain":
            return f"{test.name}: within the lab's detection floor of ±{fmt_percent(self.floor.factor - 1)}{less}"
        return (
            f"{test.name}: {test.effect.n} rounds do not tell, with Holm's correction over the ledger{less}"
        )


def below_published(test: Test | None) -> bool:
    """Whether the whole interval lies below what was published: 2004's size is not there, whatever else is."""
    return (
        test is not None
        and test.published is not None
        and test.published > 1
        and test.effect.decided
        and test.effect.high < test.published
    )


def ledger(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Judge every claim by the rows of all chapters; JSON-ready, absent numbers are ``None``.

    ``value``, ``low``, ``high``: the ratio of the deciding test and its 95 % interval, in the receiver
    mode if that was measured. ``modes`` holds the same per charge mode, ``tests`` every link of the chain.
    """
    floor = aa_floor(frame)
    listed = claims()
    evidence = {
        (design, charge): Evidence(frame, design, charge)
        for design in {claim.design for claim in listed}
        for charge in rows.CHARGES
    }
    asked = [(claim, charge, evidence[claim.design, charge]) for claim in listed for charge in rows.CHARGES]
    # nginx was measured in one mode only.
    asked = [entry for entry in asked if entry[0].design != "nginx" or entry[1] == "receiver"]
    tests = [claim.test(source) for claim, _, source in asked]
    judged: dict[str, dict[str, Judged]] = {}
    for (claim, charge, source), group, words in zip(asked, tests, decide(tests, floor), strict=True):
        cause = claim.mechanism(source) if group else Cause("", ratio_interval([]))
        x = claim.x(source) if group else float("nan")
        judged.setdefault(claim.id, {})[charge] = Judged(group, words, cause, x, floor)
    return [_row(claim, judged[claim.id]) for claim in listed]


def _row(claim: Claim, modes: Mapping[str, Judged]) -> dict[str, Any]:
    measured = {charge: found for charge, found in modes.items() if found.tests}
    verdict = combined({charge: found.verdict for charge, found in modes.items()})
    head = next(iter(measured.values()), None)
    shown = head.tests[head.weakest] if head is not None and head.weakest is not None else None
    if head is None:
        why = next(iter(modes.values())).why
    elif verdict == "depends on who pays":
        why = "; ".join(f"{charge} pays: {found.verdict}" for charge, found in measured.items())
    else:
        why = head.why
    return {
        "id": claim.id,
        "source": claim.source,
        "statement": claim.statement,
        "published": claim.published,
        "value": _number(shown.effect.value) if shown else None,
        "low": _number(shown.effect.low) if shown else None,
        "high": _number(shown.effect.high) if shown else None,
        "mechanism": head.cause.text() if head else "not measured",
        "verdict": verdict,
        "why": why,
        "mechanism_holds": head.cause.moved if head else None,
        "extension": claim.extension,
        "design": claim.design,
        "x": _number(head.x) if head else None,
        "published_value": shown.published if shown else None,
        "below_published": below_published(shown),
        "modes": {
            charge: _numbers(found.tests[found.weakest].effect)
            | {"verdict": found.verdict, "why": found.why, "x": _number(found.x)}
            for charge, found in measured.items()
            if found.weakest is not None
        },
        "tests": {
            charge: [
                {"name": test.name, "published": test.published, "verdict": word} | _numbers(test.effect)
                for test, word in zip(found.tests, found.verdicts, strict=True)
            ]
            for charge, found in measured.items()
        },
    }


def _numbers(found: Effect) -> dict[str, float | int | None]:
    return {
        "value": _number(found.value),
        "low": _number(found.low),
        "high": _number(found.high),
        "rounds": found.n,
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
