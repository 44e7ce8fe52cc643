"""What is read out of the user-level stack's trials: pairs of a kind, costs by whose they are, places of incast."""

import json

import numpy as np
import pandas as pd
import pytest

from retrospective.analysis import rows, userstack
from retrospective.analysis.figures import FIGURES, Site, show
from retrospective.analysis.statistics import ratio_interval
from retrospective.analysis.summary.userstack import userstack_values
from retrospective.analysis.userstack import LIVE, MODEL, Point, Series

OURS, LWIP, LOOPBACK = Series("ours"), Series("lwip"), Series("kernel", "loopback")


@pytest.fixture(scope="module")
def trials(synthetic):
    return pd.DataFrame(synthetic.userstack.rows(np.random.default_rng(1), rounds=4, noise=0.003))


def test_two_stacks_are_compared_at_the_same_seed(trials):
    """What luck a seed brings is alike for both; without pairing it would hide a tenth."""
    found = userstack.goodput(userstack.impaired(trials), "loss 5 %", "reno", "to_peer")
    assert list(found.index) == [(number, number + 1) for number in range(4)]
    assert found.mean() == pytest.approx(0.9, rel=0.01)
    assert ratio_interval(found).high < 0.95
    # Between kernels both ways are alike: one stands for both.
    assert userstack.goodput(
        userstack.impaired(trials), "loss 5 %", "reno", "from_peer"
    ).mean() == pytest.approx(0.9, rel=0.01)
    both = pd.concat(
        [trials, trials[trials["design"] == "kernel"].assign(direction="from_peer", goodput_bytes_per_s=1.0)]
    )
    assert userstack.goodput(userstack.impaired(both), "loss 5 %", "reno", "from_peer").mean() > 1e5
    shifted = trials.assign(seed=trials["seed"] + (trials["design"] == "ours"))
    assert userstack.goodput(userstack.impaired(shifted), "loss 5 %", "reno", "to_peer").empty
    assert userstack.goodput(userstack.impaired(trials), "loss 5 %", "vegas", "to_peer").empty


def test_a_transfer_that_brought_nothing_is_not_left_out_of_sight(trials):
    still = trials.copy()
    mine = (still["design"] == "ours") & (still["impairment"] == "mix") & (still["round"] == 0)
    still.loc[mine, "goodput_bytes_per_s"] = 0.0
    found = ratio_interval(userstack.goodput(userstack.impaired(still), "mix", "cubic", "to_peer"))
    assert (found.n, found.dropped) == (3, 1)
    failed = trials.assign(valid=trials["valid"] & ~mine)
    assert userstack.lost(failed, "mix", "ours") == 4
    assert userstack.lost(failed, "mix", "kernel") == userstack.lost(pd.DataFrame(), "mix", "ours") == 0
    again = pd.concat([failed, trials[mine].assign(attempt=2)])
    assert userstack.lost(again, "mix", "ours") == 0


def test_the_kernel_beside_ours_is_the_one_most_like_it(trials):
    found = userstack.trials(trials, "bulk")
    assert userstack.ours_and_kernel(found)[1] == Series("kernel", "veth (no offloads)")
    poor = found[~found["path"].isin(["veth", "veth (no offloads)"])]
    assert userstack.ours_and_kernel(poor)[1] == LOOPBACK
    assert userstack.bulk_ratios(trials).mean() == pytest.approx(1.138, rel=0.01)
    assert userstack.bulk_ratios(trials, 64).mean() > 3
    assert userstack.rtt_ratios(trials).mean() == pytest.approx(44 / 36, rel=0.01)
    assert userstack.connection_ratios(trials).mean() == pytest.approx(21 / 16, rel=0.01)


def test_a_peer_of_another_kind_is_another_series(trials):
    assert [one.name for one in userstack.series_in(userstack.trials(trials, "impaired"))] == [
        "kernel, switch",
        "ours ↔ kernel, switch",
    ]
    names = [one.name for one in userstack.series_in(userstack.trials(trials, "replies"))]
    assert names[0] == "kernel, loopback"
    assert names[-1] == "lwIP, switch"
    assert len(names) == 5


