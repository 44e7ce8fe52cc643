"""What fine time-outs are for: incast, in virtual time and through the switch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import ticker

from retrospective.analysis import userstack
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
    key,
    line,
    panels,
    styled,
)
from retrospective.analysis.figures.userstack_style import level, required
from retrospective.analysis.timers import time_name
from retrospective.analysis.userstack import LIVE, MANY, MODEL, Point, World

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
    _by_time(cell)
    _senders(cell, site, points, MANY)
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


def _by_time(cell: Axes) -> None:
    cell.set_yscale("log")
    low, high = cell.get_ylim()
    cell.set_ylim(low / 1.1, high * 1.1)
    cell.yaxis.set_major_locator(ticker.LogLocator(base=10, subs=(1, 2, 5)))
    cell.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: time_name(value)))
    cell.set_ylabel("until a block has come")


def _senders(cell: Axes, site: Site, points: list[Point], world: World) -> None:
    counts = sorted({float(n) for one in points for n in userstack.completion(site.frame, one, world=world)})
    cell.set_xscale("log", base=2)
    cell.set_xticks(counts, [f"{count:g}" for count in counts])
    cell.minorticks_off()
    cell.set_xlabel("senders")


def _by_senders(site: Site, point: Point, world: World = MANY) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of senders, and completion with its interval, µs."""
    table = userstack.completion(site.frame, point, world=world)
    found = {float(count): level(values * 1e3) for count in table if len(values := table[count].dropna())}
    return np.array(list(found), dtype=float), np.array(list(found.values())).reshape(-1, 3)


#: Curves of a least time-out and a tick, in the order of points; worlds are told apart by line and filling.
LIVE_STYLE = (
    {"color": BLACK, "marker": "s"},
    {"color": BLUE, "marker": "D"},
    {"color": GREEN, "marker": "v"},
)
FINEST_STYLE = {"color": VERMILION, "marker": "o"}
MODEL_LINE = (0, (4, 1.5))


@styled
def live(site: Site, reference: Site | None = None) -> Figure:
    """Draw the same through the switch and by the clock, over what the model in virtual time says; and time-outs.

    The reference machine's is not drawn behind the reader's own: what is there to be compared with is the model.
    """
    del reference
    required(site, LIVE.experiment, path=LIVE.path)
    points = userstack.incast_points(site.frame, LIVE)
    styles = {point: LIVE_STYLE[place % len(LIVE_STYLE)] for place, point in enumerate(points[:-1])}
    styles[points[-1]] = FINEST_STYLE
    figure, ((blocks, timeouts),) = panels(1, 2, height=2.7)
    for point in points:
        for world, model in ((MODEL, True), (LIVE, False)):
            look = styles[point] | {"linestyle": MODEL_LINE if model else "solid"}
            line(blocks, *_by_senders(site, point, world), bars=True, hollow=model, **look)
            line(timeouts, *_timeouts(site, point, world), hollow=model, **look)
    _by_time(blocks)
    for cell in (blocks, timeouts):
        _senders(cell, site, points, LIVE)
    timeouts.set_yscale("symlog", linthresh=1)
    timeouts.set_ylim(bottom=0)
    timeouts.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    timeouts.set_ylabel("time-outs a block")
    entries: list[Entry] = [
        (styles[point], f"least time-out {time_name(point.min_rto_us)}, tick {time_name(point.tick_us)}")
        for point in points
    ]
    hollow = {"color": GREY, "marker": "o", "markerfacecolor": "white", "linestyle": MODEL_LINE}
    entries += [(hollow, "hollow, dashed: in virtual time"), *common_entries(None, bars=True)]
    key(figure, None, entries, ncols=2)
    return figure


def _timeouts(site: Site, point: Point, world: World) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of senders, and time-outs a block: their mean alone, since it may be zero."""
    counted, blocks = (
        userstack.completion(site.frame, point, name, world) for name in ("timeouts", "blocks")
    )
    found = {
        float(count): float((counted[count] / blocks[count]).mean()) for count in counted if count in blocks
    }
    y = np.full((len(found), 3), np.nan)
    y[:, 0] = list(found.values())
    return np.array(list(found), dtype=float), y
