"""The chapter on the user-level stack: what it does beside the kernel's and lwIP, and through a network that loses.

All of its experiments share one journal, and all but the last two are exchanges (lab/exchange.py):

- ``bulk``: goodput one way, by the size of writes; ``rtt``: a small message and back;
- ``connections``: opened, used once and closed; ``replies``: of 1 KiB, on connections that stay, and their CPU;
- ``replies-asleep``: the same where neither stacks nor switch wait awake;
- ``where``: what of the server's CPU time packets, TCP, timers, copies and crossings take;
- ``impaired``: goodput and every byte compared where the switch loses, delays, reorders, duplicates and corrupts,
  with the kernel as the peer; and the kernel with the kernel through the same switch;
- ``incast``: many answer one at once, in virtual time (lab/probe_stack.py): what the least time-out decides;
- ``incast-live``: the same through the switch, by the clock, beside the model in virtual time of the same wires.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retrospective.experiments.runner import Measurement, measure, planned
from retrospective.experiments.userstack import settings
from retrospective.experiments.userstack.exchanges import EXCHANGES
from retrospective.experiments.userstack.profiles import PROFILES, Profile, profile_with
from retrospective.experiments.userstack.settings import CHAPTER, EXPERIMENTS, IMPAIRMENTS, SERIES
from retrospective.lab.exchange import MOST_BUSY_SHARE, MOST_OTHERS_CORES, Exchange
from retrospective.lab.plan import Plan
from retrospective.lab.probe import Probe

if TYPE_CHECKING:
    import pandas as pd


def plan(profile: Profile) -> Plan:
    """All exchanges of a profile, each once, in the first so many rounds; those of an experiment are neighbours."""
    exchanges, rounds = zip(*planned(EXCHANGES, profile), strict=True)
    return Plan(exchanges, max(rounds), seed=1996, rounds_of=rounds, group=_compared)


def _compared(exchange: Exchange | Probe) -> tuple[str, ...] | None:
    """What is compared with one another runs one right after the other."""
    if isinstance(exchange, Probe):
        live = exchange.options.get("live")
        return (exchange.experiment, str(exchange.options["senders"])) if live else None
    options = exchange.options
    cell = (options.get("impairment", ""), options["congestion"], str(options.get("write_bytes", "")))
    return (exchange.experiment, *cell)


def seconds(profile: Profile) -> float:
    """About how long a profile takes if nothing has to be repeated."""
    return plan(profile).seconds()


def facts() -> dict[str, Any]:
    """What was held fixed, and what others may have had of the CPUs: stored beside the rows."""
    return {
        "cell_bytes": settings.CELL_BYTES,
        "cell_seconds": settings.CELL_S,
        "window_bytes": settings.WINDOW_BYTES,
        "impairments": {name: dict(one.words) for name, one in IMPAIRMENTS.items()},
        "most_others_cores": MOST_OTHERS_CORES,
        "most_busy_share": MOST_BUSY_SHARE,
    }


def run(profile: Profile | str = "quick", *, progress: bool = True) -> pd.DataFrame:
    """Measure what this machine's journal lacks of ``profile`` and return the rows of its complete rounds."""
    profile = PROFILES[profile] if isinstance(profile, str) else profile
    return measure(Measurement(CHAPTER, profile.name, lambda _: plan(profile), facts), progress=progress)


__all__ = [
    "CHAPTER",
    "EXCHANGES",
    "EXPERIMENTS",
    "IMPAIRMENTS",
    "PROFILES",
    "SERIES",
    "Profile",
    "facts",
    "plan",
    "profile_with",
    "run",
    "seconds",
]
