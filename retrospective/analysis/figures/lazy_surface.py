"""The crossover surface: where reading lazily pays, by size of a read, share that is in memory, and reads at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.patches import Rectangle

from retrospective.analysis import laziness
from retrospective.analysis.figures.style import BLACK, GREY, NothingToDraw, Site, key, panels, styled
from retrospective.analysis.formatting import fmt_bytes, fmt_percent, fmt_ratio
from retrospective.analysis.laziness import in_order
from retrospective.analysis.statistics import Effect, ratio_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Blue where lazy reads are faster, red where eager ones are: told apart by colour-blind readers.
COLOURS = colormaps["RdBu"]
#: Colours end at these powers of two: beyond, the number in the cell tells.
LEAST_REACH, MOST_REACH = 1.0, 3.0
#: The crossover: between a cell that gains and a neighbour that loses.
LINE = {"color": BLACK, "linewidth": 2.2, "solid_capstyle": "round"}
UNDECIDED = {"facecolor": "none", "edgecolor": GREY, "hatch": "////", "linewidth": 0}
HEIGHT = 0.26  # inches: of a cell

Places = Mapping[tuple[int, int], Effect]  # column and row of a panel


@styled
def surface(site: Site, reference: Site | None = None) -> Figure:
    """Draw lazy ÷ eager reads a second as maps, size by share in memory: a row a number of reads at a time."""
    del reference  # two machines' numbers do not fit into a cell
    effects = {cell: ratio_interval(ratios) for cell, ratios in laziness.surface(site.frame).items()}
    effects = {cell: found for cell, found in effects.items() if found.n}
    if not effects:
        raise NothingToDraw("no valid probes of experiment 'surface'")
    names = in_order(cell.series for cell in effects)
    at_a_time = sorted({cell.concurrency for cell in effects})
    sizes = sorted({cell.bytes for cell in effects})
    shares = {name: sorted({cell.hit_share for cell in effects if cell.series == name}) for name in names}
    farthest = max(abs(np.log2(found.value)) for found in effects.values())
    reach = float(np.clip(np.ceil(farthest), LEAST_REACH, MOST_REACH))
    figure, axes = panels(
        len(at_a_time),
        len(names),
        height=HEIGHT * len(sizes) + 0.4,
        width_ratios=[len(shares[name]) + 0.5 for name in names],
        sharey=True,
    )
    for n, (name, number) in enumerate((name, number) for number in at_a_time for name in names):
        cell = axes.flat[n]
        places = {
            (shares[name].index(one.hit_share), sizes.index(one.bytes)): found
            for one, found in effects.items()
            if (one.series, one.concurrency) == (name, number)
        }
        if not places:
            cell.axis("off")
            continue
        _draw(cell, places, reach)
        cell.set_title(f"{name}, {number} at a time", fontsize=7.5)
        cell.set_xlim(-0.5, len(shares[name]) - 0.5)
        cell.set_xticks(range(len(shares[name])), [fmt_percent(share) for share in shares[name]])
    for cell in axes[:, 0]:
        cell.set_ylim(-0.5, len(sizes) - 0.5)
        cell.set_yticks(range(len(sizes)), [fmt_bytes(size) for size in sizes])
    for cell in axes[-1]:
        cell.set_xlabel("reads in memory")
    axes[len(axes) // 2, 0].set_ylabel("bytes a read")
    entries = [
        ({"facecolor": COLOURS(0.8)}, "lazy ÷ eager reads/s: lazy faster"),
        ({"facecolor": COLOURS(0.2)}, "eager faster"),
        (LINE, "crossover"),
        (UNDECIDED, "interval includes 1, or none"),
    ]
    key(figure, None, entries)
    return figure


def _draw(cell: Axes, places: Places, reach: float) -> None:
    for (x, y), found in places.items():
        shade = float(np.clip(np.log2(found.value) / reach, -1, 1))
        cell.add_patch(_square(x, y, facecolor=COLOURS(0.5 + shade / 2), edgecolor="white", linewidth=0.8))
        certain = found.decided and not found.low <= 1 <= found.high
        if not certain:
            cell.add_patch(_square(x, y, **UNDECIDED, alpha=0.45))
        cell.text(
            *(x, y, fmt_ratio(found.value)),
            ha="center",
            va="center",
            fontsize=6.5,
            color="white" if abs(shade) > 0.7 else BLACK,
            fontweight="bold" if certain else "normal",
        )
        for across, beyond in (((x + 1, y), "right"), ((x, y + 1), "above")):
            other = places.get(across)
            if other is not None and (other.value > 1) != (found.value > 1):
                ends = ([x + 0.5, x + 0.5], [y - 0.5, y + 0.5])
                if beyond == "above":
                    ends = ([x - 0.5, x + 0.5], [y + 0.5, y + 0.5])
                cell.plot(*ends, **LINE, zorder=4)
    cell.tick_params(length=0)
    cell.grid(visible=False)
    for spine in cell.spines.values():
        spine.set_visible(False)


def _square(x: int, y: int, **look: Any) -> Rectangle:
    return Rectangle((x - 0.5, y - 0.5), 1, 1, **look)
