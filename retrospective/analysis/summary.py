"""A machine's trials as the words and numbers that the chapters print: nested dictionaries of formatted text.

Every name exists whatever was measured, so that a template with strict names never fails on a short profile: what was
not measured reads "not measured", and the group it belongs to has ``measured`` false.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from retrospective.analysis import published, rows
from retrospective.analysis.claims import nginx_ratios
from retrospective.analysis.evidence import SATURATED, Evidence, at, effect
from retrospective.analysis.formatting import (
    MISSING,
    THIN,
    fmt_gain,
    fmt_integer,
    fmt_interval,
    fmt_limit,
    fmt_number,
    fmt_percent,
    fmt_ratio,
    fmt_ratio_interval,
)
from retrospective.analysis.statistics import (
    VERDICTS,
    Effect,
    aa_floor,
    aa_pairs,
    mean_interval,
    ratio_interval,
)

if TYPE_CHECKING:
    import pandas as pd

    from retrospective.analysis.figures import Site

Values = dict[str, Any]
UNMEASURED = "not measured"

#: workload -> its name in the templates.
KEYS = {"one-packet": "one_packet", "specweb99-like": "specweb"}
LIMIT_KEYS = {limit: f"limit_{limit}" for limit in rows.LIMITS}

#: Code of a reason (what stands before its colon) -> what it means.
REASONS = {
    "generator-late": "the client fell behind its schedule",
    "generator-saturated": "the client ran out of processor time",
    "wrong-body": "a reply was not byte for byte the file",
    "generator-failed": "the client ended by itself",
    "server-failed": "the server ended by itself",
    "not-answering": "the server did not answer",
    "cache-cold": "a file was not in the page cache",
    "fd-leak": "the server kept descriptors of ended connections",
    "disturbed": "something else ran on the server's processor",
    "steering": "packets were not charged to whom they should have been",
    "lab": "the laboratory itself failed",
}


def _ratio(found: Effect) -> str:
    return fmt_ratio_interval(found.value, found.low, found.high) if found.n else UNMEASURED


def _mean(values: pd.Series) -> float:
    return mean_interval(values)[0]


# ------------------------------------------------------------------------------------------ a machine


def site_values(site: Site) -> Values:
    """Everything the chapters may say about one machine."""
    frame, facts = site.frame, site.facts
    return {
        "machine": machine_values(facts, frame),
        "provenance": list(flattened(facts)),
        "capabilities": [dict(row) for row in facts.get("capabilities", [])],
        "floor": floor_values(frame),
        "clock": {
            "read_ns": fmt_number(_fact(facts, "clock", "read_p50_ns")),
            "step_ns": fmt_number(_fact(facts, "clock", "step_min_ns")),
        },
        "timers": timer_values(facts),
        "timers_worst": _timers_worst(facts),
        "who_pays": who_pays_values(frame),
        "ceilings": ceiling_values(frame),
        "trials": trial_values(frame),
        "accept": {
            KEYS[workload]: {
                design: {charge: cell_values(frame, workload, design, charge) for charge in rows.CHARGES}
                for design in ("select", "epoll")
            }
            for workload in rows.WORKLOADS
        },
        "peers": peer_values(frame),
        "peers_measured": bool(len(rows.valid(frame, experiment="peers"))),
        "nginx_overload": nginx_values(frame),
    }


def _fact(facts: Mapping[str, Any], *names: str) -> Any:
    """Look a nested fact up; ``None`` if any part of the way is missing."""
    value: Any = facts
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _said(value: object) -> str:
    return MISSING if value in (None, "", {}, []) else str(value)


def machine_values(facts: Mapping[str, Any], frame: pd.DataFrame) -> Values:
    """Name, parts and build of a machine."""
    cpu, cores = _fact(facts, "cpu", "model"), _fact(facts, "cpu", "cores")
    version = _fact(facts, "build", "version")
    memory = facts.get("memory_gib")
    weak = [
        name
        for name, state in (_fact(facts, "cpu", "mitigations") or {}).items()
        if "not affected" not in str(state).lower()
    ]
    name = f"{_said(cpu)} ({cores} processors)" if cores else _said(cpu)
    dirty = " (with changes)" if _fact(facts, "commit", "dirty") else ""
    return {
        "name": name,
        "cpu": _said(cpu),
        "cores": _said(cores),
        "memory": f"{memory}{THIN}GiB" if memory else MISSING,
        "kernel": _said(_fact(facts, "kernel", "release")),
        "virtualisation": _said(_fact(facts, "cpu", "virtualisation")),
        "clock_source": _said(_fact(facts, "kernel", "clocksource")),
        "mitigations": f"active or needed for {len(weak)} known weaknesses" if weak else "none needed",
        "compiler": f"{_said(_fact(facts, 'build', 'compiler'))} {version}" if version else MISSING,
        "flags": " ".join(_fact(facts, "build", "flags") or []) or MISSING,
        "commit": (str(_fact(facts, "commit", "hash"))[:12] + dirty)
        if _fact(facts, "commit", "hash")
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


def _timers_worst(facts: Mapping[str, Any]) -> str:
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
                    "replies": fmt_number(_mean(part["replies_per_s"])),
                    "cpu_us": fmt_interval(*mean_interval(part["server_cpu_us_per_reply"])),
                    "cpu0_softirq": fmt_percent(_mean(part["cpu0_softirq_share"])),
                    "cpu1_softirq": fmt_percent(_mean(part["cpu1_softirq_share"])),
                }
            )
        table = rows.paired(series, "server_cpu_us_per_reply", by="charge")
        if {"receiver", "sender"} <= set(table):
            quotients[mode] = _ratio(effect(table["receiver"] / table["sender"]))
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
                    "achieved": fmt_number(_mean(achieved)),
                    "kept": "yes" if kept else "no",
                }
            )
    return {"rows": found, "kernel": best["open"], "raw": best["raw"]}


def trial_values(frame: pd.DataFrame) -> Values:
    """How many trials stand behind the numbers, and what became of the others."""
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


# ------------------------------------------------------------------------------------------ accept()

#: name in the templates -> (column, factor on it)
LIMIT_COLUMNS = {
    "replies": ("replies_per_s", 1.0),
    "drops": ("queue_drops_per_s", 1.0),
    "overflows": ("drop_overflow_per_s", 1.0),
    "syn_drops": ("drop_syn_per_s", 1.0),
    "cpu_us": ("server_cpu_us_per_reply", 1.0),
    "accepts": ("accepts_per_s", 1.0),
    "getevents": ("getevents_per_s", 1.0),
    "accepts_per_phase": ("accepts_per_phase", 1.0),
    "work_items": ("work_items_per_phase", 1.0),
    "getevents_us": ("getevents_us", 1.0),
    "accept_us": ("accept_us", 1.0),
    "work_us": ("work_us_per_item", 1.0),
    "latency_httperf_ms": ("httperf_mean_us", 1e-3),
    "latency_ms": ("latency_p50_us", 1e-3),
    "latency_p99_ms": ("latency_p99_us", 1e-3),
}


def cell_values(frame: pd.DataFrame, workload: str, design: str, charge: str) -> Values:
    """One family of curves: a workload, a design and a charge mode."""
    evidence = Evidence(frame, design, charge)
    trials = evidence.trials(workload)
    if trials.empty:
        return _unmeasured_cell()
    last = float(trials["x_ratio"].max())
    top = rows.peak(trials)
    found = evidence.gain(workload)
    gain, place = found.effect, found.place
    predicted, unexplained = evidence.predicted_gain(workload), evidence.unexplained(workload)
    return {
        "measured": True,
        "peak": fmt_number(top),
        "rounds": fmt_integer(int(trials["round"].nunique())),
        "last_x": fmt_number(last, 2),
        "last_target": fmt_number(float(trials.loc[trials["x_ratio"] == last, "target_per_s"].median())),
        "gain": _ratio(gain),
        "gain_percent": fmt_gain(gain.value) if gain.n else UNMEASURED,
        "gain_ratio": fmt_ratio(gain.value) if gain.n else UNMEASURED,
        "gain_x": fmt_number(place, 2) if np.isfinite(place) else UNMEASURED,
        "gain_last": _ratio(effect(at(evidence.ratios(workload, "replies_per_s", "inf", "1"), last))),
        "predicted_gain": _ratio(effect(at(predicted, last))),
        "unexplained": _ratio(effect(at(unexplained, last))),
        "getevents_ratio": _ratio(
            effect(evidence.matched(workload, "getevents_per_s", "1", "inf", SATURATED))
        ),
        "work_ratio": _ratio(
            effect(evidence.matched(workload, "work_items_per_phase", "inf", "1", SATURATED))
        ),
        "limits": {
            name: limit_values(trials[(trials["accept_limit"] == limit) & (trials["x_ratio"] == last)], top)
            for limit, name in LIMIT_KEYS.items()
        },
    }


def limit_values(trials: pd.DataFrame, top: float) -> Values:
    """One accept-limit at the deepest overload."""
    measured = len(trials) > 0
    values: Values = {
        name: fmt_number(_mean(trials[column]) * factor) if measured else UNMEASURED
        for name, (column, factor) in LIMIT_COLUMNS.items()
    }
    values["measured"] = measured
    values["kept"] = fmt_percent(_mean(trials["replies_per_s"]) / top) if measured else UNMEASURED
    lost = trials["timed_out_per_s"] / trials["attempted_per_s"].where(trials["attempted_per_s"] > 0)
    values["timed_out_percent"] = fmt_percent(_mean(lost)) if measured else UNMEASURED
    return values


def _unmeasured_cell() -> Values:
    names = (
        "peak",
        "rounds",
        "last_x",
        "last_target",
        "gain",
        "gain_percent",
        "gain_ratio",
        "gain_x",
        "gain_last",
    )
    more = ("predicted_gain", "unexplained", "getevents_ratio", "work_ratio")
    limit = dict.fromkeys((*LIMIT_COLUMNS, "kept", "timed_out_percent"), UNMEASURED) | {"measured": False}
    return {
        "measured": False,
        **dict.fromkeys((*names, *more), UNMEASURED),
        "limits": {name: dict(limit) for name in LIMIT_KEYS.values()},
    }


def peer_values(frame: pd.DataFrame) -> list[Values]:
    """CPU per reply of ours and of the peers, cheapest first."""
    trials = rows.valid(frame, experiment="peers")
    if trials.empty:
        return []
    table = rows.paired(trials, "server_cpu_us_per_reply", by="label")
    nginx = next((label for label in sorted(table) if label.startswith("nginx")), None)
    order = sorted(table, key=lambda label: float(table[label].mean()))
    found = []
    for label in order:
        level = mean_interval(table[label])
        against = {
            name: _ratio(ratio_interval(table[label] / table[other]))
            if other in table and other != label
            else MISSING
            for name, other in (("against_floor", "floor"), ("against_nginx", nginx))
        }
        found.append(
            {
                "name": label,
                "cpu_us": fmt_number(level[0]),
                "interval": fmt_interval(*level),
                "replies": fmt_number(_mean(trials.loc[trials["label"] == label, "replies_per_s"])),
                **against,
            }
        )
    return found


def nginx_values(frame: pd.DataFrame) -> Values:
    """Show nginx's own accept strategy under the µserver's overload."""
    trials = rows.valid(frame, experiment="peers-overload", design="nginx")
    gain = effect(nginx_ratios(frame, "replies_per_s"))
    levels = {}
    for state in ("on", "off"):
        part = trials[trials["label"].str.endswith(f"multi_accept {state}")] if len(trials) else trials
        levels[state] = fmt_number(_mean(part["replies_per_s"])) if len(part) else UNMEASURED
    return {"measured": gain.n > 0, "gain": _ratio(gain), **levels}


# ------------------------------------------------------------------------------------------ 2004, claims


def published_values() -> Values:
    """2004's numbers."""
    values: Values = {}
    for workload, name in KEYS.items():
        old = published.overload(workload)
        values[name] = {
            "peak": fmt_integer(float(old.replies.to_numpy().max())),
            "gain": fmt_gain(published.GAIN[workload]),
            "gain_ratio": fmt_ratio(published.GAIN[workload]),
            "last_x": fmt_ratio(old.last_x),
            "limits": {
                LIMIT_KEYS[limit]: {
                    "peak": fmt_integer(float(old.replies[limit].max())),
                    "replies_last": fmt_integer(float(old.replies[limit].iloc[-1])),
                    "kept": fmt_percent(float(old.replies[limit].iloc[-1]) / old.peak),
                    "drops_last": fmt_integer(float(old.drops[limit].iloc[-1])),
                    "limit": fmt_limit(limit),
                }
                for limit in old.kind.limits[workload]
            },
        }
    calls, items = published.SELECTS_PER_S, published.WORK_ITEMS_PER_PHASE
    return values | {
        "selects_inf": fmt_integer(calls["inf"]),
        "selects_1": fmt_integer(calls["1"]),
        "selects_ratio": fmt_integer(calls["1"] / calls["inf"]),
        "work_inf": fmt_number(items["inf"], 4),
        "work_1": fmt_number(items["1"], 2),
    }


