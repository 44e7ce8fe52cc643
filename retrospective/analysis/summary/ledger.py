"""The ledger as text: claims and how many got which verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retrospective.analysis import rows
from retrospective.analysis.formatting import MISSING, fmt_number, fmt_ratio_interval
from retrospective.analysis.statistics import VERDICTS
from retrospective.analysis.summary.wording import UNMEASURED, Values


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
        "chapter": claim["chapter"],
        "extension": claim["extension"],
        "analog": claim["analog"],
        "note": claim["note"],
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
