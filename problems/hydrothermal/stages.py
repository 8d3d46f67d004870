"""A hydrothermal system as a graph of linear stages.

Sets
    B, E    buses, branches (network=single-bus: one bus, none)
    G, R    thermal plants, reservoirs

Parameters
    K       hm3 per m3/s, 0.0036 times the hours of a stage
    a_r     inflow, m3/s, revealed before the stage is decided

Variables
    v_r, w_r    volume before and after, hm3
    q_r, s_r    turbined flow, m3/s; spill, hm3
    p_g, u_b    thermal power, load not served, MW
    f_e, th_b   flow, MW; voltage angle, rad

minimise  sum_g c_g p_g + sum_r c_r rho_r q_r + sum_r cs_r s_r + c_u sum_b u_b  (+ fixed cost), USD/h (spill: a stage)

subject to

    water       w_r + K q_r + s_r - K sum_{i into r} q_i - sum_{i into r} s_i = v_r + K a_r
    power       sum_{g at b} p_g + sum_{r at b} rho_r q_r + u_b + sum_{e to b} f_e - sum_{e from b} f_e = load_b
    flow        f_e = beta_e (th_from - th_to)

and bounds. The cost of a stage is that of an hour of it, as in the published case: times the stage's hours it is USD.

References
----------
A. Rosemberg, A. Street, J. Garcia, D. Valladao, T. Silva, O. Dowson (2022). Assessing the cost of network
simplifications in long-term hydrothermal dispatch planning models. IEEE Transactions on Sustainable Energy 13(1).
doi 10.1109/TSTE.2021.3106810
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array, csr_array

from orl.process import Observation
from orl.stages import Seen, Stage, Staged, StageGraph

from .instance import HydroThermal


class Columns(NamedTuple):
    """Where the variables of a stage stand, and its rows."""

    before: np.ndarray
    after: np.ndarray
    turn: np.ndarray
    spill: np.ndarray
    power: np.ndarray
    deficit: np.ndarray
    flow: np.ndarray
    angle: np.ndarray
    fixed: np.ndarray  # a column fixed at 1, for what is paid in any case
    water_rows: np.ndarray
    power_rows: np.ndarray
    flow_rows: np.ndarray


def columns(instance: HydroThermal) -> Columns:
    """Return where the variables of a stage stand."""
    reservoirs, network = len(instance.reservoirs.names), instance.network
    is_dc = instance.settings.network == "dc"
    buses = len(network.bus_names) if is_dc else 1
    branches = len(network.branch_from) if is_dc else 0
    sizes = (*(reservoirs,) * 4, len(network.gen_names), buses, branches, buses if is_dc else 0, 1)
    parts = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    rows = np.split(np.arange(reservoirs + buses + branches), np.cumsum([reservoirs, buses]))
    return Columns(*parts, *rows)


def staged(instance: HydroThermal) -> Staged:
    """Return an instance's graph, and how its process is read in it."""
    is_line = instance.settings.horizon == "finite" and instance.path is None
    return Staged(stages(instance), partial(_seen, instance), partial(_action, instance), has_same_end=is_line)


def _seen(instance: HydroThermal, observation: Observation, env: int) -> Seen | None:
    stage, reservoirs = int(observation.arrays["stage"][env]), len(instance.reservoirs.names)
    if stage >= observation.sizes[env, 1]:
        return None
    volume, inflow = (observation.arrays[key][env, :reservoirs] for key in ("volume", "inflow"))
    return Seen(stage % _num_nodes(instance), volume, inflow * instance.hm3_per_flow)


def _action(instance: HydroThermal, outgoing: np.ndarray, observation: Observation, env: int) -> np.ndarray:
    reservoirs, targets = len(instance.reservoirs.names), np.zeros(observation.legal.shape[2])
    targets[:reservoirs] = np.clip(outgoing, *observation.legal[env, :, :reservoirs])
    return targets


