"""Mechanism checks: the counter of a supposed cause that must move with its effect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from retrospective.analysis import rows
from retrospective.analysis.evidence import Evidence, effect
from retrospective.analysis.formatting import fmt_limit, fmt_ratio_interval
from retrospective.analysis.statistics import Effect


@dataclass(frozen=True)
class Cause:
    """A counter that must move with an effect: the ratio that has to be above 1; ``beside`` adds what explains it."""

    name: str
    effect: Effect
    beside: str = ""

    @property
    def moved(self) -> bool | None:
        """Whether it did; ``None`` where the trials do not say."""
        return bool(self.effect.low > 1) if self.effect.decided else None

    def text(self) -> str:
        """One phrase for the ledger."""
        found = fmt_ratio_interval(self.effect.value, self.effect.low, self.effect.high)
        state = {True: "moved with it", False: "did not move with it", None: "not measured"}[self.moved]
        told = f"{self.name} {found}: {state}" if self.moved is not None else f"{self.name}: {state}"
        return f"{told}; {self.beside}" if self.beside else told


Mechanism = Callable[[Evidence], Cause]


def getevents_share(workload: str) -> Mechanism:
    """Limit 1 pays more getevents calls a connection than Inf."""

    def cause(evidence: Evidence) -> Cause:
        ratios = evidence.matched(workload, "getevents_per_accept", "1", "inf")
        return Cause("getevents calls per accepted connection, 1 ÷ Inf", effect(ratios))

    return cause


def phase_size(workload: str, x: float | None = None, over: str = "inf", under: str = "1") -> Mechanism:
    """A higher limit accepts more connections a phase."""

    def cause(evidence: Evidence) -> Cause:
        ratios = evidence.matched(workload, "accepts_per_phase", over, under, x)
        return Cause(f"connections per accept phase, {fmt_limit(over)} ÷ {fmt_limit(under)}", effect(ratios))

    return cause


def phase_rate(workload: str) -> Mechanism:
    """Limit 1 goes through more accept phases a second than Inf."""

    def cause(evidence: Evidence) -> Cause:
        ratios = evidence.matched(workload, "phases_per_s", "1", "inf")
        return Cause("accept phases per second, 1 ÷ Inf", effect(ratios))

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
        x = evidence.old(workload).last_x
        tables = rows.ratios(lost, "unserved", "1", "inf")
        nearest = min(tables.columns, key=lambda place: abs(np.log(float(place) / x)), default=None)
        ratios = tables[nearest] if nearest is not None else pd.Series(dtype=float)
        return Cause("connections left out of httperf's mean, 1 ÷ Inf", effect(ratios))

    return cause


def system_calls(design: str, over: str, under: str, other: str = "") -> Mechanism:
    """``design`` at limit ``over`` makes more system calls a reply than (``other``) at ``under``."""

    def cause(evidence: Evidence) -> Cause:
        tables = [
            evidence.beside(name).table("one-packet", "system_calls_per_reply", limit)
            for name, limit in ((design, over), (other or design, under))
        ]
        past = [x for x in tables[0].columns if x in tables[1] and float(x) >= evidence.kind.gain_from]
        ratios = tables[0][max(past)] / tables[1][max(past)] if past else pd.Series(dtype=float)
        words = f"{design} at {fmt_limit(over)} ÷ {other} at {fmt_limit(under)}".replace("÷  at", "÷")
        return Cause(f"system calls per reply, {words}", effect(ratios))

    return cause
