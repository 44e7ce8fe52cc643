"""Lazy I/O compared: what claims, figures and text say of calls, engines and the server, a value a round."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd

from retrospective.analysis import probes, rows

LAZY = "activation"
#: The workload on which claims about the server's CPU per reply are judged; what others there are stands beside it.
JUDGED_WORKLOAD = rows.WORKLOADS[0]
#: Every series, in the order of tables and figures.
SERIES = (
    *("plain", LAZY, "activation (timer)", "uring", "nowait", "pool", "amped", "posix-aio", "linux-aio"),
)
CACHED, COLD, DIRECT = (("read", state) for state in ("cached", "cold", "direct"))
#: Calls that do not block for certain, and calls that do, whatever a cache holds.
NEVER = (CACHED, ("pipe", "present"))
CERTAIN = (("sleep", "timed"), ("pipe", "absent"), ("connect", "full"))
#: Calls that may block, each of which is judged where the plain one does.
MAY_BLOCK = (
    *(COLD, DIRECT, ("write", "direct"), ("fsync", "dirty"), ("open", "cold"), ("stat", "cold")),
    *(("readdir", "cold"), ("sendfile", "cold"), *CERTAIN),
)
#: Every call whose holds are measured, in the order of tables and figures.
MATRIX = (
    *(CACHED, COLD, DIRECT, ("write", "warm"), ("write", "direct"), ("fsync", "dirty")),
    *((name, state) for name in ("open", "stat", "readdir") for state in ("warm", "cold")),
    *(("sendfile", "cached"), ("sendfile", "cold"), ("connect", "ready"), *reversed(CERTAIN)),
)
NAMES = {
    DIRECT: "read with O_DIRECT",
    ("fsync", "dirty"): "fsync",
    ("sleep", "timed"): "nanosleep",
    ("write", "direct"): "write with O_DIRECT",
    ("pipe", "absent"): "read of an empty pipe",
    ("pipe", "present"): "read of a pipe that has a byte",
    ("connect", "full"): "connect to a full listener",
    ("connect", "ready"): "connect to a listener with room",
    ("write", "warm"): "write to cached pages",
    ("openstat", "warm"): "open + fstat + close of a known name",
    ("openstat", "cold"): "open + fstat + close of a forgotten name",
}


def in_order(names: Iterable[str]) -> list[str]:
    """Return series in the order of tables and figures; what is not among them follows."""
    return sorted(set(names), key=lambda name: (SERIES.index(name) if name in SERIES else len(SERIES), name))


def call_name(call: probes.Call) -> str:
    """Name a call as a sentence does."""
    return NAMES.get(call, " ".join(word for word in reversed(call) if word))


def cost(frame: pd.DataFrame, call: probes.Call) -> pd.DataFrame:
    """Costs of one call; of reads, at the size that claims are judged at."""
    return probes.cell(frame, "cost", call, probes.CLAIM_BYTES if call[0] == "read" else None)


def question(frame: pd.DataFrame) -> pd.Series:
    """Cost of preadv2(RWF_NOWAIT) by itself ÷ pread's, both by the C library, of a cached read: a value a round."""
    found = cost(frame, CACHED)
    over_pread, over_question = (
        probes.of(found, f"ratio_{what}", "nowait") for what in ("glibc", "raw_nowait")
    )
    return (over_pread / over_question).dropna()


def blocking(frame: pd.DataFrame, series: str) -> list[tuple[probes.Call, pd.DataFrame]]:
    """Those calls that a series has and whose plain counterpart blocks on this machine, each with its probes."""
    found = []
    tried = probes.trials(frame, "held")
    for call in MAY_BLOCK:
        part = probes.cell(tried, "held", call)
        plain = probes.of(part, "plain_p50_ns", series)
        if len(plain) and float(plain.median()) > probes.BLOCKS_US * 1e3:
            found.append((call, part))
    return found


def issued(frame: pd.DataFrame, series: str = LAZY) -> pd.Series:
    """Share of the matrix's calls that a series has, a value a round; what needs root was not tried."""
    if frame.empty or "operation" not in frame:
        return pd.Series(dtype=float)
    mine = frame[(frame["chapter"] == probes.CHAPTER) & (frame["experiment"] == "held")]
    mine = mine[mine["design"] == series]
    reason = mine["reason"].astype(str)
    lacks = reason.str.startswith("unsupported") & ~reason.str.contains("drop-caches")
    number = mine["round"]
    has = mine["valid"].astype(bool).groupby(number).sum().astype(float)
    return (has / (has + lacks.groupby(number).sum())).dropna()


