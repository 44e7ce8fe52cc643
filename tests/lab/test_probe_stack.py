"""The probe of incast: virtual time is the same every time, and what is no report is no result."""

from dataclasses import replace

import pytest

from retrospective.lab.probe import Probe, run_probe
from retrospective.lab.probe_stack import ledger

PROBE = Probe(
    chapter="test",
    experiment="incast",
    kind="trial",
    profile="smoke",
    design="ours",
    options={"senders": 16, "min-rto-us": 200_000, "tick-us": 10_000, "bytes": 262_144, "rounds": 3},
    label="a",
    program="stackincast",
)


def fine(senders):
    timers = {"min-rto-us": 1000, "tick-us": 100, "delayed-ack-us": 500}
    return replace(PROBE, options=PROBE.options | timers | {"senders": senders})


def test_a_row_has_what_was_asked_for_and_what_became_of_it():
    row = run_probe(PROBE)
    assert row["valid"], row["reason"]
    assert (row["senders"], row["min_rto_us"], row["tick_us"], row["blocks"]) == (16, 200_000, 10_000, 3)
    assert (row["design"], row["stack"], row["bytes"]) == ("ours", "ours", 262_144)
    assert 0 < row["completion_ms"] <= row["longest_ms"]


def test_time_is_virtual():
    rows = [run_probe(PROBE, round=number) for number in range(2)]
    for name in ("completion_ms", "longest_ms", "timeouts", "retransmitted", "dropped"):
        assert rows[0][name] == rows[1][name]


def test_a_finer_least_time_out_is_sooner_where_flights_are_lost():
    """What the program is for; and one sender alone loses nothing."""
    many = replace(PROBE, options=PROBE.options | {"senders": 48})
    assert run_probe(fine(48))["completion_ms"] < run_probe(many)["completion_ms"] / 4
    assert run_probe(fine(1))["timeouts"] == 0


@pytest.mark.parametrize("said", ["", "senders", "senders 1 2", "senders many", '{"senders": 1}'])
def test_what_is_no_ledger_is_refused(said):
    with pytest.raises(ValueError, match=r"key and a value|invalid literal"):
        ledger(said)


def test_a_program_that_says_nothing_of_a_block_has_no_result():
    row = run_probe(
        PROBE, command=lambda: ["sh", "-c", "echo senders 16; echo completion_us 0; echo longest_us 0"]
    )
    assert (row["valid"], row["status"]) == (False, "failed")
    assert row["reason"].startswith("no-report")
    row = run_probe(PROBE, command=lambda: ["echo", "a word too many"])
    assert row["reason"].startswith("no-report")


LIVE = replace(
    PROBE,
    options=PROBE.options
    | {"min-rto-us": 1000, "tick-us": 100, "delayed-ack-us": 500, "tail-probes": 0}
    | {"rate-bps": 100_000_000, "up-rate-bps": 0, "delay-us": 50, "queue": 64, "live": True},
)


def test_live_it_is_the_switch_and_takes_cpu():
    row = run_probe(LIVE)
    assert row["status"] == "ok" or row["reason"].startswith("disturbed"), row["reason"]
    assert (row["path"], run_probe(replace(LIVE, options=LIVE.options | {"live": False}))["path"]) == (
        "switch",
        "virtual time",
    )
    assert row["switch_cpu_s"] > 0 < row["hosts_cpu_s"]
    assert row["others_cores"] is not None
    # A block of 256 KiB takes 21 ms at this rate, and somewhat longer with all that TCP says besides.
    assert row["completion_ms"] > 21


@pytest.mark.parametrize(("said", "reason"), [("lost 3", "overrun"), ("lost 0", "")])
def test_live_what_is_lost_elsewhere_than_in_the_queue_voids_it(said, reason):
    report = f"completion_us 5; echo longest_us 6; echo goodput_bytes_per_s 7; echo {said}"
    row = run_probe(PROBE, command=lambda: ["sh", "-c", f"echo {report}"])
    assert (row["valid"], row["reason"].split(":")[0]) == (not reason, reason)
