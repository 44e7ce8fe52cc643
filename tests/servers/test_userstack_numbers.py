"""Numbers that an outsider must not guess: initial sequence numbers, ports, identifications of the user-level stack.

The key is fixed, so every run sees the same numbers. Each test of randomness is shown to fail on weak numbers, too.
"""

import itertools
import struct
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy import stats

from tests.servers.conftest import PEER_IP

COUNT = 4096
FIRST_PORT = 1024  #: RFC 6056, 3.2: of the stack's own choice
#: Of one test. There are about thirty: by chance one in three thousand runs with another key would fail.
UNLIKELY = 1e-5
BITS = 32


def chi_square_of_ranges(numbers: np.ndarray, bits: int) -> float:
    """p-value: the numbers fall into 64 ranges equally often."""
    return stats.chisquare(np.bincount(numbers >> (bits - 6), minlength=64)).pvalue


def chi_square_of_low_bits(numbers: np.ndarray, bits: int) -> float:
    return stats.chisquare(np.bincount(numbers & 63, minlength=64)).pvalue


def bit_balance(numbers: np.ndarray, bits: int) -> float:
    """p-value of the least balanced bit, of all of them."""
    ones = [int(np.count_nonzero(numbers >> bit & 1)) for bit in range(bits)]
    return min(1.0, bits * min(stats.binomtest(n, len(numbers)).pvalue for n in ones))


def serial_correlation(numbers: np.ndarray, bits: int) -> float:
    """p-value of the strongest correlation of numbers up to eight apart."""
    values = numbers.astype(float)
    if np.ptp(values) == 0:
        return 0.0
    return min(1.0, 8 * min(stats.pearsonr(values[:-lag], values[lag:]).pvalue for lag in range(1, 9)))


def chi_square_of_steps(numbers: np.ndarray, bits: int) -> float:
    """p-value: so do the differences of neighbours, as those of a counter do not."""
    return chi_square_of_ranges(np.diff(numbers) % (1 << bits), bits)


def distinct_steps(numbers: np.ndarray, bits: int) -> float:
    """p-value of so many equal differences, by the birthday bound; of few bits none is asked."""
    n = len(numbers) - 1
    equal = n - len(np.unique(np.diff(numbers) % (1 << bits)))
    return float(stats.poisson.sf(equal - 1, n * (n - 1) / 2 / 2**bits))


TESTS: tuple[Callable[[np.ndarray, int], float], ...] = (
    chi_square_of_ranges,
    chi_square_of_low_bits,
    bit_balance,
    serial_correlation,
    chi_square_of_steps,
    distinct_steps,
)


def failed(numbers: Sequence[int], bits: int = BITS) -> list[str]:
    """Names of the tests that such numbers do not pass."""
    array = np.asarray(numbers, dtype=np.int64)
    return [test.__name__ for test in TESTS if test(array, bits) < UNLIKELY]


#: What stacks have done: RFC 6528, 1, and Zalewski, "Strange Attractors" (2001), tell of all of them.
WEAK = {
    "constant": lambda i: 0x12345678,
    "counter": lambda i: i,
    "64,000 a connection": lambda i: i * 64000,
    "a clock of 4 µs": lambda i: i * 25 + i % 3,
    "counter and little noise": lambda i: (i * 128000 + (i * 7919) % 251) % 2**32,
    "multiplied counter": lambda i: i * 2654435761 % 2**32,
    "16 bits of hash": lambda i: (i * i * 40503 + 77) % 65536 * 65536,
    "one bit stuck": lambda i: int(np.random.default_rng(i).integers(2**32)) | 1 << 20,
}


@pytest.mark.parametrize("name", WEAK)
def test_weak_numbers_are_found_out(name):
    assert failed([WEAK[name](i) for i in range(COUNT)])


@pytest.mark.parametrize("seed", range(5))
def test_good_numbers_pass(seed):
    assert failed(np.random.default_rng(seed).integers(2**32, size=COUNT)) == []


def first_numbers(script, tuples):
    """What the stack's answer to a SYN begins with, of each (address, port) at the same time."""
    script.open(syn_queue=0, gateway=PEER_IP)
    script.do("listen", 80, 64)
    return [script.tcp("S", 1, source=ip, source_port=port)[0].seq for ip, port in tuples]


def opened_numbers(script, tuples):
    """The same of connections that the stack opens."""
    script.open(connections=COUNT + 8, gateway=PEER_IP)
    numbers = []
    for ip, port in tuples:
        script.do("connect", ip, port, 4000)
        numbers.append(script.segments()[0].seq)
    return numbers


NEIGHBOURING = {
    "ports in a row": [(PEER_IP, 1024 + i) for i in range(COUNT)],
    "addresses in a row": [(0x0B000001 + i, 5000) for i in range(COUNT)],
}


