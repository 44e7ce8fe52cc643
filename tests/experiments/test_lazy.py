"""The lazy I/O chapter's plans: what each profile measures, how long, and what a reader may change of it."""

import dataclasses
import itertools
import json

import pandas as pd
import pytest

import servers
from retrospective import bench, bench_lazy, benchmark
from retrospective.analysis import laziness, lazy_servers, probes
from retrospective.experiments import lazy
from retrospective.experiments.climb import climb
from retrospective.experiments.lazy import settings, traces, trials
from retrospective.experiments.runner import run_one
from retrospective.lab.filesets import WORKLOADS
from retrospective.lab.probe import Probe, run_probe
from retrospective.lab.trial import Trial

PEAK = 30_000.0
PEAKS = dict.fromkeys((*lazy.SERVER_WORKLOADS, "rice-like"), PEAK)
ON_TRACES = ("traces", "traces-open", "traces-cold", "fits-cpu")


def by_experiment(plan):
    found = {}
    for trial in plan.trials:
        found.setdefault(trial.experiment, []).append(trial)
    return found


# ------------------------------------------------------------------------------------------------ profiles


def test_the_paper_profile_has_every_experiment_engine_and_cell_in_time():
    profile = lazy.PROFILES["paper"]
    found = by_experiment(lazy.plan(profile, PEAKS))
    assert set(found) == set(lazy.EXPERIMENTS)
    assert profile.rounds >= 10
    assert lazy.seconds(profile) < 60 * 60
    assert {p.design for p in found["cost"]} == {p.design for p in found["held"]} == set(lazy.SERIES)
    cells = {(p.options["operation"], p.options["state"]) for p in found["held"]}
    assert cells == set(lazy.HELD)
    assert len(found["held"]) == len(lazy.HELD) * len(lazy.SERIES)
    sizes = {p.options["bytes"] for p in found["cost"] if p.options["operation"] == "read"}
    assert sizes == set(lazy.BYTES)
    assert {512, 1 << 20} <= sizes


def test_the_quick_profile_decides_most_claims_in_a_minute():
    profile = lazy.PROFILES["quick"]
    found = by_experiment(lazy.plan(profile, PEAKS))
    assert set(found) == set(lazy.EXPERIMENTS) - {"traces-open", "traces-cold"}
    assert profile.rounds >= 3
    assert lazy.seconds(profile) < 75
    assert {"plain", "activation", "uring", "nowait", "posix-aio", "linux-aio"} == {
        p.design for p in found["cost"]
    }
    cells = {(p.options["operation"], p.options["state"]) for p in found["held"]}
    assert {laziness.COLD, laziness.DIRECT, ("pipe", "absent")} <= cells
    assert {(t.workload, t.x_ratio) for t in found["lazy-cpu"]} == {
        ("one-packet", 0.1),
        ("one-packet", 0.9),
        ("specweb99-like", 0.9),
    }


def test_what_decides_no_claim_is_seen_once_in_the_quick_profile():
    plan = lazy.plan(lazy.PROFILES["quick"], PEAKS)
    planned = zip(plan.trials, plan.rounds_of, strict=True)
    once = {(p.experiment, p.design) for p, rounds in planned if rounds == 1 and isinstance(p, Probe)}
    assert once == {(e, d) for e in ("cost", "held") for d in ("plain", "nowait", "posix-aio", "linux-aio")}
    for probe, rounds in zip(plan.trials, plan.rounds_of, strict=True):
        if (probe.options.get("operation"), probe.options.get("bytes")) == ("read", lazy.CLAIM_BYTES):
            assert rounds == plan.rounds


def test_the_server_has_more_rounds_where_its_cpu_is_to_be_shown_alike():
    plan = lazy.plan(lazy.PROFILES["paper"], PEAKS)
    rounds = {(t.experiment, own) for t, own in zip(plan.trials, plan.rounds_of, strict=True)}
    assert {own for experiment, own in rounds if experiment == "lazy-cpu"} == {12}
    assert {own for experiment, own in rounds if experiment not in ("lazy-cpu", "surface", *ON_TRACES)} == {
        10
    }


