"""Stacks on the switch, and the kernel behind its uplink: every byte compared, whoever dies meanwhile."""

import hashlib
import random
import signal
import socket
import subprocess
import threading
from contextlib import contextmanager

import pytest

import servers
from retrospective.lab.holder import CLIENT, SERVER
from retrospective.lab.hosts import Lab

pytestmark = pytest.mark.usefixtures("can_lab")

ADDRESSES = "10.0.0.98", "10.0.0.99"
ECHO, DISCARD, CHARGEN = 7, 9, 19
PATIENCE_S = 120


class Program:
    """A process on the client's host that says ``ready``, and what it has printed in the end: name -> value."""

    def __init__(self, lab, folder, eventually, name, *options):
        self.output = folder / f"{name}-{random.getrandbits(32):x}.out"
        with self.output.open("wb") as file:
            words = [servers.binary(name, "asan"), *options]
            self.process = lab.spawn(CLIENT, words, stdout=file, stderr=file)
        eventually(lambda: self.output.read_text().startswith("ready") or not self.process.alive())
        assert self.process.alive(), self.output.read_text()

    def end(self):
        if self.process.alive():
            self.process.send_signal(15)
        usage = self.process.wait(PATIENCE_S)
        assert usage is not None, "it does not end"
        assert usage.code == 0, self.output.read_text()
        words = (line.split() for line in self.output.read_text().splitlines()[1:])
        return {name: int(value) for name, value in words}


@contextmanager
def switched(tmp_path, eventually, *options, uplink=True):
    """A lab with a switch on the client's side, and a function that starts a stack on it."""
    place = tmp_path / "switch"
    with Lab(offloads=False) as lab:
        words = ["--uplink", lab.interface] if uplink else []
        switch = Program(lab, tmp_path, eventually, "stackswitch", "--socket", place, *words, *options)

        def stack(address, *more):
            attach = ("--attach", f"switch:{place}", "--address", f"{address}/24", "--min-rto-us", 20000)
            return Program(lab, tmp_path, eventually, "stackhost", *attach, *more)

        yield lab, switch, stack


def echoed(lab, address, data):
    """Send it, to be sent back; what has come."""
    got = hashlib.sha256()
    size = 0
    with lab.socket(SERVER) as peer:
        peer.settimeout(PATIENCE_S)
        peer.connect((address, ECHO))
        writer = threading.Thread(target=lambda: (peer.sendall(data), peer.shutdown(socket.SHUT_WR)))
        writer.start()
        while part := peer.recv(65536):
            got.update(part)
            size += len(part)
        writer.join(PATIENCE_S)
    return size, got.hexdigest()


def expected(data):
    return len(data), hashlib.sha256(data).hexdigest()


