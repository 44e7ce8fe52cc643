"""The numbers of the text: what is asked of them is that they read right, measured or not."""

import numpy as np
import pandas as pd
import pytest

from retrospective.analysis import summary
from retrospective.analysis.figures import Site
from retrospective.analysis.statistics import ratio_interval
from retrospective.analysis.summary import beyond, lazy_servers, peers


def trial(**row):
    return {
        "chapter": "accept", "kind": "trial", "valid": True, "machine": "m", "charge": "receiver", "design": "select",
        "label": "", "workload": "one-packet", "accept_limit": "", "target_per_s": 1.0, "x_ratio": np.nan, "round": 0,
        "attempted_per_s": 100.0, "timed_out_per_s": 0.0,
    } | row  # fmt: skip


@pytest.mark.parametrize(
    ("signs", "said"),
    [
        ([], "neither gains nor loses"),
        ([(8, 0), (32, 0)], "neither gains nor loses"),
        ([(8, -1), (32, -1), (128, 0), (512, 1)], "loses up to 32 clients and gains from 512 on"),
        ([(8, 1), (32, -1), (128, 1)], "gains up to 8 clients and loses from 32 on, and turns again beyond"),
        ([(8, 0), (32, 1), (512, 1)], "gains at 32 and 512 clients and nowhere loses"),
    ],
)
def test_the_turn_of_a_gain_in_words(signs, said):
    assert said in beyond.turn(signs)


def test_a_sign_needs_an_interval_that_leaves_one():
    assert beyond.sign(ratio_interval([1.2, 1.21, 1.19])) == 1
    assert beyond.sign(ratio_interval([0.8, 0.81, 0.79])) == -1
    assert beyond.sign(ratio_interval([0.8, 1.3, 1.0])) == 0
    assert beyond.sign(ratio_interval([1.4])) == 0


def test_concurrency_names_the_best_limit_and_the_turn():
    served = {8: {"1": 100, "4": 95, "inf": 80}, 512: {"1": 100, "4": 120, "inf": 130}}
    frame = pd.DataFrame(
        trial(
            experiment="concurrency", design="epoll", clients=clients, accept_limit=limit, label=f"{clients} {limit}",
            round=number, replies_per_s=rate * (1 + 0.01 * number),
        )
        for clients, limits in served.items() for limit, rate in limits.items() for number in range(3)
    )  # fmt: skip
    found = beyond.concurrency_values(frame)
    assert found["limits"] == ["4", "Inf"]
    few, many = found["designs"][0]["rows"]
    assert (few["best"], many["best"]) == ("1", "Inf")
    assert few["gains"][1].startswith("0.80")
    assert found["designs"][0]["signs"] == "loses up to 8 clients and gains from 512 on"


def test_sensitivity_compares_limits_at_each_value():
    frame = pd.DataFrame(
        trial(
            experiment="sensitivity-work", work_us=work, accept_limit=limit, label=f"{work} {limit}", round=number,
            replies_per_s=rate, accepts_per_s=rate, getevents_per_s=rate / turns, accepts_per_phase=turns,
            getevents_us=10.0, accept_us=5.0, work_us_per_item=20.0 + work, work_items_per_phase=turns,
            queue_drops_per_s=0.0,
        )
        for work in (0, 160) for limit, rate, turns in (("1", 20_000.0, 1.0), ("inf", 30_000.0, 10.0))
        for number in range(2)
    )  # fmt: skip
    found = beyond.sensitivity_values(frame)
    bare, burdened = found["work"]["rows"]
    assert (bare["value"], burdened["value"]) == ("0", "160")
    assert bare["gain"].startswith("1.50")
    # (10 + 25) / (1 + 25) and (10 + 185) / (1 + 185)
    assert bare["predicted"].startswith("1.35")
    assert burdened["predicted"].startswith("1.05")
    assert not found["backlog"]["measured"]


def test_fairness_puts_reuseport_over_the_shared_listener():
    p99 = {"shared": 10_000.0, "exclusive": 20_000.0, "reuseport": 100_000.0}
    frame = pd.DataFrame(
        trial(
            experiment="fairness", label=label, workload=workload, round=number, latency_p50_us=100.0,
            latency_p99_us=tail if workload == "mixed" else 500.0, latency_p999_us=tail, latency_mean_us=100.0,
            worker_accept_share_max=0.5, worker_cpu_share_max=0.6, options='{"slow-us": 20000}',
            latency_histogram="[]",
        )
        for label, tail in p99.items() for workload in ("one-packet", "mixed") for number in range(3)
    )  # fmt: skip
    found = beyond.fairness_values(frame)
    assert [row["label"] for row in found["rows"]] == ["shared", "exclusive", "reuseport"]
    assert found["rows"][2]["mixed_p99_ms"] == "100"
    assert found["rows"][2]["fast_p99_ms"] == "0.500"
    assert found["rows"][0]["cpu_share"] == "60\u202f%"
    assert found["rows"][0]["held_up"] == "—"
    assert found["reuseport_over_shared"].startswith("10.0")
    assert found["reuseport_over_exclusive"].startswith("5.00")


