"""A probe: one run of a program that measures by itself, as lazybench does, and whether it counts.

No server, no client, no network: the program drives its own loop on the server's CPU and says what it found as one
JSON object. A probe counts (``valid``) only if every result was right, the page cache was as promised (what was to be
cold was evicted and then came from the device, what was to be cached never did) and nobody else had the loop's CPU.
What an engine or this machine does not have is a row of its own kind (``unavailable``), never a result.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import servers
from retrospective import paths
from retrospective.lab.disks import disk_of
from retrospective.lab.provenance import CPU_MAP, machine_id
from retrospective.lab.session import LAZY_PATHS as PATHS
from retrospective.lab.session import UNAVAILABLE, Rejected
from retrospective.lab.trial import ROW_COLUMNS, key_of, sharing_cpu

Row = dict[str, Any]

SCHEMA = 1

#: Where the program's files lie: on a disk, if the build folder does.
FOLDER = paths.BUILD / "lazybench"

QUANTILES = ("p50", "p90", "p99", "p999", "max")
#: What a trial's row has besides ROW_COLUMNS, in the program's words unless it names no unit.
PROBE_TEXT = (
    *("program", "engine", "watch", "operation", "state", "busy", "file_system"),
    *("held_histogram", "plain_histogram", "resumed_histogram"),
)
RING_PATHS = ("inline", "poll", "worker", "async")
PROBE_COUNTS = (
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
PROBE_LEVELS = (
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
PROBE_COLUMNS = (*PROBE_TEXT, *PROBE_COUNTS, *PROBE_LEVELS)
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
#: Where the timer watches, a thread looks at the loop this often, on the loop's CPU (laio.h, tick_us).
TICKS_PER_S = 10_000
#: Experiments whose own threads share the loop's CPU and take it from one another all the time.
_SHARED = ("preempted", "sleep")

#: What a probe takes besides its seconds on our reference machine: files are made once, evicted anew.
OVERHEAD_S = 0.12
#: A program that has not ended after so long hangs.
_PATIENCE_S, _PATIENCE = 60.0, 5.0
_LOG_LINES = 12
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)

#: Instead of the program's own command line (tests plant faults by it).
Command = Callable[[], Sequence[str]]


@dataclass(frozen=True)
class Probe:
    """What is to be run. Equal probes have equal keys.

    ``experiment`` is the program's first word, ``options`` are the rest of its command line. ``design`` names the
    series: an engine, or an engine used in a certain way.
    """

    chapter: str
    experiment: str
    kind: str
    profile: str
    design: str
    options: dict[str, Any]
    label: str
    program: str = "lazybench"

    def key(self, binary_hash: str, machine: str, kernel: str, round: int) -> str:  # noqa: A002
        """Name of this probe in a round on a machine: what is stored under it need not be measured again."""
        return key_of(asdict(self), SCHEMA, binary_hash, machine, kernel, round)

    def seconds(self) -> float:
        """About how long it takes, seconds."""
        return float(self.options.get("seconds", 1.0)) + OVERHEAD_S


def run_probe(
    probe: Probe,
    round: int = 0,  # noqa: A002
    attempt: int = 1,
    *,
    command: Command | None = None,
    limit_s: float | None = None,
) -> Row:
    """Run a probe and return its row, whatever became of it.

    Raises only what no repetition would mend: ``BuildError``, and ``ValueError`` for options that the program refuses.
    """
    executable = servers.binary(probe.program)
    binary, machine, kernel = servers.binary_hash(executable), machine_id(), os.uname().release
    FOLDER.mkdir(parents=True, exist_ok=True)
    duration_s = float(probe.options.get("seconds", 1.0))
    row: Row = dict.fromkeys((*ROW_COLUMNS, *PROBE_COLUMNS))
    row |= {
        "key": probe.key(binary, machine, kernel, round),
        "schema": SCHEMA,
        **{
            name: getattr(probe, name)
            for name in ("chapter", "experiment", "kind", "profile", "design", "label", "program")
        },
        # What was asked for, so that a row without a result says what it is no result of.
        **{
            name: probe.options.get(name.replace("_", "-"))
            for name in ("engine", "watch", "operation", "state", "bytes", "busy", "hit_share", "concurrency")
        },
        "round": round,
        "attempt": attempt,
        "machine": machine,
        "kernel": kernel,
        "binary": binary,
        "started_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "duration_s": duration_s,
        "options": json.dumps(probe.options, sort_keys=True),
        "file_system": disk_of(FOLDER)["file_system"],
    }
    if command is None:
        # Files and order of calls are drawn anew in every round, and alike for all that are compared within one.
        options = {"cpu": CPU_MAP["server"], "seed": round + 1, "folder": FOLDER, **probe.options}
        words = [str(executable), probe.experiment, *servers.arguments(options)]
    else:
        words = [*command()]
    if limit_s is None:
        limit_s = _PATIENCE_S + _PATIENCE * duration_s
    outcome: Row = {"valid": True, "status": "ok", "reason": ""}
    with _Run(words, limit_s) as run:
        try:
            report = run.report()
            row |= columns(report)
            judge(row, report, run.elapsed_s)
        except Rejected as rejected:
            outcome = {"valid": False, "status": rejected.status, "reason": str(rejected)}
        row |= outcome | {"log": run.log()}
    return row


class _Run:
    """A program run to its end, with a limit; whatever it started ends with it."""

    def __init__(self, words: Sequence[str], limit_s: float) -> None:
        self._words = words
        self._limit_s = limit_s
        self._stack = contextlib.ExitStack()
        self.elapsed_s = 0.0

    def __enter__(self) -> _Run:
        self._output, self._said = (self._memory(name) for name in ("output", "said"))
        everywhere = os.sched_getaffinity(0)

        def prepare() -> None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            os.sched_setaffinity(0, everywhere)  # the program places its threads itself

        # CPU 1 is the program's partner's and ours; we sleep until it ends.
        with sharing_cpu(CPU_MAP["lab"]) if len(everywhere) > 1 else contextlib.nullcontext():
            begin = time.monotonic()
            process = subprocess.Popen(
                self._words,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._said,
                start_new_session=True,
                preexec_fn=prepare,  # noqa: PLW1509 (touches no lock; the C library is loaded)
            )
            try:
                ended = self._ends(process.pid)
            finally:
                os.killpg(
                    process.pid, signal.SIGKILL
                )  # helpers of its own, too; the group is there until it is reaped
                code = process.wait()
            self._code = code if ended else None
            self.elapsed_s = time.monotonic() - begin
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _ends(self, pid: int) -> bool:
        """Wait for a process to end, up to the limit, without reaping it."""
        process = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(process, select.POLLIN)
            return bool(poll.poll(self._limit_s * 1000))
        finally:
            os.close(process)

    def _memory(self, name: str) -> int:
        file = os.memfd_create(name, os.MFD_CLOEXEC)
        self._stack.callback(os.close, file)
        return file

    def log(self) -> str:
        """Last lines of what it said, without the names of our folders."""
        text = os.pread(self._said, 1 << 20, max(0, os.fstat(self._said).st_size - 4096)).decode(
            errors="replace"
        )
        return "\n".join(text.replace(str(FOLDER), "FOLDER").splitlines()[-_LOG_LINES:])

    def report(self) -> dict[str, Any]:
        """What it found (exit 0, or 1 where results were wrong); raises ``Rejected`` if it found nothing."""
        if self._code is None:
            raise Rejected("time-limit", f"it had not ended after {self._limit_s:.0f} s", "failed")
        if self._code < 0:
            raise Rejected("program-failed", f"it was ended by signal {-self._code}", "failed")
        last = (self.log().splitlines() or [""])[-1]
        if self._code == 2:
            raise ValueError(f"{' '.join(self._words[1:])}: {last or 'the program refuses its options'}")
        if self._code == 3:
            raise Rejected("refused", last or "it gave no reason", UNAVAILABLE)
        text = os.pread(self._output, 1 << 24, 0).decode(errors="replace")
        try:
            report = json.loads(text)
        except ValueError:
            report = None
        if isinstance(report, dict) and self._code in (0, 1):
            return report
        if self._code:
            raise Rejected(
                "program-failed", f"it ended with code {self._code}: {last}".rstrip(": "), "failed"
            )
        raise Rejected("no-report", f"it printed {text[:60]!r} instead of a JSON object", "failed")


# ------------------------------------------------------------------------------------------- into columns


def columns(report: Mapping[str, Any]) -> Row:
    """Turn the program's report into columns of a row."""
    row: Row = {}
    for name, value in report.items():
        column = _RENAMED.get(name, name)
        if column in PROBE_COLUMNS or column == "device_read_bytes":
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
    switches = row["involuntary_switches"]
    if switches is None:
        switches = row["process_involuntary_switches"]
    if switches is not None and row["experiment"] not in _SHARED:
        handed = sum(row[f"path_{path}"] or 0 for path in PATHS if path not in ("inline", "hit", "refused"))
        ticks = TICKS_PER_S if row["watch"] == "timer" else 0
        turns = row["samples"] if row["experiment"] == "surface" else 0
        most = (MOST_INVOLUNTARY_PER_S + ticks) * max(elapsed_s, 0.1)
        most += INVOLUNTARY_A_HANDED_CALL * handed + INVOLUNTARY_A_TURN * turns
        if switches > most:
            raise Rejected("disturbed", f"the CPU was taken away {switches} times in {elapsed_s:.1f} s")


__all__ = ["FOLDER", "PROBE_COLUMNS", "Probe", "columns", "judge", "run_probe"]
