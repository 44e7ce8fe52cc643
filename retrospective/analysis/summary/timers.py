"""Timers in words and numbers: what operations and wake-ups cost, where the wall is, what sharing a domain saves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from retrospective.analysis import probes, timers
from retrospective.analysis.claims import timers_today
from retrospective.analysis.evidence import effect
from retrospective.analysis.formatting import (
    MISSING,
    fmt_integer,
    fmt_number,
    fmt_percent,
    fmt_ratio,
    fmt_us,
)
from retrospective.analysis.statistics import mean_interval, ratio_interval
from retrospective.analysis.summary.timer_costs import (
    constant_values,
    cost_model_values,
    error_values,
    tick_values,
)
from retrospective.analysis.summary.wording import UNMEASURED, Values, listed, ratio

if TYPE_CHECKING:
    from retrospective.analysis.timers import Cell

#: Outstanding timers that tables tell of, where they were measured.
TOLD = 100_000
#: More than this share of the ticks missed: the machine is spent.
SPENT = 0.1
MIX_NAMES = {timers.TCP: "tcp", timers.EXPIRY: "expiry", timers.CANCEL: "cancel", timers.REARM: "rearm"}
PRICE_NAMES = {
    "stamp": "reading the cycle counter",
    "clock": "clock_gettime, without a system call",
    "null-call": "a system call that does nothing",
    "timerfd-untouched": "arming a timer that is not the next",
    "timerfd-reprogrammed": "arming a timer that becomes the next",
    "timerfd-moved": "moving the timer that is the next: the hardware is told twice",
    "wake-same-cpu": "waking a process on the same CPU, until it sleeps again",
    "wake-other-cpu": "the same on the other CPU",
    "interrupt": "a timer's interrupt",
    "timer-wake": "sleeping until a timer, the CPU being kept awake",
    "timer-wake-halted": "the same, the CPU having halted",
}


def ticking_values(frame: pd.DataFrame) -> Values:
    """Everything the chapter on timers may say about one machine."""
    lacks = _lacking(frame)
    frame = timers.settled(frame)
    return {
        "measured": bool(len(frame)),
        "cpus": fmt_integer(timers.cpus(frame)),
        "lacks": lacks,
        "bounds": bound_values(),
        "operations": operation_values(frame),
        "prices": price_values(frame),
        "wall": wall_values(frame),
        "shoot_out": shoot_out_values(frame),
        "soft": soft_values(frame),
        "domain": domain_values(frame),
        "model": cost_model_values(frame),
        "constants": constant_values(frame),
        "error": error_values(),
        "ticks": tick_values(frame),
    }


def bound_values() -> Values:
    """What is promised of our facilities and of the domain, as the claims test it."""
    return {
        "wheel": listed(
            f"{fmt_number(ns, 2, 'ns')} with {fmt_integer(count)}"
            for count, ns in timers_today.WHEEL_BOUND_NS.items()
        ),
        "faster": f"{timers_today.FASTER:g}",
        "worth": fmt_integer(timers_today.WORTH),
        "reprogrammed": f"{timers_today.REPROGRAMMED:g}",
        "near_floor": f"{timers_today.NEAR_FLOOR:g}",
        "fewer": f"{timers_today.FEWER:g}",
    }


def _lacking(frame: pd.DataFrame) -> str:
    """What could not be run on this machine, by name."""
    if frame.empty:
        return "none"
    lost = frame[(frame["chapter"] == timers.CHAPTER) & (frame["status"].astype(str) == "unavailable")]
    return listed(timers.in_order(lost["design"], (*timers.FACILITIES, *timers.SERIES))) or "none"


def _ns(values: pd.Series) -> str:
    return fmt_number(ratio_interval(values).value, 2, "ns") if len(values) else MISSING


def _us(values: pd.Series) -> str:
    return fmt_us(ratio_interval(values).value) if len(values) else MISSING


def _cores(values: pd.Series) -> str:
    """Cores, to the hundredth: finer differences are the instrument's."""
    found = mean_interval(values)[0]
    return MISSING if not np.isfinite(found) else f"{max(found, 0.0):.2f}"


def _effect(values: pd.Series) -> str:
    return ratio(effect(values)) if len(values) else UNMEASURED


# --------------------------------------------------------------------------------------------- operations


