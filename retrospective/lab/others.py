"""CPU time that others take while a program runs: who else is there, and for how long it ran.

The kernel counts each task's time on a CPU to the nanosecond (the first number of its schedstat, proc(5)), where the
shares of /proc/stat are samples that miss whatever is shorter than a tick. Tasks that began or ended meanwhile are not
seen, and neither are other virtual machines.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

PROC = Path("/proc")


class Others:
    """Everybody but this process, from its making on; whoever starts later is not among them."""

    def __init__(self, proc: Path = PROC) -> None:
        self._proc = proc
        self._begin_ns = time.monotonic_ns()
        self._before = self._ran()

    def cores(self) -> float | None:
        """CPUs that those have kept busy since, on average; ``None`` where the kernel does not count it.

        Reading them all takes a while, each of them as late in the second reading as in the first.
        """
        end_ns = time.monotonic_ns()
        now = self._ran()
        both = self._before.keys() & now.keys()
        if not both:
            return None
        return sum(now[task] - self._before[task] for task in both) / (end_ns - self._begin_ns)

    def _ran(self) -> dict[str, int]:
        """Nanoseconds that each task has run."""
        found: dict[str, int] = {}
        for process in os.listdir(self._proc):
            if process.isdigit() and int(process) != os.getpid():
                try:
                    for task in os.listdir(f"{self._proc}/{process}/task"):
                        with open(f"{self._proc}/{process}/task/{task}/schedstat", "rb") as file:
                            found[task] = int(file.read().split()[0])
                except (OSError, IndexError):  # it has ended, or nothing is counted
                    continue
        return found


__all__ = ["Others"]
