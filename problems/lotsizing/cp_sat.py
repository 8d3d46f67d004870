"""Lot sizing without shortage as a constraint program, for CP-SAT of OR-Tools.

The networks, variables and constraints are those of `exact_network`, every arc a Boolean. CP-SAT counts in integers:
costs are multiplied until they are whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from ortools.sat.python import cp_model

from orl.errors import InputError, Stopped
from orl.problem import Model
from orl.scenario import Scenarios

from .exact_network import network_of
from .instance import LotPlan, LotSizing
from .units import given_of

MAX_DECIMALS = 6
MAX_COST = 2**50


def build(
    instance: LotSizing,
    scenarios: Scenarios | None = None,
    upper_bound: float | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Model:
    """Return the constraint program of an instance in hindsight of a scenario.

    Parameters
    ----------
    instance : LotSizing
        With unmet=forbid.
    scenarios : Scenarios
        One.
    upper_bound : number or None
        Not made use of.
    should_stop : callable () -> bool, or None

    Raises
    ------
    InputError
        If demand may be unmet, stock limits may bind, or costs have too many decimals.
    """
    if instance.settings.unmet != "forbid":
        raise InputError(f"{instance.name}: cp-sat is for unmet=forbid; use exact.")
    scenario = Scenarios.deterministic() if scenarios is None else scenarios[0]
    given, first = given_of(instance, scenario)
    periods = len(given.weight)
    net = network_of(given, first)
    cost, scale = _whole(instance, np.array([arc[2] for arc in net.arcs]))
    if should_stop is not None and should_stop():
        raise Stopped
    m = cp_model.CpModel()
    flow = [m.new_bool_var("") for _ in net.arcs]
    x = {(t, i): m.new_bool_var("") for t in range(periods) for i in np.flatnonzero(given.possible).tolist()}
    for node in net.nodes:
        leaving = [flow[number] for number in net.out_of[node]]
        arriving = [flow[number] for number in net.into[node]]
        if node in net.sources:
            m.add_exactly_one(leaving)
        else:
            m.add(sum(leaving) == sum(arriving))
    for (t, i), literal in x.items():
        for whose in ("machine makes", "item makes"):
            m.add(sum(flow[number] for number in net.sums[whose, t, i]) == literal)
    for what, t, i in net.agreed:
        left, right = (
            sum(flow[number] for number in net.sums[f"{whose} {what}", t, i]) for whose in ("machine", "item")
        )
        m.add(left - right == 0)
    total = sum(int(paid) * literal for paid, literal in zip(cost, flow, strict=True) if paid)
    m.minimize(total if scale == 1 else total * (1 / scale))

    def read(value: Callable[[Any], float]) -> LotPlan:
        choices = np.zeros((periods, 1), dtype=np.int64)
        for (t, i), literal in x.items():
            if value(literal) > 0.5:
                choices[t, 0] = i + 1
        return LotPlan(choices)

    def start(plan: LotPlan) -> Iterator[tuple[Any, float]]:
        return ((literal, float(plan.choices[t, 0] == i + 1)) for (t, i), literal in x.items())

    return Model(m, read, start)


def _whole(instance: LotSizing, costs: np.ndarray) -> tuple[np.ndarray, int]:
    """Return costs as whole numbers, and by what they were multiplied."""
    for decimals in range(MAX_DECIMALS + 1):
        scaled = costs * 10**decimals
        if float(scaled.sum()) > MAX_COST:
            break
        if (np.abs(scaled - np.rint(scaled)) <= 1e-9 * np.maximum(scaled, 1)).all():
            return np.rint(scaled).astype(np.int64), 10**decimals
    raise InputError(f"{instance.name}: cp-sat counts in whole numbers; costs have too many decimals, use dp or exact.")
