"""The mechanics of a disk as of 2004: how long its single arm takes for a read, as a function of place and time.

Like a 7,200/min ATA disk of 2004, not a model of one product:

- average seek 8.5 ms and 7,200/min, so 4.17 ms until an average sector comes by: Seagate Barracuda 7200.7
  (techreport.com/review/8160, which compares its specification);
- 45 MB/s from the platter: that disk's 58 MB/s are of the outer tracks;
- track to track 0.8 ms, 0.3 ms for a command: usual values of such disks' manuals, not of a certain one;
- a seek over a share d of the full stroke takes a + b √d (Ruemmler and Wilkes, *An introduction to disk drive
  modeling*, 1994, for all but the longest seeks). a is the track-to-track time; b is such that seeks between random
  places take the average one: the mean of √d is 8/15, so b = 14.4 ms and a full stroke takes 15.2 ms;
- what follows directly on what was read last costs command and transfer only: the disk has read ahead into its
  buffer, and the next sector is under the head.

Scaling: the whole disk is the image, some tens of MB, and its first and last byte are a full stroke apart. So seeks
are as long as between files that fill a disk of 2004; in such a small place on a real one they would be shorter.
Where a track begins does not matter: a byte's angle is its offset modulo the bytes of a revolution (375 kB).

Budget, operations per second at random places: one at a time 77 of 4 KiB, 75 of 16 KiB, 69 of 64 KiB (0.3 + 8.5 +
4.2 + 0.1 to 1.5 ms). With a queue, which is served in one sweep after the other (:func:`next_in_sweep`), seeks get
shorter: about 110 of 4 KiB with 8 waiting and 140 with 32. Sequential: 37 MB/s in reads of 64 KiB. To read
all the 1,300 files of 36 MiB like the Berkeley trace's takes 1.5 s in the order of their names, which is that of the
disk, and 18 s in that of their popularity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

REVOLUTION_S = 60 / 7200
AVERAGE_SEEK_S = 8.5e-3
TRACK_TO_TRACK_S = 0.8e-3
COMMAND_S = 0.3e-3
MEDIA_BYTES_PER_S = 45e6
TRACK_BYTES = MEDIA_BYTES_PER_S * REVOLUTION_S
_MEAN_ROOT_OF_DISTANCE = 8 / 15  # of two uniformly random places in [0, 1]
_SLOPE_S = (AVERAGE_SEEK_S - TRACK_TO_TRACK_S) / _MEAN_ROOT_OF_DISTANCE
FULL_STROKE_S = TRACK_TO_TRACK_S + _SLOPE_S


class Placed(Protocol):
    """A request for bytes from ``offset``."""

    offset: int


def seek_s(distance: float) -> float:
    """Time for a move of the arm over a share of the full stroke, 0 to 1; seconds."""
    return TRACK_TO_TRACK_S + _SLOPE_S * math.sqrt(distance) if distance else 0.0


def rotation_s(offset: int, now_s: float) -> float:
    """Time until the byte at ``offset`` is under the head, if it is ``now_s``; less than one revolution."""
    turned = now_s / REVOLUTION_S
    wait = (offset / TRACK_BYTES - turned) % 1.0
    return wait * REVOLUTION_S if wait < 1.0 else 0.0  # a tiny negative number modulo 1.0 is 1.0


class Arm:
    """The arm over a disk of ``size_bytes``. It stands behind what it has read last; at first at byte 0."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.at = 0

    def read(self, offset: int, size: int, now_s: float) -> float:
        """Read ``size`` bytes from ``offset``, beginning at ``now_s`` of a monotonic clock; the seconds it takes."""
        spent_s = COMMAND_S
        if offset != self.at:
            spent_s += seek_s(abs(offset - self.at) / self.size_bytes)
            spent_s += rotation_s(offset, now_s + spent_s)
        self.at = offset + size
        return spent_s + size / MEDIA_BYTES_PER_S


def next_in_sweep(waiting: Sequence[Placed], at: int) -> int:
    """Index of the request to serve next: the nearest ahead of the arm, or, with none ahead, the foremost of all.

    The one-way elevator of operating systems of 2004 (C-LOOK; bioqdisksort of FreeBSD, the paper's). ATA disks did
    not sort themselves.
    """
    ahead = [i for i, request in enumerate(waiting) if request.offset >= at]
    return min(ahead or range(len(waiting)), key=lambda i: waiting[i].offset)
