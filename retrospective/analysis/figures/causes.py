"""Where connections are dropped, by the kernel's own counters: the counterpart of figure 16."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from retrospective.analysis import published, rows
from retrospective.analysis.figures.overload import first_of
from retrospective.analysis.figures.style import (
    BLACK,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    WORKLOAD_NAMES,
    NothingToDraw,
    Site,
    families,
    key,
    limits_in,
    panels,
    styled,
)
from retrospective.analysis.formatting import fmt_limit
from retrospective.analysis.statistics import mean_interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Stack of causes: (name, columns added up, colour, hatch).
CAUSES = (
    ("accept queue full (ListenOverflows)", "drop_overflow_per_s", ORANGE, ""),
    ("SYN queue full (TCPReqQFullDrop)", "drop_syn_per_s", SKY, "///"),
    ("other refusals of the listener", "drop_other_per_s", GREY, "..."),
    ("softnet backlog full", "drop_softnet_per_s", PURPLE, "xxx"),
)


@styled
def drop_causes(site: Site, reference: Site | None = None) -> Figure:
    """Draw drops by cause at the deepest overload, each limit a bar, one server of each kind."""
    del reference  # rates of two machines do not stack; the relative figures compare them
    groups = {workload: families(site, workload) for workload in rows.WORKLOADS}
    chosen = {
        (workload, kind): family
        for workload, found in groups.items()
        for kind in published.KINDS
        if (family := first_of(kind, found))
    }
    if not chosen:
        raise NothingToDraw("no valid overload trials")
    workloads = [w for w in rows.WORKLOADS if any(w == workload for workload, _ in chosen)]
    kinds = [k for k in published.KINDS if any(k == kind for _, kind in chosen)]
    one_kind = len(kinds) == 1
    shape = (1, len(workloads)) if one_kind else (len(workloads), len(kinds))
    figure, axes = panels(*shape, height=2.1, sharey="row")
    for cell in axes.flat:
        cell.axis("off")
    for (workload, kind), (design, charge) in chosen.items():
        i, j = workloads.index(workload), kinds.index(kind)
        cell = axes[0, i] if one_kind else axes[i, j]
        cell.axis("on")
        _bars(cell, rows.overload(site.frame, workload, design, charge))
        cell.set_title(f"{design}, {charge} pays" + (f", {WORKLOAD_NAMES[workload]}" if one_kind else ""))
        if cell.get_subplotspec().is_first_col():
            cell.set_ylabel(("" if one_kind else f"{WORKLOAD_NAMES[workload]}\n") + "drops, thousands/s")
    entries = [({"facecolor": c, "hatch": h, "edgecolor": "white"}, name) for name, _, c, h in CAUSES]
    entries.append(
        ({"color": BLACK, "marker": "|", "markersize": 9, "linestyle": "none"}, "95 % interval of the sum")
    )
    key(figure, None, entries, ncols=2)
    return figure


def _bars(cell: Axes, trials: pd.DataFrame) -> None:
    deepest = trials[trials["x_ratio"] == trials["x_ratio"].max()]
    named = deepest["drop_overflow_per_s"] + deepest["drop_syn_per_s"]
    deepest = deepest.assign(drop_other_per_s=(deepest["queue_drops_per_s"] - named).clip(lower=0))
    columns = [column for _, column, _, _ in CAUSES]
    deepest = deepest.assign(drops_per_s=deepest[columns].fillna(0).sum(axis="columns"))
    limits = limits_in(deepest)
    by_limit = {limit: deepest[deepest["accept_limit"] == limit] for limit in limits}
    bottom = np.zeros(len(limits))
    for _, column, colour, hatch in CAUSES:
        height = np.array([found[column].fillna(0).mean() / 1e3 for found in by_limit.values()])
        cell.bar(limits, height, 0.66, bottom, color=colour, hatch=hatch, edgecolor="white", linewidth=0.4)
        bottom += height
    for place, found in enumerate(by_limit.values()):
        mean, low, high = mean_interval(found["drops_per_s"] / 1e3)
        if np.isfinite(low):
            reach = [[mean - max(low, 0)], [high - mean]]
            cell.errorbar(place, mean, yerr=reach, color=BLACK, capsize=2.5, linewidth=0.9)
    cell.set_xticks(range(len(limits)), [fmt_limit(limit) for limit in limits])
    cell.grid(axis="x", visible=False)
    cell.set_xlabel(f"accept-limit, at x = {deepest['x_ratio'].iloc[0]:g}")