def pattern(size):
    period = bytes(i * 31 % 251 for i in range(251))
    return (period * (size // 251 + 1))[:size]


def test_what_the_switch_is_too_late_for_is_counted(tmp_path, eventually):
    frames = 5000  # more than the kernel keeps for it
    with switched(tmp_path, eventually) as (lab, switch, stack):
        host = stack(ADDRESSES[0])
        with lab.socket(SERVER, socket.SOCK_DGRAM) as peer:
            assert echoed(lab, ADDRESSES[0], b"before") == expected(b"before")
            switch.process.send_signal(signal.SIGSTOP)
            for _ in range(frames):
                peer.sendto(b"x" * 1400, (ADDRESSES[0], DISCARD))
            switch.process.send_signal(signal.SIGCONT)
        assert echoed(lab, ADDRESSES[0], b"after it") == expected(b"after it")
        host.end()
        ledger = switch.end()
    missed = ledger["port.uplink0.drop_missed"]
    assert 500 < missed < frames - 4000
    assert ledger["port.uplink0.frames_in"] >= 4000


def test_the_kernel_opens_and_the_ledger_agrees(tmp_path, eventually):
    data = random.Random(1).randbytes(3_000_000)
    with switched(tmp_path, eventually) as (lab, switch, stack):
        host = stack(ADDRESSES[0])
        assert echoed(lab, ADDRESSES[0], data) == expected(data)
        counters, ledger = host.end(), switch.end()
    port = f"port.{ADDRESSES[0]}"
    assert ledger[f"{port}.frames_in"] == counters["frames_sent"]
    assert ledger[f"{port}.bytes_in"] == counters["bytes_sent"] > len(data)
    # What comes when the stack has ended lies unread in its ring.
    assert 0 <= ledger[f"{port}.frames_out"] - counters["frames_received"] < 100
    assert ledger["port.uplink0.bytes_out"] == counters["bytes_sent"]
    assert ledger[f"{port}.cpu_ns"] > 0
    assert ledger["switch.cpu_ns"] > 0
    assert "tcp_checksum" not in counters


def test_stacks_open(tmp_path, eventually):
    """To the kernel, through the uplink; and to one another."""
    size = 2_000_000
    with switched(tmp_path, eventually) as (lab, switch, stack), lab.socket(SERVER) as listener:
        listener.bind((lab.server_address, 5001))
        listener.listen()
        listener.settimeout(PATIENCE_S)
        listening = stack(ADDRESSES[0])
        caller = stack(ADDRESSES[1], "--connect", f"{lab.server_address}:5001", "--bytes", size)
        peer, (address, _) = listener.accept()
        with peer:
            peer.settimeout(PATIENCE_S)
            got = b"".join(iter(lambda: peer.recv(65536), b""))
        assert address == ADDRESSES[1]
        assert got == pattern(size)
        caller.end()
        call = ("--connect", f"{ADDRESSES[0]}:{DISCARD}", "--bytes", size)
        stack(ADDRESSES[1], *call).process.wait(PATIENCE_S)
        listening.end()
        ledger = switch.end()
    assert ledger[f"port.{ADDRESSES[0]}.bytes_out"] > size
    assert ledger["port.uplink0.bytes_out"] < 1.5 * size, "what is for a stack leaves by no uplink"


def test_impaired_ways_lose_nothing(tmp_path, eventually):
    data = random.Random(2).randbytes(500_000)
    ways = [
        f"from=uplink0,to={ADDRESSES[0]},loss=0.01,delay-us=500,jitter-us=200,duplicate=0.02,corrupt=0.01",
        f"from={ADDRESSES[0]},to=uplink0,loss=0.01,reorder=0.02,reorder-us=300,rate-bps=400000000,queue=64",
    ]
    options = [word for way in ways for word in ("--impair", way)]
    with switched(tmp_path, eventually, *options, "--seed", 3) as (lab, switch, stack):
        host = stack(ADDRESSES[0])
        for _ in range(2):
            assert echoed(lab, ADDRESSES[0], data) == expected(data)
        counters, ledger = host.end(), switch.end()
    there, back = f"impair.0.uplink0>{ADDRESSES[0]}", f"impair.1.{ADDRESSES[0]}>uplink0"
    for name in (f"{there}.drop_loss", f"{there}.corrupted", f"{there}.duplicated", f"{there}.delayed"):
        assert ledger[name] > 0, (name, ledger)
    assert ledger[f"{back}.drop_loss"] > 0
    assert ledger[f"{back}.reordered"] > 0
    assert ledger["port.uplink0.drop_loss"] == ledger[f"{there}.drop_loss"]
    found = sum(counters.get(f"drop_{cause}", 0) for cause in ("ip_checksum", "tcp_checksum"))
    # A bit of the IP header's version, length or total length is noticed before the checksum is computed.
    assert 0 < found <= ledger[f"{there}.corrupted"]


def test_a_stack_that_is_killed_takes_nobody_with_it(tmp_path, eventually):
    data = random.Random(3).randbytes(2_000_000)
    with switched(tmp_path, eventually) as (lab, switch, stack):
        stack(ADDRESSES[0])
        results = []
        transfer = threading.Thread(target=lambda: results.append(echoed(lab, ADDRESSES[0], data)))
        transfer.start()
        for _ in range(3):
            other = stack(ADDRESSES[1])
            with lab.socket(SERVER) as peer:
                peer.settimeout(PATIENCE_S)
                peer.connect((ADDRESSES[1], CHARGEN))  # it is busy, then
                assert peer.recv(65536)
                other.process.kill()
        transfer.join(PATIENCE_S)
        assert results == [expected(data)]
        again = stack(ADDRESSES[1])  # its address is free
        assert echoed(lab, ADDRESSES[1], data[:100_000]) == expected(data[:100_000])
        again.end()
        ledger = switch.end()
    assert ledger[f"port.{ADDRESSES[1]}.frames_in"] > 0


def test_live_counters(tmp_path, eventually):
    file = tmp_path / "counters"
    with switched(tmp_path, eventually, "--counters", file, uplink=False) as (_, switch, stack):
        stack(ADDRESSES[0])
        call = ("--connect", f"{ADDRESSES[0]}:{DISCARD}", "--bytes", 100_000)
        stack(ADDRESSES[1], *call).process.wait(PATIENCE_S)
        blocks = servers.Counters.decode_workers(file.read_bytes())
        ledger = switch.end()
    ports = {block["ip"] & 255: block for block in blocks if block["ip"]}
    assert set(ports) == {98, 99}
    assert ports[99]["bytes_in"] == ledger[f"port.{ADDRESSES[1]}.bytes_in"] > 100_000


@pytest.mark.parametrize(
    ("program", "options", "says"),
    [
        ("stackswitch", [], "--socket is needed"),
        ("stackswitch", ["--socket", "x", "--ring", "100"], "power of 2"),
        ("stackswitch", ["--socket", "x", "--impair", "loss=2"], "0 to 1"),
        ("stackswitch", ["--socket", "x", "--impair"], "needs a value"),
        ("stackswitch", ["--socket", "x", "--ports", "0"], "--ports"),
        ("stackhost", ["--address", "10.0.0.2"], "--attach and --address are needed"),
        (
            "stackhost",
            ["--address", "10.0.0.2", "--attach", "wire:x"],
            "packet:INTERFACE or switch:SOCKET is needed",
        ),
        (
            "stackhost",
            ["--address", "10.0.0.2", "--attach", "switch:"],
            "packet:INTERFACE or switch:SOCKET is needed",
        ),
    ],
)
def test_bad_options_are_told(tmp_path, program, options, says):
    words = [servers.binary(program, "asan"), *options]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
