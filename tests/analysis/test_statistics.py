import numpy as np
import pandas as pd
import pytest
import scipy.stats

from retrospective.analysis import statistics as st


def coverage(n, runs=4000, spread=0.1, ratio=1.3):
    rng = np.random.default_rng(n)
    draws = np.exp(rng.normal(np.log(ratio), spread, (runs, n)))
    hits = [e.low <= ratio <= e.high for e in map(st.ratio_interval, draws)]
    return np.mean(hits)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_intervals_cover_95_percent_at_any_number_of_rounds(n):
    assert coverage(n) == pytest.approx(0.95, abs=0.011)  # three standard errors of 4,000 runs


def test_interval_is_student_t_of_the_logarithms():
    effect = st.ratio_interval([1.0, 2.0, 4.0])
    assert effect.value == pytest.approx(2.0)
    reach = 4.302652729911275 * np.log(2) / np.sqrt(3)  # t of 2 degrees of freedom, 97.5 %
    assert np.log(effect.high / 2) == pytest.approx(reach)
    assert np.log(effect.low / 2) == pytest.approx(-reach)


def test_inverting_all_ratios_inverts_the_interval():
    rng = np.random.default_rng(1)
    ratios = np.exp(rng.normal(0.2, 0.1, 7))
    there, back = st.ratio_interval(ratios), st.ratio_interval(1 / ratios)
    assert (1 / back.value, 1 / back.high, 1 / back.low) == pytest.approx(
        (there.value, there.low, there.high)
    )
    assert there.p_unlike() == pytest.approx(back.p_unlike())


def test_p_value_and_interval_agree_on_what_is_excluded():
    rng = np.random.default_rng(5)
    for _ in range(300):
        effect = st.ratio_interval(np.exp(rng.normal(0.05, 0.1, 6)))
        assert (effect.p_unlike() < 0.05) == (effect.low > 1 or effect.high < 1)


@pytest.mark.parametrize("unusable", [0.0, -1.0, np.nan, np.inf])
def test_ratios_without_a_logarithm_are_dropped_and_counted(unusable):
    effect = st.ratio_interval([1.2, unusable, 1.3])
    assert (effect.n, effect.dropped) == (2, 1)
    assert effect.value == pytest.approx(np.sqrt(1.2 * 1.3))


def test_a_trimmed_mean_of_few_is_no_other():
    ratios = np.exp(np.linspace(-0.1, 0.2, 19))
    assert st.trimmed_interval(ratios) == st.ratio_interval(ratios)


def test_a_trimmed_interval_is_yuen_s():
    logs = np.random.default_rng(7).normal(0.03, 0.1, 30)
    effect = st.trimmed_interval([*np.exp(logs), np.nan])
    assert (effect.n, effect.dropped) == (18, 1)
    assert effect.mean == pytest.approx(scipy.stats.trim_mean(logs, 0.2))
    test = scipy.stats.ttest_ind(
        logs, np.zeros(30), trim=0.2, equal_var=False
    )  # of one sample, beside a constant
    assert effect.mean / effect.error == pytest.approx(test.statistic)
    assert effect.p_unlike() == pytest.approx(test.pvalue)


def test_a_trimmed_interval_covers_95_percent_and_bursts_hardly_widen_it():
    rng = np.random.default_rng(11)
    hits, widths = 0, []
    for _ in range(1000):
        logs = rng.normal(0.02, 0.02, 60)
        plain = st.trimmed_interval(np.exp(logs))
        logs[rng.integers(0, 60, 6)] += rng.choice([-0.35, 0.35], 6)  # a burst hits either member of a pair
        spoilt = st.trimmed_interval(np.exp(logs))
        hits += spoilt.low <= np.exp(0.02) <= spoilt.high
        widths.append(np.log(spoilt.high / spoilt.low) / np.log(plain.high / plain.low))
    assert 930 <= hits <= 980
    assert np.mean(widths) < 1.3


def test_one_ratio_has_a_value_but_no_interval():
    effect = st.ratio_interval([1.7])
    assert effect.value == pytest.approx(1.7)
    assert np.isnan(effect.low)
    assert np.isnan(effect.high)
    assert not effect.decided
    assert effect.p_unlike() == 1.0


def test_no_ratio_has_nothing():
    effect = st.ratio_interval([])
    assert np.isnan(effect.value)
    assert effect.n == 0


def test_identical_ratios_are_certain():
    effect = st.ratio_interval([1.5] * 5)
    assert effect.low == effect.high == pytest.approx(1.5)
    assert effect.p_unlike() == 0.0
    assert st.ratio_interval([1.0] * 5).p_unlike() == 1.0


