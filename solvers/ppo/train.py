"""Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347), read from top to bottom.

Settings, recipe, network, storage, rollout, advantage, update, log. Episodes are played to their ends by the batched
processes of a family, in this process; torch has one thread. All randomness of an iteration follows from the seed and
its number, so a run that was killed goes on to the same weights.
"""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from orl import params
from orl.errors import InputError
from orl.features import Features
from orl.files import read_text, write_atomically
from orl.learn import checkpoint
from orl.learn.advantages import advantages
from orl.learn.networks import NetworkSettings, make_network
from orl.problem import Problem
from orl.registry import find_problem
from orl.scenario import Purpose, generator
from orl.solver import Control

# Settings -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PpoSettings:
    """How a policy is trained.

    Parameters
    ----------
    encoder : 'candidates' or 'plain'
        What the network reads, `Features.candidates` or `Features.flat`.
    width, layers : int
        Of the network.
    iterations : int
        Of playing and updating.
    instances, samples : int
        Of an iteration: drawn instances with a scenario each, and environments that play each of them.
    baseline : 'group' or 'critic'
        What costs are compared with: the mean of the environments that play the same instance and scenario, divided by
        their spread (as Kwon et al. 2020, POMO, arXiv 2010.16011); or a critic, by generalised advantage estimation.
    gae_decay : float in [0, 1]
        Lambda, with a critic.
    epochs, minibatch : int
        Passes over an iteration's decisions, and decisions of an update.
    clip : float
        How far an update may move the probability of a choice, as a ratio.
    learning_rate : float
        Annealed to a twentieth along half a cosine.
    entropy : float
        Weight of the entropy, which keeps samples different.
    value_weight, max_gradient : float
        Weight of the critic's squared error; the norm that gradients are cut to.
    validate_every : int
        Iterations between two looks at the validation instances and two checkpoints.
    """

    encoder: Literal["candidates", "plain"] = "candidates"
    width: int = 64
    layers: int = 3
    iterations: int = 1000
    instances: int = 8
    samples: int = 32
    baseline: Literal["group", "critic"] = "group"
    gae_decay: float = 0.95
    epochs: int = 1
    minibatch: int = 4096
    clip: float = 0.2
    learning_rate: float = 1e-3
    entropy: float = 0.01
    value_weight: float = 0.5
    max_gradient: float = 1.0
    validate_every: int = 20

    def __post_init__(self) -> None:
        for key in ("width", "layers", "iterations", "instances", "samples", "epochs", "minibatch", "validate_every"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be >= 1, got {getattr(self, key)}.")
        for key in ("clip", "learning_rate", "max_gradient"):
            if not getattr(self, key) > 0:
                raise ValueError(f"{key} must be > 0, got {getattr(self, key)}.")
        if self.baseline == "group" and self.samples < 2:
            raise ValueError("baseline=group compares environments of the same instance: samples must be >= 2.")
        if not 0 <= self.gae_decay <= 1:
            raise ValueError(f"gae_decay must be in 0..1, got {self.gae_decay}.")


@dataclass(frozen=True)
class Recipe:
    """What is trained on what.

    Parameters
    ----------
    problem : str
        A family that draws instances.
    sizes : sequence of mappings
        What `Problem.draw` is given; an iteration draws one of them.
    validation : sequence of mappings
        Likewise, all of them drawn on the `select` stream, `validation_instances` each.
    instance : mapping
        Settings of all instances.
    """

    problem: str
    sizes: list[dict[str, int]]
    validation: list[dict[str, int]]
    description: str = ""
    seed: int = 0
    validation_instances: int = 24
    instance: dict[str, Any] = field(default_factory=dict)
    ppo: dict[str, Any] = field(default_factory=dict)


# Storage ------------------------------------------------------------------------------------------------------------


class Played(NamedTuple):
    """What an iteration's episodes were: open decisions one below the other, costs by episode.

    Parameters
    ----------
    seen : ndarray (n, ...)
        Features.
    legal : bool ndarray (n, width)
    actions : int ndarray (n,)
    log_probabilities, values : ndarray (n,)
    place : int ndarray (n,)
        Step times environments plus environment.
    costs, discounts : ndarray (T, N)
    terminated, truncated : bool ndarray (T, N)
    cut_values : ndarray (T, N)
        Of states in which an episode was cut off.
    totals : ndarray (N,)
        Discounted cost of each episode.
    """

    seen: np.ndarray
    legal: np.ndarray
    actions: np.ndarray
    log_probabilities: np.ndarray
    values: np.ndarray
    place: np.ndarray
    costs: np.ndarray
    discounts: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    cut_values: np.ndarray
    totals: np.ndarray


# Rollout ------------------------------------------------------------------------------------------------------------


def play(
    problem: Problem,
    network: Any,
    read: Any,
    envs: Sequence[Any],
    scenarios: Sequence[Any],
    rng: torch.Generator | None,
    has_critic: bool = False,
) -> Played:
    """Play episodes to their ends, drawing choices; without `rng` the likeliest one is taken."""
    process = problem.process(envs, scenarios)
    asked: list[tuple[np.ndarray, ...]] = []  # as `Played` begins
    steps: list[tuple[np.ndarray, ...]] = []
    is_over, weight, totals = np.zeros(len(envs), dtype=bool), np.ones(len(envs)), np.zeros(len(envs))
    while not is_over.all():
        observation = process.observe()
        legal = np.array(observation.legal)
        chosen = legal.argmax(axis=1)
        is_open = np.flatnonzero(legal.sum(axis=1) > 1)
        if len(is_open):
            rows, mask = read(observation)[is_open], legal[is_open]
            with torch.no_grad():
                score, value = answered(network, torch.from_numpy(rows), torch.from_numpy(mask), has_critic)
                choice = score.argmax(1) if rng is None else (score + gumbel(score.shape, rng)).argmax(1)
                likely = score.log_softmax(1).gather(1, choice[:, None])[:, 0]
            chosen[is_open] = choice.numpy()
            told = (choice.numpy(), likely.numpy(), value.numpy())
            asked.append((rows, mask, *told, len(steps) * len(envs) + is_open))
        cost = process.decide(chosen)
        revealed = process.reveal()
        cost = cost + revealed.cost
        totals += weight * cost
        weight *= revealed.discount
        ends = (revealed.terminated | revealed.truncated) & ~is_over
        cut = np.zeros(len(envs))
        if (lost := np.flatnonzero(ends & revealed.truncated)).size:
            last = process.observe()
            with torch.no_grad():
                anything = torch.ones((len(lost), last.legal.shape[1]), dtype=torch.bool)
                cut[lost] = network(torch.from_numpy(read(last)[lost]), anything)[1].numpy()
        steps.append((cost, revealed.discount, ends & revealed.terminated, ends & revealed.truncated, cut))
        is_over = is_over | ends
    if not asked:
        raise InputError(f"{envs[0].name}: there is nothing to decide.")
    decisions = [np.concatenate(column) for column in zip(*asked, strict=True)]
    by_step = [np.stack(column) for column in zip(*steps, strict=True)]
    return Played._make([*decisions, *by_step, totals])


def answered(network: Any, seen: Tensor, legal: Tensor, has_critic: bool) -> tuple[Tensor, Tensor]:
    """Return scores and values; values of 0 without a critic, which is then not computed."""
    return network(seen, legal) if has_critic else (network.scores(seen, legal), torch.zeros(len(seen)))


def gumbel(shape: Any, rng: torch.Generator) -> Tensor:
    """Return noise whose sum with scores is largest at a choice drawn by their softmax."""
    return -torch.log(-torch.log(torch.rand(shape, generator=rng).clamp(min=1e-20, max=1 - 1e-7)))


# Advantage ----------------------------------------------------------------------------------------------------------


def judged(played: Played, settings: PpoSettings, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the advantage of each open decision, and what the critic should have said; float32 (n,).

    Parameters
    ----------
    scale : ndarray (N,)
        What costs are divided by, so that large and small instances look alike.
    """
    if settings.baseline == "group":
        totals = (played.totals / scale).reshape(-1, settings.samples)
        better = (totals.mean(1, keepdims=True) - totals) / (totals.std(1, keepdims=True) + 1e-8)
        advantage = better.ravel()[played.place % len(scale)]
        return advantage.astype(np.float32), np.zeros(len(advantage), dtype=np.float32)
    shape = played.costs.shape
    values, is_open = np.zeros(shape), np.zeros(shape, dtype=bool)
    values.ravel()[played.place], is_open.ravel()[played.place] = played.values, True
    by_step = advantages(
        played.costs / scale, played.discounts, values, is_open, played.terminated, played.truncated,
        played.cut_values, settings.gae_decay,
    )  # fmt: skip
    advantage = by_step.ravel()[played.place]
    target = advantage + played.values
    return ((advantage - advantage.mean()) / (advantage.std() + 1e-8)).astype(np.float32), target.astype(np.float32)


# Update -------------------------------------------------------------------------------------------------------------


def update(
    network: Any, optimiser: Any, played: Played, judgement: Any, settings: PpoSettings, rng: np.random.Generator
) -> dict[str, float]:
    """Improve the network on what was played, and return how it went, means over the updates."""
    advantage, target = (torch.from_numpy(array) for array in judgement)
    seen, legal, actions, before = (
        torch.from_numpy(array) for array in (played.seen, played.legal, played.actions, played.log_probabilities)
    )
    notes: list[tuple[float, ...]] = []
    for _ in range(settings.epochs):
        order = rng.permutation(len(actions))
        for part in np.array_split(order, max(1, round(len(order) / settings.minibatch))):
            at = torch.from_numpy(part)
            score, value = answered(network, seen[at], legal[at], settings.baseline == "critic")
            logs = score.log_softmax(1)
            now = logs.gather(1, actions[at][:, None])[:, 0]
            ratio = (now - before[at]).exp()
            clipped = ratio.clamp(1 - settings.clip, 1 + settings.clip)
            gain = torch.minimum(ratio * advantage[at], clipped * advantage[at]).mean()
            entropy = -(logs.exp() * logs.masked_fill(~legal[at], 0.0)).sum(1).mean()
            loss = -gain - settings.entropy * entropy
            error = torch.zeros(())
            if settings.baseline == "critic":
                error = (value - target[at]).square().mean()
                loss = loss + settings.value_weight * error
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), settings.max_gradient)
            optimiser.step()
            shift = (before[at] - now).mean()
            share = ((ratio - 1).abs() > settings.clip).float().mean()
            notes.append(tuple(float(x.detach()) for x in (entropy, error, shift, share)))
    return dict(zip(("entropy", "value_error", "kl", "clipped"), np.mean(notes, axis=0).tolist(), strict=True))


# Log and loop -------------------------------------------------------------------------------------------------------


MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # of Adam
LOG = ("iteration", "seconds", "decisions_per_s", "cost", "entropy", "value_error", "kl", "clipped", "validation")


class Trainer:
    """A training that can be stopped and resumed: `folder` holds the last and the best checkpoint, and the log."""

    def __init__(self, problem: Problem, recipe: Recipe, settings: PpoSettings, folder: Path, resume: bool = False):
        torch.set_num_threads(1)
        if problem.draw is None or problem.features is None:
            raise InputError(f"{problem.name} draws no instances or has no features; ppo needs both.")
        self.problem, self.recipe, self.settings, self.folder = problem, recipe, settings, folder
        self.instance_settings: Any = params.make(problem.settings(), recipe.instance, "instance")
        rows = range(recipe.validation_instances)
        self.validation = [  # by size
            [self._draw(generator(recipe.seed, Purpose.SELECT, row), size) for row in rows]
            for size in recipe.validation
        ]
        features: Features = problem.features()
        self.read = features.candidates if settings.encoder == "candidates" else features.flat
        if self.read is None:
            raise InputError(f"{problem.name} has no features of candidates; set encoder=plain.")
        first = self.validation[0][0]
        observation = problem.process([first], [self._scenario(first, Purpose.SELECT, 0)]).observe()
        if observation.legal.dtype != bool or observation.legal.ndim != 2:
            raise InputError(f"{problem.name} decides something else than one choice; ppo does not do that yet.")
        width = observation.legal.shape[1] if settings.encoder == "plain" else 0
        form = NetworkSettings(
            settings.encoder, self.read(observation).shape[-1], width, settings.width, settings.layers
        )
        torch.manual_seed(recipe.seed)
        self.form, self.network = form, make_network(form)
        self.optimiser = torch.optim.Adam(self.network.parameters(), settings.learning_rate, eps=1e-5)
        self.done, self.best, self.seconds = 0, math.inf, 0.0
        self.log: list[dict[str, Any]] = []
        if resume:
            self._resume()
        elif (folder / "last").exists():
            raise InputError(f"{folder}: holds a training already; go on with --resume, or choose another folder.")

    def run(self, control: Control) -> None:
        """Train until the recipe's end, or until `control` asks for a stop; what is done by then is kept."""
        settings = self.settings
        is_kept = True
        with control.progress(settings.iterations, "iterations") as bar:
            bar.update(self.done)
            while self.done < settings.iterations and not control.should_stop:
                started = time.perf_counter()
                line = self._iterate(self.done)
                self.done += 1
                is_due = self.done % settings.validate_every == 0 or self.done == settings.iterations
                if is_due:
                    line["validation"] = self.validated()
                self.seconds += time.perf_counter() - started
                self.log.append({"iteration": self.done, "seconds": round(self.seconds, 1), **line})
                if is_due:
                    control.report(note=f"iteration {self.done}, validation {line['validation']:.4f}")
                    self._keep(line["validation"])
                is_kept = is_due
                bar.update(1)
                bar.set_postfix(pace=f"{line['decisions_per_s']:.0f}/s", best=f"{self.best:.4f}")
        if not is_kept:
            self._keep(None)

    def validated(self) -> float:
        """Return the mean cost of greedy decisions over the bound, on the validation instances."""
        ratios = []
        for drawn in self.validation:
            scenarios = [self._scenario(one, Purpose.SELECT, row) for row, one in enumerate(drawn)]
            played = play(self.problem, self.network, self.read, drawn, scenarios, None)
            ratios += (played.totals / self._scale(drawn, scenarios)).tolist()
        return float(np.mean(ratios))

    def _iterate(self, number: int) -> dict[str, float]:
        settings, recipe = self.settings, self.recipe
        rng = generator(recipe.seed, Purpose.TRAIN, number)
        for group in self.optimiser.param_groups:
            left = 0.5 * (1 + math.cos(math.pi * number / settings.iterations))
            group["lr"] = settings.learning_rate * (0.05 + 0.95 * left)
        size = recipe.sizes[int(rng.integers(len(recipe.sizes)))]
        drawn = [self._draw(rng, size) for _ in range(settings.instances)]
        rows = [number * settings.instances + place for place in range(len(drawn))]
        scenarios = [self._scenario(one, Purpose.TRAIN, row) for one, row in zip(drawn, rows, strict=True)]
        envs = [one for one in drawn for _ in range(settings.samples)]
        streams = [scenario for scenario in scenarios for _ in range(settings.samples)]
        draws = torch.Generator().manual_seed(int(rng.integers(2**62)))
        started = time.perf_counter()
        has_critic = settings.baseline == "critic"
        played = play(self.problem, self.network, self.read, envs, streams, draws, has_critic)
        scale = np.repeat(self._scale(drawn, scenarios), settings.samples)
        notes = update(self.network, self.optimiser, played, judged(played, settings, scale), settings, rng)
        pace = played.costs.size / (time.perf_counter() - started)
        return {"decisions_per_s": round(pace), "cost": float((played.totals / scale).mean()), **notes}

    def _draw(self, rng: np.random.Generator, size: Mapping[str, int]) -> Any:
        assert self.problem.draw is not None
        return self.problem.draw(rng, **size, settings=self.instance_settings)

    def _scenario(self, instance: Any, purpose: Purpose, row: int) -> Any:
        stream = self.problem.sample(instance, self.recipe.seed, purpose, 1)
        return stream.row(row) if stream.is_random else stream[0]

    def _scale(self, instances: Sequence[Any], scenarios: Sequence[Any]) -> np.ndarray:
        """Return what costs are divided by: the family's bound, which knows the size; 1 where there is none."""
        if self.problem.bound is None:
            return np.ones(len(instances))
        bounds = [self.problem.bound(one, scenario) for one, scenario in zip(instances, scenarios, strict=True)]
        return np.array([bound if bound > 0 else 1.0 for bound in bounds])

    # What lasts -----------------------------------------------------------------------------------------------------

    def _keep(self, validation: float | None) -> None:
        """Write the log, the best checkpoint if this is it, and the last one, from which a training is resumed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = io.StringIO()
        writer = csv.DictWriter(text, LOG, lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows({key: _short(value) for key, value in line.items()} for line in self.log)
        write_atomically(self.folder / "log.csv", text.getvalue())
        about = {
            "problem": self.problem.name,
            "network": asdict(self.form),
            "instance": self.recipe.instance,
            "recipe": asdict(self.recipe),
            "settings": asdict(self.settings),
            "iteration": self.done,
            "seconds": round(self.seconds, 1),
            "validation": validation,
        }
        weights = {name: tensor.numpy() for name, tensor in self.network.state_dict().items()}
        if validation is not None and validation < self.best:
            self.best = validation
            checkpoint.save(self.folder / "best", weights, about)
        moments = {
            f"{kind}.{place}": state[kind].numpy().reshape(state[kind].shape)
            for place, state in self.optimiser.state_dict()["state"].items()
            for kind in MOMENTS
        }
        checkpoint.save(self.folder / "last", weights | moments, {**about, "best": self.best})

    def _resume(self) -> None:
        arrays, about = checkpoint.load(self.folder / "last")
        if about["recipe"] != asdict(self.recipe) or about["settings"] != asdict(self.settings):
            raise InputError(f"{self.folder}: was trained by another recipe; resume with the same one.")
        names = self.network.state_dict()
        self.network.load_state_dict({name: torch.from_numpy(arrays[name].copy()) for name in names})
        whole = self.optimiser.state_dict()
        count = len(whole["param_groups"][0]["params"])
        whole["state"] = {
            place: {kind: torch.from_numpy(arrays[f"{kind}.{place}"].copy()) for kind in MOMENTS}
            for place in range(count)
            if f"step.{place}" in arrays
        }
        self.optimiser.load_state_dict(whole)
        self.done, self.best, self.seconds = about["iteration"], about["best"], about["seconds"]
        rows = csv.DictReader(io.StringIO(read_text(self.folder / "log.csv")))
        self.log = [row for row in rows if int(row["iteration"]) <= self.done]


def train(data: Mapping[str, Any], path: Path, folder: Path, resume: bool, control: Control) -> None:
    """Train by a recipe; see `Solver.train`."""
    recipe = params.make(Recipe, data, str(path))
    settings = params.make(PpoSettings, recipe.ppo, f"{path}: ppo")
    if not recipe.sizes or not recipe.validation:
        raise InputError(f"{path}: sizes and validation must each name one size or more.")
    Trainer(find_problem(recipe.problem), recipe, settings, folder, resume).run(control)


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
