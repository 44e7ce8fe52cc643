"""The holder: a small process that makes two hosts, starts what runs there, and takes all with it.

Started by :mod:`retrospective.lab.hosts` as a fresh, single-threaded interpreter without site packages (what
enters namespaces must have one thread; a fork of a notebook has many). Nothing on the host is changed, and no
root is needed.

Lifetime. Everything started here lives in the holder's pid namespace and is killed by the kernel when the
namespace's first process ends, which it does when its request socket reaches end of file or the parent's
pidfd says that it is gone, SIGKILL included. PR_SET_PDEATHSIG would not do for the parent: it fires when the
*thread* that spawned ends. It does inside the holder. An own session keeps a notebook's interrupt away.

Without namespaces (``LoopbackLab``) the same process starts programs on the host itself, and they die by
PDEATHSIG.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import struct
import sys
import tempfile
import time

from retrospective.lab import netlink

CLIENT, SERVER = "client", "server"
SIDES = (SERVER, CLIENT)
INTERFACE = "lab0"
ADDRESS = {SERVER: "10.0.0.1", CLIENT: "10.0.0.2"}
MAC = {SERVER: "02:00:00:00:00:01", CLIENT: "02:00:00:00:00:02"}
SOURCES = tuple(f"10.0.1.{i}" for i in range(1, 33))
#: Connections of the raw client come from here. The client host owns none of these addresses, and the server
#: sends to them through a gateway whose hardware address no interface has: the client's kernel sees
#: PACKET_OTHERHOST and drops the packet before TCP could answer with a reset (ip_rcv_core,
#: net/ipv4/ip_input.c), but AF_PACKET has seen it.
RAW_NETWORK, RAW_PREFIX = "10.128.0.0", 9
RAW_GATEWAY, RAW_GATEWAY_MAC = "10.0.0.3", "02:00:00:00:00:03"
#: Of a user-level stack on the client's end of the wire, which answers for it; the client's kernel has no such address.
STACK_ADDRESS = "10.0.0.4/16"
#: What is behind a switch that has the client's end of the wire: ports of its own, or, by a second wire, the client's
#: kernel. The kernel would take packets at either wire's end if they had that end's hardware address, and answer ARP
#: at both for what it has at one; so the server is told the far end's address.
BEHIND = (PORTS, KERNEL) = "ports", "kernel"
UPLINK, FAR = "lab1", "lab2"
UPLINK_MAC, FAR_MAC = "02:00:00:00:00:11", "02:00:00:00:00:12"

_NEWNS, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_PR_SET_PDEATHSIG = 1
_SIOCETHTOOL, _SIOCGIFFLAGS, _IFF_RUNNING = 0x8946, 0x8913, 0x40
#: ethtool commands that switch offloads (linux/ethtool.h).
_OFFLOADS = {"tso": 0x1F, "gso": 0x24, "gro": 0x2C}
_CHECKSUMS = {"transmit": 0x17}

#: Written in both hosts. Cookies off: a full queue drops, as in 2004, and is counted. tcp_max_syn_backlog so
#: high that the listener's backlog alone decides (tcp_conn_request). No metrics: a connection must not depend
#: on those before it.
_SYSCTLS = {
    "net/core/somaxconn": "65535",
    "net/ipv4/tcp_syncookies": "0",
    "net/ipv4/tcp_max_syn_backlog": "1048576",
    "net/ipv4/tcp_no_metrics_save": "1",
    "net/ipv4/ip_local_port_range": "1024 65535",
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
}
#: Not every kernel has these, and no trial depends on them.
_OPTIONAL = (
    "net/ipv6/conf/all/disable_ipv6",
    "net/ipv6/conf/default/disable_ipv6",
    "net/ipv4/tcp_no_metrics_save",
)

_LIBC = ctypes.CDLL(None, use_errno=True)
_MESSAGE_BYTES = 1 << 20


def libc(name: str, *arguments: object) -> None:
    """Call a C function; ``OSError`` if it returns other than 0."""
    if getattr(_LIBC, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def write(path: str, value: str) -> None:
    """Write a file that exists: sysctls, id maps."""
    with open(path, "w") as file:
        file.write(value)


def read(path: str) -> str:
    """Content of a small file, without its line end."""
    with open(path) as file:
        return file.read().strip()


class Holder:
    """The process that the lab talks to: first in its pid namespace, or plain if there are no namespaces."""

    def __init__(self, settings: dict) -> None:
        self.settings = settings
        self.namespaces: dict[str, int] = {}
        self.scratch = ""
        self.pid = os.getpid()

    # ------------------------------------------------------------------------------------------ the two hosts

    def make_hosts(self) -> dict:
        """Make both network namespaces and the wire; return what the lab wants to know."""
        masks = self.settings["steering"]
        for side in SIDES:
            libc("unshare", _NEWNET)
            self.namespaces[side] = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            for name, value in _SYSCTLS.items():
                with (
                    contextlib.suppress(FileNotFoundError) if name in _OPTIONAL else contextlib.nullcontext()
                ):
                    write(f"/proc/sys/{name}", value)
            for name, value in self.settings.get("sysctls", {}).items():
                write(f"/proc/sys/{name}", value)
            if masks:  # a device takes the mask it finds when it is made (rx_queue_default_mask, net-sysfs.c)
                write("/proc/sys/net/core/rps_default_mask", masks[side])
        # The current namespace is the last one made: the client's.
        behind = self.settings.get("behind")
        netlink.request([netlink.veth(INTERFACE, MAC[CLIENT], MAC[SERVER], self.namespaces[SERVER])])
        if behind == KERNEL:
            netlink.request([netlink.veth(UPLINK, UPLINK_MAC, FAR_MAC, self.namespaces[CLIENT], FAR, 13)])
        steering = {}
        for side in (CLIENT, SERVER):
            self.enter(side)
            for interface, addresses, neighbours in self.ends(side, behind):
                self.make_end(interface, addresses, neighbours)
            if side == SERVER:
                netlink.request([netlink.route(INTERFACE, RAW_NETWORK, RAW_PREFIX, RAW_GATEWAY)])
            steering[side] = self.read_steering()
        for (
            side
        ) in SIDES:  # an end's queue is attached by a work item after its carrier is; packets before are lost
            self.enter(side)
            for interface, _, _ in self.ends(side, behind):
                await_running(interface)
        return {"steering": steering}

    def ends(
        self, side: str, behind: str | None
    ) -> list[tuple[str, list[tuple[str, int]], list[tuple[str, str]]]]:
        """A host's ends of wires: name, addresses with their prefixes, neighbours with their hardware addresses."""
        if side == SERVER:
            client = {None: [(ADDRESS[CLIENT], MAC[CLIENT])], KERNEL: [(ADDRESS[CLIENT], FAR_MAC)]}
            others = [(ip, MAC[CLIENT]) for ip in SOURCES] + [(RAW_GATEWAY, RAW_GATEWAY_MAC)]
            return [(INTERFACE, [(ADDRESS[SERVER], 16)], [*client.get(behind, []), *others])]
        own = [(ADDRESS[CLIENT], 16), *((ip, 32) for ip in SOURCES)]
        server = [(ADDRESS[SERVER], MAC[SERVER])]
        if behind is None:
            return [(INTERFACE, own, server)]
        switched = [(INTERFACE, [], [])]
        return switched if behind == PORTS else [*switched, (UPLINK, [], []), (FAR, own, server)]

    def make_end(
        self, interface: str, addresses: list[tuple[str, int]], neighbours: list[tuple[str, str]]
    ) -> None:
        """Give one end of a wire, in the current network, what it has."""
        if not self.settings["offloads"]:
            switch_offloads_off(interface)
        if not self.settings.get("checksums", True):
            switch_offloads_off(interface, _CHECKSUMS)
        netlink.request(
            [
                *[netlink.address(interface, ip, prefix) for ip, prefix in addresses],
                netlink.link_up("lo"),
                netlink.link_up(interface),
                *[netlink.neighbour(interface, ip, mac) for ip, mac in neighbours],
            ]
        )

    def read_steering(self) -> str | None:
        """CPU mask of this namespace's end of the wire, read back; ``None`` where no sysfs can be mounted."""
        try:
            libc("mount", b"none", b"/sys", b"sysfs", 0, None)
        except OSError:  # a container that shows only parts of /sys lets no fresh one be mounted
            return None
        try:
            return (
                read(f"/sys/class/net/{INTERFACE}/queues/rx-0/rps_cpus").replace(",", "").lstrip("0") or "0"
            )
        finally:
            libc("umount2", b"/sys", 2)

    def enter(self, side: str) -> None:
        """Make a host's network the current one; without namespaces there is only one."""
        if self.namespaces:
            libc("setns", self.namespaces[side], _NEWNET)

    # ------------------------------------------------------------------------------------------ requests

    def serve(self, requests: socket.socket, parent: int) -> None:
        """Answer requests until the parent is gone."""
        poll = select.poll()
        poll.register(requests, select.POLLIN)
        poll.register(parent, select.POLLIN)
        while True:
            for file, _ in poll.poll():
                if file == parent:
                    return
                message, files, _, _ = socket.recv_fds(requests, _MESSAGE_BYTES, 32)
                for received in files:
                    os.set_inheritable(received, False)
                if not message:
                    return
                try:
                    request = json.loads(message)
                    reply, send = getattr(self, f"on_{request.pop('op')}")(files=files, **request)
                except (OSError, ValueError, TypeError, AttributeError) as error:
                    reply, send = {"error": str(error), "errno": getattr(error, "errno", None)}, []
                socket.send_fds(requests, [json.dumps(reply).encode()], send)
                for used in (*files, *send):
                    os.close(used)

    def on_spawn(
        self,
        files: list[int],
        side: str,
        argv: list[str],
        cpu: int | None,
        env: dict[str, str],
        grouped: bool,
    ) -> tuple[dict, list[int]]:
        """Start a program on a host; ``files`` become its descriptors 0, 1, 2, 3…; its pidfd is returned.

        ``grouped``: the last of them is no descriptor of the program's, but the cgroup.procs that it is to join by.
        """
        passed, group = (files[:-1], files[-1]) if grouped else (files, None)
        pid = os.fork()
        if pid == 0:
            try:
                self.become(side, argv, cpu, env, passed, group)
            finally:
                os._exit(127)
        return {"pid": pid}, [os.pidfd_open(pid)]

    def become(
        self,
        side: str,
        argv: list[str],
        cpu: int | None,
        env: dict[str, str],
        files: list[int],
        group: int | None,
    ) -> None:
        """Turn this fresh child into the program."""
        try:
            libc("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != self.pid:
                return  # the holder ended before the line above
            self.enter(side)
            if cpu is not None:
                os.sched_setaffinity(0, {cpu})
            for ignored in (signal.SIGINT, signal.SIGPIPE):
                signal.signal(ignored, signal.SIG_DFL)
            # Received descriptors may have the very numbers they are to be given: move them away.
            high = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 100) for file in files]
            procs = None if group is None else fcntl.fcntl(group, fcntl.F_DUPFD_CLOEXEC, 100)
            for number, file in enumerate(high):
                os.dup2(file, number)
            if procs is not None:  # before it is the program: memory is charged to who touches it first
                os.write(procs, b"0")
            os.execvpe(argv[0], argv, env)
        except OSError as error:
            os.write(2, f"cannot start {argv[0]}: {error}\n".encode())

    def on_wait(self, files: list[int], pid: int) -> tuple[dict, list[int]]:
        """Return exit code and resource usage of a program; ``code`` is ``None`` if it has not ended."""
        del files
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if not ended:
            return {"code": None}, []
        return {"code": os.waitstatus_to_exitcode(status), "rusage": list(usage)}, []

    def on_open(self, files: list[int], side: str, path: str) -> tuple[dict, list[int]]:
        """Open a file as a host sees it: /proc/net files stay those of the namespace they were opened in."""
        del files
        self.enter(side)
        return {}, [os.open(path, os.O_RDONLY | os.O_CLOEXEC)]

    def on_socket(
        self, files: list[int], side: str, family: int, kind: int, protocol: int
    ) -> tuple[dict, list[int]]:
        """Make a socket on a host; it stays there wherever it is used."""
        del files
        self.enter(side)
        return {}, [socket.socket(family, kind, protocol).detach()]

    def on_write(self, files: list[int], path: str, text: str) -> tuple[dict, list[int]]:
        """Write a file into the scratch folder, which only the hosts see."""
        del files
        with open(os.path.join(self.scratch, os.path.basename(path)), "w") as file:
            file.write(text)
        return {}, []

    # ------------------------------------------------------------------------------------------ begin and end

    def make_scratch(self) -> None:
        """Make a folder for peers' configuration that vanishes with the holder."""
        if self.namespaces:
            libc("mount", b"none", b"/dev/shm", b"tmpfs", 0, b"size=16m,mode=0777")
            self.scratch = "/dev/shm"
        else:
            self.scratch = tempfile.mkdtemp(prefix="nai-")

    def run(self, requests: socket.socket, parent: int) -> None:
        """Prepare, report, serve, clean up."""
        try:
            facts = self.make_hosts() if self.settings["namespaces"] else {"steering": {}}
            self.make_scratch()
        except OSError as error:
            requests.send(json.dumps({"error": str(error), "errno": error.errno}).encode())
            return
        try:
            facts |= {"scratch": self.scratch, "threads": len(os.listdir("/proc/self/task"))}
            requests.send(json.dumps(facts).encode())
            self.serve(requests, parent)
        except (BrokenPipeError, ConnectionError):
            return
        finally:
            if not self.namespaces:
                shutil.rmtree(self.scratch, ignore_errors=True)


