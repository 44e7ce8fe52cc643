"""Figures of the accept() chapter: the counterparts of 2004's, and what lies behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from retrospective.analysis import published, rows
from retrospective.analysis.evidence import SATURATED, Evidence
from retrospective.analysis.figures.style import (
    BLACK,
    CHARGE_STYLE,
    DESIGN_COLOUR,
    GREY,
    LIMIT_STYLE,
    ORANGE,
    PALE,
    PURPLE,
    SKY,
    WORKLOAD_NAMES,
    NothingToDraw,
    Site,
    by_x,
    corner_note,
    families,
    floor_band,
    key,
    limit_entries,
    line,
    log_ticks,
    panels,
    styled,
    unit_note,
)
from retrospective.analysis.formatting import fmt_limit
from retrospective.analysis.statistics import aa_floor, mean_interval, ratio_interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OFFERED = "offered ÷ own peak"


def _grid(
    site: Site, workload: str, reference: Site | None
) -> tuple[Figure, dict[tuple[str, str], Axes], list[Axes]]:
    """Panels by design and charge with 2004 at the end of the first row; also the cells left over."""
    found = families(site, workload, reference)
    if not found:
        raise NothingToDraw(f"no valid {WORKLOAD_NAMES[workload]} trials")
    designs = list(dict.fromkeys(design for design, _ in found))
    charges = [charge for charge in rows.CHARGES if any(charge == c for _, c in found)]
    figure, axes = panels(len(designs), len(charges) + 1, height=2.25, sharex=False, sharey=True)
    placed = {}
    spare = []
    for i, design in enumerate(designs):
        for j, charge in enumerate(charges):
            if (design, charge) in found:
                placed[design, charge] = axes[i, j]
                axes[i, j].set_title(f"{design}, {charge} pays")
            else:
                spare.append(axes[i, j])
    placed["2004", ""] = axes[0, -1]
    spare += [axes[i, -1] for i in range(1, len(designs))]
    for cell in spare:
        cell.axis("off")
    for cell in placed.values():
        cell.tick_params(labelleft=True, labelbottom=True)
    return figure, placed, spare


def _curves(
    site: Site,
    workload: str,
    reference: Site | None,
    *,
    column: str,
    table: pd.DataFrame,
    ylabel: str,
    offered: bool,
) -> Figure:
    """``column`` over offered load, both as ratios to the own peak; 2004's curves beside ours."""
    figure, placed, spare = _grid(site, workload, reference)
    old = published.overload(workload)
    corner = (0.97, 0.05) if offered else (0.03, 0.97)
    furthest, highest = old.last_x, 1.0 if offered else 0.0
    for (design, charge), cell in placed.items():
        cell.set_xlabel(OFFERED)
        if design == "2004":
            number = published.FIGURES[workload][0 if offered else 1]
            cell.set_title(f"2004: µserver (Fig. {number})")
            scaled = old.scaled(table)
            for limit in old.kind.limits[workload]:
                cell.plot(scaled.index, scaled[limit], **LIMIT_STYLE[limit] | {"markersize": 2.6})
            highest = max(highest, float(scaled.to_numpy().max()))
            unit_note(cell, old.peak, corner)
            continue
        for source in (reference, site):
            trials = rows.overload(source.frame, workload, design, charge) if source else None
            if trials is None or trials.empty:
                if source is site:
                    corner_note(cell, "not measured here", corner)
                continue
            top = rows.peak(trials)
            for limit, x, y in by_x(trials, column, top):
                line(cell, x, y, faint=source is reference, **LIMIT_STYLE[limit])
                furthest, highest = max(furthest, x.max()), max(highest, np.nanmax(y[:, 0]))
            if source is site:
                unit_note(cell, top, corner)
    for cell in placed.values():
        if offered:
            cell.plot([0, 3], [0, 3], color=GREY, linestyle=(0, (1, 2)), linewidth=1, zorder=1)
        cell.set_xlim(0, 1.06 * furthest)
        cell.set_ylim(0, 1.12 * highest)
        if cell.get_subplotspec().is_first_col():
            cell.set_ylabel(ylabel)
    key(figure, spare[-1] if spare else None, limit_entries(reference, offered=offered))
    return figure


