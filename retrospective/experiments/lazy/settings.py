"""What the lazy I/O experiments hold fixed, and the words they are made of."""

from __future__ import annotations

from typing import Any

from retrospective.lab.provenance import CPU_MAP

CHAPTER = "lazy"

#: Every experiment of the chapter, in the order in which the chapter tells of them. First are probes, whose name is
#: lazybench's first word; from ``lazy-cpu`` on they are trials of servers.
EXPERIMENTS = (
    *("cost", "held", "upcall", "preempted", "sleep", "surface"),
    *("lazy-cpu", "traces", "traces-open", "traces-cold", "fits-cpu"),
)

#: Series -> engine and how it learns that a call blocks, in the order of tables and figures. The probes ask what the
#: switch records are worth, so ``activation`` has them always; the server has what is its default, the adaptive watch.
SERIES: dict[str, tuple[str, str | None]] = {
    "plain": ("plain", None),
    "activation": ("activation", "perf"),
    "activation (timer)": ("activation", "timer"),
    "uring": ("uring", None),
    "nowait": ("nowait", None),
    "pool": ("pool", None),
    "amped": ("amped", None),
    "posix-aio": ("posix-aio", None),
    "linux-aio": ("linux-aio", None),
}

#: The loop has CPU 0 to itself; whoever writes to its pipes, accepts its connections or wakes it has CPU 1.
LOOP_CPU, PARTNER_CPU = CPU_MAP["server"], CPU_MAP["client"]

KIB = 1024
#: What one read takes in: the size that the chapter's claims are judged at, and all that are measured.
CLAIM_BYTES = 4 * KIB
BYTES = (512, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, 1024 * KIB)
#: O_DIRECT wants whole sectors; every size but the first has them on any disk.
DIRECT_BYTES = (4 * KIB, 64 * KIB, 1024 * KIB)

#: Calls beside reads of which the cost is measured.
CALLS = (("pipe", "present"), ("pipe", "absent"), ("openstat", "warm"), ("openstat", "cold"))

#: Operation and state of which is measured how long they hold their caller: the rows of the matrix, from above.
HELD = (
    ("read", "cached"),
    ("read", "cold"),
    ("read", "direct"),
    ("write", "warm"),
    ("write", "direct"),
    ("fsync", "dirty"),
    ("open", "warm"),
    ("open", "cold"),
    ("stat", "warm"),
    ("stat", "cold"),
    ("readdir", "warm"),
    ("readdir", "cold"),
    ("sendfile", "cached"),
    ("sendfile", "cold"),
    ("connect", "ready"),
    ("connect", "full"),
    ("pipe", "absent"),
    ("sleep", "timed"),
)
#: Names and attributes leave the cache only with everything else (/proc/sys/vm/drop_caches), which needs root.
NEEDS_DROPPED_CACHES = frozenset({"openstat", "open", "stat", "readdir"})

#: Programs beside the loop on its CPU in the experiment on preemption.
COMPETITORS = 2

#: Where reading lazily begins to pay: shares of the reads that find their data in memory, and reads at a time.
SURFACE_BYTES = (4 * KIB, 64 * KIB, 256 * KIB)
HIT_SHARES = (0.0, 0.5, 0.9, 0.99, 1.0)
CONCURRENCIES = (1, 8, 64)

#: The server's load where its files are all in memory: one file of 1 KiB, or SPECweb99's mix, on persistent
#: connections, at ratios to the peak under the same workload. Claims are judged on the first.
SERVER_WORKLOADS = ("one-packet", "specweb99-like")
LOADS = (0.1, 0.5, 0.9)
SERVER_ENGINES = ("plain", "activation")
REQUESTS_PER_CONNECTION = 100
BACKLOG = 511
TIMEOUT_MS = 2_000
#: Offered to the server first, requests/s, on the climb to its peak: a little less than what it and its client keep up
#: with on our reference machine.
CALIBRATION_TARGET = {"one-packet": 50_000.0, "specweb99-like": 35_000.0}

#: Most clients of a closed loop, as in the paper; and a thread for each that may block, with some to spare for who
#: accepts and wakes. An engine makes them when they are needed, and a call that finds none holds the loop.
MOST_CLIENTS = 1024
_THREADS = MOST_CLIENTS + 76
#: Processes that each wait for one read at a time: 2004's servers of this kind had some dozens.
PROCESSES = 32

#: Server as the paper would name it, network–disk -> design and options. ``B`` blocks, ``NB`` does not, ``AMPED`` asks
#: helper processes; the rivals are named by whom they ask. Whoever has reads *begun* first (servers/lazy_io/reads.h)
#: does what the paper did not. The last two are what a reviewer asks for: a thread that blocks for each connection, and
#: processes that block, each with its share of the connections.
SERVERS: dict[str, tuple[str, dict[str, Any]]] = {
    "NB-B": ("lazy", {"engine": "plain"}),
    "NB-AMPED": ("lazy", {"engine": "amped", "lazy-processes": PROCESSES}),
    "NB-LAIO": ("lazy", {"engine": "activation", "lazy-threads": _THREADS}),
    "NB-LAIO (uring)": ("lazy", {"engine": "uring"}),
    "NB-LAIO (nowait)": ("lazy", {"engine": "nowait", "lazy-threads": _THREADS}),
    "NB-LAIO (begun)": ("lazy", {"engine": "activation", "reads": "begun", "lazy-threads": _THREADS}),
    "NB-B (begun)": ("lazy", {"engine": "plain", "reads": "begun"}),
    "NB-pool": ("lazy", {"engine": "pool", "lazy-threads": _THREADS}),
    "NB-POSIX-AIO": ("lazy", {"engine": "posix-aio", "lazy-threads": _THREADS}),
    "NB-Linux-AIO": ("lazy", {"engine": "linux-aio"}),
    "LAIO-LAIO": ("lazy", {"engine": "activation", "network": "lazy", "lazy-threads": _THREADS}),
    "LAIO-LAIO (uring)": ("lazy", {"engine": "uring", "network": "lazy"}),
    "threads": ("kernel-threads", {"threads": _THREADS, "file-cache-bytes": 0}),
    "processes": (
        "prefork",
        {"workers": PROCESSES, "sharing": "reuseport", "file-cache-bytes": 0},
    ),
}
#: Whose peak places the offered loads of the open loop, and how many clients find it.
BASE_SERVER = "NB-B"
PEAK_CLIENTS = 64

#: Footprint : memory of the paper's two traces: about 1.1 GB fits into 2 GB, about 6.4 GB does not.
FITS, SPILLS = 0.55, 3.2

#: A client of the closed loop keeps its connection; the paper's connections were persistent, for how many requests is
#: not known to us. In the open loop each request has a connection, so that no reply delays what is offered.
TRACE_REQUESTS_PER_CONNECTION = {"closed": "inf", "open": 1}
#: So long that nothing is timed out, whatever it waits for: a time-out would hide the worst from the percentiles.
TRACE_TIMEOUT_MS = {"own": 10_000, "2004": 60_000}


def bytes_name(count: int) -> str:
    """Name a size as tables do: 512 B, 4 KiB, 1 MiB."""
    for unit, name in ((KIB * KIB, "MiB"), (KIB, "KiB")):
        if count >= unit and count % unit == 0:
            return f"{count // unit} {name}"
    return f"{count} B"
