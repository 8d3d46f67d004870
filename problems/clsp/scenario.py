"""What is drawn in capacitated lot sizing: which of its samples the demand of a period is."""

from __future__ import annotations

import numpy as np

from orl.errors import InputError
from orl.scenario import Purpose, Scenarios

from .instance import CapacitatedLotSizing

BLOCK = 64  # periods drawn at a time


def sample(instance: CapacitatedLotSizing, seed: int, purpose: Purpose, n: int) -> Scenarios:
    """Return scenarios; one if nothing is random."""
    if not instance.is_random:
        if n != 1:
            raise InputError(f"{instance.name}: demand is known, so there is 1 scenario, not {n}.")
        return Scenarios.deterministic(seed, purpose)
    return Scenarios(seed, purpose, tuple(range(n)), lambda rng, block: rng.random(BLOCK))


def realise(instance: CapacitatedLotSizing, scenario: Scenarios) -> np.ndarray:
    """Return the demand of an episode, (num_periods, num_items)."""
    periods, samples = instance.outcomes.shape[:2]
    number = np.zeros(periods, dtype=np.int64)
    if scenario.is_random:
        number = np.minimum((scenario.values(0, periods)[:periods] * samples).astype(np.int64), samples - 1)
    return instance.outcomes[np.arange(periods), number]
