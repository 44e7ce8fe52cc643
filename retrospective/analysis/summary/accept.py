"""The overload experiments: each design's curves, what becomes of them past saturation, and 2004's beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from retrospective.analysis import published, rows
from retrospective.analysis.evidence import SATURATED, Evidence, at, effect
from retrospective.analysis.formatting import (
    MISSING,
    fmt_gain,
    fmt_integer,
    fmt_limit,
    fmt_number,
    fmt_percent,
    fmt_ratio,
)
from retrospective.analysis.summary.wording import UNMEASURED, Values, mean, ratio

if TYPE_CHECKING:
    import pandas as pd

#: workload -> its name in the templates.
KEYS = {"one-packet": "one_packet", "specweb99-like": "specweb"}
LIMIT_KEYS = {limit: f"limit_{limit}" for limit in rows.LIMITS}

#: name in the templates -> (column, factor on it)
LIMIT_COLUMNS = {
    "replies": ("replies_per_s", 1.0),
    "drops": ("queue_drops_per_s", 1.0),
    "overflows": ("drop_overflow_per_s", 1.0),
    "syn_drops": ("drop_syn_per_s", 1.0),
    "softnet": ("drop_softnet_per_s", 1.0),
    "cpu_us": ("server_cpu_us_per_reply", 1.0),
    "accepts": ("accepts_per_s", 1.0),
    "getevents": ("getevents_per_s", 1.0),
    "accepts_per_phase": ("accepts_per_phase", 1.0),
    "work_items": ("work_items_per_phase", 1.0),
    "getevents_us": ("getevents_us", 1.0),
    "accept_us": ("accept_us", 1.0),
    "work_us": ("work_us_per_item", 1.0),
    "calls": ("system_calls_per_reply", 1.0),
    "batch": ("events_per_getevents", 1.0),
    "latency_httperf_ms": ("httperf_mean_us", 1e-3),
    "latency_ms": ("latency_p50_us", 1e-3),
    "latency_p99_ms": ("latency_p99_us", 1e-3),
}

CELL = (
    "peak",
    "rounds",
    "last_x",
    "last_target",
    "gain",
    "gain_percent",
    "gain_ratio",
    "gain_x",
    "gain_last",
    "best_limit",
    "accepts_ratio",
    "predicted_gain",
    "unexplained",
    "getevents_ratio",
    "work_ratio",
)


def accept_values(frame: pd.DataFrame) -> Values:
    """Every family of curves: workload, design, charge mode."""
    return {
        KEYS[workload]: {
            design: {charge: cell_values(frame, workload, design, charge) for charge in rows.CHARGES}
            for design in published.KIND_OF
        }
        for workload in rows.WORKLOADS
    }


def pair_text(kind: str) -> str:
    """Name the ratio that is a kind's gain: ``Inf ÷ 1``."""
    over, under = published.KINDS[kind].gain
    return f"{fmt_limit(over)} ÷ {fmt_limit(under)}"


def cell_values(frame: pd.DataFrame, workload: str, design: str, charge: str) -> Values:
    """One family of curves: a workload, a design and a charge mode; gains are of its kind's two limits."""
    kind = published.KIND_OF[design]
    head = {"kind": kind, "pair": pair_text(kind)}
    evidence = Evidence(frame, design, charge)
    trials = evidence.trials(workload)
    if trials.empty:
        return head | unmeasured_cell()
    over, under = published.KINDS[kind].gain
    last = float(trials["x_ratio"].max())
    top = rows.peak(trials)
    found = evidence.gain(workload, over, under)
    gain, place = found.effect, found.place
    deepest = {
        limit: trials[(trials["accept_limit"] == limit) & (trials["x_ratio"] == last)] for limit in LIMIT_KEYS
    }
    return head | {
        "measured": True,
        "peak": fmt_number(top),
        "rounds": fmt_integer(int(trials["round"].nunique())),
        "last_x": fmt_number(last, 2),
        "last_target": fmt_number(float(trials.loc[trials["x_ratio"] == last, "target_per_s"].median())),
        "gain": ratio(gain),
        "gain_percent": fmt_gain(gain.value) if gain.n else UNMEASURED,
        "gain_ratio": fmt_ratio(gain.value) if gain.n else UNMEASURED,
        "gain_x": fmt_number(place, 2) if np.isfinite(place) else UNMEASURED,
        "gain_last": ratio(effect(at(evidence.ratios(workload, "replies_per_s", over, under), last))),
        "best_limit": _best(deepest),
        "accepts_ratio": ratio(effect(at(evidence.ratios(workload, "accepts_per_s", "1", "inf"), last))),
        "predicted_gain": ratio(effect(at(evidence.predicted_gain(workload), last))),
        "unexplained": ratio(effect(at(evidence.unexplained(workload), last))),
        "getevents_ratio": ratio(
            effect(evidence.matched(workload, "getevents_per_s", "1", "inf", SATURATED))
        ),
        "work_ratio": ratio(
            effect(evidence.matched(workload, "work_items_per_phase", "inf", "1", SATURATED))
        ),
        "limits": {name: limit_values(deepest[limit], top) for limit, name in LIMIT_KEYS.items()},
    }