@styled
def replies(site: Site, workload: str, reference: Site | None = None) -> Figure:
    """Draw throughput under overload by accept-limit: figures 8 (one-packet) and 2 (SPECweb99)."""
    table = published.overload(workload).replies
    return _curves(
        site,
        workload,
        reference,
        column="replies_per_s",
        table=table,
        ylabel="replies ÷ own peak",
        offered=True,
    )


@styled
def drops(site: Site, workload: str, reference: Site | None = None) -> Figure:
    """Draw what the queues refused: the counterpart of figures 9 (one-packet) and 3 (SPECweb99)."""
    table = published.overload(workload).drops
    label = "queue drops/s ÷ peak replies/s"
    return _curves(
        site, workload, reference, column="queue_drops_per_s", table=table, ylabel=label, offered=False
    )


@styled
def getevents(site: Site, reference: Site | None = None, workload: str = "one-packet") -> Figure:
    """Draw getevents calls per second and connections per work phase: how each limit spends its turns."""
    found = families(site, workload) or families(site, workload, reference)
    if not found:
        raise NothingToDraw(f"no valid {WORKLOAD_NAMES[workload]} trials")
    figure, axes = panels(2, len(found), height=1.95, sharex=True, sharey="row")
    old = {0: published.SELECTS_PER_S, 1: published.WORK_ITEMS_PER_PHASE}
    at_24k = 24_000 / published.overload("one-packet").peak
    for j, (design, charge) in enumerate(found):
        for i, column in enumerate(("getevents_per_s", "work_items_per_phase")):
            cell = axes[i, j]
            for source in (reference, site):
                if source is not None:
                    trials = rows.overload(source.frame, workload, design, charge)
                    for limit, x, y in by_x(trials, column):
                        line(cell, x, y, faint=source is reference, **LIMIT_STYLE[limit])
            if design == "select" and workload == "one-packet":
                for limit, value in old[i].items():
                    cell.plot(
                        at_24k, value, marker="*", markersize=9, color=LIMIT_STYLE[limit]["color"],
                        markeredgecolor=BLACK, markeredgewidth=0.6, linestyle="none", zorder=4,
                    )  # fmt: skip
            cell.set_yscale("log")
            log_ticks(cell.yaxis)
        axes[0, j].set_title(f"{design}, {charge} pays")
        axes[1, j].set_xlabel(OFFERED)
    axes[0, 0].set_ylabel("getevents calls/s")
    axes[1, 0].set_ylabel("connections per work phase")
    star = ({"color": "white", "marker": "*", "markersize": 9, "markeredgecolor": BLACK, "linestyle": "none"},
            "2004, at 24,000 requests/s")  # fmt: skip
    key(figure, None, [*limit_entries(reference), star])
    return figure


#: Stack of causes: (name, columns added up, colour, hatch).
CAUSES = (
    ("accept queue full (ListenOverflows)", "drop_overflow_per_s", ORANGE, ""),
    ("SYN queue full (TCPReqQFullDrop)", "drop_syn_per_s", SKY, "///"),
    ("other refusals of the listener", "drop_other_per_s", GREY, "..."),
    ("softnet backlog full", "drop_softnet_per_s", PURPLE, "xxx"),
)


@styled
def drop_causes(site: Site, reference: Site | None = None) -> Figure:
    """Draw drops by cause at the deepest overload, each limit a bar."""
    del reference  # rates of two machines do not stack; the relative figures compare them
    groups = {w: found for w in rows.WORKLOADS if (found := families(site, w))}
    if not groups:
        raise NothingToDraw("no valid overload trials")
    columns = list(dict.fromkeys(f for found in groups.values() for f in found))
    figure, axes = panels(len(groups), len(columns), height=1.95, sharey="row")
    for i, (workload, found) in enumerate(groups.items()):
        for j, (design, charge) in enumerate(columns):
            cell = axes[i, j]
            if (design, charge) not in found:
                cell.axis("off")
                continue
            _cause_bars(cell, rows.overload(site.frame, workload, design, charge))
            cell.set_title(f"{design}, {charge} pays")
        axes[i, 0].set_ylabel(f"{WORKLOAD_NAMES[workload]}\ndrops, thousands/s")
    key(
        figure,
        None,
        [({"facecolor": c, "hatch": h, "edgecolor": "white"}, name) for name, _, c, h in CAUSES],
        ncols=2,
    )
    return figure


