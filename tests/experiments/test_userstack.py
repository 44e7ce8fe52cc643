"""The chapter's plans on the user-level stack: what each profile measures, how long, and what a reader may change."""

import dataclasses
import json

import pytest

from retrospective.experiments import userstack
from retrospective.experiments.userstack import settings
from retrospective.lab.exchange import FLOWS, ROLES
from retrospective.lab.stacks import KERNEL, LOOPBACK, LWIP, LWIP_THREAD, OURS, SWITCH


def planned(name, **changes):
    """Experiment -> its exchanges with their rounds."""
    plan = userstack.plan(userstack.profile_with(name, **changes))
    found = {}
    for exchange, rounds in zip(plan.trials, plan.rounds_of, strict=True):
        found.setdefault(exchange.experiment, []).append((exchange, rounds))
    return found


@pytest.mark.parametrize(("name", "most_s"), [("smoke", 7), ("quick", 75), ("paper", 45 * 60)])
def test_a_profile_has_every_experiment_in_its_time(name, most_s):
    assert userstack.seconds(userstack.PROFILES[name]) < most_s
    assert set(planned(name)) == set(userstack.EXPERIMENTS)


def test_every_cell_has_ten_seeds_both_algorithms_and_both_ways():
    found = planned("paper")["impaired"]
    cells = {}
    for exchange, rounds in found:
        options = exchange.options
        cells[options["impairment"], options["congestion"], exchange.design, options["direction"]] = rounds
        assert (exchange.peer, exchange.path) == (KERNEL, SWITCH)
        assert (options["bytes"], options["seconds"]) == (64 << 20, 20.0)
    for impairment in settings.IMPAIRMENTS:
        for congestion in ("reno", "cubic"):
            for stack in (OURS, KERNEL):
                for direction in ("to_peer", "from_peer"):
                    assert cells[impairment, congestion, stack, direction] >= 10
    assert {"loss 0.1 %", "loss 1 %", "loss 5 %", "delay 10 ms", "delay 50 ms"} <= set(settings.IMPAIRMENTS)
    assert {"reordering", "duplication", "corruption", "mix"} <= set(settings.IMPAIRMENTS)


def test_what_is_compared_has_the_same_path_and_the_same_windows():
    for exchange, _ in planned("paper")["impaired"]:
        mate = next(
            other
            for other, _ in planned("paper")["impaired"]
            if other.design == KERNEL
            and all(
                other.options[k] == exchange.options[k] for k in ("impairment", "congestion", "direction")
            )
        )
        assert exchange.options == mate.options
        assert exchange.at_a_time == mate.at_a_time


def test_who_opens_takes_turns_in_the_rounds():
    """Half of the seeds each: neither role is without cells."""
    assert {exchange.options["role"] for exchange, _ in planned("paper")["impaired"]} == {"in turn"}
    assert len(ROLES) == 2


def test_only_what_waits_runs_beside_others():
    for experiment, exchanges in planned("paper").items():
        for exchange, _ in exchanges:
            if experiment.startswith("incast"):
                continue  # alone
            waits = experiment == "impaired" and exchange.takes_s >= 2
            assert (exchange.at_a_time > 1) == waits, exchange.label


def test_the_series_that_claims_are_made_of():
    found = planned("paper")
    series = {(exchange.design, exchange.path) for exchange, _ in found["replies"]}
    assert {(KERNEL, LOOPBACK), (OURS, SWITCH), (LWIP, SWITCH), (LWIP_THREAD, SWITCH)} <= series
    assert {exchange.options["clients"] for exchange, _ in found["replies"]} == {64}
    asleep = {exchange.design for exchange, _ in found["replies-asleep"]}
    assert {OURS, LWIP} <= asleep
    assert {exchange.options["spin_us"] for exchange, _ in found["replies-asleep"]} == {0}
    assert {exchange.options["write_bytes"] for exchange, _ in found["bulk"]} == set(settings.WRITE_BYTES)
    fewer = {
        "where",
        "incast",
        "incast-live",
    }  # nothing is judged; always the same; a difference without doubt
    for experiment in set(found) - fewer:
        assert min(rounds for _, rounds in found[experiment]) >= 10


