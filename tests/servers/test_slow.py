"""``/slow/``: CPU work of a stated size, or with ``--slow-sleeps`` a sleep."""

import time

import pytest

import servers

SLOW_US = 300_000
REQUESTS = 3


# What lazy's engines and its network side do is not asked for: a handler works before the reply.
@pytest.mark.parametrize("design", [name for name in servers.designs() if name != "floor"])
@pytest.mark.parametrize("sleeps", [True, False])
def test_slow_burns_or_sleeps(serve, design, small, client, eventually, sleeps):
    server = serve(design, small.root, slow_us=SLOW_US, slow_sleeps=sleeps)
    clock = (~server.pid << 3) | 2  # the process's CPU time, clock_getcpuclockid(3)
    with client(server.address, 30.0) as one:
        assert one.ask("/1k.bin").status == 200
        begin_s, cpu_begin_s = time.monotonic(), time.clock_gettime(clock)
        for _ in range(REQUESTS):
            reply = one.ask("/slow/1k.bin")
            assert (reply.status, reply.body) == (200, small.on_disk(small.files[0]).read_bytes())
        took_s, cpu_s = time.monotonic() - begin_s, time.clock_gettime(clock) - cpu_begin_s
    wanted_s = REQUESTS * SLOW_US / 1e6
    eventually(lambda: server.counters()["replies"] == REQUESTS + 1)
    # A user-level thread parks, and its loop goes on: no call has blocked.
    blocks = sleeps and design != "user-threads"
    counters = server.counters()
    # Nor is it the work that blocks where a lazy recv slept, and its client was faster than the upcall.
    assert counters["blocked_calls"] - counters["lazy_held"] == (REQUESTS if blocks else 0)
    if sleeps:
        assert took_s > 0.95 * wanted_s  # a loop's clock counts milliseconds
        assert cpu_s < wanted_s / 2
    else:
        assert cpu_s > wanted_s / 2