def switch_offloads_off(interface: str, commands: dict[str, int] = _OFFLOADS) -> None:
    """Switch offloads of an interface off (ethtool ioctl), by default of segmentation: a packet is a packet."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for command in commands.values():
            value = ctypes.create_string_buffer(struct.pack("=II", command, 0))
            argument = struct.pack("16sP", interface.encode(), ctypes.addressof(value))
            fcntl.ioctl(any_socket, _SIOCETHTOOL, argument.ljust(40, b"\0"))


def await_running(interface: str, patience_s: float = 5.0) -> None:
    """Wait until an interface of the current network namespace can carry packets (IFF_RUNNING)."""
    deadline = time.monotonic() + patience_s
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        while True:
            answer = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, struct.pack("16sH22x", interface.encode(), 0))
            if struct.unpack_from("H", answer, 16)[0] & _IFF_RUNNING:
                return
            if time.monotonic() > deadline:
                raise OSError(errno.ENETDOWN, f"{interface} has no carrier")
            time.sleep(0.0005)


def enter_user_namespace() -> None:
    """Become root of a new user namespace in which only this user exists."""
    uid, gid = os.geteuid(), os.getegid()
    libc("unshare", _NEWUSER)
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"0 {uid} 1")
    write("/proc/self/gid_map", f"0 {gid} 1")


def isolate() -> None:
    """Go on as the first process of new pid and mount namespaces; the caller waits outside."""
    if os.geteuid() != 0:
        enter_user_namespace()
    try:
        libc("unshare", _NEWPID | _NEWNS)
    except PermissionError:  # root without privilege, as in a container
        enter_user_namespace()
        libc("unshare", _NEWPID | _NEWNS)
    child = os.fork()
    if child:
        os.closerange(0, 1024)
        os.waitpid(child, 0)
        os._exit(0)
    libc("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
    with contextlib.suppress(OSError):  # refused where /proc is partly hidden; the one that is there does too
        libc("mount", b"proc", b"/proc", b"proc", 0, None)


def main() -> None:
    """Entry: descriptor of the request socket, parent's pid, settings (JSON)."""
    requests = socket.socket(fileno=int(sys.argv[1]))
    requests.set_inheritable(False)  # no program started here may keep the lab's end waiting
    settings = json.loads(sys.argv[3])
    try:
        parent = os.pidfd_open(int(sys.argv[2]))
    except ProcessLookupError:
        return
    if os.getppid() != int(sys.argv[2]):
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if settings.get("cpu") is not None:
        os.sched_setaffinity(0, {settings["cpu"]})
    if settings["namespaces"]:
        try:
            isolate()
        except OSError as error:
            requests.send(json.dumps({"error": str(error), "errno": error.errno}).encode())
            return
    Holder(settings).run(requests, parent)
    os._exit(0)


if __name__ == "__main__":
    main()
