"""Response time in both definitions: the counterpart of figure 17."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retrospective.analysis import published, rows
from retrospective.analysis.figures.overload import (
    NEAREST,
    OFFERED,
    UNDER,
    bare,
    first_of,
    side_entries,
    side_style,
)
from retrospective.analysis.figures.style import (
    WORKLOAD_NAMES,
    NothingToDraw,
    Site,
    by_x,
    common_entries,
    families,
    key,
    line,
    log_ticks,
    panels,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Kinds of figure 17, and the definitions of a response time: column -> title.
KINDS = ("userver", "tux")
ENDS = (UNDER, "inf")
DEFINITIONS = {
    "httperf_mean_us": "served only (httperf)",
    "latency_mean_us": "all, from the intended time",
}


@styled
def latency(site: Site, reference: Site | None = None) -> Figure:
    """Draw the mean response time by both definitions, beside Fig. 17 of 2004."""
    measured = [family for workload in rows.WORKLOADS for family in families(site, workload)]
    speakers = [first for kind in KINDS if (first := first_of(kind, measured))]
    chosen = {
        workload: these
        for workload in rows.WORKLOADS
        if (these := [family for family in families(site, workload) if family in speakers])
    }
    if not chosen:
        raise NothingToDraw("no valid overload trials of a server like those of figure 17")
    figure, axes = panels(len(chosen), 3, height=2.15, sharey="row")
    spare = None
    for cells, (workload, these) in zip(axes, chosen.items(), strict=True):
        for cell, (column, title) in zip(cells, DEFINITIONS.items(), strict=False):
            for design, charge in these:
                for source in (reference, site):
                    if source is None:
                        continue
                    trials = rows.overload(source.frame, workload, design, charge)
                    trials = trials[trials["accept_limit"].isin(ENDS)]
                    for limit, x, y in by_x(trials, column, 1e3):
                        line(cell, x, y, faint=source is reference, **side_style(design, limit))
            cell.set_title(title)
        cells[0].set_ylabel(f"{WORKLOAD_NAMES[workload]}\nmean response time, ms")
        if workload == "specweb99-like":
            _draw_2004(cells[2])
        else:
            cells[2].axis("off")
            spare = cells[2]
        for cell in cells:
            cell.set_yscale("log")
            log_ticks(cell.yaxis)
            cell.set_xlabel(OFFERED)
            cell.set_xlim(left=0)
    designs = {kind: first[0] if (first := first_of(kind, measured)) else NEAREST[kind] for kind in KINDS}
    key(figure, spare, side_entries(designs, dict.fromkeys(KINDS, ENDS)) + common_entries(reference))
    return figure


def _draw_2004(cell: Axes) -> None:
    """Figure 17, each server over its own peak; it has the SPECweb99-like workload alone."""
    for kind in KINDS:
        times = published.curves(published.LATENCY_FIGURE, kind)
        x = times.index / published.overload("specweb99-like", kind).peak
        for limit in ENDS:
            style = side_style(NEAREST[kind], limit)
            line(cell, x.to_numpy(), bare(times[limit]), **style | {"markersize": 2.6})
    cell.set_title("2004, served only (Fig. 17)")
