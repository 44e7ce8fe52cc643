"""Two programs that talk TCP, each on the kernel's stack or on a user-level one, and what is between them.

The *near* end is what is measured, the *far* end its peer. Their addresses are the same in every topology:

- ``loopback``: both on one kernel, which hands packets to itself;
- ``veth``: two kernels and a wire, with the offloads that it has; ``veth (no offloads)``: a packet is a packet;
- ``switch``: the near end on a port of a switch (servers/userstack/switch), or, where it is the kernel, behind an
  uplink of it; the far end on another port, or behind the other uplink. No offloads, and checksums are computed.

The near end runs on one CPU, the far end and, unless the experiment says otherwise, the switch on the other.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import servers
from retrospective.lab import holder, kernel_counters
from retrospective.lab.hosts import CLIENT, SERVER, Lab, Process, Usage
from retrospective.lab.provenance import CPU_MAP
from retrospective.lab.session import UNAVAILABLE, Rejected

#: lwIP both ways: called by the program itself, as ours is, and in a thread of its own behind messages, as its
#: documentation has it for Debian's build.
KERNEL, OURS, LWIP, LWIP_THREAD = STACKS = ("kernel", "ours", "lwip", "lwip-thread")
#: What a program that is linked with a user-level stack has after its name.
SUFFIX = {KERNEL: "", OURS: "-user", LWIP: "-lwip", LWIP_THREAD: "-lwip-thread"}
LOOPBACK, VETH, VETH_PLAIN, SWITCH = PATHS = ("loopback", "veth", "veth (no offloads)", "switch")
NEAR, FAR = "near", "far"
ADDRESS = {NEAR: holder.ADDRESS[CLIENT], FAR: holder.ADDRESS[SERVER]}
PREFIX = 16
PORT = 5001

_START_S = 5.0  # for a program to say that it is ready
_END_S = 3.0  # for a program to end when it is told to
_LOG_LINES = 8
_LOOPBACK_ADDRESS = "127.0.0.1"

#: Of a ring between a stack and the switch: what the windows let be under way fits.
RING_FRAMES = 4096
#: How long the switch, and a stack on another CPU, look for a frame before they sleep: about what sleep and being woken
#: cost both.
SPIN_US = 50
#: Of packets that a kernel's connection may have given to its end of a wire, in memory (tcp_limit_output_bytes, which
#: was 1 MiB by default for long, and is 4 MiB in a recent Linux): without offloads that many are fewer than the other
#: end keeps (netdev_max_backlog, which only the machine's owner can change), and what a burst has too much waits
#: instead of being lost there.
QUEUED_BYTES = 1 << 20


def program(name: str, stack: str) -> str:
    """Name of a program on a stack: ``traffic-user``."""
    return name + SUFFIX[stack]


def congestion(stack: str, wanted: str) -> str:
    """Congestion control that a stack uses when it is asked for one: lwIP has Reno's alone."""
    return "reno" if stack in (LWIP, LWIP_THREAD) else wanted


def absent(name: str) -> str:
    """Why a program is not here, or nothing."""
    missing = servers.unavailable()
    if name in missing:
        return missing[name]
    return (
        ""
        if name in {*servers.designs(), *servers.stack_designs(), *servers.PROGRAMS}
        else f"there is no {name}"
    )


