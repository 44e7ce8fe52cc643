"""Where a trial's files lie, how much memory there is for them, and what of them is in memory when the load begins.

The bound is a memory cgroup around the server and its children. A page of a file is charged to the group that touches
it first, and stays so; hence the order of a trial that has a :class:`Storage`:

1. The files are thrown out of memory, whoever has read them before.
2. The server starts in the group and answers a request.
3. The files are thrown out again, that one too. What is charged to the group then is the server's own memory, and the
   kernel's for it. The bound is that much and the footprint ÷ ``memory_ratio``, in whole pages.
4. *Warm*: a process in the group reads files, the most popular last, and the hot ones are held in memory from then on:
   the kernel lets even those go for a while that are read many times a second. *Cold*: none is read, nor held.
5. What is in memory is asked (mincore(2)), judged, and written into the row; so it is once more after the load.
6. Under the load the server needs more: connections, threads, buffers, and pages that reads under way wait for, where
   the disk is slow. The bound follows this need some milliseconds later; while all clients come at once, in the first
   half of the warm-up, it is ahead of it, or files would be lost to memory that is not late. So the ratio is that of
   the footprint to the memory for files that *are* in memory, of every server. The footprint is scaled down from the
   paper's, and the need is not: under a bound that did not yield, 1,024 reads under way would leave nothing to files,
   and end in the hands of the kernel's killer.

Without a ratio there is neither bound nor group, and no need of root. The disk of 2004 takes its time only while the
load runs.
"""

from __future__ import annotations

import contextlib
import mmap
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from retrospective.lab import cgroups, pagecache
from retrospective.lab.disk_2004 import Disk2004, DiskUnavailable
from retrospective.lab.filesets import Fileset, characteristics
from retrospective.lab.hosts import SERVER, Hosts
from retrospective.lab.provenance import CPU_MAP
from retrospective.lab.session import UNAVAILABLE, Rejected

Row = dict[str, Any]

DISKS = ("own", "2004")
CACHES = ("warm", "cold")

#: Of a footprint that fits, so much is in memory after warming: all but what a background reclaimer took meanwhile…
LEAST_WARM = 0.98
#: …and of one that was thrown out so little: a page that somebody looks at cannot go.
MOST_COLD = 0.02

#: A server that needs more memory than this beside files is a fault: it is left to the kernel's killer.
MOST_OTHER_BYTES = 1 << 30

#: How often the bound is raised by what the server has come to need: it must not need all the files' memory meanwhile.
_FOLLOW_S = 0.005
#: How far ahead of the need the bound is while clients come: for hundreds of reads that begin between two looks.
_RAMP_BYTES = 64 << 20
#: How often pages that a slow disk is asked for are counted, which takes some milliseconds.
_COUNT_S = 0.05
#: How often threads are counted: now and then, for what a pool grows by it keeps for a while.
_LOOK_S = 0.2
_EVICT_S = 2.0  # for pages that replies still refer to
_WARM_S = 120.0  # for all files to be read, one after the other
_FILES_A_READER = 500  # a command line, and a request to the lab's holder, have an end


@dataclass(frozen=True)
class Storage:
    """What a trial's files lie on, and how much of them fits in memory.

    Attributes
    ----------
    disk
        ``own``: the disk of the build folder; ``2004``: one with a single arm, which seeks and turns.
    memory_ratio
        Footprint : memory for files, e.g. 0.55 (they fit) or 3.2 (they do not); ``None``: no bound.
    cache
        ``warm``: files are in memory when the load begins, the most popular ones if not all fit; ``cold``: none is.
    """

    disk: str = "own"
    memory_ratio: float | None = None
    cache: str = "warm"

    def __post_init__(self) -> None:
        if self.disk not in DISKS:
            raise ValueError(f"no disk {self.disk!r}: there are {', '.join(DISKS)}")
        if self.cache not in CACHES:
            raise ValueError(f"no cache {self.cache!r}: there are {', '.join(CACHES)}")
        if self.memory_ratio is not None and not self.memory_ratio > 0:
            raise ValueError(f"footprint : memory is above zero, not {self.memory_ratio}")

    def seconds(self) -> float:
        """About how much longer a trial takes by it, seconds, on our reference machine."""
        return 0.4 if self.disk == "own" else 0.6


