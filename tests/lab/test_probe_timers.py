"""Probes of timers: real runs, and planted faults, each of which must have its reason; a full machine is a result."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from retrospective.lab import probe_timers
from retrospective.lab.journal import Journal
from retrospective.lab.probe import Probe, run_probe
from retrospective.lab.probe_timers import (
    MOST_DRIFT,
    MOST_OFF_CORES,
    MOST_OTHERS_CORES,
    TICKER,
    TIMERBENCH,
    TIMERCOST,
)
from retrospective.lab.session import Rejected
from retrospective.lab.trial import ROW_COLUMNS

TICKS = {
    "driver": "timerfd", "processes": 3, "timers": 1, "granularity-us": 5_000, "align-us": 0, "slack-ns": 0,
    "phases": "spread", "measure": "lateness", "slices": 2, "seconds": 0.04,
}  # fmt: skip
OPERATIONS = {"mix": "tcp", "facility": "heap", "beside": "wheel", "timers": 100, "seconds": 0.02}


def probe(program="ticker", label="test", **options):
    base = TICKS if program == "ticker" else OPERATIONS
    return Probe(
        chapter="lab",
        experiment="wall" if program == "ticker" else "operations",
        kind="trial",
        profile="smoke",
        design="timerfd" if program == "ticker" else "heap",
        options={**base, **{name.replace("_", "-"): value for name, value in options.items()}},
        label=label,
        program=program,
    )


# ---------------------------------------------------------------------------------------------- real ones


def test_lateness_is_measured_without_the_instrument(release):
    row = run_probe(probe(), round=2)
    assert row["valid"] or row["reason"].startswith("disturbed: others ran on"), row["reason"]
    assert row["valid"] == (row["others_cores"] <= MOST_OTHERS_CORES)
    assert set(row) == {*ROW_COLUMNS, *TICKER.all_columns}
    assert (row["round"], row["program"], row["measure"]) == (2, "ticker", "lateness")
    assert row["due"] == 3 * 8
    assert (row["processes"], row["granularity_us"], row["phases"]) == (3, 5_000, "spread")
    assert 0 <= row["lateness_p50_us"] <= row["lateness_p99_us"]
    assert row["cores"] is None
    assert row["slice_on_cores"] is None
    interrupts = json.loads(row["timer_interrupts"])
    assert len(interrupts) == 2
    assert row["timer_interrupts_per_s"] == pytest.approx(sum(interrupts) / 0.04)


def test_cores_are_measured_by_the_instrument_or_it_was_disturbed(release):
    row = run_probe(probe(measure="cores"))
    assert row["status"] in ("ok", "invalid"), row["reason"]
    assert row["valid"] or row["reason"].startswith(("disturbed", "drifted")), row["reason"]
    assert row["cores"] == pytest.approx(row["on_cores"] - row["off_cores"], abs=1e-4)
    assert len(json.loads(row["slice_off_cores"])) == row["slices"] == 2
    assert row["lateness_p50_us"] is None
    assert row["duration_s"] == 0.08, "half of it all are held"


def test_operations_are_measured_beside_another_facility_s(release):
    row = run_probe(probe("timerbench"))
    assert row["valid"] or row["reason"].startswith("disturbed"), row["reason"]
    assert set(row) == {*ROW_COLUMNS, *TIMERBENCH.all_columns}
    assert (row["mix"], row["facility"], row["beside"], row["timers"]) == ("tcp", "heap", "wheel", 100)
    assert min(row["operation_ns"], row["beside_operation_ns"], row["ratio_beside"], row["slices"]) > 0


def test_what_cannot_be_is_unavailable_with_its_reason(release):
    row = run_probe(probe("timerbench", facility="timerfd", mix="expiry"))
    assert (row["valid"], row["status"]) == (False, "unavailable")
    assert row["reason"] == "refused: timerbench: timerfd: nothing expires there by a virtual clock"
    assert run_probe(probe(cpus="1023"))["status"] == "unavailable"


@pytest.mark.parametrize(
    ("program", "wrong"), [("ticker", {"driver": "sundial"}), ("timerbench", {"mix": "sing"})]
)
def test_options_that_a_program_refuses_stop_the_sweep(program, wrong, release):
    with pytest.raises(ValueError, match=r"sundial|sing"):
        run_probe(probe(program, **wrong))


def test_a_process_that_is_killed_makes_a_failed_row(release):
    rows = []
    thread = threading.Thread(target=lambda: rows.append(run_probe(probe(seconds=1.0))))
    thread.start()
    try:
        workers = []
        while thread.is_alive() and len(workers) < 3:
            tickers = [one for one in psutil.Process().children() if one.name() == "ticker"]
            workers = tickers[0].children() if tickers else []
        time.sleep(0.1)  # they have come to rest, and tick
        os.kill(workers[1].pid, signal.SIGKILL)
    finally:
        thread.join()
    assert (rows[0]["valid"], rows[0]["status"]) == (False, "failed")
    assert rows[0]["reason"] == "worker-ended: 1 of 3 processes"


# ----------------------------------------------------------------------------------------- planted faults

COUNTED = {
    "driver": "timerfd", "facility": "heap", "processes": 3, "timers": 1, "granularity_us": 5_000, "phases": "spread",
    "align_us": 0, "slack_ns": 0, "seconds": 0.04, "slices": 2, "failed": 0, "starved": 0, "due": 100,
    "delivered": 100, "missed": 0, "early": 0, "wakeups": 100, "empty_wakeups": 0, "armings": 100, "work_units": 0,
    "work_cpu_us": 0, "cpu_us": 500, "voluntary_switches": 100, "involuntary_switches": 0, "timer_interrupts": [60, 58],
}  # fmt: skip
LATENESS = COUNTED | {
    "measure": "lateness", "lateness_p50_us": 30.0, "lateness_p90_us": 35, "lateness_p99_us": 50.5,
    "lateness_max_us": 60.0,
}  # fmt: skip
CORES = COUNTED | {
    "measure": "cores", "off_timer_interrupts": [10, 10], "cores": 0.1, "on_cores": 0.11, "off_cores": 0.01,
    "off_cores_drift": 0.001, "slice_on_cores": [0.11, 0.11], "slice_off_cores": [0.01, 0.01],
}  # fmt: skip
BENCH = {
    "experiment": "tcp", "facility": "heap", "beside": "wheel", "timers": 100, "slices": 9, "operations": 40_000,
    "expiries": 1, "beside_expiries": 1, "operation_ns": 30.0, "beside_operation_ns": 10.0, "ratio_beside": 3.0,
}  # fmt: skip


@pytest.fixture
def judged(release, monkeypatch):
    """Judge a report as if the program had printed it; others may run here, and whoever prints it lose the CPU."""
    monkeypatch.setattr(probe_timers, "MOST_INVOLUNTARY_PER_S", math.inf)
    monkeypatch.setattr(probe_timers, "MOST_OTHERS_CORES", math.inf)

    def run(report, program="ticker", **options):
        words = [sys.executable, "-c", f"print({json.dumps(report)!r})"]
        return run_probe(probe(program, **options), command=lambda: words, limit_s=20.0)

    return run


def test_without_a_fault_nothing_is_caught(judged):
    for row in (judged(LATENESS), judged(CORES, measure="cores"), judged(BENCH, "timerbench")):
        assert (row["valid"], row["status"], row["reason"]) == (True, "ok", "")


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"failed": 1}, "failed", "worker-ended: 1 of 3"),
        ({"early": 2}, "failed", "early: 2 timers"),
        ({"domain_restarts": 1}, "failed", "domain-ended: and was started again 1 times"),
        ({"due": 0, "delivered": 0}, "failed", "no-report: no timer was due"),
        ({"missed": 5}, "failed", "wrong-results: 100 delivered and 5 missed of 100"),
        ({"due": -1}, "failed", "nonsense: due is -1"),
        ({"due": 100.5}, "failed", "nonsense: due is 100.5"),
        ({"delivered": "many"}, "failed", 'nonsense: delivered is "many"'),
        ({"due": None}, "failed", "no-report: it says nothing of due"),
        ({"cores": None}, "failed", "no-report: it says nothing of cores"),
        ({"cores": float("nan")}, "failed", "nonsense: cores is NaN"),
        ({"slice_on_cores": [0.1, 2.5]}, "failed", "nonsense: a slice"),
        ({"slice_on_cores": [0.1, "x"]}, "failed", "nonsense: slice_on_cores"),
        ({"off_cores": 2 * MOST_OFF_CORES + 0.001}, "invalid", "disturbed: others took 0.101 cores"),
        ({"off_cores_drift": 2 * MOST_DRIFT + 0.001}, "invalid", "drifted: what others took changed by +0.061"),
        ({"off_cores_drift": -2 * MOST_DRIFT - 0.001}, "invalid", "drifted: what others took changed by -0.061"),
    ],
)  # fmt: skip
def test_a_fault_of_ticker_makes_a_row_with_its_reason(changes, status, reason, judged):
    row = judged(CORES | changes, measure="cores")
    assert (row["valid"], row["status"]) == (False, status)
    assert row["reason"].startswith(reason), row["reason"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"operations": 0}, "no-report: it made no measurement"),
        ({"operation_ns": 0}, "nonsense: an operation took no time"),
        ({"ratio_beside": None}, "no-report: it says nothing of ratio_beside"),
        ({"slices": [1]}, "nonsense: slices is [1]"),
    ],
)
def test_a_fault_of_timerbench_makes_a_row_with_its_reason(changes, reason, judged):
    row = judged(BENCH | changes, "timerbench")
    assert (row["valid"], row["status"]) == (False, "failed")
    assert row["reason"].startswith(reason), row["reason"]


def test_where_all_expires_every_operation_is_an_expiry(judged):
    right = BENCH | {"expiries": 40_000}
    assert judged(right, "timerbench", mix="expiry")["valid"]
    row = judged(right | {"expiries": 39_999}, "timerbench", mix="expiry")
    assert row["reason"] == "wrong-results: 39999 expiries in 40000 operations"


def test_a_program_from_which_the_cpu_was_taken_often_is_disturbed(release):
    """It shares its only CPU with a process that computes, too."""
    program = (
        "import os, time; os.sched_setaffinity(0, {0}); end = time.monotonic() + 1\n"
        "child = os.fork()\n"
        "while time.monotonic() < end: pass\n"
        f"if child: os.waitpid(child, 0); print({json.dumps(BENCH)!r})"
    )
    row = run_probe(probe("timerbench"), command=lambda: [sys.executable, "-c", program], limit_s=30.0)
    assert row["preemptions"] > 20, "as many as there are slices of a CPU's time, of both"
    with pytest.raises(Rejected, match=r"disturbed: the CPU was taken away 90 times in 0.3 s"):
        TIMERBENCH.judge(row | {"preemptions": 90}, {}, 0.3)
    TIMERBENCH.judge(row | {"preemptions": 50}, {}, 0.3)


@pytest.fixture
def computing():
    """A process that is on a CPU all the time."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        time.sleep(0.2)  # it has begun
        yield
        other.kill()


