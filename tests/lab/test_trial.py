"""Trials: what a row holds, in every mode and charge; keys; the way out where no lab can be made."""

import dataclasses
import functools
import json
import os

import pytest

import servers
from retrospective.lab import filesets, kernel_counters, trial
from retrospective.lab.hosts import LabUnavailable
from retrospective.lab.peers import PEERS
from retrospective.lab.trial import ROW_COLUMNS, Trial, run_trial

pytestmark = pytest.mark.usefixtures("can_lab")

#: Reasons that a busy machine may add to any trial: no fault of ours.
WEATHER = ("disturbed", "generator-late", "generator-saturated")

LOADS = {
    "open": {"mode": "open", "rate": 500.0, "timeout-ms": 1000},
    "closed": {"mode": "closed", "clients": 4},
    "raw": {"mode": "raw", "rate": 500.0, "timeout-ms": 1000},
    "stack": {"mode": "stack", "rate": 500.0, "timeout-ms": 1000},
}


def example(mode="closed", design="epoll", charge="receiver", workload="one-packet", **options):
    return Trial(
        chapter="lab",
        experiment="test",
        kind="trial",
        profile="smoke",
        design=design,
        options=options,
        workload=workload,
        load=LOADS[mode] | {"warmup-s": 0.1, "duration-s": 0.2},
        charge=charge,
        x_ratio=1.5,
        label="a test",
    )


def counts(row):
    return row["valid"] or row["reason"].startswith(WEATHER)


@pytest.mark.parametrize("mode", [*LOADS])
@pytest.mark.parametrize("charge", ["receiver", "sender"])
@pytest.mark.parametrize("design", ["select", "epoll"])
def test_a_row(mode, charge, design):
    row = run_trial(
        example(mode, design, charge, **{"accept-limit": "10", "backlog": 64}), round=3, attempt=2
    )
    assert counts(row), row["reason"]
    assert tuple(row) == ROW_COLUMNS
    assert (row["status"] == "ok") == row["valid"] == (row["reason"] == "")
    assert (row["design"], row["charge"], row["load_mode"], row["accept_limit"]) == (
        design,
        charge,
        mode,
        "10",
    )
    assert (row["backlog"], row["round"], row["attempt"], row["x_ratio"]) == (64, 3, 2, 1.5)
    assert row["timeout_ms"] == (None if mode == "closed" else 1000)
    assert row["defer_accept_s"] == 0
    assert row["replies_per_s"] > 100
    assert row["bodies_verified"] > 20
    assert row["bodies_mismatched"] == row["fds_leaked"] == 0
    assert 0 < row["server_cpu_share"] < 1.05
    assert row["server_cpu_us_per_reply"] > 1
    assert row["getevents_per_s"] > 0
    assert row["work_items_per_phase"] >= 1
    if mode != "closed":
        assert row["accepts_per_s"] == pytest.approx(500, rel=0.5)
        assert row["accepts_per_phase"] > 0
    assert json.loads(row["latency_histogram"])["significant_bits"] == 7
    assert sum(second["replies"] for second in json.loads(row["per_second"])) > 0
    assert row["log"] == ""
    json.dumps(row)


@pytest.mark.parametrize("design", ["select", "epoll", "floor"])
def test_other_workloads_and_the_floor(design):
    row = run_trial(example("open", design, workload="specweb99-like"))
    assert counts(row), row["reason"]
    assert row["bodies_mismatched"] == 0


@pytest.mark.parametrize("name", [*PEERS])
@pytest.mark.parametrize("mode", ["closed", "raw"])
def test_peers_run_in_the_same_trials(name, mode):
    if PEERS[name].path() is None:
        pytest.skip(f"{name} is not installed; as root: make system")
    row = run_trial(example(mode, name, **{k: 128 for k in PEERS[name].defaults if k == "backlog"}))
    assert counts(row), row["reason"]
    assert row["replies_per_s"] > 100
    assert row["server_cpu_us_per_reply"] > 1
    assert row["accepts_per_s"] is row["getevents_us"] is None


