"""What a claim is, and the few tests and places that several claims share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from retrospective.analysis import published, rows
from retrospective.analysis.evidence import Evidence
from retrospective.analysis.formatting import fmt_limit
from retrospective.analysis.mechanisms import Mechanism
from retrospective.analysis.statistics import MATCHES, NEGLIGIBLE, Effect, Test

ONE_PACKET, SPECWEB = rows.WORKLOADS
WORKLOAD_NAMES = {ONE_PACKET: "one-packet", SPECWEB: "SPECweb99-like"}
PAPER = "Brecht, Pariag & Gammo 2004"

Tests = Callable[[Evidence], list[Test]]
Place = Callable[[Evidence], float]
Reason = Callable[[Evidence], str]


def nowhere(_: Evidence) -> float:
    """The place of a test that is at no ratio to the peak, or at several."""
    return float("nan")


def unsaid(_: Evidence) -> str:
    """The reason of a claim whose trials say nothing of why they are missing."""
    return ""


@dataclass(frozen=True)
class Claim:
    """A claim of the literature and how the trials judge it.

    ``test`` and ``mechanism`` read the evidence of ``design`` in one charge mode, in each of ``charges``; ``x``
    says where (a ratio to the own peak). ``extension`` marks what 2004 did not claim. ``analog`` marks a claim
    about a server that cannot be had, judged on a stand-in: such a claim is never called reproduced.
    ``chapter`` is that of the trials; its claims are judged together. ``floor`` names the detection floor that gains
    are held against, the chapter's if "". ``untestable`` says why no trial here could test it, ``missing`` why those
    that could are not there; ``note`` is what a reader should know beside it.
    """

    id: str
    source: str
    statement: str
    published: str
    test: Tests
    mechanism: Mechanism
    x: Place = nowhere
    design: str = "select"
    extension: bool = False
    analog: bool = False
    chapter: str = "accept"
    charges: tuple[str, ...] = rows.CHARGES
    floor: str = ""
    untestable: str = ""
    missing: Reason = unsaid
    note: str = ""


def tested(
    name: str, found: Effect, kind: str = "gain", size: float | None = None, least: float = MATCHES
) -> list[Test]:
    """Make one test of an effect; none where nothing was measured."""
    if found.n == 0:
        return []
    if size is not None and kind == "gain" and size < NEGLIGIBLE:
        kind = "matches"  # a published effect inside ±5 % can at most be matched
    return [Test(name, found, kind, size, least)]


def named(workload: str, what: str) -> str:
    """Name a test by its workload."""
    return f"{WORKLOAD_NAMES[workload]}, {what}"


def largest_gain(workload: str) -> Tests:
    """Test the largest gain between the two limits that 2004 compared for the kind against the abstract's."""

    def tests(evidence: Evidence) -> list[Test]:
        over, under = (fmt_limit(limit) for limit in evidence.kind.gain)
        size = published.GAINS[published.kind_of(evidence.design)][workload]
        found = evidence.gain(workload).effect
        return tested(named(workload, f"replies/s, {over} ÷ {under}"), found, size=size)

    return tests


def whole(parts: list[list[Test]]) -> list[Test]:
    """A chain that means something only with every link: nothing unless each part was measured."""
    return [test for part in parts for test in part] if all(parts) else []


def largest_x(workload: str, over: str | None = None, under: str | None = None) -> Place:
    """Where the gain between two limits is largest."""
    return lambda evidence: evidence.gain(workload, over, under).place


def matched_x(workload: str, x: float | None = None) -> Place:
    """``x``, by default where 2004's sweep ended, as far as ours goes."""
    return lambda evidence: evidence.matched_x(workload, x)


def deepest_x(evidence: Evidence) -> float:
    """Highest x of the one-packet workload."""
    return float(evidence.trials(ONE_PACKET)["x_ratio"].max())