@pytest.mark.parametrize(("name", "most_s"), [("quick", 5), ("paper", 150)])
def test_the_surface_spans_sizes_hits_and_concurrency_in_its_time(name, most_s):
    plan = lazy.plan(lazy.PROFILES[name], {})
    found = [
        (p, rounds)
        for p, rounds in zip(plan.trials, plan.rounds_of, strict=True)
        if p.experiment == "surface"
    ]
    assert {rounds for _, rounds in found} == {3}
    assert sum(p.seconds() * rounds for p, rounds in found) < most_s
    cells = {
        tuple(p.options[o] for o in ("bytes", "hit-share", "concurrency"))
        for p, _ in found
        if p.design == laziness.LAZY
    }
    assert {share for _, share, _ in cells} >= {0.0, 0.9, 1.0}
    if name == "paper":
        grid = itertools.product(settings.SURFACE_BYTES, settings.HIT_SHARES, settings.CONCURRENCIES)
        assert cells == set(grid)
        assert {p.design for p, _ in found} == {"activation", "uring", "nowait", "pool"}


def test_the_smoke_profile_s_surface_is_measured(release):
    (probe,) = trials.surface(lazy.PROFILES["smoke"])
    row = run_probe(probe)
    if not row["valid"]:
        assert row["reason"].startswith(("disturbed", "cache-cold", "refused", "unsupported")), row["reason"]
        return
    (found,) = laziness.surface(pd.DataFrame([row])).items()
    assert found[0] == laziness.Cell("activation", 8, lazy.CLAIM_BYTES, 0.9)
    assert found[1].tolist() == [row["ratio_eager"]]


def test_the_smoke_profile_takes_seconds():
    assert lazy.seconds(lazy.PROFILES["smoke"]) < 12


@pytest.mark.parametrize("name", [*lazy.PROFILES])
def test_no_two_of_a_profile_are_the_same_or_called_the_same(name):
    planned = lazy.plan(lazy.PROFILES[name], PEAKS).trials
    texts = [json.dumps(dataclasses.asdict(t), sort_keys=True) for t in planned]
    assert len(set(texts)) == len(texts)
    assert len({(t.experiment, t.label) for t in planned}) == len(planned)


def test_what_the_analysis_knows_of_the_chapter_is_what_is_measured():
    """The analysis reads rows and never a plan, so that both name the same things is held here."""
    assert laziness.MATRIX == settings.HELD
    assert tuple(settings.SERIES) == laziness.SERIES
    assert (probes.CHAPTER, probes.CLAIM_BYTES) == (settings.CHAPTER, settings.CLAIM_BYTES)


def test_a_probe_says_who_is_where_and_how_blocks_are_noticed():
    profile = lazy.profile_with("paper", experiments=trials.PROBES)
    for probe in lazy.plan(profile, PEAKS).trials:
        assert isinstance(probe, Probe)
        assert probe.options["partner-cpu"] == 1
        engine, watch = settings.SERIES[probe.design]
        assert (probe.options["engine"], probe.options.get("watch")) == (engine, watch)


@pytest.mark.parametrize("root", [True, False])
def test_names_are_made_cold_only_by_who_may(root, monkeypatch):
    monkeypatch.setattr(trials, "can_drop_caches", lambda: root)
    found = lazy.plan(lazy.PROFILES["paper"], {}).trials
    dropping = {(p.options["operation"], p.options["state"]) for p in found if p.options.get("drop-caches")}
    names = {(name, "cold") for name in ("open", "stat", "readdir", "openstat")}
    assert dropping == (names if root else set())
    flag = servers.arguments({"drop-caches": root})
    assert flag == (["--drop-caches"] if root else [])


def test_both_engines_of_the_server_are_offered_the_same():
    peaks = {"one-packet": PEAK, "specweb99-like": PEAK / 3}
    found = by_experiment(lazy.plan(lazy.PROFILES["paper"], peaks))["lazy-cpu"]
    assert all(isinstance(t, Trial) for t in found)
    for workload, ratio in itertools.product(lazy.SERVER_WORKLOADS, lazy.LOADS):
        at = [t for t in found if (t.workload, t.x_ratio) == (workload, ratio)]
        assert {t.options["engine"] for t in at} == {"plain", "activation"}
        assert [t.load["rate"] for t in at] == pytest.approx([peaks[workload] * ratio] * 2)
        assert {t.load["requests-per-connection"] for t in at} == {lazy.REQUESTS_PER_CONNECTION}


