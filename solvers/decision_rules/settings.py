"""What the training of a decision rule may be told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from orl.learn.forms import MAX_WIDTH

MAX_PROCESSES = 64
MAX_PATHS = 2**20
LARGEST = 1e30


@dataclass(frozen=True)
class DecisionRuleSettings:
    """How a rule is trained.

    Parameters
    ----------
    encoder : 'lstm' or 'linear'
        What remembers the noises so far: a long short-term memory (Hochreiter and Schmidhuber 1997, doi
        10.1162/neco.1997.9.8.1735), and a layer of tanh above it; or a linear recurrence, and a linear layer.
    width : int
        Of memory and layer.
    targets : 'strict' or 'penalised'
        Whether targets are kept among the states that can be reached, so that stages are programs of their own; or may
        lie anywhere within their bounds, and a path is one program in which a unit beside them costs `penalty`.
    penalty : float > 0
        Of a unit beside a target, in units of the most that one can be worth.
    iterations : int
    paths : int
        Drawn in an iteration.
    is_balanced : bool
        Whether the paths of an iteration have all noises of a stage equally often, as far as they are equally likely:
        less luck in the gradient.
    learning_rate : float
        Of Adam, along half a cosine to a hundredth.
    max_gradient : float
        The norm that gradients are cut to.
    tail, tail_weight : float in (0, 1], float in [0, 1]
        What is minimised: (1 - tail_weight) times the mean cost, and tail_weight times the mean of the dearest share
        `tail` of an iteration's paths (CVaR, AVaR).
    processes : int
        That solve stages side by side. What is learned does not depend on them.
    """

    encoder: Literal["lstm", "linear"] = "lstm"
    width: int = 64
    targets: Literal["strict", "penalised"] = "strict"
    penalty: float = 10.0
    iterations: int = 500
    paths: int = 30
    is_balanced: bool = True
    learning_rate: float = 0.02
    max_gradient: float = 1.0
    tail: float = 0.1
    tail_weight: float = 0.0
    processes: int = 1

    def __post_init__(self) -> None:
        for key, most in (("width", MAX_WIDTH), ("iterations", math.inf), ("paths", MAX_PATHS)):
            if not 1 <= getattr(self, key) <= most:
                raise ValueError(f"{key} must be in 1..{most}, got {getattr(self, key)}.")
        for key in ("penalty", "learning_rate", "max_gradient"):
            if not 0 < getattr(self, key) < LARGEST:
                raise ValueError(f"{key} must be > 0 and below {LARGEST:g}, got {getattr(self, key)}.")
        if not 1 <= self.processes <= MAX_PROCESSES:
            raise ValueError(f"processes must be in 1..{MAX_PROCESSES}, got {self.processes}.")
        if not 0 < self.tail <= 1 or not 0 <= self.tail_weight <= 1:
            raise ValueError(
                f"expected tail in (0, 1] and tail_weight in [0, 1], got {self.tail} and {self.tail_weight}."
            )
