"""The ledger: every claim, tested against the trials, with its verdict and the check of its cause.

A claim is a chain of tests and is worth its weakest link, which is also the number shown for it. Where
2004 states a size, ours is read at the same place: at the same ratio of offered load to the server's own
peak (the µserver's sweeps end at 1.36 for one-packet and 2.30 for SPECweb99-like, TUX's at 1.36 and 2.21,
Knot's at 2.14 and 3.31; ours at 2.1), or, where 2004 says "as much as", at the x past saturation where the
gain is largest, with an interval that allows for the choice.

What 2004 claimed is judged on the designs that stand for its servers; today's questions are listed as
extensions, under ids of their own. Each paper's claims and each paper's extensions are a family of their own for
Holm's correction (statistics.py), held against the detection floor of the chapter that measures them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from retrospective.analysis import probes
from retrospective.analysis import timers as ticks
from retrospective.analysis import userstack as stacks
from retrospective.analysis.claims import (
    extensions,
    knot,
    lazy,
    lazy_servers,
    lazy_today,
    servers,
    timers,
    timers_today,
    tux,
    userstack,
    userver,
)
from retrospective.analysis.evidence import Evidence
from retrospective.analysis.formatting import fmt_percent
from retrospective.analysis.statistics import (
    WEAKEST_FIRST,
    Effect,
    Floor,
    Test,
    aa_floor,
    combined,
    decide,
    of_analog,
)

if TYPE_CHECKING:
    import pandas as pd

    from retrospective.analysis.claims.claim import Claim
    from retrospective.analysis.mechanisms import Cause


#: The detection floors that effects are held against: each chapter's, that of servers in the lazy one, and that of
#: cores in the one on timers.
FLOORS = {
    "accept": aa_floor,
    "lazy": probes.floor,
    "servers": aa_floor,
    ticks.CHAPTER: ticks.operations_floor,
    "wall": ticks.wall_floor,
    stacks.CHAPTER: stacks.floor,
}


def claims(chapter: str | None = None) -> list[Claim]:
    """Every claim of the ledger, or of one chapter: chapter by chapter, 2004's first."""
    accept = [*userver.claims(), *tux.claims(), *knot.claims(), *servers.claims(), *extensions.claims()]
    everything = [
        *accept,
        *lazy.claims(),
        *lazy_servers.claims(),
        *lazy_today.claims(),
        *lazy_servers.today(),
        *timers.claims(),
        *timers_today.claims(),
        *userstack.claims(),
        *userstack.today(),
    ]
    return [claim for claim in everything if chapter in (None, claim.chapter)]


@dataclass(frozen=True)
class Judged:
    """A claim in one charge mode: its tests, their verdicts and the cause's check (if there was a test)."""

    claim: Claim
    tests: Sequence[Test]
    verdicts: Sequence[str]
    cause: Cause | None
    x: float
    floor: Floor
    missing: str = ""

    @property
    def weakest(self) -> int | None:
        """Index of the test that decides."""
        if not self.tests:
            return None

        def rank(i: int) -> tuple[int, float]:
            test = self.tests[i]
            size = np.log(test.published) if test.published else 0.0
            return WEAKEST_FIRST.index(self.verdicts[i]), test.effect.mean - size

        return min(range(len(self.tests)), key=rank)

    @property
    def verdict(self) -> str:
        """Word of the weakest link; an effect whose cause did not move is not explained, so undecided."""
        if self.weakest is None:
            return "not testable here"
        word = self.verdicts[self.weakest]
        confirmed = word in ("reproduced", "analog agrees", "shrunk")
        return "undecided" if confirmed and self.cause and self.cause.moved is False else word

    @property
    def why(self) -> str:
        """Why the verdict is not better than it is."""
        if self.weakest is None:
            return self.claim.untestable or self.missing or "no valid trials of what it needs in this profile"
        test, word = self.tests[self.weakest], self.verdicts[self.weakest]
        if word != self.verdict and self.cause:
            return f"{test.name}: the effect is there, but {self.cause.name} did not move with it"
        if word != "undecided":
            return test.name
        if not test.effect.decided:
            rounds = "one round gives" if test.effect.n == 1 else "these trials give"
            return f"{test.name}: {rounds} no interval"
        if test.kind == "equal" and test.effect.low > 1:
            return f"{test.name}: more than predicted; something else contributes"
        less = (
            f"; the published {test.published:.3g} lies above the interval" if below_published(test) else ""
        )
        floor = self.floor.over(test.effect.n)
        if floor.measured and abs(test.effect.mean) <= np.log(floor.factor) and test.kind == "gain":
            return f"{test.name}: within the lab's detection floor of ±{fmt_percent(floor.factor - 1)}{less}"
        return (
            f"{test.name}: {test.effect.n} rounds do not tell, with Holm's correction over the ledger{less}"
        )