def test_cores_beside_somebody_who_computes_do_not_count(computing, release):
    row = run_probe(probe(measure="cores", seconds=0.2))
    assert (row["valid"], row["status"]) == (False, "invalid")
    assert row["reason"].startswith("disturbed: others took"), row["reason"]


def test_lateness_beside_somebody_who_computes_does_not_count(computing, release):
    """There is no instrument, but the kernel counts everybody's time."""
    row = run_probe(probe(seconds=0.4))
    assert (row["valid"], row["status"]) == (False, "invalid")
    assert row["reason"].startswith("disturbed: others ran on"), row["reason"]
    assert row["others_cores"] > MOST_OTHERS_CORES


def test_a_price_is_a_difference_above_zero(release, judged):
    asked = Probe(
        "lab", "prices", "trial", "smoke", "clock", {"price": "clock", "seconds": 0.02}, "t", "timercost"
    )
    row = run_probe(asked)
    assert set(row) == {*ROW_COLUMNS, *TIMERCOST.all_columns}
    assert row["valid"] or row["reason"].startswith("disturbed"), row["reason"]
    assert (row["price"], row["samples"] >= 3) == ("clock", True)
    report = {"price": "clock", "price_ns": 20.0, "price_p10_ns": 19.0, "price_p90_ns": 22.0, "samples": 9}
    for changes, status, reason in (
        ({}, "ok", ""),
        ({"samples": 0}, "failed", "no-report: it made no measurement"),
        ({"price_ns": 23.0}, "failed", "nonsense: a median"),
        ({"price_p10_ns": None}, "failed", "no-report: it says nothing of price_p10_ns"),
        ({"price_ns": -1.0, "price_p10_ns": -2.0}, "invalid", "disturbed: slices without"),
    ):
        words = [sys.executable, "-c", f"print({json.dumps(report | changes)!r})"]
        row = run_probe(asked, command=lambda words=words: words, limit_s=20.0)
        assert row["status"] == status
        assert row["reason"].startswith(reason)


