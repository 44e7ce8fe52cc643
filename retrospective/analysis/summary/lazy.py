"""Lazy I/O in words and numbers: what calls cost, how soon a loop goes on, who is held, what a server pays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from retrospective.analysis import laziness, probes, rows
from retrospective.analysis.claims.lazy_today import ASKING
from retrospective.analysis.evidence import effect
from retrospective.analysis.formatting import (
    MISSING,
    fmt_bytes,
    fmt_integer,
    fmt_number,
    fmt_percent,
    fmt_us,
)
from retrospective.analysis.holds import Hold, matrix
from retrospective.analysis.laziness import CACHED, COLD, DIRECT, LAZY, SERIES, in_order
from retrospective.analysis.statistics import NEGLIGIBLE, Effect, mean_interval, ratio_interval
from retrospective.analysis.summary.lazy_servers import server_on_trace_values
from retrospective.analysis.summary.wording import UNMEASURED, Values, listed, mean, ratio

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Series by the names that templates can spell.
KEYS = {name: name.replace(" (", "_").replace(")", "").replace("-", "_") for name in SERIES}
#: Columns of the table of costs: its key in the templates -> the call.
COSTS = {
    "cached": CACHED,
    "cold": COLD,
    "direct": DIRECT,
    "pipe_present": ("pipe", "present"),
    "pipe_absent": ("pipe", "absent"),
    "openstat_warm": ("openstat", "warm"),
    "openstat_cold": ("openstat", "cold"),
}

#: What the server's clients ask for, as the table says it.
FILES = {"one-packet": "one of 1 KiB", "specweb99-like": "SPECweb99-like"}


def lazy_values(frame: pd.DataFrame, facts: Mapping[str, Any]) -> Values:
    """Everything that the chapter on lazy I/O says of one machine."""
    return {
        "measured": bool(len(frame)) and bool((frame["chapter"] == probes.CHAPTER).any()),
        "disk": _disk(facts),
        "cost": cost_values(frame),
        "upcall": upcall_values(frame),
        "matrix": matrix_values(frame),
        "server": server_values(frame),
        "servers": server_on_trace_values(frame),
        "bound": fmt_us(probes.HELD_BOUND_US),
        "median_bound": fmt_us(probes.UPCALL_BOUND_US),
        "negligible": fmt_percent(NEGLIGIBLE - 1, 1),
        "asking": fmt_percent(ASKING - 1),
    }


def _disk(facts: Mapping[str, Any]) -> str:
    """On what the files lay."""
    disk = facts.get("disk") or {}
    if not disk.get("file_system"):
        return "a file system that could not be told"
    device = f" on {disk['device']}" if disk.get("device") else ""
    return f"{disk['file_system']}{device}" + (f" ({disk['warning']})" if disk.get("warning") else "")


# --------------------------------------------------------------------------------------------------- cost


def cost_values(frame: pd.DataFrame) -> Values:
    """Cost of each call at the size that claims are judged at, by series: ratio to the plain call's, and its level."""
    tried = probes.trials(frame, "cost")
    found = {name: laziness.cost(tried, call) for name, call in COSTS.items()}
    cached, cold = found["cached"], found["cold"]
    there = in_order(series for part in found.values() if len(part) for series in part["design"].unique())
    floor = probes.floor(tried, state="cached")
    of = {series: _costs(found, series) for series in {*KEYS, *there}}
    return {
        "measured": bool(len(cached)),
        "bytes": fmt_bytes(probes.CLAIM_BYTES),
        "floor": fmt_percent(floor.factor - 1) if floor.measured else UNMEASURED,
        "of": {key: of[series] for series, key in KEYS.items()},
        "rows": [{"series": series} | of[series] for series in there],
        "plain_cached": _level(cached, "plain_ns"),
        "plain_cold": _level(cold, "plain_ns"),
        "posix_over_lazy": ratio(effect(probes.over(cached, "call_ns", "posix-aio", LAZY))),
        "linux_over_lazy": ratio(effect(probes.over(cached, "call_ns", "linux-aio", LAZY))),
        "cold_posix_over_lazy": ratio(effect(probes.over(cold, "call_ns", "posix-aio", LAZY))),
        "raw_nowait": ratio(effect(laziness.question(tried))),
        "over_raw_nowait": ratio(effect(probes.of(cached, "ratio_raw_nowait", "nowait"))),
        "biggest": _biggest(tried),
    }


