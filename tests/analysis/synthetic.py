"""Rows as the lab would write them, from a simple queueing model of an event-driven server under overload.

One CPU gives each turn of the loop one getevents call, k accepts and k requests; packets cost their softirq to the
server if the receiver pays. What the loop cannot accept is dropped from the queue. Nothing here was measured.
"""

import functools
import importlib.util
import json
import zlib
from pathlib import Path

import numpy as np
import pandas as pd


def _beside(name):
    """Load a module that lies beside this one; the tests are no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


lazy = _beside("synthetic_lazy")
timers = _beside("synthetic_timers")
userstack = _beside("synthetic_userstack")

#: design -> µs of one getevents call (of a turn of the scheduler, for threads), µs more for each ready descriptor
GETEVENTS = {
    "select": (9.0, 0.5), "poll": (7.0, 0.5), "epoll": (1.2, 0.25), "uring": (0.8, 0.15), "prefork": (1.2, 0.25),
    "drain": (0.0, 0.6), "drain-uring": (0.0, 0.2), "user-threads": (12.0, 0.3), "kernel-threads": (16.0, 0.6),
    "nginx": (2.0, 0.3),
}  # fmt: skip
#: µs that each request costs more for each connection accepted in the same phase: what was accepted first grows stale.
STALE = {"drain": 0.05, "drain-uring": 0.08, "user-threads": 0.05, "kernel-threads": 0.04}
ACCEPT_US, SOFTIRQ_US, REFUSED_US = 5.0, 6.0, 4.0
WORK_US = {"one-packet": 22.0, "specweb99-like": 24.0}
REQUESTS = {"one-packet": 1.0, "specweb99-like": 7.2}
#: How many connections wait when Inf comes round, of an accept queue of 128.
INF = 90.0


def limits(design, workload):
    if design in STALE and "drain" in design:
        return ("1", "50", "inf")
    if design in STALE:
        return ("1", "50", "100") if workload == "one-packet" else ("1", "10", "50", "100")
    return ("1", "10", "inf")


def steady(workload, design, limit, charge, offered, extra_us=0.0, backlog=128):
    """Replies/s and what goes with it, at ``offered`` requests/s."""
    fixed, each = GETEVENTS[design]
    per_connection = REQUESTS[workload]
    work = WORK_US[workload] + (40.0 if workload == "specweb99-like" else 0.0) + extra_us
    stale = STALE.get(design, 0.0)

    def cost(k):
        return (fixed + each * k * per_connection) / k + ACCEPT_US + (work + stale * k) * per_connection

    def served(k, connections):
        softirq = (SOFTIRQ_US if charge == "receiver" else 0.0) * connections
        return max(0.2, 1 - softirq * 1e-6) * 1e6 / cost(k)

    connections = offered / per_connection
    most = INF * backlog / 128 if limit == "inf" else float(limit)
    # Below saturation phases are as small as they can be; above, as large as they may.
    k = 1.0 if connections < served(1.0, connections) else most
    rate = min(connections, served(k, connections))
    lost = connections - rate
    if charge == "receiver":
        rate = max(0.0, min(rate, served(k, connections) - 0.25 * lost * REFUSED_US * 1e-6 * rate))
    lost = connections - rate
    drains = design.startswith("drain")
    return {
        "accepts": rate,
        "replies": rate * per_connection,
        "lost": lost,
        "k": k,
        "getevents_us": np.nan if drains else fixed + each * k * per_connection,
        "turns": 0.0 if drains else rate / k,
        "work_us": work + stale * k,
        "saturated": lost > 1e-6,
    }


@functools.cache
def peak(workload, design, charge, extra_us=0.0):
    """Highest replies/s at the limit that its kind is calibrated at."""
    limit = "50" if design in STALE else "10"
    offers = np.linspace(2000, 60_000, 400)
    return max(steady(workload, design, limit, charge, offered, extra_us)["replies"] for offered in offers)


def _base(**row):
    key = zlib.crc32(repr(sorted(row.items())).encode())
    return {
        "key": f"{key:08x}", "schema": 2, "machine": "synthetic", "kernel": "6.0", "binary": "0" * 16, "attempt": 1,
        "started_at": "2024-06-29T12:00:00+00:00", "duration_s": 0.7, "options": "{}", "load": '{"timeout-ms": 2000}',
        "valid": True, "status": "ok", "reason": "", "log": "", "clients": None, "timeout_ms": None,
        "defer_accept_s": 0,
        "system_calls_per_reply": np.nan, "server_user_us_per_reply": np.nan, "server_system_us_per_reply": np.nan,
        "worker_accept_share_max": np.nan, "worker_cpu_share_max": np.nan, "worker_accepts": None, "worker_cpu_s": None,
        "backlog": 128, "work_us": 0,
        "profile": "paper", "kind": "trial", "accept_limit": "", "x_ratio": np.nan, "target_per_s": np.nan,
        "steal_share": 0.0, "device_read_bytes": 0, "fds_leaked": 0, "refused_per_s": 0.0, "reset_per_s": 0.0,
        "bodies_verified": 1000, "bodies_mismatched": 0, "lag_p99_us": 20.0, "lag_max_us": 90.0,
        "latency_histogram": "[]", "per_second": "[]", "drop_softnet_per_s": 0.0, "connect_p50_us": 60.0,
        "server_run_delay_share": 0.001, "client_cpu_share": 0.6,
    } | row  # fmt: skip


def overload_rows(rng, designs, workloads, charges, ratios, chosen=None, rounds=10, noise=0.02):
    """Rows of whole curves; ``chosen`` limits instead of those of each design's kind."""
    found = []
    for workload in workloads:
        for design in designs:
            for charge in charges:
                top = peak(workload, design, charge)
                for ratio in ratios[charge] if isinstance(ratios, dict) else ratios:
                    for limit in chosen or limits(design, workload):
                        for number in range(rounds):
                            found.append(one(rng, workload, design, charge, top, ratio, limit, number, noise))
    return found


