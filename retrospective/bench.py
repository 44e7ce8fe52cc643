"""Every number that the README or a chapter promises, measured on the reader's machine.

A benchmark is a function returning a ``Measured``; its bound stands beside it in ``BENCHMARKS``. Long ones run only
when named and otherwise report their last recorded run (``data/reference/bench.json``) with its date.
"""

from __future__ import annotations

import datetime
import functools
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from tqdm import tqdm

from retrospective import bench_lazy, bench_robustness, bench_timers, bench_userstack, paths
from retrospective.analysis import statistics
from retrospective.benchmark import ROUNDS, Benchmark, Measured, interleaved, mean, ratio, text
from retrospective.experiments import accept, machine
from retrospective.lab import rivals
from retrospective.lab.kill_check import kill_and_resume
from retrospective.lab.trial import Row, Trial, run_trial

RECORDED = paths.REFERENCE / "bench.json"
CONNECTIONS = 16


#: What CPU a reply is compared of: these of ours, and nginx four ways.
COMPARED = ("floor", "epoll", "uring", "user-threads")


@functools.cache
def peer_rows() -> dict[str, list[Row]]:
    """Rows of those of ``COMPARED`` and of nginx that are here, measured once for all."""
    profile = replace(accept.PROFILES["paper"], duration_s=1.0, peers=COMPARED)
    contenders = [t for t in accept.trials.peers(profile) if t.design in (*COMPARED, "nginx")]
    return interleaved({t.label: t for t in accept.present(contenders)})


def peer_values(label: str, column: str = "server_cpu_us_per_reply") -> list[float]:
    """A column of one contender, a value a round; NaN where there is none."""
    return [math.nan if row.get(column) is None else float(row[column]) for row in peer_rows()[label]]


def _cpu_over(ours: str, theirs: str, note: Callable[[], str] = str) -> Callable[[], Measured]:
    """CPU a reply of one design over another's."""

    def measured() -> Measured:
        for design in (ours, theirs):
            if reason := accept.absent(design):
                return Measured(math.nan, note=f"{design}: {reason}")
        return ratio(peer_values(ours), peer_values(theirs), note())

    return measured


def _batches() -> str:
    """What makes a ring cheap or dear: events a call, and system calls a reply."""
    return "; ".join(
        f"{design}: {text(mean(peer_values(design, 'events_per_getevents')))} events a getevents call, "
        f"{text(mean(peer_values(design, 'system_calls_per_reply')))} system calls a reply"
        for design in ("uring", "epoll")
    )


def _epoll_over_nginx(sendfile: str) -> Callable[[], Measured]:
    """CPU of epoll over the cheaper of nginx's two ``multi_accept`` settings."""

    def measured() -> Measured:
        start = f"nginx, sendfile {sendfile},"
        nginx = {label: peer_values(label) for label in peer_rows() if label.startswith(start)}
        if not nginx:
            return Measured(math.nan, note="nginx is not on PATH; as root: make system")
        best = min(nginx, key=lambda label: mean(nginx[label]))
        floor = ratio(peer_values("floor"), nginx[best])
        return ratio(peer_values("epoll"), nginx[best], f"floor itself is {text(floor.value)} of {best}")

    return measured


# ------------------------------------------------------------------------------------ beside other clients


Run = Callable[[], rivals.Rival]


def _alternate(ours: Run, theirs: Run) -> tuple[list[rivals.Rival], list[rivals.Rival]]:
    """Ours and theirs in turn, each in a fresh lab, the order reversed every round: one entry a round."""
    found: dict[Run, list[rivals.Rival]] = {ours: [], theirs: []}
    for number in tqdm(range(ROUNDS), desc="beside another client", unit="round", leave=False):
        for run_one in (ours, theirs) if number % 2 == 0 else (theirs, ours):
            found[run_one].append(run_one())
    return found[ours], found[theirs]


#: With this much work a request the server is the bottleneck, and the clients' readings are compared. Beside a bare
#: server on one CPU a client on another is one itself, and what is compared is what the clients cost.
WORK = {"work-us": 15}


