"""What the third paper said of stacks outside the kernel, and what is promised of ours: one stack, no domains yet.

Of Sinha, Sarat and Shapiro 2004 only what the abstract says is used; no number of theirs could be read, and none is
invented. What they built was part of an operating system of its own; ours is a library of a program, on a kernel that
does not know of it, with another process as its switch: an analog. The bounds beside it are this project's own
promises, each tested as a lower bound: its interval must lie beyond it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from retrospective.analysis import conformance, userstack
from retrospective.analysis.claims.claim import Claim, Tests, tested, whole
from retrospective.analysis.claims.lazy import NOBODY
from retrospective.analysis.evidence import Evidence, effect
from retrospective.analysis.formatting import fmt_integer, fmt_percent
from retrospective.analysis.mechanisms import Cause, Mechanism
from retrospective.analysis.statistics import Effect, Test, largest
from retrospective.analysis.timers import time_name
from retrospective.analysis.userstack import ALGORITHMS, DIRECTIONS, KERNEL, LOOPBACK, LWIP, OURS, Series

EROS = "Sinha, Sarat & Shapiro 2004"
VASUDEVAN = "Vasudevan et al. 2009"

#: Of Linux's goodput with the same algorithm, in every impaired cell.
GOODPUT = 0.75
#: Replies per CPU-second, ours ÷ lwIP's on the same attachment, and ours over the switch ÷ the kernel's over loopback.
OVER_LWIP, OVER_LOOPBACK = 2.0, 1.5
DIRECTION_NAMES = {"to_peer": "ours sends", "from_peer": "ours receives"}
#: Two places of incast, the coarser first, if both were measured.
Points = Callable[[pd.DataFrame, userstack.World], tuple[userstack.Point, userstack.Point] | None]
#: By what factor, at most, the switch and its model in virtual time may differ in how long a block takes.
MODEL_FACTOR = 1.25
ON_LOOPBACK, ON_SWITCH = Series(KERNEL, LOOPBACK), Series(OURS)


# ------------------------------------------------------------------------------------------------- tests


def _compares(evidence: Evidence) -> list[Test]:
    """At least as fast as the kernel on a wire that carries single frames: in bulk, in a round trip, in connections."""
    frame = evidence.frame
    return whole(
        [
            tested(told, effect(ratios), "matches")
            for told, ratios in (
                ("bulk throughput: ours ÷ kernel", userstack.bulk_ratios(frame)),
                ("round trip of a small message: kernel ÷ ours", userstack.rtt_ratios(frame)),
                ("connections/s: ours ÷ kernel", userstack.connection_ratios(frame)),
            )
        ]
    )


def _goodput(algorithm: str) -> Tests:
    """In each cell and each direction at least three quarters of Linux's goodput."""

    def tests(evidence: Evidence) -> list[Test]:
        found = userstack.impaired(evidence.frame)
        return [
            test
            for cell in userstack.impairments(found)
            for direction in DIRECTIONS
            for test in tested(
                f"{cell}, {DIRECTION_NAMES[direction]}: goodput, ours ÷ Linux",
                effect(userstack.goodput(found, cell, algorithm, direction)),
                "matches",
                least=GOODPUT,
            )
        ]

    return tests


def _over_lwip(experiment: str) -> Tests:
    def tests(evidence: Evidence) -> list[Test]:
        found = userstack.reply_ratios(evidence.frame, ON_SWITCH, Series(LWIP), experiment=experiment)
        return tested("replies per CPU-second, ours ÷ lwIP", effect(found), "matches", least=OVER_LWIP)

    return tests


def _over_loopback(evidence: Evidence) -> list[Test]:
    """Without and with the clients' CPU: over loopback much of a reply's way is gone by whoever sends."""
    columns = {
        "server and switch": "replies_per_cpu_s",
        "server, switch and client": "replies_per_cpu_s_whole",
    }
    return whole(
        [
            tested(
                f"replies per CPU-second of {whose}: ours over the switch ÷ the kernel's over loopback",
                effect(userstack.reply_ratios(evidence.frame, ON_SWITCH, ON_LOOPBACK, column)),
                "matches",
                least=OVER_LOOPBACK,
            )
            for whose, column in columns.items()
        ]
    )


def _incast(points: Points, what: str, world: userstack.World = userstack.MANY) -> Tests:
    """How much longer the last of many senders takes, with the coarser of two points, where that is longest."""

    def tests(evidence: Evidence) -> list[Test]:
        two = points(evidence.frame, world)
        worst = largest(userstack.over_senders(evidence.frame, two, world))
        if two is None or not len(worst.ratios):
            return []
        coarse, fine = (time_name(getattr(point, what)) for point in two)
        told = f"{fmt_integer(worst.place)} senders: until a block has come, {coarse} ÷ {fine}"
        return tested(told, worst.effect if world is userstack.LIVE else certain(worst.effect.value))

    return tests


