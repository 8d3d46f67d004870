"""The rules of lot sizing, as the README states them, in plain Python at drawn states of drawn instances."""

from dataclasses import replace
from itertools import product
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import settings as profile
from hypothesis import strategies as st
from lots import lots
from twins import lots_scenario

from orl.problems.lotsizing import kernels_rules, rules
from orl.problems.lotsizing.demand import IndependentDemand, PathDemand, SeasonalDemand
from orl.problems.lotsizing.instance import LotSizing
from orl.problems.lotsizing.process import LotSizingProcess


def mean_of(instance, period, last, item, window):
    """Return the mean demand over some periods, one after the other."""
    demand, total = instance.demand, 0.0
    for ahead in range(window):
        if isinstance(demand, PathDemand):
            total += demand.path[period + ahead, item]
        elif isinstance(demand, IndependentDemand):
            total += demand.mean[item]
        else:
            season = np.resize(demand.season, period + window + len(demand.season))
            total += demand.means[item] * season[period + ahead]
            if last[item] >= 0:
                surprise = last[item] - demand.means[item] * season[period - 1 + len(demand.season)]
                total += demand.autocorrelation ** (ahead + 1) * surprise
    return max(total, 0.0)


def short_of(instance, stock, item, window, mean):
    """Return by how much demand, taken as normal, exceeds stock in the mean."""
    if isinstance(instance.demand, PathDemand):
        return max(mean - stock, 0.0)
    is_table = isinstance(instance.demand, IndependentDemand)
    spread = np.sqrt(window * instance.demand.variance[item] if is_table else mean)
    if spread < 1e-9:
        return max(mean - stock, 0.0)
    law, z = NormalDist(), (stock - mean) / spread
    return spread * (law.pdf(z) - z * (1 - law.cdf(z)))


class Machine:
    """A machine that is to be told something: what is seen of it and of the plant."""

    def __init__(self, instance, observation):
        view = {name: array[0] for name, array in observation.arrays.items()}
        self.instance, self.machine = instance, int(view["machine"])
        self.since = int(view["period"])
        self.period, self.last = instance.first_period + self.since, view["last_demand"]
        self.stock, self.setup, self.factors = view["stock"], int(view["setup"][self.machine]), view["factors"]
        self.items = [choice - 1 for choice in np.flatnonzero(observation.legal[0]) if choice]

    def cover(self, item):
        """Return periods of the mean demand of this period, and that."""
        mean = mean_of(self.instance, self.period, self.last, item, 1)
        return (self.stock[item] / mean if mean > 0 else np.inf), mean

    def base_stock(self, low, high):
        item = self.setup - 1
        if item in self.items and self.stock[item] < high * self.cover(item)[1]:
            return self.setup
        covers = [(self.cover(item)[0], item) for item in self.items]
        least = min(covers, default=(np.inf, 0))
        return least[1] + 1 if least[0] < low else 0

    def saved(self, item, window, share):
        one = self.instance
        if not one.settings.is_infinite:
            window = min(window, one.periods_left - self.since)
        rate = one.rates[self.machine, item]
        cost = 0.0
        if self.setup != item + 1:
            tables = one.changeover_losses, one.changeover_costs
            loss, cost = (
                own[self.machine, item] if table is None else table[self.machine, self.setup, item + 1]
                for table, own in zip(tables, (one.setup_losses, one.setup_costs), strict=True)
            )
            rate = max(rate - loss, 0)
        now = self.stock[item]
        after = min(now + rate, one.stock_limits[item] + int(self.cover(item)[1]))
        if after <= now:
            return 0.0
        mean = mean_of(one, self.period, self.last, item, window)
        fewer = short_of(one, now, item, window, mean) - short_of(one, after, item, window, mean)
        kept = (after - now - fewer) * one.holding_costs[item] * window
        return (fewer * one.shortage_costs[item] - kept - share * cost) * self.factors[item]


@given(lots(), st.integers(0, 2**32))
@profile(max_examples=150)
def test_rules_choose_as_they_are_stated(instance, seed):
    instance = replace(instance, settings=replace(instance.settings, decision="machine"))
    rng, process = np.random.default_rng(seed), LotSizingProcess([instance], [lots_scenario(instance)])
    while process.observe().legal.any():
        observation = process.observe()
        at = Machine(instance, observation)
        legal = [0, *(item + 1 for item in at.items)]

        def chosen(rule, *parameters, observation=observation):
            return int(rule(observation, *(np.array([values]) for values in parameters))[0].argmax())

        assert chosen(rules.idle) == 0
        assert chosen(rules.keep) == (at.setup if at.setup in legal else 0)
        wanted = rng.integers(0, instance.num_items + 1, instance.num_machines)
        told = wanted[at.machine] if wanted[at.machine] in legal else 0
        assert chosen(rules.fixed, wanted.astype(float)) == told
        low, high = rng.choice(rules.COVERS, 2)
        assert chosen(rules.base_stock, [low, high]) == at.base_stock(low, high)
        window, share = int(rng.choice(rules.WINDOWS)), float(rng.choice(rules.SETUP_SHARES))
        if isinstance(instance.demand, PathDemand):
            window = min(window, instance.periods_left - at.since)
        saved = {0: 0.0} | {item + 1: at.saved(item, window, share) for item in at.items}
        greedy = chosen(rules.greedy, [window, share])
        assert saved[greedy] == pytest.approx(max(saved.values()), abs=1e-6)
        process.decide(np.array([rng.choice(legal)]))
        process.reveal()


@example(LotSizing("fades", [[1]], [1], [1], [9], SeasonalDemand([2.0], [1.0, 0.5], 0.5), 6), 1, 3)
@given(lots(), st.integers(0, 5), st.integers(-1, 5))
@profile(max_examples=150)
def test_demand_ahead_is_that_of_the_periods_one_after_the_other(instance, stock, last):
    """Its mean, surprises that fade included, and by how much it exceeds stock, for every item and window."""
    lots, last = LotSizingProcess([instance], [lots_scenario(instance)])._lots, np.full(instance.num_items, last)
    for item, window in product(range(instance.num_items), range(1, instance.periods_left + 1)):
        mean = mean_of(instance, instance.first_period, last, item, window)
        assert kernels_rules.mean_over(lots, 0, 0, last, item, window) == pytest.approx(mean)
        spread = kernels_rules.spread_over(lots, 0, item, window, mean)
        short = short_of(instance, stock, item, window, mean)
        assert kernels_rules.expected_shortage(stock, mean, spread) == pytest.approx(short, abs=1e-6)
