"""Every claim about the user-level stack on planted effects: shown, reversed, absent, and without its cause."""

import numpy as np
import pandas as pd
import pytest
from planting import judge_of, scaled

from retrospective import paths
from retrospective.analysis import conformance, userstack
from retrospective.analysis.claims import claims, ledger
from retrospective.analysis.claims.lazy import NOBODY

CLAIMS = {claim.id: claim for claim in claims(userstack.CHAPTER)}
judged = judge_of(CLAIMS.values())
SCRIPTS = "script,ours,kernel,ours_explanation,kernel_explanation,ours_said,kernel_said\n"


@pytest.fixture(scope="module")
def trials(synthetic):
    """The model's rows, with so little noise that ten rounds decide; of the cells some."""
    return pd.DataFrame(
        synthetic.userstack.rows(
            np.random.default_rng(1), noise=0.003, cells=("loss 0.1 %", "loss 5 %", "mix")
        )
    )


@pytest.fixture
def scripts(monkeypatch, tmp_path):
    """Record what became of scripts: how many pass on ours, on the kernel, of how many."""
    monkeypatch.setattr(paths, "REFERENCE", tmp_path)
    words = {True: "passes", False: "fails"}

    def record(ours, kernel, count=40):
        lines = [f"s{i}.pkt,{words[i < ours]},{words[i < kernel]},because,,,line 7\n" for i in range(count)]
        (tmp_path / "conformance.csv").write_text(SCRIPTS + "".join(lines))

    return record


def ours(factor, column, experiment, **where):
    return scaled(factor, column, experiment=experiment, design="ours", kind="trial", **where)


def no_faster(frame):
    """A small least time-out that changes nothing."""
    incast = frame["experiment"] == "incast"
    coarse = frame[incast & (frame["min_rto_us"] == 200_000)].set_index(["round", "senders"])["completion_ms"]
    fine = incast & (frame["min_rto_us"] == 1000) & (frame["tick_us"] == 100)
    places = pd.MultiIndex.from_frame(frame.loc[fine, ["round", "senders"]])
    noise = np.exp(np.random.default_rng(4).normal(0, 0.003, int(fine.sum())))
    frame.loc[fine, "completion_ms"] = coarse.loc[places].to_numpy() * noise


LOSSY = {"impairment": "loss 5 %", "congestion": "reno"}
FINE = {"experiment": "incast", "min_rto_us": 1000, "tick_us": 100}

LIVE = {"experiment": "incast-live", "path": "switch"}

#: claim -> verdict on the model as it is, then [what to change, the verdict that must follow]
CASES = {
    "E1": (
        "analog agrees",
        [
            (ours(0.8, "goodput_bytes_per_s", "bulk"), "reversed"),
            (ours(1.5, "rtt_p50_us", "rtt"), "reversed"),
            (ours(0.5, "connections_per_s", "connections"), "reversed"),
            (ours(0.9, "goodput_bytes_per_s", "bulk", write_bytes=65536), "analog agrees"),
        ],
    ),
    "U-goodput-reno": (
        "reproduced",
        [
            (ours(0.5, "goodput_bytes_per_s", "impaired", direction="to_peer", **LOSSY), "reversed"),
            (ours(0.5, "goodput_bytes_per_s", "impaired", direction="from_peer", **LOSSY), "reversed"),
            (
                ours(0.5, "goodput_bytes_per_s", "impaired", impairment="mix", congestion="cubic"),
                "reproduced",
            ),
        ],
    ),
    "U-goodput-cubic": (
        "reproduced",
        [(ours(0.5, "goodput_bytes_per_s", "impaired", impairment="mix", congestion="cubic"), "reversed")],
    ),
    "U-lwip": (
        "reproduced",
        [
            (scaled(2.0, "replies_per_cpu_s", experiment="replies", design="lwip"), "reversed"),
            (ours(0.5, "replies_per_cpu_s_whole", "replies"), "reproduced"),
        ],
    ),
    "U-lwip-asleep": (
        "reproduced",
        [
            (scaled(2.0, "replies_per_cpu_s", experiment="replies-asleep", design="lwip"), "reversed"),
            (scaled(2.0, "replies_per_cpu_s", experiment="replies", design="lwip"), "reproduced"),
        ],
    ),
    "U-loopback": (
        "reproduced",
        [
            (ours(0.5, "replies_per_cpu_s_whole", "replies"), "reversed"),
            (scaled(4.0, "replies_per_cpu_s_whole", experiment="replies", path="veth"), "reproduced"),
        ],
    ),
    "U-incast": (
        "reproduced",
        [
            (no_faster, "vanished"),
            (scaled(40.0, "completion_ms", **FINE), "reversed"),
        ],
    ),
    "U-incast-live": (
        "reproduced",
        [
            (scaled(0.1, "completion_ms", **LIVE, min_rto_us=200_000), "reversed"),
            (scaled(30.0, "completion_ms", experiment="incast-live", path="virtual time"), "reproduced"),
        ],
    ),
    "U-incast-model": (
        "reproduced",
        [
            (scaled(2.0, "completion_ms", **LIVE, min_rto_us=1000, tick_us=10_000), "reversed"),
            (scaled(0.5, "completion_ms", **LIVE, min_rto_us=200_000), "reversed"),
            (scaled(3.0, "completion_ms", **LIVE, senders=4), "reproduced"),
        ],
    ),
    "U-incast-tick": (
        "reproduced",
        [(scaled(0.2, "completion_ms", experiment="incast", min_rto_us=1000, tick_us=10_000), "reversed")],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_planted_effect_is_found(name, trials):
    shown, changes = CASES[name]
    assert judged(trials, name)["verdict"] == shown
    for change, word in changes:
        frame = trials.copy()
        change(frame)
        assert judged(frame, name)["verdict"] == word


def test_every_claim_is_planted_or_says_why_it_cannot_be(trials):
    for name in set(CLAIMS) - set(CASES) - {"U-conformance"}:
        found = judged(trials, name)
        assert found["verdict"] == "not testable here"
        assert found["why"] == CLAIMS[name].untestable != ""


@pytest.mark.parametrize(
    ("ours", "kernel", "word"),
    [
        (40, 40, "reproduced"),
        (36, 36, "reproduced"),
        (35, 30, "reversed"),
        (36, 37, "reversed"),
        (39, 20, "reproduced"),
        (0, 30, "reversed"),
    ],
)
def test_scripts_are_counted_and_not_drawn_from_a_hat(ours, kernel, word, scripts, trials):
    scripts(ours, kernel)
    found = judged(trials, "U-conformance")
    assert found["verdict"] == word
    assert found["low"] == found["value"] == found["high"]


def test_scripts_that_were_not_run_decide_nothing(scripts, trials, tmp_path):
    assert judged(trials, "U-conformance")["verdict"] == "not testable here"
    (tmp_path / "conformance.csv").write_text(
        SCRIPTS + "a.pkt,passes,not run,,,,\nb.pkt,passes,not run,,,,\nc.pkt,not run,not run,,,,\n"
    )
    (tmp_path / "list.csv").write_text("script,eligible,reason\na.pkt,yes,\nd.pkt,no,Linux only\n")
    found = conformance.load(listed=tmp_path / "list.csv")
    assert (len(found.scripts), list(found.excluded), found.share) == (2, ["Linux only"], 1.0)
    assert not found.kernel_ran
    assert found.unlike().empty
    assert judged(trials, "U-conformance")["verdict"] == "reproduced"


def test_a_failure_is_told_with_its_reason_or_packetdrills_words(scripts):
    scripts(39, 38)
    assert list(conformance.load().unlike()["note"]) == ["Linux: line 7", "ours: because; Linux: line 7"]


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("E1", "crossings_per_reply"),
        ("U-loopback", "crossings_per_reply"),
        ("U-goodput-reno", "retransmitted"),
        ("U-goodput-cubic", "retransmitted"),
        ("U-incast", "timeouts"),
        ("U-incast-tick", "timeouts"),
        ("U-incast-live", "timeouts"),
        ("U-incast-model", "timeouts"),
    ],
)
def test_an_effect_whose_cause_did_not_move_is_undecided(name, column, trials):
    constant = 0.0 if column == "retransmitted" else 10.0
    found = judged(trials.assign(**{column: constant}), name)
    assert found["verdict"] == "undecided"
    assert found["mechanism_holds"] is False
    assert "did not move" in found["why"]


