"""Simulation of a policy on scenarios, in batches."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from orl.policy import Memory, Policy, RulePolicy, all_legal, rule_seeds
from orl.problem import Problem, Solution
from orl.process import Observation, Process
from orl.registry import rules_of
from orl.rule import Rule
from orl.scenario import Scenarios
from orl.solver import Control

BATCH = 256  # environments simulated side by side, at most


@dataclass(frozen=True)
class Simulated:
    """What came of the scenarios that were simulated before any interruption.

    Parameters
    ----------
    costs : ndarray (num_scenarios,)
    solutions : list of Solution
    seconds_per_decision : float or None
        Of the policy alone, mean over its decisions, many environments side by side; None: whole episodes ran in a
        kernel, where deciding cannot be told from simulating.
    """

    costs: np.ndarray
    solutions: list[Solution]
    seconds_per_decision: float | None


class _Clocked:
    """A policy under a stop watch."""

    def __init__(self, policy: Policy):
        self.policy = policy
        self.clairvoyant = policy.clairvoyant
        self.start = policy.start
        self.seconds, self.decisions = 0.0, 0

    def decide(self, observation: Observation, memory: Memory) -> tuple[np.ndarray, Memory]:
        started = time.perf_counter()
        decided = self.policy.decide(observation, memory)
        self.seconds += time.perf_counter() - started
        legal = observation.legal.reshape(len(observation.legal), -1)
        self.decisions += int(legal.any(axis=1).sum())
        return decided

    @property
    def seconds_per_decision(self) -> float | None:
        return self.seconds / self.decisions if self.decisions else None


def run_episodes(
    process: Process, policy: Policy, rng: np.random.Generator, control: Control | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Run the episodes of all environments to their ends, from where they are, between two decisions.

    Returns
    -------
    costs : ndarray (num_envs,)
        What this adds, discounted.
    is_over : bool ndarray (num_envs,)
        All true unless `control` asked for a stop.
    """
    is_over = np.zeros(process.num_envs, dtype=bool)
    if isinstance(policy, RulePolicy):
        costs = process.run(policy.rule, rule_seeds(rng.spawn(1)[0], process.num_envs))
        if costs is not None:
            return costs, ~is_over
    return _play(process, policy, policy.start(process.instances, rng.spawn(1)[0]), control)


def _play(process: Process, policy: Policy, memory: Memory, control: Control | None) -> tuple[np.ndarray, np.ndarray]:
    """Run episodes step by step; see `run_episodes`."""
    is_over = np.zeros(process.num_envs, dtype=bool)
    costs, weight = np.zeros(process.num_envs), np.ones(process.num_envs)
    while not is_over.all() and not (control and control.should_stop):
        actions, memory = policy.decide(process.observe(), memory)
        costs += weight * process.decide(actions)
        revealed = process.reveal()
        costs += weight * revealed.cost
        weight *= revealed.discount
        is_over = revealed.terminated | revealed.truncated
    return costs, is_over


def simulate(
    problem: Problem,
    instance: Any,
    policy: Policy,
    scenarios: Scenarios,
    seed: int = 0,
    control: Control | None = None,
) -> Simulated:
    """Simulate a policy on every scenario of an instance.

    When `control` asks for a stop, what is told is of the leading scenarios that have come to their end. A slow policy
    is run on as few at a time as its `batch` says, so that there are some.
    """
    control = control or Control()
    rng = np.random.default_rng([seed, 0])
    costs: list[float] = []
    solutions: list[Solution] = []
    is_rule = isinstance(policy, RulePolicy)
    clocked = policy if is_rule else _Clocked(policy)
    size = min(BATCH, getattr(policy, "batch", BATCH))
    with control.progress(len(scenarios), "scenarios") as bar:
        for first in range(0, len(scenarios), size):
            if first and control.should_stop:
                break
            batch = [scenarios[i] for i in range(first, min(first + size, len(scenarios)))]
            process = problem.process([instance] * len(batch), batch)
            if is_rule:
                of_batch, is_over = run_episodes(process, clocked, rng, control)
            else:
                if first % BATCH == 0:
                    draws = rng.spawn(1)[0]  # small batches go on in it, and so draw what a large one would
                of_batch, is_over = _play(process, clocked, clocked.start(process.instances, draws), control)
            ended = len(batch) if is_over.all() else int(is_over.argmin())  # the leading ones: rows stay aligned
            costs += of_batch[:ended].tolist()
            solutions += [process.solution(env) for env in range(ended)]
            bar.update(ended)
    return Simulated(np.array(costs), solutions, getattr(clocked, "seconds_per_decision", None))


def rule_policy(problem: Problem, rule: Rule) -> RulePolicy:
    """Return the policy that follows a rule within what the family lets rules choose among."""
    return RulePolicy(rule, problem.choices or all_legal)


def best_rule(
    problem: Problem, instance: Any, scenario: Scenarios, seed: int = 0
) -> tuple[str, float, Solution] | None:
    """Return name, cost and solution of the family's best rule on one scenario; None if it has no rules."""
    best: tuple[str, float, Solution] | None = None
    for name, rule in rules_of(problem).items():
        run = simulate(problem, instance, rule_policy(problem, rule), scenario[0], seed)
        if best is None or run.costs[0] < best[1]:
            best = (name, float(run.costs[0]), run.solutions[0])
    return best