def _num_nodes(instance: HydroThermal) -> int:
    return len(instance.inflows) if instance.settings.horizon == "periodic" else instance.num_stages


def stages(instance: HydroThermal) -> StageGraph:
    """Return the graph of an instance: a line of its stages, or for ever a ring of its rows of inflows."""
    is_ring = instance.settings.horizon == "periodic"
    rows = len(instance.inflows)
    template = _template(instance)
    inflows = instance.inflows * instance.hm3_per_flow
    line = [
        replace(template, noises=inflows[t % rows], probabilities=instance.probabilities[t % rows], name=f"stage {t}")
        for t in range(_num_nodes(instance))
    ]
    make = StageGraph.ring if is_ring else StageGraph.line
    return make(line, instance.reservoirs.initial_hm3, instance.settings.discount)


def _template(instance: HydroThermal) -> Stage:
    """Return a stage without inflows: what all stages share."""
    at, network, water = columns(instance), instance.network, instance.reservoirs
    is_dc, k = instance.settings.network == "dc", instance.hm3_per_flow
    width = int(at.fixed[-1]) + 1
    cost, lower, upper = np.zeros(width), np.zeros(width), np.full(width, np.inf)
    entries: list[tuple[int, int, float]] = []

    lower[at.before] = -np.inf
    lower[at.after], upper[at.after] = water.min_hm3, water.max_hm3
    lower[at.turn], upper[at.turn] = water.min_turn, water.max_turn
    lower[at.power], upper[at.power] = network.gen_min_mw, network.gen_max_mw
    lower[at.fixed] = upper[at.fixed] = 1.0
    cost[at.turn], cost[at.spill] = water.cost * water.mw_per_flow, water.spill_cost
    cost[at.power], cost[at.deficit], cost[at.fixed] = network.gen_cost, network.deficit_cost, network.fixed_cost

    for r, row in enumerate(at.water_rows):
        entries += [(row, at.before[r], -1), (row, at.after[r], 1), (row, at.turn[r], k), (row, at.spill[r], 1)]
        entries += [(row, at.turn[i], -k) for i in np.flatnonzero(water.turn_into[:, r])]
        entries += [(row, at.spill[i], -1) for i in np.flatnonzero(water.spill_into[:, r])]

    def row_of(bus: int) -> int:
        return int(at.power_rows[bus if is_dc else 0])

    entries += [(row_of(bus), at.power[g], 1) for g, bus in enumerate(network.gen_bus)]
    entries += [(row_of(bus), at.turn[r], water.mw_per_flow[r]) for r, bus in enumerate(water.bus)]
    entries += [(int(row), column, 1) for row, column in zip(at.power_rows, at.deficit, strict=True)]
    if is_dc:
        lower[at.flow], upper[at.flow] = -network.branch_limit_mw, network.branch_limit_mw
        lower[at.angle] = -np.inf
        lower[at.angle[network.reference_bus]] = upper[at.angle[network.reference_bus]] = 0.0
        for e, (source, target) in enumerate(zip(network.branch_from, network.branch_to, strict=True)):
            through, row = network.branch_mw_per_rad[e], at.flow_rows[e]
            entries += [(row_of(source), at.flow[e], -1), (row_of(target), at.flow[e], 1), (row, at.flow[e], 1)]
            entries += [(row, at.angle[source], -through), (row, at.angle[target], through)]
    rows = len(at.water_rows) + len(at.power_rows) + len(at.flow_rows)
    right = np.zeros(rows)
    right[at.power_rows] = network.load_mw if is_dc else network.load_mw.sum()
    row_index, column_index, values = zip(*entries, strict=True)
    matrix = csr_array(coo_array((np.array(values, float), (row_index, column_index)), shape=(rows, width)))
    no_inflow = np.zeros((1, len(at.water_rows)))
    return Stage(
        cost, lower, upper, matrix, right, right, at.before, at.after, at.water_rows, no_inflow, np.ones(1), "template"
    )
