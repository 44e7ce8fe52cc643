"""The probes of each experiment: what is run, and what it is called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from retrospective.experiments.timers.settings import (
    AA_CELLS,
    AA_SERIES,
    ALIGNED,
    BESIDE,
    CHAPTER,
    DOMAIN_CELL,
    FLOOR,
    MEASURES,
    MOST_TIMERS,
    NO_EXPIRY,
    PRICES,
    RARE_US,
    SELDOM_US,
    SERIES,
    SOFT_PERIODS_US,
    TRIGGER_US,
)
from retrospective.lab.probe import Probe

if TYPE_CHECKING:
    from retrospective.experiments.timers.profiles import Profile

#: A probe, and in how many rounds it takes part.
Planned = tuple[Probe, int]

#: From this granularity on a slice is long, and fewer of them must do.
_LONG_US = 100_000


def time_name(us: int) -> str:
    """``10 µs``, ``250 ms``."""
    return f"{us} µs" if us < 1_000 else f"{us / 1_000:g} ms"


# ---------------------------------------------------------------------------------------------- operations


def _operation(
    profile: Profile, mix: str, facility: str, beside: str, timers: int, seconds: float, replica: int | None
) -> Probe:
    """Operations of a facility beside another's; replicas of one and the same are told apart by their label."""
    label = f"{facility} beside {beside}: {mix}, {timers:,} timers"
    return Probe(
        chapter=CHAPTER,
        experiment="operations" if replica is None else "operations-aa",
        kind="trial" if replica is None else "aa",
        profile=profile.name,
        design=facility,
        options={"mix": mix, "facility": facility, "beside": beside, "timers": timers, "seconds": seconds},
        label=label if replica is None else f"{label}, replica {replica}",
        program="timerbench",
    )


def can(facility: str, mix: str, timers: int) -> bool:
    """Whether a facility has such operations on so many timers."""
    return timers <= MOST_TIMERS.get(facility, timers) and not (mix == "expiry" and facility in NO_EXPIRY)


def operations(profile: Profile) -> Iterator[Planned]:
    """What an operation costs by facility, mix and number of timers, each beside another facility's."""
    for part in profile.operations:
        for facility in part.facilities:
            for mix in part.mixes:
                for timers in part.timers:
                    if can(facility, mix, timers) and can(part.beside, mix, timers):
                        seconds = max(profile.operations_s, timers * profile.operations_s_a_timer)
                        yield (
                            _operation(profile, mix, facility, part.beside, timers, seconds, None),
                            part.rounds,
                        )


def operations_aa(profile: Profile) -> Iterator[Planned]:
    """The wheel beside the wheel: how far a ratio is from one where nothing differs."""
    for mix, timers in profile.operations_aa:
        seconds = max(profile.operations_s, timers * profile.operations_s_a_timer)
        for replica in range(profile.replicas):
            yield _operation(profile, mix, BESIDE, BESIDE, timers, seconds, replica), profile.rounds


# -------------------------------------------------------------------------------------------------- prices


def prices(profile: Profile) -> Iterator[Planned]:
    """What the primitives cost that timers are made of."""
    for series in profile.prices:
        probe = Probe(
            chapter=CHAPTER,
            experiment="prices",
            kind="trial",
            profile=profile.name,
            design=series,
            options={"price": series, **PRICES[series], "seconds": profile.price_s},
            label=f"price of {series}",
            program="timercost",
        )
        # The domain's floor has as many rounds as the domain.
        floor = series == FLOOR and profile.domain_rounds
        yield probe, floor or profile.rounds


# ------------------------------------------------------------------------------------------------ wake-ups


