"""Rows as the user-level stack's exchanges would give them, from a few prices. Nothing here was measured."""

import itertools
import json
import zlib

import numpy as np

#: (stack, path) -> MB/s at large writes, µs a write, round trip µs, connections/s, µs a reply of server, switch, client
SERIES = {
    ("kernel", "loopback"): (2600.0, 1.0, 30.0, 21_000.0, (9.0, 0.0, 9.5)),
    ("kernel", "veth"): (1900.0, 1.1, 42.0, 17_000.0, (11.0, 0.0, 11.0)),
    ("kernel", "veth (no offloads)"): (380.0, 1.3, 44.0, 16_000.0, (12.0, 0.0, 12.0)),
    ("ours", "switch"): (430.0, 0.2, 36.0, 21_000.0, (2.5, 2.0, 3.0)),
    ("lwip", "switch"): (160.0, 0.6, 48.0, 8_000.0, (10.0, 2.0, 3.0)),
}
CROSSINGS = {"kernel": 2.2, "ours": 0.3, "lwip": 0.4}
WHERE = {
    "ours": {"parse": 0.1, "tcp": 0.3, "timers": 0.05, "copies": 0.15, "crossings": 0.25, "application": 0.1},
    "kernel": {"kernel": 0.8, "application": 0.2},
}
#: cell -> MB/s of the kernel with the kernel, goodput of ours ÷ its, segments sent again per MiB, time-outs per MiB
CELLS = {
    "none": (380.0, 1.1, 0.0, 0.0),
    "loss 0.1 %": (200.0, 1.0, 0.8, 0.01),
    "loss 1 %": (60.0, 0.95, 8.0, 0.1),
    "loss 5 %": (9.0, 0.9, 42.0, 1.0),
    "delay 10 ms": (90.0, 1.0, 0.0, 0.0),
    "delay 50 ms": (40.0, 1.0, 0.0, 0.0),
    "reordering": (300.0, 0.97, 1.0, 0.0),
    "duplication": (350.0, 1.0, 0.1, 0.0),
    "corruption": (200.0, 1.0, 0.8, 0.01),
    "loss 1 %, delay 10 ms": (2.5, 0.95, 9.0, 0.2),
    "mix": (2.0, 0.9, 11.0, 0.3),
}
SENDERS = (1, 4, 16, 64)
#: least time-out, tick: µs
POINTS = ((200_000, 100), (10_000, 100), (1_000, 100), (1_000, 10_000))


def base(experiment, design, path, number, label, **more):
    row = {
        "key": "", "schema": 1, "machine": "synthetic", "kernel": "6.0", "binary": "1" * 16, "attempt": 1,
        "started_at": "2024-06-29T15:00:00+00:00", "duration_s": 1.0, "options": "{}", "load": "", "valid": True,
        "status": "ok", "reason": "", "log": "", "profile": "paper", "kind": "trial", "accept_limit": "",
        "workload": "", "load_mode": "", "charge": "", "latency_histogram": "", "per_second": "",
        "worker_accepts": "", "worker_cpu_s": "",
        "chapter": "userstack", "experiment": experiment, "design": design, "stack": design, "path": path,
        "label": f"{design}, {path}: {label}", "round": number, "seed": number + 1, "peer": design,
        "impairment": "none", "congestion": "cubic", "min_rto_us": 200_000, "tick_us": 100, "window_s": 1.0,
        "seconds": 1.0,
    } | more  # fmt: skip
    return row | {"key": f"{zlib.crc32(repr(sorted(row.items())).encode()):08x}"}


def unavailable(rows, reason="absent: there is no traffic-lwip"):
    """The same rows where the machine lacks what they need."""
    return [row | {"valid": False, "status": "unavailable", "reason": reason} for row in rows]


def _noisy(rng, value, noise):
    return float(value * np.exp(rng.normal(0, noise)))


def speed_rows(rng, rounds, noise, series=tuple(SERIES), writes=(64, 1024, 16384, 65536)):
    """Bulk, round trips, connections, replies, and where time goes."""
    found = []
    for number, (stack, path) in itertools.product(range(rounds), series):
        most, each_us, trip, opened, payers = SERIES[stack, path]
        for size in writes:
            rate = _noisy(rng, 1e6 * size / (size / most + each_us), noise)
            found.append(
                base("bulk", stack, path, number, f"writes of {size:,} bytes", write_bytes=size, direction="to_peer",
                     role="opener", bytes=int(rate), verified_bytes=int(rate), goodput_bytes_per_s=rate)
            )  # fmt: skip
        p50 = _noisy(rng, trip, noise)
        found.append(
            base("rtt", stack, path, number, "64 bytes and back", write_bytes=64, role="listener", rtt_p50_us=p50,
                 rtt_p99_us=2.2 * p50, messages=9000, bytes=9000 * 64)
        )  # fmt: skip
        found.append(
            base("connections", stack, path, number, "16 clients, a connection each request", clients=16,
                 connections_per_s=_noisy(rng, opened, noise), replies_per_s=opened)
        )  # fmt: skip
        server, switch, client = (_noisy(rng, us, noise) for us in payers)
        rate = 0.9e6 / max(server, switch + client)
        told = {
            "clients": 64, "replies_per_s": rate, "server_cpu_s": server * rate * 1e-6,
            "client_cpu_s": client * rate * 1e-6,
            "switch_cpu_s": switch * rate * 1e-6 if path == "switch" else np.nan,
            "replies_per_cpu_s": 1e6 / (server + switch), "replies_per_cpu_s_whole": 1e6 / (server + switch + client),
            "crossings_per_reply": _noisy(rng, CROSSINGS[stack], noise),
        }  # fmt: skip
        found.append(base("replies", stack, path, number, "64 connections, a reply outstanding each", **told))
        if path == "switch":
            label = "64 connections, a reply outstanding each, nobody waits awake"
            found.append(base("replies-asleep", stack, path, number, label, **told))
        if stack in WHERE and path in ("switch", "loopback"):
            found.append(
                base("where", stack, path, number, "profile", **told, where=json.dumps(WHERE[stack]))
            )
    return found


