"""TCP of the user-level stack by scripts, in virtual time: a packet in, packets out, and when."""

import errno
import itertools

import pytest

ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, CLOSE_WAIT, CLOSING, LAST_ACK, TIME_WAIT = range(4, 11)
SYN_SENT, SYN_RECEIVED = 2, 3
PEER_IP = 0x0A000002


def flags(segments):
    return [s.flags for s in segments]


def places(segments, first):
    """Where each segment's data begin, counted from the first byte."""
    return [(s.seq - first) % 2**32 for s in segments]


@pytest.mark.parametrize("scale", [None, 0, 7, 14])
@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("sack", [False, True])
def test_options_are_those_that_both_have(script, scale, timestamps, sack):
    peer = script.open().accepted(scale=scale, timestamps=timestamps, sack=sack)
    assert peer.answer.mss == 1460
    assert (peer.answer.scale is not None) == (scale is not None)
    assert (peer.answer.timestamps is not None) == timestamps
    assert peer.answer.sack_permitted == sack
    # The window is scaled only if both scale; a full segment leaves room for what options there are.
    (data,) = peer.send("PA", b"x" * 1000) or script.later(50)
    assert data.window << (0 if scale is None else peer.answer.scale) == pytest.approx(
        262144 if scale is not None else 65535, abs=1100
    )
    sent = script.write(peer.socket, b"y" * 3000)
    assert len(sent[0].data) == 1000 - 12 * timestamps
    assert all((s.timestamps is not None) == timestamps for s in sent)


def test_a_peer_without_mss_gets_536_and_a_tiny_one_is_not_believed(script):
    peer = script.open().accepted(mss=None)
    assert len(script.write(peer.socket, b"y" * 3000)[0].data) == 536
    peer = script.open().accepted(mss=1)
    assert len(script.write(peer.socket, b"y" * 3000)[0].data) == 64


def test_handshake_as_opener(script):
    script.open()
    socket = script.do("connect", PEER_IP, 80, 4000)
    (syn,) = script.segments()
    assert syn.flags == "S"
    assert (syn.mss, syn.scale, syn.sack_permitted) == (1460, 3, True)
    assert syn.timestamps[1] == 0
    assert script.do("result", socket) == -errno.EINPROGRESS
    # One that acknowledges something else is an old one's: reset, and we go on.
    (reset,) = script.tcp("SA", 900, syn.seq + 5, source_port=80, port=4000)
    assert (reset.flags, reset.seq) == ("R", syn.seq + 5)
    (ack,) = script.tcp("SA", 900, syn.seq + 1, source_port=80, port=4000)
    assert (ack.flags, ack.seq, ack.ack) == ("A", syn.seq + 1, 901)
    assert script.do("result", socket) == 0
    assert script.do("state", socket) == ESTABLISHED


def test_refused_only_by_a_reset_that_acknowledges(script):
    script.open()
    socket = script.do("connect", PEER_IP, 80, 4000)
    (syn,) = script.segments()
    script.tcp("R", 0, 0, source_port=80, port=4000)
    assert script.drops("tcp_reset_blind") == 1
    script.tcp("RA", 0, syn.seq + 1, source_port=80, port=4000)
    assert script.do("result", socket) == -errno.ECONNREFUSED


def test_syn_is_sent_again_ever_later_and_then_given_up(script):
    script.open(syn_tries=4)
    socket = script.do("connect", PEER_IP, 80, 4000)
    times = [s.at_ms for s in [*script.segments(), *script.at(100000)] if s.flags == "S"]
    assert times == pytest.approx([0, 1000, 3000, 7000, 15000], rel=0.04)
    assert script.do("result", socket) == -errno.ETIMEDOUT
    assert script.counter("tcp_timed_out") == 1


def test_no_listener_is_answered_as_3_10_7_1_says(script):
    script.open()
    (reset,) = script.tcp("S", 100)
    assert (reset.flags, reset.seq, reset.ack) == ("RA", 0, 101)
    (reset,) = script.tcp("A", 100, 777)
    assert (reset.flags, reset.seq) == ("R", 777)
    assert script.tcp("R", 100) == []


def test_simultaneous_open(script):
    script.open()
    socket = script.do("connect", PEER_IP, 80, 4000)
    (syn,) = script.segments()
    (both,) = script.tcp("S", 900, source_port=80, port=4000)
    assert (both.flags, both.seq, both.ack) == ("SA", syn.seq, 901)
    assert script.do("state", socket) == SYN_RECEIVED
    script.tcp("SA", 900, syn.seq + 1, source_port=80, port=4000)
    assert script.do("state", socket) == ESTABLISHED


