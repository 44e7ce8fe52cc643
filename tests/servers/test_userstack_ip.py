"""What lies below TCP in the user-level stack: ARP, IPv4 and its fragments, ICMP, path MTU, UDP."""

import errno
import struct

import pytest

from tests.servers.conftest import (
    PEER_IP,
    PEER_MAC,
    STACK_IP,
    STACK_MAC,
    checksum,
    icmp,
    ipv4,
    with_pseudo_checksum,
)

ICMP, UDP = 1, 17


def kinds(frames):
    return [{b"\x08\x06": "arp", b"\x08\x00": "ip"}[frame[12:14]] for _, frame in frames]


def echo(size, number=1):
    return icmp(8, 0, struct.pack("!HH", 7, number), bytes(i % 251 for i in range(size)))


def test_a_question_is_answered_and_remembered(script):
    script.open(known=False)
    ((_, reply),) = script.arp(1, PEER_IP, STACK_IP)
    assert reply[:6] == PEER_MAC
    assert reply[6:14] == STACK_MAC + b"\x08\x06"
    assert struct.unpack("!HHBBH6sI6sI", reply[14:42]) == (
        1,
        0x800,
        6,
        4,
        2,
        STACK_MAC,
        STACK_IP,
        PEER_MAC,
        PEER_IP,
    )
    assert kinds(script.frame(ipv4(ICMP, echo(10)))) == ["ip"], "no question needed"


def test_answers_that_nobody_asked_for_teach_nothing(script):
    script.open(known=False)
    for i in range(50):
        script.arp(2, PEER_IP + i, STACK_IP)
    assert script.drops("arp_unasked") == 50
    assert kinds(script.frame(ipv4(ICMP, echo(10)))) == ["arp"]


@pytest.mark.parametrize(
    ("sender", "mac"), [(STACK_IP, PEER_MAC), (0x0B000001, PEER_MAC), (PEER_IP, b"\x01\x00\x5e\0\0\1")]
)
def test_claims_that_cannot_be_are_dropped(script, sender, mac):
    script.open(known=False)
    assert script.arp(1, sender, STACK_IP, mac) == []
    assert script.drops("arp_malformed") == 1


def test_packets_wait_for_an_address_up_to_a_bound(script):
    script.open(known=False, arp_queue=3)
    for number in range(5):
        script.do("in", ipv4(ICMP, echo(10, number)).hex())
    assert kinds(script.take()) == ["arp"], "one question for all"
    assert script.drops("arp_queue_full") == 2
    replies = script.arp(2, PEER_IP, STACK_IP)
    assert [struct.unpack("!H", frame[40:42])[0] for _, frame in replies] == [2, 3, 4], "the latest, in order"
    assert script.words("usage")[3] == "0"


def test_an_address_that_never_answers_is_asked_three_times(script):
    script.open(known=False)
    script.do("connect", PEER_IP, 80, 0)
    script.do("at", 20_000_000)
    asked = [at for at, frame in script.take() if frame[12:14] == b"\x08\x06"]
    assert asked[:3] == pytest.approx([0, 1000, 2000], rel=0.03)
    assert script.drops("arp_unanswered") >= 1
    assert script.words("usage")[3] == "0"


def test_an_address_ages(script):
    script.open()
    script.do("at", 61_000_000)
    first = script.frame(ipv4(ICMP, echo(10)))
    assert kinds(first) == ["arp", "ip"], "it serves while it is asked again"
    assert first[0][1][:6] == PEER_MAC, "itself, not everybody"
    script.do("at", 70_000_000)
    script.take()
    assert kinds(script.frame(ipv4(ICMP, echo(10)))) == ["arp"], "it did not answer"


@pytest.mark.parametrize("size", [0, 1, 56, 1472])
def test_echo(script, size):
    script.open()
    request = echo(size)
    ((_, reply),) = script.frame(ipv4(ICMP, request))
    assert reply[34] == 0
    assert checksum(reply[34:]) == 0
    assert reply[38:] == request[4:]


def test_a_long_echo_comes_and_goes_in_pieces(script):
    script.open()
    request = echo(1900)
    script.frame(ipv4(ICMP, request[1000:], offset=1000, number=9))
    assert script.words("usage")[4] == "1"
    sent = script.frame(ipv4(ICMP, request[:1000], more=True, number=9))
    assert len(sent) == 2
    assert b"".join(frame[34:] for _, frame in sent)[4:] == request[4:]
    assert script.counter("datagrams_reassembled") == 1
    assert script.words("usage")[4] == "0"


