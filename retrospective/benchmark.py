"""What a benchmark is, and the few ways in which several are measured: in turn, as paired ratios."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from retrospective.analysis import statistics
from retrospective.experiments.runner import run_one
from retrospective.lab.probe import Probe
from retrospective.lab.trial import Row, Trial

ROUNDS = 7


@dataclass(frozen=True)
class Measured:
    """A value with its interval; NaN and a note if it could not be measured here."""

    value: float
    low: float = math.nan
    high: float = math.nan
    note: str = ""


@dataclass(frozen=True)
class Benchmark:
    """What is measured, how, and the bound it must keep: ``at_most`` and/or ``at_least``."""

    id: str
    measures: str
    run: Callable[[], Measured]
    at_most: float | None = None
    at_least: float | None = None
    long: bool = False

    @property
    def bound_text(self) -> str:
        """The bound as people write it."""
        parts = [
            f"≥ {text(self.at_least)}" if self.at_least is not None else "",
            f"≤ {text(self.at_most)}" if self.at_most is not None else "",
        ]
        return " and ".join(filter(None, parts))

    def holds(self, value: float) -> bool | None:
        """Whether a value keeps the bound; ``None`` if there is no value, or no bound."""
        if math.isnan(value) or not self.bound_text:
            return None
        return (self.at_most is None or value <= self.at_most) and (
            self.at_least is None or value >= self.at_least
        )


def text(value: float | None) -> str:
    """Three significant digits, thousands separated."""
    if value is None or math.isnan(value):
        return "—"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


# ------------------------------------------------------------------------------------- trials, interleaved


def interleaved(trials: Mapping[str, Trial | Probe], rounds: int = ROUNDS) -> dict[str, list[Row]]:
    """Run trials in turn, ``rounds`` times; a row a round for each name, empty where a trial was not valid."""
    rows: dict[str, list[Row]] = {name: [] for name in trials}
    with tqdm(total=rounds * len(trials), unit="trial", leave=False) as bar:
        for number in range(rounds):
            for name, trial in trials.items():
                bar.set_description(name)
                row = run_one(trial, round=number)
                if not row["valid"]:
                    row = run_one(trial, round=number)
                rows[name].append(row if row["valid"] else {})
                bar.update()
    return rows


def ratio(numerator: Sequence[float], denominator: Sequence[float], note: str = "") -> Measured:
    """Paired ratio with its 95 % t-interval of log-ratios; NaN if fewer than two rounds have both."""
    effect = statistics.ratio_interval(a / b for a, b in zip(numerator, denominator, strict=True))
    if not effect.decided:
        return Measured(math.nan, note=f"only {effect.n} of {len(numerator)} rounds valid. {note}".strip())
    return Measured(effect.value, effect.low, effect.high, note)


def mean(values: Sequence[float]) -> float:
    """Mean of the values that are there."""
    there = [v for v in values if not math.isnan(v)]
    return sum(there) / len(there) if there else math.nan
