"""What a reply costs, ours and others'; and nginx's own accept strategy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retrospective.analysis import rows
from retrospective.analysis.comparisons import nginx_ratios
from retrospective.analysis.evidence import effect
from retrospective.analysis.formatting import MISSING, fmt_interval, fmt_number, fmt_percent
from retrospective.analysis.statistics import mean_interval
from retrospective.analysis.summary.wording import UNMEASURED, Values, mean, ratio

if TYPE_CHECKING:
    import pandas as pd

COST = "server_cpu_us_per_reply"
#: Servers that others wrote; the rest of the table is ours.
OTHERS = ("nginx", "lighttpd", "h2o")


def peer_values(frame: pd.DataFrame) -> Values:
    """CPU per reply of ours and of the peers, cheapest first, and where it goes."""
    trials = rows.valid(frame, experiment="peers")
    if trials.empty:
        return {"measured": False, "rows": []} | dict.fromkeys(SENTENCES, UNMEASURED)
    table = rows.paired(trials, COST, by="label")
    order = sorted(table, key=lambda label: float(table[label].mean()))
    other = [label for label in order if label.split(",")[0] in OTHERS]
    best = other[0] if other else None
    nginx = next((label for label in order if label.startswith("nginx")), None)
    parts = {label: trials[trials["label"] == label] for label in order}

    def against(label: str, under: str | None) -> str:
        return ratio(effect(table[label] / table[under])) if under in table and under != label else MISSING

    epoll = parts.get("epoll", trials.iloc[:0])
    return {
        "measured": True,
        "rows": [
            {
                "name": label,
                "ours": label not in other,
                "cpu_us": fmt_number(mean(table[label])),
                "interval": fmt_interval(*mean_interval(table[label])),
                "replies": fmt_number(mean(parts[label]["replies_per_s"])),
                "user_us": _level(parts[label], "server_user_us_per_reply"),
                "system_us": _level(parts[label], "server_system_us_per_reply"),
                "calls": _level(parts[label], "system_calls_per_reply"),
                "batch": _level(parts[label], "events_per_getevents"),
                "against_floor": against(label, "floor"),
                "against_nginx": against(label, nginx),
            }
            for label in order
        ],
        "best_other": best or UNMEASURED,
        "nginx": nginx or UNMEASURED,
        "select_over_best": against("select", best) if "select" in table else UNMEASURED,
        "epoll_over_nginx": against("epoll", nginx) if "epoll" in table else UNMEASURED,
        "epoll_over_floor": against("epoll", "floor") if "epoll" in table else UNMEASURED,
        "uring_over_epoll": against("uring", "epoll") if "uring" in table else UNMEASURED,
        "user_threads_over_epoll": against("user-threads", "epoll")
        if "user-threads" in table
        else UNMEASURED,
        "floor_over_nginx": against("floor", nginx) if "floor" in table else UNMEASURED,
        "epoll_system_share": _system_share(epoll),
        "nginx_system_share": _system_share(parts[nginx]) if nginx else UNMEASURED,
    }


SENTENCES = (
    "best_other",
    "nginx",
    "select_over_best",
    "epoll_over_nginx",
    "epoll_over_floor",
    "uring_over_epoll",
    "user_threads_over_epoll",
    "floor_over_nginx",
    "epoll_system_share",
    "nginx_system_share",
)


def _known(trials: pd.DataFrame, column: str) -> pd.Series | None:
    known = trials[column].dropna() if column in trials else trials.iloc[:, 0].iloc[:0]
    return known.astype(float) if len(known) else None


def _level(trials: pd.DataFrame, column: str) -> str:
    """Mean of a column that not every server has; a dash where it has none."""
    known = _known(trials, column)
    return fmt_number(mean(known)) if known is not None else MISSING


def _system_share(trials: pd.DataFrame) -> str:
    """System part of the processor time of a reply."""
    system, user = (_known(trials, f"server_{part}_us_per_reply") for part in ("system", "user"))
    return (
        fmt_percent(mean(system / (system + user))) if system is not None and user is not None else UNMEASURED
    )


def nginx_values(frame: pd.DataFrame) -> Values:
    """Show nginx's own accept strategy under the µserver's overload."""
    trials = rows.valid(frame, experiment="peers-overload", design="nginx")
    gain = effect(nginx_ratios(frame, "replies_per_s"))
    levels = {}
    for state in ("on", "off"):
        part = trials[trials["label"].str.endswith(f"multi_accept {state}")] if len(trials) else trials
        levels[state] = fmt_number(mean(part["replies_per_s"])) if len(part) else UNMEASURED
    return {"measured": gain.n > 0, "gain": ratio(gain), **levels}
