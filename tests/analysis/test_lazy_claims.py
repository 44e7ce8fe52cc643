"""Every claim about lazy I/O on planted effects: shown, reversed, absent, and without its cause."""

import numpy as np
import pandas as pd
import pytest
from planting import chosen, judge_of, scaled

from retrospective.analysis import laziness, lazy_servers
from retrospective.analysis.claims import claims, ledger
from retrospective.analysis.claims.lazy import NOBODY
from retrospective.analysis.evidence import effect

CLAIMS = {claim.id: claim for claim in claims("lazy")}
judged = judge_of(CLAIMS.values())


@pytest.fixture(scope="module")
def trials(synthetic):
    """The model's rows, with so little noise that ten rounds decide."""
    return pd.DataFrame(synthetic.lazy.rows(np.random.default_rng(1), noise=0.003))


READ = {"operation": "read", "bytes": 4096}
CACHED = {"experiment": "cost", "state": "cached", **READ}
COLD = {"experiment": "cost", "state": "cold", **READ}
CALL = ("call_ns", "ratio_plain", "ratio_glibc")
HELD = tuple(f"held_{q}_ns" for q in ("p50", "p90", "p99", "p999", "max"))
RESUMED = tuple(f"resumed_{q}_ns" for q in ("p50", "p90", "p99", "p999", "max"))


def like_plain(series, **where):
    """Hold the caller as the plain call does, times a factor."""

    def change(frame, factor=1.0):
        rows = chosen(frame, experiment="held", design=series, **where)
        for column in HELD:
            plain = frame.loc[rows, column.replace("held", "plain")].astype(float)
            noise = np.exp(np.random.default_rng(3).normal(0, 0.003, int(rows.sum())))
            frame.loc[rows, column] = plain * factor * noise

    return change


def at_server(factor, column, **where):
    """Multiply a column of NB-LAIO's trials, or of another server's."""
    return scaled(factor, (column,), **({"server": lazy_servers.LAZY, "design": "lazy"} | where))


def served(factor, **where):
    return at_server(factor, "replies_per_s", **({"experiment": "traces"} | where))


def costing(factor, **where):
    return at_server(factor, "server_cpu_us_per_reply", experiment="fits-cpu", **where)


def waiting(factor, **where):
    return at_server(factor, "hot_latency_p99_us", **where)


def held_up(per_s, **where):
    """NB-LAIO's loop is held so often, turns over 10 ms a second."""

    def change(frame):
        rows = chosen(frame, experiment="traces", server=lazy_servers.LAZY, **where)
        noise = np.exp(np.random.default_rng(2).normal(0, 0.003, int(rows.sum())))
        frame.loc[rows, "turns_over_10ms_per_s"] = per_s * noise

    return change