class Talker:
    """A program of a lab that says on its standard output when it is ready, and what it found."""

    def __init__(
        self,
        lab: Lab,
        name: str,
        side: str,
        argv: Sequence[str],
        *,
        cpu: int | None,
        env: Mapping[str, str] | None = None,
        pass_files: Sequence[Any] = (),
        counted: int | None = None,
    ) -> None:
        self.name = name
        self._said = b""
        self._counted = counted
        self._log = os.memfd_create("log", os.MFD_CLOEXEC)
        self._reader, writer = os.pipe2(os.O_CLOEXEC)
        try:
            self.process: Process = lab.spawn(
                side,
                argv,
                stdout=writer,
                stderr=self._log,
                pass_files=pass_files,
                cpu=cpu,
                env={**os.environ, **(env or {})},
            )
        finally:
            os.close(writer)

    def close(self) -> None:
        """End it if it runs, and give descriptors back."""
        if self.process.alive():
            with contextlib.suppress(OSError, RuntimeError):
                self.process.kill()
        for file in (self._reader, self._log):
            os.close(file)

    def line(self, timeout_s: float) -> str | None:
        """Next line that it says; ``None`` if none comes in time, or it has ended."""
        deadline = time.monotonic() + timeout_s
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        while b"\n" not in self._said:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return None
            piece = os.read(self._reader, 1 << 16)
            if not piece:
                return None
            self._said += piece
        line, _, self._said = self._said.partition(b"\n")
        return line.decode(errors="replace")

    def ready(self) -> None:
        """Wait until it says that it is; else ``Rejected``."""
        said = self.line(_START_S)
        if said is None:
            usage = self.process.wait(0.2)
            code = "nothing" if usage is None else f"code {usage.code}"
            last = (self.log().splitlines() or [""])[-1]
            # Exit status 3: the environment refuses what the program needs.
            status = UNAVAILABLE if usage is not None and usage.code == 3 else "failed"
            raise Rejected("not-ready", f"{self.name} began with {code}: {last}".rstrip(": "), status)

    def end(self) -> Usage:
        """Ask it to end and wait; ``Rejected`` if it has to be killed."""
        self.process.send_signal(signal.SIGTERM)
        usage = self.process.wait(_END_S)
        if usage is None:
            self.process.kill()
            raise Rejected("does-not-end", f"{self.name} when it was told to", "failed")
        return usage

    def rest(self) -> str:
        """What it has still said; to be read after its end."""
        while piece := os.read(self._reader, 1 << 16):
            self._said += piece
        said, self._said = self._said, b""
        return said.decode(errors="replace")

    def ledger(self) -> dict[str, int]:
        """What it said last, ``key value`` a line, or has written into memory for it; to be read after its end."""
        said = self.rest() if self._counted is None else os.pread(self._counted, 1 << 20, 0).decode()
        words = (line.split() for line in said.splitlines())
        return {pair[0]: int(pair[1]) for pair in words if len(pair) == 2 and pair[1].lstrip("-").isdigit()}

    def log(self) -> str:
        """Last lines of what it complained of."""
        text = os.pread(self._log, 4096, max(0, os.fstat(self._log).st_size - 4096)).decode(errors="replace")
        return "\n".join(text.splitlines()[-_LOG_LINES:])


@dataclass(frozen=True)
class Tuning:
    """What both stacks of a crossing are told.

    ``window_bytes``: how much a connection may have under way. The kernel is given more memory for it, since it counts
    what a packet takes, not what it carries: of full segments five eighths are window. It is given it from the
    beginning: how a receiver finds out what it needs would be compared instead of the senders, and Linux's finds out
    late if a burst lies there before the program reads (tcp_rcv_space_adjust()). Missing: what each has itself.
    """

    congestion: str = "cubic"
    window_bytes: int | None = None
    tick_us: int = 100
    min_rto_us: int = 200_000

    def sysctls(self) -> dict[str, str]:
        """For kernels."""
        if self.window_bytes is None:
            return {}
        memory = self.window_bytes * 8 // 5
        return {
            "net/ipv4/tcp_rmem": f"4096 {memory} {memory}",
            "net/ipv4/tcp_wmem": f"4096 65536 {memory}",
        }

    def words(self, stack: str, attach: str, address: str) -> str:
        """For a user-level stack: NAI_STACK."""
        words = [f"attach={attach}", f"address={address}/{PREFIX}"]
        if stack == OURS:
            words += [
                f"tick-us={self.tick_us}",
                f"min-rto-us={self.min_rto_us}",
                f"congestion={self.congestion}",
            ]
            if self.window_bytes is not None:
                words += [f"send-bytes={self.window_bytes}", f"receive-bytes={self.window_bytes}"]
        return ",".join(words)