def reference_holm(p):
    """Holm 1979, section 2, word for word: step down until the first that is kept."""
    order = sorted(range(len(p)), key=p.__getitem__)
    adjusted = [0.0] * len(p)
    for rank, i in enumerate(order):
        adjusted[i] = max((len(p) - k) * p[order[k]] for k in range(rank + 1))
    return [min(1.0, a) for a in adjusted]


def test_holm_agrees_with_the_definition():
    rng = np.random.default_rng(3)
    for size in (1, 2, 7, 40):
        p = list(rng.uniform(0, 0.2, size))
        assert st.holm(p) == pytest.approx(reference_holm(p))


def test_holm_on_the_textbook_example():
    assert st.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_of_nothing_and_of_nan():
    assert st.holm([]) == []
    assert st.holm([0.01, np.nan]) == pytest.approx([0.02, 1.0])


def test_the_interval_of_the_largest_covers_what_it_chose():
    """Four places with the same true effect of 1: the largest mean is above 1, its interval must still cover 1."""
    rng = np.random.default_rng(11)
    naive, allowing = [], []
    for _ in range(1500):
        table = pd.DataFrame(np.exp(rng.normal(0, 0.1, (10, 4))), columns=[1.2, 1.6, 2.1, 2.5])
        found = st.largest(table)
        for effect, hits in ((st.ratio_interval(found.ratios), naive), (found.effect, allowing)):
            hits.append(effect.low <= 1 <= effect.high)
    assert np.mean(naive) < 0.93
    assert np.mean(allowing) > 0.94


def test_choices_widen_intervals_and_p_values_alike():
    ratios = [1.1, 1.2, 1.15, 1.3]
    one, four = st.ratio_interval(ratios), st.ratio_interval(ratios, choices=4)
    assert four.low < one.low
    assert four.p_above(1.0) == pytest.approx(4 * one.p_above(1.0))
    assert st.ratio_interval(ratios, confidence=1 - 0.05 / 4).low == pytest.approx(four.low)


def test_largest_finds_the_largest():
    rng = np.random.default_rng(2)
    truth = ((1.2, 1.3), (1.6, 1.7), (2.1, 1.5))
    found = st.largest(pd.DataFrame({x: np.exp(rng.normal(np.log(m), 0.02, 10)) for x, m in truth}))
    assert (found.place, found.choices) == (1.6, 3)
    assert found.effect.value == pytest.approx(1.7, rel=0.02)


def test_largest_of_degenerate_tables():
    nothing = st.largest(pd.DataFrame(index=[0, 1]))
    assert len(nothing.ratios) == 0
    assert nothing.effect.n == 0
    alone = st.largest(pd.DataFrame({2.0: [1.4, 1.5], 2.5: [np.nan, np.nan]}))
    assert list(alone.ratios) == [1.4, 1.5]
    assert alone.choices == 1


def aa_frame(values):
    """``values``: rounds × replicas of replies/s."""
    return pd.DataFrame(
        [
            {"kind": "aa", "valid": True, "round": r, "label": f"replica {i:02d}", "replies_per_s": v}
            for r, row in enumerate(values)
            for i, v in enumerate(row)
        ]
    )


def test_aa_pairs_come_out_as_different_in_five_percent():
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(12):
        rounds = rng.normal(0, 0.3, (10, 1))  # whole rounds drift: pairing takes it out
        found = st.aa_pairs(aa_frame(1e5 * np.exp(rounds + rng.normal(0, 0.02, (10, 21)))))
        assert found.pairs == 210
        shares.append(found.share)
    assert np.mean(shares) == pytest.approx(0.05, abs=0.02)


def test_aa_pairs_see_a_replica_that_really_differs():
    rng = np.random.default_rng(0)
    values = 1e5 * np.exp(rng.normal(0, 0.01, (10, 21)))
    values[:, 0] *= 1.2
    assert st.aa_pairs(aa_frame(values)).different >= 20


def test_floor_is_the_95th_percentile_as_a_factor():
    rng = np.random.default_rng(4)
    floor = st.aa_floor(aa_frame(1e5 * np.exp(rng.normal(0, 0.02, (10, 21)))))
    assert floor.measured
    assert floor.pairs == 2100
    assert np.log(floor.factor) == pytest.approx(1.96 * 0.02 * np.sqrt(2), rel=0.1)


