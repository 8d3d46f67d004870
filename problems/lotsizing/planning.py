"""What a rolling horizon plans with: fewer periods, expected demand; and what it does with a plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from orl.process import Observation
from orl.scenario import Scenarios

from . import kernels_codes
from .demand import PathDemand
from .instance import LotPlan, LotSizing


def shortened(instance: LotSizing, periods: int) -> LotSizing:
    """Return the instance that ends after so many further periods, if it does not end before."""
    if periods >= instance.periods_left:
        return instance
    horizon = str(instance.first_period + periods)
    return instance.derived(settings=replace(instance.settings, horizon=horizon))


def nominal(instance: LotSizing) -> tuple[LotSizing, Scenarios]:
    """Return the instance with expected demand in place of random, and its one scenario.

    Demand of each period is the growth of expected cumulative demand, rounded: no unit is lost or gained on the way.
    Autocorrelated demand is expected to go on from the last one seen. Cost factors are 1; a random start is taken to be
    the file's.
    """
    first, periods = instance.first_period, instance.periods_left
    path = np.zeros((first + periods, instance.num_items), dtype=np.int64)
    mean = np.empty((periods, instance.num_items))
    last = None if instance.state is None else instance.state.last_demand
    for t in range(periods):
        mean[t] = last = instance.expected_demand(first + t, last)
    path[first:] = np.diff(np.rint(mean.cumsum(axis=0)), axis=0, prepend=0)
    settings = replace(instance.settings, horizon=str(first + periods), start="file", cost_noise=0.0)
    return instance.derived(demand=PathDemand(path), settings=settings), Scenarios.deterministic()


def is_disturbed(planned: LotSizing, observation: Observation, env: int) -> bool:
    """Return whether a period has gone by since the plan, whatever it brought: a horizon then reaches one further."""
    return _period(observation, env) != planned.first_period


def follow(planned: LotSizing, plan: LotPlan, observation: Observation, env: int) -> int | np.ndarray:
    """Return what a plan tells the next machine, or all of them with decision=joint; where that is illegal, idle or
    the first that is legal.
    """
    row = plan.choices[_period(observation, env) - planned.first_period]
    legal = observation.legal[env]
    if legal.ndim == 1:
        choice = int(row[observation.arrays["machine"][env]])
        return choice if legal[choice] else int(legal.argmax())
    choices = np.zeros(len(legal), dtype=np.int64)
    choices[: len(row)] = np.where(legal[np.arange(len(row)), row], row, legal[: len(row)].argmax(axis=1))
    return choices


def _period(observation: Observation, env: int) -> int:
    sizes = observation.arrays["sizes"][env]
    return int(sizes[kernels_codes.FIRST_PERIOD] + observation.arrays["period"][env])