def noticed(frame: pd.DataFrame, series: str = LAZY) -> pd.Series:
    """Share of blocks after which the loop went on while they lasted, a value a round."""
    blocks = probes.trials(frame, "upcall", design=series)
    if blocks.empty:
        return pd.Series(dtype=float)
    sums = blocks[["blocks", "missed"]].astype(float).groupby(blocks["round"]).sum()
    return (sums["blocks"] - sums["missed"] + 1) / (sums["blocks"] + 2)


def untaken(frame: pd.DataFrame, series: str = LAZY) -> pd.Series:
    """Share of the times a loop lost its CPU within a call that were not taken for a block, a value a round."""
    found = probes.trials(frame, "preempted", design=series)
    if found.empty:
        return pd.Series(dtype=float)
    lost, taken = (
        probes.counts(found, (name,)).groupby(found["round"]).sum()
        for name in ("involuntary_switches", "stolen")
    )
    return (((lost - taken).clip(lower=0) + 1) / (lost + 2))[lost > 0]


def notifications(frame: pd.DataFrame, series: str = LAZY) -> tuple[pd.Series, pd.Series]:
    """Completions ÷ operations that went on alone, and 1 ÷ (1 + wrong results): a value a round.

    Trials that were lost to wrong results count among the latter, as nowhere else.
    """
    if frame.empty or "completions" not in frame:
        return pd.Series(dtype=float), pd.Series(dtype=float)
    mine = frame[(frame["chapter"] == probes.CHAPTER) & (frame["design"] == series)]
    mine = mine[mine["experiment"].isin(("cost", "held", "upcall"))]
    good = rows.valid(mine)
    told, alone = (
        probes.counts(good, names).groupby(good["round"]).sum()
        for names in (("completions",), probes.WENT_ON)
    )
    wrong = probes.counts(mine, ("errors",)).groupby(mine["round"]).sum()
    return (told / alone)[alone > 0], 1 / (1 + wrong)


def upcalls(frame: pd.DataFrame, series: str, busy: str) -> pd.DataFrame:
    """Valid probes of how soon a loop goes on, the other CPU being idle (``busy`` "no") or not ("yes")."""
    return probes.trials(frame, "upcall", design=series, busy=busy)


class Cell(NamedTuple):
    """A place on the surface: who reads, how many reads at a time, bytes of each, share of them that is in memory."""

    series: str
    concurrency: int
    bytes: int
    hit_share: float


def surface(frame: pd.DataFrame, column: str = "ratio_eager") -> dict[Cell, pd.Series]:
    """Cell -> a column of its probes, by default lazy ÷ eager reads a second: a value a round."""
    found = probes.trials(frame, "surface")
    if column not in found or found.empty:
        return {}
    return {
        Cell(series, int(concurrency), int(size), float(share)): probes.of(part, column, series)
        for (series, concurrency, size, share), part in found.groupby(
            ["design", "concurrency", "bytes", "hit_share"]
        )
    }


def server_trials(frame: pd.DataFrame, workload: str = JUDGED_WORKLOAD) -> pd.DataFrame:
    """Valid trials of the server under a workload, with its engine in the column ``series``."""
    where = {"chapter": probes.CHAPTER, "experiment": "lazy-cpu", "workload": workload}
    found = rows.valid(frame, **where) if len(frame) else frame
    found = found[found["charge"].isin(rows.CHARGES)] if len(found) else found
    if found.empty:
        return found
    engine = found["options"].str.extract(r'"engine": "([\w-]+)"', expand=False)
    return found.assign(series=engine, x_ratio=found["x_ratio"].astype(float).round(3))


def server_workloads(frame: pd.DataFrame) -> list[str]:
    """Workloads under which there are valid trials of the server, the judged one first."""
    return [workload for workload in rows.WORKLOADS if len(server_trials(frame, workload))]


def server_costs(frame: pd.DataFrame, workload: str = JUDGED_WORKLOAD) -> dict[float, pd.Series]:
    """Load, as a ratio to the peak -> CPU per reply with the lazy engine ÷ with plain calls, a value a round."""
    found = server_trials(frame, workload)
    table = rows.paired(found, "server_cpu_us_per_reply", by="series", index=("round", "x_ratio"))
    if not {LAZY, "plain"} <= set(table):
        return {}
    ratios = (table[LAZY] / table["plain"]).unstack("x_ratio")
    return {float(x): ratios[x].dropna() for x in sorted(ratios)}


def sleeps(found: pd.DataFrame, series: str) -> pd.Series:
    """How often a series' threads went to sleep, a call: a value a round, never zero (as shares are)."""
    mine = found[found["design"] == series] if len(found) else found
    if mine.empty:
        return pd.Series(dtype=float)
    slept = probes.counts(mine, ("process_voluntary_switches",)).groupby(mine["round"]).sum()
    calls = probes.counts(mine, ("calls",)).groupby(mine["round"]).sum()
    return (slept + 1) / (calls + 2)
