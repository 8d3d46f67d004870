"""Laws of demand, period by period and item by item, in whole units.

A law turns uniform random numbers into demand by inverting its distribution, so equal random numbers give equal demand
whatever is decided, and a larger mean gives, with the same numbers, no smaller demand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orl.arrays import frozen
from orl.errors import InputError

MAX_DEMAND = 2**20  # units of one item in one period
MAX_MEAN = 500.0  # of a Poisson law: exp(-mean) must be a number
MAX_PERIODS = 2**20


@dataclass(frozen=True, eq=False)
class IndependentDemand:
    """Demand of every period drawn from the same law, independently of all else.

    Parameters
    ----------
    probabilities : sequence of sequences of float, (num_items, K)
        `probabilities[i][d]`: of a demand of d units of item i; every row sums to 1.

    Examples
    --------
    >>> IndependentDemand([[0.5, 0.5], [0.0, 1.0]]).mean.tolist()
    [0.5, 1.0]
    """

    probabilities: np.ndarray

    def __post_init__(self) -> None:
        rows = [np.array(row, dtype=np.float64) for row in self.probabilities]
        if not rows or any(row.ndim != 1 or len(row) == 0 for row in rows):
            raise InputError("demand: expected a row of probabilities for every item.")
        for item, row in enumerate(rows):
            if not np.isfinite(row).all() or (row < 0).any():
                bad = int((~(row >= 0) | ~np.isfinite(row)).argmax())
                raise InputError(
                    f"demand: probabilities must be >= 0, got {row[bad]:g} for {bad} units of item {item}."
                )
            if abs(row.sum() - 1) > 1e-9:
                raise InputError(f"demand: probabilities must sum to 1, got {row.sum():.10g} for item {item}.")
        if max(map(len, rows)) > MAX_DEMAND + 1:
            raise InputError(f"demand must be at most {MAX_DEMAND} units, got {max(map(len, rows)) - 1}.")
        table = np.zeros((len(rows), max(map(len, rows))))
        for item, row in enumerate(rows):
            # Sums that are 1 but for rounding stay as they are, so that what is written reads back the same.
            table[item, : len(row)] = row if abs(row.sum() - 1) < 1e-14 else row / row.sum()
        object.__setattr__(self, "probabilities", frozen(table))

    @property
    def num_items(self) -> int:
        return len(self.probabilities)

    @property
    def mean(self) -> np.ndarray:
        """Mean demand of each item, (num_items,)."""
        return self.probabilities @ np.arange(self.probabilities.shape[1])

    @property
    def variance(self) -> np.ndarray:
        """Variance of each item's demand, (num_items,)."""
        return self.probabilities @ np.arange(self.probabilities.shape[1]) ** 2.0 - self.mean**2

    @property
    def is_random(self) -> bool:
        return bool((self.probabilities.max(axis=1) < 1).any())

    @property
    def cumulative(self) -> np.ndarray:
        """Probability of at most d units, (num_items, K); exactly 1 from the largest possible demand on."""
        table = self.probabilities.cumsum(axis=1)
        last = self.probabilities.shape[1] - 1 - (self.probabilities[:, ::-1] > 0).argmax(axis=1)
        table[np.arange(table.shape[1]) >= last[:, None]] = 1.0
        return table

    def describe(self) -> str:
        """Say in a few words what the law is."""
        low, high = self.mean.min(), self.mean.max()
        mean = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        return f"independent demand, mean {mean} an item and period"


@dataclass(frozen=True, eq=False)
class PathDemand:
    """Demand that is known for every period.

    Parameters
    ----------
    path : sequence of sequences of int >= 0, (num_periods, num_items)
    """

    path: np.ndarray

    def __post_init__(self) -> None:
        try:
            path = np.array(self.path, dtype=np.float64)
        except ValueError:
            raise InputError("demand: a path needs one row a period with one number an item.") from None
        if path.ndim != 2 or path.size == 0:
            raise InputError("demand: a path needs one row a period with one number an item.")
        bad = ~((path >= 0) & (path <= MAX_DEMAND) & (path == np.floor(path)))
        if bad.any():
            period, item = np.argwhere(bad)[0]
            raise InputError(
                f"demand must be whole, >= 0 and at most {MAX_DEMAND}, got {path[period, item]:g} "
                f"in period {period} of item {item}."
            )
        object.__setattr__(self, "path", frozen(path.astype(np.int64)))

    @property
    def num_items(self) -> int:
        return self.path.shape[1]

    @property
    def mean(self) -> np.ndarray:
        """Mean demand of each item over the path, (num_items,)."""
        return self.path.mean(axis=0)

    @property
    def is_random(self) -> bool:
        return False

    def describe(self) -> str:
        """Say in a few words what the law is."""
        return "known demand"


