"""Drivers side by side: the shoot-out at equal accuracy, the shared domain beside its floor, and soft timers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from retrospective.analysis import timers
from retrospective.analysis.claims.timers_today import NEAR_FLOOR
from retrospective.analysis.figures.style import (
    BLACK,
    GREY,
    PALE,
    Entry,
    NothingToDraw,
    Site,
    common_entries,
    dot,
    key,
    line,
    lines,
    panels,
    styled,
)
from retrospective.analysis.figures.timers_style import (
    MICROSECONDS,
    driver_style,
    label_ends,
    level,
    numbers,
    per_second,
    required,
    time_axis,
    trials,
)
from retrospective.analysis.formatting import MINUS
from retrospective.analysis.statistics import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Published of soft timers: the share of work that rate clocking costs, from … to.
SOFT_PUBLISHED = (0.02, 0.06)
FLOOR = {"color": BLACK, "linewidth": 1.0}
BOUND = {"color": BLACK, "linewidth": 1.0, "linestyle": (0, (4, 2))}
QUANTILES = ("lateness_p50_us", "lateness_p99_us")


def _late(cell: Axes, found: pd.DataFrame, y: float, style: dict[str, Any], *, faint: bool = False) -> None:
    """Lateness from its median to its 99th percentile."""
    median, tail = (level(numbers(found, name)) for name in QUANTILES)
    if not np.isfinite(median[0]):
        return
    if faint:
        for value in (median[0], tail[0]):
            cell.plot(value, y, marker="|", markersize=8, color=style["color"], alpha=0.55, zorder=2)
        return
    cell.plot([median[0], tail[0]], [y, y], color=style["color"], linewidth=1.1, zorder=3)
    cell.plot(median[0], y, linestyle="none", markersize=4.6, **style, zorder=4)
    cell.plot(tail[0], y, marker="|", markersize=7, markeredgewidth=1.6, color=style["color"], zorder=4)


def _late_entries() -> list[Entry]:
    marker = {"color": GREY, "linestyle": "none"}
    return [(marker | {"marker": "o"}, "late by: median"), (marker | {"marker": "|"}, "99th percentile")]


def _time_limits(cell: Axes, most: int = 6) -> None:
    cell.set_xscale("log")
    low, high = cell.get_xlim()
    cell.set_xlim(low / 1.2, high * 1.2)
    time_axis(cell.xaxis, most)


# ---------------------------------------------------------------------------------------------- shoot-out


@styled
def shoot_out(site: Site, reference: Site | None = None) -> Figure:
    """Draw what a tick costs and how late it is, at equal accuracy: a line a driver, a column of panels a cell."""
    found = required(site, "shoot-out")
    recorded = trials(reference, "shoot-out")
    names = timers.in_order(found["design"].unique(), timers.SERIES)
    places = [numbers(found, "processes"), numbers(found, "granularity_us")]
    cells = sorted(set(zip(*places, strict=True)), key=lambda place: (place[0], -place[1]))
    figure, axes = panels(2, len(cells), height=0.2 * len(names) + 0.45, sharex="row")
    for n, (processes, granularity) in enumerate(cells):
        for source in (recorded, found):
            mine = source[
                (numbers(source, "processes") == processes)
                & (numbers(source, "granularity_us") == granularity)
            ]
            for y, series in enumerate(names):
                of_it = mine[mine["design"] == series] if len(mine) else mine
                if of_it.empty:
                    continue
                faint, style = source is recorded, driver_style(series)
                dot(axes[0, n], level(tick_cpu_us(of_it)), y, style, faint=faint)
                _late(axes[1, n], of_it[of_it["measure"] == "lateness"], y, style, faint=faint)
        axes[0, n].set_title(f"{processes:g} × {timers.time_name(granularity)}")
    costs = [line.get_xdata()[0] for cell in axes[0] for line in cell.lines if len(line.get_xdata()) == 1]
    if costs:  # a wide interval may leave the panel: it would flatten what differs
        axes[0, 0].set_xlim(min(costs) / 4, max(costs) * 4)
    for row, label in zip(axes, ("CPU a tick", "late by"), strict=True):
        lines(row, names)
        _time_limits(row[0], most=3)
        for cell in row:
            cell.set_xlabel(label)
            cell.tick_params(axis="x", labelsize=6.4)
    entries = [*_late_entries(), ({"color": GREY, "linewidth": 1}, "CPU: 95 % interval")]
    key(figure, None, entries + _faint(reference))
    return figure


def tick_cpu_us(found: pd.DataFrame) -> pd.Series:
    """CPU time a delivered tick, µs; trials that burnt nothing have none."""
    mine = found[found["measure"] == "cores"]
    cost = numbers(mine, "cores") / per_second(mine, "delivered") * MICROSECONDS
    return cost[cost > 0]


def _faint(reference: Site | None) -> list[Entry]:
    look = {"color": GREY, "marker": "|", "linestyle": "none", "alpha": 0.55}
    return [(look, f"faint: {reference.name}")] if reference is not None else []


# ------------------------------------------------------------------------------------------------- domain


@styled
def domain(site: Site, reference: Site | None = None) -> Figure:
    """Draw cores and lateness of the shared domain beside a timer of each process's own, and its floor."""
    found = required(site, "domain")
    recorded = trials(reference, "domain")
    names = timers.in_order(found["design"].unique(), timers.SERIES)
    figure, (cells,) = panels(1, 2, height=0.26 * len(names) + 0.9)
    cores, late = cells
    for source in (recorded, found):
        for y, series in enumerate(names):
            mine = source[source["design"] == series] if len(source) else source
            if mine.empty:
                continue
            faint, style = source is recorded, driver_style(series)
            burnt = mine[mine["measure"] == "cores"]
            dot(cores, np.array(mean_interval(numbers(burnt, "cores"))), y, style, faint=faint)
            _late(late, mine[mine["measure"] == "lateness"], y, style, faint=faint)
    if not cores.lines:
        raise NothingToDraw("no valid trials of experiment 'domain' counted cores")
    entries = [*_late_entries(), ({"color": GREY, "linewidth": 1}, "cores: 95 % interval")]
    floor = _floor(site, found)
    if np.isfinite(floor):
        cores.axvline(floor, **FLOOR, zorder=1)
        cores.axvline(NEAR_FLOOR * floor, **BOUND, zorder=1)
        entries += [
            (FLOOR, "floor: a wake-up on the same CPU a tick"),
            (BOUND, f"{NEAR_FLOOR:g} times the floor: promised"),
        ]
    cores.set_xlim(left=0)
    cores.set_xlabel("cores burnt")
    late.set_xlabel("late by")
    lines(cells, names)
    _time_limits(late)
    processes, granularity = (float(numbers(found, n).median()) for n in ("processes", "granularity_us"))
    cores.set_title(f"{processes:g} processes, a tick each every {timers.time_name(granularity)}")
    key(figure, None, entries + _faint(reference), ncols=3)
    return figure


