"""Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347): the update, and the loop around it.

To be read after `settings`, `play` and `advantage`. Networks, heads, recipes, logs and checkpoints are those of
`orl.learn`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from orl import params
from orl.api import solve
from orl.errors import InputError, Stopped
from orl.learn import checkpoint
from orl.learn.forms import NetworkSettings
from orl.learn.heads import Head, make_head
from orl.learn.momentum import momentum_of, restore_momentum
from orl.learn.networks import make_network
from orl.learn.readers import Reader, make_reader
from orl.learn.training import Recipe, Source, Training
from orl.problem import Problem
from orl.registry import find_problem, find_solver
from orl.result import Status
from orl.scenario import Purpose, generator
from orl.simulate import run_episodes
from orl.solver import Control, Task

from .advantage import Judgement, decisions_of, judged, returns
from .play import Played, answered, play, tensors
from .settings import PpoSettings

# Update -------------------------------------------------------------------------------------------------------------


def update(
    network: Any,
    head: Head,
    optimiser: Any,
    played: Played,
    judgement: Judgement,
    settings: PpoSettings,
    rng: np.random.Generator,
    decisions: np.ndarray | None = None,
    imitates: bool = False,
) -> dict[str, float]:
    """Improve the network on what was played, and return how it went, means over the updates.

    `decisions`, by number, are those to learn from, None: all; one that imitates makes them likelier, whatever their
    advantage.
    """
    arrays = (played.legal, played.actions, played.log_probabilities, *judgement)
    legal, actions, before, advantage, target, post_target = (torch.from_numpy(array) for array in arrays)
    seen, after, begun = tensors(played.seen), tensors(played.after), tensors(played.begun)
    has_critic = settings.baseline == "critic"
    notes: list[tuple[float, ...]] = []
    for _ in range(settings.epochs):
        order = rng.permutation(len(actions) if decisions is None else decisions)
        for part in np.array_split(order, max(1, round(len(order) / settings.minibatch))):
            at = torch.from_numpy(part)
            some = {name: tensor[at] for name, tensor in seen.items()}
            output, value = answered(network, some, legal[at], network.embed(begun), has_critic)
            now, entropies = head.judge(output, legal[at], actions[at])
            entropy, error = entropies.mean(), (value - target[at]).square().mean()
            if after:
                some = {name: tensor[at] for name, tensor in after.items()}
                post_value = network.post(some, torch.zeros_like(legal[at]), network.post.embed(begun))[1]
                error = error + (post_value - post_target[at]).square().mean()
            if not imitates:
                ratio = (now - before[at]).exp()
                clipped = ratio.clamp(1 - settings.clip, 1 + settings.clip)
                gain = torch.minimum(ratio * advantage[at], clipped * advantage[at]).mean()
                loss = -gain - settings.entropy * entropy
            else:
                ratio, loss = torch.ones(1), -now.mean()
            if has_critic:
                loss = loss + settings.value_weight * error
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), settings.max_gradient)
            optimiser.step()
            shift = -ratio.log().mean()  # 0 while imitating: there is no ratio then
            share = ((ratio - 1).abs() > settings.clip).float().mean()
            notes.append(tuple(float(x.detach()) for x in (entropy, error, shift, share)))
    return dict(zip(("entropy", "value_error", "kl", "clipped"), np.mean(notes, axis=0).tolist(), strict=True))


# Loop ---------------------------------------------------------------------------------------------------------------


class PpoLearner:
    """A network that improves iteration by iteration; `orl.learn.training` keeps the books."""

    columns: Sequence[str] = ("pace", "cost", "entropy", "value_error", "kl", "clipped")
    reference: float | None = None

    def __init__(self, problem: Problem, recipe: Recipe, settings: PpoSettings):
        torch.set_num_threads(settings.threads)
        self.problem, self.recipe, self.settings = problem, recipe, settings
        self.source = Source(problem, recipe)
        self.lessons: dict[int, tuple[Played, np.ndarray]] = {}
        self.teachers: dict[int, Any] = {}  # policies, by instances that come again
        self.reader = make_reader(problem, settings.encoder, settings.columns)
        self.fit = self.source.one_of_each_size() if settings.encoder == "plain" else []
        first = self.source.validation[0]
        process = problem.process(first.instances[:1], first.scenarios[:1], self.fit)
        if settings.encoder != "plain" and process.decision.kind != "choice":
            raise InputError(f"{problem.name} decides more than one choice at a time; set encoder=plain.")
        is_random = problem.sample(first.instances[0], recipe.seed, Purpose.TRAIN, 1).is_random
        if settings.taught and (problem.follow is None or process.decision.kind == "targets"):
            raise InputError(f"{problem.name}: solutions of a teacher cannot be followed there; set taught=0.")
        if settings.taught and is_random and find_solver(settings.teacher, problem).policy is None:
            raise InputError(
                f"{problem.name}: {settings.teacher} gives no policy, and its solutions are followed only where "
                "nothing is random; set taught=0, or another teacher."
            )
        form = _form(self.reader, process, settings)
        self.about: Mapping[str, Any] = {"network": asdict(form)}
        self.head = make_head(process.decision)
        torch.manual_seed(recipe.seed)
        self.network = make_network(form)
        self.spread = np.zeros(1)  # of returns over the scale of their instance, 0: not known yet
        self.optimiser = torch.optim.Adam(self.network.parameters(), settings.learning_rate, eps=1e-5)

    def iterate(self, number: int) -> dict[str, float]:
        settings = self.settings
        rng = generator(self.recipe.seed, Purpose.TRAIN, number)
        for group in self.optimiser.param_groups:
            left = 0.5 * (1 + math.cos(math.pi * number / settings.iterations))
            group["lr"] = settings.learning_rate * (0.05 + 0.95 * left)
        started = time.perf_counter()
        if number < settings.taught:
            played, scale = self._lesson(number, rng)
            if settings.baseline == "critic":  # a lesson may be an old one: critics learn from what was paid alone
                judgement = judged(played, replace(settings, gae_decay=1.0), self._scale(played, scale))
            else:
                judgement = Judgement(*np.zeros((3, len(played.place)), dtype=np.float32))
            notes = update(self.network, self.head, self.optimiser, played, judgement, settings, rng, imitates=True)
            return self._line(played, scale, started, notes)
        drawn = self.source.draw(rng, number, settings.instances)
        envs = [one for one in drawn.instances for _ in range(settings.samples)]
        streams = [scenario for scenario in drawn.scenarios for _ in range(settings.samples)]
        scale = np.repeat(drawn.scale, settings.samples)
        draws = torch.Generator().manual_seed(int(rng.integers(2**62)))
        has_critic = settings.baseline == "critic"
        played = self._play(envs, streams, draws, settings.samples, has_critic)
        judgement = judged(played, settings, self._scale(played, scale))
        imitates, few, decisions = number < settings.taught + settings.self_labelling, settings.extremes, None
        if imitates or few:
            ranks = [0] if imitates else [*range(few), *range(settings.samples - few, settings.samples)]
            decisions = decisions_of(played, settings.samples, ranks)
        notes = update(self.network, self.head, self.optimiser, played, judgement, settings, rng, decisions, imitates)
        return self._line(played, scale, started, notes)

    def _scale(self, played: Played, scale: np.ndarray) -> np.ndarray:
        """Return what costs are divided by for the critics: the instances' scale, and the spread of returns so far."""
        if self.settings.baseline == "group" or self.settings.normalise == "none":
            return scale
        before, now = self.spread[0], returns(played, self.settings, scale).std()
        self.spread[0] = (0.9 * before + 0.1 * now if before else now) or 1.0
        return scale * (before or self.spread[0])

    def _line(self, played: Played, scale: np.ndarray, started: float, notes: dict[str, float]) -> dict[str, float]:
        pace = played.costs.size / (time.perf_counter() - started)
        return {"pace": round(pace), "cost": float((played.totals / scale).mean()), **notes}

    def _lesson(self, number: int, rng: np.random.Generator) -> tuple[Played, np.ndarray]:
        """Return what a teacher does on the instances of an iteration, and their scale."""
        if not self.settings.lessons:
            return self._taught(number, rng)
        number %= self.settings.lessons
        if number not in self.lessons:
            self.lessons[number] = self._taught(number, generator(self.recipe.seed, Purpose.TRAIN, number))
        return self.lessons[number]

    def _taught(self, number: int, rng: np.random.Generator) -> tuple[Played, np.ndarray]:
        has_policy = find_solver(self.settings.teacher, self.problem).policy is not None
        drawn = self.source.draw(rng, number, self.settings.instances, is_first=not has_policy)
        told = zip(drawn.instances, drawn.scenarios, strict=True)
        plans = [self._plan(*pair, int(rng.integers(2**31))) for pair in told]
        return self._play(drawn.instances, drawn.scenarios, plans=plans), drawn.scale

    def _plan(self, instance: Any, scenario: Any, seed: int) -> Any:
        """Return what the teacher does, without knowing the scenario unless nothing is random."""
        settings = self.settings
        if scenario.is_random:
            process, control = self.problem.process([instance], [scenario]), Control()
            with control.interruptible():
                run_episodes(process, self._teacher(instance, seed, control), np.random.default_rng(seed), control)
            if control.is_interrupted:
                raise Stopped
            return process.solution(0)
        result = solve(instance, settings.teacher, settings=settings.teacher_settings, time_limit=None, seed=seed)
        if result.status is Status.INTERRUPTED:
            raise Stopped  # what it has so far is no lesson
        return result.solutions[0]

    def _teacher(self, instance: Any, seed: int, control: Control) -> Any:
        """Return the teacher's policy for an instance, made once for one that comes again."""
        if id(instance) in self.teachers:
            return self.teachers[id(instance)]
        method = find_solver(self.settings.teacher, self.problem)
        assert method.policy is not None
        options: Any = params.make(method.settings, self.settings.teacher_settings, "teacher_settings")
        comes_again = self.source.comes_again(instance)
        seed = self.recipe.seed if comes_again else seed
        policy = method.policy(Task(self.problem, instance, None, options, seed, control))
        if comes_again and not control.is_interrupted:
            self.teachers[id(instance)] = policy
        return policy

    def validated(self) -> float:
        ratios = []
        for drawn in self.source.validation:
            played = self._play(drawn.instances, drawn.scenarios)
            ratios += (played.totals / drawn.scale).tolist()
        return float(np.mean(ratios))

    def _play(
        self, envs: Any, scenarios: Any, rng: Any = None, copies: int = 1, has_critic: bool = False, plans: Any = ()
    ) -> Played:
        return play(self.problem, self.network, self.reader, envs, scenarios, rng, copies, has_critic, self.fit, plans)

    def weights(self) -> dict[str, np.ndarray]:
        return {name: tensor.numpy() for name, tensor in self.network.state_dict().items()}

    def momentum(self) -> dict[str, np.ndarray]:
        return {"spread": self.spread.copy()} | momentum_of(self.optimiser)

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        names = self.network.state_dict()
        self.network.load_state_dict({name: torch.from_numpy(arrays[name].copy()) for name in names})
        checkpoint.of_shapes({"spread": self.spread, **arrays}, {"spread": self.spread})
        self.spread = arrays.get("spread", self.spread).copy()
        restore_momentum(self.optimiser, arrays)


