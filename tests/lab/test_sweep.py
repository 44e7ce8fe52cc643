import io
import threading
import time
from contextlib import redirect_stderr
from dataclasses import dataclass, replace

import pytest

from retrospective.lab import sweep
from retrospective.lab.journal import Journal
from retrospective.lab.plan import Plan
from retrospective.lab.sweep import calibrated, complete_rounds, run_sweep
from retrospective.lab.trial import Trial

TRIAL = Trial(
    chapter="test",
    experiment="test",
    kind="trial",
    profile="smoke",
    design="epoll",
    options={"backlog": 128},
    workload="one-packet",
    load={"mode": "closed"},
    charge="receiver",
    x_ratio=None,
    label="a",
)
PLAN = Plan([replace(TRIAL, label=label) for label in "abcd"], rounds=3, seed=1)


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """Stand in for machine, kernel and built binaries: a dict whose entries a test may change."""
    here = {"binary": "b", "machine": "m", "kernel": "k"}
    monkeypatch.setattr(
        sweep, "keys", lambda: lambda t, n: t.key(here["binary"], here["machine"], here["kernel"], n)
    )
    return here


class Lab:
    """A ``run`` that remembers its calls and answers as told: by label, the status of each attempt."""

    def __init__(self, stop_after=None, **statuses):
        self.calls, self.statuses, self.stop_after = [], statuses, stop_after

    def __call__(self, trial, *, attempt, **place):
        if len(self.calls) == self.stop_after:
            raise KeyboardInterrupt
        self.calls.append((place["round"], trial.label, attempt))
        status = self.statuses.get(trial.label, [])[attempt - 1 : attempt] or ["ok"]
        return {"valid": status == ["ok"], "status": status[0], "reason": "", "label": trial.label}


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "j") as opened:
        yield opened


def test_a_sweep_runs_the_plan_in_its_order_and_a_second_one_nothing(journal):
    lab = Lab()
    summary = run_sweep(PLAN, journal, lab, progress=False)
    assert [(n, label) for n, label, _ in lab.calls] == [(n, t.label) for n, t in PLAN.ordered()]
    assert (summary.ran, summary.skipped, summary.failed, summary.invalid) == (12, 0, 0, 0)
    again = Lab()
    assert run_sweep(PLAN, journal, again, progress=False).skipped == 12
    assert again.calls == []
    assert len({row["key"] for row in journal.rows}) == 12


@pytest.mark.parametrize("stop", range(13))
def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path, stop):
    first, second = Lab(stop_after=stop), Lab()
    with Journal(tmp_path / "j") as journal:
        if stop < 12:
            with pytest.raises(KeyboardInterrupt):
                run_sweep(PLAN, journal, first, progress=False)
        else:
            run_sweep(PLAN, journal, first, progress=False)
    with Journal(tmp_path / "j") as journal:
        assert len(journal.rows) == stop
        assert run_sweep(PLAN, journal, second, progress=False).ran == 12 - stop
        calls = [(number, label) for number, label, _ in first.calls + second.calls]
        assert calls == [(number, t.label) for number, t in PLAN.ordered()]


def test_what_is_not_valid_is_tried_once_more_at_the_end_of_its_round(journal):
    lab = Lab(a=["invalid"], b=["failed", "invalid"], c=["invalid", "failed"])
    summary = run_sweep(PLAN, journal, lab, progress=False)
    assert (summary.ran, summary.failed, summary.invalid) == (12 + 9, 3, 3)
    for number in range(3):
        calls = [(label, attempt) for n, label, attempt in lab.calls if n == number]
        order = [t.label for t in PLAN.round(number)]
        assert calls == [(x, 1) for x in order] + [(x, 2) for x in order if x != "d"]
    assert [row["attempt"] for row in journal.rows if row["label"] == "a"] == [1, 2] * 3, "both rows stay"
    assert run_sweep(PLAN, journal, lab, progress=False).ran == 0, "and not a third time"


def test_a_second_attempt_that_was_interrupted_is_made_up_for(journal):
    with pytest.raises(KeyboardInterrupt):
        run_sweep(PLAN, journal, Lab(stop_after=4, a=["invalid"]), progress=False)
    lab = Lab(a=["invalid"])
    run_sweep(PLAN, journal, lab, progress=False)
    assert lab.calls[0] == (0, "a", 2)


def test_an_error_of_the_lab_itself_passes_through_and_keeps_the_rows(journal):
    def run(trial, **place):
        if place["round"] == 1:
            raise RuntimeError("no lab")
        return {"valid": True, "status": "ok", "reason": ""}

    with pytest.raises(RuntimeError, match="no lab"):
        run_sweep(PLAN, journal, run, progress=False)
    assert len(journal.rows) == 4


def test_two_equal_trials_are_refused(journal):
    with pytest.raises(ValueError, match="the same"):
        run_sweep(Plan([TRIAL, TRIAL], rounds=1, seed=1), journal, Lab(), progress=False)


def test_progress_tells_the_round_and_what_remains(journal):
    with redirect_stderr(io.StringIO()) as shown:
        run_sweep(PLAN, journal, Lab(a=["invalid"]), progress=True)
    assert "round 3/3" in shown.getvalue()
    assert "15/15" in shown.getvalue()
    with redirect_stderr(io.StringIO()) as shown:
        run_sweep(PLAN, journal, Lab(), progress=True)
    assert shown.getvalue() == ""


