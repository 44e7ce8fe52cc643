"""What is left under loss, and what fine time-outs are for: goodput beside Linux's, and incast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import ticker

from retrospective.analysis import userstack
from retrospective.analysis.claims.userstack import GOODPUT
from retrospective.analysis.evidence import effect
from retrospective.analysis.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    VERMILION,
    Entry,
    NothingToDraw,
    Site,
    common_entries,
    dot,
    key,
    line,
    panels,
    plain_ticks,
    styled,
)
from retrospective.analysis.figures.userstack_style import (
    ALGORITHM_STYLE,
    faint_entries,
    level,
    lines,
    required,
)
from retrospective.analysis.timers import time_name
from retrospective.analysis.userstack import ALGORITHMS, DIRECTIONS, NO_IMPAIRMENT

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from retrospective.analysis.userstack import Point

BOUND = {"color": BLACK, "linewidth": 1.1, "linestyle": (0, (4, 2))}
#: Beyond this on either side an interval leaves the panel: it would flatten what differs.
LIMITS = (0.2, 5.0)


@styled
def goodput(site: Site, reference: Site | None = None) -> Figure:
    """Draw goodput of ours ÷ Linux's: a line an impaired cell, a panel a direction, a colour an algorithm."""
    required(site, "impaired")
    found = userstack.impaired(site.frame)
    recorded = userstack.impaired(reference.frame) if reference is not None else found.iloc[:0]
    cells = userstack.impairments(found)
    figure, (axes,) = panels(1, 2, height=0.34 * len(cells) + 0.6, sharex=True, sharey=True)
    drawn = [
        _forest(cell, source, cells, direction, faint=source is recorded)
        for cell, direction in zip(axes, DIRECTIONS, strict=True)
        for source in (recorded, found)
    ]
    if not any(drawn):
        raise NothingToDraw(
            "no cell of experiment 'impaired' has ours and Linux with the same algorithm and seed"
        )
    names = [cell if cell != NO_IMPAIRMENT else "not impaired" for cell in cells]
    for cell, title in zip(axes, ("ours sends", "ours receives"), strict=True):
        lines(cell, names)
        cell.axvline(GOODPUT, **BOUND, zorder=1)
        cell.axvline(1, color=GREY, linewidth=0.8, zorder=1)
        cell.set_title(title)
        cell.set_xlabel("goodput, ours ÷ Linux")
    axes[0].set_xscale("log")
    low, high = axes[0].get_xlim()
    low, high = max(min(low, 0.65), LIMITS[0]), min(max(high, 1.15), LIMITS[1])
    for cell in axes:
        cell.set_xlim(low, high)
        plain_ticks(cell.xaxis, low, high)
    entries: list[Entry] = [
        ({"linestyle": "none", **ALGORITHM_STYLE[name]}, f"both {name}") for name in ALGORITHMS
    ]
    bar = ({"color": GREY, "linewidth": 1}, "95 % interval over seeds")
    key(figure, None, [*entries, bar, (BOUND, f"promised: {GOODPUT:g}"), *faint_entries(reference)])
    return figure


def _forest(cell: Axes, trials_of: pd.DataFrame, cells: list[str], direction: str, *, faint: bool) -> int:
    """A dot an algorithm on each cell's line; returns how many."""
    count = 0
    for y, name in enumerate(cells):
        for algorithm, shift in zip(ALGORITHMS, (-0.14, 0.14), strict=True):
            found = effect(userstack.goodput(trials_of, name, algorithm, direction))
            if found.n:
                bounds = (found.low, found.high) if found.n > 2 else (np.nan, np.nan)
                dot(
                    cell, np.array([found.value, *bounds]), y + shift, ALGORITHM_STYLE[algorithm], faint=faint
                )
                count += 1
    return count


# ------------------------------------------------------------------------------------------------- incast

#: By how small a least time-out is, from Linux's on: the smaller the warmer; ticks by line and marker.
WARMTH = (BLACK, BLUE, GREEN, ORANGE, VERMILION)
TICKS = (((0, (1, 1)), "v"), ((0, (4, 1.5)), "D"), ((0, (5, 1, 1, 1)), "s"), ("solid", "o"))


@styled
def incast(site: Site, reference: Site | None = None) -> Figure:
    """Draw when a block that is striped over many senders has come: a curve a least time-out and a tick."""
    required(site, "incast")
    points = userstack.incast_points(site.frame)
    if not points:
        raise NothingToDraw("no valid trial of experiment 'incast' says its least time-out and its tick")
    styles = _point_styles(points)
    figure, ((cell,),) = panels(1, 1, height=2.9)
    for point in points:
        for source in (reference, site):
            if source is not None:
                x, y = _by_senders(source, point)
                line(cell, x, y, faint=source is reference, bars=True, **styles[point])
    cell.set_xscale("log", base=2)
    cell.set_yscale("log")
    counts = sorted({float(n) for point in points for n in userstack.completion(site.frame, point)})
    cell.set_xticks(counts, [f"{count:g}" for count in counts])
    cell.minorticks_off()
    low, high = cell.get_ylim()
    cell.set_ylim(low / 1.1, high * 1.1)
    cell.yaxis.set_major_locator(ticker.LogLocator(base=10, subs=(1, 2, 5)))
    cell.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: time_name(value)))
    cell.set_xlabel("senders")
    cell.set_ylabel("until a block has come")
    entries: list[Entry] = [
        (styles[point], f"least time-out {time_name(point.min_rto_us)}, tick {time_name(point.tick_us)}")
        for point in points
    ]
    key(figure, None, [*entries, *common_entries(reference)[1:]], ncols=2)
    return figure


def _point_styles(points: list[Point]) -> dict[Point, dict[str, Any]]:
    least = sorted({point.min_rto_us for point in points}, reverse=True)
    ticks = sorted({point.tick_us for point in points}, reverse=True)
    styles = {}
    for point in points:
        dashes, marker = TICKS[max(0, len(TICKS) - len(ticks) + ticks.index(point.tick_us)) % len(TICKS)]
        colour = WARMTH[least.index(point.min_rto_us) % len(WARMTH)]
        styles[point] = {"color": colour, "linestyle": dashes, "marker": marker}
    return styles


def _by_senders(site: Site, point: Point) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of senders, and completion with its interval, µs."""
    table = userstack.completion(site.frame, point)
    found = {float(count): level(values * 1e3) for count in table if len(values := table[count].dropna())}
    return np.array(list(found), dtype=float), np.array(list(found.values())).reshape(-1, 3)
