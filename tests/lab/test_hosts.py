"""The two hosts: addresses, steering, routes of the raw client, processes and what is known of them."""

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest

from retrospective.lab import holder, hosts
from retrospective.lab.hosts import CHARGES, CLIENT, SERVER, Lab, LabError, LabUnavailable, LoopbackLab
from retrospective.lab.kernel_counters import named_pairs, softnet

pytestmark = pytest.mark.usefixtures("can_lab")

ANSWERING = """
import socket
listener = socket.create_server(("", 8080), family=socket.AF_INET)
while True:
    connection, peer = listener.accept()
    connection.sendall(peer[0].encode())
    connection.close()
"""


def connect(lab, source=None, patience_s=10):
    deadline = time.monotonic() + patience_s
    while True:
        client = lab.socket(CLIENT)
        client.settimeout(5)
        if source:
            client.bind((source, 0))
        try:
            client.connect((lab.server_address, 8080))
        except ConnectionRefusedError:
            client.close()
            assert time.monotonic() < deadline
            time.sleep(0.01)
            continue
        return client


def test_the_client_s_many_addresses_reach_the_server():
    with Lab() as lab:
        lab.spawn(SERVER, [sys.executable, "-I", "-S", "-c", ANSWERING])
        for source in (None, holder.SOURCES[0], holder.SOURCES[-1]):
            with connect(lab, source) as client:
                assert client.recv(100).decode() == (source or lab.client_address)


@pytest.mark.parametrize("charge", CHARGES)
def test_steering_is_read_back(charge):
    with Lab(charge) as lab:
        assert lab.steered_as_promised()
        if None not in lab.steering.values():
            expected = {SERVER: "1", CLIENT: "2"} if charge == "receiver" else {SERVER: "0", CLIENT: "0"}
            assert lab.steering == expected


def softirqs(lab):
    """Packets that each CPU's receive softirq has taken from its backlog (softnet_stat, first column)."""
    return {cpu: row[0] for cpu, row in softnet(lab.read(SERVER, "/proc/net/softnet_stat")).items()}


@pytest.mark.parametrize("charge", CHARGES)
def test_the_charged_cpu_takes_the_packets(charge):
    """Datagrams to a port where nobody is: all they cost is the journey up the receiver's stack."""
    with Lab(charge) as lab:
        before_affinity = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {lab.client_cpu})
        try:
            with (
                lab.socket(SERVER, socket.SOCK_DGRAM) as sink,
                lab.socket(CLIENT, socket.SOCK_DGRAM) as sender,
            ):
                sink.bind((lab.server_address, 9))
                sender.connect((lab.server_address, 9))
                before = softirqs(lab)
                for _ in range(20_000):
                    sender.send(b"x")
                time.sleep(0.05)
                after = softirqs(lab)
        finally:
            os.sched_setaffinity(0, before_affinity)
    taken = {cpu: after[cpu] - before[cpu] for cpu in after}
    # Steered packets are counted where they are sent from, too: the device's receive comes before the
    # hand-over.
    assert (taken[lab.server_cpu] > 15_000) == (charge == "receiver"), taken


def test_no_kernel_answers_for_the_raw_client_s_addresses():
    """The server's answer comes by, for nobody: AF_PACKET sees it, the client's kernel sends no reset."""
    with Lab() as lab:
        lab.spawn(SERVER, [sys.executable, "-I", "-S", "-c", ANSWERING])
        with connect(lab) as ready:
            ready.recv(100)
        before = resets(lab)
        _, (file,) = lab.request(
            "socket", side=CLIENT, family=socket.AF_PACKET, kind=socket.SOCK_RAW, protocol=socket.htons(3)
        )
        with socket.socket(fileno=file) as wire:
            wire.bind((lab.interface, 3))
            wire.send(syn("10.129.0.5", lab.server_address, 8080))
            deadline = time.monotonic() + 5
            answer = b""
            while answer[47:48] != b"\x12" and time.monotonic() < deadline:
                assert select.select([wire], [], [], 5)[0], "the server's SYN-ACK was not seen"
                answer, (_, _, packet_type, _, _) = wire.recvfrom(2000)
            assert packet_type == socket.PACKET_OTHERHOST
            assert socket.inet_ntoa(answer[30:34]) == "10.129.0.5"
        assert resets(lab) == before


def resets(lab):
    """Resets that the client's kernel has sent."""
    return named_pairs(lab.read(CLIENT, "/proc/net/snmp"))["OutRsts"]


def syn(source, destination, port):
    """One Ethernet frame with a SYN, checksums right."""

    def checksum(data):
        total = sum(struct.unpack(f"!{len(data) // 2}H", data))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        return struct.pack("!H", ~total & 0xFFFF)

    ends = socket.inet_aton(source) + socket.inet_aton(destination)
    tcp = struct.pack("!HHIIBBHHH", 4000, port, 1, 0, 5 << 4, 2, 65535, 0, 0)
    tcp = tcp[:16] + checksum(ends + struct.pack("!BBH", 0, 6, len(tcp)) + tcp) + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, 1, 0, 64, 6, 0) + ends
    ip = ip[:10] + checksum(ip) + ip[12:]
    return (
        holder.netlink.mac_bytes(holder.MAC[SERVER] + holder.MAC[CLIENT].replace(":", ""))
        + b"\x08\0"
        + ip
        + tcp
    )


