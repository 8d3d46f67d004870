"""The rules of hydrothermal dispatch: how much water to keep, whatever may come; see `storage_curve`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from orl.process import Observation
from orl.rule import Rule

from .instance import HydroThermal

Steer = Callable[[Observation, int], np.ndarray]  # an environment's targets, hm3


def myopic(instance: HydroThermal) -> Steer:
    """Myopic: the cheapest dispatch of this stage; the water that it leaves is kept."""
    return _curve(instance, 0.0, 0.0, 1.0)


def thermal_first(instance: HydroThermal) -> Steer:
    """Thermal first: water serves only what thermal plants cannot."""
    return _curve(instance, 1.0, 0.0, 1.0)


def storage_curve(instance: HydroThermal) -> Steer:
    """Target-storage curve: below a level by season water has a price, above it water goes before thermal plants."""
    from .storage_curve import tuned

    return _curve(instance, *tuned(instance))


def _curve(instance: HydroThermal, level: float, swing: float, price: float) -> Steer:
    from .storage_curve import StorageCurve  # SciPy and HiGHS are slow to load

    return StorageCurve(instance, level, swing, price)


RULES: Mapping[str, Rule] = {
    name: Rule(name, steer=steer)
    for name, steer in (("myopic", myopic), ("thermal-first", thermal_first), ("storage-curve", storage_curve))
}
