"""The user-level stack in words and numbers: how fast, at whose expense, and what is left of it under loss."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from retrospective.analysis import conformance, userstack
from retrospective.analysis.claims.userstack import (
    GOODPUT,
    MODEL_FACTOR,
    ON_LOOPBACK,
    ON_SWITCH,
    OVER_LOOPBACK,
    OVER_LWIP,
)
from retrospective.analysis.evidence import effect
from retrospective.analysis.formatting import (
    MISSING,
    fmt_bytes,
    fmt_integer,
    fmt_number,
    fmt_percent,
    fmt_ratio,
    fmt_us,
    known,
)
from retrospective.analysis.statistics import largest, ratio_interval
from retrospective.analysis.summary.wording import UNMEASURED, Values, listed, ratio
from retrospective.analysis.timers import time_name
from retrospective.analysis.userstack import (
    ALGORITHMS,
    DIRECTIONS,
    KERNEL,
    LIVE,
    LWIP,
    MANY,
    MODEL,
    NAMES,
    NO_IMPAIRMENT,
    OURS,
    PARTS,
    PAYERS,
    STACKS,
    Series,
    by_round,
    numbers,
    of_series,
    series_in,
)

if TYPE_CHECKING:
    import pandas as pd

    from retrospective.analysis.userstack import Point, World

#: Parts that are protocol, and those that move bytes and wake-ups from one place to another.
PROTOCOL, MOVING = ("parse", "tcp", "timers"), ("copies", "crossings", "switch")
WAYS = {"to_peer": "sends", "from_peer": "receives"}
PART_NAMES = {
    "parse": "frames and headers",
    "tcp": "TCP",
    "timers": "timers",
    "copies": "copies",
    "crossings": "crossings",
    "application": "application",
    "kernel": "the kernel below system calls",
    "other": "not told apart",
    "switch": "switch",
}


def userstack_values(frame: pd.DataFrame) -> Values:
    """Everything the chapter on the user-level stack may say about one machine."""
    if len(frame) and "chapter" in frame:
        frame = frame[frame["chapter"] == userstack.CHAPTER].dropna(axis="columns", how="all")
    return {
        "measured": bool(len(frame)),
        "lacks": _lacking(frame),
        "floor": _floor(frame),
        "bounds": {
            "goodput": fmt_percent(GOODPUT),
            "lwip": f"{OVER_LWIP:g}",
            "loopback": f"{OVER_LOOPBACK:g}",
            "conformance": fmt_percent(conformance.SHARE),
        },
        "bulk": bulk_values(frame),
        "rtt": rtt_values(frame),
        "connections": connection_values(frame),
        "replies": reply_values(frame),
        "where": where_values(frame),
        "goodput": goodput_values(frame),
        "incast": incast_values(frame),
        "live": live_values(frame),
        "conformance": conformance_values(),
    }


def _lacking(frame: pd.DataFrame) -> str:
    """Which stacks could not be run on this machine."""
    if frame.empty or "status" not in frame:
        return "none"
    lost = frame[frame["status"].astype(str) == "unavailable"]
    names = userstack.in_order((str(name) for name in lost["design"]), STACKS)
    return listed(NAMES.get(name, name) for name in names) or "none"


def _floor(frame: pd.DataFrame) -> str:
    floor = userstack.floor(frame)
    return f"±{fmt_percent(floor.factor - 1)}" if floor.measured else UNMEASURED


def _mean(found: pd.DataFrame, column: str) -> float:
    """Geometric mean over rounds (NaN of nothing)."""
    return ratio_interval(by_round(found, numbers(found, column))).value if len(found) else np.nan


def _effect(values: pd.Series) -> str:
    return ratio(effect(values)) if len(values) else UNMEASURED


def _rate(value: float) -> str:
    """Bytes a second as MB/s."""
    return fmt_number(value / 1e6, 3, "MB/s") if known(value) else MISSING


# --------------------------------------------------------------------------------------- bulk, round trips


def bulk_values(frame: pd.DataFrame) -> Values:
    """Throughput without impairment by series: at the smallest and the largest write."""
    found = userstack.trials(frame, "bulk")
    sizes = userstack.write_sizes(frame)
    rows = []
    for series in series_in(found):
        mine = of_series(found, series)
        size = numbers(mine, "write_bytes")
        of_size = {one: _rate(_mean(mine[size == one], "goodput_bytes_per_s")) for one in sizes}
        if sizes:
            rows.append({"series": series.name, "small": of_size[sizes[0]], "large": of_size[sizes[-1]]})
    verified = numbers(found, "verified_bytes").sum() if len(found) else 0.0
    return {
        "measured": bool(rows),
        "small": fmt_bytes(sizes[0]) if sizes else MISSING,
        "large": fmt_bytes(sizes[-1]) if sizes else MISSING,
        "verified": fmt_number(verified / 1e9, 3, "GB"),
        "rows": rows,
        "beside": userstack.ours_and_kernel(found)[1].path,
        "over_kernel": _effect(userstack.bulk_ratios(frame)),
    }


def rtt_values(frame: pd.DataFrame) -> Values:
    """Round trip of a small message by series."""
    found = userstack.trials(frame, "rtt")
    rows = [
        {
            "series": series.name,
            **{q: fmt_us(_mean(of_series(found, series), f"rtt_{q}_us")) for q in ("p50", "p99")},
        }
        for series in series_in(found)
    ]
    return {"measured": bool(rows), "rows": rows, "kernel_over_ours": _effect(userstack.rtt_ratios(frame))}


def connection_values(frame: pd.DataFrame) -> Values:
    """Connections/s by series."""
    found = userstack.trials(frame, "connections")
    rows = [
        {"series": series.name, "rate": fmt_integer(_mean(of_series(found, series), "connections_per_s"))}
        for series in series_in(found)
    ]
    return {
        "measured": bool(rows),
        "rows": rows,
        "unanswered": [
            {"series": series.name, "why": why.replace("-", " ")}
            for series, why in userstack.unanswered(frame, "connections")
        ],
        "over_kernel": _effect(userstack.connection_ratios(frame)),
    }


# ------------------------------------------------------------------------------------------------ replies


def _reply_rows(found: pd.DataFrame) -> list[Values]:
    told = []
    for series in series_in(found):
        mine = of_series(found, series)
        told.append(
            {
                "series": series.name,
                "rate": fmt_integer(_mean(mine, "replies_per_s")),
                "per_cpu_s": fmt_integer(_mean(mine, "replies_per_cpu_s")),
                "whole": fmt_integer(_mean(mine, "replies_per_cpu_s_whole")),
                **{payer: fmt_us(float(numbers(mine, f"{payer}_us").mean())) for payer in PAYERS},
            }
        )
    return told


def reply_values(frame: pd.DataFrame) -> Values:
    """Replies per CPU-second and whose CPU it is, by series; ours beside lwIP and beside the kernel's loopback."""
    found, asleep = (
        userstack.costs(userstack.trials(frame, experiment))
        for experiment in (userstack.AWAKE, userstack.ASLEEP)
    )
    rows = _reply_rows(found)
    beside = {
        "lwip": userstack.reply_ratios(frame, ON_SWITCH, Series(LWIP)),
        "lwip_asleep": userstack.reply_ratios(frame, ON_SWITCH, Series(LWIP), experiment=userstack.ASLEEP),
        "loopback": userstack.reply_ratios(frame, ON_SWITCH, ON_LOOPBACK, "replies_per_cpu_s_whole"),
        "kernel": userstack.reply_ratios(frame, *userstack.ours_and_kernel(found)),
    }
    return {
        "measured": bool(rows),
        "rows": rows,
        "asleep": _reply_rows(asleep),
        "over": {name: _effect(values) for name, values in beside.items()},
    }


