"""The disk's own process: serves an image as a FUSE file at the speed of an arm, and mounts it through a loop device.

Started by :mod:`retrospective.lab.disk_2004` as a fresh, single-threaded interpreter without site packages.

Nothing is mounted in any place: fsmount(2) makes mounts that only descriptors refer to. Whoever has the descriptor
has the tree (``/proc/self/fd/N/…``), and with the last one ext4 goes, with it its loop device (autoclear), with it
the FUSE file, with it this process, which then reads ENODEV. So no kill leaves anything behind. In the other
direction, this process ends when its maker does; that aborts the FUSE connection, so that whoever still waits for
a read gets EIO instead of waiting for ever.

What must not be: the process that answers FUSE touching what waits for FUSE. A forked child opens the file, attaches
the loop device, mounts ext4, hands its descriptor to the maker, and ends. It closes /dev/fuse first: were it open
there, too, the end of this process would abort nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import mmap
import os
import select
import signal
import socket
import struct
import sys
import time

from retrospective.lab import arm, fuse
from retrospective.lab.system_call import system_call

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _PR_SET_TIMERSLACK = 1, 29
#: System calls of the same number on all architectures.
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_CLOEXEC = 1
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _NOATIME = 1, 2, 4, 8, 0x10
#: linux/loop.h
_LOOP_CTL_GET_FREE, _LOOP_CONFIGURE = 0x4C82, 0x4C0A
_READ_ONLY, _AUTOCLEAR, _DIRECT_IO = 1, 4, 16
_SECTOR_BYTES = 512
_CONFIGURATION = struct.Struct("=II QQQQQ IIII 64s64s32s 16x 64x")  # loop_config with its loop_info64
_ATTEMPTS = 64

#: /sys/block/loopN/queue: what Linux had in 2004, stated instead of inherited, but for the number of requests: who asks
#: for one more waits in the midst of asking, RWF_NOWAIT and io_uring included. With the 128 of a loop device, which
#: only a scheduler can raise, the 129th read would hold every event-driven server. What the scheduler sorts,
#: the arm's queue sorts once more (:func:`arm.next_in_sweep`). Where /sys is not writable, the kernel's defaults hold.
QUEUE = {
    "scheduler": "mq-deadline",
    "nr_requests": "2048",
    "read_ahead_kb": "128",  # VM_MAX_READAHEAD
    "max_sectors_kb": str(fuse.MOST_READ_BYTES >> 10),
    "rotational": "1",
}


class Panel:
    """Counters and switches in memory that maker and disk share: 64-bit words."""

    #: Counted by the disk: ``late_ns`` is by how much this program answered later than the arm would have, summed.
    #: Set by the maker: while ``hurry`` is not 0, reads take no time, while ``fail`` is not 0, they fail;
    #: ``stall_ns`` is how long the next read is held, and set back to 0 by the disk.
    NAMES = (
        *(
            "served",
            "served_bytes",
            "busy_ns",
            "late_ns",
            "failed",
            "stalled",
            "waiting_most",
            "malformed",
            "unknown",
        ),
        *("hurry", "fail", "stall_ns"),
    )
    BYTES = 8 * len(NAMES)

    def __init__(self, file: int) -> None:
        self._words = memoryview(mmap.mmap(file, self.BYTES)).cast("q")

    def __getitem__(self, name: str) -> int:
        return self._words[self.NAMES.index(name)]

    def __setitem__(self, name: str, value: int) -> None:
        self._words[self.NAMES.index(name)] = value


class _Ended(Exception):  # noqa: N818 (no error)
    """Nobody needs this disk any more."""


class Disk:
    """Answers the kernel from an image, one read at a time, each when the arm would be done with it."""

    def __init__(self, device: int, image: int, panel: Panel, watched: list[int]) -> None:
        size = os.fstat(image).st_size
        self._device, self._image, self._panel, self._watched = device, image, panel, watched
        self._file = fuse.OneFile(size)
        self._arm = arm.Arm(size)
        self._waiting: list[fuse.Read] = []

    def run(self) -> None:
        """Serve until the file is no longer used, or one of the watched descriptors is readable."""
        free_s = 0.0
        with contextlib.suppress(_Ended):
            while True:
                if self._waiting:
                    free_s = self._serve_next(free_s)
                else:
                    self._sleep_until(None)
                    free_s = max(free_s, time.monotonic())
                    self._take()

    def _serve_next(self, now_s: float) -> float:
        """Serve a read that begins at ``now_s``; return when it was done, by the model, not by this program."""
        read = self._waiting.pop(arm.next_in_sweep(self._waiting, self._arm.at))
        panel = self._panel
        busy_s = self._arm.read(read.offset, read.size, now_s)
        if panel["hurry"]:  # nor may what comes after it begin in the past
            now_s, busy_s = time.monotonic(), 0.0
        done_s = now_s + busy_s
        if panel["stall_ns"]:
            done_s += panel["stall_ns"] / 1e9
            panel["stall_ns"] = 0
            panel["stalled"] += 1
        data = os.pread(self._image, read.size, read.offset)
        self._sleep_until(done_s)
        self._take()  # before the answer makes its reader ask for more: what came while the arm was busy
        panel["busy_ns"] += round(busy_s * 1e9)
        panel["late_ns"] += round((time.monotonic() - done_s) * 1e9)
        if panel["fail"] or len(data) != read.size:
            panel["failed"] += 1
            self._send(fuse.refusal(read.unique, errno.EIO))
        else:
            panel["served"] += 1
            panel["served_bytes"] += read.size
            self._send(fuse.reply(read.unique, data))
        return done_s

    def _sleep_until(self, deadline_s: float | None) -> None:
        """Sleep until a time, or without one, until there is a message."""
        files = self._watched if deadline_s is not None else [*self._watched, self._device]
        left_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
        ready, _, _ = select.select(files, [], [], left_s)
        if any(file in self._watched for file in ready):
            raise _Ended

    def _take(self) -> None:
        """Take every message there is; answer all but the reads."""
        while True:
            try:
                message = os.read(self._device, fuse.MESSAGE_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno == errno.ENODEV:
                    raise _Ended from None
                if error.errno == errno.ENOENT:  # who had sent it has gone meanwhile
                    continue
                raise
            if not message:  # the kernel never does; whoever stands in for it has gone
                raise _Ended
            answer = self._file.answer(message)
            if isinstance(answer, fuse.Read):
                self._waiting.append(answer)
            elif answer is not None:
                self._send(answer)
        self._panel["waiting_most"] = max(self._panel["waiting_most"], len(self._waiting))
        self._panel["malformed"], self._panel["unknown"] = self._file.malformed, self._file.unknown

    def _send(self, answer: bytes) -> None:
        try:
            os.write(self._device, answer)
        except OSError as error:
            if error.errno != errno.ENOENT:  # nobody waits for it any more
                raise _Ended from None


def file_system(kind: str) -> int:
    """Open a file system to be configured (fsopen(2)); ``OSError`` if the kernel has it not or does not let us."""
    return system_call(_FSOPEN, kind.encode(), _CLOEXEC)


def mount(kind: str, settings: dict[str, str | None]) -> int:
    """Mount a file system, read-only, in no place: its root's descriptor. A setting without value is a flag."""
    context = file_system(kind)
    try:
        for key, value in settings.items():
            if value is None:
                system_call(_FSCONFIG, context, _SET_FLAG, key.encode(), None, 0)
            else:
                system_call(_FSCONFIG, context, _SET_STRING, key.encode(), value.encode(), 0)
        system_call(_FSCONFIG, context, _CREATE, None, None, 0)
        return system_call(_FSMOUNT, context, _CLOEXEC, _RDONLY | _NOSUID | _NODEV | _NOEXEC | _NOATIME)
    except OSError as error:
        words = ""
        with contextlib.suppress(OSError):  # the kernel's own, if it left any
            words = f" ({os.read(context, 4096).decode().strip()})"
        raise OSError(error.errno, f"mounting {kind}: {error.strerror}{words}") from None
    finally:
        os.close(context)


