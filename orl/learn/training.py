"""A training run, whatever learns: recipe, iterations, validation, log, checkpoints, and how a run is resumed.

All randomness of an iteration follows from the seed and its number, so a run that was killed goes on to the weights of
one that was not.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
import os
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from orl import params
from orl.api import load
from orl.errors import InputError, Stopped
from orl.files import lock, make_folder, read_text, sweep, write_atomically
from orl.problem import Problem
from orl.scenario import Purpose, generator
from orl.solver import Control

from . import checkpoint

MAX_VALIDATION, MAX_DRAWN = 100_000, 10**8  # instances of each size; the product of the numbers of a size

# Recipe -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """What is trained on what.

    Parameters
    ----------
    problem : str
    sizes : sequence of mappings
        What `Problem.draw` is given; an iteration draws one of them. Or {instance = NAME}: an instance as it is, of
        which only the scenarios are drawn.
    validation : sequence of mappings
        Likewise, all of them drawn on the `select` stream, `validation_instances` each.
    curriculum : int
        The iteration at which the last of `sizes` and of `variants` joins the others; the first is there from the
        beginning.
    validate_every : int
        Iterations between two looks at the validation instances, and two checkpoints.
    instance : mapping
        Settings of all instances.
    variants : sequence of mappings
        Further settings, one of which each drawn instance has beside those of `instance`: what one policy is to
        manage, say breakdowns from rare to frequent. Validation instances have them in turn.
    method : str
        By name; '' where nobody said, as in older checkpoints.
    training : mapping
        Settings of the method.
    tensorboard : bool
        Whether to log for TensorBoard, too.
    """

    problem: str
    sizes: list[dict[str, int | str]]
    validation: list[dict[str, int | str]]
    description: str = ""
    seed: int = 0
    validation_instances: int = 24
    validate_every: int = 20
    curriculum: int = 0
    instance: dict[str, Any] = field(default_factory=dict)
    variants: list[dict[str, Any]] = field(default_factory=list)
    method: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    tensorboard: bool = False

    def __post_init__(self) -> None:
        if not self.sizes or not self.validation:
            raise ValueError("sizes and validation must each name one size or more.")
        for key, low, high in (("validation_instances", 1, MAX_VALIDATION), ("validate_every", 1, math.inf),
                               ("seed", 0, 2**63 - 1), ("curriculum", 0, math.inf)):  # fmt: skip
            if not low <= getattr(self, key) <= high:
                raise ValueError(f"{key} must be in {low}..{high}, got {getattr(self, key)}.")
        for size in (*self.sizes, *self.validation):
            numbers = [value for value in size.values() if not isinstance(value, str)]
            if not all(0 <= number <= MAX_DRAWN for number in numbers) or math.prod(numbers) > MAX_DRAWN:
                raise ValueError(f"sizes must be >= 0, and their product at most {MAX_DRAWN}, got {size}.")


@dataclass(frozen=True)
class Drawn:
    """Instances of one size with a scenario each.

    Parameters
    ----------
    instances : list
    scenarios : list of Scenarios
    scale : ndarray (n,)
        What costs are divided by, so that large and small instances look alike: the family's scale, or else its bound,
        or else 1.
    """

    instances: list[Any]
    scenarios: list[Any]
    scale: np.ndarray


class Source:
    """Instances and scenarios by a recipe; those of validation and those of training never meet.

    Validation does not depend on the recipe's seed: policies of several training seeds are judged on the same.
    """

    VALIDATION_SEED = 0

    def __init__(self, problem: Problem, recipe: Recipe):
        self.problem, self.recipe = problem, recipe
        self._named: dict[Any, Any] = {}
        self._told = [{**recipe.instance, **variant} for variant in recipe.variants or [{}]]
        self.settings: list[Any] = [params.make(problem.settings(), one, "instance") for one in self._told]
        rows = range(recipe.validation_instances)
        self.validation = [
            self._with_scenarios(
                [
                    self._draw(generator(self.VALIDATION_SEED, Purpose.SELECT, row), size, row % len(self.settings))
                    for row in rows
                ],
                Purpose.SELECT,
                rows,
            )
            for size in recipe.validation
        ]

    def one_of_each_size(self) -> list[Any]:
        """Return instances that whatever is drawn is padded to, for networks whose shapes never change."""
        rng = generator(self.recipe.seed, Purpose.TRAIN, 0)
        return [self._draw(rng, size, 0) for size in (*self.recipe.sizes, *self.recipe.validation)]

    def comes_again(self, instance: Any) -> bool:
        """Return whether the recipe names the instance, so that it is the same object whenever it is drawn."""
        return any(instance is one for one in self._named.values())

    def draw(self, rng: np.random.Generator, number: int, count: int, is_first: bool = False) -> Drawn:
        """Return the instances of an iteration, all of the first variant or each of any."""
        sizes, curriculum = self.recipe.sizes, self.recipe.curriculum
        share = 1.0 if curriculum == 0 else min(1.0, number / curriculum)
        size = sizes[int(rng.integers(1 + int(share * (len(sizes) - 1))))]
        some = 1 if is_first else 1 + int(share * (len(self.settings) - 1))
        variants = rng.integers(some, size=count) if some > 1 else np.zeros(count, dtype=int)
        instances = [self._draw(rng, size, variant) for variant in variants.tolist()]
        return self._with_scenarios(instances, Purpose.TRAIN, range(number * count, (number + 1) * count))

    def _draw(self, rng: np.random.Generator, size: Mapping[str, int | str], variant: int) -> Any:
        if "instance" in size:
            name = (str(size["instance"]), variant)
            if name not in self._named:
                self._named[name] = load(name[0], self.problem.name, self._told[variant])
            return self._named[name]
        if self.problem.draw is None:
            raise InputError(f"{self.problem.name} draws no instances: name one in sizes, {{instance = NAME}}.")
        try:
            return self.problem.draw(rng, **size, settings=self.settings[variant])
        except InputError:
            raise
        except (TypeError, ValueError) as error:  # a key that is none, a range that is empty
            raise InputError(f"sizes: {dict(size)} is nothing that {self.problem.name} can draw: {error}.") from None

    def _with_scenarios(self, instances: list[Any], purpose: Purpose, rows: Sequence[int]) -> Drawn:
        scenarios = []
        for instance, row in zip(instances, rows, strict=True):
            seed = self.VALIDATION_SEED if purpose is Purpose.SELECT else self.recipe.seed
            stream = self.problem.sample(instance, seed, purpose, 1)
            scenarios.append(stream.row(row) if stream.is_random else stream[0])
        scale = np.ones(len(instances))
        if self.problem.scale is not None:
            scale = np.array([self.problem.scale(one) for one in instances])
        elif self.problem.bound is not None:
            bounds = [self.problem.bound(one, told) for one, told in zip(instances, scenarios, strict=True)]
            scale = np.array([bound if bound > 0 else 1.0 for bound in bounds])
        return Drawn(instances, scenarios, scale)


# Run ----------------------------------------------------------------------------------------------------------------


class Learner(Protocol):
    """What is trained, iteration by iteration.

    Parameters
    ----------
    columns : sequence of str
        What `iterate` tells, `pace` (decisions a second) among it.
    """

    columns: Sequence[str]

    @property
    def about(self) -> Mapping[str, Any]:
        """What a checkpoint tells of the network, besides recipe and progress."""

    @property
    def reference(self) -> float | None:
        """What `validated` is compared with: the mean cost in hindsight; None: nothing."""

    def iterate(self, number: int) -> dict[str, float]:
        """Learn, and return how it went; raise `Stopped` if it was interrupted before it had learned anything."""

    def validated(self) -> float:
        """Return the mean cost on the validation instances over their scales."""

    def weights(self) -> dict[str, np.ndarray]:
        """Return what decides."""

    def momentum(self) -> dict[str, np.ndarray]:
        """Return what else is needed to go on."""

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take over weights and momentum."""


