"""Every figure by its name, drawn from one machine's trials with or without the reference machine's.

>>> site = Site("this machine", frame, provenance)
>>> figure = draw("accept_gain", site, reference)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from retrospective.analysis.figures import accept, machine
from retrospective.analysis.figures.style import STYLE, NothingToDraw, Site

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "STYLE", "NothingToDraw", "Site", "draw", "show"]

#: name -> function(site, reference), in the order of the retrospective.
FIGURES: dict[str, Callable[..., Figure]] = {
    "machine_aa": machine.aa,
    "machine_who_pays": machine.who_pays,
    "machine_ceilings": machine.ceilings,
    "machine_timers": machine.timers,
    "accept_one_packet": partial(accept.replies, workload="one-packet"),
    "accept_specweb": partial(accept.replies, workload="specweb99-like"),
    "accept_gain": accept.gain,
    "accept_drops_one_packet": partial(accept.drops, workload="one-packet"),
    "accept_drops_specweb": partial(accept.drops, workload="specweb99-like"),
    "accept_drop_causes": accept.drop_causes,
    "accept_getevents": accept.getevents,
    "accept_eq1": accept.eq1,
    "accept_latency": accept.latency,
    "accept_peers": accept.peers,
}


def draw(name: str, site: Site, reference: Site | None = None) -> Figure:
    """Draw a figure by name (``NothingToDraw`` if its trials are missing, ``ValueError`` if unknown)."""
    if name not in FIGURES:
        raise ValueError(f"no figure {name!r}: there are {', '.join(FIGURES)}")
    return FIGURES[name](site, reference=reference)


def show(name: str, site: Site, reference: Site | None = None) -> Figure | str:
    """Draw a figure for a notebook; where its trials are missing, the value is the reason, in words."""
    try:
        return draw(name, site, reference)
    except NothingToDraw as nothing:
        return f"figure {name} is left out: {nothing}"
