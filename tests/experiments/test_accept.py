"""The accept() chapter's plans: what each profile measures, how long, and what a reader may change of it."""

import dataclasses
import json

import pytest

import servers
from retrospective import bench
from retrospective.experiments import accept
from retrospective.experiments.accept import settings, trials
from retrospective.lab.peers import PEERS


@pytest.fixture
def everything(monkeypatch):
    """As on a machine on which every design is built and every peer installed."""
    named = {s.design for p in accept.PROFILES.values() for s in p.series} | {"uring", "prefork"}
    designs = dict.fromkeys([*servers.designs(), *sorted(named)])
    monkeypatch.setattr(servers, "designs", lambda: designs)
    monkeypatch.setattr(accept, "absent", lambda design: None)


def planned(profile, peak=10_000.0):
    return accept.plan(profile, {s.base(): peak for s in profile.series})


def by_experiment(plan):
    found = {}
    for trial in plan.trials:
        found.setdefault(trial.experiment, []).append(trial)
    return found


# ------------------------------------------------------------------------------------------------ profiles


def test_the_paper_profile_has_every_experiment_in_time(everything):
    profile = accept.PROFILES["paper"]
    plan = planned(profile)
    assert set(by_experiment(plan)) == set(accept.EXPERIMENTS)
    assert profile.rounds >= 10
    assert accept.seconds(profile) < 48 * 60, "ten rounds leave no time for what has to be repeated"
    kinds = {accept.KIND_OF.get(s.design, "userver") for s in profile.series}
    assert kinds == set(settings.KINDS)


def test_the_quick_profile_shows_every_kind_and_takes_a_minute(everything):
    profile = accept.PROFILES["quick"]
    found = by_experiment(planned(profile))
    assert {"one-packet", "specweb99-like", "concurrency", "fairness", "peers"} <= set(found)
    assert {accept.KIND_OF.get(t.design, "userver") for t in found["one-packet"]} == set(settings.KINDS)
    assert profile.rounds >= 3
    assert accept.seconds(profile) < 68


def test_the_smoke_profile_serves_once_from_every_design(everything):
    plan = planned(accept.PROFILES["smoke"])
    # The design lazy is served from by the smoke profile of its own chapter.
    assert {t.design for t in plan.trials} >= set(servers.designs()) - {"lazy"}
    assert plan.seconds() < 20


@pytest.mark.parametrize("name", [*accept.PROFILES])
def test_no_two_trials_of_a_profile_are_the_same(everything, name):
    plan = planned(accept.PROFILES[name])
    texts = [json.dumps(dataclasses.asdict(t), sort_keys=True) for t in plan.trials]
    assert len(set(texts)) == len(texts)


def test_limits_and_bounds_are_those_of_the_kind_of_server(everything):
    found = by_experiment(planned(accept.PROFILES["paper"]))["one-packet"]
    for design, limits, bound in (
        ("select", {"1", "10", "inf"}, {"max-connections": 15_000}),
        ("drain-uring", {"1", "50", "inf"}, {"max-connections": 15_000}),
        ("user-threads", {"1", "50", "100"}, {"threads": 1_000}),
        ("kernel-threads", {"1", "50", "100"}, {"threads": 1_000}),
    ):
        mine = [t for t in found if t.design == design]
        assert {t.options["accept-limit"] for t in mine} == limits
        for trial in mine:
            assert bound.items() <= trial.options.items()
            assert ("threads" in trial.options) != ("max-connections" in trial.options)


def test_a_sensitivity_changes_one_thing(everything):
    found = by_experiment(planned(accept.PROFILES["paper"]))

    def values(experiment, value):
        mine = found[f"sensitivity-{experiment}"]
        assert {t.design for t in mine} == {"select"}
        assert {t.x_ratio for t in mine} == {accept.SENSITIVITY_RATIO}
        return {value(t) for t in mine}

    assert values("backlog", lambda t: t.options["backlog"]) == {128, 511, 4096}
    assert values("timeout", lambda t: t.load["timeout-ms"]) == {100, 300, 1000}
    assert values("defer", lambda t: t.options.get("defer-accept-s", 0)) == {0, 1}
    assert values("work", lambda t: t.options.get("work-us", 0)) == {0, 40, 160}
    # An ACK that carries the request is never deferred, so both arms send it alone; nobody else does.
    alone = [t for t in found["one-packet"] + found["sensitivity-defer"] if "handshake-ack" in t.load]
    assert alone == found["sensitivity-defer"]


