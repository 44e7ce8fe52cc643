"""From an experiment to its rows: build, calibrate, plan, sweep, collect. One way for every chapter."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import servers
from retrospective import paths
from retrospective.lab.capabilities import capabilities
from retrospective.lab.exchange import Exchange, run_exchange
from retrospective.lab.journal import Journal
from retrospective.lab.plan import Plan
from retrospective.lab.probe import Probe, run_probe
from retrospective.lab.provenance import provenance
from retrospective.lab.sweep import calibrated, complete_rounds, run_sweep
from retrospective.lab.trial import Trial, run_trial

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]
Planned = Trial | Probe | Exchange
Rounds = list[tuple[Planned, int]]


@dataclass(frozen=True)
class Measurement:
    """What :func:`measure` needs of a chapter."""

    chapter: str
    profile: str
    planned: Callable[[Callable[[Trial], Row]], Plan]
    facts: Callable[[], dict[str, Any]] = dict


def journal_path(chapter: str, profile: str) -> Path:
    """Where a chapter's trials on this machine are kept."""
    return paths.BUILD / "journal" / f"{chapter}-{profile}.jsonl"


def provenance_path(chapter: str, profile: str) -> Path:
    """What was true of the machine when those trials were made."""
    return journal_path(chapter, profile).with_suffix(".provenance.json")


def run_one(trial: Planned, **place: Any) -> Row:
    """Run what a plan may hold: a trial of a server, of a program that measures by itself, or of two that talk TCP."""
    if isinstance(trial, Exchange):
        return run_exchange(trial, **place)
    return run_probe(trial, **place) if isinstance(trial, Probe) else run_trial(trial, **place)


def measure(measurement: Measurement, *, progress: bool = True) -> pd.DataFrame:
    """Run what the journal lacks of a measurement; return the rows of all complete rounds of *this* plan.

    Raises ``servers.BuildError``, ``LabUnavailable`` or ``JournalError``, each with what to do.
    """
    servers.build("release")
    with Journal(journal_path(measurement.chapter, measurement.profile)) as journal:
        plan = measurement.planned(lambda trial: calibrated(journal, trial, run_trial))
        summary = run_sweep(plan, journal, run=run_one, progress=progress)
        stored = provenance_path(measurement.chapter, measurement.profile)
        if summary.ran or not stored.exists():
            write_json(
                stored,
                provenance()
                | {"capabilities": capabilities(), "profile": measurement.profile}
                | measurement.facts(),
            )
        return complete_rounds(journal.to_frame(), plan)


def planned(
    experiments: Mapping[str, Callable[[Any], Iterable[tuple[Planned, int]]]], profile: Any
) -> Rounds:
    """What a profile has of some experiments, each once, beside in how many rounds it takes part.

    Raises ``ValueError`` if that is nothing.
    """
    rounds_of: dict[str, tuple[Planned, int]] = {}
    for experiment, found in experiments.items():
        if experiment in profile.experiments:
            for one, rounds in found(profile):
                rounds_of.setdefault(f"{experiment} {one.label}", (one, rounds))
    if not rounds_of:
        raise ValueError(
            "nothing is left to measure: check experiments and what was chosen of them, or take the profile paper"
        )
    return [*rounds_of.values()]


def write_json(path: Path, value: object) -> None:
    """Write JSON so that a reader sees the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(handle, "w") as file:
        json.dump(value, file, indent=1, sort_keys=True)
        file.write("\n")
    os.replace(temporary, path)
