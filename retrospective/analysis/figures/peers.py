"""What a reply costs: ours, the floor, and the web servers of today (V2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from retrospective.analysis.figures.style import (
    BLACK,
    BLUE,
    DESIGNS,
    GREY,
    PURPLE,
    Site,
    key,
    panels,
    required,
    styled,
    trials_of,
)
from retrospective.analysis.formatting import fmt_number
from retrospective.analysis.statistics import mean_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COST = "server_cpu_us_per_reply"
#: Parts of a reply's cost, the darker one first; rows recorded before they were told apart have the sum alone.
PARTS = {"server_user_us_per_reply": ("user", 1.0), "server_system_us_per_reply": ("kernel", 0.5)}
OURS, OTHERS = ("ours", BLUE), ("others", PURPLE)


@styled
def peers(site: Site, reference: Site | None = None) -> Figure:
    """Draw CPU time per reply on 64 persistent connections, spent in user mode and in the kernel."""
    trials = required(site, "peers")
    recorded = trials_of(reference, "peers")
    by_label = dict(list(trials.groupby("label")))
    order = sorted(by_label, key=lambda label: float(by_label[label][COST].mean()), reverse=True)
    split = all(part in trials and trials[part].notna().any() for part in PARTS)
    figure, ((cell,),) = panels(1, 1, height=0.27 * len(order) + 0.8)
    for y, label in enumerate(order):
        found = by_label[label]
        ours = found["design"].iloc[0] in DESIGNS
        colour = GREY if label == "floor" else (OURS if ours else OTHERS)[1]
        mean, low, high = mean_interval(found[COST])
        if split and found[[*PARTS]].notna().all(axis=None):
            left = 0.0
            for part, (_, alpha) in PARTS.items():
                width = float(found[part].mean())
                cell.barh(y, width, 0.64, left, color=colour, alpha=alpha)
                left += width
        else:
            cell.barh(y, mean, 0.64, color=colour)
        if np.isfinite(low):
            cell.errorbar(mean, y, xerr=[[mean - low], [high - mean]], color=BLACK, capsize=2.5, linewidth=1)
        theirs = recorded.loc[recorded["label"] == label, COST].mean() if recorded is not None else np.nan
        if np.isfinite(theirs):
            cell.plot(theirs, y, marker="D", color="white", markeredgecolor=BLACK, zorder=5)
        end = np.nanmax([mean, high, theirs])
        cell.annotate(
            fmt_number(mean), (end, y), xytext=(5, 0), textcoords="offset points", va="center", fontsize=7.5
        )
    entries = [({"facecolor": OURS[1]}, OURS[0]), ({"facecolor": GREY}, "floor: a canned reply")]
    entries.insert(1, ({"facecolor": OTHERS[1]}, OTHERS[0]))
    if split:
        entries += [
            ({"facecolor": BLACK, "alpha": 0.75 * a}, f"in {name} mode") for name, a in PARTS.values()
        ]
    entries.append(({"color": BLACK, "marker": "|", "markersize": 9, "linestyle": "none"}, "95 % interval"))
    if recorded is not None and reference is not None:
        diamond = {"color": "white", "marker": "D", "markeredgecolor": BLACK, "linestyle": "none"}
        entries.append((diamond, reference.name))
    key(figure, None, entries)
    cell.set_yticks(range(len(order)), order)
    cell.set_ylim(-0.6, len(order) - 0.4)
    cell.margins(x=0.08)
    cell.grid(axis="y", visible=False)
    cell.set_xlabel("server CPU time per reply, µs (1 KiB from cache, 64 persistent connections)")
    return figure
