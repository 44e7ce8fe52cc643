"""At whose expense: CPU time a reply, the switch's as a part of its own, and where a server's microseconds go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from retrospective.analysis import userstack
from retrospective.analysis.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    PURPLE,
    SKY,
    VERMILION,
    YELLOW,
    Entry,
    NothingToDraw,
    Site,
    key,
    lines,
    panels,
    styled,
)
from retrospective.analysis.figures.userstack_bulk import diamonds
from retrospective.analysis.figures.userstack_style import level, required, series_style, trials
from retrospective.analysis.formatting import fmt_integer, fmt_number
from retrospective.analysis.statistics import mean_interval
from retrospective.analysis.userstack import PARTS, PAYERS, by_round, numbers, of_series, series_in

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: Whose CPU: how dark, and hatched where it is the switch's.
PAYER_STYLE: dict[str, dict[str, Any]] = {
    "server": {"alpha": 1.0},
    "switch": {"alpha": 0.45, "hatch": "////", "edgecolor": "white", "linewidth": 0},
    "client": {"alpha": 0.25},
}
PART_STYLE = {
    "parse": (SKY, "frames and headers"),
    "tcp": (BLUE, "TCP"),
    "timers": (PURPLE, "timers"),
    "copies": (GREEN, "copies"),
    "crossings": (VERMILION, "crossings"),
    "application": (YELLOW, "application"),
    "kernel": (GREY, "kernel, below system calls"),
    "other": (PALE, "not told apart"),
    "switch": (ORANGE, "switch"),
}


@styled
def replies(site: Site, reference: Site | None = None) -> Figure:
    """Draw CPU time a reply, of server, switch and client: a bar a stack; at its end replies a CPU-second."""
    found = userstack.costs(required(site, "replies"))
    recorded = userstack.costs(trials(reference, "replies"))
    taken = [f"{payer}_us" for payer in PAYERS]
    names = [one for one in series_in(found) if numbers(of_series(found, one), "server_us").notna().any()]
    if not names:
        raise NothingToDraw("no valid trial of experiment 'replies' told CPU time by process")
    names.sort(key=lambda one: -float(of_series(found, one)[taken].sum(axis="columns").mean()))
    figure, ((cell,),) = panels(1, 1, height=0.3 * len(names) + 0.9)
    for y, series in enumerate(names):
        mine = of_series(found, series)
        left = 0.0
        for payer in PAYERS:
            width = float(numbers(mine, f"{payer}_us").mean())
            if np.isfinite(width) and width > 0:
                cell.barh(y, width, 0.62, left, facecolor=series_style(series)["color"], **PAYER_STYLE[payer])
                left += width
        whole = numbers(mine, "server_us") + numbers(mine, "switch_us")
        mean, low, high = mean_interval(whole)
        if np.isfinite(low) and len(mine) > 2:
            cell.errorbar(mean, y, xerr=[[mean - low], [high - mean]], color=BLACK, capsize=2.5, linewidth=1)
        beside = of_series(recorded, series)
        theirs = (
            float((numbers(beside, "server_us") + numbers(beside, "switch_us")).mean())
            if len(beside)
            else np.nan
        )
        if np.isfinite(theirs):
            cell.plot(theirs, y, marker="D", color="white", markeredgecolor=BLACK, zorder=5)
        rate = level(by_round(mine, numbers(mine, "replies_per_cpu_s")))[0]
        end = float(np.nanmax([left, high if len(mine) > 2 else np.nan, theirs]))
        told = {"xytext": (5, 0), "textcoords": "offset points", "va": "center", "fontsize": 7}
        cell.annotate(f"{fmt_integer(rate)} replies/CPU-s", (end, y), **told)
    lines([cell], [series.name for series in names])
    cell.set_xlim(0, cell.get_xlim()[1] * 1.25)
    cell.set_xlabel("CPU time per reply, µs (1 KiB, 64 connections, one outstanding on each)")
    shades: list[Entry] = [({"facecolor": GREY, **PAYER_STYLE[payer]}, payer) for payer in PAYERS]
    bar = {"color": BLACK, "marker": "|", "markersize": 9, "linestyle": "none"}
    key(figure, None, [*shades, (bar, "server and switch, 95 % interval"), *diamonds(reference)])
    return figure


@styled
def where(site: Site, reference: Site | None = None) -> Figure:
    """Draw where a server's time goes, µs a reply: a bar a stack, a colour a part, the switch at its end."""
    required(site, "where")
    found = userstack.where_time_goes(site.frame)
    if found.empty:
        raise NothingToDraw("no valid trial of experiment 'where' has a profile beside its CPU time")
    recorded = userstack.where_time_goes(reference.frame) if reference is not None else found.iloc[:0]
    names = list(dict.fromkeys(found["series"]))
    figure, ((cell,),) = panels(1, 1, height=0.36 * len(names) + 0.8)
    shown = [part for part in (*PARTS, "other", "switch") if float(found[part].max()) > 0]
    for y, name in enumerate(names):
        left = 0.0
        for part in shown:
            width = float(found.loc[found["series"] == name, part].mean())
            cell.barh(y, width, 0.62, left, color=PART_STYLE[part][0], edgecolor="white", linewidth=0.5)
            if width > 0.07 * _longest(found, shown):
                ink = "white" if part in ("tcp", "timers", "crossings", "copies") else BLACK
                middle = {"ha": "center", "va": "center", "fontsize": 6.8, "color": ink}
                cell.text(left + width / 2, y, fmt_number(width, 2), **middle)
            left += width
        beside = recorded[recorded["series"] == name]
        if len(beside):
            theirs = float(beside[shown].sum(axis="columns").mean())
            cell.plot(theirs, y, marker="D", color="white", markeredgecolor=BLACK, zorder=5)
    lines([cell], names)
    cell.set_xlim(left=0)
    cell.set_xlabel("CPU time per reply, µs")
    entries: list[Entry] = [({"facecolor": PART_STYLE[part][0]}, PART_STYLE[part][1]) for part in shown]
    key(figure, None, [*entries, *diamonds(reference)])
    return figure


def _longest(found: pd.DataFrame, shown: list[str]) -> float:
    return float(found.groupby("series")[shown].mean().sum(axis="columns").max())
