"""What of a file lies in memory: asked, brought in, held, thrown out."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

_PIPE_BYTES = 1 << 20  # /proc/sys/fs/pipe-max-size allows as much by default
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)
_LIBC.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_MAP_FAILED = ctypes.c_void_p(-1).value


class Residency:
    """Asks how much of some files is in the page cache (mincore(2): truthful for files that are one's own).

    Files are mapped once, and none of their pages is touched: to ask again costs a few microseconds a file. A context
    manager.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._maps: list[tuple[int, int, ctypes.Array[ctypes.c_char]]] = []
        for path in paths:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if not size:
                    continue
                # Not by the module mmap, which keeps a descriptor open for each.
                address = _LIBC.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
                if address == _MAP_FAILED:
                    self.close()
                    raise OSError(ctypes.get_errno(), f"mmap of {path.name}")
            self._maps.append((address, size, ctypes.create_string_buffer(-(-size // mmap.PAGESIZE))))

    def resident(self) -> int:
        """Pages that are in memory; those that are only being read do not count."""
        total = 0
        for address, size, vector in self._maps:
            if _LIBC.mincore(address, size, vector):
                raise OSError(ctypes.get_errno(), "mincore")
            total += sum(byte & 1 for byte in vector.raw)
        return total

    def share(self) -> float | None:
        """Share of all pages of the files that are in memory; ``None`` if they have none."""
        pages = sum(len(vector) for _, _, vector in self._maps)
        return self.resident() / pages if pages else None

    def close(self) -> None:
        """Unmap the files."""
        while self._maps:
            address, size, _ = self._maps.pop()
            _LIBC.munmap(address, size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def resident_share(path: Path) -> float:
    """Share of a file's pages in the page cache; an empty one's is 1."""
    with Residency([path]) as residency:
        share = residency.share()
    return 1.0 if share is None else share


def cold(paths: Iterable[Path]) -> list[Path]:
    """Those files of which a page is not in memory."""
    return [path for path in paths if resident_share(path) < 1.0]


def warm(paths: Iterable[Path]) -> None:
    """Read files, so that their pages are in memory."""
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 20):
                pass


@contextlib.contextmanager
def held(paths: Iterable[Path]) -> Iterator[None]:
    """Keep files in memory for a while, without privilege: what a pipe refers to cannot be reclaimed.

    A machine may reclaim idle pages by itself (DAMON, a host that wants its memory back), within seconds and
    however often they are read. splice(2) puts references to a file's pages into a pipe, and reclaim passes
    over pages with other references than the cache's own (__remove_mapping, mm/vmscan.c); mlock(2) would do the
    same, but its unprivileged limit is below the size of a file set. Best effort: whether it held is checked.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # no descriptors left, or a file system without splice
            pipe = _pipe(stack)
            for path in paths:
                with path.open("rb") as file:
                    offset, size = 0, os.fstat(file.fileno()).st_size
                    while offset < size:
                        try:
                            offset += os.splice(
                                file.fileno(),
                                pipe,
                                size - offset,
                                offset_src=offset,
                                flags=os.SPLICE_F_NONBLOCK,
                            )
                        except BlockingIOError:
                            pipe = _pipe(stack)
        yield


def _pipe(stack: contextlib.ExitStack) -> int:
    """Make a pipe as large as an unprivileged process may; returns the end to write to."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    stack.callback(os.close, reader)
    stack.callback(os.close, writer)
    with contextlib.suppress(PermissionError):
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return writer


def evict(path: Path) -> None:
    """Throw a file's pages out of memory, as a background reclaimer might (posix_fadvise(2)); changed ones written."""
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if resident_share(path):  # only then: it may have the disk empty its own memory
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def can_drop_caches() -> bool:
    """Whether the whole machine's page, name and attribute caches may be dropped: root's right (proc_sys_vm(5))."""
    return os.access("/proc/sys/vm/drop_caches", os.W_OK)
