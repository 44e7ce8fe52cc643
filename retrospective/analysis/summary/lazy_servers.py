"""Servers on traces in words and numbers: what they serve, whom they hold, what they take, and why if not measured."""

from __future__ import annotations

import pandas as pd

from retrospective.analysis import lazy_servers
from retrospective.analysis.evidence import effect
from retrospective.analysis.formatting import (
    MISSING,
    fmt_integer,
    fmt_number,
    fmt_percent,
    fmt_us,
    known,
)
from retrospective.analysis.lazy_servers import (
    AMPED,
    BEGUN,
    HOT,
    LAZY,
    PLAIN,
    PLAIN_BEGUN,
    URING,
    Case,
    in_order,
)
from retrospective.analysis.statistics import CONFIDENCE, NEGLIGIBLE, trimmed_interval
from retrospective.analysis.summary.wording import UNMEASURED, Values, listed, mean, ratio

EXPERIMENTS = ("traces", "traces-open", "traces-cold", "fits-cpu")
PATH_NAMES = {
    "path_inline": "ordinary calls",
    "path_hit": "asked first, in memory",
    "path_miss": "asked first, to a helper",
    "path_helper": "to a helper",
    "path_ring": "kept by the kernel",
    "path_upcall": "blocked, continued",
    "path_timer": "taken over by time",
    "path_held": "held",
}


def server_on_trace_values(frame: pd.DataFrame) -> Values:
    """Everything that the chapter says of servers on traces."""
    warm = lazy_servers.trials(frame, "traces", cache="warm")
    by_case = {case: lazy_servers.many(found) for case, found in _by_case(warm)}
    crowds = {case: crowd for case, crowd in by_case.items() if len(crowd)}
    lacking = [lazy_servers.why_missing(frame, (name,), lacking=True) for name in EXPERIMENTS]
    return {
        "measured": bool(crowds),
        "why": _why(frame, "traces"),
        "lacks": listed(dict.fromkeys(why for why in lacking if why)) or "nothing",
        "cases": [_case(case, crowd) for case, crowd in crowds.items()],
        "begun": [_begun(case, crowd) for case, crowd in crowds.items() if (crowd["server"] == BEGUN).any()],
        "storage": _storage(warm),
        "cold": _cold(frame),
        "open": _open(frame),
        "fits": _fits(frame),
        "hot_bound": f"{HOT:g}",
        "has_2004": any(case.disk == "2004" for case in crowds),
        "amped_helpers": _amped_helpers(warm),
    }


def _amped_helpers(found: pd.DataFrame) -> str:
    """NB-AMPED's helper processes, in which it has one thread each, as it has one itself."""
    if not len(found) or "threads_peak" not in found:
        return UNMEASURED
    threads = pd.to_numeric(found.loc[found["server"] == AMPED, "threads_peak"]).median()
    return fmt_integer(threads - 1) if known(threads) else UNMEASURED


def _by_case(found: pd.DataFrame) -> list[tuple[Case, pd.DataFrame]]:
    return [
        (case, found[(found["workload"] == case.workload) & (found["disk"] == case.disk)])
        for case in lazy_servers.cases(found)
    ]


def _why(frame: pd.DataFrame, experiment: str) -> str:
    return lazy_servers.why_missing(frame, (experiment,)) or "this profile has no valid trials of it"


def _mean(crowd: pd.DataFrame, server: str, column: str) -> float:
    if column not in crowd:
        return float("nan")
    return mean(pd.to_numeric(crowd.loc[crowd["server"] == server, column]))


def _us(value: float) -> str:
    return fmt_us(value) if known(value) else MISSING


def _number(value: float) -> str:
    return fmt_number(value) if known(value) else MISSING


def _count(value: float) -> str:
    """A mean of counts: whole if it is."""
    return fmt_integer(value) if known(value) and value == round(value) else _number(value)


def _share(value: float) -> str:
    return fmt_percent(value) if known(value) else MISSING


def _ratio(ratios: pd.Series, choices: int = 1) -> str:
    return ratio(effect(ratios, choices)) if len(ratios) else MISSING


