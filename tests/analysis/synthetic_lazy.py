"""Rows as lazybench's probes would give them, from a simple model of each engine. Nothing here was measured."""

import itertools
import json
import zlib

import numpy as np

QUANTILES = ("p50", "p90", "p99", "p999", "max")
KIB = 1024
BYTES = (512, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, 1024 * KIB)
SERIES = (
    *(
        "plain",
        "activation",
        "activation (timer)",
        "uring",
        "nowait",
        "pool",
        "amped",
        "posix-aio",
        "linux-aio",
    ),
)
#: operation, state -> µs of the call itself, µs that it blocks
CALLS = {
    ("read", "cached"): (0.7, 0.0), ("read", "cold"): (2.0, 90.0), ("read", "direct"): (2.0, 80.0),
    ("write", "warm"): (1.1, 0.0), ("write", "direct"): (2.0, 110.0), ("fsync", "dirty"): (3.0, 900.0),
    ("open", "warm"): (1.4, 0.0), ("open", "cold"): (4.0, 180.0), ("stat", "warm"): (0.6, 0.0),
    ("stat", "cold"): (3.0, 170.0), ("readdir", "warm"): (5.0, 0.0), ("readdir", "cold"): (9.0, 200.0),
    ("sendfile", "cached"): (2.2, 0.0), ("sendfile", "cold"): (3.0, 90.0), ("connect", "ready"): (9.0, 0.0),
    ("connect", "full"): (9.0, 1000.0), ("pipe", "absent"): (0.5, 150.0), ("pipe", "present"): (0.4, 0.0),
    ("sleep", "timed"): (1.0, 1000.0), ("openstat", "warm"): (2.0, 0.0), ("openstat", "cold"): (6.0, 300.0),
}  # fmt: skip
#: series -> what of it has a call at all, µs to hand a call over, µs more for a call that does not block
ENGINES = {
    "plain": (None, 0.0, 0.0),
    "activation": (None, 21.0, 0.01),
    "activation (timer)": (None, 190.0, 0.01),
    "uring": ({"read", "write", "fsync", "open", "stat", "connect", "pipe", "sleep"}, 1.4, 0.45),
    "nowait": ({"read"}, 6.0, 0.06),
    "pool": (None, 4.0, 9.0),
    "amped": (None, 7.0, 14.0),
    "posix-aio": ({"read", "write", "fsync"}, 6.0, 11.0),
    "linux-aio": ({"read", "write", "fsync"}, 5.0, 1.1),
}
COLD_NEEDS_ROOT = False
#: What asking by itself costs, in preads.
QUESTION = 1.03


def copying_us(count):
    return count / 1024 * 0.07


def histogram(levels):
    """A histogram with about these quantiles (ns), of a thousand calls."""
    bounds = [round(levels[q]) for q in QUANTILES]
    return [[bound, count] for bound, count in zip(bounds, (500, 400, 90, 9, 1), strict=True)]


def spread(us, tail=3.0):
    """Quantiles, ns, of times with this median."""
    factors = (1.0, 1.2, 1.0 + 0.3 * tail, 1.0 + 0.6 * tail, 1.0 + tail)
    return dict(zip(QUANTILES, (us * 1e3 * f for f in factors), strict=True))


def base(experiment, series, number, label, **more):
    row = {
        "key": "", "schema": 1, "machine": "synthetic", "kernel": "6.0", "binary": "1" * 16, "attempt": 1,
        "started_at": "2024-06-29T13:00:00+00:00", "duration_s": 0.2, "options": "{}", "load": "", "valid": True,
        "status": "ok", "reason": "", "log": "", "profile": "paper", "kind": "trial", "accept_limit": "",
        "chapter": "lazy", "experiment": experiment, "design": series, "label": f"{series}: {label}", "round": number,
        "workload": "", "load_mode": "", "charge": "", "latency_histogram": "", "per_second": "", "worker_accepts": "",
        "worker_cpu_s": "", "program": "lazybench", "engine": series.split(" ")[0],
        "watch": {"activation": "perf", "activation (timer)": "timer"}.get(series, ""), "operation": "",
        "state": "", "busy": "",
        "file_system": "ext4", "samples": 1000, "errors": 0, "completions": 0, "calls": 1000, "upcalls_false": 0,
        "upcalls_lost": 0, "threads": 4, "device_read_bytes": 0.0, "voluntary_switches": 10, "involuntary_switches": 1,
        "process_voluntary_switches": 10, "process_involuntary_switches": 1, "held_histogram": "",
        "plain_histogram": "", "resumed_histogram": "", "bytes": 0,
        **{f"path_{name}": 0 for name in (
            "inline", "hit", "miss", "helper", "ring", "upcall", "timer", "held", "refused")},
    } | more  # fmt: skip
    return row | {"key": f"{zlib.crc32(repr(sorted(row.items())).encode()):08x}"}


