"""What has been measured: append-only JSON lines, one fsync a row; a kill at any moment loses one trial."""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from retrospective.lab.exchange import EXCHANGE_COLUMNS, EXCHANGE_COUNTS, EXCHANGE_TEXT
from retrospective.lab.probe import PROBE_COLUMNS, PROBE_COUNTS, PROBE_FLAGS, PROBE_TEXT
from retrospective.lab.trial import ROW_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]

#: The columns that are not floats. Counts must be able to be missing: a failed trial has none.
TEXT = {
    *("key", "chapter", "experiment", "kind", "profile", "design", "server", "label", "accept_limit"),
    *("workload", "load_mode", "charge", "machine", "kernel", "binary", "started_at", "options", "load"),
    *("disk", "cache", "memory_controller"),
    *("status", "reason", "log", "latency_histogram", "per_second", "worker_accepts", "worker_cpu_s"),
}
COUNTS = {
    *("schema", "backlog", "work_us", "clients", "round", "attempt", "bodies_verified", "bodies_mismatched"),
    *("fds_leaked", "latency_count", "latency_censored", "hot_latency_count", "hot_latency_censored"),
    *("footprint_bytes", "memory_limit_bytes", "memory_peak_bytes", "memory_other_bytes", "rss_peak_bytes"),
    "threads_peak",
}

#: Digits of a recorded float: a millionth is far less than two runs of one trial differ by.
SIGNIFICANT_DIGITS = 6


class JournalError(RuntimeError):
    """The journal cannot be read or written; says what to do."""


class Journal:
    """The rows of a chapter's trials in one file; a context manager that has the file to itself.

    A row is one line, and its newline makes it count: a last line that a kill tore is cut off at the next
    start. The lock is flock(2) on the file itself, which the kernel releases however its holder ends.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.rows: list[Row] = []
        self._latest: dict[str, Row] = {}
        self._fd = -1

    def __enter__(self) -> Journal:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            self._lock()
            self._load()
            _sync(self.path.parent)  # a new file's name is to be as durable as its rows
        except BaseException as error:
            self._close()
            if isinstance(error, OSError):
                raise JournalError(f"cannot open {self.path}: {error.strerror}; make it writable") from error
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def get(self, key: str) -> Row | None:
        """Return the last row of a trial (its last attempt), or ``None``."""
        return self._latest.get(key)

    def append(self, row: Mapping[str, Any]) -> Row:
        """Store a row and return it as stored; when this returns it is on the disk.

        If it cannot be stored, the file is left as it was and :class:`JournalError` says what to do.
        """
        if self._fd < 0:
            raise JournalError(f"{self.path} is not open: use `with Journal(path) as journal`")
        stored = {name: _plain(value) for name, value in row.items()}
        line = json.dumps(stored, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        before = os.fstat(self._fd).st_size
        try:
            if os.write(self._fd, line) < len(line):  # a full disk takes what still fits
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._fd)
        except BaseException as error:  # an interrupt, too, leaves whole lines only
            os.ftruncate(self._fd, before)
            if isinstance(error, OSError):
                raise JournalError(
                    f"cannot write {self.path}: {error.strerror}. The {len(self.rows)} rows in it are kept: "
                    "make room on its disk and run the same command again"
                ) from error
            raise
        self._remember(stored)
        return stored

    def to_frame(self) -> pd.DataFrame:
        """All rows, one an attempt: every column of ``ROW_COLUMNS``, those of probes and exchanges, then others."""
        import pandas as pd  # noqa: PLC0415 (half a second that a sweep can do without)

        others = {name for row in self.rows for name in row} - set(ROW_COLUMNS)
        theirs = dict.fromkeys((*PROBE_COLUMNS, *EXCHANGE_COLUMNS))
        known = [*ROW_COLUMNS, *(name for name in theirs if name in others)]
        frame = pd.DataFrame(self.rows, columns=[*known, *sorted(others - set(known))])
        text = [name for name in known if _dtype(name) == "str"]
        frame[text] = frame[text].astype("str").fillna("")
        frame["valid"] = frame["valid"].eq(True)
        # Copied, so that columns of a type lie together: there are many.
        return frame.astype({name: _dtype(name) for name in known}).copy()

    def consolidate(
        self, parquet_path: Path | str, provenance: Mapping[str, Any], frame: pd.DataFrame | None = None
    ) -> None:
        """Write all rows, or those of ``frame``, as Parquet, with ``NAME.provenance.json`` beside it.

        Readers see the old files or the new. Left to the journal: per-second series, the log of valid trials.
        """
        target = Path(parquet_path)
        frame = (self.to_frame() if frame is None else frame).copy()
        frame["per_second"] = ""
        frame.loc[frame["valid"], "log"] = ""
        for name in set(frame.select_dtypes("float64")) - set(PROBE_COUNTS):
            frame[name] = frame[name].map(lambda x: float(f"{x:.{SIGNIFICANT_DIGITS}g}"))
        target.parent.mkdir(parents=True, exist_ok=True)
        with _replacing(target) as temporary:
            frame.to_parquet(temporary, index=False, compression="zstd", compression_level=19)
        with _replacing(target.with_suffix(".provenance.json")) as temporary:
            temporary.write_text(json.dumps(provenance, indent=1, sort_keys=True) + "\n")

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalError(
                f"{self.path} is in use by {_lock_holder(self._fd)}: two sweeps would disturb each other, "
                "so wait for that one, or stop it"
            ) from None

    def _load(self) -> None:
        """Read every row; cut off a torn last line, but only once all others are known to be whole."""
        with open(self._fd, "rb", closefd=False) as file:
            lines = file.read().split(b"\n")
        torn = len(lines) - (1 if lines[-1] else 2)  # the last line: without a newline, or with one
        for number, line in enumerate(lines):
            try:
                row = json.loads(line)
                if number == len(lines) - 1 or not isinstance(row["key"], str):
                    raise ValueError
            except (ValueError, KeyError, TypeError):
                if number < torn:
                    raise JournalError(
                        f"line {number + 1} of {self.path} is no row, and only the last line may be torn: "
                        "delete that line to keep the others, or move the file away to measure anew"
                    ) from None
                break
            self._remember(row)
        whole = sum(len(line) + 1 for line in lines[: len(self.rows)])
        if whole < os.fstat(self._fd).st_size:
            os.ftruncate(self._fd, whole)
            os.fsync(self._fd)

    def _remember(self, row: Row) -> None:
        self.rows.append(row)
        self._latest[row["key"]] = row

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: numpy's scalars as Python's, null for what is no number."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _dtype(name: str) -> str:
    if name in TEXT or name in PROBE_TEXT or name in EXCHANGE_TEXT:
        return "str"
    if name in PROBE_FLAGS:
        return "boolean"
    return "bool" if name == "valid" else "Int64" if name in COUNTS or name in EXCHANGE_COUNTS else "float64"


def _lock_holder(fd: int) -> str:
    """Name who locked a file, by its line in /proc/locks: ``7: FLOCK ADVISORY WRITE PID 08:01:INODE …``."""
    inode = str(os.fstat(fd).st_ino)
    for line in Path("/proc/locks").read_text().splitlines():
        field = line.split()
        if field[1] == "FLOCK" and field[5].rpartition(":")[2] == inode:
            return f"process {field[4]}"
    return "another process"


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """Give a file to write in ``target``'s stead; it takes the name once all of it is on the disk."""
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