@pytest.mark.parametrize("mode", ["open", "raw"])
def test_a_handshake_is_deferred_only_if_its_ack_comes_alone(mode):
    """The kernel counts the bare ACKs that it ignores until data come (tcp(7), TCP_DEFER_ACCEPT)."""
    deferred = {}

    for ack in ("alone", "with-request"):
        base = example(mode, **{"defer-accept-s": 1})
        seen = []

        def look(hosts, _server, seen=seen):
            counters = kernel_counters.named_pairs(hosts.read("server", "/proc/net/netstat"))
            seen.append(counters["TCPDeferAcceptDrop"])

        row = run_trial(dataclasses.replace(base, load=base.load | {"handshake-ack": ack}), disturbance=look)
        assert row["status"] != "failed", row["reason"]
        assert row["defer_accept_s"] == 1
        assert row["replies_per_s"] > 100
        assert row["bodies_mismatched"] == 0
        deferred[ack] = seen[0]
    # The lab's own question before the load is a usual client's, so one is deferred in any case.
    assert deferred["with-request"] <= 1
    assert deferred["alone"] > 20


def test_a_round_draws_its_arrivals_anew_and_alike_for_all_of_it(monkeypatch):
    seeds = []

    class Watched(trial.Session):
        def __init__(self, lab, design, options, load, *rest, **more):
            seeds.append(load["seed"])
            super().__init__(lab, design, options, load, *rest, **more)

    monkeypatch.setattr(trial, "Session", Watched)
    for number, label in ((0, "a"), (0, "b"), (1, "a")):
        row = run_trial(dataclasses.replace(example("raw"), label=label), round=number)
        assert counts(row), row["reason"]
    assert seeds[0] == seeds[1] != seeds[2]


def test_a_request_that_sleeps_delays_others_and_leaves_the_cpu_idle():
    base = example("open", workload="mixed", **{"slow-us": 100_000, "slow-sleeps": True})
    row = run_trial(dataclasses.replace(base, load=base.load | {"rate": 2000.0, "duration-s": 0.5}))
    assert row["status"] != "failed", row["reason"]
    assert row["bodies_mismatched"] == 0
    assert row["latency_p999_us"] > 20_000, "someone waited for the sleeper"
    assert row["server_cpu_share"] < 0.6


def test_overload_is_seen_in_the_drops():
    """A backlog of one and a server that burns 2 ms a request cannot keep up with 2,000 connections/s."""
    overload = example("raw", backlog=1, **{"work-us": 2000, "accept-limit": "1"})
    row = run_trial(dataclasses.replace(overload, load=overload.load | {"rate": 2000.0}))
    assert row["replies_per_s"] < 600
    assert row["drop_listen_per_s"] > 100
    assert row["queue_drops_per_s"] == row["drop_listen_per_s"]
    assert row["drop_overflow_per_s"] + row["drop_syn_per_s"] > 0
    assert row["status"] != "failed", row["reason"]


def test_a_key_names_what_was_run_where():
    one = example()
    place = ("hash", "machine", "kernel", 0)
    assert one.key(*place) == example().key(*place)
    assert len(one.key(*place)) == 24
    others = [
        dataclasses.replace(one, label="replica 2"),
        dataclasses.replace(one, options={"accept-limit": "1"}),
        dataclasses.replace(one, load={"mode": "open", "rate": 1.0}),
        dataclasses.replace(one, charge="sender"),
    ]
    keys = {one.key(*place), *[other.key(*place) for other in others]}
    keys |= {
        one.key("other", *place[1:]),
        one.key("hash", "other", "kernel", 0),
        one.key("hash", "machine", "kernel", 1),
    }
    assert len(keys) == 8


def test_a_trial_that_cannot_be_is_an_error_at_once():
    with pytest.raises(ValueError, match=r"no design 'apache'"):
        run_trial(example(design="apache"))
    with pytest.raises(ValueError, match=r"no workload 'video'"):
        run_trial(example(workload="video"))


def test_a_server_that_refuses_its_options_is_a_row_with_its_words():
    row = run_trial(example(**{"accept-limit": "many"}))
    assert (row["valid"], row["status"]) == (False, "failed")
    assert row["reason"].startswith("server-failed: it ended with code 2")
    assert "accept-limit" in row["log"]