def attach(file: int) -> tuple[int, str]:
    """Attach a file to a free loop device, which is free again when it is last closed: its descriptor and name."""
    flags = _READ_ONLY | _AUTOCLEAR | _DIRECT_IO
    configuration = _CONFIGURATION.pack(
        *(file, _SECTOR_BYTES), *(0, 0, 0, 0, 0), *(0, 0, 0, flags), b"disk of 2004", b"", b""
    )
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_ATTEMPTS):
            name = f"loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
            device = os.open(f"/dev/{name}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _LOOP_CONFIGURE, configuration)
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:
                    raise
                continue  # another was faster
            return device, name
    finally:
        os.close(control)
    raise OSError(errno.EBUSY, "every free loop device was taken by somebody else")


def hand_over(fuse_root: int, requests: socket.socket) -> None:
    """Mount what the FUSE file holds, and send the descriptor of its root to the maker."""
    try:
        file = os.open(fuse.NAME, os.O_RDONLY | os.O_CLOEXEC, dir_fd=fuse_root)
        device, name = attach(file)
        for setting, value in QUEUE.items():
            with contextlib.suppress(OSError), open(f"/sys/block/{name}/queue/{setting}", "w") as queue:
                queue.write(value)
        root = mount("ext4", {"source": f"/dev/{name}", "ro": None, "noload": None, "errors": "continue"})
        os.close(device)
        socket.send_fds(requests, [json.dumps({"device": name}).encode()], [root])
    except OSError as error:
        _complain(requests, error)


def main() -> None:
    """Entry: descriptors of the maker's socket and of the panel, the maker's pid, the image's path, CPU or ""."""
    socket_file, panel_file, maker_pid, image_path, cpu = sys.argv[1:]
    requests = socket.socket(fileno=int(socket_file))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        maker = os.pidfd_open(int(maker_pid))
        if os.getppid() != int(maker_pid):
            return
        if cpu:
            os.sched_setaffinity(0, {int(cpu)})
        image = os.open(image_path, os.O_RDONLY | os.O_CLOEXEC)
        device = os.open("/dev/fuse", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        who = {"user_id": "0", "group_id": "0"}
        fuse_root = mount("fuse", {"source": "disk-2004", "fd": str(device), "rootmode": "40000", **who})
    except OSError as error:
        _complain(requests, error)
        return
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the child's end is of no interest
    if os.fork() == 0:
        os.close(device)
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        try:
            hand_over(fuse_root, requests)
        finally:
            os._exit(0)
    os.close(fuse_root)
    # A disk's interrupt waits for nobody: be on time, for the little there is to do.
    _LIBC.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    Disk(device, image, Panel(int(panel_file)), [requests.fileno(), maker]).run()
    os._exit(0)


def _complain(requests: socket.socket, error: OSError) -> None:
    with contextlib.suppress(OSError):
        requests.send(json.dumps({"error": str(error)}).encode())
