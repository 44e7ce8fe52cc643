"""Prices of what every timer stands on, and what virtualisation adds to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from retrospective.analysis.figures.style import BLUE, GREY, VERMILION, Site, key, panels, styled
from retrospective.analysis.figures.timers_style import level, numbers, required, time_axis, trials
from retrospective.analysis.formatting import fmt_us

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: price -> in words, and whether the hypervisor has a hand in it where there is one.
PRICES = {
    "stamp": ("reading the cycle counter", False),
    "clock": ("clock_gettime, without a system call", False),
    "null-call": ("a system call that does nothing", False),
    "timerfd-untouched": ("arming a timer that is not the next", False),
    "timerfd-reprogrammed": ("arming a timer that becomes the next", True),
    "timerfd-moved": ("moving the timer that is the next", True),
    "wake-same-cpu": ("waking a process on the same CPU", False),
    "wake-same-cpu (1 process)": ("the same, the only one there is", False),
    "wake-other-cpu": ("waking a process on the other CPU", True),
    "interrupt": ("a timer's interrupt", True),
    "timer-wake": ("sleeping until a timer, CPU busy", True),
    "timer-wake-halted": ("sleeping until a timer, CPU halted", True),
}


@styled
def prices(site: Site, reference: Site | None = None) -> Figure:
    """Draw the price of each primitive on a logarithmic scale; those that need the hypervisor stand out."""
    found = required(site, "prices")
    recorded = trials(reference, "prices")
    known = set(found["design"])
    names = [name for name in PRICES if name in known] + sorted(known - set(PRICES))
    figure, ((cell,),) = panels(1, 1, height=0.21 * len(names) + 0.4)
    for y, name in enumerate(names):
        mine = found[found["design"] == name]
        colour = VERMILION if PRICES.get(name, ("", False))[1] else BLUE
        value = level(numbers(mine, "price_ns"))[0] / 1e3
        reach = [numbers(mine, f"price_{q}_ns").median() / 1e3 for q in ("p10", "p90")]
        if np.isfinite(reach).all():
            cell.plot(reach, [y, y], color=colour, linewidth=3.2, alpha=0.3, solid_capstyle="butt", zorder=2)
        if not np.isfinite(value):  # below what a machine that is not quiet can tell
            continue
        cell.plot(value, y, marker="o", color=colour, markersize=4.6, zorder=4)
        right = max([value, *[r for r in reach if np.isfinite(r)]])
        cell.annotate(
            fmt_us(value), xy=(right, y), xytext=(6, 0), textcoords="offset points", va="center", fontsize=7
        )
        beside = recorded[recorded["design"] == name] if len(recorded) else recorded
        if len(beside):
            of_reference = level(numbers(beside, "price_ns"))[0] / 1e3
            cell.plot(of_reference, y, marker="|", markersize=9, color=colour, alpha=0.6, zorder=3)
    cell.set_xscale("log")
    low, high = cell.get_xlim()
    cell.set_xlim(low, high * 2.5)
    time_axis(cell.xaxis)
    cell.set_ylim(len(names) - 0.4, -0.6)
    cell.set_yticks(range(len(names)), [PRICES.get(name, (name, False))[0] for name in names])
    cell.tick_params(axis="y", length=0)
    cell.grid(axis="y", visible=False)
    cell.set_xlabel("time, or CPU time where somebody sleeps")
    dot = {"marker": "o", "linestyle": "none"}
    entries = [(dot | {"color": BLUE}, "the kernel alone")]
    if any(PRICES.get(name, ("", False))[1] for name in names):
        entries.append((dot | {"color": VERMILION}, "in a virtual machine, the hypervisor, too"))
    entries.append(({"facecolor": GREY, "alpha": 0.3}, "10th to 90th percentile"))
    if reference is not None:
        entries.append(({"color": GREY, "marker": "|", "linestyle": "none"}, f"dash: {reference.name}"))
    key(figure, None, entries)
    return figure
