"""Timers by arithmetic: what is asked of it is that it adds up, and that a promise not kept reads so."""

import numpy as np
import pandas as pd
import pytest

from retrospective.analysis import cost_model, timers
from retrospective.analysis.claims.timers import per_tick
from retrospective.analysis.summary import timer_costs


@pytest.fixture(scope="module")
def trials(synthetic):
    return pd.DataFrame(synthetic.timers.rows(np.random.default_rng(1), rounds=4, noise=0.003))


def granularity(ahead):
    """The wheel's, as servers/timers/wheel.c has it: the first level of 8^n ticks of which 63 slots reach so far."""
    level = 0
    while ahead > 63 * 8**level:
        level += 1
    return 8**level


def test_the_wheel_s_error_is_the_worst_of_every_distance():
    errors = [(granularity(ahead) - 1) / ahead for ahead in range(1, 40_000)]
    assert max(errors) < timer_costs.wheel_error() < 1 / 7.8
    assert errors[504] == pytest.approx(63 / 505) == max(errors[:4000])
    assert timer_costs.error_values() == {"ours": "12.7\u202f%", "linux": "12.5\u202f%"}


def test_a_tick_is_a_constant_and_a_part():
    assert per_tick(0) == 4
    fixed, part = timer_costs._line(
        {count: 20 + 50 * count / timers.TABLE_SIZE for count in (100, 1000, 10_000)}
    )
    assert (fixed, part) == (pytest.approx(20), pytest.approx(50))
    assert np.isnan(timer_costs._line({100: 3.0})).all()


def test_ticks_add_up_beside_what_was_measured(trials):
    found = timer_costs.tick_values(trials)
    rows = {row["stack"]: row for row in found["rows"]}
    assert rows["lwIP"]["wakeups"] == "1,600"
    wake = timers.price(trials, "timer-wake").mean()
    assert float(rows["lwIP"]["cores"]) == pytest.approx(1600 * wake * 1e-9, rel=0.01)
    assert rows["lwIP"]["measured"] == "0.02"
    assert rows["BSD's slow time-out"]["measured"] == "—"


def test_a_promise_that_is_not_kept_reads_so(trials, monkeypatch):
    frame = trials.copy()
    wrong = frame["experiment"] == "wall"
    frame.loc[wrong, "cores"] *= np.exp(np.random.default_rng(2).normal(0, 1.5, int(wrong.sum())))
    monkeypatch.setattr(cost_model, "BOOTSTRAP", 10)
    found = timer_costs.cost_model_values(frame)
    assert found["measured"]
    assert found["holds"] is False
    assert len(found["rows"]) == len(timer_costs.FAR_US)
    assert all("[" in row["cores"] for row in found["rows"])


def test_what_was_not_measured_has_every_name(trials):
    def names(values):
        return {key: names(value) if isinstance(value, dict) else None for key, value in values.items()}

    for made in (timer_costs.cost_model_values, timer_costs.constant_values, timer_costs.tick_values):
        few, none = made(trials[trials["experiment"] == "prices"]), made(trials.iloc[:0])
        assert not none["measured"]
        assert names(few) == names(none) == names(made(trials))