def below_published(test: Test | None) -> bool:
    """Whether the whole interval lies below what was published: 2004's size is not there, whatever else is."""
    return (
        test is not None
        and test.published is not None
        and test.published > 1
        and test.effect.decided
        and test.effect.high < test.published
    )


def ledger(frame: pd.DataFrame, listed: Sequence[Claim] | None = None) -> list[dict[str, Any]]:
    """Judge claims, by default every one, by the rows of all chapters; JSON-ready, absent numbers are ``None``.

    ``value``, ``low``, ``high``: the ratio of the deciding test and its 95 % interval, in the receiver
    mode if that was measured. ``modes`` holds the same per charge mode, ``tests`` every link of the chain.
    """
    listed = claims() if listed is None else listed
    chapters = {
        chapter: frame[frame["chapter"] == chapter] if len(frame) else frame
        for chapter in {claim.chapter for claim in listed}
    }
    modes = {
        (claim.chapter, charge, claim.design): Evidence(chapters[claim.chapter], claim.design, charge)
        for claim in listed
        for charge in claim.charges
    }
    judged: dict[str, dict[str, Judged]] = {}
    floors = {name: FLOORS[name](frame) for name in {claim.floor or claim.chapter for claim in listed}}
    for family in dict.fromkeys((claim.chapter, claim.extension) for claim in listed):
        asked = [
            (claim, charge, modes[claim.chapter, charge, claim.design])
            for claim in listed
            if (claim.chapter, claim.extension) == family
            for charge in claim.charges
        ]
        tests = [claim.test(evidence) for claim, _, evidence in asked]
        against = [floors[claim.floor or claim.chapter] for claim, _, _ in asked]
        decided = decide(tests, against)
        for (claim, charge, evidence), group, words, floor in zip(
            asked, tests, decided, against, strict=True
        ):
            judged.setdefault(claim.id, {})[charge] = Judged(
                claim,
                group,
                [of_analog(word) for word in words] if claim.analog else words,
                claim.mechanism(evidence) if group else None,
                claim.x(evidence) if group else float("nan"),
                floor,
                "" if group else claim.missing(evidence),
            )
    return [_row(claim, judged[claim.id]) for claim in listed]


def _row(claim: Claim, modes: Mapping[str, Judged]) -> dict[str, Any]:
    measured = {charge: found for charge, found in modes.items() if found.tests}
    verdict = combined({charge: found.verdict for charge, found in modes.items()})
    head = next(iter(measured.values()), None)
    shown = head.tests[head.weakest] if head is not None and head.weakest is not None else None
    if head is None:
        why = next(iter(modes.values())).why
    elif verdict == "depends on who pays":
        why = "; ".join(f"{charge} pays: {found.verdict}" for charge, found in measured.items())
    else:
        why = head.why
    return {
        "id": claim.id,
        "source": claim.source,
        "statement": claim.statement,
        "published": claim.published,
        "value": _number(shown.effect.value) if shown else None,
        "low": _number(shown.effect.low) if shown else None,
        "high": _number(shown.effect.high) if shown else None,
        "mechanism": head.cause.text() if head and head.cause else "not measured",
        "verdict": verdict,
        "why": why,
        "mechanism_holds": head.cause.moved if head and head.cause else None,
        "chapter": claim.chapter,
        "extension": claim.extension,
        "analog": claim.analog,
        "note": claim.note,
        "design": claim.design,
        "x": _number(head.x) if head else None,
        "published_value": shown.published if shown else None,
        "below_published": below_published(shown),
        "modes": {
            charge: _numbers(found.tests[found.weakest].effect)
            | {"verdict": found.verdict, "why": found.why, "x": _number(found.x)}
            for charge, found in measured.items()
            if found.weakest is not None
        },
        "tests": {
            charge: [
                {"name": test.name, "published": test.published, "verdict": word} | _numbers(test.effect)
                for test, word in zip(found.tests, found.verdicts, strict=True)
            ]
            for charge, found in measured.items()
        },
    }


def _numbers(found: Effect) -> dict[str, float | int | None]:
    return {
        "value": _number(found.value),
        "low": _number(found.low),
        "high": _number(found.high),
        "rounds": found.n,
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
