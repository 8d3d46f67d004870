"""What the variables of `ac_model.py` mean: powers in MW and Mvar, plant by plant and branch by branch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .ac_model import Equations, flows
from .instance import HydroThermal


def parts_of(instance: HydroThermal, of: Equations, x: np.ndarray) -> Mapping[str, np.ndarray]:
    """Return the parts of a stage's dispatch by name, as `AcSolution` has them, of variables (n,)."""
    network, at = instance.network, of.at
    grid = network.grid
    assert grid is not None
    base, voltage, angle = grid.base_mva, x[at.voltage], x[at.angle]
    source, end = network.branch_from, network.branch_to
    apart = angle[source] - angle[end]
    p_from, q_from, p_to, q_to = flows(grid, voltage[source], voltage[end], np.cos(apart), np.sin(apart))
    reactive = np.zeros(len(voltage))
    reactive[of.plant_bus] = base * x[at.reactive]
    gen_mvar, hydro_mvar = _shared_out(instance, of.plant_bus, reactive)
    return {
        "volume": x[at.volume],
        "turn": x[at.turn],
        "spill": x[at.spill],
        "power": base * x[at.power],
        "deficit": base * x[at.deficit],
        "voltage": voltage,
        "angle": angle,
        "gen_mvar": gen_mvar,
        "hydro_mvar": hydro_mvar,
        "flow": base * p_from,
        "flow_to": base * p_to,
        "flow_mvar": base * q_from,
        "flow_to_mvar": base * q_to,
    }


def _shared_out(instance: HydroThermal, plant_bus: np.ndarray, reactive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what each plant gives of the reactive power of its bus, Mvar: as near 0 as limits of all allow."""
    network, grid = instance.network, instance.network.grid
    assert grid is not None
    bus = np.concatenate([network.gen_bus, instance.reservoirs.bus])
    low = np.concatenate([grid.gen_min_mvar, grid.hydro_min_mvar])
    high = np.concatenate([grid.gen_max_mvar, grid.hydro_max_mvar])
    given = np.clip(0.0, low, high)
    for place in plant_bus:
        here = np.flatnonzero(bus == place)
        rest = reactive[place] - given[here].sum()
        room = high[here] - given[here] if rest > 0 else given[here] - low[here]
        share = np.isinf(room).astype(float) if np.isinf(room).any() else room
        if share.sum() > 0:
            given[here] += rest * share / share.sum()
    thermal, hydro = np.split(given, [len(network.gen_bus)])
    return thermal, hydro