def one(rng, workload, design, charge, top, ratio, limit, number, noise, experiment=None, label=None, **more):
    extra_us, backlog = more.get("work_us", 0), more.get("backlog", 128)
    offered = float(f"{top * ratio:.3g}")
    model = steady(workload, design, limit, charge, offered, extra_us, backlog)

    def noisy(value):
        return float(value * np.exp(rng.normal(0, noise)))

    accepts = noisy(model["accepts"]) if model["saturated"] else model["accepts"]
    connections = offered / REQUESTS[workload]
    lost = max(0.0, connections - accepts)
    replies = accepts * REQUESTS[workload]
    # TUX answers later the more it accepts at once, the µserver sooner the fewer it serves: Fig. 17.
    served = 0.8 if design in STALE and limit == "1" else 0.7 if limit == "1" else 1.0
    wait_us = 128 / accepts * 1e6 * served if model["saturated"] else 150.0
    softirq = min(0.9, connections * 14e-6)
    cpu = 1e6 / max(replies, 1.0)
    calls = 0.3 if "uring" in design else 1 + 3 / REQUESTS[workload]
    drains = design.startswith("drain")
    return _base(
        chapter="accept", experiment=experiment or workload, design=design, label=label or f"{design}, limit {limit}",
        accept_limit=limit, workload=workload, load_mode="raw" if workload == "one-packet" else "open", charge=charge,
        target_per_s=offered, x_ratio=ratio, round=number, replies_per_s=replies, attempted_per_s=connections,
        opened_per_s=accepts + 0.4 * lost, completed_per_s=accepts, timed_out_per_s=0.7 * lost, achieved_ratio=1.0,
        timeout_ms=300 if workload == "one-packet" else 1000,
        accepts_per_s=accepts, getevents_per_s=0.0 if drains else noisy(accepts / model["k"]),
        accepts_per_phase=noisy(model["k"]), work_items_per_phase=noisy(model["k"] * REQUESTS[workload]),
        events_per_getevents=np.nan if drains else noisy(model["k"] * REQUESTS[workload] + 1),
        getevents_us=noisy(model["getevents_us"]),
        accept_us=noisy(ACCEPT_US), accept_phase_us=noisy(ACCEPT_US * model["k"]),
        work_us_per_item=noisy(model["work_us"]), drop_overflow_per_s=0.6 * lost, drop_syn_per_s=0.35 * lost,
        drop_listen_per_s=0.98 * lost, queue_drops_per_s=0.98 * lost,
        drop_softnet_per_s=0.02 * lost if charge == "receiver" else 0.0,
        server_cpu_us_per_reply=cpu, server_cpu_share=1.0 if model["saturated"] else 0.7,
        server_user_us_per_reply=0.2 * cpu, server_system_us_per_reply=0.8 * cpu,
        system_calls_per_reply=calls + model["turns"] / max(replies, 1.0),
        cpu0_softirq_share=softirq if charge == "receiver" else 0.02,
        cpu1_softirq_share=0.1 if charge == "receiver" else softirq + 0.1,
        latency_mean_us=wait_us * (1 + 4 * lost / connections),
        latency_p50_us=wait_us, latency_p90_us=wait_us * 2, latency_p99_us=wait_us * 6 * (1 + lost / connections),
        latency_p999_us=wait_us * 8, latency_max_us=wait_us * 10, latency_count=int(replies),
        latency_censored=int(lost),
        httperf_mean_us=noisy(wait_us),
        **more,
    )  # fmt: skip


