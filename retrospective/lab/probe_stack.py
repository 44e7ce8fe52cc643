"""The probe of incast: what stackincast's report becomes in a row, and when it counts.

In virtual time the same options give the same numbers on any machine, and nothing can disturb them. With ``live`` its
hosts share one CPU, and the switch has the other: then others disturb it, and a frame that is lost anywhere but in the
queue before the receiver is no part of the experiment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retrospective.lab.exchange import MOST_OTHERS_CORES
from retrospective.lab.probe_program import Options, Program, Row
from retrospective.lab.provenance import CPU_MAP
from retrospective.lab.session import Rejected

#: The program's word -> the column's, where that is another.
_RENAMED = {"rounds": "blocks"}
_COUNTS = (
    *("senders", "bytes", "blocks", "queue_frames", "min_rto_us", "tick_us", "tail_probes"),
    *("timeouts", "fast_recoveries", "probes_sent", "retransmitted", "dropped", "lost"),
)
#: Where a row's time is from: its ``path``, since live the frames take that.
LIVE, VIRTUAL = "switch", "virtual time"
#: Of 64 senders, how many least time-outs a block takes on our reference machine, at most: for estimates alone.
_WAITS = 2.3


def ledger(text: str) -> dict[str, int]:
    """``key value`` lines as a dictionary; ``ValueError`` for any other."""
    pairs = [line.split() for line in text.splitlines() if line.strip()]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise ValueError("no lines of a key and a value each")
    return {key: int(value) for key, value in pairs}


def _asked(options: Options) -> Row:
    given = {name.replace("-", "_"): value for name, value in options.items()}
    row = {_RENAMED.get(name, name): value for name, value in given.items()}
    path = LIVE if options.get("live") else VIRTUAL
    known = {name: value for name, value in row.items() if name in INCAST.all_columns}
    return {"stack": "ours", "path": path, **known}


def _columns(options: Options, report: Mapping[str, Any]) -> Row:
    row = {_RENAMED.get(name, name): value for name, value in report.items()}
    row |= {
        f"{what}_ms": report[f"{what}_us"] / 1000
        for what in ("completion", "longest")
        if f"{what}_us" in report
    }
    cpu = {"hosts_cpu_s": "cpu_us", "switch_cpu_s": "switch_cpu_us"}
    row |= {name: report[word] / 1e6 for name, word in cpu.items() if report.get(word)}
    return {name: value for name, value in row.items() if name in INCAST.all_columns}


def _judge(row: Row, report: Mapping[str, Any], elapsed_s: float) -> None:
    """Raise ``Rejected`` if blocks did not come, or in no time at all."""
    if not row["completion_ms"] or not row["goodput_bytes_per_s"]:
        raise Rejected("no-report", "it says nothing of a block's time", "failed")
    if row["longest_ms"] < row["completion_ms"]:
        raise Rejected("nonsense", "the longest took less than the mean", "failed")
    if row["lost"]:
        raise Rejected("overrun", f"{row['lost']} frames were lost elsewhere than in the queue")
    if (row["others_cores"] or 0.0) > MOST_OTHERS_CORES:
        raise Rejected("disturbed", f"others ran on {row['others_cores']:.2f} CPUs meanwhile")


def _measures_s(options: Options) -> float:
    """Live: a block's time on the wire, and that of the time-outs which it is likely to wait for."""
    if not options.get("live"):
        return 0.05
    wire_s = options["bytes"] * 8 * 1.05 / options["rate-bps"]
    wait_s = max(options["min-rto-us"], options["tick-us"]) / 1e6
    return options["rounds"] * (wire_s + min(_WAITS, options["senders"] / 16) * wait_s)


INCAST = Program(
    name="stackincast",
    text=("program", "stack", "congestion", "path"),
    counts=_COUNTS,
    levels=(
        *("completion_ms", "longest_ms", "goodput_bytes_per_s"),
        *("hosts_cpu_s", "switch_cpu_s", "others_cores"),
    ),
    defaults=lambda number: {"cpu": CPU_MAP["server"], "switch-cpu": CPU_MAP["client"]},
    asked=_asked,
    columns=_columns,
    judge=_judge,
    measures_s=_measures_s,
    overhead_s=lambda options: 0.12 if options.get("live") else 0.02,
    watched=lambda options: bool(options.get("live")),
    parse=ledger,
)

__all__ = ["INCAST", "LIVE", "VIRTUAL", "ledger"]
