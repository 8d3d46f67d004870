"""Capacitated lot sizing falls into items once capacity has a price: what Lagrangian relaxation stands on.

With prices l_t >= 0 of the capacity of each period (and at most p, the cost of overtime),

    bound(l) = sum_i min { sum_t (q_i + l_t b_i) y_ti + l_t a_i x_ti + h_i s_ti : plans of i alone } - sum_t l_t C_t,

each minimum by Wagner and Whitin's dynamic program. A plan within the capacity: from the items' plans, near the best
prices and shaken, linear programs in which a set-up's cost and capacity are charged by the unit of the last lot (slope
scaling, Kim and Pardalos 1999) choose set-ups; another one then chooses what is made; where capacity is short, more
set-ups in periods that have some left.

References
----------
W. W. Trigeiro, L. J. Thomas, J. O. McClain (1989). Capacitated lot sizing with setup times. Management Science 35(3).
doi 10.1287/mnsc.35.3.353
D. Kim, P. M. Pardalos (1999). A solution approach to the fixed charge network flow problem using a dynamic slope
scaling procedure. Operations Research Letters 24(4). doi 10.1016/S0167-6377(99)00004-8
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy.sparse import csr_array

from orl.decomposition import Relaxed
from orl.errors import InputError
from orl.linear import LinearProgram
from orl.process import Observation
from orl.scenario import Scenarios

from .instance import SETUP, CapacitatedLotSizing, CapacitatedPlan
from .rules import priced_lots
from .scenario import realise
from .wagner_whitin import Lots, net, wagner_whitin

SHAKE = 0.5  # largest spread of the logarithms of prices and set-up costs, before they are used to make a plan
SLOPES = 10  # linear programs with costs by the unit
ADDED = 12  # rounds of further set-ups, at most


class CapacityPrices:
    """The decomposition of an instance whose demand is known, or of its scenarios.

    Raises
    ------
    InputError
        If set-ups are relaxed: then the whole is a linear program.
    """

    def __init__(self, instance: CapacitatedLotSizing):
        if instance.settings.setups == "relaxed":
            raise InputError(f"{instance.name}: with setups=relaxed there is nothing to decompose; use exact.")
        if np.isfinite(instance.settings.stock_limit):
            raise InputError(f"{instance.name}: items alone are planned without stock_limit; use exact.")
        self.instance = instance

    def expected(self) -> KnownPrices:
        """Return the relaxation of the process, where demand is known."""
        if self.instance.is_random:
            raise InputError(
                f"{self.instance.name}: items alone are planned for demand that is known: use lagrangian-hindsight."
            )
        return self.known(Scenarios.deterministic())

    def known(self, scenario: Scenarios) -> KnownPrices:
        """Return the relaxation of one scenario, known beforehand."""
        return KnownPrices(self.instance, realise(self.instance, scenario))

    def values(self, prices: np.ndarray) -> np.ndarray:
        """Return the prices as they are to be paid: no more than overtime costs."""
        return np.minimum(prices, self.instance.settings.overtime)

    def decide(self, values: np.ndarray, observation: Observation) -> np.ndarray:
        """Return the stocks of who makes the first lots of the items' best plans at these prices; at the end of an
        episode what there is."""
        steer = priced_lots(self.instance, values)
        return np.stack([steer(observation, env) for env in range(len(observation.sizes))])

    def penalties(self, prices: np.ndarray) -> None:
        """Return nothing: where demand is known nothing is known too early."""

    def penalised(self, scenario: Scenarios, penalties: None) -> KnownPrices:
        """Return the relaxation of the scenario that there is."""
        return self.known(scenario)


class KnownPrices:
    """The relaxation of one scenario; prices (num_periods,)."""

    def __init__(self, instance: CapacitatedLotSizing, demand: np.ndarray):
        self.instance = instance
        self.wanted, self.held = net(instance, demand)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.instance.num_periods,)

    def relax(self, prices: np.ndarray, threads: int = 1) -> Relaxed:
        one = self.instance
        prices = np.minimum(prices, one.settings.overtime)
        lots = self._lots(prices, one.setup_costs)
        used = lots.production @ one.unit_times + (lots.production > 0) @ one.setup_times
        value = float(lots.costs.sum()) + self.held - float(prices @ one.capacity)
        return Relaxed(value, used - one.capacity)

    def repair(
        self, prices: np.ndarray, rng: np.random.Generator, solution: CapacitatedPlan | None = None
    ) -> CapacitatedPlan:
        """Return a plan; within the capacity, if enough set-ups were found."""
        one = self.instance
        if solution is None:
            spread = SHAKE * rng.random() ** 2
            shaken = np.minimum(prices, one.settings.overtime) * np.exp(spread * rng.standard_normal(prices.shape))
            costs = one.setup_costs * np.exp(spread * rng.standard_normal(one.num_items))
            is_setup = self._sloped(self._lots(shaken, costs).production, rng)
        else:
            is_setup = self._near(solution.production > SETUP, prices, rng)
        self._begin(is_setup)
        for _ in range(ADDED):
            production, overtime = self._made(is_setup)
            if overtime.sum() <= 1e-7 * max(1.0, float(one.capacity.max())) or one.settings.overtime < np.inf:
                break
            last = int(np.flatnonzero(overtime > 0).max())
            room = one.capacity - production @ one.unit_times - (production > SETUP) @ one.setup_times
            closed = np.argwhere(~is_setup[: last + 1] & (room[: last + 1, None] > one.setup_times))
            if not len(closed):
                break
            for period, item in closed[rng.permutation(len(closed))[:3]]:
                is_setup[period, item] = True
        return CapacitatedPlan(production)

    # private

    def _near(self, is_setup: np.ndarray, prices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return other set-ups: some changed, or moved by a period; or some items planned anew at prices near these."""
        one = self.instance
        kind, items = rng.integers(3), rng.permutation(one.num_items)[: rng.integers(1, 3)]
        if kind == 0:
            return np.logical_xor(is_setup, rng.random(is_setup.shape) < 2 / is_setup.size)
        is_setup = is_setup.copy()
        if kind == 1:
            for item in items:
                opened = np.flatnonzero(is_setup[:, item])
                if len(opened):
                    period = int(rng.choice(opened))
                    is_setup[period, item] = False
                    is_setup[int(np.clip(period + rng.choice((-1, 1)), 0, len(is_setup) - 1)), item] = True
            return is_setup
        shaken = np.minimum(prices, one.settings.overtime) * np.exp(SHAKE * rng.standard_normal(prices.shape))
        is_setup[:, items] = self._lots(shaken, one.setup_costs).production[:, items] > 0
        return is_setup

    def _sloped(self, lots: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return set-ups from linear programs in which a set-up costs by the unit, what it cost a unit before."""
        one, program = self.instance, self._program
        size, periods = lots.size, len(lots)
        usual = np.maximum(lots.sum(axis=0) / np.maximum((lots > 0).sum(axis=0), 1), 1.0)
        lot, price = np.where(lots > 0, lots, usual * rng.uniform(0.5, 1.5, lots.shape)), np.zeros(periods)
        made = lots
        program.set_columns(np.arange(size), np.zeros(size), np.full(size, np.inf))
        for _ in range(SLOPES):
            left = one.capacity - (made > SETUP) @ one.setup_times
            program.set_costs(np.arange(size), ((one.setup_costs + np.outer(price, one.setup_times)) / lot).ravel())
            program.set_rows(size + np.arange(periods), np.full(periods, -np.inf), left)
            found = program.solve()
            made, price = found.columns[:size].reshape(lots.shape), np.maximum(-found.row_duals[size:], 0.0)
            lot = np.where(made > SETUP, made, lot)
        program.set_costs(np.arange(size), np.zeros(size))
        return made > SETUP

    def _begin(self, is_setup: np.ndarray) -> None:
        """Have every item set up by the time that it is first wanted."""
        for item in np.flatnonzero(self.wanted.any(axis=0)).tolist():
            first = int((self.wanted[:, item] > 0).argmax())
            if not is_setup[: first + 1, item].any():
                is_setup[first, item] = True

    def _lots(self, prices: np.ndarray, setup_costs: np.ndarray) -> Lots:
        one = self.instance
        setup = setup_costs + np.outer(prices, one.setup_times)
        return wagner_whitin(self.wanted, setup, one.holding_costs, np.outer(prices, one.unit_times))

    @cached_property
    def _program(self) -> LinearProgram:
        """What is made at given set-ups: columns x and s by period and item, overtime by period."""
        one = self.instance
        periods, items = self.wanted.shape
        size, price = periods * items, one.settings.overtime
        entries: list[tuple[int, int, float]] = []
        for t in range(periods):
            for i in range(items):
                row = t * items + i
                entries += [(row, row, 1.0), (row, size + row, -1.0)]
                if t:
                    entries.append((row, size + row - items, 1.0))
                entries.append((size + t, row, float(one.unit_times[i])))
            entries.append((size + t, 2 * size + t, -1.0))
        rows, columns, values = zip(*entries, strict=True)
        matrix = csr_array((values, (rows, columns)), shape=(size + periods, 2 * size + periods))
        dear = (
            price if price < np.inf else 10 * (one.holding_costs.max() * periods + 1) / max(one.unit_times.min(), 1e-3)
        )
        wanted = self.wanted.ravel()
        return LinearProgram(
            np.concatenate([np.zeros(size), np.tile(one.holding_costs, periods), np.full(periods, dear)]),
            np.zeros(2 * size + periods),
            np.full(2 * size + periods, np.inf),
            matrix,
            np.concatenate([wanted, np.full(periods, -np.inf)]),
            np.concatenate([wanted, one.capacity]),
            f"{one.name} production",
        )

    def _made(self, is_setup: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what is best made with these set-ups, and the overtime it takes."""
        one, program = self.instance, self._program
        size, periods = is_setup.size, len(is_setup)
        program.set_columns(np.arange(size), np.zeros(size), np.where(is_setup.ravel(), np.inf, 0.0))
        left = one.capacity - is_setup @ one.setup_times
        program.set_rows(size + np.arange(periods), np.full(periods, -np.inf), left)
        found = program.solve().columns
        return np.where(is_setup, found[:size].reshape(is_setup.shape), 0.0), found[2 * size :]