@functools.cache
def _beside_wrk() -> tuple[list[rivals.Rival], list[rivals.Rival]]:
    load = {"mode": "closed", "clients": CONNECTIONS, "duration-s": 2.0}
    return _alternate(
        lambda: rivals.ours("epoll", load, **WORK),
        lambda: rivals.wrk("epoll", connections=CONNECTIONS, duration_s=2, **WORK),
    )


def closed_wrk_rate() -> Measured:
    """Replies/s of load over wrk's."""
    ours, theirs = _beside_wrk()
    return ratio([r.replies_per_s for r in ours], [r.replies_per_s for r in theirs])


def closed_wrk_median() -> Measured:
    """Difference of medians in units of what is allowed, max(5 %, 10 µs): within ±1.

    The mean of the rounds' differences with its t-interval: in any one round two runs differ by the machine's noise.
    """
    ours, theirs = _beside_wrk()
    apart = [(a.p50_us - b.p50_us) / max(0.05 * b.p50_us, 10.0) for a, b in zip(ours, theirs, strict=True)]
    note = f"medians {mean([r.p50_us for r in ours]):.0f} and {mean([r.p50_us for r in theirs]):.0f} µs"
    return Measured(*statistics.mean_interval(apart), note)


def open_httperf_rate() -> Measured:
    """Replies/s of load over httperf's, both offering half of the server's peak in open loop."""
    profile = replace(accept.PROFILES["quick"], duration_s=0.5)
    series = accept.Series("one-packet", "epoll", "receiver", (0.5,))
    peak = accept.find_peak(profile, series, lambda trial: run_trial(trial, round=0))
    rate = round(peak / 2, -2)
    load = {"mode": "open", "rate": rate, "duration-s": 2.0, "timeout-ms": 2000}
    ours, theirs = _alternate(
        lambda: rivals.ours("epoll", load), lambda: rivals.httperf("epoll", rate=rate, duration_s=2.0)
    )
    return ratio([r.replies_per_s for r in ours], [r.replies_per_s for r in theirs], f"offered {rate:,.0f}/s")


def _at_ceiling(generator: str, **load: Any) -> list[Trial]:
    """The machine chapter's trials of a generator's ceiling, of a second; with ``load``, another one's."""
    return [
        replace(trial, load=trial.load | {"duration-s": 1.0} | load)
        for trial in machine.plan(machine.PROFILES["paper"]).trials
        if trial.experiment == "ceilings" and trial.label.startswith(generator)
    ]


def _ceiling(generator: str, column: str, **load: Any) -> Measured:
    """The highest of a generator's valid trials over the rates of the machine chapter, three of each."""
    trials = _at_ceiling(generator, **load)
    rows = [run_trial(trial, round=number) for number in range(3) for trial in trials]
    kept = [row for row in rows if row["valid"]]
    if not kept:
        return Measured(math.nan, note=f"no trial was valid, the last: {rows[-1]['reason']}")
    best = max(kept, key=lambda row: row[column])
    note = f"opened {text(best['opened_per_s'])}/s, client's CPU {text(best['client_cpu_share'])}"
    return Measured(best[column], note=note)


def opens_kernel() -> Measured:
    """Connections/s the kernel-socket client opens from one CPU."""
    return _ceiling("kernel sockets", "opened_per_s")


def opens_raw() -> Measured:
    """Connections/s the raw client begins, on schedule, from one CPU."""
    return _ceiling("raw", "attempted_per_s")


def starts_on_stack() -> Measured:
    """Connections/s that the open loop on the user-level stack begins, on schedule, from one CPU."""
    return _ceiling("raw", "attempted_per_s", mode="stack")


def start_cpu() -> Measured:
    """CPU of a connection begun, open loop on the user-level stack over the raw client, at a rate that both keep."""
    rows = interleaved({mode: _at_ceiling("raw", mode=mode)[0] for mode in ("stack", "raw")})
    cpu_us = {
        mode: [1e6 * row["client_cpu_share"] / row["attempted_per_s"] if row else math.nan for row in found]
        for mode, found in rows.items()
    }
    note = f"{mean(cpu_us['stack']):.1f} and {mean(cpu_us['raw']):.1f} µs"
    return ratio(cpu_us["stack"], cpu_us["raw"], note)


