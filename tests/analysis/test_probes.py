"""What is read out of probes: shares, distributions, the floor, and who is held."""

import json

import numpy as np
import pandas as pd
import pytest

from retrospective.analysis import holds, laziness, probes
from retrospective.analysis.holds import Hold
from retrospective.analysis.summary import lazy as summary


@pytest.fixture(scope="module")
def trials(synthetic):
    return pd.DataFrame(synthetic.lazy.rows(np.random.default_rng(1), rounds=4))


def test_histograms_add_up_and_quantiles_are_upper_bounds():
    histogram = probes.pooled([json.dumps([[100, 5], [200, 4]]), None, "", json.dumps([[200, 1], [900, 10]])])
    assert histogram == [(100.0, 5), (200.0, 5), (900.0, 10)]
    assert probes.quantile(histogram, 0.25) == 100
    assert probes.quantile(histogram, 0.5) == 200
    assert probes.quantile(histogram, 0.501) == 900
    assert np.isnan(probes.quantile([], 0.5))


def test_a_share_is_never_zero_and_never_one(trials):
    held = probes.cell(trials, "held", ("pipe", "absent"))
    went, not_went = (
        probes.share(held, laziness.LAZY, paths) for paths in (("path_upcall",), probes.AT_ONCE)
    )
    assert list(went.index) == [0, 1, 2, 3]
    assert ((went > 0.99) & (went < 1)).all()
    assert ((not_went > 0) & (not_went < 0.01)).all()
    assert probes.share(held, "nobody", probes.AT_ONCE).empty


def test_missing_counters_are_zero_calls(trials):
    gone = trials.assign(path_upcall=pd.array([pd.NA] * len(trials), dtype="Int64"))
    assert probes.share(probes.cell(gone, "held", ("pipe", "absent")), laziness.LAZY, ("path_upcall",)).empty


def test_the_floor_is_that_of_plain_against_itself(synthetic):
    quiet, loud = (
        probes.floor(pd.DataFrame(synthetic.lazy.rows(np.random.default_rng(1), rounds=6, noise=noise)))
        for noise in (0.01, 0.05)
    )
    assert 1.01 < quiet.factor < 1.03
    assert loud.factor > 1.07
    assert quiet.over(5).factor < quiet.factor
    few = probes.floor(pd.DataFrame(synthetic.lazy.quick(np.random.default_rng(1), rounds=1)))
    assert not few.measured


def test_frames_without_probes_say_nothing(paper):
    for frame in (
        pd.DataFrame(),
        paper.iloc[:0],
        paper[paper["chapter"] == "accept"].dropna(axis=1, how="all"),
    ):
        assert probes.trials(frame, "cost").empty
        assert probes.cell(frame, "held", laziness.COLD).empty
        assert not probes.floor(frame).measured
        assert laziness.noticed(frame).empty
        assert laziness.issued(frame).empty
        assert all(part.empty for part in laziness.notifications(frame))
        assert laziness.server_costs(frame) == {}
        assert holds.matrix(frame) == {}


def test_a_call_blocks_where_the_plain_one_does_on_this_machine(trials):
    names = {call for call, _ in laziness.blocking(trials, laziness.LAZY)}
    assert names == set(laziness.MAY_BLOCK)
    assert laziness.CACHED not in names
    fast = trials.assign(plain_p50_ns=20_000.0)
    assert laziness.blocking(fast, laziness.LAZY) == []


def test_what_needs_root_is_not_held_against_an_engine(trials):
    mine = (trials["design"] == laziness.LAZY) & (trials["experiment"] == "held")
    for why, share in (("needs --drop-caches", 1.0), ("no such call", 16 / 18)):
        frame = trials.copy()
        lacking = mine & frame["operation"].isin(["stat"])
        frame.loc[lacking, ["valid", "status", "reason"]] = [False, "unavailable", f"unsupported: {why}"]
        assert laziness.issued(frame).tolist() == pytest.approx([share] * 4)


# ------------------------------------------------------------------------------------------------- matrix


