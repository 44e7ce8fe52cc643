"""What fine timers cost, as a sum of parts: fitted to the wall, tested on whole numbers of processes that it never saw.

    cores = wake-ups/s × (what the driver's own calls and switches cost + what caches have lost since)
          + interrupts/s × what an interrupt costs
          + operations/s × what an operation of the facility costs

Wake-ups are as many as deadlines. Interrupts are fewer: one wakes all whose deadlines have passed, so expiries on a
common grid share one; with slack those of a window do; and without either those that pass while an earlier one is
handled (``join_us``). What a process finds of its data in the caches falls with how many others ran since, and cannot
fall below nothing: N / (N + ``cold_at``). The driver's own part is a constant each; the machine's two, interrupts and
caches, are everybody's. Operations are priced by timerbench and not fitted. All parts are at least zero.

It knows nothing of saturation: where the busiest CPU is taken for more than 80 %, or deadlines pass undelivered, what
is asked for is no longer what is done, and such cells are neither fitted nor predicted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from retrospective.analysis import timers
from retrospective.analysis.timers import CANCEL, CORES, SATURATED

#: What is promised of cells with a number of processes that the fit has not seen.
MEDIAN_BOUND, P90_BOUND = 0.15, 0.30
#: Kernel's own slack of a thread, µs; drivers whose sleeps it does not delay.
DEFAULT_SLACK_US, WITHOUT_SLACK = 50.0, ("tick", "timerfd", "uring")
#: Drivers whose wake-ups the model is not about: they do not sleep, or another process keeps their timers.
OTHERS = ("spin", "soft", "domain")
#: A cell is fitted and tested if it burns so many times what one and the same cell differs by from run to run: the mean
#: of three rounds is then known to a tenth, and a relative error means something.
TOLD = 3.0
#: Share of deadlines that may pass undelivered.
MISSED = 0.05
JOIN_US = (0.0, 3.0, 10.0, 30.0, 100.0, 300.0)
COLD_AT = (3.0, 30.0, 300.0)
#: With fewer numbers of processes, leaving one out leaves too little.
LEAST_NUMBERS = 4
#: Where it is carried to.
FAR = 10_000
BOOTSTRAP = 100
#: The facility of ticker's processes, and the fewest timers that its operations were priced with.
FACILITY, FEWEST = "heap", 100

ASSUMPTIONS = (
    "there are as many CPUs like these as are needed, and processes are spread over them evenly",
    "a wake-up's own cost does not grow with the length of the kernel's run and timer queues",
    "caches have nothing left to lose that the fit has not seen: what a wake-up finds cold is bounded",
    "phases are spread evenly, and nothing else wants the CPUs, the caches or the hypervisor",
    "all processes fit into memory, and so do their page tables and stacks in the kernel",
    "what the model misses at the numbers of processes held out it misses there, too, and no more",
)


@dataclass(frozen=True)
class Demand:
    """What a cell asks for."""

    driver: str
    processes: int
    granularity_us: float
    align_us: float = 0.0
    slack_us: float = 0.0
    cpus: int = 2

    @property
    def wakeups_per_s(self) -> float:
        """Deadlines a second, one timer a process."""
        return self.processes * 1e6 / self.granularity_us

    def interrupts_per_s(self, join_us: float) -> float:
        """Interrupts that wake them: the first deadline's, which takes along all that come within a window of it."""
        cpus = min(self.cpus, self.processes)
        if self.align_us > 0:
            places = max(1.0, self.granularity_us / self.align_us)  # of the grid, in a period
            return cpus * min(self.processes / cpus, places) * 1e6 / max(self.granularity_us, self.align_us)
        on_one = self.wakeups_per_s / cpus
        return self.wakeups_per_s / (1 + on_one * (self.slack_us + join_us) * 1e-6)

    def busiest(self, cores: float) -> float:
        """Share of the CPU with most processes that these cores take."""
        return cores * math.ceil(self.processes / min(self.cpus, self.processes)) / self.processes


def demand(row: pd.Series, cpus: int) -> Demand:
    """Read a row's cell; the slack is the kernel's own where none was asked for and the driver's sleep has one."""
    driver, slack_us = str(row["driver"]), float(row["slack_ns"] or 0) / 1e3
    if driver in WITHOUT_SLACK:
        slack_us = 0.0
    elif slack_us == 0:
        slack_us = DEFAULT_SLACK_US
    return Demand(
        driver,
        int(row["processes"]),
        float(row["granularity_us"]),
        float(row["align_us"] or 0),
        slack_us,
        cpus,
    )


