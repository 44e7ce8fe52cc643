"""Storage of a trial: what is in memory before and after, the bound that follows the server, and what is refused."""

import dataclasses
import json
import os
import signal
import subprocess
import sys

import pytest

from retrospective import paths
from retrospective.lab import cgroups, disk_2004, filesets, pagecache, session, storage, trial
from retrospective.lab.storage import Shelf, Storage
from retrospective.lab.sweep import _settled
from retrospective.lab.trial import ROW_COLUMNS, Trial, run_trial

#: Reasons that a busy machine may add to any trial: no fault of ours.
WEATHER = ("disturbed", "generator-late", "generator-saturated")
NEW = [
    *ROW_COLUMNS[ROW_COLUMNS.index("memory_limit_bytes") : ROW_COLUMNS.index("path_refused_per_reply") + 1]
]
NEW += ["disk", "memory_ratio", "cache", "footprint_bytes", "server"]


def example(ratio=0.55, cache="warm", clients=8, design="lazy", **options):
    return Trial(
        chapter="lab",
        experiment="test",
        kind="trial",
        profile="smoke",
        design=design,
        options=options,
        workload="rice-like",
        load={
            **{"mode": "closed", "clients": clients, "requests-per-connection": "inf", "timeout-ms": 5000},
            **{"warmup-s": 0.1, "duration-s": 0.3},
        },
        charge="receiver",
        x_ratio=None,
        label="a test",
        storage=Storage("own", ratio, cache),
        server="NB-pool",
    )


def counts(row):
    return row["valid"] or row["reason"].startswith(WEATHER)


@pytest.fixture
def bounded(can_lab):
    if cgroups.memory_parent() is None:
        pytest.skip("no writable memory cgroup here")


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize(("ratio", "cache"), [(0.55, "warm"), (3.2, "warm"), (0.55, "cold"), (3.2, "cold")])
def test_what_is_in_memory_before_and_after(ratio, cache):
    row = run_trial(example(ratio, cache, engine="pool"))
    assert counts(row), row["reason"]
    assert tuple(row) == ROW_COLUMNS
    assert (row["server"], row["disk"], row["memory_ratio"], row["cache"]) == ("NB-pool", "own", ratio, cache)
    assert row["memory_controller"] in ("v1", "v2")
    assert row["bodies_mismatched"] == row["fds_leaked"] == 0
    before, after, hot = (
        row[f"{name}_share"] for name in ("resident_before", "resident_after", "hot_resident_before")
    )
    if cache == "cold":
        assert max(before, hot) < 0.02 < after
    elif ratio < 1:
        assert min(before, hot, after) > 0.97
    else:
        assert 0.2 < before < 1 / ratio
        assert row["hot_resident_after_share"] >= hot > 0.97
    if ratio > 1:
        assert after < 1.5 / ratio
    if ratio > 1 or cache == "cold":
        assert row["device_read_bytes"] > 1 << 20
        assert row["path_helper_per_reply"] > 0
    for_files = row["memory_limit_bytes"] - row["memory_other_bytes"]
    assert for_files == pytest.approx(row["footprint_bytes"] / ratio, rel=0.1)
    assert row["memory_peak_bytes"] <= row["memory_limit_bytes"] + storage._RAMP_BYTES
    assert 1 << 20 < row["rss_peak_bytes"] < 1 << 26
    assert 2 <= row["threads_peak"] <= 66
    ways = [row[name] for name in ROW_COLUMNS if name.startswith("path_") and name.endswith("_per_reply")]
    assert len(ways) == 9
    assert sum(ways) == pytest.approx(row["lazy_calls_per_reply"], rel=0.3)
    turns = [row[name] for name in ROW_COLUMNS if name.startswith("turns_over_")]
    assert turns == sorted(turns, reverse=True)
    assert row["turn_max_us"] > 0
    json.dumps(row)


@pytest.fixture
def arm():
    reason = disk_2004.absent()
    if reason is not None:
        pytest.skip(reason)