def _case(case: Case, crowd: pd.DataFrame) -> Values:
    """With many clients, NB-LAIO beside the others, each ratio within rounds."""
    beside = lazy_servers.beside_best(crowd)
    held = {
        name: pd.to_numeric(crowd.loc[crowd["server"] == server, "turn_max_us"]).max()
        for name, server in (("plain", PLAIN), ("lazy", LAZY))
    }
    tails = {
        server: _mean(crowd, server, "hot_latency_p99_us") for server in in_order(crowd["server"].unique())
    }
    tails = {server: level for server, level in tails.items() if known(level)}
    return {
        "name": case.name,
        "clients": fmt_integer(float(crowd["clients"].iloc[0])),
        "rounds": fmt_integer(crowd["round"].nunique()),
        "best": beside.rival or UNMEASURED,
        "over_best": _ratio(beside.ratios, beside.choices),
        "cpu_over_best": _ratio(lazy_servers.over(crowd, "server_cpu_us_per_reply", LAZY, beside.rival))
        if beside.rival
        else MISSING,
        "over_plain": _ratio(lazy_servers.over(crowd, "replies_per_s", LAZY, PLAIN)),
        "over_amped": _ratio(lazy_servers.over(crowd, "replies_per_s", LAZY, AMPED)),
        "uring_over": _ratio(lazy_servers.over(crowd, "replies_per_s", URING, LAZY)),
        "hot_plain": _us(_mean(crowd, PLAIN, "hot_latency_p99_us")),
        "hot_lazy": _us(_mean(crowd, LAZY, "hot_latency_p99_us")),
        "hot_over": _ratio(lazy_servers.over(crowd, "hot_latency_p99_us", PLAIN, LAZY)),
        "hot_best": min(tails, key=tails.__getitem__) if tails else UNMEASURED,
        "hot_best_time": _us(min(tails.values())) if tails else MISSING,
        "stall_over": _ratio(lazy_servers.stall_ratios(crowd, PLAIN, LAZY)),
        "longest_plain": _us(held["plain"]),
        "longest_lazy": _us(held["lazy"]),
        # What a turn served, and whether the processor was what it waited for.
        "events_plain": _number(_mean(crowd, PLAIN, "events_per_getevents")),
        "events_lazy": _number(_mean(crowd, LAZY, "events_per_getevents")),
        "busy_plain": _share(_mean(crowd, PLAIN, "server_cpu_share")),
        "busy_lazy": _share(_mean(crowd, LAZY, "server_cpu_share")),
        "servers": [_server(crowd, server) for server in in_order(crowd["server"].unique())],
        "paths": _paths(crowd),
    }


def _begun(case: Case, crowd: pd.DataFrame) -> Values:
    """With many clients, the lazy server that has its reads begun first, beside the best rival and its likes."""
    beside = lazy_servers.beside_best(crowd, server=BEGUN)
    upcalls = [_mean(crowd, server, "path_upcall_per_reply") for server in (LAZY, BEGUN)]
    return {
        "name": case.name,
        "clients": fmt_integer(float(crowd["clients"].iloc[0])),
        "best": beside.rival or UNMEASURED,
        "over_best": _ratio(beside.ratios, beside.choices),
        "over_lazy": _ratio(lazy_servers.over(crowd, "replies_per_s", BEGUN, LAZY)),
        "over_plain": _ratio(lazy_servers.over(crowd, "replies_per_s", BEGUN, PLAIN_BEGUN)),
        "hot": _us(_mean(crowd, BEGUN, "hot_latency_p99_us")),
        "hot_plain": _us(_mean(crowd, PLAIN_BEGUN, "hot_latency_p99_us")),
        "hot_over": _ratio(lazy_servers.over(crowd, "hot_latency_p99_us", PLAIN, BEGUN)),
        "upcalls_lazy": _number(upcalls[0]),
        "upcalls": _number(upcalls[1]),
    }


def _server(crowd: pd.DataFrame, server: str) -> Values:
    """A line of the table: a server with many clients."""
    mine = crowd[crowd["server"] == server]
    device = pd.to_numeric(mine["device_read_bytes"]) / lazy_servers.window_s(mine)
    per_reply = mean(device / pd.to_numeric(mine["replies_per_s"]))
    loops = server != lazy_servers.NO_LOOP
    longest = pd.to_numeric(mine["turn_max_us"]).max() if "turn_max_us" in mine and loops else float("nan")
    return {
        "server": server,
        "replies": _number(_mean(crowd, server, "replies_per_s")),
        "mean": _us(_mean(crowd, server, "latency_mean_us")),
        "hot": _us(_mean(crowd, server, "hot_latency_p99_us")),
        "turns": _number(_mean(crowd, server, "turns_over_10ms_per_s")) if loops else MISSING,
        "longest": _us(longest),
        "device": f"{fmt_number(per_reply / 1024)}",
        "memory": _number(_mean(crowd, server, "rss_peak_bytes") / (1 << 20)),
        "threads": _count(_mean(crowd, server, "threads_peak")),
    }