@dataclass(frozen=True, eq=False)
class SeasonalDemand:
    """Poisson demand whose mean follows a season and the last period's surprise.

    With `m(t) = means * season[t mod len(season)]` the mean of period t is, given demand D(t-1) of the period before,
    `max(0, m(t) + autocorrelation * (D(t-1) - m(t-1)))`; before the first period there was no surprise. It is a Poisson
    autoregression of order one (Fokianos, Rahbek, Tjostheim 2009, doi 10.1198/jasa.2009.tm08270, has the family); what
    a policy must know of the past is the last demand.

    Parameters
    ----------
    means : sequence of float >= 0, (num_items,)
        Units a period, over a season whose factors average 1.
    season : sequence of float >= 0
        Factors of the periods of one season; a single 1: none.
    autocorrelation : float in [0, 1)
    """

    means: np.ndarray
    season: np.ndarray = (1.0,)  # type: ignore[assignment]
    autocorrelation: float = 0.0

    def __post_init__(self) -> None:
        for key in ("means", "season"):
            try:
                values = np.array(getattr(self, key), dtype=np.float64)
            except (TypeError, ValueError):
                raise InputError(f"demand: {key} must be numbers.") from None
            if values.ndim != 1 or len(values) == 0:
                raise InputError(f"demand: {key} must be a list of numbers.")
            if not ((values >= 0) & (values <= MAX_MEAN)).all():
                bad = int((~((values >= 0) & (values <= MAX_MEAN))).argmax())
                raise InputError(f"demand: {key} must be in 0..{MAX_MEAN:g}, got {values[bad]:g} at {bad}.")
            object.__setattr__(self, key, frozen(values))
        if not 0 <= self.autocorrelation < 1:
            raise InputError(f"demand: autocorrelation must be >= 0 and below 1, got {self.autocorrelation}.")
        top = self.means.max() * self.season.max()
        if top > MAX_MEAN:
            raise InputError(f"demand: means times season must be at most {MAX_MEAN:g}, got {top:g}.")

    @property
    def num_items(self) -> int:
        return len(self.means)

    @property
    def mean(self) -> np.ndarray:
        """Mean demand of each item over a season, (num_items,)."""
        return self.means * self.season.mean()

    @property
    def is_random(self) -> bool:
        return bool(self.means.any() and self.season.any())

    def describe(self) -> str:
        """Say in a few words what the law is."""
        words = [f"season of {len(self.season)} periods"] if len(self.season) > 1 else []
        words += [f"autocorrelation {self.autocorrelation:g}"] if self.autocorrelation else []
        return f"Poisson demand{', ' if words else ''}{', '.join(words)}"


Demand = IndependentDemand | PathDemand | SeasonalDemand


def binomial(num_items: int, trials: int, probability: float) -> IndependentDemand:
    """Return binomial demand, the same for every item.

    >>> binomial(1, 4, 0.4).mean.round(12).tolist()
    [1.6]
    """
    if not (isinstance(trials, int | np.integer) and 0 <= trials <= 10_000):
        raise InputError(f"demand: n of a binomial law must be whole and in 0..10000, got {trials!r}.")
    if not 0 <= probability <= 1:
        raise InputError(f"demand: p of a binomial law must be in 0..1, got {probability!r}.")
    from scipy.stats import binom

    return IndependentDemand(np.tile(binom.pmf(np.arange(trials + 1), trials, probability), (num_items, 1)))


def discrete(num_items: int, values: Sequence[int], weights: Sequence[float]) -> IndependentDemand:
    """Return demand from values and their probabilities, the same for every item; repeated values are added up.

    >>> discrete(1, [0, 0, 1], [0.25, 0.25, 0.5]).probabilities.tolist()
    [[0.5, 0.5]]
    """
    if len(values) != len(weights) or not values:
        raise InputError(f"demand: expected as many values as probabilities, got {len(values)} and {len(weights)}.")
    for value in values:
        if not _is_whole(value) or value < 0:
            raise InputError(f"demand: values must be whole and >= 0, got {value!r}.")
    if max(values) > MAX_DEMAND:
        raise InputError(f"demand must be at most {MAX_DEMAND} units, got {max(values)}.")
    row = np.zeros(int(max(values)) + 1)
    try:
        np.add.at(row, np.array(values, dtype=np.int64), np.array(weights, dtype=np.float64))
    except (TypeError, ValueError):
        raise InputError(f"demand: probabilities must be numbers, got {str(weights)[:60]}.") from None
    return IndependentDemand(np.tile(row, (num_items, 1)))


def uniform(ranges: Sequence[tuple[int, int]]) -> IndependentDemand:
    """Return demand uniform on low..high, both included, (low, high) an item.

    >>> uniform([(0, 1), (2, 2)]).mean.tolist()
    [0.5, 2.0]
    """
    rows = []
    for item, (low, high) in enumerate(ranges):
        if not (_is_whole(low) and _is_whole(high)) or not 0 <= low <= high <= MAX_DEMAND:
            raise InputError(f"demand: a uniform law needs whole 0 <= low <= high, got {low}, {high} for item {item}.")
        row = np.zeros(int(high) + 1)
        row[int(low) :] = 1 / (high - low + 1)
        rows.append(row)
    return IndependentDemand(rows)  # type: ignore[arg-type]


def poisson(means: Sequence[float]) -> SeasonalDemand:
    """Return independent Poisson demand, one mean an item."""
    return SeasonalDemand(means)  # type: ignore[arg-type]


def expected(demand: Demand, period: int, last_demand: np.ndarray | None) -> np.ndarray:
    """Return the mean demand of a period, (num_items,), given that of the period before, if there was one."""
    if isinstance(demand, IndependentDemand):
        return demand.mean
    if isinstance(demand, PathDemand):
        return demand.path[period].astype(np.float64)
    season = demand.season
    mean = demand.means * season[period % len(season)]
    if last_demand is None or demand.autocorrelation == 0:
        return mean
    before = demand.means * season[(period - 1) % len(season)]
    return np.maximum(0.0, mean + demand.autocorrelation * (last_demand - before))


def truncated_horizon(discount: float, tail: float) -> int:
    """Return after how many periods later costs weigh less than `tail`."""
    return max(1, math.ceil(math.log(tail) / math.log(discount)))


def _is_whole(value: object) -> bool:
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)
