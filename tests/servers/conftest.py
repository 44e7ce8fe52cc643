"""A user-level stack that a test talks to packet by packet, in virtual time (servers/tests/stackscript.c)."""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import subprocess
from collections.abc import Iterator

import pytest

import servers

STACK_MAC, PEER_MAC, EVERYBODY = bytes([2, 0, 0, 0, 0, 1]), bytes([2, 0, 0, 0, 0, 2]), b"\xff" * 6
STACK_IP, PEER_IP = 0x0A000001, 0x0A000002
FLAGS = "FSRPAU"


def checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(
    protocol: int,
    payload: bytes,
    *,
    source: int = PEER_IP,
    more: bool = False,
    offset: int = 0,
    number: int = 0,
):
    """A frame from the peer; ``offset`` in bytes makes it a fragment."""
    fragment = offset // 8 | (0x2000 if more else 0)
    head = struct.pack(
        "!BBHHHBBHII", 0x45, 0, 20 + len(payload), number, fragment, 64, protocol, 0, source, STACK_IP
    )
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return STACK_MAC + PEER_MAC + b"\x08\x00" + head + payload


def with_pseudo_checksum(protocol: int, message: bytes, at: int, source: int = PEER_IP) -> bytes:
    pseudo = struct.pack("!IIBBH", source, STACK_IP, 0, protocol, len(message))
    return message[:at] + struct.pack("!H", checksum(pseudo + message)) + message[at + 2 :]


def icmp(kind: int, code: int, rest: bytes, body: bytes) -> bytes:
    message = struct.pack("!BBH", kind, code, 0) + rest + body
    return message[:2] + struct.pack("!H", checksum(message)) + message[4:]


@dataclasses.dataclass
class Segment:
    """A TCP segment that the stack sent."""

    at_ms: float
    flags: str
    seq: int
    ack: int
    window: int
    data: bytes
    source_port: int
    port: int
    mss: int | None = None
    scale: int | None = None
    timestamps: tuple[int, int] | None = None
    sack_permitted: bool = False
    sack: tuple[tuple[int, int], ...] = ()
    ip: bytes = b""


def parse_tcp(at_ms: float, packet: bytes) -> Segment:
    """Every segment is checked: lengths, both checksums, options."""
    header = (packet[0] & 15) * 4
    assert checksum(packet[:header]) == 0
    assert struct.unpack("!H", packet[2:4])[0] == len(packet)
    tcp = packet[header:]
    pseudo = packet[12:20] + struct.pack("!BBH", 0, 6, len(tcp))
    assert checksum(pseudo + tcp) == 0
    source_port, port, seq, ack, offset, flags, window = struct.unpack("!HHIIBBH", tcp[:16])
    end = offset >> 4 << 2
    s = Segment(
        at_ms,
        "".join(f for i, f in enumerate(FLAGS) if flags >> i & 1),
        seq,
        ack,
        window,
        tcp[end:],
        source_port,
        port,
        ip=packet,
    )
    options = tcp[20:end]
    while options and options[0]:
        if options[0] == 1:
            options = options[1:]
            continue
        kind, length = options[0], options[1]
        value = options[2:length]
        if kind == 2:
            s.mss = struct.unpack("!H", value)[0]
        elif kind == 3:
            s.scale = value[0]
        elif kind == 4:
            s.sack_permitted = True
        elif kind == 5:
            s.sack = tuple(struct.iter_unpack("!II", value))
        elif kind == 8:
            s.timestamps = struct.unpack("!II", value)
        options = options[length:]
    return s


class Script:
    """The stack's process: commands, frames in, frames out."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [servers.test_program("stackscript")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.sent: list[tuple[float, bytes]] = []
        self.ms = 0.0

    def words(self, *command: object) -> list[str]:
        """Run a command; the words of its answer."""
        self._process.stdin.write(" ".join(map(str, command)) + "\n")
        self._process.stdin.flush()
        while True:
            line = self._process.stdout.readline()
            assert line, f"the stack died at {command}"
            kind, *words = line.split()
            if kind == "frame":
                self.sent.append((int(words[0]) / 1000, bytes.fromhex(words[1])))
                continue
            assert kind == "=", line
            return words

    def do(self, *command: object) -> int:
        return int(self.words(*command)[0])

    def open(self, *, known: bool = True, **limits: object) -> Script:
        """Start anew; with ``known`` the peer's address is known to the stack."""
        self.words("open", *(f"{name}={value}" for name, value in limits.items()))
        self.ms = 0.0
        self.sent.clear()
        if known:
            self.arp(1, PEER_IP, STACK_IP)
            self.sent.clear()
        return self

    def frame(self, frame: bytes) -> list[tuple[float, bytes]]:
        self.do("in", frame.hex())
        return self.take()

    def arp(
        self, operation: int, sender: int, target: int, mac: bytes = PEER_MAC
    ) -> list[tuple[float, bytes]]:
        body = struct.pack("!HHBBH6sI6sI", 1, 0x800, 6, 4, operation, mac, sender, bytes(6), target)
        return self.frame(EVERYBODY + mac + b"\x08\x06" + body)

    def take(self) -> list[tuple[float, bytes]]:
        taken, self.sent = self.sent, []
        return taken

    def segments(self) -> list[Segment]:
        """TCP segments sent since the last look; what is said in ARP meanwhile is left out."""
        return [parse_tcp(at, frame[14:]) for at, frame in self.take() if frame[12:14] == b"\x08\x00"]

    def at(self, ms: float) -> list[Segment]:
        """Let time go on until then."""
        self.ms = ms
        self.do("at", round(ms * 1000))
        return self.segments()

    def later(self, ms: float) -> list[Segment]:
        return self.at(self.ms + ms)

    def counter(self, name: str) -> int:
        value = self.do("counter", name)
        assert value < 2**63, f"no counter {name}"
        return value

    def drops(self, cause: str) -> int:
        return self.counter(f"drop_{cause}")

    def tcp(
        self,
        flags: str,
        seq: int = 0,
        ack: int = 0,
        data: bytes = b"",
        *,
        port: int = 80,
        source_port: int = 5000,
        window: int = 65535,
        options: bytes = b"",
        source: int = PEER_IP,
    ) -> list[Segment]:
        """The peer sends a segment; what the stack answers at once."""
        options += b"\0" * (-len(options) % 4)
        bits = sum(1 << FLAGS.index(f) for f in flags)
        head = struct.pack(
            "!HHIIBBHHH",
            source_port,
            port,
            seq % 2**32,
            ack % 2**32,
            (20 + len(options)) // 4 << 4,
            bits,
            window,
            0,
            0,
        )
        message = with_pseudo_checksum(6, head + options + data, 16, source)
        self.do("in", ipv4(6, message, source=source).hex())
        return self.segments()

    def read(self, socket: int, size: int = 100000) -> bytes | int:
        """What is read, or the negative error."""
        number, *data = self.words("read", socket, size)
        return bytes.fromhex(data[0]) if int(number) > 0 else int(number)

    def write(self, socket: int, data: bytes, *more: str) -> list[Segment]:
        assert self.do("write", socket, data.hex(), *more) == len(data)
        return self.segments()

    def accepted(self, **options: object) -> Peer:
        peer = Peer(self, **options)
        peer.open_passive()
        return peer

    def close(self) -> None:
        self._process.stdin.close()
        assert self._process.wait(10) == 0, "the sanitizers found something: see above"