def _costs(found: Mapping[str, pd.DataFrame], series: str) -> Values:
    """A series' ratios to the plain call, and what of it the table prints besides."""
    values: Values = {
        name: _or_dash(effect(probes.of(part, "ratio_plain", series))) for name, part in found.items()
    }
    return values | {
        "measured": any(value != MISSING for value in values.values()),
        "glibc": _or_dash(effect(probes.of(found["cached"], "ratio_glibc", series))),
        "cached_time": _time(found["cached"], series),
        "cold_time": _time(found["cold"], series),
    }


def _or_dash(found: Effect) -> str:
    return ratio(found) if found.n else MISSING


def _time(found: pd.DataFrame, series: str) -> str:
    values = probes.of(found, "call_ns", series)
    return fmt_us(mean(values) / 1e3) if len(values) else MISSING


def _level(found: pd.DataFrame, column: str) -> str:
    return fmt_us(mean(found[column].astype(float)) / 1e3) if len(found) else UNMEASURED


def _biggest(frame: pd.DataFrame) -> Values:
    """The largest cached read and how the dearest engine fares there: where copying hides the call."""
    reads = probes.trials(frame, "cost", operation="read", state="cached")
    if reads.empty:
        return {"measured": False, "bytes": UNMEASURED, "posix": UNMEASURED, "uring": UNMEASURED}
    size = reads["bytes"].astype(float).max()
    there = reads[reads["bytes"].astype(float) == size]
    return {
        "measured": bool(size > probes.CLAIM_BYTES),
        "bytes": fmt_bytes(size),
        "posix": ratio(effect(probes.of(there, "ratio_plain", "posix-aio"))),
        "uring": ratio(effect(probes.of(there, "ratio_plain", "uring"))),
    }


# ------------------------------------------------------------------------------------------------- upcall


def upcall_values(frame: pd.DataFrame) -> Values:
    """How soon a loop goes on, whether a lost CPU was taken for a block, and what watching adds to a sleep."""
    found = probes.trials(frame, "upcall")
    series = in_order(found["design"].unique()) if len(found) else []
    lost = probes.trials(frame, "preempted", design=LAZY)
    slept = probes.trials(frame, "sleep", design=LAZY)
    return {
        "measured": bool(series),
        "rows": [_upcall(frame, name, busy) for name in series for busy in ("no", "yes")],
        "idle": _upcall(frame, LAZY, "no"),
        "busy": _upcall(frame, LAZY, "yes"),
        "preempted": {
            "measured": bool(len(lost)),
            "calls": _sum(lost, "calls"),
            "switches": _sum(lost, "involuntary_switches"),
            "taken": _sum(lost, "stolen"),
            "false": _sum(lost, "upcalls_false"),
        },
        "sleep": {
            "measured": bool(len(slept)),
            "added": fmt_us(mean(slept["added_ns"].astype(float)) / 1e3) if len(slept) else UNMEASURED,
            "ratio": ratio(ratio_interval(slept["added_ratio"].astype(float))) if len(slept) else UNMEASURED,
        },
    }


def _sum(found: pd.DataFrame, column: str) -> str:
    return fmt_integer(float(found[column].astype(float).sum())) if len(found) else UNMEASURED


def _upcall(frame: pd.DataFrame, series: str, busy: str) -> Values:
    found = laziness.upcalls(frame, series, busy)
    histogram = probes.pooled(found["resumed_histogram"]) if len(found) else []

    def at(quantile: str) -> str:
        """Geometric mean over rounds, as ratios of it are."""
        values = probes.of(found, f"resumed_{quantile}_ns", series)
        return fmt_us(ratio_interval(values / 1e3).value) if len(values) else UNMEASURED

    return {
        "measured": bool(histogram),
        "series": series,
        "other": "busy" if busy == "yes" else "idle",
        "p50": at("p50"),
        "p99": at("p99"),
        "p999": fmt_us(probes.quantile(histogram, 0.999) / 1e3) if histogram else UNMEASURED,
        "worst": fmt_us(float(found["resumed_max_ns"].astype(float).max()) / 1e3)
        if len(found)
        else UNMEASURED,
        "blocks": _sum(found, "blocks"),
        "missed": _sum(found, "missed"),
    }


