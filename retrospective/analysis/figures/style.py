"""How every figure looks, and what every figure is drawn from."""

from __future__ import annotations

import functools
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
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")

#: Okabe & Ito (2008): told apart by colour-blind readers; in print, line styles and markers do the same.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY = "#8C8C8C"
PALE = "#E4E4E4"

LIMIT_STYLE: dict[str, dict[str, Any]] = {
    "1": {"color": VERMILION, "marker": "o", "linestyle": (0, (4, 1.5))},
    "10": {"color": BLUE, "marker": "s", "linestyle": (0, (1, 1))},
    "50": {"color": ORANGE, "marker": "D", "linestyle": (0, (3, 1, 1, 1))},
    "100": {"color": PURPLE, "marker": "v", "linestyle": (0, (5, 1))},
    "inf": {"color": GREEN, "marker": "^", "linestyle": "solid"},
}
#: Order of the panels; a design that is not named here follows.
DESIGNS = ("select", "epoll")
DESIGN_COLOUR = {"select": BLUE, "epoll": ORANGE, "nginx": PURPLE, "floor": GREY, "lighttpd": SKY}
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


def families(site: Site, workload: str, reference: Site | None = None) -> list[tuple[str, str]]:
    """(design, charge) that have overload trials here or on the reference machine, in a fixed order."""
    frames = [site.frame] + ([reference.frame] if reference else [])
    measured = (
        {
            (str(design), str(charge))
            for frame in frames
            for design, charge in rows.valid(frame, experiment=workload).groupby(["design", "charge"]).groups
        }
        if any(len(frame) for frame in frames)
        else set()
    )
    designs = sorted(
        {design for design, _ in measured}, key=lambda d: (DESIGNS.index(d) if d in DESIGNS else 9, d)
    )
    return [(d, c) for d in designs for c in rows.CHARGES if (d, c) in measured]


def by_x(
    trials: pd.DataFrame, column: str, divisor: float = 1.0
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """For each limit: its x and, a row an x, mean and 95 % interval of ``column`` ÷ ``divisor``."""
    for limit in rows.LIMITS:
        series = trials[trials["accept_limit"] == limit]
        if series.empty:
            continue
        groups = list(series.groupby("x_ratio")[column])
        x = np.array([float(place) for place, _ in groups])
        y = np.array([mean_interval(values / divisor) for _, values in groups])
        yield limit, x, y


def line(axes: Axes, x: np.ndarray, y: np.ndarray, *, faint: bool = False, **style: Any) -> Artist | None:
    """Draw means and their 95 % band; ``faint`` is the reference machine behind the reader's own."""
    keep = np.isfinite(y[:, 0])
    x, y = x[keep], y[keep]
    if not len(x):
        return None
    if faint:
        style |= {"marker": None, "linewidth": 0.9, "alpha": 0.55}
        if len(x) == 1:
            style |= {"marker": "_", "markersize": 9}
    (drawn,) = axes.plot(x, y[:, 0], zorder=2 if faint else 3, **style)
    bounded = np.isfinite(y[:, 1])
    if not faint and bounded.any():
        if bounded.sum() == 1:
            low, high = y[bounded, 0] - y[bounded, 1], y[bounded, 2] - y[bounded, 0]
            axes.errorbar(
                x[bounded], y[bounded, 0], yerr=[low, high], color=style["color"], capsize=2, linewidth=0.9
            )
        else:
            axes.fill_between(
                x[bounded], y[bounded, 1], y[bounded, 2], color=style["color"], alpha=0.18, linewidth=0
            )
    return drawn


def key(
    figure: Figure, where: Axes | None, entries: Sequence[tuple[dict[str, Any], str]], **more: Any
) -> None:
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


def limit_entries(reference: Site | None, *, offered: bool = False) -> list[tuple[dict[str, Any], str]]:
    """Legend entries of the three limits, the diagonal and the faint lines."""
    entries: list[tuple[dict[str, Any], str]] = [
        (style, f"accept-limit {fmt_limit(limit)}") for limit, style in LIMIT_STYLE.items()
    ]
    entries.append(({"facecolor": GREY, "alpha": 0.3}, "95 % interval"))
    if offered:
        entries.append(({"color": GREY, "linestyle": (0, (1, 2)), "linewidth": 1}, "all offered served"))
    if reference is not None:
        entries.append(({"color": GREY, "linewidth": 0.9}, f"thin: {reference.name}"))
    return entries


def floor_band(axes: Axes, floor: Floor) -> None:
    """Grey band of ratios that the lab also sees between a design and itself."""
    if floor.measured:
        axes.axhspan(1 / floor.factor, floor.factor, color=PALE, zorder=0, linewidth=0)
    axes.axhline(1, color=GREY, linewidth=0.8, zorder=1)


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
