"""What the retrospective is made from: trials gathered, figures drawn, numbers formatted."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib import pyplot

from retrospective.analysis import figures, summary
from retrospective.analysis.claims import ledger
from retrospective.analysis.figures import NothingToDraw, Site
from retrospective.analysis.formatting import MISSING, fmt_bytes, fmt_integer, fmt_number, fmt_percent
from retrospective.analysis.rows import NoReferenceError, load_reference
from retrospective.analysis.statistics import VERDICTS
from retrospective.analysis.timers import time_name
from retrospective.experiments import CHAPTERS, accept
from retrospective.experiments.lazy import settings as lazy
from retrospective.experiments.userstack import settings as userstack
from retrospective.lab import arm, traces

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HERE, REFERENCE = "this machine", "reference machine"


@dataclass
class Material:
    """Trials of the machine that is judged, the reference machine beside it, and their ledgers.

    ``here`` is the reader's machine if live, the reference machine if recorded; ``reference`` is ``None``
    where nothing is recorded. ``missing`` is filled by :func:`draw`.
    """

    source: str
    profile: str
    here: Site
    reference: Site | None
    claims: list[dict[str, Any]]
    reference_claims: list[dict[str, Any]] | None = None
    missing: list[dict[str, str]] = field(default_factory=list)

    @property
    def is_live(self) -> bool:
        """Whether the trials were made on this machine."""
        return self.source == "live"

    @property
    def beside(self) -> Site | None:
        """The reference machine where it is another than the one that is judged."""
        return self.reference if self.is_live else None

    def values(self) -> dict[str, Any]:
        """Everything the chapters may print, formatted."""
        here = summary.site_values(self.here)
        claims = summary.claim_values(self.claims, self.reference_claims if self.is_live else self.claims)
        return {
            "source": self.source,
            "profile": self.profile,
            "is_live": self.is_live,
            "generated": summary.newest(self.here.frame) or datetime.now(UTC).isoformat(timespec="seconds"),
            "here": here,
            "reference": self._reference_values(here),
            "published": summary.published_values(),
            "claims": claims,
            "claim": {claim["id"]: claim for claim in claims},
            "verdicts": {
                chapter: summary.verdict_values(
                    [c for c in self.claims if c["chapter"] == chapter and not c["extension"]]
                )
                for chapter in CHAPTERS
            },
            "verdicts_all": summary.verdict_values(self.claims),
            "verdict_words": [{"verdict": word, "meaning": meaning} for word, meaning in VERDICTS.items()],
            "missing_figures": list(self.missing),
            "settings": settings(),
            "counted": counted("userstack-"),
            "trace_sources": [{"what": what, "known": how} for what, how in traces.SOURCES.items()],
        }

    def _reference_values(self, here: dict[str, Any]) -> dict[str, Any] | None:
        if not self.is_live:
            return here
        return summary.site_values(self.reference) if self.reference else None


def settings() -> dict[str, str]:
    """What the experiments hold fixed, as the text says it."""
    timeout_s = {workload: milliseconds / 1000 for workload, milliseconds in accept.TIMEOUT_MS.items()}
    return {
        "backlog": fmt_integer(accept.BACKLOG),
        "max_connections": fmt_integer(accept.MAX_CONNECTIONS),
        "work_us": fmt_integer(accept.WORK_US["specweb99-like", "receiver"]),
        "one_packet_timeout_s": f"{timeout_s['one-packet']:g}",
        "specweb_timeout_s": f"{timeout_s['specweb99-like']:g}",
        "threads": fmt_integer(accept.THREADS),
        "sensitivity_x": f"{accept.SENSITIVITY_RATIO:g}",
        "concurrency_work_us": fmt_integer(accept.CONCURRENCY_WORK_US),
        "fairness_per_s": fmt_integer(accept.FAIRNESS_PER_S),
        "fairness_sleep_ms": fmt_integer(accept.FAIRNESS_SLEEP_US / 1000),
        "fairness_slow": fmt_percent(accept.FAIRNESS_SLOW_SHARE),
        **lazy_settings(),
        **stack_settings(),
    }


def lazy_settings() -> dict[str, str]:
    """What the servers on traces are given: files, memory, clients, and the disk of 2004."""
    random_read_s = arm.COMMAND_S + arm.AVERAGE_SEEK_S + arm.REVOLUTION_S / 2
    return {
        "fits": f"{lazy.FITS:g}",
        "spills": f"{lazy.SPILLS:g}",
        "most_clients": fmt_integer(lazy.MOST_CLIENTS),
        "processes": fmt_integer(lazy.PROCESSES),
        "trace_footprint": fmt_bytes(traces.FOOTPRINT_BYTES),
        "zipf": f"{traces.ZIPF_EXPONENT:g}",
        "hot_bytes": fmt_bytes(traces.HOT_FILE_BYTES),
        "hot_share": fmt_percent(traces.HOT_REQUEST_SHARE),
        "seek": fmt_number(arm.AVERAGE_SEEK_S * 1e3, 2, "ms"),
        "half_turn": fmt_number(arm.REVOLUTION_S / 2 * 1e3, 2, "ms"),
        "random_read": fmt_number(random_read_s * 1e3, 2, "ms"),
        "random_reads_per_s": fmt_integer(1 / random_read_s),
        "media_mb_per_s": fmt_number(arm.MEDIA_BYTES_PER_S / 1e6, 2),
    }


def stack_settings() -> dict[str, str]:
    """What both stacks are given, and how long an impaired transfer lasts at most."""
    return {
        "stack_window": fmt_bytes(userstack.WINDOW_BYTES),
        "stack_min_rto": time_name(userstack.MIN_RTO_US),
        "stack_tick": time_name(userstack.TICK_US),
        "stack_cell_bytes": fmt_bytes(userstack.CELL_BYTES),
        "stack_cell_s": f"{userstack.CELL_S:g}",
    }


def counted(prefix: str) -> list[dict[str, str]]:
    """Benchmarks too long for the rounds of a chapter, as they were last recorded: what, how much, its bound, when."""
    from retrospective import bench  # noqa: PLC0415 (it measures: nothing a document needs but here)

    last = bench.recorded()
    return [
        {
            "id": name,
            "measures": benchmark.measures,
            "value": bench.text(last[name]["value"]),
            "bound": benchmark.bound_text or MISSING,
            "holds": {True: "yes", False: "no", None: MISSING}[benchmark.holds(float(last[name]["value"]))],
            "note": last[name]["note"] or MISSING,
            "date": last[name]["date"],
        }
        for name, benchmark in bench.BENCHMARKS.items()
        if name.startswith(prefix) and last.get(name, {}).get("value") is not None
    ]


def gather(source: str, profile: str) -> Material:
    """Read the trials of a source (``live`` measures what its profile still lacks) and judge the claims.

    Raises ``NoReferenceError`` if recorded trials are asked for and there are none.
    """
    from retrospective.workflow import rows  # noqa: PLC0415 (workflow writes documents: no circle at import)

    here = _site(REFERENCE if source == "recorded" else HERE, {c: rows(c, source, profile) for c in CHAPTERS})
    reference = _recorded() if source == "live" else here
    claims = ledger(here.frame)
    recorded = ledger(reference.frame) if source == "live" and reference else None
    return Material(source, profile, here, reference, claims, recorded)


def _recorded() -> Site | None:
    """Return the reference machine, as far as chapters are recorded; ``None`` if none is."""
    chapters = {}
    for chapter in CHAPTERS:
        try:
            chapters[chapter] = load_reference(chapter)
        except NoReferenceError:
            continue  # newer than what is recorded
    return _site(REFERENCE, chapters) if chapters else None


def _site(name: str, chapters: dict[str, tuple[pd.DataFrame, dict[str, Any]]]) -> Site:
    """All chapters of one machine; their provenance is the same but for what each chapter adds."""
    facts: dict[str, Any] = {}
    for _, more in chapters.values():
        facts |= more
    frames = [frame for frame, _ in chapters.values() if len(frame)]
    # All-missing columns of one chapter must not decide the type of the other's.
    frame = pd.concat(frames, ignore_index=True) if frames else next(iter(chapters.values()))[0]
    return Site(name, frame, facts)


def machine_facts(provenance: dict[str, Any]) -> dict[str, str]:
    """What to know of a machine before reading its numbers, in words, for a notebook's first table."""
    facts = summary.machine_values(provenance, pd.DataFrame())
    names = (
        "cpu",
        "cores",
        "memory",
        "virtualisation",
        "kernel",
        "clock_source",
        "mitigations",
        "compiler",
        "commit",
    )
    return {name.replace("_", " "): facts[name] for name in names}


def draw(material: Material) -> Iterator[tuple[str, Figure]]:
    """Draw every figure that the trials allow; the others are named in ``material.missing``, with the reason.

    A figure is to be saved before the next one is asked for: the style holds until then.
    """
    material.missing.clear()
    for name in figures.FIGURES:
        try:
            figure = figures.draw(name, material.here, material.beside)
        except NothingToDraw as nothing:
            material.missing.append({"name": name, "why": str(nothing)})
            print(f"figure {name} is left out: {nothing}", file=sys.stderr)
            continue
        with pyplot.rc_context(figures.STYLE):
            yield name, figure
