"""What 2004 said of servers that call lazily, and the questions beside it, on web traces.

Each published size stands with how well it is known. Of the paper the abstract was at hand; what its figures showed is
recalled, and no number of it is used. The files do not fit into memory where a gain is expected, and do where none is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from retrospective.analysis import lazy_servers
from retrospective.analysis.claims import lazy
from retrospective.analysis.claims.claim import Claim, Reason, Tests, tested, whole
from retrospective.analysis.evidence import Evidence, effect
from retrospective.analysis.formatting import fmt_integer, fmt_percent
from retrospective.analysis.lazy_servers import (
    AMPED,
    BEGUN,
    HOT,
    LAZY,
    LAZY_SERVERS,
    PLAIN,
    PLAIN_BEGUN,
    RIVALS,
    URING,
    Case,
)
from retrospective.analysis.mechanisms import Cause, Mechanism
from retrospective.analysis.statistics import MATCHES, NEGLIGIBLE, Test, trimmed_interval

ABSTRACT_BEST = 1.24  # peak throughput, over the next best alternative in one case
ABSTRACT_THTTPD = 1.38  # "over 38 %", thttpd

Served = tuple[Case, pd.DataFrame]  # a case and its trials
RECEIVER = ("receiver",)  # who pays for packets is not the question here, so it is asked in one mode


def _served(evidence: Evidence, experiment: str = "traces", **where: Any) -> Iterator[Served]:
    """Trials by case."""
    found = lazy_servers.trials(evidence.frame, experiment, **where)
    for case in lazy_servers.cases(found):
        yield case, found[(found["workload"] == case.workload) & (found["disk"] == case.disk)]


def _busy(
    evidence: Evidence, experiment: str = "traces", **where: Any
) -> Iterator[tuple[str, Case, pd.DataFrame]]:
    """Trials with many clients: where they are, in words, the case and the trials."""
    for case, found in _served(evidence, experiment, **where):
        crowd = lazy_servers.many(found)
        if len(crowd):
            clients = fmt_integer(float(crowd["clients"].iloc[0]))
            yield f"{case.name}, {clients} clients", case, crowd


# ------------------------------------------------------------------------------------------------- tests


def _peak_of(rivals: tuple[str, ...], size: float | None, kind: str = "gain") -> Tests:
    """NB-LAIO's peak over the best of these rivals', in the case where that is the most."""

    def tests(evidence: Evidence) -> list[Test]:
        found = [
            (case, beside)
            for case, part in _served(evidence, cache="warm")
            if len((beside := lazy_servers.peak_beside(part, rivals)).ratios)
        ]
        if not found:
            return []
        case, beside = max(found, key=lambda one: float(np.log(one[1].ratios).mean()))
        choices = sum(one.choices for _, one in found)
        name = f"{case.name}: peak replies/s, {LAZY} ÷ {beside.rival}"
        return tested(name, effect(beside.ratios, choices), kind, size=size)

    return tests


def _matches_best(experiment: str, cache: str, server: str = LAZY) -> Tests:
    """With many clients, a lazy server serves at least what the best rival does, in every case."""

    def tests(evidence: Evidence) -> list[Test]:
        made = []
        for where, _, crowd in _busy(evidence, experiment, cache=cache):
            beside = lazy_servers.beside_best(crowd, server=server)
            name = f"{where}: replies/s, {server} ÷ {beside.rival}"
            made += tested(name, effect(beside.ratios, beside.choices), "matches")
        return made

    return tests


def _between(over: str, under: str, column: str, kind: str, least: float = MATCHES, disk: str = "") -> Tests:
    """With many clients, compare ``column`` of two servers in every case, or in those on one disk."""
    what = {"replies_per_s": "replies/s", "hot_latency_p99_us": "p99 of cached files"}[column]

    def tests(evidence: Evidence) -> list[Test]:
        return [
            test
            for where, case, crowd in _busy(evidence, cache="warm")
            if disk in ("", case.disk)
            for test in tested(
                f"{where}: {what}, {over} ÷ {under}",
                effect(lazy_servers.over(crowd, column, over, under)),
                kind,
                least=least,
            )
        ]

    return tests


def _costs_the_same(servers: tuple[str, ...]) -> Tests:
    """Where everything fits and is warm, these servers' CPU per reply is NB-B's."""

    def tests(evidence: Evidence) -> list[Test]:
        return [
            test
            for server in servers
            for workload, ratios in lazy_servers.costs(evidence.frame, server).items()
            for test in tested(
                f"{str(workload).capitalize()}, fits: CPU per reply, {server} ÷ {PLAIN}",
                trimmed_interval(ratios),
                "alike",
            )
        ]

    return tests


def _shape(evidence: Evidence) -> list[Test]:
    """On a disk as of 2004: lazy above AMPED, AMPED no worse than blocking; in memory alike."""
    spilled = [
        _between(over, under, "replies_per_s", kind, disk="2004")(evidence)
        for over, under, kind in ((LAZY, AMPED, "gain"), (AMPED, PLAIN, "matches"))
    ]
    return whole([*spilled, _costs_the_same((LAZY, AMPED))(evidence)])


def _not_held(evidence: Evidence) -> list[Test]:
    return [
        test
        for where, _, crowd in _busy(evidence, cache="warm")
        for test in tested(
            f"{where}: turns of the loop over 10 ms, {PLAIN} ÷ {LAZY}",
            effect(lazy_servers.stall_ratios(crowd, PLAIN, LAZY)),
        )
    ]


def _open(evidence: Evidence) -> list[Test]:
    found = []
    for case, part in _served(evidence, "traces-open", cache="warm"):
        for load, trials in part.groupby(part["x_ratio"].astype(float).round(3)):
            ratios = lazy_servers.over(trials, "hot_latency_p99_us", PLAIN, LAZY)
            where = f"{case.name}, {fmt_percent(float(load))} of {PLAIN}'s peak"
            found += tested(f"{where}: p99 of cached files, {PLAIN} ÷ {LAZY}", effect(ratios))
    return found


# ------------------------------------------------------------------------------------------------- causes


def _by_round(found: pd.DataFrame, values: pd.Series) -> pd.Series:
    """Geometric mean over cases and clients, a value a round."""
    return (
        np.exp(np.log(values).groupby(found["round"].to_numpy()).mean())
        if len(found)
        else pd.Series(dtype=float)
    )


def spilled(server: str = LAZY, experiment: str = "traces") -> Mechanism:
    """Calls go on without the loop where the files do not fit, and hardly where they do."""

    def cause(evidence: Evidence) -> Cause:
        levels = []
        for name, fits in ((experiment, False), ("fits-cpu", True)):
            found = lazy_servers.trials(evidence.frame, name, fits=fits)
            found = found[found["server"] == server] if len(found) else found
            levels.append(_by_round(found, lazy_servers.went_on(found)))
        name = f"{server}'s calls a reply that went on without the loop, does not fit ÷ fits"
        return Cause(name, effect((levels[0] / levels[1]).dropna()))

    return cause


def spared(server: str = BEGUN, under: str = LAZY) -> Mechanism:
    """What is begun first goes on without the loop more seldom, on a disk that is fast."""

    def cause(evidence: Evidence) -> Cause:
        found = lazy_servers.trials(evidence.frame, "traces")
        found = found[found["disk"] == "own"] if len(found) else found
        levels = []
        for one in (under, server):
            mine = found[found["server"] == one] if len(found) else found
            levels.append(_by_round(mine, lazy_servers.went_on(mine)))
        name = f"calls a reply that went on without the loop, own disk, {under} ÷ {server}"
        return Cause(name, effect((levels[0] / levels[1]).dropna()))

    return cause


def held(experiment: str = "traces", *, server: str = LAZY, under: str = PLAIN) -> Mechanism:
    """The loop of a server that makes its calls itself is held, a lazy one's hardly."""

    def cause(evidence: Evidence) -> Cause:
        found = lazy_servers.trials(evidence.frame, experiment)
        levels = []
        for one in (under, server):
            mine = found[found["server"] == one] if len(found) else found
            levels.append(_by_round(mine, lazy_servers.stalls(mine)))
        ratios = (levels[0] / levels[1]).dropna()
        return Cause(f"turns of the loop over 10 ms, {under} ÷ {server}", effect(ratios))

    return cause