class Crossing:
    """Two ends and the path between them, for programs to be started at; all ends with it."""

    def __init__(
        self,
        path: str,
        near: str,
        far: str,
        tuning: Tuning,
        *,
        impair: Mapping[str, float] | None = None,
        spin_us: int = SPIN_US,
        seed: int = 1,
        cpus: Mapping[str, int] | None = None,
    ) -> None:
        if path not in PATHS:
            raise ValueError(f"no path {path!r}: there are {', '.join(PATHS)}")
        if path != SWITCH and (near, far) != (KERNEL, KERNEL):
            raise ValueError(f"a user-level stack is on the switch, not on {path}")
        if far == KERNEL or near != KERNEL:
            self.path, self.stack = path, {NEAR: near, FAR: far}
        else:
            raise ValueError("where one end is the kernel's it is the far one")
        if impair and path != SWITCH:
            raise ValueError(f"nothing impairs {path}")
        self._tuning = tuning
        self._impair = dict(impair or {})
        self._spin_us = spin_us
        self._seed = seed
        self.cpus = {
            NEAR: CPU_MAP["server"],
            FAR: CPU_MAP["client"],
            SWITCH: CPU_MAP["client"],
            **(cpus or {}),
        }
        self._stack = contextlib.ExitStack()
        self._talkers: list[Talker] = []
        self.switch: Talker | None = None

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _open(self) -> None:
        switched = self.path == SWITCH
        behind = None
        if switched:
            behind = holder.KERNEL if self.stack[NEAR] == KERNEL else holder.PORTS
        plain = self.path in (VETH_PLAIN, SWITCH)
        sysctls = self._tuning.sysctls()
        if plain:
            sysctls |= {"net/ipv4/tcp_limit_output_bytes": str(QUEUED_BYTES)}
        # The lab's server is the far end's host: who receives pays there, and at the near end.
        self.lab: Lab = self._stack.enter_context(
            Lab(
                "receiver",
                self.cpus[FAR],
                self.cpus[NEAR],
                offloads=not plain,
                checksums=not plain,
                behind=behind,
                sysctls=sysctls,
            )
        )
        if switched:
            self._start_switch()

    def _start_switch(self) -> None:
        uplinks = [holder.INTERFACE] if self.stack[FAR] == KERNEL else []
        if self.stack[NEAR] == KERNEL:
            uplinks.append(holder.UPLINK)
        self._socket = os.path.join(self.lab.scratch, "switch")
        argv = [str(servers.binary("stackswitch")), "--socket", self._socket, "--ring", str(RING_FRAMES)]
        for uplink in uplinks:
            argv += ["--uplink", uplink]
        argv += ["--seed", str(self._seed)]
        # What is behind an uplink, or delayed, comes when the kernel or a timer says so.
        if not uplinks and not self._impair:
            argv += ["--spin-us", str(self._spin_us)]
        if self._impair:
            words = ",".join(f"{name}={value:.10g}" for name, value in self._impair.items())
            near = ADDRESS[NEAR] if self.stack[NEAR] != KERNEL else "uplink1"
            far = ADDRESS[FAR] if self.stack[FAR] != KERNEL else "uplink0"
            for begin, end in ((near, far), (far, near)):
                argv += ["--impair", f"from={begin},to={end},{words}"]
        self.switch = self._talker("stackswitch", CLIENT, argv, cpu=self.cpus[SWITCH])
        self.switch.ready()

    def _talker(self, name: str, side: str, argv: Sequence[str], **options: Any) -> Talker:
        talker = Talker(self.lab, name, side, argv, **options)
        self._stack.callback(talker.close)
        self._talkers.append(talker)
        return talker

    def side(self, end: str) -> str:
        """Host that an end's program runs on."""
        if self.path == LOOPBACK:
            return SERVER
        return SERVER if end == FAR and self.stack[FAR] == KERNEL else CLIENT

    def address(self, end: str) -> str:
        """IPv4 address of an end."""
        return _LOOPBACK_ADDRESS if self.path == LOOPBACK else ADDRESS[end]

    def memory(self, name: str) -> int:
        """Memory that a program can write to as to a file; gone with the crossing."""
        file = os.memfd_create(name, os.MFD_CLOEXEC)
        self._stack.callback(os.close, file)
        return file

    def counters(self) -> servers.Counters:
        """Memory for a design's counters; gone with the crossing."""
        counters = servers.Counters()
        self._stack.callback(counters.close)
        return counters

    def start(
        self,
        end: str,
        name: str,
        options: Mapping[str, Any],
        *,
        env: Mapping[str, str] | None = None,
        pass_files: Sequence[Any] = (),
    ) -> Talker:
        """Start a program at an end, on the stack that is there."""
        stack = self.stack[end]
        executable = program(name, stack)
        if why := absent(executable):
            raise Rejected("absent", why, UNAVAILABLE)
        told = dict(env or {})
        passed, counted = [*pass_files], None
        if stack != KERNEL:
            counted = self.memory("ledger")
            passed.append(counted)
            told["NAI_LEDGER"] = f"/proc/self/fd/{2 + len(passed)}"
            told["NAI_STACK"] = self._tuning.words(stack, f"switch:{self._socket}", self.address(end))
        argv = [str(servers.binary(executable)), *servers.arguments(options)]
        return self._talker(
            executable, self.side(end), argv, cpu=self.cpus[end], env=told, pass_files=passed, counted=counted
        )

    def kernel_counts(self, end: str) -> dict[str, int]:
        """What the kernel of an end has counted since the lab was made (/proc/net/netstat and snmp)."""
        counts: dict[str, int] = {}
        for name in ("netstat", "snmp"):
            counts |= kernel_counters.named_pairs(self.lab.read(self.side(end), f"/proc/net/{name}"))
        return counts

    def log(self) -> str:
        """Last lines of what the programs complained of."""
        return "\n".join(f"{one.name}: {line}" for one in self._talkers for line in one.log().splitlines())


__all__ = [
    "ADDRESS",
    "FAR",
    "KERNEL",
    "LOOPBACK",
    "LWIP",
    "LWIP_THREAD",
    "NEAR",
    "OURS",
    "PATHS",
    "PORT",
    "STACKS",
    "SWITCH",
    "VETH",
    "VETH_PLAIN",
    "Crossing",
    "Talker",
    "Tuning",
    "absent",
    "congestion",
    "program",
]
