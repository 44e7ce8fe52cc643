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

ONE_PACKET, SPECWEB = "one-packet", "specweb99-like"


@dataclass(frozen=True)
class Kind:
    """A kind of server of 2004: the figures that show it, the limits it was run with, its best strategy."""

    name: str
    #: workload -> (figure of replies/s, figure of queue drops/s)
    figures: dict[str, tuple[int, int]]
    #: workload -> accept-limits, lowest first
    limits: dict[str, tuple[str, ...]]
    #: The limit whose highest throughput is the peak that x and y are ratios to.
    peak_limit: str
    #: "As much as" of the abstract: replies/s of the first of these limits ÷ those of the second.
    gain: tuple[str, str]
    #: Its largest gain is looked for from this x on. The µserver's gap widens up to the end of the sweep;
    #: TUX's and Knot's was widest right at the knee (at 1.05 and 1.00 of the peak on one-packet).
    gain_from: float


KINDS = {
    "userver": Kind(
        "µserver",
        {ONE_PACKET: (8, 9), SPECWEB: (2, 3)},
        {ONE_PACKET: ("1", "10", "inf"), SPECWEB: ("1", "10", "inf")},
        peak_limit="10",
        gain=("inf", "1"),
        gain_from=1.2,
    ),
    "tux": Kind(
        "TUX",
        {ONE_PACKET: (10, 11), SPECWEB: (6, 7)},
        {ONE_PACKET: ("1", "50", "inf"), SPECWEB: ("1", "50", "inf")},
        peak_limit="50",
        gain=("1", "inf"),
        gain_from=1.0,
    ),
    "knot": Kind(
        "Knot",
        {ONE_PACKET: (12, 13), SPECWEB: (4, 5)},
        {ONE_PACKET: ("1", "50", "100"), SPECWEB: ("1", "10", "50", "100")},
        peak_limit="50",
        gain=("50", "1"),
        gain_from=1.0,
    ),
}

#: design -> the kind of server of 2004 that it is a counterpart of
KIND_OF = {
    "select": "userver",
    "poll": "userver",
    "epoll": "userver",
    "uring": "userver",
    "prefork": "userver",
    "drain": "tux",
    "drain-uring": "tux",
    "user-threads": "knot",
    "kernel-threads": "knot",
}

#: workload -> (figure of replies/s, figure of queue drops/s) of the µserver.
FIGURES = KINDS["userver"].figures
#: workload -> figure that puts the µserver and TUX side by side, replies/s
BEST_FIGURES = {ONE_PACKET: 15, SPECWEB: 14}
LATENCY_FIGURE = 17

#: What the text states (section 6 and the abstract), where a claim quotes it rather than a figure.
GAINS = {
    "userver": {ONE_PACKET: 1.71, SPECWEB: 1.39},
    "tux": {ONE_PACKET: 1.36, SPECWEB: 1.19},
    "knot": {ONE_PACKET: 1.32, SPECWEB: 1.00},
}
GAIN = GAINS["userver"]
SELECTS_PER_S = {"inf": 267.0, "1": 12_507.0}
WORK_ITEMS_PER_PHASE = {"inf": 184.9, "1": 3.6}
ACCEPTS_PER_S = {"inf": 1571.0, "1": 1127.0}
#: Where text and figures disagree -> a gain as the text states it, and as the points have it.
DISAGREEMENTS = {"figure 6": (1.12, 1.085), "section 6.3": (1.28, 1.31)}


def kind_of(design: str) -> str:
    """Key of the kind a design belongs to; one that is not listed is a newcomer among the µservers."""
    return KIND_OF.get(design, "userver")


@cache
def points() -> pd.DataFrame:
    """All digitised points, with ``limit`` in our spelling and, where a figure shows several, ``server``."""
    frame = pd.read_csv(paths.PUBLISHED / "accept_2004_figures.csv")
    parts = frame["series"].str.lower().str.extract(r"^(?:(?P<server>\w+)-)?(?P<limit>\w+)$")
    return frame.assign(server=parts["server"].fillna(""), limit=parts["limit"])


def curves(figure: int, server: str = "userver") -> pd.DataFrame:
    """One figure: a row a target (requests/s), a column a limit; of ``server`` where it shows several."""
    rows = points()
    rows = rows[(rows["figure"] == figure) & rows["server"].isin(("", server))]
    return rows.pivot_table(index="target_req_s", columns="limit", values="y")


@dataclass(frozen=True)
class Overload:
    """A server of 2004 under one workload; x and y scale by its peak at one limit, as ours do."""

    workload: str
    replies: pd.DataFrame  # replies/s by target and limit
    drops: pd.DataFrame  # queue drops/s by target and limit
    peak: float  # replies/s at the kind's peak_limit
    kind: Kind = KINDS["userver"]

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

    def gain(self, over: str | None = None, under: str | None = None) -> pd.Series:
        """Ratio of replies/s of two limits by x; by default the two of the abstract."""
        over, under = over or self.kind.gain[0], under or self.kind.gain[1]
        return (self.replies[over] / self.replies[under]).set_axis(self.replies.index / self.peak)

    def at_end(self, over: str, under: str) -> float:
        """Ratio of replies/s of two limits at the highest target."""
        return float(self.gain(over, under).iloc[-1])


@cache
def overload(workload: str, kind: str = "userver") -> Overload:
    """Return the published counterpart of a workload for a kind of server."""
    server = KINDS[kind]
    replies, drops = (curves(figure) for figure in server.figures[workload])
    return Overload(workload, replies, drops, float(replies[server.peak_limit].max()), server)