class Peer:
    """The other end of a connection, which knows what would be right to send."""

    def __init__(
        self,
        script: Script,
        *,
        source_port: int = 5000,
        port: int = 80,
        mss: int | None = 1000,
        scale: int | None = None,
        timestamps: bool = False,
        sack: bool = False,
        window: int = 60000,
        seq: int = 7000,
        rtt_ms: float = 0,
    ) -> None:
        self.script, self.source_port, self.port = script, source_port, port
        self.mss, self.scale, self.timestamps, self.sack = mss, scale, timestamps, sack
        self.window, self.seq, self.ack, self.first = window, seq, 0, 0
        self.rtt_ms = rtt_ms
        self.echo = 0
        self.socket = -1
        self.answer: Segment | None = None

    def options(self, syn: bool, tsval: int | None, blocks: tuple[tuple[int, int], ...]) -> bytes:
        options = b""
        if syn:
            options += b"" if self.mss is None else struct.pack("!BBH", 2, 4, self.mss)
            options += b"" if self.scale is None else bytes([1, 3, 3, self.scale])
            options += bytes([1, 1, 4, 2]) if self.sack else b""
        if self.timestamps:
            value = 100000 + int(self.script.ms) if tsval is None else tsval
            options += bytes([1, 1]) + struct.pack("!BBII", 8, 10, value, self.echo)
        if blocks:
            options += bytes([1, 1, 5, 2 + 8 * len(blocks)])
            options += b"".join(struct.pack("!II", left % 2**32, right % 2**32) for left, right in blocks)
        return options

    def send(
        self,
        flags: str = "A",
        data: bytes = b"",
        *,
        seq: int | None = None,
        ack: int | None = None,
        window: int | None = None,
        tsval: int | None = None,
        sack: tuple[tuple[int, int], ...] = (),
    ) -> list[Segment]:
        """A segment, by default the right one; its number counts on only if it was not given."""
        answers = self.script.tcp(
            flags,
            self.seq if seq is None else seq,
            self.ack if ack is None else ack,
            data,
            port=self.port,
            source_port=self.source_port,
            window=self.window if window is None else window,
            options=self.options("S" in flags, tsval, sack),
        )
        if seq is None:
            self.seq = (self.seq + len(data) + ("S" in flags) + ("F" in flags)) % 2**32
        for s in answers:
            self.echo = s.timestamps[0] if s.timestamps else self.echo
        return answers

    def open_passive(self) -> None:
        """A listener must be there, or is made."""
        script = self.script
        listener = script.do("listen", self.port, 64)
        if listener < 0:
            listener = int(script.listeners[self.port])
        else:
            script.__dict__.setdefault("listeners", {})[self.port] = listener
        (self.answer,) = self.send("S")
        assert self.answer.flags == "SA"
        assert script.later(self.rtt_ms) == []
        self.ack = (self.answer.seq + 1) % 2**32
        self.first = self.ack
        assert self.send() == []
        self.socket = script.do("accept", listener)
        assert self.socket >= 0


@pytest.fixture
def script() -> Iterator[Script]:
    one = Script()
    yield one
    one.close()


@pytest.fixture
def load_user(switch):
    """Load from a stack of its own on the switch: what ``load-user`` reports of a server."""

    def run(server, manifest, *words):
        _, environment = switch.stack()
        address = f"{server.address[0]}:{server.address[1]}"
        always = ("--connect", address, "--files", manifest, "--warmup-s", 0.2)
        done = subprocess.run(
            [servers.binary("load-user"), *map(str, (*always, *words))],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run
