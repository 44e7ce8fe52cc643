"""The shared object that packetdrill loads, without packetdrill: its table of functions, called as packetdrill does."""

import ctypes
import errno
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest

import servers
from retrospective import conformance, paths
from tests.servers.conftest import checksum, parse_tcp

FUNCTIONS = (
    "free",
    "socket",
    "bind",
    "listen",
    "accept",
    "connect",
    "read",
    "readv",
    "recv",
    "recvfrom",
    "recvmsg",
    "write",
    "writev",
    "send",
    "sendto",
    "sendmsg",
    "fcntl",
    "ioctl",
    "close",
    "shutdown",
    "getsockopt",
    "setsockopt",
    "poll",
    "netdev_send",
    "netdev_receive",
    "usleep",
    "gettimeofday",
    "epoll_create",
    "epoll_ctl",
    "epoll_wait",
    "pipe",
    "splice",
)
OURS, PEER = 0xC0A80009, 0xC0000201
SIOCINQ, TCP_INFO = 0x541B, 11


class Table(ctypes.Structure):
    _fields_ = [("world", ctypes.c_void_p), *((name, ctypes.c_void_p) for name in FUNCTIONS)]


class World:
    """One stack in virtual time."""

    def __init__(self):
        self.table = Table()
        module = ctypes.CDLL(str(servers.binary("packetdrill-userstack")))
        module.packetdrill_interface_init(None, ctypes.byref(self.table))

    def call(self, name, *arguments):
        types = [
            ctypes.c_void_p,
            *(ctypes.c_long if isinstance(a, int) else ctypes.c_void_p for a in arguments),
        ]
        function = ctypes.CFUNCTYPE(ctypes.c_ssize_t, *types, use_errno=True)(getattr(self.table, name))
        result = function(self.table.world, *arguments)
        # Functions of type int leave the upper half of the register as it is.
        result = ctypes.c_int(result & 0xFFFFFFFF).value
        return -ctypes.get_errno() if result == -1 else result

    def now_us(self):
        time_of_day = (ctypes.c_long * 2)()
        self.call("gettimeofday", time_of_day, None)
        return time_of_day[0] * 1000000 + time_of_day[1]

    def inject(self, flags, seq, ack, data=b"", window=50000, options=b""):
        head = struct.pack(
            "!HHIIBBHHH", 5000, 8080, seq, ack % 2**32, (20 + len(options)) // 4 << 4, flags, window, 0, 0
        )
        message = head + options + data
        pseudo = struct.pack("!IIBBH", PEER, OURS, 0, 6, len(message))
        message = message[:16] + struct.pack("!H", checksum(pseudo + message)) + message[18:]
        ip = struct.pack("!BBHHHBBHII", 0x45, 0, 20 + len(message), 0, 0, 64, 6, 0, PEER, OURS)
        packet = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + message
        assert self.call("netdev_send", packet, len(packet)) == 0

    def sent(self):
        buffer, size, at = ctypes.create_string_buffer(4096), ctypes.c_size_t(4096), ctypes.c_longlong()
        assert self.call("netdev_receive", buffer, ctypes.byref(size), ctypes.byref(at)) == 0
        return parse_tcp(at.value / 1000, buffer.raw[: size.value]) if size.value else None


@pytest.fixture
def world():
    one = World()
    yield one
    one.call("free")


def listening(world):
    fd = world.call("socket", socket.AF_INET, socket.SOCK_STREAM, 0)
    assert fd > 2, "a number that no other file has"
    address = struct.pack("=HHI8x", socket.AF_INET, socket.htons(8080), socket.htonl(OURS))
    assert world.call("bind", fd, address, len(address)) == 0
    assert world.call("listen", fd, 5) == 0
    return fd


def handshake(world):
    world.inject(2, 100, 0, options=bytes([2, 4, 3, 232]))
    answer = world.sent()
    assert (answer.flags, answer.ack, answer.mss) == ("SA", 101, 1460)
    world.inject(16, 101, answer.seq + 1)
    return answer.seq + 1


def test_a_connection_from_handshake_to_close(world):
    listener = listening(world)
    first = handshake(world)
    fd = world.call("accept", listener, None, None)
    assert fd > 2
    assert world.call("setsockopt", fd, socket.IPPROTO_TCP, socket.TCP_NODELAY, struct.pack("i", 1), 4) == 0
    assert world.call("write", fd, b"w" * 2500, 2500) == 2500
    data = [world.sent() for _ in range(3)]
    assert [len(s.data) for s in data] == [1000, 1000, 500]
    assert [s.flags for s in data] == ["A", "PA", "PA"], "as a sender with segmentation offload"
    world.inject(24, 101, first + 2500, b"reply")
    assert world.sent().ack == 106
    unread = ctypes.c_int(-1)
    assert world.call("ioctl", fd, SIOCINQ, ctypes.byref(unread)) == 0
    assert unread.value == 5
    buffer = ctypes.create_string_buffer(100)
    assert world.call("read", fd, buffer, 100) == 5
    assert buffer.value == b"reply"
    assert world.call("close", fd) == 0
    assert world.sent().flags == "FA"
    assert world.call("close", fd) == -errno.EBADF


def test_a_call_that_blocks_ends_when_its_packet_comes_in_virtual_time(world):
    listener = listening(world)
    ended = []

    def accept():
        fd = world.call("accept", listener, None, None)
        ended.append((fd, world.now_us()))

    begin, thread = world.now_us(), threading.Thread(target=accept)
    thread.start()
    real = time.monotonic()
    time.sleep(0.05)  # until it sleeps; were it later, it would find the connection ready
    world.call("usleep", 60_000_000)
    handshake(world)
    thread.join(10)
    assert not thread.is_alive()
    ((fd, at),) = ended
    assert fd > 2
    assert 60_000_000 <= at - begin < 60_010_000
    assert time.monotonic() - real < 20, "a minute that nobody waits for"


