"""What a call costs by engine: reads by size, other calls, and the CPU time of a server's reply."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from retrospective.analysis import laziness, probes
from retrospective.analysis.figures.lazy_style import beside, required, series_style
from retrospective.analysis.figures.style import (
    BLACK,
    GREY,
    PALE,
    WORKLOAD_NAMES,
    NothingToDraw,
    Site,
    common_entries,
    floor_band,
    key,
    line,
    panels,
    plain_ticks,
    styled,
)
from retrospective.analysis.formatting import fmt_bytes, fmt_percent
from retrospective.analysis.laziness import in_order
from retrospective.analysis.statistics import NEGLIGIBLE, mean_interval, ratio_interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STATES = {"cached": "in memory", "cold": "from the disk", "direct": "O_DIRECT"}
#: Other calls than reads, in the order of the figure.
CALLS = (("pipe", "present"), ("pipe", "absent"), ("openstat", "warm"), ("openstat", "cold"))
BOUND = {"color": BLACK, "linestyle": (0, (4, 2)), "linewidth": 1}


@styled
def cost(site: Site, reference: Site | None = None) -> Figure:
    """Draw what a read costs, from the call until its result is there, as a ratio to the plain call, by size."""
    trials = required(site, "cost", operation="read")
    recorded = beside(reference, "cost", operation="read")
    states = [state for state in STATES if (trials["state"] == state).any()]
    figure, (cells,) = panels(1, len(states), height=2.7)
    for cell, state in zip(cells, states, strict=True):
        floor = probes.floor(site.frame, operation="read", state=state)
        floor_band(cell, floor)
        for source in (recorded, trials):
            _lines(cell, source, state, faint=source is recorded)
        cell.set_xscale("log", base=2)
        sizes = sorted(trials.loc[trials["state"] == state, "bytes"].astype(int).unique())
        cell.set_xticks(sizes, [fmt_bytes(size) for size in sizes], rotation=45 if len(sizes) > 3 else 0)
        cell.minorticks_off()
        cell.set_yscale("log")
        low, high = cell.get_ylim()
        cell.set_ylim(min(low, 0.9), max(high, 1.25))
        plain_ticks(cell.yaxis, *cell.get_ylim())
        width = f", A/A ±{(floor.factor - 1) * 100:.1f} %" if floor.measured else ""
        cell.set_title(STATES[state] + width)
        cell.set_xlabel("bytes a read")
        cell.grid(axis="x", visible=False)
    cells[0].set_ylabel("time of a read ÷ plain call's")
    names = in_order(trials["design"].unique())
    entries = [(series_style(name), name) for name in names]
    entries.append(({"facecolor": PALE}, "plain against itself"))
    key(figure, None, entries + common_entries(reference), ncols=5)
    return figure


def _lines(cell: Axes, trials: pd.DataFrame | None, state: str, *, faint: bool) -> None:
    if trials is None:
        return
    found = trials[trials["state"] == state]
    for series in in_order(found["design"].unique()):
        mine = found[found["design"] == series]
        groups = sorted(
            (int(size), part["ratio_plain"].astype(float)) for size, part in mine.groupby("bytes")
        )
        effects = [ratio_interval(ratios) for _, ratios in groups]
        x = np.array([size for size, _ in groups], dtype=float)
        y = np.array([(e.value, e.low, e.high) for e in effects]).reshape(-1, 3)
        line(cell, x, y, faint=faint, **series_style(series))


@styled
def calls(site: Site, reference: Site | None = None) -> Figure:
    """Draw the cost of calls other than reads as a ratio to the plain call's: a dot an engine, with its interval."""
    trials = required(site, "cost")
    there = [call for call in CALLS if len(_of(trials, call))]
    if not there:
        raise NothingToDraw("no valid probes of the cost of other calls than reads")
    recorded = beside(reference, "cost")
    names = in_order(name for call in there for name in _of(trials, call)["design"].unique())
    figure, ((cell,),) = panels(1, 1, height=0.12 * len(names) * len(there) + 0.8)
    step = 0.8 / max(1, len(names))
    for y, call in enumerate(there):
        for n, series in enumerate(names):
            at = y + step * (n - (len(names) - 1) / 2)
            for source in (recorded, trials):
                if source is not None:
                    values = _of(source, call)
                    _dot(
                        cell,
                        values.loc[values["design"] == series, "ratio_plain"],
                        at,
                        series,
                        source is recorded,
                    )
    cell.axvline(1, color=GREY, linewidth=0.8, zorder=1)
    cell.set_xscale("log")
    plain_ticks(cell.xaxis, *cell.get_xlim(), most=14)
    cell.set_yticks(range(len(there)), [laziness.call_name(call) for call in there])
    cell.set_ylim(len(there) - 0.5, -0.5)
    cell.grid(axis="y", visible=False)
    for between in range(1, len(there)):
        cell.axhline(between - 0.5, color=PALE, linewidth=0.8, zorder=0)
    cell.set_xlabel("time of a call ÷ plain call's")
    entries = [(series_style(name) | {"linestyle": "none"}, name) for name in names]
    common = common_entries(reference, bars=True)
    if reference is not None:
        common[-1] = ({"color": GREY, "marker": "|", "linestyle": "none"}, f"faint: {reference.name}")
    key(figure, None, entries + common, ncols=5)
    return figure


