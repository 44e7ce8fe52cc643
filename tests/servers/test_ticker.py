"""ticker: no driver is early, none loses a deadline without saying so, and what is refused is named."""

import json
import os
import resource
import signal
import statistics
import subprocess
import time

import psutil
import pytest

import servers

DRIVERS = ["tick", "timerfd", "epoll", "nanosleep", "uring", "spin", "soft", "domain"]


def command(*words):
    """Words that run ticker for 0.1 s unless they say otherwise."""
    return [str(servers.binary("ticker")), "--seconds=0.1", "--slices=2", *words]


def tick(*words):
    """Run ticker; returns its exit code, report if any, and last line."""
    done = subprocess.run(command(*words), capture_output=True, text=True, timeout=120)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr.strip()


def holds(report, due):
    """What is true of every run, however loaded the machine is."""
    assert report["due"] == due
    assert 0 < report["delivered"] <= due
    assert report["delivered"] + report["missed"] == due
    assert report["early"] == 0
    assert report["failed"] == 0
    assert report["empty_wakeups"] <= report["wakeups"]
    assert report["starved"] == 0 or report["missed"] > 0
    return True


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_driver_delivers_or_says_missed(release, driver):
    code, report, said = tick(f"--driver={driver}", "--processes=3", "--timers=2", "--granularity-us=5000")
    if code == 3 and driver == "uring":
        pytest.skip(said)
    assert (code, said) == (0, "")
    assert holds(report, due=3 * 2 * 100 // 5)
    assert report["driver"] == driver
    assert 0 <= report["lateness_p50_us"] <= report["lateness_p99_us"] <= report["lateness_max_us"] * 1.01
    assert (report["wakeups"] == 0) == (driver == "spin")
    assert "cores" not in report


@pytest.mark.parametrize(
    "options",
    [
        ["--align-us=10000", "--slack-ns=1000000"],
        ["--phases=same", "--facility=wheel"],
        ["--facility=lazy", "--tick-us=100", "--batch=1"],
    ],
)
def test_options_lose_nothing(release, options):
    code, report, _ = tick(
        "--driver=nanosleep", "--processes=2", "--timers=5", "--granularity-us=10000", *options
    )
    assert code == 0
    assert holds(report, due=2 * 5 * 10)


def test_soft_timers_at_trigger_points_wake_nobody(release):
    code, report, _ = tick("--driver=soft", "--trigger-us=50", "--granularity-us=10000")
    assert code == 0
    assert holds(report, due=10)
    assert report["wakeups"] == 0
    assert report["work_units"] > 0
    # Looks and expiries are in it, too: the work cannot have taken all of the time.
    assert report["work_cpu_us"] > 0.9 * 50 * report["work_units"]


def test_cores_are_a_paired_difference(release):
    code, report, said = tick("--driver=timerfd", "--measure=cores", "--slices=4", "--granularity-us=5000")
    assert (code, said) == (0, "")
    assert holds(report, due=20)
    assert len(report["slice_on_cores"]) == len(report["slice_off_cores"]) == report["slices"] == 4
    assert all(0 <= share <= 1 for share in report["slice_on_cores"] + report["slice_off_cores"])
    paired = [on - off for on, off in zip(report["slice_on_cores"], report["slice_off_cores"], strict=True)]
    assert report["cores"] == pytest.approx(statistics.median(paired), abs=1e-4)
    assert report["on_cores"] == pytest.approx(statistics.median(report["slice_on_cores"]), abs=1e-4)
    assert report["off_cores"] == pytest.approx(statistics.median(report["slice_off_cores"]), abs=1e-4)
    assert "lateness_p50_us" not in report


def test_a_process_that_is_killed_is_counted(release, eventually):
    words = command("--driver=timerfd", "--processes=3", "--granularity-us=10000", "--seconds=1")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as ticker:
        of_it = eventually(
            lambda: (all_ := psutil.Process(ticker.pid).children()) and len(all_) == 3 and all_
        )
        time.sleep(0.1)
        of_it[1].send_signal(signal.SIGKILL)
        report = json.loads(ticker.communicate(timeout=60)[0])
    assert ticker.returncode == 0
    assert report["failed"] == 1
    assert report["starved"] >= 1
    assert report["due"] == 300
    assert 0 < report["missed"] == 300 - report["delivered"]


@pytest.mark.parametrize("measure", ["lateness", "cores"])
@pytest.mark.parametrize(
    "options",
    [["--slack-ns=1000000"], ["--align-us=10000", "--phases=same"], ["--slack-ns=1", "--cpus=0,1"]],
)
def test_a_domain_wakes_its_clients(release, measure, options):
    if "--cpus=0,1" in options and not {0, 1} <= os.sched_getaffinity(0):
        pytest.skip("there are no CPUs 0 and 1 here")
    words = ["--driver=domain", "--processes=5", "--timers=2", "--granularity-us=10000"]
    code, report, said = tick(*words, f"--measure={measure}", *options)
    assert (code, said) == (0, "")
    assert holds(report, due=5 * 2 * 10)
    assert 0 < report["domain_wakes"] <= report["domain_operations"]
    assert report["domain_cpu_us"] <= report["cpu_us"]
    assert report["domain_bells"] >= 5
    assert report["domain_restarts"] == 0


def test_a_domain_that_is_killed_is_started_again(release, eventually):
    words = command("--driver=domain", "--processes=3", "--granularity-us=10000", "--seconds=1")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as ticker:
        of_it = eventually(
            lambda: (all_ := psutil.Process(ticker.pid).children()) and len(all_) == 4 and all_
        )
        time.sleep(0.1)
        of_it[0].send_signal(signal.SIGKILL)  # it is the first that is forked
        report = json.loads(ticker.communicate(timeout=60)[0])
    assert ticker.returncode == 0
    assert holds(report, due=300)
    assert report["domain_restarts"] == 1


@pytest.mark.parametrize(("driver", "processes"), [("spin", 2), ("domain", 3)])
def test_nobody_outlives_it(release, eventually, driver, processes):
    with subprocess.Popen(command(f"--driver={driver}", "--processes=2", "--seconds=60")) as ticker:
        of_it = eventually(
            lambda: (all_ := psutil.Process(ticker.pid).children()) and len(all_) == processes and all_
        )
        ticker.kill()
    eventually(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in of_it))


