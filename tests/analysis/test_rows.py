import json

import numpy as np
import pandas as pd
import pytest

from retrospective import paths
from retrospective.analysis import published, rows
from retrospective.analysis.evidence import Evidence, at, with_derived


def test_absent_reference_says_what_makes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "REFERENCE", tmp_path)
    with pytest.raises(rows.NoReferenceError, match="make reference"):
        rows.load_reference("accept")


def test_reference_comes_back_as_it_was_stored(tmp_path, monkeypatch, paper):
    monkeypatch.setattr(paths, "REFERENCE", tmp_path)
    paper.to_parquet(tmp_path / "accept.parquet", index=False)
    (tmp_path / "accept.provenance.json").write_text(json.dumps({"cpu": {"model": "x"}}))
    frame, facts = rows.load_reference("accept")
    assert len(frame) == len(paper)
    assert facts["cpu"]["model"] == "x"


def test_only_valid_trials_pass_and_the_last_attempt_wins(paper):
    found = rows.valid(paper)
    assert found["valid"].all()
    assert set(found["kind"]) == {"trial"}
    twice = found.head(1)
    again = twice.assign(attempt=2, replies_per_s=123.0)
    only = rows.valid(pd.concat([again, twice]))
    assert list(only["replies_per_s"]) == [123.0]


def test_empty_frames_are_no_error():
    assert rows.valid(pd.DataFrame()).empty
    assert rows.paired(pd.DataFrame(), "replies_per_s").empty


def test_pairs_stay_within_rounds():
    frame = pd.DataFrame(
        [
            {"round": r, "x_ratio": 2.0, "accept_limit": limit, "replies_per_s": v, "machine": "m"}
            for r, limit, v in (
                (0, "1", 10.0),
                (0, "inf", 20.0),
                (1, "1", 100.0),
                (1, "inf", 150.0),
                (2, "1", 5.0),
            )
        ]
    )
    table = rows.ratios(frame, "replies_per_s", "inf", "1")
    assert list(table[2.0].dropna()) == [2.0, 1.5]


def test_rounds_of_different_machines_are_never_pooled(paper):
    trials = rows.valid(paper, experiment="peers")
    both = pd.concat([trials, trials.assign(machine="another")])
    with pytest.raises(ValueError, match="several machines"):
        rows.paired(both, "replies_per_s", by="label")


def test_peak_is_what_x_is_a_ratio_to(paper):
    trials = rows.overload(paper, "one-packet", "select", "receiver")
    assert (trials["target_per_s"] / rows.peak(trials)).round(1).isin([0.7, 1.0, 1.4, 2.1]).all()


def test_reading_between_two_x_is_linear_in_logarithms():
    table = pd.DataFrame({1.0: [1.0, 2.0], 4.0: [4.0, 2.0]})
    assert list(at(table, 2.0)) == pytest.approx([2.0, 2.0])
    assert list(at(table, 1.0)) == [1.0, 2.0]
    assert list(at(table, 9.0)) == [4.0, 2.0]  # no extrapolation
    assert list(at(table, 0.1)) == [1.0, 2.0]
    assert len(at(pd.DataFrame(index=[0]), 2.0)) == 0


def test_where_one_side_has_no_value_the_nearer_one_is_read():
    table = pd.DataFrame({1.0: [np.nan, np.inf, 2.0], 1.4: [4.0, 3.0, 2.0]})
    assert list(at(table, 1.36)) == pytest.approx([4.0, 3.0, 2.0])
    assert list(at(table, 1.05).isna()) == [True, True, False]


def test_columns_and_designs_that_were_never_measured_are_empty(paper):
    trials = rows.valid(paper, experiment="peers").drop(columns="server_system_us_per_reply")
    assert rows.paired(trials, "server_system_us_per_reply", by="label").empty
    assert rows.paired(trials.assign(server_system_us_per_reply=None), "server_system_us_per_reply").empty
    assert len(Evidence(paper, "nobody", "receiver").gain("one-packet").ratios) == 0
    assert len(Evidence(paper, "nobody", "receiver").contrast("one-packet").ratios) == 0


def test_each_design_is_read_beside_its_kind(paper):
    """2004's sweeps end, and its gains are largest, at another place for each kind."""
    ends = {"select": 1.364, "drain-uring": 1.364, "user-threads": 2.1}
    for design, end in ends.items():
        assert Evidence(paper, design, "receiver").matched_x("one-packet") == pytest.approx(end, abs=1e-3)
    assert Evidence(paper, "drain", "receiver").kind is published.KINDS["tux"]
    assert Evidence(paper, "a newcomer", "receiver").kind is published.KINDS["userver"]


