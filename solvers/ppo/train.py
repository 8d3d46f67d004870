"""Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347), read from top to bottom.

Settings, storage, rollout, advantage, update, loop. Episodes are played to their ends by the batched processes of a
family, in this process; torch has one thread. Networks, heads, recipes, logs and checkpoints are those of `orl.learn`.
"""

from __future__ import annotations

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
from orl.api import solve
from orl.errors import InputError, Stopped
from orl.gym.actions import to_process
from orl.learn.advantages import advantages
from orl.learn.heads import Head, is_open, make_head
from orl.learn.networks import NetworkSettings, make_network
from orl.learn.readers import Encoder, Reader, make_reader
from orl.learn.training import Recipe, Source, Training
from orl.problem import Problem
from orl.registry import find_problem
from orl.result import Status
from orl.scenario import Purpose, generator
from orl.solver import Control

# Settings -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PpoSettings:
    """How a policy is trained.

    Parameters
    ----------
    encoder : 'candidates', 'plain', 'graph' or 'graph-once'
        What the network reads, see `orl.learn.readers`.
    columns : int
        Of a candidate's features so many are read, the first ones; 0: all.
    width, layers, graph_layers : int
        Of the network.
    iterations : int
        Of playing and updating.
    taught : int
        So many iterations at first imitate a teacher's solutions of `instances` instances, of the first variant, in
        which nothing may be random.
    lessons : int
        After so many of these iterations the same instances come again, since solutions are dear; 0: always new ones.
    teacher, teacher_settings : str, mapping
        A method and its settings.
    self_labelling : int
        So many iterations, after those, imitate the best of the environments that play the same instance (Corsini et
        al. 2024, arXiv 2401.11849), instead of the clipped objective.
    instances, samples : int
        Of an iteration: drawn instances with a scenario each, and environments that play each of them.
    extremes : int
        Learn from so many of the best and as many of the worst environments of an instance alone, which tell most for
        the time of an update (Xu et al. 2025, arXiv 2504.13818); 0: from all of them.
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
    """

    encoder: Encoder = "candidates"
    columns: int = 0
    width: int = 64
    layers: int = 3
    graph_layers: int = 2
    iterations: int = 1000
    taught: int = 0
    teacher: str = "tabu"
    teacher_settings: dict[str, Any] = field(default_factory=lambda: {"iterations": 100_000})
    lessons: int = 0
    self_labelling: int = 0
    instances: int = 8
    samples: int = 32
    extremes: int = 0
    baseline: Literal["group", "critic"] = "group"
    gae_decay: float = 0.95
    epochs: int = 1
    minibatch: int = 4096
    clip: float = 0.2
    learning_rate: float = 1e-3
    entropy: float = 0.01
    value_weight: float = 0.5
    max_gradient: float = 1.0

    def __post_init__(self) -> None:
        for key in ("width", "layers", "iterations", "instances", "samples", "epochs", "minibatch"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be >= 1, got {getattr(self, key)}.")
        for key in ("clip", "learning_rate", "max_gradient"):
            if not getattr(self, key) > 0:
                raise ValueError(f"{key} must be > 0, got {getattr(self, key)}.")
        if self.baseline == "group" and self.samples < 2:
            raise ValueError("baseline=group compares environments of the same instance: samples must be >= 2.")
        if not 0 <= 2 * self.extremes <= self.samples:
            raise ValueError(f"extremes must be in 0..samples / 2, got {self.extremes}.")
        if not 0 <= self.gae_decay <= 1:
            raise ValueError(f"gae_decay must be in 0..1, got {self.gae_decay}.")


# Storage ------------------------------------------------------------------------------------------------------------


class Played(NamedTuple):
    """What an iteration's episodes were: open decisions one below the other, costs by episode.

    Parameters
    ----------
    begun : name -> ndarray (N, ...)
        What the network was shown when the episodes began.
    seen : name -> ndarray (n, ...)
        What it was shown at each decision; 'episode' is the episode's place in `begun`.
    legal, actions : ndarray (n, ...)
        As the head takes them.
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

    begun: Mapping[str, np.ndarray]
    seen: Mapping[str, np.ndarray]
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
    reader: Reader,
    envs: Sequence[Any],
    scenarios: Sequence[Any],
    rng: torch.Generator | None,
    copies: int = 1,
    has_critic: bool = False,
    fit: Sequence[Any] = (),
    plans: Sequence[Any] = (),
) -> Played:
    """Play episodes to their ends, drawing choices; without `rng` the likeliest one is taken, with `plans` theirs.

    So many `copies` of every environment stand side by side and begin alike; `fit` is what the padding has room for.
    """
    process = problem.process(envs, scenarios, fit)
    head = make_head(process.decision)
    begun = {name: array[::copies] for name, array in reader.begin(process.observe()).items()}
    with torch.no_grad():
        embedded = network.embed(_tensors(begun))
    asked: list[tuple[Any, ...]] = []  # as `Played` goes on after `begun`
    steps: list[tuple[np.ndarray, ...]] = []
    is_over, weight, totals = np.zeros(len(envs), dtype=bool), np.ones(len(envs)), np.zeros(len(envs))
    while not is_over.all():
        observation = process.observe()
        legal = np.array(observation.legal)
        chosen = legal[:, 0].copy() if legal.dtype != bool else legal.argmax(axis=-1)
        free = np.flatnonzero(is_open(process.decision, legal) & ~is_over)
        if len(free):
            seen = {**reader.read(observation, free), "episode": free // copies}
            mask = legal[free] if legal.dtype == bool else legal[free].astype(np.float32)
            with torch.no_grad():
                told = torch.from_numpy(mask)
                output, value = answered(network, _tensors(seen), told, embedded, has_critic)
                if plans:
                    assert problem.follow is not None
                    planned = [problem.follow(envs[env], plans[env], observation, env) for env in free.tolist()]
                    action = torch.tensor(planned)
                else:
                    action = head.mode(output, told) if rng is None else head.draw(output, told, rng)
                likely, _ = head.judge(output, told, action)
            chosen[free] = to_process(process.decision, action.numpy(), legal[free])[0]
            asked.append((seen, mask, action.numpy(), likely.numpy(), value.numpy(), len(steps) * len(envs) + free))
        cost = process.decide(chosen)  # the state is now post-decision: a critic of its own would read it here
        revealed = process.reveal()
        cost = cost + revealed.cost
        totals += weight * cost
        weight *= revealed.discount
        ends = (revealed.terminated | revealed.truncated) & ~is_over
        cut = np.zeros(len(envs))
        if (lost := np.flatnonzero(ends & revealed.truncated)).size:
            last = process.observe()
            seen = {**reader.read(last, lost), "episode": lost // copies}
            with torch.no_grad():
                anything = torch.from_numpy(np.ones_like(legal[lost]))
                cut[lost] = network(_tensors(seen), anything, embedded)[1].numpy()
        steps.append((cost, revealed.discount, ends & revealed.terminated, ends & revealed.truncated, cut))
        is_over = is_over | ends
    if not asked:
        raise InputError(f"{envs[0].name}: there is nothing to decide.")
    seen_by_step, *others = zip(*asked, strict=True)
    seen = {name: np.concatenate([one[name] for one in seen_by_step]) for name in seen_by_step[0]}
    decisions = [np.concatenate(column) for column in others]
    by_step = [np.stack(column) for column in zip(*steps, strict=True)]
    return Played._make([begun, seen, *decisions, *by_step, totals])


def answered(network: Any, seen: Any, legal: Tensor, embedded: Any, has_critic: bool) -> tuple[Tensor, Tensor]:
    """Return scores and values; values of 0 without a critic, which is then not computed."""
    if has_critic:
        return network(seen, legal, embedded)
    return network.scores(seen, legal, embedded), torch.zeros(len(legal))


def _tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


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
    values, is_asked = np.zeros(shape), np.zeros(shape, dtype=bool)
    values.ravel()[played.place], is_asked.ravel()[played.place] = played.values, True
    by_step = advantages(
        played.costs / scale, played.discounts, values, is_asked, played.terminated, played.truncated,
        played.cut_values, settings.gae_decay,
    )  # fmt: skip
    advantage = by_step.ravel()[played.place]
    target = advantage + played.values
    return ((advantage - advantage.mean()) / (advantage.std() + 1e-8)).astype(np.float32), target.astype(np.float32)


def decisions_of(played: Played, samples: int, ranks: Sequence[int]) -> np.ndarray:
    """Return the decisions of some of the environments that play the same instance, by rank, the cheapest first."""
    order = played.totals.reshape(-1, samples).argsort(axis=1, kind="stable")
    wanted = order[:, ranks] + np.arange(0, len(played.totals), samples)[:, None]
    return np.flatnonzero(np.isin(played.place % len(played.totals), wanted))


# Update -------------------------------------------------------------------------------------------------------------


def update(
    network: Any,
    head: Head,
    optimiser: Any,
    played: Played,
    judgement: Any,
    settings: PpoSettings,
    rng: np.random.Generator,
    decisions: np.ndarray | None = None,
    imitates: bool = False,
) -> dict[str, float]:
    """Improve the network on what was played, and return how it went, means over the updates.

    `decisions`, by number, are those to learn from, None: all; one that imitates makes them likelier, whatever the
    judgement.
    """
    arrays = (played.legal, played.actions, played.log_probabilities, *judgement)
    legal, actions, before, advantage, target = (torch.from_numpy(array) for array in arrays)
    seen, begun = _tensors(played.seen), _tensors(played.begun)
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

    def __init__(self, problem: Problem, recipe: Recipe, settings: PpoSettings):
        torch.set_num_threads(1)
        self.problem, self.recipe, self.settings = problem, recipe, settings
        self.source = Source(problem, recipe)
        self.lessons: dict[int, tuple[Played, np.ndarray]] = {}
        self.reader = make_reader(problem, settings.encoder, settings.columns)
        self.fit = self.source.one_of_each_size() if settings.encoder == "plain" else []
        first = self.source.validation[0]
        process = problem.process(first.instances[:1], first.scenarios[:1], self.fit)
        if settings.encoder != "plain" and process.decision.kind != "choice":
            raise InputError(f"{problem.name} decides more than one choice at a time; set encoder=plain.")
        is_random = problem.sample(first.instances[0], recipe.seed, Purpose.TRAIN, 1).is_random
        if settings.taught and (problem.follow is None or is_random):
            raise InputError(
                f"{problem.name}: a teacher's solutions are followed where nothing is random; set taught=0."
            )
        form = _form(self.reader, process, settings)
        self.about: Mapping[str, Any] = {"network": asdict(form)}
        self.head = make_head(process.decision)
        torch.manual_seed(recipe.seed)
        self.network = make_network(form)
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
            nothing = np.zeros((2, len(played.actions)), dtype=np.float32)
            notes = update(self.network, self.head, self.optimiser, played, nothing, settings, rng, imitates=True)
            return self._line(played, scale, started, notes)
        drawn = self.source.draw(rng, number, settings.instances)
        envs = [one for one in drawn.instances for _ in range(settings.samples)]
        streams = [scenario for scenario in drawn.scenarios for _ in range(settings.samples)]
        scale = np.repeat(drawn.scale, settings.samples)
        draws = torch.Generator().manual_seed(int(rng.integers(2**62)))
        has_critic = settings.baseline == "critic"
        played = self._play(envs, streams, draws, settings.samples, has_critic)
        judgement = judged(played, settings, scale)
        imitates, few, decisions = number < settings.taught + settings.self_labelling, settings.extremes, None
        if imitates or few:
            ranks = [0] if imitates else [*range(few), *range(settings.samples - few, settings.samples)]
            decisions = decisions_of(played, settings.samples, ranks)
        notes = update(self.network, self.head, self.optimiser, played, judgement, settings, rng, decisions, imitates)
        return self._line(played, scale, started, notes)

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
        drawn = self.source.draw(rng, number, self.settings.instances, is_first=True)
        plans = [self._plan(instance, int(rng.integers(2**31))) for instance in drawn.instances]
        return self._play(drawn.instances, drawn.scenarios, plans=plans), drawn.scale

    def _plan(self, instance: Any, seed: int) -> Any:
        settings = self.settings
        result = solve(instance, settings.teacher, settings=settings.teacher_settings, time_limit=None, seed=seed)
        if result.status is Status.INTERRUPTED:
            raise Stopped  # what it has so far is no lesson
        return result.solutions[0]

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
        return {
            f"{kind}.{place}": tensor.numpy().reshape(tensor.shape)
            for place, state in self.optimiser.state_dict()["state"].items()
            for kind, tensor in state.items()
        }

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        names = self.network.state_dict()
        self.network.load_state_dict({name: torch.from_numpy(arrays[name].copy()) for name in names})
        whole = self.optimiser.state_dict()
        for name in arrays.keys() - names.keys():
            kind, place = name.split(".")
            whole["state"].setdefault(int(place), {})[kind] = torch.from_numpy(arrays[name].copy())
        self.optimiser.load_state_dict(whole)


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
    )


def train(data: Mapping[str, Any], path: Path, folder: Path, resume: bool, control: Control) -> None:
    """Train by a recipe; see `Solver.train`."""
    recipe = params.make(Recipe, data, str(path))
    settings = params.make(PpoSettings, recipe.training, f"{path}: training")
    learner = PpoLearner(find_problem(recipe.problem), recipe, settings)
    Training(learner, recipe, settings.iterations, folder, resume).run(control)
