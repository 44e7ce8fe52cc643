"""Exchanges over the kernel's loopback: what their rows hold, and what makes one no result."""

import json
import time
from dataclasses import replace

import pytest

from retrospective.lab import exchange as module
from retrospective.lab.exchange import EXCHANGE_COLUMNS, Exchange, run_exchange
from retrospective.lab.journal import Journal
from retrospective.lab.stacks import KERNEL, LOOPBACK

TRANSFER = Exchange(
    chapter="test",
    experiment="test",
    kind="trial",
    profile="smoke",
    design=KERNEL,
    flow="transfer",
    path=LOOPBACK,
    peer=KERNEL,
    options={
        "bytes": 1_000_000,
        "seconds": 5.0,
        "write_bytes": 10_000,
        "direction": "to_peer",
        "role": "opener",
        "congestion": "reno",
        "window_bytes": 1 << 20,
    },
    label="a",
    at_a_time=2,  # so that others may run beside the tests
)


def changed(**options):
    return replace(TRANSFER, options=TRANSFER.options | options)


@pytest.fixture(autouse=True)
def busy(monkeypatch):
    """Tests may run on a busy machine."""
    monkeypatch.setattr(module, "MOST_BUSY_SHARE", 2.0)


pytestmark = pytest.mark.usefixtures("can_lab")


@pytest.mark.parametrize("direction", ["to_peer", "from_peer", "both"])
@pytest.mark.parametrize("role", ["opener", "listener"])
def test_every_byte_of_a_transfer_is_compared(direction, role):
    row = run_exchange(changed(direction=direction, role=role))
    assert row["valid"], row["reason"]
    assert row["bytes"] == 1_000_000
    assert row["verified_bytes"] == (2_000_000 if direction == "both" else 1_000_000)
    assert row["goodput_bytes_per_s"] == pytest.approx(row["bytes"] / row["seconds"])
    assert (row["role"], row["direction"], row["congestion"], row["stack"]) == (
        role,
        direction,
        "reno",
        KERNEL,
    )
    assert 0 <= row["retransmitted"] < 100  # a busy machine probes for what it took for lost
    assert row["timeouts"] >= 0
    assert row["server_cpu_s"] > 0
    assert row["switch_cpu_s"] is None


def test_a_transfer_ends_with_its_time():
    row = run_exchange(changed(bytes=10**15, seconds=0.1))
    assert row["valid"], row["reason"]
    assert 0.1 <= row["seconds"] < 1
    assert row["verified_bytes"] == row["bytes"] > 0


def test_who_opens_takes_turns():
    for number, role in ((0, "opener"), (1, "listener")):
        row = run_exchange(changed(role="in turn"), round=number)
        assert (row["valid"], row["role"], row["seed"]) == (True, role, number + 1)


def test_whose_cpu_was_seen_too_late_is_no_result(monkeypatch):
    """The lab shares a CPU with programs that are busy: it may wake when the window is nearly over."""
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(seconds + 0.15))
    row = run_exchange(replace(TRANSFER, flow="serve", options={"clients": 4, "seconds": 0.1}))
    assert (row["valid"], row["status"]) == (False, "invalid")
    assert row["reason"].startswith("disturbed: the lab looked at CPU time 0.1")


def test_pings_and_replies(tmp_path):
    ping = replace(TRANSFER, flow="ping", options={"write_bytes": 64, "seconds": 0.05})
    row = run_exchange(ping)
    assert row["valid"], row["reason"]
    assert 0 < row["rtt_p50_us"] <= row["rtt_p99_us"]
    opened = replace(TRANSFER, flow="serve", options={"clients": 4, "requests": 1, "seconds": 0.1})
    row = run_exchange(opened)
    assert row["valid"], row["reason"]
    assert row["connections_per_s"] == pytest.approx(row["replies_per_s"], rel=0.1)
    assert row["replies_per_cpu_s"] > row["replies_per_cpu_s_whole"] > 0
    with Journal(tmp_path / "j") as journal:
        journal.append(row)
        frame = journal.to_frame()
    assert set(EXCHANGE_COLUMNS) <= set(frame)
    assert frame["seed"].dtype == "Int64"
    assert frame["stack"].tolist() == [KERNEL]


@pytest.mark.parametrize(
    ("reported", "status", "said"),
    [
        (
            {"outcome": "wrong", "wrong_at": 77, "error": "Bad message"},
            "failed",
            "wrong: Bad message at byte 77",
        ),
        ({"outcome": "broken", "error": "Connection reset by peer"}, "failed", "broken: Connection reset"),
        ({"received": 5}, "failed", "short: 5 of 1,000,000"),
        ({"outcome": "time", "received": 0}, "failed", "nothing-came"),
        (None, "failed", "time-limit"),
    ],
)
def test_what_is_no_result_is_a_row_with_its_reason(monkeypatch, reported, status, said):
    whole = {
        "outcome": "ended",
        "error": "",
        "received": 1_000_000,
        "wrong_at": None,
        "connect_s": 0.0,
        "seconds": 1.0,
    }
    monkeypatch.setattr(module, "_report", lambda end, limit_s: reported and whole | reported)
    row = run_exchange(TRANSFER)
    assert (row["valid"], row["status"]) == (False, status)
    assert row["reason"].startswith(said)


def test_a_crowded_machine_is_no_measure(monkeypatch):
    monkeypatch.setattr(module, "MOST_BUSY_SHARE", -1.0)
    row = run_exchange(TRANSFER)
    assert (row["valid"], row["status"]) == (False, "invalid")
    assert row["reason"].startswith("crowded")
    assert row["goodput_bytes_per_s"] > 0


def test_what_is_not_here_is_a_row_of_its_own_kind(monkeypatch):
    monkeypatch.setattr(module, "absent", lambda name: f"{name} is missing: make system")
    row = run_exchange(TRANSFER)
    assert (row["valid"], row["status"]) == (False, "unavailable")
    assert row["reason"] == "absent: traffic is missing: make system"


def test_a_key_names_all_that_is_asked_for_but_no_estimate():
    key = TRANSFER.key("b", "m", "k", 0)
    assert replace(TRANSFER, takes_s=3.0).key("b", "m", "k", 0) == key
    for other in (changed(role="listener"), replace(TRANSFER, at_a_time=1), replace(TRANSFER, flow="ping")):
        assert other.key("b", "m", "k", 0) != key
    assert json.dumps(TRANSFER.options)  # can be a row's
