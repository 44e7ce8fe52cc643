"""Probes, and faults planted in the program: each must make its row invalid, failed or unavailable, for its reason."""

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from retrospective.lab import probe_lazy, sweep
from retrospective.lab.disks import disk_of
from retrospective.lab.journal import Journal
from retrospective.lab.plan import Plan
from retrospective.lab.probe import PROBE_COLUMNS, PROGRAMS, Probe, run_probe
from retrospective.lab.probe_lazy import LAZYBENCH
from retrospective.lab.provenance import CPU_MAP
from retrospective.lab.session import Rejected
from retrospective.lab.sweep import complete_rounds, run_sweep
from retrospective.lab.trial import ROW_COLUMNS

COST = {"operation": "read", "state": "cached", "bytes": 4096, "seconds": 0.05}


def probe(engine="plain", experiment="cost", **options):
    return Probe(
        chapter="lab",
        experiment=experiment,
        kind="trial",
        profile="smoke",
        design=engine,
        options={"engine": engine, "partner-cpu": 1, **(options or COST)},
        label=f"{engine}: test",
    )


#: What a program that found nothing wrong reports.
REPORT = {
    "experiment": "cost", "engine": "plain", "operation": "read", "state": "cached", "bytes": 4096, "supported": True,
    "why": None, "samples": 100, "errors": 0, "paths": {"inline": 100}, "ring_paths": None, "calls": 100,
    "voluntary_switches": 0, "involuntary_switches": 3, "process_involuntary_switches": 3, "device_read_bytes": 0,
    "evicted": 0, "call_ns": 812.5, "plain_ns": 800.0, "ratio_plain": 1.0156, "held_histogram": [[900, 99], [1000, 1]],
    "cpu_us": 60_000,
}  # fmt: skip


@pytest.fixture
def fake(release):
    """Run a probe whose program is a few lines of Python."""

    def run(program, limit_s=20.0, **asked):
        return run_probe(probe(**asked), command=lambda: [sys.executable, "-c", program], limit_s=limit_s)

    return run


def printing(code=0, **changes):
    return f"import sys; print({json.dumps(REPORT | changes)!r}); sys.exit({code})"


# ---------------------------------------------------------------------------------------------- the real one


@pytest.mark.parametrize("engine", ["plain", "posix-aio"])
def test_the_program_measures_and_its_words_become_columns(engine, release):
    row = run_probe(probe(engine), round=3, attempt=2)
    assert row["valid"] or row["reason"].startswith(("disturbed", "cache-cold")), row["reason"]
    assert set(row) == {*ROW_COLUMNS, *LAZYBENCH.all_columns}
    assert (row["round"], row["attempt"], row["design"], row["program"]) == (3, 2, engine, "lazybench")
    assert row["call_ns"] > 0
    assert row["errors"] == 0
    assert row["ratio_plain"] == pytest.approx(row["call_ns"] / row["plain_ns"], rel=0.5)
    assert (row["path_inline"] if engine == "plain" else row["path_helper"]) > 0
    assert row["file_system"] == disk_of(probe_lazy.FOLDER)["file_system"]
    assert str(probe_lazy.FOLDER) not in json.dumps(row)


def test_an_engine_that_asks_first_is_compared_with_the_question_too(release):
    row = run_probe(probe("nowait"))
    assert row["errors"] == 0, row["reason"]
    if row["path_hit"]:
        assert row["ratio_raw_nowait"] == pytest.approx(row["call_ns"] / row["raw_nowait_ns"], rel=0.5)
    assert run_probe(probe("plain"))["raw_nowait_ns"] is None


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_lazy_reads_are_measured_beside_eager_ones(share, release):
    """Where pages are reclaimed meanwhile, as on a machine that tests run on, the row says so."""
    row = run_probe(
        probe(
            "nowait", experiment="surface", bytes=65536, concurrency=8, seconds=0.05, **{"hit-share": share}
        )
    )
    if not row["valid"]:
        assert row["reason"].startswith(("disturbed", "cache-cold", "unsupported")), row["reason"]
        return
    assert (row["hit_share"], row["concurrency"], row["bytes"]) == (share, 8, 65536)
    assert row["hit_share_got"] == pytest.approx(share, abs=0.1)
    assert row["device_read_bytes"] == pytest.approx(65536 * row["cold_reads"], rel=0.1)
    assert min(row["reads_per_s"], row["reads_per_s_eager"], row["ratio_eager"], row["cpu_us_per_read"]) > 0
    assert row["threads_peak"] >= 1
    assert row["peak_rss_bytes"] > 8 * 65536
    assert 0 < row["paused_share"] < 1
    held = (row["held_p99_ns"], row["held_max_ns"], row["plain_p99_ns"])
    assert all(value is None for value in held) if share == 1 else min(held) > 0


