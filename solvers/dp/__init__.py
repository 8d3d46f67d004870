"""The method `dp`: dynamic programming over all states, with a proven bound on the expected cost.

Backward induction where the horizon ends, modified policy iteration where it does not; see `values.py`. Where nothing
is random and the family has states in layers (`orl/layers.py`), those are gone through instead, with bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from orl.errors import InputError, Stopped
from orl.hindsight import Attempt, solve_hindsight
from orl.layers import attempt
from orl.policy import Memory
from orl.problem import Problem, Solution
from orl.process import Observation
from orl.solver import Certificate, Outcome, Solver, Task
from orl.tabular import Tabular

from .values import Values, average, backward_induction, discounted

Objective = Literal["total", "average"]


@dataclass(frozen=True)
class DpSettings:
    """What `dp` may be told.

    Parameters
    ----------
    objective : 'total' or 'average'
        The cost to the end or, discounted, for ever; or the mean cost a period in the long run, whatever the discount
        (of infinite horizons). An average bounds no total: the figures tell it, the bound stays empty.
    tolerance : float > 0
        How far proven lower and upper values may lie apart (infinite horizons).
    width : int >= 1
        Of states in layers: the most of a layer that are kept; if more are needed, the bound tells.
    """

    objective: Objective = "total"
    tolerance: float = 1e-9
    width: int = 1_000_000

    def __post_init__(self) -> None:
        if self.objective not in get_args(Objective):
            raise ValueError(f"objective must be one of {', '.join(get_args(Objective))}, got {self.objective!r}.")
        if not self.tolerance > 0:
            raise ValueError(f"tolerance must be > 0, got {self.tolerance}.")
        if not 1 <= self.width <= 100_000_000:
            raise ValueError(f"width must be in 1..100,000,000, got {self.width}.")


@dataclass(frozen=True)
class DpPolicy:
    """Look the action up.

    Parameters
    ----------
    tabular : Tabular
    values : Values
    objective : 'total' or 'average'
    """

    tabular: Tabular
    values: Values
    objective: Objective
    clairvoyant: bool = False

    def start(self, instances: Sequence[Any], rng: np.random.Generator) -> np.ndarray:
        """Return the memory: the action of this period, (num_envs,), -1: unknown."""
        return np.full(len(instances), -1, dtype=np.int64)

    def decide(self, observation: Observation, memory: Memory) -> tuple[np.ndarray, Memory]:
        table = self.values.actions
        period = np.minimum(self.tabular.period_of(observation), len(table) - 1)
        looked_up = table[period, self.tabular.state_of(observation)]
        actions = np.where(self.tabular.is_first(observation), looked_up, memory)
        if (actions < 0).any():
            raise InputError("dp decides at the first choice of a period; of this one some choices are made already.")
        return self.tabular.actions_of(actions, observation), actions


def certificate(policy: DpPolicy, task: Task) -> Certificate:
    """Return the proven lower bound on the expected cost of an episode.

    An infinite horizon is cut off after N periods; what comes later weighs at most discount^N times the greatest value.
    """
    values, tabular = policy.values, policy.tabular
    figures = {"states": float(tabular.num_states), "sweeps": float(values.sweeps)}
    if policy.objective == "average":
        return Certificate(None, "none", {**figures, "average_cost": float(values.low[0] + values.high[0]) / 2})
    low, high = float(tabular.start @ values.low), float(tabular.start @ values.high)
    cut = 0.0
    if tabular.periods is None:
        cut = tabular.discount**tabular.episode * max(float(values.high.max()), 0.0)
    return Certificate(low - cut, "dp", {**figures, "optimal_cost": (low + high) / 2})


def _policy(task: Task) -> DpPolicy:
    if task.instance is None:
        raise InputError("dp makes a policy for one instance; none is given.")
    assert task.problem.tabular is not None
    settings: DpSettings = task.settings
    tabular = task.problem.tabular(task.instance)
    with task.control.progress(tabular.periods or 0, "sweeps") as bar:

        def report(sweeps: int) -> None:
            bar.update(sweeps - bar.n)
            if task.control.should_stop:
                raise Stopped

        try:
            if tabular.periods is not None:
                if settings.objective == "average":
                    raise InputError("objective=average is for infinite horizons; set discount below 1.")
                values = backward_induction(tabular, report)
            elif settings.objective == "average":
                values = average(tabular, settings.tolerance, report)
            else:
                values = discounted(tabular, settings.tolerance, report)
        except Stopped:
            raise InputError("dp was stopped before it had a policy; give it more time or use a rule.") from None
    return DpPolicy(tabular, values, settings.objective)


def _solve(task: Task) -> Outcome | None:
    """Go through the states in layers of what is known beforehand; None if the family has none of the instance."""
    if task.problem.layered is None or task.settings.objective == "average":
        return None
    try:
        layered = task.problem.layered(task.instance, task.scenarios, lambda: task.control.should_stop)
    except InputError:
        return None

    def tried(one: Task, solution: Solution | None, cost: float | None) -> Attempt:
        return attempt(layered, one.settings.width, one.control, solution, cost)

    return solve_hindsight(task, "best-rule", tried)


def _fits(problem: Problem) -> bool:
    return problem.tabular is not None


SOLVER = Solver(
    name="dp",
    summary="exact dynamic programming over all states of a small instance",
    settings=DpSettings,
    fits=_fits,
    solve=_solve,
    policy=_policy,
    certificate=certificate,
)