def test_without_the_server_the_probes_remain():
    assert "lazy-cpu" not in by_experiment(lazy.plan(lazy.PROFILES["quick"], {}))


# ------------------------------------------------------------------------------------------------- changes


def test_a_reader_s_changes():
    profile = lazy.profile_with(
        "paper", rounds=2, engines=["uring", "activation (timer)"], bytes=[100, 8192], seconds=0.3
    )
    found = by_experiment(lazy.plan(profile, PEAKS))
    assert profile.rounds == 2
    assert {*lazy.plan(profile, PEAKS).rounds_of} == {2}
    assert {p.design for p in found["cost"] + found["held"]} == {"uring", "activation (timer)"}
    assert {p.design for p in found["upcall"]} == {"activation (timer)"}
    timed = ("cost", "held", "upcall", "sleep", "surface")
    assert {p.options["seconds"] for e in timed for p in found[e]} == {0.3}
    assert {p.design for p in found["surface"]} == {"uring", "activation (timer)"}
    assert {p.options["bytes"] for p in found["surface"]} == {100, 8192}
    reads = [p for p in found["cost"] if p.options["operation"] == "read"]
    assert {p.options["bytes"] for p in reads if p.options["state"] == "cached"} == {100, 8192}
    assert {p.options["bytes"] for p in reads if p.options["state"] == "direct"} == {8192}, "whole sectors"


def test_only_some_experiments():
    for name in lazy.EXPERIMENTS:
        profile = lazy.profile_with("paper", experiments=[name])
        assert set(by_experiment(lazy.plan(profile, PEAKS))) == {name}
    assert lazy.profile_with("smoke") == lazy.PROFILES["smoke"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"engines": ["magic"]}, "no engine 'magic': there are plain, activation"),
        ({"experiments": ["tea"]}, "no experiment 'tea': there are cost, held"),
        ({"rounds": 0}, "at least one round"),
        ({"seconds": 0.0}, "lasts longer"),
        ({"bytes": [0]}, "above zero"),
        ({"bytes": ["many"]}, "whole numbers"),
        ({"servers": ["NB-X"]}, "no server 'NB-X': there are NB-B, NB-AMPED"),
        ({"clients": [0]}, "whole numbers from 1 to 1024"),
        ({"clients": [2000]}, "whole numbers from 1 to 1024"),
    ],
)
def test_what_there_is_not_is_answered_with_what_there_is(changes, said):
    with pytest.raises(ValueError, match=said):
        lazy.profile_with("quick", **changes)
    with pytest.raises(ValueError, match="no profile 'big': there are smoke, quick, paper"):
        lazy.profile_with("big")


def test_a_profile_with_nothing_left_says_so():
    profile = lazy.profile_with("quick", experiments=["upcall"], engines=["uring"])
    with pytest.raises(ValueError, match="nothing is left to measure"):
        lazy.plan(profile, {})


# ------------------------------------------------------------------------------------------ servers on traces


def on_traces(name, peaks=PEAKS):
    return [*traces.planned(lazy.PROFILES[name], peaks)]


@pytest.mark.parametrize(("name", "most_s"), [("smoke", 7), ("quick", 30), ("paper", 38 * 60)])
def test_servers_on_traces_take_their_time_and_no_more(name, most_s):
    assert sum(trial.seconds() * rounds for trial, rounds in on_traces(name)) < most_s


