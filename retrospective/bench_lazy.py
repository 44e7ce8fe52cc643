"""What the chapter on lazy I/O promises, measured on the reader's machine."""

from __future__ import annotations

import functools
import math
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace

import servers
from retrospective.analysis import lazy_servers, statistics
from retrospective.analysis.formatting import fmt_ratio, fmt_ratio_interval
from retrospective.benchmark import ROUNDS, Benchmark, Measured, interleaved, mean, ratio, text
from retrospective.experiments import lazy
from retrospective.experiments.lazy.profiles import RICE
from retrospective.experiments.lazy.settings import (
    CALIBRATION_TARGET,
    FITS,
    MOST_CLIENTS,
    PARTNER_CPU,
    PEAK_CLIENTS,
    SERVER_ENGINES,
    SPILLS,
)
from retrospective.experiments.lazy.traces import Part
from retrospective.experiments.runner import run_one
from retrospective.lab.probe import Probe, run_probe
from retrospective.lab.probe_lazy import PATHS, RING_PATHS
from retrospective.lab.session import UNAVAILABLE
from retrospective.lab.storage import Storage
from retrospective.lab.trial import Row, Trial

#: The profile of the benchmarks: longer probes than a figure's, since each stands for itself.
PROFILE = replace(lazy.PROFILES["paper"], cost_s=0.5, upcall_s=1.0, server_s=1.0)
WORKLOAD = lazy.SERVER_WORKLOADS[0]
BLOCKS = 200_000
OPERATIONS = 1_000_000
#: Many clients and too little memory, own disk: the lazy server and all that it could be compared with.
CROWD = Part(
    "bench",
    RICE,
    Storage("own", SPILLS, "warm"),
    (lazy_servers.LAZY, lazy_servers.BEGUN, lazy_servers.PLAIN_BEGUN, *lazy_servers.RIVALS),
    rounds=ROUNDS,
    clients=(MOST_CLIENTS,),
)
#: The same where the disk is what is waited for, as it was then, with fewer to be compared with: seconds a trial.
CROWD_2004 = replace(
    CROWD,
    storage=Storage("2004", SPILLS, "warm"),
    servers=(lazy_servers.LAZY, lazy_servers.PLAIN, lazy_servers.AMPED, "NB-pool", lazy_servers.THREADS),
    clients=(PEAK_CLIENTS,),
    warmup_s=1.0,
    duration_s=4.0,
)
#: Memory enough: what laziness costs that is not needed.
FITTING = Part(
    "bench",
    RICE,
    Storage("own", FITS, "warm"),
    (lazy_servers.PLAIN, *lazy_servers.LAZY_SERVERS),
    rounds=ROUNDS,
    clients=(PEAK_CLIENTS,),
)


def _probe(experiment: str, series: str, **options: object) -> Probe:
    engine, watch = lazy.SERIES[series]
    asked = {"engine": engine, "watch": watch, "partner-cpu": PARTNER_CPU, **options}
    return Probe(
        chapter="bench",
        experiment=experiment,
        kind="trial",
        profile="bench",
        design=series,
        options={name: value for name, value in asked.items() if value is not None},
        label=f"{series}: {experiment}",
    )


@functools.cache
def _rounds(experiment: str, series: str, **options: object) -> tuple[tuple[Row, ...], str]:
    """Run a probe as often as there are rounds: the valid rows, and why the last other one is none."""
    probe = _probe(experiment, series, **options)
    rows = [run_probe(probe, round=number) for number in range(ROUNDS)]
    why = next((row["reason"] for row in reversed(rows) if not row["valid"]), "")
    return tuple(row for row in rows if row["valid"]), why


def _cached_read(
    series: str, column: str, note: Callable[[Sequence[Row]], str] = lambda rows: ""
) -> Callable[[], Measured]:
    """Ratio of a cached read of 4 KiB, within each probe."""

    def measured() -> Measured:
        options = {
            "operation": "read",
            "state": "cached",
            "bytes": lazy.CLAIM_BYTES,
            "seconds": PROFILE.cost_s,
        }
        rows, why = _rounds("cost", series, **options)
        effect = statistics.ratio_interval(row[column] for row in rows)
        if not effect.decided:
            return Measured(math.nan, note=why or "too few rounds were valid")
        return Measured(effect.value, effect.low, effect.high, note(rows))

    return measured


def _ring_paths(rows: Sequence[Row]) -> str:
    """Where io_uring's calls went: by the library's count, and seen from outside."""
    counted = {path: sum(row[f"path_{path}"] or 0 for row in rows) for path in PATHS}
    seen = {path: sum(row[f"ring_{path}"] or 0 for row in rows) for path in RING_PATHS}
    told = (
        ", ".join(f"{path} {count}" for path, count in which.items() if count) or "none"
        for which in (counted, seen)
    )
    return "paths: {}; watched from outside: {}".format(*told)


