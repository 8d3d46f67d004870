"""What an observation tells of an instance whatever happens: the figures that a network needs beside the state."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .instance import HydroThermal


def figures(instance: HydroThermal, width: int) -> Mapping[str, np.ndarray]:
    """Return arrays of shape (), (width,) and (width, width), 0 in the padding.

    The README of this family says what they mean.

    Examples
    --------
    >>> import orl
    >>> told = figures(orl.load("hydrothermal/case3"), width=2)
    >>> told["mean_inflow"].tolist(), told["max_turn"].tolist(), float(told["load"]), float(told["thermal_mw"])
    ([50.0, 0.0], [80.0, 0.0], 100.0, 150.0)
    """
    network, water = instance.network, instance.reservoirs
    thermal_mw = network.gen_max_mw.sum()
    # Costs by capacity; the mean of none is 0.
    thermal_cost = network.gen_cost @ network.gen_max_mw / thermal_mw if thermal_mw > 0 else 0.0
    padding = (0, width - len(water.names))
    whole = {
        "discount": np.array(instance.settings.discount),
        "has_end": np.array(instance.settings.horizon == "finite"),
        "hm3_per_flow": np.array(instance.hm3_per_flow),
        "load": np.array(network.load_mw.sum()),
        "thermal_mw": np.array(thermal_mw),
        "thermal_cost": np.array(thermal_cost),
        "deficit_cost": np.array(network.deficit_cost),
    }
    by_reservoir = {
        "mean_inflow": (instance.probabilities[:, :, None] * instance.inflows).sum(axis=1).mean(axis=0),
        "min_turn": water.min_turn,
        "max_turn": water.max_turn,
        "mw_per_flow": water.mw_per_flow,
        "mw_downstream": _mw_downstream(water.mw_per_flow, water.turn_into),
        "turn_into": water.turn_into,
        "spill_into": water.spill_into,
    }
    return whole | {name: np.pad(value, padding) for name, value in by_reservoir.items()}


def _mw_downstream(mw_per_flow: np.ndarray, turn_into: np.ndarray) -> np.ndarray:
    """Return the power of a flow through a plant and all plants that its water is turbined into, (R,)."""
    power = mw_per_flow
    for _ in range(len(mw_per_flow) - 1):  # the longest way down; a ring of plants is followed no further
        power = mw_per_flow + turn_into @ power
    return power