@pytest.mark.parametrize("tuples", NEIGHBOURING.values(), ids=NEIGHBOURING)
def test_initial_numbers_tell_nothing_of_one_another(script, tuples):
    assert failed(opened_numbers(script, tuples)) == []


def test_cookies_tell_nothing_of_one_another(script):
    assert failed(first_numbers(script, NEIGHBOURING["ports in a row"])) == []


def test_half_open_connections_tell_nothing_of_one_another(script):
    script.open(connections=COUNT + 8, syn_queue=COUNT, gateway=PEER_IP)
    script.do("listen", 80, 64)
    numbers = [script.tcp("S", 1, source_port=1024 + i)[0].seq for i in range(COUNT)]
    assert script.counter("tcp_cookies_sent") == 0
    assert failed(numbers) == []


def test_timestamps_do_not_tell_the_uptime(script):
    script.open(connections=COUNT + 8, gateway=PEER_IP)
    clocks = []
    for i in range(COUNT):
        script.do("connect", PEER_IP, 1024 + i, 4000)
        clocks.append(script.segments()[0].timestamps[0])
    assert failed(clocks) == []


def test_numbers_of_one_four_tuple_follow_a_clock_of_4_us(script):
    """RFC 6528, 3: M + F, so that a new connection's numbers lie beyond those of the old one."""
    script.open()
    numbers = []
    times = [0, 1, 2, 10, 1000, 5000, 60_000, 600_000]
    for ms in times:
        script.at(ms)
        socket = script.do("connect", PEER_IP, 80, 4000)
        numbers.append(script.segments()[-1].seq)
        script.do("abort", socket)
    steps = [(b - a) % 2**32 for a, b in itertools.pairwise(numbers)]
    assert steps == [(b - a) * 250 for a, b in itertools.pairwise(times)]


def test_numbers_repeat_only_with_time_and_key(script):
    """F is a function of the four-tuple: what one connection begins with is what the next of its ends does."""
    tuples = NEIGHBOURING["ports in a row"][:50]
    assert opened_numbers(script, tuples) == opened_numbers(script, tuples)


# ------------------------------------------------------------------------------------------- ports, RFC 6056


def port_of(script, ip, port=80):
    socket = script.do("connect", ip, port, 0)
    sent = script.segments()[-1]
    script.do("abort", socket)
    return sent.source_port


def test_ports_begin_anywhere(script):
    """The first to each destination: over the whole range, and one tells nothing of the next."""
    script.open(gateway=PEER_IP)
    ports = np.array([port_of(script, 0x0B000001 + i) for i in range(COUNT)])
    assert ports.min() >= FIRST_PORT
    scaled = (ports - FIRST_PORT) * 65536 // (65536 - FIRST_PORT)
    assert [name for name in failed(scaled, bits=16) if name != "chi_square_of_low_bits"] == []


def test_ports_to_one_destination_do_not_repeat_soon(script):
    """3.3.4: a counter, so that TIME-WAIT of the last one is no obstacle."""
    script.open()
    ports = [port_of(script, PEER_IP) for _ in range(1000)]
    assert len(set(ports)) == len(ports)


def test_ports_do_not_tell_how_many_connections_go_to_others(script):
    script.open(gateway=PEER_IP)
    steps = []
    for n in range(60):
        before = port_of(script, PEER_IP)
        for i in range(n):
            port_of(script, 0x0B000001 + 100 * n + i)
        steps.append((port_of(script, PEER_IP) - before) % (65536 - FIRST_PORT))
    assert stats.spearmanr(range(60), steps).statistic < 0.9 or max(steps) <= 3
    assert np.median(steps) <= 2


def test_udp_ports_and_identifications(script):
    """Neither a port nor an IP identification tells the next one, nor is one used again soon."""
    script.open(udp_sockets=2048)
    ports, identifications = [], []
    for _ in range(2000):
        socket = script.do("udp", 0)
        assert script.do("send", socket, PEER_IP, 9, "00") == 1
        ((_, frame),) = script.take()
        identifications.append(struct.unpack("!H", frame[18:20])[0])
        ports.append(struct.unpack("!H", frame[34:36])[0])
    assert len(set(ports)) == len(ports)
    assert min(ports) >= 49152
    assert len(set(identifications)) == len(identifications)
    assert [n for n in failed(identifications, bits=16) if n != "distinct_steps"] == []
    assert [n for n in failed([p - 49152 for p in ports], bits=14) if n != "distinct_steps"] == []
    assert failed(list(range(2000)), bits=16), "a counter would be found out"


def test_segments_have_no_identification(script):
    """They may not be fragmented, and need none (RFC 6864): nothing is to be counted."""
    peer = script.open().accepted()
    (data,) = script.write(peer.socket, b"text")
    assert struct.unpack("!HH", data.ip[4:8]) == (0, 0x4000)