def test_networks_are_apart_and_without_ipv6():
    with Lab() as lab, Lab("sender") as other:
        for one in (lab, other):
            assert one.read(SERVER, "/proc/net/dev").count("lab0:") == 1
            assert one.read(CLIENT, "/proc/sys/net/ipv4/tcp_syncookies").strip() == "0"
            with pytest.raises(LabError):
                one.read(SERVER, "/proc/net/no-such-file")
        with open("/proc/net/dev") as devices:
            assert "lab0" not in devices.read()
        seen = lab.read(SERVER, "/proc/net/if_inet6") if os.path.exists("/proc/net/if_inet6") else ""
        assert "lab0" not in seen


@pytest.mark.parametrize("offloads", [True, False])
def test_offloads_as_asked(offloads):
    get_tso = 0x1E  # ETHTOOL_GTSO, linux/ethtool.h
    with Lab(offloads=offloads) as lab, lab.socket(SERVER, socket.SOCK_DGRAM) as any_socket:
        value = ctypes.create_string_buffer(struct.pack("=II", get_tso, 7))
        request = struct.pack("16sP", b"lab0", ctypes.addressof(value)).ljust(40, b"\0")
        fcntl.ioctl(any_socket, 0x8946, request)
        assert struct.unpack("=II", value.raw[:8])[1] == offloads


@pytest.mark.parametrize("kind", [Lab, LoopbackLab])
def test_a_process_and_what_is_known_of_it(kind):
    with kind() as lab:
        spinning = lab.spawn(SERVER, ["sh", "-c", "while :; do :; done"], cpu=lab.client_cpu)
        assert spinning.alive()
        with open(f"/proc/{spinning.pid}/comm") as comm:
            assert comm.read().strip() in {"sh", "dash", "python", "python3"}
        time.sleep(0.2)
        assert 0 < spinning.cpu_s() < 0.5
        assert os.sched_getaffinity(spinning.pid) == {lab.client_cpu}
        assert spinning.wait(0) is None
        spinning.send_signal(signal.SIGTERM)
        usage = spinning.wait(10)
        assert usage.code == -signal.SIGTERM
        assert usage.cpu_s == spinning.cpu_s() > 0
        assert not spinning.alive()
        spinning.send_signal(signal.SIGTERM)  # nothing left to signal
        assert lab.spawn(CLIENT, ["sh", "-c", "exit 7"]).wait(10).code == 7


@pytest.mark.parametrize("kind", [Lab, LoopbackLab])
def test_a_process_s_descendants_in_the_order_of_birth(kind, eventually):
    """Three generations; the grandchild is born before the second child, yet a generation later."""
    words = ["sh", "-c", "sh -c 'sleep 60 & exec sleep 61' & sleep 0.1; sleep 62 & wait"]
    with kind() as lab:
        parent = lab.spawn(SERVER, words, cpu=lab.client_cpu)

        def command(pid):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline") as words:
                return words.read().replace("\0", " ").strip()

        born = ["sleep 61", "sleep 62", "sleep 60"]
        eventually(lambda: [command(pid) for pid in parent.family()[1:]] == born)
        assert parent.family()[0] == parent.pid
        other = lab.spawn(SERVER, ["sleep", "60"], cpu=lab.client_cpu)
        assert other.family() == (other.pid,)


def test_a_closed_lab_says_so():
    with Lab() as lab:
        pass
    with pytest.raises(LabError, match="closed"):
        lab.spawn(SERVER, ["true"])


def test_a_lab_whose_holder_was_killed_says_so():
    with Lab() as lab:
        subprocess.run(["kill", "-9", str(lab._holder.pid)], check=True)
        lab._holder.wait()
        time.sleep(0.1)  # its inner process dies a moment later
        with pytest.raises(LabError, match="holder"):
            lab.read(SERVER, "/proc/net/dev")


def test_no_such_charge():
    with pytest.raises(ValueError, match="receiver, sender"):
        Lab("nobody")


def test_where_namespaces_are_refused_one_line_says_how_to_allow_them(monkeypatch):
    monkeypatch.setattr(
        hosts.Hosts, "__enter__", lambda self: (_ for _ in ()).throw(LabError("Operation not permitted"))
    )
    monkeypatch.setattr(holder, "read", lambda path: "1" if "apparmor" in path else "10000")
    with pytest.raises(LabUnavailable) as raised:
        Lab().__enter__()
    assert str(raised.value).endswith("sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0")
    assert "\n" not in str(raised.value)
