"""Servers on traces: throughput and response time against clients, and how soon cached files are answered."""

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
    of_case,
    of_servers,
    required_of_servers,
    server_style,
    servers_of,
)
from retrospective.analysis.figures.style import (
    BLACK,
    GREY,
    Site,
    common_entries,
    dot,
    key,
    line,
    lines,
    panels,
    plain_ticks,
    spread_labels,
    styled,
)
from retrospective.analysis.lazy_servers import AMPED, HOT, LAZY, PLAIN, THREADS, URING, in_order
from retrospective.analysis.statistics import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Drawn in full; the other servers are thin, and named all the same.
LEADING = (PLAIN, AMPED, LAZY, URING, THREADS)
FIFTH = {"color": GREY, "linestyle": (0, (4, 2)), "linewidth": 0.9}
LEAST_ROUNDS = 3
#: A mean and its 95 % interval, a number of clients.
Curve = tuple[np.ndarray, np.ndarray]


def _curve(found: pd.DataFrame, column: str, divisor: float) -> Curve:
    """Means and intervals by clients; the interval of two rounds would hide everything else, and is left out."""
    groups = sorted((float(x), part) for x, part in found.groupby(found["clients"].astype(float))[column])
    x = np.array([clients for clients, _ in groups])
    y = np.array([mean_interval(values.astype(float) / divisor) for _, values in groups]).reshape(-1, 3)
    y[[len(values) < LEAST_ROUNDS for _, values in groups], 1:] = np.nan
    return x, y


def _rounds(found: pd.DataFrame) -> str:
    """How many rounds there are, from the least to the most over the numbers of clients."""
    counts = found.groupby("clients")["round"].nunique()
    return f"n = {counts.max()}" if counts.min() == counts.max() else f"n = {counts.min()} to {counts.max()}"


