"""Blind injections into the user-level stack: who does not see a connection's packets cannot end it or write into it.

RFC 5961 asks it of RST (section 3), SYN (4) and text (5), in every state, and that challenge ACKs be limited (7).
"""

import errno
import struct

import pytest

from tests.servers.conftest import PEER_IP, Peer, ipv4

(SYN_SENT, SYN_RECEIVED, ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, CLOSE_WAIT, CLOSING, LAST_ACK, TIME_WAIT) = (
    range(2, 11)
)
CLOSED = 0


def established(script):
    return script.accepted()


def fin_wait_1(script):
    peer = script.accepted()
    script.do("shutdown", peer.socket)
    script.take()
    return peer


def fin_wait_2(script):
    peer = fin_wait_1(script)
    peer.ack += 1
    peer.send()
    return peer


def close_wait(script):
    peer = script.accepted()
    peer.send("FA")
    return peer


def closing(script):
    peer = fin_wait_1(script)
    peer.send("FA")
    return peer


def last_ack(script):
    peer = close_wait(script)
    script.do("shutdown", peer.socket)
    script.take()
    return peer


def time_wait(script):
    peer = fin_wait_2(script)
    peer.send("FA")
    return peer


#: Synchronized states before TIME-WAIT: how to get there, and its number.
STATES = {
    "ESTABLISHED": (established, ESTABLISHED),
    "FIN-WAIT-1": (fin_wait_1, FIN_WAIT_1),
    "FIN-WAIT-2": (fin_wait_2, FIN_WAIT_2),
    "CLOSE-WAIT": (close_wait, CLOSE_WAIT),
    "CLOSING": (closing, CLOSING),
    "LAST-ACK": (last_ack, LAST_ACK),
}


@pytest.fixture(params=STATES.values(), ids=STATES)
def victim(request, script):
    """A peer whose connection is in one of the states."""
    reach, state = request.param
    peer = reach(script.open(challenges_per_s=1000))
    peer.state = state
    assert script.do("state", peer.socket) == state
    return peer


def challenged(peer, answers):
    """One ACK, of what we have: it tells a true peer to say it again, and a false one nothing."""
    (ack,) = answers
    return (ack.flags, ack.ack, ack.data) == ("A", peer.seq, b"") and untouched(peer)


def untouched(peer):
    return peer.script.do("state", peer.socket) == peer.state


def test_a_reset_in_the_window_is_challenged(script, victim):
    for offset in (1, 1000, 30000):
        assert challenged(victim, victim.send("R", seq=victim.seq + offset))
        assert challenged(victim, victim.send("RA", seq=victim.seq + offset))
    assert script.drops("tcp_reset_blind") == 6


def test_a_reset_outside_of_the_window_is_ignored(script, victim):
    for offset in (-1, -30000, 2**20, 2**31):
        assert victim.send("R", seq=victim.seq + offset) == []
        assert untouched(victim)
    assert script.counter("tcp_challenges") == 0


def test_a_reset_at_the_left_edge_ends_it(script, victim):
    assert victim.send("R") == []
    assert script.do("state", victim.socket) == CLOSED


def test_a_syn_is_challenged_wherever_it_lies(script, victim):
    for offset in (0, 1, 30000, -30000, 2**31):
        for flags in ("S", "SA"):
            assert challenged(victim, victim.send(flags, seq=victim.seq + offset))
    assert script.drops("tcp_syn_blind") == 10


def test_text_whose_acknowledgment_is_not_possible_is_challenged(script, victim):
    """5.2: SND.UNA − MAX.SND.WND ≤ SEG.ACK ≤ SND.NXT, which a guess hits once in 2^32 / window."""
    for ack in (2, 1000, 2**31, -victim.window - 3, -(2**30)):
        for flags in ("A", "PA", "FA"):
            assert challenged(victim, victim.send(flags, b"evil", seq=victim.seq, ack=victim.ack + ack))
    assert script.drops("tcp_ack") == 15


def test_text_without_acknowledgment_is_dropped(script, victim):
    assert victim.send("P", b"evil", seq=victim.seq) == []
    assert victim.send("", b"evil", seq=victim.seq) == []
    assert untouched(victim)


