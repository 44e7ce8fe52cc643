"""What an operation on a timer costs, by facility and by how many there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from retrospective.analysis import timers
from retrospective.analysis.claims.timers_today import WHEEL_BOUND_NS
from retrospective.analysis.figures.style import BLACK, PALE, Site, common_entries, key, line, panels, styled
from retrospective.analysis.figures.timers_style import (
    FACILITY_STYLE,
    count_axis,
    facility_style,
    label_ends,
    level,
    required,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MIXES = {
    "tcp": "TCP-like: most are cancelled or re-armed",
    "expiry": "all expire, and start again",
    "cancel": "cancel and start",
    "rearm": "re-arm",
}
PROMISE = {"color": BLACK, "marker": "_", "markersize": 11, "markeredgewidth": 1.6, "linestyle": "none"}


@styled
def operations(site: Site, reference: Site | None = None) -> Figure:
    """Draw ns an operation against outstanding timers: a panel a mix, a curve a facility."""
    required(site, "operations")
    prices = _prices(site)
    recorded = _prices(reference)
    recorded = recorded[recorded["facility"].isin(prices["facility"])]
    floor = timers.operations_floor(site.frame).factor
    mixes = [mix for mix in MIXES if (prices["mix"] == mix).any()]
    columns = min(2, len(mixes))
    figure, axes = panels(-(-len(mixes) // columns), columns, height=2.5, sharex=True, sharey=True)
    for cell in axes.flat[len(mixes) :]:
        cell.axis("off")
    for cell, mix in zip(axes.flat, mixes, strict=False):
        for source in (recorded, prices):
            _curves(cell, source[source["mix"] == mix], faint=source is recorded, floor=floor)
        if mix != "expiry":
            cell.plot(*zip(*WHEEL_BOUND_NS.items(), strict=True), **PROMISE, zorder=5)
        cell.set_title(MIXES[mix])
        cell.set_xscale("log")
        cell.set_yscale("log")
        count_axis(cell.xaxis)
        count_axis(cell.yaxis)
    places = sorted(prices["timers"].unique())
    levels = prices.groupby(["mix", "timers", "facility"])[
        "ns"
    ].mean()  # intervals of few rounds flatten nothing
    axes.flat[0].set_ylim(levels.min() / 1.6, levels.max() * 1.6)
    axes.flat[0].set_xlim(places[0] / 1.5, places[-1] * 1.5)
    for cell, mix in zip(axes.flat, mixes, strict=False):
        mine = prices[prices["mix"] == mix]
        label_ends(cell, _ends(mine), FACILITY_STYLE)
    for cell in axes[-1]:
        cell.set_xlabel("outstanding timers")
    for row in axes:
        row[0].set_ylabel("ns an operation")
    entries = common_entries(reference)
    if np.isfinite(floor):
        entries.append(({"facecolor": PALE}, f"wheel against itself, ±{(floor - 1) * 100:.0f} %"))
    entries.append((PROMISE, "promised of the wheel"))
    key(figure, None, entries)
    return figure


def _prices(site: Site | None) -> pd.DataFrame:
    """Every price, ns an operation: a row a round."""
    found = []
    frame = timers.trials(timers.settled(site.frame), "operations") if site is not None else pd.DataFrame()
    for mix, part in frame.groupby("mix") if len(frame) else ():
        for facility in set(part["design"]) | set(part["beside"].astype(str)):
            for count in sorted(part["timers"].astype(float).unique()):
                levels = timers.operation(part, facility, str(mix), int(count))
                found += [(mix, float(count), facility, value) for value in levels]
    return pd.DataFrame(found, columns=["mix", "timers", "facility", "ns"])


def _curves(cell: Axes, prices: pd.DataFrame, *, faint: bool, floor: float) -> None:
    for facility in timers.in_order(prices["facility"].unique(), timers.FACILITIES):
        mine = prices[prices["facility"] == facility]
        levels = {count: level(part["ns"]) for count, part in mine.groupby("timers")}
        x, y = np.array(list(levels), dtype=float), np.array(list(levels.values())).reshape(-1, 3)
        if facility == "wheel" and not faint and np.isfinite(floor):
            cell.fill_between(x, y[:, 0] / floor, y[:, 0] * floor, color=PALE, linewidth=0, zorder=1)
        line(cell, x, y, faint=faint, **facility_style(facility))


def _ends(prices: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Facility -> the right end of its curve."""
    ends = {}
    for facility in timers.in_order(prices["facility"].unique(), timers.FACILITIES):
        mine = prices[prices["facility"] == facility]
        last = mine["timers"].max()
        ends[facility] = (float(last), float(level(mine.loc[mine["timers"] == last, "ns"])[0]))
    return ends
