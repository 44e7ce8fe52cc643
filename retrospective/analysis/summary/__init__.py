"""A machine's trials as the words and numbers that the chapters print: nested dictionaries of formatted text.

Every name exists whatever was measured, so that a template with strict names never fails on a short profile: what was
not measured reads "not measured", and the group it belongs to has ``measured`` false.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from retrospective.analysis.formatting import fmt_number
from retrospective.analysis.summary.accept import accept_values, published_values
from retrospective.analysis.summary.beyond import concurrency_values, fairness_values, sensitivity_values
from retrospective.analysis.summary.lazy import lazy_values
from retrospective.analysis.summary.ledger import claim_values, verdict_values
from retrospective.analysis.summary.machine import (
    ceiling_values,
    fact,
    flattened,
    floor_values,
    machine_values,
    newest,
    timer_values,
    timers_worst,
    trial_values,
    who_pays_values,
)
from retrospective.analysis.summary.peers import nginx_values, peer_values
from retrospective.analysis.summary.timers import ticking_values
from retrospective.analysis.summary.userstack import userstack_values
from retrospective.analysis.summary.wording import Values

if TYPE_CHECKING:
    from retrospective.analysis.figures import Site

__all__ = ["claim_values", "machine_values", "newest", "published_values", "site_values", "verdict_values"]


def site_values(site: Site) -> Values:
    """Everything the chapters may say about one machine."""
    frame, facts = site.frame, site.facts
    return {
        "machine": machine_values(facts, frame),
        "provenance": list(flattened(facts)),
        "capabilities": [dict(row) for row in facts.get("capabilities", [])],
        "floor": floor_values(frame),
        "clock": {
            "read_ns": fmt_number(fact(facts, "clock", "read_p50_ns")),
            "step_ns": fmt_number(fact(facts, "clock", "step_min_ns")),
        },
        "timers": timer_values(facts),
        "timers_worst": timers_worst(facts),
        "who_pays": who_pays_values(frame),
        "ceilings": ceiling_values(frame),
        "trials": trial_values(frame),
        "accept": accept_values(frame),
        "sensitivity": sensitivity_values(frame),
        "concurrency": concurrency_values(frame),
        "fairness": fairness_values(frame),
        "peers": peer_values(frame),
        "nginx_overload": nginx_values(frame),
        "lazy": lazy_values(frame, facts),
        "ticking": ticking_values(frame),
        "userstack": userstack_values(frame),
    }
