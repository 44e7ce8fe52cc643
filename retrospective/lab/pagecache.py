"""What of a file lies in memory: asked, brought in, held, thrown out."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

_PIPE_BYTES = 1 << 20  # /proc/sys/fs/pipe-max-size allows as much by default
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)


def resident_share(path: Path) -> float:
    """Share of a file's pages in the page cache (mincore(2): truthful for files that are one's own)."""
    resident, pages = _pages(path)
    return resident / pages if pages else 1.0


def share_of_all(paths: Iterable[Path]) -> float | None:
    """Share of all pages of several files in the page cache; ``None`` if they have none."""
    counts = [_pages(path) for path in paths]
    pages = sum(count for _, count in counts)
    return sum(resident for resident, _ in counts) / pages if pages else None


def _pages(path: Path) -> tuple[int, int]:
    """How many of a file's pages are in the page cache, and how many it has."""
    size = path.stat().st_size
    if size == 0:
        return 0, 0
    pages = -(-size // mmap.PAGESIZE)
    vector = ctypes.create_string_buffer(pages)
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) as mapped:
        # A private, writable mapping only because ctypes wants one to tell its address; nothing touches it.
        anchor = ctypes.c_char.from_buffer(mapped)
        failed = _LIBC.mincore(ctypes.addressof(anchor), size, vector)
        del anchor
    if failed:
        raise OSError(ctypes.get_errno(), f"mincore of {path.name}")
    return sum(byte & 1 for byte in vector.raw), pages


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