def test_the_paper_profile_has_what_claims_are_judged_on():
    planned = on_traces("paper")
    found = {experiment: [t for t, _ in planned if t.experiment == experiment] for experiment in ON_TRACES}
    assert {t.workload for t in found["traces"]} == set(lazy_servers.TRACES)
    assert {t.storage.disk for t in found["traces"]} == set(lazy_servers.DISKS)
    assert {(t.storage.memory_ratio, t.storage.cache) for t in found["traces"]} == {(3.2, "warm")}
    clients = {t.load["clients"] for t in found["traces"] if t.workload == "rice-like"}
    assert {1, 1024} <= clients
    assert {(t.storage.memory_ratio, t.storage.cache) for t in found["traces-cold"]} == {
        (3.2, "cold"),
        (0.55, "cold"),
    }
    assert {(t.storage.memory_ratio, t.storage.cache) for t in found["fits-cpu"]} == {(0.55, "warm")}
    assert {t.server for t in found["fits-cpu"]} >= {
        lazy_servers.PLAIN,
        lazy_servers.AMPED,
        *lazy_servers.LAZY_SERVERS,
    }
    assert len({t.load["clients"] for t in found["fits-cpu"]}) == 1, "costs are compared at one place"
    rounds = {t.server: rounds for t, rounds in planned if t.experiment == "fits-cpu"}
    assert {lazy_servers.PLAIN, lazy_servers.LAZY} <= {name for name, own in rounds.items() if own >= 50}
    assert min(rounds.values()) >= 10
    for workload, disk in itertools.product(lazy_servers.TRACES, lazy_servers.DISKS):
        case = [t for t in found["traces"] if (t.workload, t.storage.disk) == (workload, disk)]
        if case:
            most = max(t.load["clients"] for t in case)
            assert most >= lazy_servers.MANY_CLIENTS
            busy = {t.server for t in case if t.load["clients"] == most}
            assert busy >= {lazy_servers.PLAIN, lazy_servers.AMPED, lazy_servers.LAZY}


def test_what_is_compared_is_asked_the_same():
    for name in lazy.PROFILES:
        places = {}
        for trial, rounds in on_traces(name):
            assert trial.workload in WORKLOADS
            assert trial.server in trial.label
            place = json.dumps(
                [trial.experiment, trial.workload, str(trial.storage), trial.load, trial.x_ratio, rounds]
            )
            places.setdefault(place, []).append(trial.server)
        assert all(len(set(names)) == len(names) for names in places.values())


def test_servers_that_are_compared_run_one_right_after_the_other():
    plan = lazy.plan(lazy.PROFILES["paper"], PEAKS)
    for number in (0, 9, 10, 11, 40):
        keys = [trials.compared(one) for one in plan.round(number)]
        runs = [key for key, _ in itertools.groupby(keys) if key]
        assert len(runs) == len(set(runs)), "a group is in one piece"
        pairs, groups = {}, {}
        for one in plan.round(number):
            if one.experiment == "lazy-cpu":
                pairs.setdefault(trials.compared(one), []).append(one.options["engine"])
            elif trials.compared(one):
                groups.setdefault(trials.compared(one), []).append(one)
        assert all(sorted(engines) == sorted(settings.SERVER_ENGINES) for engines in pairs.values())
        assert len(pairs) == (6 if number < 12 else 0)
        for group in groups.values():
            assert len({(t.experiment, t.workload, str(t.storage), str(t.load)) for t in group}) == 1
            assert {settings.SERVERS[t.server][0] for t in group} == {t.design for t in group}


def test_no_time_out_can_hide_how_long_a_reply_took():
    for trial, _ in on_traces("paper"):
        assert trial.load["timeout-ms"] / 1e3 >= 2 * (trial.load["warmup-s"] + trial.load["duration-s"])
        assert trial.load["requests-per-connection"] == {"closed": "inf", "open": 1}[trial.load["mode"]]


def test_an_open_loop_is_placed_by_the_peak_of_the_blocking_server():
    profile = lazy.PROFILES["paper"]
    (calibration,) = traces.calibrations(profile).values()
    assert (calibration.server, calibration.kind) == ("NB-B", "calibration")
    assert calibration.load["requests-per-connection"] == 1, "what connects in one costs in the other"
    opened = [t for t, _ in on_traces("paper", {"rice-like": 2_000.0}) if t.experiment == "traces-open"]
    assert {(t.x_ratio, t.load["rate"]) for t in opened} == {(0.5, 1_000.0), (0.9, 1_800.0)}
    assert all(t.storage == calibration.storage for t in opened)
    assert not [t for t, _ in on_traces("paper", {}) if t.experiment == "traces-open"]