#: claim -> verdict on the model as it is, then [what to change, the verdict that must follow]
CASES = {
    "L1": (
        "reproduced",
        [
            (scaled(0.2, CALL, design="posix-aio", **CACHED), "shrunk"),
            (scaled(0.05, CALL, design="posix-aio", **CACHED), "reversed"),
        ],
    ),
    "L2": (
        "reversed",  # the model's upcall costs more than the model's disk can hide
        [
            (scaled(0.82, CALL, design=laziness.LAZY, **COLD), "reproduced"),
            (scaled(0.6, CALL, design=laziness.LAZY, **COLD), "reproduced"),
        ],
    ),
    "L1-linux-aio": (
        "shrunk",
        [
            (scaled(2.0, CALL, design="linux-aio", **CACHED), "reproduced"),
            (scaled(0.3, CALL, design="linux-aio", **CACHED), "reversed"),
        ],
    ),
    "L1-glibc": ("reproduced", [(scaled(1.2, CALL, design=laziness.LAZY, **CACHED), "reversed")]),
    "L1-nowait": ("reproduced", [(scaled(1.2, CALL, design="nowait", **CACHED), "reversed")]),
    "L1-uring": ("reversed", [(scaled(0.68, CALL, design="uring", **CACHED), "reproduced")]),
    "L3-upcall": ("reproduced", [(scaled(2.0, RESUMED, experiment="upcall", design=laziness.LAZY), "reversed")]),
    "L4": (
        "reproduced",
        [
            (like_plain(laziness.LAZY, operation="fsync"), "vanished"),
            (lambda frame: like_plain(laziness.LAZY, operation="connect")(frame, 1.5), "reversed"),
        ],
    ),
    "L4-uring": ("reproduced", [(like_plain("uring", operation="open"), "vanished")]),
    "V3": (
        "reproduced",
        [
            (scaled(0.1, HELD, experiment="held", design="linux-aio", **READ), "reversed"),
            (scaled(0.1, CALL, design="posix-aio", **CACHED), "reversed"),
        ],
    ),
    "V3-uring": ("reproduced", [(like_plain("uring", **READ), "vanished")]),
    "L-cpu": (
        "reproduced",
        [(scaled(1.3, ("server_cpu_us_per_reply",), label="activation, 0.1 of the peak"), "reversed")],
    ),
    "L6": ("reproduced", [(served(0.9), "shrunk"), (served(0.787), "vanished"), (served(0.6), "reversed")]),
    "L7": ("analog agrees", [(served(0.85), "shrunk"), (served(0.5), "reversed")]),
    "L8": ("analog agrees", [(served(0.7), "reversed")]),
    "L9": ("reproduced", [(costing(1.2), "reversed"), (costing(0.8), "reversed")]),
    "L10": (
        "reproduced",
        [(served(0.7), "reversed"), (served(1 / 1.287), "vanished"), (costing(1.2), "reversed")],
    ),
    "L6-many": ("reproduced", [(served(0.7), "reversed"), (served(1 / 1.276, disk="2004"), "reproduced")]),
    "L6-cold": ("reproduced", [(served(0.7, experiment="traces-cold"), "reversed")]),
    "L6-uring": ("reproduced", [(served(0.8, server="NB-LAIO (uring)"), "reversed")]),
    "L7-hot": ("reproduced", [(waiting(60.0, experiment="traces", disk="2004"), "reversed")]),
    "L7-hot-own": ("reproduced", [(waiting(3.0, experiment="traces", disk="own"), "reversed")]),
    "L7-open": (
        "reproduced",
        [(waiting(10.0, experiment="traces-open", disk="own"), "vanished"), (waiting(300.0), "reversed")],
    ),
    "L7-stall": ("reproduced", [(held_up(6.0, disk="own"), "vanished"), (held_up(90.0, disk="own"), "reversed")]),
    "L9-cpu": ("reproduced", [(costing(1.2, server="LAIO-LAIO"), "reversed")]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_planted_effect_is_found(name, trials):
    shown, changes = CASES[name]
    assert judged(trials, name)["verdict"] == shown
    for change, word in changes:
        frame = trials.copy()
        change(frame)
        assert judged(frame, name)["verdict"] == word


# --------------------------------------------------------------------------------------------- by counters


def counters(frame, series, experiment, calls, **values):
    for operation, state in calls:
        rows = chosen(frame, experiment=experiment, design=series, operation=operation, state=state)
        for column, value in values.items():
            frame.loc[rows, column] = value


@pytest.mark.parametrize(
    ("what", "experiment", "calls", "values"),
    [
        (
            "a continuation for what did not block",
            "cost",
            [laziness.CACHED],
            {"path_inline": 500, "path_upcall": 500},
        ),
        ("a caller held by what did", "held", laziness.CERTAIN, {"path_upcall": 400, "path_held": 600}),
    ],
)
def test_laziness_is_refuted_from_either_side(what, experiment, calls, values, trials):
    frame = trials.copy()
    counters(frame, laziness.LAZY, experiment, calls, **values)
    found = judged(frame, "L3")
    assert found["verdict"] == "reversed", what
    assert found["value"] < 0.9


def test_a_block_that_is_not_noticed_and_a_loop_that_is_stolen_refute_it_too(trials):
    for column, experiment in (("missed", "upcall"), ("stolen", "preempted")):
        frame = trials.copy()
        frame.loc[chosen(frame, experiment=experiment, design=laziness.LAZY), column] = 200
        assert judged(frame, "L3")["verdict"] == "reversed"


def test_one_wrong_result_in_every_round_refutes_the_notification(trials):
    assert judged(trials, "L5")["verdict"] == "reproduced"
    frame = trials.copy()
    rows = chosen(frame, experiment="held", design=laziness.LAZY, operation="fsync")
    frame.loc[rows, ["errors", "valid", "status"]] = [1, False, "failed"]
    assert judged(frame, "L5")["verdict"] == "reversed"


def test_more_notifications_than_operations_refute_it(trials):
    frame = trials.copy()
    rows = chosen(frame, design=laziness.LAZY, experiment=["cost", "held"])
    frame.loc[rows, "completions"] = frame.loc[rows, "completions"] * 2
    found = judged(frame, "L5")
    assert found["verdict"] == "undecided"
    assert "more than predicted" in found["why"]


def test_a_call_that_it_does_not_have_refutes_generality(trials):
    frame = trials.copy()
    lacking = chosen(frame, experiment="held", design=laziness.LAZY, operation=["readdir", "sendfile"])
    frame.loc[lacking, ["valid", "status", "reason"]] = [False, "unavailable", "unsupported: no such call"]
    found = judged(frame, "L4")
    assert found["verdict"] == "reversed"
    assert found["value"] == pytest.approx(14 / 18)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("L1", {"process_voluntary_switches": 5}),
        ("L3", {"process_voluntary_switches": 500}),
        ("L1-glibc", {"path_inline": 1000, "path_upcall": 0}),
        ("V3", {"path_inline": 1000, "path_ring": 0}),
        ("L4-uring", {"path_ring": 0, "path_inline": 1000}),
    ],
)
def test_an_effect_whose_cause_did_not_move_is_undecided(name, change, trials):
    frame = trials.copy()
    for column, value in change.items():
        frame.loc[frame["experiment"].isin(["cost", "held"]), column] = value
    found = judged(frame, name)
    assert found["verdict"] == "undecided"
    assert found["mechanism_holds"] is False
    assert "did not move" in found["why"]


