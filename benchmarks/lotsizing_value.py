"""What a policy is worth on two items and one machine, exactly: from its decision in every state, not from a sample.

On such an instance the items may be alike; two policies that differ in which of them comes first cost the same in the
mean and quite different things on the same scenarios, so a sample of hundreds tells nothing below a percent.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from orl.problems.lotsizing.instance import LotSizing, LotState
from orl.problems.lotsizing.process import LotSizingProcess
from orl.problems.lotsizing.scenario import sample
from orl.problems.lotsizing.tabular import tabular
from orl.scenario import Purpose
from orl.solvers.dp.values import discounted


def exact_values(instance: LotSizing, policy: Any) -> tuple[float, float]:
    """Return what the policy costs from the instance's start, for ever, and what the best one does.

    Parameters
    ----------
    instance : LotSizing
        One machine, two items; infinite horizon, a discount below 1.
    policy : Policy
        Of which no decision depends on the period.
    """
    table = tabular(instance)
    assert table.periods is None and instance.num_machines == 1 and instance.num_items == 2
    levels = instance.stock_limits + 1
    states = np.indices((3, *levels)).reshape(3, -1).T
    none = np.zeros(0, dtype=np.int64)
    places = [replace(instance, state=LotState(0, setup=state[:1], stock=state[1:], booked=none)) for state in states]
    scenarios = list(sample(instance, 0, Purpose.SELECT, len(places)))  # nothing of them is seen yet
    observation = LotSizingProcess(places, scenarios).observe()
    assert (table.state_of(observation) == np.arange(len(states))).all()
    memory = policy.start(places, np.random.default_rng(0))
    actions = policy.decide(observation, memory)[0]
    return value_of(table, actions), float(table.start @ discounted(table, 0.0, lambda _: None).low)


def value_of(table: Any, actions: np.ndarray) -> float:
    """Return the cost of a stationary policy, by linear equations."""
    posts = table.successor[np.arange(table.num_states), actions]
    assert (posts >= 0).all()
    expect = np.stack([table.expect(row, 0) for row in np.eye(table.num_states)], axis=1)  # (posts, states)
    cost = table.cost[np.arange(table.num_states), actions] + table.post_cost(0)[posts]
    values = np.linalg.solve(np.eye(table.num_states) - table.discount * expect[posts], cost)
    return float(table.start @ values)
