"""Effects, intervals, floors and verdicts.

An effect is the geometric mean of ratios paired within rounds: both members of a pair ran minutes, or
where a few percent decide about a second, apart on the same machine, so what drifts between rounds
cancels. Its interval is Student's t on the logarithms; a percentile bootstrap of five values would
cover 87 %, not 95 %. Where many short rounds are to show that two servers are alike, the mean is
trimmed: a burst of a neighbour that hits one member of a pair is no property of either.

Intervals are 95 % each and unadjusted, so that they can be read singly. Verdict words come in two
families for each chapter: what 2004's paper claimed, and the questions of today beside it (the
extensions). Every hypothesis that any claim of a family tests, in either charge mode, enters one Holm
correction (Holm 1979), which bounds the chance of even one wrong word in the family at 5 % however its
claims depend on each other. Families answer different questions, whether a paper was right and what
holds today, and are read apart; one correction over all would let every new question weaken what is
said about 2004. An interval that excludes 1 beside the word "undecided" is no contradiction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

CONFIDENCE = 0.95
#: "Vanished" is an effect whose whole interval lies inside ±5 %.
NEGLIGIBLE = 1.05
#: "At least matches" is a lower bound of the ratio of at least 0.95.
MATCHES = 0.95
#: Share of the logarithms that a trimmed mean leaves out at either end, and the fewest of which it does.
TRIMMED = 0.2
TRIMMED_FROM = 20
#: Fewer A/A ratios than this give no floor.
FLOOR_PAIRS = 20

VERDICTS = {
    "reproduced": "the effect is there, its cause moved with it, and 2004's size is not excluded from above",
    "analog agrees": "the same, of a stand-in for a server that cannot be had: it could not be reproduced",
    "shrunk": "the effect is there, but smaller than in 2004",
    "reversed": "the opposite is the case",
    "vanished": "whatever is left lies inside ±5 %",
    "undecided": "the trials cannot tell",
    "depends on who pays": "the verdict differs with the CPU that is charged for packets",
    "not testable here": "the trials it needs are not there",
}


@dataclass(frozen=True)
class Effect:
    """A ratio and its 95 % t-interval; the bounds are NaN where fewer than two ratios were usable.

    ``mean`` and ``error`` are the mean and standard error of the ``n`` natural logarithms; ``dropped``
    ratios were unusable (missing, zero, negative or infinite: none of them has a logarithm). Bounds and
    p-values allow for the mean having been chosen, for its size, of ``choices`` ones.
    """

    value: float
    low: float
    high: float
    n: int
    mean: float
    error: float
    dropped: int = 0
    choices: int = 1

    @property
    def decided(self) -> bool:
        """Whether there is an interval at all."""
        return self.n >= 2

    def p_unlike(self, ratio: float = 1.0) -> float:
        """Two-sided p-value of "the true ratio is ``ratio``" (1 without an interval)."""
        return min(1.0, 2 * min(self.p_above(ratio), self.p_below(ratio)))

    def p_above(self, ratio: float) -> float:
        """One-sided p-value of "the true ratio is at most ``ratio``": small where it is certainly above."""
        return self._tail(np.log(ratio) - self.mean)

    def p_below(self, ratio: float) -> float:
        """One-sided p-value of "the true ratio is at least ``ratio``": small where it is certainly below."""
        return self._tail(self.mean - np.log(ratio))

    def p_within(self, factor: float) -> float:
        """p-value of "the true ratio lies outside 1/factor … factor" (two one-sided tests)."""
        return max(self.p_above(1 / factor), self.p_below(factor))

    def _tail(self, distance: float) -> float:
        if not self.decided:
            return 1.0
        if self.error == 0.0:
            # Identical ratios, as a deterministic counter may give: certain, unless exactly on the boundary.
            return 0.0 if distance < 0 else 1.0
        return min(1.0, self.choices * float(stats.t.cdf(distance / self.error, self.n - 1)))


def usable(ratios: Iterable[float]) -> np.ndarray:
    """Those ratios that have a logarithm."""
    values = np.asarray(list(ratios), dtype=float)
    return values[np.isfinite(values) & (values > 0)]


def ratio_interval(ratios: Iterable[float], confidence: float = CONFIDENCE, choices: int = 1) -> Effect:
    """Geometric mean of ratios and its t-interval; one ratio has a value but no interval, none neither.

    ``choices`` is the number of such means of which this one was chosen for its size (see :func:`largest`).
    """
    values = list(ratios)
    logs = np.log(usable(values))
    n, dropped = len(logs), len(values) - len(logs)
    if n == 0:
        return Effect(np.nan, np.nan, np.nan, 0, np.nan, np.nan, dropped)
    mean = float(np.mean(logs))
    if n == 1:
        return Effect(float(np.exp(mean)), np.nan, np.nan, 1, mean, np.nan, dropped)
    # A spread below rounding error is no spread.
    spread = 0.0 if np.ptp(logs) <= 1e-12 * max(1.0, abs(mean)) else float(np.std(logs, ddof=1))
    error = spread / np.sqrt(n)
    reach = float(stats.t.isf((1 - confidence) / 2 / choices, n - 1)) * error
    low, high = float(np.exp(mean - reach)), float(np.exp(mean + reach))
    return Effect(float(np.exp(mean)), low, high, n, mean, error, dropped, choices)


def trimmed_interval(ratios: Iterable[float], confidence: float = CONFIDENCE) -> Effect:
    """Trimmed geometric mean of many ratios and its t-interval; of fewer than 20, :func:`ratio_interval`.

    A fifth of the logarithms is left out at either end; the standard error is that of the winsorized ones, and ``n``
    the number kept (Yuen, Biometrika 61, 1974, section 2).
    """
    values = list(ratios)
    logs = np.sort(np.log(usable(values)))
    n, cut = len(logs), int(TRIMMED * len(logs))
    if n < TRIMMED_FROM:
        return ratio_interval(values, confidence)
    kept = n - 2 * cut
    mean = float(np.mean(logs[cut : n - cut]))
    winsorized = np.clip(logs, logs[cut], logs[n - cut - 1])
    error = float(np.std(winsorized, ddof=1) * np.sqrt((n - 1) / (kept * (kept - 1))))
    reach = float(stats.t.isf((1 - confidence) / 2, kept - 1)) * error
    low, high = float(np.exp(mean - reach)), float(np.exp(mean + reach))
    return Effect(float(np.exp(mean)), low, high, kept, mean, error, len(values) - n)


def mean_interval(values: Iterable[float], confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """Arithmetic mean and t-interval of finite values (NaN bounds if fewer than two)."""
    finite = np.asarray(list(values), dtype=float)
    finite = finite[np.isfinite(finite)]
    if len(finite) == 0:
        return np.nan, np.nan, np.nan
    mean = float(np.mean(finite))
    if len(finite) == 1:
        return mean, np.nan, np.nan
    reach = float(
        stats.t.ppf((1 + confidence) / 2, len(finite) - 1) * np.std(finite, ddof=1) / np.sqrt(len(finite))
    )
    return mean, mean - reach, mean + reach


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given (NaN counts as 1: nothing was shown)."""
    p = np.asarray([1.0 if np.isnan(value) else value for value in p_values], dtype=float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    worst = 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = worst
    return [float(value) for value in adjusted]


@dataclass(frozen=True)
class Largest:
    """Ratios (or values) a round at the place where their mean is largest, of ``choices`` places."""

    ratios: pd.Series
    place: float
    choices: int

    @property
    def effect(self) -> Effect:
        """Effect whose interval and p-values allow for the choice."""
        return ratio_interval(self.ratios, choices=self.choices)


def largest(table: pd.DataFrame) -> Largest:
    """Find the place of the largest effect; ``table`` has a row a round and a column a place (an x).

    The maximum of noisy means flatters itself, so it is judged as what it is, one of several looks: with k places
    its interval is that of Bonferroni at 1 - 0.05/k, which covers the effect at every place at once and so at the
    one chosen. (Letting the other rounds choose the place for each round removes the bias but makes rounds depend
    on each other: where places tie, such intervals covered 80 %, not 95 %.)
    """
    means = np.log(table.where(table > 0)).mean().dropna()
    if means.empty:
        return Largest(pd.Series(dtype=float), np.nan, 1)
    place = means.idxmax()
    return Largest(table[place], float(place), len(means))


# --------------------------------------------------------------------------------------------- A/A


@dataclass(frozen=True)
class Floor:
    """What the lab sees between a design and itself: ratios inside 1/factor … factor are noise.

    ``factor`` is that of single trials. An effect is the mean of several rounds' ratios, and so is what it is held
    against: ``of_means[n - 1]`` is the factor of means over n rounds.
    """

    factor: float
    pairs: int
    of_means: tuple[float, ...] = ()

    def over(self, rounds: int) -> Floor:
        """Return the floor of means over so many rounds, or over as many as the A/A trials have, if those are fewer."""
        if not self.of_means:
            return self
        return replace(self, factor=self.of_means[min(max(rounds, 1), len(self.of_means)) - 1])

    @property
    def measured(self) -> bool:
        """Whether there were enough ratios to say."""
        return bool(np.isfinite(self.factor))


def aa_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Replies/s of the valid A/A trials: a row a round, a column a replica."""
    rows = frame[(frame["kind"] == "aa") & frame["valid"].astype(bool)] if len(frame) else frame
    if rows.empty:
        return pd.DataFrame()
    return rows.pivot_table(index="round", columns="label", values="replies_per_s", aggfunc="last")


def aa_ratios(frame: pd.DataFrame, rounds: int = 1) -> np.ndarray:
    """|mean log ratio| of every pair of replicas over every ``rounds`` consecutive rounds that do not overlap."""
    table = aa_rows(frame)
    found = []
    for a, b in combinations(range(table.shape[1]), 2):
        logs = np.log(usable((table.iloc[:, a] / table.iloc[:, b]).to_numpy()))
        whole = logs[: len(logs) // rounds * rounds]
        found.append(np.abs(whole.reshape(-1, rounds).mean(axis=1)))
    return np.concatenate(found) if found else np.array([])


def aa_floor(frame: pd.DataFrame) -> Floor:
    """Return the 95th percentile of |log ratio| of A/A trials as a factor (NaN below 20 ratios)."""
    of_means = []
    for rounds in range(1, aa_rows(frame).shape[0] + 1):
        ratios = aa_ratios(frame, rounds)
        if len(ratios) < FLOOR_PAIRS:
            break
        of_means.append(float(np.exp(np.quantile(ratios, 0.95))))
    return Floor(of_means[0] if of_means else np.nan, len(aa_ratios(frame)), tuple(of_means))


def floor_of(logs: list[np.ndarray]) -> Floor:
    """Floor of log-ratios of A/A pairs, an array by rounds each: of single values, and of means over rounds."""
    of_means: list[float] = []
    for rounds in range(1, max((len(one) for one in logs), default=0) + 1):
        means = [np.abs(one[: len(one) // rounds * rounds].reshape(-1, rounds).mean(axis=1)) for one in logs]
        flat = np.concatenate(means)
        if len(flat) < FLOOR_PAIRS:
            break
        of_means.append(float(np.exp(np.quantile(flat, 0.95))))
    pairs = sum(len(one) for one in logs)
    return Floor(of_means[0] if of_means else float("nan"), pairs, tuple(of_means))


def effect_floor(frame: pd.DataFrame) -> Floor:
    """Return the floor of what the accept() chapter shows: of means over as many rounds as it has."""
    trials = frame[frame["chapter"] == "accept"] if len(frame) else frame
    return aa_floor(frame).over(int(trials["round"].nunique()) if len(trials) else 1)


@dataclass(frozen=True)
class Pairs:
    """How many A/A pairs came out as different, of how many that could be compared.

    ``different`` by the 95 % interval alone, which is right to err once in twenty times; ``called`` by the rule of
    the ledger, which also asks that an effect exceed the detection floor.
    """

    pairs: int
    different: int
    called: int

    @property
    def share(self) -> float:
        """Share that came out as different (NaN without pairs)."""
        return self.different / self.pairs if self.pairs else np.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Clopper-Pearson interval of the share, as if pairs were independent (they share replicas)."""
        if not self.pairs:
            return np.nan, np.nan
        exact = stats.binomtest(self.different, self.pairs).proportion_ci(0.95, method="exact")
        return float(exact.low), float(exact.high)


def aa_pairs(frame: pd.DataFrame, confidence: float = CONFIDENCE) -> Pairs:
    """Compare every pair of A/A replicas as designs are compared: n replicas give n(n-1)/2 pairs."""
    table = aa_rows(frame)
    floor = aa_floor(frame)
    pairs = different = called = 0
    for a, b in combinations(range(table.shape[1]), 2):
        effect = ratio_interval((table.iloc[:, a] / table.iloc[:, b]).to_numpy(), confidence)
        if effect.decided:
            pairs += 1
            apart = effect.low > 1 or effect.high < 1
            different += apart
            called += apart and not (
                floor.measured and abs(effect.mean) <= np.log(floor.over(effect.n).factor)
            )
    return Pairs(pairs, int(different), int(called))


# --------------------------------------------------------------------------------------------- verdicts


@dataclass(frozen=True)
class Test:
    """One effect of a claim and what would confirm it.

    kind ``gain``     the ratio is above 1; with ``published`` > 1 also by how much
    kind ``matches``  the ratio is at least ``least``, 0.95 unless the claim sets another bound
    kind ``equal``    the ratio lies inside ±5 %; one that lies above is not explained
    kind ``alike``    the ratio lies inside ±5 %, which one that lies outside for certain, on either side, refutes
    """

    __test__ = False  # not a test case of pytest

    name: str
    effect: Effect
    kind: str = "gain"
    published: float | None = None
    least: float = MATCHES

    def hypotheses(self) -> dict[str, float]:
        """p-values of the null hypotheses that must be refused before a verdict word may be said.

        An effect without an interval tests nothing, and is no burden to the others.
        """
        effect = self.effect
        if not effect.decided:
            return {}
        if self.kind == "matches":
            return {"differs": effect.p_unlike(self.least)}
        if self.kind == "alike":
            outside = 2 * min(effect.p_above(NEGLIGIBLE), effect.p_below(1 / NEGLIGIBLE))
            return {"within": effect.p_within(NEGLIGIBLE), "outside": min(1.0, outside)}
        p = {"differs": effect.p_unlike(), "within": effect.p_within(NEGLIGIBLE)}
        if self.kind == "gain" and self.published is not None:
            p["smaller"] = effect.p_below(self.published)
        return p

    def verdict(self, p: dict[str, float], floor: Floor) -> str:
        """Verdict by adjusted p-values; a gain inside the detection floor of the lab is undecided."""
        level = 1 - CONFIDENCE
        if not self.effect.decided:
            return "undecided"
        differs, within = p.get("differs", 1.0) < level, p.get("within", 1.0) < level
        if self.kind == "alike":
            return "reproduced" if within else "reversed" if p["outside"] < level else "undecided"
        if self.kind == "matches":
            return (
                ("reproduced" if self.effect.value > self.least else "reversed") if differs else "undecided"
            )
        if self.kind == "equal":
            if within:
                return "reproduced"
            return "shrunk" if differs and self.effect.value < 1 / NEGLIGIBLE else "undecided"
        if within:
            return "vanished"
        floor = floor.over(self.effect.n)
        if not differs or (floor.measured and abs(self.effect.mean) <= np.log(floor.factor)):
            return "undecided"
        if self.effect.value < 1:
            return "reversed"
        return "shrunk" if p.get("smaller", 1.0) < level else "reproduced"


#: A chain of effects is worth its weakest link.
WEAKEST_FIRST = ("reversed", "vanished", "undecided", "shrunk", "analog agrees", "reproduced")


def of_analog(word: str) -> str:
    """What a verdict may say where the server was only a stand-in for the one that a claim is about."""
    return "analog agrees" if word == "reproduced" else word


def decide(tests: Sequence[Sequence[Test]], floors: Sequence[Floor]) -> list[list[str]]:
    """Verdicts of groups of tests (a group a claim and charge mode, each with its floor) of one family: one Holm."""
    flat = [
        (g, t, name, p)
        for g, group in enumerate(tests)
        for t, test in enumerate(group)
        for name, p in test.hypotheses().items()
    ]
    adjusted: dict[tuple[int, int], dict[str, float]] = {}
    for (g, t, name, _), p in zip(flat, holm([entry[3] for entry in flat]), strict=True):
        adjusted.setdefault((g, t), {})[name] = p
    return [
        [test.verdict(adjusted.get((g, t), {}), floor) for t, test in enumerate(group)]
        for g, (group, floor) in enumerate(zip(tests, floors, strict=True))
    ]


def combined(verdicts: dict[str, str]) -> str:
    """One word for verdicts by charge mode; ``receiver``, the default and 2004's situation, leads.

    Only verdicts that were reached can disagree: a mode in which the trials cannot tell takes nothing away.
    """
    reached = {
        mode: word for mode, word in verdicts.items() if word not in ("undecided", "not testable here")
    }
    if len(set(reached.values())) > 1:
        return "depends on who pays"
    if "receiver" in verdicts and verdicts["receiver"] != "not testable here":
        return verdicts["receiver"]
    return next(iter(reached.values()), next(iter(verdicts.values()), "not testable here"))