def test_a_reader_s_servers_and_clients():
    chosen = ["NB-LAIO", "NB-B"]
    profile = lazy.profile_with("paper", servers=chosen, clients=[8, 32], rounds=2, seconds=0.5)
    planned = [*traces.planned(profile, PEAKS)]
    assert {t.server for t, _ in planned} == set(chosen)
    assert {rounds for _, rounds in planned} == {2}
    assert {t.load["duration-s"] for t, _ in planned} == {0.5}
    clients = {(t.experiment, t.load.get("clients")) for t, _ in planned}
    assert clients == {(e, c) for e in ("traces", "traces-cold") for c in (8, 32)} | {
        ("fits-cpu", 64),
        ("traces-open", None),
    }
    assert len({t.label for t, _ in planned if t.experiment == "traces"}) == 4 * 2 * 2


def test_the_analysis_knows_the_servers():
    assert set(lazy_servers.SERVERS) == set(settings.SERVERS)


@pytest.mark.parametrize("name", [*settings.SERVERS])
def test_a_server_s_options_are_those_of_its_program(name, tmp_path):
    design, options = settings.SERVERS[name]
    assert design in servers.designs()
    with servers.Server(design, root=tmp_path, backlog=traces.BACKLOG, **options) as server:
        assert server.address[1]


@pytest.mark.parametrize(
    "trial", [t for t, _ in on_traces("smoke")], ids=lambda t: f"{t.experiment} {t.server}"
)
def test_the_smoke_trials_run_or_say_what_is_missing(trial):
    row = run_one(trial, round=0)
    assert row["status"] in ("ok", "invalid", "unavailable"), row["reason"] + row["log"]
    assert row["server"] == trial.server
    if row["status"] == "unavailable":
        assert row["reason"].startswith(("no-cgroup: ", "refused: "))
    else:
        assert row["replies_per_s"] > 0


# --------------------------------------------------------------------------------------------- calibration


@pytest.mark.parametrize("workload", lazy.SERVER_WORKLOADS)
def test_the_peak_is_found_with_plain_calls_and_up_to_where_the_client_keeps_up(workload):
    offered = []
    most = settings.CALIBRATION_TARGET[workload] / 2

    def record(trial):
        assert trial.workload == workload
        assert trial.options["engine"] == "plain"
        assert trial.kind == "calibration"
        offered.append(trial.load["rate"])
        if trial.load["rate"] > most:
            raise RuntimeError("generator-saturated")
        return {"replies_per_s": trial.load["rate"]}

    peak = lazy.find_peak(lazy.PROFILES["paper"], workload, record)
    assert most / 1.15 <= peak <= most
    assert offered[0] == settings.CALIBRATION_TARGET[workload]


def test_a_climb_that_finds_nothing_is_no_peak():
    assert climb(lambda target: 0.0, 1000.0, 5) == 0.0


# ---------------------------------------------------------------------------------------------- benchmarks

COUNTED = [f"path_{path}" for path in bench_lazy.PATHS] + [f"ring_{path}" for path in bench_lazy.RING_PATHS]
ROW = {"valid": True, "reason": ""} | dict.fromkeys(COUNTED, 0) | {"ring_worker": 3, "path_ring": 7}


@pytest.fixture
def rows(monkeypatch):
    """Rows that the benchmarks' probes are to return, whatever they are asked."""
    bench_lazy._rounds.cache_clear()
    found = []

    def run_probe(probe, round=0):  # noqa: A002 (the lab's word)
        return ROW | found[round % len(found)]

    monkeypatch.setattr(bench_lazy, "run_probe", run_probe)
    yield found
    bench_lazy._rounds.cache_clear()


@pytest.fixture(autouse=True)
def unrecorded(monkeypatch, tmp_path):
    """What long benchmarks record stays out of the repository."""
    monkeypatch.setattr(bench, "RECORDED", tmp_path / "bench.json")


def result(name):
    return bench._result(bench.BENCHMARKS[name], named=True)


def test_a_cached_read_is_held_to_its_bound(rows):
    rows += [{"ratio_glibc": 1.01}, {"ratio_glibc": 1.03}]
    found = result("laio-cached-read")
    assert found["value"] == pytest.approx(1.02, abs=0.005)
    assert found["holds"] is True
    bench_lazy._rounds.cache_clear()
    rows[:] = [{"ratio_glibc": 1.2}, {"ratio_glibc": 1.21}]
    assert result("laio-cached-read")["holds"] is False