def operation_values(frame: pd.DataFrame) -> Values:
    """Price of an operation by facility and mix, at one number of timers, and how it grows."""
    found = timers.trials(frame, "operations")
    counts = sorted({int(count) for count in found["timers"]}) if len(found) else []
    told = min(counts, key=lambda count: abs(np.log(count / TOLD)), default=0)
    names = set(found["design"]) | set(found["beside"].astype(str)) if len(found) else set()
    rows = []
    for facility in timers.in_order(names, timers.FACILITIES):
        prices = {key: _ns(timers.operation(frame, facility, mix, told)) for mix, key in MIX_NAMES.items()}
        if set(prices.values()) != {MISSING}:
            rows.append({"facility": facility} | prices)
    floor = timers.operations_floor(frame)
    return {
        "measured": bool(rows),
        "count": fmt_integer(told),
        "rows": rows,
        "floor": f"±{fmt_percent(floor.factor - 1)}" if floor.measured else UNMEASURED,
        "over": {
            name: _effect(timers.over_wheel(frame, name, timers.TCP, told))
            for name in (*timers.LIBRARIES, "timerfd", "heap", "list", "lazy")
        },
        "over_alone": {
            name: _effect(timers.over_wheel_alone(frame, name, timers.TCP, told)) for name in timers.LIBRARIES
        },
        "alone": [
            {
                "count": fmt_integer(count),
                "cancel": _ns(timers.alone(frame, timers.WHEEL, timers.CANCEL, count) / 2),
                "start_only": _ns(timers.alone(frame, timers.WHEEL, timers.START, count)),
                "cancel_only": _ns(timers.alone(frame, timers.WHEEL, timers.STOP, count)),
                "rearm": _ns(timers.alone(frame, timers.WHEEL, timers.REARM, count)),
            }
            for count in sorted({*timers.sizes(frame, timers.CANCEL), *timers.sizes(frame, timers.REARM)})
            if len(timers.alone(frame, timers.WHEEL, timers.REARM, count))
        ],
    }


# ------------------------------------------------------------------------------------------------- prices


def price_values(frame: pd.DataFrame) -> Values:
    """Prices of primitives."""
    levels = {name: timers.price(frame, name) for name in timers.PRICES}
    known = {name: values for name, values in levels.items() if len(values)}
    armed = levels["timerfd-reprogrammed"] / levels["timerfd-untouched"]
    return {
        "measured": bool(known),
        "rows": [{"what": PRICE_NAMES[name], "price": _us(values / 1e3)} for name, values in known.items()],
        "of": {
            name.replace("-", "_"): _us(values / 1e3) if len(values) else UNMEASURED
            for name, values in levels.items()
        },
        "rearmed_over": _effect(armed.dropna()),
    }


# --------------------------------------------------------------------------------------------------- wall


def wall_values(frame: pd.DataFrame) -> Values:
    """Cores and lateness of hundreds of processes by granularity, and how many fit."""
    series = timers.TICKLESS
    cells = timers.cells(frame, series)
    of_count: dict[int, list[Cell]] = {}
    for cell in cells:
        of_count.setdefault(cell.processes, []).append(cell)
    # The crowd of which most is known, hundreds rather than thousands.
    crowd = max(
        of_count, key=lambda count: (len(of_count[count]), count <= timers.HUNDREDS[1], count), default=0
    )
    least = timers.least_cores(frame)
    floor = timers.wall_floor(frame)
    return {
        "measured": bool(cells),
        "series": listed(timers.in_order(_designs(frame, "wall"), timers.SERIES)) or "none",
        "crowd": fmt_integer(crowd),
        "least": f"{least:.3f}" if np.isfinite(least) else UNMEASURED,
        "floor": f"±{fmt_percent(floor.factor - 1)}" if floor.measured else UNMEASURED,
        "rows": [_cell_values(frame, series, cell) for cell in sorted(of_count.get(crowd, ()), reverse=True)],
        "fit": [
            {"granularity": timers.time_name(granularity), "fits": fits}
            for granularity in sorted({cell.granularity_us for cell in cells}, reverse=True)
            if (fits := _fits(frame, series, granularity))
        ],
        "crowds": _crowds(frame),
    }


def _designs(frame: pd.DataFrame, experiment: str) -> list[str]:
    found = timers.trials(frame, experiment)
    return sorted(set(found["design"])) if len(found) else []


def _cell_values(frame: pd.DataFrame, series: str, cell: Cell, experiment: str = "wall") -> Values:
    burnt = timers.at_cell(frame, cell, timers.CORES, experiment)
    missed = 1 - timers.served(burnt, series)
    interrupts = timers.per_s(burnt, "timer_interrupts", series)
    late = {q: timers.lateness(frame, series, cell, q, experiment) for q in ("p50", "p99")}
    return {
        "series": series,
        "granularity": timers.time_name(cell.granularity_us),
        "processes": fmt_integer(cell.processes),
        "due": fmt_integer(cell.due_per_s),
        "cores": _cores(probes.of(burnt, "cores", series)),
        "missed": fmt_percent(max(0.0, float(missed.mean()))) if len(missed) else MISSING,
        "spent": bool(len(missed) and missed.mean() > SPENT),
        "interrupts": fmt_number(float(interrupts.mean()), 2) if len(interrupts) else MISSING,
        "p50": _us(late["p50"]),
        "p99": _us(late["p99"]),
    }


