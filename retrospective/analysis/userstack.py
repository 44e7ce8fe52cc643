"""What the trials of the user-level stack say: throughput, round trips, CPU by process, goodput; a value a round.

In a trial one stack is looked at (``design``: the kernel's, ours, lwIP) over a ``path``, and another is its ``peer``.
Two are compared where everything else was alike: the same round, and where frames are lost the same seed, so that
ratios are of neighbours. What was not measured is empty, never an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from retrospective.analysis import rows
from retrospective.analysis.statistics import Floor, floor_of, usable
from retrospective.analysis.timers import in_order

CHAPTER = "userstack"

KERNEL, OURS, LWIP, LWIP_THREAD = STACKS = ("kernel", "ours", "lwip", "lwip-thread")
#: lwIP has two interfaces: bare, for programs of one thread, and sockets, behind a thread of its own and a lock.
NAMES = {KERNEL: "kernel", OURS: "ours", LWIP: "lwIP", LWIP_THREAD: "lwIP (thread)"}
#: What carries the frames; in the order of how like it is to a wire to which one hands single frames.
SWITCH, PLAIN, VETH, LOOPBACK = PATHS = ("switch", "veth (no offloads)", "veth", "loopback")
TO_PEER, FROM_PEER = DIRECTIONS = ("to_peer", "from_peer")
ALGORITHMS = ("reno", "cubic")
#: What the switch does to frames, in the order of tables and figures; what is not named here follows.
NO_IMPAIRMENT = "none"
LOSSES = ("loss 0.1 %", "loss 1 %", "loss 5 %")
DELAYS = ("delay 10 ms", "delay 50 ms")
IMPAIRMENTS = (
    *(NO_IMPAIRMENT, *LOSSES, *DELAYS, "reordering", "duplication", "corruption"),
    *(f"{loss}, {delay}" for loss in LOSSES for delay in DELAYS),
    "mix",
)
#: Where a server's time goes, in the order of the bar; the switch is another process and follows. ``kernel`` is what
#: programs on its sockets spend below their system calls; what a process's own stack enters the kernel for is
#: ``crossings``.
PARTS = ("parse", "tcp", "timers", "copies", "crossings", "application", "kernel")
#: What shares of a profile may lack of 1, since each is rounded.
ROUNDING = 1e-3
#: Whose CPU a reply takes, in the order of the bar.
PAYERS = ("server", "switch", "client")
MIB = float(1 << 20)


class Series(NamedTuple):
    """Which stack over what, and whom it talks to ("" is its like)."""

    stack: str
    path: str = SWITCH
    peer: str = ""

    @property
    def name(self) -> str:
        """As tables and figures say it."""
        peer = f" ↔ {NAMES.get(self.peer, self.peer)}" if self.peer else ""
        return f"{NAMES.get(self.stack, self.stack)}{peer}, {self.path}"


def trials(frame: pd.DataFrame, experiment: str, **where: object) -> pd.DataFrame:
    """Valid trials of an experiment, narrowed by equality; ``other`` is the peer where it is of another kind, or ""."""
    if frame.empty or not {"chapter", "experiment", *where} <= set(frame):
        return frame.iloc[:0]
    found = rows.valid(frame, chapter=CHAPTER, experiment=experiment, **where)
    return _addressed(found)


def _addressed(found: pd.DataFrame) -> pd.DataFrame:
    """The same with what a series is made of: ``path``, and ``other``."""
    if found.empty:
        return found
    path = _words(found, "path")
    peer = _words(found, "peer")
    return found.assign(
        path=path.where(path != "", SWITCH), other=peer.where(peer != found["design"].astype(object), "")
    )


def _words(found: pd.DataFrame, column: str) -> pd.Series:
    """A column of words, "" where there is none."""
    if column not in found:
        return pd.Series("", index=found.index, dtype=object)
    said = found[column].astype(object)
    return said.where(said.notna(), "")


def numbers(found: pd.DataFrame, column: str) -> pd.Series:
    """A column as numbers, NaN where it was not measured."""
    if column not in found:
        return pd.Series(np.nan, index=found.index)
    return pd.to_numeric(found[column], errors="coerce").astype(float)


def by_round(found: pd.DataFrame, values: pd.Series) -> pd.Series:
    """Geometric mean of what a round has of ``values``: a value a round; one that is zero stays zero."""
    values = values.dropna().astype(float)
    if values.empty:
        return pd.Series(dtype=float)
    with np.errstate(divide="ignore"):
        return np.exp(np.log(values).groupby(found["round"].reindex(values.index).astype(int)).mean())


def ratios(
    over: pd.DataFrame,
    under: pd.DataFrame,
    column: str,
    unit: Sequence[str] = ("round",),
    alike: Sequence[str] = (),
) -> pd.Series:
    """``column`` of some rows ÷ of others, pairs that are ``alike`` in some columns: a value a unit.

    Raises ``ValueError`` on rows of several machines: their rounds are never pooled.
    """
    if over.empty or under.empty or column not in over or column not in under:
        return pd.Series(dtype=float)
    machines = {str(one) for part in (over, under) if "machine" in part for one in part["machine"]}
    if len(machines) > 1:
        raise ValueError("rows of several machines: their rounds must not be pooled; keep one machine")
    sides = [_last(part, column, unit, alike) for part in (over, under)]
    quotients = (sides[0] / sides[1]).dropna()
    if quotients.empty:
        return pd.Series(dtype=float)
    with np.errstate(divide="ignore"):
        return np.exp(np.log(quotients).groupby(level=list(unit)).mean())


def _last(part: pd.DataFrame, column: str, unit: Sequence[str], alike: Sequence[str]) -> pd.Series:
    keys = {name: numbers(part, name).fillna(0) for name in unit} | {
        name: _words(part, name) for name in alike
    }
    slim = pd.DataFrame(keys | {column: numbers(part, column)}).dropna(subset=[column])
    return slim.groupby(list(keys))[column].last()


def of_series(found: pd.DataFrame, series: Series) -> pd.DataFrame:
    """Rows of one series."""
    if found.empty:
        return found
    mine = [
        found[name].astype(object) == word
        for name, word in zip(("design", "path", "other"), series, strict=True)
    ]
    return found[mine[0] & mine[1] & mine[2]]


def series_in(found: pd.DataFrame) -> list[Series]:
    """Which series some rows are of, in the order of tables."""
    if found.empty:
        return []
    there = {
        Series(*map(str, one)) for one in zip(found["design"], found["path"], found["other"], strict=True)
    }
    stacks = in_order((one.stack for one in there), STACKS)
    paths = in_order((one.path for one in there), PATHS)[::-1]
    return sorted(there, key=lambda one: (one.peer, stacks.index(one.stack), paths.index(one.path)))


def unanswered(frame: pd.DataFrame, experiment: str) -> list[tuple[Series, str]]:
    """Series that were tried and have no valid trial, with the reason most often given: never silently absent."""
    if frame.empty or not {"chapter", "experiment", "valid"} <= set(frame):
        return []
    here = (frame["chapter"] == CHAPTER) & (frame["experiment"] == experiment) & (frame["kind"] == "trial")
    tried = _addressed(frame[here & (frame["status"].astype(str) != "unavailable")])
    there = series_in(tried[tried["valid"].astype(bool)])
    return [
        (series, str(of_series(tried, series)["reason"].astype(str).str.split(":").str[0].mode()[0]))
        for series in series_in(tried)
        if series not in there
    ]


def levels(values: Iterable[object]) -> list[float]:
    """Distinct finite numbers, rising."""
    found = pd.to_numeric(pd.Series(list(values), dtype=object), errors="coerce").dropna()
    return sorted({float(value) for value in found})


def ours_and_kernel(found: pd.DataFrame) -> tuple[Series, Series]:
    """Ours over the switch, and the kernel over whatever was measured that is most like it."""
    there = series_in(found)
    kernels = [Series(KERNEL, path) for path in PATHS if Series(KERNEL, path) in there]
    return Series(OURS), kernels[0] if kernels else Series(KERNEL, PLAIN)


# --------------------------------------------------------------------------------------- bulk, round trips


def write_sizes(frame: pd.DataFrame) -> list[float]:
    """Sizes of a write that bulk transfers were measured with, rising."""
    return levels(trials(frame, "bulk").get("write_bytes", ()))


def bulk_ratios(frame: pd.DataFrame, write_bytes: float | None = None) -> pd.Series:
    """Throughput of ours ÷ the kernel's: a value a round, by default at the largest write that both have."""
    found = trials(frame, "bulk")
    sides = [of_series(found, series) for series in ours_and_kernel(found)]
    both = sorted(set(levels(sides[0].get("write_bytes", ()))) & set(levels(sides[1].get("write_bytes", ()))))
    if not both:
        return pd.Series(dtype=float)
    size = both[-1] if write_bytes is None else write_bytes
    over, under = (side[numbers(side, "write_bytes") == size] for side in sides)
    return ratios(over, under, "goodput_bytes_per_s", alike=("congestion", "direction"))


