"""What is left under loss: goodput beside Linux's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from retrospective.analysis import userstack
from retrospective.analysis.claims.userstack import GOODPUT
from retrospective.analysis.evidence import effect
from retrospective.analysis.figures.style import (
    BLACK,
    GREY,
    Entry,
    NothingToDraw,
    Site,
    dot,
    key,
    lines,
    panels,
    plain_ticks,
    styled,
)
from retrospective.analysis.figures.userstack_style import (
    ALGORITHM_STYLE,
    faint_entries,
    required,
)
from retrospective.analysis.userstack import ALGORITHMS, DIRECTIONS, NO_IMPAIRMENT

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


BOUND = {"color": BLACK, "linewidth": 1.1, "linestyle": (0, (4, 2))}
#: Beyond this on either side an interval leaves the panel: it would flatten what differs.
LIMITS = (0.2, 5.0)


@styled
def goodput(site: Site, reference: Site | None = None) -> Figure:
    """Draw goodput of ours ÷ Linux's: a line an impaired cell, a panel a direction, a colour an algorithm."""
    required(site, "impaired")
    found = userstack.impaired(site.frame)
    recorded = userstack.impaired(reference.frame) if reference is not None else found.iloc[:0]
    cells = userstack.impairments(found)
    figure, (axes,) = panels(1, 2, height=0.34 * len(cells) + 0.6, sharex=True)
    drawn = [
        _forest(cell, source, cells, direction, faint=source is recorded)
        for cell, direction in zip(axes, DIRECTIONS, strict=True)
        for source in (recorded, found)
    ]
    if not any(drawn):
        raise NothingToDraw(
            "no cell of experiment 'impaired' has ours and Linux with the same algorithm and seed"
        )
    names = [cell if cell != NO_IMPAIRMENT else "not impaired" for cell in cells]
    lines(axes, names)
    for cell, title in zip(axes, ("ours sends", "ours receives"), strict=True):
        cell.axvline(GOODPUT, **BOUND, zorder=1)
        cell.axvline(1, color=GREY, linewidth=0.8, zorder=1)
        cell.set_title(title)
        cell.set_xlabel("goodput, ours ÷ Linux")
    axes[0].set_xscale("log")
    low, high = axes[0].get_xlim()
    low, high = max(min(low, 0.65), LIMITS[0]), min(max(high, 1.15), LIMITS[1])
    for cell in axes:
        cell.set_xlim(low, high)
        plain_ticks(cell.xaxis, low, high)
    entries: list[Entry] = [
        ({"linestyle": "none", **ALGORITHM_STYLE[name]}, f"both {name}") for name in ALGORITHMS
    ]
    bar = ({"color": GREY, "linewidth": 1}, "95 % interval over seeds")
    key(figure, None, [*entries, bar, (BOUND, f"promised: {GOODPUT:g}"), *faint_entries(reference)])
    return figure


def _forest(cell: Axes, trials_of: pd.DataFrame, cells: list[str], direction: str, *, faint: bool) -> int:
    """A dot an algorithm on each cell's line; returns how many."""
    count = 0
    for y, name in enumerate(cells):
        for algorithm, shift in zip(ALGORITHMS, (-0.14, 0.14), strict=True):
            found = effect(userstack.goodput(trials_of, name, algorithm, direction))
            if found.n:
                bounds = (found.low, found.high) if found.n > 2 else (np.nan, np.nan)
                dot(
                    cell, np.array([found.value, *bounds]), y + shift, ALGORITHM_STYLE[algorithm], faint=faint
                )
                count += 1
    return count
