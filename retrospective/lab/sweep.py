"""From a plan to rows: run what the journal lacks, and go on where an interrupted sweep stopped."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

import servers
from retrospective.lab.journal import Journal
from retrospective.lab.peers import PEERS
from retrospective.lab.plan import Plan
from retrospective.lab.provenance import machine_id
from retrospective.lab.session import UNAVAILABLE
from retrospective.lab.stacks import absent

if TYPE_CHECKING:
    import pandas as pd

    from retrospective.lab.exchange import Exchange
    from retrospective.lab.probe import Probe
    from retrospective.lab.trial import Trial

Row = dict[str, Any]
#: Runs one trial, ``run(trial, round=…, attempt=…)``, and returns its row whatever became of it.
Run = Callable[..., Row]

#: What disturbed a trial is often gone a minute later; what fails twice is the trial's own doing.
ATTEMPTS = 2
#: Without a calibration there is no plan, so it is worth more patience.
CALIBRATION_ATTEMPTS = 3


@dataclass
class Summary:
    """What a sweep did: attempts run, trials found in the journal, trials whose last row is not valid."""

    ran: int = 0
    skipped: int = 0
    failed: int = 0
    invalid: int = 0


def keys() -> Callable[[Trial | Probe | Exchange, int], str]:
    """Return what names a trial of a round on this machine, kernel and binary; each binary is hashed once."""

    @functools.cache
    def binary_hash(program: str) -> str:
        if program not in PEERS and absent(program):
            return ""  # and the row will say so
        return servers.binary_hash(PEERS[program].path() if program in PEERS else servers.binary(program))

    def hashes(trial: Trial | Probe | Exchange) -> str:
        return " ".join(map(binary_hash, getattr(trial, "all_programs", (trial.program,))))

    machine, kernel = machine_id(), os.uname().release
    return lambda trial, number: trial.key(hashes(trial), machine, kernel, number)


def run_sweep(plan: Plan, journal: Journal, run: Run, progress: bool = True) -> Summary:
    """Run every trial of ``plan`` that ``journal`` lacks, round by round, each row stored as it is made.

    A trial without a valid row is tried once more at the end of its round, unless it told of something that this
    machine does not have; both rows stay. What ``run`` raises, and an interrupt, pass through: the journal is whole at
    any moment, and the same call goes on.
    """
    key = keys()
    rounds = [{key(trial, number): trial for trial in plan.round(number)} for number in range(plan.rounds)]
    if len(rounds[0]) < len(plan.trials):
        raise ValueError("two trials of the plan are the same: tell them apart by their labels")
    attempts = Counter(row["key"] for row in journal.rows)
    missing = sum(not attempts[k] for trials in rounds for k in trials)
    summary = Summary(skipped=sum(map(len, rounds)) - missing)

    with tqdm(total=missing, unit="trial", smoothing=0, disable=not (progress and missing)) as bar:
        for number, trials in enumerate(rounds):
            for last_attempt in range(1, ATTEMPTS + 1):
                due = {
                    k: trial
                    for k, trial in trials.items()
                    if attempts[k] < last_attempt and not _settled(journal.get(k))
                }
                for together in _together(due):
                    for k, trial in together.items():
                        bar.set_description(f"round {number + 1}/{plan.rounds}, {trial.label}")
                        attempts[k] += 1
                    bar.total = max(bar.total, bar.n + len(together))  # second attempts were not foreseen
                    place = {k: {"round": number, "attempt": attempts[k]} for k in together}
                    for k, row in _rows(run, together, place):
                        journal.append(row | {"key": k} | place[k])
                        summary.ran += 1
                        bar.update()

    status = Counter(journal.get(k)["status"] for trials in rounds for k in trials)
    summary.failed, summary.invalid = status["failed"], status["invalid"]
    return summary


def calibrated(journal: Journal, trial: Trial, run: Run) -> Row:
    """Return a valid row of a trial that a plan depends on: the journal's, or one measured and stored now.

    Of what this machine does not have it is the row that says so. Raises ``RuntimeError`` if no attempt of this call
    comes out valid.
    """
    key = keys()(trial, 0)
    row = journal.get(key)
    before = sum(r["key"] == key for r in journal.rows)
    for attempt in range(before + 1, before + 1 + CALIBRATION_ATTEMPTS):
        if _settled(row):
            return row
        row = _record(journal, run, trial, {"key": key, "round": 0, "attempt": attempt})
    if _settled(row):
        return row
    raise RuntimeError(
        f"cannot find the peak of {trial.label} ({trial.workload}, {trial.charge} pays): none of "
        f"{CALIBRATION_ATTEMPTS} trials was valid, the last was {row['status']}: {row['reason']}. "
        "Let nothing else run on this machine and run the same command again"
    )


def complete_rounds(frame: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Return the last row of each trial of ``plan``, of the rounds in which every trial that takes part has one.

    Keys hold machine, kernel and binary: rows of another machine, or of a server since changed, stay out.
    """
    key = keys()
    rounds = {key(trial, number): number for number, trial in plan.ordered()}
    rows = frame[frame["key"].isin(list(rounds))].drop_duplicates("key", keep="last")
    number = rows["key"].map(rounds)
    whole = number.map(number.value_counts()) == number.map(Counter(rounds.values()))
    return rows[whole].reset_index(drop=True)


def _at_a_time(trial: Trial | Probe | Exchange) -> int:
    return getattr(trial, "at_a_time", 1)


def _together(due: Mapping[str, Trial | Probe | Exchange]) -> Iterator[dict[str, Trial | Probe | Exchange]]:
    """Trials by how many may run at a time: each for itself in their order, then those that mostly wait."""
    for k, trial in due.items():
        if _at_a_time(trial) == 1:
            yield {k: trial}
    for number in sorted({_at_a_time(trial) for trial in due.values()} - {1}):
        yield {k: trial for k, trial in due.items() if _at_a_time(trial) == number}


def _rows(
    run: Run, together: Mapping[str, Trial | Probe | Exchange], place: Mapping[str, Row]
) -> Iterator[tuple[str, Row]]:
    """Run trials, as many at a time as they say; each row as it is made.

    An interrupt lets those that run come to their end, and begins no others.
    """
    number = max(map(_at_a_time, together.values()))
    if number == 1:
        for k, trial in together.items():
            yield k, run(trial, **place[k])
        return
    with ThreadPoolExecutor(number) as pool:
        running = {pool.submit(run, trial, **place[k]): k for k, trial in together.items()}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _valid(row: Row | None) -> bool:
    return row is not None and bool(row["valid"])


def _settled(row: Row | None) -> bool:
    return _valid(row) or (row is not None and row["status"] == UNAVAILABLE)


def _record(journal: Journal, run: Run, trial: Trial, name: Row) -> Row:
    return journal.append(run(trial, round=name["round"], attempt=name["attempt"]) | name)
