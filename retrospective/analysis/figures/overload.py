"""Overload: replies and drops by accept-limit, what a limit gains, and the kinds of server beside each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from retrospective.analysis import published, rows
from retrospective.analysis.evidence import Evidence
from retrospective.analysis.figures.style import (
    BLACK,
    CHARGE_STYLE,
    DIAGONAL,
    WORKLOAD_NAMES,
    Entry,
    NothingToDraw,
    Site,
    by_x,
    common_entries,
    corner_note,
    design_style,
    families,
    floor_band,
    floor_entry,
    key,
    limit_entries,
    limit_style,
    limits_in,
    line,
    panels,
    ratio_axis,
    styled,
    unit_note,
)
from retrospective.analysis.formatting import fmt_limit
from retrospective.analysis.statistics import effect_floor, ratio_interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OFFERED = "offered ÷ own peak"

Family = tuple[str, str]  # design, who pays for packets


def of_kind(kind: str, site: Site, workload: str, reference: Site | None = None) -> list[Family]:
    """Families of curves of one kind of server, measured here or on the reference machine."""
    return [family for family in families(site, workload, reference) if published.kind_of(family[0]) == kind]


#: The design nearest to each server of 2004, which speaks for its kind where there is room for one.
NEAREST = {"userver": "select", "tux": "drain-uring", "knot": "user-threads"}


def first_of(kind: str, found: list[Family]) -> Family | None:
    """Family that stands for a kind where there is room for one: the nearest to 2004's server that was measured."""
    nearest = {"userver": "select", "tux": "drain-uring", "knot": "user-threads"}[kind]
    mine = [family for family in found if published.kind_of(family[0]) == kind]
    return min(mine, key=lambda f: (f[0] != nearest, f[1] != "receiver"), default=None)


@dataclass(frozen=True)
class Panel:
    """What one panel shows: curves of one family, or, as points, families that were measured at one load."""

    families: tuple[Family, ...]
    curves: bool

    @property
    def title(self) -> str:
        """Whose trials these are."""
        if self.curves:
            return "{}, {} pays".format(*self.families[0])
        charges = {charge for _, charge in self.families}
        return "one load" + (f", {charges.pop()} pays" if len(charges) == 1 else "")


def arrange(found: list[Family], sources: list[Site], workload: str) -> list[Panel]:
    """Give every family a panel of its own; those measured at one load share one."""

    def loads(family: Family) -> int:
        return max(rows.overload(source.frame, workload, *family)["x_ratio"].nunique() for source in sources)

    points = tuple(family for family in found if loads(family) == 1)
    curves = [Panel((family,), curves=True) for family in found if family not in points]
    return [*curves, Panel(points, curves=False)] if points else curves


def draw_panel(
    cell: Axes,
    panel: Panel,
    site: Site,
    reference: Site | None,
    workload: str,
    column: str,
    *,
    relative: bool,
) -> tuple[float, float]:
    """Draw ``column`` by limit, ``relative`` to the own peak or as it is; return the furthest x, the highest y."""
    furthest = highest = 0.0
    places = []
    mixed = len({charge for _, charge in panel.families}) > 1
    for place, (design, charge) in enumerate(panel.families):
        for source in (reference, site):
            trials = rows.overload(source.frame, workload, design, charge) if source else ()
            if not len(trials):
                continue
            limits = limits_in(trials)
            for limit, loads, y in by_x(trials, column, rows.peak(trials) if relative else 1.0):
                x = loads
                style = limit_style(limit)
                if panel.curves:
                    furthest = max(furthest, x.max())
                else:
                    x = np.full(len(y), place + 0.2 * (limits.index(limit) - (len(limits) - 1) / 2))
                    style = style | {"linestyle": "none"}
                line(cell, x, y, faint=source is reference, **style)
                highest = max(highest, np.nanmax(y[:, 0], initial=0.0))
        load = f"x = {trials['x_ratio'].iloc[0]:g}" if len(trials) else "not here"
        places.append(f"{design}\n{load}" + ("\nsender" if charge == "sender" and mixed else ""))
    if not panel.curves:
        cell.set_xlim(-0.6, len(places) - 0.4)
        cell.set_xticks(range(len(places)), places, fontsize=7)
        cell.grid(axis="x", visible=False)
    return furthest, highest


