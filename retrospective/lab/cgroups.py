"""A bound on memory for what a trial runs: a memory cgroup of version 1 or 2, whichever there is.

A cgroup outlives its makers, SIGKILL included. So its name says whose it is (pid and start time), and whoever
makes one first removes those whose owners are gone.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path
from typing import Self

_PREFIX = "nai"


def memory_parent() -> Path | None:
    """Return the cgroup under which this process may make memory cgroups, or ``None``."""
    mounts = _mounts()
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        home = path.lstrip("/")
        if "memory" in controllers.split(",") and "memory" in mounts:
            folder = mounts["memory"] / home
        elif not controllers and "cgroup2" in mounts:
            folder = mounts["cgroup2"] / home
            # A group that holds processes cannot hand controllers down (cgroup-v2.rst, no internal
            # processes).
            if not _hands_memory_down(folder):
                folder = folder.parent
            # Nor may a process be moved in by who may not write there (cgroup-v2.rst, delegation containment).
            if not _hands_memory_down(folder) or not os.access(folder / "cgroup.procs", os.W_OK):
                continue
        else:
            continue
        if os.access(folder, os.W_OK | os.X_OK) and not _read_only(folder):
            return folder
    return None


def is_v2(group: Path) -> bool:
    """Whether a cgroup is of version 2."""
    return (group / "cgroup.controllers").exists()


class MemoryGroup:
    """A memory cgroup for processes of one trial, as a context manager; ``OSError`` if there can be none."""

    def __init__(self, limit_bytes: int | None = None) -> None:
        parent = memory_parent()
        if parent is None:
            raise OSError(0, "no writable memory cgroup")
        remove_dead(parent)
        self.path = parent / f"{_PREFIX}-{os.getpid()}-{_start_time(os.getpid())}-{time.monotonic_ns()}"
        self.version = 2 if is_v2(parent) else 1
        self._limit_bytes = limit_bytes

    def __enter__(self) -> Self:
        self.path.mkdir()
        # What is bounded is memory: a program's own must not go to swap and leave more of it to files.
        with contextlib.suppress(OSError):
            self._file("memory.swappiness", "memory.swap.max").write_text("0")
        if self._limit_bytes is not None:
            self.limit(self._limit_bytes)
        return self

    def __exit__(self, *error: object) -> None:
        remove(self.path)

    def add(self, pid: int) -> None:
        """Move a process in; the pages it touches first from now on are charged here, file pages too."""
        (self.path / "cgroup.procs").write_text(str(pid))

    def limit(self, limit_bytes: int) -> None:
        """Bound what is charged here; version 1 refuses with ``OSError`` if that much cannot be reclaimed."""
        self._file("memory.limit_in_bytes", "memory.max").write_text(str(limit_bytes))

    def pids(self) -> tuple[int, ...]:
        """Process ids of those that are in it now."""
        return tuple(int(pid) for pid in (self.path / "cgroup.procs").read_text().split())

    def used_bytes(self) -> int:
        """Memory charged now."""
        return int(self._file("memory.usage_in_bytes", "memory.current").read_text())

    def other_bytes(self) -> int:
        """Memory charged now for other things than pages of files: programs' own, and the kernel's for them."""
        stat = _named(self.path / "memory.stat")
        files = stat["file" if self.version == 2 else "cache"] - stat["shmem"]
        return max(0, self.used_bytes() - files)

    def peak_bytes(self) -> int | None:
        """Most that was ever charged; ``None`` where the kernel does not keep it (version 2 before Linux 5.19)."""
        with contextlib.suppress(FileNotFoundError):
            return int(self._file("memory.max_usage_in_bytes", "memory.peak").read_text())
        return None

    def oom_kills(self) -> int:
        """Processes that the kernel killed because the bound left no memory for them."""
        return _named(self._file("memory.oom_control", "memory.events")).get("oom_kill", 0)

    def _file(self, v1: str, v2: str) -> Path:
        return self.path / (v2 if self.version == 2 else v1)


def remove_dead(parent: Path) -> list[str]:
    """Remove groups whose owner is gone; returns their names."""
    removed = []
    for group in parent.glob(f"{_PREFIX}-*-*"):
        owner = re.fullmatch(rf"{_PREFIX}-(\d+)-(\d+)-\d+", group.name)
        if owner and _start_time(int(owner[1])) != owner[2]:
            remove(group)
            removed.append(group.name)
    return removed


def remove(group: Path, patience_s: float = 2.0) -> None:
    """Remove a group, once the kernel has taken its last ended process out."""
    deadline = time.monotonic() + patience_s
    while group.exists():
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                return  # someone lives in it; the next start tries again
            time.sleep(0.01)


def _start_time(pid: int) -> str | None:
    """Start time of a process in clock ticks since boot (field 22 of /proc/PID/stat); ``None`` if there is none."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return None


def _named(table: Path) -> dict[str, int]:
    """Content of a cgroup's file that has a name and a number in each line."""
    return {name: int(value) for name, value in map(str.split, table.read_text().splitlines())}


def _hands_memory_down(group: Path) -> bool:
    with contextlib.suppress(OSError):
        return "memory" in (group / "cgroup.subtree_control").read_text().split()
    return False


def _read_only(folder: Path) -> bool:
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def _mounts() -> dict[str, Path]:
    """Mount points: ``memory`` (version 1) and ``cgroup2``, as far as there are any."""
    found: dict[str, Path] = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind, options, *_ = line.split()
        if kind == "cgroup" and "memory" in options.split(","):
            found["memory"] = Path(point)
        elif kind == "cgroup2":
            found.setdefault("cgroup2", Path(point))
    return found
