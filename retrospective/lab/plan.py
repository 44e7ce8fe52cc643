"""What is to be measured, and in which order."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retrospective.lab.exchange import Exchange
    from retrospective.lab.probe import Probe
    from retrospective.lab.trial import Trial

#: Points on a curve: more of them only thin out the repetitions that intervals are made of.
MOST_POINTS = 10


@dataclass(frozen=True)
class Plan:
    """Trials, each to be run once a round.

    Effects are paired within rounds, so a round is short and holds every trial: what drifts over minutes
    (temperature, neighbours on the host) hits both sides of a ratio alike. The order within a round is
    shuffled, so that no trial always follows the same other one.

    Not every trial needs as many rounds: ``rounds_of`` says of each, in the order of ``trials``, in how many it takes
    part, the first ones. Where it is empty all take part in all ``rounds``.

    A round of minutes is no pair: what neighbours on the host take changes within seconds. Trials of which ``group``
    says the same run one right after the other, at a place in the round that is shuffled as any other is; those of
    which it says ``None`` stand alone. Every second round has a group's order of the round before in reverse (ABBA):
    over both none is nearer to what ran before, and a drift cancels.
    """

    trials: Sequence[Trial | Probe | Exchange]
    rounds: int
    seed: int
    rounds_of: Sequence[int] = ()
    group: Callable[[Trial | Probe | Exchange], Hashable | None] = lambda _: None

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"a plan has at least one round, not {self.rounds}")
        if not self.rounds_of:
            object.__setattr__(self, "rounds_of", (self.rounds,) * len(self.trials))
        if len(self.rounds_of) != len(self.trials):
            raise ValueError(f"{len(self.rounds_of)} numbers of rounds for {len(self.trials)} trials")
        if not all(1 <= own <= self.rounds for own in self.rounds_of):
            raise ValueError(
                f"a trial takes part in 1 to {self.rounds} rounds, not in {list(self.rounds_of)}"
            )

    def round(self, number: int) -> list[Trial | Probe | Exchange]:
        """Those that take part in a round in their order, which depends on them, seed and number alone."""
        units: dict[Hashable, list[Trial | Probe | Exchange]] = {}
        for place, (trial, own) in enumerate(zip(self.trials, self.rounds_of, strict=True)):
            if number < own:
                key = self.group(trial)
                units.setdefault((None, place) if key is None else (key,), []).append(trial)
        order = [*units.items()]
        random.Random(f"{self.seed} {number}").shuffle(order)
        for key, members in order:
            random.Random(f"{self.seed} {number // 2} {key}").shuffle(members)
            if number % 2:
                members.reverse()
        return [trial for _, members in order for trial in members]

    def ordered(self) -> Iterator[tuple[int, Trial | Probe | Exchange]]:
        """Every (round, trial), one round after the other."""
        return ((number, trial) for number in range(self.rounds) for trial in self.round(number))

    def seconds(self) -> float:
        """About how long it takes, if no trial has to be repeated."""
        both = zip(self.trials, self.rounds_of, strict=True)
        return sum(trial.seconds() * own for trial, own in both)


def place_by_ratio(peak: float, ratios: Sequence[float]) -> tuple[float, ...]:
    """Offered rates at ``ratios`` to a server's own peak, in the peak's unit and the ratios' order.

    What carries over between machines is the ratio, so three significant digits do (at most 0.5 % off), and
    can be read aloud. Rounding keeps the ratios' order.
    """
    if not peak > 0:
        raise ValueError(f"no target can be placed by a peak of {peak}")
    if len(ratios) > MOST_POINTS or not all(ratio > 0 for ratio in ratios):
        raise ValueError(f"a series has at most {MOST_POINTS} ratios, all above zero, not {list(ratios)}")
    return tuple(float(f"{peak * ratio:.3g}") for ratio in ratios)