def _cause_bars(cell: Axes, trials: pd.DataFrame) -> None:
    deepest = trials[trials["x_ratio"] == trials["x_ratio"].max()]
    named = deepest["drop_overflow_per_s"] + deepest["drop_syn_per_s"]
    deepest = deepest.assign(drop_other_per_s=(deepest["queue_drops_per_s"] - named).clip(lower=0))
    means = deepest.groupby("accept_limit")[[column for _, column, _, _ in CAUSES]].mean() / 1e3
    present = [limit for limit in rows.LIMITS if limit in means.index]
    bottom = np.zeros(len(present))
    for _, column, colour, hatch in CAUSES:
        height = means.loc[present, column].fillna(0).to_numpy()
        cell.bar(present, height, 0.66, bottom, color=colour, hatch=hatch, edgecolor="white", linewidth=0.4)
        bottom += height
    cell.set_xticks(range(len(present)), [fmt_limit(limit) for limit in present])
    cell.grid(axis="x", visible=False)
    cell.set_xlabel(f"accept-limit, at x = {deepest['x_ratio'].iloc[0]:g}")


@styled
def eq1(site: Site, reference: Site | None = None, workload: str = "one-packet") -> Figure:
    """Eq. 1 put to the test: accept rates from measured costs, and the gain it predicts."""
    found = families(site, workload)
    if not found:
        raise NothingToDraw(f"no valid {WORKLOAD_NAMES[workload]} trials")
    figure, ((rates, gains),) = panels(1, 2, height=2.9)
    top = 0.0
    for design, charge in found:
        trials = Evidence(site.frame, design, charge).trials(workload)
        trials = trials[trials["x_ratio"] >= SATURATED]
        for limit in rows.LIMITS:
            series = trials[trials["accept_limit"] == limit]
            x, y = series["eq1_accepts_per_s"] / 1e3, series["accepts_per_s"] / 1e3
            style = LIMIT_STYLE[limit]
            face = style["color"] if charge == "receiver" else "none"
            rates.plot(x, y, linestyle="none", marker=style["marker"], color=style["color"], markersize=3.2,
                       markerfacecolor=face, markeredgewidth=0.7, alpha=0.75)  # fmt: skip
            top = max(top, float(np.nanmax([x.max(), y.max()])) if len(series) else 0.0)
    rates.plot([0, 1.06 * top], [0, 1.06 * top], color=GREY, linestyle=(0, (1, 2)), linewidth=1, zorder=1)
    rates.set(xlim=(0, 1.06 * top), ylim=(0, 1.06 * top))
    rates.set_xlabel("Eq. 1 with measured costs, thousand accepts/s")
    rates.set_ylabel("measured, thousand accepts/s")
    rates.set_title("Accept rate")
    _eq1_gains(gains, site, workload, found)
    entries = [
        ({**LIMIT_STYLE[limit], "linestyle": "none"}, f"limit {fmt_limit(limit)}") for limit in rows.LIMITS
    ]
    entries += [
        ({"color": BLACK, "marker": "o", "linestyle": "none"}, "receiver pays"),
        ({"color": BLACK, "marker": "o", "markerfacecolor": "none", "linestyle": "none"}, "sender pays"),
    ]
    entries += [
        ({"color": DESIGN_COLOUR.get(d, GREY), "marker": "D", "linestyle": "none"}, d) for d in dict(found)
    ]
    entries.append(({"color": GREY, "linestyle": (0, (1, 2)), "linewidth": 1}, "as Eq. 1 says"))
    key(figure, None, entries, ncols=4)
    return figure


