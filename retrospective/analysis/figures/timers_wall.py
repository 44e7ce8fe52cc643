"""The wall: what it takes to be awake in time, by number of processes, granularity and driver; and how late one is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib import cm, colormaps, colors, patheffects
from matplotlib.patches import Rectangle

from retrospective.analysis import timers
from retrospective.analysis.figures.style import (
    BLACK,
    GREY,
    NothingToDraw,
    Site,
    common_entries,
    key,
    line,
    panels,
    styled,
)
from retrospective.analysis.figures.timers_style import (
    DRIVER_STYLE,
    MICROSECONDS,
    count_axis,
    driver_style,
    label_ends,
    level,
    numbers,
    required,
    short_number,
    time_axis,
    trials,
)
from retrospective.analysis.statistics import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Place = tuple[float, float]  # granularity, µs; processes

#: Whose timers are how fine, µs; those that lie close together share a name.
MARKS = {
    "BSD, lwIP": (500_000.0, 250_000.0, 200_000.0),
    "EROS": (100_000.0,),
    "Linux": (1_000.0,),
    "100 µs": (100.0,),
}
#: Rates whose line is drawn over the map, ticks/s: between the cells' middles, where their numbers are.
RATES = (3e2, 3e3, 3e4, 3e5)
#: A machine is spent where more than this share of the ticks is missed.
SPENT = 0.1
#: Cores, from white to the darkest.
FAINTEST = 0.003
COLOURS = colormaps["YlGnBu"]
WALL = {"color": "#D55E00", "linewidth": 2.4, "solid_capstyle": "round"}
ISO = {"color": GREY, "linewidth": 0.8, "linestyle": (0, (4, 2))}
HATCHED = {"facecolor": "none", "edgecolor": "white", "hatch": "////", "linewidth": 0}
#: Half the width of a cell that has no neighbour, and the most of one that has, in decades.
HALF = 0.25
COLUMNS = 3


@dataclass(frozen=True)
class Cell:
    """What a cell of the map says: cores burnt, and the share of its ticks that were missed."""

    cores: float
    missed: float

    @property
    def spent(self) -> bool:
        """Whether the machine cannot do it."""
        return self.missed > SPENT


@styled
def wall(site: Site, reference: Site | None = None) -> Figure:
    """Draw cores burnt as maps, processes by granularity: a panel a driver, and where ticks begin to be missed."""
    del reference  # two machines' colours do not fit into a cell
    found = required(site, "wall", measure="cores")
    most = timers.cpus(site.frame)
    maps = {
        series: places
        for series in timers.in_order(found["design"].unique(), timers.SERIES)
        if (places := _places(found[found["design"] == series]))
    }
    if not maps:
        raise NothingToDraw("no valid trials of experiment 'wall' counted cores")
    across = {place[0] for places in maps.values() for place in places}
    up = {place[1] for places in maps.values() for place in places}
    columns = min(COLUMNS, len(maps))
    figure, axes = panels(-(-len(maps) // columns), columns, height=2.45, sharex=True, sharey=True)
    for cell in axes.flat[len(maps) :]:
        cell.axis("off")
    norm = colors.LogNorm(FAINTEST, most)
    widths, heights = _edges(across), _edges(up)
    for cell, (series, places) in zip(axes.flat, maps.items(), strict=False):
        _map(cell, places, norm, widths, heights)
        cell.set_title(series, pad=24 if cell in axes[0] else 6)
    _frame(axes, len(maps), widths, heights)
    for cell in axes.flat[: len(maps)]:
        _rates(cell)
    shades = cm.ScalarMappable(norm, COLOURS)
    bar = figure.colorbar(shades, ax=axes, shrink=0.6 if len(axes) > 1 else 0.9, aspect=28, pad=0.02)
    ticks = [tick for tick in (0.003, 0.01, 0.03, 0.1, 0.3, 1, 2, 4, 8, 16, 32, 64) if tick <= most]
    bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    bar.minorticks_off()
    bar.outline.set_visible(False)
    bar.set_label(f"cores burnt, of {most}")
    entries = [
        (WALL, f"the wall: beyond it over {SPENT:.0%} of the ticks are missed".replace("%", " %")),
        (HATCHED | {"facecolor": COLOURS(0.95)}, "missed ticks, %"),
        (ISO, "ticks a second"),
    ]
    key(figure, None, entries)
    return figure


def _places(found: pd.DataFrame) -> dict[Place, Cell]:
    """Place on the map -> means over rounds."""
    places = {}
    where = [numbers(found, "granularity_us"), numbers(found, "processes")]
    for place, part in found.groupby(where):
        cores, due = numbers(part, "cores"), numbers(part, "due")
        if np.isfinite(cores).any():
            missed = float(numbers(part, "missed").sum() / max(due.sum(), 1))
            places[place] = Cell(float(mean_interval(cores)[0]), missed)
    return places


def _edges(places: set[float]) -> dict[float, tuple[float, float]]:
    """Where each cell begins and ends: half way to its neighbours on a logarithmic axis."""
    sorted_places = sorted(places)
    logs = np.log10(sorted_places)
    gaps = np.diff(logs) / 2
    found = {}
    for i, place in enumerate(sorted_places):
        before = gaps[i - 1] if i > 0 else min(HALF, gaps[0]) if len(gaps) else HALF
        after = gaps[i] if i < len(gaps) else min(HALF, gaps[-1]) if len(gaps) else HALF
        found[place] = (10 ** (logs[i] - before), 10 ** (logs[i] + after))
    return found


def _map(
    cell: Axes,
    places: Mapping[Place, Cell],
    norm: colors.LogNorm,
    widths: Mapping[float, tuple[float, float]],
    heights: Mapping[float, tuple[float, float]],
) -> None:
    for (granularity, processes), one in places.items():
        (left, right), (low, high) = widths[granularity], heights[processes]
        shade = float(norm(np.clip(one.cores, FAINTEST, norm.vmax)))
        corner, size = (left, low), (right - left, high - low)
        cell.add_patch(Rectangle(corner, *size, facecolor=COLOURS(shade), edgecolor="white", linewidth=0.5))
        if one.spent:
            cell.add_patch(Rectangle(corner, *size, **HATCHED, alpha=0.35))
        text = f"{100 * one.missed:.0f}%" if one.spent else _cores(one.cores)
        ink = "white" if shade > 0.55 else BLACK
        shadow = [patheffects.withStroke(linewidth=1.4, foreground=COLOURS(shade))]
        cell.text(
            *(np.sqrt(left * right), np.sqrt(low * high), text),
            ha="center",
            va="center",
            fontsize=5.6,
            color=ink,
            fontweight="bold" if one.spent else "normal",
            path_effects=shadow,
            zorder=6,
        )
    _contour(cell, places, widths, heights)


def _cores(cores: float) -> str:
    """Two digits are all that fit: .35, 1.2."""
    if cores < 0.005:
        return "0"
    return f"{cores:.2f}".removeprefix("0") if cores < 0.995 else f"{cores:.1f}"


def _contour(
    cell: Axes,
    places: Mapping[Place, Cell],
    widths: Mapping[float, tuple[float, float]],
    heights: Mapping[float, tuple[float, float]],
) -> None:
    """Draw the line between cells that are spent and neighbours that are not."""
    across, up = sorted({x for x, _ in places}), sorted({y for _, y in places})
    for (x, y), one in places.items():
        finer = across[across.index(x) - 1] if across.index(x) > 0 else None
        more = up[up.index(y) + 1] if up.index(y) + 1 < len(up) else None
        (left, right), (low, high) = widths[x], heights[y]
        beside, above = places.get((finer, y)), places.get((x, more))
        if beside is not None and beside.spent != one.spent:
            cell.plot([left, left], [low, high], **WALL, zorder=4)
        if above is not None and above.spent != one.spent:
            cell.plot([left, right], [high, high], **WALL, zorder=4)


def _frame(axes: np.ndarray, count: int, widths: Mapping, heights: Mapping) -> None:
    """Set axes that all panels share: finer timers to the right, whose timers they are above."""
    finest, coarsest = min(low for low, _ in widths.values()), max(high for _, high in widths.values())
    least, most = min(low for low, _ in heights.values()), max(high for _, high in heights.values())
    for n, cell in enumerate(axes.flat[:count]):
        cell.set_xscale("log")
        cell.set_yscale("log")
        cell.set_xlim(max(coarsest, 7e5), finest)
        cell.set_ylim(least, most)
        count_axis(cell.yaxis)
        time_axis(cell.xaxis)
        cell.tick_params(axis="x", labelsize=6.2, length=2, labelbottom=n + axes.shape[1] >= count)
        cell.tick_params(axis="y", length=2)
        cell.grid(visible=False)
        for spine in cell.spines.values():
            spine.set_visible(False)
        if n < axes.shape[1]:
            _marks(cell)
        if n % axes.shape[1] == 0:
            cell.set_ylabel("processes")
        if n + axes.shape[1] >= count:
            cell.set_xlabel("a tick each, every …")


def _marks(cell: Axes) -> None:
    """Mark above the panel how fine others' timers are, and name whose they are."""
    low, high = sorted(cell.get_xlim())
    above = cell.get_xaxis_transform()
    look = {"marker": "v", "markersize": 3, "color": "#444444", "linestyle": "none", "clip_on": False}
    for name, granularities in MARKS.items():
        there = [one for one in granularities if low <= one <= high]
        if not there:
            continue
        cell.plot(there, [1.015] * len(there), **look, transform=above, zorder=5)
        how = {"rotation": 35, "rotation_mode": "anchor", "ha": "left", "va": "bottom"}
        cell.annotate(
            name,
            xy=(float(np.exp(np.mean(np.log(there)))), 1.0),
            xycoords=above,
            xytext=(0, 5),
            textcoords="offset points",
            fontsize=5.8,
            color="#444444",
            annotation_clip=False,
            **how,
        )


