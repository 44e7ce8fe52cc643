"""The probe of lazy calls: what lazybench's report becomes in a row, and when it counts.

Every result must be right, and the page cache as promised: what was to be cold was evicted and then came from the
device, what was to be cached never did. Nobody else may have had the loop's CPU. What an engine or this machine does
not have is a row of its own kind (``unavailable``), never a result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from retrospective import paths
from retrospective.lab.disks import disk_of
from retrospective.lab.probe_program import Options, Program, Row
from retrospective.lab.provenance import CPU_MAP
from retrospective.lab.session import LAZY_PATHS as PATHS
from retrospective.lab.session import UNAVAILABLE, Rejected

#: Where the program's files lie: on a disk, if the build folder does.
FOLDER = paths.BUILD / "lazybench"

QUANTILES = ("p50", "p90", "p99", "p999", "max")
#: What a trial's row has besides ROW_COLUMNS, in the program's words unless it names no unit.
TEXT = (
    *("program", "engine", "watch", "operation", "state", "busy", "file_system"),
    *("held_histogram", "plain_histogram", "resumed_histogram"),
)
RING_PATHS = ("inline", "poll", "worker", "async")
COUNTS = (
    *("bytes", "samples", "errors", "threads", "grown", "completions"),
    *("voluntary_switches", "involuntary_switches"),  # of the loop's thread, if it is the same one at the end
    *("process_voluntary_switches", "process_involuntary_switches"),
    *(f"path_{name}" for name in PATHS),
    *(f"ring_{name}" for name in RING_PATHS),
    *("upcalls_false", "upcalls_lost", "missed", "stolen", "blocks", "calls", "lazy_calls"),
    *("block_operations", "in_flight", "rescued", "competitors"),
    *("device_write_bytes", "disk_read_bytes", "disk_write_bytes"),
    *("concurrency", "cold_reads", "threads_peak", "peak_rss_bytes"),
)
LEVELS = (
    *(f"{what}_{time}" for what in ("call", "plain", "glibc", "raw_nowait") for time in ("ns", "cpu_ns")),
    *(f"ratio_{what}{q}" for what in ("plain", "glibc", "raw_nowait") for q in ("", "_p10", "_p90")),
    *(f"{what}_{q}_ns" for what in ("held", "total", "plain", "resumed") for q in QUANTILES),
    *("with_ns", "without_ns", "added_ns", "added_p10_ns", "added_p90_ns", "added_ratio"),
    *("cpu_us", "evicted_share"),
    # Lazy reads beside eager ones: asked for and got in memory, how much of it stayed there, and how fast both were.
    *("hit_share", "hit_share_got", "hot_resident_share", "paused_share"),
    *("reads_per_s", "reads_per_s_eager", "cpu_us_per_read", "cpu_us_per_read_eager"),
    *(f"ratio_eager{q}" for q in ("", "_p10", "_p90")),
)
COLUMNS = (*TEXT, *COUNTS, *LEVELS)
#: The program's word -> the column's, where the column is to name a unit or what it is a ratio of.
_RENAMED = {
    **{"evicted": "evicted_share", "ratio": "added_ratio", "lazy": "lazy_calls"},
    **{"hot_resident": "hot_resident_share", "paused": "paused_share"},
}

#: Of a file that was to be cold so much had left the page cache before the first call.
LEAST_EVICTED = 0.95
#: Of what was to stay in memory beside it so much did.
LEAST_RESIDENT = 0.99
#: Others took the CPU from the loop no more often than this, a second. Kernel threads do so some tens of times; another
#: program that computes, at the end of every slice of 3 ms, 300 times.
MOST_INVOLUNTARY_PER_S = 200.0
#: Threads of the program's own share its CPU: waking one may take it from the loop, and its going on takes it back.
INVOLUNTARY_A_HANDED_CALL = 4
#: Two loops that take turns on a CPU wake one another: as often a turn (experiment surface).
INVOLUNTARY_A_TURN = 4
#: Where nothing waits, the program has its CPU all the time that is measured; the rest of it others had. The count of
#: losses cannot tell them from the engine's own threads: each loss, whoever was its cause, wakes one that watches.
LEAST_CPU_SHARE = 0.95
#: Where the timer watches, a thread looks at the loop this often, on the loop's CPU (laio.h, tick_us).
TICKS_PER_S = 10_000
#: Experiments whose own threads share the loop's CPU and take it from one another all the time.
_SHARED = ("preempted", "sleep")

#: What a probe takes besides its seconds on our reference machine: files are made once, evicted anew.
OVERHEAD_S = 0.12


def asked(options: Options) -> Row:
    """What was asked for, so that a row without a result says what it is no result of."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    names = ("engine", "watch", "operation", "state", "bytes", "busy", "hit_share", "concurrency")
    return {
        **{name: options.get(name.replace("_", "-")) for name in names},
        "file_system": disk_of(FOLDER)["file_system"],
    }