def test_no_floor_below_twenty_ratios():
    floor = st.aa_floor(aa_frame(np.ones((1, 3))))
    assert not floor.measured
    assert not st.aa_floor(pd.DataFrame()).measured


NO_FLOOR = st.Floor(np.nan, 0)


def verdict(mean, spread=0.01, n=10, floor=NO_FLOOR, **test):
    logs = np.log(mean) + spread * np.linspace(-1, 1, n)
    return st.decide([[st.Test("it", st.ratio_interval(np.exp(logs)), **test)]], [floor])[0][0]


def test_verdict_words():
    assert verdict(1.71, published=1.71) == "reproduced"
    assert verdict(2.5, published=1.71) == "reproduced"
    assert verdict(1.2, published=1.71) == "shrunk"
    assert verdict(0.8, published=1.71) == "reversed"
    assert verdict(1.01, published=1.71) == "vanished"
    assert verdict(1.2, spread=0.5, published=1.71) == "undecided"
    assert verdict(1.2) == "reproduced"  # a direction without a size
    assert verdict(0.98, kind="matches") == "reproduced"
    assert verdict(0.9, kind="matches") == "reversed"
    assert verdict(0.95, kind="matches") == "undecided"
    assert verdict(1.01, kind="equal") == "reproduced"
    assert verdict(0.8, kind="equal") == "shrunk"
    assert verdict(1.3, kind="equal") == "undecided"
    assert verdict(1.01, kind="alike") == "reproduced"
    assert verdict(1.3, kind="alike") == verdict(0.8, kind="alike") == "reversed"
    assert verdict(1.05, kind="alike") == verdict(1.3, spread=0.9, kind="alike") == "undecided"


def test_nothing_is_decided_inside_the_detection_floor_or_without_an_interval():
    assert verdict(1.08, floor=st.Floor(1.1, 100)) == "undecided"
    assert verdict(1.08, floor=st.Floor(1.05, 100)) == "reproduced"
    assert verdict(1.71, n=1) == "undecided"


def test_holm_over_the_ledger_takes_back_what_chance_brings():
    rng = np.random.default_rng(9)
    wrong = 0
    for _ in range(60):
        tests = [[st.Test("null", st.ratio_interval(np.exp(rng.normal(0, 0.1, 10))))] for _ in range(40)]
        words = {word for group in st.decide(tests, [NO_FLOOR] * len(tests)) for word in group}
        wrong += bool(words & {"reproduced", "shrunk", "reversed"})
    assert wrong / 60 <= 0.10


def test_modes_that_disagree_depend_on_who_pays():
    assert st.combined({"receiver": "shrunk", "sender": "vanished"}) == "depends on who pays"
    assert st.combined({"receiver": "shrunk", "sender": "shrunk"}) == "shrunk"
    assert st.combined({"receiver": "shrunk", "sender": "undecided"}) == "shrunk"
    assert st.combined({"receiver": "undecided", "sender": "shrunk"}) == "undecided"
    assert st.combined({"receiver": "not testable here", "sender": "shrunk"}) == "shrunk"
    assert st.combined({"receiver": "not testable here"}) == "not testable here"
    assert set(st.VERDICTS) >= {"reproduced", "depends on who pays", "not testable here"}


def test_an_analog_agrees_but_never_reproduces():
    assert st.of_analog("reproduced") == "analog agrees"
    others = set(st.VERDICTS) - {"reproduced"}
    assert {st.of_analog(word) for word in others} == others
    assert st.combined({"receiver": "analog agrees", "sender": "analog agrees"}) == "analog agrees"
    assert st.combined({"receiver": "analog agrees", "sender": "shrunk"}) == "depends on who pays"
    assert st.WEAKEST_FIRST.index("shrunk") < st.WEAKEST_FIRST.index("analog agrees")


def test_the_floor_of_means_shrinks_with_the_rounds_they_are_over():
    rng = np.random.default_rng(7)
    floor = st.aa_floor(aa_frame(1e5 * np.exp(rng.normal(0, 0.02, (10, 21)))))
    assert np.log(floor.over(10).factor) == pytest.approx(np.log(floor.factor) / np.sqrt(10), rel=0.25)
    assert floor.over(1).factor == floor.factor
    assert floor.over(99).factor == floor.over(10).factor
    mean = np.log(1.02)
    effect = st.Effect(1.02, 1.015, 1.025, 10, mean, 0.002)
    p = {"differs": 0.001, "within": 0.9}
    assert st.Test("", effect).verdict(p, floor) == "reproduced"
    assert st.Test("", effect).verdict(p, st.Floor(floor.factor, floor.pairs)) == "undecided"
