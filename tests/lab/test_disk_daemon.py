"""The disk's own process without the kernel: a socket stands in for /dev/fuse, so no privilege is needed."""

import errno
import os
import random
import socket
import struct
import threading

import pytest

from retrospective.lab import disk_daemon, fuse

CONTENT = random.Random(2004).randbytes(1 << 20)


def read_message(offset, size, unique):
    body = struct.pack("=QQIIQII", 0, offset, size, 0, 0, 0, 0)
    return struct.pack("=IIQQIIIHH", 40 + len(body), fuse.READ, unique, fuse.FILE_NODE, *[0] * 5) + body


class Kernel:
    """Our end of what the disk takes for /dev/fuse, its panel, and the disk in a thread."""

    def __init__(self, path):
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(10)
        theirs.setblocking(False)
        self.maker, watched = os.pipe()[::-1]
        shared = os.memfd_create("panel")
        os.ftruncate(shared, disk_daemon.Panel.BYTES)
        self.panel = disk_daemon.Panel(shared)
        self.image = os.open(path, os.O_RDONLY)
        disk = disk_daemon.Disk(theirs.fileno(), self.image, self.panel, [watched])
        self.thread = threading.Thread(target=disk.run)
        self.thread.start()
        self.kept = theirs, watched, shared

    def answer(self):
        """Identifier, errno and data of the next answer."""
        message = self.socket.recv(1 << 20)
        length, error, unique = struct.unpack_from("=IiQ", message)
        assert length == len(message)
        return unique, -error, message[16:]

    def close(self):
        os.close(self.maker)
        self.thread.join(10)
        self.socket.close()
        theirs, *others = self.kept
        theirs.close()
        for file in (*others, self.image):
            os.close(file)
        return not self.thread.is_alive()


@pytest.fixture
def kernel(tmp_path):
    (tmp_path / "image").write_bytes(CONTENT)
    made = Kernel(tmp_path / "image")
    yield made
    assert made.close(), "it ends with its maker"


def test_every_read_is_answered_once_with_its_bytes(kernel):
    rng = random.Random(2004)
    places = {unique: rng.randrange(0, len(CONTENT) - 8192, 512) for unique in range(1, 41)}
    for unique, offset in places.items():
        kernel.socket.send(read_message(offset, 8192, unique))
    order = []
    for _ in places:
        unique, error, data = kernel.answer()
        assert (error, data) == (0, CONTENT[places[unique] : places[unique] + 8192])
        order.append(unique)
    assert sorted(order) == list(places)
    assert order != list(places), "in sweeps, not as they came"
    assert (kernel.panel["served"], kernel.panel["served_bytes"]) == (40, 40 * 8192)
    assert 40 * 0.3e6 < kernel.panel["busy_ns"] < 40 * 25e6
    assert kernel.panel["waiting_most"] > 1


def test_odd_messages_are_survived_and_counted(kernel):
    rng = random.Random(2004)
    for _ in range(200):
        kernel.socket.send(rng.randbytes(rng.randrange(1, 40)))
    kernel.socket.send(struct.pack("=IIQQIIIHH", 40, 99, 5, 1, *[0] * 5))
    kernel.socket.send(read_message(4096, 4096, 6))
    answers = []
    while not answers or answers[-1][0] != 6:
        answers.append(kernel.answer())
    assert {error for _, error, _ in answers[:-2]} == {errno.EINVAL}
    assert answers[-2:] == [(5, errno.ENOSYS, b""), (6, 0, CONTENT[4096:8192])]
    assert (kernel.panel["malformed"], kernel.panel["unknown"], kernel.panel["served"]) == (200, 1, 1)


def test_faults_are_switched_while_it_runs(kernel):
    kernel.panel["fail"] = 1
    kernel.socket.send(read_message(0, 512, 1))
    assert kernel.answer() == (1, errno.EIO, b"")
    kernel.panel["fail"] = 0
    kernel.panel["stall_ns"] = 10**7
    kernel.socket.send(read_message(0, 512, 2))
    assert kernel.answer() == (2, 0, CONTENT[:512])
    told = {name: kernel.panel[name] for name in ("served", "failed", "stalled", "stall_ns")}
    assert told == {"served": 1, "failed": 1, "stalled": 1, "stall_ns": 0}


def test_a_stalled_read_does_not_keep_it(kernel):
    kernel.panel["stall_ns"] = 3600 * 10**9
    kernel.socket.send(read_message(0, 512, 1))
    # The fixture ends it.


def test_it_ends_with_the_file_system(kernel):
    kernel.socket.close()
    kernel.thread.join(10)
    assert not kernel.thread.is_alive()