def test_what_the_question_itself_costs_is_told_where_it_was_measured(trials):
    told = judged(trials, "L1-nowait")["mechanism"]
    assert "moved with it; preadv2(RWF_NOWAIT) alone ÷ pread, by the C library: 1.03 " in told
    old = judged(trials.drop(columns=["raw_nowait_ns", "ratio_raw_nowait"]), "L1-nowait")
    assert "preadv2" not in old["mechanism"]


# ------------------------------------------------------------------------------------------------- family


def test_nobody_pays_for_packets_that_there_are_not(trials):
    for claim in ledger(trials, [*CLAIMS.values()]):
        assert claim["verdict"] != "depends on who pays"
        of_servers = claim["design"] == "lazy" or claim["id"] == "L-cpu"
        assert set(claim["modes"]) == ({"receiver"} if of_servers else set(NOBODY))
        assert claim["chapter"] == "lazy"


def test_the_new_chapter_takes_nothing_from_what_is_said_of_the_other(paper):
    """A family a paper: with and without the lazy rows, every word about accepting is the same; and the other way."""
    whole = {claim["id"]: claim["verdict"] for claim in ledger(paper)}
    for chapter in ("accept", "lazy"):
        alone = ledger(paper[paper["chapter"].isin([chapter, "machine"])])
        for claim in alone:
            if claim["chapter"] == chapter:
                assert claim["verdict"] == whole[claim["id"]], claim["id"]
            elif claim["id"] != "U-conformance":  # packetdrill's run is no trial, and is recorded apart
                assert claim["verdict"] == "not testable here"


def test_a_gain_is_held_against_what_the_plain_call_differs_from_itself(trials):
    frame = trials.copy()
    frame.loc[chosen(frame, experiment="cost", design="plain"), "ratio_plain"] = 60.0
    found = judged(frame, "L1")
    assert found["verdict"] == "undecided"
    assert "detection floor" in found["why"]