def idle_10000() -> Measured:
    """Idle connections that epoll still holds after a second of load beside them."""
    held = rivals.hold_idle(design="epoll", idle=10_000, duration_s=1.0)
    return Measured(
        held.open_after, note=f"beside {text(held.replies_per_s)} replies/s, {held.failed} failures"
    )


def parked_user_threads() -> Measured:
    """Resident MB of user-threads while 10,000 threads each hold a connection that has had a reply."""
    if reason := accept.absent("user-threads"):
        return Measured(math.nan, note=reason)
    parked = rivals.park(design="user-threads", connections=10_000, threads=10_000)
    if parked.served < 10_000:
        return Measured(math.nan, note=f"only {parked.served} connections had a reply")
    return Measured(
        parked.resident_bytes / 1e6, note=f"{text(parked.idle_bytes / 1e6)} MB before the first connection"
    )


# ----------------------------------------------------------------------------------------------- long ones


def aa_pairs() -> Measured:
    """Share of A/A pairs that a 95 % interval calls different, of 210 (21 replicas)."""
    frame = machine.run(replace(machine.PROFILES["paper"], kernel_rates=(), raw_rates=()))
    pairs = statistics.aa_pairs(frame)
    note = f"{pairs.called} of {pairs.pairs} by the ledger's rule; {pairs.different} by the interval alone"
    return Measured(pairs.called / pairs.pairs if pairs.pairs else math.nan, note=note)


def sigkill_sweep() -> Measured:
    """Leftovers, keys lost and trials repeated beyond one, over 50 kills of a sweep."""
    found = kill_and_resume(moments=50, seed=2004)
    bad = len(found["leftovers"]) + max(0, found["repeated_max"] - 1) + (0 if found["same_keys"] else 1)
    return Measured(bad, note=f"{found['moments']} kills, at most {found['repeated_max']} trial repeated")


def _minutes(verb: str) -> Callable[[], Measured]:
    def timed() -> Measured:
        begin = time.monotonic()
        code = subprocess.run(
            [sys.executable, "-m", "retrospective", verb], cwd=paths.ROOT, stdout=sys.stderr
        ).returncode
        if code:
            return Measured(math.nan, note=f"`{verb}` ended with {code}")
        return Measured((time.monotonic() - begin) / 60)

    return timed


_CPU = "CPU a reply, 1 KiB, 64 persistent connections: "
_CLOSED = "16 connections in closed loop, load over wrk: "

