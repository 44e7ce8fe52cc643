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
            if not _hands_memory_down(folder):
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
        self._limit_bytes = limit_bytes

    def __enter__(self) -> Self:
        self.path.mkdir()
        if self._limit_bytes is not None:
            name = "memory.max" if is_v2(self.path) else "memory.limit_in_bytes"
            (self.path / name).write_text(str(self._limit_bytes))
        return self

    def __exit__(self, *error: object) -> None:
        remove(self.path)

    def add(self, pid: int) -> None:
        """Move a process in; the pages it touches first from now on are charged here, file pages too."""
        (self.path / "cgroup.procs").write_text(str(pid))

    def used_bytes(self) -> int:
        """Memory charged now."""
        name = "memory.current" if is_v2(self.path) else "memory.usage_in_bytes"
        return int((self.path / name).read_text())


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