def few_processes():
    """Let whoever is run have 20 processes; root may always have more, so it is run as nobody in particular."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(54321)
        os.setuid(54321)
    resource.setrlimit(resource.RLIMIT_NPROC, (20, 20))


def test_more_processes_than_a_user_may_have_are_refused(release):
    try:
        done = subprocess.run(
            command("--driver=timerfd", "--processes=100"),
            capture_output=True,
            text=True,
            timeout=60,
            preexec_fn=few_processes,
        )
    except PermissionError as why:
        pytest.skip(f"another user cannot read the build: {why}")
    assert (done.returncode, done.stdout) == (3, "")
    assert "of 100" in done.stderr
    assert "ulimit -u" in done.stderr


def test_hundreds_of_processes_that_want_too_much_end_in_time(release):
    begin = time.monotonic()
    code, report, _ = tick("--driver=timerfd", "--measure=cores", "--processes=300", "--granularity-us=10")
    assert code == 0
    assert holds(report, due=300 * 10000)
    assert report["starved"] == 300
    assert time.monotonic() - begin < 60  # it takes one or two seconds; without a bound it would be hours


@pytest.mark.parametrize(
    ("words", "code", "names"),
    [
        ([], 2, "--driver"),
        (["--driver=sundial"], 2, "sundial"),
        (["--driver=tick", "--facility=sundial"], 2, "sundial"),
        (["--driver=tick", "--processes=0"], 2, "--processes"),
        (["--driver=tick", "--measure=both"], 2, "--measure"),
        (["--driver=timerfd", "--trigger-us=50"], 2, "soft"),
        (["--driver=tick", "--cpus=0,"], 2, "--cpus"),
        (["--driver=tick", "--cpus=1023"], 3, "1023"),
    ],
)
def test_what_is_refused_is_named(release, words, code, names):
    got, report, said = tick(*words)
    assert (got, report) == (code, None)
    assert names in said
    assert "\n" not in said