# ------------------------------------------------------------------------------------------------- matrix


def matrix_values(frame: pd.DataFrame) -> Values:
    """Who is held in how many of its calls, in words; and how the few that claims turn on compare."""
    found = matrix(frame)
    cold = probes.cell(frame, "held", COLD)
    return {
        "measured": any(hold.samples for hold in found.values()),
        "of": {key: _holds(found, series) for series, key in KEYS.items()},
        "rows": [
            {"series": series} | _holds(found, series)
            for series in in_order(series for (_, series), hold in found.items() if hold.samples)
        ],
        "cold": {
            key: {
                "held": _hold_time(cold, series),
                "ratio": _or_dash(effect(probes.hold(cold, series))),
            }
            for series, key in KEYS.items()
        },
        "cold_plain": _level(cold, "plain_p50_ns"),
        "blocking": listed(laziness.call_name(call) for call, _ in laziness.blocking(frame, LAZY)) or "none",
    }


def _hold_time(found: pd.DataFrame, series: str) -> str:
    values = probes.of(found, "held_p50_ns", series)
    return fmt_us(ratio_interval(values / 1e3).value) if len(values) else MISSING


def _holds(found: Mapping[tuple[probes.Call, str], Hold], series: str) -> Values:
    mine = {call: hold for (call, name), hold in found.items() if name == series}
    has = [call for call, hold in mine.items() if hold.samples]
    words = {
        word: [call for call in has if mine[call].word == word] for word in ("never", "seldom", "mostly")
    }
    worst = max((mine[call].worst_us for call in has), default=float("nan"))
    return {
        "measured": bool(has),
        "calls": fmt_integer(len(has)),
        "lacks": listed(laziness.call_name(call) for call, hold in mine.items() if not hold.samples)
        or "none",
        "never": fmt_integer(len(words["never"])),
        "seldom": _in_which(words["seldom"], len(has)),
        "mostly": _in_which(words["mostly"], len(has)),
        "worst": fmt_us(worst) if has else UNMEASURED,
        "holds": bool(words["mostly"]),
    }


def _in_which(calls: list[probes.Call], of: int) -> str:
    """``in none of its 18 calls``, ``in 2 of its 18 calls (fsync and cold read)``."""
    if not of:
        return UNMEASURED
    which = f" ({listed(laziness.call_name(call) for call in calls)})" if calls else ""
    return f"in {fmt_integer(len(calls)) if calls else 'none'} of its {fmt_integer(of)} calls{which}"


# ------------------------------------------------------------------------------------------------- server


def server_values(frame: pd.DataFrame) -> Values:
    """CPU per reply of the server by workload and load, with lazy reads and with plain ones."""
    found = []
    for workload in laziness.server_workloads(frame):
        costs = laziness.server_costs(frame, workload)
        for load, part in laziness.server_trials(frame, workload).groupby("x_ratio"):
            plain, lazy = (
                part.loc[part["series"] == name, "server_cpu_us_per_reply"] for name in ("plain", LAZY)
            )
            found.append(
                {
                    "files": FILES[workload],
                    "load": fmt_percent(float(load)),
                    "offered": fmt_number(float(part["target_per_s"].median())),
                    "plain_us": fmt_number(mean_interval(plain)[0]),
                    "lazy_us": fmt_number(mean_interval(lazy)[0]),
                    "ratio": _or_dash(effect(costs[float(load)])) if float(load) in costs else MISSING,
                }
            )
    judged = laziness.server_trials(frame)
    placed = judged[judged["x_ratio"] > 0] if len(judged) else judged
    return {
        "measured": bool(found),
        "rows": found,
        "peak": fmt_number(rows.peak(placed)) if len(placed) else UNMEASURED,
    }
