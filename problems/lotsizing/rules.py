"""The rules of lot sizing: what the next machine makes, the machines before it having been told theirs.

`kernels_rules` computes them, within whole episodes or, through the functions here, decision by decision. Their
parameters are tuned on the `select` stream (`tuning.py`), once for an instance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from orl.process import Observation
from orl.rule import Rule

from . import kernels_codes as codes
from .instance import LotSizing

WINDOWS = (1, 2, 3, 4, 6, 8, 12, 16, 24)  # periods
SETUP_SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5)
COVERS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)  # periods


def idle(observation: Observation) -> np.ndarray:
    """Idle: make nothing, ever."""
    return _choices(observation, codes.IDLE)


def keep(observation: Observation) -> np.ndarray:
    """Keep: every machine goes on with what it is set up for."""
    return _choices(observation, codes.KEEP)


def fixed(observation: Observation, parameters: np.ndarray) -> np.ndarray:
    """Fixed: one item for every machine, chosen together so that the mean cost is least."""
    return _choices(observation, codes.FIXED, parameters)


def base_stock(observation: Observation, parameters: np.ndarray) -> np.ndarray:
    """(s,S): go on with an item until stock covers S periods, then set up for the least covered item, if below s."""
    return _choices(observation, codes.BASE_STOCK, parameters)


def greedy(observation: Observation, parameters: np.ndarray) -> np.ndarray:
    """Greedy lookahead: the item that saves most shortage within W periods, less K times its set-up cost."""
    return _choices(observation, codes.GREEDY, parameters)


def random(observation: Observation, seeds: np.ndarray) -> np.ndarray:
    """Random: every legal choice is as likely as another, drawn anew at every decision."""
    return _choices(observation, codes.RANDOM, seeds=seeds)


def _choices(observation: Observation, code: int, *parameters: np.ndarray, **seeds: np.ndarray) -> np.ndarray:
    from .process import compiled_choices  # numba is slow to load

    return compiled_choices(observation, code, *parameters, **seeds)


def _fixed_items(instance: LotSizing) -> np.ndarray:
    from . import tuning

    return tuning.tuned(instance, "fixed", tuning.best_assignment, codes.FIXED)


def _covers(instance: LotSizing) -> np.ndarray:
    return _searched(instance, "s-S", (COVERS, COVERS), (2.0, 6.0), codes.BASE_STOCK)


def _window_and_share(instance: LotSizing) -> np.ndarray:
    first = (codes.GREEDY_WINDOW, codes.GREEDY_SETUP_SHARE)
    return _searched(instance, "greedy", (WINDOWS, SETUP_SHARES), first, codes.GREEDY)


def _searched(
    instance: LotSizing, name: str, grids: tuple[tuple[float, ...], ...], first: tuple[float, ...], code: int
) -> np.ndarray:
    from . import tuning

    return tuning.tuned(instance, name, lambda trial: tuning.line_search(trial, grids, first), code)


def _rule(name: str, score: Any, code: int, table: Any = None) -> Rule:
    return Rule(name, table=table, score=score, compiled=code)


RULES: Mapping[str, Rule] = {
    rule.name: rule
    for rule in (
        _rule("idle", idle, codes.IDLE),
        _rule("keep", keep, codes.KEEP),
        _rule("fixed", fixed, codes.FIXED, _fixed_items),
        _rule("s-S", base_stock, codes.BASE_STOCK, _covers),
        _rule("greedy", greedy, codes.GREEDY, _window_and_share),
        _rule("random", random, codes.RANDOM),
    )
}
