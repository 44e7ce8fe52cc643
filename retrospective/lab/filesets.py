"""The files that are served: the papers' workloads, the same bytes wherever they are made."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from retrospective.lab import traces

#: SPECweb99's static mix: share of requests over the four size classes, and the class's smallest file, bytes.
CLASS_SHARES = (0.35, 0.50, 0.14, 0.01)
CLASS_STEP_BYTES = (102.4, 1024.0, 10240.0, 102400.0)
FILES_A_CLASS = 9
#: Within a class SPECweb99 draws by Zipf too, the middle file most often: rank of the file of 1, 2, … 9
#: steps.
RANK_IN_CLASS = (9, 6, 4, 2, 1, 3, 5, 7, 8)
#: The one-packet workload: headers and body fit one segment of a 1,500-byte MTU.
ONE_PACKET_BYTES = 1024
#: Share of the requests of the mixed workload that ask for the slow way to the file.
SLOW_SHARE = 0.001
#: What a server does first where this begins a path (``--slow-us``); the file is that of the path without it.
SLOW = "/slow"

#: Path, size in bytes, share of the requests, and kind, where a set has kinds.
_Entry = tuple[str, int, float] | tuple[str, int, float, str]


@dataclass(frozen=True)
class File:
    """A file of a set: its path in a URL, size, CRC-32 of its bytes, share of the requests, and kind.

    Files of kind "hot" are kept in memory whatever else is; the generators tell the kinds' latencies apart.
    """

    path: str
    bytes: int
    crc32: int
    weight: float
    kind: str = "other"


@dataclass(frozen=True)
class Fileset:
    """Files under ``root``, and the manifest from which the generators draw and verify."""

    name: str
    root: Path
    manifest: Path
    files: tuple[File, ...]

    def file(self, path: str) -> File:
        """Return the file of a URL path."""
        return next(file for file in self.files if file.path == path)

    def on_disk(self, file: File) -> Path:
        """Where a file lies."""
        return _below(self.root, file.path)


def one_packet(directory: Path) -> Fileset:
    """One file of 1 KiB, ``/1k.bin``."""
    return _made(directory, "one-packet", lambda: [("/1k.bin", ONE_PACKET_BYTES, 1.0)])


def mixed(directory: Path) -> Fileset:
    """The same file by two ways: ``/1k.bin`` and, seldom, ``/slow/1k.bin``."""
    ways = [("/1k.bin", ONE_PACKET_BYTES, 1 - SLOW_SHARE), (f"{SLOW}/1k.bin", ONE_PACKET_BYTES, SLOW_SHARE)]
    return _made(directory, f"mixed-{SLOW_SHARE:g}", lambda: ways)


def canned(directory: Path, size: int = ONE_PACKET_BYTES) -> Fileset:
    """Return what the design *floor* answers to whatever it is asked, ``size`` times x, as ``/1k.bin``."""
    return _made(directory, f"canned-{size}", lambda: [("/1k.bin", size, 1.0)], lambda _, size: b"x" * size)


def specweb99_like(directory: Path, directories: int = 4) -> Fileset:
    """SPECweb99's static files: 36 a directory in four size classes, about 5 MB; Zipf over directories."""
    return _made(directory, f"specweb99-like-{directories}", lambda: _specweb99(directories))


def trace_like(directory: Path, name: str, footprint_bytes: int = traces.FOOTPRINT_BYTES) -> Fileset:
    """Files like those of a trace of the paper on lazy I/O, the most popular first; scaled to a footprint, bytes."""
    entries = [
        (file.path, file.bytes, file.weight, file.kind) for file in traces.files(name, footprint_bytes)
    ]
    return _made(directory, f"{name}-{footprint_bytes}", lambda: entries)


#: Workload of a trial -> its files.
WORKLOADS: dict[str, Callable[[Path], Fileset]] = {
    "one-packet": one_packet,
    "specweb99-like": specweb99_like,
    "mixed": mixed,
    **{name: partial(trace_like, name=name) for name in traces.TRACES},
}