def observed(frame: pd.DataFrame) -> pd.DataFrame:
    """Cells of the wall that the model is about: ``cell`` (a Demand), ``round``, ``processes`` and ``cores`` measured.

    Without those that are hardly told from nothing, and those near saturation.
    """
    columns = ["cell", "series", "processes", "round", "cores"]
    found = timers.trials(frame, "wall", measure=CORES)
    found = found[~found["driver"].isin(OTHERS)] if len(found) else found
    if found.empty:
        return pd.DataFrame(columns=columns)
    cpus, least = timers.cpus(frame), timers.least_cores(frame)
    cells = [demand(row, cpus) for _, row in found.iterrows()]
    table = pd.DataFrame(
        {
            "cell": cells,
            "series": found["design"].to_numpy(),
            "processes": [cell.processes for cell in cells],
            "round": found["round"].to_numpy(dtype=int),
            "cores": found["cores"].to_numpy(dtype=float),
            "missed": 1 - (found["delivered"].astype(float) / found["due"].astype(float)).to_numpy(),
        }
    )
    means = table.groupby("cell", sort=False)[["cores", "missed"]].transform("mean")
    busiest = [cell.busiest(cores) for cell, cores in zip(table["cell"], means["cores"], strict=True)]
    kept = (means["cores"] > (TOLD * least if np.isfinite(least) else 0.0)) & (means["missed"] <= MISSED)
    return table[kept & (np.array(busiest) < SATURATED)][columns].reset_index(drop=True)


def operation_us(frame: pd.DataFrame) -> float:
    """What an expiry's operations cost, µs: one is taken off and put back, without the loop; 0 if not measured."""
    found = timers.alone(frame, FACILITY, CANCEL, FEWEST)
    found = found if len(found) else timers.operation(frame, FACILITY, CANCEL, FEWEST)
    return float(found.median()) / 1e3 if len(found) else 0.0


# ---------------------------------------------------------------------------------------------------- fit


@dataclass(frozen=True)
class Model:
    """Costs in µs of CPU: of a driver's own wake-up, of an interrupt, of cold caches, of an expiry's operations."""

    own_us: Mapping[str, float]
    interrupt_us: float
    cold_us: float
    operation_us: float
    join_us: float
    cold_at: float

    def cores(self, cell: Demand) -> float:
        """Cores that a cell burns; NaN for a driver that was not fitted."""
        each = self.own_us.get(cell.driver, math.nan) + self.cold_us * _cold(cell, self.cold_at)
        wakes = cell.wakeups_per_s * (each + self.operation_us)
        return (wakes + cell.interrupts_per_s(self.join_us) * self.interrupt_us) * 1e-6

    def wakeup_us(self, cell: Demand) -> float:
        """What one wake-up of a cell costs, all told."""
        return self.cores(cell) / cell.wakeups_per_s * 1e6


def _cold(cell: Demand, cold_at: float) -> float:
    return (cell.processes - 1) / (cell.processes - 1 + cold_at)


def fit(cells: Sequence[Demand], cores: np.ndarray, operation_us: float = 0.0) -> Model | None:
    """Fit by least squares of *relative* errors, for every window and depth of the caches; the best of them.

    ``None`` with fewer cells than parts.
    """
    drivers = sorted({cell.driver for cell in cells})
    if len(cells) < len(drivers) + 2:
        return None
    rates = np.array([cell.wakeups_per_s for cell in cells]) * 1e-6
    own = np.array([[cell.driver == driver for driver in drivers] for cell in cells]) * rates[:, None]
    target = 1 - rates * operation_us / cores
    best: tuple[float, Model] | None = None
    for join_us, cold_at in product(JOIN_US, COLD_AT):
        interrupts = np.array([cell.interrupts_per_s(join_us) for cell in cells]) * 1e-6
        cold = rates * np.array([_cold(cell, cold_at) for cell in cells])
        parts, error = nnls(np.column_stack([own, interrupts, cold]) / cores[:, None], target)
        if best is None or error < best[0] - 1e-9:
            names = dict(zip(drivers, (float(part) for part in parts), strict=False))
            best = (
                error,
                Model(names, float(parts[-2]), float(parts[-1]), operation_us, join_us, cold_at),
            )
    return best[1] if best else None


