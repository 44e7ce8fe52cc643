import json

import numpy as np
import pandas as pd
import pytest

from retrospective.analysis import comparisons
from retrospective.analysis.evidence import effect


def test_gains_by_level_are_paired_within_rounds(paper):
    gains = comparisons.sensitivity_gains(paper, "backlog")
    assert list(gains) == [128.0, 511.0, 4096.0]
    assert all(len(ratios) == 10 for ratios in gains.values())
    trials = comparisons.sensitivity(paper, "backlog")
    first = trials[(trials["round"] == 3) & (trials["level"] == 511)].set_index("accept_limit")[
        "replies_per_s"
    ]
    assert gains[511.0][3] == pytest.approx(first["inf"] / first["1"])
    tenfold = comparisons.sensitivity_gains(paper, "backlog", over="10")
    assert list(tenfold) == list(gains)


@pytest.mark.parametrize(
    ("name", "levels"), [("timeout", [100, 300, 1000]), ("defer", [0, 1]), ("work", [0, 40, 160])]
)
def test_every_sensitivity_has_its_levels(name, levels, paper):
    assert list(comparisons.sensitivity_gains(paper, name)) == levels


def test_predictions_dilute_with_work_as_the_model_does(paper):
    predicted = comparisons.work_predictions(paper)
    measured = comparisons.sensitivity_gains(paper, "work", column="accepts_per_s")
    values = [effect(ratios).value for ratios in predicted.values()]
    assert values == sorted(values, reverse=True)
    for level, ratios in measured.items():
        assert effect(ratios / predicted[level]).value == pytest.approx(1, abs=0.03)


def test_gains_by_concurrency_show_the_planted_flip(paper, synthetic):
    gains = comparisons.concurrency_gains(paper, "epoll")
    assert list(gains) == [8.0, 32.0, 128.0, 512.0]
    for clients, planted in synthetic.FLIP.items():
        assert effect(gains[clients]).value == pytest.approx(np.exp(planted), rel=0.03)


def test_workers_are_compared_by_label(paper):
    tails = comparisons.fairness_ratios(paper, "latency_p99_us", "reuseport", "shared")
    assert effect(tails).value == pytest.approx(40_000 / 900, rel=0.05)
    fast = comparisons.fairness_ratios(paper, "latency_p99_us", "reuseport", "shared", "one-packet")
    assert effect(fast).value == pytest.approx(1, abs=0.05)
    held = comparisons.fairness_ratios(paper, "held_up", "reuseport", "shared")
    assert effect(held).value == pytest.approx(10, rel=0.1)


def test_a_stored_histogram_says_what_share_was_slower(synthetic):
    stored = synthetic.histogram({0.1: 5, 150.0: 80, 4_000.0: 10, 30_000.0: 5})
    assert comparisons.slower_share(stored, 5_000.0) == pytest.approx(0.05)
    assert comparisons.slower_share(stored, 1_000.0) == pytest.approx(0.15)
    assert comparisons.slower_share(stored, 0.05) == pytest.approx(1.0)
    with_time_outs = json.loads(stored) | {
        "censored_counts": json.loads(synthetic.histogram({2e6: 25}))["counts"]
    }
    assert comparisons.slower_share(json.dumps(with_time_outs), 5_000.0) == pytest.approx(30 / 125)
    for nothing in ("", "[]", None):
        assert np.isnan(comparisons.slower_share(nothing, 1.0))


def test_buckets_are_those_of_the_load_generator(synthetic):
    """servers/load/histogram.h: low(i) = (128 + i % 128) << (i / 128 - 1); 1,048,576 ns is 2^20."""
    for ns in (1, 127, 128, 1_048_576, 50_000_000):
        stored = synthetic.histogram({ns / 1e3: 1})
        assert comparisons.slower_share(stored, 0.99 * ns / 1e3) == 1.0
        assert comparisons.slower_share(stored, ns / 1e3) == 0.0
    assert json.loads(synthetic.histogram({1_048.576: 1}))["counts"] == [[14 * 128, 1]]


def test_the_best_peer_is_the_cheapest_server_that_is_not_ours(paper):
    label, found = comparisons.best_peer(paper)
    assert label == "h2o"
    assert found.choices == 6  # four variants of nginx, lighttpd, h2o
    assert found.effect.value == pytest.approx(9.5 / 8.9, rel=0.03)


def test_what_was_not_measured_is_empty(paper):
    for frame in (
        paper.iloc[:0],
        paper[paper["chapter"] == "machine"],
        paper[paper["experiment"] == "one-packet"],
    ):
        assert comparisons.sensitivity_gains(frame, "work") == {}
        assert comparisons.work_predictions(frame) == {}
        assert comparisons.concurrency_gains(frame, "epoll") == {}
        assert comparisons.fairness_ratios(frame, "latency_p99_us", "reuseport", "shared").empty
        assert comparisons.peer_costs(frame).empty
        assert comparisons.nginx_ratios(frame, "replies_per_s").empty
        label, found = comparisons.best_peer(frame)
        assert label == ""
        assert len(found.ratios) == 0


def test_rounds_of_several_machines_are_not_pooled(paper):
    trials = paper[paper["experiment"] == "concurrency"]
    both = pd.concat([trials, trials.assign(machine="another")])
    with pytest.raises(ValueError, match="several machines"):
        comparisons.concurrency_gains(both, "epoll")
