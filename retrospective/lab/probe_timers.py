"""The probes of timers: what the reports of timerbench, timercost and ticker become in a row, and when they count.

*timerbench* times operations on timers of one facility beside another's, in turn: nobody else may have had its CPU.
*timercost* takes the price of a primitive as a difference, which must come out above zero.

*ticker* counts what N processes with periodic timers deliver, and either sees how many cores that takes, by a spinner
on each CPU, or how late they are, without one. Three things are told apart. A run is *failed* if a timer expired before
its deadline, a process ended, or the numbers do not add up. It is *invalid* if the instrument cannot be believed: held
processes take no CPU, so between the slices in which they tick the spinner must have had nearly all of it, and as much
at the end as at the beginning; where there is no spinner, the kernel's count of others' time must say as much. And it
is a *valid* result, marked ``saturated``, if the machine could not do what was asked for: deadlines that passed
undelivered are what the wall is made of.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from retrospective.lab.probe_program import Options, Program, Row
from retrospective.lab.provenance import CPU_MAP
from retrospective.lab.session import Rejected

#: Processes of ticker are dealt out to both CPUs, and both are measured; the lab sleeps meanwhile.
CPUS = (CPU_MAP["server"], CPU_MAP["lab"])

#: What of a CPU others may have had while all processes were held, on average over the off slices: the kernel's own
#: tick and the hypervisor take a hundredth; a program that computes takes all of it.
MOST_OFF_CORES = 0.05
#: By so much of a CPU that may have changed from the first half of the off slices to the second, either way.
MOST_DRIFT = 0.03
#: Where there is no instrument, others may have kept so many CPUs busy, as the kernel counts their tasks' time.
MOST_OTHERS_CORES = 0.1
#: Share of the deadlines from which on a cell is saturated: the processes cannot do what they were asked for.
SATURATED = 0.10
#: Others took the CPU from timerbench no more often than this, a second (as in probe_lazy.py).
MOST_INVOLUNTARY_PER_S = 200.0

_LATENESS = tuple(f"lateness_{q}_us" for q in ("p50", "p90", "p99", "max"))
_CORES = ("cores", "on_cores", "off_cores", "off_cores_drift")
_SLICES = ("slice_on_cores", "slice_off_cores")
_INTERRUPTS = ("timer_interrupts", "off_timer_interrupts")
#: What ticker counts over all processes and slices.
_COUNTED = (
    *("failed", "starved", "due", "delivered", "missed", "early", "wakeups", "empty_wakeups", "armings"),
    *("work_units", "work_cpu_us", "cpu_us", "voluntary_switches", "involuntary_switches"),
)


# ------------------------------------------------------------------------------------------------ reading


def _picked(report: Mapping[str, Any], program: Program) -> Row:
    """Columns of a report by their types; raises ``Rejected`` for a value that is none of its kind."""
    row: Row = {}
    for name, value in report.items():
        if value is None or name not in program.all_columns:
            continue
        if name in program.counts:
            right = type(value) is int and value >= 0
        elif name in program.levels:
            right = type(value) in (int, float) and math.isfinite(value)
        else:
            right = isinstance(value, str) or (
                isinstance(value, list) and all(type(one) in (int, float) for one in value)
            )
        if not right:
            raise Rejected("nonsense", f"{name} is {json.dumps(value)[:60]}", "failed")
        row[name] = json.dumps(value, separators=(",", ":")) if isinstance(value, list) else value
    return row


def _asked(program: Program, options: Options) -> Row:
    """Columns that the options name."""
    given = {name.replace("-", "_"): value for name, value in options.items()}
    return {name: value for name, value in given.items() if name in program.all_columns}


def _has(row: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise ``Rejected`` for the first of the columns that the report did not fill."""
    for name in names:
        if row[name] is None:
            raise Rejected("no-report", f"it says nothing of {name}", "failed")


def _seconds(options: Options) -> float:
    return float(options["seconds"])


# --------------------------------------------------------------------------------------------- timerbench


