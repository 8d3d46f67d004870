"""Lot sizing as items that share machines: each item is alone once every period of every machine has a price.

With X_i(t, m) = 1 if item i takes machine m in period t (is made there or, with idle=keeps-setup, keeps it set up),

    least expected cost  >=  L(prices) = sum_i min over policies of item i of E[cost_i + sum_tm price_tm X_i(t, m)]
                                         - sum_tm price_tm,        prices >= 0,

for a policy of all items is one of each, and takes a machine once at most. An item's state is its stock and which
machines are set up for it, so its minimum is a small dynamic program (`kernels_items`), and the expected use less 1 is
a supergradient of L. The same holds of one scenario known beforehand; demand is then a path. Set-ups must not depend on
what was made before.

Deciding: machine m goes to the item whose cost its time lowers most, what comes after it being paid for at the prices,
and what comes after the period being worth what the item's values say (`kernels_bids`).

References
----------
D. Adelman, A. J. Mersereau (2008). Relaxations of weakly coupled stochastic dynamic programs. Operations Research
56(3). doi 10.1287/opre.1070.0445
D. B. Brown, J. E. Smith, P. Sun (2010). Information relaxations and duality in stochastic dynamic programs. Operations
Research 58(4). doi 10.1287/opre.1090.0796
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from orl.decomposition import Relaxed
from orl.process import Observation
from orl.scenario import Scenarios

from . import kernels_bids, kernels_codes, kernels_items
from .instance import LotPlan, LotSizing
from .items import Nature, Part, Room, expected_parts, known_natures, known_parts, start_at
from .scenario import realise


@dataclass(frozen=True, eq=False)
class ItemValues:
    """Values of the items at some prices.

    Parameters
    ----------
    prices : ndarray (periods, num_machines)
    posts : list of float32 ndarray (periods, masks, levels after production)
        Of each item, after a decision, discounted to the beginning; of an infinite horizon, the first half.
    """

    prices: np.ndarray
    posts: list[np.ndarray]


@dataclass(frozen=True, eq=False)
class ItemRelaxation:
    """Items whose use of machines is paid for.

    Parameters
    ----------
    instance : LotSizing
    parts : list of Part
    """

    instance: LotSizing
    parts: Sequence[Part]

    @property
    def shape(self) -> tuple[int, int]:
        return self.instance.periods_left, self.instance.num_machines

    @property
    def booked(self) -> int:
        """Number of machines that have been told what to do in the first period."""
        return 0 if self.instance.state is None else len(self.instance.state.booked)

    def relax(self, prices: np.ndarray, threads: int = 1) -> Relaxed:
        """Return the bound at prices (periods, num_machines), and the expected use of the machines less 1."""
        use, value = np.zeros(self.shape), 0.0
        largest_first = sorted(range(len(self.parts)), key=lambda number: -self.parts[number].start.size)
        with ThreadPoolExecutor(threads) as pool:
            for cost, of_part in pool.map(lambda number: self._relax_part(number, prices), largest_first):
                value += cost
                use += of_part
        charged = prices.copy()
        charged[0, : self.booked] = 0.0
        excess = use - 1
        excess[0, : self.booked] = 0.0
        return Relaxed(float(value - charged.sum()), excess)

    def _relax_part(self, number: int, prices: np.ndarray) -> tuple[float, np.ndarray]:
        """Return an item's least cost, and how likely it takes each machine, of the shape of the prices."""
        part, use = self.parts[number], np.zeros(self.shape)
        room, choices = part.room(), part.choices()
        value = self._backward(number, prices, room, choices)
        self._use(part, part.nature, choices, room, use)
        return value, use

    def _use(self, part: Part, nature: Nature, choices: np.ndarray, room: Room, use: np.ndarray) -> None:
        """Add how likely an item takes each machine, from its start."""
        room.now[:] = 0.0
        room.now[0, :, : part.start.shape[1]] = part.start
        kernels_items.forward(part.item, nature, self.booked_of(part), choices, room, use)

    def _backward(self, number: int, prices: np.ndarray, room: Room, choices: np.ndarray) -> float:
        """Fill the choices of an item and return its least cost."""
        part = self.parts[number]
        values, posts = np.empty((1, *part.start.shape)), np.empty((1, len(part.start), part.num_posts))
        first = self.booked_of(part)
        kernels_items.backward(part.item, part.nature, prices, first, room, values, posts, choices)
        return float((values[0] * part.start).sum())

    def booked_of(self, part: Part) -> int:
        """Number of an item's machines that have been told what to do in the first period."""
        return int((part.item.machine < self.booked).sum())


