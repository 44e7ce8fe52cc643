"""Incast, in virtual time and through the switch: what the least time-out decides when many answer one at once."""

import os
import subprocess
import time

import pytest

import servers


def incast(**options):
    """The program's lines as a dictionary of numbers."""
    words = servers.arguments(options)
    done = subprocess.run(
        [servers.binary("stackincast", "asan"), *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return {key: int(value) for key, value in map(str.split, done.stdout.splitlines())}


def test_a_fine_timeout_removes_the_collapse():
    cell = {"senders": 24, "rounds": 4, "queue": 24, "congestion": "reno"}
    coarse = incast(**cell)
    fine = incast(**cell, min_rto_us=500, delayed_ack_us=400)
    assert coarse["dropped"] > 0
    assert coarse["timeouts"] > 0
    assert coarse["completion_us"] > 200000, "at least one time-out a block"
    assert fine["completion_us"] < coarse["completion_us"] / 4
    # A block of a mebibyte takes 8.9 ms at this rate.
    assert fine["goodput_bytes_per_s"] < 125e6


def test_a_coarse_clock_undoes_it():
    cell = {
        "senders": 24,
        "rounds": 4,
        "queue": 24,
        "congestion": "reno",
        "min_rto_us": 500,
        "delayed_ack_us": 400,
    }
    assert incast(**cell, tick_us=10000)["completion_us"] > 2 * incast(**cell)["completion_us"]


def test_one_sender_fills_the_link():
    got = incast(senders=1, rounds=20, queue=256)
    assert got["goodput_bytes_per_s"] == pytest.approx(1448 / 1538 * 125e6, rel=0.1)
    assert got["timeouts"] == 0


def test_the_same_options_give_the_same_numbers():
    assert incast(senders=12, rounds=2, queue=20) == incast(senders=12, rounds=2, queue=20)


def test_what_cannot_be_is_refused():
    for words in (["--senders=0"], ["--tick-us=1"], ["--congestion=none"]):
        done = subprocess.run([servers.binary("stackincast", "asan"), *words], capture_output=True, text=True)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)


#: Slow enough for a busy machine: a full frame takes longer than a turn of everybody.
LIVE = {"live": True, "rate_bps": 50_000_000, "delay_us": 50, "bytes": 131_072, "rounds": 2, "queue": 24}


def test_live_the_switch_is_what_drops():
    got = incast(**LIVE, senders=12, min_rto_us=1000, tick_us=100, delayed_ack_us=1000)
    assert got["dropped"] > 0
    assert got["lost"] == 0, "nothing else does"
    assert got["retransmitted"] >= got["dropped"] > 0
    # Nothing is faster than the wire: 128 KiB take 21 ms at this rate.
    assert got["completion_us"] > 131_072 * 8 / 50 * 0.95


def test_live_whoever_lost_its_last_segment_waits_for_a_time_out():
    got = incast(**LIVE, senders=24)
    assert got["timeouts"] > 0
    assert got["longest_us"] > 200_000


def test_live_without_loss_nobody_waits():
    got = incast(**LIVE | {"queue": 1000}, senders=4)
    assert (got["dropped"], got["retransmitted"], got["timeouts"]) == (0, 0, 0)


def test_what_a_host_is_told_holds_live_too():
    """In either world a link without a rate of its own, as the switch's ports have, overflows the queue alone."""
    cell = {"senders": 1, "rounds": 2, "queue": 24, "rate_bps": 50_000_000, "delay_us": 50}
    assert incast(**cell)["dropped"] == 0, "the link is as slow as the port"
    assert incast(**cell, up_rate_bps=0)["dropped"] > 0
    assert incast(**cell, live=True)["dropped"] > 0


def test_live_nothing_is_left_behind(tmp_path):
    def ended(*words, folder=tmp_path):
        words = ["--senders=2", "--rounds=1", "--live", "--bytes=4096", *words]
        return subprocess.run(
            [servers.binary("stackincast", "asan"), *words],
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | {"TMPDIR": str(folder)},
        )

    done = ended()
    assert (done.returncode, done.stderr, list(tmp_path.iterdir())) == (0, "", [])
    for failed in (ended(folder=tmp_path / "missing"), ended("--switch-cpu=1023")):
        assert (failed.returncode, failed.stderr.count("\n")) == (1, 1), failed.stderr
    end_s = time.monotonic() + 5
    while list(tmp_path.iterdir()) and time.monotonic() < end_s:
        time.sleep(0.01)
    assert not list(tmp_path.iterdir()), "the switch tidies up when its parent ends early"