def _judge_operations(row: Row, report: Mapping[str, Any], elapsed_s: float) -> None:
    """Raise ``Rejected`` for the first reason why a run of timerbench does not count."""
    _has(row, ("operation_ns", "beside_operation_ns", "ratio_beside", "slices", "operations"))
    if not row["slices"] or not row["operations"]:
        raise Rejected("no-report", "it made no measurement", "failed")
    if min(row["operation_ns"], row["beside_operation_ns"], row["ratio_beside"]) <= 0:
        raise Rejected("nonsense", "an operation took no time", "failed")
    if row["mix"] == "expiry" and row["expiries"] != row["operations"]:
        raise Rejected(
            "wrong-results", f"{row['expiries']} expiries in {row['operations']} operations", "failed"
        )
    if row["preemptions"] > MOST_INVOLUNTARY_PER_S * max(elapsed_s, 0.1):
        raise Rejected("disturbed", f"the CPU was taken away {row['preemptions']} times in {elapsed_s:.1f} s")


TIMERBENCH = Program(
    name="timerbench",
    text=("program", "facility", "beside", "mix", "pages"),
    counts=(
        *("timers", "slices", "operations", "expiries", "beside_expiries"),
        "preemptions",  # as whoever ran it sees them
    ),
    levels=(
        *("operation_ns", "beside_operation_ns", "ratio_beside", "loop_ns"),
        *("steps_per_operation", "beside_steps_per_operation"),  # of ours: links followed, entries compared
    ),
    # Places and deadlines are drawn anew in every round, and alike for all that are compared within one.
    defaults=lambda number: {"cpu": CPU_MAP["server"], "seed": number + 1},
    asked=lambda options: _asked(TIMERBENCH, options),
    columns=lambda options, report: _picked(report, TIMERBENCH),
    judge=_judge_operations,
    measures_s=_seconds,
    # Both sides' timers are started, and a first slice of each is not counted.
    overhead_s=lambda options: 0.03 + 0.5e-6 * options["timers"],
    leads="mix",
)


# ------------------------------------------------------------------------------------------------- ticker


def _columns(options: Options, report: Mapping[str, Any]) -> Row:
    """Turn ticker's report into columns, with what follows from them."""
    row = _picked(report, TICKER)
    ticked_s = _seconds(options)
    for name in _INTERRUPTS:
        if report.get(name) is not None:  # where /proc/interrupts cannot be read there is nothing to add up
            row[f"{name}_per_s"] = sum(report[name]) / ticked_s
    if row.get("due"):
        row["saturated"] = row.get("missed", 0) > SATURATED * row["due"]
    if options.get("trigger-us") and row.get("work_cpu_us"):
        row["work_share"] = row.get("work_units", 0) * options["trigger-us"] / row["work_cpu_us"]
    return row


def _judge_ticks(row: Row, report: Mapping[str, Any], elapsed_s: float) -> None:
    """Raise ``Rejected`` for the first reason why a run of ticker does not count, the gravest first."""
    _has(row, _COUNTED)
    if row["failed"]:
        raise Rejected("worker-ended", f"{row['failed']} of {row['processes']} processes", "failed")
    if row["early"]:
        raise Rejected("early", f"{row['early']} timers expired before their deadline", "failed")
    if row["domain_restarts"]:
        raise Rejected("domain-ended", f"and was started again {row['domain_restarts']} times", "failed")
    if not row["due"]:
        raise Rejected("no-report", "no timer was due in its slices", "failed")
    if row["delivered"] + row["missed"] != row["due"]:
        said = f"{row['delivered']} delivered and {row['missed']} missed of {row['due']}"
        raise Rejected("wrong-results", said, "failed")
    if row["measure"] == "lateness":
        _has(row, _LATENESS if row["delivered"] else ())
        if (row["others_cores"] or 0) > MOST_OTHERS_CORES:
            raise Rejected("disturbed", f"others ran on {row['others_cores']:.2f} CPUs meanwhile")
        return
    _has(row, (*_CORES, *_SLICES))
    cpus = len(CPUS)
    if not all(0 <= share <= cpus for name in _SLICES for share in json.loads(row[name])):
        raise Rejected("nonsense", f"a slice in which not 0 to {cpus} cores were taken", "failed")
    if row["off_cores"] > MOST_OFF_CORES * cpus:
        raise Rejected("disturbed", f"others took {row['off_cores']:.3f} cores while all processes were held")
    if abs(row["off_cores_drift"]) > MOST_DRIFT * cpus:
        raise Rejected("drifted", f"what others took changed by {row['off_cores_drift']:+.3f} cores")