def rtt_ratios(frame: pd.DataFrame, quantile: str = "p50") -> pd.Series:
    """Round trip of the kernel's ÷ ours, a small message each way: a value a round."""
    found = trials(frame, "rtt")
    ours, kernel = (of_series(found, series) for series in ours_and_kernel(found))
    return ratios(kernel, ours, f"rtt_{quantile}_us")


def connection_ratios(frame: pd.DataFrame) -> pd.Series:
    """Connections/s of ours ÷ the kernel's: a value a round."""
    found = trials(frame, "connections")
    ours, kernel = (of_series(found, series) for series in ours_and_kernel(found))
    return ratios(ours, kernel, "connections_per_s")


# ------------------------------------------------------------------------------------------------ replies


#: Stacks and switch wait awake for a while, or go to sleep at once.
AWAKE, ASLEEP = "replies", "replies-asleep"


def reply_ratios(
    frame: pd.DataFrame,
    over: Series,
    under: Series,
    column: str = "replies_per_cpu_s",
    experiment: str = AWAKE,
) -> pd.Series:
    """Replies per CPU-second, the switch included, of one series ÷ of another: a value a round."""
    found = costs(trials(frame, experiment))
    return ratios(of_series(found, over), of_series(found, under), column)


def costs(found: pd.DataFrame) -> pd.DataFrame:
    """Rows with CPU time a reply, µs, by whose it is (``server_us``, ``switch_us``, ``client_us``), and what follows.

    Where there is no switch it takes nothing.
    """
    if found.empty:
        return found
    window = numbers(found, "window_s")
    replies = numbers(found, "replies_per_s") * window.where(window.notna(), numbers(found, "seconds"))
    taken = {f"{payer}_us": numbers(found, f"{payer}_cpu_s") / replies * 1e6 for payer in PAYERS}
    taken["switch_us"] = taken["switch_us"].where(found["path"].astype(object) == SWITCH, 0.0)
    sums = {"replies_per_cpu_s": ("server", "switch"), "replies_per_cpu_s_whole": PAYERS}
    for column, payers in sums.items():
        told = numbers(found, column)
        taken[column] = told.where(told.notna(), 1e6 / sum(taken[f"{payer}_us"] for payer in payers))
    return found.assign(**taken)


