"""The user-level stack on a wire of the lab, with the kernel as its peer: every byte compared, either opening."""

import hashlib
import random
import socket
import threading
from contextlib import contextmanager

import pytest

import servers
from retrospective.lab.holder import CLIENT, SERVER
from retrospective.lab.hosts import Lab

pytestmark = pytest.mark.usefixtures("can_lab")

ADDRESS = "10.0.0.99"
ECHO, DISCARD, CHARGEN = 7, 9, 19
PATIENCE_S = 120


class Host:
    """A process of ``stackhost`` and, once it has ended, its counters."""

    def __init__(self, process, output):
        self.process, self.output, self.counters = process, output, {}

    def end(self):
        if self.process.alive():
            self.process.send_signal(15)
        code = self.process.wait(PATIENCE_S).code
        words = (line.split() for line in self.output.read_text().splitlines()[1:])
        self.counters = {name: int(value) for name, value in words}
        return code


@contextmanager
def stackhost(lab, folder, eventually, *options):
    output = folder / "stackhost.out"
    with output.open("wb") as file:
        words = [
            servers.binary("stackhost", "asan"),
            "--attach",
            f"packet:{lab.interface}",
            "--address",
            ADDRESS,
            *options,
        ]
        host = Host(lab.spawn(CLIENT, words, stdout=file, stderr=file), output)
    eventually(lambda: output.read_text().startswith("ready"))
    try:
        yield host
    finally:
        if host.process.alive():
            host.process.kill()


def pattern(size):
    period = bytes(i * 31 % 251 for i in range(251))
    return (period * (size // 251 + 1))[:size]


@pytest.mark.parametrize("congestion", ["reno", "cubic"])
def test_the_kernel_opens(tmp_path, eventually, congestion):
    data = random.Random(2004).randbytes(4_000_000)
    with Lab(offloads=False) as lab, stackhost(lab, tmp_path, eventually, "--congestion", congestion) as host:
        with lab.socket(SERVER) as peer:
            peer.settimeout(PATIENCE_S)
            peer.connect((ADDRESS, ECHO))
            writer = threading.Thread(target=lambda: (peer.sendall(data), peer.shutdown(socket.SHUT_WR)))
            writer.start()
            echoed = hashlib.sha256()
            size = 0
            while part := peer.recv(65536):
                echoed.update(part)
                size += len(part)
            writer.join(PATIENCE_S)
        assert (size, echoed.digest()) == (len(data), hashlib.sha256(data).digest())
        with lab.socket(SERVER) as peer:
            peer.settimeout(PATIENCE_S)
            peer.connect((ADDRESS, CHARGEN))
            got = b"".join(peer.recv(65536) for _ in range(50))
            assert set(got) == {ord("c")}
        with lab.socket(SERVER) as peer:
            peer.settimeout(PATIENCE_S)
            with pytest.raises(ConnectionRefusedError):
                peer.connect((ADDRESS, 4))
        assert host.end() == 0
    assert host.counters["tcp_opened_passive"] == 2
    # What the kernel sends twice, to all, or after an end is dropped for other causes; nothing of it is wrong.
    wrong = ("ethernet_short", "ip_malformed", "ip_checksum", "tcp_malformed", "tcp_checksum", "tcp_paws",
             "tcp_no_timestamp", "tcp_ack", "tcp_memory")  # fmt: skip
    assert not [cause for cause in wrong if f"drop_{cause}" in host.counters], host.counters


def test_the_stack_opens(tmp_path, eventually):
    size = 3_000_000
    with Lab(offloads=False) as lab, lab.socket(SERVER) as listener:
        listener.bind((lab.server_address, 5001))
        listener.listen()
        listener.settimeout(PATIENCE_S)
        call = ("--connect", f"{lab.server_address}:5001", "--bytes", str(size))
        with stackhost(lab, tmp_path, eventually, *call) as host:
            peer, (address, _) = listener.accept()
            with peer:
                peer.settimeout(PATIENCE_S)
                got = b"".join(iter(lambda: peer.recv(65536), b""))
            assert host.process.wait(PATIENCE_S).code == 0, host.output.read_text()
    assert address == ADDRESS
    assert got == pattern(size)
