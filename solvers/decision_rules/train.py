"""How a decision rule is trained: paths are drawn, the rule asks for states, programs say what these cost, and their
duals are the gradient (arXiv 2405.14973).

With x_0 the first state, w_t the noises of a path and pi the rule,

    x_t = reach(x_{t-1}, w_t, pi(w_1..w_t, x_{t-1})),     Q = sum_t discount^t q_t(x_{t-1}, w_t, x_t),

and dQ/dx_t comes from the programs (`programs`), all else from torch: through the rule, and through what can be
reached, since the state of one stage moves the bounds of the next.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from orl import params
from orl.crew import Crew
from orl.errors import InputError
from orl.learn.momentum import momentum_of, restore_momentum
from orl.learn.training import Recipe, Source, Training
from orl.problem import Problem
from orl.registry import find_problem
from orl.scenario import Purpose, generator
from orl.simulate import run_episodes
from orl.solver import Control
from orl.stages import Staged

from .inputs import NUM_TIMES, Scale, bounds, num_shares, scale_of, times
from .network import Rule
from .policy import DecisionRulePolicy
from .programs import Answer, Asked, PathPrograms, StagePrograms
from .settings import DecisionRuleSettings

# Drawing ------------------------------------------------------------------------------------------------------------


def draw_paths(staged: Staged, rng: np.random.Generator, count: int, is_balanced: bool) -> np.ndarray:
    """Return what the noises of drawn paths raise, (count, T, k)."""
    graph, reach = staged.graph, staged.reach
    state = np.tile(graph.initial, (count, 1))
    drawn = []
    for stage in graph.stages:
        if is_balanced:  # one uniform number in each of `count` equal parts of [0, 1]
            uniform = (rng.permutation(count) + rng.random(count)) / count
        else:
            uniform = rng.random(count)
        number = np.searchsorted(stage.probabilities.cumsum()[:-1], uniform, side="right")
        raised = stage.noises[number]
        if stage.noise_slopes is not None:
            raised = raised + np.einsum("nks,ns->nk", stage.noise_slopes[number], state)
            assert reach is not None
            # Noises depend on what the state remembers of noises, which no decision changes.
            state = np.stack(reach(state, raised, np.zeros((count, reach.num_shares))), axis=-1)
        drawn.append(raised)
    return np.stack(drawn, axis=1)


# Following ----------------------------------------------------------------------------------------------------------


class Seen(NamedTuple):
    """What the rule is shown of paths, tensors of doubles: noises in their units (n, T, k), and in numbers about 1."""

    noises: Tensor
    scaled: Tensor


def shown(noises: np.ndarray, scale: Scale, season: int) -> Seen:
    """Return what the rule is shown of noises (n, T, k)."""
    count, horizon = noises.shape[:2]
    time_of = np.broadcast_to(times(np.arange(horizon), horizon, season), (count, horizon, NUM_TIMES))
    scaled = np.concatenate([(noises - scale.mean) / scale.deviation, time_of], axis=2)
    return Seen(torch.from_numpy(noises), torch.from_numpy(scaled))


def targets_of(rule: Rule, staged: Staged, seen: Seen, scale: Scale, is_strict: bool) -> Tensor:
    """Return the first state and the targets, (n, T + 1, S), with their gradient by the weights of the rule."""
    graph = staged.graph
    remembered, size = rule.remember(seen.scaled), torch.from_numpy(scale.size)
    states = [torch.from_numpy(graph.initial).expand(len(seen.noises), -1)]
    for number, stage in enumerate(graph.stages):
        before = states[-1]
        share = rule(remembered[:, number], seen.scaled[:, number], before / size)
        if is_strict:
            assert staged.reach is not None
            states.append(torch.stack(list(staged.reach(before, seen.noises[:, number], share)), dim=-1))
        else:
            low, high = map(torch.from_numpy, bounds(stage))
            states.append(low + share * (high - low))
    return torch.stack(states, dim=1)


class PathCost(torch.autograd.Function):
    """The discounted cost of each path, (n,), from states, whose derivatives the programs' duals are."""

    @staticmethod
    def forward(context: Any, states: Tensor, costs: Tensor, slopes: Tensor) -> Tensor:
        context.save_for_backward(slopes)
        return costs.clone()

    @staticmethod
    def backward(context: Any, of_costs: Tensor) -> tuple[Tensor, None, None]:
        (slopes,) = context.saved_tensors
        return of_costs[:, None, None] * slopes, None, None


