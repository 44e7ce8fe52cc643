"""Servers on web traces, with memory too small for their files or not: selections, and effects a round.

What was not measured is empty, never an error. A *case* is a trace on a disk. "Fits" is a footprint below the memory
that the server may use for files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from retrospective.analysis import probes, rows
from retrospective.analysis.statistics import Largest, largest

LAZY, PLAIN, AMPED, URING, THREADS = "NB-LAIO", "NB-B", "NB-AMPED", "NB-LAIO (uring)", "threads"
#: Servers that call lazily: the paper's by the paper's mechanism, by that of today, and with a lazy network side.
LAZY_SERVERS = (LAZY, URING, "NB-LAIO (nowait)", "LAIO-LAIO", "LAIO-LAIO (uring)")
#: What the paper did not: a read is begun first, and looked at again; then made lazily, or by a loop that is held.
BEGUN, PLAIN_BEGUN = "NB-LAIO (begun)", "NB-B (begun)"
#: What the paper's could be compared with: NB-LAIO's next best alternative is the best of these.
RIVALS = (PLAIN, AMPED, "NB-pool", "NB-POSIX-AIO", "NB-Linux-AIO", THREADS, "processes")
#: Every server, in the order of tables and figures.
SERVERS = (PLAIN, AMPED, *LAZY_SERVERS, BEGUN, PLAIN_BEGUN, *RIVALS[2:])

TRACES = ("rice-like", "berkeley-like")
DISKS = ("own", "2004")
DISK_NAMES = {"own": "own disk", "2004": "2004-like disk"}
#: Its loop only accepts; connections are served by threads, so the loop's turns say nothing of what holds them.
NO_LOOP = THREADS
#: Declared before any trial: from this number of clients on there are many.
MANY_CLIENTS = 32
#: At least so much lower is the 99th percentile of cached files, if the loop is not held.
HOT = 5.0
#: Thresholds of the turns of a loop that the servers count, by the name within their column -> ms.
STALLS = {"100us": 0.1, "1ms": 1.0, "10ms": 10.0, "100ms": 100.0, "1s": 1000.0}
#: A turn of at least this length held everybody: a seek of 2004 lasts about as long.
HELD_UP = "10ms"


class Case(NamedTuple):
    """A trace on a disk."""

    workload: str
    disk: str

    @property
    def name(self) -> str:
        """As titles and tests name it: ``Rice-like, own disk``."""
        return f"{self.workload[:1].upper()}{self.workload[1:]}, {DISK_NAMES.get(self.disk, self.disk)}"


class Beside(NamedTuple):
    """A lazy server beside a rival that was chosen as the best of several: a ratio a round."""

    rival: str
    ratios: pd.Series
    choices: int


def in_order(names: Iterable[str]) -> list[str]:
    """Return servers in the order of tables and figures; what is not among them follows."""
    return sorted(
        set(names), key=lambda name: (SERVERS.index(name) if name in SERVERS else len(SERVERS), name)
    )


def trials(
    frame: pd.DataFrame,
    experiment: str,
    *,
    fits: bool = False,
    cache: str | None = None,
    case: Case | None = None,
) -> pd.DataFrame:
    """Valid trials of servers in the lab whose files fit into memory, or do not; of one case, of one cache."""
    columns = {"server", "memory_ratio", "disk", "cache"}
    if frame.empty or not columns <= set(frame):
        return frame.iloc[:0]
    where = {} if case is None else {"workload": case.workload, "disk": case.disk}
    where |= {} if cache is None else {"cache": cache}
    found = rows.valid(frame, chapter=probes.CHAPTER, experiment=experiment, **where)
    bounded = pd.to_numeric(found["memory_ratio"])
    kept = found["server"].notna() & bounded.notna() & ((bounded < 1) == fits)
    return found[kept & found["charge"].isin(rows.CHARGES)]


def cases(found: pd.DataFrame) -> list[Case]:
    """Cases of some trials, in the order of the panels."""
    there = (
        {Case(str(w), str(d)) for w, d in found.groupby(["workload", "disk"]).groups} if len(found) else set()
    )

    def place(case: Case) -> tuple[int, str, int, str]:
        traces, disks = (
            names.index(x) if x in names else len(names)
            for names, x in ((TRACES, case.workload), (DISKS, case.disk))
        )
        return traces, case.workload, disks, case.disk

    return sorted(there, key=place)


def many(found: pd.DataFrame) -> pd.DataFrame:
    """Trials at the highest number of clients that NB-LAIO was measured at beside others; none if those are few."""
    if found.empty:
        return found
    servers = found.groupby(found["clients"].astype(float))["server"].unique()
    both = [clients for clients, names in servers.items() if LAZY in names and len(names) > 1]
    most = max(both, default=0.0)
    return found[(found["clients"].astype(float) == most) & (most >= MANY_CLIENTS)]


def over(found: pd.DataFrame, column: str, server: str, under: str) -> pd.Series:
    """Ratio of ``column`` between two servers, a value a round; for trials at one place."""
    table = rows.paired(found, column, by="server")
    return (
        (table[server] / table[under]).dropna() if {server, under} <= set(table) else pd.Series(dtype=float)
    )


def beside_best(
    found: pd.DataFrame,
    column: str = "replies_per_s",
    rivals: Sequence[str] = RIVALS,
    *,
    server: str = LAZY,
) -> Beside:
    """A lazy server ÷ the rival with the highest mean, within rounds; for trials at one place.

    The choice can only favour the rival, so it never flatters the server; that it might flatter the rival is allowed
    for: the effect is one of as many as there are rivals.
    """
    table = rows.paired(found, column, by="server")
    there = [name for name in rivals if name in table]
    if server not in table or not there:
        return Beside("", pd.Series(dtype=float), 1)
    best = str(_log_means(table[there]).idxmax())
    return Beside(best, (table[server] / table[best]).dropna(), len(there))


def peaks(found: pd.DataFrame, column: str = "replies_per_s") -> dict[str, Largest]:
    """Server -> its values a round at the number of clients where their mean is highest.

    Numbers of clients with fewer than half the rounds of the most measured one draw a curve, and are no peak.
    """
    table = rows.paired(found, column, by="server", index=("round", "clients"))
    if table.empty:
        return {}
    rounds = table.groupby("clients").size()
    often = table[table.index.get_level_values("clients").isin(rounds.index[2 * rounds >= rounds.max()])]
    return {str(name): largest(often[name].unstack("clients")) for name in in_order(table)}


def peak_beside(found: pd.DataFrame, rivals: Sequence[str] = RIVALS) -> Beside:
    """NB-LAIO's peak ÷ the highest of the rivals', each where its mean is highest.

    A peak is a choice among the numbers of clients, and so is the rival: the effect is one of all pairs of places.
    """
    highest = peaks(found)
    there = {name: highest[name] for name in rivals if name in highest and len(highest[name].ratios)}
    if LAZY not in highest or not there:
        return Beside("", pd.Series(dtype=float), 1)
    best = max(there, key=lambda name: float(np.log(there[name].ratios).mean()))
    places = highest[LAZY].choices * sum(one.choices for one in there.values())
    return Beside(best, (highest[LAZY].ratios / there[best].ratios).dropna(), places)


def stalls(found: pd.DataFrame, threshold: str = HELD_UP) -> pd.Series:
    """Turns of the loop over a threshold a second, a value a trial: one more than were counted, never zero."""
    column = f"turns_over_{threshold}_per_s"
    if found.empty or column not in found:
        return pd.Series(dtype=float)
    return pd.to_numeric(found[column]) + 1 / window_s(found)


def stall_ratios(found: pd.DataFrame, server: str, under: str, threshold: str = HELD_UP) -> pd.Series:
    """How often the loop of one server was held ÷ another's, a value a round; for trials at one place."""
    return (
        over(found.assign(stalls=stalls(found, threshold)), "stalls", server, under)
        if len(found)
        else pd.Series(dtype=float)
    )


