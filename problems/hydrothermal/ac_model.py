"""The equations of a stage in alternating current, as symbols of CasADi.

Sets and symbols are those of `stages.py`; power is per unit of the grid's base.

Variables
    v_b, th_b   magnitude and angle of the voltage at bus b, pu and rad: V_b = v_b exp(j th_b)
    Q_b         reactive power of all plants at bus b together, pu
    q_r, s_r    turbined flow, m3/s; spill, hm3
    p_g, u_bk   thermal power and load not served, pu
    w_r         volume after, hm3

The current into branch e at its beginning f and its end t is (`grid.py`)

    I_f = Y_ff V_f + Y_ft V_t,      I_t = Y_tf V_f + Y_tt V_t

so that, with delta = th_f - th_t, the power P + j Q = V conj(I) that goes into it there is

    P_f =  G_ff v_f^2 + v_f v_t (G_ft cos delta + B_ft sin delta)
    Q_f = -B_ff v_f^2 + v_f v_t (G_ft sin delta - B_ft cos delta)
    P_t =  G_tt v_t^2 + v_f v_t (G_tf cos delta - B_tf sin delta)
    Q_t = -B_tt v_t^2 - v_f v_t (G_tf sin delta + B_tf cos delta)

minimise  the cost of `stages.py`: sum_g c_g p_g + sum_r c_r rho_r q_r + sum_r cs_r s_r + sum_bk c_k u_bk

subject to, at every bus and branch,

    active      sum_{g at b} p_g + sum_{r at b} rho_r q_r + sum_k u_bk - gs_b v_b^2 = load_b + sum of P into branches
    reactive    Q_b + bs_b v_b^2 = reactive load_b + sum of Q into branches
    rate        P_f^2 + Q_f^2 <= rate^2,    P_t^2 + Q_t^2 <= rate^2
    angle       least <= delta <= largest;  0 at the reference bus
    water       w_r + K q_r + s_r - K sum_{i into r} q_i - sum_{i into r} s_i = v_r + K a_r

and bounds. Load that is not served is active power; reactive power balances in any case. The flows are no variables:
with them the program is twice as large, and a solve takes twice as long.

References
----------
C. Coffrin, R. Bent, K. Sundar, Y. Ng, M. Lubin (2018). PowerModels.jl: an open-source framework for exploring power
flow formulations. Power Systems Computation Conference. doi 10.23919/PSCC.2018.8442948
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .grid import Grid
from .instance import HydroThermal
from .ipopt import casadi


class Places(NamedTuple):
    """Where the variables of a stage stand."""

    voltage: slice
    angle: slice
    reactive: slice  # one a bus of `Equations.plant_bus`
    turn: slice
    spill: slice
    power: slice
    deficit: slice  # bus by bus, segment by segment
    volume: slice


@dataclass(frozen=True, eq=False)
class Equations:
    """A stage as symbols.

    Parameters
    ----------
    at : Places
    x : SX (n,)
    load, load_reactive : SX (B,)
        Parameters, pu.
    cost : SX
        USD/h, divided by the base in MVA.
    balance : SX (2 B,)
        0 where power balances, first active, then reactive.
    limited : SX (m,)
        With `limited_lower` and `limited_upper`: rates squared, then differences of angles.
    water : SX (R,)
        Equals the volume before and what flows in, hm3.
    lower, upper : ndarray (n,)
        Of x; those of the deficit are for any load.
    plant_bus : int ndarray (P,)
        Buses with plants.
    """

    at: Places
    x: Any
    load: Any
    load_reactive: Any
    cost: Any
    balance: Any
    limited: Any
    limited_lower: np.ndarray
    limited_upper: np.ndarray
    water: Any
    lower: np.ndarray
    upper: np.ndarray
    plant_bus: np.ndarray

    @property
    def start(self) -> np.ndarray:
        """Where a solve begins that knows nothing: voltages of 1, without angles and flows, (n,)."""
        start = np.zeros(len(self.lower))
        start[self.at.voltage] = 1.0
        return np.clip(start, self.lower, self.upper)


def flows(grid: Grid, v_from: Any, v_to: Any, cosine: Any, sine: Any) -> tuple[Any, Any, Any, Any]:
    """Return P_f, Q_f, P_t, Q_t of all branches, pu, of symbols or arrays (E,) alike.

    Parameters
    ----------
    v_from, v_to : (E,)
        Magnitudes at the branches' ends.
    cosine, sine : (E,)
        Of the angle at the beginning less that at the end.
    """
    y, ratio = 1 / (grid.branch_r + 1j * grid.branch_x), grid.branch_tap * np.exp(1j * grid.branch_shift)
    y_ff = (y + grid.branch_g_from + 1j * grid.branch_b_from) / grid.branch_tap**2
    y_tt, y_ft, y_tf = y + grid.branch_g_to + 1j * grid.branch_b_to, -y / ratio.conj(), -y / ratio
    c, s = v_from * v_to * cosine, v_from * v_to * sine
    return (
        y_ff.real * v_from**2 + y_ft.real * c + y_ft.imag * s,
        -y_ff.imag * v_from**2 + y_ft.real * s - y_ft.imag * c,
        y_tt.real * v_to**2 + y_tf.real * c - y_tf.imag * s,
        -y_tt.imag * v_to**2 - y_tf.real * s - y_tf.imag * c,
    )


def equations(instance: HydroThermal) -> Equations:
    """Return a stage of an instance as symbols."""
    ca, network, water, k = casadi(), instance.network, instance.reservoirs, instance.hm3_per_flow
    grid = network.grid
    assert grid is not None
    base, segments = grid.base_mva, len(network.deficit_cost)
    buses, reservoirs, thermal = len(network.bus_names), len(water.names), len(network.gen_cost)
    plant_bus = np.unique(np.concatenate([network.gen_bus, water.bus]))
    sizes = (buses, buses, len(plant_bus), reservoirs, reservoirs, thermal, buses * segments, reservoirs)
    ends = np.cumsum(sizes).tolist()
    at = Places(*(slice(end - size, end) for end, size in zip(ends, sizes, strict=True)))
    x = ca.SX.sym("x", ends[-1])
    lower, upper = np.zeros(ends[-1]), np.full(ends[-1], np.inf)
    is_reference = np.arange(buses) == network.reference_bus
    lower[at.voltage], upper[at.voltage] = grid.bus_v_min, grid.bus_v_max
    lower[at.angle], upper[at.angle] = np.where(is_reference, 0, -np.inf), np.where(is_reference, 0, np.inf)
    lower[at.reactive], upper[at.reactive] = (limits[plant_bus] / base for limits in instance.reactive_limits())
    lower[at.turn], upper[at.turn] = water.min_turn, water.max_turn
    lower[at.power], upper[at.power] = network.gen_min_mw / base, network.gen_max_mw / base
    lower[at.volume], upper[at.volume] = water.min_hm3, water.max_hm3

    v, angle, turn, spill, power = x[at.voltage], x[at.angle], x[at.turn], x[at.spill], x[at.power]
    source, target = network.branch_from.tolist(), network.branch_to.tolist()
    apart = angle[source] - angle[target]
    p_from, q_from, p_to, q_to = flows(grid, v[source], v[target], ca.cos(apart), ca.sin(apart))
    load, load_reactive = ca.SX.sym("load", buses), ca.SX.sym("load_reactive", buses)

    def at_bus(places: Any, amounts: Any) -> Any:
        """Return the sum of amounts at each bus."""
        one = np.zeros((buses, len(places)))
        one[np.asarray(places, dtype=np.int64), np.arange(len(places))] = 1.0
        return ca.mtimes(ca.sparsify(ca.DM(one)), amounts)

    active = (
        at_bus(network.gen_bus, power) + at_bus(water.bus, water.mw_per_flow / base * turn)
        + at_bus(np.repeat(np.arange(buses), segments), x[at.deficit])
        - grid.bus_shunt_g * v**2 - load - at_bus(source, p_from) - at_bus(target, p_to)
    )  # fmt: skip
    reactive = (
        at_bus(plant_bus, x[at.reactive]) + grid.bus_shunt_b * v**2
        - load_reactive - at_bus(source, q_from) - at_bus(target, q_to)
    )  # fmt: skip
    rated, turned = np.flatnonzero(np.isfinite(grid.branch_rate)).tolist(), np.eye(reservoirs) - water.turn_into.T
    rate = grid.branch_rate[rated] ** 2
    limited = ca.vertcat(p_from[rated] ** 2 + q_from[rated] ** 2, p_to[rated] ** 2 + q_to[rated] ** 2, apart)
    cost = (
        ca.dot(network.gen_cost, power) + ca.dot(water.cost * water.mw_per_flow / base, turn)
        + ca.dot(np.tile(network.deficit_cost, buses), x[at.deficit]) + ca.dot(water.spill_cost / base, spill)
        + network.fixed_cost / base
    )  # fmt: skip
    return Equations(
        at, x, load, load_reactive, cost,
        balance=ca.vertcat(active, reactive),
        limited=limited,
        limited_lower=np.concatenate([np.full(2 * len(rated), -np.inf), grid.branch_angle_min]),
        limited_upper=np.concatenate([rate, rate, grid.branch_angle_max]),
        water=x[at.volume] + k * ca.mtimes(ca.sparsify(ca.DM(turned)), turn)
        + ca.mtimes(ca.sparsify(ca.DM(np.eye(reservoirs) - water.spill_into.T)), spill),
        lower=lower, upper=upper, plant_bus=plant_bus,
    )  # fmt: skip


def deficit_upper(instance: HydroThermal, stage: int) -> np.ndarray:
    """Return the most load that may not be served, pu, bus by bus, segment by segment."""
    network = instance.network
    assert network.grid is not None
    load, shares = instance.load_mw(stage)[:, None] / network.grid.base_mva, network.deficit_share
    return np.where(np.isfinite(shares), load * np.where(np.isfinite(shares), shares, 0.0), np.inf).ravel()


def load_of(instance: HydroThermal, stage: int) -> tuple[np.ndarray, np.ndarray]:
    """Return active and reactive load of a stage, pu, (B,) each."""
    grid = instance.network.grid
    assert grid is not None
    return instance.load_mw(stage) / grid.base_mva, instance.load_mvar(stage) / grid.base_mva