def path_of(series, call, blocks):
    """How a call goes."""
    if series in ("pool", "amped", "posix-aio"):
        return "helper"
    if series == "nowait":
        return "miss" if blocks else "hit"
    if series == "uring":
        return "ring" if blocks else "inline"
    if series == "linux-aio":
        return "ring" if call[1] == "direct" else "inline"
    if series.startswith("activation") and blocks:
        return "timer" if "timer" in series else "upcall"
    return "inline"


def times_us(series, call, count):
    """(held, total, plain) µs of a call, or ``None`` if the series has no such call."""
    known, hand, extra = ENGINES[series]
    if known is not None and call[0] not in known:
        return None
    own, blocks = CALLS[call]
    own += copying_us(count)
    plain = own + blocks
    if series == "linux-aio":
        held = hand if call[1] == "direct" else plain + extra
        return held, plain + extra, plain
    if not blocks:
        helped = series in ("pool", "amped", "posix-aio")
        return (hand if helped else own + extra), own + extra, plain
    if series == "plain":
        return plain, plain, plain
    return min(hand, plain), plain + hand, plain


def unsupported(row, series, call):
    why = f"{series} has no such call" if call[0] != "stat" else "cold names need --drop-caches"
    return row | {
        "valid": False,
        "status": "unavailable",
        "samples": None,
        "reason": f"unsupported: {why}",
    }


def call_rows(rng, experiment, series, call, count, number, label, noise):
    row = base(experiment, series, number, label, operation=call[0], state=call[1], bytes=count)
    found = times_us(series, call, count)
    if found is None:
        return unsupported(row, series, call)

    def noisy(value):
        return float(value * np.exp(rng.normal(0, noise)))

    held, total, plain = found
    blocks = CALLS[call][1] > 0
    path = path_of(series, call, blocks)
    asynchronous = path not in ("inline", "hit")
    row |= {f"path_{path}": 1000, "completions": 1000 if asynchronous else 0}
    row |= {"voluntary_switches": 1000 if blocks or path == "helper" else 3}
    row["process_voluntary_switches"] = row["voluntary_switches"]
    if call[1] == "cold" or call == ("read", "direct"):
        row |= {"device_read_bytes": 4096.0 * 1000, "evicted_share": 1.0}
    if experiment == "cost":
        ratio = noisy(total / plain)
        if series == "nowait" and call == ("read", "cached"):
            raw = QUESTION * (1 + number % 3 * 1e-3)
            row |= {"raw_nowait_ns": plain * 1.02e3 * raw, "ratio_raw_nowait": ratio / 1.02 / raw}
        return row | {
            "call_ns": plain * 1e3 * ratio, "plain_ns": plain * 1e3, "glibc_ns": plain * 1.02e3, "ratio_plain": ratio,
            "ratio_glibc": ratio / 1.02, "call_cpu_ns": plain * 1e3 * ratio, "plain_cpu_ns": plain * 1e3,
        }  # fmt: skip
    for name, us in (("held", held), ("total", total), ("plain", plain)):
        levels = spread(noisy(us))
        row |= {f"{name}_{q}_ns": value for q, value in levels.items()}
        if name != "total":
            row[f"{name}_histogram"] = json.dumps(histogram(levels))
    return row


