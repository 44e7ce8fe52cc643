"""The matrix: which interface holds its caller in which call, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retrospective.analysis import laziness, probes
from retrospective.analysis.figures.style import NothingToDraw, Site, key, panels, styled
from retrospective.analysis.formatting import fmt_us
from retrospective.analysis.holds import Hold, matrix
from retrospective.analysis.laziness import in_order

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Word -> face of a cell and weight of its text: what is told by colour is told by weight, too.
LOOKS: dict[str, tuple[str, dict[str, Any]]] = {
    "never": ("#C5E6D8", {}),
    "seldom": ("#F9E3B0", {"fontstyle": "italic"}),
    "mostly": ("#F0B9A0", {"fontweight": "bold"}),
    "absent": ("#EFEFEF", {"color": "#7A7A7A"}),
}


@styled
def held(site: Site, reference: Site | None = None) -> Figure:
    """Draw interface by call: the 99.9th percentile of how long the caller was held, and the worst."""
    del reference  # two machines' numbers do not fit into a cell; each has a matrix of its own
    found = matrix(site.frame)
    if not any(hold.samples for hold in found.values()):
        raise NothingToDraw("no valid probes of experiment 'held'")
    calls = list(dict.fromkeys(call for call, _ in found))
    names = in_order(series for _, series in found)
    figure, ((cell,),) = panels(1, 1, height=0.34 * len(calls) + 0.55)
    for y, call in enumerate(calls):
        for x, series in enumerate(names):
            _draw(cell, x, y, found.get((call, series), Hold()))
    cell.set_xlim(-0.5, len(names) - 0.5)
    cell.set_ylim(len(calls) - 0.5, -0.5)
    cell.set_xticks(range(len(names)), [name.replace(" (", "\n(") for name in names])
    cell.set_yticks(range(len(calls)), [laziness.call_name(call) for call in calls])
    cell.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    cell.grid(visible=False)
    for spine in cell.spines.values():
        spine.set_visible(False)
    bound = fmt_us(probes.HELD_BOUND_US)
    entries = [
        ({"facecolor": LOOKS["never"][0]}, f"99.9 % within {bound}"),
        ({"facecolor": LOOKS["seldom"][0]}, f"half within {bound}, not 99.9 % (italic)"),
        ({"facecolor": LOOKS["mostly"][0]}, f"half beyond {bound} (bold)"),
    ]
    key(figure, None, entries, ncols=3)
    return figure


def _draw(cell: Axes, x: int, y: int, hold: Hold) -> None:
    face, look = LOOKS[hold.word]
    cell.add_patch(_square(x, y, face))
    first, _, second = hold.text().partition("\n")
    if hold.samples:
        cell.text(x, y - 0.14, first, ha="center", va="center", fontsize=7, **look)
        cell.text(x, y + 0.24, second, ha="center", va="center", fontsize=5, color="#444444")
    else:
        cell.text(x, y, hold.text(), ha="center", va="center", fontsize=5.5, linespacing=1.0, **look)


def _square(x: int, y: int, face: str) -> Any:
    from matplotlib.patches import Rectangle  # noqa: PLC0415 (one of its many shapes)

    return Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, facecolor=face, edgecolor="none", zorder=0)