def test_cpu_of_a_reply_is_told_by_whose_it_is(trials):
    found = userstack.costs(userstack.trials(trials, "replies"))
    mine = userstack.of_series(found, OURS)
    assert mine["server_us"].mean() == pytest.approx(2.5, rel=0.01)
    assert mine["switch_us"].mean() == pytest.approx(2.0, rel=0.01)
    assert set(userstack.of_series(found, LOOPBACK)["switch_us"]) == {0.0}
    assert userstack.reply_ratios(trials, OURS, LWIP).mean() == pytest.approx(12 / 4.5, rel=0.01)
    bare = trials.drop(columns=["replies_per_cpu_s", "replies_per_cpu_s_whole"])
    for column in ("replies_per_cpu_s", "replies_per_cpu_s_whole"):
        derived = userstack.reply_ratios(bare, OURS, LOOPBACK, column)
        assert list(derived) == pytest.approx(list(userstack.reply_ratios(trials, OURS, LOOPBACK, column)))


def test_parts_of_a_reply_add_up_to_server_and_switch(trials):
    found = userstack.where_time_goes(trials)
    ours = found[found["series"] == "ours, switch"]
    assert ours.drop(columns=["series", "round"]).sum(axis="columns").mean() == pytest.approx(4.5, rel=0.01)
    assert ours["other"].mean() == pytest.approx(0.05 * 2.5, rel=0.01)
    broken = trials.assign(where=["" if number else json.dumps({}) for number in range(len(trials))])
    assert userstack.where_time_goes(broken).empty


def test_a_series_without_a_result_is_told_with_its_reason(trials):
    lost = trials["experiment"].eq("connections") & trials["design"].eq("lwip")
    broken = trials.assign(
        valid=trials["valid"] & ~lost,
        status=trials["status"].where(~lost, "failed"),
        reason=trials["reason"].where(~lost, "not-answering: 9 replies or connections failed"),
    )
    assert userstack.unanswered(trials, "connections") == []
    assert userstack.unanswered(broken, "connections") == [(Series("lwip"), "not-answering")]


def test_profiles_are_in_the_order_of_tables_and_lack_nothing_by_rounding(trials):
    found = userstack.where_time_goes(trials)
    names = [one.name for one in userstack.series_in(userstack.trials(trials, "where"))]
    assert list(dict.fromkeys(found["series"])) == names
    assert set(found.loc[found["series"].eq("kernel, loopback"), "other"]) == {0.0}


def test_incast_is_told_by_least_time_out_and_tick(trials):
    assert userstack.incast_points(trials)[0] == Point(200_000, 100)
    assert userstack.coarse_and_fine(trials) == (Point(200_000, 100), Point(1_000, 100))
    assert userstack.coarse_tick(trials) == (Point(1_000, 10_000), Point(1_000, 100))
    table = userstack.over_senders(trials, userstack.coarse_and_fine(trials))
    assert list(table.mean().round(1)) == [
        1.0,
        1.0,
        pytest.approx(19.1, rel=0.02),
        pytest.approx(6.7, rel=0.02),
    ]
    assert userstack.timeouts_grow(trials, Point(200_000, 100)).mean() == 9
    fine = trials[trials["min_rto_us"] != 200_000]
    assert userstack.coarse_and_fine(fine[fine["min_rto_us"] == 1_000]) is None


def test_incast_through_the_switch_is_told_beside_its_model(trials):
    coarse = Point(200_000, 100)
    assert userstack.incast_points(trials, LIVE) == userstack.incast_points(trials, MODEL)
    live, model = (userstack.completion(trials, coarse, world=world) for world in (LIVE, MODEL))
    assert (len(live), len(model), list(live)) == (6, 1, [4.0, 64.0])
    assert list(userstack.beside_model(trials, coarse).mean()) == pytest.approx([0.9, 0.9], rel=0.03)
    assert userstack.beside_model(trials, Point(7, 7)).empty
    told = userstack_values(trials)["live"]
    assert (told["senders"], told["rate"], told["queue"]) == ("64", "200 Mbit/s", "64 frames")
    assert (told["rows"][0]["timeouts_virtual"], len(told["rows"])) == ("15.0", 4)
    assert userstack_values(trials[trials["path"] != "virtual time"])["live"]["rows"] == []