def test_a_read_of_more_than_the_file_has_places_for_is_unavailable(release):
    row = run_probe(probe("plain", experiment="surface", bytes=1 << 20, concurrency=64, seconds=0.05))
    assert row["reason"].startswith("unsupported: a file of 256 MiB has too few places for 64 reads")


def test_what_an_engine_does_not_have_is_unavailable_and_says_why(release):
    row = run_probe(probe("linux-aio", operation="pipe", state="present", seconds=0.05))
    assert (row["valid"], row["status"]) == (False, "unavailable")
    assert row["reason"].startswith("unsupported: ")
    assert "linux-aio" in row["reason"]


def test_options_that_the_program_refuses_stop_the_sweep_with_its_words(release):
    with pytest.raises(ValueError, match="sing"):
        run_probe(probe("plain", operation="sing", seconds=0.05))


# ---------------------------------------------------------------------------------------- planted faults


def test_without_a_fault_nothing_is_caught(fake):
    row = fake(printing())
    assert (row["valid"], row["status"], row["reason"]) == (True, "ok", "")
    assert row["path_inline"] == 100
    assert row["evicted_share"] == 0
    assert json.loads(row["held_histogram"]) == [[900, 99], [1000, 1]]


@pytest.mark.parametrize(
    ("program", "status", "reason"),
    [
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
            "failed",
            "program-failed: it was ended by signal 11",
        ),
        (
            "import sys; print('broken', file=sys.stderr); sys.exit(1)",
            "failed",
            "program-failed: it ended with code 1: broken",
        ),
        ("print('no JSON')", "failed", "no-report: it printed 'no JSON"),
        ("print('[1, 2]')", "failed", "no-report"),
        ("pass", "failed", "no-report"),
        (
            printing(code=1, errors=2, first_error="pread64: -1"),
            "failed",
            "wrong-results: 2 of them, the first: pread64: -1",
        ),
        (printing(errors=1), "failed", "wrong-results: 1 of them"),
        (printing(samples=0), "failed", "no-report: it made no measurement"),
        (
            "import sys; print('bench: perf: no right', file=sys.stderr); sys.exit(3)",
            "unavailable",
            "refused: bench: perf: no right",
        ),
        (printing(supported=False, why="no such call"), "unavailable", "unsupported: no such call"),
        (printing(device_read_bytes=4096), "invalid", "cache-cold: 4096 bytes"),
        (
            printing(state="cold", evicted=0.5, device_read_bytes=4096),
            "invalid",
            "cache-warm: 50% of the file",
        ),
        (printing(state="cold", evicted=1.0), "invalid", "cache-warm: nothing was read"),
        (printing(involuntary_switches=9000), "invalid", "disturbed: the CPU was taken away 9000 times"),
        (printing(involuntary_switches=None, process_involuntary_switches=9000), "invalid", "disturbed"),
    ],
)
def test_a_fault_makes_a_row_with_its_reason_and_no_result(program, status, reason, fake):
    row = fake(program)
    assert (row["valid"], row["status"]) == (False, status)
    assert row["reason"].startswith(reason), row["reason"]