@pytest.mark.usefixtures("bounded", "arm")
@pytest.mark.parametrize(("ratio", "cache"), [(0.55, "warm"), (3.2, "warm"), (3.2, "cold")])
@pytest.mark.parametrize("engine", ["plain", "amped"])
def test_a_disk_of_2004_takes_its_time_only_while_the_load_runs(monkeypatch, engine, ratio, cache):
    disks = []
    entered = disk_2004.Disk2004.__enter__

    def enter(disk):
        disks.append(disk)
        return entered(disk)

    busy = {}

    def note(when):
        told = disks[0].counters()
        busy[when] = told["busy_ns"] / 1e9, told["served_bytes"]

    settle, found = Shelf.settle, Shelf.found
    monkeypatch.setattr(disk_2004.Disk2004, "__enter__", enter)
    monkeypatch.setattr(Shelf, "settle", lambda *given: (settle(*given), note("before"))[0])
    monkeypatch.setattr(Shelf, "found", lambda shelf: (note("after"), found(shelf))[1])
    asked = example(ratio, cache, engine=engine)
    row = run_trial(dataclasses.replace(asked, storage=dataclasses.replace(asked.storage, disk="2004")))
    assert counts(row), row["reason"]
    assert row["disk"] == "2004"
    assert row["bodies_mismatched"] == row["fds_leaked"] == 0
    assert busy["before"][0] < 0.3, "reads of the mount only; to read files would take seconds"
    if cache == "warm":
        assert busy["before"][1] > 0.9 * row["footprint_bytes"] * min(1, 1 / ratio) - (1 << 20)
    if ratio > 1:
        assert busy["after"][0] > 0.05
        # The kernel counts a read when it is asked for, the disk when it is done; the window begins after the load.
        assert 0 < row["device_read_bytes"] < busy["after"][1] - busy["before"][1] + (1 << 20)
    else:
        assert row["resident_before_share"] > 0.98


@pytest.mark.usefixtures("bounded", "arm")
def test_reads_under_way_on_a_slow_disk_do_not_take_the_files_memory():
    """Each of them may wait for 128 KiB that the kernel reads ahead: altogether more than there is for files."""
    asked = example(3.2, clients=256, design="kernel-threads", threads=300, **{"file-cache-bytes": 0})
    row = run_trial(dataclasses.replace(asked, storage=Storage("2004", 3.2, "warm")))
    assert counts(row), row["reason"]
    assert row["threads_peak"] == 301
    assert row["resident_after_share"] > 0.2


@pytest.mark.parametrize("why", ["the disk of 2004 mounts a file system: run as root"])
def test_where_there_is_no_disk_of_2004_the_row_says_so_at_once(monkeypatch, why):
    monkeypatch.setattr(disk_2004, "absent", lambda: why)
    monkeypatch.setattr(trial, "open_lab", lambda _: pytest.fail("no lab is needed to know this"))
    row = run_trial(dataclasses.replace(example(), storage=Storage("2004")))
    assert (row["valid"], row["status"], row["disk"]) == (False, session.UNAVAILABLE, "2004")
    assert row["reason"] == f"no-disk: {why}"
    assert _settled(row)


@pytest.mark.usefixtures("bounded")
def test_the_bound_follows_a_server_that_needs_much_for_many_clients():
    row = run_trial(example(3.2, clients=1024, engine="uring"))
    if row["reason"].startswith("server-failed"):
        pytest.skip("io_uring is refused here")
    assert counts(row), row["reason"]
    assert row["memory_other_bytes"] > 4 << 20
    assert row["resident_after_share"] > 0.2


@pytest.mark.usefixtures("bounded")
def test_every_process_of_a_server_is_bounded_and_counted():
    row = run_trial(example(3.2, design="prefork", workers=3, **{"file-cache-bytes": 0}))
    assert counts(row), row["reason"]
    assert row["threads_peak"] == 3
    assert row["resident_after_share"] < 1.5 / 3.2


def test_without_a_bound_no_cgroup_is_needed(can_lab, monkeypatch):
    monkeypatch.setattr(cgroups, "memory_parent", lambda: None)
    for cache in ("warm", "cold"):
        row = run_trial(example(None, cache))
        assert counts(row), row["reason"]
        assert row["cache"] == cache
        assert row["resident_before_share"] > 0.98 if cache == "warm" else row["resident_before_share"] < 0.02
        assert row["threads_peak"] > 0
        assert row["memory_limit_bytes"] is row["memory_controller"] is row["memory_peak_bytes"] is None


def test_where_no_cgroup_can_be_made_the_row_says_so_at_once(monkeypatch):
    monkeypatch.setattr(cgroups, "memory_parent", lambda: None)
    monkeypatch.setattr(trial, "open_lab", lambda _: pytest.fail("no lab is needed to know this"))
    row = run_trial(example())
    assert (row["valid"], row["status"]) == (False, session.UNAVAILABLE)
    assert row["reason"] == "no-cgroup: no writable memory cgroup"
    assert (row["memory_ratio"], row["footprint_bytes"], row["log"]) == (0.55, 37749173, "")
    assert _settled(row)
    assert tuple(row) == ROW_COLUMNS