def crossings(frame: pd.DataFrame, series: Series) -> pd.Series:
    """How often a reply enters the kernel or rings a doorbell: a value a round; empty where it was not counted."""
    found = of_series(trials(frame, "replies"), series)
    for column in ("crossings_per_reply", "system_calls_per_reply"):
        values = by_round(found, numbers(found, column)) if len(found) else pd.Series(dtype=float)
        if len(values):
            return values
    return pd.Series(dtype=float)


def where_time_goes(frame: pd.DataFrame) -> pd.DataFrame:
    """CPU time a reply by part, µs: a row a trial, a column a part, ``switch`` beside them, and ``series``.

    Parts are shares of the server's own time; what a profile does not name is ``other``. Series are in the order of
    tables.
    """
    found = costs(trials(frame, "where"))
    columns = ["series", "round", *PARTS, "other", "switch"]
    if found.empty or "where" not in found:
        return pd.DataFrame(columns=columns)
    told = []
    for _, row in found.iterrows():
        shares = json.loads(row["where"]) if isinstance(row["where"], str) and row["where"] else {}
        if not shares or not np.isfinite(row["server_us"]):
            continue
        parts = {name: float(shares.get(name, 0.0)) for name in PARTS}
        left = 1.0 - sum(parts.values())
        parts["other"] = left if left > ROUNDING else 0.0
        taken = {name: share * row["server_us"] for name, share in parts.items()}
        switch = float(row["switch_us"]) if np.isfinite(row["switch_us"]) else 0.0
        series = Series(str(row["design"]), str(row["path"]), str(row["other"]))
        told.append({"series": series.name, "round": row["round"], **taken, "switch": switch})
    names = [series.name for series in series_in(found)]
    told.sort(key=lambda row: names.index(str(row["series"])))
    return pd.DataFrame(told, columns=columns)


