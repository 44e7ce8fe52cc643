"""What the experiments beside the overload say: one setting varied at a time, clients, workers, peers.

Ratios are a value a round, ready to be tested: a series, or, of several levels, a dictionary of them, lowest
level first. What was not measured is empty, never an error.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from retrospective.analysis import rows
from retrospective.analysis.evidence import with_derived
from retrospective.analysis.statistics import Largest, largest

#: sensitivity -> the column that holds its levels; its experiment is called "sensitivity-" and its name
SENSITIVITIES = {
    "backlog": "backlog",
    "timeout": "timeout_ms",
    "defer": "defer_accept_s",
    "work": "work_us",
}
OTHER_SERVERS = ("nginx", "lighttpd", "h2o")

#: Level (a backlog, a number of clients, …) -> ratios, a value a round.
Ratios = dict[float, pd.Series]


def _by_level(trials: pd.DataFrame, level: str, column: str, over: str, under: str) -> Ratios:
    """Ratio of ``column`` between two accept-limits at each value of the column ``level``."""
    table = rows.paired(trials, column, index=("round", level)) if level in trials else pd.DataFrame()
    if not {over, under} <= set(table):
        return {}
    found = (table[over] / table[under]).unstack(level).dropna(axis="columns", how="all")
    return {float(value): found[value].dropna() for value in sorted(found)}


# ------------------------------------------------------------------------------------------ sensitivities


def sensitivity(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Valid trials of a sensitivity, with the derived columns and its levels in the column ``level``."""
    trials = rows.valid(frame, experiment=f"sensitivity-{name}", charge="receiver")
    if trials.empty:
        return trials.assign(level=pd.Series(dtype=float))
    return with_derived(trials).assign(level=trials[SENSITIVITIES[name]].astype(float))


def sensitivity_gains(
    frame: pd.DataFrame,
    name: str,
    over: str = "inf",
    under: str = "1",
    column: str = "replies_per_s",
) -> Ratios:
    """Ratio of ``column`` between two limits at each level of a sensitivity (a backlog, a time-out, …)."""
    return _by_level(sensitivity(frame, name), "level", column, over, under)


def work_predictions(frame: pd.DataFrame) -> Ratios:
    """Gain in accept rate, Inf over 1, that Eq. 1 predicts at each ``work_us`` (as in Evidence.predicted_gain)."""
    trials = sensitivity(frame, "work")
    shares = rows.paired(trials, "getevents_cost", index=("round", "level"))
    other = rows.paired(trials, "other_cost", index=("round", "level"))
    if not {"1", "inf"} <= set(shares) or "inf" not in other:
        return {}
    found = ((shares["1"] + other["inf"]) / (shares["inf"] + other["inf"])).unstack("level")
    return {float(level): found[level].dropna() for level in sorted(found)}


# ------------------------------------------------------------------------------------------ concurrency


def concurrency(frame: pd.DataFrame, design: str) -> pd.DataFrame:
    """Valid closed-loop trials of one design."""
    return rows.valid(frame, experiment="concurrency", design=design, charge="receiver")


def concurrency_gains(
    frame: pd.DataFrame,
    design: str,
    over: str = "inf",
    under: str = "1",
    column: str = "replies_per_s",
) -> Ratios:
    """Ratio of ``column`` between two limits at each number of clients."""
    return _by_level(concurrency(frame, design), "clients", column, over, under)


# ------------------------------------------------------------------------------------------ fairness

#: A request counts as held up when it takes longer than this part of the handlers' sleep.
HELD_UP = 0.1


def slower_share(histogram: str, limit_us: float) -> float:
    """Share of requests slower than ``limit_us`` by a stored histogram, time-outs included (NaN if there is none).

    The buckets are those of servers/load/histogram.h; a bucket counts by its lower end, so the limit is met to 1 %.
    """
    stored = json.loads(histogram) if isinstance(histogram, str) and histogram else None
    if not isinstance(stored, dict):
        return float("nan")
    bits = int(stored["significant_bits"])
    total = slower = 0
    for counts in (stored["counts"], stored.get("censored_counts") or []):
        for index, count in counts:
            sub = 1 << bits
            low_ns = index if index < sub else (sub + index % sub) << (index // sub - 1)
            total += count
            slower += count * (low_ns > limit_us * 1e3)
    return slower / total if total else float("nan")


def fairness(frame: pd.DataFrame, workload: str = "mixed") -> pd.DataFrame:
    """Valid trials of one workload ("mixed" has requests that sleep), with ``held_up``: the share so slow."""
    trials = rows.valid(frame, experiment="fairness", workload=workload, charge="receiver")
    if trials.empty:
        return trials
    sleeps = [json.loads(text or "{}").get("slow-us", np.nan) for text in trials["options"]]
    share = [
        slower_share(text, HELD_UP * sleep)
        for text, sleep in zip(trials["latency_histogram"], sleeps, strict=True)
    ]
    return trials.assign(held_up=share)


def fairness_ratios(
    frame: pd.DataFrame, column: str, over: str, under: str, workload: str = "mixed"
) -> pd.Series:
    """Ratio of ``column`` between two labels ("shared", "reuseport", …), a value a round."""
    table = rows.paired(fairness(frame, workload), column, by="label")
    return (table[over] / table[under]).dropna() if {over, under} <= set(table) else pd.Series(dtype=float)


# ------------------------------------------------------------------------------------------ peers


def nginx_ratios(frame: pd.DataFrame, column: str, over: str = "inf", under: str = "1") -> pd.Series:
    """Ratio of ``column`` between nginx's multi_accept on (``inf``) and off (``1``), a value a round."""
    trials = rows.valid(frame, experiment="peers-overload", design="nginx", charge="receiver")
    if trials.empty:
        return pd.Series(dtype=float)
    on = trials["label"].str.endswith("multi_accept on")
    table = rows.paired(trials.assign(strategy=np.where(on, "inf", "1")), column, by="strategy")
    return table[over] / table[under] if {over, under} <= set(table) else pd.Series(dtype=float)


def peer_costs(frame: pd.DataFrame, column: str = "server_cpu_us_per_reply") -> pd.DataFrame:
    """``column`` on persistent connections: a row a round, a column a server's label."""
    return rows.paired(rows.valid(frame, experiment="peers", charge="receiver"), column, by="label")


def best_peer(frame: pd.DataFrame, against: str = "select") -> tuple[str, Largest]:
    """Label of the cheapest other server, and CPU per reply of ``against`` ÷ its own, as chosen among them."""
    costs = peer_costs(frame)
    others = [label for label in costs if str(label).split(",")[0] in OTHER_SERVERS]
    if against not in costs or not others:
        return "", largest(pd.DataFrame())
    ratios = pd.DataFrame({place: costs[against] / costs[label] for place, label in enumerate(others)})
    found = largest(ratios)
    return (str(others[int(found.place)]) if len(found.ratios) else ""), found
