"""What happens when something runs out: connections drained, descriptors gone, very many clients at once."""

import contextlib
import json
import resource
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

import servers

#: Designs whose accepts io_uring completes.
ON_RING = ("uring", "drain-uring")


def cpu_s(server):
    return time.clock_gettime((~server.pid << 3) | 2)


def test_sigterm_drains(serve, design, specweb, client):
    """A reply in progress is finished, whole; new connections are refused; idle ones end; the exit code is 0."""
    largest = max(specweb.files, key=lambda file: file.bytes)
    server = serve(design, specweb.root)
    with client(server.address) as busy, client(server.address) as idle:
        assert idle.ask(specweb.files[0].path).status == 200
        busy.send(f"GET {largest.path} HTTP/1.1\r\nHost: test\r\n\r\n")
        first = busy.socket.recv(1000)
        busy.rest += first
        stopped = threading.Thread(target=server.stop)
        stopped.start()
        assert busy.reply().body == specweb.on_disk(largest).read_bytes()
        assert idle.ended()
        stopped.join()
    assert server.stop() == 0
    if design in servers.stack_designs():
        with pytest.raises(TimeoutError):
            client(server.address, 0.5)  # the host itself is gone
    else:
        with pytest.raises(ConnectionRefusedError):
            client(server.address)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("name", [*servers.designs()])
def test_signals_end_it_soon_whatever_clients_hold(serve, name, small, client, eventually, number):
    server = serve(name, small.root)
    with client(server.address) as silent, client(server.address) as half:
        half.send("GET /1k")
        eventually(lambda: server.counters()["accepts"] == 2)
        begin = time.monotonic()
        server._process.send_signal(number)
        assert server._process.wait(10) == 0
        assert time.monotonic() - begin < 4
        assert silent.ended()


@pytest.mark.parametrize("name", [*servers.designs()])  # a stack's sockets are no descriptors
def test_descriptor_exhaustion_neither_spins_nor_kills(serve, name, small, client, eventually):
    # io_uring accepts under the limit that held when it was asked to, and inf asks once for all.
    server = serve(name, small.root, accept_limit=10 if name in ON_RING else "inf")
    with client(server.address) as first:
        assert first.ask("/1k.bin").status == 200  # the file is in its cache now
        # Beyond those it has open itself: an engine of threads has one for each of them.
        held = max([24, *(8 + int(fd.name) for fd in Path(f"/proc/{server.pid}/fd").iterdir())])
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (held, held))
        with contextlib.ExitStack() as stack:
            waiting = [stack.enter_context(client(server.address)) for _ in range(60)]
            eventually(lambda: server.counters()["accept_pauses"] > 0)
            begin = cpu_s(server)
            time.sleep(0.5)
            assert cpu_s(server) - begin < 0.2, "it spins"
            assert server.alive()
            assert first.ask("/1k.bin").status == 200, "those accepted are served on"
            assert server.counters()["connections_open"] < held
            open_before = server.counters()["accepts"]
        # Those that were waiting have gone: it accepts again.
        with client(server.address) as late:
            assert late.ask("/1k.bin").status == 200
        assert server.counters()["accepts"] > open_before
        assert len(waiting) == 60


def test_at_most_max_connections_are_open(serve, design, small, client, eventually):
    server = serve(design, small.root, max_connections=10)
    with contextlib.ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(client(server.address))
        eventually(lambda: server.counters()["connections_open"] == 10)
        time.sleep(0.05)
        assert server.counters()["connections_peak"] == 10
    with client(server.address) as c:
        assert c.ask("/1k.bin").status == 200


def test_ten_thousand_idle_connections_while_load_goes_on(serve, small, client, eventually):
    many = 10_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < many + 500:
        pytest.skip(f"the hard limit of descriptors is {hard}; ulimit -Hn {many + 500} would do")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = serve("epoll", small.root, backlog=4096)
    idle = []
    try:
        for _ in range(many):
            connection = socket.socket()
            idle.append(connection)
            connection.connect(server.address)
        eventually(lambda: server.counters()["connections_open"] == many, 20)
        command = [
            *(servers.binary("load"), "--connect", f"{server.address[0]}:{server.address[1]}"),
            *("--files", small.manifest, "--mode", "closed", "--clients", "16"),
            *("--warmup-s", "0.1", "--duration-s", "1"),
        ]
        report = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
        assert report["replies"] > 1000
        assert report["bodies_mismatched"] == report["replies_not_200"] == report["connections_reset"] == 0
        assert server.counters()["connections_open"] >= many, "none of the idle was dropped"
        for connection in (idle[0], idle[many // 2], idle[-1]):
            connection.settimeout(5)
            connection.sendall(b"GET /1k.bin HTTP/1.1\r\nHost: test\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
    finally:
        for connection in idle:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    eventually(lambda: server.counters()["connections_open"] == 0, 20)
    assert server.stop() == 0
