"""`ppo`, `pdppo`: learned policies, trained by `train` and read from a checkpoint. NumPy decides, torch trains."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from orl.problem import Problem
from orl.registry import resolve, train_by
from orl.solver import Outcome, Solver, Task


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


def _policy(method: str, task: Task) -> object:
    return resolve("orl.solvers.ppo.policy:policy_of")(task, method)


def _solve(method: str, task: Task) -> Outcome:
    return resolve("orl.solvers.ppo.policy:sample")(task, method)


def _solver(name: str, summary: str, **training: str) -> Solver:
    """Return the method that trains by these settings, unless a recipe says otherwise."""
    return Solver(
        name=name,
        summary=summary,
        settings=LearnedSettings,
        fits=_fits,
        solve=partial(_solve, name),
        policy=partial(_policy, name),
        train=partial(train_by, "orl.solvers.ppo.train:train", name, training),
    )


SOLVER = _solver(
    "ppo", "a policy learned by proximal policy optimisation (`train`), greedy or the best of several samples"
)
PDPPO = _solver("pdppo", "the same with a second critic, of the post-decision state", baseline="critic", critic="dual")
