"""Every claim about timers on planted effects: shown, reversed, absent, and without its cause."""

import numpy as np
import pandas as pd
import pytest
from planting import judge_of, scaled

from retrospective.analysis import timers
from retrospective.analysis.claims import claims, ledger
from retrospective.analysis.claims.lazy import NOBODY

CLAIMS = {claim.id: claim for claim in claims(timers.CHAPTER)}
judged = judge_of(CLAIMS.values())


@pytest.fixture(scope="module")
def trials(synthetic):
    """The model's rows, with so little noise that ten rounds decide."""
    return pd.DataFrame(synthetic.timers.rows(np.random.default_rng(1), noise=0.003))


FINE = {"experiment": "wall", "granularity_us": 1000, "measure": "cores", "design": "timerfd"}
EVERY_10_MS = {"granularity_us": 10_000, "measure": "cores"}
MANY = {"experiment": "operations", "timers": 10_000}
AT_100K = {"experiment": "operations", "timers": 100_000, "design": "wheel", "beside": "nothing"}


def in_domain(factor, column="cores", design="domain", measure="cores"):
    return scaled(factor, column, experiment="domain", design=design, measure=measure)


def late(factor, design="domain"):
    return in_domain(factor, "lateness_p99_us", design, "lateness")


def priced(factor, price):
    return scaled(factor, "price_ns", experiment="prices", design=price)