def fitted(frame: pd.DataFrame) -> Model | None:
    """The model of all cells; ``None`` where too few were measured."""
    means = _means(observed(frame))
    return fit(list(means.index), means.to_numpy(), operation_us(frame)) if len(means) else None


def _means(table: pd.DataFrame) -> pd.Series:
    return table.groupby("cell", sort=False)["cores"].mean() if len(table) else pd.Series(dtype=float)


# --------------------------------------------------------------------------------------------------- test


@dataclass(frozen=True)
class Held:
    """How far predictions are off for numbers of processes that were held out, each in its turn.

    ``errors``: a row a cell, ``cell``, ``measured``, ``predicted`` (cores) and ``error`` (relative, signed).
    """

    errors: pd.DataFrame

    def error(self, q: float, far: bool = False) -> float:
        """Quantile of the relative errors, ``far`` only for the most processes; NaN without cells."""
        found = self.errors
        if far and len(found):
            most = max(cell.processes for cell in found["cell"])
            found = found[[cell.processes == most for cell in found["cell"]]]
        return float(found["error"].abs().quantile(q)) if len(found) else math.nan

    @property
    def holds(self) -> bool | None:
        """Whether it is as good as promised; ``None`` where it could not be tested."""
        if not len(self.errors):
            return None
        return self.error(0.5) <= MEDIAN_BOUND and self.error(0.9) <= P90_BOUND


def held_out(frame: pd.DataFrame) -> Held:
    """Leave out every number of processes in turn, fit the others, and predict it."""
    means = _means(observed(frame))
    cost = operation_us(frame)
    found = []
    numbers = sorted({cell.processes for cell in means.index})
    for number in numbers if len(numbers) >= LEAST_NUMBERS else ():
        seen = [cell for cell in means.index if cell.processes != number]
        model = fit(seen, means[seen].to_numpy(), cost) if seen else None
        for cell in means.index if model else ():
            predicted = model.cores(cell) if cell.processes == number else math.nan
            if np.isfinite(predicted):
                measured = float(means[cell])
                found.append((cell, measured, predicted, predicted / measured - 1))
    return Held(pd.DataFrame(found, columns=["cell", "measured", "predicted", "error"]))


# ---------------------------------------------------------------------------------------------- far away


@dataclass(frozen=True)
class Far:
    """Cores needed for many processes: the model's value and a 95 % prediction interval."""

    cell: Demand
    cores: float
    low: float
    high: float


def carried(
    frame: pd.DataFrame,
    granularities_us: Sequence[float],
    driver: str = timers.TICKLESS,
    processes: int = FAR,
    seed: int = 2004,
) -> list[Far]:
    """Carry the model to more processes than can be run here.

    The interval is a bootstrap over rounds and cells, each prediction off by one of the errors that were made for
    numbers of processes held out. Empty where there is no model.
    """
    table, model, held = observed(frame), fitted(frame), held_out(frame)
    if model is None or driver not in model.own_us or held.errors.empty:
        return []
    rng = np.random.default_rng(seed)
    by_round = table.pivot_table(index="round", columns="cell", values="cores", sort=False)
    missed = np.log((held.errors["predicted"] / held.errors["measured"]).to_numpy())
    far = [
        Demand(driver, processes, granularity, cpus=timers.cpus(frame)) for granularity in granularities_us
    ]
    draws = []
    for _ in range(BOOTSTRAP):
        rounds = rng.integers(len(by_round), size=len(by_round))
        means = by_round.iloc[rounds].mean().dropna()
        chosen = rng.integers(len(means), size=len(means))
        again = fit([means.index[i] for i in chosen], means.to_numpy()[chosen], model.operation_us)
        if again is not None and driver in again.own_us:
            off = np.exp(-rng.choice(missed, size=len(far)))
            draws.append([again.cores(cell) for cell in far] * off)
    if not draws:
        return []
    low, high = np.quantile(np.array(draws), (0.025, 0.975), axis=0)
    return [
        Far(cell, model.cores(cell), float(a), float(b)) for cell, a, b in zip(far, low, high, strict=True)
    ]
