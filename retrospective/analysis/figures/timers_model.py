"""The cost model: what it predicts of numbers of processes it had not seen, and of 10,000."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from retrospective.analysis import cost_model, timers
from retrospective.analysis.figures.style import (
    BLACK,
    DIAGONAL,
    GREY,
    PALE,
    Entry,
    NothingToDraw,
    Site,
    key,
    panels,
    plain_ticks,
    styled,
)
from retrospective.analysis.figures.timers_style import driver_style, short_number, time_axis
from retrospective.analysis.statistics import mean_interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Where the model is carried to, µs.
GRANULARITIES_US = (250_000.0, 100_000.0, 10_000.0, 1_000.0)
BAND = "#F2F2F2"


@styled
def model(site: Site, reference: Site | None = None) -> Figure:
    """Draw predicted against measured cores where the fit had not looked; and cores of many processes."""
    del reference  # a model is of one machine
    frame = timers.settled(site.frame)
    held = cost_model.held_out(frame)
    if held.errors.empty:
        raise NothingToDraw("too few numbers of processes to fit the model to some and test it on others")
    far = cost_model.carried(frame, GRANULARITIES_US)
    figure, (cells,) = panels(1, 2, height=2.8)
    drivers = _held(cells[0], held.errors)
    entries: list[Entry] = [(driver_style(name) | {"linestyle": "none"}, name) for name in drivers]
    entries += [
        ({"facecolor": PALE}, f"within {100 * cost_model.MEDIAN_BOUND:.0f} %"),
        ({"facecolor": BAND}, f"within {100 * cost_model.P90_BOUND:.0f} %"),
    ]
    if far:
        entries += _far(cells[1], far, frame)
    else:
        cells[1].axis("off")
    key(figure, None, entries, ncols=4)
    return figure


def _held(cell: Axes, errors: pd.DataFrame) -> list[str]:
    """Predicted against measured; the bands are what was promised of the median and of nine in ten."""
    both = errors[["measured", "predicted"]].to_numpy(dtype=float)
    both = both[(both > 0).all(axis=1)]
    ends = np.array([both.min() / 1.6, both.max() * 1.6]) if len(both) else np.array([0.01, 1.0])
    for bound, colour in ((cost_model.P90_BOUND, BAND), (cost_model.MEDIAN_BOUND, PALE)):
        cell.fill_between(ends, ends * (1 - bound), ends * (1 + bound), color=colour, linewidth=0, zorder=0)
    cell.plot(ends, ends, **DIAGONAL, zorder=1)
    names = [one.driver for one in errors["cell"]]
    drivers = timers.in_order(names, timers.SERIES)
    for driver in drivers:
        mine = errors[[name == driver for name in names]]
        style = driver_style(driver) | {"linestyle": "none"}
        cell.plot(mine["measured"], mine["predicted"], **style, alpha=0.85, zorder=3)
    for axis in ("x", "y"):
        getattr(cell, f"set_{axis}scale")("log")
        getattr(cell, f"set_{axis}lim")(*ends)
        plain_ticks(getattr(cell, f"{axis}axis"), *ends, 5)
    cell.set_title("Numbers of processes held out")
    cell.set_xlabel("cores burnt, measured")
    cell.set_ylabel("predicted")
    return drivers


def _far(cell: Axes, far: list[cost_model.Far], frame: pd.DataFrame) -> list[Entry]:
    """Cores of many processes with their interval, beside the most processes that were measured."""
    processes = far[0].cell.processes
    style = driver_style(timers.TICKLESS)
    x = np.array([one.cell.granularity_us for one in far])
    y = np.array([(one.cores, one.low, one.high) for one in far])
    cell.plot(x, y[:, 0], **style, zorder=4)
    cell.vlines(x, y[:, 1], y[:, 2], color=style["color"], linewidth=1, zorder=3)
    for one, place in zip(far, y, strict=True):
        cell.annotate(
            f"{place[0]:.2g}" if place[0] < 10 else f"{place[0]:.0f}",
            (one.cell.granularity_us, place[0]),
            xytext=(6, -9),
            textcoords="offset points",
            ha="left",
            fontsize=7,
        )
    look = {"color": GREY, "marker": "o", "linestyle": "none"}
    entries: list[Entry] = [(style, f"{processes:,} processes, by the model, 95 % interval")]
    measured = timers.cells(frame, timers.TICKLESS)
    most = max((one.processes for one in measured), default=0)
    seen = [
        (one.granularity_us, mean_interval(timers.cores(frame, timers.TICKLESS, one))[0])
        for one in measured
        if one.processes == most and one.granularity_us >= x.min()
    ]
    seen = [place for place in seen if place[1] > 0]
    if seen:
        cell.plot(*zip(*seen, strict=True), **look, zorder=2)
        entries.append((look, f"{most:,} processes, measured"))
    cpus = timers.cpus(frame)
    line = {"color": BLACK, "linewidth": 0.8, "linestyle": (0, (4, 2))}
    cell.axhline(cpus, **line, zorder=1)
    entries.append((line, f"the {cpus} CPUs of this machine"))
    cell.set_xscale("log")
    cell.set_yscale("log")
    cell.set_xlim(x.max() * 2.5, x.min() / 2)
    time_axis(cell.xaxis)
    cell.yaxis.set_major_formatter(lambda value, _: short_number(value))
    cell.set_title(f"Carried to {processes:,} processes")
    cell.set_xlabel("a tick each, every …")
    cell.set_ylabel("cores")
    return entries
