"""2004's numbers: the digitised figures of Brecht, Pariag & Gammo and what their text states.

Source of the points: "accept()able Strategies for Improving Web Server Performance", USENIX '04,
figures 2-15 and 17, read off the markers of the vector graphics. The columns of the file: figure,
series, target_req_s, y.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import pandas as pd

from retrospective import paths

#: workload -> (figure of replies/s, figure of queue drops/s) of the µserver.
FIGURES = {"one-packet": (8, 9), "specweb99-like": (2, 3)}
LATENCY_FIGURE = 17

#: What the text states (section 6 and the abstract), where a claim quotes it rather than a figure.
GAIN = {"one-packet": 1.71, "specweb99-like": 1.39}
SELECTS_PER_S = {"inf": 267.0, "1": 12_507.0}
WORK_ITEMS_PER_PHASE = {"inf": 184.9, "1": 3.6}
ACCEPTS_PER_S = {"inf": 1571.0, "1": 1127.0}


@cache
def points() -> pd.DataFrame:
    """All digitised points; ``limit`` is the accept-limit of the µserver's series in our spelling."""
    frame = pd.read_csv(paths.PUBLISHED / "accept_2004_figures.csv")
    frame["limit"] = frame["series"].str.removeprefix("userver-").str.lower()
    return frame


def curves(figure: int) -> pd.DataFrame:
    """One figure: a row a target (requests/s), a column a limit."""
    rows = points()
    return rows[rows["figure"] == figure].pivot_table(index="target_req_s", columns="limit", values="y")


@dataclass(frozen=True)
class Overload:
    """The µserver of 2004 under one workload; x and y scale by its peak at limit 10, as ours do."""

    workload: str
    replies: pd.DataFrame  # replies/s by target and limit
    drops: pd.DataFrame  # queue drops/s by target and limit
    peak: float  # replies/s at limit 10

    @property
    def last(self) -> float:
        """Highest target, requests/s."""
        return float(self.replies.index.max())

    @property
    def last_x(self) -> float:
        """Highest target as a ratio to the peak."""
        return self.last / self.peak

    def scaled(self, table: pd.DataFrame) -> pd.DataFrame:
        """Both axes as ratios to the peak."""
        return (table / self.peak).set_axis(table.index / self.peak, axis="index")

    def gain(self, over: str = "inf", under: str = "1") -> pd.Series:
        """Ratio of replies/s of two limits by x."""
        return (self.replies[over] / self.replies[under]).set_axis(self.replies.index / self.peak)


@cache
def overload(workload: str) -> Overload:
    """Return the published counterpart of a workload."""
    replies, drops = (curves(figure) for figure in FIGURES[workload])
    return Overload(workload, replies, drops, float(replies["10"].max()))
