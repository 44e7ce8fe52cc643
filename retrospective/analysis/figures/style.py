"""How every figure looks, and what every figure is drawn from."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np
from matplotlib import pyplot, ticker

from retrospective.analysis import rows
from retrospective.analysis.formatting import fmt_limit
from retrospective.analysis.statistics import Floor, mean_interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
Entry = tuple[dict[str, Any], str]  # of a legend: style, words

#: Okabe & Ito (2008): told apart by colour-blind readers; in print, line styles and markers do the same.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY = "#8C8C8C"
PALE = "#E4E4E4"

VIOLET, BROWN = "#6A51A3", "#8C510A"  # beyond their eight: colour-blind readers tell these by their markers

#: The limits of the paper; ``limit_style`` also knows those that a reader chooses.
LIMIT_STYLE: dict[str, dict[str, Any]] = {
    "1": {"color": VERMILION, "marker": "o", "linestyle": (0, (4, 1.5))},
    "10": {"color": BLUE, "marker": "s", "linestyle": (0, (1, 1))},
    "50": {"color": PURPLE, "marker": "D", "linestyle": (0, (5, 1, 1, 1))},
    "100": {"color": ORANGE, "marker": "v", "linestyle": (0, (3, 1, 1, 1, 1, 1))},
    "inf": {"color": GREEN, "marker": "^", "linestyle": "solid"},
}
OTHER_LIMIT = {"color": GREY, "linestyle": "solid"}
OTHER_MARKERS = ("P", "X", "<", ">", "p", "h")

#: Colour and marker of every design, in the order of the panels; a design that is not named here follows.
DESIGN_STYLE: dict[str, dict[str, Any]] = {
    "select": {"color": BLUE, "marker": "o"},
    "poll": {"color": SKY, "marker": "s"},
    "epoll": {"color": ORANGE, "marker": "^"},
    "uring": {"color": GREEN, "marker": "D"},
    "drain": {"color": PURPLE, "marker": "s"},
    "drain-uring": {"color": VERMILION, "marker": "^"},
    "user-threads": {"color": VIOLET, "marker": "D"},
    "kernel-threads": {"color": BROWN, "marker": "v"},
    "prefork": {"color": YELLOW, "marker": "P"},
    "floor": {"color": GREY, "marker": "x"},
}
DESIGNS = tuple(DESIGN_STYLE)
OTHER_DESIGN = {"color": GREY, "marker": "X"}
CHARGE_STYLE = {"receiver": "solid", "sender": (0, (4, 1.5))}
WORKLOAD_NAMES = {"one-packet": "one-packet", "specweb99-like": "SPECweb99-like"}

WIDTH = 7.2  # inches: the text width of an A4 page with the margins of the document
PANEL = 2.1  # inches: height of one row of panels

STYLE = {
    "figure.dpi": 120,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E9E9E9",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.6,
    "hatch.linewidth": 0.6,
    "svg.hashsalt": "retrospective",  # the same figure is the same file
    "svg.fonttype": "path",
    "text.parse_math": False,
}


class NothingToDraw(Exception):  # noqa: N818 (it is no error: the profile lacks these trials)
    """A figure has no valid trials to show; the message says which."""


@dataclass(frozen=True)
class Site:
    """One machine's trials: what a figure is drawn from. ``facts`` is its provenance."""

    name: str
    frame: pd.DataFrame
    facts: dict[str, Any]