def upcall_rows(rng, series, number, noise):
    found = []
    middle = 19.0 if series == "activation" else 210.0
    for words, tail in (("idle", 1.0), ("busy", 2.5)):
        levels = spread(float(middle * np.exp(rng.normal(0, noise))), tail)
        resumed = {f"resumed_{q}_ns": value for q, value in levels.items()}
        found.append(
            base("upcall", series, number, f"upcall, {words}", busy="yes" if words == "busy" else "no", blocks=1000,
                 missed=0, stolen=1000, path_upcall=1000, completions=1000,
                 resumed_histogram=json.dumps(histogram(levels)), **resumed)
        )  # fmt: skip
    found.append(
        base("preempted", series, number, "preempted", calls=50_000, samples=50_000, path_inline=50_000,
             involuntary_switches=220, process_involuntary_switches=230, stolen=0, upcalls_false=200)
    )  # fmt: skip
    added = float(1300 * np.exp(rng.normal(0, noise)))
    found.append(
        base("sleep", series, number, "sleep", with_ns=9000.0 + added, without_ns=9000.0, added_ns=added,
             added_p10_ns=added - 300, added_p90_ns=added + 500, added_ratio=(9000 + added) / 9000)
    )  # fmt: skip
    return found


def server_rows(rng, number, noise, ratios=(0.1, 0.5, 0.9), factor=1.01, workload="one-packet"):
    found = []
    for ratio, engine in itertools.product(ratios, ("plain", "activation")):
        cost = (
            (13.0 + 3.0 * (1 - ratio))
            * np.exp(rng.normal(0, noise))
            * (factor if engine == "activation" else 1.0)
        )
        found.append(
            base("lazy-cpu", "lazy", number, "") | {
                "label": f"{engine}, {ratio:g} of the peak", "options": json.dumps({"backlog": 511, "engine": engine}),
                "workload": workload, "load_mode": "open", "charge": "receiver", "x_ratio": ratio,
                "target_per_s": 30_000.0 * ratio, "replies_per_s": 30_000.0 * ratio, "achieved_ratio": 1.0,
                "server_cpu_us_per_reply": float(cost), "server_user_us_per_reply": float(0.1 * cost),
                "server_system_us_per_reply": float(0.9 * cost), "server_cpu_share": 0.4 * ratio,
                "system_calls_per_reply": 3.1, "events_per_getevents": 1.5, "latency_p50_us": 120.0,
                "latency_p99_us": 400.0, "program": "", "engine": "",
            }
        )  # fmt: skip
    return found


HIT_SHARES = (0.0, 0.5, 0.9, 0.99, 1.0)
#: series -> sizes, shares in memory, reads at a time
SURFACE = {
    "activation": ((4 * KIB, 64 * KIB, 256 * KIB), HIT_SHARES, (1, 8, 64)),
    **dict.fromkeys(("uring", "nowait", "pool"), ((4 * KIB, 64 * KIB), HIT_SHARES[::2], (1, 64))),
}


def surface_rows(rng, rounds, noise, grids=SURFACE):
    """Reads that wait for the disk together, at most eight, beside reads that wait one after the other."""
    found = []
    for number, (series, grid) in itertools.product(range(rounds), grids.items()):
        for count, share, at_a_time in itertools.product(*grid):
            _, hand, extra = ENGINES[series]
            own, miss = CALLS["read", "cached"][0] + copying_us(count), CALLS["read", "cold"][1]
            eager = own + (1 - share) * miss
            lazy = 1.1 * own + extra + (1 - share) * max(hand, (hand + miss) / min(at_a_time, 8))
            ratio = float(eager / lazy * np.exp(rng.normal(0, noise)))
            label = f"read {count}, {share:g} in memory, {at_a_time} at a time"
            found.append(
                base("surface", series, number, label, bytes=count, hit_share=share, concurrency=at_a_time,
                     hit_share_got=share, reads_per_s=1e6 / eager * ratio, reads_per_s_eager=1e6 / eager,
                     ratio_eager=ratio, cpu_us_per_read=own + extra, cpu_us_per_read_eager=own,
                     cold_reads=round(1000 * (1 - share)), threads_peak=1 + at_a_time, peak_rss_bytes=3e6,
                     hot_resident_share=1.0, paused_share=0.2, device_read_bytes=1000.0 * (1 - share) * count)
            )  # fmt: skip
    return found


