"""Rows of trials: where the recorded ones lie, which may be shown, and how they pair."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from retrospective import paths

#: Every accept-limit of 2004, lowest first; a design has those of its kind (published.KINDS).
LIMITS = ("1", "10", "50", "100", "inf")
CHARGES = ("receiver", "sender")
IDENTITY = (
    *("experiment", "design", "label", "workload", "charge", "target_per_s", "round", "machine"),
    *("accept_limit", "clients", "backlog", "timeout_ms", "defer_accept_s", "work_us"),
    *("server", "disk", "memory_ratio", "cache"),
    *("measure", "mix", "timers", "beside", "processes", "granularity_us", "price"),
    *("path", "peer", "congestion", "direction", "role", "impairment", "seed", "write_bytes"),
    *("senders", "min_rto_us", "tick_us"),
)
WORKLOADS = ("one-packet", "specweb99-like")


class NoReferenceError(FileNotFoundError):
    """There is no recorded data of a chapter."""


#: What every table of rows has.
COMMON = {
    **dict.fromkeys(
        ("chapter", "experiment", "kind", "design", "label", "machine", "status", "reason"), object
    ),
    "started_at": object,
    "duration_s": float,
    "round": int,
    "valid": bool,
}


def no_rows() -> pd.DataFrame:
    """Make a table without rows: of a chapter that nothing was recorded of yet."""
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in COMMON.items()})


def load_reference(chapter: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return a chapter's recorded rows and their provenance (``NoReferenceError`` if there are none)."""
    table = paths.REFERENCE / f"{chapter}.parquet"
    facts = paths.REFERENCE / f"{chapter}.provenance.json"
    for path in (table, facts):
        if not path.exists():
            raise NoReferenceError(
                f"no recorded trials of chapter {chapter!r} ({path.name} is not in data/reference): "
                "'make reference' measures and records them"
            )
    return pd.read_parquet(table), json.loads(facts.read_text())


def valid(frame: pd.DataFrame, **where: object) -> pd.DataFrame:
    """Rows that may be shown as results: valid trials, narrowed by equality, the last attempt of each.

    A trial that was invalid at first and valid when tried again is one result, not two.
    """
    if frame.empty:
        return frame
    chosen = frame["valid"].astype(bool)
    for column, value in ({"kind": "trial"} | where).items():
        chosen &= frame[column] == value
    # Only what orders and identifies is sorted; the rest of the columns, which are many, is taken once.
    places = np.flatnonzero(chosen.to_numpy(dtype=bool))
    identity = [c for c in IDENTITY if c in frame]
    order = [c for c in ("attempt", "started_at") if c in frame]
    if order:
        slim = frame[list(dict.fromkeys([*order, *identity]))].iloc[places].reset_index(drop=True)
        last = slim.sort_values(order, kind="stable").drop_duplicates(identity, keep="last")
        places = places[last.index.to_numpy()]
    return frame.iloc[places]


def overload(frame: pd.DataFrame, workload: str, design: str, charge: str) -> pd.DataFrame:
    """Return the valid trials of one family of curves (all limits); equal x are made exactly equal."""
    rows = valid(frame, chapter="accept", experiment=workload, design=design, charge=charge)
    rows = rows[rows["x_ratio"].notna()]
    return rows.assign(
        x_ratio=rows["x_ratio"].astype(float).round(3),
        accept_limit=rows["accept_limit"].astype(str).str.lower(),
    )


def limits_of(rows: pd.DataFrame) -> tuple[str, ...]:
    """Return the accept-limits that some rows were measured at, lowest first."""
    present = set(rows["accept_limit"].astype(str).str.lower()) if len(rows) else set()
    return tuple(limit for limit in LIMITS if limit in present)


def paired(
    rows: pd.DataFrame, column: str, by: str = "accept_limit", index: tuple[str, ...] = ("round",)
) -> pd.DataFrame:
    """Pivot ``column`` to a row a round and a column a value of ``by``, so that ratios stay in rounds.

    A column that these rows do not have (an older schema) was not measured. Raises ``ValueError`` on rows of
    several machines: their rounds are never pooled.
    """
    if rows.empty or not {column, by} <= set(rows):
        return pd.DataFrame(index=pd.Index([], name=index[0]))
    if "machine" in rows and rows["machine"].nunique() > 1:
        raise ValueError("rows of several machines: their rounds must not be pooled; keep one machine")
    rows = rows.assign(**{column: pd.to_numeric(rows[column])})  # all missing is no numbers, in some formats
    return rows.pivot_table(index=list(index), columns=by, values=column, aggfunc="last")


def ratios(rows: pd.DataFrame, column: str, over: str, under: str) -> pd.DataFrame:
    """Ratios of ``column`` between accept-limits ``over`` and ``under``: a row a round, a column an x."""
    table = paired(rows, column, index=("round", "x_ratio"))
    if over not in table or under not in table:
        return pd.DataFrame(index=pd.Index([], name="round"))
    return (table[over] / table[under]).unstack("x_ratio")


def peak(rows: pd.DataFrame) -> float:
    """Return the server's own peak that x is a ratio to, replies/s: calibrated at the peak limit of its kind."""
    placed = rows[rows["x_ratio"].notna() & (rows["x_ratio"].astype(float) > 0)]
    return (
        float((placed["target_per_s"] / placed["x_ratio"].astype(float)).median())
        if len(placed)
        else float("nan")
    )
