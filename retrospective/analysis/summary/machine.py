"""What the chapters say of a machine: its parts, what it can show at all, and its trials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from retrospective.analysis import rows
from retrospective.analysis.evidence import effect
from retrospective.analysis.formatting import (
    MISSING,
    THIN,
    fmt_integer,
    fmt_interval,
    fmt_number,
    fmt_percent,
)
from retrospective.analysis.statistics import aa_floor, aa_pairs, effect_floor, mean_interval
from retrospective.analysis.summary.wording import UNMEASURED, Values, mean, ratio

if TYPE_CHECKING:
    import pandas as pd

#: Code of a reason (what stands before its colon) -> what it means.
REASONS = {
    "generator-late": "the client fell behind its schedule",
    "generator-saturated": "the client ran out of processor time",
    "wrong-body": "a reply was not byte for byte the file",
    "generator-failed": "the client ended by itself",
    "server-failed": "the server ended by itself",
    "not-answering": "the server did not answer",
    "cache-cold": "what was to be in memory was not",
    "fd-leak": "the server kept descriptors of ended connections",
    "disturbed": "something else ran on the processor of the server, or of the loop",
    "steering": "packets were not charged to whom they should have been",
    "lab": "the laboratory itself failed",
    "cache-warm": "what was to be read from the disk was in memory",
    "wrong-results": "an operation's result was not right",
    "time-limit": "the program did not end",
    "program-failed": "the program ended by itself",
    "no-report": "the program measured nothing",
}


def fact(facts: Mapping[str, Any], *names: str) -> Any:
    """Look a nested fact up; ``None`` if any part of the way is missing."""
    value: Any = facts
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _said(value: object) -> str:
    return MISSING if value in (None, "", {}, []) else str(value)


def machine_values(facts: Mapping[str, Any], frame: pd.DataFrame) -> Values:
    """Name, parts and build of a machine."""
    cpu, cores = fact(facts, "cpu", "model"), fact(facts, "cpu", "cores")
    version = fact(facts, "build", "version")
    memory = facts.get("memory_gib")
    weak = [
        name
        for name, state in (fact(facts, "cpu", "mitigations") or {}).items()
        if "not affected" not in str(state).lower()
    ]
    name = f"{_said(cpu)} ({cores} processors)" if cores else _said(cpu)
    dirty = " (with changes)" if fact(facts, "commit", "dirty") else ""
    return {
        "name": name,
        "cpu": _said(cpu),
        "cores": _said(cores),
        "memory": f"{memory}{THIN}GiB" if memory else MISSING,
        "kernel": _said(fact(facts, "kernel", "release")),
        "virtualisation": _said(fact(facts, "cpu", "virtualisation")),
        "clock_source": _said(fact(facts, "kernel", "clocksource")),
        "mitigations": f"active or needed for {len(weak)} known weaknesses" if weak else "none needed",
        "compiler": f"{_said(fact(facts, 'build', 'compiler'))} {version}" if version else MISSING,
        "flags": " ".join(fact(facts, "build", "flags") or []) or MISSING,
        "commit": (str(fact(facts, "commit", "hash"))[:12] + dirty)
        if fact(facts, "commit", "hash")
        else MISSING,
        "date": newest(frame)[:10] or MISSING,
        "id": _said(facts.get("machine")),
    }


def newest(frame: pd.DataFrame) -> str:
    """When the newest trial was made (ISO 8601), or nothing."""
    return str(frame["started_at"].dropna().max()) if len(frame) and frame["started_at"].notna().any() else ""


#: Facts that have tables or lists of their own in the chapters.
ELSEWHERE = ("capabilities", "timers", "clock")


def flattened(facts: Mapping[str, Any], prefix: str = "") -> Iterator[dict[str, str]]:
    """Turn nested provenance into rows for the colophon: ``cpu: model`` and its value."""
    for name, value in facts.items():
        if not prefix and name in ELSEWHERE:
            continue
        label = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from flattened(value, f"{label}: ")
        elif isinstance(value, list | tuple):
            yield {"name": label, "value": " ".join(str(item) for item in value) or MISSING}
        elif isinstance(value, bool):
            yield {"name": label, "value": "yes" if value else "no"}
        else:
            yield {"name": label, "value": _said(value)}


def floor_values(frame: pd.DataFrame) -> Values:
    """Detection floor and how many A/A pairs come out as different."""
    floor, pairs = aa_floor(frame), aa_pairs(frame)
    return {
        "measured": floor.measured,
        "percent": fmt_percent(floor.factor - 1) if floor.measured else UNMEASURED,
        "factor": fmt_number(floor.factor, 4) if floor.measured else UNMEASURED,
        "of_effects": fmt_percent(effect_floor(frame).factor - 1) if floor.measured else UNMEASURED,
        "ratios": fmt_integer(floor.pairs),
        "pairs": fmt_integer(pairs.pairs),
        "different": fmt_integer(pairs.different),
        "different_percent": fmt_percent(pairs.share) if pairs.pairs else UNMEASURED,
    }


def timer_values(facts: Mapping[str, Any]) -> list[Values]:
    """Lateness of sleeps, µs."""
    return [
        {
            "requested": fmt_integer(row["requested_us"]),
            **{name: fmt_number(row[f"{name}_us"]) for name in ("p50", "p99", "max")},
            "samples": fmt_integer(row["samples"]),
        }
        for row in facts.get("timers") or []
    ]


def timers_worst(facts: Mapping[str, Any]) -> str:
    """Lateness that one in a hundred of the shortest sleeps exceeds, µs."""
    table = facts.get("timers") or []
    return fmt_number(table[0]["p99_us"]) if table else UNMEASURED


def who_pays_values(frame: pd.DataFrame) -> Values:
    """Server CPU per reply and softirq shares of the same load in both charge modes."""
    trials = rows.valid(frame, experiment="who-pays")
    found = []
    quotients = {"raw": UNMEASURED, "open": UNMEASURED}
    for mode, client in (("raw", "raw client"), ("open", "kernel sockets")):
        series = trials[trials["load_mode"] == mode] if len(trials) else trials
        for charge in rows.CHARGES:
            part = series[series["charge"] == charge] if len(series) else series
            if part.empty:
                continue
            found.append(
                {
                    "client": client,
                    "charge": charge,
                    "replies": fmt_number(mean(part["replies_per_s"])),
                    "cpu_us": fmt_interval(*mean_interval(part["server_cpu_us_per_reply"])),
                    "cpu0_softirq": fmt_percent(mean(part["cpu0_softirq_share"])),
                    "cpu1_softirq": fmt_percent(mean(part["cpu1_softirq_share"])),
                }
            )
        table = rows.paired(series, "server_cpu_us_per_reply", by="charge")
        if {"receiver", "sender"} <= set(table):
            quotients[mode] = ratio(effect(table["receiver"] / table["sender"]))
    return {
        "measured": bool(found),
        "rows": found,
        "raw_ratio": quotients["raw"],
        "kernel_ratio": quotients["open"],
    }


def ceiling_values(frame: pd.DataFrame) -> Values:
    """What each generator achieved of what it was asked; a schedule is kept if most trials were valid."""
    trials = frame[frame["experiment"] == "ceilings"] if len(frame) else frame
    found = []
    best = {"raw": MISSING, "open": MISSING}
    for mode, generator in (("open", "kernel sockets"), ("raw", "raw client")):
        series = trials[trials["load_mode"] == mode] if len(trials) else trials
        for target, part in series.groupby("target_per_s") if len(series) else ():
            kept = part["valid"].astype(bool).mean() > 0.5
            achieved = part["achieved_ratio"] * target
            if kept:
                best[mode] = fmt_integer(float(target))
            found.append(
                {
                    "generator": generator,
                    "offered": fmt_integer(float(target)),
                    "achieved": fmt_number(mean(achieved)),
                    "kept": "yes" if kept else "no",
                }
            )
    return {"rows": found, "kernel": best["open"], "raw": best["raw"]}


def trial_values(frame: pd.DataFrame) -> Values:
    """How many trials stand behind the numbers, and what became of the others.

    What there is no such thing of here was no trial.
    """
    frame = frame[frame["status"] != "unavailable"] if len(frame) else frame
    rejected = frame[~frame["valid"].astype(bool)] if len(frame) else frame
    reasons = rejected["reason"].fillna("").str.split(":").str[0].value_counts() if len(rejected) else {}
    chapters = [_trial_counts(part) | {"chapter": str(name)} for name, part in _by_chapter(frame)]
    return _trial_counts(frame) | {
        "seconds": fmt_integer(float(frame["duration_s"].sum())) if len(frame) else "0",
        "reasons": [
            {
                "reason": str(code) or "unknown",
                "meaning": REASONS.get(str(code), "see the log of the trial"),
                "count": fmt_integer(int(count)),
            }
            for code, count in reasons.items()
        ],
        "by_chapter": chapters,
    }


def _by_chapter(frame: pd.DataFrame) -> Iterator[tuple[Any, pd.DataFrame]]:
    return iter(frame.groupby("chapter", sort=False)) if len(frame) else iter(())


def _trial_counts(frame: pd.DataFrame) -> Values:
    status = frame["status"].value_counts() if len(frame) else {}
    planned = frame[frame["kind"] != "calibration"] if len(frame) else frame
    return {
        "total": fmt_integer(len(frame)),
        "valid": fmt_integer(int(frame["valid"].astype(bool).sum()) if len(frame) else 0),
        "invalid": fmt_integer(int(status.get("invalid", 0))),
        "failed": fmt_integer(int(status.get("failed", 0))),
        "rounds": _rounds(planned),
        "calibrations": fmt_integer(len(frame) - len(planned)),
    }


def _rounds(planned: pd.DataFrame) -> str:
    """Rounds of each chapter: one number, or the range of several."""
    counts = sorted({int(part["round"].nunique()) for _, part in _by_chapter(planned)})
    return "0" if not counts else str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
