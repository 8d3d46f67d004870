"""The method `rolling`: plan what is ahead with a model of the family, follow the plan, plan anew when disturbed.

A plan takes the nominal future for granted (certainty equivalence): what is drawn takes its expected value. It is worth
what following it costs there, which is more than it promises where policies may do less than models. Or it is made for
the tree of some drawn futures: what is decided now must serve them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from orl.errors import InputError
from orl.params import check_threads
from orl.problem import Problem
from orl.process import Observation
from orl.registry import rules_of
from orl.result import Status
from orl.scenario import Purpose, Scenarios
from orl.simulate import best_rule, rule_policy, run_episodes, simulate
from orl.solver import Control, Solver, Task


@dataclass(frozen=True)
class RollingSettings:
    """What `rolling` may be told.

    Parameters
    ----------
    replan_time : float > 0
        Seconds for each plan.
    lookahead : int >= 0
        Periods that a plan looks ahead, in families that count periods; 0: to the end.
    futures : int >= 0
        0: plan for the nominal future; else for the tree of so many drawn ones, in families whose model has trees.
    threads : int >= 0
        Of the solver; 0: all cores, of CP-SAT 4 at least.
    """

    replan_time: float = 1.0
    lookahead: int = 0
    futures: int = 0
    threads: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.replan_time < float("inf"):
            raise ValueError(f"replan_time must be > 0 and finite, got {self.replan_time}.")
        for key in ("lookahead", "futures"):
            if getattr(self, key) < 0:
                raise ValueError(f"{key} must be >= 0, got {getattr(self, key)}.")
        check_threads(self.threads)


@dataclass(frozen=True)
class Plan:
    """The instance that a plan was made for, and its solution."""

    instance: Any
    solution: Any


class Course(NamedTuple):
    """An environment: its instance, the plan that is followed, and the seed of the futures of the next one."""

    instance: Any
    plan: Plan | None
    seed: int


RollingMemory = tuple[Course, ...]


@dataclass(frozen=True)
class RollingPolicy:
    """Follow a plan until it no longer holds.

    Parameters
    ----------
    problem : Problem
    settings : RollingSettings
    seed : int
    """

    problem: Problem
    settings: RollingSettings
    seed: int
    clairvoyant: bool = False
    batch: int = 1

    def start(self, instances: Sequence[Any], rng: np.random.Generator) -> RollingMemory:
        seeds = rng.integers(0, 2**63, size=len(instances)).tolist()
        return tuple(Course(instance, None, seed) for instance, seed in zip(instances, seeds, strict=True))

    def decide(self, observation: Observation, memory: RollingMemory) -> tuple[np.ndarray, RollingMemory]:
        assert self.problem.follow is not None and self.problem.is_disturbed is not None
        legal = observation.legal  # of targets: their bounds
        is_choice = legal.dtype == bool
        shape = legal.shape[:-1] if is_choice else (len(legal), legal.shape[-1])
        actions = np.zeros(shape, dtype=np.int64 if is_choice else np.float64)
        courses = list(memory)
        for env in np.flatnonzero(legal.reshape(len(memory), -1).any(axis=1)).tolist():
            instance, plan, seed = memory[env]
            if plan is None or self.problem.is_disturbed(plan.instance, observation, env):
                plan = self._plan(instance, observation, env, seed)
                courses[env] = Course(instance, plan, _next(seed))
            actions[env] = self.problem.follow(plan.instance, plan.solution, observation, env)
        return actions, tuple(courses)

    def _plan(self, instance: Any, observation: Observation, env: int, seed: int) -> Plan:
        from orl.hindsight import is_met, solve_hindsight, with_model

        problem, settings = self.problem, self.settings
        assert problem.in_motion is not None and problem.nominal is not None
        ahead = problem.in_motion(instance, observation, env)
        if settings.lookahead:
            assert problem.shortened is not None
            ahead = problem.shortened(ahead, settings.lookahead)
        if settings.futures:
            return self._plan_tree(ahead, seed)
        ahead, future = problem.nominal(ahead)
        task = Task(problem, ahead, future, settings, self.seed, Control(settings.replan_time))
        model = _model_of(problem)
        assert model is not None
        attempt = with_model(model, _solve_program if model == "cp-sat" else _solve_model)
        has_rules = problem.default_rule is not None
        outcome = solve_hindsight(task, "best-rule" if has_rules else "none", attempt)
        if outcome.status == Status.INFEASIBLE:
            raise InputError(f"{ahead.name}: there is no plan for what is ahead, its model is infeasible.")
        if not outcome.solutions:
            raise InputError(f"{ahead.name}: no plan in {settings.replan_time:g} s; give replan_time more.")
        plan = Plan(ahead, outcome.solutions[0])
        if not has_rules or is_met(cost := self._followed(plan, future), outcome.value):
            return plan
        rule = best_rule(problem, ahead, future, self.seed)
        other = Plan(ahead, rule[2]) if rule else None
        return other if other is not None and self._followed(other, future) < cost else plan

    def _plan_tree(self, ahead: Any, seed: int) -> Plan:
        """Plan for some drawn futures at once; started from the rule that is best in the mean over them."""
        problem, settings, control = self.problem, self.settings, Control(self.settings.replan_time)
        is_random = problem.sample(ahead, seed, Purpose.TRAIN, 1).is_random
        futures = problem.sample(ahead, seed, Purpose.TRAIN, settings.futures if is_random else 1)
        rules = rules_of(problem).values() if problem.default_rule is not None else ()
        runs = [simulate(problem, ahead, rule_policy(problem, rule), futures, self.seed) for rule in rules]
        known = min(runs, key=lambda run: float(run.costs.mean())).solutions if runs else None
        assert problem.models is not None
        model = problem.models["exact"](ahead, futures, should_stop=lambda: False)
        start = known if known is None or len(futures) > 1 else known[0]
        task = Task(problem, ahead, futures, settings, self.seed, control)
        solved = _solve_model(task, model.program, () if start is None else model.start(start), model.separate)
        plans = known if solved.of is None else model.read(solved.of)
        if plans is None:
            raise InputError(f"{ahead.name}: no plan in {settings.replan_time:g} s; give replan_time more.")
        return Plan(ahead, plans[0] if isinstance(plans, list) else plans)

    def _followed(self, plan: Plan, future: Scenarios) -> float:
        """Return what following a plan costs in the nominal future."""
        process = self.problem.process([plan.instance], [future])
        return float(run_episodes(process, _Follower(self.problem, plan), np.random.default_rng(0))[0][0])


@dataclass(frozen=True)
class _Follower:
    """Follow one plan to the end."""

    problem: Problem
    plan: Plan
    clairvoyant: bool = False

    def start(self, instances: Sequence[Any], rng: np.random.Generator) -> None:
        return None

    def decide(self, observation: Observation, memory: None) -> tuple[np.ndarray, None]:
        assert self.problem.follow is not None
        return np.array([self.problem.follow(self.plan.instance, self.plan.solution, observation, 0)]), None


def _next(seed: int) -> int:
    return int(np.random.SeedSequence([seed, 1]).generate_state(1, np.uint64)[0]) >> 1


def _solve_program(task: Task, program: Any, start: Any) -> Any:
    from orl.cp_sat import solve_program

    return solve_program(program, task.control, start, threads=task.settings.threads, seed=task.seed)


def _solve_model(task: Task, program: Any, start: Any, separate: Any = None) -> Any:
    from orl.exact import solve_model

    threads, seed = task.settings.threads, task.seed
    return solve_model(program, task.control, start, threads=threads, seed=seed, separate=separate)


def _model_of(problem: Problem) -> str | None:
    """Return the name of the model to plan with, the family's first."""
    return next(iter(problem.models or ()), None)


def _policy(task: Task) -> RollingPolicy:
    if task.settings.lookahead and task.problem.shortened is None:
        raise InputError(f"lookahead: {task.problem.name} does not count periods; plans go to the end.")
    if task.settings.futures and not task.problem.has_trees:
        raise InputError(f"futures: {task.problem.name} has no model of several futures; leave it at 0.")
    if _model_of(task.problem) == "exact":
        import pyomo.environ  # noqa: F401 - what is slow to load must not cost the first plan its time
    return RollingPolicy(task.problem, task.settings, task.seed)


def _fits(problem: Problem) -> bool:
    hooks = (problem.in_motion, problem.nominal, problem.follow, problem.is_disturbed)
    return _model_of(problem) is not None and None not in hooks


SOLVER = Solver(
    name="rolling",
    summary="a plan by CP-SAT or HiGHS, followed, and made anew at every disturbance",
    settings=RollingSettings,
    fits=_fits,
    policy=_policy,
)
