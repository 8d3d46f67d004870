"""Whether a dispatch keeps Kirchhoff's laws in alternating current, by complex arithmetic from its voltages.

Shares no code with the stage problems. Behind the ideal transformer at its beginning, of ratio T, a branch sees the
voltage V_f / T and carries conj(T) times the current, so that the power there is the same on either side of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from orl.problem import Violation

from .instance import HydroThermal
from .plans import Dispatch

TOLERANCE = 1e-6  # pu, rad


def of_grid(instance: HydroThermal, dispatch: Dispatch, stage: int) -> Iterator[Violation]:
    """Find violations of one stage: flows, balances of active and reactive power, limits of the grid."""
    network, water, grid = instance.network, instance.reservoirs, instance.network.grid
    assert grid is not None
    base = grid.base_mva
    volts = dispatch.voltage[stage] * np.exp(1j * dispatch.angle[stage])
    yield from _outside(stage, "voltage, bus", dispatch.voltage[stage], grid.bus_v_min, grid.bus_v_max, "pu")
    for key, low, high in (("gen", grid.gen_min_mvar, grid.gen_max_mvar),
                           ("hydro", grid.hydro_min_mvar, grid.hydro_max_mvar)):  # fmt: skip
        given = getattr(dispatch, f"{key}_mvar")[stage] / base
        yield from _outside(stage, f"reactive power, {key}", given, low / base, high / base, "pu")
    if abs(dispatch.angle[stage, network.reference_bus]) > TOLERANCE:
        yield Violation("angle", f"stage {stage}: the reference bus has the angle "
                                 f"{dispatch.angle[stage, network.reference_bus]:.6g}, not 0.")  # fmt: skip

    reactive = instance.load_mvar(stage)
    balance = -(instance.load_mw(stage) + 1j * reactive) / base
    balance += dispatch.deficit[stage].reshape(len(volts), -1).sum(axis=1) / base
    np.add.at(balance, network.gen_bus, (dispatch.power[stage] + 1j * dispatch.gen_mvar[stage]) / base)
    hydro = water.mw_per_flow * dispatch.turn[stage] + 1j * dispatch.hydro_mvar[stage]
    np.add.at(balance, water.bus, hydro / base)
    balance -= volts * np.conj((grid.bus_shunt_g + 1j * grid.bus_shunt_b) * volts)

    ratio = grid.branch_tap * np.exp(1j * grid.branch_shift)
    begin, end = volts[network.branch_from] / ratio, volts[network.branch_to]
    through = (begin - end) / (grid.branch_r + 1j * grid.branch_x)
    sent = begin * np.conj(through + (grid.branch_g_from + 1j * grid.branch_b_from) * begin)
    received = end * np.conj((grid.branch_g_to + 1j * grid.branch_b_to) * end - through)
    np.add.at(balance, network.branch_from, -sent)
    np.add.at(balance, network.branch_to, -received)

    for key, power in (("flow", sent), ("flow_to", received)):
        told = getattr(dispatch, key)[stage] / base
        for branch in np.flatnonzero(np.abs(told - power.real) > TOLERANCE):
            message = f"{base * told[branch]:.6g} MW, voltages drive {base * power[branch].real:.6g} MW."
            yield Violation("flow", f"stage {stage}, {key} of branch {branch}: {message}")
        for branch in np.flatnonzero(np.abs(power) > grid.branch_rate + TOLERANCE):
            message = f"{base * abs(power[branch]):.6g} MVA, at most {base * grid.branch_rate[branch]:.6g}."
            yield Violation("limit", f"stage {stage}, {key} of branch {branch}: {message}")
    apart = dispatch.angle[stage][network.branch_from] - dispatch.angle[stage][network.branch_to]
    limits = grid.branch_angle_min, grid.branch_angle_max
    yield from _outside(stage, "difference of angles, branch", apart, *limits, "rad")
    for bus in np.flatnonzero(np.abs(balance) > TOLERANCE):
        excess = base * balance[bus]
        message = f"{excess.real:.6g} MW and {excess.imag:.6g} Mvar too much."
        yield Violation("power", f"stage {stage}, bus {network.bus_names[bus]}: {message}")


def _outside(
    stage: int, what: str, values: np.ndarray, low: np.ndarray, high: np.ndarray, unit: str
) -> Iterator[Violation]:
    for number in np.flatnonzero(~((values >= low - TOLERANCE) & (values <= high + TOLERANCE))):
        yield Violation("limit", f"stage {stage}, {what} {number}: {values[number]:.6g} {unit} is outside its limits.")
