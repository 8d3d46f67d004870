"""The contracts that every family, process and method must keep, as checks that raise AssertionError.

A third party runs them on its own: `check_problem(PROBLEM, instance)` and `check_solver(PROBLEM, SOLVER, instance)`.
"""

from __future__ import annotations

import json
import math
import pickle
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from orl import api, files, params
from orl.errors import IllegalAction
from orl.policy import Memory, Policy, rule_seeds
from orl.problem import Problem
from orl.process import Observation, Process
from orl.registry import rules_of
from orl.scenario import Purpose, Scenarios
from orl.simulate import rule_policy, run_episodes
from orl.solver import Solver


class RandomPolicy:
    """Draw legal actions, each environment from a stream of its own; used to reach unusual states."""

    clairvoyant = False

    def start(self, instances: Sequence[Any], rng: np.random.Generator) -> Memory:
        """Return one generator an environment."""
        return rng.spawn(len(instances))

    def decide(self, observation: Observation, memory: Memory) -> tuple[np.ndarray, Memory]:
        """Return a legal action in each environment; 0 where nothing is legal."""
        noise = np.stack([rng.random(observation.legal.shape[1:]) for rng in memory])
        if observation.legal.dtype == bool:
            return np.where(observation.legal, noise, -1.0).argmax(axis=-1), memory
        low, high = observation.legal[:, 0], observation.legal[:, 1]
        return low + noise[:, 0] * (high - low), memory


def check_problem(problem: Problem, instance: Any, num_envs: int = 3, seed: int = 0) -> None:
    """Check a family on one of its instances: streams, process, rules, verifier, files."""
    scenarios = check_scenarios(problem, instance, num_envs, seed)
    check_process(lambda envs: problem.process([instance] * envs, [scenarios[i % len(scenarios)] for i in range(envs)]))
    process = problem.process([instance] * len(scenarios), list(scenarios))
    policies: list[Policy] = [RandomPolicy(), *(rule_policy(problem, rule) for rule in rules_of(problem).values())]
    for policy in policies:
        process.reset()
        costs = run_episodes(process, policy, np.random.default_rng(seed))[0]
        for env in range(process.num_envs):
            solution = process.solution(env)
            report = problem.verify(instance, scenarios[env], solution)
            assert report.is_feasible, f"{policy}: {report.violations[:3]}"
            assert math.isclose(report.cost or 0.0, costs[env], rel_tol=1e-9, abs_tol=1e-9), "paid cost = verified cost"
            if problem.bound is not None:
                assert problem.bound(instance, scenarios[env]) <= costs[env] + 1e-6, "bound <= cost"
            columns = problem.columns(instance, solution)
            again = problem.verify(instance, scenarios[env], problem.solution(instance, columns))
            assert again == report, "a solution survives its columns"
    check_rules(problem, instance, scenarios, seed)
    pickle.loads(pickle.dumps((instance, [rule_policy(problem, rule) for rule in rules_of(problem).values()])))
    assert isinstance(problem.describe(instance), str)
    if problem.metrics is not None:
        values = problem.metrics(instance, scenarios[0], process.solution(0)).values()
        assert all(math.isfinite(value) for value in values), "metrics are finite"
    if problem.save is not None:
        check_files(problem, instance)


def check_scenarios(problem: Problem, instance: Any, count: int, seed: int) -> Scenarios:
    """Check that rows depend on (seed, purpose, i) alone, and return `count` of them (one if nothing is random)."""
    one = problem.sample(instance, seed, Purpose.EVALUATE, 1)
    if not one.is_random:
        return one
    many = problem.sample(instance, seed, Purpose.EVALUATE, count)
    assert len(many) == count
    if many.draw is not None:
        short = one.values(0, 1)
        long = problem.sample(instance, seed, Purpose.EVALUATE, count).values(0, 5 * len(short))
        assert (long[: len(short)] == short).all(), "a row's beginning stays when it is drawn further"
        other = problem.sample(instance, seed, Purpose.TRAIN, 1).values(0, len(long))
        assert (other[: len(long)] != long).any(), "purposes share no draws"
    return many


def check_process(make: Callable[[int], Process], max_decisions: int = 100_000) -> None:
    """Check the contract of a process that `make(num_envs)` gives."""
    process = make(2)
    _check_observation(process, process.observe())
    _check_illegal(process)
    policy = RandomPolicy()
    costs = run_episodes(process, policy, np.random.default_rng(1))[0]
    before = process.observe()
    assert before.legal.dtype != bool or not before.legal.any(), "nothing is legal at the end"
    assert (process.decide(np.zeros(_action_shape(process))) == 0).all(), "finished environments cost nothing"
    revealed = process.reveal()
    assert (revealed.cost == 0).all() and (revealed.terminated | revealed.truncated).all()
    # An environment's episode does not depend on its neighbours, nor on what was played before the reset.
    process.reset()
    assert (run_episodes(process, policy, np.random.default_rng(1))[0] == costs).all(), "reset starts anew"
    alone = make(1)
    assert run_episodes(alone, policy, np.random.default_rng(1))[0][0] == costs[0], "batching changes nothing"
    process.reset(envs=[1])
    memory = policy.start(process.instances, np.random.default_rng(2))
    for _ in range(max_decisions):
        observation = process.observe()
        _check_observation(process, observation)
        actions, memory = policy.decide(observation, memory)
        process.decide(actions)
        post = process.observe()
        _check_no_partial_reset(process)
        assert post.post and not observation.post
        assert post.arrays.keys() == observation.arrays.keys(), "one schema at both half-steps"
        assert post.legal.dtype != bool or not post.legal.any(), "nothing is legal between decide and reveal"
        revealed = process.reveal()
        assert (revealed.discount >= 0).all() and (revealed.discount <= 1).all()
        assert revealed.cost[0] == 0 and revealed.discount[0] == 1, "an environment at its end stays there"
        assert not (revealed.terminated & revealed.truncated).any()
        if (revealed.terminated | revealed.truncated).all():
            return
    raise AssertionError(f"the episode did not end within {max_decisions} decisions.")


