"""How the loop of a server is held, what it takes besides, and what it costs where nothing has to be waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from retrospective.analysis import lazy_servers
from retrospective.analysis.figures.lazy_style import (
    crowds,
    dot_entries,
    log_of_means,
    means,
    of_servers,
    required_of_servers,
    server_style,
    servers_of,
)
from retrospective.analysis.figures.style import (
    BLUE,
    GREY,
    ORANGE,
    PALE,
    PURPLE,
    SKY,
    VERMILION,
    NothingToDraw,
    Site,
    dot,
    key,
    lines,
    panels,
    plain_ticks,
    styled,
)
from retrospective.analysis.lazy_servers import PLAIN, Case, in_order
from retrospective.analysis.statistics import CONFIDENCE, NEGLIGIBLE, mean_interval, trimmed_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Threshold -> how its dots look: the longer the turn, the warmer, and another marker each.
THRESHOLDS = {
    "1ms": {"color": SKY, "marker": "o"},
    "10ms": {"color": BLUE, "marker": "s"},
    "100ms": {"color": ORANGE, "marker": "D"},
    "1s": {"color": VERMILION, "marker": "^"},
}
#: Case -> how its dots look where several share a panel.
CASE_STYLES = (
    *({"color": BLUE, "marker": "o"}, {"color": ORANGE, "marker": "s"}),
    *({"color": SKY, "marker": "^"}, {"color": PURPLE, "marker": "D"}),
)
HEIGHT = 0.19  # inches: a server's line


def _levels(crowd: pd.DataFrame, server: str, column: str, divisor: float = 1.0) -> np.ndarray:
    """Mean and 95 % interval of a column, NaN where a server has none."""
    if column not in crowd:
        return np.full(3, np.nan)
    return np.array(mean_interval(pd.to_numeric(crowd.loc[crowd["server"] == server, column]) / divisor))


@styled
def stall(site: Site, reference: Site | None = None) -> Figure:
    """Draw how often a turn of the loop lasts longer than 1, 10, 100 ms and 1 s, and the longest turn.

    A column of panels a case. A thread for each connection has no loop that could be held.
    """
    del reference  # four dots a server are enough; each machine has a figure of its own
    there = crowds(site)
    servers = [
        name
        for name in servers_of(there)
        if name != lazy_servers.NO_LOOP
        and any(np.isfinite(_levels(crowd, name, "turns_over_1ms_per_s")[0]) for crowd in there.values())
    ]
    if not servers:
        raise NothingToDraw("no server of experiment 'traces' counted the turns of its loop")
    figure, axes = panels(2, len(there), height=HEIGHT * len(servers) + 0.55, sharex="row")
    for cells in axes:
        lines(cells, servers)
    least = _least(there)
    for (often, longest), (case, crowd) in zip(axes.T, there.items(), strict=True):
        for y, server in enumerate(servers):
            for n, (threshold, style) in enumerate(THRESHOLDS.items()):
                mean = _levels(crowd, server, f"turns_over_{threshold}_per_s")[0]
                if np.isfinite(mean):
                    often.plot(max(mean, least), y, linestyle="none", **style, markersize=6 - n, zorder=3 + n)
                if mean == 0:
                    break  # nor was any that lasted longer
            dot(longest, _worst_ms(crowd, server), y, server_style(server))
        often.set_xscale("log")
        often.axvline(least, color=GREY, linewidth=0.7, linestyle=(0, (1, 1)), zorder=1)
        often.set_title(case.name.replace(", ", "\n"))
        clients = f"{float(crowd['clients'].iloc[0]):,g} clients, n = {crowd['round'].nunique()}"
        often.set_xlabel("turns a second")
        longest.set_xlabel(f"longest turn, ms\n{clients}")
        longest.set_xscale("log")
    for cell in axes.flat:
        plain_ticks(cell.xaxis, *cell.get_xlim(), most=5)
    for cell in axes[0]:  # what was never counted stands at the left edge
        ticks = [tick for tick in cell.get_xticks() if tick > 1.8 * least]
        cell.set_xticks([least, *ticks], ["0", *(f"{tick:,g}" for tick in ticks)])
    entries = [
        (
            style | {"linestyle": "none"},
            f"over {lazy_servers.STALLS[threshold]:,g} ms",
        )
        for threshold, style in THRESHOLDS.items()
    ]
    key(figure, None, entries, ncols=4)
    return figure


def _least(there: dict[Case, pd.DataFrame]) -> float:
    """Where "never" is drawn on a logarithmic axis: half the rarest turn that was counted."""
    counted = [
        mean
        for crowd in there.values()
        for threshold in THRESHOLDS
        for server in crowd["server"].unique()
        if (mean := _levels(crowd, server, f"turns_over_{threshold}_per_s")[0]) > 0
    ]
    return min(counted, default=1.0) / 2


def _worst_ms(crowd: pd.DataFrame, server: str) -> np.ndarray:
    """Median longest turn of the rounds, and the shortest and longest of them: extremes have no t-interval."""
    if "turn_max_us" not in crowd:
        return np.full(3, np.nan)
    values = pd.to_numeric(crowd.loc[crowd["server"] == server, "turn_max_us"]).dropna() / 1e3
    return np.array([values.median(), values.min(), values.max()]) if len(values) else np.full(3, np.nan)


@styled
def resources(site: Site, reference: Site | None = None) -> Figure:
    """Draw the memory and the threads that a server takes with many clients: a dot a case."""
    del reference
    there = crowds(site)
    servers = servers_of(there)
    columns = (
        ("rss_peak_bytes", 1 << 20, "own memory at its peak, MiB"),
        ("threads_peak", 1, "threads and processes"),
    )
    figure, (cells,) = panels(1, len(columns), height=HEIGHT * len(servers) + 0.5)
    lines(cells, servers)
    for cell, (column, divisor, label) in zip(cells, columns, strict=True):
        for n, crowd in enumerate(there.values()):
            for y, server in enumerate(servers):
                mean, low, high = _levels(crowd, server, column, divisor)
                style, at = CASE_STYLES[n % len(CASE_STYLES)], y + 0.16 * (n - (len(there) - 1) / 2)
                if np.isfinite(mean):
                    cell.plot(mean, at, linestyle="none", **style, markersize=3.4)
                    cell.plot([low, high], [at, at], color=style["color"], linewidth=0.9)
        log_of_means(cell, means(cell))
        cell.set_xlabel(label)
    entries = [
        (
            CASE_STYLES[n % len(CASE_STYLES)] | {"linestyle": "none"},
            f"{case.name}, n = {crowd['round'].nunique()}",
        )
        for n, (case, crowd) in enumerate(there.items())
    ]
    key(figure, None, entries, ncols=2)
    return figure


@styled
def fits(site: Site, reference: Site | None = None) -> Figure:
    """Draw CPU per reply where everything fits and is warm, ÷ that of the server that makes the calls itself.

    Equivalence is shown where the thick bar, the 90 % interval, lies within the band of ±5 %.
    """
    found = required_of_servers(site, "fits-cpu", fits=True, cache="warm")
    recorded = of_servers(reference, "fits-cpu", fits=True, cache="warm")
    workloads = sorted(found["workload"].unique(), reverse=True)
    servers = [name for name in in_order(found["server"].unique()) if name != PLAIN]
    if not servers or PLAIN not in set(found["server"]):
        raise NothingToDraw(f"no valid trials of experiment 'fits-cpu' beside {PLAIN}'s")
    figure, (cells,) = panels(1, len(workloads), height=HEIGHT * len(servers) + 0.7, sharex=True)
    lines(cells, servers)
    for cell, workload in zip(cells, workloads, strict=True):
        cell.axvspan(1 / NEGLIGIBLE, NEGLIGIBLE, color=PALE, zorder=0, linewidth=0)
        cell.axvline(1, color=GREY, linewidth=0.8, zorder=1)
        for y, server in enumerate(servers):
            for source in (recorded, found):
                _cost(cell, source, workload, server, y, faint=source is not found)
        cell.set_xscale("log")
        cell.set_title(workload[:1].upper() + workload[1:])
        cell.set_xlabel(f"CPU per reply ÷ {PLAIN}'s, n = {found['round'].nunique()}")
    log_of_means(cells[0], [x for cell in cells for x in means(cell)], 1.12)
    entries = [
        ({"facecolor": PALE}, f"±{(NEGLIGIBLE - 1) * 100:.0f} %"),
        ({"color": GREY, "linewidth": 3}, "90 % interval (equivalence)"),
    ]
    key(figure, None, entries + dot_entries(reference))
    return figure


def _cost(cell: Axes, found: pd.DataFrame, workload: str, server: str, y: float, *, faint: bool) -> None:
    mine = found[found["workload"] == workload] if len(found) else found
    ratios = lazy_servers.over(mine, "server_cpu_us_per_reply", server, PLAIN)
    wide, narrow = trimmed_interval(ratios), trimmed_interval(ratios, 2 * CONFIDENCE - 1)
    dot(cell, np.array([wide.value, wide.low, wide.high]), y, server_style(server), faint=faint)
    if narrow.decided and not faint:
        cell.plot(
            [narrow.low, narrow.high], [y, y], color=server_style(server)["color"], linewidth=2.6, alpha=0.45
        )
