"""How the engines and servers of lazy I/O look in every figure, and the rows that a figure is drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from retrospective.analysis import lazy_servers, probes
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
    VIOLET,
    Entry,
    NothingToDraw,
    Site,
    plain_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from retrospective.analysis.lazy_servers import Case

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
#: Colour and marker of every server: those of its engine, hollow where the network side is lazy, too.
SERVER_STYLE: dict[str, dict[str, Any]] = {
    "NB-B": {"color": BLACK, "marker": "x"},
    "NB-AMPED": SERIES_STYLE["amped"],
    "NB-LAIO": SERIES_STYLE["activation"],
    "NB-LAIO (uring)": SERIES_STYLE["uring"],
    "NB-LAIO (nowait)": SERIES_STYLE["nowait"],
    "NB-LAIO (begun)": {"color": VERMILION, "marker": "*"},
    "NB-B (begun)": {"color": BLACK, "marker": "+"},
    "LAIO-LAIO": SERIES_STYLE["activation"] | {"markerfacecolor": "white"},
    "LAIO-LAIO (uring)": SERIES_STYLE["uring"] | {"markerfacecolor": "white"},
    "NB-pool": SERIES_STYLE["pool"],
    "NB-POSIX-AIO": SERIES_STYLE["posix-aio"],
    "NB-Linux-AIO": {"color": GREY, "marker": "X"},
    "threads": {"color": VIOLET, "marker": "v"},
    "processes": {"color": ORANGE, "marker": "<"},
}


def series_style(series: str) -> dict[str, Any]:
    """Colour and marker of a series, the same in every figure."""
    return SERIES_STYLE.get(series, OTHER_SERIES)


def server_style(server: str) -> dict[str, Any]:
    """Colour and marker of a server, the same in every figure."""
    return SERVER_STYLE.get(server, OTHER_SERIES)


def of_servers(site: Site | None, experiment: str, **where: Any) -> pd.DataFrame:
    """Valid trials of servers on traces, none of no site."""
    return lazy_servers.trials(site.frame if site is not None else pd.DataFrame(), experiment, **where)


def required_of_servers(site: Site, experiment: str, **where: Any) -> pd.DataFrame:
    """The same, or ``NothingToDraw`` with the reason: what the machine lacks, if it said so."""
    found = of_servers(site, experiment, **where)
    if found.empty:
        why = lazy_servers.why_missing(site.frame, (experiment,))
        raise NothingToDraw(f"no valid trials of experiment {experiment!r}" + (f" ({why})" if why else ""))
    return found


def of_case(found: pd.DataFrame, case: Case) -> pd.DataFrame:
    """Those of some trials that are of one case; none of none."""
    return found[(found["workload"] == case.workload) & (found["disk"] == case.disk)] if len(found) else found


def crowds(site: Site) -> dict[Case, pd.DataFrame]:
    """Warm trials with many clients whose files do not fit, by case, or ``NothingToDraw``."""
    found = required_of_servers(site, "traces", cache="warm")
    by_case = {case: lazy_servers.many(of_case(found, case)) for case in lazy_servers.cases(found)}
    there = {case: crowd for case, crowd in by_case.items() if len(crowd)}
    if not there:
        raise NothingToDraw("no valid trials of experiment 'traces' with many clients")
    return there


def servers_of(there: dict[Case, pd.DataFrame]) -> list[str]:
    """Servers of any of the cases, from above."""
    return lazy_servers.in_order(name for crowd in there.values() for name in crowd["server"].unique())


def means(cell: Axes) -> list[float]:
    """Where a panel's dots are, without what marks the reference machine."""
    dots = [line for line in cell.lines if line.get_marker() not in ("None", "|", "")]
    return [float(x) for line in dots for x in line.get_xdata()]


def log_of_means(cell: Axes, places: Sequence[float], margin: float = 1.6, most: int = 7) -> None:
    """Logarithmic axis around the dots: intervals of a few rounds may span decades, and flatten nothing else."""
    cell.set_xscale("log")
    cell.set_xlim(min(places) / margin, max(places) * margin)
    plain_ticks(cell.xaxis, *cell.get_xlim(), most=most)


def dot_entries(reference: Site | None) -> list[Entry]:
    """Legend entries of what figures of dots share: intervals, the faint dashes of the reference machine."""
    beside = {"color": GREY, "marker": "|", "linestyle": "none"}
    entries: list[Entry] = [({"color": GREY, "linewidth": 1}, "95 % interval")]
    return entries + ([(beside, f"faint: {reference.name}")] if reference is not None else [])


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