class Training:
    """A run in a folder: `last` and `best` are checkpoints, `log.csv` has a line an iteration.

    Raises
    ------
    InputError
        If the folder cannot be written, another training writes to it, or it holds one that is not to be resumed, or
        one by another recipe.
    """

    def __init__(self, learner: Learner, recipe: Recipe, iterations: int, folder: Path, resume: bool = False):
        self.learner, self.recipe, self.iterations, self.folder = learner, recipe, iterations, folder
        self.done, self.best, self.seconds = 0, math.inf, 0.0
        self.log: list[dict[str, Any]] = []
        self._release = weakref.finalize(self, os.close, _locked(folder))
        sweep(folder, folder / "last", folder / "best")
        if not checkpoint.is_there(folder / "last"):
            return
        if resume:
            self._resume()
        else:
            raise InputError(f"{folder}: holds a training already; go on with --resume, or choose another folder.")

    def run(self, control: Control) -> None:
        """Train until the recipe's end, or until `control` asks for a stop; what is done by then is kept."""
        try:
            self._run(control)
        finally:
            self._release()

    def _run(self, control: Control) -> None:
        is_kept = True
        with control.progress(self.iterations, "iterations") as bar, self._board() as board:
            bar.update(self.done)
            while self.done < self.iterations and not control.should_stop:
                started = time.perf_counter()
                try:
                    line = self.learner.iterate(self.done)
                except Stopped:  # within the iteration, which will be made anew
                    control.interrupt()
                    break
                if not all(np.isfinite(array).all() for array in self.learner.weights().values()):
                    raise InputError(f"iteration {self.done}: weights are not finite any more; learn more slowly.")
                self.done += 1
                is_due = self.done % self.recipe.validate_every == 0 or self.done == self.iterations
                if is_due:
                    line["validation"] = self.learner.validated()
                self.seconds += time.perf_counter() - started
                self.log.append({"iteration": self.done, "seconds": round(self.seconds, 1), **line})
                for name, value in line.items() if board else ():
                    board.add_scalar(name, value, self.done)
                if is_due:
                    self._keep(line["validation"])
                    control.report(note=self._told(line["validation"]))
                is_kept = is_due
                bar.update(1)
                bar.set_postfix(pace=f"{line['pace']:.0f}/s", best=f"{self.best:.4f}")
        if not is_kept:
            self._keep(None)

    def _told(self, validation: float) -> str:
        note, reference = f"iteration {self.done}, validation {validation:.6g}", self.learner.reference
        return note if reference is None else f"{note}, {100 * (validation / reference - 1):.2f} % above hindsight"

    @contextmanager
    def _board(self) -> Iterator[Any]:
        if not self.recipe.tensorboard:
            yield None
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise InputError("tensorboard=true needs the package: pip install tensorboard.") from None
        with SummaryWriter(str(self.folder), purge_step=self.done + 1) as board:
            yield board

    def _keep(self, validation: float | None) -> None:
        """Write the log, the best checkpoint if this is it, and the last one, from which a training is resumed."""
        text = io.StringIO()
        columns = ("iteration", "seconds", *self.learner.columns, "validation")
        writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows({key: _short(value) for key, value in line.items()} for line in self.log)
        write_atomically(self.folder / "log.csv", text.getvalue())
        about = {
            "problem": self.recipe.problem,
            **self.learner.about,
            "instance": self.recipe.instance,
            "recipe": asdict(self.recipe),
            "iteration": self.done,
            "seconds": round(self.seconds, 1),
            "validation": validation,
        }
        weights = self.learner.weights()
        if validation is not None and validation < self.best:
            self.best = validation
            checkpoint.save(self.folder / "best", weights, about)
        checkpoint.save(self.folder / "last", weights | self.learner.momentum(), {**about, "best": self.best})

    def _resume(self) -> None:
        arrays, about = checkpoint.load(self.folder / "last")
        told = about.get("recipe")
        if not isinstance(told, Mapping) or {"method": self.recipe.method, **told} != asdict(self.recipe):
            raise InputError(f"{self.folder}: was trained by another recipe; resume with the same one.")
        reached = params.make(Reached, {key: about.get(key) for key in params.keys(Reached)}, str(self.folder / "last"))
        self.done, self.best, self.seconds = reached.iteration, reached.best, reached.seconds
        try:
            checkpoint.of_shapes(arrays, self.learner.weights())
            self.learner.load(arrays)
        except InputError as error:
            raise InputError(f"{self.folder / 'last'}: {error}") from None
        path = self.folder / "log.csv"
        self.log = list(itertools.islice(csv.DictReader(io.StringIO(read_text(path))), self.done))
        numbers = [row.get("iteration") for row in self.log]
        if numbers != [str(number) for number in range(1, self.done + 1)]:
            raise InputError(f"{path}: expected a line for each of the {self.done} iterations.")


@dataclass(frozen=True)
class Reached:
    """How far a training is: iterations, the best validation so far, and seconds."""

    iteration: int
    best: float
    seconds: float

    def __post_init__(self) -> None:
        if self.iteration < 1 or math.isnan(self.best) or not 0 <= self.seconds < math.inf:
            raise ValueError(f"expected iteration >= 1, a best value and seconds >= 0, got {self}.")


def _locked(folder: Path) -> int:
    """Return the open file that keeps other trainings out of a folder until it is closed."""
    make_folder(folder)
    path = folder / ".lock"
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}).") from None
    try:
        lock(file, folder, "training")
    except BaseException:
        os.close(file)
        raise
    return file


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
