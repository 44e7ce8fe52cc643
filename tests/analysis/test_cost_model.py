"""The cost model finds what was planted, says so where it does not hold, and widens with what it misses."""

import numpy as np
import pandas as pd
import pytest

from retrospective.analysis import cost_model
from retrospective.analysis.cost_model import Demand, Model

TRUE = Model({"timerfd": 6.0, "epoll": 7.5}, 4.0, 5.0, 0.0, 10.0, 30.0)
SERIES = ("timerfd", "timerfd (aligned)", "epoll", "epoll (slack 1 ms)")
COUNTS = (1, 3, 10, 30, 100, 300, 1000)


@pytest.fixture
def wall(synthetic):
    """Rows of the wall whose cores are a function of the cell, over noise."""

    def made(cores_of, noise=0.02, rounds=4):
        rng = np.random.default_rng(4)
        rows = pd.DataFrame(
            synthetic.timers.wall_rows(rng, rounds, 0.0, SERIES, COUNTS, (1000, 10_000, 100_000, 250_000))
        )
        measured = rows["measure"] == "cores"
        rows.loc[measured, "cores"] = [
            cores_of(cost_model.demand(row, 2)) * np.exp(rng.normal(0, noise))
            for _, row in rows[measured].iterrows()
        ]
        return rows

    return made


def test_interrupts_are_shared_on_a_grid_within_slack_and_while_another_is_handled():
    apart = Demand("timerfd", 100, 10_000.0)
    assert apart.wakeups_per_s == apart.interrupts_per_s(0.0) == 10_000
    assert apart.interrupts_per_s(100.0) == pytest.approx(10_000 / 1.5)
    assert Demand("timerfd", 100, 10_000.0, align_us=10_000.0).interrupts_per_s(0.0) == 200
    assert Demand("timerfd", 100, 10_000.0, align_us=1000.0).interrupts_per_s(0.0) == 2000
    assert Demand("timerfd", 1, 10_000.0, align_us=1000.0).interrupts_per_s(0.0) == 100
    assert Demand("epoll", 100, 10_000.0, slack_us=1000.0).interrupts_per_s(0.0) == pytest.approx(10_000 / 6)
    assert Demand("timerfd", 3, 100.0).busiest(0.9) == pytest.approx(0.6)


def test_planted_costs_are_found_and_whole_numbers_of_processes_predicted(wall):
    frame = wall(TRUE.cores)
    model, held = cost_model.fitted(frame), cost_model.held_out(frame)
    for cell in cost_model.observed(frame)["cell"]:
        assert model.cores(cell) == pytest.approx(TRUE.cores(cell), rel=0.1)
    assert {cell.processes for cell in held.errors["cell"]} >= set(
        COUNTS[1:]
    )  # one process burns next to nothing
    assert held.error(0.5) < 0.05
    assert held.holds
    far = {one.cell.granularity_us: one for one in cost_model.carried(frame, (250_000.0, 10_000.0))}
    for one in far.values():
        assert one.low < TRUE.cores(one.cell) < one.high
    assert far[10_000.0].cores > 5 * far[250_000.0].cores


def test_what_costs_by_another_law_is_not_said_to_be_predicted(wall):
    frame = wall(lambda cell: 40e-6 * (cell.wakeups_per_s * cell.processes) ** 0.5)
    held = cost_model.held_out(frame)
    assert held.holds is False
    assert held.error(0.9) > cost_model.P90_BOUND
    one = cost_model.carried(frame, (250_000.0,))[0]
    assert one.high / one.low > 2


def test_cells_near_saturation_and_those_not_told_from_nothing_are_left_out(wall):
    frame = wall(TRUE.cores)
    kept = cost_model.observed(frame)
    limit = max(cell.busiest(cores) for cell, cores in zip(kept["cell"], kept["cores"], strict=True))
    assert limit < 0.9
    assert Demand("timerfd", 1000, 1000.0) not in set(kept["cell"])
    assert Demand("timerfd", 1, 250_000.0) not in set(kept["cell"])
    lost = frame.copy()
    lost.loc[lost["processes"] == 100, "delivered"] = 0
    assert 100 not in set(cost_model.observed(lost)["processes"])


def test_without_cells_there_is_no_model(wall, synthetic):
    empty = pd.DataFrame(synthetic.timers.price_rows(np.random.default_rng(1), 2, 0.01))
    for frame in (empty, pd.DataFrame(), wall(TRUE.cores)[lambda rows: rows["processes"] == 100]):
        assert cost_model.held_out(frame).holds is None
        assert np.isnan(cost_model.held_out(frame).error(0.5))
        assert cost_model.carried(frame, (1000.0,)) == []
    assert cost_model.fitted(empty) is None


def test_operations_are_priced_by_timerbench(synthetic):
    rows = synthetic.timers.operation_rows(
        np.random.default_rng(1), 3, 0.001, ("heap", "nothing"), ("cancel",), (100,)
    )
    assert cost_model.operation_us(pd.DataFrame(rows)) == pytest.approx((42.0 - 3.0) / 1e3, rel=0.02)
    assert cost_model.operation_us(pd.DataFrame()) == 0
