"""What the probes of the lazy I/O chapter say: costs, holds, upcalls and paths, a value a round.

What was not measured is empty, never an error. Counters may be zero, and a share of zero has no logarithm, so shares
are Laplace's (k + 1) / (n + 2): never zero, never one, and off by a thousandth where a thousand calls were counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce

import numpy as np
import pandas as pd

from retrospective.analysis import rows
from retrospective.analysis.statistics import Floor, floor_of

CHAPTER = "lazy"
Call = tuple[str, str]  # operation, state ("" where there is none)

#: The size of a read that claims are judged at.
CLAIM_BYTES = 4096
#: How a call may have gone: on its own thread, after a question that was answered yes, or on without its caller.
AT_ONCE = ("path_inline", "path_hit")
WENT_ON = ("path_miss", "path_helper", "path_ring", "path_upcall", "path_timer")
PATHS = (*AT_ONCE, *WENT_ON, "path_held", "path_refused")

#: How long a call that is said not to block may hold its caller, µs: what an upcall may cost at its 99th percentile,
#: and far below the one disk access (some 10 ms) that an event-driven server of 2004 had to be kept from waiting for.
HELD_BOUND_US = 100.0
#: What an upcall may cost at its median, µs.
UPCALL_BOUND_US = 30.0
#: A call blocks here if the plain one holds its caller for longer than this at its median, µs: beyond what an upcall
#: may cost, so that there is something to win.
BLOCKS_US = UPCALL_BOUND_US
#: Fewer calls than this have no 99.9th percentile but their worst.
TAIL_SAMPLES = 1_000


def trials(frame: pd.DataFrame, experiment: str, **where: object) -> pd.DataFrame:
    """Valid probes of an experiment, narrowed by equality."""
    if frame.empty or "operation" not in frame or not set(where) <= set(frame):
        return frame.iloc[:0]
    return rows.valid(frame, chapter=CHAPTER, experiment=experiment, **where)


def cell(frame: pd.DataFrame, experiment: str, call: Call, size: int | None = None) -> pd.DataFrame:
    """Valid probes of one call, of every series; ``size`` in bytes where the call has one."""
    found = trials(frame, experiment, operation=call[0], state=call[1])
    return found if size is None or found.empty else found[found["bytes"].astype(float) == size]


def of(found: pd.DataFrame, column: str, series: str) -> pd.Series:
    """``column`` of one series, a value a round."""
    if found.empty or column not in found:
        return pd.Series(dtype=float)
    mine = found["design"].to_numpy(dtype=object) == series
    levels = found[column].to_numpy(dtype=float, na_value=np.nan)[mine]
    values = pd.Series(levels, index=found["round"].to_numpy(dtype=int)[mine])
    return values[~values.index.duplicated(keep="last")].dropna().sort_index()


def over(found: pd.DataFrame, column: str, series: str, under: str) -> pd.Series:
    """Ratio of ``column`` between two series, a value a round."""
    return (of(found, column, series) / of(found, column, under)).dropna()


def hold(found: pd.DataFrame, series: str, quantile: str = "p50") -> pd.Series:
    """How long the caller is held ÷ by the plain call in the same loop: a value a round."""
    ours, plain = (of(found, f"{what}_{quantile}_ns", series) for what in ("held", "plain"))
    return (ours / plain).dropna()


# -------------------------------------------------------------------------------------------------- paths


def counts(found: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """Sum of counters, a value a probe."""
    there = [found[name].astype(float).fillna(0.0) for name in columns if name in found]
    return reduce(lambda a, b: a + b, there, pd.Series(0.0, index=found.index))


def share(found: pd.DataFrame, series: str, columns: Sequence[str]) -> pd.Series:
    """Laplace's share of a series' calls that went these paths, a value a round."""
    mine = found[found["design"] == series] if len(found) else found
    if mine.empty:
        return pd.Series(dtype=float)
    of_these = counts(mine, columns).groupby(mine["round"]).sum()
    of_all = counts(mine, PATHS).groupby(mine["round"]).sum()
    return ((of_these + 1) / (of_all + 2))[of_all > 0]


def all_cells(frame: pd.DataFrame, experiment: str, calls: Iterable[Call]) -> pd.DataFrame:
    """Valid probes of several calls together."""
    parts = [part for call in calls if len(part := cell(frame, experiment, call))]
    return pd.concat(parts) if parts else frame.iloc[:0]


# -------------------------------------------------------------------------------------------- distributions


def pooled(histograms: Iterable[object]) -> list[tuple[float, int]]:
    """Stored histograms ([[upper bound, ns, count], …] as JSON) added up, by rising bound."""
    total: dict[float, int] = {}
    for text in histograms:
        stored = json.loads(text) if isinstance(text, str) and text else None
        for upper, count in stored or []:
            total[float(upper)] = total.get(float(upper), 0) + int(count)
    return sorted(total.items())


def quantile(histogram: Sequence[tuple[float, int]], q: float) -> float:
    """Upper bound, ns, of the bucket that the ``q``-quantile lies in (NaN of nothing)."""
    total = sum(count for _, count in histogram)
    seen = 0
    for upper, count in histogram:
        seen += count
        if seen >= q * total and count:
            return upper
    return float("nan")


# -------------------------------------------------------------------------------------------------- floor


def floor(frame: pd.DataFrame, **where: object) -> Floor:
    """What the chapter's lab sees between a plain call and itself: the series ``plain`` against the plain call.

    A ratio a round of each call and size; the factor is the 95th percentile of how far they are from 1, NaN below 20.
    Means are over consecutive rounds of one call and size, as in :func:`retrospective.analysis.statistics.aa_floor`.
    """
    found = trials(frame, "cost", design="plain", **where)
    if found.empty or "ratio_plain" not in found:
        return Floor(float("nan"), 0)
    keys = [name for name in ("operation", "state", "bytes") if name in found]
    logs = [
        np.log(one[np.isfinite(one) & (one > 0)].to_numpy())
        for _, part in found.sort_values("round").groupby(keys, dropna=False)
        if len(one := part["ratio_plain"].astype(float))
    ]
    return floor_of(logs)


def missing(frame: pd.DataFrame, experiment: str) -> Mapping[tuple[str, str, str], str]:
    """(series, operation, state) -> why it has no result: unsupported, refused, or the reason of a lost trial."""
    if frame.empty or "operation" not in frame:
        return {}
    lost = frame[(frame["chapter"] == CHAPTER) & (frame["experiment"] == experiment)]
    lost = lost[~lost["valid"].astype(bool)]
    # What there is no such thing of says more than an accident.
    lost = lost.iloc[(lost["status"] == "unavailable").argsort(kind="stable")]
    columns = (lost[name].astype(str) for name in ("design", "operation", "state", "reason"))
    return {(series, operation, state): why for series, operation, state, why in zip(*columns, strict=True)}