class KnownItems(ItemRelaxation):
    """The items of one scenario that is known beforehand."""

    def repair(self, prices: np.ndarray, rng: np.random.Generator, plan: LotPlan | None = None) -> LotPlan:
        """Return a plan: items in a random order take what is left, at falling prices, until nothing improves.

        With a plan given, a few items are taken out of it and put back.
        """
        order = rng.permutation(len(self.parts))
        choices = np.zeros(self.shape, dtype=np.int64)
        if plan is not None:
            order = order[: rng.integers(2, 2 + MAX_MOVED)]
            choices[:] = np.where(np.isin(plan.choices, order + 1), 0, plan.choices)
        taken = choices > 0
        does = {number: np.zeros((self.shape[0], len(self.parts[number].item.machine)), int) for number in order}
        before = np.inf
        for sweep in range(MAX_SWEEPS):
            share = 1.0 if sweep == 0 else max(0.0, 0.5 - 0.1 * (sweep - 1))
            cost = 0.0
            for number in order.tolist():
                machine = self.parts[number].item.machine
                taken[:, machine] &= does[number] == kernels_items.OFF
                cost += self._plan_item(number, np.where(taken, np.inf, share * prices), does[number])
                taken[:, machine] |= does[number] != kernels_items.OFF
            if share == 0 and cost >= before - 1e-9 * max(1.0, abs(before)):
                break
            before = cost
        for number in order.tolist():
            choices[:, self.parts[number].item.machine] += (does[number] == kernels_items.MAKES) * (number + 1)
        if self.booked:
            assert self.instance.state is not None
            choices[0, : self.booked] = self.instance.state.booked
        return LotPlan(choices)

    def _plan_item(self, number: int, prices: np.ndarray, does: np.ndarray) -> float:
        """Write what an item's machines do, at prices, and return its cost, prices included."""
        part = self.parts[number]
        choices = part.choices()
        value = self._backward(number, prices, part.room(), choices)
        mask, level = (int(place) for place in np.argwhere(part.start > 0)[0])
        kernels_items.trace(part.item, part.nature.demand, self.booked_of(part), choices, mask, level, does)
        return value


MAX_SWEEPS = 30  # over the items of one repair
MAX_MOVED = 4  # and one more: items that are put back at a time


@dataclass(frozen=True, eq=False)
class PenalisedItems(ItemRelaxation):
    """The items of one scenario that is known beforehand, made to pay for it.

    Parameters
    ----------
    natures : list of Nature
        What the scenario brings; the parts hold what is expected.
    values : list of ndarray (periods + 1, masks, levels)
        From which penalties are made.
    """

    natures: Sequence[Nature]
    values: Sequence[np.ndarray]

    def _relax_part(self, number: int, prices: np.ndarray) -> tuple[float, np.ndarray]:
        part, known, use = self.parts[number], self.natures[number], np.zeros(self.shape)
        room, choices, values = part.room(), part.choices(), np.empty((1, *part.start.shape))
        kernels_items.backward_penalised(
            part.item, part.nature, known, self.values[number], prices, self.booked_of(part), room, values, choices
        )
        self._use(part, known, choices, room, use)
        return float((values[0] * part.start).sum()), use