# ------------------------------------------------------------------------------------------------- claims


def _why_of(servers: tuple[str, ...], *experiments: str) -> Reason:
    """Why the first of these servers that has lost trials has lost them."""

    def missing(evidence: Evidence) -> str:
        reasons = (lazy_servers.why_missing(evidence.frame, experiments, server) for server in servers)
        return next((reason for reason in reasons if reason), "")

    return missing


def _why(*experiments: str) -> Reason:
    return _why_of((LAZY,), *experiments)


def _claim(
    name: str, source: str, statement: str, published: str, test: Tests, cause: Mechanism, **more: Any
) -> Claim:
    own = {"design": "lazy", "charges": RECEIVER, "floor": "servers", "missing": _why("traces")}
    return lazy.claim(name, source, statement, published, test, cause, **own | more)


def claims() -> list[Claim]:
    """The paper's, of servers."""
    abstract = f"{lazy.PAPER}, abstract"
    return [
        _claim(
            "L6",
            abstract,
            "With appreciable disk I/O, a lazy server's peak throughput is above that of the next best alternative, in "
            "one case.",
            "24 % (read in the abstract)",
            _peak_of(RIVALS, ABSTRACT_BEST),
            spilled(),
        ),
        _claim(
            "L7",
            abstract,
            "A server whose loop made blocking calls (thttpd) gains by making them lazily.",
            "over 38 % (read in the abstract)",
            _peak_of((PLAIN,), ABSTRACT_THTTPD),
            held(),
            analog=True,
        ),
        _claim(
            "L8",
            abstract,
            "A lazy server does as well as one with helper processes (Flash), without changes to the kernel.",
            "matched (read in the abstract)",
            _between(LAZY, AMPED, "replies_per_s", "matches"),
            held(),
            analog=True,
        ),
        _claim(
            "L9",
            abstract,
            "Where the files are in memory, a lazy server and one that makes the calls itself perform alike.",
            "comparable (read in the abstract)",
            _costs_the_same((LAZY,)),
            spilled(),
            missing=_why("fits-cpu"),
        ),
        _claim(
            "L10",
            f"{lazy.PAPER}, figures",
            "Where memory does not suffice, a lazy server is above one with helper processes, and that no worse than a "
            "blocking one; where it suffices, all are alike.",
            "a shape (recalled, not confirmed)",
            _shape,
            held(),
            missing=_why("traces", "fits-cpu"),
        ),
    ]


