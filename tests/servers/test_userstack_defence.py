"""What an outsider can do to the user-level stack's TCP: guesses, floods, old duplicates."""

import errno
import itertools

import pytest

ESTABLISHED = 4
PEER_IP = 0x0A000002


def flags(segments):
    return [s.flags for s in segments]


def test_paws(script):
    peer = script.open().accepted(timestamps=True)
    peer.send("A", b"new", tsval=200000)
    (ack,) = peer.send("A", b"old duplicate", tsval=150000)
    assert ack.ack == peer.seq - len(b"old duplicate")
    assert script.drops("tcp_paws") == 1
    assert script.read(peer.socket) == b"new"
    peer.seq -= len(b"old duplicate")
    peer.timestamps = False
    assert peer.send("A", b"none") == []
    assert script.drops("tcp_no_timestamp") == 1


def test_what_paws_refuses_is_reported_as_known(script):
    """Who sent it twice, since it was late, learns so: the original came after what was sent again."""
    peer = script.open().accepted(timestamps=True, sack=True)
    base = peer.seq
    peer.send("A", b"sent again", tsval=200000)
    (ack,) = peer.send("A", b"sent again", seq=base, tsval=150000)
    assert script.drops("tcp_paws") == 1
    assert (ack.ack, ack.sack) == (base + 10, ((base, base + 10),))


def test_a_reset_must_hit_the_left_edge(script):
    peer = script.open().accepted()
    for offset in (1, 1000, 60000):
        (challenge,) = peer.send("R", seq=peer.seq + offset)
        assert (challenge.flags, challenge.ack) == ("A", peer.seq)
    assert peer.send("R", seq=peer.seq - 1) == []
    assert peer.send("R", seq=peer.seq + 200000) == []
    assert script.do("state", peer.socket) == ESTABLISHED
    peer.send("R")
    assert script.read(peer.socket) == -errno.ECONNRESET


def test_a_syn_on_a_connection_is_challenged_wherever_it_lies(script):
    peer = script.open().accepted()
    for offset in (0, 5, -5000, 10**6):
        (challenge,) = peer.send("S", seq=peer.seq + offset)
        assert (challenge.flags, challenge.ack) == ("A", peer.seq)
    assert script.do("state", peer.socket) == ESTABLISHED


def test_blind_data_need_a_plausible_acknowledgment(script):
    peer = script.open().accepted()
    for ack in (1, 2**31, -(2**20)):
        (challenge,) = peer.send("A", b"evil", seq=peer.seq, ack=peer.ack + ack)
        assert challenge.flags == "A"
    assert script.drops("tcp_ack") == 3
    assert script.read(peer.socket) == -errno.EAGAIN


def test_challenges_are_limited(script):
    peer = script.open(challenges_per_s=10).accepted()
    answers = sum(len(peer.send("S", seq=peer.seq + i)) for i in range(100))
    assert answers == 10
    assert script.counter("tcp_challenges_limited") == 100 - answers
    script.later(1500)
    assert len(peer.send("S", seq=peer.seq)) == 1


@pytest.mark.parametrize("timestamps", [False, True])
def test_cookies_when_the_queue_is_full(script, timestamps):
    script.open(syn_queue=2)
    listener = script.do("listen", 80, 64)
    for i in range(2):
        assert flags(script.tcp("S", 100, source_port=1000 + i)) == ["SA"]
    options = b"\x02\x04\x05\xb4\x01\x03\x03\x05\x01\x01\x04\x02"
    options += b"\x01\x01\x08\x0a" + (77).to_bytes(4) + bytes(4) if timestamps else b""
    (answer,) = script.tcp("S", 500, source_port=2000, options=options)
    assert script.words("usage")[0] == "2", "nothing is kept"
    assert (answer.flags, answer.ack) == ("SA", 501)
    assert script.counter("tcp_cookies_sent") == 1
    script.sent.clear()
    script.at(900)
    echo = b""
    if timestamps:
        assert (answer.scale, answer.sack_permitted) == (3, True)
        echo = b"\x01\x01\x08\x0a" + (90).to_bytes(4) + answer.timestamps[0].to_bytes(4)
    # A guess is reset, the echo is a connection, with its first data.
    assert flags(script.tcp("A", 501, answer.seq + 100, source_port=2000, options=echo)) == ["R"]
    assert script.drops("tcp_cookie") == 1
    script.tcp("PA", 501, answer.seq + 1, b"hello", source_port=2000, options=echo, window=1000)
    socket = script.do("accept", listener)
    assert script.read(socket) == b"hello"
    sent = script.write(socket, b"y" * 3000)
    assert len(sent[0].data) == (1448 if timestamps else 1000), "the window was scaled only with timestamps"
    assert script.counter("tcp_cookies_taken") == 1


def test_a_cookie_ages(script):
    script.open(syn_queue=0)
    script.do("listen", 80, 64)
    (answer,) = script.tcp("S", 500, source_port=2000)
    script.at(129000)
    assert flags(script.tcp("A", 501, answer.seq + 1, source_port=2000)) == ["R"]
    assert script.counter("tcp_cookies_taken") == 0


def test_a_flood_of_syns_leaves_established_connections_alone(script):
    peer = script.open(syn_queue=8, connections=32, time_waits=8).accepted()
    for i in range(500):
        assert flags(script.tcp("S", i, source_port=10000 + i)) == ["SA"]
    assert script.counter("tcp_cookies_sent") >= 490
    peer.send("PA", b"still here")
    assert script.read(peer.socket) == b"still here"


def test_a_full_accept_queue_drops_and_the_peer_tries_again(script):
    script.open()
    listener = script.do("listen", 80, 1)
    answers = [script.tcp("S", 100, source_port=port)[0] for port in (1, 2)]
    script.tcp("A", 101, answers[0].seq + 1, source_port=1)
    script.tcp("A", 101, answers[1].seq + 1, source_port=2)
    assert script.drops("tcp_accept_full") == 1
    assert script.tcp("S", 100, source_port=3) == []
    assert script.do("accept", listener) >= 0
    assert script.do("accept", listener) == -errno.EAGAIN
    (again,) = script.at(1200)
    assert again.flags == "SA"
    script.tcp("A", 101, again.seq + 1, source_port=2)
    assert script.do("accept", listener) >= 0


def test_initial_numbers_differ_by_connection_and_grow_within_one(script):
    script.open(syn_queue=1000, time_waits=8)
    script.do("listen", 80, 64)
    numbers = [script.tcp("S", 1, source_port=port)[0].seq for port in range(2000, 2200)]
    steps = sorted((b - a) % 2**32 for a, b in itertools.pairwise(numbers))
    assert len(set(steps)) == len(steps)
    assert steps[50] > 2**28, "spread over the whole range"
    assert steps[150] < 2**32 - 2**28
    one = []
    for ms in (0, 1000, 2000):
        script.open()
        script.at(ms)
        script.do("connect", PEER_IP, 80, 4000)
        one.append(script.segments()[0].seq)
    assert [(b - a) % 2**32 for a, b in itertools.pairwise(one)] == pytest.approx([250000, 250000], abs=500)