@pytest.mark.usefixtures("bounded")
def test_a_server_that_the_kernel_killed_for_memory_is_a_failed_trial(monkeypatch):
    """The bound no longer follows, and there is hardly any memory for files."""
    monkeypatch.setattr(storage, "MOST_OTHER_BYTES", 3 << 20)
    monkeypatch.setattr(storage, "_RAMP_BYTES", 0)
    row = run_trial(example(100, clients=256, engine="pool"))
    assert (row["valid"], row["status"]) == (False, "failed")
    assert row["reason"].startswith("out-of-memory: the kernel killed")


@pytest.mark.usefixtures("bounded")
def test_a_bound_that_the_kernel_refuses_is_a_reason(monkeypatch):
    def refuse(self, limit_bytes):
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(cgroups.MemoryGroup, "limit", refuse)
    row = run_trial(example())
    assert not row["valid"]
    assert row["reason"].startswith("memory-refused: ")
    assert row["reason"].endswith("bytes: Device or resource busy")


@pytest.mark.parametrize(
    ("cache", "code", "wrong"),
    [("warm", "cache-cold: only 0.0%", "_warm"), ("cold", "cache-warm: 100.0%", "evict")],
)
def test_what_is_not_in_memory_as_asked_is_seen(can_lab, monkeypatch, cache, code, wrong):
    if cache == "cold":
        files = filesets.WORKLOADS["rice-like"](paths.BUILD / "filesets")
        pagecache.warm(map(files.on_disk, files.files))
    monkeypatch.setattr(Shelf, wrong, lambda *_: None)
    row = run_trial(example(None, cache))
    assert (row["valid"], row["status"]) == (False, "invalid")
    assert row["reason"].startswith(code), row["reason"]


def test_files_that_stay_in_memory_are_a_reason(monkeypatch):
    monkeypatch.setattr(storage, "_EVICT_S", 0.05)
    files = filesets.WORKLOADS["one-packet"](paths.BUILD / "filesets")
    on_disk = [files.on_disk(file) for file in files.files]
    pagecache.warm(on_disk)
    with (
        Shelf(Storage(), files) as shelf,
        pagecache.held(on_disk),
        pytest.raises(session.Rejected, match=r"cache-warm: 100\.0%"),
    ):
        shelf.evict()


def test_no_such_storage():
    for wrong in ({"disk": "floppy"}, {"cache": "tepid"}, {"memory_ratio": 0.0}):
        with pytest.raises(ValueError, match=r"floppy|tepid|above zero"):
            Storage(**wrong)


def test_a_trial_without_storage_keeps_its_key_and_its_columns_stay_empty(can_lab):
    old = dataclasses.replace(example(), storage=None, server=None, design="epoll", workload="one-packet")
    fixed = dataclasses.replace(
        old, options={"backlog": 64}, load={"mode": "closed", "clients": 4}, x_ratio=1.5
    )
    place = ("hash", "machine", "kernel", 0)
    assert fixed.key(*place) == "db341efbc425e94161ad6df2"
    other = [
        dataclasses.replace(fixed, storage=Storage()),
        dataclasses.replace(fixed, storage=Storage(cache="cold")),
        dataclasses.replace(fixed, server="NB-B"),
    ]
    assert len({one.key(*place) for one in (fixed, *other)}) == 4
    row = run_trial(old)
    assert counts(row) or row["reason"].startswith("cache-cold"), row["reason"]
    assert [row[name] for name in NEW] == [None] * len(NEW)


KILLED = """
import sys
sys.path.insert(0, sys.argv[1])
from test_storage import example
from retrospective.lab.trial import run_trial
run_trial(example(3.2), disturbance=lambda lab, server: (print(server.pid, flush=True), __import__("time").sleep(60)))
"""


@pytest.mark.usefixtures("bounded")
def test_of_a_killed_trial_no_cgroup_stays_longer_than_to_the_next_start(eventually):
    here = os.path.dirname(__file__)
    killed = subprocess.Popen([sys.executable, "-c", KILLED, here], stdout=subprocess.PIPE, text=True)
    server = killed.stdout.readline().strip()
    groups = list(cgroups.memory_parent().glob(f"nai-{killed.pid}-*"))
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert len(groups) == 1
    eventually(lambda: not os.path.exists(f"/proc/{server}"))
    with cgroups.MemoryGroup():
        assert not groups[0].exists()