def test_fragments_within_limits(script):
    script.open(datagrams=4, datagram_bytes=4096)
    piece = bytes(800)
    script.frame(ipv4(ICMP, piece, more=True, offset=0, number=1))
    script.frame(ipv4(ICMP, piece, more=True, offset=0, number=1))
    assert script.words("usage")[4] == "1", "a repetition is no harm"
    script.frame(ipv4(ICMP, piece, more=True, offset=400, number=1))
    assert script.drops("fragment_overlap") == 1
    assert script.words("usage")[4] == "0", "all of it is given up"
    script.frame(ipv4(ICMP, piece, more=True, offset=4000, number=2))
    assert script.drops("fragment_too_big") == 1
    script.frame(ipv4(ICMP, piece, more=False, offset=65000, number=2))
    script.frame(ipv4(ICMP, bytes(801), more=True, number=2))
    assert script.drops("fragment_malformed") == 2
    for number in range(10, 20):
        script.frame(ipv4(ICMP, piece, more=True, number=number))
    assert script.words("usage")[4] == "4"
    assert script.drops("fragment_full") == 6
    script.do("at", 33_000_000)
    assert script.drops("fragment_timeout") == 4
    assert script.words("usage")[4:6] == ["0", "0"]


def test_fragments_that_disagree_about_the_end(script):
    script.open()
    script.frame(ipv4(ICMP, bytes(800), more=False, offset=800, number=1))
    script.frame(ipv4(ICMP, bytes(800), more=True, offset=1600, number=1))
    assert script.drops("fragment_malformed") == 1
    for place in range(0, 17 * 160, 160):
        script.frame(ipv4(ICMP, bytes(80), more=True, offset=place, number=2))
    assert script.drops("fragment_pieces") == 1


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda f: f[:14] + b"\x55" + f[15:], "ip_malformed"),
        (lambda f: f[:14] + b"\x44" + f[15:], "ip_malformed"),
        (lambda f: f[:16] + b"\xff\xff" + f[18:], "ip_malformed"),
        (lambda f: f[:20], "ip_malformed"),
        (lambda f: f[:22] + b"\x01" + f[23:], "ip_checksum"),
        (lambda f: f[:36] + b"\0\0" + f[38:], "icmp_checksum"),
        (lambda f: b"\x02" * 6 + f[6:], "ethernet_address"),
        (lambda f: f[:12] + b"\x86\xdd" + f[14:], "ethernet_type"),
        (lambda f: f[:13], "ethernet_short"),
        (lambda f: f + bytes(1500), "ethernet_short"),
    ],
)
def test_every_drop_has_its_cause(script, change, cause):
    script.open()
    assert script.frame(change(ipv4(ICMP, echo(56)))) == []
    assert script.drops(cause) == 1


@pytest.mark.parametrize("source", [0, 0x7F000001, 0xE0000001, 0xFFFFFFFF, STACK_IP, 0x0A0000FF])
def test_nobody_is_answered_who_cannot_be(script, source):
    script.open()
    assert script.frame(ipv4(ICMP, echo(10), source=source)) == []
    assert script.drops("ip_address") == 1


def test_padding_and_options_are_skipped(script):
    script.open()
    frame = ipv4(ICMP, echo(2))
    assert len(script.frame(frame + bytes(60 - len(frame)))) == 1
    head = struct.pack("!BBHHHBBHII", 0x46, 0, 34, 0, 0, 64, 1, 0, PEER_IP, STACK_IP) + b"\x01\x01\x01\x00"
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    assert len(script.frame(frame[:14] + head + echo(2))) == 1


def udp(data, port, source_port=9):
    message = struct.pack("!HHHH", source_port, port, 8 + len(data), 0) + data
    return ipv4(UDP, with_pseudo_checksum(UDP, message, 6))