def test_exchanges_are_told_apart_and_can_be_stored():
    for name in userstack.PROFILES:
        plan = userstack.plan(userstack.PROFILES[name])
        keys = {trial.key("b", "m", "k", 0) for trial in plan.trials}
        assert len(keys) == len(plan.trials)
        for trial in plan.trials:
            assert json.loads(json.dumps(trial.options)) == trial.options
            assert trial.experiment.startswith("incast") or trial.flow in FLOWS


def test_incast_has_coarse_and_fine_time_outs_by_the_number_of_senders():
    probes = [probe for probe, _ in planned("paper")["incast"]]
    least = {probe.options["min-rto-us"] for probe in probes}
    assert max(least) == 200_000
    assert min(least) <= 200
    assert {probe.options["senders"] for probe in probes} == set(settings.SENDERS)
    places = {(probe.options["min-rto-us"], probe.options["tick-us"]) for probe in probes}
    assert {one for one in places if one[0] < one[1]} == {(200, 10_000)}, (
        "what a fine one is worth with coarse ticks"
    )


def test_incast_by_the_clock_has_its_model_beside_it_and_little_time():
    for name, most_s in (("quick", 6.0), ("paper", 90.0)):
        found = planned(name)["incast-live"]
        live, model = (
            {
                probe.label.split(": ")[1]: (probe, rounds)
                for probe, rounds in found
                if here == probe.options["live"]
            }
            for here in (True, False)
        )
        assert live.keys() == model.keys()
        for place, (probe, rounds) in live.items():
            assert probe.options == model[place][0].options | {"live": True}
            assert rounds >= 3
            assert model[place][1] == 1, "always the same"
        assert sum(probe.seconds() * rounds for probe, rounds in found) < most_s
    places = {(probe.options["min-rto-us"], probe.options["tick-us"]) for probe, _ in found}
    assert {least for least, _ in places} == {200_000, 10_000, 1_000}
    assert min(rounds for probe, rounds in found if probe.options["live"]) >= 5


def test_a_reader_may_change_it():
    found = planned(
        "quick",
        experiments=["impaired"],
        rounds=2,
        impairments=["loss 5 %"],
        congestions=["reno"],
        seconds=1.0,
    )
    assert set(found) == {"impaired"}
    assert {rounds for _, rounds in found["impaired"]} == {2}
    assert {exchange.options["impairment"] for exchange, _ in found["impaired"]} == {"loss 5 %"}
    assert {exchange.options["seconds"] for exchange, _ in found["impaired"]} == {1.0}
    assert {e.design for e, _ in planned("quick", stacks=["kernel"])["bulk"]} == {"kernel"}
    assert {e.options["write_bytes"] for e, _ in planned("quick", write_bytes=[100])["bulk"]} == {100}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"experiments": ["bulky"]}, "no experiment 'bulky'"),
        ({"stacks": ["mtcp"]}, "no stack 'mtcp'"),
        ({"impairments": ["loss 2 %"]}, "no impairment 'loss 2 %'"),
        ({"congestions": ["bbr"]}, "no congestion control 'bbr'"),
        ({"write_bytes": [0]}, "1 to 65,536"),
        ({"rounds": 0}, "at least one round"),
        ({"seconds": 0}, "longer than 0"),
    ],
)
def test_what_there_is_not_is_named(changes, said):
    with pytest.raises(ValueError, match=said):
        userstack.profile_with("quick", **changes)
    with pytest.raises(ValueError, match="no profile 'huge'"):
        userstack.profile_with("huge")


def test_nothing_left_to_measure_is_said():
    nothing = dataclasses.replace(userstack.PROFILES["smoke"], experiments=("impaired",), cells=())
    with pytest.raises(ValueError, match="nothing is left"):
        userstack.plan(nothing)
