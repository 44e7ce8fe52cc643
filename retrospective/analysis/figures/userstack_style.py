"""How stacks look in every figure, and the rows that a figure is drawn from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from retrospective.analysis import userstack
from retrospective.analysis.figures.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    VIOLET,
    Entry,
    NothingToDraw,
    Site,
)
from retrospective.analysis.statistics import ratio_interval
from retrospective.analysis.userstack import (
    KERNEL,
    LOOPBACK,
    LWIP,
    LWIP_THREAD,
    OURS,
    PLAIN,
    SWITCH,
    VETH,
    Series,
)

if TYPE_CHECKING:
    pass

#: Colour of every stack, and of the kernel by its path; ours and lwIP are on the switch.
STACK_STYLE: dict[str, dict[str, Any]] = {
    KERNEL: {"color": BLUE, "marker": "s"},
    OURS: {"color": VERMILION, "marker": "o"},
    LWIP: {"color": PURPLE, "marker": "D"},
    LWIP_THREAD: {"color": VIOLET, "marker": "v"},
}
PATH_COLOURS = {SWITCH: BLUE, PLAIN: BLUE, VETH: GREEN, LOOPBACK: SKY}
OTHER = {"color": GREY, "marker": "X"}
#: Colour of an algorithm where colours are not stacks.
ALGORITHM_STYLE: dict[str, dict[str, Any]] = {
    "reno": {"color": BLUE, "marker": "o"},
    "cubic": {"color": ORANGE, "marker": "s"},
}


def series_style(series: Series) -> dict[str, Any]:
    """Colour and marker of a series, the same in every figure; hollow where its peer is of another kind."""
    style = dict(STACK_STYLE.get(series.stack, OTHER))
    if series.stack == KERNEL:
        style["color"] = PATH_COLOURS.get(series.path, GREY)
    if series.peer:
        style["markerfacecolor"] = "white"
    return style


def trials(site: Site | None, experiment: str, **where: object) -> pd.DataFrame:
    """Valid rows of an experiment, none of no site."""
    return userstack.trials(site.frame if site is not None else pd.DataFrame(), experiment, **where)


def required(site: Site, experiment: str, **where: object) -> pd.DataFrame:
    """The same, or ``NothingToDraw`` with the reason most often given: what is lacking, or how trials failed."""
    found = trials(site, experiment, **where)
    if not found.empty:
        return found
    lost = site.frame
    if len(lost) and "chapter" in lost:
        lost = lost[(lost["chapter"] == userstack.CHAPTER) & (lost["experiment"] == experiment)]
        lost = lost[~lost["valid"].astype(bool)]
    why = f" ({lost['reason'].astype(str).str.split(':').str[0].mode()[0]})" if len(lost) else ""
    raise NothingToDraw(f"no valid trials of experiment {experiment!r}{why}")


def level(values: pd.Series) -> np.ndarray:
    """Geometric mean and its 95 % interval, ``[value, low, high]``; of two values an interval says nothing."""
    found = ratio_interval(values.dropna())
    bounds = (found.low, found.high) if found.n > 2 else (np.nan, np.nan)
    return np.array([found.value, *bounds])


def faint_entries(reference: Site | None) -> list[Entry]:
    """Legend entry of the dashes of the reference machine."""
    look = {"color": GREY, "marker": "|", "linestyle": "none", "alpha": 0.55}
    return [(look, f"faint: {reference.name}")] if reference is not None else []