def sensitivity_rows(rng, rounds=10, noise=0.02):
    """select on one-packet at 1.4 of its peak: one setting varied at a time."""
    sweeps = {
        "backlog": ("backlog", (128, 511, 4096), ("1", "10", "inf")),
        "timeout": ("timeout_ms", (100, 300, 1000), ("1", "inf")),
        "defer": ("defer_accept_s", (0, 1), ("1", "inf")),
        "work": ("work_us", (0, 40, 160), ("1", "inf")),
    }
    found = []
    for name, (column, levels, chosen) in sweeps.items():
        for level in levels:
            top = peak("one-packet", "select", "receiver", level if column == "work_us" else 0)
            for limit in chosen:
                for number in range(rounds):
                    row = one(rng, "one-packet", "select", "receiver", top, 1.4, limit, number, noise,
                              f"sensitivity-{name}", f"select, limit {limit}, {column} {level}",
                              **({column: level} if column != "timeout_ms" else {}))  # fmt: skip
                    if column == "timeout_ms":
                        row["timeout_ms"] = level
                    found.append(row)
    return found


#: What accepting one limit's worth more at a time gains in a closed loop of so many clients: it flips its sign.
FLIP = {8: -0.10, 32: -0.04, 128: 0.06, 512: 0.14}


def concurrency_rows(rng, rounds=10, noise=0.02, flip=FLIP):
    found = []
    for design, level in (("poll", 26e3), ("epoll", 28e3), ("uring", 30e3)):
        for clients, gain in flip.items():
            for limit, share in (("1", 0.0), ("4", 0.6), ("16", 1.1), ("inf", 1.0)):
                for number in range(rounds):
                    replies = level * np.exp(gain * share + rng.normal(0, noise))
                    phase = min({"inf": INF}.get(limit) or float(limit), clients / 4)
                    found.append(_base(
                        chapter="accept", experiment="concurrency", design=design, accept_limit=limit,
                        label=f"{design}, limit {limit}, {clients} clients", workload="one-packet",
                        load_mode="closed", charge="receiver", clients=clients, round=number, work_us=15,
                        replies_per_s=replies, accepts_per_s=replies, accepts_per_phase=phase,
                        getevents_per_s=replies / phase, work_items_per_phase=phase, getevents_us=1.2 + 0.3 * phase,
                        accept_us=ACCEPT_US, work_us_per_item=25.0, server_cpu_us_per_reply=1e6 / replies,
                        server_user_us_per_reply=2e5 / replies, server_system_us_per_reply=8e5 / replies,
                        system_calls_per_reply=4 + 1 / phase, server_cpu_share=1.0,
                        latency_p50_us=clients / replies * 1e6, latency_p99_us=3 * clients / replies * 1e6,
                    ))  # fmt: skip
    return found


#: label -> (design, p99 in µs and share of requests held up with slow requests among the fast, share of accepts of
#: the busiest worker)
FAIRNESS = {
    "shared": ("prefork", 900.0, 0.006, 0.80),
    "exclusive": ("prefork", 950.0, 0.007, 0.85),
    "reuseport": ("prefork", 40_000.0, 0.060, 0.51),
    "one process": ("epoll", 47_000.0, 0.110, None),
    "kernel threads": ("kernel-threads", 500.0, 0.002, None),
    "user threads": ("user-threads", 48_000.0, 0.110, None),
}
SLEEP_US = 50_000