def _as_modelled(evidence: Evidence) -> list[Test]:
    """With the most senders a block takes neither much longer than in the model, nor much less long."""
    found = []
    for point in userstack.incast_points(evidence.frame, userstack.LIVE):
        table = userstack.beside_model(evidence.frame, point)
        if table.empty:
            continue
        times = (time_name(point.min_rto_us), time_name(point.tick_us))
        place = f"{fmt_integer(max(table))} senders, least time-out {times[0]}, tick {times[1]}"
        ratios = table[max(table)].dropna()
        for what, values in (("switch ÷ model", ratios), ("model ÷ switch", 1 / ratios)):
            found += tested(f"{place}: {what}", effect(values), "matches", least=1 / MODEL_FACTOR)
    return found


def _conformance(_: Evidence) -> list[Test]:
    """Counts on a fixed list, in virtual time: nothing in them is by chance, so they have no spread."""
    found = conformance.load()
    if not found.measured:
        return []
    count = len(found.scripts)
    ours = tested(
        f"scripts that pass, of {fmt_integer(count)}",
        certain(found.share),
        "matches",
        least=_just(conformance.SHARE),
    )
    if not found.kernel_ran:
        return ours
    beside = certain(found.passed("ours") / max(1, found.passed("kernel")))
    return [*ours, *tested("scripts that pass, ours ÷ Linux's", beside, "matches", least=_just(1.0))]


def certain(value: float) -> Effect:
    """A number of virtual time, in which nothing is by chance: its interval is itself."""
    return Effect(value, value, value, 2, float(np.log(value)) if value > 0 else -np.inf, 0.0)


def _just(bound: float) -> float:
    """A bound that is kept by what equals it."""
    return bound * (1 - 1e-9)


# ------------------------------------------------------------------------------------------------- causes


def _fewer_crossings(over: Series, under: Series) -> Mechanism:
    """A reply enters the kernel less often, or rings."""

    def cause(evidence: Evidence) -> Cause:
        sides = [userstack.crossings(evidence.frame, series) for series in (over, under)]
        return Cause(f"crossings a reply, {over.name} ÷ {under.name}", effect((sides[0] / sides[1]).dropna()))

    return cause


def _in_the_server(over: Series, under: Series, experiment: str) -> Mechanism:
    """The difference is in the server's own process, where the stacks differ; the switch is the same for both."""

    def cause(evidence: Evidence) -> Cause:
        own, switch = (
            effect(userstack.reply_ratios(evidence.frame, over, under, column, experiment))
            for column in ("server_us", "switch_us")
        )
        beside = f"the switch's {switch.value:.2f}" if switch.n else ""
        return Cause(f"CPU a reply of the server alone, {over.name} ÷ {under.name}", own, beside)

    return cause


def _more_is_sent_again(algorithm: str) -> Mechanism:
    """The switch loses what it says it does: where more is lost, our sender sends more again."""

    def cause(evidence: Evidence) -> Cause:
        found = userstack.impaired(evidence.frame)
        there = [cell for cell in userstack.LOSSES if cell in userstack.impairments(found)]
        if len(there) < 2:
            return Cause("segments sent again", effect(pd.Series(dtype=float)))
        most, least = (
            userstack.recovery(found, cell, "retransmitted", algorithm=algorithm) + 0.01
            for cell in (there[-1], there[0])
        )
        name = f"segments sent again per MiB, plus 0.01, {there[-1]} ÷ {there[0]}"
        return Cause(name, effect((most / least).dropna()))

    return cause


def _timeouts(points: Points, world: userstack.World = userstack.MANY) -> Mechanism:
    """It is time-outs that the last sender waits for: there are more of them the more senders there are."""

    def cause(evidence: Evidence) -> Cause:
        two = points(evidence.frame, world)
        grown = userstack.timeouts_grow(evidence.frame, two[0] if two else None, world)
        by_chance = world is userstack.LIVE or not len(grown)
        found = effect(grown) if by_chance else certain(float(grown.mean()))
        return Cause("time-outs, plus one, with the most senders ÷ with the fewest", found)

    return cause


def _unnamed(_: Evidence) -> Cause:
    return Cause("no counter tells", effect(pd.Series(dtype=float)))


# ------------------------------------------------------------------------------------------------- claims


def _claim(
    name: str, source: str, statement: str, published: str, test: Tests, cause: Mechanism, **more: Any
) -> Claim:
    own = {"design": OURS, "chapter": userstack.CHAPTER, "charges": NOBODY}
    return Claim(name, source, statement, published, test, cause, **own | more)


def _none(_: Evidence) -> list[Test]:
    return []