def check_rules(problem: Problem, instance: Any, scenarios: Scenarios, seed: int = 0) -> None:
    """Check that a rule does the same step by step as in the kernel that runs whole episodes."""
    rows = list(scenarios)
    for name, rule in rules_of(problem).items():
        assert rule.summary.endswith("."), f"rule {name} needs a sentence of docstring"
        whole, stepped = (problem.process([instance] * len(rows), rows) for _ in range(2))
        seeds = rule_seeds(np.random.default_rng(seed), len(rows))
        costs = whole.run(rule, seeds)
        policy = rule_policy(problem, rule)
        memory = policy.start(stepped.instances, np.random.default_rng(seed))
        is_over = np.zeros(len(rows), dtype=bool)
        while not is_over.all():
            observation = stepped.observe()
            choices = policy.choices(observation)
            if observation.legal.dtype == bool:
                assert not (choices & ~observation.legal).any(), "rules choose among what is legal"
                assert (choices.any(axis=-1) == observation.legal.any(axis=-1)).all(), "rules have a choice"
            actions, memory = policy.decide(observation, memory)
            stepped.decide(actions)
            revealed = stepped.reveal()
            is_over = revealed.terminated | revealed.truncated
        if costs is not None:
            for env in range(len(rows)):
                same = [problem.columns(instance, process.solution(env)) for process in (whole, stepped)]
                assert same[0] == same[1], f"rule {name}: the kernel and the steps differ"


def check_files(problem: Problem, instance: Any) -> None:
    """Check that an instance survives being written and read."""
    assert problem.save is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instance.toml"
        problem.save(instance, path)
        assert problem.sniff(path, files.read_head(path)), "the family recognises what it wrote"
        again = problem.load(path, {})
        problem.save(again, Path(folder) / "again.toml")
        assert path.read_text() == (Path(folder) / "again.toml").read_text()


def check_solver(
    problem: Problem,
    solver: Solver,
    instance: Any,
    time_limit: float = 5.0,
    scenarios: int | None = None,
    **settings: Any,
) -> Any:
    """Check that a method gives a verified, honest, serialisable result, and return it."""
    result = api.solve(instance, solver, settings=settings, time_limit=time_limit, scenarios=scenarios)
    assert result.verified and not result.violations, result.violations[:3]
    assert result.value is not None and result.solutions
    if result.bound is not None and result.bound_kind == "proven":
        assert result.bound <= result.value + 1e-6
    if result.best_known is not None:
        known = problem.best_known(instance) if problem.best_known is not None else None
        assert known is None or known.lower is None or result.value >= known.lower, "nothing beats a published bound"
    data = json.loads(result.to_json())
    assert data["solver"] == solver.name and data["verified"] is True
    assert set(params.keys(solver.settings)) <= set(data["settings"])
    of_instance = {key: data["settings"].get(key) for key in params.keys(problem.settings())}
    params.make(problem.settings(), {key: x for key, x in of_instance.items() if x is not None}, "settings of the file")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        api.save_result(instance, result, path)
        assert api.check(instance, path).is_feasible, "a result survives being written and read"
    return result


def _action_shape(process: Process) -> tuple[int, ...]:
    decision = process.decision
    return (
        process.num_envs,
        *{"choice": (), "per_machine": (decision.machines,), "targets": (decision.width,)}[decision.kind],
    )


def _check_observation(process: Process, observation: Observation) -> None:
    assert observation.legal.shape == (process.num_envs, *process.decision.mask_shape)
    assert len(observation.sizes) == process.num_envs
    for name, array in {**observation.arrays, "legal": observation.legal}.items():
        assert array.shape[0] == process.num_envs, f"{name} is batch first"
        assert not array.flags.writeable, f"{name} is read-only"


def _check_no_partial_reset(process: Process) -> None:
    try:
        process.reset(envs=[0])
    except RuntimeError:
        return
    raise AssertionError("a partial reset between decide and reveal must raise RuntimeError")


def _check_illegal(process: Process) -> None:
    """An illegal action raises and changes nothing."""
    observation = process.observe()
    before = {name: array.copy() for name, array in observation.arrays.items()}
    actions = np.zeros(_action_shape(process))
    for bad in (-1, process.decision.width if process.decision.kind != "targets" else np.nan):
        try:
            process.decide(np.full_like(actions, bad))
        except IllegalAction:
            pass
        else:
            raise AssertionError(f"action {bad} must raise IllegalAction")
    after = process.observe()
    assert not after.post
    assert all((after.arrays[name] == array).all() for name, array in before.items()), (
        "an illegal action changes nothing"
    )