def _curves(
    site: Site, reference: Site | None, workload: str, kind: str, *, column: str, ylabel: str, offered: bool
) -> Figure:
    """``column`` over offered load, both as ratios to the own peak, a panel a design; 2004's curves beside ours."""
    found = of_kind(kind, site, workload, reference)
    name = published.KINDS[kind].name
    if not found:
        raise NothingToDraw(f"no valid {WORKLOAD_NAMES[workload]} trials of a server like {name}")
    arranged = arrange(found, [source for source in (site, reference) if source], workload)
    old = published.overload(workload, kind)
    figure, cells, spare = _flow(len(arranged))
    corner = (0.97, 0.05) if offered else (0.03, 0.97)
    highest = max(_draw_2004(cells[0], old, offered), 1.0 if offered else 0.0)
    furthest = old.last_x
    cells[0].set_title(f"2004: {name} (Fig. {published.KINDS[kind].figures[workload][not offered]})")
    unit_note(cells[0], old.peak, corner)
    for cell, panel in zip(cells[1:], arranged, strict=True):
        far, high = draw_panel(cell, panel, site, reference, workload, column, relative=True)
        furthest, highest = max(furthest, far), max(highest, high)
        cell.set_title(panel.title)
        if panel.curves:
            trials = rows.overload(site.frame, workload, *panel.families[0])
            unit_note(cell, rows.peak(trials), corner)
            if trials.empty:
                corner_note(cell, "not measured here", corner)
    for cell, panel in zip(cells, [None, *arranged], strict=True):
        cell.set_ylim(0, 1.12 * highest)
        if cell.get_subplotspec().is_first_col():
            cell.set_ylabel(ylabel)
        if panel is None or panel.curves:
            cell.set_xlim(0, 1.06 * furthest)
            cell.set_xlabel(OFFERED)
            if offered:
                cell.plot([0, 3], [0, 3], **DIAGONAL, zorder=1)
    limits = {*old.replies.columns}.union(*(limits_in(_of(site, workload, family)) for family in found))
    entries = limit_entries([*limits]) + ([(DIAGONAL, "all offered served")] if offered else [])
    key(figure, spare, entries + common_entries(reference))
    return figure


def _of(site: Site, workload: str, family: Family) -> pd.DataFrame:
    return rows.overload(site.frame, workload, *family)


def _draw_2004(cell: Axes, old: published.Overload, offered: bool) -> float:
    """Draw the published curves of a kind and return their highest point."""
    scaled = old.scaled(old.replies if offered else old.drops)
    for limit in sorted(scaled.columns, key=float):
        curve = scaled[limit].dropna()
        cell.plot(curve.index, curve, **limit_style(limit) | {"markersize": 2.6})
    return float(np.nanmax(scaled.to_numpy()))


