"""Parameters of rules, chosen on the `select` stream: what is judged elsewhere was not tuned there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from orl.rule import Rule
from orl.scenario import Purpose

from .instance import LotSizing
from .process import LotSizingProcess
from .scenario import sample

SCENARIOS = 32
MAX_PERIODS = 200  # a rule is tuned on the beginning of a long episode
SEED = 0  # of the select stream, whatever the seed of the run


def tuned(instance: LotSizing, name: str, search: Callable[[Trial], np.ndarray], code: int) -> np.ndarray:
    """Return a rule's parameters for an instance, searched for once and then remembered with the instance."""
    origin = instance.origin
    if name not in origin.tuned:
        origin.tuned[name] = search(Trial(origin, code))
    return origin.tuned[name]


class Trial:
    """Tries parameters of a compiled rule on an instance.

    >>> from orl.problems.lotsizing.kernels_codes import FIXED
    >>> from orl.problems.lotsizing.scenario import draw
    >>> trial = Trial(draw(np.random.default_rng(0), items=2, machines=1, periods=5), FIXED)
    >>> trial.cost([0.0]) > 0
    True
    """

    def __init__(self, instance: LotSizing, code: int):
        if instance.periods_left > MAX_PERIODS:
            last = instance.first_period + MAX_PERIODS
            instance = replace(instance, settings=replace(instance.settings, horizon=str(last)))
        self.instance = instance
        scenarios = sample(instance, SEED, Purpose.SELECT, SCENARIOS if instance.is_random else 1)
        self._process = LotSizingProcess([instance] * len(scenarios), list(scenarios))
        self._seeds = np.zeros(len(scenarios), dtype=np.uint64)
        self._code = code
        self._known: dict[tuple[float, ...], float] = {}

    def cost(self, parameters: Sequence[float]) -> float:
        """Return the mean cost on the select stream."""
        key = tuple(float(x) for x in parameters)
        if key not in self._known:
            self._process.reset()
            rule = Rule("trial", table=lambda _: np.array(key), compiled=self._code)
            costs = self._process.run(rule, self._seeds)
            assert costs is not None
            self._known[key] = float(costs.mean())
        return self._known[key]


def line_search(trial: Trial, grids: Sequence[Sequence[float]], start: Sequence[float]) -> np.ndarray:
    """Return the best parameters found by going along one axis of the grid after another until nothing improves."""
    best = list(start)
    while True:
        before = trial.cost(best)
        for axis, grid in enumerate(grids):
            tries = [[*best[:axis], value, *best[axis + 1 :]] for value in grid]
            best = min([best, *tries], key=trial.cost)
        if trial.cost(best) >= before:
            return np.array(best)


def best_assignment(trial: Trial) -> np.ndarray:
    """Return one choice a machine, each the best given the others, (num_machines,)."""
    options = [np.flatnonzero(row).tolist() for row in trial.instance.possible]
    return line_search(trial, options, [0.0] * len(options))
