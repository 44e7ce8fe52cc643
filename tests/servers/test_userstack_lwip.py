"""The rival: the server on Debian's lwIP, alone or with lwIP's thread, behind the same switch as *epoll-user*.

All of HTTP is asked of *epoll-lwip* by test_http.py and test_differential.py, as of every design; here is what makes
the comparison one: that the load generator gets every byte, and that no number of connections is lwIP's limit.
"""

import contextlib
import random
import socket
import subprocess
import zlib

import pytest

import servers
from retrospective.lab.holder import SERVER

PATIENCE_S = 60


@pytest.fixture(params=["epoll-lwip", "epoll-lwip-thread"])
def rival(request):
    return request.param


@pytest.fixture
def server(serve, rival, small):
    return serve(rival, small.root, backlog=1024)


WRONG = (
    *("bodies_mismatched", "lengths_mismatched", "replies_not_200", "connections_refused"),
    *("connections_reset", "connections_failed_other", "replies_timed_out"),
)


@pytest.mark.parametrize(
    "words",
    [
        ("--mode", "closed", "--clients", 64),
        ("--mode", "closed", "--clients", 16, "--requests-per-connection", 3),
        ("--mode", "open", "--rate", 1000, "--requests-per-connection", 2),
    ],
    ids=["closed", "closed-short", "open"],
)
def test_a_stack_of_ours_gets_every_byte(load_user, server, small, words):
    report = load_user(server, small.manifest, *words, "--duration-s", 0.8, "--timeout-ms", 10_000)
    assert report["bodies_verified"] == report["replies"] > 100
    assert not {wrong: report[wrong] for wrong in WRONG if report[wrong] != 0}
    assert server.alive()


def test_the_kernel_gets_what_the_kernel_s_server_sends(serve, rival, client, tmp_path):
    content = random.Random(7).randbytes(300_000)
    (tmp_path / "large.bin").write_bytes(content)
    replies = []
    for design in (rival, "epoll"):
        with client(serve(design, tmp_path).address, PATIENCE_S) as c:
            reply = c.ask("/large.bin")
            replies.append((reply.status, reply.fields["content-length"], zlib.crc32(reply.body)))
            assert c.ask("/large.bin", method="HEAD").fields["content-length"] == str(len(content))
    assert replies[0] == replies[1] == (200, str(len(content)), zlib.crc32(content))


def test_connections_are_not_limited_by_the_library(server, client):
    """Debian builds lwIP with malloc() in place of its pools: MEMP_NUM_TCP_PCB, 5, is no limit."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client(server.address, PATIENCE_S)) for _ in range(200)]
        assert len({zlib.crc32(c.ask("/1k.bin").body) for c in clients}) == 1
        assert server.counters()["connections_peak"] == 200


def test_a_port_comes_again_before_two_minutes_are_over(switch, load_user, server, small):
    """What closes first keeps TIME-WAIT: as many as our stack, the oldest of which gives way."""

    def visit(patience_s=PATIENCE_S):
        with switch.lab.socket(SERVER) as kernel:
            kernel.settimeout(patience_s)
            kernel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            kernel.bind(("", 4321))
            kernel.connect(server.address)
            kernel.sendall(b"HEAD /1k.bin HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            answer = b""
            while piece := kernel.recv(4096):
                answer += piece
            return answer.split(maxsplit=2)[1]

    assert visit() == b"200"
    with pytest.raises(OSError, match=r"refused|timed out"):
        visit(0.3)
    once = ("--mode", "closed", "--clients", 64, "--requests-per-connection", 1, "--timeout-ms", 10_000)
    come = 0
    while come < 6000:
        report = load_user(server, small.manifest, *once, "--duration-s", 0.4)
        assert not {wrong: report[wrong] for wrong in WRONG if report[wrong] != 0}
        come += report["connections_completed"]
    assert visit() == b"200"


@pytest.mark.parametrize("name", ["epoll-lwip", "load-lwip", "traffic-lwip-thread"])
def test_no_function_of_ours_takes_the_place_of_one_of_lwip_s(can_run, name):
    """A program's own ``tcp_input`` would be called by the library in place of the library's (ld.so(8))."""
    can_run(name)

    def defined(words, path):
        lines = subprocess.run(
            ["nm", *words, "--defined-only", path], capture_output=True, text=True, check=True
        )
        return {fields[2] for line in lines.stdout.splitlines() if (fields := line.split())[1] in "TDBRVW"}

    binary = servers.binary(name)
    needs = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True).stdout
    library = next(line.split()[2] for line in needs.splitlines() if "liblwip" in line)
    theirs = defined(["-D"], library)
    assert "tcp_input" in theirs
    assert not defined([], binary) & theirs - {"_init", "_fini", "__bss_start", "_edata", "_end"}
