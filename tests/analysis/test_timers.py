"""What is read out of the timers chapter's probes: prices, places of the wall, floors."""

import numpy as np
import pandas as pd
import pytest

from retrospective.analysis import timers
from retrospective.analysis.timers import Cell


@pytest.fixture(scope="module")
def trials(synthetic):
    return pd.DataFrame(synthetic.timers.rows(np.random.default_rng(1), rounds=4, noise=0.003))


def test_a_price_alone_is_without_what_the_loop_took_in_the_same_run(trials, synthetic):
    of = synthetic.timers.operation_ns
    found = timers.alone(trials, "wheel", "cancel", 100_000)
    assert list(found.index) == [0, 1, 2, 3]
    expected = of("wheel", "cancel", 100_000) - of("nothing", "cancel", 100_000)
    assert found.mean() == pytest.approx(expected, rel=0.01)
    assert timers.operation(trials, "wheel", "cancel", 100_000).mean() == pytest.approx(
        expected + 3.0, rel=0.01
    )
    heap, wheel = (
        of(name, "tcp", 10_000) - synthetic.timers.loop_ns("tcp", 10_000) for name in ("heap", "wheel")
    )
    assert timers.over_wheel_alone(trials, "heap", "tcp", 10_000).mean() == pytest.approx(
        heap / wheel, rel=0.01
    )
    assert timers.alone(trials, "wheel", "expiry", 100_000).empty
    assert timers.alone(trials.drop(columns="loop_ns"), "wheel", "cancel", 100_000).empty


def test_a_tick_is_without_the_look_for_events(trials, synthetic):
    model = synthetic.timers
    assert timers.look_ns(trials).mean() == pytest.approx(model.LOOK, rel=0.01)
    found = timers.tick_ns(trials, 10_000).mean()
    assert found == pytest.approx(10 * model.operation_ns("hashed", "expiry", 10_000) - model.LOOK, rel=0.01)
    assert timers.tick_ns(trials[trials["mix"] != "tcp"], 10_000).empty


def test_ratios_to_the_wheel_are_read_whichever_of_the_two_was_the_subject(trials):
    there = timers.over_wheel(trials, "libev", "tcp", 1000)
    turned = trials[~((trials["design"] == "libev") & (trials["beside"] == "wheel"))]
    assert timers.over_wheel(turned, "libev", "tcp", 1000).mean() == pytest.approx(there.mean(), rel=0.02)


def test_measures_of_a_cell_are_told_apart(trials):
    cell = Cell(100, 10_000)
    assert len(timers.cores(trials, "timerfd", cell)) == 4
    assert len(timers.lateness(trials, "timerfd", cell)) == 4
    found = timers.at_cell(trials, cell, timers.LATENESS)
    assert found["cores"].isna().all()
    assert timers.served(found, "timerfd").mean() == 1


def test_the_wall_lies_between_two_numbers_of_processes(trials):
    assert timers.cpus(trials) == 2
    assert timers.wall(trials, "timerfd", 1000, 0.5) == (10, 100)
    assert timers.wall(trials, "timerfd", 250_000) == (1000, 0)
    assert timers.wall(trials, "sundial", 1000) is None


def test_a_trial_tried_again_is_one_result_and_two_cells_are_two(trials):
    again = pd.concat([trials, trials.assign(attempt=2, cores=9.0)])
    assert len(timers.trials(again, "wall")) == len(timers.trials(trials, "wall"))
    assert set(timers.cores(again, "timerfd", Cell(100, 10_000))) == {9.0}
    same = trials.assign(label="alike")
    assert len(timers.trials(same, "wall")) == len(timers.trials(trials, "wall"))


def test_floors_are_those_of_a_thing_beside_itself(synthetic):
    quiet, loud = (
        pd.DataFrame(synthetic.timers.rows(np.random.default_rng(1), 10, noise)) for noise in (0.003, 0.05)
    )
    for floor in (timers.operations_floor, timers.wall_floor, timers.lateness_floor):
        assert 1.002 < floor(quiet).factor < 1.02
        assert floor(loud).factor > 1.08
        assert floor(loud).over(5).factor < floor(loud).factor
        assert not floor(quiet[quiet["experiment"] == "wall"]).measured
    assert timers.least_cores(quiet) < timers.least_cores(loud)


def test_overhead_of_soft_timers_is_work_lost_and_that_of_interrupts_their_cores(trials):
    assert timers.soft_periods(trials) == [20, 50, 100]
    assert timers.bare_work(trials) == "no triggers"
    assert timers.overhead(trials, "soft", 20).mean() == pytest.approx(0.0255, abs=0.002)
    assert timers.overhead(trials, "timerfd", 100).mean() == pytest.approx(0.13, rel=0.02)
    assert timers.bare_work(trials[trials["design"] != "no triggers"]) == "none"


def test_the_domain_is_judged_at_its_fullest_cell(trials):
    assert timers.domain_cell(trials) == Cell(400, 10_000)
    assert timers.domain_floor(trials).mean() == pytest.approx(3.0 / 2.6, rel=0.01)
    assert timers.domain_floor(trials[trials["experiment"] != "prices"]).empty
    assert timers.domain_cell(trials.iloc[:0]) is None