def test_the_load_of_more_work_is_placed_by_a_peak_of_its_own():
    profile = accept.profile_with("paper", experiments=["sensitivity-work"])
    peaks = dict(zip(accept.bases(profile), (20_000.0, 10_000.0, 5_000.0), strict=True))
    targets = {t.options.get("work-us", 0): t.load["rate"] for t in accept.plan(profile, peaks).trials}
    assert targets == {0: 28_000, 40: 14_000, 160: 7_000}
    others = accept.profile_with("paper", experiments=["sensitivity-backlog", "sensitivity-timeout"])
    assert accept.bases(others) == [accept.Series("one-packet", "select", "receiver")]


def test_concurrency_crosses_limits_and_clients(everything):
    found = by_experiment(planned(accept.PROFILES["paper"]))["concurrency"]
    points = {(t.design, t.options["accept-limit"], t.load["clients"]) for t in found}
    assert len(points) == len(found) == 48
    for trial in found:
        assert trial.options["backlog"] >= trial.load["clients"], (
            "nothing may be dropped: no client tries again soon"
        )
        assert trial.options["work-us"] == accept.CONCURRENCY_WORK_US
        assert trial.load["requests-per-connection"] == 1
        assert trial.x_ratio is None


def test_fairness_leaves_the_workers_idle_most_of_the_time():
    asleep = accept.FAIRNESS_PER_S * accept.FAIRNESS_SLOW_SHARE * accept.FAIRNESS_SLEEP_US / 1e6
    each = asleep / accept.FAIRNESS_WORKERS
    assert 0.03 < each < 0.2
    must_wait = each**2 + accept.FAIRNESS_SLOW_SHARE
    assert must_wait < 0.01 < each, (
        "the 99th percentile has to tell those who must wait from those left behind"
    )
    for trial in trials.fairness(accept.PROFILES["paper"]):
        assert trial.options["slow-sleeps"] is True
        assert trial.load["timeout-ms"] > 10 * accept.FAIRNESS_SLEEP_US / 1000
        assert trial.options["backlog"] > accept.FAIRNESS_PER_S * accept.FAIRNESS_SLEEP_US / 1e6


# ------------------------------------------------------------------------------------- what is not to be had


def test_designs_that_this_machine_lacks_are_left_out_and_named(monkeypatch, capsys):
    reasons = {"uring": "liburing is missing", "drain-uring": "liburing is missing"}
    monkeypatch.setattr(accept, "absent", reasons.get)
    profile = accept.PROFILES["paper"]
    designs = {t.design for t in planned(profile).trials}
    assert not designs & set(reasons)
    assert {"select", "user-threads", "nginx"} <= designs
    assert accept.left_out(profile) == reasons
    assert not {s.design for s in accept.bases(profile)} & set(reasons)
    monkeypatch.setattr(accept, "measure", lambda *_, **__: "rows")
    assert accept.run(profile, progress=False) == "rows"
    assert "left out: uring: liburing is missing" in capsys.readouterr().out


def test_a_series_without_a_peak_is_left_out(everything):
    profile = accept.profile_with("paper", designs=["select", "poll"], experiments=["one-packet"])
    plan = accept.plan(profile, {accept.Series("one-packet", "poll", "receiver"): 9_000.0})
    assert {(t.design, t.x_ratio, t.load["rate"]) for t in plan.trials} == {("poll", 1.4, 12_600.0)}


def test_where_nothing_can_run_there_is_no_plan(monkeypatch):
    monkeypatch.setattr(accept, "absent", lambda design: "not today")
    with pytest.raises(ValueError, match="nothing of what is to be measured"):
        planned(accept.PROFILES["smoke"])


