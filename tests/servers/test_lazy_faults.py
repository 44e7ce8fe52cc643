"""Disks that fail or stall, and files that change while they are sent, under every server of the lazy chapter.

What may come of it is an error reply, a slow one, or a body that ends early; never a wrong body or a dead server.
Errors and stalls are those of the disk of 2004, whose reads can be told to fail or to wait; nothing here depends on
its speed.
"""

import contextlib
import os
import select
import socket
import threading
import time
from pathlib import Path

import pytest

from retrospective.lab import disk_2004, filesets

#: What opens files without waiting for the disk, and what only reads so. io_submit waits for a read of the page cache.
OPEN_LAZILY = (
    "lazy",
    "NB-AMPED",
    "NB-LAIO (uring)",
    "NB-LAIO (nowait)",
    "NB-LAIO (begun)",
    "NB-pool",
    "LAIO-LAIO",
    "LAIO-LAIO (uring)",
)
READ_LAZILY = (*OPEN_LAZILY, "NB-POSIX-AIO")
SERVERS = (*READ_LAZILY, "NB-Linux-AIO", "NB-B", "NB-B (begun)")
#: For tests that take a second each: every way of not waiting once, and who waits.
CHOSEN = (
    "lazy",
    "NB-AMPED",
    "NB-LAIO (uring)",
    "NB-LAIO (nowait)",
    "NB-LAIO (begun)",
    "LAIO-LAIO",
    "NB-B",
)
#: A blocking thread for each connection, and blocking processes: both send from the file, behind the head.
BASELINES = {"kernel-threads": {"threads": 8}, "prefork": {"workers": 2, "sharing": "reuseport"}}

STALL_S = 0.8
CHUNK_BYTES = 65536
LARGE_BYTES = 1_000_000