def test_an_engine_that_cannot_be_had_here_is_unavailable():
    trial = example(design="lazy", engine="posix-aio", network="lazy")
    row = run_trial(trial)
    assert (row["valid"], row["status"]) == (False, "unavailable")
    assert row["reason"].startswith("refused: lazy: --network lazy: the engine posix-aio")


def test_a_generator_that_refuses_its_options_is_a_row_with_its_words():
    broken = example("open")
    row = run_trial(dataclasses.replace(broken, load=broken.load | {"arrivals": "never"}))
    assert row["status"] == "failed"
    assert row["reason"].startswith("generator-failed")
    assert "arrivals" in row["log"]


@pytest.mark.parametrize("mode", [*LOADS])
def test_without_namespaces_it_runs_over_loopback_and_says_so(monkeypatch, mode):
    def refuse(*_):
        raise LabUnavailable("no")

    monkeypatch.setattr(trial, "Lab", refuse)
    row = run_trial(example(mode))
    assert counts(row), row["reason"]
    assert row["charge"] == "loopback"
    assert row["load_mode"] == ("open" if mode in ("raw", "stack") else mode)
    assert row["replies_per_s"] > 100


def test_one_process_has_no_share_and_its_cpu_time_is_split():
    row = run_trial(example())
    assert counts(row), row["reason"]
    spent_us = row["server_user_us_per_reply"] + row["server_system_us_per_reply"]
    assert spent_us == pytest.approx(row["server_cpu_us_per_reply"])
    assert 2 < row["system_calls_per_reply"] < 5  # receive, send, and a share of the rest
    assert [row[name] for name in ROW_COLUMNS if name.startswith("worker_")] == [None] * 4


@pytest.mark.parametrize("sharing", ["shared", "exclusive", "reuseport"])
def test_several_processes_are_one_server(sharing):
    row = run_trial(example("raw", "prefork", workers=3, sharing=sharing))
    assert counts(row), row["reason"]
    assert row["bodies_mismatched"] == row["fds_leaked"] == 0
    accepts, cpu_s = json.loads(row["worker_accepts"]), json.loads(row["worker_cpu_s"])
    assert len(accepts) == len(cpu_s) == 3
    # With EPOLLEXCLUSIVE a worker that is never needed may sleep throughout.
    assert min(cpu_s) > 0 or sharing == "exclusive"
    assert row["worker_accept_share_max"] == pytest.approx(max(accepts) / sum(accepts))
    assert row["worker_cpu_share_max"] == pytest.approx(max(cpu_s) / sum(cpu_s), abs=1e-3)
    elapsed_s = sum(accepts) / row["accepts_per_s"]
    assert row["server_cpu_share"] == pytest.approx(sum(cpu_s) / elapsed_s, rel=1e-3)
    if sharing == "reuseport":
        assert min(accepts) > 0


def test_processes_that_saturate_their_cpu_delay_only_one_another():
    """Three workers with more work than their CPU can do: each waits for the others most of the time."""
    busy = example("closed", "prefork", workers=3, sharing="reuseport", **{"work-us": 300})
    row = run_trial(dataclasses.replace(busy, load=busy.load | {"clients": 48, "duration-s": 1.0}))
    assert counts(row), row["reason"]
    assert row["server_run_delay_share"] > row["server_foreign_delay_share"] + 1.0


def reading(at_s, cpu_s, waited_s, softirq_s=0.0):
    """A reading in which processes ran and waited so long; the CPU had no ticks."""
    return kernel_counters.Reading(
        at_s=at_s,
        server_cpu_s=tuple(cpu_s),
        server_times=tuple(
            b"1 (a) b) R" + b" 1" * 10 + b" %d %d 0" % (100 * at_s, 300 * at_s) for _ in cpu_s
        ),
        server_schedstat=tuple(
            b"%d %d 5" % (ran * 1e9, waited * 1e9) for ran, waited in zip(cpu_s, waited_s, strict=True)
        ),
        server_io=tuple(b"rchar: 9\nread_bytes: %d\n" % (4096 * at_s) for _ in cpu_s),
        ksoftirqd_s=softirq_s,
        counters=b"",
        netstat=b"TcpExt: ListenOverflows ListenDrops\nTcpExt: 0 0\n",
        softnet=b"",
        stat=b"cpu0 0 0 0 0 0 0 0 0\n",
    )