def _of(trials: pd.DataFrame, call: probes.Call) -> pd.DataFrame:
    return trials[(trials["operation"] == call[0]) & (trials["state"] == call[1])]


def _dot(cell: Axes, ratios: pd.Series, y: float, series: str, faint: bool) -> None:
    found = ratio_interval(ratios.astype(float))
    if not found.n:
        return
    style = series_style(series)
    if faint:
        cell.plot(found.value, y, marker="|", markersize=8, color=style["color"], alpha=0.55, zorder=2)
        return
    cell.plot(found.value, y, **style, markersize=4.2, zorder=4)
    if found.decided:
        reach = [[found.value - found.low], [found.high - found.value]]
        cell.errorbar(found.value, y, xerr=reach, fmt="none", ecolor=style["color"], capsize=2, linewidth=0.9)


@styled
def cpu(site: Site, reference: Site | None = None) -> Figure:
    """Draw the server's CPU time per reply by load, with lazy reads and with plain ones, and their ratio."""
    workloads = laziness.server_workloads(site.frame)
    if not workloads:
        raise NothingToDraw("no valid trials of the server with lazy reads")
    figure, cells = panels(len(workloads), 2, height=2.4)
    for (level, ratio), workload in zip(cells, workloads, strict=True):
        _cpu(level, ratio, site, reference, workload)
        if len(workloads) > 1:
            level.set_ylabel(f"{WORKLOAD_NAMES[workload]}\n{level.get_ylabel()}")
    entries = [(series_style(name), f"reads by {name}") for name in ("plain", laziness.LAZY)]
    entries.append((BOUND, f"{NEGLIGIBLE:g}"))
    key(figure, None, entries + common_entries(reference, bars=True))
    return figure


def _cpu(level: Axes, ratio: Axes, site: Site, reference: Site | None, workload: str) -> None:
    """Draw one workload: the levels of both engines, and their ratio."""
    loads = sorted(laziness.server_trials(site.frame, workload)["x_ratio"].unique())
    names = ("plain", laziness.LAZY)
    for source in (reference, site):
        if source is None:
            continue
        faint = source is reference
        found = laziness.server_trials(source.frame, workload)
        for n, name in enumerate(names if len(found) else ()):
            mine = found[found["series"] == name].groupby("x_ratio")["server_cpu_us_per_reply"]
            x = np.array([loads.index(x) if x in loads else np.nan for x, _ in mine])
            y = np.array([mean_interval(values) for _, values in mine]).reshape(-1, 3)
            keep = np.isfinite(x)
            dodge = 0.1 * (n - (len(names) - 1) / 2)
            line(level, x[keep] + dodge, y[keep], faint=faint, bars=True, **series_style(name))
        costs = laziness.server_costs(source.frame, workload)
        effects = {x: ratio_interval(r) for x, r in costs.items() if x in loads}
        x = np.array([loads.index(x) for x in effects], dtype=float)
        y = np.array([(e.value, e.low, e.high) for e in effects.values()]).reshape(-1, 3)
        line(ratio, x, y, faint=faint, bars=True, **series_style(laziness.LAZY))
    ratio.axhline(1, color=GREY, linewidth=0.8, zorder=1)
    ratio.axhline(NEGLIGIBLE, **BOUND, zorder=1)
    ratio.set_yscale("log")
    low, high = ratio.get_ylim()
    ratio.set_ylim(
        min(max(low, 0.8), 0.93), max(min(high, 1.3), 1.09)
    )  # intervals of two rounds may span anything
    ticks = [
        t for t in np.round(np.arange(0.5, 2.0, 0.05), 2) if ratio.get_ylim()[0] <= t <= ratio.get_ylim()[1]
    ]
    ratio.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    ratio.minorticks_off()
    level.set_ylim(bottom=0)
    for cell in (level, ratio):
        cell.set_xticks(range(len(loads)), [fmt_percent(x) for x in loads])
        cell.set_xlim(-0.5, len(loads) - 0.5)
        cell.grid(axis="x", visible=False)
        cell.set_xlabel("offered load, of the server's own peak")
    level.set_ylabel("server CPU per reply, µs")
    ratio.set_ylabel("activation ÷ plain")
