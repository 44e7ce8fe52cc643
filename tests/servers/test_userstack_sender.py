"""What the user-level stack's TCP sends and marks, as outsiders' scripts want it: PSH, corks, MSS, windows."""

import errno

import pytest

from tests.servers.conftest import PEER_IP

NODELAY, CORK, MSS, DEFER_ACK = 0, 4, 5, 6
FULL = 1000


def lengths(segments):
    return [len(s.data) for s in segments]


def pushed(segments):
    return ["P" in s.flags for s in segments]


def connecting(script):
    """A connection whose SYN has gone and whose handshake's last ACK is to wait; and the SYN."""
    socket = script.open().do("connect", PEER_IP, 80, 4000)
    assert script.do("set", socket, DEFER_ACK, 1) == 0
    (syn,) = script.segments()
    return socket, syn


def test_a_deferred_ack_of_the_handshake_goes_with_the_first_data(script):
    socket, syn = connecting(script)
    assert script.tcp("SA", 999, syn.seq + 1, port=4000, source_port=80) == []
    (first,) = script.write(socket, b"hello")
    assert (first.flags, first.seq, first.ack, first.data) == ("PA", syn.seq + 1, 1000, b"hello")
    assert script.tcp("A", 1000, syn.seq + 6, port=4000, source_port=80) == []
    assert script.later(100) == []


def test_a_deferred_ack_of_the_handshake_waits_no_longer_than_any(script):
    _, syn = connecting(script)
    assert script.tcp("SA", 999, syn.seq + 1, port=4000, source_port=80) == []
    assert script.later(39) == []
    (ack,) = script.later(2)
    assert (ack.flags, ack.ack) == ("A", 1000)


def test_only_who_connects_defers_the_handshake_s_ack(script):
    listener = script.open().do("listen", 80, 4)
    assert script.do("set", listener, DEFER_ACK, 1) == -errno.EINVAL


def test_a_reset_of_a_connection_with_timestamps_carries_one(script):
    peer = script.open().accepted(timestamps=True)
    peer.send("A", b"never read")
    script.later(50)
    script.do("close", peer.socket)
    (reset,) = script.segments()
    assert reset.flags == "RA"
    assert reset.timestamps is not None


@pytest.mark.parametrize("fin_arrived", [False, True])
def test_data_after_the_close_are_reset_with_the_number_the_peer_expects(script, fin_arrived):
    """RFC 5961: another number in the window would only be challenged."""
    peer = script.open().accepted()
    script.do("close", peer.socket)
    (fin,) = script.segments()
    if fin_arrived:
        peer.ack = fin.seq + 1
    (reset,) = peer.send("A", b"for nobody")
    assert (reset.flags, reset.seq) == ("R", peer.ack)
    assert script.words("usage")[0] == "0"


def test_an_acknowledgment_ends_the_promise_of_more(script):
    peer = script.open().accepted()
    script.do("set", peer.socket, NODELAY, 1)
    assert lengths(script.write(peer.socket, b"m" * 3100, "more")) == [FULL] * 3
    (rest,) = peer.send(ack=peer.first + 2 * FULL)
    assert (len(rest.data), "P" in rest.flags) == (100, False), "not pushed: more was promised"


def test_what_was_promised_to_go_on_is_pushed_when_it_waited_long_enough(script):
    peer = script.open().accepted()
    assert script.write(peer.socket, b"m" * 40, "more") == []
    (alone,) = script.at(300)
    assert (len(alone.data), "P" in alone.flags) == (40, True)


def test_cork(script):
    peer = script.open().accepted()
    script.do("set", peer.socket, CORK, 1)
    assert script.write(peer.socket, b"a" * 40) == []
    assert lengths(script.write(peer.socket, b"b" * 1000)) == [FULL], "only what is full"
    script.do("set", peer.socket, CORK, 0)
    assert lengths(peer.send(ack=peer.first + FULL)) == [40], "from here on only Nagle's rule holds"
    peer.ack += 1040
    peer.send()
    script.do("set", peer.socket, CORK, 1)
    assert script.write(peer.socket, b"c" * 40) == []
    script.do("set", peer.socket, NODELAY, 1)
    (flushed,) = script.segments()
    assert (len(flushed.data), "P" in flushed.flags) == (40, True), "no delay overrides the cork once"
    assert script.write(peer.socket, b"d" * 40) == [], "and only once"


@pytest.mark.parametrize(
    ("run", "expected"),
    [(0, [False] * 4 + [True]), (2, [False, True, False, True, True]), (4, [False] * 3 + [True] * 2)],
)
def test_push_ends_runs(script, run, expected):
    peer = script.open(push_segments=run).accepted()
    assert pushed(script.write(peer.socket, b"p" * 4500 + b"!" * 500)) == expected


@pytest.mark.parametrize("of_listener", [False, True])
def test_our_mss_binds_both_ways(script, of_listener):
    script.open(mss=0 if of_listener else 600)
    if of_listener:
        listener = script.do("listen", 80, 8)
        assert script.do("set", listener, MSS, 600) == 0
        assert script.do("set", listener, MSS, 10) < 0, "too small to be meant"
        script.listeners = {80: listener}
    peer = script.accepted()
    assert peer.answer.mss == 600
    assert lengths(script.write(peer.socket, b"m" * 1200)) == [600, 600]


def test_without_timestamps(script):
    script.open(timestamps=0)
    script.do("connect", 0x0A000002, 80, 4000)
    (syn,) = script.segments()
    assert syn.timestamps is None
    assert syn.sack_permitted


@pytest.mark.parametrize(
    ("written", "then"),
    [(5, 10), (6, 12), (9, 18), (10, 20)],
)
def test_a_window_grows_to_twice_what_was_used_of_it(script, written, then):
    peer = script.open(congestion="reno", min_rto_us=1000000).accepted()
    script.write(peer.socket, b"u" * FULL * written)
    for acked in range(1, written + 1):
        peer.send(ack=peer.first + FULL * acked)
    peer.ack = peer.first + FULL * written
    assert len(script.write(peer.socket, b"v" * FULL * 40)) == then


@pytest.mark.parametrize("congestion", ["reno", "cubic"])
def test_slow_start_heeds_acknowledgments_of_many_segments(script, congestion):
    peer = script.open(congestion=congestion, min_rto_us=1000000).accepted()
    script.write(peer.socket, b"s" * 40 * FULL)
    assert len(peer.send(ack=peer.first + 4 * FULL)) == 8
    assert len(peer.send(ack=peer.first + 18 * FULL)) == 14 + 8, "but no more than eight at a time"


def test_part_of_a_segment_that_is_sacked_is_no_segment(script):
    """RFC 8985 counts segments: a byte at the end does not say that the flight has arrived."""
    peer = script.open(min_rto_us=1000000, tail_probes=0).accepted(sack=True)
    script.later(100)
    script.write(peer.socket, b"s" * 4 * FULL)
    last = peer.first + 4 * FULL
    script.later(50)
    assert peer.send(sack=((last - 1, last),)) == []
    assert script.later(200) == []
    peer.send(sack=((last - FULL - 1, last),))
    assert [s.seq for s in script.later(200)][:1] == [peer.first]


def test_small_segments_that_are_sacked_count(script):
    peer = script.open(min_rto_us=1000000, tail_probes=0).accepted(sack=True)
    script.do("set", peer.socket, NODELAY, 1)
    for _ in range(4):
        script.write(peer.socket, b"s" * 10)
    script.later(50)
    peer.send(sack=((peer.first + 10, peer.first + 20),))
    (again,) = script.later(200)
    assert (again.seq, len(again.data)) == (peer.first, 10)
