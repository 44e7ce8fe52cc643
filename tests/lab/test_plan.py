import pytest

from retrospective.lab.plan import Plan, place_by_ratio
from retrospective.lab.probe import Probe
from retrospective.lab.probe_lazy import OVERHEAD_S as OVERHEAD_OF_A_PROBE_S
from retrospective.lab.trial import OVERHEAD_S, Trial

TRIALS = tuple("abcdefghij")  # a plan does not look into its trials


def test_rounds_come_one_after_the_other_and_each_is_whole():
    ordered = list(Plan(TRIALS, rounds=4, seed=1).ordered())
    assert [number for number, _ in ordered] == [number for number in range(4) for _ in TRIALS]
    for number in range(4):
        assert sorted(t for n, t in ordered if n == number) == list(TRIALS)


def test_order_depends_on_seed_and_round_alone():
    plan = Plan(TRIALS, rounds=3, seed=7)
    assert list(plan.ordered()) == list(plan.ordered())
    assert plan.round(2) == Plan(TRIALS, rounds=9, seed=7).round(2), "more rounds do not reorder the first"
    assert plan.round(0) != plan.round(1)
    assert plan.round(0) != Plan(TRIALS, rounds=3, seed=8).round(0)


def test_no_round_at_all_is_no_plan():
    with pytest.raises(ValueError, match="at least one round"):
        Plan(TRIALS, rounds=0, seed=1)


def test_time_is_that_of_all_rounds():
    trials = [
        Trial("c", "e", "trial", "smoke", "epoll", {}, "one-packet", load, "receiver", None, str(i))
        for i, load in enumerate(
            {"mode": mode, "warmup-s": 0.25, "duration-s": 0.5} for mode in ("raw", "closed", "closed")
        )
    ]
    assert Plan(trials[1:2], 1, 0).seconds() == pytest.approx(0.75 + OVERHEAD_S["closed"])
    assert Plan(trials, 4, 0).seconds() == pytest.approx(
        4 * (2.25 + OVERHEAD_S["raw"] + 2 * OVERHEAD_S["closed"])
    )
    probe = Probe("c", "cost", "trial", "smoke", "plain", {"engine": "plain", "seconds": 0.2}, "plain")
    assert Plan([probe, trials[1]], 1, 0).seconds() == pytest.approx(
        0.95 + OVERHEAD_OF_A_PROBE_S + OVERHEAD_S["closed"]
    )


def test_a_trial_takes_part_in_as_many_rounds_as_it_is_given_with_all_others_of_them():
    plan = Plan("abc", rounds=4, seed=1, rounds_of=(4, 2, 1))
    assert [sorted(plan.round(number)) for number in range(4)] == [["a", "b", "c"], ["a", "b"], ["a"], ["a"]]
    assert [number for number, _ in plan.ordered()] == [0, 0, 0, 1, 1, 2, 3]
    assert plan.round(1) == Plan("abc", rounds=2, seed=1, rounds_of=(2, 2, 1)).round(1)


def test_what_is_compared_follows_at_once_wherever_its_round_has_it():
    upper = "ABC"
    plan = Plan((*TRIALS, *upper), rounds=99, seed=3, group=lambda one: one.isupper() or None)
    rounds = [plan.round(number) for number in range(99)]
    assert all(sorted(order) == sorted((*TRIALS, *upper)) for order in rounds)
    places = [sorted(order.index(one) for one in upper) for order in rounds]
    assert all(place == [*range(place[0], place[0] + len(upper))] for place in places)
    assert {place[0] for place in places} == {*range(len(TRIALS) + 1)}, "a group is not always first or last"
    assert rounds == [plan.round(number) for number in range(99)]


def test_a_group_s_order_is_shuffled_and_turned_round_in_every_second_round():
    plan = Plan((*TRIALS, *"ABC"), rounds=60, seed=3, group=lambda one: one.isupper() or None)
    orders = ["".join(one for one in plan.round(number) if one in "ABC") for number in range(60)]
    assert len(set(orders)) == 6
    assert all(there == back[::-1] for there, back in zip(orders[::2], orders[1::2], strict=True))


def test_groups_are_kept_apart_and_a_round_without_them_is_shuffled_as_any():
    pairs = Plan("aAbBcC", rounds=40, seed=5, group=str.lower)
    orders = ["".join(pairs.round(number)).lower() for number in range(40)]
    assert all(pair * 2 in order for pair in "abc" for order in orders)
    assert len({order[::2] for order in orders}) == 6
    assert Plan(TRIALS, 1, seed=7).round(0) == Plan(TRIALS, 1, seed=7, group=ord).round(0), "groups of one"


@pytest.mark.parametrize(
    ("rounds_of", "said"),
    [((2, 3), "1 to 2 rounds"), ((0, 2), "1 to 2 rounds"), ((2,), "1 numbers of rounds")],
)
def test_rounds_of_trials_that_cannot_be(rounds_of, said):
    with pytest.raises(ValueError, match=said):
        Plan("ab", rounds=2, seed=1, rounds_of=rounds_of)


def test_time_is_each_trial_s_own_as_often_as_it_takes_part():
    probes = [
        Probe("c", "cost", "trial", "smoke", "plain", {"seconds": seconds}, str(seconds))
        for seconds in (0.2, 3.0)
    ]
    expected = 5 * (0.2 + OVERHEAD_OF_A_PROBE_S) + 2 * (3.0 + OVERHEAD_OF_A_PROBE_S)
    assert Plan(probes, 5, 0, (5, 2)).seconds() == pytest.approx(expected)


def test_targets_are_short_numbers_near_their_ratio_in_the_ratios_order():
    ratios = (0.5, 0.8, 1.0, 1.001, 1.2, 1.6, 2.1)
    for peak in (0.0123456, 7.0, 983.4, 18_432.1, 123_456.7):
        targets = place_by_ratio(peak, ratios)
        assert list(targets) == sorted(targets)
        assert len(set(targets)) >= len(ratios) - 1
        for target, ratio in zip(targets, ratios, strict=True):
            assert target == pytest.approx(peak * ratio, rel=0.005)
            assert float(f"{target:.3g}") == target
    assert place_by_ratio(18_432.1, (2.0, 0.7)) == (36_900.0, 12_900.0)


@pytest.mark.parametrize(
    ("peak", "ratios"),
    [(0, (1,)), (float("nan"), (1,)), (100, (1, 0)), (100, (-1,)), (100, range(1, 12))],
)
def test_targets_that_cannot_be_placed(peak, ratios):
    with pytest.raises(ValueError, match=r"peak|ratios"):
        place_by_ratio(peak, ratios)
