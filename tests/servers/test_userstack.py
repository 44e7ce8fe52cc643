"""Connections of the user-level stack from handshake to TIME-WAIT, by scripts in virtual time."""

import errno

import pytest

ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, CLOSE_WAIT, CLOSING, LAST_ACK, TIME_WAIT = range(4, 11)
SYN_RECEIVED = 3
PEER_IP = 0x0A000002


def flags(segments):
    return [s.flags for s in segments]


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
