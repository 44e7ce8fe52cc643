"""The probe of incast: what stackincast's report becomes in a row, and when it counts.

Time is virtual: the same options give the same numbers on any machine, and nothing can disturb them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retrospective.lab.probe_program import Options, Program, Row
from retrospective.lab.session import Rejected

#: The program's word -> the column's, where that is another.
_RENAMED = {"rounds": "blocks"}
_COUNTS = (
    *("senders", "bytes", "blocks", "queue_frames", "min_rto_us", "tick_us", "tail_probes"),
    *("timeouts", "fast_recoveries", "probes_sent", "retransmitted", "dropped"),
)


def ledger(text: str) -> dict[str, int]:
    """``key value`` lines as a dictionary; ``ValueError`` for any other."""
    pairs = [line.split() for line in text.splitlines() if line.strip()]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise ValueError("no lines of a key and a value each")
    return {key: int(value) for key, value in pairs}


def _asked(options: Options) -> Row:
    given = {name.replace("-", "_"): value for name, value in options.items()}
    row = {_RENAMED.get(name, name): value for name, value in given.items()}
    return {"stack": "ours", **{name: value for name, value in row.items() if name in INCAST.all_columns}}


def _columns(options: Options, report: Mapping[str, Any]) -> Row:
    row = {_RENAMED.get(name, name): value for name, value in report.items()}
    row |= {
        f"{what}_ms": report[f"{what}_us"] / 1000
        for what in ("completion", "longest")
        if f"{what}_us" in report
    }
    return {name: value for name, value in row.items() if name in INCAST.all_columns}


def _judge(row: Row, report: Mapping[str, Any], elapsed_s: float) -> None:
    """Raise ``Rejected`` if blocks did not come, or in no time at all."""
    if not row["completion_ms"] or not row["goodput_bytes_per_s"]:
        raise Rejected("no-report", "it says nothing of a block's time", "failed")
    if row["longest_ms"] < row["completion_ms"]:
        raise Rejected("nonsense", "the longest took less than the mean", "failed")


INCAST = Program(
    name="stackincast",
    text=("program", "stack", "congestion"),
    counts=_COUNTS,
    levels=("completion_ms", "longest_ms", "goodput_bytes_per_s"),
    defaults=lambda number: {},
    asked=_asked,
    columns=_columns,
    judge=_judge,
    measures_s=lambda options: 0.05,
    overhead_s=lambda options: 0.02,
    parse=ledger,
)

__all__ = ["INCAST", "ledger"]