def columns(report: Mapping[str, Any]) -> Row:
    """Turn the program's report into columns of a row."""
    row: Row = {}
    for name, value in report.items():
        column = _RENAMED.get(name, name)
        if column in COLUMNS or column == "device_read_bytes":
            row[column] = json.dumps(value, separators=(",", ":")) if isinstance(value, list) else value
    row |= {f"path_{path}": count for path, count in (report.get("paths") or {}).items() if path in PATHS}
    ring = report.get("ring_paths") or {}
    return row | {f"ring_{path}": count for path, count in ring.items() if path in RING_PATHS}


def judge(row: Mapping[str, Any], report: Mapping[str, Any], elapsed_s: float) -> None:
    """Raise ``Rejected`` for the first reason why a probe does not count, the gravest first."""
    if report.get("supported") is False:
        raise Rejected("unsupported", str(report.get("why") or "it gave no reason"), UNAVAILABLE)
    if row["errors"]:
        first = report.get("first_error") or "it does not say which"
        raise Rejected("wrong-results", f"{row['errors']} of them, the first: {first}", "failed")
    if not row["samples"]:
        raise Rejected("no-report", "it made no measurement", "failed")
    read = row["device_read_bytes"]
    hit_share = row["hit_share"] if row["experiment"] == "surface" else None
    if row["state"] == "cold" or (hit_share is not None and hit_share < 1):
        evicted = row["evicted_share"]
        if evicted is not None and evicted < LEAST_EVICTED:
            raise Rejected("cache-warm", f"{1 - evicted:.0%} of the file stayed in memory")
        if not read:
            raise Rejected("cache-warm", "nothing was read from the device")
    # Where pages were reclaimed, calls that were to find them in memory did block.
    if hit_share and row["hot_resident_share"] < LEAST_RESIDENT:
        raise Rejected(
            "cache-cold", f"{1 - row['hot_resident_share']:.0%} of what was to stay in memory left it"
        )
    if (row["state"] == "cached" or row["experiment"] == "preempted" or hit_share == 1) and read:
        raise Rejected("cache-cold", f"{read} bytes were read from the device")
    if row["experiment"] not in _SHARED:
        _undisturbed(row, elapsed_s, waits=hit_share != 1)


def _undisturbed(row: Mapping[str, Any], elapsed_s: float, *, waits: bool) -> None:
    """Raise ``Rejected`` if others had the loop's CPU; ``waits`` says that it may have been idle, too."""
    own = 0
    if not waits:
        share = row["cpu_us"] / (row["duration_s"] * 1e6)
        if share < LEAST_CPU_SHARE:
            raise Rejected("disturbed", f"others had the CPU for {1 - share:.0%} of the time")
        # Threads of the program beside the loop's: each that went to sleep had been woken, on the loop's CPU.
        own = (row["process_voluntary_switches"] or 0) - (row["voluntary_switches"] or 0)
    switches = row["involuntary_switches"]
    if switches is None:
        switches = row["process_involuntary_switches"]
    if switches is None:
        return
    handed = sum(row[f"path_{path}"] or 0 for path in PATHS if path not in ("inline", "hit", "refused"))
    ticks = TICKS_PER_S if row["watch"] == "timer" else 0
    turns = row["samples"] if row["experiment"] == "surface" else 0
    most = own + (MOST_INVOLUNTARY_PER_S + ticks) * max(elapsed_s, 0.1)
    most += INVOLUNTARY_A_HANDED_CALL * handed + INVOLUNTARY_A_TURN * turns
    if switches > most:
        raise Rejected("disturbed", f"the CPU was taken away {switches} times in {elapsed_s:.1f} s")


def _seconds(options: Options) -> float:
    return float(options.get("seconds", 1.0))


LAZYBENCH = Program(
    name="lazybench",
    text=TEXT,
    counts=COUNTS,
    levels=LEVELS,
    # Files and order of calls are drawn anew in every round, and alike for all that are compared within one.
    defaults=lambda number: {"cpu": CPU_MAP["server"], "seed": number + 1, "folder": FOLDER},
    asked=asked,
    columns=lambda options, report: columns(report),
    judge=judge,
    measures_s=_seconds,
    overhead_s=lambda options: OVERHEAD_S,
    leads="experiment",
    folder=FOLDER,
)

__all__ = ["FOLDER", "LAZYBENCH", "OVERHEAD_S", "PATHS", "RING_PATHS", "columns", "judge"]
