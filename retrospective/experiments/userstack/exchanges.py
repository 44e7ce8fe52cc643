"""The exchanges of each experiment: what is run, and what it is called."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Any

from retrospective.experiments.userstack.settings import (
    CELL_BYTES,
    CELL_WRITE_BYTES,
    CHAPTER,
    DELAYED_ACK_US,
    IMPAIRMENTS,
    INCAST_BYTES,
    INCAST_TIMERS,
    LIVE_DELAY_US,
    LIVE_QUEUE,
    LIVE_RATE_BPS,
    MESSAGE_BYTES,
    MIN_RTO_US,
    OPENING_CLIENTS,
    REPLY_CLIENTS,
    TICK_US,
    WINDOW_BYTES,
)
from retrospective.lab.exchange import DIRECTIONS, IN_TURN, OPENER, TO_PEER, Exchange
from retrospective.lab.probe import Probe
from retrospective.lab.probe_stack import LIVE, VIRTUAL
from retrospective.lab.stacks import KERNEL, OURS, SWITCH

if TYPE_CHECKING:
    from retrospective.experiments.userstack.profiles import Profile

#: An exchange, and in how many rounds it takes part.
Planned = tuple[Exchange, int]


def _exchange(
    profile: Profile,
    experiment: str,
    flow: str,
    stack: str,
    path: str,
    label: str,
    options: dict[str, Any],
    **how: Any,
) -> Exchange:
    """An exchange of a stack with its like, or with ``peer``."""
    tuning = {"congestion": "cubic", "tick_us": TICK_US, "min_rto_us": MIN_RTO_US}
    return Exchange(
        chapter=CHAPTER,
        experiment=experiment,
        kind="trial",
        profile=profile.name,
        design=stack,
        flow=flow,
        path=path,
        peer=how.pop("peer", stack),
        options=tuning | options,
        label=f"{stack}, {path}: {label}",
        **how,
    )


def bulk(profile: Profile) -> Iterator[Planned]:
    """Goodput by the size of writes, one way."""
    for stack, path in profile.series:
        for write_bytes in profile.write_bytes:
            options = {
                "write_bytes": write_bytes,
                "seconds": profile.bulk_s,
                "direction": TO_PEER,
                "role": OPENER,
                "window_bytes": WINDOW_BYTES,
            }
            label = f"writes of {write_bytes:,} bytes"
            yield _exchange(profile, "bulk", "transfer", stack, path, label, options), profile.rounds


def rtt(profile: Profile) -> Iterator[Planned]:
    """Round trip of a small message."""
    for stack, path in profile.series:
        options = {"write_bytes": MESSAGE_BYTES, "seconds": profile.rtt_s}
        label = f"{MESSAGE_BYTES} bytes and back"
        yield _exchange(profile, "rtt", "ping", stack, path, label, options), profile.rounds


def connections(profile: Profile) -> Iterator[Planned]:
    """Connections that open, ask once and close."""
    for stack, path in profile.series:
        options = {"clients": OPENING_CLIENTS, "requests": 1, "seconds": profile.serve_s}
        label = f"{OPENING_CLIENTS} clients, a connection each request"
        yield _exchange(profile, "connections", "serve", stack, path, label, options), profile.rounds


def replies(profile: Profile) -> Iterator[Planned]:
    """Connections that stay, each with one reply of 1 KiB outstanding."""
    for stack, path in profile.series:
        options = {"clients": REPLY_CLIENTS, "seconds": profile.serve_s}
        label = f"{REPLY_CLIENTS} connections, a reply outstanding each"
        yield _exchange(profile, "replies", "serve", stack, path, label, options), profile.rounds


def replies_asleep(profile: Profile) -> Iterator[Planned]:
    """The same with stacks and a switch that go to sleep at once when there is nothing to do."""
    for stack, path in profile.series:
        if path != SWITCH:
            continue
        options = {"clients": REPLY_CLIENTS, "seconds": profile.serve_s, "spin_us": 0}
        label = f"{REPLY_CLIENTS} connections, a reply outstanding each, nobody waits awake"
        yield _exchange(profile, "replies-asleep", "serve", stack, path, label, options), profile.rounds


def where(profile: Profile) -> Iterator[Planned]:
    """The same, and where the server's CPU time goes: by samples, of which there are a few hundred a second."""
    for stack, path in profile.series:
        options = {"clients": REPLY_CLIENTS, "seconds": profile.where_s, "samples": True}
        label = f"{REPLY_CLIENTS} connections, a reply outstanding each, sampled"
        yield _exchange(profile, "where", "serve", stack, path, label, options), profile.where_rounds


