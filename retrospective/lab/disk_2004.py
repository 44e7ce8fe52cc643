"""A disk as of 2004 under a set of files: ext4 on a loop device over a FUSE file that is served by a single arm.

>>> with Disk2004(fileset) as disk:
...     lab.spawn("server", [..., "--root", "/proc/self/fd/3"], pass_files=[disk])

How long the arm takes, and so how many operations a second there are: :mod:`retrospective.lab.arm`. How the parts
hang together and why nothing is left of them: :mod:`retrospective.lab.disk_daemon`. What lies in memory:

- the files' pages are in the page cache once, that of ext4, and charged to the memory cgroup of who read them; the
  loop device reads around the page cache (direct I/O), and so does the FUSE file (FOPEN_DIRECT_IO);
- the image itself is an ordinary file below build/, in memory as far as there is room, charged to the lab. It stands
  for the platters: that it is fast does no harm, as the arm is what is waited for;
- names and attributes (directories, inodes) stay in memory once read, as they mostly would with the paper's files.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Self

from retrospective import paths
from retrospective.lab import disk_daemon, pagecache
from retrospective.lab.filesets import Fileset

_PROGRAM = (
    "import sys; sys.path.append(sys.argv.pop(1)); from retrospective.lab.disk_daemon import main; main()"
)
_BLOCK_BYTES = 4096
_INODE_BYTES = 256
_SPARE_INODES = 64
_SPARE_BYTES = 2 << 20
#: What makes ext4 the same on every machine: identifier, seed of its hashes, and the time it was made.
_IDENTIFIER = "20040627-0000-4000-8000-000000000000"
_MADE_AT = "1088294400"
_FEATURES = "none,extent,filetype,dir_index,large_file,sparse_super,flex_bg"

#: A disk that is not there after this long, or does not end, never will. Making an image may take longer.
_PATIENCE_S = 20.0
_MKFS_PATIENCE_S = 300.0


class DiskUnavailable(RuntimeError):  # noqa: N818 (a state of the machine, said in one line)
    """There can be no such disk here; says what to do."""


class Disk2004:
    """A disk as of 2004 that holds a fileset, as a context manager.

    Parameters
    ----------
    fileset
        The files; the disk's image is made from them once and kept below build/disks/.
    cpu
        CPU of the disk's own process, which runs before all others there, some 100 µs a request; ``None``: where
        its maker may run.

    Attributes
    ----------
    folder
        Root of the files for every process that sees this one in its /proc. A process in another pid namespace (a
        host of the lab) is handed the descriptor instead, and says ``/proc/self/fd/N``.
    device
        Name of the loop device, as in /sys/block.
    """

    folder: Path
    device: str

    def __init__(self, fileset: Fileset, *, cpu: int | None = None) -> None:
        self._fileset = fileset
        self._cpu = cpu
        self._requests: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._root: int | None = None

    def __enter__(self) -> Self:
        missing = absent()
        if missing is not None:
            raise DiskUnavailable(missing)
        picture = image(self._fileset)
        try:
            answer = self._start(picture)
        except BaseException:
            self.close()
            raise
        if self._root is None:
            self.close()
            raise DiskUnavailable(f"the disk of 2004 cannot be made here: {answer.get('error')}")
        self.device = answer["device"]
        self.folder = Path(f"/proc/{os.getpid()}/fd/{self._root}")
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _start(self, picture: Path) -> dict[str, str]:
        """Start the disk's process and receive its files' root; returns what it says."""
        shared = os.memfd_create("disk-2004")
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._requests.settimeout(_PATIENCE_S)
        with theirs, open(shared, "rb+", buffering=0):
            os.ftruncate(shared, disk_daemon.Panel.BYTES)
            self._panel = disk_daemon.Panel(shared)
            files = (theirs.fileno(), shared)
            cpu = "" if self._cpu is None else str(self._cpu)
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", "-c", _PROGRAM, str(paths.ROOT)),
                    *(*map(str, files), str(os.getpid()), str(picture), cpu),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=files,
                start_new_session=True,
            )
        try:
            message, received, _, _ = socket.recv_fds(self._requests, 1 << 16, 1)
        except OSError as error:
            return {"error": str(error)}
        for self._root in received:
            os.set_inheritable(self._root, False)
        return json.loads(message or '{"error": "its process ended"}')

    def close(self) -> None:
        """End the disk; whoever waits for a read gets EIO. Its tree goes with the last descriptor of it."""
        if self._requests is not None:
            self._requests.close()
            self._requests = None
        if self._process is not None:  # before the tree: what is unmounted awaits the reads under way
            try:
                self._process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._root is not None:
            os.close(self._root)
            self._root = None

    def fileno(self) -> int:
        """Descriptor of the files' root, to be passed to who is to see them."""
        if self._root is None:
            raise ValueError("the disk is not there")
        return self._root

    def evict(self) -> None:
        """Throw all the files' pages out of memory."""
        places = {self._fileset.on_disk(file).relative_to(self._fileset.root) for file in self._fileset.files}
        for place in sorted(places):
            pagecache.evict(self.folder / place)

    def hurry(self, hurry: bool) -> None:
        """Let reads take no time from now on, or again their own: for warming, which is not measured."""
        self._panel["hurry"] = int(hurry)

    def fail_reads(self, fail: bool) -> None:
        """Let every read of the disk fail (EIO) from now on, or no longer."""
        self._panel["fail"] = int(fail)

    def stall_s(self, seconds: float) -> None:
        """Hold the next read of the disk, and so all behind it, for so long."""
        self._panel["stall_ns"] = round(seconds * 1e9)

    @property
    def served(self) -> int:
        """Requests answered with data so far."""
        return self._panel["served"]

    @property
    def served_bytes(self) -> int:
        """Bytes of data so far."""
        return self._panel["served_bytes"]

    @property
    def busy_s(self) -> float:
        """Time for which the arm was busy so far, by the model, stalls not included; seconds."""
        return self._panel["busy_ns"] / 1e9

    def counters(self) -> dict[str, int]:
        """Everything that is counted (``Panel.NAMES``): also reads that failed, the longest queue, odd requests."""
        return {name: self._panel[name] for name in disk_daemon.Panel.NAMES}


