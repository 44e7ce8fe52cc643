"""How the engines of lazy I/O look in every figure, and the probes that a figure is drawn from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import ticker

from retrospective.analysis import probes
from retrospective.analysis.figures.style import (
    BLACK,
    BLUE,
    BROWN,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    NothingToDraw,
    Site,
)

if TYPE_CHECKING:
    import pandas as pd

#: Colour and marker of every series.
SERIES_STYLE: dict[str, dict[str, Any]] = {
    "plain": {"color": GREY, "marker": "x"},
    "activation": {"color": VERMILION, "marker": "o"},
    "activation (timer)": {"color": ORANGE, "marker": "v"},
    "uring": {"color": GREEN, "marker": "D"},
    "nowait": {"color": BLUE, "marker": "s"},
    "pool": {"color": SKY, "marker": "^"},
    "amped": {"color": BROWN, "marker": "P"},
    "posix-aio": {"color": PURPLE, "marker": "h"},
    "linux-aio": {"color": BLACK, "marker": "X"},
}
OTHER_SERIES = {"color": GREY, "marker": "p"}


def series_style(series: str) -> dict[str, Any]:
    """Colour and marker of a series, the same in every figure."""
    return SERIES_STYLE.get(series, OTHER_SERIES)


def required(site: Site, experiment: str, **where: object) -> pd.DataFrame:
    """Valid probes of an experiment, or ``NothingToDraw`` with the reason."""
    found = probes.trials(site.frame, experiment, **where)
    if found.empty:
        raise NothingToDraw(f"no valid probes of experiment {experiment!r}")
    return found


def beside(site: Site | None, experiment: str, **where: object) -> pd.DataFrame | None:
    """The same of the reference machine, ``None`` if there is none."""
    found = probes.trials(site.frame, experiment, **where) if site is not None else None
    return found if found is not None and len(found) else None


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