# ------------------------------------------------------------------------------------------ a reader's changes


def test_a_reader_s_changes_reach_every_trial(everything):
    profile = accept.profile_with(
        "paper",
        experiments=["one-packet", "concurrency"],
        designs=["select", "epoll"],
        charges=["receiver"],
        limits=["1", "3"],
        ratios=[0.5, 1.5],
        work_us=200,
        rounds=2,
        duration_s=0.1,
    )
    plan = planned(profile)
    assert plan.rounds == 2
    found = by_experiment(plan)
    assert set(found) == {"one-packet", "concurrency"}
    assert {(t.design, t.x_ratio) for t in found["one-packet"]} == {
        (design, ratio) for design in ("select", "epoll") for ratio in (0.5, 1.5)
    }
    assert {t.design for t in found["concurrency"]} == {"select", "epoll"}
    for trial in plan.trials:
        assert trial.options["accept-limit"] in ("1", "3")
        assert trial.options["work-us"] == 200
        assert trial.load["duration-s"] == 0.1
        assert trial.charge == "receiver"


def test_limits_that_make_two_series_one_do_not_repeat_trials(everything):
    profile = accept.profile_with(
        "paper", designs=["user-threads"], experiments=["specweb99-like"], limits=["1"]
    )
    plan = planned(profile)
    assert [t for i, t in enumerate(plan.trials) if t in plan.trials[:i]] == []


def test_only_some_experiments(everything):
    for name in accept.EXPERIMENTS:
        if name != "peers-overload":
            profile = accept.profile_with("paper", experiments=[name])
            assert set(by_experiment(planned(profile))) == {name}
    assert accept.bases(accept.profile_with("paper", experiments=["fairness", "peers"])) == []


def test_the_peers_overload_is_where_the_one_packet_overload_is_deepest(everything):
    found = by_experiment(planned(accept.profile_with("paper", experiments=["one-packet", "peers-overload"])))
    deepest = max(found["one-packet"], key=lambda t: t.load["rate"])
    assert {t.load["rate"] for t in found["peers-overload"]} == {deepest.load["rate"]}
    assert [t.options["multi_accept"] for t in found["peers-overload"]] == ["off", "on"]
    alone = by_experiment(planned(accept.profile_with("paper", experiments=["peers-overload"])))
    assert [t.load["rate"] for t in alone["peers-overload"]] == [
        t.load["rate"] for t in found["peers-overload"]
    ]


def test_a_new_design_takes_part_in_every_experiment(everything, monkeypatch):
    monkeypatch.setattr(servers, "designs", lambda: {"select": "", "epoll": "", "mine": ""})
    found = by_experiment(planned(accept.profile_with("paper", designs=["mine"])))
    for experiment in set(accept.EXPERIMENTS) - {"peers-overload"}:
        assert "mine" in {t.design for t in found[experiment]}, experiment
    assert {t.options["accept-limit"] for t in found["one-packet"]} == {"1", "10", "inf"}
    assert {t.design for t in found["one-packet"]} == {"mine"}
    assert {"mine", "floor", "nginx"} <= {t.design for t in found["peers"]}
    beside = by_experiment(planned(accept.profile_with("quick", designs=["mine", "epoll"])))
    for experiment in ("one-packet", "concurrency"):
        assert {t.design for t in beside[experiment]} == {"mine", "epoll"}


def test_a_stand_in_of_another_kind_has_its_own_kind_s_limits(everything):
    found = planned(accept.profile_with("quick", designs=["drain"], experiments=["one-packet"]))
    assert {t.options["accept-limit"] for t in found.trials} == {"1", "50", "inf"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"designs": ["apache"]}, "no design 'apache': there are select"),
        ({"experiments": ["tea"]}, "no experiment 'tea': there are one-packet"),
        ({"workloads": ["video"]}, "no workload 'video': there are one-packet, specweb99-like"),
        ({"charges": ["nobody"]}, "no charge 'nobody': there are receiver, sender"),
        ({"limits": ["many"]}, "an accept-limit is .* not 'many'"),
        ({"limits": ["0"]}, "an accept-limit is"),
        ({"ratios": [0.0]}, "a ratio to the peak is above zero"),
        ({"rounds": 0}, "at least one round"),
        ({"duration_s": 0.0}, "lasts longer"),
        ({"experiments": ["fairness"], "charges": ["sender"]}, "nothing is left"),
        ({"experiments": ["sensitivity-work"], "workloads": ["specweb99-like"]}, "nothing is left"),
    ],
)
def test_what_there_is_not_is_answered_with_what_there_is(changes, said):
    with pytest.raises(ValueError, match=said):
        accept.profile_with("paper", **changes)


