"""The records of capacitated lot sizing: an instance and a plan. Checked once, when made; immutable after."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from orl.arrays import frozen
from orl.errors import InputError

MAX_ENTRIES = 2_000_000  # periods times items
MAX_NUMBER = 1e12
SETUP = 1e-6  # units of production below which there is none, and no set-up


@dataclass(frozen=True)
class CapacitatedSettings:
    """What `--set` may change about capacitated lot sizing.

    Parameters
    ----------
    setups : 'binary' or 'relaxed'
        Whether whoever makes anything of an item pays its whole set-up, or a share of it that grows with what is made:
        the continuous relaxation as a process of its own, see the README.
    formulation : 'facility', 'plain' or 'plain-ls'
        Of the model `exact`: facility location; production and stock; the latter with (l, S) inequalities, as far as
        the relaxation violates them.
    overtime : float > 0
        Cost of a unit of capacity beyond what there is; inf: there is none. Policies cannot be sure of the capacity
        that is to come, so they need a price.
    demand : 'file' or 'random'
        The file's, or each period's multiplied by factors of which `samples` are drawn once and for all: nature
        chooses one of them, all equally likely, in every period anew.
    variation : float in [0, 1)
        Factors are uniform on 1 -+ this, for every item apart.
    samples : int in 1..1000
    demand_seed : int >= 0
        Of the factors.
    stock_limit : float > 0
        The most stock of an item at the end of a period, in periods of its mean demand; inf: all
        that may be demanded in the horizon, or the initial stock if that is more.
    """

    setups: Literal["binary", "relaxed"] = "binary"
    formulation: Literal["facility", "plain", "plain-ls"] = "facility"
    overtime: float = float("inf")
    demand: Literal["file", "random"] = "file"
    variation: float = 0.2
    samples: int = 10
    demand_seed: int = 0
    stock_limit: float = float("inf")

    def __post_init__(self) -> None:
        for key, kind in get_type_hints(type(self)).items():
            if get_origin(kind) is Literal and getattr(self, key) not in get_args(kind):
                raise ValueError(f"{key} must be one of {', '.join(get_args(kind))}, got {getattr(self, key)!r}.")
        for key in ("overtime", "stock_limit"):
            if not (0 < getattr(self, key) <= MAX_NUMBER or getattr(self, key) == float("inf")):
                raise ValueError(f"{key} must be > 0, or inf, got {getattr(self, key)}.")
        if not 0 <= self.variation < 1:
            raise ValueError(f"variation must be >= 0 and below 1, got {self.variation}.")
        if not 1 <= self.samples <= 1000:
            raise ValueError(f"samples must be in 1..1000, got {self.samples}.")
        if not 0 <= self.demand_seed < 2**63:
            raise ValueError(f"demand_seed must be >= 0 and below 2**63, got {self.demand_seed}.")


@dataclass(frozen=True, eq=False)
class CapacitatedLotSizing:
    """Lot sizing in big buckets: several items share the capacity of a period; a set-up costs money and capacity.

    Parameters
    ----------
    name : str
    demand : sequence of sequences of float >= 0, (num_periods, num_items)
        Units; of random demand the middle of each factor.
    capacity : sequence of float >= 0, (num_periods,)
        Of a period, in units of time.
    unit_times, setup_times : sequence of float >= 0, (num_items,)
        Capacity that a unit, and a set-up, takes.
    setup_costs, holding_costs : sequence of float >= 0, (num_items,)
        Of a set-up; of a unit in stock at the end of a period.
    unit_cost : float >= 0
        Of every unit made; it is left out of costs, for all demand is made.
    initial_stock : sequence of float >= 0, (num_items,), or None
        None: 0.
    settings : CapacitatedSettings
    source : str
        File, for messages.

    Examples
    --------
    >>> two = CapacitatedLotSizing("two", [[3, 0], [2, 4]], [9, 9], [1, 1], [1, 1], [10, 20], [1, 1])
    >>> two.num_periods, two.num_items
    (2, 2)
    """

    name: str
    demand: np.ndarray
    capacity: np.ndarray
    unit_times: np.ndarray
    setup_times: np.ndarray
    setup_costs: np.ndarray
    holding_costs: np.ndarray
    unit_cost: float = 0.0
    initial_stock: np.ndarray = None  # type: ignore[assignment]  # zeros are made of it
    settings: CapacitatedSettings = field(default_factory=CapacitatedSettings)
    source: str = ""

    problem = "clsp"

    def __post_init__(self) -> None:
        demand = self._numbers("demand", None)
        if demand.ndim != 2 or demand.size == 0:
            raise self._error(f"demand must be a table of periods times items, got shape {demand.shape}.")
        if demand.size > MAX_ENTRIES:
            raise self._error(f"{demand.shape[0]} periods x {demand.shape[1]} items are too many.")
        _set(self, "demand", demand)
        _set(self, "capacity", self._numbers("capacity", demand.shape[:1]))
        for key in ("unit_times", "setup_times", "setup_costs", "holding_costs", "initial_stock"):
            if key == "initial_stock" and self.initial_stock is None:
                _set(self, key, np.zeros(demand.shape[1]))
            _set(self, key, self._numbers(key, demand.shape[1:]))
        if not 0 <= self.unit_cost < MAX_NUMBER:
            raise self._error(f"unit_cost must be >= 0, got {self.unit_cost}.")
        if (self.initial_stock > self.stock_limits).any():
            raise self._error("initial_stock must be within stock_limit.")

    # what follows from the fields

    @property
    def num_periods(self) -> int:
        return self.demand.shape[0]

    @property
    def num_items(self) -> int:
        return self.demand.shape[1]

    @property
    def is_random(self) -> bool:
        """Whether scenarios differ."""
        return self.settings.demand == "random" and self.settings.samples > 1

    @cached_property
    def outcomes(self) -> np.ndarray:
        """What demand can be, (num_periods, num_samples, num_items); all samples of a period are equally likely."""
        if self.settings.demand == "file":
            return frozen(self.demand[:, None])
        rng, spread = np.random.default_rng(self.settings.demand_seed), self.settings.variation
        factors = rng.uniform(1 - spread, 1 + spread, (self.num_periods, self.settings.samples, self.num_items))
        return frozen(self.demand[:, None] * factors)

    @cached_property
    def expected_demand(self) -> np.ndarray:
        """Mean demand, (num_periods, num_items)."""
        return frozen(self.outcomes.mean(axis=1))

    @cached_property
    def stock_limits(self) -> np.ndarray:
        """The most stock of each item at the end of a period, (num_items,), all that may be demanded if none is set."""
        most = self.outcomes.max(axis=1).sum(axis=0)
        if self.settings.stock_limit == float("inf"):
            return frozen(np.maximum(most, self.initial_stock))
        return frozen(self.settings.stock_limit * self.expected_demand.mean(axis=0))

    @cached_property
    def largest_lots(self) -> np.ndarray:
        """What a period can make of each item at most, alone and without overtime, (num_periods, num_items).

        No more than all demand that is left can be, and no less than the period's; where that is
        nothing, what a period can ask for at most.
        """
        most = self.outcomes.max(axis=1)
        later = most[::-1].cumsum(axis=0)[::-1]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # what needs next to no time has no limit
            room = (self.capacity[:, None] - self.setup_times) / self.unit_times
        room = np.where(self.unit_times > 0, np.maximum(room, 0.0), np.inf)
        lots = np.maximum(np.minimum(later, room), most)
        return frozen(np.where(lots > 0, lots, np.maximum(most.max(axis=0), 1.0)))

    def item_label(self, item: int) -> str:
        return str(item)

    # private

    def _error(self, message: str) -> InputError:
        return InputError(f"{self.source or self.name}: {message}")

    def _numbers(self, key: str, shape: tuple[int, ...] | None) -> np.ndarray:
        try:
            values = np.array(getattr(self, key), dtype=np.float64)
        except (TypeError, ValueError):
            raise self._error(f"{key} must be numbers, as many in each row.") from None
        if shape is not None and values.shape != shape:
            raise self._error(f"{key} must have shape {shape}, got {values.shape}.")
        bad = ~((values >= 0) & (values <= MAX_NUMBER))
        if bad.any():
            place = tuple(np.argwhere(bad)[0].tolist())
            raise self._error(f"{key} must be >= 0 and at most {MAX_NUMBER:g}, got {values[place]:g} at {list(place)}.")
        return values


@dataclass(frozen=True, eq=False)
class CapacitatedPlan:
    """What is made.

    Parameters
    ----------
    production : sequence of sequences of float, (num_periods, num_items)
        Units.
    """

    production: np.ndarray

    def __post_init__(self) -> None:
        _set(self, "production", np.array(self.production, dtype=np.float64))


def _set(record: object, key: str, value: Any) -> None:
    object.__setattr__(record, key, frozen(np.array(value)))