def test_simultaneous_close(script):
    peer = script.open().accepted()
    script.do("shutdown", peer.socket)
    (fin,) = script.segments()
    assert fin.flags == "FA"
    (ack,) = peer.send("FA")
    assert (ack.flags, ack.ack) == ("A", peer.seq)
    assert script.do("state", peer.socket) == CLOSING
    peer.send(ack=fin.seq + 1)
    assert script.do("state", peer.socket) == TIME_WAIT


def test_orderly_close_from_either_side(script):
    peer = script.open(time_wait_ms=1000).accepted()
    (ack,) = peer.send("FA")
    assert script.do("state", peer.socket) == CLOSE_WAIT
    assert script.read(peer.socket) == 0
    script.do("close", peer.socket)
    (fin,) = script.segments()
    assert (fin.flags, fin.ack) == ("FA", ack.ack)
    peer.send(ack=fin.seq + 1)
    assert script.words("usage")[0] == "0"

    peer = script.accepted(source_port=5001)
    script.do("close", peer.socket)
    (fin,) = script.segments()
    peer.send(ack=fin.seq + 1)
    peer.ack = fin.seq + 1
    (ack,) = peer.send("FA")
    assert script.words("usage")[:2] == ["1", "1"], "in TIME-WAIT"
    assert script.later(1100) == []
    assert script.words("usage")[:2] == ["0", "0"]


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
    assert places(script.at(260), peer.first) == [0]
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
    for n in range(1, 30):
        peer.send("A", b"x", seq=peer.seq + 10 * n)
    assert script.drops("tcp_out_of_order_full") == 29 - 16


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
    assert 5 <= answers <= 10
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


def closed_by_us(script, **options):
    peer = script.accepted(**options)
    script.do("close", peer.socket)
    (fin,) = script.segments()
    peer.ack = fin.seq + 1
    peer.send("FA")
    assert script.words("usage")[1] == "1"
    return peer


def test_time_wait_answers_a_fin_again_and_is_not_cut_short(script):
    peer = closed_by_us(script.open(time_wait_ms=2000))
    script.at(1500)
    (ack,) = peer.send("FA", seq=peer.seq - 1)
    assert (ack.flags, ack.ack) == ("A", peer.seq)
    peer.send("R")
    script.at(3400)
    assert script.words("usage")[1] == "1", "begun anew by the FIN; RFC 1337"
    script.at(3700)
    assert script.words("usage")[1] == "0"


@pytest.mark.parametrize("timestamps", [False, True])
def test_time_wait_makes_room_for_a_new_connection_of_the_same_ports(script, timestamps):
    peer = closed_by_us(script.open(), timestamps=timestamps)
    script.at(1500)
    old = {"seq": peer.seq - 500, "tsval": 99000} if timestamps else {"seq": peer.seq - 500}
    assert "S" not in "".join(flags(peer.send("S", **old))), "an old SYN"
    (answer,) = peer.send("S", seq=peer.seq + 70000)
    assert (answer.flags, answer.ack) == ("SA", peer.seq + 70001)
    assert script.counter("tcp_time_waits_reused") == 1


def test_time_wait_is_bounded(script):
    script.open(time_waits=3)
    for i in range(10):
        peer = script.accepted(source_port=6000 + i)
        script.do("close", peer.socket)
        (fin,) = script.segments()
        peer.ack = fin.seq + 1
        peer.send("FA")
    assert script.words("usage")[1] == "3"
    assert script.counter("tcp_time_waits_recycled") == 7


def test_keepalive(script):
    peer = script.open(keepalive_idle_ms=10000, keepalive_interval_ms=1000, keepalive_probes=3).accepted()
    script.do("set", peer.socket, 1, 1)
    (probe,) = script.at(10500)
    assert (probe.flags, probe.seq, probe.data) == ("A", peer.ack - 1, b"")
    peer.send()
    assert [s.at_ms for s in script.at(20400)] == [], "it lives: ten seconds more"
    sent = script.at(30000)
    assert flags(sent) == ["A", "A", "A", "RA"]
    assert script.read(peer.socket) == -errno.ETIMEDOUT


def test_an_orphan_does_not_wait_for_ever(script):
    peer = script.open(fin_wait_2_ms=5000).accepted()
    script.do("close", peer.socket)
    (fin,) = script.segments()
    peer.send(ack=fin.seq + 1)
    assert script.words("usage")[0] == "1"
    script.at(6000)
    assert script.words("usage")[0] == "0"


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