@pytest.mark.parametrize(
    ("hold", "word", "text"),
    [
        (Hold(5, 90, 300, 5000), "never", "90.0\u202fµs\nworst 300\u202fµs"),
        (Hold(5, 400, 3000, 5000), "seldom", "400\u202fµs\nworst 3,000\u202fµs"),
        (Hold(150, 400, 20_000, 5000), "mostly", "400\u202fµs\nworst 20.0\u202fms"),
        (Hold(5, 80, 80, 50), "never", "80.0\u202fµs\nworst of 50"),
        (Hold(why="no such\ncall"), "absent", "no such\ncall"),
    ],
)
def test_a_cell_says_its_tail_and_its_worst(hold, word, text):
    assert hold.word == word
    assert hold.text() == text


def test_the_matrix_has_every_cell_that_was_tried(trials):
    found = holds.matrix(trials)
    assert len(found) == len(laziness.MATRIX) * len(laziness.SERIES)
    assert found[laziness.COLD, "linux-aio"].word == "seldom"
    assert found[("fsync", "dirty"), "plain"].word == "mostly"
    assert found[("stat", "cold"), "posix-aio"].why == "needs\nroot"
    assert found[("open", "warm"), "nowait"].why == "no such\ncall"
    assert found[("fsync", "dirty"), "activation"].word == "never"
    assert found[("fsync", "dirty"), "activation"].samples == 4000


def test_rounds_are_pooled_before_the_tail_is_read(trials):
    """One call in four thousand is beyond the 99.9th percentile, though it is a round's worst."""
    frame = trials.copy()
    one = frame.index[(frame["experiment"] == "held") & (frame["design"] == "plain") & (frame["round"] == 0)]
    one = one[(frame.loc[one, "operation"] == "read") & (frame.loc[one, "state"] == "cached")]
    frame.loc[one, "held_histogram"] = json.dumps([[2000, 999], [9_000_000, 1]])
    frame.loc[one, "held_max_ns"] = 9e6
    cell = holds.matrix(frame)[laziness.CACHED, "plain"]
    assert cell.word == "never"
    assert cell.worst_us == 9000


# ------------------------------------------------------------------------------------------------ summary


def leaves(value):
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in leaves(inner)]
    return [leaf for inner in value for leaf in leaves(inner)] if isinstance(value, list) else [value]


def names(value, path=""):
    if isinstance(value, dict):
        return {p for name, inner in value.items() for p in names(inner, f"{path}.{name}")}
    return {path}


def test_the_chapter_s_values_have_the_same_names_whatever_was_measured(trials, quick, paper):
    whole = summary.lazy_values(trials, {"disk": {"file_system": "ext4", "device": "vda", "warning": ""}})
    assert whole["disk"] == "ext4 on vda"
    for frame in (quick, paper[paper["chapter"] != "lazy"], trials.iloc[:0], pd.DataFrame()):
        values = summary.lazy_values(frame, {})
        assert names(values) == names(whole)
        assert all(isinstance(leaf, str | bool) for leaf in leaves(values))
        assert "nan" not in " ".join(str(leaf).lower() for leaf in leaves(values)).split()
    assert not summary.lazy_values(trials.iloc[:0], {})["measured"]


def test_who_is_held_is_said_in_words(trials):
    values = summary.lazy_values(trials, {})["matrix"]
    assert values["of"]["activation"]["mostly"] == "in none of its 18 calls"
    assert values["of"]["linux_aio"]["mostly"] == "in 1 of its 6 calls (fsync)"
    assert values["of"]["plain"]["mostly"].startswith(
        "in 9 of its 18 calls (write with O_DIRECT, fsync, cold open"
    )
    assert "cold readdir" in values["of"]["uring"]["lacks"]
    assert "connect to a full listener" in values["blocking"]


def test_a_warning_about_the_disk_is_printed():
    facts = {"disk": {"file_system": "tmpfs", "device": None, "warning": "its files are memory"}}
    assert summary.lazy_values(pd.DataFrame(), facts)["disk"] == "tmpfs (its files are memory)"