#: server -> what it serves from a disk of 2004, relative to a loop that is held; CPU per reply, the same; threads; path
SERVERS = {
    "NB-B": (1.0, 1.0, 1, "held"), "NB-AMPED": (1.15, 1.006, 5, "helper"), "NB-LAIO": (1.48, 1.004, 9, "upcall"),
    "NB-LAIO (uring)": (1.46, 1.005, 2, "ring"), "NB-LAIO (nowait)": (1.44, 1.008, 5, "miss"),
    "LAIO-LAIO": (1.42, 1.01, 9, "upcall"), "LAIO-LAIO (uring)": (1.42, 1.01, 2, "ring"),
    "NB-LAIO (begun)": (1.5, 1.004, 9, "miss"), "NB-B (begun)": (1.2, 1.002, 1, "held"),
    "NB-pool": (1.12, 1.4, 5, "helper"), "NB-POSIX-AIO": (1.1, 1.6, 17, "helper"),
    "NB-Linux-AIO": (1.0, 1.1, 1, "inline"), "threads": (1.16, 1.25, 257, None), "processes": (1.08, 1.0, 8, None),
}  # fmt: skip
TRACES = ("rice-like", "berkeley-like")
#: disk -> replies/s of a loop that is held, how much of the gains is left, µs that a miss takes
DISKS = {"own": (9000.0, 0.5, 9_000.0), "2004": (70.0, 1.0, 150_000.0)}
CLIENTS = (1, 16, 64, 256)


def trace_row(
    rng, experiment, server, workload, disk, clients, number, noise, *, fits=False, cache="warm", load=None
):
    """One trial of a server on a trace; ``load`` is the ratio to NB-B's peak of an open loop."""
    gain, cost, threads, path = SERVERS[server]
    held, share, miss_us = DISKS[disk]
    busy = 1.0 if load is not None else clients / (clients + 8.0)
    served = 16_000.0 / cost if fits else held * (1 + (gain - 1) * share)
    per_s = float(served * busy * np.exp(rng.normal(0, noise)))
    waits = not fits and path in ("held", "inline")  # in the loop
    hot_us = (miss_us if waits else 900.0) * (busy + 0.2) * np.exp(rng.normal(0, noise))
    turns = {"100us": 300.0, "1ms": 30.0, "10ms": 0.0, "100ms": 0.0, "1s": 0.0}
    if waits:
        turns |= {
            "1ms": 90.0,
            "10ms": 40.0 if disk == "2004" else 6.0,
            "100ms": 3.0 if disk == "2004" else 0.0,
        }
    cpu = float(55.0 * cost * np.exp(rng.normal(0, noise)))
    misses = 0.0 if fits or path is None else 0.6
    paths = {"path_inline_per_reply": 3.0 - misses} | ({f"path_{path}_per_reply": misses} if path else {})
    where = f"{cache}, {load:g} of the peak" if load is not None else f"{cache}, {clients} clients"
    return base(experiment, "lazy", number, "") | {
        "label": f"{server}, {workload}, {disk} disk, {where}", "server": server, "disk": disk, "cache": cache,
        "memory_ratio": 0.55 if fits else 3.2, "workload": workload, "charge": "receiver",
        "load_mode": "closed" if load is None else "open", "load": json.dumps({"duration-s": 1.0}),
        "clients": clients if load is None else np.nan, "x_ratio": np.nan if load is None else load,
        "target_per_s": np.nan if load is None else held * load,
        "replies_per_s": per_s if load is None else held * load, "server_cpu_us_per_reply": cpu,
        "latency_mean_us": 2 * hot_us, "latency_p50_us": hot_us, "latency_p99_us": 3 * hot_us,
        "hot_latency_p50_us": hot_us / 4, "hot_latency_p99_us": hot_us, "hot_latency_count": 900.0,
        "device_read_bytes": 0.0 if fits else 9e4 * per_s, "footprint_bytes": 36e6, "memory_limit_bytes": 2e7,
        "memory_controller": "v2", "resident_before_share": 1.0 if fits else 0.3, "resident_after_share": 0.3,
        "memory_peak_bytes": 2e7, "rss_peak_bytes": 3e6 + 1.2e5 * threads, "threads_peak": threads,
        "turn_max_us": (miss_us * 3 if waits else 3000.0) if path else np.nan, "lazy_calls_per_reply": 3.0,
        **({f"turns_over_{name}_per_s": count for name, count in turns.items()} if path else {}), **paths,
        "program": "", "engine": "",
    }  # fmt: skip


