"""Figures of the machine chapter: what this machine can show at all."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from retrospective.analysis import rows
from retrospective.analysis.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    PURPLE,
    SKY,
    VERMILION,
    NothingToDraw,
    Site,
    key,
    log_ticks,
    panels,
    styled,
)
from retrospective.analysis.statistics import aa_floor, aa_rows, mean_interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLIENTS = {"raw": "raw client", "open": "kernel sockets"}


def _aa_percent(frame: pd.DataFrame) -> np.ndarray:
    """Ratio of every A/A pair within a round, each pair once, as per cent off 1."""
    table = aa_rows(frame).to_numpy()
    found = [table[:, a] / table[:, b] for a, b in combinations(range(table.shape[1]), 2)]
    ratios = np.concatenate(found) if found else np.array([])
    return (ratios[np.isfinite(ratios)] - 1) * 100


@styled
def aa(site: Site, reference: Site | None = None) -> Figure:
    """Ratios of a design to itself, and the floor below which no ratio of designs means anything."""
    percent = _aa_percent(site.frame)
    floor = aa_floor(site.frame)
    if not len(percent):
        raise NothingToDraw("no A/A trials")
    figure, ((cell,),) = panels(1, 1, height=2.2)
    width = (floor.factor - 1) * 100 if floor.measured else 0.0
    reach = max(np.abs(percent).max(), width, 1.0) * 1.05
    bins = np.linspace(-reach, reach, 61 if len(percent) > 500 else 25)
    entries: list[tuple[dict[str, Any], str]] = [
        ({"facecolor": SKY}, f"{site.name}: {len(percent):,} ratios")
    ]
    if floor.measured:
        cell.axvspan((1 / floor.factor - 1) * 100, width, color=PALE, linewidth=0)
        entries.append(({"facecolor": PALE}, f"detection floor, ±{width:.1f} %"))
    else:
        entries.append(({"facecolor": "none"}, "too few for a detection floor"))
    cell.hist(percent, bins, density=True, color=SKY, edgecolor="white", linewidth=0.3)
    if reference is not None and len(other := _aa_percent(reference.frame)):
        cell.hist(other, bins, density=True, histtype="step", color=BLACK, linewidth=0.9)
        theirs = aa_floor(reference.frame)
        words = (
            f"{reference.name}: floor ±{(theirs.factor - 1) * 100:.1f} %"
            if theirs.measured
            else reference.name
        )
        entries.append(({"facecolor": "none", "edgecolor": BLACK}, words))
    cell.set_xlabel("replies/s of one trial against its twin in the same round, % apart")
    cell.set_ylabel("density")
    cell.set_yticks([])
    key(figure, None, entries)
    return figure


@styled
def who_pays(site: Site, reference: Site | None = None) -> Figure:
    """Draw the same load in both charge modes: the server's CPU per reply, and where softirqs run."""
    trials = rows.valid(site.frame, experiment="who-pays")
    if trials.empty:
        raise NothingToDraw("no valid who-pays trials")
    clients = [mode for mode in CLIENTS if (trials["load_mode"] == mode).any()]
    figure, ((cost, softirq),) = panels(1, 2, height=2.5)
    colours = {"receiver": GREEN, "sender": PURPLE}
    for i, mode in enumerate(clients):
        for k, charge in enumerate(rows.CHARGES):
            found = trials[(trials["load_mode"] == mode) & (trials["charge"] == charge)]
            _bar(cost, i + (k - 0.5) * 0.36, found["server_cpu_us_per_reply"], colours[charge], 0.32)
            if reference is not None:
                theirs = rows.valid(reference.frame, experiment="who-pays", load_mode=mode, charge=charge)
                if len(theirs):
                    cost.plot(i + (k - 0.5) * 0.36, theirs["server_cpu_us_per_reply"].mean(), marker="D",
                              color="white", markeredgecolor=BLACK, zorder=5)  # fmt: skip
    cost.set_xticks(range(len(clients)), [CLIENTS[mode] for mode in clients])
    cost.set_ylabel("server CPU time per reply, µs")
    cost.set_title("What a reply costs the server")
    places = []
    for i, mode in enumerate(clients):
        for k, charge in enumerate(rows.CHARGES):
            found = trials[(trials["load_mode"] == mode) & (trials["charge"] == charge)]
            place = i * 2.4 + k
            places.append((place, f"{charge}\n{CLIENTS[mode].split()[0]}"))
            for shift, column, colour in (
                (-0.2, "cpu0_softirq_share", BLUE),
                (0.2, "cpu1_softirq_share", VERMILION),
            ):
                _bar(softirq, place + shift, found[column] * 100, colour, 0.36)
    softirq.set_xticks([p for p, _ in places], [text for _, text in places], fontsize=7)
    softirq.set_ylabel("softirq, % of a CPU")
    softirq.set_title("Where packets are received")
    for cell in (cost, softirq):
        cell.grid(axis="x", visible=False)
    entries = [({"facecolor": colours[c]}, f"left: {c} pays") for c in rows.CHARGES]
    entries += [
        ({"facecolor": BLUE}, "right: CPU 0 (server)"),
        ({"facecolor": VERMILION}, "right: CPU 1 (client)"),
    ]
    if reference is not None:
        entries.append(
            ({"color": "white", "marker": "D", "markeredgecolor": BLACK, "linestyle": "none"}, reference.name)
        )
    key(figure, None, entries, ncols=3)
    return figure


