"""Two hosts, ``server`` and ``client``, joined by a wire on one machine, and the processes that run on them.

>>> with Lab(charge="receiver") as lab:
...     server = lab.spawn("server", [...], cpu=lab.server_cpu)
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from retrospective import paths
from retrospective.lab import holder
from retrospective.lab.holder import CLIENT, SERVER

#: Who pays for a packet's journey through the receiving stack: the CPU of the host that receives it (both
#: ends of the wire steered), or, as veth does by itself, the CPU that sent it.
CHARGES = ("receiver", "sender")

#: A holder that has not answered after this long never will.
_PATIENCE_S = 20.0


class LabUnavailable(RuntimeError):  # noqa: N818 (a state of the machine, said in one line)
    """No lab can be made on this machine; says how to allow it."""


class HasDescriptor(Protocol):
    """A file, memory or pipe that can be handed to a process."""

    def fileno(self) -> int:
        """Return the descriptor."""


@dataclass(frozen=True)
class Usage:
    """What an ended process used, from wait4(2)."""

    code: int  # exit code, negative for a signal
    cpu_s: float
    max_rss_bytes: int
    voluntary_switches: int
    involuntary_switches: int


class Process:
    """A process on a host of the lab. ``pid`` is the one that this interpreter sees."""

    def __init__(self, lab: Hosts, inner_pid: int, pidfd: int) -> None:
        self._lab = lab
        self._inner_pid = inner_pid
        self._pidfd = pidfd
        self._usage: Usage | None = None
        self.pid = _pid_behind(pidfd)

    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._usage is None and not self._ended(0.0)

    def _ended(self, timeout_s: float) -> bool:
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(max(0.0, timeout_s) * 1000))

    def wait(self, timeout_s: float | None = None) -> Usage | None:
        """Await its end and return what it used, or ``None`` at the time-out."""
        if self._usage is None:
            if not self._ended(1e6 if timeout_s is None else timeout_s):
                return None
            answer, _ = self._lab.request("wait", pid=self._inner_pid)
            usage = answer["rusage"]
            self._usage = Usage(answer["code"], usage[0] + usage[1], usage[2] * 1024, usage[14], usage[15])
            os.close(self._pidfd)
        return self._usage

    def send_signal(self, number: int) -> None:
        """Send a signal; nothing happens if it has ended."""
        if self._usage is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> Usage:
        """End it at once."""
        self.send_signal(signal.SIGKILL)
        usage = self.wait(_PATIENCE_S)
        if usage is None:
            raise LabError("a killed process does not end: is it stuck in the kernel?")
        return usage

    def cpu_s(self) -> float:
        """CPU time of all its threads so far; after its end, of the children it awaited too."""
        return cpu_s(self.pid) if self._usage is None else self._usage.cpu_s

    def family(self) -> tuple[int, ...]:
        """Process ids of itself and of its descendants that run now, each generation in the order of birth."""
        children: dict[int, list[tuple[int, int]]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_bytes().rpartition(b")")[2].split()  # proc(5): from the third field on
                pid, parent, born_ticks = int(stat.parent.name), int(fields[1]), int(fields[19])
                children.setdefault(parent, []).append((born_ticks, pid))
        pids = [self.pid]
        for pid in pids:  # grows
            pids += [child for _, child in sorted(children.get(pid, []))]
        return tuple(pids)


class LabError(RuntimeError):
    """The holder refused a request or is gone."""


class Hosts:
    """What both labs have in common: a holder process and requests to it."""

    #: Written in every row.
    charge: str
    server_address: str
    client_address: str
    sources: str  # range of client addresses, as the generators take it
    interface: str | None  # the wire's name on both hosts

    def __init__(self, settings: Mapping[str, Any], server_cpu: int, client_cpu: int) -> None:
        self.server_cpu = server_cpu
        self.client_cpu = client_cpu
        #: side -> CPU mask that the kernel says it steers received packets to; ``None`` where it cannot be
        #: read.
        self.steering: dict[str, str | None] = {}
        #: Folder on the hosts that vanishes with them, for peers' configuration and temporary files.
        self.scratch = ""
        self._settings = {"cpu": client_cpu, **settings}
        self._requests: socket.socket | None = None
        self._holder: subprocess.Popen[bytes] | None = None
        self._opened: dict[tuple[str, str], int] = {}

    def __enter__(self) -> Self:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(_PATIENCE_S)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        start = (
            "import sys; sys.path.append(sys.argv.pop(1)); from retrospective.lab.holder import main; main()"
        )
        with theirs:
            self._holder = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", "-c", start, str(paths.ROOT)),
                    *(str(theirs.fileno()), str(os.getpid()), json.dumps(self._settings)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self._requests = ours
        try:
            facts, _ = self._receive()
        except BaseException:
            self.close()
            raise
        self.steering, self.scratch = facts["steering"], facts["scratch"]
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything on the hosts, and the hosts."""
        for file in self._opened.values():
            os.close(file)
        self._opened.clear()
        if self._requests is not None:
            self._requests.close()
            self._requests = None
        if self._holder is not None:
            try:
                self._holder.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                self._holder.kill()
                self._holder.wait()
            self._holder = None

    def request(
        self, operation: str, send: Sequence[int] = (), **arguments: Any
    ) -> tuple[dict[str, Any], list[int]]:
        """Ask the holder; returns its answer and the descriptors it sent. Raises ``LabError``."""
        if self._requests is None:
            raise LabError("the lab is closed")
        message = json.dumps({"op": operation, **arguments}).encode()
        try:
            socket.send_fds(self._requests, [message], send)
        except OSError as error:
            raise LabError(f"the lab's holder is gone: {error}") from error
        return self._receive()

    def _receive(self) -> tuple[dict[str, Any], list[int]]:
        try:
            message, files, _, _ = socket.recv_fds(self._requests, 1 << 20, 8)
        except OSError as error:
            raise LabError(f"the lab's holder does not answer: {error}") from error
        for file in files:
            os.set_inheritable(file, False)
        if not message:
            raise LabError("the lab's holder ended")
        answer = json.loads(message)
        if "error" in answer:
            raise LabError(answer["error"])
        return answer, files

    def spawn(
        self,
        side: str,
        argv: Sequence[str],
        *,
        stdout: HasDescriptor | int | None = None,
        stderr: HasDescriptor | int | None = None,
        pass_files: Sequence[HasDescriptor | int] = (),
        cpu: int | None = None,
        env: Mapping[str, str] | None = None,
        cgroup: Path | None = None,
    ) -> Process:
        """Start a program on a host, pinned to ``cpu``; ``pass_files`` become its descriptors 3, 4 and on.

        It is in ``cgroup`` before it is that program, and so are its children. A program that cannot be started ends
        with code 127 and says why on its stderr.
        """
        with contextlib.ExitStack() as stack:
            null = stack.enter_context(open(os.devnull, "r+b", buffering=0))
            files = [null, stdout or null, stderr or null, *pass_files]
            if cgroup is not None:
                # By this descriptor it may join whatever it sees of the cgroups itself: the opener's right counts.
                files.append(stack.enter_context((cgroup / "cgroup.procs").open("wb", buffering=0)))
            answer, (pidfd,) = self.request(
                "spawn",
                [file if isinstance(file, int) else file.fileno() for file in files],
                side=side,
                argv=[str(word) for word in argv],
                cpu=cpu,
                env=dict(os.environ if env is None else env),
                grouped=cgroup is not None,
            )
        return Process(self, answer["pid"], pidfd)

    def file(self, side: str, path: str) -> int:
        """Descriptor of a file as a host sees it, opened once: ``/proc/net/…`` stays that of its network."""
        if (side, path) not in self._opened:
            _, (self._opened[side, path],) = self.request("open", side=side, path=path)
        return self._opened[side, path]

    def read(self, side: str, path: str) -> str:
        """Content of a small file as a host sees it, e.g. ``/proc/net/netstat``."""
        return whole(self.file(side, path)).decode()

    def socket(self, side: str, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """IPv4 socket on a host, to be used from here."""
        _, (file,) = self.request("socket", side=side, family=socket.AF_INET, kind=kind, protocol=0)
        return socket.socket(fileno=file)

    def write(self, name: str, text: str) -> str:
        """Write a file into ``scratch``; returns its path on the hosts."""
        self.request("write", path=name, text=text)
        return os.path.join(self.scratch, name)


class Lab(Hosts):
    """Two hosts with a network each and a wire between them, made of namespaces, without root.

    Parameters
    ----------
    charge
        ``receiver``: each end of the wire is steered to its host's CPU; ``sender``: no steering.
    server_cpu, client_cpu
        The hosts' CPUs. The holder, and the lab's own thread while it measures, share the client's.
    offloads
        Segmentation and receive offloads of the wire as veth has them, or off.
    checksums
        Whether the kernel may leave out checksums on the wire, as veth lets it, or computes them.
    behind
        ``None``: the client's kernel is at its end of the wire. Otherwise that end is left to a switch, and behind it
        are its ``ports``, or the client's ``kernel`` by a second wire, of which the switch has the end ``lab1``.
    sysctls
        Written on both hosts, by their paths below /proc/sys.
    """

    def __init__(
        self,
        charge: str = "receiver",
        server_cpu: int = 0,
        client_cpu: int = 1,
        *,
        offloads: bool = True,
        checksums: bool = True,
        behind: str | None = None,
        sysctls: Mapping[str, str] | None = None,
    ) -> None:
        if charge not in CHARGES:
            raise ValueError(f"no charge {charge!r}: there are {', '.join(CHARGES)}")
        if behind not in (None, *holder.BEHIND):
            raise ValueError(f"behind a switch there are {' or '.join(holder.BEHIND)}, not {behind!r}")
        cpus = os.sched_getaffinity(0)
        if not {server_cpu, client_cpu} <= _usable_cpus() or server_cpu == client_cpu:
            raise LabUnavailable(
                f"the lab needs CPUs {server_cpu} and {client_cpu}, one a host; usable here: {sorted(cpus)}"
            )
        self.charge = charge
        self.server_address = holder.ADDRESS[SERVER]
        self.client_address = holder.ADDRESS[CLIENT]
        self.sources = f"{holder.SOURCES[0]}-{holder.SOURCES[-1]}"
        self.interface = holder.INTERFACE
        #: What the kernel must say when asked where it steers to.
        self.promised = (
            {SERVER: f"{1 << server_cpu:x}", CLIENT: f"{1 << client_cpu:x}"}
            if charge == "receiver"
            else {SERVER: "0", CLIENT: "0"}
        )
        steering = self.promised if charge == "receiver" else None
        settings = {
            "namespaces": True,
            "steering": steering,
            "offloads": offloads,
            "checksums": checksums,
            "behind": behind,
            "sysctls": dict(sysctls or {}),
        }
        super().__init__(settings, server_cpu, client_cpu)

    def __enter__(self) -> Self:
        try:
            return super().__enter__()
        except LabError as error:
            raise LabUnavailable(f"no lab can be made here ({error}): {remedy()}") from error

    def steered_as_promised(self) -> bool:
        """Whether both ends steer as ``charge`` says; one that cannot be read was told so."""
        return all(self.steering[side] in (None, mask) for side, mask in self.promised.items())


class LoopbackLab(Hosts):
    """The same programs on this host's loopback, where no lab can be made; rows say ``loopback``."""

    def __init__(self, server_cpu: int = 0, client_cpu: int = 1) -> None:
        usable = sorted(_usable_cpus())
        if server_cpu not in usable:
            server_cpu = usable[0]
        if client_cpu not in usable or client_cpu == server_cpu:
            client_cpu = usable[-1]
        self.charge = "loopback"
        self.server_address = "127.0.0.1"
        self.client_address = "127.0.0.1"
        self.sources = "127.0.1.1-127.0.1.32"
        self.interface = None
        super().__init__({"namespaces": False}, server_cpu, client_cpu)

    def steered_as_promised(self) -> bool:
        """Nothing is promised."""
        return True


def cpu_s(pid: int) -> float:
    """CPU time of a process's threads so far, by the kernel's clock of it (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def whole(file: int) -> bytes:
    """Content of an open file from its begin. /proc gives tables out by the page, so one read is not enough."""
    content = b""
    while piece := os.pread(file, 1 << 20, len(content)):
        content += piece
    return content


def _usable_cpus() -> set[int]:
    """CPUs that a process of this cpuset can be pinned to, whatever this thread itself is pinned to."""
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
        return os.sched_getaffinity(0)
    except OSError:
        return before
    finally:
        os.sched_setaffinity(0, before)


def _pid_behind(pidfd: int) -> int:
    """Process id of a pidfd in this interpreter's pid namespace (fdinfo of proc(5))."""
    with open(f"/proc/self/fdinfo/{pidfd}") as info:
        for line in info:
            if line.startswith("Pid:"):
                return int(line.split()[1])
    raise LabError("the kernel does not say which process a pidfd is")


def remedy() -> str:
    """Return the one line that would let this machine make a lab."""
    for name, refusing, line in (
        ("user/max_user_namespaces", "0", "sudo sysctl user.max_user_namespaces=10000"),
        ("kernel/unprivileged_userns_clone", "0", "sudo sysctl kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ):
        with contextlib.suppress(OSError):
            if holder.read(f"/proc/sys/{name}") == refusing:
                return f"allow user namespaces with: {line}"
    return (
        "run it outside of the container or sandbox, or allow user and network namespaces in it "
        "(docker: --cap-add SYS_ADMIN --security-opt seccomp=unconfined --security-opt apparmor=unconfined)"
    )
