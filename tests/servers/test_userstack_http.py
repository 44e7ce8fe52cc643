"""Programs on the user-level stack: *epoll-user* behind a switch, asked by the kernel and by *load-user*.

What every design has to answer (test_http.py, test_differential.py) is asked of it there; here is what is its own.
"""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import zlib

import pytest

import servers
from retrospective.lab.holder import SERVER

DESIGN = "epoll-user"
PATIENCE_S = 60


@pytest.fixture
def server(serve, specweb):
    return serve(DESIGN, specweb.root, backlog=1024)


def test_a_large_file_is_what_the_kernel_s_server_sends(serve, client, tmp_path):
    content = random.Random(7).randbytes(5_000_000)
    (tmp_path / "large.bin").write_bytes(content)
    bodies = []
    for design in (DESIGN, "epoll"):
        with client(serve(design, tmp_path).address, PATIENCE_S) as c:
            reply = c.ask("/large.bin")
            bodies.append((reply.status, reply.fields["content-length"], zlib.crc32(reply.body)))
            assert c.ask("/large.bin", method="HEAD").fields["content-length"] == str(len(content))
    assert bodies[0] == bodies[1] == (200, str(len(content)), zlib.crc32(content))


def test_two_hundred_at_a_time(server, client, specweb):
    """All are open before the first is asked; all wait for an answer before the first is read."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client(server.address, PATIENCE_S)) for _ in range(200)]
        files = [specweb.files[i % len(specweb.files)] for i in range(200)]
        for c, file in zip(clients, files, strict=True):
            c.send(f"GET {file.path} HTTP/1.1\r\nHost: test\r\n\r\n")
        for c, file in zip(clients, files, strict=True):
            assert zlib.crc32(c.reply().body) == file.crc32
        assert server.counters()["connections_peak"] == 200


@pytest.mark.parametrize(
    "words",
    [
        ("--mode", "closed", "--clients", 64),
        ("--mode", "closed", "--clients", 16, "--requests-per-connection", 3),
        ("--mode", "open", "--rate", 2000, "--requests-per-connection", 2),
        ("--mode", "open", "--rate", 1000, "--close", "reset"),
    ],
    ids=["closed", "closed-short", "open", "open-reset"],
)
def test_the_load_generator_on_a_stack_of_its_own(load_user, server, specweb, words, eventually):
    report = load_user(server, specweb.manifest, *words, "--duration-s", 0.8, "--timeout-ms", 10_000)
    assert report["bodies_verified"] == report["replies"] > 100
    for wrong in (
        *("bodies_mismatched", "lengths_mismatched", "replies_not_200", "connections_refused"),
        *("connections_reset", "connections_failed_other", "replies_timed_out"),
    ):
        assert report[wrong] == 0, wrong
    # With its last word its stack has reset what was still open.
    eventually(lambda: server.counters()["connections_open"] == 0)


def test_a_port_nobody_listens_at_refuses(switch, server, specweb):
    _, environment = switch.stack()
    words = ("--connect", f"{server.address[0]}:81", "--files", specweb.manifest, "--rate", 100)
    done = subprocess.run(
        [servers.binary("load-user"), *map(str, words), "--duration-s", "0.3", "--warmup-s", "0"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["connections_refused"] > 10
    assert report["replies"] == 0


def test_it_drains(serve, client, specweb):
    """At SIGTERM the idle are closed, a reply under way is finished, and the program ends with 0."""
    largest = max(specweb.files, key=lambda file: file.bytes)
    server = serve(DESIGN, specweb.root)
    with client(server.address) as idle, client(server.address) as busy:
        assert idle.ask(largest.path).status == 200
        busy.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        busy.send(f"GET {largest.path} HTTP/1.1\r\nHost: test\r\n\r\n")
        busy.rest = busy.socket.recv(1000)
        os.kill(server.pid, signal.SIGTERM)
        assert idle.ended()
        assert zlib.crc32(busy.reply().body) == largest.crc32
        assert busy.ended()
    assert server.stop() == 0
    assert server.log == ""
    assert server.counters()["connections_open"] == 0


def test_a_client_that_is_killed_holds_nobody_up(switch, serve, client, small, eventually):
    """Its stack dies with it: nothing says so to the server, whose time-out ends what it left."""
    server = serve(DESIGN, small.root, idle_timeout_ms=1000)
    _, environment = switch.stack()
    words = ("--connect", f"{server.address[0]}:80", "--files", small.manifest, "--mode", "closed")
    with subprocess.Popen(
        [servers.binary("load-user"), *map(str, words), "--clients", "50", "--duration-s", "60"],
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
    ) as peer:
        eventually(lambda: server.counters()["replies"] > 500)
        peer.kill()
    with client(server.address) as c:
        assert c.ask("/1k.bin").status == 200
        eventually(lambda: server.counters()["connections_open"] <= 1)
    assert server.stop() == 0


def test_system_calls_are_those_that_were_made(load_user, server, small, specweb):
    """Most turns of a busy loop need none, where the kernel's epoll makes more than two a reply."""
    report = load_user(server, specweb.manifest, "--mode", "closed", "--clients", 64, "--duration-s", 0.5)
    counters = server.counters()
    assert counters["replies"] >= report["replies"] > 0
    assert 0 < counters["system_calls"] < 2 * counters["replies"] + 2 * counters["getevents"]


@pytest.mark.parametrize(
    ("setting", "code", "says"),
    [
        (None, 2, "NAI_STACK is not set"),
        ("attach=switch:/nowhere", 2, "address is missing"),
        ("attach=switch:/nowhere,address=10.0.0.9,tick-us=1", 2, "tick-us is to be a whole number from 10"),
        ("attach=switch:/nowhere,address=10.0.0.9", 1, "/nowhere"),
        ("attach=carrier-pigeon,address=10.0.0.9", 1, "carrier-pigeon"),
    ],
)
def test_what_a_stack_is_told_wrongly_is_said(release, tmp_path, setting, code, says):
    environment = {name: value for name, value in os.environ.items() if name != "NAI_STACK"}
    if setting is not None:
        environment["NAI_STACK"] = setting
    words = (servers.binary(DESIGN), "--listen", "10.0.0.9:80", "--root", str(tmp_path))
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_it_listens_at_the_stack_s_address_only(switch, small):
    ip, environment = switch.stack()

    def run(address, *words):
        return subprocess.run(
            [servers.binary(DESIGN), "--listen", address, "--root", str(small.root), *words],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    elsewhere = run("10.0.0.1:80")
    assert (elsewhere.returncode, elsewhere.stdout) == (1, "")
    assert "cannot listen: Cannot assign requested address" in elsewhere.stderr
    unknown = run(f"{ip}:80", "--congestion", "vegas")
    assert unknown.returncode == 1
    assert "cannot listen: No such file or directory" in unknown.stderr


def test_the_kernel_is_refused_at_another_port(switch, server):
    """A connection attempt to another port of the stack is refused at once, as the kernel does it."""
    with switch.lab.socket(SERVER) as one:
        one.settimeout(PATIENCE_S)
        with pytest.raises(ConnectionRefusedError):
            one.connect((server.address[0], 4))