def characteristics(fileset: Fileset, page_bytes: int = 4096) -> dict[str, float]:
    """What a set is like, to be put beside what was published; bytes, counts, and shares of 1.

    ``in_memory_bytes`` is the footprint in whole pages; ``…_request_share`` is a share of the requests,
    ``…_reply_share`` one of the bytes that answer them.
    """
    footprint = sum(file.bytes for file in fileset.files)
    asked = sum(file.weight for file in fileset.files)
    replied = sum(file.weight * file.bytes for file in fileset.files)
    told: dict[str, float] = {
        "files": len(fileset.files),
        "footprint_bytes": footprint,
        "in_memory_bytes": sum(-(-file.bytes // page_bytes) * page_bytes for file in fileset.files),
        "mean_file_bytes": footprint / len(fileset.files),
        "mean_request_bytes": replied / asked,
    }
    parts = {
        name: [f for f in fileset.files if traces.size_class(f.bytes) == name] for name in traces.SIZE_CLASSES
    }
    for name, files in {**parts, "hot": [file for file in fileset.files if file.kind == "hot"]}.items():
        told |= {
            f"{name}_files": len(files),
            f"{name}_footprint_share": sum(file.bytes for file in files) / footprint,
            f"{name}_request_share": sum(file.weight for file in files) / asked,
            f"{name}_reply_share": sum(file.weight * file.bytes for file in files) / replied,
        }
    return told


def _below(root: Path, path: str) -> Path:
    """Where the file of a URL path lies."""
    return root / path.removeprefix(SLOW).lstrip("/")


def _specweb99(directories: int) -> Iterable[tuple[str, int, float]]:
    in_class = [1 / rank for rank in RANK_IN_CLASS]
    over_directories = [1 / rank for rank in range(1, directories + 1)]
    for d, directory_weight in enumerate(over_directories):
        for c, (share, step) in enumerate(zip(CLASS_SHARES, CLASS_STEP_BYTES, strict=True)):
            for f in range(FILES_A_CLASS):
                weight = directory_weight / sum(over_directories) * share * in_class[f] / sum(in_class)
                yield f"/dir{d:05d}/class{c}_{f + 1}", int(step * (f + 1)), weight


def _content(path: str, size: int) -> bytes:
    """Bytes that only path and size determine, and that differ between any two files."""
    return hashlib.shake_128(f"{path} {size}".encode()).digest(size)


def _made(
    directory: Path,
    name: str,
    entries: Callable[[], Iterable[_Entry]],
    content_of: Callable[[str, int], bytes] = _content,
) -> Fileset:
    """Return the set below ``directory``, made first if it is not there; two processes may do so at once."""
    home = directory.absolute() / name
    if not home.exists():
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not home.exists():
                fresh = home.with_name(f".{name}")
                shutil.rmtree(fresh, ignore_errors=True)  # of a process that was killed here
                _write(fresh, entries(), content_of)
                fresh.rename(home)
    files = []
    for line in (home / "manifest.tsv").read_text().splitlines():
        path, size, crc, weight, *kind = line.split("\t")
        files.append(File(path, int(size), int(crc, 16), float(weight), *kind))
    return Fileset(name, home / "root", home / "manifest.tsv", tuple(files))


def _write(home: Path, entries: Iterable[_Entry], content_of: Callable[[str, int], bytes]) -> None:
    lines = []
    for path, size, weight, *kind in entries:
        target = _below(home / "root", path)
        target.parent.mkdir(parents=True, exist_ok=True)
        content = content_of(path.removeprefix(SLOW), size)
        target.write_bytes(content)
        fields = [path, str(size), f"{zlib.crc32(content):08x}", f"{weight:.12g}", *kind]
        lines.append("\t".join(fields) + "\n")
    (home / "manifest.tsv").write_text("".join(lines))