def impaired_rows(rng, rounds, noise, cells=tuple(CELLS), algorithms=("cubic", "reno")):
    """Ours with the kernel both ways, and the kernel with the kernel, by the luck of a seed that both share."""
    found = []
    for number, cell, algorithm in itertools.product(range(rounds), cells, algorithms):
        kernel, ratio, again, timeouts = CELLS[cell]
        luck = np.exp(rng.normal(0, 0.3))
        for stack, direction in (("ours", "to_peer"), ("ours", "from_peer"), ("kernel", "to_peer")):
            rate = _noisy(rng, kernel * 1e6 * luck * (ratio if stack == "ours" else 1.0), noise)
            size = min(64 << 20, int(rate * 20))
            mib = size / (1 << 20)
            found.append(
                base("impaired", stack, "switch", number, f"{cell}, {algorithm}, {direction}", peer="kernel",
                     impairment=cell, congestion=algorithm, direction=direction,
                     role=("opener", "listener")[number % 2], write_bytes=16384, bytes=size, verified_bytes=size,
                     goodput_bytes_per_s=rate, seconds=size / rate, retransmitted=round(again * mib),
                     timeouts=round(timeouts * mib), fast_recoveries=round(again * mib / 3), frames_sent=size // 1448)
            )  # fmt: skip
    return found


def incast_rows(senders=SENDERS, points=POINTS):
    """Whoever waits for a time-out waits for its least, rounded up to a tick; with few senders nobody does."""
    found = []
    for count, (least, tick) in itertools.product(senders, points):
        waits = max(0, count - 4) / 8
        each_us = max(least, tick) + (tick if tick > least else 0)
        ms = 2.0 + 0.5 * count + (each_us / 1e3 if waits else 0.0)
        found.append(
            base("incast", "ours", "", 0, f"{count} senders, {least} µs, tick {tick} µs", peer="", senders=count,
                 min_rto_us=least, tick_us=tick, completion_ms=ms, timeouts=round(waits),
                 retransmitted=round(4 * waits))
        )  # fmt: skip
    return found


def live_rows(rng, rounds, noise, senders=(4, 64), points=POINTS):
    """The same over slower wires, through the switch and as the model has it; the switch's hosts lose a little less."""
    found = []
    wire = json.dumps({"rate-bps": 200_000_000, "queue": 64})
    for count, (least, tick) in itertools.product(senders, points):
        waits = max(0, count - 4) / 8
        ms = 45.0 + 0.1 * count + (max(least, tick) / 1e3 if waits else 0.0)
        told = {
            "senders": count,
            "min_rto_us": least,
            "tick_us": tick,
            "blocks": 5,
            "options": wire,
            "peer": "",
        }
        label = f"{count} senders, {least} µs, tick {tick} µs"
        found.append(
            base(
                "incast-live",
                "ours",
                "virtual time",
                0,
                label,
                completion_ms=ms,
                timeouts=round(10 * waits),
                **told,
            )
        )
        found += [
            base("incast-live", "ours", "switch", number, label, completion_ms=_noisy(rng, 0.9 * ms, noise),
                 timeouts=round(_noisy(rng, 8 * waits, noise)), **told)
            for number in range(rounds)
        ]  # fmt: skip
    return found


def aa_rows(rng, rounds, noise, replicas=3):
    """Ours beside itself."""
    return [
        base("replies", "ours", "switch", number, f"replica {replica}", kind="aa",
             replies_per_cpu_s=_noisy(rng, 220_000.0, noise))
        for number, replica in itertools.product(range(rounds), range(replicas))
    ]  # fmt: skip


def rows(rng, rounds=10, noise=0.02, cells=tuple(CELLS)):
    """All rows of the chapter, of its paper profile."""
    return [
        *speed_rows(rng, rounds, noise),
        *impaired_rows(rng, rounds, noise, cells),
        *incast_rows(),
        *live_rows(np.random.default_rng(4), 6, noise),
        *aa_rows(rng, rounds, noise),
    ]


def quick(rng, rounds=3, noise=0.02):
    """What the quick profile measures: few series, cells and points."""
    series = [one for one in SERIES if one != ("kernel", "veth")]
    return [
        *speed_rows(rng, rounds, noise, series, (64, 16384)),
        *impaired_rows(rng, rounds, noise, ("loss 0.1 %", "delay 10 ms", "mix"), ("cubic",)),
        *incast_rows((1, 16), POINTS[::2]),
        *live_rows(np.random.default_rng(4), 3, noise, points=POINTS[::2]),
    ]
