"""What is drawn in lot sizing: demand, cost factors, a random start; whole instances for training and tests.

A row of a stream holds uniform numbers, period by period; `realise` turns them into demand and cost factors. Of an
instance in motion the first entry is the period that is decided now.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orl.errors import InputError
from orl.scenario import Purpose, Scenarios

from .demand import IndependentDemand, PathDemand, binomial
from .instance import LotSizing, LotSizingSettings
from .kernels_demand import demand_of_independent, demand_of_poisson

BLOCK = 128  # periods drawn at a time


class Realised(NamedTuple):
    """What a scenario brings.

    Parameters
    ----------
    demand : int ndarray (periods_left, num_items)
    cost_factors : ndarray (periods_left, num_items), or None if all are 1
    setup : int ndarray (num_machines,), stock : int ndarray (num_items,)
        At the start.
    """

    demand: np.ndarray
    cost_factors: np.ndarray | None
    setup: np.ndarray
    stock: np.ndarray


def sample(instance: LotSizing, seed: int, purpose: Purpose, n: int) -> Scenarios:
    """Return scenarios, or the one empty scenario of an instance in which nothing is random."""
    if not instance.is_random:
        if n != 1:
            raise InputError(f"{instance.name} is deterministic: it has 1 scenario, not {n}.")
        return Scenarios.deterministic(seed, purpose)
    items, has_noise = instance.num_items, instance.settings.cost_noise > 0
    has_random_start = instance.settings.start == "random" and instance.state is None

    def draw_block(rng: np.random.Generator, block: int) -> np.ndarray:
        # Demand first: cost noise leaves it as it is.
        return np.stack([rng.random((BLOCK, items)) for _ in range(1 + has_noise)], axis=1)

    def draw_start(rng: np.random.Generator) -> np.ndarray:
        setup = [rng.choice(np.flatnonzero(row)) for row in instance.possible]
        return np.concatenate([setup, rng.integers(0, instance.stock_limits + 1)])

    return Scenarios(seed, purpose, tuple(range(n)), draw_block, draw_start if has_random_start else None)


def realise(instance: LotSizing, scenario: Scenarios) -> Realised:
    """Return what a scenario brings to an instance, in every period that is left."""
    periods, items, law = instance.periods_left, instance.num_items, instance.demand
    uniforms = scenario.values(0, periods)[:periods] if scenario.draw is not None else np.full((periods, 2, items), 0.5)
    demand = np.empty((periods, items), dtype=np.int64)
    state, first = instance.state, instance.first_period
    if isinstance(law, PathDemand):
        demand[:] = law.path[first : first + periods]
    elif isinstance(law, IndependentDemand):
        demand_of_independent(np.ascontiguousarray(uniforms[:, 0]), law.cumulative, demand)
    else:
        last = state.last_demand if state is not None else None
        demand_of_poisson(
            np.ascontiguousarray(uniforms[:, 0]),
            law.season[:, None] * law.means,
            first,
            law.autocorrelation,
            np.zeros(items, dtype=np.int64) if last is None else last,
            last is not None,
            demand,
        )
    factors = None
    if (noise := instance.settings.cost_noise) > 0:
        factors = 1 + noise * (2 * uniforms[:, 1] - 1)
        if state is not None and state.cost_factors is not None:
            factors[0] = state.cost_factors
    if state is not None:
        setup, stock = state.setup, state.stock
    elif instance.settings.start == "random":
        start = scenario.start(0).astype(np.int64)
        setup, stock = start[: instance.num_machines], start[instance.num_machines :]
    else:
        setup, stock = instance.initial_setup, instance.initial_stock  # type: ignore[assignment]
    return Realised(demand, factors, setup, stock)


def bound(instance: LotSizing, scenario: Scenarios) -> float:
    """Return a proven lower bound on the cost of a scenario: what shortage no use of the machines' time can avoid.

    A unit of item i takes at least 1 / (the highest rate of i) of the machines' time, so the least shortage is that of
    a fractional knapsack; each unit of it costs its shortage cost once at least, at the least discount and cost factor.
    """
    seen = realise(instance, scenario)
    settings = instance.settings
    rate = instance.rates.max(axis=0)
    need = np.maximum(seen.demand.sum(axis=0) - np.maximum(seen.stock, 0), 0).astype(np.float64)
    if settings.unmet == "backlog":
        need = np.maximum(seen.demand.sum(axis=0) - seen.stock, 0).astype(np.float64)
    least = instance.shortage_costs * (1 - settings.cost_noise)
    time = float(instance.num_machines * instance.periods_left)
    short = np.where(rate > 0, 0.0, need)
    for item in np.argsort(-least * rate, kind="stable"):
        if rate[item] > 0:
            made = min(need[item], time * rate[item])
            time -= made / rate[item]
            short[item] = need[item] - made
    return float(short @ least) * settings.discount ** (instance.periods_left - 1)


def scale(instance: LotSizing) -> float:
    """Return what it would cost if every period one machine were set up anew; without set-up costs, a tenth of all
    demand lost.

    Examples
    --------
    >>> scale(draw(np.random.default_rng(0), items=2, machines=1, periods=10))
    270.0
    """
    costs = instance.changeover_cost[:, :, 1:]
    paid = costs[np.broadcast_to(instance.possible[:, None, 1:], costs.shape) & (costs > 0)]
    if paid.size:
        return float(paid.mean()) * instance.periods_left
    lost = instance.expected_demand(instance.first_period) @ instance.shortage_costs
    return max(0.1 * float(lost) * instance.periods_left, 1.0)


def draw(
    rng: np.random.Generator,
    items: int = 15,
    machines: int = 5,
    periods: int = 100,
    name: str = "drawn",
    settings: LotSizingSettings | None = None,
) -> LotSizing:
    """Draw an instance of the literature's kind.

    Demand Binomial(20, 0.4), holding cost 0.01, set-up costs uniform on 15..30, set-up losses on 1..3, rates on 1..40
    with four in ten zero but every item makeable, shortage cost 0.1 or 1.1, stock limit 100, random start.

    Examples
    --------
    >>> draw(np.random.default_rng(0), items=4, machines=2).rates.max(axis=0).min() > 0
    np.True_
    """
    rates = rng.integers(1, 41, size=(machines, items)) * (rng.random((machines, items)) >= 0.4)
    for item in np.flatnonzero(rates.max(axis=0) == 0):
        rates[rng.integers(machines), item] = rng.integers(1, 41)
    return LotSizing(
        name,
        rates=rates,
        holding_costs=np.full(items, 0.01),
        shortage_costs=rng.choice([0.1, 1.1], size=items),
        stock_limits=np.full(items, 100),
        demand=binomial(items, 20, 0.4),
        num_periods=periods,
        setup_costs=rng.integers(15, 31, size=(machines, items)).astype(np.float64),
        setup_losses=rng.integers(1, 4, size=(machines, items)),
        settings=settings or LotSizingSettings(start="random"),
    )
