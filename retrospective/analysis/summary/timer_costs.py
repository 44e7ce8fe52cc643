"""Timers by arithmetic: the cost model and how far to trust it, Varghese and Lauck's constants, ticks that add up."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from retrospective.analysis import cost_model, timers
from retrospective.analysis.claims.timers import per_tick
from retrospective.analysis.evidence import effect
from retrospective.analysis.formatting import (
    MISSING,
    fmt_integer,
    fmt_interval,
    fmt_number,
    fmt_percent,
    fmt_us,
)
from retrospective.analysis.statistics import ratio_interval
from retrospective.analysis.summary.wording import UNMEASURED, Values, listed, ratio
from retrospective.analysis.timers import Cell

#: Where the model is carried to, µs: BSD's two time-outs, lwIP's and EROS's, a tick of Linux's.
FAR_US = (500_000, 250_000, 200_000, 100_000, 10_000, 1_000)
#: Hundreds of stacks, as the arithmetic of periodic ticks counts them.
STACKS_AT_ONCE = 400
#: Linux's own bound of what its wheel adds to a time-out.
LINUX_ERROR = 0.125


def cost_model_values(frame: pd.DataFrame) -> Values:
    """The model's parts, what it misses where it had not looked, and 10,000 processes by it."""
    model, held = cost_model.fitted(frame), cost_model.held_out(frame)
    parts = model.own_us if model else {}
    cpus = timers.cpus(frame)
    counts = sorted({cell.processes for cell in held.errors["cell"]})
    return {
        "measured": model is not None and held.holds is not None,
        "holds": bool(held.holds),
        "median": fmt_percent(held.error(0.5)),
        "p90": fmt_percent(held.error(0.9)),
        "median_bound": fmt_percent(cost_model.MEDIAN_BOUND),
        "p90_bound": fmt_percent(cost_model.P90_BOUND),
        "below": fmt_percent(timers.SATURATED),
        "far_median": fmt_percent(held.error(0.5, far=True)),
        "cells": fmt_integer(len(held.errors)),
        "counts": listed(fmt_integer(count) for count in counts) or "none",
        "drivers": [{"driver": name, "own": fmt_us(own)} for name, own in parts.items()],
        "interrupt": fmt_us(model.interrupt_us) if model else UNMEASURED,
        "cold": fmt_us(model.cold_us) if model else UNMEASURED,
        "cold_at": fmt_integer(model.cold_at) if model else UNMEASURED,
        "join": fmt_us(model.join_us) if model else UNMEASURED,
        "operation": fmt_us(model.operation_us) if model else UNMEASURED,
        "wakeup": {
            name: fmt_us(model.wakeup_us(cost_model.Demand(timers.TICKLESS, count, 100_000.0, cpus=cpus)))
            if timers.TICKLESS in parts and model
            else UNMEASURED
            for name, count in (("one", 1), ("hundred", 100), ("thousand", 1000))
        },
        "far": fmt_integer(cost_model.FAR),
        "rows": [
            {
                "granularity": timers.time_name(int(one.cell.granularity_us)),
                "wakeups": fmt_integer(one.cell.wakeups_per_s),
                "cores": fmt_interval(one.cores, one.low, one.high),
            }
            for one in cost_model.carried(frame, FAR_US)
        ],
        "assumptions": list(cost_model.ASSUMPTIONS),
    }


# -------------------------------------------------------------------------------------- Varghese and Lauck


def constant_values(frame: pd.DataFrame) -> Values:
    """A tick of the hashed wheel as a + b · n ÷ TableSize, ns; their host's; and an operation by timers pending."""
    counts = timers.sizes(frame, timers.EXPIRY, "hashed")
    ticks = {count: float(timers.tick_ns(frame, count).median()) for count in counts}
    fixed, part = _line(ticks)
    host = fixed + part * timers.HOST / timers.TABLE_SIZE
    return {
        "measured": bool(np.isfinite(part)),
        "table": fmt_integer(timers.TABLE_SIZE),
        "fixed": fmt_us(fixed / 1e3),
        "part": fmt_us(part / 1e3),
        "host": fmt_integer(timers.HOST),
        "host_instructions": fmt_number(per_tick(timers.HOST), 2),
        "host_tick": fmt_us(host / 1e3),
        "rows": [
            {"count": fmt_integer(count), "tick": fmt_us(level / 1e3)} for count, level in ticks.items()
        ],
        "growth": [
            {"facility": facility, "ratio": ratio(effect(grown)), "counts": f"{few:,} to {many:,}"}
            for facility, few, many, grown in _growths(frame)
        ],
    }


def _line(ticks: dict[int, float]) -> tuple[float, float]:
    """Least squares of relative errors of fixed + part · n ÷ TableSize, both at least zero; NaN below two counts."""
    there = {count: level for count, level in ticks.items() if np.isfinite(level)}
    if len(there) < 2:
        return np.nan, np.nan
    levels = np.array(list(there.values()))
    share = np.array(list(there)) / timers.TABLE_SIZE
    fixed, part = nnls(np.column_stack([1 / levels, share / levels]), np.ones(len(levels)))[0]
    return float(fixed), float(part)


def _growths(frame: pd.DataFrame) -> Iterator[tuple[str, int, int, pd.Series]]:
    for facility in timers.FACILITIES:
        counts = timers.sizes(frame, timers.CANCEL, facility)
        if len(counts) > 1 and len(
            grown := timers.growth(frame, facility, timers.CANCEL, counts[0], counts[-1])
        ):
            yield facility, counts[0], counts[-1], grown


def wheel_error() -> float:
    """The most by which our wheel adds to a deadline, relative: the coarsest granule for how far ahead it begins."""
    level = np.arange(1, 20)
    return float(np.max((8.0**level - 1) / (63 * 8.0 ** (level - 1) + 1)))


def error_values() -> Values:
    """The bound of a wheel that does not cascade: arithmetic, not measured."""
    return {"ours": fmt_percent(wheel_error(), 3), "linux": fmt_percent(LINUX_ERROR, 3)}


# ----------------------------------------------------------------------------------------- periodic ticks


def tick_values(frame: pd.DataFrame) -> Values:
    """N processes × a tick each × what a wake-up costs, by whose tick it is; beside what was measured."""
    wake = timers.price(frame, "timer-wake")
    each_us = ratio_interval(wake / 1e3).value if len(wake) else np.nan
    rows = []
    for stack, granularity in sorted(timers.STACKS.items(), key=lambda one: -one[1]):
        cell = Cell(STACKS_AT_ONCE, granularity)
        measured = timers.cores(frame, timers.TICKLESS, cell)
        rows.append(
            {
                "stack": stack,
                "granularity": timers.time_name(granularity),
                "wakeups": fmt_integer(cell.due_per_s),
                "cores": f"{cell.due_per_s * each_us * 1e-6:.3g}" if np.isfinite(each_us) else MISSING,
                "measured": f"{max(0.0, float(measured.mean())):.2f}" if len(measured) else MISSING,
            }
        )
    wheel = timers.alone(frame, timers.WHEEL, timers.REARM, 100_000)
    return {
        "measured": bool(np.isfinite(each_us)),
        "processes": fmt_integer(STACKS_AT_ONCE),
        "wake": fmt_us(each_us) if np.isfinite(each_us) else UNMEASURED,
        "rows": rows,
        "operations": ratio(effect((wake / wheel).dropna())),
    }
