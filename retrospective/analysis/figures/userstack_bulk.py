"""How fast: bulk throughput against the size of a write, round trips, connections a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib import ticker

from retrospective.analysis.figures.style import (
    GREY,
    Entry,
    NothingToDraw,
    Site,
    common_entries,
    dot,
    key,
    line,
    lines,
    log_ticks,
    panels,
    styled,
)
from retrospective.analysis.figures.timers_style import time_axis
from retrospective.analysis.figures.userstack_style import (
    faint_entries,
    level,
    required,
    series_style,
    trials,
)
from retrospective.analysis.formatting import fmt_bytes
from retrospective.analysis.userstack import DIRECTIONS, by_round, levels, numbers, of_series, series_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from retrospective.analysis.userstack import Series

DIRECTION_TITLES = {"to_peer": "sends", "from_peer": "receives"}
GOODPUT = "goodput_bytes_per_s"
MEGA = 1e6


@styled
def bulk(site: Site, reference: Site | None = None) -> Figure:
    """Draw throughput without impairment against the size of a write: a curve a stack and path, a panel a direction."""
    found = required(site, "bulk")
    recorded = trials(reference, "bulk")
    ways = (
        [way for way in DIRECTIONS if (found["direction"].astype(object) == way).any()]
        if "direction" in found
        else []
    )
    if not ways or GOODPUT not in found:
        raise NothingToDraw("no valid trial of experiment 'bulk' says which way bytes went, and how fast")
    figure, (cells,) = panels(1, len(ways), height=2.7, sharey=True)
    names = series_in(found)
    for cell, way in zip(cells, ways, strict=True):
        for source in (recorded, found):
            mine = source[source["direction"].astype(object) == way] if len(source) else source
            for series in names:
                x, y = _by_write(of_series(mine, series))
                line(cell, x, y, faint=source is recorded, bars=True, **series_style(series))
        cell.set_title(f"the stack {DIRECTION_TITLES[way]}" if len(ways) > 1 else "")
        cell.set_xscale("log", base=2)
        cell.set_xlabel("bytes a write")
    sizes = levels(found["write_bytes"])
    for cell in cells:
        cell.set_xlim(sizes[0] / 1.6, sizes[-1] * 1.6)
        cell.xaxis.set_major_locator(ticker.FixedLocator(sizes[:: -(-len(sizes) // 6)]))
        cell.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: fmt_bytes(value)))
        cell.xaxis.set_minor_locator(ticker.NullLocator())
    cells[0].set_yscale("log")
    log_ticks(cells[0].yaxis)
    cells[0].set_ylabel("throughput, MB/s")
    key(figure, None, [*_entries(names), *common_entries(reference, bars=True)])
    return figure


def _by_write(found: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Bytes a write, and throughput, MB/s, with its interval."""
    size = numbers(found, "write_bytes")
    of_size = {
        count: level(by_round(part, numbers(part, GOODPUT))) / MEGA
        for count in levels(size)
        if len(part := found[size == count])
    }
    return np.array(list(of_size), dtype=float), np.array(list(of_size.values())).reshape(-1, 3)


def _entries(names: list[Series]) -> list[Entry]:
    return [({"linestyle": "none", **series_style(series)}, series.name) for series in names]


# ------------------------------------------------------------------------------------------- small messages


@styled
def rtt(site: Site, reference: Site | None = None) -> Figure:
    """Draw the round trip of a small message from its median to its 99th percentile: a line a pair of stacks."""
    found = required(site, "rtt")
    recorded = trials(reference, "rtt")
    names = series_in(found)
    figure, ((cell,),) = panels(1, 1, height=0.27 * len(names) + 0.8)
    for y, series in enumerate(names):
        style = series_style(series)
        for source in (recorded, found):
            mine = of_series(source, series)
            if mine.empty:
                continue
            median, tail = (level(by_round(mine, numbers(mine, f"rtt_{q}_us"))) for q in ("p50", "p99"))
            faint = source is recorded
            dot(cell, median, y, style, faint=faint)
            if np.isfinite(tail[0]) and not faint:
                cell.plot(
                    [median[0], tail[0]], [y, y], color=style["color"], linewidth=1.1, alpha=0.6, zorder=2
                )
                cell.plot(
                    tail[0], y, marker="|", markersize=7, markeredgewidth=1.6, color=style["color"], zorder=4
                )
    if not cell.lines:
        raise NothingToDraw("no valid trial of experiment 'rtt' measured a round trip")
    lines([cell], [series.name for series in names])
    cell.set_xscale("log")
    low, high = cell.get_xlim()
    cell.set_xlim(low / 1.1, high * 1.1)
    time_axis(cell.xaxis)
    cell.set_xlabel("round trip")
    mark = {"color": GREY, "linestyle": "none"}
    entries = [(mark | {"marker": "o"}, "median"), (mark | {"marker": "|"}, "99th percentile")]
    key(figure, None, entries + faint_entries(reference))
    return figure


@styled
def connections(site: Site, reference: Site | None = None) -> Figure:
    """Draw connections that are opened, used once and closed, a second: a bar a pair of stacks."""
    found = required(site, "connections")
    recorded = trials(reference, "connections")
    names = series_in(found)
    figure, ((cell,),) = panels(1, 1, height=0.27 * len(names) + 0.8)
    for y, series in enumerate(names):
        style = series_style(series)
        values = _per_second(of_series(found, series))
        if np.isfinite(values[0]):
            cell.barh(y, values[0], 0.6, color=style["color"], zorder=2)
        if np.isfinite(values[1]):
            reach = [[values[0] - values[1]], [values[2] - values[0]]]
            cell.errorbar(
                values[0], y, xerr=reach, fmt="none", ecolor="black", capsize=2.5, linewidth=1, zorder=3
            )
        _beside(cell, _per_second(of_series(recorded, series))[0], y)
    lines([cell], [series.name for series in names])
    cell.set_xlim(left=0)
    cell.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))
    cell.set_xlabel("connections a second")
    entries: list[Entry] = [({"color": "black", "marker": "|", "linestyle": "none"}, "95 % interval")]
    key(figure, None, entries + diamonds(reference))
    return figure


def _per_second(found: pd.DataFrame) -> np.ndarray:
    if found.empty:
        return np.full(3, np.nan)
    return level(by_round(found, numbers(found, "connections_per_s")))


def _beside(cell: Axes, value: float, y: float) -> None:
    if np.isfinite(value):
        cell.plot(value, y, marker="D", color="white", markeredgecolor="black", zorder=5)


def diamonds(reference: Site | None) -> list[Entry]:
    """Legend entry of what the reference machine has beside a bar."""
    if reference is None:
        return []
    return [
        ({"color": "white", "marker": "D", "markeredgecolor": "black", "linestyle": "none"}, reference.name)
    ]
