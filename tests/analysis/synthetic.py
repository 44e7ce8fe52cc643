"""Rows as the lab would write them, from a simple queueing model of an event-driven server under overload.

One CPU gives each turn of the loop one getevents call, k accepts and k requests; packets cost their softirq to the
server if the receiver pays. What the loop cannot accept is dropped from the queue. Nothing here was measured.
"""

import json
import zlib

import numpy as np
import pandas as pd

#: design -> µs of one getevents call, µs more for each ready descriptor
GETEVENTS = {"select": (9.0, 0.5), "epoll": (1.2, 0.25), "nginx": (2.0, 0.3)}
ACCEPT_US, SOFTIRQ_US, REFUSED_US = 5.0, 6.0, 4.0
WORK_US = {"one-packet": 22.0, "specweb99-like": 24.0}
REQUESTS = {"one-packet": 1.0, "specweb99-like": 7.2}
#: How many connections wait when Inf comes round: bounded by the accept queue.
INF = 90.0


def steady(workload, design, limit, charge, offered):
    """Replies/s and what goes with it, at ``offered`` requests/s."""
    fixed, each = GETEVENTS[design]
    per_connection = REQUESTS[workload]
    work = WORK_US[workload] + (40.0 if workload == "specweb99-like" else 0.0)

    def cost(k):
        return (fixed + each * k * per_connection) / k + ACCEPT_US + work * per_connection

    def served(k, connections):
        softirq = (SOFTIRQ_US if charge == "receiver" else 0.0) * connections
        return max(0.2, 1 - softirq * 1e-6) * 1e6 / cost(k)

    connections = offered / per_connection
    most = INF if limit == "inf" else float(limit)
    # Below saturation phases are as small as they can be; above, as large as they may.
    k = 1.0 if connections < served(1.0, connections) else most
    rate = min(connections, served(k, connections))
    lost = connections - rate
    if charge == "receiver":
        rate = max(0.0, min(rate, served(k, connections) - 0.25 * lost * REFUSED_US * 1e-6 * rate))
    lost = connections - rate
    return {
        "accepts": rate,
        "replies": rate * per_connection,
        "lost": lost,
        "k": k,
        "getevents_us": fixed + each * k * per_connection,
        "turns": rate / k,
        "work_us": work,
        "saturated": lost > 1e-6,
    }


def peak(workload, design, charge):
    best = 0.0
    for offered in np.linspace(2000, 60_000, 400):
        best = max(best, steady(workload, design, "10", charge, offered)["replies"])
    return best


def _base(**row):
    key = zlib.crc32(repr(sorted(row.items())).encode())
    return {
        "key": f"{key:08x}", "schema": 1, "machine": "synthetic", "kernel": "6.0", "binary": "0" * 16, "attempt": 1,
        "started_at": "2024-06-29T12:00:00+00:00", "duration_s": 0.7, "options": "{}", "load": '{"timeout-ms": 2000}',
        "valid": True, "status": "ok", "reason": "", "log": "", "clients": 0, "backlog": 128, "work_us": 0,
        "profile": "paper", "kind": "trial", "accept_limit": "", "x_ratio": np.nan, "target_per_s": np.nan,
        "steal_share": 0.0, "device_read_bytes": 0, "fds_leaked": 0, "refused_per_s": 0.0, "reset_per_s": 0.0,
        "bodies_verified": 1000, "bodies_mismatched": 0, "lag_p99_us": 20.0, "lag_max_us": 90.0,
        "latency_histogram": "[]", "per_second": "[]", "drop_softnet_per_s": 0.0, "connect_p50_us": 60.0,
        "server_run_delay_share": 0.001, "client_cpu_share": 0.6,
    } | row  # fmt: skip


def overload_rows(rng, designs, workloads, charges, ratios, limits=("1", "10", "inf"), rounds=10, noise=0.02):
    found = []
    for workload in workloads:
        for design in designs:
            for charge in charges:
                top = peak(workload, design, charge)
                for ratio in ratios[charge] if isinstance(ratios, dict) else ratios:
                    for limit in limits:
                        for number in range(rounds):
                            found.append(one(rng, workload, design, charge, top, ratio, limit, number, noise))
    return found


