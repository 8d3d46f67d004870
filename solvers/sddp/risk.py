"""Risk measures: what a random future cost is worth now, by its worst-case weights.

Each measure of costs z with probabilities p is a maximum over weights q of sum q z - penalty(q); `weigh` returns the
maximiser and the penalty, so that cuts weighted by q, less the penalty, stay below the measure.

References
----------
A. Shapiro, W. Tekaya, J. P. da Costa, M. P. Soares (2013). Risk neutral and risk averse stochastic dual dynamic
programming method. European Journal of Operational Research 224(2). doi 10.1016/j.ejor.2012.08.022
O. Dowson, D. P. Morton, B. K. Pagnoncelli (2022). Incorporating convex risk measures into multistage stochastic
programming algorithms. Annals of Operations Research. doi 10.1007/s10479-022-04977-w
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np


class Weighed(NamedTuple):
    """Weights (n,) that sum to 1, and the penalty that they cost."""

    weights: np.ndarray
    penalty: float

    def value(self, costs: np.ndarray) -> float:
        return float(self.weights @ costs) - self.penalty


class Risk(Protocol):
    """A convex risk measure."""

    def weigh(self, probabilities: np.ndarray, costs: np.ndarray) -> Weighed:
        """Return the worst weights of costs (n,)."""


@dataclass(frozen=True)
class Expectation:
    """The mean."""

    def weigh(self, probabilities: np.ndarray, costs: np.ndarray) -> Weighed:
        return Weighed(probabilities, 0.0)


@dataclass(frozen=True)
class WorstCase:
    """The largest cost that has a probability."""

    def weigh(self, probabilities: np.ndarray, costs: np.ndarray) -> Weighed:
        weights = np.zeros(len(costs))
        weights[np.where(probabilities > 0, costs, -np.inf).argmax()] = 1.0
        return Weighed(weights, 0.0)


@dataclass(frozen=True)
class AVaR:
    """The mean of the worst share of all cases (CVaR): 1 is the mean, towards 0 the worst case.

    >>> AVaR(0.5).weigh(np.full(4, 0.25), np.arange(4.0)).value(np.arange(4.0))
    2.5
    """

    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be > 0 and at most 1, got {self.share}.")

    def weigh(self, probabilities: np.ndarray, costs: np.ndarray) -> Weighed:
        weights, left = np.zeros(len(costs)), 1.0
        for case in np.argsort(-costs, kind="stable"):
            weights[case] = min(left, probabilities[case] / self.share)
            left -= weights[case]
        return Weighed(weights, 0.0)


@dataclass(frozen=True)
class Entropic:
    """log(mean of exp(gamma z)) / gamma: near 0 the mean, for large gamma the worst case."""

    gamma: float

    def __post_init__(self) -> None:
        if not self.gamma > 0:
            raise ValueError(f"gamma must be > 0, got {self.gamma}.")

    def weigh(self, probabilities: np.ndarray, costs: np.ndarray) -> Weighed:
        has = probabilities > 0
        exponents = np.where(has, self.gamma * (costs - costs[has].max()), -np.inf)
        weights = probabilities * np.exp(exponents)
        weights /= weights.sum()
        likely = weights > 0
        divergence = float(weights[likely] @ np.log(weights[likely] / probabilities[likely]))
        return Weighed(weights, divergence / self.gamma)


@dataclass(frozen=True)
class Mixture:
    """A weighted sum of measures, the weights summing to 1."""

    measures: Sequence[Risk]
    shares: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.measures) != len(self.shares) or min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-9:
            raise ValueError(f"shares must be >= 0, one a measure, and sum to 1, got {tuple(self.shares)}.")

    def weigh(self, probabilities: np.ndarray, costs: np.ndarray) -> Weighed:
        parts = [measure.weigh(probabilities, costs) for measure in self.measures]
        weights = sum(share * part.weights for share, part in zip(self.shares, parts, strict=True))
        penalty = sum(share * part.penalty for share, part in zip(self.shares, parts, strict=True))
        return Weighed(np.asarray(weights), float(penalty))