def image(fileset: Fileset) -> Path:
    """Return the ext4 image that holds a fileset, made first if it is not there; two processes may do so at once.

    The same files lie in the same places wherever it is made: mkfs.ext4 takes them in the order of their names.
    """
    made = paths.BUILD / "disks"
    made.mkdir(parents=True, exist_ok=True)
    finished = made / f"{fileset.name}-{zlib.crc32(fileset.manifest.read_bytes()):08x}.ext4"
    with (made / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            fresh = made / f".{fileset.name}"
            _make_image(fileset.root, fresh)
            fresh.rename(finished)
    return finished


def _make_image(root: Path, target: Path) -> None:
    entries = list(root.rglob("*"))
    blocks = sum(-(-entry.stat().st_size // _BLOCK_BYTES) if entry.is_file() else 2 for entry in entries)
    inodes = len(entries) + _SPARE_INODES
    size = blocks * _BLOCK_BYTES + inodes * _INODE_BYTES + _SPARE_BYTES
    size = -(-size * 51 // 50 // _BLOCK_BYTES) * _BLOCK_BYTES  # for maps of blocks, and for long extent trees
    with target.open("wb") as file:
        file.truncate(size)
    lazy = "lazy_itable_init=0,lazy_journal_init=0,nodiscard"
    try:
        subprocess.run(
            [
                *(_mkfs() or "mkfs.ext4", "-q", "-F", "-O", _FEATURES, "-m", "0", "-U", _IDENTIFIER),
                *("-E", f"{lazy},root_owner=0:0,hash_seed={_IDENTIFIER}"),
                *("-b", str(_BLOCK_BYTES), "-I", str(_INODE_BYTES), "-N", str(inodes), "-d", str(root)),
                str(target),
            ],
            check=True,
            capture_output=True,
            text=True,
            timeout=_MKFS_PATIENCE_S,
            env=os.environ | {"E2FSPROGS_FAKE_TIME": _MADE_AT, "MKE2FS_CONFIG": os.devnull},
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        raise DiskUnavailable(
            f"mkfs.ext4 made no image of the files: {said.strip().splitlines()[-1]}"
        ) from error


def absent() -> str | None:
    """Why there can be no disk of 2004 here and what to do about it, in one line; ``None`` if there can be one."""
    if os.geteuid() != 0:
        return "the disk of 2004 mounts a file system: run as root"
    if _mkfs() is None:
        return "the disk of 2004 needs mkfs.ext4: as root: make system (or: apt-get install e2fsprogs)"
    for device, remedy in (
        ("/dev/fuse", "modprobe fuse (docker: --device /dev/fuse)"),
        ("/dev/loop-control", "modprobe loop (docker: --privileged)"),
    ):
        try:
            os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            return f"the disk of 2004 needs {device} ({error.strerror}): {remedy}"
    for kind in ("fuse", "ext4"):
        try:
            os.close(disk_daemon.file_system(kind))
        except OSError as error:
            return (
                f"the disk of 2004 must mount {kind} ({error.strerror}): a kernel that has it, 5.8 or newer, and "
                "CAP_SYS_ADMIN (docker: --privileged)"
            )
    return None


def _mkfs() -> str | None:
    """Where mkfs.ext4 is; the folders of root's programs are not on everybody's PATH."""
    return shutil.which("mkfs.ext4", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