@pytest.mark.parametrize(("missed", "saturated"), [(0, False), (10, False), (11, True), (100, True)])
def test_a_full_machine_is_a_result_and_says_so(missed, saturated, judged):
    row = judged(LATENESS | {"missed": missed, "delivered": 100 - missed, "starved": int(missed > 10)})
    assert row["valid"], row["reason"]
    assert row["saturated"] is saturated


def test_a_machine_on_which_nothing_is_delivered_has_no_lateness(judged):
    nothing = {"missed": 100, "delivered": 0, "starved": 3}
    row = judged({k: v for k, v in (LATENESS | nothing).items() if not k.startswith("lateness")})
    assert (row["valid"], row["saturated"]) == (True, True)


def test_where_interrupts_cannot_be_read_there_are_none_in_the_row(judged):
    row = judged(CORES | {"timer_interrupts": None, "off_timer_interrupts": None}, measure="cores")
    assert row["valid"]
    for name in ("timer_interrupts", "off_timer_interrupts"):
        assert row[name] is row[f"{name}_per_s"] is None


def test_the_share_of_work_is_what_trigger_points_left_of_the_time(judged):
    row = judged(LATENESS | {"work_units": 45, "work_cpu_us": 500}, trigger_us=10)
    assert row["work_share"] == pytest.approx(0.9)
    assert judged(LATENESS)["work_share"] is None


def test_rows_have_types_in_a_journal_and_flags_may_be_missing(judged, tmp_path):
    rows = [judged(LATENESS), judged(LATENESS | {"early": 1}), judged(BENCH, "timerbench")]
    with Journal(tmp_path / "j") as journal:
        for number, row in enumerate(rows):
            journal.append(row | {"key": str(number)})
        frame = journal.to_frame()
        journal.consolidate(tmp_path / "rows.parquet", {})
    assert str(frame["saturated"].dtype) == "boolean"
    assert frame["saturated"].isna().tolist() == [False, False, True]
    assert str(frame["due"].dtype) == "float64"
    assert frame["operation_ns"].tolist()[2] == 30.0
