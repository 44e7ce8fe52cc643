"""Loss and its recovery in the user-level stack's TCP: by time, in proportion, and taken back if there was none."""

import pytest

DELAY_MS = 20


@pytest.fixture
def opened(script):
    """A connection with SACK over a path of 20 ms, on which a time-out takes a second."""

    def opened(*, timestamps=False, **limits):
        limits = {"congestion": "reno", "min_rto_us": 1000000, "tick_ns": 10000} | limits
        return script.open(**limits).accepted(sack=True, timestamps=timestamps, rtt_ms=DELAY_MS)

    return opened


def places(peer, segments):
    """Which of the segments of 1,000 bytes they are."""
    return [(s.seq - peer.first) // 1000 for s in segments if s.data]


def at(peer, n):
    return peer.first + 1000 * n


def sack(peer, *runs, ack=0):
    """An acknowledgment up to segment `ack`, with runs from segment to segment; what it brings."""
    answers = peer.send(ack=at(peer, ack), sack=tuple((at(peer, a), at(peer, b)) for a, b in runs))
    return places(peer, answers)


def test_a_retransmission_that_is_lost_is_found_by_time(script, opened):
    peer = opened()
    assert places(peer, script.write(peer.socket, b"d" * 30000)) == list(range(10))
    script.later(20)
    assert [sack(peer, (1, n)) for n in (2, 3, 4)] == [[10], [11], [0]]
    script.later(1)
    later = [n for upto in range(5, 11) for n in sack(peer, (1, upto))]
    assert later == [12, 13], "one for two, RFC 6937"
    script.later(19)
    assert 0 not in sack(peer, (1, 12)), "both were sent before it"
    script.later(1)
    assert sack(peer, (1, 13))[0] == 0, "this one after it"
    assert (script.counter("tcp_timeouts"), script.counter("tcp_fast_recoveries")) == (0, 1)


def test_one_report_is_enough_after_a_quarter_of_a_round_trip(script, opened):
    peer = opened()
    script.write(peer.socket, b"d" * 2000)
    script.later(20)
    assert sack(peer, (1, 2)) == []
    assert script.later(4.9) == []
    assert places(peer, script.later(0.3)) == [0]
    assert script.counter("tcp_fast_recoveries") == 1


def test_a_path_that_reorders_is_given_time(script, opened):
    peer = opened()
    script.write(peer.socket, b"d" * 4000)
    script.later(20)
    assert sack(peer, (1, 4)) == [0], "more than two segments above it, and nothing known of reordering"
    peer = opened()
    script.write(peer.socket, b"d" * 4000)
    script.later(20)
    sack(peer, (1, 2))
    sack(peer, ack=2)  # late, not lost
    script.write(peer.socket, b"d" * 6000)
    script.later(20)
    assert sack(peer, (5, 9), ack=4) == []
    assert places(peer, script.later(6)) == [4]


def test_the_window_falls_in_proportion_and_ends_at_half(script, opened):
    peer = opened()
    script.write(peer.socket, b"d" * 60000)
    script.later(20)
    sent = [len(sack(peer, (1, n))) for n in range(2, 11)]
    assert sent == [1, 1, 1, 0, 1, 0, 1, 0, 0], "limited transmit twice, then one for two, down to half"
    script.later(20)
    assert len(sack(peer, ack=14)) == 6, "half of ten, and one for the five that have arrived now"


def test_a_duplicate_that_is_reported_takes_the_fall_back(script, opened):
    peer = opened()
    script.write(peer.socket, b"d" * 10000)
    script.later(20)
    assert [sack(peer, (1, n)) for n in (2, 3, 4)] == [[], [], [0]]
    sack(peer, ack=10)
    assert script.counter("tcp_undone") == 0
    sack(peer, (0, 1), ack=10)
    assert script.counter("tcp_undone") == 1
    peer.ack = at(peer, 10)
    assert len(script.write(peer.socket, b"d" * 30000)) >= 10


def test_duplicates_of_the_network_are_none_of_ours(script, opened):
    peer = opened()
    script.write(peer.socket, b"d" * 10000)
    script.later(20)
    for n in range(1, 5):
        sack(peer, (n - 1, n), ack=n)
    assert (script.counter("tcp_undone"), script.counter("tcp_retransmitted")) == (0, 0)


def test_a_timestamp_tells_that_a_timeout_came_too_early(script, opened):
    peer = opened(timestamps=True, min_rto_us=200000, tail_probes=0)
    first, *_ = script.write(peer.socket, b"d" * 9880)
    peer.echo = first.timestamps[0]
    again = script.later(300)
    assert [s.seq for s in again] == [peer.first]
    peer.echo = first.timestamps[0]
    peer.ack = peer.first + 9880
    peer.send()
    assert (script.counter("tcp_timeouts"), script.counter("tcp_undone")) == (1, 1)
    assert len(script.write(peer.socket, b"d" * 30000)) >= 10


def test_a_timeout_that_was_needed_stays(script, opened):
    peer = opened(timestamps=True, min_rto_us=200000, tail_probes=0)
    script.write(peer.socket, b"d" * 9880)
    (again,) = script.later(300)
    peer.echo = again.timestamps[0]
    peer.ack = peer.first + 988
    assert [(s.seq - peer.first) // 988 for s in peer.send()] == [1, 2], "slow start"
    assert script.counter("tcp_undone") == 0


@pytest.mark.parametrize("probes", [0, 1])
def test_a_tail_that_is_lost_is_probed(script, opened, probes):
    peer = opened(tail_probes=probes)
    script.write(peer.socket, b"d" * 3000)
    sent = script.later(100)
    assert places(peer, sent) == [2] * probes
    if probes:
        assert sent[0].at_ms == pytest.approx(2 * DELAY_MS + DELAY_MS + 10, abs=6), (
            "and a hundredth of the minimum"
        )
        assert sack(peer, (2, 3)) + places(peer, script.later(30)) == [0]
        assert sack(peer, (2, 3), ack=1) == [1]
        assert script.counter("tcp_timeouts") == 0
    assert script.counter("tcp_tail_probes") == probes


def test_a_probe_may_be_new(script, opened):
    peer = opened()
    assert places(peer, script.write(peer.socket, b"d" * 12000)) == list(range(10))
    assert places(peer, script.later(60)) == [10]


def test_what_came_twice_is_reported(script):
    peer = script.open().accepted(sack=True)
    base = peer.seq
    peer.send("A", b"x" * 1000)
    (ack,) = peer.send("A", b"x" * 1000, seq=base)
    assert (ack.ack, ack.sack) == (base + 1000, ((base, base + 1000),))
    peer.send("A", b"z" * 500, seq=base + 3000)
    (ack,) = peer.send("A", b"z" * 500, seq=base + 3000)
    assert ack.sack == ((base + 3000, base + 3500),) * 2
    (ack,) = peer.send("A", b"y" * 500, seq=base + 2000)
    assert ack.sack == ((base + 2000, base + 2500), (base + 3000, base + 3500)), "once, and no more"


def test_few_runs_only_make_it_slower(script, opened):
    peer = opened(runs=2)
    script.write(peer.socket, b"d" * 10000)
    for upto in (2, 4, 6, 8, 10):
        script.later(2)
        sack(peer, *[(n - 1, n) for n in (upto, upto - 2, upto - 4) if n > 0])
    assert script.counter("tcp_runs_exhausted") > 0
    got = set()
    for _ in range(200):
        got |= set(places(peer, script.later(100)))
        have = next(n for n in range(11) if n % 2 == 0 and n not in got)
        got |= set(sack(peer, ack=have))
        if have == 10:
            break
    assert {0, 2, 4, 6, 8} <= got


def test_one_that_does_not_read_leaves_room_for_others(script):
    script.open(chunks=64, receive_bytes=131072)
    idle = script.accepted(source_port=5001)
    window, sent = 60000, 0
    while window >= 1000 and sent < 200:
        answers = idle.send("A", b"x" * 1000) or script.later(50)
        window, sent = answers[-1].window, sent + 1
    assert sent < 100, "half of all chunks"
    busy = script.accepted(source_port=5002)
    for _ in range(50):
        busy.send("A", b"y" * 1000)
        assert script.read(busy.socket) == b"y" * 1000
    assert script.drops("tcp_memory") == 0


def test_writable_means_that_something_can_be_written(script):
    script.open(chunks=8)
    peers = [script.accepted(source_port=5001 + i, window=0) for i in range(5)]
    taken = [script.do("write", p.socket, (b"w" * 20000).hex()) for p in peers]
    assert taken == [8192, 4096, 2048, 2048, -11]
    last = peers[-1].socket
    script.do("wait", last, 2)
    assert script.words("events") == ["0"], "or the caller would be woken for nothing, for ever"
    peers[0].send(window=10000)
    peers[0].ack = (peers[0].first + 8000) % 2**32
    peers[0].send(window=10000)
    assert script.words("events") == ["1", f"{last}:2"]
    assert script.do("write", last, (b"w" * 20000).hex()) > 0
