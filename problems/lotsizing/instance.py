"""The records of lot sizing: an instance, a state on the way, and a plan. Checked once, when made; immutable after."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from orl.arrays import frozen, whole_numbers
from orl.errors import InputError
from orl.problem import KnownBounds

from .demand import MAX_PERIODS, Demand, PathDemand, expected, truncated_horizon

MAX_UNITS = 2**40  # of stock; keeps every sum exact in a float
MAX_ENTRIES = 2**26  # of the changeover tables
_TABLES = ("possible", "changeover_cost", "changeover_loss", "output")  # that neither state nor settings change


@dataclass(frozen=True)
class LotSizingSettings:
    """What `--set` may change about lot sizing.

    Parameters
    ----------
    discount : float in (0, 1]
        Of a cost one period later.
    horizon : str
        'file': the file's number of periods; 'infinite': for ever, simulated until later costs weigh less than `tail`;
        a number: so many periods; 'auto': 'infinite' with a discount below 1, else 'file'.
    tail : float in (0, 1)
        Weight at which an infinite horizon is cut off.
    decision : 'machine' or 'joint'
        Whether machines are decided one after another, in order, each knowing what those before it do, or all at once.
    unmet : 'lost', 'backlog' or 'forbid'
        Whether demand that stock cannot meet is lost; or waits, and the shortage cost is then paid for each period of
        waiting; or must not be: choices after which not all demand could be met are illegal, as long as there are
        others. Then demand must be known, the machine one that makes a unit a period of what it can make.
    overflow : 'discard' or 'forbid'
        What happens to stock beyond its limit: it is thrown away after demand, or a decision that brings stock above
        its limit before demand is illegal (with decision=machine, or one machine).
    idle : 'loses-setup' or 'keeps-setup'
        Whether a machine that is idle for a period must be set up again for the item that it made before.
    item_machines : 'any' or 'one'
        How many machines may make one item in a period (one: with decision=machine, or one machine).
    start : 'file' or 'random'
        Whether set-ups and stock at the start are those of the file or drawn in every scenario: set-ups uniformly among
        idle and what the machine can make, stock uniformly from 0 to its limit.
    cost_noise : float in [0, 1)
        Each period's set-up, holding and shortage costs of an item are multiplied by a factor drawn uniformly from
        [1 - cost_noise, 1 + cost_noise], known before the decision of that period.
    """

    discount: float = 1.0
    horizon: str = "auto"
    tail: float = 1e-6
    decision: Literal["machine", "joint"] = "machine"
    unmet: Literal["lost", "backlog", "forbid"] = "lost"
    overflow: Literal["discard", "forbid"] = "discard"
    idle: Literal["loses-setup", "keeps-setup"] = "loses-setup"
    item_machines: Literal["any", "one"] = "any"
    start: Literal["file", "random"] = "file"
    cost_noise: float = 0.0

    def __post_init__(self) -> None:
        for key, kind in get_type_hints(type(self)).items():
            if get_origin(kind) is Literal and getattr(self, key) not in get_args(kind):
                raise ValueError(f"{key} must be one of {', '.join(get_args(kind))}, got {getattr(self, key)!r}.")
        if not 0 < self.discount <= 1:
            raise ValueError(f"discount must be > 0 and at most 1, got {self.discount}.")
        if not 0 < self.tail < 1:
            raise ValueError(f"tail must be > 0 and below 1, got {self.tail}.")
        if not 0 <= self.cost_noise < 1:
            raise ValueError(f"cost_noise must be >= 0 and below 1, got {self.cost_noise}.")
        is_number = self.horizon.isascii() and self.horizon.isdigit() and 1 <= int(self.horizon[:9]) <= MAX_PERIODS
        if self.horizon not in ("auto", "file", "infinite") and not is_number:
            raise ValueError(
                f"horizon must be auto, file, infinite or a number in 1..{MAX_PERIODS}, got {self.horizon!r}."
            )
        if self.horizon == "infinite" and self.discount == 1:
            raise ValueError("horizon=infinite needs a discount below 1, got 1.")
        if self.is_infinite and truncated_horizon(self.discount, self.tail) > MAX_PERIODS:
            raise ValueError(f"discount {self.discount} and tail {self.tail} need more than {MAX_PERIODS} periods.")

    @property
    def is_infinite(self) -> bool:
        """Whether the process goes on for ever."""
        return self.horizon == "infinite" or (self.horizon == "auto" and self.discount < 1)


@dataclass(frozen=True, eq=False)
class LotState:
    """Where set-ups and stock are at a time; choices: 0 idle, i + 1 item i.

    Parameters
    ----------
    period : int >= 0
        That is decided now, counted from the beginning of everything.
    setup : sequence of int, (num_machines,)
        What each machine is set up for.
    stock : sequence of int, (num_items,)
        Units; negative: backlog. With what has been booked.
    booked : sequence of int, at most (num_machines,)
        Choices of this period that have been made, of the first machines.
    last_demand : sequence of int, (num_items,), or None
        Of the period before.
    cost_factors : sequence of float > 0, (num_items,), or None
        In force in this period; None: 1.
    """

    period: int
    setup: np.ndarray
    stock: np.ndarray
    booked: np.ndarray
    last_demand: np.ndarray | None = None
    cost_factors: np.ndarray | None = None

    def __post_init__(self) -> None:
        for key in ("setup", "stock", "booked", "last_demand"):
            if getattr(self, key) is not None:
                object.__setattr__(self, key, whole_numbers(f"state: {key}", getattr(self, key)))
        if self.cost_factors is not None:
            _set(self, "cost_factors", np.array(self.cost_factors, dtype=np.float64))


@dataclass(frozen=True, eq=False)
class LotSizing:
    """Lot sizing on parallel machines in small buckets: a machine makes one item in a period, or is idle.

    Choices are numbered 0 for idle and i + 1 for item i.

    Parameters
    ----------
    name : str
    rates : sequence of sequences of int >= 0, (num_machines, num_items)
        Units that a machine makes of an item in a period; 0: it cannot.
    holding_costs : sequence of float >= 0, (num_items,)
        A unit and period, on stock after demand.
    shortage_costs : sequence of float >= 0, (num_items,)
        A unit of demand lost, or a unit and period of backlog.
    stock_limits : sequence of int >= 0, (num_items,)
        Units.
    demand : Demand
    num_periods : int >= 1
        The file's horizon.
    setup_costs : sequence of sequences of float >= 0, (num_machines, num_items)
        Of setting a machine up for an item from anything else.
    setup_losses : sequence of sequences of int >= 0, (num_machines, num_items)
        Units by which the first period of a set-up falls short of the rate (never below 0).
    changeover_costs, changeover_losses : (num_machines, 1 + num_items, 1 + num_items), or None
        In place of the two above, from (row) and to (column) choices; to idle costs nothing.
    initial_setup : sequence of int, (num_machines,), or None
        Choices; None: idle.
    initial_stock : sequence of int, (num_items,), or None
        None: 0.
    item_names, machine_names : sequence of str, or None
    settings : LotSizingSettings
    state : LotState or None
        From which the process goes on; None: from the start.
    source : str
        File, for messages.
    known : KnownBounds or None
        Bounds on the least cost that came with a file, of the instance and settings as it holds them.

    Examples
    --------
    >>> from orl.problems.lotsizing.demand import binomial
    >>> one = LotSizing("one", [[3, 3]], [1, 1], [10, 10], [10, 10], binomial(2, 2, 0.5), 5, [[1, 1]], [[1, 1]])
    >>> one.num_machines, one.num_items, one.horizon
    (1, 2, 5)
    """

    name: str
    rates: np.ndarray
    holding_costs: np.ndarray
    shortage_costs: np.ndarray
    stock_limits: np.ndarray
    demand: Demand
    num_periods: int
    setup_costs: np.ndarray | None = None
    setup_losses: np.ndarray | None = None
    changeover_costs: np.ndarray | None = None
    changeover_losses: np.ndarray | None = None
    initial_setup: np.ndarray | None = None
    initial_stock: np.ndarray | None = None
    item_names: tuple[str, ...] | None = None
    machine_names: tuple[str, ...] | None = None
    settings: LotSizingSettings = field(default_factory=LotSizingSettings)
    state: LotState | None = None
    source: str = ""
    known: KnownBounds | None = None

    problem = "lotsizing"

    def __post_init__(self) -> None:
        rates = self._table("rates", None, whole=True)
        if rates.ndim != 2 or rates.size == 0:
            raise self._error(f"rates must be a table of machines times items, got shape {rates.shape}.")
        machines, items = rates.shape
        choices = items + 1
        if machines * choices * choices > MAX_ENTRIES:
            raise self._error(f"{machines} machines x {items} items are too many; the changeover tables do not fit.")
        _set(self, "rates", rates)
        for key in ("holding_costs", "shortage_costs"):
            _set(self, key, self._table(key, (items,)))
        _set(self, "stock_limits", self._table("stock_limits", (items,), whole=True))
        if not isinstance(self.num_periods, int | np.integer) or not 1 <= self.num_periods <= MAX_PERIODS:
            raise self._error(f"num_periods must be whole and in 1..{MAX_PERIODS}, got {self.num_periods!r}.")
        for setup, changeover, whole in (
            ("setup_costs", "changeover_costs", False),
            ("setup_losses", "changeover_losses", True),
        ):
            if getattr(self, changeover) is not None:
                if getattr(self, setup) is not None:
                    raise self._error(f"give {setup} or {changeover}, not both.")
                table = self._table(changeover, (machines, choices, choices), whole)
                if table[:, :, 0].any():
                    raise self._error(f"{changeover} to idle must be 0.")
                _set(self, changeover, table)
            else:
                if getattr(self, setup) is None:
                    _set(self, setup, np.zeros((machines, items)))
                _set(self, setup, self._table(setup, (machines, items), whole))
        for key, count in (("item_names", items), ("machine_names", machines)):
            self._check_names(key, count)
        for key, count in (("initial_setup", machines), ("initial_stock", items)):
            if getattr(self, key) is None:
                _set(self, key, np.zeros(count))
            _set(self, key, self._table(key, (count,), whole=True))
        self._check_start()
        if self.demand.num_items != items:
            raise self._error(f"demand must be of {items} items, got {self.demand.num_items}.")
        if self.state is not None:
            from .state import check_state  # which knows instances

            check_state(self, self.state)
        if isinstance(self.demand, PathDemand):
            if self.settings.is_infinite:
                raise self._error("a path of demand ends: horizon=infinite needs a law; set horizon=file.")
            if len(self.demand.path) < self.horizon:
                raise self._error(f"demand must be known for {self.horizon} periods, got {len(self.demand.path)}.")
        if self.settings.unmet == "forbid":
            self._check_on_time()
        if self.settings.decision == "joint" and machines > 1:
            for key in ("overflow", "item_machines"):
                if getattr(self.settings, key) in ("forbid", "one"):
                    raise self._error(
                        f"{key}={getattr(self.settings, key)} ties machines together: set decision=machine."
                    )

    # what follows from the fields

    @property
    def num_machines(self) -> int:
        return self.rates.shape[0]

    @property
    def num_items(self) -> int:
        return self.rates.shape[1]

    @property
    def horizon(self) -> int:
        """Number of periods of an episode from the start; an infinite horizon is cut off after so many."""
        if self.settings.is_infinite:
            return truncated_horizon(self.settings.discount, self.settings.tail)
        is_given = self.settings.horizon.isdigit()
        return int(self.settings.horizon) if is_given else int(self.num_periods)

    @property
    def first_period(self) -> int:
        return 0 if self.state is None else self.state.period

    @property
    def periods_left(self) -> int:
        """Number of periods of an episode; an infinite horizon always lies as far ahead."""
        return self.horizon if self.settings.is_infinite else self.horizon - self.first_period

    @property
    def is_sequence_dependent(self) -> bool:
        """Whether set-ups depend on what a machine was set up for before."""
        return self.changeover_costs is not None or self.changeover_losses is not None

    @property
    def is_random(self) -> bool:
        """Whether scenarios differ."""
        settings = self.settings
        has_random_start = settings.start == "random" and self.state is None
        return self.demand.is_random or has_random_start or settings.cost_noise > 0

    @cached_property
    def possible(self) -> np.ndarray:
        """What each machine can be told, (num_machines, 1 + num_items); idle always."""
        return frozen(np.concatenate([np.ones((self.num_machines, 1), dtype=bool), self.rates > 0], axis=1))

    @cached_property
    def changeover_cost(self) -> np.ndarray:
        """Cost from choice to choice on each machine, (num_machines, 1 + num_items, 1 + num_items)."""
        return frozen(self._changeover(self.changeover_costs, self.setup_costs, np.float64))

    @cached_property
    def changeover_loss(self) -> np.ndarray:
        """Units lost from choice to choice on each machine, (num_machines, 1 + num_items, 1 + num_items)."""
        return frozen(self._changeover(self.changeover_losses, self.setup_losses, np.int64))

    @cached_property
    def output(self) -> np.ndarray:
        """Units made in a period, (num_machines, 1 + num_items, 1 + num_items), from set-up before to choice."""
        rates = np.concatenate([np.zeros((self.num_machines, 1), dtype=np.int64), self.rates], axis=1)
        return frozen(np.maximum(rates[:, None, :] - self.changeover_loss, 0) * (rates[:, None, :] > 0))

    def expected_demand(self, period: int, last_demand: np.ndarray | None = None) -> np.ndarray:
        """Return the mean demand of a period, given that of the period before, (num_items,)."""
        return expected(self.demand, period, last_demand)

    def item_label(self, item: int) -> str:
        return self.item_names[item] if self.item_names else str(item)

    def machine_label(self, machine: int) -> str:
        return self.machine_names[machine] if self.machine_names else str(machine)

    @cached_property
    def tuned(self) -> dict[str, np.ndarray]:
        """Parameters that rules have been tuned to, by rule; filled by `tuning`, of an `origin` only."""
        return {}

    @property
    def origin(self) -> LotSizing:
        """The instance that this one was derived from on the way; rules are tuned to that."""
        origin: LotSizing = self.__dict__.get("_origin", self)
        return origin

    def derived(self, **changes: Any) -> LotSizing:
        """Return the instance with some fields changed, for which rules keep the parameters that they are tuned to."""
        instance = replace(self, **changes)
        instance.__dict__["_origin"] = self.origin
        if changes.keys() <= {"state", "settings", "demand"}:
            instance.__dict__.update({key: getattr(self, key) for key in _TABLES})
        return instance

    # private

    def _error(self, message: str) -> InputError:
        return InputError(f"{self.source or self.name}: {message}")

    def _table(self, key: str, shape: tuple[int, ...] | None, whole: bool = False) -> np.ndarray:
        try:
            table = np.array(getattr(self, key), dtype=np.float64)
        except (TypeError, ValueError):
            raise self._error(f"{key} must be numbers, as many in each row.") from None
        if shape is not None and table.shape != shape:
            raise self._error(f"{key} must have shape {shape}, got {table.shape}.")
        bad = ~((table >= 0) & (table < MAX_UNITS))
        if whole:
            bad |= table != np.floor(table)
        if bad.any():
            place = tuple(np.argwhere(bad)[0].tolist())
            words = "whole and >= 0" if whole else ">= 0"
            raise self._error(f"{key} must be {words}, got {table[place]:g} at {list(place)}.")
        return table.astype(np.int64) if whole else table

    def _check_names(self, key: str, count: int) -> None:
        names = getattr(self, key)
        if names is None:
            return
        names = tuple(names)
        if len(names) != count or len(set(names)) != count or not all(isinstance(n, str) and n for n in names):
            raise self._error(f"{key} must be {count} different names.")
        if key == "item_names" and "idle" in names:
            raise self._error("item_names: 'idle' is what a machine does that makes nothing.")
        object.__setattr__(self, key, names)

    def _check_start(self) -> None:
        for machine, setup in enumerate(np.asarray(self.initial_setup).tolist()):
            if setup > self.num_items:
                raise self._error(f"initial_setup must be in 0..{self.num_items}, got {setup} at {machine}.")
        over = self.initial_stock > self.stock_limits
        if over.any():
            item = int(over.argmax())
            raise self._error(
                f"initial_stock must be within its limit {self.stock_limits[item]}, "
                f"got {self.initial_stock[item]} at {item}."  # type: ignore[index]
            )

    def _check_on_time(self) -> None:
        """Check that it can be told which choices leave no demand unmet."""
        losses = self.changeover_losses if self.changeover_losses is not None else self.setup_losses
        assert losses is not None
        needs = "unmet=forbid needs"
        if not isinstance(self.demand, PathDemand):
            raise self._error(f"{needs} demand that is known (law = 'path'), got {self.demand.describe()}.")
        if self.num_machines > 1:
            raise self._error(f"{needs} one machine, got {self.num_machines}.")
        if (self.rates > 1).any():
            item = int((self.rates[0] > 1).argmax())
            raise self._error(f"{needs} rates of 0 or 1, got {self.rates[0, item]} at item {self.item_label(item)}.")
        if losses.any():
            raise self._error(f"{needs} set-ups without losses.")
        total = self.demand.path.sum(axis=0)
        if (total > self.stock_limits).any():
            item = int((total > self.stock_limits).argmax())
            raise self._error(
                f"{needs} stock_limits that hold all demand, {total[item]} units of item {self.item_label(item)}, "
                f"got {self.stock_limits[item]}."
            )

    def _changeover(self, table: np.ndarray | None, of_item: np.ndarray | None, dtype: Any) -> np.ndarray:
        choices = self.num_items + 1
        if table is None:
            assert of_item is not None
            table = np.zeros((self.num_machines, choices, choices), dtype=dtype)
            table[:, :, 1:] = of_item[:, None, :]
        table = table.astype(dtype)
        same = np.arange(choices)
        table[:, same, same] = 0
        return table


@dataclass(frozen=True, eq=False)
class LotPlan:
    """What every machine did in every period of an episode.

    Parameters
    ----------
    choices : int ndarray (num_periods, num_machines)
        0 idle, i + 1 item i; the first row begins with what was booked before.
    """

    choices: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", whole_numbers("choices", self.choices))


def _set(record: object, key: str, value: Any) -> None:
    object.__setattr__(record, key, frozen(np.array(value)))
