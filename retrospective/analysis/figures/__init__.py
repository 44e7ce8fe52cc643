"""Every figure by its name, drawn from one machine's trials with or without the reference machine's.

>>> site = Site("this machine", frame, provenance)
>>> figure = draw("accept_gain", site, reference)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from retrospective.analysis import published
from retrospective.analysis.figures import (
    causes,
    latency,
    lazy_cost,
    lazy_matrix,
    lazy_paths,
    lazy_stall,
    lazy_surface,
    lazy_throughput,
    loop,
    machine,
    overload,
    peers,
    sensitivity,
    timers_drivers,
    timers_model,
    timers_operations,
    timers_prices,
    timers_wall,
    today,
    userstack_bulk,
    userstack_cpu,
    userstack_goodput,
    userstack_incast,
)
from retrospective.analysis.figures.style import STYLE, NothingToDraw, Site

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "STYLE", "NothingToDraw", "Site", "draw", "show"]


def _by_limit() -> Iterator[tuple[str, Callable[..., Figure]]]:
    """Replies and drops by accept-limit: the µserver's figures have the bare names, as they came first."""
    for kind in published.KINDS:
        for what, function in (("", overload.replies), ("drops_", overload.drops)):
            for workload, name in (("one-packet", "one_packet"), ("specweb99-like", "specweb")):
                prefix = "accept" if kind == "userver" else f"accept_{kind}"
                yield f"{prefix}_{what}{name}", partial(function, workload=workload, kind=kind)


#: name -> function(site, reference), in the order of the retrospective.
FIGURES: dict[str, Callable[..., Figure]] = {
    "machine_aa": machine.aa,
    "machine_who_pays": machine.who_pays,
    "machine_ceilings": machine.ceilings,
    "machine_timers": machine.timers,
    **dict(_by_limit()),
    "accept_best": overload.best,
    "accept_gain": overload.gain,
    "accept_drop_causes": causes.drop_causes,
    "accept_getevents": loop.getevents,
    "accept_eq1": loop.eq1,
    "accept_latency": latency.latency,
    "accept_backlog": sensitivity.backlog,
    "accept_timeout": sensitivity.timeout,
    "accept_work": sensitivity.work,
    "accept_concurrency": today.concurrency,
    "accept_fairness": today.fairness,
    "accept_peers": peers.peers,
    "lazy_cost": lazy_cost.cost,
    "lazy_calls": lazy_cost.calls,
    "lazy_matrix": lazy_matrix.held,
    "lazy_upcall": lazy_paths.upcall,
    "lazy_paths": lazy_paths.paths,
    "lazy_surface": lazy_surface.surface,
    "lazy_cpu": lazy_cost.cpu,
    "lazy_throughput": lazy_throughput.throughput,
    "lazy_response": lazy_throughput.response,
    "lazy_hot": lazy_throughput.hot,
    "lazy_stall": lazy_stall.stall,
    "lazy_resources": lazy_stall.resources,
    "lazy_fits": lazy_stall.fits,
    "timers_operations": timers_operations.operations,
    "timers_prices": timers_prices.prices,
    "timers_wall": timers_wall.wall,
    "timers_lateness": timers_wall.lateness,
    "timers_shoot_out": timers_drivers.shoot_out,
    "timers_soft": timers_drivers.soft,
    "timers_domain": timers_drivers.domain,
    "timers_model": timers_model.model,
    "userstack_bulk": userstack_bulk.bulk,
    "userstack_rtt": userstack_bulk.rtt,
    "userstack_connections": userstack_bulk.connections,
    "userstack_replies": userstack_cpu.replies,
    "userstack_where": userstack_cpu.where,
    "userstack_goodput": userstack_goodput.goodput,
    "userstack_incast": userstack_incast.incast,
    "userstack_incast_live": userstack_incast.live,
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