SURFACE = {
    "experiment": "surface", "operation": None, "state": None, "hit_share": 0.5, "evicted": 1, "hot_resident": 1,
    "device_read_bytes": 4096,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"hit_share": 1.0, "evicted": None, "device_read_bytes": 0}, ""),
        ({"hit_share": 0.0, "hot_resident": 0}, ""),
        ({"evicted": 0.5}, "cache-warm: 50% of the file"),
        ({"device_read_bytes": 0}, "cache-warm: nothing was read"),
        ({"hot_resident": 0.5}, "cache-cold: 50% of what was to stay in memory"),
        ({"hit_share": 1.0, "evicted": None}, "cache-cold: 4096 bytes"),
        ({"involuntary_switches": 400}, ""),
        ({"involuntary_switches": 9000}, "disturbed"),
    ],
)
def test_what_was_to_be_in_memory_was_and_what_was_not_was_read(changes, reason, fake):
    asked = {"experiment": "surface", "seconds": 0.05}
    row = fake(printing(**(SURFACE | changes)), **asked)
    assert row["valid"] is (not reason)
    assert row["reason"].startswith(reason)


#: Reads that all find their data in memory, watched by switch records: whoever takes the CPU from the loop, and be it
#: another thread of the engine's, wakes one of the engine's, which takes it again.
IN_MEMORY = {
    "hit_share": 1.0, "evicted": None, "device_read_bytes": 0, "samples": 17, "involuntary_switches": 218,
    "voluntary_switches": 17, "process_voluntary_switches": 576, "cpu_us": 366_400,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"cpu_us": 190_000}, "disturbed: others had the CPU for 46% of the time"),
        ({"process_voluntary_switches": 20}, "disturbed: the CPU was taken away 218 times"),
        ({"involuntary_switches": 900}, "disturbed: the CPU was taken away 900 times"),
        # A device that is waited for leaves the CPU idle: time tells nothing, and switches are counted as ever.
        (
            {"hit_share": 0.5, "evicted": 1, "device_read_bytes": 4096},
            "disturbed: the CPU was taken away 218",
        ),
    ],
)
def test_threads_that_watch_may_take_the_cpu_from_the_loop_and_others_may_not(changes, reason):
    report = REPORT | SURFACE | IN_MEMORY | changes
    row = dict.fromkeys(PROBE_COLUMNS) | {"duration_s": 0.35} | probe_lazy.columns(report)
    row |= {"experiment": "surface", "watch": "perf", "state": None, "hot_resident_share": 1.0}
    if not reason:
        probe_lazy.judge(row, report, 0.4)
        return
    with pytest.raises(Rejected, match=reason):
        probe_lazy.judge(row, report, 0.4)


def test_a_program_that_computes_on_the_loop_s_cpu_is_a_disturbance(release):
    """It is one, however many threads of the engine's own it wakes by taking the CPU."""
    asked = {"experiment": "surface", "bytes": 4096, "concurrency": 8, "seconds": 0.3, "hit-share": 1.0}
    computing = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        os.sched_setaffinity(computing.pid, {CPU_MAP["server"]})
        row = run_probe(probe("activation", watch="perf", **asked))
    finally:
        computing.kill()
        computing.wait()
    if row["status"] != "unavailable":
        assert row["reason"].startswith(("disturbed: others had the CPU for", "cache-cold")), row["reason"]


@pytest.mark.parametrize(("watch", "valid"), [("perf", False), ("timer", True)])
def test_a_ticking_watcher_is_no_disturbance(watch, valid, fake):
    """Where the timer watches it takes the loop's CPU at every tick, by design."""
    row = fake(printing(involuntary_switches=900), watch=watch, **COST)
    assert row["valid"] is valid, row["reason"]


def test_a_page_that_had_to_be_read_is_no_steal_by_preemption(fake):
    row = fake(printing(state=None, device_read_bytes=4096), experiment="preempted", seconds=0.05)
    assert (row["status"], row["reason"][:10]) == ("invalid", "cache-cold")


def test_a_program_that_hangs_is_ended_with_all_that_it_started(fake, eventually):
    program = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "print(child.pid, file=sys.stderr, flush=True)\n"
        "time.sleep(600)"
    )
    begin = time.monotonic()
    row = fake(program, limit_s=1.0)
    assert time.monotonic() - begin < 10
    assert (row["status"], row["reason"]) == ("failed", "time-limit: it had not ended after 1 s")
    child = int(row["log"])
    eventually(lambda: not os.path.exists(f"/proc/{child}/exe"))