def test_text_outside_of_the_window_is_answered_and_dropped(script, victim):
    for offset in (-30000, 2**20, 2**31):
        assert challenged(victim, victim.send("A", b"evil", seq=victim.seq + offset))


def test_an_old_acknowledgment_within_the_largest_window_is_heeded(script):
    peer = script.open().accepted()
    for seq, ack in ((0, -peer.window), (1, 0)):
        peer.send("A", b"x", seq=peer.seq + seq, ack=peer.ack + ack)
    assert script.read(peer.socket) == b"xx"


def test_nothing_of_all_that_is_ever_read(script):
    peer = script.open(challenges_per_s=1000).accepted()
    for offset in range(-70000, 70000, 700):
        peer.send("PA", b"evil", seq=peer.seq + offset, ack=peer.ack + 2**30)
        peer.send("S", b"evil", seq=peer.seq + offset)
        peer.send("R", b"evil", seq=peer.seq + offset + 1)
    assert script.read(peer.socket) == -errno.EAGAIN
    peer.send("PA", b"good")
    assert script.read(peer.socket) == b"good"


# -------------------------------------------------------------------------- states with rules of their own


def half_open(script, **options):
    script.open(challenges_per_s=1000, **options)
    script.listener = script.do("listen", 80, 8)
    peer = Peer(script)
    (answer,) = peer.send("S")
    peer.ack = answer.seq + 1
    return peer


def test_a_half_open_connection(script):
    peer = half_open(script)
    for answers in (
        peer.send("R", seq=peer.seq + 1),
        peer.send("S", seq=peer.seq + 1000),
        peer.send("S", seq=peer.seq - 1000),
        peer.send("SA", seq=peer.seq + 9),
    ):
        assert [(a.flags, a.ack) for a in answers] == [("A", peer.seq)]
    # A handshake's last step that acknowledges something else: 3.10.7.4 has it reset, and nothing is opened.
    for ack in (1, -1, 2**31):
        (reset,) = peer.send("A", b"evil", seq=peer.seq, ack=peer.ack + ack)
        assert (reset.flags, reset.seq) == ("R", (peer.ack + ack) % 2**32)
    assert peer.send("R", seq=peer.seq - 1) == []
    assert script.do("accept", script.listener) == -errno.EAGAIN
    assert script.words("usage")[0] == "1"
    peer.send()
    assert script.do("accept", script.listener) >= 0


def test_a_half_open_connection_is_reset_by_its_own_number(script):
    peer = half_open(script)
    assert peer.send("R") == []
    assert script.words("usage")[0] == "0"


def test_time_wait(script):
    peer = time_wait(script.open(time_wait_ms=60000))
    assert script.do("state", peer.socket) == TIME_WAIT
    assert peer.send("R") == [], "RFC 1337: not even by its own number"
    assert peer.send("R", seq=peer.seq + 5) == []
    script.do("close", peer.socket)
    for answers in (
        peer.send("A", b"evil", seq=peer.seq),
        peer.send("S", seq=peer.seq - 1000),
        peer.send("FA", seq=peer.seq - 1),
    ):
        assert [(a.flags, a.ack) for a in answers] == [("A", peer.seq)]
    assert script.words("usage")[1] == "1", "it is still there"


def test_a_listener_keeps_nothing(script):
    script.open()
    script.do("listen", 80, 8)
    assert script.tcp("R", 1, 1) == []
    assert script.tcp("RA", 1, 1) == []
    assert script.tcp("SF", 1) == []
    assert script.tcp("", 1, 0, b"evil") == []
    assert script.tcp("SR", 1) == []
    for flags in ("A", "SA", "FA", "PA"):
        (reset,) = script.tcp(flags, 1, 7777)
        assert (reset.flags, reset.seq) == ("R", 7777)
    assert script.words("usage")[0] == "0"


