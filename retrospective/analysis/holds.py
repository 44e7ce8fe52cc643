"""Who is held, for how long: what the matrix of interfaces and calls is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from retrospective.analysis import laziness, probes
from retrospective.analysis.formatting import fmt_integer, fmt_us


@dataclass(frozen=True)
class Hold:
    """How long one interface holds its caller in one call, µs; ``why`` instead where there is no such thing."""

    p50_us: float = np.nan
    tail_us: float = np.nan
    worst_us: float = np.nan
    samples: int = 0
    why: str = ""

    @property
    def word(self) -> str:
        """Whether it holds its caller beyond the bound: "never" (at p99.9), "seldom", "mostly", or it is "absent"."""
        if not self.samples:
            return "absent"
        if self.tail_us <= probes.HELD_BOUND_US:
            return "never"
        return "seldom" if self.p50_us <= probes.HELD_BOUND_US else "mostly"

    def text(self) -> str:
        """Two short lines: the 99.9th percentile and the worst, or the worst of how many."""
        if not self.samples:
            return self.why
        if self.samples < probes.TAIL_SAMPLES:
            return f"{fmt_us(self.worst_us)}\nworst of {fmt_integer(self.samples)}"
        return f"{fmt_us(self.tail_us)}\nworst {fmt_us(self.worst_us)}"


def short_reason(reason: str) -> str:
    """Two words for a cell without a number."""
    if "drop-caches" in reason:
        return "needs\nroot"
    if reason.startswith("unsupported"):
        return "no such\ncall"
    if reason.startswith("refused"):
        return "not on\nthis machine"
    return "no valid\ntrial" if reason else ""


def matrix(frame: pd.DataFrame) -> dict[tuple[probes.Call, str], Hold]:
    """Every (call, series) that was tried, in the order of the matrix's rows."""
    reasons = probes.missing(frame, "held")
    found = {
        ((operation, state), series): Hold(why=short_reason(why))
        for (series, operation, state), why in reasons.items()
    }
    tried = probes.trials(frame, "held")
    keys = ["operation", "state", "design"]
    for (operation, state, series), part in tried.groupby(keys) if len(tried) else ():
        histogram = probes.pooled(part["held_histogram"])
        worst_us = float(part["held_max_ns"].astype(float).max()) / 1e3
        found[(operation, state), series] = Hold(
            probes.quantile(histogram, 0.5) / 1e3,
            min(probes.quantile(histogram, 0.999) / 1e3, worst_us),
            worst_us,
            sum(count for _, count in histogram),
        )
    order = {call: number for number, call in enumerate(laziness.MATRIX)}
    return dict(sorted(found.items(), key=lambda item: (order.get(item[0][0], len(order)), item[0])))
