"""traffic: every byte compared, each role, and what ends a connection."""

import contextlib
import functools
import json
import socket
import subprocess

import pytest

import servers

PERIOD = 65537
PATIENCE_S = 20


@functools.cache
def period():
    """The pattern of traffic.h, made here once more."""
    mask, x, found = (1 << 64) - 1, 0x9E3779B97F4A7C15, bytearray()
    for _ in range(PERIOD):
        x ^= x << 13 & mask
        x ^= x >> 7
        x ^= x << 17 & mask
        found.append(x >> 32 & 255)
    return bytes(found)


def pattern(size):
    return (period() * (size // PERIOD + 1))[:size]


@pytest.fixture
def traffic():
    """Start one; all are ended."""
    with contextlib.ExitStack() as stack:

        def start(*words):
            process = subprocess.Popen(
                [servers.binary("traffic", "asan"), *map(str, words)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.callback(process.communicate)
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture
def free():
    """An address that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return "127.0.0.1", probe.getsockname()[1]


def listening(process):
    assert process.stdout.readline() == "ready\n"


def report(process):
    out, err = process.communicate(timeout=PATIENCE_S)
    assert not err, err
    return json.loads(out.splitlines()[-1])


def word(address):
    return f"{address[0]}:{address[1]}"


def test_a_source_sends_the_pattern_in_writes_of_any_size_and_ends(traffic):
    size = 3 * PERIOD + 17
    with socket.create_server(("127.0.0.1", 0)) as listener:
        opening = ("--role", "source", "--bytes", size, "--write-bytes", 1000, "--stay-s", 0)
        process = traffic(*opening, "--connect", word(listener.getsockname()))
        peer, _ = listener.accept()
        with peer:
            got = b"".join(iter(lambda: peer.recv(65536), b""))
    assert got == pattern(size)
    found = report(process)
    assert (found["outcome"], found["sent"], process.returncode) == ("ended", size, 0)


@pytest.mark.parametrize("wrong", [None, 0, PERIOD, 2 * PERIOD + 5])
def test_a_sink_compares_every_byte(traffic, free, wrong):
    data = bytearray(pattern(3 * PERIOD))
    if wrong is not None:
        data[wrong] ^= 1
    process = traffic("--role", "sink", "--listen", word(free), "--stay-s", 0)
    listening(process)
    with socket.create_connection(free, PATIENCE_S) as peer:
        with contextlib.suppress(OSError):  # it resets what is wrong, and then there is nothing to shut down
            peer.sendall(data)
            peer.shutdown(socket.SHUT_WR)
            while peer.recv(65536):
                pass
        found = report(process)
    expected = ("ended", None, 0) if wrong is None else ("wrong", wrong, 1)
    assert (found["outcome"], found["wrong_at"], process.returncode) == expected
    assert found["received"] == len(data) if wrong is None else found["received"] <= wrong


def test_bytes_in_another_place_do_not_compare_equal(traffic, free):
    """Segments of the usual size, two of them exchanged: no period hides that."""
    data, size = pattern(400 * 1448), 1448
    first, second = 10 * size, 200 * size
    moved = bytearray(data)
    moved[first : first + size], moved[second : second + size] = (
        data[second : second + size],
        data[first : first + size],
    )
    process = traffic("--role", "sink", "--listen", word(free), "--stay-s", 0)
    listening(process)
    with socket.create_connection(free, PATIENCE_S) as peer, contextlib.suppress(OSError):
        peer.sendall(moved)
        peer.shutdown(socket.SHUT_WR)
        peer.recv(1)
    assert first <= report(process)["wrong_at"] < first + size


def test_both_ways_at_a_time(traffic, free):
    one = traffic("--role", "both", "--bytes", 2_000_000, "--listen", word(free), "--stay-s", 0)
    listening(one)
    other = traffic("--role", "both", "--bytes", 3_000_000, "--connect", word(free), "--stay-s", 0)
    for process, sent, received in ((one, 2_000_000, 3_000_000), (other, 3_000_000, 2_000_000)):
        found = report(process)
        assert (found["outcome"], found["sent"], found["received"]) == ("ended", sent, received)


def test_a_ping_awaits_each_echo(traffic, free):
    echo = traffic("--role", "echo", "--listen", word(free), "--stay-s", 0)
    listening(echo)
    ping = traffic(
        *("--role", "ping", "--bytes", 1050, "--write-bytes", 100, "--connect", word(free), "--stay-s", 0)
    )
    found = report(ping)
    assert (found["outcome"], found["sent"], found["received"], found["messages"]) == (
        "ended",
        1000,
        1000,
        10,
    )
    assert 0 < found["rtt_p50_us"] <= found["rtt_p99_us"]
    assert report(echo)["outcome"] == "ended"


def test_a_sink_resets_what_takes_too_long(traffic, free):
    sink = traffic("--role", "sink", "--listen", word(free), "--seconds", 0.1, "--stay-s", 0)
    listening(sink)
    source = traffic("--role", "source", "--connect", word(free), "--stay-s", 0)
    at = report(sink)
    assert at["outcome"] == "time"
    assert 0.1 <= at["seconds"] < 5
    assert at["received"] > 0
    found = report(source)
    assert (found["outcome"], source.returncode) == ("broken", 1)
    assert found["error"] in ("Connection reset by peer", "Broken pipe")


def test_what_cannot_connect_says_why(traffic, free):
    found = report(traffic("--role", "source", "--bytes", 1, "--connect", word(free), "--stay-s", 0))
    assert (found["outcome"], found["error"]) == ("unconnected", "Connection refused")
    late = report(traffic("--role", "sink", "--listen", word(free), "--patience-s", 0.05, "--stay-s", 0))
    assert late["outcome"] == "unconnected"


def test_it_ends_when_it_is_told_to(traffic, free):
    sink = traffic("--role", "sink", "--listen", word(free))
    listening(sink)
    sink.terminate()
    assert report(sink)["outcome"] == "stopped"
    assert sink.returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--listen", "127.0.0.1:1"), "--role is required"),
        (("--role", "sink"), "one of --listen and --connect"),
        (("--role", "sink", "--listen", "127.0.0.1"), "not ADDR:PORT"),
        (("--role", "ping", "--connect", "127.0.0.1:1"), "needs --bytes or --seconds"),
        (("--role", "sink", "--listen", "127.0.0.1:1", "--write-bytes", "0"), "write-bytes"),
    ],
)
def test_options_that_cannot_be(traffic, words, said):
    process = traffic(*words)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert said in err