#: claim -> verdict on the model as it is, then [what to change, the verdict that must follow]
CASES = {
    "V1": (
        "reproduced",
        [(scaled(0.3, "cores", **FINE), "reversed"), (scaled(0.03, "cores", **FINE), "reversed")],
    ),
    "V1-tick": (
        "reproduced",
        [
            (scaled(0.7, "cores", experiment="wall", design="tick", granularity_us=100_000), "shrunk"),
            (scaled(1.3, "cores", experiment="wall", design="tick", granularity_us=100_000), "undecided"),
        ],
    ),
    "VL1": (
        "reproduced",
        [
            (scaled(1 / 81, "operation_ns", design="list", mix="cancel", **MANY), "vanished"),
            (scaled(1 / 400, "operation_ns", design="list", mix="cancel", **MANY), "reversed"),
            (scaled(2.0, "operation_ns", design="hashed", mix="cancel", **MANY), "reversed"),
        ],
    ),
    "VL2": (
        "reproduced",
        [
            (scaled(0.2, "operation_ns", design="hashed", mix="expiry", **MANY), "shrunk"),
            (scaled(1 / 13, "operation_ns", design="hashed", mix="expiry", **MANY), "vanished"),
            (scaled(0.05, "operation_ns", design="hashed", mix="expiry", **MANY), "reversed"),
        ],
    ),
    "AD1": (
        "analog agrees",
        [
            (scaled(0.9, "work_share", experiment="soft", design="soft", granularity_us=20), "reversed"),
            (scaled(0.06, "cores", experiment="soft", design="timerfd", granularity_us=100), "vanished"),
            (scaled(1.5, "work_share", experiment="soft", design=["no triggers"]), "reversed"),
        ],
    ),
    "VL-wheel": (
        "reproduced",
        [
            (scaled(1.5, "operation_ns", mix="start-only", **AT_100K), "reversed"),
            (scaled(2.0, "operation_ns", mix="cancel-only", **AT_100K), "reversed"),
        ],
    ),
    "VL-libev": ("reproduced", [(scaled(0.4, "operation_ns", design="libev", mix="tcp"), "reversed")]),
    "VL-libuv": (
        "reproduced",
        [(scaled(0.15, "operation_ns", design="libuv", mix="tcp", timers=1_000_000), "reversed")],
    ),
    "VL-libev-lazy": ("reproduced", [(scaled(0.2, "operation_ns", design="libev", mix="tcp"), "reversed")]),
    "VL-libuv-lazy": ("reproduced", [(scaled(0.05, "operation_ns", design="libuv", mix="tcp"), "reversed")]),
    "V1-wake": (
        "reproduced",
        [
            (priced(0.1, "timer-wake"), "reversed"),
            (scaled(1 / 2.886, "cores", experiment="wall", design="timerfd", **EVERY_10_MS), "vanished"),
            (scaled(0.2, "cores", experiment="wall", design="timerfd", **EVERY_10_MS), "reversed"),
        ],
    ),
    "V1-slack": (
        "reproduced",
        [
            (scaled(1 / 1.752, "cores", experiment="wall", design="epoll", **EVERY_10_MS), "vanished"),
            (scaled(0.2, "cores", experiment="wall", design="epoll", **EVERY_10_MS), "reversed"),
        ],
    ),
    "V1-deadline": ("reproduced", [(priced(0.11, "timerfd-reprogrammed"), "reversed")]),
    "V1-domain-floor": ("reproduced", [(in_domain(2.5), "reversed"), (in_domain(0.5), "reproduced")]),
    "V1-domain": (
        "reproduced",
        [(in_domain(3.0), "reversed"), (late(5.0), "reversed"), (in_domain(1.3), "reproduced")],
    ),
    "V1-domain-aligned": (
        "reproduced",
        [
            (in_domain(5.0, design="domain (aligned)"), "reversed"),
            (late(2.0, "domain (aligned)"), "reversed"),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_planted_effect_is_found(name, trials):
    shown, changes = CASES[name]
    assert judged(trials, name)["verdict"] == shown
    for change, word in changes:
        frame = trials.copy()
        change(frame)
        assert judged(frame, name)["verdict"] == word


def test_every_claim_is_planted_or_says_why_it_cannot_be(trials):
    for name in set(CLAIMS) - set(CASES):
        found = judged(trials, name)
        assert found["verdict"] == "not testable here"
        assert found["why"] == CLAIMS[name].untestable != ""


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("V1", "timer_interrupts_per_s"),
        ("V1-tick", "wakeups"),
        ("VL1", "steps_per_operation"),
        ("VL-libev", "steps_per_operation"),
        ("VL-libuv", "steps_per_operation"),
        ("VL-wheel", "steps_per_operation"),
        ("AD1", "timer_interrupts_per_s"),
        ("V1-wake", "timer_interrupts_per_s"),
        ("V1-slack", "timer_interrupts_per_s"),
        ("V1-domain", "timer_interrupts_per_s"),
        ("V1-domain-floor", "timer_interrupts_per_s"),
    ],
)
def test_an_effect_whose_cause_did_not_move_is_undecided(name, column, trials):
    found = judged(trials.assign(**{column: 1000.0, f"beside_{column}": 1000.0}), name)
    assert found["verdict"] == "undecided"
    assert found["mechanism_holds"] is False
    assert "did not move" in found["why"]


def test_a_gain_is_held_against_the_floor_of_its_kind(trials):
    for name, column, experiment in (
        ("VL1", "ratio_beside", "operations-aa"),
        ("V1-slack", "cores", "wall-aa"),
    ):
        frame = trials.copy()
        rows = frame["experiment"] == experiment
        far = np.exp(np.random.default_rng(3).normal(0, 30.0, int(rows.sum())))
        frame.loc[rows, column] = far
        found = judged(frame, name)
        assert found["verdict"] == "undecided"
        assert "detection floor" in found["why"]


def test_words_about_timers_depend_on_no_packets_and_no_other_chapter(paper):
    whole = {claim["id"]: claim for claim in ledger(paper)}
    for claim in ledger(paper[paper["chapter"] == timers.CHAPTER], [*CLAIMS.values()]):
        assert claim["verdict"] == whole[claim["id"]]["verdict"] != "depends on who pays"
        assert set(claim["modes"]) <= set(NOBODY)


def test_what_was_not_measured_is_not_testable(trials, quick):
    for frame in (trials.iloc[:0], pd.DataFrame()):
        assert {claim["verdict"] for claim in ledger(frame, [*CLAIMS.values()])} == {"not testable here"}
    found = {claim["id"]: claim["verdict"] for claim in ledger(quick, [*CLAIMS.values()])}
    assert found["VL-libev"] == found["VL1"] == found["V1-tick"] == "not testable here"
    without = trials[(trials["design"] != "libev") & (trials["beside"] != "libev")]
    assert judged(without, "VL-libev")["verdict"] == "not testable here"
    assert judged(without, "VL-libuv")["verdict"] == "reproduced"


def test_one_round_has_values_but_decides_nothing(trials):
    for claim in ledger(trials[trials["round"] == 0], [CLAIMS[name] for name in CASES]):
        assert claim["value"] is not None
        assert (claim["low"], claim["verdict"]) == (None, "undecided")