@pytest.mark.parametrize(
    ("cpu_s", "waited_s", "softirq_s", "foreign"),
    [
        ([1.0], [0.9], 0.2, 0.35),  # of 2 s: 0.9 s less the softirq thread's
        ([0.6] * 3, [1.4] * 3, 0.2, 0.0),  # always runnable, waiting for one another and for packets
        ([0.5] * 3, [1.5] * 3, 0.0, 0.25),  # the same, and somebody had 0.5 s
        ([1.5, 0.0], [0.5, 0.0], 0.0, 0.25),  # nobody but somebody else can have delayed the only one at work
        ([0.1] * 3, [0.15] * 3, 0.0, 0.0),  # an idle server's: the ticks have to tell
    ],
)
def test_a_server_s_processes_are_not_others_to_one_another(cpu_s, waited_s, softirq_s, foreign):
    nothing = [0.0] * len(cpu_s)
    happened = kernel_counters.differences(
        reading(0, nothing, nothing), reading(2, cpu_s, waited_s, softirq_s), 0, 1
    )
    assert happened["server_foreign_delay_share"] == pytest.approx(foreign)
    assert happened["server_run_delay_share"] == pytest.approx(sum(waited_s) / 2)
    assert happened["server_cpu_share"] == pytest.approx(sum(cpu_s) / 2)
    assert happened["processes_cpu_s"] == cpu_s
    assert happened["user_part"] == 0.25
    assert happened["device_read_bytes"] == 8192 * len(cpu_s)


def test_threads_are_not_others_to_one_another():
    """Of a server with threads the schedstat is the main thread's: its siblings' time is taken off too."""
    begin, end = reading(0, [0.0], [0.0]), reading(2, [1.9], [0.4])
    end.server_schedstat = (b"%d %d 5" % (0.1e9, 0.4e9),)
    assert kernel_counters.differences(begin, end, 0, 1)["server_foreign_delay_share"] == 0.0


def test_decoding_of_the_kernel_s_tables():
    assert kernel_counters.named_pairs("TcpExt: A B\nTcpExt: 1 2\nIpExt: C\nIpExt: 3\n") == {
        "A": 1,
        "B": 2,
        "C": 3,
    }
    row = "0000000a 00000002 " + "00000000 " * 10 + "00000003 00000000 00000000"
    assert kernel_counters.softnet(row) == {3: (10, 2)}
    assert kernel_counters.cpu_times("cpu  1 1\ncpu1 100 0 0 200 0 0 50 25 0 0\nintr 5")[1]["softirq"] == 0.5
    table = "head\n 0: A B 01 q t r 0 0 77 1\n 1: A B 01 q t r 0 0 0 1\n 2: A B 0A q t r 0 0 78 1\n"
    assert kernel_counters.established(table) == 1


def test_the_lab_s_own_thread_is_where_it_was_afterwards():
    before = os.sched_getaffinity(0)
    run_trial(example())
    assert os.sched_getaffinity(0) == before
    assert servers.Counters.decode(b"") == {}


def test_kinds_of_files_have_columns_of_their_own(monkeypatch, tmp_path):
    """Requests for hot files beside the others; no kind, no value."""
    small = functools.partial(filesets.trace_like, name="rice-like", footprint_bytes=4 << 20)
    monkeypatch.setitem(filesets.WORKLOADS, "rice-like", lambda _: small(tmp_path))
    row = run_trial(example(workload="rice-like"))
    assert counts(row), row["reason"]
    assert 0 < row["hot_latency_count"] < row["latency_count"]
    assert row["hot_latency_censored"] == 0
    assert 0 < row["hot_latency_p50_us"] <= row["hot_latency_p99_us"] <= row["latency_max_us"]
    assert 0 < row["other_latency_p50_us"] <= row["other_latency_p99_us"] <= row["latency_max_us"]
    columns = [name for name in ROW_COLUMNS if name.startswith(("hot_latency", "other_latency"))]
    assert len(columns) == 6
    plain = run_trial(example())
    assert [plain[name] for name in columns] == [None] * 6