def test_udp_both_ways(script):
    script.open(udp_queue_bytes=4000)
    socket = script.do("udp", 53)
    assert script.do("udp", 53) == -errno.EADDRINUSE
    assert script.frame(udp(b"question", 53)) == []
    assert script.words("receive", socket, 100) == ["8", b"question".hex(), str(PEER_IP), "9"]
    assert script.do("receive", socket, 100) == -errno.EAGAIN
    assert script.do("send", socket, PEER_IP, 9, b"answer".hex()) == 6
    ((_, frame),) = script.take()
    assert frame[42:] == b"answer"
    pseudo = frame[26:34] + struct.pack("!BBH", 0, UDP, len(frame) - 34)
    assert checksum(pseudo + frame[34:]) == 0
    for size in (0, 1, 500, 1000, 1400, 1200):
        script.frame(udp(bytes([size % 256]) * size, 53))
    assert script.drops("udp_queue_full") == 1
    got = [int(script.words("receive", socket, 2000)[0]) for _ in range(5)]
    assert got == [0, 1, 500, 1000, 1400]
    assert script.do("close", socket) == 0
    assert script.do("udp", 53) == socket


def test_a_closed_port_is_unreachable_but_not_too_often(script):
    script.open(icmp_per_s=5)
    ((_, error), *_) = script.frame(udp(b"x" * 100, 99))
    assert error[34:36] == b"\x03\x03"
    assert checksum(error[34:]) == 0
    assert error[42:70] == udp(b"x" * 100, 99)[14:42], "the header and eight bytes are quoted"
    more = sum(len(script.frame(udp(b"x", 99))) for _ in range(20))
    assert 2 <= more <= 4, "five in a second, or somewhat fewer"
    assert script.drops("icmp_limited") == 20 - more


def test_bad_udp(script):
    script.open()
    script.do("udp", 53)
    good = udp(b"data", 53)
    script.frame(good[:-1] + b"A")
    assert script.drops("udp_checksum") == 1
    script.frame(ipv4(UDP, struct.pack("!HHHH", 9, 53, 100, 0)))
    script.frame(ipv4(UDP, b"short"))
    assert script.drops("udp_malformed") == 2


def too_big(segment, mtu):
    return ipv4(ICMP, icmp(3, 4, struct.pack("!HH", 0, mtu), segment.ip[:28]))


def test_path_mtu(script):
    peer = script.open(congestion="reno").accepted(mss=1460)
    sent = script.write(peer.socket, b"p" * 8000)
    assert len(sent[0].data) == 1460
    script.do("in", too_big(sent[0], 1000).hex())
    again = script.segments()
    assert (again[0].seq, len(again[0].data)) == (sent[0].seq, 960)
    assert all(len(s.data) <= 960 for s in again)
    assert script.counter("pmtu_lowered") == 1
    # Another connection to there knows it from the first.
    other = script.accepted(mss=1460, source_port=6000)
    assert len(script.write(other.socket, b"p" * 5000)[0].data) == 960


def test_path_mtu_is_not_lowered_by_guesses_nor_below_a_floor(script):
    peer = script.open().accepted(mss=1460)
    (sent,) = script.write(peer.socket, b"p" * 1460)
    old = peer.send(ack=peer.ack + 1460)
    assert old == []
    script.frame(too_big(sent, 1000))
    assert script.drops("icmp_unmatched") == 1
    peer.ack += 1460
    (sent,) = script.write(peer.socket, b"p" * 1460)
    script.do("in", too_big(sent, 68).hex())
    assert [len(s.data) for s in script.segments()][:2] == [512, 512]


def test_path_mtu_is_forgotten(script):
    peer = script.open().accepted(mss=1460)
    (sent,) = script.write(peer.socket, b"p" * 1460)
    script.do("in", too_big(sent, 1000).hex())
    peer.send(ack=peer.ack + 1460)
    script.do("at", 601_000_000)
    script.take()
    script.arp(1, PEER_IP, STACK_IP)
    other = script.accepted(mss=1460, source_port=6000)
    assert len(script.write(other.socket, b"p" * 5000)[0].data) == 1460


def test_an_error_ends_an_attempt_but_no_connection(script):
    peer = script.open().accepted()
    (sent,) = script.write(peer.socket, b"hello")
    script.frame(ipv4(ICMP, icmp(3, 3, bytes(4), sent.ip[:28])))
    assert script.do("result", peer.socket) == 0
    socket = script.do("connect", PEER_IP, 81, 4000)
    (syn,) = script.segments()
    script.frame(ipv4(ICMP, icmp(3, 3, bytes(4), syn.ip[:28])))
    assert script.do("result", socket) == -errno.ECONNREFUSED