def went_on(found: pd.DataFrame) -> pd.Series:
    """Calls a reply that went on without the loop, a value a trial, one a thousand replies more than were counted."""
    columns = [f"{path}_per_reply" for path in probes.WENT_ON]
    return probes.counts(found, columns) + 1e-3


def costs(frame: pd.DataFrame, server: str, under: str = PLAIN) -> dict[str, pd.Series]:
    """Workload -> CPU per reply of a server ÷ another's where everything fits, a value a round."""
    found = trials(frame, "fits-cpu", fits=True, cache="warm")
    ratios = {
        str(workload): over(part, "server_cpu_us_per_reply", server, under)
        for workload, part in (found.groupby("workload") if len(found) else ())
    }
    return {workload: ratio for workload, ratio in ratios.items() if len(ratio)}


def why_missing(
    frame: pd.DataFrame, experiments: Iterable[str], server: str = LAZY, *, lacking: bool = False
) -> str:
    """Why a server has no trials of some experiments: the commonest reason, "" if none was even tried.

    ``lacking`` asks for what the machine lacks alone, not for trials that went wrong.
    """
    if frame.empty or not {"server", "reason"} <= set(frame):
        return ""
    lost = frame[(frame["chapter"] == probes.CHAPTER) & frame["experiment"].isin(list(experiments))]
    lost = lost[(lost["server"] == server) & ~lost["valid"].astype(bool)]
    lost = lost[lost["status"] == "unavailable"] if lacking else lost
    return str(lost["reason"].mode().iloc[0]) if len(lost) else ""


def _log_means(table: pd.DataFrame) -> pd.Series:
    return np.log(table.where(table > 0)).mean()


def window_s(found: pd.DataFrame) -> pd.Series:
    """How long each trial measured, seconds; a second where its load does not say."""
    stated = [
        json.loads(text).get("duration-s", 1.0) if isinstance(text, str) and text else 1.0
        for text in found["load"]
    ]
    return pd.Series(stated, index=found.index, dtype=float)