def today() -> list[Claim]:
    """Questions beside them."""
    five = fmt_percent(NEGLIGIBLE - 1)

    def question(name: str, of: str, statement: str, test: Tests, cause: Mechanism, **more: Any) -> Claim:
        return _claim(name, f"extension: {of}", statement, "no number", test, cause, extension=True, **more)

    return [
        question(
            "L6-many",
            "L6 at every case, with many clients",
            "With memory too small and many clients, a lazy server serves at least what the best rival does.",
            _matches_best("traces", "warm"),
            spilled(),
        ),
        question(
            "L6-begun",
            "L6-many where a read is begun first",
            "With memory too small and many clients, a lazy server that has its reads begun first serves at least what "
            "the best rival does.",
            _matches_best("traces", "warm", BEGUN),
            spared(),
            missing=_why_of((BEGUN,), "traces"),
        ),
        question(
            "L6-begun-lazy",
            "what laziness adds to that",
            "Of two servers that have their reads begun first, the one that then calls lazily serves more.",
            _between(BEGUN, PLAIN_BEGUN, "replies_per_s", "gain"),
            held(server=BEGUN, under=PLAIN_BEGUN),
            missing=_why_of((BEGUN, PLAIN_BEGUN), "traces"),
        ),
        question(
            "L6-cold",
            "L6 with nothing in memory at first",
            "With cold files and many clients, a lazy server serves at least what the best rival does.",
            _matches_best("traces-cold", "cold"),
            spilled(experiment="traces-cold"),
            missing=_why("traces-cold"),
        ),
        question(
            "L6-uring",
            "L6 by today's mechanism",
            "A lazy server by io_uring serves at least what one by upcalls does, with many clients.",
            _between(URING, LAZY, "replies_per_s", "matches"),
            spilled(URING),
            missing=_why_of((URING,), "traces"),
        ),
        question(
            "L7-hot",
            "whom a held loop holds",
            f"On a disk as of 2004 and with many clients, the 99th percentile of *cached* files is at least {HOT:g} "
            "times lower with a lazy server than with one that makes the calls itself.",
            _between(PLAIN, LAZY, "hot_latency_p99_us", "matches", HOT, disk="2004"),
            held(),
        ),
        question(
            "L7-hot-own",
            "the same on this machine's disk",
            f"On the machine's own disk and with many clients, it is at least {HOT:g} times lower, too.",
            _between(PLAIN, LAZY, "hot_latency_p99_us", "matches", HOT, disk="own"),
            held(),
        ),
        question(
            "L7-begun-own",
            "the same where a read is begun first",
            f"On the machine's own disk and with many clients, it is at least {HOT:g} times lower with a lazy server "
            "that has its reads begun first.",
            _between(PLAIN, BEGUN, "hot_latency_p99_us", "matches", HOT, disk="own"),
            held(server=BEGUN),
            missing=_why_of((BEGUN,), "traces"),
        ),
        question(
            "L7-open",
            "the same in open loop",
            "At the same offered load, cached files answer sooner at the 99th percentile with a lazy server.",
            _open,
            held("traces-open"),
            missing=_why_of((LAZY, PLAIN), "traces-open"),  # without PLAIN's peak there is no load to offer
        ),
        question(
            "L7-stall",
            "the loop's stall time",
            "Turns of the loop over 10 ms are rarer with lazy calls.",
            _not_held,
            spilled(),
        ),
        question(
            "L9-cpu",
            "L9 asked of every lazy server",
            f"Where everything fits and is warm, each lazy server's CPU time per reply is within {five} of the one's "
            "that makes the calls itself.",
            _costs_the_same(LAZY_SERVERS),
            spilled(),
            missing=_why("fits-cpu"),
        ),
    ]