OF_SERVERS = [claim for claim in CLAIMS.values() if claim.floor == "servers"]


def test_the_best_rival_is_chosen_and_the_choice_allowed_for(trials):
    found = lazy_servers.trials(trials, "traces", case=lazy_servers.Case("rice-like", "2004"))
    crowd = lazy_servers.many(found)
    assert set(crowd["clients"]) == {256}
    beside = lazy_servers.beside_best(crowd)
    assert (beside.rival, beside.choices, len(beside.ratios)) == ("threads", 7, 10)
    assert effect(beside.ratios, beside.choices).low < effect(beside.ratios).low
    peak = lazy_servers.peak_beside(found)
    assert (peak.rival, peak.choices) == ("threads", 4 * 7 * 4)


def test_few_clients_are_not_many(trials):
    few = trials[
        (trials["clients"].astype(float) < lazy_servers.MANY_CLIENTS) | (trials["experiment"] == "fits-cpu")
    ]
    assert judged(few, "L6-many")["verdict"] == "not testable here"
    assert judged(few, "L6")["verdict"] != "not testable here"


def test_servers_that_are_alike_are_not_called_different(synthetic):
    """All rows of every server from one distribution: no gain, no loss, in sets of trials of much noise."""
    model = synthetic.lazy
    said = set()
    for seed in range(8):
        rng = np.random.default_rng(seed)
        alike = [
            model.trace_row(rng, experiment, "NB-LAIO", workload, "own", 64, number, 0.1, fits=fits, cache=cache)
            | {"server": server, "label": server}
            for number in range(5) for workload in model.TRACES for server in model.SERVERS
            for experiment, fits, cache in
            (("traces", False, "warm"), ("traces-cold", False, "cold"), ("fits-cpu", True, "warm"))
        ]  # fmt: skip
        for claim in ledger(pd.DataFrame(alike), OF_SERVERS):
            if claim["verdict"] not in ("undecided", "not testable here", "vanished"):
                said.add((claim["id"], claim["verdict"]))
    matched = ("L9", "L9-cpu", "L6-many", "L6-cold", "L6-uring", "L6-begun")
    true_of_equals = {(name, "reproduced") for name in matched} | {("L8", "analog agrees")}
    assert said <= true_of_equals | {("L7-hot-own", "reversed"), ("L7-begun-own", "reversed")}


def test_a_machine_that_lacks_what_traces_need_says_so(trials, synthetic):
    rng = np.random.default_rng(1)
    lost = synthetic.lazy.unavailable(synthetic.lazy.trace_rows(rng, 2))
    without = trials[~trials["experiment"].isin(["traces", "traces-cold", "traces-open", "fits-cpu"])]
    for claim in ledger(pd.concat([without, pd.DataFrame(lost)]), OF_SERVERS):
        assert claim["verdict"] == "not testable here"
        assert claim["why"].startswith("no-cgroup: ")
    for claim in ledger(without.dropna(axis=1, how="all"), OF_SERVERS):
        assert claim["why"].startswith("no valid trials")


def test_loopback_trials_of_servers_never_mix_in(trials):
    assert lazy_servers.trials(trials.assign(charge="loopback"), "traces").empty


def test_what_was_not_measured_is_not_testable(trials):
    without = trials[trials["design"] != "linux-aio"]
    found = {claim["id"]: claim["verdict"] for claim in ledger(without, [*CLAIMS.values()])}
    assert found["V3"] == found["L1-linux-aio"] == "not testable here"
    assert found["L1"] == "reproduced"
    for name in ("L1", "L3", "L4", "L5"):
        assert judged(trials[trials["design"] != laziness.LAZY], name)["verdict"] == "not testable here"


def test_one_round_has_values_but_decides_nothing(trials):
    for claim in ledger(trials[trials["round"] == 0], [*CLAIMS.values()]):
        assert claim["value"] is not None
        assert claim["low"] is None
        assert claim["verdict"] == "undecided"
