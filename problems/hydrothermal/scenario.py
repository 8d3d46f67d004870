"""What is drawn in hydrothermal dispatch: the number of the inflow scenario of every stage."""

from __future__ import annotations

import numpy as np

from orl.errors import InputError
from orl.scenario import Purpose, Scenarios

from .instance import HydroThermal, course

BLOCK = 128  # stages drawn at a time


def sample(instance: HydroThermal, seed: int, purpose: Purpose, n: int) -> Scenarios:
    """Return scenarios; with panel=protocol those to evaluate on are its columns, whatever the seed."""
    if not instance.is_random:
        if n != 1:
            raise InputError(f"{instance.name}: there is one path of inflows, so 1 scenario, not {n}.")
        return Scenarios.deterministic(seed, purpose)
    if instance.panel is not None and purpose == Purpose.EVALUATE and n > instance.panel.shape[1]:
        raise InputError(f"{instance.name}: the protocol has {instance.panel.shape[1]} scenarios, not {n}.")
    return Scenarios(seed, purpose, tuple(range(n)), lambda rng, block: rng.random(BLOCK))


def realise(instance: HydroThermal, scenario: Scenarios) -> np.ndarray:
    """Return the inflows of an episode, m3/s, (stages, R)."""
    stages = instance.num_stages
    if instance.path is not None:
        return instance.path[:stages]
    row = np.array([instance.row(stage) for stage in range(stages)])
    return course(instance, instance.inflows[row, _numbers(instance, scenario, row)], row)


def _numbers(instance: HydroThermal, scenario: Scenarios, row: np.ndarray) -> np.ndarray:
    """Return the number of the inflow scenario of each stage, (stages,)."""
    stages = len(row)
    if not scenario.is_random:
        return np.zeros(stages, dtype=np.int64)
    if instance.panel is not None and scenario.purpose == Purpose.EVALUATE:
        return instance.panel[:stages, scenario.rows[0]]
    uniforms = scenario.values(0, stages)[:stages]
    cumulative = instance.probabilities.cumsum(axis=1)[row]
    number = (cumulative <= uniforms[:, None] * cumulative[:, -1:]).sum(axis=1)
    return np.minimum(number, instance.inflows.shape[1] - 1)