def test_peers_name_the_cheapest_of_the_others():
    costs = {
        "floor": 10.0,
        "select": 12.0,
        "nginx, sendfile on": 16.0,
        "nginx, sendfile off": 15.0,
        "h2o": 14.0,
    }
    frame = pd.DataFrame(
        trial(
            experiment="peers", label=label, design=label.split(",")[0], round=number, server_cpu_us_per_reply=cost,
            replies_per_s=1.0, server_user_us_per_reply=cost / 4, server_system_us_per_reply=3 * cost / 4,
            system_calls_per_reply=2.1 if label in ("floor", "select") else None,
        )
        for label, cost in costs.items() for number in range(2)
    )  # fmt: skip
    found = peers.peer_values(frame)
    assert [row["name"] for row in found["rows"]][:3] == ["floor", "select", "h2o"]
    assert found["best_other"] == "h2o"
    assert found["nginx"] == "nginx, sendfile off"
    assert found["select_over_best"].startswith("0.86")
    assert found["nginx_system_share"] == "75\u202f%"
    assert found["rows"][0]["calls"] == "2.10"
    assert found["rows"][2]["calls"] == "—"


def test_rows_recorded_before_a_column_existed_have_a_dash(paper, facts):
    columns = [c for c in ("system_calls_per_reply", "server_user_us_per_reply") if c in paper]
    values = summary.site_values(Site("old", paper.drop(columns=columns), facts))
    assert values["accept"]["one_packet"]["select"]["receiver"]["limits"]["limit_1"]["calls"] == "—"
    assert values["peers"]["rows"][0]["user_us"] == "—"
    assert values["peers"]["epoll_system_share"] == "not measured"


def test_what_was_not_measured_says_so(facts):
    frame = pd.DataFrame([trial(experiment="aa", kind="aa", chapter="machine")])
    assert beyond.sensitivity_values(frame)["work"] == beyond.sensitivity_values(frame)["defer"]
    assert not beyond.concurrency_values(frame)["measured"]
    assert not beyond.fairness_values(frame)["measured"]
    assert peers.peer_values(frame)["select_over_best"] == "not measured"


@pytest.fixture(scope="module")
def on_traces(synthetic):
    return pd.DataFrame(synthetic.lazy.trace_rows(np.random.default_rng(1), 4, 0.003))


def test_servers_on_traces_are_told_by_case(on_traces):
    found = lazy_servers.server_on_trace_values(on_traces)
    assert found["measured"]
    assert found["lacks"] == "nothing"
    assert [case["name"] for case in found["cases"]][1] == "Rice-like, 2004-like disk"
    case = found["cases"][1]
    assert (case["clients"], case["rounds"], case["best"]) == ("256", "4", "threads")
    assert case["over_plain"].startswith(("1.47", "1.48"))
    told = {row["server"]: row for row in case["servers"]}
    assert (told["NB-B"]["turns"], told["NB-LAIO"]["turns"], told["threads"]["turns"]) == ("40.0", "0", "—")
    assert {row["server"]: row["paths"] for row in case["paths"]}["NB-LAIO"] == (
        "80\u202f% ordinary calls and 20\u202f% blocked, continued"
    )
    assert {row["within"] for row in found["fits"]["rows"] if row["server"] == "NB-LAIO"} == {"yes"}
    assert {row["within"] for row in found["fits"]["rows"] if row["server"] == "NB-pool"} == {"no"}


def test_what_a_machine_lacks_for_traces_is_said_once(on_traces, synthetic):
    rows = synthetic.lazy.trace_rows(np.random.default_rng(1), 2)
    lost = pd.DataFrame(synthetic.lazy.unavailable(rows, "no-disk: there is no loop device"))
    found = lazy_servers.server_on_trace_values(lost)
    assert not found["measured"]
    assert found["why"] == found["lacks"] == "no-disk: there is no loop device"
    late = on_traces.assign(valid=False, status="invalid", reason="generator-late: 40 %")
    assert lazy_servers.server_on_trace_values(late)["lacks"] == "nothing"  # the machine lacks nothing
    nothing = lazy_servers.server_on_trace_values(pd.DataFrame())
    assert nothing["why"] == "this profile has no valid trials of it"