def _eq1_gains(cell: Axes, site: Site, workload: str, found: list[tuple[str, str]]) -> None:
    ends = [1.0]
    for design, charge in found:
        evidence = Evidence(site.frame, design, charge)
        measured = evidence.ratios(workload, "accepts_per_s", "inf", "1")
        predicted = evidence.predicted_gain(workload)
        for x in measured.columns.intersection(predicted.columns):
            if float(x) < SATURATED:
                continue
            across, up = ratio_interval(predicted[x]), ratio_interval(measured[x])
            if across.n == 0 or up.n == 0:
                continue
            colour = DESIGN_COLOUR.get(design, GREY)
            if across.decided and up.decided:
                cell.errorbar(
                    across.value, up.value, color=colour, linewidth=0.8,
                    xerr=[[across.value - across.low], [across.high - across.value]],
                    yerr=[[up.value - up.low], [up.high - up.value]],
                )  # fmt: skip
            face = colour if charge == "receiver" else "white"
            cell.plot(across.value, up.value, marker="D", color=colour, markerfacecolor=face, zorder=4)
            ends += [across.value, up.value]
    low, high = min(ends) - 0.05, max(ends) + 0.1
    cell.plot([low, high], [low, high], color=GREY, linestyle=(0, (1, 2)), linewidth=1, zorder=1)
    cell.set(xlim=(low, high), ylim=(low, high))
    cell.set_xlabel("predicted if only getevents' share differs")
    cell.set_ylabel("measured")
    cell.set_title("Gain in accept rate, Inf over 1")


@styled
def gain(site: Site, reference: Site | None = None) -> Figure:
    """Draw what Inf gains over limit 1 in replies/s, with the detection floor and 2004's gain."""
    groups = {w: found for w in rows.WORKLOADS if (found := families(site, w, reference))}
    if not groups:
        raise NothingToDraw("no valid overload trials")
    floor = aa_floor(site.frame)
    figure, axes = panels(1, len(groups), height=2.7, sharey=True)
    shown: dict[tuple[str, str], None] = {}
    for cell, (workload, found) in zip(axes[0], groups.items(), strict=True):
        floor_band(cell, floor)
        old = published.overload(workload).gain()
        cell.plot(old.index, old, color=BLACK, linewidth=1, marker="x", markersize=3.5, zorder=2)
        for design, charge in found:
            for source in (reference, site):
                if source is None:
                    continue
                table = Evidence(source.frame, design, charge).ratios(workload, "replies_per_s", "inf", "1")
                if not table.shape[1]:
                    continue
                effects = [ratio_interval(table[x]) for x in table.columns]
                y = np.array([(e.value, e.low, e.high) for e in effects])
                style = {
                    "color": DESIGN_COLOUR.get(design, GREY),
                    "linestyle": CHARGE_STYLE[charge],
                    "marker": "o",
                }
                line(cell, np.array(table.columns, dtype=float), y, faint=source is reference, **style)
                shown[design, charge] = None
        cell.set_title(WORKLOAD_NAMES[workload])
        cell.set_xlabel(OFFERED)
        cell.set_yscale("log")
        cell.set_yticks([0.8, 0.9, 1, 1.1, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5])
        cell.yaxis.set_major_formatter(lambda v, _: f"{v:g}")
        cell.yaxis.set_minor_formatter(lambda *_: "")
    axes[0, 0].set_ylabel("replies/s, Inf ÷ limit 1")
    _clip_ratio(axes[0, 0])
    entries = [
        ({"color": DESIGN_COLOUR.get(d, GREY), "linestyle": CHARGE_STYLE[c], "marker": "o"}, f"{d}, {c} pays")
        for d, c in shown
    ]
    entries.append(({"color": BLACK, "linewidth": 1, "marker": "x", "markersize": 3.5}, "µserver, 2004"))
    if floor.measured:
        entries.append(({"facecolor": PALE}, f"detection floor, ±{(floor.factor - 1) * 100:.1f} %"))
    entries.append(({"facecolor": DESIGN_COLOUR["select"], "alpha": 0.2}, "95 % interval"))
    if reference is not None:
        entries.append(({"color": GREY, "linewidth": 0.9}, f"thin: {reference.name}"))
    key(figure, None, entries, ncols=4)
    return figure