def _ticker_s(options: Options) -> float:
    """Seconds that ticker measures: with a spinner, as long again while all are held."""
    return _seconds(options) * (2 if options["measure"] == "cores" else 1)


def _ticker_overhead_s(options: Options) -> float:
    """Seconds that ticker takes to start and end its processes, and to wake them for each slice."""
    each_s = 0.25e-3 * options["processes"]
    lead_s = 4e-3 + 0.1e-3 * options["processes"]
    return 0.06 + each_s + lead_s * options["slices"]


TICKER = Program(
    name="ticker",
    text=("program", "driver", "facility", "measure", "phases", "cpus", *_INTERRUPTS, *_SLICES),
    counts=(
        *("processes", "timers", "granularity_us", "align_us", "slack_ns", "trigger_us", "slices"),
        *(name for name in _COUNTED if not name.endswith("cpu_us")),
        # Of the processes that keep others' timers, where there are any.
        *(f"domain_{what}" for what in ("turns", "sleeps", "operations", "wakes", "bells", "restarts")),
    ),
    levels=(
        "seconds",  # of ticking, the time in which all are held not included
        "others_cores",
        *("cpu_us", "work_cpu_us", "domain_cpu_us", "domain_charged_us"),
        *(*_CORES, *_LATENESS, *(f"{name}_per_s" for name in _INTERRUPTS)),
        "work_share",  # of what it took from trigger point to trigger point, by the program's own calibration
    ),
    flags=("saturated",),
    defaults=lambda number: {"cpus": ",".join(map(str, CPUS))},
    watched=lambda options: options["measure"] == "lateness",
    asked=lambda options: _asked(TICKER, options),
    columns=_columns,
    judge=_judge_ticks,
    measures_s=_ticker_s,
    overhead_s=_ticker_overhead_s,
)

# ---------------------------------------------------------------------------------------------- timercost

_PRICE = ("price_ns", "price_p10_ns", "price_p90_ns")


def _judge_price(row: Row, report: Mapping[str, Any], elapsed_s: float) -> None:
    """Raise ``Rejected`` for the first reason why a run of timercost does not count."""
    _has(row, (*_PRICE, "samples"))
    if not row["samples"]:
        raise Rejected("no-report", "it made no measurement", "failed")
    if not row["price_p10_ns"] <= row["price_ns"] <= row["price_p90_ns"]:
        raise Rejected("nonsense", "a median that is not between its percentiles", "failed")
    if row["price_ns"] <= 0:  # it is a difference
        raise Rejected("disturbed", f"slices without the operation took longer, by {-row['price_ns']:.3g} ns")


TIMERCOST = Program(
    name="timercost",
    text=("program", "price"),
    counts=("samples", "operations", "processes", "batch", "period_us"),
    levels=(
        *_PRICE,
        *(
            f"{part}{q}_ns"
            for part in ("own_cpu", "lateness", "waker", "woken")
            for q in ("", "_p10", "_p90")
        ),
        "halts",  # of the CPU, by wake-up
    ),
    defaults=lambda number: {"cpu": CPUS[0], "other-cpu": CPUS[1]},
    asked=lambda options: _asked(TIMERCOST, options),
    columns=lambda options, report: _picked(report, TIMERCOST),
    judge=_judge_price,
    measures_s=_seconds,
    overhead_s=lambda options: 0.05 + 0.25e-3 * options.get("processes", 1),
    leads="price",
)

TIMER_PROGRAMS = (TIMERBENCH, TICKER, TIMERCOST)

__all__ = [
    "CPUS",
    "MOST_DRIFT",
    "MOST_OFF_CORES",
    "SATURATED",
    "TICKER",
    "TIMERBENCH",
    "TIMERCOST",
    "TIMER_PROGRAMS",
]