def test_a_call_that_nothing_can_end_gives_up(world):
    listener = listening(world)
    assert world.call("accept", listener, None, None) == -errno.EAGAIN


def test_retransmission_at_its_time(world):
    listener = listening(world)
    handshake(world)
    fd = world.call("accept", listener, None, None)
    world.call("write", fd, b"lost", 4)
    first, again = world.sent(), world.sent()
    assert (first.data, again.data) == (b"lost", b"lost")
    assert again.at_ms - first.at_ms == pytest.approx(200, abs=5)


def test_impossible_arguments(world):
    listener = listening(world)
    handshake(world)
    fd = world.call("accept", listener, None, None)
    assert world.call("write", fd, None, 10) == -errno.EFAULT
    assert world.call("read", fd, None, 10) == -errno.EFAULT
    assert (
        world.call("socket", socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_UDP) == -errno.EPROTONOSUPPORT
    )
    assert (
        world.call("setsockopt", fd, socket.IPPROTO_TCP, 9999, struct.pack("i", 1), 4) == -errno.ENOPROTOOPT
    )
    assert world.call("epoll_create", 1) == -errno.ENOSYS


def test_tcp_info(world):
    listener = listening(world)
    handshake(world)
    fd = world.call("accept", listener, None, None)
    world.call("write", fd, b"i" * 3000, 3000)
    info, size = ctypes.create_string_buffer(300), ctypes.c_uint32(300)
    assert world.call("getsockopt", fd, socket.IPPROTO_TCP, TCP_INFO, info, ctypes.byref(size)) == 0
    state, loss = info.raw[0], info.raw[1]
    mss, unacked = struct.unpack_from("=I", info.raw, 16)[0], struct.unpack_from("=I", info.raw, 24)[0]
    cwnd = struct.unpack_from("=I", info.raw, 80)[0]
    assert (state, loss, mss, unacked, cwnd) == (1, 0, 1000, 3, 10)


def test_the_command_says_what_is_missing():
    done = subprocess.run(
        [sys.executable, "-m", "retrospective", "conformance"],
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "where are packetdrill's scripts" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_is_missing_has_a_line_each(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ValueError, match="has no gtests/net/"):
        conformance.find(str(tmp_path))
    for script in conformance.scripts():
        if script.eligible:
            (tmp_path / script.path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / script.path).touch()
    with pytest.raises(ValueError, match="packetdrill is not on PATH, nor made"):
        conformance.find(str(tmp_path))
    fake_packetdrill(tmp_path, "true")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(conformance, "_environment", lambda: {"PATH": str(tmp_path)})
    with pytest.raises(ValueError, match=r"unshare is missing.*apt-get install util-linux"):
        conformance.find(str(tmp_path))


def fake_packetdrill(folder, body):
    program = folder / "packetdrill"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return program


@pytest.mark.usefixtures("can_lab")
def test_failures_are_counted_and_want_an_explanation(tmp_path, monkeypatch):
    """With a packetdrill that refuses one script of two."""
    for name in ("good", "bad"):
        (tmp_path / f"{name}.pkt").touch()
    listed = [conformance.Script(f"{name}.pkt", True, "") for name in ("good", "bad")]
    fake_packetdrill(
        tmp_path,
        'case "$*" in *bad.pkt) echo "bad.pkt:7: error handling packet: tcp_psh" >&2; exit 1;; esac',
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(conformance, "scripts", lambda: listed)
    try:
        conformance.find(str(tmp_path))
    except ValueError as error:
        pytest.skip(str(error))
    outcomes = conformance.run(str(tmp_path))
    assert [o.word("ours") for o in outcomes] == [o.word("kernel") for o in outcomes] == ["passes", "fails"]
    assert outcomes[1].said["ours"].startswith("line 7: error handling packet")
    total = conformance.summary(outcomes)
    assert (total["passed"], total["holds"], total["unexplained"]) == (
        {"ours": 1, "kernel": 1},
        False,
        ["bad.pkt"],
    )


def test_the_list_is_sound():
    every = conformance.scripts()
    assert len({s.path for s in every}) == len(every) >= 162
    assert all(bool(s.reason) != s.eligible for s in every)
    assert sum(s.eligible for s in every) >= 31
    eligible = {s.name for s in every if s.eligible}
    assert all(
        script in eligible and stack in conformance.STACKS for script, stack in conformance.explanations()
    )


def test_what_was_recorded_is_of_the_list_and_holds():
    rows = conformance.recorded()
    assert {r["script"] for r in rows} == {s.name for s in conformance.scripts() if s.eligible}
    passed = {stack: sum(r[stack] == "passes" for r in rows) for stack in conformance.STACKS}
    assert passed["ours"] >= conformance.BOUND * len(rows)
    assert passed["ours"] >= passed["kernel"]
    for row in rows:
        for stack in conformance.STACKS:
            explained = bool(row[f"{stack}_explanation"])
            assert explained == (row[stack] == "fails"), f"{row['script']} ({stack})"


def test_json_is_of_a_fixed_form():
    outcome = conformance.Outcome("x", {"ours": True}, {}, {})
    assert set(json.loads(json.dumps(conformance.as_json([outcome])))) == {
        "eligible",
        "excluded",
        "passed",
        "run",
        "bound",
        "unexplained",
        "kernel",
        "holds",
        "scripts",
    }