def _question(rows: Sequence[Row]) -> str:
    """Say what preadv2(RWF_NOWAIT) costs by itself, both by the C library: no engine that asks can cost much less."""
    alone = statistics.ratio_interval(
        row["ratio_glibc"] / row["ratio_raw_nowait"] for row in rows if row["ratio_raw_nowait"]
    )
    return f"preadv2(RWF_NOWAIT) by itself costs {fmt_ratio(alone.value)} preads" if alone.n else ""


def _level(experiment: str, column: str, scale: float, **options: object) -> Callable[[], Measured]:
    """Mean over rounds of a column, in other units."""

    def measured() -> Measured:
        rows, why = _rounds(experiment, "activation", seconds=PROFILE.upcall_s, **options)
        if len(rows) < 2:
            return Measured(math.nan, note=why or "too few rounds were valid")
        return Measured(*statistics.mean_interval(row[column] * scale for row in rows))

    return measured


def missed() -> Measured:
    """Blocks that were not noticed while they lasted, of 200,000."""
    row = run_probe(_probe("upcall", "activation", busy="no", blocks=BLOCKS))
    if not row["valid"]:
        return Measured(math.nan, note=row["reason"])
    return Measured(row["missed"], note=f"of {text(row['blocks'])} blocks, {text(row['stolen'])} continued")


def stolen_when_preempted() -> Measured:
    """Losses of the CPU that were taken for a block, over all rounds."""
    rows, why = _rounds("preempted", "activation", seconds=PROFILE.upcall_s)
    if not rows:
        return Measured(math.nan, note=why)
    switches = sum(row["involuntary_switches"] or 0 for row in rows)
    return Measured(sum(row["stolen"] for row in rows), note=f"of {text(switches)} losses of the CPU")


@functools.cache
def _server_rows() -> dict[str, list[Row]]:
    """Both engines in the server at every load, in turn."""
    peak = lazy.find_peak(PROFILE, WORKLOAD, _recorded) or CALIBRATION_TARGET[WORKLOAD]
    planned = lazy.trials.servers_under_load(PROFILE, {WORKLOAD: peak})
    return interleaved({trial.label: trial for trial in planned})


def _recorded(trial: Trial) -> Row:
    row = run_one(trial, round=0)
    if not row["valid"]:
        raise RuntimeError(row["reason"])
    return row


def _cpu(load: float) -> Callable[[], Measured]:
    """CPU a reply with lazy reads over plain ones."""

    def measured() -> Measured:
        plain, own = (
            [
                float(row.get("server_cpu_us_per_reply") or math.nan)
                for row in _server_rows()[f"{engine}, {load:g} of the peak"]
            ]
            for engine in SERVER_ENGINES
        )
        return ratio(own, plain)

    return measured


@functools.cache
def _on_trace(part: Part) -> tuple[dict[str, list[Row]], str]:
    """Servers of a part in turn: their rows by name, or why this machine cannot have them."""
    planned = {trial.server: trial for trial in lazy.traces.of_part(PROFILE, part)}
    tried = run_one(planned[lazy_servers.PLAIN], round=0)
    if tried["status"] == UNAVAILABLE:
        return {}, tried["reason"]
    return interleaved(planned, part.rounds), ""


def _column(found: dict[str, list[Row]], server: str, column: str) -> list[float]:
    return [float(row.get(column) or math.nan) for row in found[server]]


def _throughput(part: Part) -> Callable[[], Measured]:
    """Replies/s of the lazy server over those of whichever rival has most: the interval's lower end."""

    def measured() -> Measured:
        found, why = _on_trace(part)
        if why:
            return Measured(math.nan, note=why)
        served = {server: _column(found, server, "replies_per_s") for server in part.servers}
        rivals = [server for server in part.servers if not math.isnan(mean(served[server]))]
        best = max((r for r in rivals if r != lazy_servers.LAZY), key=lambda r: mean(served[r]), default="")
        if not best:
            return Measured(math.nan, note="no rival was measured")
        over = ratio(served[lazy_servers.LAZY], served[best])
        if math.isnan(over.value):
            return over
        return Measured(over.low, over.low, over.high, f"{fmt_ratio(over.value)} × {best}, the best rival")

    return measured


def cached_p99() -> Measured:
    """99th percentile of files that are in memory throughout: with plain calls over with lazy ones."""
    found, why = _on_trace(CROWD_2004)
    if why:
        return Measured(math.nan, note=why)
    return ratio(
        *(_column(found, server, "hot_latency_p99_us") for server in (lazy_servers.PLAIN, lazy_servers.LAZY))
    )


