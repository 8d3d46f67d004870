"""Items alone: their data for kernels, laid out over levels of stock and masks of machines that are set up for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from orl.errors import InputError

from .instance import LotSizing
from .laws import laws_of
from .scenario import Realised

MAX_BYTES = 8_000_000_000  # of the tables of one item: values before and after decisions, and what machines do


class Item(NamedTuple):
    """One item of an instance, for kernels.

    Parameters
    ----------
    machine : int ndarray (k,)
        The machines that can make it.
    made_fresh, made_more : int ndarray (k,)
        Units that each makes in a period, newly set up or set up before.
    setup_cost : ndarray (k,)
    empty, full : int
        Levels of an empty stock and of the stock limit.
    floor : int
        The lowest level after demand: with lost sales `empty`, else 0.
    holding, shortage : float
        Cost a unit.
    forbids, keeps, is_alone : bool
        Whether stock must not exceed its limit before demand; idle machines stay set up; one machine at most makes it.
    """

    machine: np.ndarray
    made_fresh: np.ndarray
    made_more: np.ndarray
    setup_cost: np.ndarray
    empty: int
    full: int
    floor: int
    holding: float
    shortage: float
    forbids: bool
    keeps: bool
    is_alone: bool


class Nature(NamedTuple):
    """Demand of one item, for kernels.

    Parameters
    ----------
    law : int ndarray (periods,)
        Number of the law of each period.
    first : int ndarray (laws + 1,)
        Where each law begins in the following.
    demand : int ndarray, probability : ndarray
    weight : ndarray (periods,)
        Of a cost: discount and cost factor.
    """

    law: np.ndarray
    first: np.ndarray
    demand: np.ndarray
    probability: np.ndarray
    weight: np.ndarray


class Room(NamedTuple):
    """Arrays for kernels to work in: `now`, `then` (flags, masks, levels after production), `row` (levels + demand)."""

    now: np.ndarray
    then: np.ndarray
    row: np.ndarray


class Part(NamedTuple):
    """An item with its demand, and where it starts.

    Parameters
    ----------
    item : Item
    nature : Nature
    start : ndarray (masks, levels)
        Probabilities of the first state.
    num_posts : int
        Levels after production.
    """

    item: Item
    nature: Nature
    start: np.ndarray
    num_posts: int

    @property
    def num_flags(self) -> int:
        return 2 if self.item.is_alone else 1

    def room(self) -> Room:
        shape = self.num_flags, len(self.start), self.num_posts
        return Room(np.zeros(shape), np.zeros(shape), np.empty(self.num_posts + int(self.nature.demand.max())))

    def choices(self) -> np.ndarray:
        """Return a table for what machines do, (periods, k, flags, masks, levels after production)."""
        shape = len(self.nature.weight), len(self.item.machine), self.num_flags, len(self.start), self.num_posts
        return np.empty(shape, dtype=np.uint8)


def expected_parts(instance: LotSizing) -> list[Part]:
    """Return the items of an instance, demand being random.

    Raises
    ------
    InputError
        If demand or costs depend on more than the period.
    """
    _check_falls_apart(instance)
    if instance.settings.cost_noise > 0 or getattr(instance.demand, "autocorrelation", 0.0) > 0:
        what = "cost_noise" if instance.settings.cost_noise > 0 else "autocorrelated demand"
        raise InputError(f"{instance.name}: items alone do not have {what} in their state.")
    periods, first = instance.periods_left, instance.first_period
    laws = [laws_of(instance.demand, first + t) for t in range(periods)]
    weight = instance.settings.discount ** np.arange(periods)
    natures = [_nature([law[item] for law in laws], weight) for item in range(instance.num_items)]
    has_random_start = instance.settings.start == "random" and instance.state is None
    if has_random_start:
        stock = instance.stock_limits
    else:
        stock = instance.initial_stock if instance.state is None else instance.state.stock  # type: ignore[assignment]
    setup = instance.initial_setup if instance.state is None else instance.state.setup
    assert setup is not None
    parts = []
    for number, nature in enumerate(natures):
        part = _part(instance, number, nature, setup, int(stock[number]))
        if has_random_start:
            part.start[:] = 0.0
            low, count = part.item.empty, int(stock[number]) + 1
            part.start[:, low : low + count] = _random_masks(instance, part.item.machine)[:, None] / count
        parts.append(part)
    return parts


def known_parts(instance: LotSizing, seen: Realised) -> list[Part]:
    """Return the items of an instance, all that a scenario brings being known."""
    _check_falls_apart(instance)
    natures = known_natures(instance, seen)
    return [
        _part(instance, number, nature, seen.setup, int(seen.stock[number])) for number, nature in enumerate(natures)
    ]


def known_natures(instance: LotSizing, seen: Realised) -> list[Nature]:
    """Return of each item the demand that a scenario brings; law t is that of period t."""
    periods = instance.periods_left
    weights = np.tile(instance.settings.discount ** np.arange(periods), (instance.num_items, 1))
    if seen.cost_factors is not None:
        weights = weights * seen.cost_factors.T
    number = np.arange(periods + 1)
    return [
        Nature(number[:-1], number, np.ascontiguousarray(seen.demand[:, item]), np.ones(periods), weights[item])
        for item in range(instance.num_items)
    ]


def start_at(part: Part, number: int, setup: np.ndarray, stock: int) -> np.ndarray:
    """Return the probabilities of the first state if set-ups and stock are known, (masks, levels)."""
    start = np.zeros(part.start.shape)
    mask = sum(1 << j for j, machine in enumerate(part.item.machine.tolist()) if setup[machine] == number + 1)
    start[mask, part.item.empty + stock] = 1.0
    return start


def _part(instance: LotSizing, number: int, nature: Nature, setup: np.ndarray, stock: int) -> Part:
    settings, limit = instance.settings, int(instance.stock_limits[number])
    is_lost = settings.unmet == "lost"
    most = np.maximum.reduceat(nature.demand, nature.first[:-1])[nature.law]  # of each period
    low = 0 if is_lost else min(stock, 0) - int(most.sum())
    top = max(limit, stock) - low
    machine = np.flatnonzero(instance.rates[:, number])
    item = Item(
        machine=machine,
        made_fresh=instance.output[machine, 0, number + 1].copy(),
        made_more=instance.rates[machine, number].copy(),
        setup_cost=instance.changeover_cost[machine, 0, number + 1].copy(),
        empty=-low,
        full=limit - low,
        floor=-low if is_lost else 0,
        holding=float(instance.holding_costs[number]),
        shortage=float(instance.shortage_costs[number]),
        forbids=settings.overflow == "forbid",
        keeps=settings.idle == "keeps-setup",
        is_alone=settings.item_machines == "one",
    )
    # Stock above limit and largest demand is above its limit after demand, so more makes no difference.
    num_posts = top + 1 if item.forbids else max(top, item.full + int(nature.demand.max())) + 1
    masks = 2 ** len(machine)
    places = len(nature.weight) * masks * num_posts * (2 if item.is_alone else 1)
    if (size := places * (16 + len(machine))) > MAX_BYTES:
        raise InputError(
            f"{instance.name}: the tables of item {instance.item_label(number)} alone take {size:.3g} bytes, "
            f"more than {MAX_BYTES:.3g}; use a rule or rolling."
        )
    part = Part(item, nature, np.zeros((masks, top + 1)), num_posts)
    part.start[:] = start_at(part, number, setup, stock)
    return part


def _nature(laws: Sequence[tuple[np.ndarray, np.ndarray]], weight: np.ndarray) -> Nature:
    """Return the demand of an item whose laws (demand, probability) are given period by period; equal ones once."""
    known: dict[bytes, int] = {}
    distinct: list[tuple[np.ndarray, np.ndarray]] = []
    number = []
    for demand, probability in laws:
        key = demand.tobytes() + b"|" + probability.tobytes()
        if key not in known:
            known[key] = len(distinct)
            distinct.append((demand, probability))
        number.append(known[key])
    return Nature(
        np.array(number),
        np.cumsum([0, *(len(demand) for demand, _ in distinct)]),
        np.concatenate([demand for demand, _ in distinct]).astype(np.int64),
        np.concatenate([probability for _, probability in distinct]).astype(np.float64),
        weight,
    )


def _random_masks(instance: LotSizing, machines: np.ndarray) -> np.ndarray:
    """Return how likely each mask of an item's machines is at a random start."""
    chances = np.ones(1)
    for machine in machines.tolist():
        share = 1 / int(instance.possible[machine].sum())
        chances = np.concatenate([chances * (1 - share), chances * share])
    return chances


def _check_falls_apart(instance: LotSizing) -> None:
    if instance.settings.unmet == "forbid":
        raise InputError(f"{instance.name}: items alone do not know what unmet=forbid asks of the machine.")
    if instance.is_sequence_dependent:
        raise InputError(
            f"{instance.name}: set-ups depend on what a machine was set up for before, so items do not fall apart; "
            "use rolling or a rule."
        )