def _rates(cell: Axes) -> None:
    """Draw lines of equal ticks/s, each with its rate at its upper end."""
    (low, high), (least, most) = sorted(cell.get_xlim()), cell.get_ylim()
    for rate in RATES:
        x = np.array([low, high])
        y = rate * x / MICROSECONDS
        begin, end = max(low, least * MICROSECONDS / rate), min(high, most * MICROSECONDS / rate)
        if np.log10(end / begin) < 0.7:  # a corner of the map, too small for a name
            continue
        cell.plot(x, y, **ISO, zorder=3)
        # At the corner of cells that is nearest to the middle of the line; the shadow keeps it legible on any shade.
        place = 10 ** (np.round(np.log10(begin * end) / 2 - 0.5) + 0.5)
        place = float(np.clip(place, begin * 1.5, end / 1.5))
        cell.text(
            *(place, rate * place / MICROSECONDS, f"{short_number(rate)}/s"),
            fontsize=5.6,
            style="italic",
            ha="center",
            va="center",
            rotation=_slope(cell),
            rotation_mode="anchor",
            color="#333333",
            path_effects=[patheffects.withStroke(linewidth=2.2, foreground="white")],
            zorder=5,
        )


def _slope(cell: Axes) -> float:
    """Angle of a line of equal rate in the panel, degrees (granularity falls to the right)."""
    box = cell.get_position()
    size = cell.figure.get_size_inches()
    wide = box.width * size[0] / abs(np.diff(np.log10(cell.get_xlim()))[0])
    tall = box.height * size[1] / abs(np.diff(np.log10(cell.get_ylim()))[0])
    return -float(np.degrees(np.arctan2(tall, wide)))