def test_an_opening_connection_is_refused_only_by_who_has_seen_its_syn(script):
    script.open()
    socket = script.do("connect", PEER_IP, 80, 4000)
    (syn,) = script.segments()

    def send(flags, ack, data=b""):
        return script.tcp(flags, 900, ack, data, source_port=80, port=4000)

    assert send("R", 0) == []
    for ack in (0, syn.seq, syn.seq + 2, syn.seq + 2**31):
        assert send("RA", ack) == []
        (reset,) = send("SA", ack)
        assert (reset.flags, reset.seq) == ("R", ack % 2**32)
        (reset,) = send("A", ack, b"evil")
        assert reset.flags == "R"
    assert send("A", syn.seq + 1, b"evil") == []
    assert script.do("state", socket) == SYN_SENT
    send("RA", syn.seq + 1)
    assert script.do("result", socket) == -errno.ECONNREFUSED


# ------------------------------------------------------------------------------------------------- limits


def test_challenges_are_counted_for_each_connection(script):
    """CVE-2016-5696: what an attacker gets on a connection of his own tells nothing of guesses at another."""
    limit = 10
    got = []
    for right_guess in (False, True):
        script.open(challenges_per_s=limit)
        victim = script.accepted()
        own = script.accepted(source_port=6000)
        for _ in range(5 * limit):
            victim.send("R", seq=victim.seq + (1 if right_guess else 2**30))
        got.append(sum(len(own.send("R", seq=own.seq + 1)) for _ in range(5 * limit)))
    assert got == [limit, limit]


def test_two_that_answer_each_other_come_to_an_end(script):
    peer = script.open(challenges_per_s=10).accepted()
    answers = [len(peer.send("A", seq=peer.seq + 2**30)) for _ in range(1000)]
    assert sum(answers) == 10


def test_the_limit_of_icmp_errors_is_not_known(script):
    """CVE-2020-25705: a known one would tell how many errors went to others, and so which ports are open."""
    script.open(icmp_per_s=20)
    datagram = ipv4(17, struct.pack("!HHHH", 9, 99, 8, 0))
    seen = set()
    for second in range(1, 30):
        script.do("at", second * 1_000_000)
        script.take()
        seen.add(sum(len(script.frame(datagram)) for _ in range(40)))
    assert min(seen) >= 10
    assert max(seen) <= 20
    assert len(seen) >= 5


@pytest.mark.parametrize("neighbours", [1, 1000])
def test_made_up_neighbours_do_not_push_out_a_real_one(script, neighbours):
    """Each answer to a SYN from a made-up address asks for it; the real one is not to be asked again for that."""
    script.open(arp_entries=16, syn_queue=0)
    script.do("listen", 80, 64)
    for i in range(neighbours):
        script.tcp("S", 1, source=PEER_IP + 1 + i % 250, source_port=1000 + i)
    (answer,) = script.tcp("S", 1, source_port=9)
    assert answer.flags == "SA"


# ------------------------------------------------------------------------------------ cookies carry options


@pytest.mark.parametrize("mss", [None, 536, 1300, 1460])
@pytest.mark.parametrize("scale", [None, 0, 7])
@pytest.mark.parametrize("sack", [False, True])
@pytest.mark.parametrize("timestamps", [False, True])
def test_a_cookie_gives_back_what_was_offered(script, mss, scale, sack, timestamps):
    script.open(syn_queue=0)
    listener = script.do("listen", 80, 8)
    peer = Peer(script, mss=mss, scale=scale, sack=sack, timestamps=timestamps, window=20000)
    (answer,) = peer.send("S")
    assert script.words("usage")[0] == "0"
    peer.ack = answer.seq + 1
    assert (answer.timestamps is not None) == timestamps
    assert (answer.scale is not None, answer.sack_permitted) == (
        timestamps and scale is not None,
        timestamps and sack,
    ), "without timestamps there is no place to remember them"
    assert peer.send() == []
    socket = script.do("accept", listener)
    assert script.counter("tcp_cookies_taken") == 1
    sent = script.write(socket, b"y" * 5000)
    assert len(sent[0].data) == (mss or 536) - 12 * timestamps
    if timestamps and sack:
        (duplicate,) = peer.send("A", b"beyond", seq=peer.seq + 100)
        assert duplicate.sack == ((peer.seq + 100, peer.seq + 106),)