# ------------------------------------------------------------------------------------------- impaired ways


#: What is asked of impaired transfers.
IMPAIRED_WORDS = ("design", "path", "other", "machine", "impairment", "congestion", "direction", "role")
IMPAIRED_NUMBERS = (
    *("round", "seed", "bytes", "goodput_bytes_per_s"),
    *("retransmitted", "timeouts", "fast_recoveries"),
)
#: What is compared under loss: ours with the kernel, and the kernel with the kernel, through the same switch.
WITH_KERNEL = {OURS: Series(OURS, peer=KERNEL), KERNEL: Series(KERNEL)}


def impaired(frame: pd.DataFrame) -> pd.DataFrame:
    """Valid transfers through a switch that impairs frames, slim, for the three functions that follow."""
    found = trials(frame, "impaired")
    words = {name: _words(found, name) for name in IMPAIRED_WORDS}
    return pd.DataFrame(words | {name: numbers(found, name) for name in IMPAIRED_NUMBERS})


def impairments(found: pd.DataFrame) -> list[str]:
    """Impaired cells that were measured, in the order of tables."""
    return in_order((str(name) for name in found.get("impairment", ())), IMPAIRMENTS)


def goodput(found: pd.DataFrame, impairment: str, algorithm: str, direction: str) -> pd.Series:
    """Goodput of ours ÷ Linux's, same peer, same algorithm, same seed: a value a seed of a round.

    Between two kernels both ways are alike, so one that was measured stands for both.
    """
    if found.empty:
        return pd.Series(dtype=float)
    found = found[(found["impairment"] == impairment) & (found["congestion"] == algorithm)]
    ours, kernel = (of_series(found, WITH_KERNEL[stack]) for stack in (OURS, KERNEL))
    ours = ours[ours["direction"] == direction]
    same = kernel[kernel["direction"] == direction]
    beside = same if len(same) else kernel[kernel["direction"] == TO_PEER]
    return ratios(ours, beside, "goodput_bytes_per_s", unit=("round", "seed"), alike=("role",))


def recovery(
    found: pd.DataFrame, impairment: str, column: str, stack: str = OURS, algorithm: str = ""
) -> pd.Series:
    """A sender's ``retransmitted``, ``timeouts`` or ``fast_recoveries``, per MiB that arrived: a value a round."""
    if found.empty:
        return pd.Series(dtype=float)
    here = (found["impairment"] == impairment) & (found["direction"] == TO_PEER)
    if algorithm:
        here &= found["congestion"] == algorithm
    mine = of_series(found[here], WITH_KERNEL[stack])
    if mine.empty:
        return pd.Series(dtype=float)
    per_mib = mine[column] / (mine["bytes"] / MIB)
    return per_mib.groupby(mine["round"].astype(int)).mean().dropna()


def lost(frame: pd.DataFrame, impairment: str, stack: str) -> int:
    """How many trials of a cell are no results, at the last attempt: failed, or void."""
    if frame.empty or not {"chapter", "impairment"} <= set(frame):
        return 0
    here = (frame["chapter"] == CHAPTER) & (frame["experiment"] == "impaired") & (frame["design"] == stack)
    found = frame[here & (frame["impairment"] == impairment)]
    places = [name for name in ("label", "round") if name in found]
    good = found.assign(valid=found["valid"].astype(bool)).groupby(places)["valid"].any()
    return int((~good).sum())


# ------------------------------------------------------------------------------------------------- incast


class World(NamedTuple):
    """What incast happened in: an experiment, and the path of its frames ("": all that it has)."""

    experiment: str
    path: str = ""


#: In virtual time, with many senders and timers; by the clock and through the switch; and in virtual time, over the
#: wires that the switch then has.
MANY, LIVE, MODEL = World("incast"), World("incast-live", SWITCH), World("incast-live", "virtual time")


class Point(NamedTuple):
    """Where incast was measured: a least time-out, and the tick that timers are rounded to."""

    min_rto_us: float
    tick_us: float


def incast(frame: pd.DataFrame, world: World) -> pd.DataFrame:
    """Valid trials of incast in a world."""
    return trials(frame, world.experiment, **({"path": world.path} if world.path else {}))


