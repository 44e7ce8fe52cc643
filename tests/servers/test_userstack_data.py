"""Data of the user-level stack's TCP: loss and its recovery, windows, when to send and to acknowledge."""

import errno
import itertools

import pytest

CLOSE_WAIT = 7


def places(segments, first):
    """Where each segment's data begin, counted from the first byte."""
    return [(s.seq - first) % 2**32 for s in segments]


def test_retransmission_backs_off_and_ends(script):
    peer = script.open(data_tries=5).accepted()
    (first,) = script.write(peer.socket, b"hello")
    sent = script.at(60000)
    again = [s for s in sent if s.data]
    assert all(s.seq == first.seq and s.data == b"hello" for s in again)
    assert [s.at_ms for s in again] == pytest.approx([200, 600, 1400, 3000, 6200], rel=0.04)
    assert sent[-1].flags == "RA"
    assert script.read(peer.socket) == -errno.ETIMEDOUT


def test_the_minimum_is_a_parameter(script):
    peer = script.open(tick_ns=10000, min_rto_us=1000).accepted()
    script.write(peer.socket, b"hello")
    assert script.at(3.5)[0].at_ms == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("timestamps", [False, True])
def test_karn(script, timestamps):
    """What was sent twice is no measurement, unless a timestamp says which of the two was acknowledged."""
    peer = script.open().accepted(timestamps=timestamps)
    (first,) = script.write(peer.socket, b"a" * 100)
    peer.echo = first.timestamps[0] if timestamps else 0
    script.at(2500)
    peer.send(ack=first.seq + 100)
    peer.ack = first.seq + 100
    (second,) = script.write(peer.socket, b"b" * 100)
    again = next(s for s in script.later(30000) if s.data)
    waited = again.at_ms - second.at_ms
    assert waited > 1000 if timestamps else waited == pytest.approx(200, abs=30)


def test_fast_retransmit_and_partial_acks(script):
    """Without SACK: NewReno, RFC 6582."""
    peer = script.open(congestion="reno", min_rto_us=1000000).accepted()
    sent = script.write(peer.socket, b"d" * 12000)
    assert places(sent, peer.first) == [1000 * i for i in range(10)], "RFC 6928"
    assert places(peer.send(), peer.first) == [10000], "limited transmit"
    assert places(peer.send(), peer.first) == [11000]
    assert places(peer.send(), peer.first) == [0], "the third duplicate"
    assert script.counter("tcp_fast_recoveries") == 1
    # The segment after it was lost, too: a partial acknowledgment brings it at once.
    assert 1000 in places(peer.send(ack=peer.first + 1000), peer.first)
    peer.ack = peer.first + 12000
    peer.send()
    assert script.later(5000) == []
    assert script.counter("tcp_timeouts") == 0


def test_duplicates_with_another_window_or_with_data_are_none(script):
    peer = script.open(congestion="reno", min_rto_us=1000000).accepted()
    script.write(peer.socket, b"d" * 20000)
    for window in (50000, 40000, 30000, 20000):
        peer.send(window=window)
    for _ in range(4):
        peer.send("A", b"x")
    assert script.counter("tcp_fast_recoveries") == 0


def test_sack_recovery_sends_what_is_lost_and_nothing_else(script):
    peer = script.open(congestion="reno", min_rto_us=1000000).accepted(sack=True)
    script.write(peer.socket, b"d" * 10000)
    at = lambda n: peer.first + 1000 * n  # noqa: E731
    # Segments 0, 4 and 7 are lost.
    peer.send(sack=((at(1), at(2)),))
    peer.send(sack=((at(1), at(3)),))
    got = peer.send(sack=((at(1), at(4)),))
    assert places(got, peer.first) == [0]
    got = [
        *peer.send(sack=((at(5), at(6)), (at(1), at(4)))),
        *peer.send(sack=((at(5), at(7)), (at(1), at(4)))),
        *peer.send(sack=((at(8), at(9)), (at(5), at(7)), (at(1), at(4)))),
    ]
    got += peer.send(sack=((at(8), at(10)), (at(5), at(7)), (at(1), at(4))))
    got += peer.send(ack=at(4), sack=((at(8), at(10)), (at(5), at(7))))
    got += peer.send(ack=at(7), sack=((at(8), at(10)),))
    assert sorted(places(got, peer.first)) == [4000, 7000]
    peer.send(ack=at(10))
    assert script.later(5000) == []
    assert (script.counter("tcp_retransmitted"), script.counter("tcp_timeouts")) == (3, 0)