def test_what_it_said_is_kept_without_the_names_of_folders(fake):
    row = fake(f"import sys; print('cannot open {probe_lazy.FOLDER}/data', file=sys.stderr); sys.exit(1)")
    assert row["log"] == "cannot open FOLDER/data"


def test_the_program_may_run_on_every_cpu_and_we_do_not_disturb_it(fake):
    before = os.sched_getaffinity(0)
    row = fake("import os, sys; print(sorted(os.sched_getaffinity(0)), file=sys.stderr)")
    assert row["log"] == str(sorted(before))
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize("experiment", ["preempted", "sleep"])
def test_where_threads_share_a_cpu_by_design_switches_are_no_disturbance(experiment, fake):
    row = fake(printing(involuntary_switches=9000), experiment=experiment, seconds=0.1)
    assert row["valid"], row["reason"]


def test_calls_that_wake_helpers_may_cost_the_loop_its_cpu():
    row = dict.fromkeys(PROBE_COLUMNS) | {
        "experiment": "cost", "errors": 0, "samples": 9, "device_read_bytes": 0, "state": "",
        "involuntary_switches": 2000,
    }  # fmt: skip
    probe_lazy.judge(row | {"path_helper": 1000}, {}, 0.2)
    with pytest.raises(Rejected, match="disturbed"):
        probe_lazy.judge(row | {"path_inline": 1000}, {}, 0.2)


# ------------------------------------------------------------------------------------------ in a sweep


def test_programs_agree_on_the_type_of_a_column_that_two_of_them_bring():
    kinds = ("text", "counts", "levels", "flags")
    for one, other in itertools.combinations(kinds, 2):
        first = {name for program in PROGRAMS.values() for name in getattr(program, one)}
        second = {name for program in PROGRAMS.values() for name in getattr(program, other)}
        assert not first & second


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr(sweep, "keys", lambda: lambda p, n: p.key("b", "m", "k", n))


def test_equal_probes_have_equal_keys_and_anything_else_another():
    one = probe().key("b", "m", "k", 0)
    assert one == probe().key("b", "m", "k", 0)
    others = {
        probe("uring").key("b", "m", "k", 0),
        probe(operation="read", state="cold", bytes=4096, seconds=0.05).key("b", "m", "k", 0),
        *(
            probe().key(*names)
            for names in (("x", "m", "k", 0), ("b", "x", "k", 0), ("b", "m", "x", 0), ("b", "m", "k", 1))
        ),
    }
    assert len(others | {one}) == 7


def test_what_is_unavailable_is_not_tried_a_second_time_and_rounds_are_whole(stand_in, tmp_path):
    calls = []

    def run(asked, *, round, attempt):  # noqa: A002
        calls.append((asked.design, round, attempt))
        status = {"plain": "ok", "uring": "unavailable", "pool": "failed"}[asked.design]
        return {
            "valid": status == "ok", "status": status, "reason": "", "operation": "read", "path_inline": 5, "bytes": 1,
        }  # fmt: skip

    plan = Plan([probe(engine) for engine in ("plain", "uring", "pool")], rounds=2, seed=1)
    with Journal(tmp_path / "j") as journal:
        summary = run_sweep(plan, journal, run, progress=False)
        frame = complete_rounds(journal.to_frame(), plan)
    assert (summary.ran, summary.failed) == (2 * 4, 2)
    assert sorted(engine for engine, _, attempt in calls if attempt == 2) == ["pool", "pool"]
    assert frame["round"].tolist().count(0) == 3
    assert frame["path_inline"].tolist() == [5.0] * 6
    assert str(frame["operation"].dtype) == "str"


def test_where_files_are_no_disk_there_is_a_warning(tmp_path):
    facts = disk_of(tmp_path)
    assert set(facts) == {"file_system", "device", "model", "rotational", "scheduler", "warning"}
    if os.path.ismount("/dev/shm"):
        memory = disk_of(Path("/dev/shm"))
        assert memory["file_system"] == "tmpfs"
        assert "memory" in memory["warning"]
    assert str(tmp_path) not in json.dumps(facts)
