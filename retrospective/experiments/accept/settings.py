"""What the accept() experiments hold fixed: the paper's settings, and ours where it gives none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retrospective.lab import filesets

CHAPTER = "accept"

#: Every experiment of the chapter, in the order in which the chapter tells of them.
EXPERIMENTS = (
    "one-packet",
    "specweb99-like",
    "sensitivity-backlog",
    "sensitivity-timeout",
    "sensitivity-defer",
    "sensitivity-work",
    "concurrency",
    "fairness",
    "peers",
    "peers-overload",
)
WORKLOADS = ("one-packet", "specweb99-like")

#: The paper's settings (section 5): accept queue of 128; at most 15,000 connections, or 1,000 threads.
BACKLOG = 128
MAX_CONNECTIONS = 15_000
THREADS = 1_000


@dataclass(frozen=True)
class Kind:
    """A kind of server of 2004: the accept-limits it was shown with, the one of its highest peak, and its bounds."""

    limits: tuple[str, ...]
    peak_limit: str
    options: Mapping[str, Any]


KINDS = {
    "userver": Kind(("1", "10", "inf"), "10", {"max-connections": MAX_CONNECTIONS}),
    "tux": Kind(("1", "50", "inf"), "50", {"max-connections": MAX_CONNECTIONS}),
    "knot": Kind(("1", "50", "100"), "50", {"threads": THREADS}),
}
#: Which of them a design is the counterpart of; any other design is run as the µserver was.
KIND_OF = {
    "drain": "tux",
    "drain-uring": "tux",
    "user-threads": "knot",
    "kernel-threads": "knot",
}


def kind_of(design: str) -> Kind:
    """The kind of server that a design, or a peer, is run as."""
    return KINDS[KIND_OF.get(design, "userver")]


#: Accept-limits by kind.
LIMITS = {name: kind.limits for name, kind in KINDS.items()}

#: The paper does not give its clients' time-out. Ours are short: a warm-up outlasts them, and a trial of half a second
#: sees time-outs at their steady rate. A one-packet connection that is served at all is served in a small part of this.
#: On persistent connections the time-out also bounds how many are open at once, and with it what a select call costs.
TIMEOUT_MS = {"one-packet": 300, "specweb99-like": 1000}

#: Mean requests a connection of the paper's SPECweb99-like workload (section 4.2).
REQUESTS_MEAN = 7.2

#: CPU work added to each request, µs, where a client on one CPU could not overload the bare server: on persistent
#: connections the client is a kernel-socket program with a CPU cost of its own, and where the sender pays for packets
#: the client's CPU also does the server's protocol work. Where it receives them itself, a one-packet request costs the
#: bare server about what it cost 2004's (45 µs at its peak of 22,000/s), so nothing is added.
WORK_US = {
    ("one-packet", "receiver"): 0,
    ("one-packet", "sender"): 40,
    ("specweb99-like", "receiver"): 40,
    ("specweb99-like", "sender"): 40,
}

#: Offered load of the sensitivities as a ratio to the peak, and what each of them varies.
SENSITIVITY_RATIO = 1.4
SENSITIVITY_BACKLOGS = (128, 511, 4096)
SENSITIVITY_TIMEOUTS_MS = (100, 300, 1000)
SENSITIVITY_DEFER_S = (0, 1)
SENSITIVITY_WORK_US = (0, 40, 160)

#: In closed loop the client, too, works for every connection: about 42 µs, where the cheapest server (uring, large
#: batches) works for 22. With this much more to do, the server's CPU is the one that is busy all the time.
CONCURRENCY_WORK_US = 30
CONCURRENCY_CLIENTS = (8, 32, 128, 512)
CONCURRENCY_LIMITS = ("1", "4", "16", "inf")

#: Fairness: so few connections that either worker could serve them all, and a few requests that sleep. Either of two
#: workers sleeps for rate × share × sleep / 2 = 4 % of the time, both at once for 0.2 %: connections that wait behind a
#: sleeping worker although the other is idle make up more than the slowest 1 %, those that must wait make up less.
#: Sleeps are short beside the window, so that two that happen to overlap do not decide a trial.
FAIRNESS_WORKERS = 2
FAIRNESS_PER_S = 4_000.0
FAIRNESS_SLOW_SHARE = filesets.SLOW_SHARE
FAIRNESS_SLEEP_US = 20_000
FAIRNESS_DURATION_S = 2.0
#: Long enough that a connection left behind counts by its latency, and a queue long enough that none is dropped.
FAIRNESS_TIMEOUT_MS = 2_000
FAIRNESS_BACKLOG = 511

#: Connections of the closed loop in which CPU per reply is compared with the peers.
PEERS_CLIENTS = 64
NGINX_VARIANTS = tuple(
    {"sendfile": sendfile, "multi_accept": multi_accept}
    for sendfile in ("off", "on")
    for multi_accept in ("off", "on")
)

#: Offered rates (requests/s) that overload any of our servers; calibration finds each server's own peak from there.
CALIBRATION_TARGET = {"one-packet": 50_000.0, "specweb99-like": 25_000.0}