def _flow(count: int) -> tuple[Figure, list[Axes], Axes | None]:
    """Return panels in reading order, first that of 2004 at the end of the first row, and a cell left for the key."""
    total = count + 1
    columns = total if total <= 3 else 2 if total == 4 else 3
    figure, axes = panels(-(-total // columns), columns, height=2.05)
    cells = list(axes.flat)
    spare = cells[total:]
    for cell in spare:
        cell.axis("off")
    old = cells.pop(columns - 1)
    return figure, [old, *cells[:count]], spare[-1] if spare else None


@styled
def replies(site: Site, workload: str, kind: str = "userver", reference: Site | None = None) -> Figure:
    """Draw throughput under overload by accept-limit: 2004's figures 8, 10, 12 (one-packet) and 2, 6, 4."""
    return _curves(
        site, reference, workload, kind, column="replies_per_s", ylabel="replies ÷ own peak", offered=True
    )


@styled
def drops(site: Site, workload: str, kind: str = "userver", reference: Site | None = None) -> Figure:
    """Draw what the queues refused: the counterparts of figures 9, 11, 13 (one-packet) and 3, 7, 5."""
    label = "queue drops ÷ own peak"
    return _curves(site, reference, workload, kind, column="queue_drops_per_s", ylabel=label, offered=False)


#: Limits whose ratio speaks for a kind: its best or highest one over the lowest.
OVER, UNDER = {"userver": "inf", "tux": "inf", "knot": "50"}, "1"


@styled
def gain(site: Site, reference: Site | None = None) -> Figure:
    """Draw what a high limit gains over limit 1 in replies/s, by kind, with the floor and 2004's gain."""
    groups = {
        (workload, kind): found
        for workload in rows.WORKLOADS
        for kind in published.KINDS
        if (found := of_kind(kind, site, workload, reference))
    }
    if not groups:
        raise NothingToDraw("no valid overload trials")
    workloads = [w for w in rows.WORKLOADS if any(w == workload for workload, _ in groups)]
    kinds = [k for k in published.KINDS if any(k == kind for _, kind in groups)]
    one_kind = len(kinds) == 1
    shape = (1, len(workloads)) if one_kind else (len(workloads), len(kinds))
    figure, axes = panels(*shape, height=2.7 if one_kind else 2.3, sharey=True)
    floor = effect_floor(site.frame)
    shown: dict[Family, None] = {}
    for (workload, kind), found in groups.items():
        row, column = workloads.index(workload), kinds.index(kind)
        cell = axes[0, row] if one_kind else axes[row, column]
        floor_band(cell, floor)
        over = OVER[kind]
        old = published.overload(workload, kind).gain(over, UNDER)
        cell.plot(old.index, old, color=BLACK, linewidth=1, marker="x", markersize=3.5, zorder=2)
        for nudge, (design, charge) in enumerate(found):
            for source in (reference, site):
                if source is None:
                    continue
                table = Evidence(source.frame, design, charge).ratios(workload, "replies_per_s", over, UNDER)
                if not table.shape[1]:
                    continue
                x = np.array(table.columns, dtype=float)
                x = x + 0.03 * nudge if len(x) == 1 else x  # points at one load would hide each other
                style = design_style(design) | {
                    "linestyle": CHARGE_STYLE[charge],
                    "hollow": charge == "sender",
                }
                line(cell, x, effects(table), faint=source is reference, **style)
                shown[design, charge] = None
        cell.set_title(WORKLOAD_NAMES[workload] if one_kind else f"like {published.KINDS[kind].name}")
        cell.set_xlabel(OFFERED)
        what = f"replies/s, {fmt_limit(over)} ÷ {UNDER}"
        if one_kind and row == 0:
            cell.set_ylabel(what)
        elif not one_kind:
            cell.set_ylabel(what if column else f"{WORKLOAD_NAMES[workload]}\n{what}")
    for cell in axes.flat:
        if not cell.get_title(loc="left"):
            cell.axis("off")
    ratio_axis(axes[0, 0])
    entries = [(design_style(design), design) for design in dict.fromkeys(design for design, _ in shown)]
    entries.append(({"color": BLACK, "linewidth": 1, "marker": "x", "markersize": 3.5}, "2004"))
    entries += floor_entry(floor)
    entries += common_entries(reference, hollow=any(charge == "sender" for _, charge in shown))
    key(figure, None, entries)
    return figure


def effects(table: pd.DataFrame) -> np.ndarray:
    """Geometric mean and 95 % interval of ratios paired in rounds: a row a column of ``table``."""
    found = [ratio_interval(table[place]) for place in table.columns]
    return np.array([(e.value, e.low, e.high) for e in found]).reshape(-1, 3)


def bare(values: pd.Series) -> np.ndarray:
    """Published values as :func:`line` takes them: 2004 gave no intervals."""
    return np.column_stack([values, np.full((len(values), 2), np.nan)])


# ------------------------------------------------------------------------------- kinds beside each other


def side_style(design: str, limit: str) -> dict[str, Any]:
    """Style where kinds are compared: the design's colour, the limit's marker, hollow and dashed for limit 1."""
    low = limit == UNDER
    look = limit_style(limit)
    return {
        "color": design_style(design)["color"],
        "marker": look["marker"],
        "linestyle": "dashed" if low else "solid",
        "hollow": low,
    }


def side_entries(kinds: dict[str, str], limits: dict[str, tuple[str, ...]]) -> list[Entry]:
    """Legend entries of kinds beside each other: kind -> design (the nearest, if none was measured) and limits."""
    entries = []
    for kind, design in kinds.items():
        name = published.KINDS[kind].name
        for limit in limits[kind]:
            style = side_style(design, limit)
            if style.pop("hollow"):
                style["markerfacecolor"] = "white"
            entries.append((style, f"{design} ({name}), {fmt_limit(limit)}"))
    return entries


@styled
def best(site: Site, reference: Site | None = None) -> Figure:
    """Draw the kinds of server at limit 1 and at their best, on one scale: the counterpart of figures 14 and 15.

    Both axes are multiples of one server's peak (*select*; in 2004 the µserver's), so that heights can be compared
    between servers, which ratios to each one's own peak would hide.
    """
    measured = [
        family
        for workload in rows.WORKLOADS
        for family in families(site, workload)
        if family[1] == "receiver"
    ]
    speakers = {kind: first for kind in published.KINDS if (first := first_of(kind, measured))}
    workloads = [
        workload
        for workload in rows.WORKLOADS
        if "userver" in speakers and len(rows.overload(site.frame, workload, *speakers["userver"]))
    ]
    if not workloads:
        raise NothingToDraw("no valid overload trials of an event-driven server, receiver pays")
    designs = {kind: speakers[kind][0] if kind in speakers else NEAREST[kind] for kind in published.KINDS}
    figure, axes = panels(len(workloads), 2, height=2.4, sharey="row", sharex="row")
    for (ours, theirs), workload in zip(axes, workloads, strict=True):
        for source in (reference, site):
            if source is not None:
                _draw_best(ours, source, workload, speakers, faint=source is reference)
        _draw_best_2004(theirs, workload, designs)
        for cell, unit_of in ((ours, designs["userver"]), (theirs, published.KINDS["userver"].name)):
            cell.plot([0, 3], [0, 3], **DIAGONAL, zorder=1)
            cell.set_xlabel(f"offered ÷ peak of {unit_of}")
            cell.tick_params(labelleft=True)
        ours.set_title(f"{WORKLOAD_NAMES[workload]}: ours, receiver pays")
        ours.set_ylabel("replies ÷ the same peak")
        _fit(ours, theirs)
    limits = {kind: (UNDER, OVER[kind]) for kind in designs}
    entries = [*side_entries(designs, limits), (DIAGONAL, "all offered served"), *common_entries(reference)]
    key(figure, None, entries, ncols=3)
    return figure


def _draw_best(cell: Axes, source: Site, workload: str, speakers: dict[str, Family], *, faint: bool) -> None:
    """Draw one machine's servers over the peak of its event-driven one."""
    unit = rows.peak(rows.overload(source.frame, workload, *speakers["userver"]))
    for kind, (design, charge) in speakers.items():
        trials = rows.overload(source.frame, workload, design, charge)
        trials = trials.assign(x_ratio=trials["target_per_s"] / unit)
        for limit, x, y in by_x(
            trials[trials["accept_limit"].isin((UNDER, OVER[kind]))], "replies_per_s", unit
        ):
            line(cell, x, y, faint=faint, **side_style(design, limit))
    if not faint:
        unit_note(cell, unit, (0.97, 0.05))


def _draw_best_2004(cell: Axes, workload: str, designs: dict[str, str]) -> None:
    """Draw the three servers of 2004 over the µserver's peak."""
    unit = published.overload(workload, "userver").peak
    for kind, design in designs.items():
        replies = published.overload(workload, kind).replies
        for limit in (UNDER, OVER[kind]):
            style = side_style(design, limit) | {"markersize": 2.6}
            line(cell, replies.index.to_numpy() / unit, bare(replies[limit] / unit), **style)
    unit_note(cell, unit, (0.97, 0.05))
    numbers = published.BEST_FIGURES[workload], published.KINDS["knot"].figures[workload][0]
    cell.set_title("{}: 2004 (Figs. {}, {})".format(WORKLOAD_NAMES[workload], *numbers))


def _fit(*cells: Axes) -> None:
    """Make room for the curves, not for the diagonal behind them."""
    points = [curve.get_xydata() for cell in cells for curve in cell.lines if curve.get_zorder() > 1]
    high = np.nanmax(np.concatenate(points), axis=0)
    for cell in cells:
        cell.set(xlim=(0, 1.05 * high[0]), ylim=(0, 1.12 * high[1]))
