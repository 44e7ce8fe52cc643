"""What this machine can do for the experiments, and how to get what it cannot. Every answer is a trial, not a guess."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import shutil
import socket
import struct
import subprocess
import tempfile
from collections.abc import Callable
from typing import Any

from retrospective import paths
from retrospective.lab import cgroups, disk_2004, pagecache
from retrospective.lab.disks import disk_of
from retrospective.lab.hosts import CLIENT, Lab, LabError, LabUnavailable
from retrospective.lab.peers import PEERS
from retrospective.lab.system_call import system_call

Capability = dict[str, Any]  # name, available, detail, remedy

_LIBC = ctypes.CDLL(None, use_errno=True)
_CACHESTAT, _IO_URING_SETUP = 451, 425
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
_PERF_TYPE_SOFTWARE, _PERF_COUNT_SW_DUMMY = 1, 9
_PERF_ATTRIBUTE_BYTES = 112
_EXCLUDE_KERNEL, _EXCLUDE_HV, _WATERMARK, _CONTEXT_SWITCH = 1 << 5, 1 << 6, 1 << 14, 1 << 26

_AT_HWCAP2, _HWCAP2_FSGSBASE = 26, 1 << 1
_IO_SETUP_AND_DESTROY = {"x86_64": (206, 207), "aarch64": (0, 1)}

_SYSTEM = "as root: make system"
#: Load generators that others wrote, to compare ours with.
CLIENTS = ("wrk", "httperf", "ab", "h2load", "curl")


def capabilities() -> list[Capability]:
    """Probe everything; each entry says what there is, or what to do."""
    return [
        _entry(
            "cpus",
            (os.cpu_count() or 1) >= 2,
            f"{os.cpu_count()} CPUs",
            "give the machine a second CPU: server and client need one each",
        ),
        *_lab(),
        _probe(
            "memory-cgroup",
            _memory_cgroup,
            "run as root, or delegate a memory cgroup (systemd-run --user --scope)",
        ),
        _disk_2004(),
        _probe("cachestat", _cachestat, "Linux 6.5 or newer; mincore(2) is used instead"),
        _probe(
            "io_uring", _io_uring, "sudo sysctl kernel.io_uring_disabled=0, and allow it in the container"
        ),
        _probe("perf-context-switch", _perf, "sudo sysctl kernel.perf_event_paranoid=2"),
        _probe("fsgsbase", _fsgsbase, "x86-64 with FSGSBASE and Linux 5.9 or newer"),
        _probe("rwf-nowait", _rwf_nowait, "put the build folder on ext4, xfs or btrfs: NAI_BUILD_DIR"),
        _probe("io-submit", _io_submit, "a kernel with CONFIG_AIO, and allow it in the container"),
        _entry(
            "drop-caches",
            pagecache.can_drop_caches(),
            "names and attributes can be made cold",
            "run as root; without, only files' data are made cold",
        ),
        _probe("liburing", functools.partial(_library, "liburing"), _SYSTEM),
        _probe("lwip", functools.partial(_library, "lwip"), _SYSTEM),
        _probe("compiler", _compiler, _SYSTEM),
        *[
            _entry(name, peer.path() is not None, f"{name} {peer.version()}", _SYSTEM)
            for name, peer in PEERS.items()
        ],
        *[_entry(name, shutil.which(name) is not None, "on PATH", _SYSTEM) for name in CLIENTS],
    ]


def _entry(name: str, available: bool, detail: str, remedy: str) -> Capability:
    return {
        "name": name,
        "available": available,
        "detail": detail if available else "",
        "remedy": "" if available else remedy,
    }


def _probe(name: str, probe: Callable[[], str], remedy: str) -> Capability:
    """Run a probe: it returns a detail, or raises ``OSError`` with the reason why not."""
    try:
        return _entry(name, True, probe(), remedy)
    except OSError as error:
        return _entry(name, False, "", f"{error.strerror or error}: {remedy}")


def _lab() -> list[Capability]:
    """Make a lab and look: namespaces and wire, steering of both ends, packet sockets."""
    names = ("namespaces", "steering", "packet-sockets")
    try:
        with Lab("receiver") as lab:
            steered = lab.steered_as_promised() and None not in lab.steering.values()
            try:
                _, (file,) = lab.request(
                    "socket", side=CLIENT, family=socket.AF_PACKET, kind=socket.SOCK_RAW, protocol=0
                )
                os.close(file)
                packets = True
            except LabError:
                packets = False
    except LabUnavailable as error:
        return [_entry(name, False, "", str(error)) for name in names]
    how = "as root" if os.geteuid() == 0 else "in a user namespace"
    return [
        _entry(names[0], True, f"two networks and a wire, {how}", ""),
        _entry(
            names[1],
            steered,
            f"receive CPUs {lab.steering}",
            "Linux 6.3 or newer with CONFIG_RPS, and a readable /sys",
        ),
        _entry(names[2], packets, "AF_PACKET on the client's host", "a kernel with CONFIG_PACKET"),
    ]


def _memory_cgroup() -> str:
    parent = cgroups.memory_parent()
    if parent is None:
        raise OSError(0, "no writable memory cgroup")
    return f"cgroup v{2 if cgroups.is_v2(parent) else 1}"


def _disk_2004() -> Capability:
    reason = disk_2004.absent()
    detail = "ext4 on a loop device over a FUSE file that a single arm serves"
    return _entry("disk-2004", reason is None, detail, reason or "")


def _cachestat() -> str:
    with tempfile.TemporaryFile() as file:
        file.write(b"x")
        file.flush()
        whole = ctypes.create_string_buffer(struct.pack("QQ", 0, 0))
        answer = ctypes.create_string_buffer(40)
        system_call(_CACHESTAT, file.fileno(), whole, answer, 0)
    return "page cache state by file"


def _io_uring() -> str:
    parameters = ctypes.create_string_buffer(120)
    os.close(system_call(_IO_URING_SETUP, 1, parameters))
    features = struct.unpack_from("I", parameters, 20)[0]
    return f"features {features:#x}"


def _perf() -> str:
    """Open the event whose records tell blocked from preempted without privilege."""
    flags = _EXCLUDE_KERNEL | _EXCLUDE_HV | _WATERMARK | _CONTEXT_SWITCH
    head = struct.pack(
        "IIQQQQQ", _PERF_TYPE_SOFTWARE, _PERF_ATTRIBUTE_BYTES, _PERF_COUNT_SW_DUMMY, 0, 0, 0, flags
    )
    attribute = ctypes.create_string_buffer(head.ljust(_PERF_ATTRIBUTE_BYTES, b"\0"))
    number = _PERF_EVENT_OPEN.get(platform.machine())
    if number is None:
        raise OSError(0, f"unknown system call number on {platform.machine()}")
    os.close(system_call(number, attribute, 0, -1, -1, 0))
    return "dummy event with context-switch records"


def _fsgsbase() -> str:
    """Whether programs may set the base of thread-local storage: the auxiliary vector says so (HWCAP2_FSGSBASE)."""
    if platform.machine() != "x86_64":
        raise OSError(0, f"another way of moving threads' storage is needed on {platform.machine()}")
    _LIBC.getauxval.restype = ctypes.c_ulong
    if not _LIBC.getauxval(ctypes.c_ulong(_AT_HWCAP2)) & _HWCAP2_FSGSBASE:
        raise OSError(0, "the kernel does not let programs set FS")
    return "loops can move between threads with their storage"


def _rwf_nowait() -> str:
    """Read what is in memory with preadv2(RWF_NOWAIT), from the file system that the probes' files lie on."""
    paths.BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=paths.BUILD) as file:
        file.write(b"x" * 4096)
        file.flush()
        buffer = bytearray(4096)
        got = os.preadv(file.fileno(), [buffer], 0, os.RWF_NOWAIT)
    return f"asked {disk_of(paths.BUILD)['file_system'] or 'the build folder'}, which answered {got} bytes"


def _io_submit() -> str:
    """Make and destroy a context of the kernel's own AIO."""
    numbers = _IO_SETUP_AND_DESTROY.get(platform.machine())
    if numbers is None:
        raise OSError(0, f"unknown system call number on {platform.machine()}")
    context = ctypes.c_ulong(0)
    system_call(numbers[0], 1, ctypes.byref(context))
    system_call(numbers[1], context)
    return "io_setup"


def _library(name: str) -> str:
    said = subprocess.run(["pkg-config", "--modversion", name], capture_output=True, text=True)
    if said.returncode:
        raise OSError(0, "not found by pkg-config")
    return f"{name} {said.stdout.strip()}"


def _compiler() -> str:
    name = os.environ.get("CC") or next((c for c in ("cc", "gcc", "clang") if shutil.which(c)), None)
    if name is None:
        raise OSError(0, "no C compiler")
    said = subprocess.run([*name.split(), "--version"], capture_output=True, text=True)
    return (said.stdout.splitlines() or [name])[0]