def incast_points(frame: pd.DataFrame, world: World = MANY) -> list[Point]:
    """Least time-outs and ticks that were measured, the coarsest first."""
    found = incast(frame, world)
    if found.empty or not {"min_rto_us", "tick_us"} <= set(found):
        return []
    pairs = zip(numbers(found, "min_rto_us"), numbers(found, "tick_us"), strict=True)
    return sorted({Point(*pair) for pair in pairs if np.isfinite(pair).all()}, reverse=True)


def completion(
    frame: pd.DataFrame, point: Point, column: str = "completion_ms", world: World = MANY
) -> pd.DataFrame:
    """Until the last of all senders was done, ms (or another column): a row a round, a column a number of senders."""
    found = incast(frame, world)
    if found.empty or column not in found:
        return pd.DataFrame(index=pd.Index([], name="round"))
    here = (numbers(found, "min_rto_us") == point.min_rto_us) & (numbers(found, "tick_us") == point.tick_us)
    found = found[here].assign(senders=numbers(found, "senders"), **{column: numbers(found, column)})
    return found.pivot_table(index="round", columns="senders", values=column, aggfunc="median")


def beside_model(frame: pd.DataFrame, point: Point, column: str = "completion_ms") -> pd.DataFrame:
    """The same of the switch ÷ of its model in virtual time, which is the same in every round."""
    live, model = (completion(frame, point, column, world) for world in (LIVE, MODEL))
    both = [count for count in live if count in model]
    return live[both] / model[both].mean()


def coarse_and_fine(frame: pd.DataFrame, world: World = MANY) -> tuple[Point, Point] | None:
    """The largest and the smallest least time-out that were measured, both with their finest tick."""
    points = incast_points(frame, world)
    least = {point.min_rto_us for point in points}
    if len(least) < 2:
        return None
    return _finest(points, max(least)), _finest(points, min(least))


def coarse_tick(frame: pd.DataFrame, world: World = MANY) -> tuple[Point, Point] | None:
    """The smallest least time-out with the coarsest and with the finest tick that it was measured at."""
    points = incast_points(frame, world)
    for least in sorted({point.min_rto_us for point in points}):
        ticks = [point for point in points if point.min_rto_us == least]
        if len(ticks) > 1:
            return max(ticks, key=lambda point: point.tick_us), _finest(points, least)
    return None


def _finest(points: Sequence[Point], min_rto_us: float) -> Point:
    return min((point for point in points if point.min_rto_us == min_rto_us), key=lambda point: point.tick_us)


def over_senders(
    frame: pd.DataFrame, points: tuple[Point, Point] | None, world: World = MANY
) -> pd.DataFrame:
    """Completion at one point ÷ at another: a row a round, a column a number of senders."""
    if points is None:
        return pd.DataFrame(index=pd.Index([], name="round"))
    coarse, fine = (completion(frame, point, world=world) for point in points)
    both = [count for count in coarse if count in fine]
    return (coarse[both] / fine[both]).dropna(how="all")


def timeouts_grow(frame: pd.DataFrame, point: Point | None, world: World = MANY) -> pd.Series:
    """Time-outs, plus one, with the most senders ÷ with the fewest: a value a round."""
    table = completion(frame, point, "timeouts", world) if point else pd.DataFrame()
    if table.shape[1] < 2:
        return pd.Series(dtype=float)
    return ((table[max(table)] + 1) / (table[min(table)] + 1)).dropna()


# ------------------------------------------------------------------------------------------------- floor

#: Experiment of A/A trials -> what of them is compared.
AA_COLUMNS = {
    "bulk": "goodput_bytes_per_s",
    "rtt": "rtt_p50_us",
    "connections": "connections_per_s",
    "replies": "replies_per_cpu_s",
    "impaired": "goodput_bytes_per_s",
    "incast": "completion_ms",
}


def floor(frame: pd.DataFrame) -> Floor:
    """What the lab sees between a stack and itself: every pair of replicas (``label``) of the same round."""
    logs = []
    for experiment, column in AA_COLUMNS.items():
        found = trials(frame, experiment, kind="aa")
        if found.empty or column not in found:
            continue
        found = found.assign(**{column: numbers(found, column)})
        for _, part in found.groupby("design"):
            table = part.pivot_table(index="round", columns="label", values=column, aggfunc="last")
            logs += [np.log(usable(table[a] / table[b])) for a, b in combinations(table, 2)]
    return floor_of(logs)
