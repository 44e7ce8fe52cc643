"""What the trials of one design in one charge mode have to say: ratios a round, ready to be tested."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

import numpy as np
import pandas as pd

from retrospective.analysis import published, rows
from retrospective.analysis.statistics import Effect, Largest, largest, ratio_interval

#: Declared before any trial: from this ratio to the own peak on a server counts as saturated, and up to the
#: other one it is on its ramp.
SATURATED = 1.2
RAMP = 0.8


def at(table: pd.DataFrame, x: float) -> pd.Series:
    """Read a table (a row a round, a column an x) at ``x``: log values, linear in log x, within each round.

    Outside the measured range the nearest end is read: what was not offered is not extrapolated. A round that
    has a value at only one side of ``x`` is read there if that side is the nearer one (the ratio of two drop
    rates has none below the knee, where there is nothing to drop).
    """
    usable = table.where((table > 0) & np.isfinite(table))
    logs = np.log(usable).dropna(axis="columns", how="all")
    if logs.shape[1] == 0:
        return pd.Series(dtype=float)
    places = np.asarray(logs.columns, dtype=float)
    right = int(np.clip(np.searchsorted(places, x), 0, len(places) - 1))
    left = max(0, right - 1)
    if x >= places[-1] or x <= places[0] or places[right] == x:
        return np.exp(logs.iloc[:, right if x > places[0] else 0])
    weight = np.log(x / places[left]) / np.log(places[right] / places[left])
    between = (1 - weight) * logs.iloc[:, left] + weight * logs.iloc[:, right]
    return np.exp(between.fillna(logs.iloc[:, right if weight >= 0.5 else left]))


def loop_us(frame: pd.DataFrame) -> pd.Series:
    """Time of one turn of the loop by its measured costs, µs: getevents + accept phase + work phase."""
    turns = frame["getevents_per_s"].where(frame["getevents_per_s"] > 0)
    accepted = frame["accept_us"] * frame["accepts_per_s"] / turns
    return frame["getevents_us"] + accepted + frame["work_us_per_item"] * frame["work_items_per_phase"]


def with_derived(frame: pd.DataFrame) -> pd.DataFrame:
    """Add what Eq. 1 and the mechanism checks need; every column a turn of the loop or a connection.

    A loop that never asks (the drain loops) has no turns, and none of what is counted by them.

    ``phases_per_s``         accept phases: accept rate ÷ mean connections per accept phase
    ``accepts_per_turn``     mean connections per accept phase, every turn of the loop being one phase
    ``getevents_per_accept`` what a connection pays in getevents calls
    ``eq1_identity``         accept rate ÷ (phases · mean connections per accept phase)
    ``getevents_cost``       getevents time a connection, µs
    ``other_cost``           accept and work time a connection, µs
    ``eq1_accepts_per_s``    accept rate if the loop had the whole CPU: accepts a turn ÷ time of a turn
    """
    turns = frame["getevents_per_s"].where(frame["getevents_per_s"] > 0)
    accepts = frame["accepts_per_s"].where(frame["accepts_per_s"] > 0)
    per_turn = accepts / turns
    work = frame["work_us_per_item"] * frame["work_items_per_phase"] / per_turn
    return frame.assign(
        phases_per_s=accepts / frame["accepts_per_phase"].where(frame["accepts_per_phase"] > 0),
        accepts_per_turn=per_turn,
        getevents_per_accept=turns / accepts,
        eq1_identity=accepts / (turns * frame["accepts_per_phase"]),
        getevents_cost=frame["getevents_us"] / per_turn,
        other_cost=frame["accept_us"] + work,
        eq1_accepts_per_s=per_turn / loop_us(frame) * 1e6,
    )


@dataclass(frozen=True)
class Evidence:
    """All valid overload trials of one design in one charge mode; what was not measured is empty."""

    frame: pd.DataFrame
    design: str
    charge: str

    @property
    def kind(self) -> published.Kind:
        """The kind of server of 2004 that the design is a counterpart of."""
        return published.KINDS[published.kind_of(self.design)]

    def old(self, workload: str) -> published.Overload:
        """The curves of 2004 that the design's are read beside."""
        return published.overload(workload, published.kind_of(self.design))

    def beside(self, design: str) -> Evidence:
        """Return another design's trials in the same charge mode."""
        if design == self.design:
            return self
        return self._others.setdefault(design, Evidence(self.frame, design, self.charge))

    @cached_property
    def _others(self) -> dict[str, Evidence]:
        return {}

    @cached_property
    def _rows(self) -> dict[str, pd.DataFrame]:
        return {
            workload: with_derived(rows.overload(self.frame, workload, self.design, self.charge))
            for workload in rows.WORKLOADS
        }

    def trials(self, workload: str) -> pd.DataFrame:
        """Rows of a workload with the derived columns."""
        return self._rows[workload]

    def table(self, workload: str, column: str, limit: str) -> pd.DataFrame:
        """``column`` at one accept-limit: a row a round, a column an x."""
        return self._unstacked(workload, column, limit)

    def ratios(self, workload: str, column: str, over: str, under: str) -> pd.DataFrame:
        """Ratio of ``column`` between two accept-limits: a row a round, a column an x."""
        return self._unstacked(workload, column, over, under)

    def _unstacked(self, workload: str, column: str, limit: str, under: str = "") -> pd.DataFrame:
        if (workload, column) not in self._pivots:
            trials = self.trials(workload)
            self._pivots[workload, column] = rows.paired(trials, column, index=("round", "x_ratio"))
        table = self._pivots[workload, column]
        if not {limit, under or limit} <= set(table):
            return pd.DataFrame(index=pd.Index([], name="round"))
        values = table[limit] / table[under] if under else table[limit]
        return values.unstack("x_ratio").dropna(axis="columns", how="all")

    @cached_property
    def _pivots(self) -> dict[tuple[str, str], pd.DataFrame]:
        return {}

    def gain(
        self,
        workload: str,
        over: str | None = None,
        under: str | None = None,
        column: str = "replies_per_s",
    ) -> Largest:
        """Largest gain past saturation, by default between the two limits that 2004 compared for the kind."""
        over, under = over or self.kind.gain[0], under or self.kind.gain[1]
        return largest(self._saturated(self.ratios(workload, column, over, under)))

    def _saturated(self, table: pd.DataFrame) -> pd.DataFrame:
        return table[[x for x in table.columns if float(x) >= self.kind.gain_from]]

    def contrast(self, workload: str) -> Largest:
        """Largest ratio of replies/s between any two limits past saturation, whichever is the better."""
        present = rows.limits_of(self.trials(workload))
        pairs = [self.gain(workload, over, under) for over, under in permutations(present, 2)]
        return widest([pair for pair in pairs if len(pair.ratios)])

    def matched(self, workload: str, column: str, over: str, under: str, x: float | None = None) -> pd.Series:
        """Ratio of ``column`` at ``x``, by default at the ratio to the peak where 2004's sweep ended."""
        x = self.old(workload).last_x if x is None else x
        return at(self.ratios(workload, column, over, under), x)

    def matched_x(self, workload: str, x: float | None = None) -> float:
        """Return the x that :meth:`matched` could really read."""
        x = self.old(workload).last_x if x is None else x
        offered = self.trials(workload)["x_ratio"]
        return float(np.clip(x, offered.min(), offered.max())) if len(offered) else float("nan")

    def peak(self, workload: str, limit: str) -> Largest:
        """Highest replies/s of one limit over all x."""
        return largest(self.table(workload, "replies_per_s", limit))

    def best(self, workload: str) -> Largest:
        """Highest replies/s of any limit; nothing with fewer than three x, which show no peak."""
        peaks = [self.peak(workload, limit) for limit in rows.limits_of(self.trials(workload))]
        return widest([peak for peak in peaks if peak.choices >= 3])

    def ramp(self, workload: str, limit: str) -> pd.Series:
        """Replies/s ÷ offered at the highest x of the ramp."""
        replies = self.table(workload, "replies_per_s", limit)
        offered = self.table(workload, "target_per_s", limit)
        on_ramp = [x for x in replies.columns if float(x) <= RAMP]
        return (replies / offered)[max(on_ramp)] if on_ramp else pd.Series(dtype=float)

    def decline(self, workload: str, limit: str) -> Effect:
        """Peak ÷ replies/s where 2004's sweep ended, of one limit (nothing with fewer than three x)."""
        table = self.table(workload, "replies_per_s", limit)
        if table.shape[1] < 3:
            return effect(pd.Series(dtype=float))
        peak = self.peak(workload, limit)
        return effect(peak.ratios / at(table, self.old(workload).last_x), peak.choices)

    def predicted_gain(self, workload: str) -> pd.DataFrame:
        """Gain in accept rate, Inf over 1, that Eq. 1 gives if only the share of getevents differs.

        Per connection, limit L pays getevents_us(L) ÷ accepts a turn(L), as measured at L; what accepting and
        working cost a connection is taken from limit Inf for *both*. With each limit's own costs the equation
        would merely add up one loop's clock readings; like this it says how much of the gain comes from
        spreading getevents over more connections.
        """
        shares = {limit: self.table(workload, "getevents_cost", limit) for limit in ("1", "inf")}
        other = self.table(workload, "other_cost", "inf")
        return (shares["1"] + other) / (shares["inf"] + other)

    def unexplained(self, workload: str) -> pd.DataFrame:
        """Measured gain in accept rate ÷ the gain Eq. 1 predicts: a row a round, a column an x."""
        return self.ratios(workload, "accepts_per_s", "inf", "1") / self.predicted_gain(workload)


def widest(found: list[Largest]) -> Largest:
    """Choose the largest of several largest: a choice among all the places that they were chosen from."""
    if not found:
        return largest(pd.DataFrame())
    first = max(found, key=lambda one: float(np.log(one.ratios).mean()))
    return Largest(first.ratios, first.place, sum(one.choices for one in found))


def effect(ratios: pd.Series, choices: int = 1) -> Effect:
    """Effect of a series of ratios, a value a round."""
    return ratio_interval(ratios.to_numpy(dtype=float), choices=choices)
