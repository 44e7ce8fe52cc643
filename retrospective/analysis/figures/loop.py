"""Inside the loop: how each limit spends its turns, and what Equation 1 makes of their cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from retrospective.analysis import published, rows
from retrospective.analysis.evidence import SATURATED, Evidence
from retrospective.analysis.figures.overload import OFFERED, Family, arrange, draw_panel, of_kind
from retrospective.analysis.figures.style import (
    BLACK,
    DIAGONAL,
    WORKLOAD_NAMES,
    NothingToDraw,
    Site,
    common_entries,
    design_style,
    key,
    limit_entries,
    limit_style,
    limits_in,
    log_ticks,
    panels,
    styled,
)
from retrospective.analysis.formatting import fmt_limit
from retrospective.analysis.statistics import ratio_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def _loops(site: Site, workload: str, reference: Site | None = None) -> list[Family]:
    """Families of the designs whose loop has a getevents phase, or ``NothingToDraw``."""
    found = of_kind("userver", site, workload) or of_kind("userver", site, workload, reference)
    if not found:
        raise NothingToDraw(f"no valid {WORKLOAD_NAMES[workload]} trials of a getevents loop")
    return found


@styled
def getevents(site: Site, reference: Site | None = None, workload: str = "one-packet") -> Figure:
    """Draw getevents calls per second and connections per work phase: how each limit spends its turns."""
    found = _loops(site, workload, reference)
    arranged = arrange(found, [source for source in (site, reference) if source], workload)
    figure, axes = panels(2, len(arranged), height=1.95, sharex="col", sharey="row")
    crowded = len(arranged) > 3
    old = {0: published.SELECTS_PER_S, 1: published.WORK_ITEMS_PER_PHASE}
    at_24k = 24_000 / published.overload("one-packet").peak
    for j, panel in enumerate(arranged):
        for i, column in enumerate(("getevents_per_s", "work_items_per_phase")):
            cell = axes[i, j]
            draw_panel(cell, panel, site, reference, workload, column, relative=False)
            if panel.curves and panel.families[0] == ("select", "receiver") and workload == "one-packet":
                for limit, value in old[i].items():
                    cell.plot(
                        at_24k, value, marker="*", markersize=9, color=limit_style(limit)["color"],
                        markeredgecolor=BLACK, markeredgewidth=0.6, linestyle="none", zorder=4,
                    )  # fmt: skip
            cell.set_yscale("log")
            log_ticks(cell.yaxis)
        axes[0, j].set_title(panel.title.replace(", ", "\n") if crowded else panel.title)
        if panel.curves:
            axes[1, j].set_xlim(left=0)
            axes[1, j].set_xlabel(OFFERED)
        elif crowded:
            axes[1, j].tick_params(axis="x", rotation=90)
    axes[0, 0].set_ylabel("getevents calls/s")
    axes[1, 0].set_ylabel("connections per work phase")
    limits = set().union(*(limits_in(rows.overload(site.frame, workload, *family)) for family in found))
    star = ({"color": "white", "marker": "*", "markersize": 9, "markeredgecolor": BLACK, "linestyle": "none"},
            "2004, at 24,000 requests/s")  # fmt: skip
    key(figure, None, [*limit_entries([*limits]), star, *common_entries(reference)])
    return figure


@styled
def eq1(site: Site, reference: Site | None = None, workload: str = "one-packet") -> Figure:
    """Eq. 1 put to the test: accept rates from measured costs, and the gain it predicts."""
    del reference  # a machine's costs predict that machine's rates
    found = _loops(site, workload)
    figure, ((rates, gains),) = panels(1, 2, height=2.9)
    top = 0.0
    limits: set[str] = set()
    for design, charge in found:
        trials = Evidence(site.frame, design, charge).trials(workload)
        trials = trials[trials["x_ratio"] >= SATURATED]
        for limit in limits_in(trials):
            limits.add(limit)
            series = trials[trials["accept_limit"] == limit]
            x, y = series["eq1_accepts_per_s"] / 1e3, series["accepts_per_s"] / 1e3
            style = limit_style(limit)
            face = style["color"] if charge == "receiver" else "none"
            rates.plot(x, y, linestyle="none", marker=style["marker"], color=style["color"], markersize=3.2,
                       markerfacecolor=face, markeredgewidth=0.7, alpha=0.75)  # fmt: skip
            top = max(top, float(np.nanmax([x.max(), y.max()])))
    if not limits:
        raise NothingToDraw(f"no valid {WORKLOAD_NAMES[workload]} trials past saturation")
    rates.plot([0, 1.06 * top], [0, 1.06 * top], **DIAGONAL, zorder=1)
    rates.set(xlim=(0, 1.06 * top), ylim=(0, 1.06 * top))
    rates.set_xlabel("Eq. 1 with measured costs, thousand accepts/s")
    rates.set_ylabel("measured, thousand accepts/s")
    rates.set_title("Accept rate")
    _eq1_gains(gains, site, workload, found)
    entries = [
        ({**limit_style(limit), "linestyle": "none"}, f"left: limit {fmt_limit(limit)}")
        for limit in sorted(limits, key=float)
    ]
    entries += [
        ({"color": design_style(design)["color"], "marker": "D", "linestyle": "none"}, f"right: {design}")
        for design in dict(found)
    ]
    entries += common_entries(None, hollow=any(charge == "sender" for _, charge in found), bars=True)
    entries.append((DIAGONAL, "as Eq. 1 says"))
    key(figure, None, entries, ncols=4)
    return figure


def _eq1_gains(cell: Axes, site: Site, workload: str, found: list[Family]) -> None:
    """Gain in accept rate as predicted from getevents alone, against the gain measured, with intervals of both."""
    ends = [1.0]
    for design, charge in found:
        evidence = Evidence(site.frame, design, charge)
        measured = evidence.ratios(workload, "accepts_per_s", "inf", "1")
        predicted = evidence.predicted_gain(workload)
        for x in measured.columns.intersection(predicted.columns):
            if float(x) < SATURATED:
                continue
            across, up = ratio_interval(predicted[x]), ratio_interval(measured[x])
            if across.n == 0 or up.n == 0:
                continue
            colour = design_style(design)["color"]
            if up.decided and across.decided:
                cell.errorbar(
                    across.value, up.value, color=colour, linewidth=0.8,
                    xerr=[[across.value - across.low], [across.high - across.value]],
                    yerr=[[up.value - up.low], [up.high - up.value]],
                )  # fmt: skip
            face = colour if charge == "receiver" else "white"
            cell.plot(across.value, up.value, marker="D", color=colour, markerfacecolor=face, zorder=4)
            ends += [across.value, up.value]
    low, high = min(ends) - 0.05, max(ends) + 0.1
    cell.plot([low, high], [low, high], **DIAGONAL, zorder=1)
    cell.set(xlim=(low, high), ylim=(low, high))
    cell.set_xlabel("predicted if only getevents' share differs")
    cell.set_ylabel("measured")
    cell.set_title("Gain in accept rate, Inf over 1")
