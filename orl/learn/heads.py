"""From what a network says to a decision and its probability, one head for each kind of `Decision`.

The output of a network has the shape of the mask, (n, *decision.mask_shape): a score a choice, or, of targets, means
and logarithms of standard deviations.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from orl.process import Decision

WIDEST, NARROWEST = 0.0, -4.0  # logarithms of the standard deviation of a target, in halves of its range


class Head(Protocol):
    """A distribution of decisions; `legal` is the observation's mask as a tensor."""

    def mode(self, output: Tensor, legal: Tensor) -> Tensor:
        """Return the likeliest decision."""

    def draw(self, output: Tensor, legal: Tensor, rng: torch.Generator) -> Tensor:
        """Return a decision drawn by its probability."""

    def judge(self, output: Tensor, legal: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logarithm of a decision's probability, and the entropy of all, (n,) each."""


def make_head(decision: Decision) -> Head:
    """Return the head for decisions of a kind."""
    return Targets() if decision.kind == "targets" else Choices()


def is_open(decision: Decision, legal: np.ndarray) -> np.ndarray:
    """Return where there is more than one decision, bool (num_envs,)."""
    if decision.kind == "targets":
        return np.asarray((legal[:, 1] > legal[:, 0]).any(axis=1))
    return (legal.sum(axis=-1) > 1).reshape(len(legal), -1).any(axis=1)


class Choices:
    """One choice by the softmax of scores, or one for each machine, independent of one another."""

    def mode(self, output: Tensor, legal: Tensor) -> Tensor:
        return output.argmax(-1)

    def draw(self, output: Tensor, legal: Tensor, rng: torch.Generator) -> Tensor:
        uniform = torch.rand(output.shape, generator=rng).clamp(min=1e-20, max=1 - 1e-7)
        return (output - torch.log(-torch.log(uniform))).argmax(-1)  # Gumbel's noise

    def judge(self, output: Tensor, legal: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        nowhere = ~legal.any(-1, keepdim=True)  # a machine of the padding has no choice at all
        logs = output.masked_fill(nowhere, 0.0).log_softmax(-1).masked_fill(nowhere, 0.0)
        taken = logs.gather(-1, action.unsqueeze(-1)).flatten(1)
        entropy = -(logs.exp() * logs.masked_fill(~legal, 0.0)).flatten(1)
        return taken.sum(1), entropy.sum(1)


class Targets:
    """Independent normal distributions, in [-1, 1] from the lowest to the highest target; nothing goes beyond."""

    def mode(self, output: Tensor, legal: Tensor) -> Tensor:
        return _mean(output)

    def draw(self, output: Tensor, legal: Tensor, rng: torch.Generator) -> Tensor:
        mean = _mean(output)
        return mean + _log_deviation(output).exp() * torch.randn(mean.shape, generator=rng)

    def judge(self, output: Tensor, legal: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        log_deviation, is_free = _log_deviation(output), legal[:, 1] > legal[:, 0]
        distance = (action - _mean(output)) / log_deviation.exp()
        logs = -0.5 * distance.square() - log_deviation - 0.5 * math.log(2 * math.pi)
        entropy = log_deviation + 0.5 * math.log(2 * math.pi * math.e)
        return (logs * is_free).sum(1), (entropy * is_free).sum(1)


def _mean(output: Tensor) -> Tensor:
    return output[:, 0]


def _log_deviation(output: Tensor) -> Tensor:
    """Return what begins in the middle when the output is 0."""
    return NARROWEST + (WIDEST - NARROWEST) * torch.sigmoid(output[:, 1] + 1.0)