def test_lwip_is_beaten_in_the_server_or_not_explained(trials):
    frame = trials.copy()
    lwip, mine = (
        (frame["design"] == stack) & (frame["experiment"] == "replies") for stack in ("lwip", "ours")
    )
    lwip, mine = (side & (frame["kind"] == "trial") for side in (lwip, mine))
    # The same totals, but now it is the switch that differs.
    for column in ("server_cpu_s", "replies_per_s"):
        frame.loc[lwip, column] = frame.loc[mine, column].to_numpy()
    found = judged(frame, "U-lwip")
    assert (found["verdict"], found["mechanism_holds"]) == ("undecided", False)
    assert "the switch's" in found["mechanism"]


def test_a_gain_is_held_against_the_floor_of_the_chapter(trials):
    frame = trials.copy()
    rows = frame["kind"] == "aa"
    frame.loc[rows, "replies_per_cpu_s"] = np.exp(np.random.default_rng(3).normal(0, 30.0, int(rows.sum())))
    found = judged(frame, "U-incast")
    assert found["verdict"] == "undecided"
    assert "detection floor" in found["why"]


def test_words_about_stacks_depend_on_no_other_chapter(trials):
    listed = [*CLAIMS.values()]
    noise = trials.assign(chapter="timers", goodput_bytes_per_s=1.0, label="of another chapter")
    whole = {claim["id"]: claim for claim in ledger(pd.concat([trials, noise], ignore_index=True), listed)}
    for claim in ledger(trials, listed):
        assert claim["verdict"] == whole[claim["id"]]["verdict"] != "depends on who pays"
        assert set(claim["modes"]) <= set(NOBODY)


def test_what_was_not_measured_is_not_testable(trials, quick, scripts):
    for frame in (trials.iloc[:0], pd.DataFrame()):
        assert {claim["verdict"] for claim in ledger(frame, [*CLAIMS.values()])} == {"not testable here"}
    found = {claim["id"]: claim["verdict"] for claim in ledger(quick, [*CLAIMS.values()])}
    assert found["U-goodput-reno"] == found["U-incast-tick"] == "not testable here"
    assert found["U-goodput-cubic"] != "not testable here"
    without = trials[trials["design"] != "lwip"]
    assert judged(without, "U-lwip")["verdict"] == "not testable here"
    assert judged(without, "U-loopback")["verdict"] == "reproduced"


def test_failed_trials_are_no_results(trials):
    lost = trials.assign(valid=False, status="failed", reason="wrong: at byte 7")
    assert {c["verdict"] for c in ledger(lost, [CLAIMS[name] for name in CASES])} == {"not testable here"}


def test_one_round_has_values_but_decides_nothing(trials):
    drawn = [
        CLAIMS[name] for name in CASES if name not in ("U-incast", "U-incast-tick")
    ]  # in virtual time once is enough
    for claim in ledger(trials[trials["round"] == 0], drawn):
        assert claim["value"] is not None
        assert (claim["low"], claim["verdict"]) == (None, "undecided")