def _clip_ratio(cell: Axes) -> None:
    """Keep intervals of a few rounds, which may span decades, from flattening everything else."""
    low, high = cell.get_ylim()
    cell.set_ylim(max(low, 0.7), min(high, 2.6))


@styled
def latency(
    site: Site, reference: Site | None = None, design: str = "select", charge: str = "receiver"
) -> Figure:
    """Mean response time by both definitions, beside Fig. 17 of 2004."""
    groups = {
        workload: trials
        for workload in rows.WORKLOADS
        if len(trials := rows.overload(site.frame, workload, design, charge))
    }
    if not groups:
        raise NothingToDraw(f"no valid overload trials of {design}, {charge} pays")
    definitions = (
        ("httperf_mean_us", "served only (httperf)"),
        ("latency_mean_us", "from the intended time"),
    )
    figure, axes = panels(len(groups), 3, height=2.05, sharey="row")
    for i, (workload, trials) in enumerate(groups.items()):
        for j, (column, title) in enumerate(definitions):
            cell = axes[i, j]
            for source in (reference, site):
                if source is None:
                    continue
                shown = trials if source is site else rows.overload(source.frame, workload, design, charge)
                for limit, x, y in by_x(shown, column, 1e3):
                    line(cell, x, y, faint=source is reference, **LIMIT_STYLE[limit])
            cell.set_title(title)
        axes[i, 0].set_ylabel(f"{WORKLOAD_NAMES[workload]}\nmean response time, ms")
        last = axes[i, 2]
        if workload == "specweb99-like":
            times = published.curves(published.LATENCY_FIGURE)
            x = times.index / published.overload(workload).peak
            for limit in ("1", "inf"):
                last.plot(x, times[limit], **LIMIT_STYLE[limit] | {"markersize": 2.6})
            last.set_title("2004 (Fig. 17)")
            last.set_xlabel(OFFERED)
        for cell in axes[i]:
            cell.set_yscale("log")
            log_ticks(cell.yaxis)
            cell.set_xlabel(OFFERED)
        if workload != "specweb99-like":
            key(figure, last, limit_entries(reference))
    if "one-packet" not in groups:
        key(figure, None, limit_entries(reference))
    return figure


@styled
def peers(site: Site, reference: Site | None = None) -> Figure:
    """CPU time per reply on 64 persistent connections: ours, the floor, and servers of today."""
    trials = rows.valid(site.frame, experiment="peers")
    if trials.empty:
        raise NothingToDraw("no valid trials beside peers")
    costs = {label: found["server_cpu_us_per_reply"] for label, found in trials.groupby("label")}
    order = sorted(costs, key=lambda label: float(costs[label].mean()), reverse=True)
    figure, ((cell,),) = panels(1, 1, height=0.3 * len(order) + 0.9)
    recorded = rows.valid(reference.frame, experiment="peers") if reference is not None else trials.iloc[:0]
    for y, label in enumerate(order):
        mean, low, high = mean_interval(costs[label])
        cell.barh(y, mean, 0.62, color=DESIGN_COLOUR.get(label.split(",")[0], GREY))
        if np.isfinite(low):
            cell.errorbar(mean, y, xerr=[[mean - low], [high - mean]], color=BLACK, capsize=2.5, linewidth=1)
        theirs = recorded.loc[recorded["label"] == label, "server_cpu_us_per_reply"].mean()
        if np.isfinite(theirs):
            cell.plot(theirs, y, marker="D", color="white", markeredgecolor=BLACK, zorder=5)
        end = np.nanmax([mean, high, theirs])
        cell.annotate(
            f"{mean:.1f}", (end, y), xytext=(5, 0), textcoords="offset points", va="center", fontsize=7.5
        )
    if len(recorded):
        diamond = {"color": "white", "marker": "D", "markeredgecolor": BLACK, "linestyle": "none"}
        key(figure, None, [(diamond, reference.name if reference else "")])
    cell.set_yticks(range(len(order)), order)
    cell.grid(axis="y", visible=False)
    cell.set_xlabel(
        "server CPU time per reply, µs (1 KiB from cache, 64 persistent connections; 95 % interval)"
    )
    return figure