def _fits_cpu(network: str) -> Callable[[], Measured]:
    """CPU a reply of that lazy server, of those with such a network side, whose ratio to plain calls is the highest."""

    def measured() -> Measured:
        found, why = _on_trace(FITTING)
        if why:
            return Measured(math.nan, note=why)
        plain = _column(found, lazy_servers.PLAIN, "server_cpu_us_per_reply")
        over = {
            server: ratio(_column(found, server, "server_cpu_us_per_reply"), plain)
            for server in lazy_servers.LAZY_SERVERS
            if server.startswith(f"{network}-")
        }
        there = {server: one for server, one in over.items() if not math.isnan(one.value)}
        if not there:
            return next(iter(over.values()))
        worst = max(there.values(), key=lambda one: one.value)
        told = [f"{name} {fmt_ratio_interval(one.value, one.low, one.high)}" for name, one in there.items()]
        return replace(worst, note="; ".join(told))

    return measured


def conformance() -> Measured:
    """Checks that failed while a million random operations were compared with what plain calls do."""
    program = servers.test_program("test_laio", "asan")
    words = [str(program), "activation", "--operations", str(OPERATIONS)]
    done = subprocess.run(words, capture_output=True, text=True, errors="replace")
    said = (done.stderr or done.stdout).strip().splitlines()
    if done.returncode == 77:
        return Measured(math.nan, note=said[-1] if said else "activation cannot be opened here")
    if done.returncode:
        return Measured(
            max(1, len(done.stderr.splitlines())),
            note=said[0] if said else f"it ended with {done.returncode}",
        )
    return Measured(
        0, note=f"{text(OPERATIONS)} random operations, under address and undefined-behaviour sanitizers"
    )


_READ = "cached read of 4 KiB: "
_CPU = "CPU a reply of the lazy server, activation over plain, at "
_SPILLS = f"files {SPILLS:g} × memory, many clients, "

#: id, what is measured, how; then at most.
BENCHMARKS = (
    Benchmark(
        "laio-cached-read", _READ + "activation over glibc", _cached_read("activation", "ratio_glibc"), 1.05
    ),
    Benchmark(
        "nowait-cached-read",
        _READ + "nowait over the plain call",
        _cached_read("nowait", "ratio_plain", _question),
        1.10,
    ),
    Benchmark(
        "nowait-of-preadv2",
        _READ + "nowait over preadv2(RWF_NOWAIT) alone",
        _cached_read("nowait", "ratio_raw_nowait"),
        1.10,
    ),
    Benchmark(
        "uring-cached-read",
        _READ + "io_uring over the plain call",
        _cached_read("uring", "ratio_plain", _ring_paths),
    ),
    Benchmark(
        "laio-sleep-us",
        "µs that activation adds to a sleep of its loop",
        _level("sleep", "added_ns", 1e-3),
        2.0,
    ),
    Benchmark(
        "laio-resume-p50-us",
        "µs from a block to going on, median",
        _level("upcall", "resumed_p50_ns", 1e-3, busy="no"),
        30,
    ),
    Benchmark(
        "laio-resume-p99-us",
        "µs from a block to going on, p99",
        _level("upcall", "resumed_p99_ns", 1e-3, busy="no"),
        100,
    ),
    Benchmark("laio-stolen-preempted", "losses of the CPU taken for a block", stolen_when_preempted, 0),
    *(
        Benchmark(f"laio-cpu-{load * 100:.0f}", f"{_CPU}{load:.0%} of its peak", _cpu(load), 1.05)
        for load in PROFILE.loads[WORKLOAD]
    ),
    Benchmark(
        "lazy-throughput",
        f"{_SPILLS}own disk: replies/s, NB-LAIO over the best rival, at least",
        _throughput(CROWD),
        at_least=0.95,
        long=True,
    ),
    Benchmark(
        "lazy-throughput-2004",
        f"{_SPILLS}2004-like disk: replies/s, NB-LAIO over the best rival, at least",
        _throughput(CROWD_2004),
        at_least=0.95,
        long=True,
    ),
    Benchmark(
        "lazy-cached-p99",
        f"{_SPILLS}2004-like disk: p99 of cached files, NB-B over NB-LAIO",
        cached_p99,
        at_least=5,
        long=True,
    ),
    Benchmark(
        "lazy-fits-cpu",
        "files fit: CPU a reply, the dearest of NB-LAIO's engines over NB-B",
        _fits_cpu("NB"),
        1.05,
        long=True,
    ),
    Benchmark(
        "lazy-fits-cpu-network",
        "files fit: CPU a reply, the dearest server with a lazy network side over NB-B",
        _fits_cpu("LAIO"),
        1.05,
        long=True,
    ),
    Benchmark("laio-missed", f"blocks not noticed, of {BLOCKS:,}", missed, 0, long=True),
    Benchmark(
        "laio-conformance",
        f"differences from plain calls in {OPERATIONS:,} operations",
        conformance,
        0,
        long=True,
    ),
)
