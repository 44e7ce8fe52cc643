"""What the probes of the timers chapter say: prices of operations and wake-ups, the wall, its floors; a value a round.

A cell of the wall is so many processes with a timer of a granularity each, and a series: a way of being awake in time.
It is run twice, since the instrument that counts cores keeps CPUs from halting: ``cores`` with it, ``lateness``
without.
What was not measured is empty, never an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from retrospective.analysis import probes, rows
from retrospective.analysis.statistics import FLOOR_PAIRS, Floor, floor_of, usable

CHAPTER = "timers"
CORES, LATENESS = "cores", "lateness"

#: Facilities in the order of tables and figures: ours by their history, the loop alone, then others'.
FACILITIES = ("list", "heap", "heap4", "hashed", "wheel", "lazy", "nothing", "timerfd", "libev", "libuv")
WHEEL, LAZY_WHEEL, BARE = "wheel", "lazy", "nothing"
LIBRARIES = ("libev", "libuv")
#: Mixes in the order of tables: a connection's time-outs, all expire, a cancel and a start, a re-arm.
MIXES = TCP, EXPIRY, CANCEL, REARM = ("tcp", "expiry", "cancel", "rearm")
#: What CANCEL is made of, each alone: all are started, from none; all are cancelled.
START, STOP = "start-only", "cancel-only"
#: Slots of the hashed wheel (servers/timers/hashed.c), and how far ahead its timers are on average in EXPIRY, ticks.
TABLE_SIZE, MEAN_AHEAD = 4096, 1000.0
#: Of the TCP-like mix, turns in which every timer is re-armed once.
TURNS = 25
#: Varghese and Lauck's example of a host: 200 connections with 3 timers each.
HOST = 600

#: Series of the wall in the order of tables and figures.
TICKLESS, ALIGNED, TICK = "timerfd", "timerfd (aligned)", "tick"
DOMAIN, DOMAIN_ALIGNED = "domain", "domain (aligned)"
SERIES = (
    *(
        TICK,
        TICKLESS,
        ALIGNED,
        "epoll",
        "epoll (slack 1 ns)",
        "epoll (slack 1 ms)",
        "nanosleep",
        "uring",
        "spin",
    ),
    *(DOMAIN, DOMAIN_ALIGNED),
)
#: Who asks for which granularity, µs.
STACKS = {
    "BSD's slow time-out": 500_000,
    "lwIP": 250_000,
    "BSD's fast time-out": 200_000,
    "EROS": 100_000,
    "Linux": 1_000,
    "a stack at 100 µs": 100,
}
#: From so many processes on it is hundreds of them.
HUNDREDS = (100, 999)
#: Above this share of the CPUs a cell is near or past saturation: what is asked for is no longer what is done.
SATURATED = 0.8

#: Columns that nothing here asks for.
UNASKED = (
    *(
        "attempt",
        "started_at",
        "key",
        "schema",
        "kernel",
        "binary",
        "options",
        "log",
        "reason",
        "load",
        "duration_s",
    ),
    *(
        "slice_on_cores",
        "slice_off_cores",
        "profile",
        "program",
        "worker_accepts",
        "worker_cpu_s",
        "per_second",
    ),
    *("latency_histogram", "workload", "load_mode", "charge", "accept_limit", "status", "phases"),
)

PRICES = (
    *("stamp", "clock", "null-call", "timerfd-untouched", "timerfd-reprogrammed", "timerfd-moved"),
    *("wake-same-cpu", "wake-other-cpu", "timer-wake", "timer-wake-halted", "interrupt"),
)


class Cell(NamedTuple):
    """A place on the wall."""

    processes: int
    granularity_us: int

    @property
    def due_per_s(self) -> float:
        """Expiries asked for, one timer a process."""
        return self.processes * 1e6 / self.granularity_us


def trials(frame: pd.DataFrame, experiment: str, **where: object) -> pd.DataFrame:
    """Valid probes of an experiment, narrowed by equality."""
    if frame.empty or not {"chapter", "experiment", *where} <= set(frame):
        return frame.iloc[:0]
    return rows.valid(frame, chapter=CHAPTER, experiment=experiment, **where)


def settled(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep what may be shown of the chapter, the last attempt of each, so that asking many things of it is quick."""
    if frame.empty or "chapter" not in frame:
        return frame.iloc[:0]
    kinds = [rows.valid(frame, chapter=CHAPTER, kind=kind) for kind in ("trial", "aa")]
    found = pd.concat(kinds).drop(columns=list(UNASKED), errors="ignore").dropna(axis="columns", how="all")
    words = [name for name in found if not pd.api.types.is_numeric_dtype(found[name])]
    return found.astype(dict.fromkeys(words, object)).copy()  # pandas' own strings are slow to choose from


