"""A probe: one run of a program that measures by itself, as lazybench and ticker do, and whether it counts.

No server, no client, no network: the program drives its own loop and says what it found as one JSON object. What it
is told, which columns it brings and when a run of it counts (``valid``) is its own: see probe_lazy.py and
probe_timers.py. What the program or this machine does not have is a row of its own kind (``unavailable``), never a
result.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import json
import os
import resource
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import servers
from retrospective.lab.others import Others
from retrospective.lab.probe_lazy import LAZYBENCH
from retrospective.lab.probe_program import Program
from retrospective.lab.probe_stack import INCAST
from retrospective.lab.probe_timers import TIMER_PROGRAMS
from retrospective.lab.provenance import CPU_MAP, machine_id
from retrospective.lab.session import UNAVAILABLE, Rejected
from retrospective.lab.trial import ROW_COLUMNS, key_of, sharing_cpu

Row = dict[str, Any]

SCHEMA = 1

PROGRAMS: dict[str, Program] = {program.name: program for program in (LAZYBENCH, *TIMER_PROGRAMS, INCAST)}


def _columns(kind: str) -> tuple[str, ...]:
    """Columns of a kind that any program brings, each once, in the order of the programs."""
    return tuple(dict.fromkeys(name for program in PROGRAMS.values() for name in getattr(program, kind)))


PROBE_TEXT, PROBE_COUNTS, PROBE_FLAGS = _columns("text"), _columns("counts"), _columns("flags")
#: What rows of probes have besides ROW_COLUMNS; each has those of its own program.
PROBE_COLUMNS = _columns("all_columns")

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

    ``options`` are the command line of ``program``, one of ``PROGRAMS``. ``design`` names the series: an engine or a
    driver, or one of them used in a certain way.
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
        program = PROGRAMS[self.program]
        return program.measures_s(self.options) + program.overhead_s(self.options)


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
    program, options = PROGRAMS[probe.program], probe.options
    executable = servers.binary(probe.program)
    binary, machine, kernel = servers.binary_hash(executable), machine_id(), os.uname().release
    duration_s = program.measures_s(options)
    row: Row = dict.fromkeys((*ROW_COLUMNS, *program.all_columns))
    row |= {
        "key": probe.key(binary, machine, kernel, round),
        "schema": SCHEMA,
        **{
            name: getattr(probe, name)
            for name in ("chapter", "experiment", "kind", "profile", "design", "label", "program")
        },
        "round": round,
        "attempt": attempt,
        "machine": machine,
        "kernel": kernel,
        "binary": binary,
        "started_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "duration_s": duration_s,
        "options": json.dumps(options, sort_keys=True),
        **program.asked(options),  # so that a row without a result says what it is no result of
    }
    words = [*command()] if command else [str(executable), *_words(program, probe, round)]
    if limit_s is None:
        limit_s = _PATIENCE_S + _PATIENCE * duration_s
    outcome: Row = {"valid": True, "status": "ok", "reason": ""}
    with _Run(words, limit_s, program, program.watched(options)) as run:
        try:
            report = run.report()
            row |= program.columns(options, report)
            seen = {"preemptions": run.preemptions, "others_cores": run.others_cores}
            row |= {name: value for name, value in seen.items() if name in program.all_columns}
            program.judge(row, report, run.elapsed_s)
        except Rejected as rejected:
            outcome = {"valid": False, "status": rejected.status, "reason": str(rejected)}
        row |= outcome | {"log": run.log()}
    return row


def _words(program: Program, probe: Probe, number: int) -> list[str]:
    """Return the words after the program's name."""
    options = program.defaults(number) | probe.options
    if program.leads is None:
        return servers.arguments(options)
    first = probe.experiment if program.leads == "experiment" else options.pop(program.leads)
    return [first, *servers.arguments(options)]


class _Run:
    """A program run to its end, with a limit; whatever it started ends with it."""

    def __init__(self, words: Sequence[str], limit_s: float, program: Program, watched: bool) -> None:
        self._words = words
        self._watched = watched
        self._limit_s = limit_s
        self._folder = program.folder
        self._parse = program.parse
        self._stack = contextlib.ExitStack()
        self.elapsed_s = 0.0
        self.preemptions = 0  # of the program and of those that it waited for
        self.others_cores: float | None = None  # if they are watched: CPUs that others kept busy meanwhile

    def __enter__(self) -> _Run:
        self._output, self._said = (self._memory(name) for name in ("output", "said"))
        everywhere = os.sched_getaffinity(0)

        def prepare() -> None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            os.sched_setaffinity(0, everywhere)  # the program places its threads itself

        # CPU 1 is the program's partner's and ours; we sleep until it ends.
        with sharing_cpu(CPU_MAP["lab"]) if len(everywhere) > 1 else contextlib.nullcontext():
            others = Others() if self._watched else None
            before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_nivcsw
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
            self.others_cores = others.cores() if others else None
            self.preemptions = resource.getrusage(resource.RUSAGE_CHILDREN).ru_nivcsw - before
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
        if self._folder:
            text = text.replace(str(self._folder), "FOLDER")
        return "\n".join(text.splitlines()[-_LOG_LINES:])

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
            report = self._parse(text)
        except ValueError:
            report = None
        if isinstance(report, dict) and self._code in (0, 1):
            return report
        if self._code:
            raise Rejected(
                "program-failed", f"it ended with code {self._code}: {last}".rstrip(": "), "failed"
            )
        raise Rejected("no-report", f"it printed {text[:60]!r} instead of its report", "failed")


__all__ = ["PROBE_COLUMNS", "PROGRAMS", "Probe", "run_probe"]