def impaired(profile: Profile) -> Iterator[Planned]:
    """Goodput through a switch that loses and delays: ours with the kernel, each way, and the kernel with the kernel.

    Whichever is measured opens in even rounds and listens in odd ones. Between kernels both ways are alike but for the
    lots, which make more of a difference than the stacks do: each way is compared with its own.
    """
    for part in profile.cells:
        for impairment in part.impairments:
            cell = IMPAIRMENTS[impairment]
            for congestion in part.congestions:
                for stack, direction in product((OURS, KERNEL), DIRECTIONS):
                    options = {
                        "bytes": profile.cell_bytes,
                        "seconds": profile.cell_s,
                        "write_bytes": CELL_WRITE_BYTES,
                        "direction": direction,
                        "role": IN_TURN,
                        "congestion": congestion,
                        "window_bytes": WINDOW_BYTES,
                        "impairment": impairment,
                        "impair": dict(cell.words),
                    }
                    label = f"{impairment}, {congestion}, {'to' if direction == TO_PEER else 'from'} the peer"
                    exchange = _exchange(
                        profile,
                        "impaired",
                        "transfer",
                        stack,
                        SWITCH,
                        label,
                        options,
                        peer=KERNEL,
                        at_a_time=cell.at_a_time,
                        takes_s=min(cell.takes_s * profile.cell_bytes / CELL_BYTES, profile.cell_s),
                    )
                    yield exchange, part.rounds


def _incast(
    profile: Profile,
    experiment: str,
    senders: int,
    timers: tuple[int, int],
    *,
    blocks: int,
    world: str = "",
    **wires: float | bool,
) -> Probe:
    """Until a block has come that ``senders`` share, with a least time-out and a tick in µs, over certain ``wires``."""
    min_rto_us, tick_us = timers
    options = {
        "senders": senders,
        "min-rto-us": min_rto_us,
        "tick-us": tick_us,
        "bytes": INCAST_BYTES,
        "rounds": blocks,
        # As in 2009, whose question this is: a time-out is all that a lost flight's end is seen by.
        "tail-probes": 0,
        "delayed-ack-us": min(DELAYED_ACK_US, min_rto_us),
    }
    label = f"{senders} senders, least time-out {min_rto_us:,} µs by ticks of {tick_us:,} µs"
    return Probe(
        chapter=CHAPTER,
        experiment=experiment,
        kind="trial",
        profile=profile.name,
        design=OURS,
        options=options | wires,
        label=f"{world}: {label}" if world else label,
        program="stackincast",
    )


def incast(profile: Profile) -> Iterator[tuple[Probe, int]]:
    """Time until a block has come that many senders share, by their number, least time-out and granularity."""
    for timers, senders in product(INCAST_TIMERS, profile.senders):
        # In virtual time: always the same.
        yield _incast(profile, "incast", senders, timers, blocks=profile.blocks), 1


def incast_live(profile: Profile) -> Iterator[tuple[Probe, int]]:
    """The same through the switch and by the clock; and once in virtual time, over the same wires."""
    wires = {"rate-bps": LIVE_RATE_BPS, "up-rate-bps": 0, "delay-us": LIVE_DELAY_US, "queue": LIVE_QUEUE}
    for senders, timers, live in product(profile.live_senders, profile.live_timers, (True, False)):
        world = LIVE if live else VIRTUAL
        probe = _incast(
            profile,
            "incast-live",
            senders,
            timers,
            blocks=profile.live_blocks,
            world=world,
            live=live,
            **wires,
        )
        yield probe, profile.live_rounds if live else 1


EXCHANGES = {
    "bulk": bulk,
    "rtt": rtt,
    "connections": connections,
    "replies": replies,
    "replies-asleep": replies_asleep,
    "where": where,
    "impaired": impaired,
    "incast": incast,
    "incast-live": incast_live,
}
