"""Whether a dispatch keeps the rules of the second-order cone relaxation, by complex arithmetic; see `soc`.

Shares no code with the stage problems. With S = V conj(I), power into a branch is linear in |V_i|^2, |V_j|^2 and
V_i conj(V_j), which a dispatch tells as `voltage`, `product_real` and `product_imaginary`. The inequalities that the
relaxation has beside (limits of products, lifted nonlinear cuts) follow from limits of voltages and angles and are not
asked for.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from orl.problem import Violation

from .instance import HydroThermal
from .plans import Dispatch

TOLERANCE = 1e-6  # pu


def of_relaxation(instance: HydroThermal, dispatch: Dispatch, stage: int) -> Iterator[Violation]:
    """Find violations of one stage: flows, balances of active and reactive power, cones, limits of the grid."""
    network, water, grid = instance.network, instance.reservoirs, instance.network.grid
    assert grid is not None
    base, begin, end = grid.base_mva, network.branch_from, network.branch_to
    square = dispatch.voltage[stage] ** 2
    product = dispatch.product_real[stage] + 1j * dispatch.product_imaginary[stage]

    reactive = instance.load_mvar(stage)
    balance = -(instance.load_mw(stage) + 1j * (reactive - dispatch.reactive[stage])) / base
    balance += dispatch.deficit[stage].reshape(len(square), -1).sum(axis=1) / base
    np.add.at(balance, network.gen_bus, dispatch.power[stage] / base)
    np.add.at(balance, water.bus, water.mw_per_flow * dispatch.turn[stage] / base)
    balance -= np.conj(grid.bus_shunt_g + 1j * grid.bus_shunt_b) * square

    series, ratio = 1 / (grid.branch_r + 1j * grid.branch_x), grid.branch_tap * np.exp(1j * grid.branch_shift)
    at_begin = series + grid.branch_g_from + 1j * grid.branch_b_from
    at_end = series + grid.branch_g_to + 1j * grid.branch_b_to
    sent = np.conj(at_begin) * square[begin] / grid.branch_tap**2 - np.conj(series) / ratio * product
    received = np.conj(at_end) * square[end] - np.conj(series / ratio * product)
    np.add.at(balance, begin, -sent)
    np.add.at(balance, end, -received)
    for bus in np.flatnonzero(np.abs(balance) > TOLERANCE):
        excess = base * balance[bus]
        message = f"{excess.real:.6g} MW and {excess.imag:.6g} Mvar too much."
        yield Violation("power", f"stage {stage}, bus {network.bus_names[bus]}: {message}")

    least, most = np.zeros(len(square)), np.zeros(len(square))
    for bus_of, low, high in ((network.gen_bus, grid.gen_min_mvar, grid.gen_max_mvar),
                              (water.bus, grid.hydro_min_mvar, grid.hydro_max_mvar)):  # fmt: skip
        np.add.at(least, bus_of, low / base)
        np.add.at(most, bus_of, high / base)
    for what, values, low, high in (("reactive power", dispatch.reactive[stage] / base, least, most),
                                    ("voltage", dispatch.voltage[stage], grid.bus_v_min, grid.bus_v_max)):  # fmt: skip
        for bus in np.flatnonzero(~((values >= low - TOLERANCE) & (values <= high + TOLERANCE))):
            message = f"{what} {values[bus]:.6g} pu is outside its limits."
            yield Violation("limit", f"stage {stage}, bus {network.bus_names[bus]}: {message}")

    # By how much less power is lost than the cone asks for, pu.
    mean, half = (square[begin] + square[end]) / 2, (square[begin] - square[end]) / 2
    beyond = 2 * np.abs(series) * (np.hypot(np.abs(product), half) - mean)
    for branch in np.flatnonzero(beyond > TOLERANCE):
        message = f"{base * beyond[branch]:.6g} MVA less is lost than the cone asks for."
        yield Violation("cone", f"stage {stage}, branch {branch}: {message}")
    for branch in np.flatnonzero(np.abs(dispatch.flow[stage] / base - sent.real) > TOLERANCE):
        message = f"{dispatch.flow[stage, branch]:.6g} MW, products drive {base * sent[branch].real:.6g} MW."
        yield Violation("flow", f"stage {stage}, branch {branch}: {message}")
    apparent = np.maximum(np.abs(sent), np.abs(received))
    for branch in np.flatnonzero(apparent > grid.branch_rate + TOLERANCE):
        message = f"{base * apparent[branch]:.6g} MVA, at most {base * grid.branch_rate[branch]:.6g}."
        yield Violation("limit", f"stage {stage}, branch {branch}: {message}")

    for branch in np.arange(len(product)):
        low, high = grid.branch_angle_min[branch], grid.branch_angle_max[branch]
        of, unit = product[branch], 2 * np.abs(series[branch])
        outside = max(np.tan(low) * of.real - of.imag, of.imag - np.tan(high) * of.real)
        if -np.pi / 2 < low and high < np.pi / 2 and unit * outside > TOLERANCE:
            message = f"the angle {np.angle(of):.6g} is outside {low:.6g}..{high:.6g} rad."
            yield Violation("angle", f"stage {stage}, branch {branch}: {message}")
        twins = product[(begin == begin[branch]) & (end == end[branch])]
        turned = np.conj(product[(begin == end[branch]) & (end == begin[branch])])
        if np.abs(np.concatenate([twins, turned]) - of).max() > TOLERANCE:
            yield Violation("product", f"stage {stage}, branch {branch}: another of its buses has another product.")
