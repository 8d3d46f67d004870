"""The methods `lagrangian` and `lagrangian-hindsight`: what parts of a problem share has a price instead of a limit.

`lagrangian` is a policy with a proven bound on the expected cost of all policies; `lagrangian-hindsight` solves each
scenario, known beforehand, approximately and with a proven bound. See README.md.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orl.decomposition import Decomposition
from orl.errors import InputError
from orl.hindsight import Attempt, is_met, solve_hindsight
from orl.params import check_threads
from orl.policy import Memory
from orl.problem import Problem, Solution
from orl.process import Observation
from orl.result import Status, mean_interval
from orl.solver import Certificate, Control, Outcome, Solver, Task

from .ascent import Ascent, ascend

TIME_SHARE = 0.6  # of the time, for the search for prices; the rest is for deciding
FRESH_REPAIRS = 10
SCENARIO_STEP = 0.1  # first step of prices of a scenario, which begin at those of the process


@dataclass(frozen=True)
class LagrangianSettings:
    """What `lagrangian` may be told.

    Parameters
    ----------
    iterations : int >= 1
        Steps of the search for prices; a time limit may end it before.
    scenario_iterations : int >= 0
        0: the bound is that of the process, proven, on the expected cost. Else so many steps for each scenario, known
        beforehand and made to pay for what it knows: a better bound, whose mean over the scenarios is an estimate.
    trials : int >= 0
        Scenarios of the `select` stream on which prices near the best are tried for deciding; 0: none.
    threads : int >= 0
        That parts are solved in; 0: all cores. The result is the same.
    """

    iterations: int = 150
    scenario_iterations: int = 0
    trials: int = 50
    threads: int = 0

    def __post_init__(self) -> None:
        check_threads(self.threads)
        if self.iterations < 1:
            raise ValueError(f"iterations must be >= 1, got {self.iterations}.")
        for key in ("scenario_iterations", "trials"):
            if getattr(self, key) < 0:
                raise ValueError(f"{key} must be >= 0, got {getattr(self, key)}.")


@dataclass(frozen=True)
class LagrangianHindsightSettings:
    """What `lagrangian-hindsight` may be told.

    Parameters
    ----------
    iterations : int >= 1
        Steps of the search for prices, in each scenario.
    repairs : int >= 0
        How many solutions are made from the prices, the first ten afresh, the others near the best so far.
    threads : int >= 0
        That parts are solved in; 0: all cores. The result is the same.
    """

    iterations: int = 150
    repairs: int = 200
    threads: int = 0

    def __post_init__(self) -> None:
        check_threads(self.threads)
        if self.iterations < 1:
            raise ValueError(f"iterations must be >= 1, got {self.iterations}.")
        if self.repairs < 0:
            raise ValueError(f"repairs must be >= 0, got {self.repairs}.")


@dataclass(frozen=True, eq=False)
class LagrangianPolicy:
    """Decide by the values of the parts.

    Parameters
    ----------
    decomposition : Decomposition
    ascent : Ascent
        Prices, and the bound that they prove.
    values : what the family makes of prices
    factor, window : float, int
        By which the best prices were raised, and over how many periods they were averaged, to decide.
    """

    decomposition: Decomposition
    ascent: Ascent
    values: Any
    factor: float = 1.0
    window: int = 1
    clairvoyant: bool = False

    def start(self, instances: Sequence[Any], rng: np.random.Generator) -> None:
        return None

    def decide(self, observation: Observation, memory: Memory) -> tuple[np.ndarray, Memory]:
        return self.decomposition.decide(self.values, observation), memory


def _decomposition(task: Task) -> Decomposition:
    if task.instance is None:
        raise InputError("lagrangian makes a policy for one instance; none is given.")
    assert task.problem.decomposition is not None
    return task.problem.decomposition(task.instance)


def _spent(control: Control) -> float:
    """Return the share of the time for prices that is gone; above 1: stop."""
    return 2.0 if control.is_interrupted else control.gone / TIME_SHARE


def _threads(task: Task) -> int:
    return task.settings.threads or os.cpu_count() or 1


def _policy(task: Task) -> LagrangianPolicy:
    from .tuning import best_values  # SciPy is slow to load

    decomposition, control = _decomposition(task), task.control
    relaxation = decomposition.expected()

    with control.progress(task.settings.iterations, "prices") as bar:

        def report(done: int, value: float) -> None:
            bar.update(min(done, bar.total) - bar.n)
            control.report(bound=value)

        ascent = ascend(
            relaxation, task.settings.iterations, lambda: _spent(control), report=report, threads=_threads(task)
        )

    def make(values: Any) -> LagrangianPolicy:
        return LagrangianPolicy(decomposition, ascent, values)

    tuned = best_values(task, decomposition, ascent.prices, make, task.settings.trials)
    return LagrangianPolicy(decomposition, ascent, *tuned)


def certificate(policy: LagrangianPolicy, task: Task) -> Certificate:
    """Return the bound at the prices or, if `scenario_iterations` asks for it, the mean of bounds of the scenarios."""
    figures = {
        "price_iterations": float(policy.ascent.iterations),
        "price_factor": policy.factor,
        "price_window": float(policy.window),
        "expected_bound": policy.ascent.value,
    }
    plain = Certificate(policy.ascent.value, "lagrangian" if task.scenarios.is_random else "proven", figures)
    if not task.settings.scenario_iterations or not task.scenarios.is_random:
        return plain
    prices = policy.ascent.prices
    penalties = policy.decomposition.penalties(prices)
    bounds = []
    with task.control.progress(len(task.scenarios), "bounds") as bar:
        for scenario in task.scenarios:
            if task.control.should_stop:
                return plain  # a mean over the first few would not be of the same scenarios as the value
            relaxation = policy.decomposition.penalised(scenario, penalties)
            found = ascend(
                relaxation,
                task.settings.scenario_iterations,
                lambda: 2.0 if task.control.should_stop else 0.0,
                prices,
                first_step=SCENARIO_STEP,
                threads=_threads(task),
            )
            bounds.append(found.value)
            bar.update(1)
    if len(bounds) > 1:
        interval = mean_interval(bounds)
        figures = {**figures, "bound_low": interval.low, "bound_high": interval.high}
    return Certificate(float(np.mean(bounds)), "penalised-mean", figures)


def _solve(task: Task) -> Outcome:
    decomposition = _decomposition(task)

    def attempt(one: Task, solution: Solution | None, cost: float | None) -> Attempt:
        control = one.control
        relaxation = decomposition.known(one.scenarios)

        found = ascend(
            relaxation,
            task.settings.iterations,
            lambda: _spent(control),
            report=lambda _, value: control.report(bound=value),
            threads=_threads(task),
        )
        best, rng = None, np.random.default_rng(task.seed)
        for number in range(task.settings.repairs):
            if control.should_stop or is_met(cost, found.value):
                break
            trial = relaxation.repair(found.prices, rng, best if number >= FRESH_REPAIRS else None)
            checked = one.problem.verify(one.instance, one.scenarios, trial)
            if checked.is_feasible and checked.cost is not None and (cost is None or checked.cost < cost):
                best, cost = trial, checked.cost
                control.report(cost)
        return Attempt(Status.FEASIBLE, best, found.value, found.iterations)

    return solve_hindsight(task, "best-rule", attempt)


def _fits(problem: Problem) -> bool:
    return problem.decomposition is not None


SOLVER = Solver(
    name="lagrangian",
    summary="parts of a problem solved alone at prices for what they share; a policy, and a bound on all policies",
    settings=LagrangianSettings,
    fits=_fits,
    policy=_policy,
    certificate=certificate,
)

HINDSIGHT = Solver(
    name="lagrangian-hindsight",
    summary="the same for each scenario, known beforehand: a solution, and a proven bound",
    settings=LagrangianHindsightSettings,
    fits=_fits,
    solve=_solve,
)
