"""What 2004 did not vary: queue, patience, work, concurrency, and two workers at one port."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from retrospective.analysis import comparisons, rows
from retrospective.analysis.evidence import effect
from retrospective.analysis.formatting import (
    MISSING,
    fmt_integer,
    fmt_limit,
    fmt_number,
    fmt_percent,
)
from retrospective.analysis.statistics import Effect
from retrospective.analysis.summary.wording import UNMEASURED, Values, listed, mean, ratio

if TYPE_CHECKING:
    import pandas as pd

ENDS = ("1", "inf")


def sensitivity_values(frame: pd.DataFrame) -> Values:
    """Gain of Inf over 1 on select, one-packet, at each value of what the sensitivity experiments vary."""
    return {name: _sensitivity(frame, name) for name in comparisons.SENSITIVITIES}


def _sensitivity(frame: pd.DataFrame, name: str) -> Values:
    trials = comparisons.sensitivity(frame, name)
    found = [_at_value(part, fmt_integer(float(value))) for value, part in trials.groupby("level")]
    return {"measured": bool(found), "rows": found}


def _sign(trials: pd.DataFrame) -> str:
    """Whether Inf serves "more" or "less" than 1 with its whole interval, or "neither"."""
    replies = rows.paired(trials, "replies_per_s")
    if not {*ENDS} <= set(replies.columns):
        return "neither"
    gain = effect(replies["inf"] / replies["1"])
    return (
        "less" if gain.decided and gain.high < 1 else "more" if gain.decided and gain.low > 1 else "neither"
    )


def _at_value(trials: pd.DataFrame, value: str) -> Values:
    def table(column: str) -> pd.DataFrame:
        return rows.paired(trials, column)

    def level(column: str, limit: str) -> str:
        part = trials[trials["accept_limit"] == limit]
        return fmt_number(mean(part[column])) if len(part) else MISSING

    cost, other = table("getevents_cost"), table("other_cost")
    measured = {*ENDS} <= set(cost.columns)
    predicted = (cost["1"] + other["inf"]) / (cost["inf"] + other["inf"]) if measured else None
    overhead = cost["1"] / (cost["1"] + other["1"]) if measured else None
    return {
        "value": value,
        "gain": _gain(table("replies_per_s")),
        "sign": _sign(trials),
        "accepts_gain": _gain(table("accepts_per_s")),
        "predicted": ratio(effect(predicted)) if predicted is not None else UNMEASURED,
        "getevents_share": fmt_percent(mean(overhead)) if overhead is not None else UNMEASURED,
        **{f"replies_{limit}": level("replies_per_s", limit) for limit in ("1", "10", "inf")},
        **{f"drops_{limit}": level("queue_drops_per_s", limit) for limit in ("1", "10", "inf")},
    }


def _gain(table: pd.DataFrame, over: str = "inf", under: str = "1") -> str:
    return ratio(effect(table[over] / table[under])) if {over, under} <= set(table) else UNMEASURED


# ------------------------------------------------------------------------------------------ concurrency


def concurrency_values(frame: pd.DataFrame) -> Values:
    """Limits against limit 1 in closed loop, by the number of clients: where the best lies, where the sign flips."""
    trials = rows.valid(frame, chapter="accept", experiment="concurrency")
    designs = [
        _concurrency(design, part) for design, part in (trials.groupby("design") if len(trials) else ())
    ]
    return {"measured": bool(designs), "designs": designs, "limits": _swept(trials)}


def _swept(trials: pd.DataFrame) -> list[str]:
    """Limits of the sweep beyond 1, smallest first, as the text writes them."""
    if trials.empty:
        return []
    return [fmt_limit(limit) for limit in sorted(set(trials["accept_limit"]) - {"1"}, key=float)]


def _concurrency(design: str, trials: pd.DataFrame) -> Values:
    found: list[Values] = []
    signs: list[tuple[int, int]] = []
    limits = sorted(set(trials["accept_limit"]), key=float)
    for clients, part in trials.groupby("clients"):
        table = rows.paired(part, "replies_per_s")
        gains = {
            limit: effect(table[limit] / table["1"])
            for limit in limits
            if limit != "1" and {"1", limit} <= set(table)
        }
        best = max(table.columns, key=lambda limit, table=table: float(table[limit].mean()))
        if "inf" in gains:
            signs.append((int(clients), sign(gains["inf"])))
        found.append(
            {
                "clients": fmt_integer(int(clients)),
                "replies_1": fmt_number(mean(table["1"])) if "1" in table else UNMEASURED,
                "gains": [
                    ratio(gains[limit]) if limit in gains else UNMEASURED for limit in limits if limit != "1"
                ],
                "best": fmt_limit(best),
            }
        )
    return {"name": design, "rows": found, "signs": turn(signs)}


def sign(found: Effect) -> int:
    """+1 or -1 where the interval leaves 1 on one side, else 0."""
    return int(np.sign(found.value - 1)) if found.decided and (found.low > 1 or found.high < 1) else 0


def turn(signs: list[tuple[int, int]]) -> str:
    """Say in words how the sign of a gain goes with the number of clients."""
    known = [(clients, value) for clients, value in signs if value]
    if not known:
        return "neither gains nor loses at any number of clients"
    names = {1: "gains", -1: "loses"}
    if len({value for _, value in known}) == 1:
        where = listed(str(clients) for clients, _ in known)
        return f"{names[known[0][1]]} at {where} clients and nowhere {names[-known[0][1]]}"
    changes = [(low, high) for low, high in pairwise(known) if low[1] != high[1]]
    (before, was), (after, becomes) = changes[0]
    often = ", and turns again beyond" if len(changes) > 1 else ""
    return f"{names[was]} up to {before} clients and {names[becomes]} from {after} on{often}"


# --------------------------------------------------------------------------------------------- fairness

#: label of a fairness trial -> how the text names it, in the order of its table
SHARINGS = {
    "one process": "one process, epoll",
    "shared": "two workers, shared listener",
    "exclusive": "two workers, shared listener, EPOLLEXCLUSIVE",
    "reuseport": "two workers, SO_REUSEPORT",
    "kernel threads": "kernel threads",
    "user threads": "user-level threads",
}


def fairness_values(frame: pd.DataFrame) -> Values:
    """Tails and balance of two workers on one processor, with and without requests that sleep."""
    fast, mixed = (comparisons.fairness(frame, workload) for workload in ("one-packet", "mixed"))
    found = []
    for label, name in SHARINGS.items():
        own, slowed = (
            trials[trials["label"] == label] if len(trials) else trials for trials in (fast, mixed)
        )
        if len(own) or len(slowed):
            found.append(
                {
                    "label": label,
                    "name": name,
                    "fast_p99_ms": fmt_number(_known(own, "latency_p99_us") * 1e-3),
                    "mixed_p50_ms": fmt_number(_known(slowed, "latency_p50_us") * 1e-3),
                    "mixed_p99_ms": fmt_number(_known(slowed, "latency_p99_us") * 1e-3),
                    "held_up": fmt_percent(_known(slowed, "held_up")),
                    "accept_share": fmt_percent(_known(slowed, "worker_accept_share_max")),
                    "cpu_share": fmt_percent(_known(slowed, "worker_cpu_share_max")),
                }
            )
    against = {
        other: ratio(effect(comparisons.fairness_ratios(frame, "latency_p99_us", "reuseport", other)))
        for other in ("shared", "exclusive")
    }
    return {
        "measured": bool(found),
        "rows": found,
        "reuseport_over_shared": against["shared"],
        "reuseport_over_exclusive": against["exclusive"],
    }


def _known(trials: pd.DataFrame, column: str) -> float:
    """Mean of a column; NaN, which reads as a dash, where it has no values: one worker has no share."""
    return mean(trials[column].astype(float)) if column in trials and len(trials) else np.nan