# ---------------------------------------------------------------------------------------------- lateness


@styled
def lateness(site: Site, reference: Site | None = None) -> Figure:
    """Draw how late ticks are, median and 99th percentile, against how many are due a second: a curve a driver."""
    found = _in_time(required(site, "wall", measure="lateness"))
    if found.empty:
        raise NothingToDraw("in no trial of experiment 'wall' were the ticks delivered")
    recorded = _in_time(trials(reference, "wall", measure="lateness"))
    recorded = recorded[recorded["design"].isin(found["design"])] if len(recorded) else recorded
    quantiles = {"median": "lateness_p50_us", "99th percentile": "lateness_p99_us"}
    figure, (cells,) = panels(1, 2, height=3.0, sharey=True)
    names = timers.in_order(found["design"].unique(), timers.SERIES)
    for cell, (name, column) in zip(cells, quantiles.items(), strict=True):
        ends = {}
        for series in names:
            for source in (recorded, found):
                x, y = _against_rate(source, series, column)
                line(cell, x, y * [1, np.nan, np.nan], faint=source is recorded, **driver_style(series))
                if source is found and len(x):
                    ends[series] = (x[-1], y[-1, 0])
        cell.set_xscale("log")
        cell.set_yscale("log")
        cell.set_title(name)
        cell.set_xlabel("ticks due a second, of all processes")
        count_axis(cell.xaxis)
        time_axis(cell.yaxis)
        label_ends(cell, ends, DRIVER_STYLE, apart=0.06)
    cells[0].set_ylabel("late by")
    if reference is not None:
        key(figure, None, common_entries(reference)[1:])
    return figure


def _in_time(found: pd.DataFrame) -> pd.DataFrame:
    """Trials on this side of the wall: beyond it those ticks are counted that were not given up."""
    return found[numbers(found, "missed") <= SPENT * numbers(found, "due")] if len(found) else found


def _against_rate(found: pd.DataFrame, series: str, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Ticks due a second, and lateness there, µs: cells of one rate are one point."""
    mine = found[found["design"] == series] if len(found) else found
    if mine.empty:
        return np.empty(0), np.empty((0, 3))
    rate = (numbers(mine, "processes") / numbers(mine, "granularity_us") * MICROSECONDS).round(3)
    levels = {r: level(numbers(part, column)) for r, part in mine.groupby(rate)}
    return np.array(list(levels), dtype=float), np.array(list(levels.values())).reshape(-1, 3)