def test_what_asks_first_is_told_from_the_price_of_the_question(rows):
    for over_pread, over_question in ((1.19, 1.02), (1.2, 1.01)):
        rows.append({"ratio_plain": 1.21, "ratio_glibc": over_pread, "ratio_raw_nowait": over_question})
    found = result("nowait-cached-read")
    assert found["holds"] is False
    assert found["note"] == "preadv2(RWF_NOWAIT) by itself costs 1.18 preads"
    assert result("nowait-of-preadv2")["holds"] is True


def test_io_uring_has_no_bound_and_tells_its_paths(rows):
    rows += [{"ratio_plain": 1.5}]
    found = result("uring-cached-read")
    assert (found["bound"], found["holds"]) == ("", None)
    assert found["note"] == "paths: ring 49; watched from outside: worker 21"


def test_what_cannot_be_measured_here_gives_its_reason(rows):
    rows += [{"valid": False, "reason": "refused: perf: no right", "stolen": None}]
    for name in (
        "laio-cached-read",
        "laio-sleep-us",
        "laio-resume-p99-us",
        "laio-stolen-preempted",
        "laio-missed",
    ):
        if not bench.BENCHMARKS[name].long:
            found = result(name)
            assert found["value"] is found["holds"] is None, name
            assert found["note"] == "refused: perf: no right"
    assert bench_lazy.missed().note == "refused: perf: no right"


@pytest.fixture
def on_traces_measured(monkeypatch):
    """What the servers on traces are to have measured, by server; what is not named is unavailable."""
    bench_lazy._on_trace.cache_clear()
    found = {}

    def run(trial, round=0):  # noqa: A002 (the lab's word)
        if trial.server in found:
            return {"status": "ok", "reason": "", "valid": True} | found[trial.server]
        return {"status": "unavailable", "reason": "no-cgroup: needs root", "valid": False}

    monkeypatch.setattr(bench_lazy, "run_one", run)
    monkeypatch.setattr(benchmark, "run_one", run)
    yield found
    bench_lazy._on_trace.cache_clear()


def test_the_lazy_server_is_held_to_the_best_rival_by_the_lower_end(on_traces_measured):
    names = [lazy_servers.LAZY, *lazy_servers.RIVALS]
    on_traces_measured |= {name: {"replies_per_s": 1000.0 + i} for i, name in enumerate(names)}
    found = result("lazy-throughput")
    assert found["value"] == found["low"] == pytest.approx(1000 / (1000 + len(names) - 1))
    assert names[-1] in found["note"]
    assert found["holds"] is True


def test_the_dearest_lazy_server_decides(on_traces_measured):
    costs = {"NB-B": 50.0, "NB-LAIO": 51.0, "NB-LAIO (uring)": 50.0, "NB-LAIO (nowait)": 54.0}
    costs |= {"LAIO-LAIO": 80.0, "LAIO-LAIO (uring)": 50.0}
    on_traces_measured |= {name: {"server_cpu_us_per_reply": cost} for name, cost in costs.items()}
    for name, value in (("lazy-fits-cpu", 1.08), ("lazy-fits-cpu-network", 1.6)):
        found = result(name)
        assert found["value"] == pytest.approx(value)
        assert found["holds"] is False
        assert "LAIO" in found["note"]


def test_without_a_cgroup_the_servers_on_traces_say_so(on_traces_measured):
    for name in ("lazy-throughput", "lazy-throughput-2004", "lazy-cached-p99", "lazy-fits-cpu"):
        found = result(name)
        assert (found["value"], found["holds"], found["note"]) == (None, None, "no-cgroup: needs root")


def test_a_single_stolen_loop_is_one_too_many(rows):
    rows += [{"stolen": 0, "involuntary_switches": 50}] * 6 + [{"stolen": 1, "involuntary_switches": 50}]
    found = result("laio-stolen-preempted")
    assert (found["value"], found["holds"]) == (1, False)
    assert found["note"] == "of 350 losses of the CPU"