def one(rng, workload, design, charge, top, ratio, limit, number, noise, experiment=None, label=None):
    offered = float(f"{top * ratio:.3g}")
    model = steady(workload, design, limit, charge, offered)

    def noisy(value):
        return float(value * np.exp(rng.normal(0, noise)))

    accepts = noisy(model["accepts"]) if model["saturated"] else model["accepts"]
    connections = offered / REQUESTS[workload]
    lost = max(0.0, connections - accepts)
    replies = accepts * REQUESTS[workload]
    wait_us = 128 / accepts * 1e6 * (0.7 if limit == "1" else 1.0) if model["saturated"] else 150.0
    softirq = min(0.9, connections * 14e-6)
    return _base(
        chapter="accept", experiment=experiment or workload, design=design, label=label or f"{design}, limit {limit}",
        accept_limit=limit, workload=workload, load_mode="raw" if workload == "one-packet" else "open", charge=charge,
        target_per_s=offered, x_ratio=ratio, round=number, replies_per_s=replies, attempted_per_s=connections,
        opened_per_s=accepts + 0.4 * lost, completed_per_s=accepts, timed_out_per_s=0.7 * lost, achieved_ratio=1.0,
        accepts_per_s=accepts, getevents_per_s=noisy(accepts / model["k"]), accepts_per_phase=noisy(model["k"]),
        work_items_per_phase=noisy(model["k"] * REQUESTS[workload]),
        events_per_getevents=noisy(model["k"] * REQUESTS[workload] + 1), getevents_us=noisy(model["getevents_us"]),
        accept_us=noisy(ACCEPT_US), accept_phase_us=noisy(ACCEPT_US * model["k"]),
        work_us_per_item=noisy(model["work_us"]), drop_overflow_per_s=0.6 * lost, drop_syn_per_s=0.35 * lost,
        drop_listen_per_s=0.98 * lost, queue_drops_per_s=0.98 * lost,
        drop_softnet_per_s=0.02 * lost if charge == "receiver" else 0.0,
        server_cpu_us_per_reply=1e6 / max(replies, 1.0), server_cpu_share=1.0 if model["saturated"] else 0.7,
        cpu0_softirq_share=softirq if charge == "receiver" else 0.02,
        cpu1_softirq_share=0.1 if charge == "receiver" else softirq + 0.1,
        latency_mean_us=wait_us * (1 + 4 * lost / connections),
        latency_p50_us=wait_us, latency_p90_us=wait_us * 2, latency_p99_us=wait_us * 6 * (1 + lost / connections),
        latency_p999_us=wait_us * 8, latency_max_us=wait_us * 10, latency_count=int(replies),
        latency_censored=int(lost),
        httperf_mean_us=noisy(wait_us),
    )  # fmt: skip


def peer_rows(rng, rounds=10):
    costs = {
        "floor": 7.0, "epoll": 7.7, "select": 9.5, "nginx, sendfile off, multi_accept off": 14.0,
        "nginx, sendfile off, multi_accept on": 14.1, "nginx, sendfile on, multi_accept off": 13.2,
        "nginx, sendfile on, multi_accept on": 13.3, "lighttpd": 17.0,
    }  # fmt: skip
    found = []
    for label, cost in costs.items():
        for number in range(rounds):
            spent = cost * np.exp(rng.normal(0, 0.02))
            found.append(_base(
                chapter="accept", experiment="peers", design=label.split(",")[0], label=label, workload="one-packet",
                load_mode="closed", clients=64, charge="receiver", round=number, server_cpu_us_per_reply=spent,
                replies_per_s=1e6 / spent, server_cpu_share=1.0, latency_p50_us=64 * spent,
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


RECEIVER, SENDER = (0.5, 0.8, 1.0, 1.2, 1.6, 2.1), (0.8, 1.2, 1.6, 2.1)


def paper(seed=2004, rounds=10, noise=0.02, machine="synthetic"):
    """All rows of the paper profile."""
    rng = np.random.default_rng(seed)
    found = overload_rows(
        rng, ("select", "epoll"), ("one-packet", "specweb99-like"), ("receiver", "sender"),
        {"receiver": RECEIVER, "sender": SENDER}, rounds=rounds, noise=noise,
    )  # fmt: skip
    found += peer_rows(rng, rounds) + machine_rows(rng, rounds, noise=noise)
    frame = pd.DataFrame(found)
    frame["machine"] = machine
    broken = frame.sample(5, random_state=seed).index
    return pd.concat([frame, calibration(frame), spoiled(frame.loc[broken])], ignore_index=True)


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
    found += [row for row in peer_rows(rng, rounds) if row["experiment"] == "peers"]
    found += machine_rows(rng, 3, 7)
    return pd.DataFrame(found).assign(machine="laptop", profile="quick")


def calibration(frame):
    first = frame[(frame["accept_limit"] == "10") & (frame["round"] == 0)].drop_duplicates(
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