def where_values(frame: pd.DataFrame) -> Values:
    """CPU time a reply by part, for each stack that was profiled."""
    found = userstack.where_time_goes(frame)
    names = list(dict.fromkeys(found["series"]))
    rows = [
        {
            "part": PART_NAMES[part],
            "of": [_part(found.loc[found["series"] == name, part]) for name in names],
        }
        for part in (*PARTS, "other", "switch")
        if len(found) and float(found[part].max()) > 0
    ]
    dearest = protocol = moving = UNMEASURED
    ours = found[found["series"] == Series(OURS).name] if len(found) else found
    if len(ours):
        parts = ours[[*PARTS, "switch"]].mean()
        dearest = f"{PART_NAMES[str(parts.idxmax())]}, {fmt_us(float(parts.max()))}"
        whole = float(ours[[*PARTS, "other", "switch"]].mean().sum())
        protocol, moving = (
            fmt_percent(float(parts[list(some)].sum()) / whole) for some in (PROTOCOL, MOVING)
        )
    return {
        "measured": bool(names),
        "series": names,
        "rows": rows,
        "dearest": dearest,
        "protocol": protocol,
        "moving": moving,
    }


def _part(values: pd.Series) -> str:
    """CPU time of a part; a dash where the profile has nothing of it."""
    mean = float(values.mean())
    return fmt_us(mean) if mean else MISSING


