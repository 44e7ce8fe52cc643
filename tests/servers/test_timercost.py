"""timercost: every price comes with how it was taken, leaves nobody behind, and what is refused is named."""

import json
import os
import subprocess

import psutil
import pytest

import servers

CALLS = ["stamp", "clock", "null-call", "timerfd-untouched", "timerfd-reprogrammed", "timerfd-moved"]
#: Price -> the parts that it names beside itself.
PARTS = {
    "interrupt": [],
    "timer-wake": ["own_cpu", "lateness"],
    "timer-wake-halted": ["own_cpu", "lateness"],
    "wake-same-cpu": [],
    "wake-other-cpu": ["waker", "woken"],
} | {price: [] for price in CALLS}


def cost(*words, **how):
    """Run timercost for 0.05 s unless told otherwise; returns its exit code, report if any, and last line."""
    words = [str(servers.binary("timercost")), *words[:1], "--seconds=0.05", *words[1:]]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, **how)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr.strip()


def in_order(report, name):
    """A value lies between its percentiles."""
    low, middle, high = (report[f"{name}{place}_ns"] for place in ("_p10", "", "_p90"))
    return low <= middle <= high


@pytest.mark.parametrize("price", PARTS)
def test_a_price_says_how_it_was_taken(release, price):
    code, report, said = cost(price)
    if price == "wake-other-cpu" and len(os.sched_getaffinity(0)) < 2:
        assert code == 3
        pytest.skip(said)
    assert (code, said) == (0, "")
    assert report["price"] == price
    assert in_order(report, "price")
    assert report["samples"] >= 3
    assert report["operations"] % report["samples"] == 0
    assert report["operations"] > report["samples"]
    assert report["cpu"] in os.sched_getaffinity(0)
    assert {key for key in report if key.endswith("_p90_ns")} == {
        f"{part}_p90_ns" for part in ("price", *PARTS[price])
    }
    assert all(in_order(report, part) for part in PARTS[price])
    wakes = price.startswith("wake")
    assert (report["processes"] is not None) == wakes
    assert (report["batch"] is not None) == (price == "wake-same-cpu")
    assert (report["other_cpu"] is not None) == (price == "wake-other-cpu")
    assert (report["period_us"] is not None) == (price not in [*CALLS, "wake-same-cpu"])
    if price in CALLS or price == "wake-same-cpu":  # what others take falls on both slices of a pair
        assert report["price_p90_ns"] > 0


def test_a_system_call_is_dearer_than_a_stamp(release):
    assert cost("null-call")[1]["price_p90_ns"] > cost("stamp")[1]["price_p10_ns"]


def test_a_process_is_charged_for_its_wake_ups_and_is_never_early(release):
    for price in ("timer-wake", "timer-wake-halted"):
        report = cost(price, "--period-us=500")[1]
        assert report["own_cpu_ns"] > 0
        assert report["lateness_p10_ns"] > 0
        assert report["period_us"] == 500


@pytest.mark.parametrize(("processes", "batch"), [(1, 1), (7, 3), (20, 20)])
def test_any_crowd_is_woken_in_any_batch(release, processes, batch):
    code, report, said = cost("wake-same-cpu", f"--processes={processes}", f"--batch={batch}")
    assert (code, said) == (0, "")
    assert (report["processes"], report["batch"]) == (processes, batch)


def test_nobody_outlives_it(release, eventually):
    words = [str(servers.binary("timercost")), "wake-same-cpu", "--processes=5", "--seconds=60"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as one:
        of_it = eventually(lambda: (all_ := psutil.Process(one.pid).children()) and len(all_) == 6 and all_)
        one.kill()
    eventually(
        lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in of_it)
    )


def test_a_process_that_is_killed_ends_it_with_a_line(release, eventually):
    words = [str(servers.binary("timercost")), "wake-same-cpu", "--processes=5", "--seconds=60"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as one:
        of_it = eventually(lambda: (all_ := psutil.Process(one.pid).children()) and len(all_) == 6 and all_)
        of_it[2].kill()
        _, said = one.communicate(timeout=60)
    assert one.returncode == 3
    assert "has ended" in said


def test_one_cpu_is_no_other_cpu(release):
    cpu = min(os.sched_getaffinity(0))
    code, report, said = cost("wake-other-cpu", preexec_fn=lambda: os.sched_setaffinity(0, {cpu}))
    assert (code, report) == (3, None)
    assert "--other-cpu" in said


@pytest.mark.parametrize(
    ("words", "code", "names"),
    [
        (["sundial"], 2, "sundial"),
        (["stamp", "--seconds=0"], 2, "--seconds"),
        (["wake-same-cpu", "--processes=2", "--batch=3"], 2, "--batch"),
        (["stamp", "--cpu=1023"], 3, "1023"),
    ],
)
def test_what_is_refused_is_named(release, words, code, names):
    got, report, said = cost(*words)
    assert (got, report) == (code, None)
    assert names in said
    assert "\n" not in said


def test_help_names_every_price(release):
    said = subprocess.run([str(servers.binary("timercost")), "--help"], capture_output=True, text=True)
    assert said.returncode == 0
    assert all(f"\n  {price} " in said.stdout for price in PARTS)