def styled(function: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw a figure in the style of the house, without touching anybody else's.

    The figure is taken out of pyplot's hands: a notebook shows it once, as the value of its cell, and nobody has
    to close it.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with pyplot.rc_context(STYLE):
            try:
                figure = function(*args, **kwargs)
            except BaseException:
                pyplot.close()
                raise
            pyplot.close(figure)
            return figure

    return wrapper


def panels(rows_count: int, columns: int, height: float = PANEL, **more: Any) -> tuple[Figure, np.ndarray]:
    """Return a grid of panels as wide as the text, always a two-dimensional array of axes."""
    figure, axes = pyplot.subplots(
        rows_count, columns, figsize=(WIDTH, height * rows_count + 0.35), squeeze=False, **more
    )
    return figure, axes


def limit_order(limit: str) -> float:
    """Sort limits by size, ``inf`` last."""
    return float(limit)


def limits_in(trials: pd.DataFrame) -> list[str]:
    """Return the accept-limits of these trials, by size."""
    return sorted(trials["accept_limit"].dropna().unique(), key=limit_order) if len(trials) else []


def limit_style(limit: str) -> dict[str, Any]:
    """Colour, marker and line of a limit, the same in every figure."""
    if limit in LIMIT_STYLE:
        return LIMIT_STYLE[limit]
    return OTHER_LIMIT | {"marker": OTHER_MARKERS[zlib.crc32(limit.encode()) % len(OTHER_MARKERS)]}


def design_style(design: str) -> dict[str, Any]:
    """Colour and marker of a design, the same in every figure."""
    return DESIGN_STYLE.get(design, OTHER_DESIGN)


def by_design(design: str) -> tuple[int, str]:
    """Sort designs in the order of the panels."""
    return (DESIGNS.index(design) if design in DESIGNS else len(DESIGNS), design)


def trials_of(site: Site | None, experiment: str) -> pd.DataFrame | None:
    """Valid trials of an experiment in the lab, limits as text, or ``None``; those over loopback never mix in.

    Over loopback nobody can say who pays for a packet, so where user namespaces are refused there is nothing to
    show, and :func:`required` says why.
    """
    if site is None or not len(site.frame):
        return None
    found = rows.valid(site.frame, chapter="accept", experiment=experiment)
    found = found[found["charge"].isin(rows.CHARGES)]
    return found.assign(accept_limit=_limit_text(found)) if len(found) else None


def required(site: Site, experiment: str) -> pd.DataFrame:
    """:func:`trials_of` a site, or ``NothingToDraw`` with the reason."""
    found = trials_of(site, experiment)
    if found is not None:
        return found
    measured = rows.valid(site.frame, chapter="accept", experiment=experiment) if len(site.frame) else ()
    where = ", only some over loopback, where nobody can say who pays for packets" if len(measured) else ""
    raise NothingToDraw(f"no valid trials of experiment {experiment!r}{where}")


def _limit_text(trials: pd.DataFrame) -> pd.Series:
    """Accept-limits in our spelling; a server without one has none."""
    return trials["accept_limit"].where(trials["accept_limit"].notna()).astype(object).str.lower()


def families(site: Site, workload: str, reference: Site | None = None) -> list[tuple[str, str]]:
    """(design, charge) that have overload trials here or on the reference machine, in a fixed order."""
    measured = {
        (str(design), str(charge))
        for source in (site, reference)
        if (found := trials_of(source, workload)) is not None
        for design, charge in found.groupby(["design", "charge"]).groups
    }
    designs = sorted({design for design, _ in measured}, key=by_design)
    return [(d, c) for d in designs for c in rows.CHARGES if (d, c) in measured]


def by_x(
    trials: pd.DataFrame, column: str, divisor: float = 1.0
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """For each limit: its x and, a row an x, mean and 95 % interval of ``column`` ÷ ``divisor``."""
    for limit in limits_in(trials):
        series = trials[trials["accept_limit"] == limit]
        groups = list(series.groupby("x_ratio")[column])
        x = np.array([float(place) for place, _ in groups])
        y = np.array([mean_interval(values / divisor) for _, values in groups])
        yield limit, x, y


def line(
    axes: Axes,
    x: np.ndarray,
    y: np.ndarray,
    *,
    faint: bool = False,
    hollow: bool = False,
    bars: bool = False,
    **style: Any,
) -> None:
    """Draw means (first column of ``y``) and their 95 % intervals (the others).

    ``faint`` is the reference machine behind the reader's own. ``hollow`` empties the markers. Intervals are a band
    along a curve and ``bars`` where the places are few or far apart.
    """
    keep = np.isfinite(y[:, 0])
    x, y = x[keep], y[keep]
    if not len(x):
        return
    if faint:
        style |= {"marker": None, "linewidth": 0.9, "alpha": 0.55}
        if len(x) == 1:
            style |= {"marker": "_", "markersize": 9}
    elif hollow:
        style |= {"markerfacecolor": "white", "markeredgewidth": 1}
    axes.plot(x, y[:, 0], zorder=2 if faint else 3, **style)
    bounded = np.isfinite(y[:, 1])
    if faint or not bounded.any():
        return
    x, y = x[bounded], y[bounded]
    if bars or len(x) == 1:
        reach = [y[:, 0] - y[:, 1], y[:, 2] - y[:, 0]]
        axes.errorbar(x, y[:, 0], yerr=reach, fmt="none", ecolor=style["color"], capsize=2, linewidth=0.9)
    else:
        axes.fill_between(x, y[:, 1], y[:, 2], color=style["color"], alpha=0.18, linewidth=0)


def key(figure: Figure, where: Axes | None, entries: Sequence[Entry], **more: Any) -> None:
    """Legend of the whole figure: (style, words), in ``where`` (an empty cell) or below the panels."""
    handles = [
        pyplot.Rectangle((0, 0), 1, 1, **style) if "facecolor" in style else pyplot.Line2D([], [], **style)
        for style, _ in entries
    ]
    labels = [words for _, words in entries]
    if where is not None:
        where.axis("off")
        where.legend(handles, labels, loc="center left", handlelength=2.6, **more)
    else:
        more = {"ncols": min(len(labels), 4)} | more
        figure.legend(handles, labels, loc="outside lower center", handlelength=2.6, **more)


def limit_entries(limits: Sequence[str]) -> list[Entry]:
    """Legend entries of accept-limits."""
    return [
        (limit_style(limit), f"accept-limit {fmt_limit(limit)}") for limit in sorted(limits, key=limit_order)
    ]


def common_entries(reference: Site | None, *, hollow: bool = False, bars: bool = False) -> list[Entry]:
    """Legend entries of what the figures share: intervals, hollow markers, the faint lines."""
    entries: list[Entry] = []
    if hollow:
        empty = {"color": BLACK, "marker": "o", "markerfacecolor": "white", "linestyle": "none"}
        entries.append((empty, "hollow: sender pays"))
    if bars:
        entries.append(
            ({"color": GREY, "marker": "|", "markersize": 9, "linestyle": "none"}, "95 % interval")
        )
    else:
        entries.append(({"facecolor": GREY, "alpha": 0.3}, "95 % interval"))
    if reference is not None:
        entries.append(({"color": GREY, "linewidth": 0.9}, f"thin: {reference.name}"))
    return entries


DIAGONAL: dict[str, Any] = {"color": GREY, "linestyle": (0, (1, 2)), "linewidth": 1}


def floor_band(axes: Axes, floor: Floor) -> None:
    """Grey band of ratios that the lab also sees between a design and itself."""
    if floor.measured:
        axes.axhspan(1 / floor.factor, floor.factor, color=PALE, zorder=0, linewidth=0)
    axes.axhline(1, color=GREY, linewidth=0.8, zorder=1)


def floor_entry(floor: Floor) -> list[Entry]:
    """Legend entry of the detection floor, if it was measured."""
    if not floor.measured:
        return []
    return [({"facecolor": PALE}, f"detection floor, ±{(floor.factor - 1) * 100:.1f} %")]


def ratio_axis(axes: Axes, low: float = 0.6, high: float = 2.6) -> None:
    """Logarithmic axis of ratios, kept within ``low`` … ``high``.

    Intervals of a few rounds may span decades; they must not flatten everything else.
    """
    axes.set_yscale("log")
    bottom, top = axes.get_ylim()
    bottom, top = max(bottom, low), min(top, high)
    axes.set_ylim(min(bottom, 0.94), max(top, 1.06))
    bottom, top = axes.get_ylim()
    if top / bottom < 1.6:
        step = 0.02 if top / bottom < 1.2 else 0.1
        ticks = np.round(np.arange(np.ceil(bottom / step), np.floor(top / step) + 1) * step, 2)
    else:
        ticks = np.array(
            [tick for tick in (0.6, 0.7, 0.8, 0.9, 1, 1.2, 1.4, 1.7, 2, 2.5) if bottom <= tick <= top]
        )
    axes.set_yticks(ticks)
    axes.yaxis.set_major_formatter(lambda v, _: f"{v:g}")
    axes.yaxis.set_minor_locator(ticker.NullLocator())


def unit_note(axes: Axes, value: float, corner: tuple[float, float]) -> None:
    """Say what 1 on a relative axis stands for, replies/s."""
    if np.isfinite(value):
        corner_note(axes, f"1 = {value:,.0f} replies/s", corner)


def corner_note(axes: Axes, text: str, corner: tuple[float, float]) -> None:
    """Write small text into a corner of a panel, given in its own coordinates (0 to 1)."""
    axes.text(
        *corner,
        text,
        transform=axes.transAxes,
        ha="right" if corner[0] > 0.5 else "left",
        va="bottom" if corner[1] < 0.5 else "top",
        fontsize=7,
        color="#444444",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8},
    )


def log_ticks(axis: Any) -> None:
    """Plain numbers on a logarithmic axis: 100, 1,000."""
    axis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:,.0f}" if v >= 1 else f"{v:g}"))
    axis.set_minor_formatter(ticker.NullFormatter())


