"""What the chapter on the user-level stack promises, measured on the reader's machine."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace

from retrospective.benchmark import ROUNDS, Benchmark, Measured, interleaved, mean, ratio, text
from retrospective.experiments import userstack as chapter
from retrospective.experiments.userstack.settings import CELL_WRITE_BYTES, IMPAIRMENTS
from retrospective.lab.exchange import ROLES, Exchange, run_exchange
from retrospective.lab.stacks import KERNEL, LOOPBACK, LWIP, OURS, SWITCH
from retrospective.lab.trial import Row

GIBIBYTE = 1 << 30
#: Seconds after which a transfer of a gibibyte each way has failed.
PATIENCE_S = 300.0

#: Nothing is measured of it but what a benchmark names.
PROFILE = replace(chapter.PROFILES["paper"], name="bench", rounds=ROUNDS)


def gibibytes() -> Measured:
    """Gibibytes that arrived unchanged between ours and the kernel: one each way, whoever opens."""
    arrived, notes = 0, []
    for role in ROLES:
        exchange = Exchange(
            chapter="bench",
            experiment="gibibyte",
            kind="trial",
            profile="bench",
            design=OURS,
            flow="transfer",
            path=SWITCH,
            peer=KERNEL,
            options={
                "bytes": GIBIBYTE,
                "limit_s": PATIENCE_S,
                "write_bytes": CELL_WRITE_BYTES,
                "direction": "both",
                "role": role,
                "congestion": "cubic",
                "untimed": True,
            },
            label=f"1 GiB each way, {role}",
        )
        row = run_exchange(exchange)
        arrived += row["verified_bytes"] or 0
        notes.append(f"{role}: {row['seconds']:.0f} s" if row["valid"] else f"{role}: {row['reason']}")
    return Measured(arrived / GIBIBYTE, note="; ".join(notes))


@functools.cache
def _rows(experiment: str) -> dict[tuple[str, str], list[Row]]:
    """Rows of an experiment's series, in turn: (stack, path) -> a row a round."""
    plan = chapter.plan(replace(PROFILE, experiments=(experiment,)))
    found = interleaved({one.label: one for one in plan.trials})
    return {(one.design, one.path): found[one.label] for one in plan.trials}


def _over(theirs: tuple[str, str]) -> Callable[[], Measured]:
    """Replies a CPU-second of ours, the switch's CPU included, over another's."""

    def measured() -> Measured:
        values = {
            series: [row.get("replies_per_cpu_s") or math.nan for row in _rows("replies")[series]]
            for series in ((OURS, SWITCH), theirs)
        }
        note = "; ".join(
            f"{stack}, {path}: {text(mean(v))}/CPU-second" for (stack, path), v in values.items()
        )
        return ratio(values[OURS, SWITCH], values[theirs], note)

    return measured


def goodput() -> Measured:
    """The least of all cells' mean ratios of goodput, ours with the kernel over the kernel with the kernel."""
    plan = chapter.plan(replace(PROFILE, experiments=("impaired",)))
    found = interleaved({one.label: one for one in plan.trials}, rounds=ROUNDS)
    rows = {
        (one.options["impairment"], one.options["congestion"], one.design, one.options["direction"]): found[
            one.label
        ]
        for one in plan.trials
    }
    cells = {}
    for (impairment, congestion, stack, direction), ours in rows.items():
        if stack != OURS:
            continue
        theirs = rows[impairment, congestion, KERNEL, direction]
        values = [[row.get("goodput_bytes_per_s") or math.nan for row in both] for both in (ours, theirs)]
        cells[f"{impairment}, {congestion}, {direction}"] = ratio(*values)
    decided = {name: one for name, one in cells.items() if not math.isnan(one.value)}
    if len(decided) < len(cells):
        return Measured(
            math.nan, note=f"{len(cells) - len(decided)} of {len(cells)} cells have too few valid rounds"
        )
    name, least = min(decided.items(), key=lambda item: item[1].value)
    return Measured(least.value, least.low, least.high, f"of {len(cells)} cells, in {name}")


_REPLIES = "replies a CPU-second, 64 connections, 1 KiB, switch included: ours over "

#: id, what is measured, how; then at most, at least.
BENCHMARKS = (
    Benchmark(
        "userstack-replies-lwip", _REPLIES + "lwIP on the same switch", _over((LWIP, SWITCH)), at_least=2.0
    ),
    Benchmark(
        "userstack-replies-kernel",
        _REPLIES + "the kernel's over loopback",
        _over((KERNEL, LOOPBACK)),
        at_least=1.5,
    ),
    Benchmark(
        "userstack-gibibyte",
        "GiB that arrived unchanged: one each way between ours and the kernel, as opener and as listener",
        gibibytes,
        at_least=4.0,
        long=True,
    ),
    Benchmark(
        "userstack-goodput",
        f"goodput over Linux's, the least of {2 * 2 * len(IMPAIRMENTS)} impaired cells",
        goodput,
        at_least=0.75,
        long=True,
    ),
)

__all__ = ["BENCHMARKS"]