def test_the_largest_contrast_does_not_care_which_limit_is_the_better(paper):
    ours, theirs = (Evidence(paper, design, "receiver") for design in ("select", "drain-uring"))
    assert ours.contrast("one-packet").effect.value == pytest.approx(ours.gain("one-packet").effect.value)
    assert theirs.contrast("one-packet").effect.value == pytest.approx(theirs.gain("one-packet").effect.value)
    # three limits make six ordered pairs, at each x past saturation
    assert ours.contrast("one-packet").choices == 6 * ours.gain("one-packet").choices


def test_the_best_is_the_highest_peak_of_all_limits(paper):
    evidence = Evidence(paper, "select", "receiver")
    best = evidence.best("one-packet")
    peaks = [evidence.peak("one-packet", limit) for limit in ("1", "10", "inf")]
    assert best.ratios.mean() == max(peak.ratios.mean() for peak in peaks)
    assert best.choices == sum(peak.choices for peak in peaks)
    assert len(Evidence(paper, "select", "sender").best("one-packet").ratios) == 0  # one x shows no peak


def test_equation_one_adds_up():
    """One turn: getevents 10 µs, four accepts of 5 µs, four requests of 15 µs = 90 µs for four connections."""
    row = pd.DataFrame(
        [
            {
                "getevents_per_s": 1e6 / 90, "accepts_per_s": 4e6 / 90, "accepts_per_phase": 4.0, "getevents_us": 10.0,
                "accept_us": 5.0, "work_us_per_item": 15.0, "work_items_per_phase": 4.0,
            }
        ]
    )  # fmt: skip
    derived = with_derived(row).iloc[0]
    assert derived["accepts_per_turn"] == pytest.approx(4)
    assert derived["eq1_accepts_per_s"] == pytest.approx(4e6 / 90)
    assert derived["eq1_identity"] == pytest.approx(1)
    assert derived["getevents_cost"] == pytest.approx(2.5)
    assert derived["other_cost"] == pytest.approx(20)


def test_prediction_matches_a_server_that_obeys_equation_one(paper):
    """The sender pays: no softirq on the server, so the model server is Eq. 1 and nothing else."""
    unexplained = Evidence(paper, "select", "sender").unexplained("one-packet")
    assert np.allclose(np.log(unexplained[1.4]).mean(), 0, atol=0.05)


def test_published_numbers_are_those_of_the_paper():
    one, web = published.overload("one-packet"), published.overload("specweb99-like")
    assert one.peak == 21_994
    assert web.peak == 13_064
    assert one.last_x == pytest.approx(1.364, abs=0.001)
    # The text's "as much as" is the last point of the curves.
    assert one.gain().iloc[-1] == pytest.approx(published.GAIN["one-packet"], abs=0.01)
    assert web.gain().iloc[-1] == pytest.approx(published.GAIN["specweb99-like"], abs=0.01)
    assert one.drops["1"].iloc[-1] > one.drops["inf"].iloc[-1]
    assert set(published.curves(17).columns) >= {"1", "inf"}


@pytest.mark.parametrize(
    ("kind", "workload", "peak", "last_x"),
    [
        ("tux", "one-packet", 21_999, 1.364),
        ("tux", "specweb99-like", 13_576, 2.210),
        ("knot", "one-packet", 14_000, 2.143),
        ("knot", "specweb99-like", 9_063, 3.310),
    ],
)
def test_published_gains_of_the_other_kinds_are_those_of_the_abstract(kind, workload, peak, last_x):
    old = published.overload(workload, kind)
    assert old.peak == peak
    assert old.last_x == pytest.approx(last_x, abs=0.001)
    assert old.gain().max() == pytest.approx(published.GAINS[kind][workload], abs=0.01)
    assert tuple(old.replies) == tuple(sorted(published.KINDS[kind].limits[workload]))


def test_published_figures_keep_servers_apart():
    ours, theirs = published.curves(17), published.curves(17, "tux")
    assert set(ours) == set(theirs) == {"1", "inf"}
    assert theirs["inf"].iloc[-1] / theirs["1"].iloc[-1] == pytest.approx(1.27, abs=0.01)
    assert ours["inf"].iloc[-1] / ours["1"].iloc[-1] == pytest.approx(1.30, abs=0.01)