def test_an_unknown_profile():
    with pytest.raises(ValueError, match="no profile 'big': there are smoke, quick, paper"):
        accept.profile_with("big")


# ---------------------------------------------------------------------------------------------- calibration


def machine(peak, collapse=1.0):
    """A server of a known peak that yields less beyond it; and what it was offered."""
    offered = []

    def record(trial):
        rate = trial.load["rate"]
        offered.append((trial.options["accept-limit"], rate))
        return {"replies_per_s": rate if rate <= peak else peak * collapse}

    return record, offered


@pytest.mark.parametrize("collapse", [1.0, 0.7, 0.5])
@pytest.mark.parametrize("design", ["select", "drain-uring", "user-threads"])
def test_the_climb_finds_the_peak(design, collapse):
    record, offered = machine(21_000.0, collapse)
    series = accept.Series("one-packet", design, "receiver")
    found = accept.find_peak(accept.PROFILES["paper"], series, record)
    assert 21_000 / 1.15 <= found <= 21_000
    assert {limit for limit, _ in offered} == {settings.kind_of(design).peak_limit}
    assert len(offered) <= accept.PROFILES["paper"].calibration_steps


def test_a_client_that_cannot_overload_the_server_is_asked_for_less():
    def record(trial):
        if trial.load["rate"] > 30_000:
            raise RuntimeError("generator-saturated")
        return {"replies_per_s": min(trial.load["rate"], 12_000.0)}

    series = accept.Series("one-packet", "select", "receiver")
    assert accept.find_peak(accept.PROFILES["paper"], series, record) == pytest.approx(12_000, rel=0.15)


# --------------------------------------------------------------------------------------------- benchmarks


def test_what_is_not_built_here_is_no_benchmark_that_fails(monkeypatch):
    monkeypatch.setattr(accept, "absent", lambda design: "liburing is missing" if design == "uring" else None)
    result = bench._result(bench.BENCHMARKS["cpu-uring-epoll"], named=True)
    assert result["value"] is result["holds"] is None
    assert result["note"] == "uring: liburing is missing"


def test_ratios_come_from_rounds_that_both_have(monkeypatch):
    def rows(*cpu):
        return [
            {} if value is None else {"server_cpu_us_per_reply": value, "events_per_getevents": 8.0}
            for value in cpu
        ]

    found = {"uring": rows(9.0, 8.0, None, 9.0), "epoll": rows(10.0, 10.0, 10.0, 10.0)}
    monkeypatch.setattr(bench, "peer_rows", lambda: found)
    monkeypatch.setattr(accept, "absent", lambda design: None)
    result = bench._result(bench.BENCHMARKS["cpu-uring-epoll"], named=True)
    assert result["value"] == pytest.approx((9 * 8 * 9) ** (1 / 3) / 10)
    assert result["low"] < result["value"] < result["high"]
    assert result["holds"] is True
    assert "uring: 8 events a getevents call" in result["note"]


def test_peers_are_named_for_tables(everything):
    labels = [t.label for t in trials.peers(accept.PROFILES["paper"])]
    assert len(set(labels)) == len(labels)
    assert {"uring", "uring, no DEFER_TASKRUN", "nginx, sendfile on, multi_accept off", *PEERS} - {
        "nginx"
    } <= set(labels)
    (variant,) = [t for t in trials.peers(accept.PROFILES["paper"]) if "DEFER" in t.label]
    assert (variant.design, variant.options["defer-taskrun"]) == ("uring", "off")
