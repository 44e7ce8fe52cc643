"""What 2004 did not vary: queue, patience, work, concurrency, and two workers at one port."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from retrospective.analysis import rows
from retrospective.analysis.evidence import effect, with_derived
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


@dataclass(frozen=True)
class Setting:
    """One knob that the sensitivity experiments turn: its experiment, column and how its value reads."""

    experiment: str
    column: str
    text: Callable[[float], str] = fmt_integer


#: Name in the templates -> the knob.
SETTINGS = {
    "backlog": Setting("sensitivity-backlog", "backlog"),
    "timeout": Setting("sensitivity-timeout", "timeout_ms"),
    "defer": Setting("sensitivity-defer", "defer_accept_s"),
    "work": Setting("sensitivity-work", "work_us"),
}


def sensitivity_values(frame: pd.DataFrame) -> Values:
    """Gain of Inf over 1 on select, one-packet, at each value of each knob."""
    return {name: _setting(frame, setting) for name, setting in SETTINGS.items()}


def _setting(frame: pd.DataFrame, setting: Setting) -> Values:
    trials = rows.valid(frame, chapter="accept", experiment=setting.experiment)
    if trials.empty or setting.column not in trials:
        return {"measured": False, "rows": [], "smallest": UNMEASURED, "largest": UNMEASURED}
    found = [_at_value(part, setting.text(float(value))) for value, part in trials.groupby(setting.column)]
    return {
        "measured": True,
        "rows": found,
        "smallest": found[0]["gain"],
        "largest": found[-1]["gain"],
    }


def _at_value(trials: pd.DataFrame, value: str) -> Values:
    trials = with_derived(trials)

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
        return f"{names[known[0][1]]} at {where} clients, and at no other number the opposite"
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
    trials = rows.valid(frame, chapter="accept", experiment="fairness")
    found = []
    for label, name in SHARINGS.items():
        own = trials[trials["label"] == label] if len(trials) else trials
        if own.empty:
            continue
        fast, mixed = (own[own["workload"] == workload] for workload in ("one-packet", "mixed"))
        found.append(
            {
                "label": label,
                "name": name,
                "fast_p99_ms": _milliseconds(fast, "latency_p99_us"),
                "mixed_p50_ms": _milliseconds(mixed, "latency_p50_us"),
                "mixed_p99_ms": _milliseconds(mixed, "latency_p99_us"),
                "accept_share": _share(mixed, "worker_accept_share_max"),
                "cpu_share": _share(mixed, "worker_cpu_share_max"),
                "timed_out": _timed_out(mixed),
            }
        )
    table = rows.paired(trials[trials["workload"] == "mixed"], "latency_p99_us", by="label") if found else {}
    against = {
        name: ratio(effect(table["reuseport"] / table[name]))
        if {"reuseport", name} <= set(table)
        else UNMEASURED
        for name in ("shared", "exclusive")
    }
    return {
        "measured": bool(found),
        "rows": found,
        "reuseport_over_shared": against["shared"],
        "reuseport_over_exclusive": against["exclusive"],
    }


def _milliseconds(trials: pd.DataFrame, column: str) -> str:
    return fmt_number(mean(trials[column]) * 1e-3) if len(trials) else MISSING


def _share(trials: pd.DataFrame, column: str) -> str:
    """Mean share of the busiest worker; a dash where there is but one."""
    known = trials[column].dropna() if column in trials else trials
    return fmt_percent(mean(known.astype(float))) if len(known) else MISSING


def _timed_out(trials: pd.DataFrame) -> str:
    if trials.empty:
        return MISSING
    lost = trials["timed_out_per_s"] / trials["attempted_per_s"].where(trials["attempted_per_s"] > 0)
    return fmt_percent(mean(lost))
