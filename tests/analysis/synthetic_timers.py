"""Rows as the timers chapter's programs would give them, from a simple model of two CPUs. Nothing here was measured."""

import itertools
import json
import zlib

import numpy as np

CPUS = 2
SECONDS = 1.0
OURS = ("list", "heap", "heap4", "hashed", "wheel", "lazy")
BESIDE_OURS = ("wheel", "libev", "libuv")
FACILITIES = (*OURS, "nothing", "timerfd", "libev", "libuv")
MIXES = ("tcp", "expiry", "cancel", "rearm")
APART = ("start-only", "cancel-only")
TIMERS = (100, 1000, 10_000, 100_000, 1_000_000)
#: facility -> ns of an operation at 100 timers, how it grows for each factor of ten
OPERATION = {
    "list": (20.0, 9.0), "heap": (30.0, 1.35), "heap4": (26.0, 1.3), "hashed": (13.0, 1.3), "wheel": (12.0, 1.25),
    "lazy": (7.0, 1.3), "nothing": (3.0, 1.0), "timerfd": (480.0, 1.05), "libev": (45.0, 1.4), "libuv": (60.0, 1.5),
}  # fmt: skip
#: facility -> links followed and entries compared in an operation, by timers
STEPS = {
    "list": lambda n: n / 2, "heap": lambda n: 1.5 * np.log2(n), "heap4": lambda n: 1.2 * np.log2(n),
    "hashed": lambda n: 1.0, "wheel": lambda n: 0.05, "lazy": lambda n: 0.1,
}  # fmt: skip
LOOK = 5.0
#: No list is walked over more timers than this.
MOST_OF = {"list": 10_000, "timerfd": 10_000}
MIX_FACTOR = {"tcp": 1.0, "expiry": 1.9, "cancel": 1.4, "rearm": 0.9, "start-only": 0.8, "cancel-only": 0.6}

#: series -> driver, µs of CPU for a tick that finds its process asleep, µs that it is late, the other options
DRIVERS = {
    "tick": ("tick", 14.0, 32.0, {}),
    "timerfd": ("timerfd", 13.0, 32.0, {}),
    "timerfd (aligned)": ("timerfd", 4.5, 60.0, {"align_us": 1000}),
    "epoll": ("epoll", 14.0, 79.0, {}),
    "epoll (slack 1 ns)": ("epoll", 14.5, 31.0, {"slack_ns": 1}),
    "epoll (slack 1 ms)": ("epoll", 8.0, 600.0, {"slack_ns": 1_000_000}),
    "nanosleep": ("nanosleep", 12.0, 30.0, {"slack_ns": 1}),
    "uring": ("uring", 15.0, 31.0, {"slack_ns": 1}),
    "spin": ("spin", 0.0, 0.4, {}),
    "domain": ("domain", 3.0, 20.0, {}),
    "domain (aligned)": ("domain", 2.2, 55.0, {"align_us": 1000}),
}
WALL_DRIVERS = ("tick", "timerfd", "timerfd (aligned)", "epoll", "epoll (slack 1 ms)", "domain")
PROCESSES = (1, 10, 100, 400, 1000)
GRANULARITIES = (10, 100, 1000, 10_000, 100_000, 250_000)
#: price -> ns
PRICES = {
    "stamp": 10.0, "clock": 23.0, "null-call": 130.0, "timerfd-untouched": 480.0, "timerfd-reprogrammed": 4970.0,
    "wake-same-cpu": 2600.0, "wake-other-cpu": 6200.0, "timer-wake": 9000.0, "timer-wake-halted": 14_000.0,
    "interrupt": 3100.0,
}  # fmt: skip


def base(experiment, design, number, label, **more):
    row = {
        "key": "", "schema": 1, "machine": "synthetic", "kernel": "6.0", "binary": "1" * 16, "attempt": 1,
        "started_at": "2024-06-29T14:00:00+00:00", "duration_s": 1.2, "options": "{}", "load": "", "valid": True,
        "status": "ok", "reason": "", "log": "", "profile": "paper", "kind": "trial", "accept_limit": "",
        "chapter": "timers", "experiment": experiment, "design": design, "label": f"{design}: {label}",
        "round": number, "workload": "", "load_mode": "", "charge": "", "latency_histogram": "", "per_second": "",
        "worker_accepts": "", "worker_cpu_s": "", "program": "ticker",
    } | more  # fmt: skip
    return row | {"key": f"{zlib.crc32(repr(sorted(row.items())).encode()):08x}"}


def unavailable(row, reason="unsupported: not built in; as root: make system"):
    """The same row where the machine lacks what it needs."""
    return row | {"valid": False, "status": "unavailable", "reason": reason}


# --------------------------------------------------------------------------------------------- operations


def operation_ns(facility, mix, timers):
    """Price of an operation."""
    first, growth = OPERATION[facility]
    return first * growth ** np.log10(timers / 100) * (MIX_FACTOR[mix] if facility != "nothing" else 1.0)


