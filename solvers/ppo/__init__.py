"""`ppo`: a learned policy, trained by `train` and read from a checkpoint. NumPy decides; torch is needed to train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orl.problem import Problem
from orl.registry import resolve
from orl.solver import Control, Outcome, Solver, Task


@dataclass(frozen=True)
class LearnedSettings:
    """What `ppo` may be told.

    Parameters
    ----------
    checkpoint : str
        The folder of a checkpoint; '': the one that comes with the family.
    samples : int >= 1
        Where nothing is random: so many schedules are made, the first of the likeliest choices, the others drawn, and
        the best is kept.
    temperature : float > 0
        Of the draws: above 1 they differ more than the policy's probabilities say. The default was chosen on drawn job
        shops (`benchmarks/jobshop_ppo.py`).
    """

    checkpoint: str = ""
    samples: int = 1
    temperature: float = 0.2

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples must be >= 1, got {self.samples}.")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be > 0, got {self.temperature}.")


def _fits(problem: Problem) -> bool:
    return problem.features is not None


def _train(data: Mapping[str, Any], path: Path, folder: Path, resume: bool, control: Control) -> None:
    resolve("orl.solvers.ppo.train:train")(data, path, folder, resume, control)


def _policy(task: Task) -> object:
    return resolve("orl.solvers.ppo.policy:policy_of")(task)


def _solve(task: Task) -> Outcome:
    return resolve("orl.solvers.ppo.policy:sample")(task)


SOLVER = Solver(
    name="ppo",
    summary="a policy learned by proximal policy optimisation (`train`), greedy or the best of several samples",
    settings=LearnedSettings,
    fits=_fits,
    solve=_solve,
    policy=_policy,
    train=_train,
)
