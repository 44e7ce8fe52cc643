"""What the effect depends on: backlog, client time-out, TCP_DEFER_ACCEPT, work per request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from retrospective.analysis.comparisons import sensitivity, sensitivity_gains, work_predictions
from retrospective.analysis.figures.overload import UNDER, effects
from retrospective.analysis.figures.style import (
    BLACK,
    Site,
    common_entries,
    floor_band,
    floor_entry,
    key,
    limit_entries,
    limit_style,
    limits_in,
    line,
    panels,
    ratio_axis,
    required,
    styled,
    trials_of,
)
from retrospective.analysis.statistics import effect_floor, mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: What was varied, on the axis.
VARIED = {
    "sensitivity-backlog": "backlog, connections",
    "sensitivity-timeout": "clients' time-out, ms",
    "sensitivity-defer": "TCP_DEFER_ACCEPT, s",
    "sensitivity-work": "added work per request, µs",
}


def _name(experiment: str) -> str:
    return experiment.removeprefix("sensitivity-")


def _trials(site: Site | None, experiment: str) -> pd.DataFrame | None:
    """Trials with what they varied as ``level``; throughput and drops also as ratios to the own peak."""
    found = trials_of(site, experiment)
    if found is None:
        return None
    found = sensitivity(found, _name(experiment))
    peak = found["target_per_s"] / found["x_ratio"].astype(float)
    spent = found["getevents_cost"] + found["other_cost"]
    return found.assign(
        replies=found["replies_per_s"] / peak,
        drops=found["queue_drops_per_s"] / peak,
        getevents_percent=100 * found["getevents_cost"] / spent,
    )


def _places(experiment: str, *sources: pd.DataFrame | None) -> list[float]:
    return sorted({level for trials in sources if trials is not None for level in trials["level"]})


def _levels(cell: Axes, site: Site, reference: Site | None, experiment: str, column: str) -> None:
    """Draw ``column`` over what was varied, a line a limit."""
    ours, theirs = _trials(site, experiment), _trials(reference, experiment)
    places = _places(experiment, ours, theirs)
    for trials, faint in ((theirs, True), (ours, False)):
        if trials is None:
            continue
        limits = limits_in(trials)
        for limit in limits:
            series = trials[trials["accept_limit"] == limit].groupby("level")[column]
            x = np.array([places.index(level) for level, _ in series], dtype=float)
            y = np.array([mean_interval(values) for _, values in series])
            line(cell, x + _dodge(limits, limit), y, faint=faint, bars=True, **limit_style(limit))
    _categories(cell, places, experiment)


def _gains(
    cell: Axes, site: Site, reference: Site | None, experiment: str, column: str = "replies_per_s"
) -> None:
    """Draw the ratio of each higher limit to limit 1 over what was varied, with the detection floor."""
    ours, theirs = _trials(site, experiment), _trials(reference, experiment)
    places = _places(experiment, ours, theirs)
    floor_band(cell, effect_floor(site.frame))
    for trials, faint in ((theirs, True), (ours, False)):
        higher = [limit for limit in limits_in(trials) if limit != UNDER] if trials is not None else []
        for limit in higher:
            table = pd.DataFrame(sensitivity_gains(trials, _name(experiment), limit, UNDER, column))
            x = np.array([places.index(level) for level in table.columns], dtype=float)
            line(
                cell, x + _dodge(higher, limit), effects(table), faint=faint, bars=True, **limit_style(limit)
            )
    ratio_axis(cell)
    _categories(cell, places, experiment)


def _from_zero(cell: Axes) -> None:
    cell.set_ylim(0, 1.05 * cell.get_ylim()[1])


def _dodge(limits: list[str], limit: str) -> float:
    """Step aside, so that intervals at the same place can be told apart."""
    return 0.09 * (limits.index(limit) - (len(limits) - 1) / 2)


def _categories(cell: Axes, places: list[float], experiment: str) -> None:
    cell.set_xticks(range(len(places)), [f"{place:,.0f}" for place in places])
    cell.set_xlim(-0.4, len(places) - 0.6)
    cell.grid(axis="x", visible=False)
    cell.set_xlabel(VARIED[experiment])


def _sensitivity(site: Site, reference: Site | None, experiments: list[str]) -> Figure:
    """Replies, drops and gain over what each experiment varied, a row an experiment."""
    measured = [name for name in experiments if trials_of(site, name) is not None]
    if not measured:
        required(site, experiments[0])
    figure, axes = panels(len(measured), 3, height=2.1)
    limits: set[str] = set()
    for (replies, drops, gain), name in zip(axes, measured, strict=True):
        trials = required(site, name)
        limits |= set(limits_in(trials))
        _levels(replies, site, reference, name, "replies")
        _levels(drops, site, reference, name, "drops")
        _gains(gain, site, reference, name)
        for cell, words in (
            (replies, "replies ÷ own peak"),
            (drops, "queue drops ÷ own peak"),
            (gain, "replies/s ÷ limit 1's"),
        ):
            cell.set_ylabel(words)
        for cell in (replies, drops):
            _from_zero(cell)
    for cell, title in zip(axes[0], ("Throughput", "Queue drops", "Gain over limit 1"), strict=True):
        cell.set_title(title)
    entries = limit_entries([*limits]) + floor_entry(effect_floor(site.frame))
    key(figure, None, entries + common_entries(reference, bars=True))
    return figure


@styled
def backlog(site: Site, reference: Site | None = None) -> Figure:
    """Draw replies, drops and gain by backlog and limit."""
    return _sensitivity(site, reference, ["sensitivity-backlog"])


@styled
def timeout(site: Site, reference: Site | None = None) -> Figure:
    """Draw replies, drops and gain by the clients' time-out and, below, with TCP_DEFER_ACCEPT off and on."""
    return _sensitivity(site, reference, ["sensitivity-timeout", "sensitivity-defer"])


@styled
def work(site: Site, reference: Site | None = None) -> Figure:
    """Draw how work per request dilutes the effect, beside what Eq. 1 predicts from the measured costs."""
    name = "sensitivity-work"
    required(site, name)
    trials = _trials(site, name)
    limits = limits_in(trials)
    figure, ((share, gain, replies),) = panels(1, 3, height=2.4)
    _levels(share, site, reference, name, "getevents_percent")
    share.set(title="Share of getevents", ylabel="of a connection's cost, %")
    _from_zero(share)
    floor = effect_floor(site.frame)
    _gains(gain, site, reference, name, "accepts_per_s")
    predicted = pd.DataFrame(work_predictions(trials))
    places = _places(name, trials, _trials(reference, name))
    x = np.array([places.index(level) for level in predicted.columns], dtype=float) + 0.12
    style = {"color": BLACK, "marker": "x", "linestyle": (0, (1, 2))}
    line(gain, x, effects(predicted), bars=True, **style)
    ratio_axis(gain)
    gain.set(title="Gain, Inf over 1", ylabel="accepts/s ÷ limit 1's")
    _levels(replies, site, reference, name, "replies")
    replies.set(title="Throughput", ylabel="replies ÷ own peak")
    _from_zero(replies)
    entries = [*limit_entries(limits), (style, "as Eq. 1 says"), *floor_entry(floor)]
    key(figure, None, entries + common_entries(reference, bars=True))
    return figure
