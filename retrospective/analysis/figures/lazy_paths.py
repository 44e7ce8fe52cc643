"""How calls went: how soon a loop goes on after one that blocks, and by which path every call was answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from retrospective.analysis import laziness, probes
from retrospective.analysis.figures.lazy_style import beside, required, series_style
from retrospective.analysis.figures.style import (
    BLUE,
    BROWN,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    PURPLE,
    SKY,
    VERMILION,
    NothingToDraw,
    Site,
    key,
    panels,
    plain_ticks,
    styled,
)
from retrospective.analysis.formatting import fmt_us
from retrospective.analysis.laziness import in_order

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OTHER_CPU = {"no": ("other CPU idle", "solid"), "yes": ("other CPU busy", (0, (4, 1.5)))}
BOUND = {"color": GREY, "linestyle": (0, (1, 2)), "linewidth": 1}
MARKS = {0.5: "o", 0.99: "s"}


@styled
def upcall(site: Site, reference: Site | None = None) -> Figure:
    """Draw how soon a loop goes on after its call has blocked: cumulated on the left, the slow ones on the right."""
    trials = required(site, "upcall")
    recorded = beside(reference, "upcall")
    names = in_order(trials["design"].unique())
    figure, ((body, tail),) = panels(1, 2, height=2.5)
    for source in (recorded, trials):
        if source is None:
            continue
        for series in names:
            for busy, (_, dashes) in OTHER_CPU.items():
                mine = source[(source["design"] == series) & (source["busy"] == busy)]
                histogram = probes.pooled(mine["resumed_histogram"])
                style = {"color": series_style(series)["color"], "linestyle": dashes}
                _curves(body, tail, histogram, style, faint=source is recorded)
    for bound in (probes.UPCALL_BOUND_US, probes.HELD_BOUND_US):
        for cell in (body, tail):
            cell.axvline(bound, **BOUND, zorder=1)
    for cell in (body, tail):
        cell.set_xscale("log")
        plain_ticks(cell.xaxis, *cell.get_xlim())
        cell.set_xlabel("from the call to the loop's going on, µs")
    body.set_ylim(0, 1.03)
    body.set_yticks((0, 0.5, 0.99), ("0", "50 %", "99 %"))
    body.set_ylabel("loops that go on by then")
    tail.set_yscale("log")
    tail.set_ylim(top=1.3)
    tail.yaxis.set_major_formatter(lambda v, _: f"{v * 100:g} %")
    tail.yaxis.set_minor_formatter(lambda v, _: "")
    tail.set_ylabel("loops still held")
    entries: list[tuple[dict[str, Any], str]] = [({"color": series_style(n)["color"]}, n) for n in names]
    entries += [({"color": GREY, "linestyle": dashes}, words) for words, dashes in OTHER_CPU.values()]
    entries += [
        ({"color": GREY, "marker": m, "linestyle": "none"}, f"p{q * 100:g}") for q, m in MARKS.items()
    ]
    bounds = f"{fmt_us(probes.UPCALL_BOUND_US)} and {fmt_us(probes.HELD_BOUND_US)}, for p50 and p99"
    entries.append((BOUND, bounds))
    if reference is not None:
        entries.append(({"color": GREY, "linewidth": 0.9, "alpha": 0.55}, f"thin: {reference.name}"))
    key(figure, None, entries)
    return figure


def _curves(
    body: Axes, tail: Axes, histogram: list[tuple[float, int]], style: dict[str, Any], *, faint: bool
) -> None:
    """One distribution in both panels, with its median and 99th percentile marked."""
    total = sum(count for _, count in histogram)
    if not total:
        return
    x = np.array([upper / 1e3 for upper, _ in histogram])
    share = np.cumsum([count for _, count in histogram]) / total
    if faint:
        style = style | {"linewidth": 0.9, "alpha": 0.55}
    body.plot(x, share, **style)
    left = 1 - share
    keep = left > 0.5 / total
    tail.plot(x[keep], left[keep], **style)
    for q, marker in MARKS.items() if not faint else ():
        at = probes.quantile(histogram, q) / 1e3
        body.plot(at, q, marker=marker, color=style["color"], linestyle="none", zorder=5)


# -------------------------------------------------------------------------------------------------- paths

#: Name of a path in the legend -> the columns that are added up, colour, hatch.
PATHS = {
    "an ordinary call": (("path_inline",), PALE, ""),
    "asked first: in memory": (("path_hit",), SKY, ""),
    "asked first: a helper": (("path_miss",), BLUE, "///"),
    "a helper, unasked": (("path_helper",), BLUE, ""),
    "kept by the kernel": (("path_ring",), GREEN, ""),
    "upcall": (("path_upcall",), VERMILION, ""),
    "taken over by time": (("path_timer",), ORANGE, ""),
    "caller held": (("path_held",), PURPLE, "xxx"),
}
#: How io_uring went about what it kept, seen from outside in a few of the calls.
RING = {
    "io_uring: by poll": ("ring_poll", GREEN, "..."),
    "io_uring: by a worker": ("ring_worker", BROWN, ""),
    "io_uring: by the page's arrival": ("ring_async", GREEN, "\\\\\\"),
}
#: Calls of the figure, a panel each, as far as they were measured.
SHOWN = (
    *(laziness.CACHED, laziness.COLD, laziness.DIRECT, ("fsync", "dirty")),
    *(("open", "cold"), ("sendfile", "cold"), ("connect", "full"), ("pipe", "absent")),
)
COLUMNS = 4


@styled
def paths(site: Site, reference: Site | None = None) -> Figure:
    """Draw the share of calls by the path they went, a bar an engine, a panel an operation."""
    del reference  # which path a call goes is told by the kernel more than by the machine
    trials = required(site, "held")
    there = [call for call in SHOWN if len(_of(trials, call))]
    if not there:
        raise NothingToDraw("no valid probes of the calls whose paths are shown")
    names = in_order(trials["design"].unique())
    height = -(-len(there) // COLUMNS)
    figure, axes = panels(
        height, min(COLUMNS, len(there)), height=0.15 * len(names) + 0.5, sharey=True, sharex=True
    )
    used: dict[str, dict[str, Any]] = {}
    for cell, call in zip(axes.flat, there, strict=False):
        for y, series in enumerate(names):
            mine = _of(trials, call)
            _bar(cell, y, shares(mine[mine["design"] == series]), used)
        cell.set_title(laziness.call_name(call), fontsize=7.5)
        cell.set_xlim(0, 1)
        cell.set_xticks((0, 0.5, 1), ("0", "50 %", "100 %"))
        cell.grid(axis="y", visible=False)
    for cell in axes.flat[len(there) :]:
        cell.axis("off")
    axes[0, 0].set_yticks(range(len(names)), names)
    axes[0, 0].set_ylim(len(names) - 0.5, -0.5)
    order = [name for name in (*PATHS, *RING) if name in used]
    key(figure, None, [(used[name], name) for name in order])
    return figure


def _of(trials: pd.DataFrame, call: probes.Call) -> pd.DataFrame:
    return trials[(trials["operation"] == call[0]) & (trials["state"] == call[1])]


def shares(trials: pd.DataFrame) -> dict[str, float]:
    """Path -> share of calls, in the legend's words; what io_uring kept is divided as its few looked-at calls were."""
    totals = {name: float(probes.counts(trials, columns).sum()) for name, (columns, _, _) in PATHS.items()}
    everything = sum(totals.values())
    if not everything:
        return {}
    found = {name: total / everything for name, total in totals.items() if total}
    seen = {name: float(probes.counts(trials, (column,)).sum()) for name, (column, _, _) in RING.items()}
    kept = found.get("kept by the kernel", 0.0)
    if kept and sum(seen.values()):
        del found["kept by the kernel"]
        found |= {name: kept * count / sum(seen.values()) for name, count in seen.items() if count}
    return found


def _bar(cell: Axes, y: int, found: dict[str, float], used: dict[str, dict[str, Any]]) -> None:
    left = 0.0
    looks = {name: look[1:] for name, look in PATHS.items()} | {name: look[1:] for name, look in RING.items()}
    for name, part in found.items():
        colour, hatch = looks[name]
        style = {
            "facecolor": colour,
            "hatch": hatch,
            "edgecolor": "white" if hatch else colour,
            "linewidth": 0,
        }
        cell.barh(y, part, 0.72, left, **style)
        used[name] = style
        left += part
    if not found:
        cell.text(0.02, y, "no such call", va="center", fontsize=5.5, color="#7A7A7A")