def test_machines_are_never_pooled(trials):
    two = pd.concat([trials, trials.assign(machine="another", label="there")])
    with pytest.raises(ValueError, match="several machines"):
        userstack.bulk_ratios(two)


def test_the_floor_is_that_of_a_stack_beside_itself(synthetic):
    quiet, loud = (
        pd.DataFrame(synthetic.userstack.aa_rows(np.random.default_rng(1), 10, noise))
        for noise in (0.003, 0.05)
    )
    assert 1.002 < userstack.floor(quiet).factor < 1.02
    assert userstack.floor(loud).factor > 1.08
    assert not userstack.floor(pd.DataFrame()).measured


@pytest.mark.parametrize("frame", [pd.DataFrame(), rows.no_rows()], ids=["nothing", "no rows"])
def test_nothing_is_empty_and_never_an_error(frame):
    assert (
        userstack.impairments(userstack.impaired(frame))
        == userstack.write_sizes(frame)
        == userstack.incast_points(frame)
        == []
    )
    for values in (
        userstack.bulk_ratios(frame),
        userstack.rtt_ratios(frame),
        userstack.connection_ratios(frame),
        userstack.reply_ratios(frame, OURS, LWIP),
        userstack.crossings(frame, OURS),
        userstack.goodput(userstack.impaired(frame), "mix", "reno", "to_peer"),
        userstack.recovery(userstack.impaired(frame), "mix", "timeouts"),
        userstack.where_time_goes(frame),
    ):
        assert len(values) == 0
    told = userstack_values(frame)
    assert not told["measured"]
    assert told["bulk"]["over_kernel"] == told["replies"]["over"]["lwip"] == "not measured"


def names(value, path=""):
    if isinstance(value, dict):
        return {p for name, inner in value.items() for p in names(inner, f"{path}.{name}")}
    return {path}


def test_the_same_names_whatever_was_measured(trials):
    assert names(userstack_values(trials)) == names(userstack_values(rows.no_rows()))


def test_numbers_of_the_text_are_those_of_the_model(trials):
    told = userstack_values(trials)
    assert told["goodput"]["below"] == "none"
    mix = next(row for row in told["goodput"]["rows"] if row["cell"] == "mix")
    assert mix["reno"]["receives"].startswith("0.90 [")
    assert (mix["retransmitted_ours"], mix["lost"]) == ("11", "0 and 0")
    assert [row["part"] for row in told["where"]["rows"]][-1] == "switch"
    assert told["where"]["dearest"].startswith("switch, ")
    assert told["where"]["protocol"] == "25\u202f%"
    assert told["incast"]["senders"] == ["1 sender", "64 senders"]
    slow = trials.copy()
    mine = (slow["design"] == "ours") & (slow["impairment"] == "mix") & (slow["congestion"] == "reno")
    slow.loc[mine, "goodput_bytes_per_s"] *= 0.5
    assert (
        userstack_values(slow)["goodput"]["below"] == "mix (reno, ours sends) and mix (reno, ours receives)"
    )


@pytest.mark.parametrize("name", [name for name in FIGURES if name.startswith("userstack")])
def test_one_round_and_none_draw_or_say_why(name, trials):
    assert show(name, Site("here", trials[trials["round"] == 0], {})).axes
    assert "no valid trials" in show(name, Site("here", rows.no_rows(), {}))
    absent = trials.assign(valid=False, status="unavailable", reason="absent: there is no traffic-user")
    assert "(absent)" in show(name, Site("here", absent, {}))


def test_the_promise_is_drawn_in_the_forest(trials):
    figure = show("userstack_goodput", Site("here", trials, {}))
    for axes in figure.axes:
        assert any(list(line.get_xdata()) == [0.75, 0.75] for line in axes.lines)
    cells = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert cells[0] == "not impaired"
    assert cells[-1] == "mix"