def loop_ns(mix, timers):
    """Of the loop alone: it looks for events in every turn."""
    return operation_ns("nothing", mix, timers) + (LOOK / (timers // 25 + 1) if mix == "tcp" else 0.0)


def operation_row(rng, facility, beside, mix, timers, number, noise, kind="trial"):
    """One run of two facilities whose slices alternate."""
    ours, theirs = (operation_ns(one, mix, timers) for one in (facility, beside))
    ratio = float(ours / theirs * np.exp(rng.normal(0, noise)))
    return base(
        "operations" if kind == "trial" else "operations-aa", facility, number,
        f"beside {beside}, {mix}, {timers} timers", kind=kind, program="timerbench", facility=facility, beside=beside,
        mix=mix, timers=timers, slices=40, operation_ns=theirs * ratio, beside_operation_ns=theirs,
        ratio_beside=ratio, ratio_low=ratio * 0.97, ratio_high=ratio * 1.03,
        loop_ns=np.nan if mix == "expiry" else loop_ns(mix, timers),
        steps_per_operation=STEPS.get(facility, lambda n: np.nan)(timers),
        beside_steps_per_operation=STEPS.get(beside, lambda n: np.nan)(timers),
    )  # fmt: skip


def operation_rows(rng, rounds, noise, facilities=FACILITIES, mixes=MIXES, timers=TIMERS):
    found = []
    for number, facility, mix, count in itertools.product(range(rounds), facilities, mixes, timers):
        if count > MOST_OF.get(facility, count):
            continue
        others = BESIDE_OURS if facility in ("wheel", "lazy") else ("wheel", "lazy")
        for beside in others:
            if beside != facility and beside in {*facilities, "wheel"}:
                found.append(operation_row(rng, facility, beside, mix, count, number, noise))
    if "nothing" in facilities:
        for number, mix, count in itertools.product(range(rounds), APART, timers):
            found.append(operation_row(rng, "wheel", "nothing", mix, count, number, noise))
    for number, mix, count in itertools.product(range(rounds), mixes, timers):
        found.append(operation_row(rng, "wheel", "wheel", mix, count, number, noise, kind="aa"))
    return found


# ------------------------------------------------------------------------------------------------- ticker


def ticker_rows(rng, experiment, series, processes, granularity_us, number, noise, kind="trial", more=""):
    """Both measures of one cell: a queue of wake-ups before two CPUs."""
    driver, cost_us, late_us, options = DRIVERS[series]
    due = processes * 1e6 / granularity_us * SECONDS
    grouped = options.get("align_us") or options.get("slack_ns", 0) >= 1_000_000
    # Those that come in company find the CPU awake, and the interrupt paid for.
    each_us = max(cost_us * (0.6 if grouped and processes == 1 else 1.0), 0.5)
    wanted = CPUS * 0.99 if driver == "spin" and processes > 1 else due * each_us * 1e-6 / SECONDS
    wanted = 1.0 if driver == "spin" and processes == 1 else wanted
    delivered = due * min(1.0, CPUS * 0.97 / wanted) if driver != "spin" else due / max(1.0, processes / CPUS)
    cores = float(min(wanted, CPUS * 0.97) * np.exp(rng.normal(0, noise)))
    busy = min(cores / CPUS, 0.985)
    late = late_us + each_us * busy / (1 - busy)
    late = (
        late
        + (granularity_us if delivered < 0.99 * due else 0)
        + (0.01 * processes * each_us if grouped else 0)
    )
    late = float(late * np.exp(rng.normal(0, noise)))
    interrupts = (
        due / SECONDS if not grouped else min(due, 1e6 * SECONDS / max(options.get("align_us", 1000), 1))
    )
    # What becomes due while a domain wakes others needs no interrupt of its own.
    interrupts = {"spin": 0.0, "domain": interrupts / 4}.get(driver, min(interrupts, 2.0e5))
    common = {
        "kind": kind, "driver": driver, "facility": "heap", "processes": processes, "timers": 1,
        "granularity_us": granularity_us, "phases": "spread", "align_us": options.get("align_us", 0),
        "slack_ns": options.get("slack_ns", 0), "seconds": SECONDS, "slices": 10, "failed": 0,
        "due": round(due), "delivered": round(delivered), "missed": round(due) - round(delivered),
        "starved": processes if delivered < 0.9 * due else 0, "early": 0, "wakeups": round(delivered),
        "empty_wakeups": 0, "armings": round(delivered), "work_units": 0, "cpu_us": round(cores * SECONDS * 6e5),
        "voluntary_switches": round(delivered), "involuntary_switches": round(0.02 * delivered),
        "timer_interrupts": json.dumps([round(interrupts / 2), round(interrupts / 2)]),
        "timer_interrupts_per_s": interrupts / SECONDS,
    }  # fmt: skip
    label = f"{processes} × {granularity_us} µs{more}"
    on = cores + 0.01
    burnt = {
        "measure": "cores", "cores": cores, "on_cores": on, "off_cores": 0.01, "off_cores_drift": 0.001,
        "slice_on_cores": json.dumps([on] * 10), "slice_off_cores": json.dumps([0.01] * 10),
    }  # fmt: skip
    lateness = {
        "measure": "lateness", "lateness_p50_us": late, "lateness_p90_us": 1.4 * late, "lateness_p99_us": 2.5 * late,
        "lateness_max_us": 12 * late,
    }  # fmt: skip
    return [
        base(experiment, series, number, f"{label}, {one['measure']}", **common, **one)
        for one in (burnt, lateness)
    ]


def wall_rows(rng, rounds, noise, drivers=WALL_DRIVERS, processes=PROCESSES, granularities=GRANULARITIES):
    found = []
    for number, series in itertools.product(range(rounds), drivers):
        for count, granularity in itertools.product(processes, granularities):
            found += ticker_rows(rng, "wall", series, count, granularity, number, noise)
    for number, replica in itertools.product(range(rounds), range(3)):
        for count, granularity in ((100, 10_000), (10, 1000)):
            found += ticker_rows(
                rng, "wall-aa", "timerfd", count, granularity, number, noise, "aa", f", replica {replica}"
            )
    return found


def shoot_out_rows(rng, rounds, noise, drivers=None):
    equal = [name for name in DRIVERS if name not in ("epoll", "epoll (slack 1 ms)")]
    found = []
    for number, series in itertools.product(range(rounds), drivers or equal):
        if "aligned" in series:
            continue
        for count, granularity in itertools.product((1, 100), (1000, 10_000)):
            found += ticker_rows(rng, "shoot-out", series, count, granularity, number, noise)
    return found


def domain_rows(
    rng,
    rounds,
    noise,
    series=("domain", "domain (aligned)", "timerfd", "timerfd (aligned)"),
    cell=(400, 10_000),
):
    return [
        row
        for number, one in itertools.product(range(rounds), series)
        for row in ticker_rows(rng, "domain", one, *cell, number, noise)
    ]


def soft_rows(rng, rounds, noise, periods=(20, 50, 100)):
    """A busy process that loses a check to each timer event, and the kernel's timers of the same periods."""
    found = []
    for number in range(rounds):
        for design, period in [
            ("no triggers", 10_000),
            ("none", 10_000),
            *(("soft", each) for each in periods),
        ]:
            lost = {"no triggers": 0.0, "none": 0.003, "soft": 0.003 + 0.45 / period}[design]
            share = (1 - lost) * np.exp(rng.normal(0, noise / 10))
            due = 1e6 / period
            found.append(
                base("soft", design, number, f"every {period} µs", driver="soft", processes=1, timers=1,
                     granularity_us=period, measure="lateness", seconds=SECONDS,
                     trigger_us=1_000 if design == "no triggers" else 10, due=round(due), delivered=round(due),
                     missed=0, work_units=round(share * 1e5), work_cpu_us=1e6, work_share=float(share),
                     timer_interrupts_per_s=250.0,
                     lateness_p50_us=2.0, lateness_p90_us=4.0, lateness_p99_us=5.0, lateness_max_us=30.0)
            )  # fmt: skip
        for period in periods:
            found += ticker_rows(rng, "soft", "timerfd", 1, period, number, noise)
    return found


def price_rows(rng, rounds, noise, prices=tuple(PRICES)):
    found = []
    for number, price in itertools.product(range(rounds), prices):
        ns = float(PRICES[price] * np.exp(rng.normal(0, noise)))
        found.append(
            base("prices", price, number, "price", program="timercost", price=price, price_ns=ns, price_p10_ns=0.9 * ns,
                 price_p90_ns=1.3 * ns, samples=1000)
        )  # fmt: skip
    return found


def rows(rng, rounds=10, noise=0.02):
    """All rows of the timers chapter, of its paper profile."""
    return [
        *operation_rows(rng, rounds, noise),
        *wall_rows(rng, rounds, noise),
        *shoot_out_rows(rng, rounds, noise),
        *soft_rows(rng, rounds, noise),
        *domain_rows(rng, rounds, noise),
        *price_rows(rng, rounds, noise),
    ]


def quick(rng, rounds=2, noise=0.02):
    """What the quick profile measures: few drivers and cells, no library beside ours, no io_uring."""
    found = operation_rows(
        rng, rounds, noise, ("heap", "wheel", "lazy", "timerfd"), MIXES[:1], (100, 100_000)
    )
    found += wall_rows(rng, rounds, noise, ("timerfd", "domain"), (1, 100, 400), (1000, 10_000, 250_000))
    found += shoot_out_rows(rng, rounds, noise, ("timerfd", "nanosleep", "domain"))
    found += soft_rows(rng, rounds, noise, (50,))
    found += domain_rows(rng, rounds, noise)
    return found + price_rows(
        rng, rounds, noise, ("stamp", "clock", "timerfd-untouched", "timerfd-reprogrammed")
    )