class Shelf:
    """The files of one trial on their disk, and the group that bounds its memory; a context manager.

    Entering it raises ``Rejected`` (unavailable) if this machine has no such thing.
    """

    def __init__(self, storage: Storage, files: Fileset) -> None:
        self.storage = storage
        #: Where they lie on the disk asked for, as the lab sees them.
        self.files = files
        self.group: cgroups.MemoryGroup | None = None
        self.disk: Disk2004 | None = None
        in_memory_bytes = characteristics(files, mmap.PAGESIZE)["in_memory_bytes"]
        self._for_files = (
            _whole_pages(in_memory_bytes / storage.memory_ratio) if storage.memory_ratio else None
        )
        self._limit_bytes = self._other_peak_bytes = self._under_way_bytes = 0
        self._threads_peak = self._rss_peak_bytes = 0
        self._next_look_s = self._next_count_s = self._ramp_ends_s = 0.0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            if self.storage.disk == "2004":
                try:
                    self.disk = stack.enter_context(Disk2004(self.files, cpu=CPU_MAP["client"]))
                except DiskUnavailable as error:
                    raise Rejected("no-disk", str(error), UNAVAILABLE) from error
                self.disk.hurry(True)
                self.files = replace(self.files, root=self.disk.folder)
            if self.storage.memory_ratio is not None:
                try:
                    self.group = stack.enter_context(cgroups.MemoryGroup())
                except OSError as error:
                    raise Rejected("no-cgroup", error.strerror or str(error), UNAVAILABLE) from error
            self._in_memory = stack.enter_context(pagecache.Residency(self._by_popularity()))
            self._hot_in_memory = stack.enter_context(pagecache.Residency(self._hot()))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def every_s(self) -> float:
        """How often somebody must look while the load runs, seconds."""
        return _FOLLOW_S if self.group else _LOOK_S

    @property
    def cgroup(self) -> Path | None:
        """Where the server is to start, if its memory is bounded."""
        return self.group.path if self.group else None

    @contextlib.contextmanager
    def in_use(self, warmup_s: float) -> Iterator[None]:
        """While a load runs, which warms up for so long, the disk takes its time.

        It does not before, when files are warmed, nor after, when what is under way comes to its end.
        """
        self._ramp_ends_s = time.monotonic() + warmup_s / 2
        if self.group:
            self._follow(self.group)
        if self.disk:
            self.disk.hurry(False)
        try:
            yield
        finally:
            if self.disk:
                self.disk.hurry(True)

    def seen_by_a_program(self, pass_files: list[Any]) -> Path:
        """Root of the files for a program with these descriptors from 3 on, to which one may be added."""
        if self.disk is None:
            return self.files.root
        pass_files.append(self.disk)
        return Path(f"/proc/self/fd/{2 + len(pass_files)}")

    def oom_kills(self) -> int:
        """Processes that the kernel killed because the bound left no memory for them."""
        return self.group.oom_kills() if self.group else 0

    # ------------------------------------------------------------------------------------------ before the load

    def evict(self) -> None:
        """Throw all files out of memory; ``Rejected`` if they do not go."""
        paths = self._by_popularity()
        deadline = time.monotonic() + _EVICT_S
        while True:
            for path in paths:
                pagecache.evict(path)
            share = self._in_memory.share() or 0.0
            if share <= MOST_COLD:
                return
            if time.monotonic() > deadline:
                raise Rejected("cache-warm", f"{share:.1%} of the files' pages stay in memory")
            time.sleep(0.02)

    def settle(self, lab: Hosts, row: Row) -> None:
        """Once the server runs and idles: bound its memory, warm it or not, say in ``row`` what is in memory."""
        self.evict()
        if self.group:
            row["memory_controller"] = f"v{self.group.version}"
            self._follow(self.group)
        if self.storage.cache == "warm":
            self._warm(lab)
        row["resident_before_share"] = share = self._in_memory.share() or 0.0
        row["hot_resident_before_share"] = self._hot_in_memory.share()
        if self.storage.cache == "warm":
            self._stack.enter_context(pagecache.held(self._hot()))
        if self.storage.cache == "cold" and share > MOST_COLD:
            raise Rejected("cache-warm", f"{share:.1%} of the files' pages are in memory before the load")
        fits = self.storage.memory_ratio is None or self.storage.memory_ratio < 1
        if self.storage.cache == "warm" and fits and share < LEAST_WARM:
            raise Rejected(
                "cache-cold", f"only {share:.1%} of the files' pages are in memory before the load"
            )

    def _follow(self, group: cgroups.MemoryGroup) -> None:
        """Bound the group's memory by the most that was not files so far, and the memory for files."""
        self._other_peak_bytes = max(self._other_peak_bytes, min(group.other_bytes(), MOST_OTHER_BYTES))
        limit = _whole_pages(self._other_peak_bytes) + self._under_way_bytes + (self._for_files or 0)
        if time.monotonic() < self._ramp_ends_s:
            limit += _RAMP_BYTES
        if limit != self._limit_bytes:
            try:
                group.limit(limit)
                self._limit_bytes = limit
            except OSError as error:
                if self._limit_bytes == 0:
                    raise Rejected("memory-refused", f"{limit} bytes: {error.strerror or error}") from error
                # To lower it may take another attempt.

    def _warm(self, lab: Hosts) -> None:
        """Have files read in the group, the most popular last: as many of the most popular ones as fit."""
        chosen, left = [], self._for_files
        for path in self._by_popularity():
            if left is not None:
                left -= _whole_pages(path.stat().st_size)
                if left < 0:
                    break
            chosen.append(path)
        chosen.reverse()
        deadline = time.monotonic() + _WARM_S
        for begin in range(0, len(chosen), _FILES_A_READER):
            # Small, so that it leaves the group's memory to what it reads.
            passed: list[Any] = []
            root = self.seen_by_a_program(passed)
            some = chosen[begin : begin + _FILES_A_READER]
            words = ["cat", "--", *(str(root / path.relative_to(self.files.root)) for path in some)]
            reader = lab.spawn(SERVER, words, pass_files=passed, cpu=lab.client_cpu, cgroup=self.cgroup)
            usage = reader.wait(deadline - time.monotonic())
            if usage is None:
                reader.kill()
                raise Rejected("warm-failed", f"the files were not read within {_WARM_S:.0f} s", "failed")
            if self.oom_kills():
                raise self.out_of_memory()
            if usage.code:
                raise Rejected("warm-failed", f"the reader of files ended with code {usage.code}", "failed")

    def _hot(self) -> list[Path]:
        """Files that are to be in memory whatever else is: what their clients wait for is never the disk."""
        return [self.files.on_disk(file) for file in self.files.files if file.kind == "hot"]

    def _by_popularity(self) -> list[Path]:
        """Where the files lie, the most popular first; once each, though there may be two ways to one."""
        weights: dict[Path, float] = {}
        for file in self.files.files:
            path = self.files.on_disk(file)
            weights[path] = weights.get(path, 0.0) + file.weight
        return sorted(weights, key=lambda path: -weights[path])

    # ------------------------------------------------------------------------------------------ during it, and after

    def look(self, server: Sequence[int]) -> None:
        """Let the bound follow; now and then count threads and memory of the server's processes, and note the most.

        To be called every ``every_s`` seconds while the load runs. Resident sets (VmHWM) are added up: what processes
        share counts for each.
        """
        if self.group:
            self._count_under_way(self.group)
            self._follow(self.group)
        if time.monotonic() < self._next_look_s:
            return
        self._next_look_s = time.monotonic() + _LOOK_S
        threads = rss_bytes = 0
        for pid in self.group.pids() if self.group else server:
            with contextlib.suppress(OSError):  # ended meanwhile
                status = dict(
                    line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                )
                threads += int(status.get("Threads", 0))
                rss_bytes += int(status.get("VmHWM", "0 kB").split()[0]) * 1024
        self._threads_peak = max(self._threads_peak, threads)
        self._rss_peak_bytes = max(self._rss_peak_bytes, rss_bytes)

    def _count_under_way(self, group: cgroups.MemoryGroup) -> None:
        """Count pages that are charged as files' and are not yet read. Only a slow disk has so many that it matters."""
        if self.disk and time.monotonic() >= self._next_count_s:
            self._next_count_s = time.monotonic() + _COUNT_S
            in_memory_bytes = self._in_memory.resident() * mmap.PAGESIZE
            self._under_way_bytes = max(0, group.used_bytes() - group.other_bytes() - in_memory_bytes)

    def found(self) -> Row:
        """At the window's end: lift the bound, as nobody lets it follow any more, and tell what became of memory."""
        row = {
            "resident_after_share": self._in_memory.share(),
            "hot_resident_after_share": self._hot_in_memory.share(),
            "memory_limit_bytes": self._limit_bytes or None,
            "memory_peak_bytes": self.group.peak_bytes() if self.group else None,
            "memory_other_bytes": self._other_peak_bytes or None,
            "rss_peak_bytes": self._rss_peak_bytes or None,
            "threads_peak": self._threads_peak or None,
        }
        if self.group:
            self.group.limit(self._limit_bytes + MOST_OTHER_BYTES)
        return row

    def out_of_memory(self) -> Rejected:
        """Return the reason of a trial whose memory was too little for its programs."""
        return Rejected(
            "out-of-memory",
            f"the kernel killed {self.oom_kills()} of the server's processes under {self._limit_bytes} bytes",
            "failed",
        )


def asked(storage: Storage, files: Fileset) -> Row:
    """Columns that say what storage a trial asked for."""
    return {
        "disk": storage.disk,
        "memory_ratio": storage.memory_ratio,
        "cache": storage.cache,
        "footprint_bytes": int(characteristics(files)["footprint_bytes"]),
    }


def _whole_pages(size: float) -> int:
    return -int(-size // mmap.PAGESIZE) * mmap.PAGESIZE