def histogram(latencies_us):
    """Latencies -> counts, in the buckets of servers/load/histogram.h."""

    def index(ns):
        shift = ns.bit_length() - 8
        return ns if ns < 128 else (shift + 1) * 128 + (ns >> shift) - 128

    counts = [[index(round(us * 1e3)), count] for us, count in sorted(latencies_us.items()) if count]
    return json.dumps({"significant_bits": 7, "unit": "ns", "counts": counts, "censored_counts": []})


def fairness_rows(rng, rounds=10, noise=0.02, cases=FAIRNESS):
    """Two workers on one CPU; a small share of requests sleeps for 50 ms."""
    found = []
    for workload in ("one-packet", "mixed"):
        for label, (design, tail, held, share) in cases.items():
            for number in range(rounds):

                def noisy(value):
                    return float(value * np.exp(rng.normal(0, noise)))

                p99 = noisy(tail if workload == "mixed" else 400.0)
                waiting = round(40_000 * noisy(held)) if workload == "mixed" else 0
                busiest = None if share is None else float(min(0.99, max(0.5, noisy(share))))
                accepts = None if busiest is None else [round(1000 * busiest), round(1000 * (1 - busiest))]
                found.append(_base(
                    chapter="accept", experiment="fairness", design=design, label=label, workload=workload,
                    accept_limit="inf", load_mode="open", charge="receiver", target_per_s=2000.0, round=number,
                    replies_per_s=2000.0, attempted_per_s=2000.0, completed_per_s=2000.0, accepts_per_s=2000.0,
                    achieved_ratio=1.0, server_cpu_share=0.15, server_cpu_us_per_reply=noisy(60.0),
                    server_user_us_per_reply=noisy(12.0), server_system_us_per_reply=noisy(48.0),
                    worker_accept_share_max=np.nan if busiest is None else busiest,
                    worker_cpu_share_max=np.nan if busiest is None else busiest,
                    worker_accepts=None if accepts is None else json.dumps(accepts),
                    worker_cpu_s=None if accepts is None else json.dumps([n * 6e-5 for n in accepts]),
                    latency_mean_us=noisy(200 + tail / 60), latency_p50_us=noisy(150.0), latency_p90_us=noisy(300.0),
                    latency_p99_us=p99, latency_p999_us=noisy(max(1.2 * p99, 49_000.0)),
                    latency_max_us=noisy(51_000.0), latency_count=40_000, latency_censored=0,
                    options=json.dumps({"slow-us": SLEEP_US, "slow-sleeps": True}),
                    latency_histogram=histogram({150.0: 40_000 - waiting, 30_000.0: waiting}),
                ))  # fmt: skip
    return found


def peer_rows(rng, rounds=10):
    costs = {
        "floor": 7.0, "epoll": 7.7, "poll": 8.6, "select": 9.5, "uring": 7.2, "uring, no DEFER_TASKRUN": 8.0,
        "user-threads": 8.4, "kernel-threads": 9.9, "drain": 8.8, "drain-uring": 7.4, "prefork": 7.8, "h2o": 8.9,
        "nginx, sendfile off, multi_accept off": 14.0,
        "nginx, sendfile off, multi_accept on": 14.1, "nginx, sendfile on, multi_accept off": 13.2,
        "nginx, sendfile on, multi_accept on": 13.3, "lighttpd": 17.0,
    }  # fmt: skip
    found = []
    for label, cost in costs.items():
        for number in range(rounds):
            spent = cost * np.exp(rng.normal(0, 0.02))
            ours = not label.startswith(("nginx", "lighttpd", "h2o"))
            found.append(_base(
                chapter="accept", experiment="peers", design=label.split(",")[0], label=label, workload="one-packet",
                load_mode="closed", clients=64, charge="receiver", round=number, server_cpu_us_per_reply=spent,
                replies_per_s=1e6 / spent, server_cpu_share=1.0, latency_p50_us=64 * spent,
                server_user_us_per_reply=0.25 * spent, server_system_us_per_reply=0.75 * spent,
                system_calls_per_reply=2.1 if ours else np.nan, events_per_getevents=20.0 if ours else np.nan,
            ))  # fmt: skip
    top = peak("one-packet", "select", "receiver")
    for number in range(rounds):
        for limit, state in (("1", "off"), ("inf", "on")):
            row = one(rng, "one-packet", "nginx", "receiver", top, 2.1, limit, number, 0.02, "peers-overload",
                      f"nginx, multi_accept {state}")  # fmt: skip
            found.append(row | {"accept_limit": ""})
    return found