def test_after_a_timeout_what_was_sacked_is_not_sent_again(script):
    peer = script.open(congestion="reno").accepted(sack=True)
    script.write(peer.socket, b"d" * 4000)
    peer.send(sack=((peer.first + 1000, peer.first + 2000),))
    assert places(script.at(260), peer.first) == [0, 0], "by RACK, then by the time-out"
    got = peer.send(ack=peer.first + 2000)
    assert places(got, peer.first) == [2000, 3000]


def test_out_of_order_data_are_reported_latest_first_and_read_in_order(script):
    peer = script.open().accepted(sack=True)
    base = peer.seq
    text = bytes(range(256)) * 40
    part = lambda n: text[1000 * n : 1000 * n + 1000]  # noqa: E731
    expected = []
    for n in (2, 4, 6, 8):
        (ack,) = peer.send("A", part(n), seq=base + 1000 * n)
        assert ack.ack == base
        expected.insert(0, (base + 1000 * n, base + 1000 * n + 1000))
        assert ack.sack == tuple(expected[:4])
    (ack,) = peer.send("A", part(5), seq=base + 5000)
    assert ack.sack[0] == (base + 4000, base + 7000)
    for n in (0, 1, 3, 7, 9):
        peer.send("A", part(n), seq=base + 1000 * n)
    assert script.read(peer.socket) == text[:10000]


def test_holes_are_bounded(script):
    peer = script.open().accepted(sack=True)
    for n in range(1, 80):
        peer.send("A", b"x", seq=peer.seq + 10 * n)
    assert script.drops("tcp_out_of_order_full") == 79 - 64


def test_a_fin_beyond_a_gap_is_remembered(script):
    peer = script.open().accepted()
    base = peer.seq
    peer.send("FA", b"world", seq=base + 6)
    (ack,) = peer.send("A", b"hello ", seq=base)
    assert ack.ack == base + 12
    assert script.read(peer.socket) == b"hello world"
    assert script.do("state", peer.socket) == CLOSE_WAIT


def test_zero_window_is_probed_for_ever_while_the_peer_answers(script):
    peer = script.open(data_tries=3).accepted()
    peer.send(window=0)
    assert script.write(peer.socket, b"z" * 3000) == []
    times, ms = [], 0
    while len(times) < 8:
        ms += 50
        for probe in script.at(ms):
            times.append(probe.at_ms)
            assert (len(probe.data), places([probe], peer.first)) == (1, [0])
            peer.send(window=0)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert gaps[:6] == pytest.approx([400 * 2**i for i in range(6)], rel=0.1)
    got = peer.send(window=60000)
    assert b"".join(s.data for s in got) == b"z" * 3000


def test_zero_window_unanswered_ends(script):
    peer = script.open(data_tries=3).accepted()
    peer.send(window=0)
    script.write(peer.socket, b"z" * 3000)
    script.at(100000)
    assert script.read(peer.socket) == -errno.ETIMEDOUT


def test_our_own_window_closes_and_opens_in_worthwhile_steps(script):
    peer = script.open(receive_bytes=8000).accepted()
    answers = []
    for _ in range(8):
        answers += peer.send("A", b"w" * 1000)
    answers += script.later(100)
    assert answers[-1].window == 0
    # A probe is answered, and its byte refused.
    (ack,) = peer.send("A", b"!", seq=peer.seq)
    assert (ack.ack, ack.window) == (peer.seq, 0)
    script.read(peer.socket, 100)
    assert script.segments() == [], "not worth telling"
    script.read(peer.socket, 4000)
    (update,) = script.segments()
    assert update.window >= 4000


def test_user_timeout(script):
    peer = script.open().accepted()
    script.do("set", peer.socket, 2, 3000)
    script.write(peer.socket, b"hello")
    script.at(2500)
    assert script.read(peer.socket) == -errno.EAGAIN
    script.at(8000)
    assert script.read(peer.socket) == -errno.ETIMEDOUT