def trace_rows(
    rng, rounds=10, noise=0.02, servers=tuple(SERVERS), traces=TRACES, disks=tuple(DISKS), clients=CLIENTS
):
    """All rows of the servers on traces."""
    found = []
    most = max(clients)
    for number, server, workload in itertools.product(range(rounds), servers, traces):
        for disk in disks:
            for some in clients:
                found.append(trace_row(rng, "traces", server, workload, disk, some, number, noise))
            cold = trace_row(rng, "traces-cold", server, workload, disk, most, number, noise, cache="cold")
            found.append(cold)
            for load in (0.5, 0.9) if server in ("NB-B", "NB-AMPED", "NB-LAIO") else ():
                found.append(
                    trace_row(rng, "traces-open", server, workload, disk, 0, number, noise, load=load)
                )
        found.append(trace_row(rng, "fits-cpu", server, workload, "own", most, number, noise, fits=True))
    return found


def unavailable(rows, reason="no-cgroup: the memory controller needs root"):
    """The same rows where the machine lacks what they need."""
    lost = {"valid": False, "status": "unavailable", "reason": reason, "replies_per_s": None}
    return [row | lost for row in rows]


HELD_BYTES = {"read": 4096, "write": 4096, "sendfile": 65536}
HELD = [call for call in CALLS if call[0] != "openstat" and call != ("pipe", "present")]
COST = [("pipe", "present"), ("pipe", "absent"), ("openstat", "warm"), ("openstat", "cold")]


def rows(
    rng,
    rounds=10,
    noise=0.02,
    series=SERIES,
    sizes=BYTES,
    calls=COST,
    held=HELD,
    upcalls=SERIES[1:3],
    traces=True,
    surface=SURFACE,
):
    """All rows of the lazy chapter, by default of its paper profile."""
    found = []
    for number in range(rounds):
        for one in series:
            for state in ("cached", "cold", "direct"):
                for count in (
                    sizes if state != "direct" else (s for s in sizes if s in (4 * KIB, 64 * KIB, 1024 * KIB))
                ):
                    label = f"read {state} {count}"
                    found.append(call_rows(rng, "cost", one, ("read", state), count, number, label, noise))
            for call in calls:
                found.append(call_rows(rng, "cost", one, call, 0, number, " ".join(call), noise))
            for call in held:
                count = HELD_BYTES.get(call[0], 0)
                found.append(call_rows(rng, "held", one, call, count, number, " ".join(call), noise))
        for one in upcalls:
            found += upcall_rows(rng, one, number, noise)
        found += server_rows(rng, number, noise)
    for number in range(rounds):  # dearer there, and judged by nothing
        found += server_rows(rng, number, noise, factor=1.2, workload="specweb99-like")
    found += surface_rows(rng, min(rounds, 3), noise, surface)
    return found + (trace_rows(rng, rounds, noise) if traces else [])


def quick(rng, rounds=2):
    main = ("plain", "activation", "uring", "nowait", "posix-aio", "linux-aio")
    held = [("read", "cached"), ("read", "cold"), ("read", "direct"), ("fsync", "dirty"), ("connect", "full")]
    held.append(("pipe", "absent"))
    few = ("NB-B", "NB-AMPED", "NB-LAIO", "threads")
    sizes = (4 * KIB, 64 * KIB)
    surface = {"activation": (sizes, (0.0, 0.9, 1.0), (8,))}
    found = rows(rng, rounds, 0.02, main, sizes, COST[:2], held, SERIES[1:2], False, surface)
    return found + trace_rows(rng, rounds, 0.02, few, TRACES[1:], ("own",), (1, 64))
