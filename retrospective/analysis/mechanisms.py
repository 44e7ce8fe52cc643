"""Mechanism checks: the counter of a supposed cause that must move with its effect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from retrospective.analysis import published, rows
from retrospective.analysis.evidence import Evidence, effect
from retrospective.analysis.formatting import fmt_ratio_interval
from retrospective.analysis.statistics import Effect


@dataclass(frozen=True)
class Cause:
    """A counter that must move with an effect: the ratio that has to be above 1."""

    name: str
    effect: Effect

    @property
    def moved(self) -> bool | None:
        """Whether it did; ``None`` where the trials do not say."""
        return bool(self.effect.low > 1) if self.effect.decided else None

    def text(self) -> str:
        """One phrase for the ledger."""
        found = fmt_ratio_interval(self.effect.value, self.effect.low, self.effect.high)
        state = {True: "moved with it", False: "did not move with it", None: "not measured"}[self.moved]
        return f"{self.name} {found}: {state}" if self.moved is not None else f"{self.name}: {state}"


Mechanism = Callable[[Evidence], Cause]


def getevents_share(workload: str) -> Mechanism:
    """Limit 1 pays more getevents calls a connection than Inf."""

    def cause(evidence: Evidence) -> Cause:
        ratios = evidence.matched(workload, "getevents_per_accept", "1", "inf")
        return Cause("getevents calls per accepted connection, 1 ÷ Inf", effect(ratios))

    return cause


def phase_size(workload: str, x: float | None = None) -> Mechanism:
    """Inf accepts more connections a phase than limit 1."""

    def cause(evidence: Evidence) -> Cause:
        ratios = evidence.matched(workload, "accepts_per_phase", "inf", "1", x)
        return Cause("connections per accept phase, Inf ÷ 1", effect(ratios))

    return cause


def accept_rate(workload: str) -> Mechanism:
    """Inf accepts more per second than limit 1."""

    def cause(evidence: Evidence) -> Cause:
        ratios = evidence.matched(workload, "accepts_per_s", "inf", "1")
        return Cause("accepts per second, Inf ÷ 1", effect(ratios))

    return cause


def queue_drops(workload: str) -> Mechanism:
    """Limit 1 drops more from the queues than Inf."""

    def cause(evidence: Evidence) -> Cause:
        ratios = evidence.matched(workload, "queue_drops_per_s", "1", "inf")
        return Cause("queue drops per second, 1 ÷ Inf", effect(ratios))

    return cause


def refused(workload: str) -> Mechanism:
    """Limit 1 leaves more connections unserved, and httperf's mean does not count those."""

    def cause(evidence: Evidence) -> Cause:
        trials = evidence.trials(workload)
        lost = trials.assign(unserved=(trials["attempted_per_s"] - trials["completed_per_s"]).clip(lower=0))
        x = published.overload(workload).last_x
        tables = rows.ratios(lost, "unserved", "1", "inf")
        nearest = min(tables.columns, key=lambda place: abs(np.log(float(place) / x)), default=None)
        ratios = tables[nearest] if nearest is not None else pd.Series(dtype=float)
        return Cause("connections left out of httperf's mean, 1 ÷ Inf", effect(ratios))

    return cause