@dataclass(frozen=True, eq=False)
class ItemDecomposition:
    """See the module.

    Parameters
    ----------
    instance : LotSizing

    Examples
    --------
    >>> from orl.problems.lotsizing.demand import binomial
    >>> one = LotSizing("one", [[3, 3]], [1, 1], [10, 10], [10, 10], binomial(2, 4, 0.5), 5, [[1, 1]], [[1, 1]])
    >>> relaxation = ItemDecomposition(one).expected()
    >>> relaxation.shape, relaxation.relax(np.zeros((5, 1))).value < relaxation.relax(np.full((5, 1), 5.0)).value
    ((5, 1), True)
    """

    instance: LotSizing

    @cached_property
    def parts(self) -> list[Part]:
        return expected_parts(self.instance)

    def expected(self) -> ItemRelaxation:
        return ItemRelaxation(self.instance, self.parts)

    def known(self, scenario: Scenarios) -> KnownItems:
        return KnownItems(self.instance, known_parts(self.instance, realise(self.instance, scenario)))

    def values(self, prices: np.ndarray) -> ItemValues:
        """Return the values of all items after a decision, period by period."""
        kept = self._periods_kept
        posts = [self._tables(number, prices)[1][:kept].astype(np.float32) for number in range(len(self.parts))]
        return ItemValues(prices[:kept], posts)

    def penalties(self, prices: np.ndarray) -> list[np.ndarray]:
        """Return the values of all items before a decision, (periods + 1, masks, levels) each."""
        return [self._tables(number, prices)[0] for number in range(len(self.parts))]

    def penalised(self, scenario: Scenarios, penalties: Sequence[np.ndarray]) -> PenalisedItems:
        seen = realise(self.instance, scenario)
        parts = [
            part._replace(start=start_at(part, number, seen.setup, int(seen.stock[number])))
            for number, part in enumerate(self.parts)
        ]
        return PenalisedItems(self.instance, parts, known_natures(self.instance, seen), penalties)

    def decide(self, values: ItemValues, observation: Observation) -> np.ndarray:
        one, seen = self.instance, observation.arrays
        envs, machines = len(observation.legal), one.num_machines
        setup, stock, choice = (seen[key].copy() for key in ("setup", "stock", "choice"))
        periods = seen["period"] + seen["sizes"][:, kernels_codes.FIRST_PERIOD] - one.first_period
        is_over = ~observation.legal.reshape(envs, -1).any(axis=1)
        periods = np.where(is_over, 0, np.minimum(periods, len(values.prices) - 1))
        if observation.legal.ndim == 2:
            actions = np.zeros(envs, dtype=np.int64)
            for machine in np.unique(seen["machine"][~is_over]).tolist():
                is_due = ~is_over & (seen["machine"] == machine)
                costs = self._costs(values, machine, periods, ~is_due, setup, stock, choice)
                actions[is_due] = _least(costs, observation.legal)[is_due]
            return actions
        actions = np.zeros(observation.legal.shape[:2], dtype=np.int64)
        for machine in range(machines):
            costs = self._costs(values, machine, periods, is_over, setup, stock, choice)
            told = _least(costs, observation.legal[:, machine])
            actions[:, machine] = np.where(is_over, 0, told)
            for env in np.flatnonzero(told > 0).tolist():
                stock[env, told[env] - 1] += one.output[machine, setup[env, machine], told[env]]
            is_lost = (told == 0) & (one.settings.idle == "loses-setup")
            setup[:, machine] = np.where((told > 0) | is_lost, told, setup[:, machine])
            choice[:, machine] = told
        return actions

    # private

    @property
    def _periods_kept(self) -> int:
        """Of an infinite horizon the first half is kept: what is later feels that the horizon is cut off."""
        periods = self.instance.periods_left
        return (periods + 1) // 2 if self.instance.settings.is_infinite else periods

    def _tables(self, number: int, prices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return an item's values before and after a decision, in every period."""
        part, periods = self.parts[number], len(prices)
        values = np.empty((periods + 1, *part.start.shape))
        posts = np.empty((periods, len(part.start), part.num_posts))
        booked = self.expected().booked_of(part)
        kernels_items.backward(part.item, part.nature, prices, booked, part.room(), values, posts, part.choices())
        return values, posts

    def _costs(
        self,
        values: ItemValues,
        machine: int,
        periods: np.ndarray,
        is_skipped: np.ndarray,
        setup: np.ndarray,
        stock: np.ndarray,
        choice: np.ndarray,
    ) -> np.ndarray:
        """Return what each choice of a machine adds to the cost of all, (envs, choices)."""
        costs = np.full((len(setup), stock.shape[1] + 1), np.inf)
        costs[:, 0] = 0.0
        hold = np.empty(len(setup))
        for number, part in enumerate(self.parts):
            own = np.flatnonzero(part.item.machine == machine)
            if not len(own):
                continue
            make = costs[:, number + 1].copy()
            kernels_bids.bids(
                part.item,
                number + 1,
                int(own[0]),
                periods,
                is_skipped,
                values.prices,
                part.nature.weight,
                values.posts[number],
                setup,
                np.ascontiguousarray(stock[:, number]),
                choice,
                make,
                hold,
            )
            costs[:, number + 1] = make
            if part.item.keeps:
                costs[:, 0] += np.where(setup[:, machine] == number + 1, hold, 0.0)
        return costs


def _least(costs: np.ndarray, legal: np.ndarray) -> np.ndarray:
    """Return the legal choice of least cost, of equal ones the first."""
    rounded = np.where(legal[:, : costs.shape[1]], costs, np.inf)
    least = rounded.min(axis=1, keepdims=True)
    return (rounded <= least + 1e-9 * np.maximum(1.0, np.abs(least))).argmax(axis=1)
