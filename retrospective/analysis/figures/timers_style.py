"""How facilities and drivers of timers look in every figure, and the rows that a figure is drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib import ticker

from retrospective.analysis import timers
from retrospective.analysis.figures.style import (
    BLACK,
    BLUE,
    BROWN,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    VIOLET,
    NothingToDraw,
    Site,
    plain_ticks,
    spread_labels,
)
from retrospective.analysis.statistics import ratio_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MICROSECONDS = 1e6  # in a second

#: Colour and marker of every facility; ours are filled, what stands beside them is hollow.
FACILITY_STYLE: dict[str, dict[str, Any]] = {
    "list": {"color": BROWN, "marker": "v"},
    "heap": {"color": SKY, "marker": "^"},
    "heap4": {"color": BLUE, "marker": "s"},
    "hashed": {"color": ORANGE, "marker": "P"},
    "wheel": {"color": VERMILION, "marker": "o"},
    "lazy": {"color": GREEN, "marker": "D"},
    "libev": {"color": PURPLE, "marker": "h", "markerfacecolor": "white"},
    "libuv": {"color": VIOLET, "marker": "<", "markerfacecolor": "white"},
    "timerfd": {"color": BLACK, "marker": "X", "markerfacecolor": "white"},
    "nothing": {"color": GREY, "marker": "x", "linestyle": (0, (1, 1.5))},
}
#: Colour and marker of every driver; aligned ones, and those with slack, have their driver's colour and are hollow.
DRIVER_STYLE: dict[str, dict[str, Any]] = {
    "timerfd": {"color": BLUE, "marker": "o"},
    "timerfd (aligned)": {"color": BLUE, "marker": "o", "markerfacecolor": "white"},
    "tick": {"color": BROWN, "marker": "v"},
    "epoll": {"color": ORANGE, "marker": "^"},
    "epoll (slack 1 ns)": {"color": ORANGE, "marker": "<"},
    "epoll (slack 1 ms)": {"color": ORANGE, "marker": "^", "markerfacecolor": "white"},
    "nanosleep": {"color": PURPLE, "marker": "s"},
    "nanosleep (slack 1 ns)": {"color": PURPLE, "marker": "h"},
    "uring": {"color": GREEN, "marker": "D"},
    "spin": {"color": BLACK, "marker": "x"},
    "domain": {"color": VERMILION, "marker": "P"},
    "domain (aligned)": {"color": VERMILION, "marker": "P", "markerfacecolor": "white"},
    "soft": {"color": GREEN, "marker": "D"},
}
OTHER = {"color": GREY, "marker": "p"}


def facility_style(facility: str) -> dict[str, Any]:
    """Colour and marker of a facility, the same in every figure."""
    return FACILITY_STYLE.get(facility, OTHER)


def driver_style(series: str) -> dict[str, Any]:
    """Colour and marker of a driver, the same in every figure."""
    return DRIVER_STYLE.get(series, OTHER)


# -------------------------------------------------------------------------------------------------- rows


def trials(site: Site | None, experiment: str, **where: object) -> pd.DataFrame:
    """Valid rows of an experiment, none of no site."""
    return timers.trials(site.frame if site is not None else pd.DataFrame(), experiment, **where)


def required(site: Site, experiment: str, **where: object) -> pd.DataFrame:
    """The same, or ``NothingToDraw`` with the reason most often given: what the machine lacks, or disturbed trials."""
    found = trials(site, experiment, **where)
    if not found.empty:
        return found
    lost = site.frame
    if len(lost):
        lost = lost[(lost["chapter"] == timers.CHAPTER) & (lost["experiment"] == experiment)]
        lost = lost[~lost["valid"].astype(bool)]
    why = f" ({lost['reason'].astype(str).str.split(':').str[0].mode()[0]})" if len(lost) else ""
    raise NothingToDraw(f"no valid trials of experiment {experiment!r}{why}")


def numbers(found: pd.DataFrame, column: str) -> pd.Series:
    """A column as numbers, NaN where it was not measured."""
    if column not in found:
        return pd.Series(np.nan, index=found.index)
    return pd.to_numeric(found[column], errors="coerce").astype(float)


def per_second(found: pd.DataFrame, column: str) -> pd.Series:
    """A counter of the slices in which processes tick, per second of them."""
    return numbers(found, column) / numbers(found, "seconds")


def level(values: pd.Series) -> np.ndarray:
    """Geometric mean and its 95 % interval, ``[value, low, high]``, NaN where there are none.

    Of two values the interval is wider than any axis (the t-distribution with one degree of freedom) and says nothing.
    """
    found = ratio_interval(values)
    bounds = (found.low, found.high) if len(values) > 2 else (np.nan, np.nan)
    return np.array([found.value, *bounds])


# ----------------------------------------------------------------------------------------------- drawing


def label_ends(
    cell: Axes,
    ends: Mapping[str, tuple[float, float]],
    styles: Mapping[str, Mapping[str, Any]],
    *,
    names: Mapping[str, str] | None = None,
    apart: float = 0.075,
) -> None:
    """Name each curve right of the panel, at its end's height (limits and scales of the panel are final by then)."""
    if not ends:
        return
    to_panel = cell.transAxes.inverted()
    places = [float(to_panel.transform(cell.transData.transform(end))[1]) for end in ends.values()]
    heights = spread_labels(places, apart, 0.0, 1.0)
    for (name, end), height in zip(ends.items(), heights, strict=True):
        colour = styles.get(name, OTHER)["color"]
        cell.annotate(
            (names or {}).get(name, name),
            xy=end,
            xycoords="data",
            xytext=(1.04, height),
            textcoords="axes fraction",
            fontsize=6.8,
            color=colour,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2},
        )


def short_number(value: float) -> str:
    """10, 1k, 100k, 1M: ticks of an axis over many decades."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def time_axis(axis: Any, most: int = 12) -> None:
    """Times, µs, on a logarithmic axis in the unit that reads best, at most so many (limits are final by then)."""
    low, high = sorted(axis.get_view_interval())
    decades = np.arange(np.ceil(np.log10(low)), np.floor(np.log10(high)) + 1)
    if len(decades) > 2:
        axis.set_major_locator(ticker.FixedLocator(list(10.0 ** decades[:: -(-len(decades) // most)])))
        axis.set_minor_locator(ticker.NullLocator())
    else:
        plain_ticks(axis, low, high, min(most, 6))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: timers.time_name(value)))


def count_axis(axis: Any) -> None:
    """Counts on a logarithmic axis."""
    axis.set_major_locator(ticker.LogLocator(base=10, numticks=12))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: short_number(value)))
    axis.set_minor_locator(ticker.NullLocator())