def test_only_complete_rounds_and_each_trial_s_last_attempt(journal):
    with pytest.raises(KeyboardInterrupt):
        run_sweep(PLAN, journal, Lab(stop_after=7, a=["invalid"]), progress=False)
    rows = complete_rounds(journal.to_frame(), PLAN)
    assert rows["round"].tolist() == [0] * 4
    assert sorted(rows["label"]) == list("abcd")
    assert rows.set_index("label").loc["a", "attempt"] == 2
    run_sweep(PLAN, journal, Lab(), progress=False)
    assert len(complete_rounds(journal.to_frame(), PLAN)) == 12
    fewer = Plan(PLAN.trials[:2], rounds=2, seed=5)
    assert len(complete_rounds(journal.to_frame(), fewer)) == 4, "a smaller plan takes its own rows only"
    larger = Plan([*PLAN.trials, replace(TRIAL, label="new")], rounds=3, seed=1)
    assert complete_rounds(journal.to_frame(), larger).empty


def test_a_round_is_whole_with_those_that_take_part_in_it(journal):
    plan = replace(PLAN, rounds_of=(3, 1, 1, 3))
    assert run_sweep(plan, journal, Lab(), progress=False).ran == 4 + 2 + 2
    again = run_sweep(plan, journal, Lab(), progress=False)
    assert (again.ran, again.skipped) == (0, 8)
    rows = complete_rounds(journal.to_frame(), plan)
    assert sorted(zip(rows["round"], rows["label"], strict=True)) == sorted(
        (number, trial.label) for number, trial in plan.ordered()
    )
    assert set(complete_rounds(journal.to_frame(), PLAN)["round"]) == {0}, (
        "of all trials only the first is whole"
    )


@pytest.mark.parametrize("what", ["machine", "kernel", "binary"])
def test_rounds_of_different_machines_are_never_pooled(journal, machine, what):
    run_sweep(PLAN, journal, Lab(), progress=False)
    machine[what] = "another"
    assert complete_rounds(journal.to_frame(), PLAN).empty
    assert run_sweep(PLAN, journal, Lab(), progress=False).ran == 12
    assert len(journal.rows) == 24
    assert len(complete_rounds(journal.to_frame(), PLAN)) == 12


def test_an_empty_journal_has_no_complete_round(journal):
    assert complete_rounds(journal.to_frame(), PLAN).empty


def test_a_calibration_is_measured_once(journal):
    lab = Lab()
    row = calibrated(journal, TRIAL, lab)
    assert calibrated(journal, TRIAL, lab) == row
    assert len(lab.calls) == 1
    assert calibrated(journal, replace(TRIAL, kind="calibration"), lab)["key"] != row["key"]


def test_a_calibration_is_tried_a_bounded_number_of_times_and_anew_by_the_next_sweep(journal):
    lab = Lab(a=["invalid", "failed", "invalid", "invalid"])
    with pytest.raises(RuntimeError, match=r"cannot find the peak of a .*3 trials.*same command again"):
        calibrated(journal, TRIAL, lab)
    assert [attempt for *_, attempt in lab.calls] == [1, 2, 3]
    assert calibrated(journal, TRIAL, lab)["attempt"] == 5


@dataclass(frozen=True)
class Waiting:
    """What mostly waits: several at a time."""

    label: str
    at_a_time: int
    program: str = "epoll"

    def key(self, *identity):
        return f"{self.label} {identity[-1]}"

    def seconds(self):
        return 1.0


def test_those_that_wait_run_at_a_time_and_the_others_alone(journal):
    plan = Plan([*(Waiting(x, 3) for x in "abc"), Waiting("d", 1), Waiting("e", 1)], rounds=2, seed=1)
    running, most, lock = set(), {}, threading.Lock()
    together = threading.Barrier(3, timeout=5)

    def run(trial, **place):
        with lock:
            running.add(trial.label)
            most[trial.label] = max(most.get(trial.label, 0), len(running))
        if trial.at_a_time > 1:
            together.wait()  # only if all three are here
        with lock:
            running.discard(trial.label)
        return {"valid": True, "status": "ok", "reason": "", "label": trial.label}

    assert run_sweep(plan, journal, run, progress=False).ran == 10
    assert (most["d"], most["e"]) == (1, 1)
    assert sorted(row["label"] for row in journal.rows) == sorted("abcde" * 2)
    assert run_sweep(plan, journal, run, progress=False).ran == 0


def test_what_one_of_several_raises_passes_through_and_the_rows_before_it_stay(journal):
    plan = Plan([Waiting(x, 2) for x in "abcd"], rounds=1, seed=1)
    first = threading.Event()

    def run(trial, **place):
        if not first.is_set():
            first.set()
            return {"valid": True, "status": "ok", "reason": "", "label": trial.label}
        time.sleep(0.05)
        raise ValueError("cannot be")

    with pytest.raises(ValueError, match="cannot be"):
        run_sweep(plan, journal, run, progress=False)
    assert len(journal.rows) == 1
