"""The timers chapter's plans: what each profile measures, how long, and what a reader may change of it."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from retrospective.analysis import timers as analysis
from retrospective.analysis.claims import claims, ledger
from retrospective.analysis.statistics import FLOOR_PAIRS
from retrospective.experiments import timers
from retrospective.experiments.runner import run_one
from retrospective.experiments.timers import settings
from retrospective.lab.probe import PROGRAMS


def planned(name, **changes):
    """Experiment -> its probes with their rounds."""
    plan = timers.plan(timers.profile_with(name, **changes))
    found = {}
    for probe, rounds in zip(plan.trials, plan.rounds_of, strict=True):
        found.setdefault(probe.experiment, []).append((probe, rounds))
    return found


def places(probes, *names):
    """Option values of probes."""
    return {tuple(probe.options[name] for name in names) for probe, _ in probes}


# ------------------------------------------------------------------------------------------------ profiles


@pytest.mark.parametrize(("name", "most_s"), [("smoke", 8), ("quick", 62), ("paper", 26 * 60)])
def test_a_profile_has_every_experiment_in_its_time(name, most_s):
    assert timers.seconds(timers.PROFILES[name]) < most_s
    missing = {"soft"} if name == "smoke" else set()
    assert set(planned(name)) == set(timers.EXPERIMENTS) - missing


@pytest.mark.parametrize(("name", "least"), [("quick", 3), ("paper", 10)])
def test_what_claims_are_judged_on_has_most_rounds(name, least):
    found = planned(name)
    rounds = {
        (p.design, p.options["beside"], p.options["mix"], p.options["timers"]): own
        for p, own in found["operations"]
    }
    for mix in ("start-only", "cancel-only", "rearm"):
        assert rounds["wheel", "nothing", mix, 100_000] >= least
    for library in ("libev", "libuv"):
        assert rounds[library, "wheel", "tcp", 100_000] >= least
    for experiment in ("prices", "domain", "soft", "operations-aa"):
        assert min(own for _, own in found[experiment]) >= least
    pairs = timers.PROFILES[name].replicas * (timers.PROFILES[name].replicas - 1) // 2
    assert pairs * len(settings.AA_CELLS) * found["wall-aa"][0][1] >= FLOOR_PAIRS
    assert len(found["operations-aa"]) * least >= FLOOR_PAIRS


def test_the_paper_profile_has_the_whole_wall_of_one_driver_and_some_of_each():
    found = planned("paper")
    cells = {design: set() for design in settings.SERIES}
    for probe, _ in found["wall"]:
        options = probe.options
        cells[probe.design].add((options["processes"], options["granularity-us"], options["measure"]))
    whole = {
        (n, us, measure)
        for n in settings.PROCESSES
        for us in settings.GRANULARITIES_US
        for measure in settings.MEASURES
    }
    assert cells["timerfd"] == whole
    for design, those in cells.items():
        assert those or design == "domain (slack 1 ns)", "which is of the shoot-out"
        assert {(n, us, "lateness") for n, us, measure in those if measure == "cores"} <= those


def test_operations_span_facilities_mixes_and_numbers_that_are_possible():
    found = planned("paper")["operations"]
    assert {p.design for p, _ in found} == set(settings.FACILITIES)
    assert places(found, "mix") == {(mix,) for mix in (*settings.MIXES, *settings.APART)}
    assert places(found, "timers") == {(count,) for count in settings.TIMERS}
    for facility, most in settings.MOST_TIMERS.items():
        assert max(p.options["timers"] for p, _ in found if p.design == facility) == most
    for facility in settings.NO_EXPIRY:
        mixes = {p.options["mix"] for p, _ in found if facility in (p.design, p.options["beside"])}
        assert mixes >= set(settings.MIXES) - {"expiry"}
        assert "expiry" not in mixes


def test_every_slice_has_a_deadline_of_every_timer():
    for name in timers.PROFILES:
        for probes in planned(name).values():
            for probe, _ in probes:
                if probe.program == "ticker":
                    options = probe.options
                    assert options["seconds"] / options["slices"] >= options["granularity-us"] / 1e6 - 1e-9


def test_replicas_are_one_and_the_same_but_for_their_label():
    found = planned("paper")
    for experiment in ("operations-aa", "wall-aa"):
        alike = {}
        for probe, _ in found[experiment]:
            assert probe.kind == "aa"
            alike.setdefault(json.dumps(probe.options, sort_keys=True), []).append(probe.label)
        assert {len(labels) for labels in alike.values()} == {timers.PROFILES["paper"].replicas}
    for probe, _ in found["operations-aa"]:
        assert probe.options["facility"] == probe.options["beside"] == "wheel"


def test_aligned_is_to_the_granularity_and_slack_as_the_series_says():
    for probe, _ in planned("paper")["wall"]:
        aligned = probe.options["granularity-us"] if "(aligned)" in probe.design else 0
        assert probe.options["align-us"] == aligned
        exact = "1 ns" in probe.design or probe.design == "nanosleep"
        slack = 1 if exact else 1_000_000 if "1 ms" in probe.design else 0
        assert probe.options["slack-ns"] == slack


@pytest.mark.parametrize("name", [*timers.PROFILES])
def test_no_two_of_a_profile_are_the_same_or_called_the_same(name):
    probes = timers.plan(timers.PROFILES[name]).trials
    assert len({json.dumps(dataclasses.asdict(p), sort_keys=True) for p in probes}) == len(probes)
    assert len({(p.experiment, p.label) for p in probes}) == len(probes)
    assert {p.chapter for p in probes} == {timers.CHAPTER}
    assert {p.program for p in probes} <= set(PROGRAMS)


def test_what_the_analysis_knows_of_the_chapter_is_what_is_measured():
    """The analysis reads rows and never a plan, so that both name the same things is held here."""
    assert analysis.CHAPTER == settings.CHAPTER
    assert set(analysis.FACILITIES) == set(settings.FACILITIES)
    assert {*analysis.MIXES, analysis.START, analysis.STOP} == {*settings.MIXES, *settings.APART}
    assert set(analysis.PRICES) <= set(settings.PRICES)
    ours = {analysis.TICKLESS, analysis.ALIGNED, analysis.DOMAIN, analysis.DOMAIN_ALIGNED}
    assert set(settings.DOMAIN_SERIES) == ours
    found = planned("paper")
    assert {p.design for p, _ in found["wall"]} <= set(analysis.SERIES)


def made_up(plan):
    """A row for each probe and round of a plan: what was asked for, and numbers that are there, all much the same."""
    rng = np.random.default_rng(4)
    rows = []
    for number, probe in plan.ordered():
        program = PROGRAMS[probe.program]
        row = {name: float(np.exp(rng.normal(0, 0.01))) for name in (*program.levels, "cores")}
        row["cores"] *= 0.1  # of which some is left, as the loop's price is of an operation's
        row |= {"beside_operation_ns": 0.2, "loop_ns": 0.1} if "loop_ns" in row else {}
        row |= dict.fromkeys(program.counts, 100) | dict.fromkeys(program.text, "")
        row |= {name: getattr(probe, name) for name in ("chapter", "experiment", "kind", "design", "label")}
        row |= {"timer_interrupts": "[5,5]", "key": f"{number} {probe.label}"} | program.asked(probe.options)
        rows.append(row | {"round": number, "attempt": 1, "valid": True, "status": "ok", "machine": "m"})
    return pd.DataFrame(rows)


#: Claims of which the quick profile has one round.
SEEN_ONCE = {"V1-tick", "VL1", "VL2"}


@pytest.mark.parametrize("name", ["quick", "paper"])
def test_every_claim_finds_its_trials(name):
    """Whatever the numbers are, there are enough of them for an interval."""
    frame = made_up(timers.plan(timers.PROFILES[name]))
    testable = [one for one in claims(timers.CHAPTER) if not one.untestable]
    missing = {row["id"] for row in ledger(frame, testable) if row["low"] is None}
    assert missing == (SEEN_ONCE if name == "quick" else set())


def test_every_kind_of_smoke_probe_runs(release):
    """Whatever else runs here: it is measured, or found disturbed, and nothing is failed."""
    seen = {}
    for probe in timers.plan(timers.PROFILES["smoke"]).trials:
        seen.setdefault((probe.experiment, probe.options.get("measure")), probe)
    for probe in seen.values():
        row = run_one(probe)
        assert row["status"] in ("ok", "invalid", "unavailable"), row["reason"]
        assert row["valid"] or row["reason"].startswith(("disturbed", "drifted", "refused")), row["reason"]


def test_facts_say_where_it_ran_and_what_others_may_have():
    facts = timers.facts()
    assert facts["timer_cpus"] == [0, 1]
    assert 0 < facts["most_off_cores_drift"] < facts["most_off_cores"] < 0.1
    assert isinstance(facts["autogroup"], bool)
    assert json.dumps(facts)


# ------------------------------------------------------------------------------------------------- changes


def test_a_reader_s_changes():
    found = planned(
        "paper",
        rounds=2,
        facilities=["heap", "libuv"],
        timers=[500],
        drivers=["uring"],
        processes=[7, 7],
        granularities_us=[2_000],
        seconds=0.3,
    )
    assert {own for probes in found.values() for _, own in probes} == {2}
    assert {p.design for p, _ in found["operations"]} == {"heap", "libuv"}
    assert places(found["operations"], "timers") == {(500,)}
    for experiment in ("wall", "shoot-out"):
        assert {p.design for p, _ in found[experiment]} == {"uring"}
        assert places(found[experiment], "processes", "granularity-us") == {(7, 2_000)}
        assert places(found[experiment], "seconds") == {(0.3,)}


def test_only_some_experiments():
    for name in timers.EXPERIMENTS:
        assert set(planned("paper", experiments=[name])) == {name}
    assert timers.profile_with("smoke") == timers.PROFILES["smoke"]
    with pytest.raises(ValueError, match="nothing is left"):
        planned("smoke", experiments=["soft"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "big"}, "no profile 'big'"),
        ({"experiments": ["walls"]}, "no experiment 'walls': there are operations"),
        ({"facilities": ["sundial"]}, "no facility 'sundial'"),
        ({"drivers": ["sundial"]}, "no driver 'sundial'"),
        ({"processes": [0]}, "processes are whole numbers from 1"),
        ({"timers": [1.5]}, "timers are whole numbers"),
        ({"granularities_us": [10**9]}, "granularities_us are whole numbers"),
        ({"rounds": 0}, "at least one round"),
        ({"seconds": 0}, "longer than 0 s"),
    ],
)
def test_what_there_is_not_is_said(changes, said):
    with pytest.raises(ValueError, match=said):
        timers.profile_with(**{"name": "smoke"} | changes)