def time_name(microseconds: float) -> str:
    """10 µs, 1 ms, 250 ms: how fine timers are."""
    if microseconds < 1:
        return f"{microseconds * 1e3:g} ns"
    if microseconds >= 1e6:
        return f"{microseconds / 1e6:g} s"
    return f"{microseconds:g} µs" if microseconds < 1e3 else f"{microseconds / 1e3:g} ms"


def in_order(names: Iterable[str], order: tuple[str, ...]) -> list[str]:
    """Return names in the order of tables and figures; what is not among them follows."""
    return sorted(set(names), key=lambda name: (order.index(name) if name in order else len(order), name))


# --------------------------------------------------------------------------------------------- operations


def sizes(frame: pd.DataFrame, mix: str, facility: str = WHEEL) -> list[int]:
    """How many timers were outstanding in the runs of a facility, rising."""
    found = trials(frame, "operations", mix=mix, design=facility)
    return sorted({int(count) for count in found["timers"]}) if len(found) else []


def at_size(frame: pd.DataFrame, mix: str, count: int, beside: str = WHEEL) -> pd.DataFrame:
    """Runs with so many timers, of every facility; the wheel's own are beside whatever they were beside."""
    found = trials(frame, "operations", mix=mix)
    if found.empty:
        return found
    chosen = (found["timers"].astype(float) == count) & (found["beside"].astype(str) == beside)
    return found[chosen]


def operation(frame: pd.DataFrame, facility: str, mix: str, count: int) -> pd.Series:
    """Price of an operation, ns, the loop's own included: a value a round, the median over what it ran beside."""
    return _either(frame, facility, mix, count, ("operation_ns", "beside_operation_ns"))


def _either(frame: pd.DataFrame, facility: str, mix: str, count: int, columns: tuple[str, str]) -> pd.Series:
    """A column of a facility's runs, and its counterpart of those that were beside it: a value a round."""
    found = trials(frame, "operations", mix=mix)
    if found.empty or not set(columns) <= set(found):
        return pd.Series(dtype=float)
    found = found[found["timers"].astype(float) == count]
    own = found["design"] == facility
    parts = ((found[own], columns[0]), (found[~own & (found["beside"].astype(str) == facility)], columns[1]))
    levels = pd.concat(
        pd.Series(part[column].to_numpy(dtype=float, na_value=np.nan), part["round"].to_numpy(dtype=int))
        for part, column in parts
    )
    return levels.dropna().groupby(level=0).median()


def alone(frame: pd.DataFrame, facility: str, mix: str, count: int) -> pd.Series:
    """Price of an operation without the loop's own, which took turns with it, ns: a value a round.

    The loop draws places and deadlines and looks for events. Of expiries there is no loop without timers.
    """
    return operation(_without_loop(frame), facility, mix, count)


