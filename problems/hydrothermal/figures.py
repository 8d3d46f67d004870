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
        "load": np.array(instance.load_mw(0).sum()),
        "thermal_mw": np.array(thermal_mw),
        "thermal_cost": np.array(thermal_cost),
        "deficit_cost": np.array(network.deficit_cost[0]),
    }
    by_reservoir = {
        "mean_inflow": instance.mean_inflow,
        "min_turn": water.min_turn,
        "max_turn": water.max_turn,
        "mw_per_flow": water.mw_per_flow,
        "mw_downstream": instance.mw_downstream,
        "turn_into": water.turn_into,
        "spill_into": water.spill_into,
    }
    return whole | {name: np.pad(value, padding) for name, value in by_reservoir.items()}