def claims() -> list[Claim]:
    """The abstract's, as far as a stack without domains can be asked."""
    return [
        _claim(
            "E1",
            EROS,
            "A network subsystem in user mode compares favourably with one in the kernel.",
            "no number",
            _compares,
            _fewer_crossings(ON_LOOPBACK, ON_SWITCH),
            analog=True,
            note="Favourably is taken as at least as fast, in bulk, in a round trip and in connections: the kernel "
            "over a wire without offloads, ours over the switch. Theirs was part of its operating system; ours runs on "
            "one that does not know of it.",
        ),
        _claim(
            "E2",
            EROS,
            "Divided into several protection domains it performs very close to the undivided one.",
            "very close",
            _none,
            _unnamed,
            untestable="the stack of this edition is undivided: there are no domains yet to compare it with",
        ),
        _claim(
            "E3",
            EROS,
            "It is defensible: what one application does, or suffers, stays with that application.",
            "no number",
            _none,
            _unnamed,
            untestable="one application has one stack here; whom an attack reaches is asked where several share a "
            "machine",
        ),
    ]


def today() -> list[Claim]:
    """What is promised of ours, and what it is for."""
    bound = fmt_percent(GOODPUT)
    return [
        *(
            _question(
                f"U-goodput-{algorithm}",
                "a stack of one's own under loss",
                f"With {algorithm} and the kernel as its peer ours has at least {bound} of the goodput of Linux pinned "
                "to the same algorithm, in every impaired cell, whoever sends.",
                _goodput(algorithm),
                _more_is_sent_again(algorithm),
            )
            for algorithm in ALGORITHMS
        ),
        _question(
            "U-lwip",
            "what a reply costs",
            f"On the same attachment ours gives at least {OVER_LWIP:g} times the replies per CPU-second of lwIP, the "
            "switch's CPU included.",
            _over_lwip(userstack.AWAKE),
            _in_the_server(Series(LWIP), ON_SWITCH, userstack.AWAKE),
        ),
        _question(
            "U-lwip-asleep",
            "what a reply costs",
            "The same where neither stacks nor switch wait awake.",
            _over_lwip(userstack.ASLEEP),
            _in_the_server(Series(LWIP), ON_SWITCH, userstack.ASLEEP),
        ),
        _question(
            "U-loopback",
            "what a reply costs",
            f"From library to library over the switch there are at least {OVER_LOOPBACK:g} times the replies per "
            "CPU-second of the kernel's TCP over loopback, the switch included, whether clients are or not.",
            _over_loopback,
            _fewer_crossings(ON_LOOPBACK, ON_SWITCH),
        ),
        _question(
            "U-conformance",
            "outsiders' tests",
            f"Of packetdrill's public scripts on the list at least {fmt_percent(conformance.SHARE)} pass, and no fewer "
            "than pass on Linux.",
            _conformance,
            _unnamed,
            note="Counted in virtual time on a fixed list, and recorded: make conformance counts again.",
        ),
        _question(
            "U-incast",
            "what fine time-outs are for",
            "Where many senders answer one receiver at once, a small least time-out ends what they lose to waiting for "
            "time-outs.",
            _incast(userstack.coarse_and_fine, "min_rto_us"),
            _timeouts(userstack.coarse_and_fine),
            published="up to 90 % of throughput lost without",
            note=f"Published: {VASUDEVAN}. Ours is in virtual time, on simulated links: nothing in it is by chance, so "
            "it has no spread.",
        ),
        _question(
            "U-incast-tick",
            "what fine time-outs are for",
            "A small least time-out is worth little if timers are coarse.",
            _incast(userstack.coarse_tick, "tick_us"),
            _timeouts(userstack.coarse_tick),
        ),
        _question(
            "U-incast-live",
            "what fine time-outs are for",
            "By the clock and through the switch, too, a small least time-out ends what many senders lose to waiting "
            "for time-outs.",
            _incast(userstack.coarse_and_fine, "min_rto_us", userstack.LIVE),
            _timeouts(userstack.coarse_and_fine, userstack.LIVE),
            published="up to 90 % of throughput lost without",
            note=f"Published: {VASUDEVAN}.",
        ),
        _question(
            "U-incast-model",
            "what fine time-outs are for",
            "With the most senders, a block takes as long through the switch as in its model in virtual time, by a "
            f"factor of {MODEL_FACTOR:g} either way, whatever the time-outs and ticks.",
            _as_modelled,
            _timeouts(userstack.coarse_and_fine, userstack.LIVE),
            note="The model has no CPU: its hosts answer at the same instant, where those on the switch take turns.",
        ),
    ]


def _question(
    name: str,
    of: str,
    statement: str,
    test: Tests,
    cause: Mechanism,
    published: str = "no number",
    **more: Any,
) -> Claim:
    return _claim(name, f"extension: {of}", statement, published, test, cause, **{"extension": True} | more)