# ------------------------------------------------------------------------------------------------- goodput


def goodput_values(frame: pd.DataFrame) -> Values:
    """Goodput of ours ÷ Linux's by impaired cell, algorithm and direction, and how the loss was found."""
    found = userstack.impaired(frame)
    cells = userstack.impairments(found)
    rows, below, pairs = [], [], []
    for cell in cells:
        told: Values = {"cell": cell if cell != NO_IMPAIRMENT else "not impaired"}
        for algorithm in ALGORITHMS:
            told[algorithm] = {}
            for direction in DIRECTIONS:
                one = effect(userstack.goodput(found, cell, algorithm, direction))
                told[algorithm][WAYS[direction]] = ratio(one) if one.n else MISSING
                pairs += [one.n] if one.n else []
                if one.n and one.value < GOODPUT:
                    below.append(f"{cell} ({algorithm}, ours {WAYS[direction]})")
        for column in ("retransmitted", "timeouts"):
            for stack in (OURS, KERNEL):
                per_mib = userstack.recovery(found, cell, column, stack)
                told[f"{column}_{stack}"] = fmt_number(float(per_mib.mean()), 2) if len(per_mib) else MISSING
        told["lost"] = " and ".join(
            fmt_integer(userstack.lost(frame, cell, stack)) for stack in (OURS, KERNEL)
        )
        rows.append(told)
    return {
        "measured": bool(rows),
        "rows": rows,
        "below": (listed(below) or "none") if rows else UNMEASURED,
        "seeds": _span(pairs),
    }


def _span(counts: Sequence[int]) -> str:
    """``9`` or ``1 to 10``."""
    ends = sorted({min(counts, default=0), max(counts, default=0)})
    return " to ".join(fmt_integer(count) for count in ends)


# ------------------------------------------------------------------------------------------------- incast


def incast_values(frame: pd.DataFrame) -> Values:
    """Until the last of all senders is done, by least time-out and tick."""
    points = userstack.incast_points(frame)
    tables = {point: userstack.completion(frame, point) for point in points}
    counts = sorted({float(count) for table in tables.values() for count in table})
    told = [counts[0], counts[-1]] if len(counts) > 1 else counts
    rows = [
        {
            "min_rto": time_name(point.min_rto_us),
            "tick": time_name(point.tick_us),
            "of": [_completion(table, count) for count in told],
            "timeouts": _timeouts(frame, point, told[-1]),
        }
        for point, table in tables.items()
        if told
    ]
    return {
        "measured": bool(rows),
        "senders": [f"{fmt_integer(count)} sender{'s' if count != 1 else ''}" for count in told],
        "rows": rows,
        "coarse_over_fine": _longest(frame, userstack.coarse_and_fine(frame)),
        "tick_over_fine": _longest(frame, userstack.coarse_tick(frame)),
    }