def tail_weights(costs: np.ndarray, tail: float, weight: float) -> np.ndarray:
    """Return what each path's cost weighs in (1 - weight) mean + weight mean of the dearest share `tail`, (n,)."""
    count = len(costs)
    left, weights = tail * count, np.full(count, (1 - weight) / count)
    for path in np.argsort(-costs, kind="stable"):
        share = min(1.0, left)
        weights[path] += weight * share / (tail * count)
        left -= share
        if left <= 0:
            break
    return weights


# Loop ---------------------------------------------------------------------------------------------------------------


class DecisionRuleLearner:
    """A rule that improves iteration by iteration; `orl.learn.training` keeps the books. A context: it has a crew.

    `iterate` tells paths a second, the mean cost of the drawn paths, how many stages ended beside their target (never
    left out: they pay for it), and the norm of the gradient before it was cut.
    """

    columns: Sequence[str] = ("pace", "cost", "missed", "gradient")

    def __init__(self, problem: Problem, recipe: Recipe, settings: DecisionRuleSettings, scheduler: str | None = None):
        torch.set_num_threads(1)
        self.problem, self.recipe, self.settings = problem, recipe, settings
        self.source = Source(problem, recipe)
        is_named = [set(size) for size in recipe.sizes] == [{"instance"}]
        if not is_named or recipe.sizes != recipe.validation or recipe.variants:
            raise InputError("a decision rule is for one instance: sizes and validation must each name it alone.")
        self.instance = self.source.validation[0].instances[0]
        self.staged = staged_of(problem, self.instance, settings.targets == "strict")
        graph = self.staged.graph
        self.scale = scale_of(graph)
        self.num_shares = num_shares(self.staged, settings.targets == "strict")
        torch.manual_seed(recipe.seed)
        seen = len(self.scale.mean) + NUM_TIMES
        self.rule = Rule(
            seen, len(graph.initial), self.num_shares, settings.width, settings.encoder == "linear"
        ).double()
        self.optimiser = torch.optim.Adam(self.rule.parameters(), settings.learning_rate)
        self.crew = Crew(self._members(), "decision rules", scheduler)

    def __enter__(self) -> DecisionRuleLearner:
        self.crew.__enter__()
        return self

    def __exit__(self, *how: Any) -> None:
        self.crew.__exit__(*how)

    @property
    def about(self) -> Mapping[str, Any]:
        return {
            "network": {"encoder": self.settings.encoder, "width": self.settings.width},
            "targets": self.settings.targets,
            "hindsight": self.reference,
        }

    @cached_property
    def reference(self) -> float:
        """The mean of the best that could be done on the validation scenarios, knowing them."""
        graph, noises = self.staged.graph, self._validation_noises()
        states = np.tile(graph.initial, (len(noises), len(graph.stages) + 1, 1))
        costs = PathPrograms(graph, slice(None), math.inf)(Asked(states, noises)).costs
        return float(self._discounted(costs).mean()) or 1.0

    def iterate(self, number: int) -> dict[str, float]:
        settings, started = self.settings, time.perf_counter()
        for group in self.optimiser.param_groups:
            left = 0.5 * (1 + math.cos(math.pi * number / settings.iterations))
            group["lr"] = settings.learning_rate * (0.01 + 0.99 * left)
        rng = generator(self.recipe.seed, Purpose.TRAIN, number)
        noises = draw_paths(self.staged, rng, settings.paths, settings.is_balanced)
        loss, answer = self.loss(noises)
        self.optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.rule.parameters(), settings.max_gradient)
        self.optimiser.step()
        pace = settings.paths / (time.perf_counter() - started)
        cost = float(self._discounted(answer.costs).mean())
        missed = float((answer.missed > 1e-6 * self.scale.size.max()).sum())
        return {"pace": round(pace, 1), "cost": cost, "missed": missed, "gradient": float(norm)}

    def loss(self, noises: np.ndarray) -> tuple[Tensor, Answer]:
        """Return what is minimised on paths, over the mean cost in hindsight, and what the programs said."""
        seen = shown(noises, self.scale, self.staged.season)
        states = targets_of(self.rule, self.staged, seen, self.scale, self.settings.targets == "strict")
        answer = self._ask(Asked(states.detach().numpy(), noises))
        costs = self._discounted(answer.costs)
        of_paths = PathCost.apply(states, torch.from_numpy(costs), torch.from_numpy(answer.slopes))
        weights = tail_weights(costs, self.settings.tail, self.settings.tail_weight)
        return (torch.from_numpy(weights) * of_paths).sum() / self.reference, answer

    def validated(self) -> float:
        drawn, policy = self.source.validation[0], self.policy()
        process = self.problem.process(drawn.instances, drawn.scenarios)
        return float(run_episodes(process, policy, np.random.default_rng(0))[0].mean())

    def policy(self) -> DecisionRulePolicy:
        """Return the rule as it is now."""
        return DecisionRulePolicy(self.staged, self.weights(), self.settings.targets == "strict")

    def weights(self) -> dict[str, np.ndarray]:
        named = {name: tensor.numpy().copy() for name, tensor in self.rule.state_dict().items()}
        return named | {f"scale.{name}": array for name, array in self.scale._asdict().items()}

    def momentum(self) -> dict[str, np.ndarray]:
        return momentum_of(self.optimiser)

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        names = self.rule.state_dict()
        self.rule.load_state_dict({name: torch.from_numpy(arrays[name].copy()) for name in names})
        restore_momentum(self.optimiser, arrays)

    # private

    def _members(self) -> list[Any]:
        settings, graph = self.settings, self.staged.graph
        price, count = settings.penalty * self.staged.most_worth, settings.processes
        if settings.targets == "strict":
            horizon = len(graph.stages)
            return [StagePrograms(graph, range(place, horizon, count), price) for place in range(count)]
        return [PathPrograms(graph, slice(place, None, count), price) for place in range(count)]

    def _ask(self, asked: Asked) -> Answer:
        """Return what all members together say: each answers for a part, with zeros for the rest."""
        answers = self.crew.ask([asked] * self.settings.processes)
        return Answer._make(np.sum(parts, axis=0) for parts in zip(*answers, strict=True))

    def _discounted(self, costs: np.ndarray) -> np.ndarray:
        """Return the cost of each path, (n,), from those of its stages, (n, T)."""
        result: np.ndarray = costs @ self.staged.graph.discount ** np.arange(costs.shape[1])
        return result

    def _validation_noises(self) -> np.ndarray:
        """Return what the process shows of the validation scenarios, (n, T, k)."""
        drawn, shown_by_stage = self.source.validation[0], []
        process = self.problem.process(drawn.instances, drawn.scenarios)
        for _ in self.staged.graph.stages:
            observation = process.observe()
            seen = [self.staged.seen(observation, env) for env in range(process.num_envs)]
            shown_by_stage.append([one.noise for one in seen if one is not None])
            process.decide(np.array(observation.legal[:, 0]))
            process.reveal()
        return np.array(shown_by_stage).swapaxes(0, 1)