def _bar(cell: Axes, x: float, values: pd.Series, colour: str, width: float) -> None:
    mean, low, high = mean_interval(values)
    if not np.isfinite(mean):
        return
    cell.bar(x, mean, width, color=colour)
    if np.isfinite(low):
        cell.errorbar(x, mean, yerr=[[mean - low], [high - mean]], color=BLACK, capsize=2, linewidth=0.9)


@styled
def ceilings(site: Site, reference: Site | None = None) -> Figure:
    """How much each generator can offer from one CPU; crosses are rates at which it missed its schedule."""
    trials = site.frame[site.frame["experiment"] == "ceilings"] if len(site.frame) else site.frame
    trials = trials[trials["achieved_ratio"].notna()] if len(trials) else trials
    if trials.empty:
        raise NothingToDraw("no trials of the generators' ceilings")
    figure, ((cell,),) = panels(1, 1, height=2.7)
    colours = {"raw": BLUE, "open": ORANGE}
    sources = [(site, False)] + ([(reference, True)] if reference is not None else [])
    for source, faint in sources:
        found = source.frame[source.frame["experiment"] == "ceilings"]
        for mode, colour in colours.items():
            series = found[found["load_mode"] == mode]
            kept = series["valid"].astype(bool)
            for good, marker in ((True, "o"), (False, "x")):
                part = series[kept == good]
                if part.empty:
                    continue
                achieved = part["target_per_s"] * part["achieved_ratio"]
                means = achieved.groupby(part["target_per_s"]).mean()
                style = (
                    {"alpha": 0.4, "markersize": 7, "markerfacecolor": "none"} if faint else {"markersize": 5}
                )
                cell.plot(means.index, means, linestyle="none", marker=marker, color=colour, **style)
    ends = [float(trials["target_per_s"].min()) * 0.8, float(trials["target_per_s"].max()) * 1.2]
    cell.plot(ends, ends, color=GREY, linestyle=(0, (1, 2)), linewidth=1, zorder=1)
    cell.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    ticks = [t for t in (5e3, 1e4, 1.5e4, 2e4, 3e4, 4e4, 6e4, 8e4, 1.2e5, 2e5) if ends[0] <= t <= ends[1]]
    for axis in (cell.xaxis, cell.yaxis):
        axis.set_ticks(ticks)
        log_ticks(axis)
    cell.minorticks_off()
    cell.set_xlabel("offered, connections/s")
    cell.set_ylabel("begun on schedule,\nconnections/s")
    entries = [({"color": colours[m], "marker": "o", "linestyle": "none"}, CLIENTS[m]) for m in colours]
    entries.append(({"color": GREY, "marker": "x", "linestyle": "none"}, "trial rejected (schedule missed)"))
    entries.append(({"color": GREY, "linestyle": (0, (1, 2)), "linewidth": 1}, "all that was asked for"))
    if reference is not None:
        entries.append(
            ({"color": GREY, "marker": "o", "markerfacecolor": "none", "markersize": 7, "linestyle": "none"},
             reference.name)
        )  # fmt: skip
    key(figure, None, entries, ncols=3)
    return figure


@styled
def timers(site: Site, reference: Site | None = None) -> Figure:
    """How late a sleep ends, by how long it was to be."""
    table = site.facts.get("timers") or []
    if not table:
        raise NothingToDraw("timer lateness was not measured")
    figure, ((cell,),) = panels(1, 1, height=2.2)
    marks = (("p50_us", "median", BLUE, "o"), ("p99_us", "99th percentile", VERMILION, "s"))
    for source in (reference, site):
        facts = source.facts.get("timers") if source is not None else None
        for quantile, _, colour, marker in marks if facts else ():
            x = [row["requested_us"] for row in facts]
            y = [row[quantile] for row in facts]
            style = {"linewidth": 0.9, "alpha": 0.55} if source is reference else {"marker": marker}
            cell.plot(x, y, color=colour, **style)
    cell.set_xscale("log")
    cell.set_ylim(bottom=0)
    cell.set_xticks([row["requested_us"] for row in table])
    cell.minorticks_off()
    log_ticks(cell.xaxis)
    cell.set_xlabel("requested sleep, µs")
    cell.set_ylabel("late by, µs")
    entries = [({"color": colour, "marker": marker}, words) for _, words, colour, marker in marks]
    if reference is not None and reference.facts.get("timers"):
        entries.append(({"color": GREY, "linewidth": 0.9}, f"thin: {reference.name}"))
    key(figure, None, entries)
    return figure