def _form(reader: Reader, process: Any, settings: PpoSettings) -> NetworkSettings:
    """Return the form of a network that fits what is shown and what is decided."""
    observation = process.observe()
    begun, seen = reader.begin(observation), reader.read(observation, np.arange(1))
    graph = begun or seen
    rows = seen.get("rows", seen.get("vector"))
    return NetworkSettings(
        encoder=settings.encoder,
        inputs=0 if rows is None else rows.shape[-1],
        nodes=graph["nodes"].shape[-1] if "nodes" in graph else 0,
        relations=graph["edge_features"].shape[-1] if "nodes" in graph else 0,
        outputs=process.decision.mask_shape if settings.encoder == "plain" else (),
        width=settings.width,
        layers=settings.layers,
        graph_layers=settings.graph_layers,
        has_post_critic=settings.critic == "dual",
    )


def train(data: Mapping[str, Any], path: Path, folder: Path, resume: bool, control: Control) -> None:
    """Train by a recipe; see `Solver.train`."""
    recipe = params.make(Recipe, data, str(path))
    settings = params.make(PpoSettings, recipe.training, f"{path}: training")
    learner = PpoLearner(find_problem(recipe.problem), recipe, settings)
    Training(learner, recipe, settings.iterations, folder, resume).run(control)