def claim_values(judged: list[dict[str, Any]], reference: list[dict[str, Any]] | None) -> list[Values]:
    """Format the ledger; ``reference`` is the ledger of the reference machine, if it stands beside."""
    recorded = {claim["id"]: claim for claim in reference or []}
    return [_claim(claim, recorded.get(claim["id"])) for claim in judged]


def _claim(claim: Mapping[str, Any], recorded: Mapping[str, Any] | None) -> Values:
    modes = {
        charge: f"{_measured(mode)}: {mode['verdict']}" if mode else UNMEASURED
        for charge in rows.CHARGES
        for mode in [claim["modes"].get(charge)]
    }
    return {
        **{
            name: claim[name]
            for name in ("id", "source", "statement", "published", "mechanism", "verdict", "why")
        },
        "measured": _measured(claim),
        **modes,
        "x": fmt_number(claim["x"], 3),
        "extension": claim["extension"],
        "below_published": claim["below_published"],
        "reference_measured": _measured(recorded) if recorded else MISSING,
        "reference_verdict": recorded["verdict"] if recorded else MISSING,
    }


def _measured(claim: Mapping[str, Any]) -> str:
    return fmt_ratio_interval(claim["value"], claim["low"], claim["high"])


def verdict_values(judged: list[dict[str, Any]]) -> list[Values]:
    """How many claims got which verdict, in the order of the words."""
    counts = {word: sum(claim["verdict"] == word for claim in judged) for word in VERDICTS}
    return [{"verdict": word, "count": str(count)} for word, count in counts.items() if count]