def live_values(frame: pd.DataFrame) -> Values:
    """Incast through the switch beside its model: a block, and time-outs in it, of the most senders."""
    points = userstack.incast_points(frame, LIVE)
    apart = [userstack.beside_model(frame, point) for point in points]
    ratios = [effect(table[count]).value for table in apart for count in table if len(table[count].dropna())]
    counts = sorted({float(count) for table in apart for count in table})
    rows = [
        {
            "min_rto": time_name(point.min_rto_us),
            "tick": time_name(point.tick_us),
            **{
                f"{what}_{world.path.split()[0]}": told(frame, point, counts[-1], world)
                for what, told in (("block", _block), ("timeouts", _timeouts_a_block))
                for world in (LIVE, MODEL)
            },
        }
        for point in points
        if counts
    ]
    return {
        "measured": bool(rows),
        "senders": fmt_integer(counts[-1]) if counts else UNMEASURED,
        "rate": _of_wire(frame, "rate-bps", lambda bps: f"{bps / 1e6:g} Mbit/s"),
        "queue": _of_wire(frame, "queue", lambda frames: f"{fmt_integer(frames)} frames"),
        "rows": rows,
        "coarse_over_fine": _longest(frame, userstack.coarse_and_fine(frame, LIVE), LIVE),
        "least_apart": fmt_number(min(ratios)) if ratios else UNMEASURED,
        "most_apart": fmt_number(max(ratios)) if ratios else UNMEASURED,
        "factor": f"{MODEL_FACTOR:g}",
    }


def _block(frame: pd.DataFrame, point: Point, count: float, world: World) -> str:
    return _completion(userstack.completion(frame, point, world=world), count)


def _timeouts_a_block(frame: pd.DataFrame, point: Point, count: float, world: World) -> str:
    timeouts, blocks = (userstack.completion(frame, point, name, world) for name in ("timeouts", "blocks"))
    if count not in timeouts or count not in blocks:
        return MISSING
    return fmt_number(float((timeouts[count] / blocks[count]).mean()))


def _of_wire(frame: pd.DataFrame, option: str, told: Callable[[float], str]) -> str:
    """What the switch's wire was told to be, in words."""
    for options in userstack.incast(frame, LIVE).get("options", ()):
        return told(json.loads(options)[option])
    return UNMEASURED


def _completion(table: pd.DataFrame, count: float) -> str:
    if count not in table or not len(table[count].dropna()):
        return MISSING
    return fmt_number(ratio_interval(table[count].dropna()).value, 3, "ms")


def _timeouts(frame: pd.DataFrame, point: Point, count: float) -> str:
    table = userstack.completion(frame, point, "timeouts")
    return fmt_integer(float(table[count].mean())) if count in table else MISSING


def _longest(frame: pd.DataFrame, points: tuple[Point, Point] | None, world: World = MANY) -> str:
    """In virtual time nothing is by chance, so there is no interval."""
    worst = largest(userstack.over_senders(frame, points, world))
    if not len(worst.ratios):
        return UNMEASURED
    return ratio(worst.effect) if world is LIVE else fmt_ratio(worst.effect.value)


# --------------------------------------------------------------------------------------------- conformance


def conformance_values() -> Values:
    """How many of outsiders' scripts pass, on ours and on the kernel; and those that do not, with the reason."""
    found = conformance.load()
    return {
        "measured": found.measured,
        "scripts": fmt_integer(len(found.scripts)),
        "ours": fmt_integer(found.passed("ours")),
        "kernel": fmt_integer(found.passed("kernel")) if found.kernel_ran else UNMEASURED,
        "share": fmt_percent(found.share) if found.measured else UNMEASURED,
        "excluded": fmt_integer(len(found.excluded)),
        "rows": [
            {name: str(row[name]) or MISSING for name in ("script", "ours", "kernel", "note")}
            for row in found.unlike().to_dict("records")
        ],
        "reasons": [
            {"reason": str(reason) or MISSING, "count": fmt_integer(count)}
            for reason, count in found.excluded.value_counts(sort=True).items()
        ],
    }
