"""Ours and the kernel on one switch: every byte compared, whoever opens, whatever befalls the frames."""

import json
from dataclasses import replace

import pytest

from retrospective.experiments.userstack.settings import IMPAIRMENTS
from retrospective.lab import exchange as module
from retrospective.lab import stacks
from retrospective.lab.exchange import Exchange, run_exchange
from retrospective.lab.stacks import KERNEL, LWIP, OURS, SWITCH

BYTES = 4_000_000

TRANSFER = Exchange(
    chapter="test",
    experiment="test",
    kind="trial",
    profile="smoke",
    design=OURS,
    flow="transfer",
    path=SWITCH,
    peer=KERNEL,
    options={
        "bytes": BYTES,
        "limit_s": 60.0,
        "write_bytes": 16384,
        "direction": "both",
        "role": "opener",
        "congestion": "cubic",
        "window_bytes": 1 << 20,
        "untimed": True,  # tests may run on a busy machine
    },
    label="a",
)

pytestmark = pytest.mark.usefixtures("can_lab")


def here(*stacks_wanted):
    """Skip where a stack is not built in."""
    for stack in stacks_wanted:
        if why := stacks.absent(stacks.program("traffic", stack)):
            pytest.skip(why)


@pytest.mark.parametrize("role", ["opener", "listener"])
@pytest.mark.parametrize(("near", "far"), [(OURS, KERNEL), (OURS, OURS), (KERNEL, KERNEL), (LWIP, LWIP)])
def test_both_ways_at_a_time(near, far, role):
    here(near, far)
    size = BYTES if LWIP not in (near, far) else BYTES // 8
    options = TRANSFER.options | {"role": role, "bytes": size}
    row = run_exchange(replace(TRANSFER, design=near, peer=far, options=options))
    assert row["valid"], (row["reason"], row["log"])
    assert row["verified_bytes"] == 2 * size


@pytest.mark.parametrize("congestion", ["reno", "cubic"])
@pytest.mark.parametrize("impairment", ["loss 5 %", "reordering", "duplication", "corruption", "mix"])
def test_whatever_befalls_frames_no_byte_is_wrong(impairment, congestion):
    here(OURS)
    options = TRANSFER.options | {
        "bytes": 300_000,
        "congestion": congestion,
        "impairment": impairment,
        "impair": IMPAIRMENTS[impairment].words,
    }
    row = run_exchange(replace(TRANSFER, options=options))
    assert row["valid"], (row["reason"], row["log"])
    assert row["verified_bytes"] == 600_000
    lost = sum(n for name, n in json.loads(row["switch_ledger"]).items() if name.endswith(".drop_loss"))
    assert (lost > 0) == ("loss" in IMPAIRMENTS[impairment].words)
    assert row["retransmitted"] > 0 or impairment not in ("loss 5 %", "mix")
    assert min(row["frames_sent"], row["frames_received"]) > 200


def test_what_loses_everything_connects_nobody(monkeypatch):
    """Nothing goes around the switch."""
    here(OURS)
    monkeypatch.setattr(module, "_PATIENCE_S", 0.3)
    options = TRANSFER.options | {"direction": "to_peer", "impair": {"loss": 1.0}, "limit_s": 1.0}
    row = run_exchange(replace(TRANSFER, options=options))
    assert (row["valid"], row["status"]) == (False, "failed")
    assert row["reason"].startswith("unconnected")


@pytest.mark.parametrize("stack", [OURS, LWIP])
def test_a_server_says_where_its_time_goes(stack):
    if why := stacks.absent(stacks.program("epoll", stack)):
        pytest.skip(why)
    options = {"clients": 16, "seconds": 0.3, "samples": True, "untimed": True}
    row = run_exchange(replace(TRANSFER, design=stack, peer=stack, flow="serve", options=options))
    assert row["valid"], (row["reason"], row["log"])
    shares = json.loads(row["where"])
    assert sum(shares.values()) == pytest.approx(1.0, abs=0.01)
    assert row["switch_cpu_s"] > 0
