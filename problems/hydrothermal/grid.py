"""What the power flow in alternating current needs to know of a network: resistances, voltages, reactive power."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from orl.errors import InputError

from .limits import check_numbers


@dataclass(frozen=True, eq=False)
class Grid:
    """The part of a network that alternating current needs. Branches, buses and plants stand in the network's order.

    The pi model of PowerModels.jl: with y = 1 / (r + j x), y_from = g_from + j b_from, y_to = g_to + j b_to, and an
    ideal transformer of ratio T = tap exp(j shift) at the beginning of the branch,

        I_from = (y + y_from) / tap^2 V_from - y / conj(T) V_to,    I_to = (y + y_to) V_to - y / T V_from.

    Parameters
    ----------
    base_mva : float > 0
        MW, Mvar and MVA of what is per unit (pu).
    branch_r, branch_x : ndarray (E,)
        Resistance, >= 0, and reactance, pu; not both 0.
    branch_g_from, branch_b_from, branch_g_to, branch_b_to : ndarray (E,)
        Conductance and susceptance to ground at either end, pu.
    branch_tap : ndarray (E,)
        > 0.
    branch_shift : ndarray (E,)
        rad.
    branch_rate : ndarray (E,)
        Largest apparent power at either end, pu; infinity: no limit.
    branch_angle_min, branch_angle_max : ndarray (E,)
        Of the angle at the beginning less that at the end, rad.
    bus_v_min, bus_v_max : ndarray (B,)
        Of the voltage's magnitude, pu, > 0.
    bus_shunt_g, bus_shunt_b : ndarray (B,)
        Conductance and susceptance of shunts, pu: they take g v^2 MW and give b v^2 Mvar, times the base.
    load_mvar : ndarray (rows, B)
        Stage t takes row t modulo rows, as of `Network.load_mw`.
    gen_min_mvar, gen_max_mvar : ndarray (G,)
        Reactive power of thermal plants.
    hydro_min_mvar, hydro_max_mvar : ndarray (R,)
        Reactive power of the reservoirs' plants.
    """

    base_mva: float
    branch_r: np.ndarray
    branch_x: np.ndarray
    branch_g_from: np.ndarray
    branch_b_from: np.ndarray
    branch_g_to: np.ndarray
    branch_b_to: np.ndarray
    branch_tap: np.ndarray
    branch_shift: np.ndarray
    branch_rate: np.ndarray
    branch_angle_min: np.ndarray
    branch_angle_max: np.ndarray
    bus_v_min: np.ndarray
    bus_v_max: np.ndarray
    bus_shunt_g: np.ndarray
    bus_shunt_b: np.ndarray
    load_mvar: np.ndarray
    gen_min_mvar: np.ndarray
    gen_max_mvar: np.ndarray
    hydro_min_mvar: np.ndarray
    hydro_max_mvar: np.ndarray

    def __post_init__(self) -> None:
        if not 0 < self.base_mva < float("inf"):
            raise InputError(f"baseMVA must be > 0, got {self.base_mva:g}.")
        check_numbers(self, ("branch_rate", *_ANGLES, *_MVAR))
        for kind in ("branch", "bus", "gen", "hydro"):
            shapes = {of.name: getattr(self, of.name).shape for of in fields(self) if of.name.startswith(f"{kind}_")}
            if len(set(shapes.values())) > 1:
                raise InputError(f"arrays of the grid that begin with {kind}_ must have one shape, got {shapes}.")
        if self.load_mvar.ndim != 2 or self.load_mvar.shape[1:] != self.bus_v_min.shape:
            raise InputError(f"load_mvar must have a column a bus, got shape {self.load_mvar.shape}.")
        for is_right, rule, *names in (
            ((self.branch_r != 0) | (self.branch_x != 0), "an impedance", "branch_r", "branch_x"),
            (self.branch_r >= 0, "branch_r >= 0", "branch_r"),
            (self.branch_tap > 0, "branch_tap > 0", "branch_tap"),
            (self.branch_rate >= 0, "branch_rate >= 0", "branch_rate"),
            (self.branch_angle_min <= self.branch_angle_max, "least angle <= largest", *_ANGLES),
            ((self.bus_v_min > 0) & (self.bus_v_min <= self.bus_v_max), "0 < bus_v_min <= bus_v_max", *_VOLTS),
            (self.gen_min_mvar <= self.gen_max_mvar, "gen_min_mvar <= gen_max_mvar", "gen_min_mvar", "gen_max_mvar"),
            (self.hydro_min_mvar <= self.hydro_max_mvar, "hydro_min_mvar <= hydro_max_mvar",
             "hydro_min_mvar", "hydro_max_mvar"),
        ):  # fmt: skip
            if not is_right.all():
                place = int(np.argmin(is_right))
                found = " and ".join(f"{getattr(self, name)[place]:g}" for name in names)
                raise InputError(f"{names[0].split('_')[0]} {place}: expected {rule}, got {found}.")

    def check_joined(self, ends: tuple[np.ndarray, np.ndarray], reference: int, names: tuple[str, ...]) -> None:
        """Raise an error unless branches, given by their `ends`, join every bus with the reference bus."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        count = len(names)
        joined = coo_array((np.ones(len(ends[0])), ends), shape=(count, count))
        _, island = connected_components(joined, directed=False)
        if (alone := island != island[reference]).any():
            raise InputError(
                f"bus {names[int(alone.argmax())]} is on an island: no branches in service join it with the reference "
                f"bus {names[reference]}, which network=soc and network=ac need."
            )


_ANGLES, _VOLTS = ("branch_angle_min", "branch_angle_max"), ("bus_v_min", "bus_v_max")
_MVAR = ("gen_min_mvar", "gen_max_mvar", "hydro_min_mvar", "hydro_max_mvar")