def _ticker(
    profile: Profile,
    experiment: str,
    series: str,
    label: str,
    *,
    processes: int,
    granularity_us: int,
    measure: str,
    kind: str = "trial",
    **options: Any,
) -> Probe:
    """Processes with periodic timers; each slice is long enough for a deadline of every timer."""
    asked = dict(SERIES.get(series, {}))
    slice_s = max(profile.slice_s, granularity_us / 1e6)
    slices = profile.long_slices if granularity_us >= _LONG_US else profile.slices
    return Probe(
        chapter=CHAPTER,
        experiment=experiment,
        kind=kind,
        profile=profile.name,
        design=series,
        options={
            "align-us": granularity_us if asked.pop(ALIGNED, False) else 0,
            "slack-ns": 0,
            **asked,
            "processes": processes,
            "timers": 1,
            "granularity-us": granularity_us,
            "phases": "spread",
            "measure": measure,
            "slices": slices,
            "seconds": round(slice_s * slices, 6),
            **options,
        },
        label=label,
        program="ticker",
    )


def cell(
    profile: Profile,
    experiment: str,
    series: str,
    processes: int,
    granularity_us: int,
    replica: int | None = None,
    measures: Sequence[str] = MEASURES,
) -> Iterator[Probe]:
    """The runs of a cell: what it costs, and how late it is."""
    for measure in measures:
        label = f"{series}: {processes:,} × {time_name(granularity_us)}, {measure}"
        yield _ticker(
            profile,
            experiment,
            series,
            label if replica is None else f"{label}, replica {replica}",
            processes=processes,
            granularity_us=granularity_us,
            measure=measure,
            kind="trial" if replica is None else "aa",
        )


def _cells(profile: Profile, experiment: str) -> Iterator[Planned]:
    for part in profile.cells.get(experiment, ()):
        for series in part.series:
            for processes in part.processes:
                for granularity_us in part.granularities_us:
                    place = (series, processes, granularity_us)
                    for probe in cell(profile, experiment, *place, measures=part.measures):
                        yield probe, part.rounds


def wall(profile: Profile) -> Iterator[Planned]:
    """Cores and lateness by number of processes, granularity and driver."""
    return _cells(profile, "wall")


def shoot_out(profile: Profile) -> Iterator[Planned]:
    """Every driver where none may be late by choice."""
    return _cells(profile, "shoot-out")


def domain(profile: Profile) -> Iterator[Planned]:
    """The shared domain at its cell, beside a timer of the kernel's for each process, spread and aligned."""
    for series in profile.domain:
        for probe in cell(profile, "domain", series, *DOMAIN_CELL):
            yield probe, profile.domain_rounds or profile.rounds


def wall_aa(profile: Profile) -> Iterator[Planned]:
    """One and the same cell several times a round: how far two of them differ."""
    for processes, granularity_us in AA_CELLS:
        for replica in range(profile.replicas):
            for probe in cell(profile, "wall-aa", AA_SERIES, processes, granularity_us, replica):
                yield probe, profile.aa_rounds


def soft(profile: Profile) -> Iterator[Planned]:
    """A process that works: alone, with trigger points, with soft timers at them; and what interrupts cost instead.

    ``no triggers`` works for a millisecond at a time, ``none`` looks at the clock at every trigger point and has next
    to nothing due; their work is compared with that of ``soft``. Timers of the kernel take their cores instead.
    """
    if not profile.soft:
        return
    runs = [("no triggers", RARE_US, SELDOM_US), ("none", RARE_US, TRIGGER_US)]
    runs += [("soft", period, TRIGGER_US) for period in SOFT_PERIODS_US]
    for design, period_us, trigger_us in runs:
        label = f"{design}: {time_name(period_us)}, a trigger point each {time_name(trigger_us)} of work"
        one = {"processes": 1, "granularity_us": period_us, "measure": "lateness", "driver": "soft"}
        yield _ticker(profile, "soft", design, label, **one, **{"trigger-us": trigger_us}), profile.rounds
    for period_us in SOFT_PERIODS_US:
        for probe in cell(profile, "soft", "timerfd", 1, period_us, measures=profile.soft):
            yield probe, profile.rounds


PROBES = {
    "operations": operations,
    "operations-aa": operations_aa,
    "prices": prices,
    "wall": wall,
    "wall-aa": wall_aa,
    "shoot-out": shoot_out,
    "domain": domain,
    "soft": soft,
}