def test_delayed_ack_and_every_second_segment(script):
    peer = script.open().accepted()
    assert peer.send("A", b"x" * 1000) == []
    (ack,) = peer.send("A", b"x" * 1000)
    assert ack.ack == peer.seq
    assert peer.send("A", b"x" * 10) == []
    (ack,) = script.later(100)
    assert ack.at_ms == pytest.approx(40, abs=2)
    peer.send("A", b"x" * 10)
    (reply,) = script.write(peer.socket, b"reply")
    assert reply.ack == peer.seq, "data carry it"
    assert script.later(100) == []


def test_nagle_and_more(script):
    peer = script.open().accepted()
    assert len(script.write(peer.socket, b"a")) == 1
    assert script.write(peer.socket, b"b") == []
    assert [len(s.data) for s in script.write(peer.socket, b"c" * 1500)] == [1000]
    (rest,) = peer.send(ack=peer.ack + 1001)
    assert len(rest.data) == 501
    peer.ack += 1502
    peer.send()
    assert script.write(peer.socket, b"head", "more") == []
    (both,) = script.write(peer.socket, b"body")
    assert both.data == b"headbody"
    script.do("set", peer.socket, 0, 1)
    assert len(script.write(peer.socket, b"at once")) == 1


def test_a_small_window_is_not_filled_by_crumbs(script):
    peer = script.open().accepted(window=60000)
    peer.send(window=300)
    assert script.write(peer.socket, b"s" * 3000) == [], "300 of 60,000 is not worth a segment"
    (forced,) = script.at(250)
    assert len(forced.data) == 300, "but in time it is sent all the same"


def test_a_wire_without_room_only_delays(script):
    peer = script.open().accepted()
    script.do("wire", 0)
    assert script.write(peer.socket, b"w" * 3000) == []
    script.do("wire", 1)
    sent = script.at(1)
    assert [len(s.data) for s in sent] == [1000, 1000, 1000]
    assert script.counter("tcp_retransmitted") == 0


def together(script, segments):
    """What is sent while they arrive, one after the other and together; and then."""
    script.do("batch", 1)
    at_once = [len(segment()) for segment in segments]
    script.do("batch", 0)
    return at_once, script.segments()


def test_what_came_together_is_acknowledged_once(script):
    peer = script.open().accepted(sack=True)
    base = peer.seq
    at_once, then = together(script, [lambda: peer.send("A", b"x" * 1000)] * 5)
    assert at_once == [0] * 5
    assert [(ack.ack, ack.sack) for ack in then] == [(base + 5000, ())]
    assert script.later(500) == []


def test_a_batch_does_not_keep_a_sender_waiting(script):
    peer = script.open(receive_bytes=262144).accepted(scale=7)
    together(script, [lambda: peer.send("A", b"x" * 1000)] * 2)  # the window of a SYN has no scale
    at_once, then = together(script, [lambda: peer.send("A", b"x" * 1000)] * 70)
    assert at_once == [0] * 65 + [1] + [0] * 4, "64 KiB are enough"
    assert [ack.ack for ack in then] == [peer.seq]


def test_of_what_lies_beyond_a_gap_only_the_first_are_urgent(script):
    peer = script.open().accepted(sack=True)
    base = peer.seq

    def beyond(*places):
        return [lambda i=i: peer.send("A", b"y" * 1000, seq=base + 1000 * i) for i in places]

    at_once, then = together(script, beyond(2, 3, 4, 5, 6, 7))
    assert at_once == [1, 1, 1, 0, 0, 0], "three duplicates tell of a loss"
    assert [(ack.ack, ack.sack) for ack in then] == [(base, ((base + 2000, base + 8000),))]
    at_once, then = together(script, beyond(8, 10, 11, 10, 0))
    assert at_once == [0, 1, 0, 1, 1], "another gap, what came twice, a gap filled"
    assert then == []
    assert len(beyond(12)[0]()) == 1, "alone, each is told of at once"


def test_a_batch_may_end_what_it_owes_an_answer(script):
    peer = script.open().accepted()
    segments = [lambda: peer.send("A", b"x" * 1000)] * 2 + [lambda: peer.send("R")]
    assert together(script, segments) == ([0, 0, 0], [])
    script.words("read", peer.socket, 1000)
    script.do("close", peer.socket)
    other = script.accepted(source_port=5001)
    assert together(script, [lambda: other.send("A", b"x" * 1000)] * 2)[0] == [0, 0]
