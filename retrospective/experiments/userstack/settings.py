"""What the experiments on the user-level stack hold fixed, and the words they are made of."""

from __future__ import annotations

from dataclasses import dataclass

from retrospective.lab.stacks import KERNEL, LOOPBACK, LWIP, LWIP_THREAD, OURS, SWITCH, VETH, VETH_PLAIN

CHAPTER = "userstack"

#: Every experiment of the chapter, in the order in which the chapter tells of them.
EXPERIMENTS = (
    *("bulk", "rtt", "connections", "replies", "replies-asleep"),
    *("where", "impaired", "incast", "incast-live"),
)

#: What is compared: a stack at both ends, and the path between them.
SERIES = (
    (KERNEL, LOOPBACK),
    (KERNEL, VETH),
    (KERNEL, VETH_PLAIN),
    (OURS, SWITCH),
    (LWIP, SWITCH),
    (LWIP_THREAD, SWITCH),
)

CONGESTIONS = ("cubic", "reno")
WRITE_BYTES = (64, 256, 1024, 4096, 16384, 65536)
#: Of a ping: what a remote procedure call asks, or is told.
MESSAGE_BYTES = 64
#: Connections that each have one reply outstanding; and clients that open, ask once and close.
REPLY_CLIENTS = 64
OPENING_CLIENTS = 16

#: Transfers of a cell end with so many bytes or seconds, whichever comes first.
CELL_BYTES = 64 << 20
CELL_S = 20.0
CELL_WRITE_BYTES = 16384
#: What a connection may have under way in a cell, at either stack: more than any of these paths holds but those
#: that delay by 50 ms. A kernel has it from the beginning (lab/stacks.py, Tuning); ours offers a quarter of a mebibyte,
#: and always more than a sender that doubles can use.
WINDOW_BYTES = 4 << 20
#: Both stacks' least retransmission time-out: Linux's, TCP_RTO_MIN.
MIN_RTO_US = 200_000
TICK_US = 100


#: Least time-out and granularity of timers, µs: Linux's and what stacks with coarse ticks have; to the finest, which is
#: also asked what it is worth with the coarsest ticks.
INCAST_TIMERS = (
    *((200_000, 10_000), (200_000, 100), (10_000, 1_000), (1_000, 1_000), (1_000, 100)),
    *((200, 10), (200, 10_000)),
)
#: A block, striped over all senders; and how long an acknowledgement may wait for another.
INCAST_BYTES = 1 << 20
DELAYED_ACK_US = 40_000
SENDERS = (1, 2, 4, 8, 16, 32, 64)

#: Incast by the clock: a wire so slow that two CPUs carry it, with links to the switch that are as fast as those are.
LIVE_RATE_BPS, LIVE_DELAY_US, LIVE_QUEUE = 200_000_000, 50, 64
LIVE_TIMERS = ((200_000, 100), (10_000, 1_000), (1_000, 100), (1_000, 10_000))
LIVE_SENDERS = (1, 4, 16, 64)


@dataclass(frozen=True)
class Impairment:
    """What the switch does to frames, each way: its words for it; and how a cell of it is run.

    ``at_a_time``: so many such cells, which mostly wait. ``takes_s``: about, for ``CELL_BYTES`` if there is time.
    """

    words: dict[str, float]
    at_a_time: int = 1
    takes_s: float = 60.0


def _loss(share: float) -> dict[str, float]:
    return {"loss": share}


def _delay(ms: int) -> dict[str, float]:
    return {"delay-us": ms * 1000}


_REORDERED = {"reorder": 0.01, "reorder-us": 500}
_DUPLICATED = {"duplicate": 0.01}
_CORRUPTED = {"corrupt": 0.001}
_LOSSES = {"0.1 %": 0.001, "1 %": 0.01, "5 %": 0.05}
_DELAYS_MS = (10, 50)
#: Cells that wait for time-outs, and those which do little else but wait for what is delayed: two turns of all of them.
_MANY, _MOST = 8, 28

#: Name of a cell -> what is done to every frame, each way and by lot for itself. A delay is one way's.
IMPAIRMENTS: dict[str, Impairment] = {
    "none": Impairment({}, takes_s=0.3),
    "loss 0.1 %": Impairment(_loss(0.001), takes_s=0.4),
    "loss 1 %": Impairment(_loss(0.01), takes_s=1.6),
    "loss 5 %": Impairment(_loss(0.05), at_a_time=_MANY),
    "delay 10 ms": Impairment(_delay(10), takes_s=0.7),
    "delay 50 ms": Impairment(_delay(50), at_a_time=2, takes_s=2.7),
    **{
        f"loss {name}, delay {ms} ms": Impairment(_loss(share) | _delay(ms), at_a_time=_MOST)
        for name, share in _LOSSES.items()
        for ms in _DELAYS_MS
    },
    "reordering": Impairment(_REORDERED, takes_s=0.4),
    "duplication": Impairment(_DUPLICATED, takes_s=0.3),
    "corruption": Impairment(_CORRUPTED, takes_s=0.4),
    "mix": Impairment(
        _loss(0.01) | _delay(10) | _REORDERED | {"reorder-us": 5000} | _DUPLICATED | _CORRUPTED,
        at_a_time=_MOST,
    ),
}

__all__ = [
    "CELL_BYTES",
    "CELL_S",
    "CELL_WRITE_BYTES",
    "CHAPTER",
    "CONGESTIONS",
    "DELAYED_ACK_US",
    "EXPERIMENTS",
    "IMPAIRMENTS",
    "INCAST_BYTES",
    "INCAST_TIMERS",
    "LIVE_DELAY_US",
    "LIVE_QUEUE",
    "LIVE_RATE_BPS",
    "LIVE_SENDERS",
    "LIVE_TIMERS",
    "MESSAGE_BYTES",
    "MIN_RTO_US",
    "OPENING_CLIENTS",
    "REPLY_CLIENTS",
    "SENDERS",
    "SERIES",
    "TICK_US",
    "WINDOW_BYTES",
    "WRITE_BYTES",
    "Impairment",
]