def _paths(crowd: pd.DataFrame) -> list[Values]:
    """How the calls of each server went, the shares of one per cent and more in words."""
    found = []
    for server in in_order(crowd["server"].unique()):
        calls = {name: _mean(crowd, server, f"{path}_per_reply") for path, name in PATH_NAMES.items()}
        calls = {name: count for name, count in calls.items() if known(count) and count > 0}
        total = sum(calls.values())
        shares = sorted(((count / total, name) for name, count in calls.items()), reverse=True)
        words = listed(f"{fmt_percent(share)} {name}" for share, name in shares if share >= 0.01)
        if words:
            found.append({"server": server, "paths": words})
    return found


def _storage(found: pd.DataFrame) -> Values:
    """By what memory was bounded, and what of the files was in it."""

    def level(column: str) -> float:
        return mean(pd.to_numeric(found[column])) if len(found) and column in found else float("nan")

    controllers = sorted(found["memory_controller"].dropna().astype(str).unique()) if len(found) else []
    return {
        "controller": listed(name.removeprefix("v") for name in controllers) or UNMEASURED,
        "resident": fmt_percent(level("resident_before_share"))
        if known(level("resident_before_share"))
        else UNMEASURED,
    }


def _cold(frame: pd.DataFrame) -> Values:
    found = []
    for fits in (False, True):
        for case, part in _by_case(lazy_servers.trials(frame, "traces-cold", fits=fits, cache="cold")):
            crowd = lazy_servers.many(part)
            beside = lazy_servers.beside_best(crowd)
            if not len(beside.ratios):
                continue
            found.append(
                {
                    "case": f"{case.name}, {'fits' if fits else 'does not fit'}",
                    "plain": _number(_mean(crowd, PLAIN, "replies_per_s")),
                    "lazy": _number(_mean(crowd, LAZY, "replies_per_s")),
                    "best": beside.rival,
                    "over_best": _ratio(beside.ratios, beside.choices),
                    "hot_over": _ratio(lazy_servers.over(crowd, "hot_latency_p99_us", PLAIN, LAZY)),
                }
            )
    return {"measured": bool(found), "why": _why(frame, "traces-cold"), "rows": found}


def _open(frame: pd.DataFrame) -> Values:
    found = []
    for case, part in _by_case(lazy_servers.trials(frame, "traces-open", cache="warm")):
        for load, trials in part.groupby(part["x_ratio"].astype(float).round(3)):
            found.append(
                {
                    "case": case.name,
                    "load": fmt_percent(float(load)),
                    "offered": _number(mean(trials["target_per_s"].astype(float))),
                    "plain": _us(_mean(trials, PLAIN, "hot_latency_p99_us")),
                    "lazy": _us(_mean(trials, LAZY, "hot_latency_p99_us")),
                    "over": _ratio(lazy_servers.over(trials, "hot_latency_p99_us", PLAIN, LAZY)),
                }
            )
    return {"measured": bool(found), "why": _why(frame, "traces-open"), "rows": found}


def _fits(frame: pd.DataFrame) -> Values:
    found = lazy_servers.trials(frame, "fits-cpu", fits=True, cache="warm")
    listed_rows = []
    for workload, part in found.groupby("workload") if len(found) else ():
        for server in in_order(part["server"].unique()):
            ratios = lazy_servers.over(part, "server_cpu_us_per_reply", server, PLAIN)
            wide, narrow = trimmed_interval(ratios), trimmed_interval(ratios, 2 * CONFIDENCE - 1)
            inside = narrow.decided and narrow.low > 1 / NEGLIGIBLE and narrow.high < NEGLIGIBLE
            listed_rows.append(
                {
                    "workload": str(workload).capitalize(),
                    "server": server,
                    "cpu": _number(_mean(part, server, "server_cpu_us_per_reply")),
                    "ratio": MISSING if server == PLAIN else ratio(wide),
                    "within": MISSING if server == PLAIN or not narrow.decided else "yes" if inside else "no",
                }
            )
    return {"measured": bool(listed_rows), "why": _why(frame, "fits-cpu"), "rows": listed_rows}
