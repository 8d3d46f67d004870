"""Lot sizing as items that share machines: each item is alone once every period of every machine has a price.

With X_i(t, m) = 1 if item i takes machine m in period t (is made there or, with idle=keeps-setup, keeps it set up),

    least expected cost  >=  L(prices) = sum_i min over policies of item i of E[cost_i + sum_tm price_tm X_i(t, m)]
                                         - sum_tm price_tm,        prices >= 0,

for a policy of all items is one of each, and takes a machine once at most. An item's state is its stock and which
machines are set up for it, so its minimum is a small dynamic program (`kernels_items`), and the expected use less 1 is
a supergradient of L. The same holds of one scenario known beforehand; demand is then a path. Set-ups must not depend on
what was made before.

Deciding: the machines are assigned so that the cost of set-ups, and what the items' values say of the state after it,
are least together; a local optimum of that (`kernels_assign`). Prices matter through the values alone.

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
from typing import NamedTuple

import numpy as np

from orl.decomposition import Relaxed
from orl.process import Observation
from orl.scenario import Scenarios

from . import kernels_assign, kernels_codes, kernels_items
from .instance import LotPlan, LotSizing
from .items import Nature, Part, Room, expected_parts, known_natures, known_parts, start_at
from .scenario import realise

MAX_SWEEPS = 30  # over the items of one repair
MAX_MOVED = 4  # and one more: items that are put back at a time


class ItemTable(NamedTuple):
    """Values of the items after a decision, at some prices, for kernels.

    Parameters
    ----------
    bit : int ndarray (items, machines)
        Of a machine in the masks of an item; 0: it cannot make it.
    made_fresh, made_more, setup_cost : ndarray (items, machines)
        As in `Item`.
    empty, full, masks, levels : int ndarray (items,)
        As in `Item`; numbers of masks and of levels after production.
    first : int ndarray (items + 1,)
        Where the values of each item begin in the following.
    posts : float32 ndarray
        Values by item, period, mask and level, discounted to the beginning; of an infinite horizon, the first half.
    weight : ndarray (periods,)
    forbids, keeps, is_alone : bool
    tolerance : float
        Differences below it are rounding.
    """

    bit: np.ndarray
    made_fresh: np.ndarray
    made_more: np.ndarray
    setup_cost: np.ndarray
    empty: np.ndarray
    full: np.ndarray
    masks: np.ndarray
    levels: np.ndarray
    first: np.ndarray
    posts: np.ndarray
    weight: np.ndarray
    forbids: bool
    keeps: bool
    is_alone: bool
    tolerance: float


class AssignRoom(NamedTuple):
    """What `kernels_assign` keeps of every item and machine: (items,), and `told` (machines,)."""

    mask: np.ndarray
    level: np.ndarray
    makers: np.ndarray
    paid: np.ndarray
    worth: np.ndarray
    told: np.ndarray


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

    def values(self, prices: np.ndarray) -> ItemTable:
        """Return the values of all items after a decision, period by period."""
        one, parts, kept = self.instance, self.parts, self._periods_kept
        bit, made_fresh, made_more = np.zeros((3, one.num_items, one.num_machines), dtype=np.int64)
        setup_cost = np.zeros((one.num_items, one.num_machines))
        for number, part in enumerate(parts):
            item = part.item
            bit[number, item.machine] = 1 << np.arange(len(item.machine))
            made_fresh[number, item.machine] = item.made_fresh
            made_more[number, item.machine] = item.made_more
            setup_cost[number, item.machine] = item.setup_cost
        masks = np.array([len(part.start) for part in parts])
        levels = np.array([part.num_posts for part in parts])
        posts = np.empty(int((masks * levels).sum()) * kept, dtype=np.float32)
        first = np.cumsum([0, *(masks * levels * kept)])
        for number in range(len(parts)):
            posts[first[number] : first[number + 1]] = self._tables(number, prices)[1][:kept].ravel()
        return ItemTable(
            bit=bit,
            made_fresh=made_fresh,
            made_more=made_more,
            setup_cost=setup_cost,
            empty=np.array([part.item.empty for part in parts]),
            full=np.array([part.item.full for part in parts]),
            masks=masks,
            levels=levels,
            first=first,
            posts=posts,
            weight=parts[0].nature.weight,
            forbids=one.settings.overflow == "forbid",
            keeps=one.settings.idle == "keeps-setup",
            is_alone=one.settings.item_machines == "one",
            tolerance=1e-6 * max(1.0, float(abs(posts[:: max(1, len(posts) // 1000)]).max())),
        )

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

    def decide(self, values: ItemTable, observation: Observation) -> np.ndarray:
        one, seen = self.instance, observation.arrays
        envs, machines, choices = len(observation.legal), one.num_machines, one.num_items + 1
        is_over = ~observation.legal.reshape(envs, -1).any(axis=1)
        periods = seen["period"] + seen["sizes"][:, kernels_codes.FIRST_PERIOD] - one.first_period
        periods = np.where(is_over, 0, np.minimum(periods, self._periods_kept - 1))
        options = np.repeat(one.possible[None], envs, axis=0)
        is_joint = observation.legal.ndim == 3
        first = np.zeros(envs, dtype=np.int64) if is_joint else np.where(is_over, 0, seen["machine"])
        if is_joint:
            options &= observation.legal[:, :machines, :choices]
        else:
            options[np.arange(envs), first] &= observation.legal[:, :choices]
        told = np.zeros((envs, seen["setup"].shape[1]), dtype=np.int64)
        mask, level, makers = np.zeros((3, one.num_items), dtype=np.int64)
        paid, worth = np.zeros((2, one.num_items))
        room = AssignRoom(mask, level, makers, paid, worth, told[0].copy())
        state = seen["setup"], seen["stock"], seen["choice"]
        kernels_assign.assign(values, options, periods, is_over, first, *state, room, told)
        return told if is_joint else told[np.arange(envs), first]

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