def _without_loop(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of operations, less what the loop took in the same run."""
    found = trials(frame, "operations")
    if found.empty or "loop_ns" not in found:
        return found.iloc[:0]
    loop = found["loop_ns"].astype(float)
    ours, theirs = (found[f"{side}operation_ns"].astype(float) - loop for side in ("", "beside_"))
    return found.assign(operation_ns=ours, beside_operation_ns=theirs, ratio_beside=ours / theirs)[
        loop.notna()
    ]


def over_wheel(frame: pd.DataFrame, facility: str, mix: str, count: int, *, wheel: str = WHEEL) -> pd.Series:
    """Price of a facility's operation ÷ that of a wheel, from pairs of slices of one run: a value a round."""
    direct = probes.of(at_size(frame, mix, count, wheel), "ratio_beside", facility)
    return (
        direct if len(direct) else 1 / probes.of(at_size(frame, mix, count, facility), "ratio_beside", wheel)
    )


def over_wheel_alone(
    frame: pd.DataFrame, facility: str, mix: str, count: int, *, wheel: str = WHEEL
) -> pd.Series:
    """Price of a facility's operation ÷ that of a wheel, the loop's own taken off both: a value a round."""
    return over_wheel(_without_loop(frame), facility, mix, count, wheel=wheel)


def growth(frame: pd.DataFrame, facility: str, mix: str, few: int, many: int) -> pd.Series:
    """Price of an operation with many timers ÷ with few: a value a round."""
    return (operation(frame, facility, mix, many) / operation(frame, facility, mix, few)).dropna()


def look_ns(frame: pd.DataFrame) -> pd.Series:
    """What a turn of the loop takes to look for events, ns: a value a round.

    Turns are as frequent by time, so the fewer timers the more of a look is in an operation of the TCP-like mix.
    """
    found = trials(frame, "operations", mix=TCP)
    if found.empty or "loop_ns" not in found:
        return pd.Series(dtype=float)
    found = found.assign(loop_ns=found["loop_ns"].astype(float), timers=found["timers"].astype(int))
    table = found.pivot_table(index="round", columns="timers", values="loop_ns", aggfunc="median")
    counts = [count for count in table if count <= MEAN_AHEAD * 10]
    if len(counts) < 2:
        return pd.Series(dtype=float)
    few, many = counts[0], counts[-1]
    of_a_look = [1 / (count // TURNS + 1) for count in (few, many)]
    return ((table[few] - table[many]) / (of_a_look[0] - of_a_look[1])).dropna()


def tick_ns(frame: pd.DataFrame, count: int, facility: str = "hashed") -> pd.Series:
    """Price of a tick at which all that is due expires and is started again, ns, without the loop's look: by round."""
    return (operation(frame, facility, EXPIRY, count) * count / MEAN_AHEAD - look_ns(frame)).dropna()


def steps(frame: pd.DataFrame, facility: str, mix: str, count: int) -> pd.Series:
    """Links followed and entries compared, an operation: a value a round; empty where they were not counted."""
    return _either(frame, facility, mix, count, ("steps_per_operation", "beside_steps_per_operation"))


# ------------------------------------------------------------------------------------------------- prices


def price(frame: pd.DataFrame, name: str) -> pd.Series:
    """Price of a primitive, ns: a value a round."""
    found = trials(frame, "prices")
    return probes.of(found, "price_ns", name)


# --------------------------------------------------------------------------------------------------- wall


def at_cell(frame: pd.DataFrame, cell: Cell, measure: str = CORES, experiment: str = "wall") -> pd.DataFrame:
    """Valid probes of one cell, of every series."""
    found = trials(frame, experiment, measure=measure)
    if found.empty:
        return found
    here = found["processes"].astype(float) == cell.processes
    return found[here & (found["granularity_us"].astype(float) == cell.granularity_us)]


def cells(frame: pd.DataFrame, series: str, measure: str = CORES, experiment: str = "wall") -> list[Cell]:
    """Cells that a series was measured at, by processes and granularity."""
    found = trials(frame, experiment, measure=measure)
    found = found[found["design"] == series] if len(found) else found
    if found.empty:
        return []
    pairs = zip(found["processes"].astype(int), found["granularity_us"].astype(int), strict=True)
    return sorted({Cell(*pair) for pair in pairs})


def cores(frame: pd.DataFrame, series: str, cell: Cell, experiment: str = "wall") -> pd.Series:
    """Cores burnt: a value a round."""
    return probes.of(at_cell(frame, cell, CORES, experiment), "cores", series)


def lateness(
    frame: pd.DataFrame, series: str, cell: Cell, quantile: str = "p99", experiment: str = "wall"
) -> pd.Series:
    """How late expiries are, µs: a value a round."""
    return probes.of(at_cell(frame, cell, LATENESS, experiment), f"lateness_{quantile}_us", series)


def per_s(found: pd.DataFrame, column: str, series: str) -> pd.Series:
    """Rate of a counter, 1/s of the time that ticks: a value a round."""
    if column == "timer_interrupts":
        return probes.of(found, "timer_interrupts_per_s", series)
    return (probes.of(found, column, series) / probes.of(found, "seconds", series)).dropna()


def served(found: pd.DataFrame, series: str) -> pd.Series:
    """Share of expiries due that were delivered: a value a round."""
    return (probes.of(found, "delivered", series) / probes.of(found, "due", series)).dropna()


def cpus(frame: pd.DataFrame) -> int:
    """How many CPUs the processes ran on (2 where no row says)."""
    found = trials(frame, "wall")
    lists = found.get("timer_interrupts", ())
    stored = (json.loads(text) for text in lists if isinstance(text, str) and text)
    return max((len(one) for one in stored if one), default=2)


def coarse_and_fine(frame: pd.DataFrame, series: str = TICKLESS) -> tuple[Cell, Cell] | None:
    """The same hundreds of processes at lwIP's granularity and at Linux's, as many as were measured at both."""
    there = set(cells(frame, series))
    counts = sorted(
        cell.processes
        for cell in there
        if HUNDREDS[0] <= cell.processes <= HUNDREDS[1]
        and {Cell(cell.processes, STACKS["lwIP"]), Cell(cell.processes, STACKS["Linux"])} <= there
    )
    return (Cell(counts[-1], STACKS["lwIP"]), Cell(counts[-1], STACKS["Linux"])) if counts else None


def wall(frame: pd.DataFrame, series: str, granularity_us: int, share: float = 1.0) -> tuple[int, int] | None:
    """Between how many processes a share of all CPUs is spent: the last that needs less, the first that does not.

    (most, 0) if even the most that were measured need less; ``None`` if nothing was.
    """
    limit = share * cpus(frame)
    levels = {
        cell.processes: float(found.mean())
        for cell in cells(frame, series)
        if cell.granularity_us == granularity_us and len(found := cores(frame, series, cell))
    }
    if not levels:
        return None
    over = [count for count, level in levels.items() if level >= limit]
    first = min(over, default=0)
    below = [count for count in levels if not first or count < first]
    return max(below, default=0), first


# -------------------------------------------------------------------------------------------------- domain


def domain_cell(frame: pd.DataFrame) -> Cell | None:
    """The cell at which the shared domain is judged: the most expiries that both it and its rival were measured at."""
    both = set(cells(frame, DOMAIN, experiment="domain")) & set(cells(frame, TICKLESS, experiment="domain"))
    return max(both, key=lambda cell: (cell.due_per_s, cell.processes), default=None)


def domain_floor(frame: pd.DataFrame, series: str = DOMAIN) -> pd.Series:
    """Cores burnt by a domain ÷ its floor, a wake-up on the same CPU for each expiry delivered: a value a round."""
    cell = domain_cell(frame)
    if cell is None:
        return pd.Series(dtype=float)
    found = at_cell(frame, cell, CORES, "domain")
    floor = price(frame, "wake-same-cpu") * 1e-9 * per_s(found, "delivered", series)
    return (probes.of(found, "cores", series) / floor).dropna()


# ---------------------------------------------------------------------------------------------------- soft


def bare_work(frame: pd.DataFrame) -> str:
    """The busy process that soft timers are compared with: without trigger points, if that was measured."""
    found = trials(frame, "soft", design="no triggers")
    return "no triggers" if len(found) else "none"


def work(frame: pd.DataFrame, design: str, period_us: int | None = None) -> pd.Series:
    """Share of a CPU that is left to work: a value a round.

    A busy process tells how much of its time was work; where the kernel's timers wake another one, it is what their
    cores leave. Processes without timers have no period.
    """
    found = trials(frame, "soft", design=design)
    if found.empty:
        return pd.Series(dtype=float)
    if period_us is not None:
        found = found[found["granularity_us"].astype(float) == period_us]
    if design == TICKLESS:
        return (1 - probes.of(found[found["measure"] == CORES], "cores", design)).clip(lower=0)
    return probes.of(found, "work_share", design)


def soft_periods(frame: pd.DataFrame) -> list[int]:
    """Periods that soft timers were measured at, µs, rising."""
    found = trials(frame, "soft", design="soft")
    return sorted({int(period) for period in found["granularity_us"]}) if len(found) else []


def overhead(frame: pd.DataFrame, design: str, period_us: int) -> pd.Series:
    """Share of a CPU that timers of this period take: a value a round.

    Of soft timers it is lost to the work of the process that looks at them, trigger points included; the kernel's take
    it from whoever works there: it is the cores that they burn on an idle CPU.
    """
    left = work(frame, design, period_us)
    return (1 - (left if design == TICKLESS else left / work(frame, bare_work(frame)))).dropna()


# -------------------------------------------------------------------------------------------------- floors


def operations_floor(frame: pd.DataFrame) -> Floor:
    """What the lab sees between the wheel and itself, in pairs of slices."""
    found = _aa(frame, "operations-aa")
    keys = ["mix", "timers", "label"]
    if found.empty or not {*keys, "ratio_beside"} <= set(found):
        return Floor(float("nan"), 0)
    logs = [
        np.log(usable(part.sort_values("round")["ratio_beside"]))
        for _, part in found.groupby(keys, dropna=False)
    ]
    return floor_of(logs)


def wall_floor(frame: pd.DataFrame, column: str = "cores", measure: str = CORES) -> Floor:
    """What the lab sees between a cell and itself: every pair of replicas of the same round."""
    return floor_of([np.log(usable(a / b)) for a, b in _replicas(frame, column, measure)])


def lateness_floor(frame: pd.DataFrame) -> Floor:
    """Return the floor of the 99th percentile of lateness."""
    return wall_floor(frame, "lateness_p99_us", LATENESS)


def least_cores(frame: pd.DataFrame) -> float:
    """Cores below which a cell is not told from nothing: the 95th percentile of differences between replicas (NaN)."""
    apart = [np.abs((a - b).dropna().to_numpy()) for a, b in _replicas(frame, "cores", CORES)]
    flat = np.concatenate(apart) if apart else np.array([])
    return float(np.quantile(flat, 0.95)) if len(flat) >= FLOOR_PAIRS else float("nan")


def _aa(frame: pd.DataFrame, experiment: str) -> pd.DataFrame:
    return trials(frame, experiment, kind="aa")


def _replicas(frame: pd.DataFrame, column: str, measure: str) -> list[tuple[pd.Series, pd.Series]]:
    found = _aa(frame, "wall-aa")
    if found.empty or column not in found:
        return []
    found = found[found["measure"] == measure]
    found = found.assign(**{column: pd.to_numeric(found[column])})
    pairs = []
    for _, part in found.groupby(["design", "processes", "granularity_us"]):
        table = part.pivot_table(index="round", columns="label", values=column, aggfunc="last")
        pairs += [(table[a], table[b]) for a, b in combinations(table, 2)]
    return pairs