def _best(deepest: dict[str, pd.DataFrame]) -> str:
    """Return the limit that serves most at the deepest overload."""
    served = {limit: mean(trials["replies_per_s"]) for limit, trials in deepest.items() if len(trials)}
    return fmt_limit(max(served, key=lambda limit: served[limit])) if served else UNMEASURED


def limit_values(trials: pd.DataFrame, top: float) -> Values:
    """One accept-limit at the deepest overload."""
    if trials.empty:
        return unmeasured_limit()
    values: Values = {
        # Rows recorded before a column existed have none.
        name: fmt_number(mean(trials[column].astype(float)) * factor) if column in trials else MISSING
        for name, (column, factor) in LIMIT_COLUMNS.items()
    }
    lost = trials["timed_out_per_s"] / trials["attempted_per_s"].where(trials["attempted_per_s"] > 0)
    return values | {
        "measured": True,
        "kept": fmt_percent(mean(trials["replies_per_s"]) / top),
        "timed_out_percent": fmt_percent(mean(lost)),
    }


def unmeasured_limit() -> Values:
    """Return what stands for a limit that was not measured."""
    return dict.fromkeys((*LIMIT_COLUMNS, "kept", "timed_out_percent"), UNMEASURED) | {"measured": False}


def unmeasured_cell() -> Values:
    """Return what stands for a family of curves that was not measured."""
    return {
        "measured": False,
        **dict.fromkeys(CELL, UNMEASURED),
        "limits": {name: unmeasured_limit() for name in LIMIT_KEYS.values()},
    }


# ------------------------------------------------------------------------------------------------ 2004


def published_values() -> Values:
    """2004's numbers, by kind of server and workload."""
    calls, items = published.SELECTS_PER_S, published.WORK_ITEMS_PER_PHASE
    kinds = {
        kind: {KEYS[workload]: _published(kind, workload) for workload in rows.WORKLOADS}
        | {"pair": pair_text(kind), "name": published.KINDS[kind].name}
        for kind in published.KINDS
    }
    return {
        "kinds": kinds,
        **kinds["userver"],
        "selects_inf": fmt_integer(calls["inf"]),
        "selects_1": fmt_integer(calls["1"]),
        "selects_ratio": fmt_integer(calls["1"] / calls["inf"]),
        "work_inf": fmt_number(items["inf"], 4),
        "work_1": fmt_number(items["1"], 2),
        "work_ratio": fmt_integer(items["inf"] / items["1"]),
        "accepts_ratio": fmt_ratio(published.ACCEPTS_PER_S["1"] / published.ACCEPTS_PER_S["inf"]),
        "disagreements": {
            place.replace(" ", "_").replace(".", "_"): {"text": fmt_gain(text), "plot": fmt_gain(plot)}
            for place, (text, plot) in published.DISAGREEMENTS.items()
        },
    }


def _published(kind: str, workload: str) -> Values:
    old = published.overload(workload, kind)
    gain = published.GAINS[kind][workload]
    absent = dict.fromkeys(("peak", "replies_last", "kept", "drops_last"), MISSING)
    return {
        "peak": fmt_integer(float(old.replies.to_numpy().max())),
        "peak_us": fmt_integer(1e6 / float(old.replies.to_numpy().max())),
        "gain": fmt_gain(gain),
        "gain_ratio": fmt_ratio(gain),
        "last": fmt_integer(old.last),
        "last_x": fmt_ratio(old.last_x),
        "limit_names": ", ".join(fmt_limit(limit) for limit in old.replies.columns),
        "limits": {
            LIMIT_KEYS[limit]: {
                "peak": fmt_integer(float(old.replies[limit].max())),
                "replies_last": fmt_integer(float(old.replies[limit].iloc[-1])),
                "kept": fmt_percent(float(old.replies[limit].iloc[-1]) / old.peak),
                "drops_last": fmt_integer(float(old.drops[limit].iloc[-1])),
                "limit": fmt_limit(limit),
            }
            if limit in old.replies
            else absent | {"limit": fmt_limit(limit)}
            for limit in LIMIT_KEYS
        },
    }
