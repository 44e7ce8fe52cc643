"""File sets like the two web traces of the paper on lazy I/O (Elmeleegy et al., USENIX '04): Rice and Berkeley.

The traces themselves are lost to us, so these are made: *like* says so. From the paper comes what share of the
bytes lies in small, medium and large files, as far as that is remembered; from Breslau et al. (INFOCOM '99), that
requests for web pages are distributed over them as rank⁻ᵅ (Zipf-like) and that popularity hardly depends on
size. The rest is ours: the footprint, the same for both so that memory and not the files make the difference; sizes
that are log-uniform within their class; the smallest and the largest size; the directories; which file has which
rank; that requests are drawn independently of one another. ``SOURCES`` says how well each is known.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

KIB, MIB = 1 << 10, 1 << 20

#: Class of sizes -> above how many bytes, and up to how many. 8 and 256 KB are the paper's; the outer two are ours.
SIZE_CLASSES = {"small": (512, 8 * KIB), "medium": (8 * KIB, 256 * KIB), "large": (256 * KIB, MIB)}

#: Exponent of the popularity by rank: the middle of the 0.64 to 0.83 that Breslau et al. found.
ZIPF_EXPONENT = 0.75

FOOTPRINT_BYTES = 36 * MIB
#: Below this a class has too few files to have its share.
LEAST_FOOTPRINT_BYTES = 4 * MIB
DIRECTORIES = 24

#: Hot files are the most popular ones, from the top until one of these bounds is met. A request of one is answered
#: from memory, and enough requests ask for them to tell how long those wait that need no disk.
HOT_FILE_BYTES = 64 * KIB
HOT_FOOTPRINT_SHARE = 1 / 16
HOT_REQUEST_SHARE = 1 / 3

_RECALLED = "recalled, not confirmed"


@dataclass(frozen=True)
class Trace:
    """What is known of a trace of 2004: ``class_shares`` are shares of its footprint, small, medium, large."""

    requests: int
    footprint_bytes: float
    class_shares: tuple[float, float, float]


#: Workload -> the trace that it is like. All of these numbers are recalled, not confirmed.
TRACES = {
    "rice-like": Trace(245_820, 1.1e9, (0.055, 0.202, 0.743)),
    "berkeley-like": Trace(3_184_540, 6.4e9, (0.082, 0.332, 0.586)),
}

#: Property of the file sets -> whence it is, and how well it is known.
SOURCES = {
    "requests, footprint": f"Elmeleegy et al. 2004, traces Rice and Berkeley: {_RECALLED}",
    "shares of the size classes": f"Elmeleegy et al. 2004: {_RECALLED}, nor whether of the files or of the replies",
    "popularity Zipf-like by rank": "Breslau et al. 1999, abstract",
    "exponent 0.64 to 0.83": f"Breslau et al. 1999, for proxies: {_RECALLED}; 0.75 is our choice",
    "popularity independent of size": "Breslau et al. 1999, abstract: weakly correlated; none at all is ours",
    "sizes within a class, directories, scale, hot files": "ours",
}


@dataclass(frozen=True)
class Ranked:
    """A file as a trace asks for it."""

    path: str
    bytes: int
    weight: float
    kind: str


def files(name: str, footprint_bytes: int = FOOTPRINT_BYTES) -> Iterator[Ranked]:
    """Yield the files of the trace called ``name``, the most popular first; the same wherever it is asked.

    Raises ``ValueError`` for a footprint, in bytes, too small for the shares.
    """
    if footprint_bytes < LEAST_FOOTPRINT_BYTES:
        raise ValueError(
            f"a footprint of {footprint_bytes} bytes: at least {LEAST_FOOTPRINT_BYTES} are needed"
        )
    # In every class chance ranks the files, and the classes are spread evenly over the ranks: were all files shuffled
    # alike, whether a large one happened to come first would decide the mean size of a reply.
    by_rank: list[tuple[float, str, int]] = []
    for size_class, share in zip(SIZE_CLASSES, TRACES[name].class_shares, strict=True):
        sizes = dict(_sizes(size_class, share * footprint_bytes))
        shuffled = sorted(sizes, key=lambda path: hashlib.sha256(f"{name} {path}".encode()).digest())
        by_rank += [((i + 0.5) / len(sizes), path, sizes[path]) for i, path in enumerate(shuffled)]
    by_rank.sort()
    popularity = [rank**-ZIPF_EXPONENT for rank in range(1, len(by_rank) + 1)]
    total = sum(popularity)
    hot_bytes, hot_requests, full = 0, 0.0, False
    for (_, path, size), asked in zip(by_rank, popularity, strict=True):
        hot = size <= HOT_FILE_BYTES and not full
        if hot:
            hot_bytes, hot_requests = hot_bytes + size, hot_requests + asked / total
            full = hot_bytes > HOT_FOOTPRINT_SHARE * footprint_bytes or hot_requests > HOT_REQUEST_SHARE
        yield Ranked(path, size, asked / total, "hot" if hot and not full else "other")


def size_class(size: int) -> str:
    """Class of a size in bytes; the last for all that is larger."""
    return next((name for name, (_, most) in SIZE_CLASSES.items() if size <= most), list(SIZE_CLASSES)[-1])


def _sizes(size_class: str, class_bytes: float) -> Iterator[tuple[str, int]]:
    """Paths and sizes of a class: as many as make up its bytes, evenly spaced in the logarithm of the size."""
    least, most = SIZE_CLASSES[size_class]
    mean = (most - least) / math.log(most / least)  # of a log-uniform size
    number = max(1, round(class_bytes / mean))
    sizes = [least * (most / least) ** ((i + 0.5) / number) for i in range(number)]
    scale = class_bytes / sum(sizes)  # within half a file of 1: no size leaves its class
    for i, size in enumerate(sizes):
        yield f"/dir{i % DIRECTORIES:05d}/{size_class}_{i:04d}", math.ceil(size * scale)