def _floor(site: Site, found: pd.DataFrame) -> float:
    """Cores that waking a sleeping process of the same CPU takes, as often as ticks were delivered."""
    price = timers.price(site.frame, "wake-same-cpu").mean()
    delivered = per_second(found[found["measure"] == "cores"], "delivered").median()
    return float(price * 1e-9 * delivered)


# ------------------------------------------------------------------------------------------------- soft


@styled
def soft(site: Site, reference: Site | None = None) -> Figure:
    """Draw the share of work that timers take from a busy process against their period, soft and by interrupts."""
    required(site, "soft")
    found = losses(timers.settled(site.frame))
    recorded = losses(timers.settled(reference.frame)) if reference is not None else {}
    if not found:
        raise NothingToDraw("experiment 'soft' has no busy process without timers beside those with them")
    figure, ((cell,),) = panels(1, 1, height=2.5)
    cell.axhspan(*SOFT_PUBLISHED, color=PALE, zorder=0, linewidth=0)
    ends, reach = {}, [SOFT_PUBLISHED[1]]
    periods = set()
    for source in (recorded, found):
        for series in sorted(source):
            x = np.array(list(source[series]), dtype=float)
            y = np.array([mean_interval(lost) for lost in source[series].values()]).reshape(-1, 3)
            line(cell, x, y, faint=source is recorded, bars=True, **driver_style(series))
            if source is found:
                ends[series] = (x[-1], y[-1, 0])
                reach += list(y[:, 0])
                periods |= set(x)
    cell.set_xscale("log")
    cell.set_xlim(min(periods) / 1.3, max(periods) * 1.3)
    cell.set_xticks(sorted(periods), [timers.time_name(period) for period in sorted(periods)])
    cell.minorticks_off()
    cell.set_ylim(min(0.0, 1.1 * min(reach)), 1.15 * max(reach))
    cell.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %".replace("-", MINUS))
    cell.set_xlabel("a timer expires every")
    cell.set_ylabel("work lost")
    label_ends(cell, ends, {name: driver_style(name) for name in ends}, names=SOFT_NAMES, apart=0.09)
    entries = [({"facecolor": PALE}, "published of soft timers, 1999"), *common_entries(reference, bars=True)]
    key(figure, None, entries)
    return figure


SOFT_NAMES = {"soft": "soft: looked for\nin passing", "timerfd": "timerfd:\nan interrupt each"}


def losses(frame: pd.DataFrame) -> dict[str, dict[float, pd.Series]]:
    """Series -> period, µs -> share of a CPU that its timers take, a value a round."""
    result: dict[str, dict[float, pd.Series]] = {}
    for series in SOFT_NAMES:
        for period in timers.soft_periods(frame):
            lost = timers.overhead(frame, series, period)
            if len(lost):
                result.setdefault(series, {})[float(period)] = lost
    return result