#: id, what is measured, how; then at most, at least.
_ALL = (
    Benchmark("cpu-epoll-floor", _CPU + "epoll over floor", _cpu_over("epoll", "floor"), 1.10),
    Benchmark("cpu-epoll-nginx", _CPU + "epoll over nginx, sendfile on", _epoll_over_nginx("on"), 0.5),
    Benchmark("cpu-epoll-nginx-off", _CPU + "epoll over nginx, sendfile off", _epoll_over_nginx("off"), 0.5),
    Benchmark("cpu-uring-epoll", _CPU + "uring over epoll", _cpu_over("uring", "epoll", _batches), 1.0),
    Benchmark(
        "cpu-user-threads-epoll", _CPU + "user-threads over epoll", _cpu_over("user-threads", "epoll"), 1.15
    ),
    Benchmark(
        "parked-user-threads", "resident MB of 10,000 parked user-level threads", parked_user_threads, 100
    ),
    Benchmark("closed-wrk-rate", _CLOSED + "replies/s", closed_wrk_rate, 1.05, 0.95),
    Benchmark(
        "closed-wrk-median", _CLOSED + "medians apart, in max(5 %, 10 µs)", closed_wrk_median, 1.0, -1.0
    ),
    Benchmark(
        "open-httperf-rate",
        "replies/s, half the peak offered: load over httperf",
        open_httperf_rate,
        1.02,
        0.98,
    ),
    Benchmark(
        "opens-kernel", "connections/s opened by kernel sockets, one CPU", opens_kernel, at_least=20_000
    ),
    Benchmark("opens-raw", "connections/s begun by the raw client, one CPU", opens_raw, at_least=60_000),
    Benchmark("idle-10000", "idle connections epoll holds beside a load", idle_10000, at_least=10_000),
    *bench_lazy.BENCHMARKS,
    *bench_timers.BENCHMARKS,
    *bench_userstack.BENCHMARKS,
    *bench_robustness.BENCHMARKS,
    Benchmark(
        "userstack-starts",
        "connections/s that the load generator on the stack begins on schedule, from one CPU",
        starts_on_stack,
        at_least=30_000,
        long=True,
    ),
    Benchmark(
        "userstack-start-cpu",
        "CPU that it takes to begin one, over the raw client's",
        start_cpu,
        long=True,
    ),
    Benchmark("aa-pairs", "share of A/A pairs called different", aa_pairs, 0.05, long=True),
    Benchmark("sigkill-sweep", "faults found over 50 kills of a sweep", sigkill_sweep, 0, long=True),
    Benchmark("figures-minutes", "minutes of `make figures`", _minutes("figures"), 1, long=True),
    Benchmark("quick-minutes", "minutes of `make` after installation", _minutes("quick"), 10, long=True),
    Benchmark("test-minutes", "minutes of `make test`", _minutes("test"), 25, long=True),
)
BENCHMARKS = {benchmark.id: benchmark for benchmark in _ALL}


def run(ids: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Run benchmarks (all but the long ones if none is named), one result a benchmark.

    Keys: id, measures, value, low, high, bound, holds (true, false, or null if not measured here), note.
    Raises ``ValueError`` for an unknown id.
    """
    unknown = [i for i in ids if i not in BENCHMARKS]
    if unknown:
        raise ValueError(f"no benchmark {', '.join(unknown)}: there are {', '.join(BENCHMARKS)}")
    return [
        _result(b, named=bool(ids))
        for b in _progress([BENCHMARKS[i] for i in ids] or list(BENCHMARKS.values()))
    ]


def _progress(benchmarks: Sequence[Benchmark]) -> Iterator[Benchmark]:
    with tqdm(total=len(benchmarks), unit="benchmark") as bar:
        for benchmark in benchmarks:
            bar.set_description(benchmark.id)
            yield benchmark
            bar.update()


def recorded() -> dict[str, dict[str, Any]]:
    """Last recorded run of each long benchmark that was ever named: date, value, low, high, note, by id."""
    return json.loads(RECORDED.read_text()) if RECORDED.exists() else {}


def _result(benchmark: Benchmark, *, named: bool) -> dict[str, Any]:
    head = {"id": benchmark.id, "measures": benchmark.measures}
    if benchmark.long and not named:
        if last := recorded().get(benchmark.id):
            measured = Measured(*(math.nan if last[k] is None else last[k] for k in ("value", "low", "high")))
            note = f"recorded {last['date']}; {last['note']}".rstrip("; ")
        else:
            measured, note = Measured(math.nan), f"long; runs when named: bench {benchmark.id}"
    else:
        measured = benchmark.run()
        note = measured.note
        if benchmark.long and not math.isnan(measured.value):
            _record(benchmark.id, measured)
    return head | {
        "value": _number(measured.value),
        "low": _number(measured.low),
        "high": _number(measured.high),
        "bound": benchmark.bound_text,
        "holds": benchmark.holds(measured.value),
        "note": note,
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _record(name: str, measured: Measured) -> None:
    from retrospective.experiments.runner import write_json  # noqa: PLC0415

    known = recorded()
    known[name] = {
        "date": datetime.date.today().isoformat(),
        "value": _number(measured.value),
        "low": _number(measured.low),
        "high": _number(measured.high),
        "note": measured.note,
    }
    write_json(RECORDED, known)