def staged_of(problem: Problem, instance: Any, is_strict: bool) -> Staged:
    """Return the stages of an instance, a line without an end it could not have.

    Raises
    ------
    InputError
        If a rule cannot be trained on it.
    """
    assert problem.stages is not None
    staged: Staged = problem.stages(instance)
    line = tuple(range(1, len(staged.graph.stages)))
    if [tuple(edge.node for edge in edges) for edges in staged.graph.children] != [*((node,) for node in line), ()]:
        raise InputError(f"{instance.name}: a decision rule needs one stage after another and an end; set its horizon.")
    if is_strict and staged.reach is None:
        raise InputError(f"{problem.name} does not tell what can be reached; set targets=penalised.")
    if not is_strict and not np.isfinite([bounds(stage) for stage in staged.graph.stages]).all():
        raise InputError(f"{instance.name}: targets=penalised needs states with bounds.")
    if not np.isfinite(staged.most_worth):
        raise InputError(f"{problem.name} does not tell what a unit of its state can be worth.")
    return staged


def train(data: Mapping[str, Any], path: Path, folder: Path, resume: bool, control: Control) -> None:
    """Train by a recipe; see `Solver.train`."""
    recipe = params.make(Recipe, data, str(path))
    settings = params.make(DecisionRuleSettings, recipe.training, f"{path}: training")
    with DecisionRuleLearner(find_problem(recipe.problem), recipe, settings, control.scheduler) as learner:
        Training(learner, recipe, settings.iterations, folder, resume).run(control)