@styled
def against_clients(
    site: Site, reference: Site | None, column: str, label: str, divisor: float, scale: str
) -> Figure:
    """Draw a level against clients: a panel a case, a curve a server, named at its end; what was cold is hollow."""
    warm = required_of_servers(site, "traces", cache="warm")
    cold = of_servers(site, "traces-cold", cache="cold")
    recorded = of_servers(reference, "traces", cache="warm")
    cases = lazy_servers.cases(warm)
    columns = min(2, len(cases))
    figure, axes = panels(-(-len(cases) // columns), columns, height=2.6)
    for cell in axes.flat[len(cases) :]:
        cell.axis("off")
    for cell, case in zip(axes.flat, cases, strict=False):
        here = of_case(warm, case)
        most = here["clients"].astype(float).max()
        beside = of_case(recorded, case)
        beside = beside[beside["clients"].astype(float) <= most] if len(beside) else beside
        for source in (beside, here):
            _curves(cell, source, column, divisor, faint=source is beside)
        _cold(cell, of_case(cold, case), column, divisor)
        cell.set_title(case.name)
        cell.set_xlabel(f"clients ({_rounds(here)})")
        cell.set_ylabel(label)
        cell.set_yscale(scale)
        _ends(cell, here, column, divisor)
    entries = [
        (
            {"color": BLACK, "marker": "o", "markerfacecolor": "white", "linestyle": "none"},
            "hollow: cold files",
        )
    ]
    key(figure, None, (entries if len(cold) else []) + common_entries(reference))
    return figure


def _curves(cell: Axes, found: pd.DataFrame, column: str, divisor: float, *, faint: bool) -> None:
    for server in in_order(found["server"].unique()) if len(found) else ():
        if faint and server not in LEADING:
            continue
        x, y = _curve(found[found["server"] == server], column, divisor)
        style = server_style(server)
        if server not in LEADING:
            style = style | {"linewidth": 0.6, "markersize": 2.4}
            y = y * [1, np.nan, np.nan]  # bands of twelve curves are a fog
        line(cell, x, y, faint=faint, **style)


def _cold(cell: Axes, found: pd.DataFrame, column: str, divisor: float) -> None:
    """A hollow marker at each server's number of clients, a little to the left."""
    for server in in_order(found["server"].unique()) if len(found) else ():
        if server in LEADING:
            x, y = _curve(found[found["server"] == server], column, divisor)
            line(cell, x * 0.88, y, hollow=True, bars=True, **server_style(server) | {"linestyle": "none"})


def _ends(cell: Axes, found: pd.DataFrame, column: str, divisor: float) -> None:
    """Logarithmic numbers of clients, and each curve's name beside its end."""
    clients = sorted(found["clients"].astype(float).unique())
    cell.set_xscale("log", base=2)
    cell.minorticks_off()
    logarithmic = cell.get_yscale() == "log"
    levels = found.groupby(["server", "clients"])[column].mean() / divisor  # intervals flatten nothing
    low, high = (levels.min() / 1.3, levels.max() * 1.3) if logarithmic else (0.0, levels.max() * 1.12)
    cell.set_ylim(low, high)
    if logarithmic:
        plain_ticks(cell.yaxis, low, high)
    else:
        cell.yaxis.set_major_formatter(lambda v, _: f"{v:,g}")
    room = max(2.0, clients[-1] / clients[0]) ** 0.5  # for the names
    cell.set_xlim(clients[0] * 0.8, clients[-1] * 1.1 * room)
    cell.set_xticks(clients, [f"{count:,g}" for count in clients])
    names, ends = [], []
    for server in in_order(found["server"].unique()):
        x, y = _curve(found[found["server"] == server], column, divisor)
        if len(x) and y[-1, 0] > 0:
            names.append(server)
            ends.append((x[-1], y[-1, 0]))

    def share(y: float) -> float:
        return float(np.log(y / low) / np.log(high / low)) if logarithmic else y / high

    places = spread_labels([share(y) for _, y in ends], 0.077, 0.02, 0.98)
    for server, (x, y), place in zip(names, ends, places, strict=True):
        style = server_style(server)
        cell.annotate(
            server,
            (x, y),
            (1 - 0.86 * np.log(room) / np.log(cell.get_xlim()[1] / cell.get_xlim()[0]), place),
            textcoords="axes fraction",
            va="center",
            fontsize=6.3,
            fontweight="bold" if server == LAZY else "normal",
            color=style["color"],
            arrowprops={
                "arrowstyle": "-",
                "relpos": (0, 0.5),
                "color": style["color"],
                "linewidth": 0.4,
                "shrinkA": 0,
                "shrinkB": 2,
            },
        )


def throughput(site: Site, reference: Site | None = None) -> Figure:
    """Draw replies/s against clients."""
    return against_clients(site, reference, "replies_per_s", "replies/s", 1.0, "linear")


def response(site: Site, reference: Site | None = None) -> Figure:
    """Draw the mean response time against clients, in ms."""
    return against_clients(site, reference, "latency_mean_us", "mean response time, ms", 1e3, "log")


@styled
def hot(site: Site, reference: Site | None = None) -> Figure:
    """Draw the 99th percentile of cached files with many clients: a panel a case, a dot a server."""
    there, recorded = crowds(site), of_servers(reference, "traces", cache="warm")
    servers = servers_of(there)
    figure, (cells,) = panels(1, len(there), height=0.17 * len(servers) + 0.7, sharex=True)
    lines(cells, servers)
    for cell, (case, crowd) in zip(cells, there.items(), strict=True):
        for y, server in enumerate(servers):
            for source in (lazy_servers.many(of_case(recorded, case)), crowd):
                mine = (
                    source.loc[source["server"] == server, "hot_latency_p99_us"]
                    if len(source)
                    else pd.Series()
                )
                dot(
                    cell,
                    np.array(mean_interval(mine.astype(float) / 1e3)),
                    y,
                    server_style(server),
                    faint=source is not crowd,
                )
        plain = crowd.loc[crowd["server"] == PLAIN, "hot_latency_p99_us"].astype(float).mean() / 1e3
        cell.axvline(plain / HOT, **FIFTH, zorder=1)
        clients = f"{float(crowd['clients'].iloc[0]):,g} clients"
        cell.set_title(case.name.replace(", ", "\n"))
        cell.set_xlabel(f"ms, {clients}, n = {crowd['round'].nunique()}")
    log_of_means(cells[0], [x for cell in cells for x in means(cell)], most=5)
    key(figure, None, [(FIFTH, f"{PLAIN}'s ÷ {HOT:g}"), *dot_entries(reference)])
    return figure
