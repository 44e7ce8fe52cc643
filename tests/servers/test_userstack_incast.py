"""Incast among simulated hosts: what the least time-out decides when many answer one at once."""

import subprocess

import pytest

import servers


def incast(**options):
    """The program's lines as a dictionary of numbers."""
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
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
