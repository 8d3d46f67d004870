"""`ts-ddr`, `ts-ldr`: rules that ask for states, trained through the duals of the programs that reach them.

See README.md. NumPy decides, torch trains.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from orl.problem import Problem
from orl.registry import resolve, train_by
from orl.solver import Solver, Task


@dataclass(frozen=True)
class DecisionRuleChoice:
    """What `ts-ddr` may be told.

    Parameters
    ----------
    checkpoint : str
        The folder of a checkpoint; '': the one that comes with the instance.
    """

    checkpoint: str = ""


def _fits(problem: Problem) -> bool:
    return problem.stages is not None


def _policy(method: str, task: Task) -> object:
    return resolve("orl.solvers.decision_rules.policy:policy_of")(task, method)


def _solver(name: str, summary: str, **training: Any) -> Solver:
    """Return the method that trains by these settings, unless a recipe says otherwise."""
    return Solver(
        name=name,
        summary=summary,
        settings=DecisionRuleChoice,
        fits=_fits,
        policy=partial(_policy, name),
        train=partial(train_by, "orl.solvers.decision_rules.train:train", name, training),
    )


SOLVER = _solver("ts-ddr", "a deep decision rule that asks for states (`train`), trained through duals", encoder="lstm")
LINEAR = _solver("ts-ldr", "the same with a linear rule", encoder="linear", learning_rate=0.003)
