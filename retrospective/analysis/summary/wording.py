"""How the chapters' numbers read, and what stands where there is none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from retrospective.analysis.formatting import fmt_ratio_interval
from retrospective.analysis.statistics import Effect, mean_interval

if TYPE_CHECKING:
    import pandas as pd

Values = dict[str, Any]
UNMEASURED = "not measured"


def ratio(found: Effect) -> str:
    """``value [low, high]`` of an effect."""
    return fmt_ratio_interval(found.value, found.low, found.high) if found.n else UNMEASURED


def mean(values: pd.Series | Iterable[float]) -> float:
    """Arithmetic mean of finite values (NaN if there is none)."""
    return mean_interval(values)[0]


def listed(names: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *most, last = list(names) or [""]
    return f"{', '.join(most)} and {last}" if most else last