needs_a_disk = pytest.mark.skipif(
    disk_2004.absent() is not None, reason=disk_2004.absent() or "there can be one"
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return filesets.specweb99_like(tmp_path_factory.mktemp("filesets"), directories=1)


@pytest.fixture(scope="module", autouse=True)
def _own_images(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk_2004.paths, "BUILD", tmp_path_factory.getbasetemp() / "build")
        yield


@pytest.fixture
def disk(files):
    """Of which nothing is in memory, names and inodes included: it has just been made."""
    with disk_2004.Disk2004(files) as made:
        yield made


def by_size(files):
    """Paths and bodies, the largest first."""
    ordered = sorted(files.files, key=lambda file: -file.bytes)
    return [(file.path, files.on_disk(file).read_bytes()) for file in ordered]


def request(path):
    return f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"


def to_its_end(connection):
    """Head and body of a reply, until the server closes."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.socket.recv(1 << 18):
            received += piece
    head, _, rest = received.partition(b"\r\n\r\n")
    return head, rest


def nothing_came(connection):
    """Whether no byte of a reply has come yet."""
    return not select.select([connection.socket], [], [], 0)[0]


def opened(server, path):
    """Number of the server's descriptors for a file."""
    found = 0
    for descriptor in Path(f"/proc/{server.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found += os.readlink(descriptor).endswith(path)
    return found


@needs_a_disk
@pytest.mark.parametrize("name", SERVERS)
def test_a_disk_that_fails_is_an_error_reply(serve, disk, files, client, name):
    (kept, kept_body), (new, new_body), *_ = by_size(files)
    server = serve(name, disk.folder)
    with client(server.address) as c:
        assert c.ask(kept).body == kept_body
    disk.evict()
    disk.fail_reads(True)
    for path in (kept, new):
        with client(server.address) as c:
            reply = c.ask(path)
            assert (reply.status, reply.body) == (500, b"500 Internal Server Error\n")
            assert c.ended()
    assert server.counters()["replies_5xx"] == 2
    disk.fail_reads(False)
    with client(server.address) as c:
        assert c.ask(new).body == new_body
        assert c.ask(kept).body == kept_body
    assert server.stop() == 0


@needs_a_disk
@pytest.mark.parametrize("name", SERVERS)
def test_a_body_that_the_disk_breaks_off_ends_early(serve, disk, files, client, name):
    path, body = by_size(files)[0]
    server = serve(name, disk.folder)
    with client(server.address) as c:
        assert c.ask(path).body == body
    disk.evict()
    with (disk.folder / path.lstrip("/")).open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)  # no more than is asked for
        file.read(2 * CHUNK_BYTES)
    disk.fail_reads(True)
    with client(server.address) as c:
        c.send(request(path))
        head, rest = to_its_end(c)
    assert head.startswith(b"HTTP/1.1 200")
    assert CHUNK_BYTES <= len(rest) < len(body)
    assert body.startswith(rest)
    counters = server.counters()
    assert (counters["vanished"], counters["replies_5xx"]) == (1, 0)
    disk.fail_reads(False)
    with client(server.address) as c:
        assert c.ask(path).body == body
    assert server.stop() == 0


@needs_a_disk
@pytest.mark.parametrize("name", BASELINES)
def test_a_disk_that_fails_ends_a_baseline_s_reply_early(serve, disk, files, client, name):
    (path, body), *_ = by_size(files)
    server = serve(name, disk.folder, file_cache_bytes=0, **BASELINES[name])
    with client(server.address) as c:
        assert c.ask(path).body == body
    disk.evict()
    disk.fail_reads(True)
    with client(server.address) as c:
        c.send(request(path))
        head, rest = to_its_end(c)
    assert head.startswith(b"HTTP/1.1 200")
    assert len(rest) < len(body)  # some pages of the first reply may not have gone yet
    assert body.startswith(rest)
    disk.fail_reads(False)
    with client(server.address) as c:
        assert c.ask(path).body == body
    assert server.stop() == 0


@needs_a_disk
@pytest.mark.parametrize("what", ["reads", "opens"])
@pytest.mark.parametrize("name", [*CHOSEN, "NB-POSIX-AIO", "kernel-threads"])
def test_others_are_served_while_the_disk_stalls(serve, disk, files, client, name, what):
    (cold, cold_body), *_, (cached, cached_body) = by_size(files)
    threads = name == "kernel-threads"
    held = name not in (OPEN_LAZILY if what == "opens" else READ_LAZILY) and not threads
    server = serve(name, disk.folder, **({"threads": 8, "file_cache_bytes": 0} if threads else {}))
    with client(server.address, 20) as waiting, client(server.address, 20) as other:
        if what == "reads":
            assert waiting.ask(cold).body == cold_body
            disk.evict()
            assert other.ask(cached).body == cached_body
        disk.stall_s(STALL_S)
        waiting.send(request(cold))
        time.sleep(0.1)
        for _ in range(10):
            if what == "reads":
                assert other.ask(cached).body == cached_body
            else:  # of the disk nothing is known yet, not even names
                assert other.ask("/../").status == 400
        overtaken = nothing_came(waiting)
        reply = waiting.reply()
        assert (reply.status, reply.body) == (200, cold_body)
        assert overtaken or held
        assert other.ask(cached).body == cached_body
    if held:
        assert server.counters()["turn_max_us"] > 0.5e6 * STALL_S
    assert server.stop() == 0


@needs_a_disk
@pytest.mark.parametrize("name", [*CHOSEN, "kernel-threads"])
def test_sigterm_while_the_disk_stalls(serve, disk, files, client, eventually, name):
    path, body = by_size(files)[-1]
    server = serve(name, disk.folder)
    with client(server.address, 20) as c:
        disk.stall_s(STALL_S + 0.5)  # longer than replies in progress are given
        c.send(request(path))
        eventually(lambda: server.counters()["bytes_received"] > 0)
        stopped = threading.Thread(target=server.stop)
        stopped.start()
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := c.socket.recv(1 << 18):
                received += piece
        stopped.join()
    assert server.stop() == 0
    assert received == b"" or received.endswith(b"\r\n\r\n" + body), received


@needs_a_disk
@pytest.mark.parametrize("name", [name for name in CHOSEN if name in OPEN_LAZILY])
def test_who_is_late_while_his_file_is_opened_leaves_nothing_behind(
    serve, disk, files, client, eventually, name
):
    path, body = by_size(files)[0]
    server = serve(name, disk.folder, idle_timeout_ms=200)
    disk.stall_s(STALL_S)
    with client(server.address, 20) as c:
        c.send(request(path))
        assert c.ended()
    counters = server.counters()
    assert (counters["timeouts"], counters["connections_open"]) == (1, 1), (
        "it is closed when the open returns"
    )
    eventually(lambda: server.counters()["connections_open"] == 0, 20)
    assert opened(server, path) == 0
    with client(server.address, 20) as c:
        assert c.ask(path).body == body
    assert opened(server, path) == 1
    assert server.stop() == 0


@pytest.fixture
def changing(tmp_path):
    """A file that can be changed while it is served, and its contents."""
    path = tmp_path / "file.bin"
    path.write_bytes(bytes(range(256)) * (LARGE_BYTES // 256))
    return path


@pytest.mark.parametrize("name", SERVERS)
def test_a_file_that_is_cut_short_while_it_is_believed(serve, changing, client, name):
    body = changing.read_bytes()
    server = serve(name, changing.parent)
    with client(server.address) as c:
        assert c.ask("/file.bin").body == body
    os.truncate(changing, 2 * CHUNK_BYTES)
    with client(server.address) as c:
        c.send(request("/file.bin"))
        received = b""
        while piece := c.socket.recv(1 << 18):
            received += piece
        head, _, rest = received.partition(b"\r\n\r\n")
        assert rest == body[: 2 * CHUNK_BYTES]
        assert f"Content-Length: {len(body)}".encode() in head
    os.truncate(changing, 0)
    with client(server.address) as c:
        assert c.ask("/file.bin").status == 500
    assert server.stop() == 0


@pytest.mark.parametrize("name", ["lazy", "NB-AMPED", "LAIO-LAIO"])
def test_a_file_that_is_replaced_while_it_is_sent(serve, changing, client, eventually, name):
    old, new = changing.read_bytes(), b"n" * LARGE_BYTES
    server = serve(name, changing.parent)
    with client(server.address) as slow, client(server.address) as quick:
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)  # it does not fit
        slow.send(request("/file.bin"))
        eventually(lambda: server.counters()["bytes_sent"] > 0)
        fresh = changing.with_name("fresh")
        fresh.write_bytes(new)
        fresh.rename(changing)
        bodies = []
        eventually(lambda: bodies.append(quick.ask("/file.bin").body) or bodies[-1] == new)
        assert set(bodies) <= {old, new}
        assert slow.reply().body == old
    assert server.stop() == 0