def machine_rows(rng, rounds=10, replicas=21, noise=0.02):
    found = []
    for number in range(rounds):
        for i in range(replicas):
            found.append(_base(
                chapter="machine", experiment="aa", kind="aa", design="epoll", label=f"replica {i:02d}",
                workload="one-packet", load_mode="closed", clients=16, charge="receiver", round=number,
                replies_per_s=90_000 * np.exp(rng.normal(0, noise)),
            ))  # fmt: skip
        for client, mode in (("raw", "raw"), ("kernel sockets", "open")):
            for charge in ("receiver", "sender"):
                cost = (38.0 if charge == "receiver" else 30.0) * np.exp(rng.normal(0, noise))
                found.append(_base(
                    chapter="machine", experiment="who-pays", design="epoll", label=f"{client}, {charge} pays",
                    workload="one-packet", load_mode=mode, charge=charge, target_per_s=8000.0, round=number,
                    replies_per_s=8000.0, server_cpu_us_per_reply=cost, achieved_ratio=1.0,
                    cpu0_softirq_share=0.11 if charge == "receiver" else 0.01,
                    cpu1_softirq_share=0.05 if charge == "receiver" else 0.15,
                ))  # fmt: skip
        for client, mode, rates, most in (
            ("kernel sockets", "open", (15e3, 20e3, 25e3, 30e3), 24.6e3),
            ("raw", "raw", (40e3, 60e3, 80e3, 120e3), 96e3),
        ):
            for rate in rates:
                kept = min(rate, most * np.exp(rng.normal(0, noise)))
                late = kept < 0.98 * rate
                found.append(_base(
                    chapter="machine", experiment="ceilings", design="floor", label=f"{client}, {rate:.0f}/s",
                    workload="one-packet", load_mode=mode, charge="receiver", target_per_s=rate, round=number,
                    attempted_per_s=kept, replies_per_s=0.9 * kept, achieved_ratio=kept / rate, valid=not late,
                    status="invalid" if late else "ok", reason="generator-late: 2 % behind" if late else "",
                ))  # fmt: skip
    return found


USERVERS, LOOPS = ("select", "poll", "epoll", "uring"), ("drain", "drain-uring")
THREADS = ("user-threads", "kernel-threads")
DESIGNS = (*USERVERS, *LOOPS, *THREADS)
#: design -> workload -> charge -> x as ratios to the own peak, as the paper profile has them
WHOLE = {
    "one-packet": {"receiver": (0.7, 1.0, 1.4, 2.1), "sender": (1.4,)},
    "specweb99-like": {"receiver": (0.8, 1.2, 2.1), "sender": (2.1,)},
}
GRID = {
    "select": WHOLE,
    "drain-uring": WHOLE,
    "user-threads": WHOLE | {"specweb99-like": {"receiver": (1.2, 2.1), "sender": (2.1,)}},
    "drain": {
        "one-packet": {"receiver": (1.4, 2.1), "sender": (1.4,)},
        "specweb99-like": {"receiver": (2.1,), "sender": (2.1,)},
    },
    "kernel-threads": {"one-packet": {"receiver": (1.4,)}, "specweb99-like": {"receiver": (2.1,)}},
    "epoll": {
        "one-packet": {"receiver": (1.0, 1.4, 2.1), "sender": (1.4,)},
        "specweb99-like": {"receiver": (2.1,)},
    },
    "poll": {"one-packet": {"receiver": (1.4,)}},
    "uring": {"one-packet": {"receiver": (1.4,)}},
}


def limits_at(design, workload, charge, ratio):
    """The profile's economies: Knot's second limit is on SPECweb99-like at one point, of its user-level threads."""
    economy = workload == "specweb99-like" and (design, charge, ratio) != ("user-threads", "receiver", 2.1)
    return [
        limit for limit in limits(design, workload) if not (economy and design in THREADS and limit == "10")
    ]


