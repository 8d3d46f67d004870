"""What is drawn in hydrothermal dispatch: the number of the inflow scenario of every stage."""

from __future__ import annotations

import numpy as np

from orl.errors import InputError
from orl.scenario import Purpose, Scenarios

from .instance import HydroThermal

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
    row = np.arange(stages) % len(instance.inflows)
    if not scenario.is_random:
        return instance.inflows[row, 0]
    if instance.panel is not None and scenario.purpose == Purpose.EVALUATE:
        return instance.inflows[row, instance.panel[:stages, scenario.rows[0]]]
    uniforms = scenario.values(0, stages)[:stages]
    cumulative = instance.probabilities.cumsum(axis=1)[row]
    number = (cumulative <= uniforms[:, None] * cumulative[:, -1:]).sum(axis=1)
    return instance.inflows[row, np.minimum(number, instance.inflows.shape[1] - 1)]
