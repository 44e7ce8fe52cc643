"""Today's questions: where the best limit lies by concurrency, and who waits behind a sleeping handler."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from retrospective.analysis import rows
from retrospective.analysis.figures.overload import UNDER, effects
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
    Site,
    by_design,
    common_entries,
    floor_band,
    floor_entry,
    key,
    limits_in,
    line,
    log_ticks,
    panels,
    ratio_axis,
    required,
    styled,
    trials_of,
)
from retrospective.analysis.formatting import fmt_integer, fmt_limit
from retrospective.analysis.statistics import effect_floor, largest, mean_interval, ratio_interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Few clients to many: from light to dark, so that the order shows without colours.
CROWDS = (
    {"color": SKY, "marker": "o"},
    {"color": ORANGE, "marker": "s"},
    {"color": VERMILION, "marker": "D"},
    {"color": BLACK, "marker": "^"},
    {"color": PURPLE, "marker": "v"},
    {"color": GREEN, "marker": "P"},
)
RING: dict[str, Any] = {
    "color": BLACK, "marker": "o", "markersize": 9, "markerfacecolor": "none", "markeredgewidth": 0.8,
    "linestyle": "none", "zorder": 5,
}  # fmt: skip


@styled
def concurrency(site: Site, reference: Site | None = None) -> Figure:
    """Draw throughput relative to limit 1 by accept-limit and number of clients: where the sign flips.

    Below, the mechanism: how many connections an accept phase finds, which a limit can bound but not raise.
    """
    trials = required(site, "concurrency")
    recorded = trials_of(reference, "concurrency")
    designs = sorted(trials["design"].unique(), key=by_design)
    crowds = sorted(trials["clients"].dropna().astype(int).unique())
    limits = limits_in(trials)
    figure, axes = panels(2, len(designs), height=2.1, sharex=True, sharey="row")
    floor = effect_floor(site.frame)
    for (ratio, phase), design in zip(axes.T, designs, strict=True):
        floor_band(ratio, floor)
        for source in (recorded, trials):
            for n, clients in enumerate(crowds if source is not None else ()):
                found = source[(source["design"] == design) & (source["clients"] == clients)]
                style = CROWDS[n % len(CROWDS)]
                faint = source is recorded
                dodge = 0.08 * (n - (len(crowds) - 1) / 2)
                table = _over_one(found)
                x = np.array([_place(limit, limits) for limit in table.columns])
                line(ratio, x + dodge, effects(table), faint=faint, bars=True, **style)
                if not faint and (top := _best(table)):
                    ratio.plot(_place(top, limits) + dodge, effects(table[[top]])[0, 0], **RING)
                sizes = found.groupby("accept_limit")["accepts_per_phase"]
                y = np.array([mean_interval(values) for _, values in sizes]).reshape(-1, 3)
                x = np.array([_place(limit, limits) for limit, _ in sizes])
                order = np.argsort(x)
                line(phase, x[order] + dodge, y[order], faint=faint, bars=True, **style)
        ratio.set_title(design)
        phase.set_yscale("log")
        log_ticks(phase.yaxis)
        phase.set_xticks([_place(limit, limits) for limit in limits], [fmt_limit(limit) for limit in limits])
        phase.set_xlabel("accept-limit")
        phase.grid(axis="x", visible=False)
    ratio_axis(axes[0, 0])
    axes[0, 0].set_ylabel("replies/s ÷ limit 1's")
    axes[1, 0].set_ylabel("connections per\naccept phase")
    entries: list[tuple[dict[str, Any], str]] = [
        (CROWDS[n % len(CROWDS)], f"{fmt_integer(clients)} clients") for n, clients in enumerate(crowds)
    ]
    entries.append((RING, "best limit, interval above 1"))
    key(figure, None, entries + floor_entry(floor) + common_entries(reference, bars=True))
    return figure


def _best(table: pd.DataFrame) -> str | None:
    """Limit with the largest gain over limit 1, if the gain is one when its having been chosen is allowed for."""
    others = table.drop(columns=UNDER, errors="ignore")
    found = largest(others.set_axis([float(limit) for limit in others.columns], axis="columns"))
    if not (found.effect.decided and found.effect.low > 1):
        return None
    return next(limit for limit in others.columns if float(limit) == found.place)


def _over_one(trials: pd.DataFrame) -> pd.DataFrame:
    """Replies/s ÷ those of limit 1: a row a round, a column a limit, by size; limit 1 itself is 1."""
    table = rows.paired(trials, "replies_per_s")
    if UNDER not in table:
        return table.iloc[:, :0]
    return table.div(table[UNDER], axis="index")[sorted(table.columns, key=float)]


def _place(limit: str, limits: list[str]) -> float:
    """Place on the axis: logarithmic, one step to the right of the highest for ``inf``."""
    finite = [float(other) for other in limits if other != "inf"]
    unit = np.log2(4)
    return np.log2(float(limit)) / unit if limit != "inf" else (np.log2(max(finite, default=1.0)) / unit + 1)


# --------------------------------------------------------------------------------------------- fairness

#: Ways of sharing a port, in the order of the figure (top to bottom); what is not named follows.
SHARING = ("shared", "exclusive", "reuseport", "one process", "user threads", "kernel threads")
QUANTILES = {
    "latency_p50_us": ("p50", {"color": BLUE, "marker": "o"}),
    "latency_p99_us": ("p99", {"color": ORANGE, "marker": "s"}),
    "latency_p999_us": ("p99.9", {"color": VERMILION, "marker": "^"}),
}
MIXES = {"one-packet": "fast only", "mixed": "fast and slow"}
SHARES = {
    "worker_accept_share_max": ("connections", {"color": BLUE, "marker": "o"}),
    "worker_cpu_share_max": ("CPU time", {"color": PURPLE, "marker": "s"}),
}


@styled
def fairness(site: Site, reference: Site | None = None) -> Figure:
    """Draw who waits behind a sleeping handler, by way of sharing a port, and how unevenly workers are used."""
    trials = required(site, "fairness")
    recorded = trials_of(reference, "fairness")
    labels = sorted(trials["label"].unique(), key=lambda word: (_rank(word), word))
    mixes = [mix for mix in MIXES if (trials["workload"] == mix).any()]
    figure, ((waits, share),) = panels(
        1, 2, height=0.42 * len(labels) + 1.1, sharey=True, gridspec_kw={"width_ratios": [2, 1]}
    )
    for y, label in enumerate(labels):
        for k, mix in enumerate(mixes):
            at = y + 0.32 * (k - (len(mixes) - 1) / 2)
            for source in (recorded, trials):
                if source is None:
                    continue
                found = source[(source["label"] == label) & (source["workload"] == mix)]
                look = {"hollow": mix == "one-packet", "faint": source is recorded}
                for column, (_, style) in QUANTILES.items():
                    effect = ratio_interval(found[column] / 1e3)  # of levels: the geometric mean
                    _point(waits, (effect.value, effect.low, effect.high), at, style, **look)
                for shift, (column, (_, style)) in zip((-0.07, 0.07), SHARES.items(), strict=True):
                    if column in found:
                        busiest = mean_interval(100 * found[column].astype(float))
                        _point(share, busiest, at + shift, style, **look)
    waits.set_xscale("log")
    log_ticks(waits.xaxis)
    waits.set_yticks(range(len(labels)), labels)
    waits.set_ylim(len(labels) - 0.5, -0.5)
    waits.set_xlabel("latency of all requests, ms")
    waits.set_title("Who waits")
    slow_ms = _slow_ms(trials)
    entries: list[tuple[dict[str, Any], str]] = [
        (style | {"linestyle": "none"}, f"left: {name}") for name, style in QUANTILES.values()
    ]
    if slow_ms is not None:
        waits.axvline(slow_ms, color=GREY, linestyle=(0, (1, 2)), linewidth=1, zorder=1)
        entries.append(({"color": GREY, "linestyle": (0, (1, 2)), "linewidth": 1}, "a slow request's sleep"))
    entries += [(style | {"linestyle": "none"}, f"right: {name}") for name, style in SHARES.values()]
    if "one-packet" in mixes:
        hollow = {"color": BLACK, "marker": "o", "markerfacecolor": "white", "linestyle": "none"}
        entries.append((hollow, "hollow: fast requests only"))
    share.set_xlabel("busiest worker's share, %")
    share.set_title("How even the workers")
    share.axvline(50, color=GREY, linewidth=0.8, zorder=1)
    share.set_xlim(45, 105)
    for cell in (waits, share):
        cell.grid(axis="y", visible=False)
        for between in range(1, len(labels)):
            cell.axhline(between - 0.5, color=PALE, linewidth=0.8, zorder=0)
    common = common_entries(reference, bars=True)
    if reference is not None:
        common[-1] = ({"color": GREY, "marker": "|", "linestyle": "none"}, f"faint: {reference.name}")
    key(figure, None, entries + common)
    return figure


def _rank(label: str) -> int:
    return SHARING.index(label) if label in SHARING else len(SHARING)


def _point(
    cell: Axes,
    value: tuple[float, float, float],
    y: float,
    style: dict[str, Any],
    *,
    hollow: bool,
    faint: bool,
) -> None:
    """Draw a level and its interval lying on its side."""
    mean, low, high = value
    if not np.isfinite(mean):
        return
    if faint:
        cell.plot(mean, y, marker="|", markersize=9, color=style["color"], alpha=0.55, zorder=2)
        return
    face = "white" if hollow else style["color"]
    cell.plot(mean, y, **style, markerfacecolor=face, markersize=4.2, zorder=4)
    if np.isfinite(low):
        reach = [[mean - low], [high - mean]]
        cell.errorbar(mean, y, xerr=reach, fmt="none", ecolor=style["color"], capsize=2, linewidth=0.9)


def _slow_ms(trials: pd.DataFrame) -> float | None:
    """How long a slow request sleeps, ms."""
    found = {json.loads(options).get("slow-us") for options in trials["options"]} - {None}
    return float(found.pop()) / 1e3 if len(found) == 1 else None