def paper(seed=2004, rounds=10, noise=0.02, machine="synthetic"):
    """All rows of the paper profile."""
    rng = np.random.default_rng(seed)
    found = []
    for design, workloads in GRID.items():
        for workload, charges in workloads.items():
            for charge, ratios in charges.items():
                for ratio in ratios:
                    chosen = limits_at(design, workload, charge, ratio)
                    found += overload_rows(
                        rng, (design,), (workload,), (charge,), (ratio,), chosen, rounds, noise
                    )
    found += sensitivity_rows(rng, rounds, noise) + concurrency_rows(rng, rounds, noise)
    found += fairness_rows(rng, rounds, noise)
    found += peer_rows(rng, rounds) + machine_rows(rng, rounds, noise=noise)
    frame = pd.DataFrame(found + lazy.rows(rng, rounds, noise))
    frame["machine"] = machine
    broken = frame.sample(5, random_state=seed).index
    ticks = pd.DataFrame(timers.rows(rng, rounds, noise)).assign(machine=machine)
    stacks = pd.DataFrame(userstack.rows(rng, rounds, noise)).assign(machine=machine)
    return pd.concat(
        [frame, calibration(frame), spoiled(frame.loc[broken]), ticks, stacks], ignore_index=True
    )


def quick(seed=7, rounds=2):
    """All rows of the quick profile: few series, few rounds, no epoll on the sender's account."""
    rng = np.random.default_rng(seed)
    found = overload_rows(rng, ("select",), ("one-packet",), ("receiver",), (0.7, 1.2, 2.0), rounds=rounds)
    found += overload_rows(rng, ("select",), ("one-packet",), ("sender",), (2.0,), rounds=rounds)
    found += overload_rows(
        rng, ("epoll",), ("one-packet",), ("receiver",), (2.0,), ("1", "inf"), rounds=rounds
    )
    found += overload_rows(
        rng, ("select",), ("specweb99-like",), ("receiver",), (0.7, 2.0), ("1", "inf"), rounds
    )
    found += overload_rows(
        rng, ("drain-uring", "user-threads"), ("one-packet",), ("receiver",), (2.0,), rounds=rounds
    )
    found += [row for row in concurrency_rows(rng, rounds) if row["clients"] in (8, 512)]
    found += [row for row in fairness_rows(rng, rounds) if row["workload"] == "mixed"]
    found += [row for row in peer_rows(rng, rounds) if row["experiment"] == "peers"]
    found += (
        machine_rows(rng, 3, 7) + lazy.quick(rng, rounds) + timers.quick(rng, rounds) + userstack.quick(rng)
    )
    return pd.DataFrame(found).assign(machine="laptop", profile="quick")


def calibration(frame):
    placed = frame["x_ratio"].notna() & frame["experiment"].isin(WHOLE)
    limit = np.where(frame["design"].isin(STALE), "50", "10")
    first = frame[placed & (frame["accept_limit"] == limit) & (frame["round"] == 0)].drop_duplicates(
        ["design", "charge", "workload"]
    )
    return first.assign(kind="calibration", x_ratio=np.nan, target_per_s=60_000.0)


def spoiled(rows):
    return rows.assign(
        valid=False, status="invalid", reason="generator-late: p99 lag 3,000 µs", replies_per_s=1.0, attempt=0
    )


def provenance(name="Synthetic CPU 3.0 GHz"):
    return {
        "machine": "synthetic",
        "cpu": {"model": name, "cores": 2, "virtualisation": "none", "mitigations": {"x": "KPTI"}},
        "memory_gib": 4, "kernel": {"release": "6.0", "clocksource": "tsc"}, "profile": "paper",
        "build": {"compiler": "gcc", "version": "14.2", "flags": ["-O2", "-std=c11"]},
        "commit": {"hash": "0123456789abcdef", "dirty": True},
        "capabilities": [
            {"name": "user namespaces", "available": True, "detail": "yes", "remedy": ""},
            {"name": "httperf", "available": False, "detail": "", "remedy": "apt install httperf"},
        ],
        "clock": {"read_p50_ns": 55.0, "step_min_ns": 41.0},
        "timers": [
            {"requested_us": r, "p50_us": 57.0, "p90_us": 60.0, "p99_us": 75.0 + r / 500, "max_us": 300.0,
             "samples": 99.0}
            for r in (50.0, 100.0, 500.0, 1000.0, 10_000.0)
        ],
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(json.loads(paper(rounds=2).head(2).to_json(orient="records")), indent=1))