def _fits(frame: pd.DataFrame, series: str, granularity_us: int) -> str:
    """How many processes fit, in words: until a tenth of the ticks is missed."""
    spent = {}
    for cell in timers.cells(frame, series):
        if cell.granularity_us == granularity_us:
            served = timers.served(timers.at_cell(frame, cell), series)
            if len(served):
                spent[cell.processes] = 1 - float(served.mean()) > SPENT
    over = min((count for count, is_spent in spent.items() if is_spent), default=None)
    below = max((count for count in spent if over is None or count < over), default=None)
    if over is None:
        return f"{fmt_integer(below)} and more" if below is not None else ""
    return (
        f"{fmt_integer(below)}, not {fmt_integer(over)}"
        if below is not None
        else f"not even {fmt_integer(over)}"
    )


def _crowds(frame: pd.DataFrame) -> list[Values]:
    """Every driver at the cell of hundreds of processes that most drivers were measured at."""
    names = timers.in_order(_designs(frame, "wall"), timers.SERIES)
    known: dict[Cell, list[str]] = {}
    for name in names:
        for cell in timers.cells(frame, name):
            if timers.HUNDREDS[0] <= cell.processes <= timers.HUNDREDS[1]:
                known.setdefault(cell, []).append(name)
    if not known:
        return []
    cell = max(known, key=lambda one: (len(known[one]), one.granularity_us == 10_000, one.processes))
    return [_cell_values(frame, name, cell) for name in known[cell]]


# -------------------------------------------------------------------------------------- shoot-out, domain


def shoot_out_values(frame: pd.DataFrame) -> Values:
    """CPU a tick and lateness of every driver at equal accuracy."""
    rows = []
    found = timers.trials(frame, "shoot-out")
    places = {
        cell
        for name in _designs(frame, "shoot-out")
        for cell in timers.cells(frame, name, experiment="shoot-out")
    }
    for cell in sorted(places):
        burnt = timers.at_cell(found, cell, timers.CORES, "shoot-out")
        for name in timers.in_order(burnt["design"], timers.SERIES):
            cost = probes.of(burnt, "cores", name) / timers.per_s(burnt, "delivered", name) * 1e6
            rows.append(
                _cell_values(frame, name, cell, "shoot-out")
                | {
                    "cell": f"{fmt_integer(cell.processes)} × {timers.time_name(cell.granularity_us)}",
                    "cpu": _us(cost[cost > 0]),
                }
            )
    return {"measured": bool(rows), "rows": rows}


def soft_values(frame: pd.DataFrame) -> Values:
    """Share of a CPU's work that timers take from it, by period: soft ones, and interrupts."""
    rows = [
        {
            "period": timers.time_name(period),
            "soft": _share(timers.overhead(frame, "soft", period)),
            "timerfd": _share(timers.overhead(frame, timers.TICKLESS, period)),
        }
        for period in timers.soft_periods(frame)
    ]
    looking = 1 - timers.work(frame, "none") / timers.work(frame, "no triggers")
    return {"measured": bool(rows), "rows": rows, "looking": _share(looking.dropna())}


def _share(values: pd.Series) -> str:
    found = mean_interval(values)[0]
    if not np.isfinite(found):
        return UNMEASURED
    return fmt_percent(found) if found > 0 else "nothing that could be seen"


def domain_values(frame: pd.DataFrame) -> Values:
    """Cores and lateness of the shared domain, its floor, and a timer a process."""
    cell = timers.domain_cell(frame)
    if cell is None:
        return {"measured": False, "rows": [], "cell": "", "over_floor": UNMEASURED, "fewer": UNMEASURED}
    names = timers.in_order(_designs(frame, "domain"), timers.SERIES)
    burnt = timers.at_cell(frame, cell, timers.CORES, "domain")
    floors = timers.domain_floor(frame)
    return {
        "measured": True,
        "cell": f"{fmt_integer(cell.processes)} processes × {timers.time_name(cell.granularity_us)}",
        "rows": [
            _cell_values(frame, name, cell, "domain")
            | {"over_floor": fmt_ratio(ratio_interval(timers.domain_floor(frame, name)).value)}
            for name in names
        ],
        "over_floor": _effect(floors),
        "fewer": _effect(probes.over(burnt, "cores", timers.TICKLESS, timers.DOMAIN)),
    }