#: Ticks of a logarithmic axis, the more welcome ones first.
WELCOME = (
    *(1, 10, 100, 1000, 10_000, 2, 5, 20, 50, 200, 500, 2000, 5000, 0.5, 1.5, 3, 30, 300, 1.2, 0.8, 0.9, 1.1),
    *(7, 70, 0.7, 1.05, 0.95),
)


def plain_ticks(axis: Any, low: float, high: float, most: int = 7) -> None:
    """Plain numbers on a logarithmic axis, so few that none touches another."""
    apart = np.log(high / low) / most
    chosen: list[float] = []
    for tick in WELCOME:
        if low <= tick <= high and all(abs(np.log(tick / other)) >= apart for other in chosen):
            chosen.append(tick)
    axis.set_major_locator(ticker.FixedLocator(sorted(chosen)))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_locator(ticker.NullLocator())


def spread_labels(places: Sequence[float], apart: float, low: float, high: float) -> list[float]:
    """Move labels along their axis until they are ``apart`` at least, in order, as near as can be to their places."""
    order = np.argsort(places)
    moved = np.clip(np.asarray(places, dtype=float)[order], low, high)
    for _ in range(200):
        for i in range(1, len(moved)):
            lacks = apart - (moved[i] - moved[i - 1])
            if lacks > 0:
                moved[i - 1] -= lacks / 2
                moved[i] += lacks / 2
        moved = np.clip(moved, low, high)
    found = np.empty(len(moved))
    found[order] = moved
    return [float(place) for place in found]


def lines(cells: Sequence[Axes], names: Sequence[str]) -> None:
    """A line a name from above, the same in all panels beside each other; named at the left one."""
    for cell in cells:
        cell.set_ylim(len(names) - 0.4, -0.6)
        cell.set_yticks(range(len(names)), names if cell is cells[0] else [""] * len(names))
        cell.tick_params(axis="y", length=0)
        cell.grid(axis="y", visible=False)


def dot(cell: Axes, values: np.ndarray, y: float, style: dict[str, Any], *, faint: bool = False) -> None:
    """A level with its interval (``[value, low, high]``) on a line; ``faint`` is the reference machine's."""
    if not np.isfinite(values[0]):
        return
    if faint:
        cell.plot(values[0], y, marker="|", markersize=8, color=style["color"], alpha=0.55, zorder=2)
        return
    cell.plot(values[0], y, linestyle="none", **{"markersize": 4.6, **style}, zorder=4)
    if np.isfinite(values[1]):
        cell.plot(values[1:], [y, y], color=style["color"], linewidth=1, zorder=3)
