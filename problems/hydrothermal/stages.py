"""A hydrothermal system as a graph of linear stages.

Sets
    B, E    buses, branches (network=single-bus: one bus, none)
    G, R    thermal plants, reservoirs

Parameters
    K       hm3 per m3/s, 0.0036 times the hours of a stage
    a_r     inflow, m3/s, revealed before the stage is decided

Variables
    v_r, w_r    volume before and after, hm3
    i_r, j_r    inflow of the stage before and of this one, hm3 (with an autoregression alone)
    q_r, s_r    turbined flow, m3/s; spill, hm3
    p_g, u_bk   thermal power; load not served, in segments k, MW
    f_e, th_b   flow, MW; voltage angle, rad

minimise  sum_g c_g p_g + sum_r c_r rho_r q_r + sum_r cs_r s_r + sum_bk c_k u_bk + sum_e c_e f_e  (+ fixed cost), USD/h
          (spill: a stage)

subject to

    water       w_r + K q_r + s_r - K sum_{i into r} q_i - sum_{i into r} s_i = v_r + K a_r
    power       sum_{g at b} p_g + sum_{r at b} rho_r q_r + sum_k u_bk + sum_{e to b} f_e - sum_{e from b} f_e = load_b
    flow        f_e = beta_e (th_from - th_to)      (network=dc alone; for network=soc see `soc`)
    segments    u_bk <= share_k load_b

With an autoregression j_r stands in place of K a_r, and j_r = K a_r = z (K base_r + slope_r i_r), z the error drawn: a
noise that is affine in the state.

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
from math import lcm
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array, csr_array

from orl.linear import LinearProgram
from orl.memo import remembered
from orl.process import Observation
from orl.stages import Seen, Stage, Staged, StageGraph

from .instance import HydroThermal
from .reach import Reach
from .soc import COARSE, Places, Tangents, flows_of, limits_of, pairs_of

PRICE = 10.0  # of a unit's distance from a target volume, in units of the most that any water can be worth
CONVEX = ("soc", "ac")  # networks whose stages are those of the relaxation: of itself, and as a bound


class Columns(NamedTuple):
    """Where the variables of a stage stand, and its rows."""

    before: np.ndarray
    after: np.ndarray
    turn: np.ndarray
    spill: np.ndarray
    power: np.ndarray
    deficit: np.ndarray  # bus by bus, segment by segment
    flow: np.ndarray
    angle: np.ndarray
    square: np.ndarray  # these four of the relaxation `soc`, else none
    loss: np.ndarray
    cross: np.ndarray
    reactive: np.ndarray
    fixed: np.ndarray  # a column fixed at 1, for what is paid in any case
    inflow_before: np.ndarray  # with an autoregression; else none
    inflow_after: np.ndarray
    water_rows: np.ndarray
    power_rows: np.ndarray
    flow_rows: np.ndarray
    inflow_rows: np.ndarray
    reactive_rows: np.ndarray

    @property
    def width(self) -> int:
        """How many columns there are."""
        return 1 + max(int(part.max(initial=0)) for part in self[: self._fields.index("water_rows")])

    @property
    def places(self) -> Places:
        """Of the relaxation's variables."""
        return Places(self.square, self.loss, self.cross, self.width)


def columns(instance: HydroThermal) -> Columns:
    """Return where the variables of a stage stand."""
    return _columns(instance.origin or instance)


@remembered
def _columns(instance: HydroThermal) -> Columns:
    reservoirs, network, kind = len(instance.reservoirs.names), instance.network, instance.settings.network
    is_convex = kind in CONVEX
    buses = 1 if kind == "single-bus" else len(network.bus_names)
    branches = len(network.branch_from) if kind in ("dc", "transport") else 0
    deficits = buses * len(network.deficit_cost)
    remembered = reservoirs if instance.autoregression is not None else 0
    angles, squares = buses if kind == "dc" else 0, buses if is_convex else 0
    pairs = len(pairs_of(network).first) if is_convex else 0
    plants = (*(reservoirs,) * 4, len(network.gen_names))
    sizes = (*plants, deficits, branches, angles, squares, pairs, pairs, squares, 1, remembered, remembered)
    parts = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    rows = (reservoirs, buses, branches if kind == "dc" else 0, remembered, squares)
    return Columns(*parts, *np.split(np.arange(sum(rows)), np.cumsum(rows)[:-1]))


def staged(instance: HydroThermal) -> Staged:
    """Return an instance's graph, and how its process is read in it."""
    is_line, operate = instance.settings.horizon == "finite" and instance.path is None, None
    if instance.settings.network == "ac":
        from .ac_operate import AcOperation

        operate = AcOperation(instance)
    return Staged(
        stages(instance), partial(_seen, instance), partial(_action, instance), has_same_end=is_line,
        reach=Reach(instance), most_worth=most_worth(instance), season=len(instance.inflows), operate=operate,
    )  # fmt: skip


def most_worth(instance: HydroThermal) -> float:
    """Return more than a hm3 can save: all the power that it can make on its way down, at the cost of a deficit."""
    water = instance.reservoirs
    power = float(water.mw_per_flow.sum()) / instance.hm3_per_flow
    return max(1.0, float(instance.network.deficit_cost.max()) * power + float(water.spill_cost.sum()))


def _seen(instance: HydroThermal, observation: Observation, env: int) -> Seen | None:
    stage, reservoirs = int(observation.arrays["stage"][env]), len(instance.reservoirs.names)
    if stage >= observation.sizes[env, 1]:
        return None
    ahead, node = _ahead(instance), stage
    if instance.settings.horizon == "periodic" and stage >= ahead:
        node = ahead + (stage - ahead) % len(instance.inflows)
    volume, inflow = (observation.arrays[key][env, :reservoirs] for key in ("volume", "inflow"))
    arriving = inflow * instance.hm3_per_flow
    # The inflow before says nothing once this one is known.
    state = volume if instance.autoregression is None else np.concatenate([volume, arriving])
    return Seen(node, state, arriving)


def _action(instance: HydroThermal, outgoing: np.ndarray, observation: Observation, env: int) -> np.ndarray:
    reservoirs, targets = len(instance.reservoirs.names), np.zeros(observation.legal.shape[2])
    targets[:reservoirs] = np.clip(outgoing[:reservoirs], *observation.legal[env, :, :reservoirs])
    return targets


def _ahead(instance: HydroThermal) -> int:
    """Return how many nodes come before a ring: the first stage if its inflows are known."""
    return 0 if instance.first_inflow is None else 1


def stages(instance: HydroThermal) -> StageGraph:
    """Return the graph of an instance: a line of its stages, or for ever a ring of its rows of inflows.

    A first stage whose inflows are known comes before the ring.
    """
    instance.refuse_commitment("a graph of linear stages")
    is_ring, ahead = instance.settings.horizon == "periodic", _ahead(instance)
    count = ahead + len(instance.inflows) if is_ring else instance.num_stages
    template = _template(instance)
    made = tuple(_with_inflows(instance, stage_of(instance, stage, template), stage) for stage in range(count))
    water = instance.reservoirs.initial_hm3
    memory = () if instance.autoregression is None else (0 * water,)  # overruled by the first stage's inflow
    initial = np.concatenate([water, *memory])
    discount = instance.settings.discount
    if not is_ring:
        return StageGraph.line(made, initial, discount)
    return StageGraph.ring(made, initial, discount, ahead)


def stage_of(instance: HydroThermal, stage: int, template: Stage | None = None) -> Stage:
    """Return the problem of a stage with its load, without inflows.

    Parameters
    ----------
    template : Stage or None
        That of any stage, which saves making it.
    """
    template = _template(instance) if template is None else template
    at, load, shares = columns(instance), instance.load_mw(stage), instance.network.deficit_share
    if instance.settings.network == "single-bus":
        load = load.sum(keepdims=True)
    room = np.array([load * share if share < np.inf else np.full(len(load), np.inf) for share in shares]).T
    right, upper = template.row_lower.copy(), template.upper.copy()
    right[at.power_rows], upper[at.deficit] = load, room.ravel()
    if len(at.reactive_rows):
        right[at.reactive_rows] = instance.load_mvar(stage)
    return replace(template, row_lower=right, row_upper=right, upper=upper, name=f"stage {stage}")


class Loads:
    """Sets the load of a stage in a program that stays in the solver. It does not hold on to the instance."""

    def __init__(self, instance: HydroThermal):
        at, rows = columns(instance), len(instance.network.load_mw)
        if len(at.reactive_rows) and instance.network.grid is not None:
            rows = lcm(rows, len(instance.network.grid.load_mvar))
        made = [stage_of(instance, stage) for stage in range(rows)] if rows > 1 else []
        self._deficit, self._rows = at.deficit, np.concatenate([at.power_rows, at.reactive_rows])
        self._known = [(one.lower[at.deficit], one.upper[at.deficit], one.row_lower[self._rows]) for one in made]

    def set(self, program: LinearProgram, stage: int) -> None:
        if self._known:
            low, high, load = self._known[stage % len(self._known)]
            program.set_columns(self._deficit, low, high)
            program.set_rows(self._rows, load, load)


def _with_inflows(instance: HydroThermal, made: Stage, stage: int) -> Stage:
    """Return a stage with what may flow in, or with what will if that is known."""
    row, k, memory = instance.row(stage), instance.hm3_per_flow, instance.autoregression
    if stage == 0 and instance.first_inflow is not None:
        return replace(made, noises=k * instance.first_inflow[None], probabilities=np.ones(1))
    drawn = instance.inflows[row]
    probabilities = instance.probabilities[row] / instance.probabilities[row].sum()
    if memory is None:
        return replace(made, noises=k * drawn, probabilities=probabilities)
    count = drawn.shape[1]
    slopes = np.zeros((len(drawn), count, 2 * count))
    slopes[:, np.arange(count), count + np.arange(count)] = drawn * memory.slope[row]
    noises = k * drawn * memory.base[row]
    return replace(made, noises=noises, noise_slopes=slopes, probabilities=probabilities)


def _template(instance: HydroThermal) -> Stage:
    """Return a stage without loads and inflows: what all stages share, and an instance on the way with its origin."""
    return _made_template(instance.origin or instance)


@remembered
def _made_template(instance: HydroThermal) -> Stage:
    at, network, water = columns(instance), instance.network, instance.reservoirs
    kind, k, segments = instance.settings.network, instance.hm3_per_flow, len(network.deficit_cost)
    width = at.width
    cost, lower, upper = np.zeros(width), np.zeros(width), np.full(width, np.inf)
    entries: list[tuple[int, int, float]] = []

    lower[at.before] = lower[at.inflow_before] = lower[at.inflow_after] = -np.inf
    lower[at.after], upper[at.after] = water.min_hm3, water.max_hm3
    lower[at.turn], upper[at.turn] = water.min_turn, water.max_turn
    lower[at.power], upper[at.power] = network.gen_min_mw, network.gen_max_mw
    lower[at.fixed] = upper[at.fixed] = 1.0
    cost[at.turn], cost[at.spill] = water.cost * water.mw_per_flow, water.spill_cost
    cost[at.power], cost[at.fixed] = network.gen_cost, network.fixed_cost
    cost[at.deficit] = np.tile(network.deficit_cost, len(at.deficit) // segments)

    for r, row in enumerate(at.water_rows):
        entries += [(row, at.before[r], -1), (row, at.after[r], 1), (row, at.turn[r], k), (row, at.spill[r], 1)]
        entries += [(row, at.turn[i], -k) for i in np.flatnonzero(water.turn_into[:, r])]
        entries += [(row, at.spill[i], -1) for i in np.flatnonzero(water.spill_into[:, r])]
    if instance.autoregression is not None:
        entries += [(row, column, -1) for row, column in zip(at.water_rows, at.inflow_after, strict=True)]
        entries += [(row, column, 1) for row, column in zip(at.inflow_rows, at.inflow_after, strict=True)]

    def row_of(bus: int) -> int:
        return int(at.power_rows[0 if kind == "single-bus" else bus])

    entries += [(row_of(bus), at.power[g], 1) for g, bus in enumerate(network.gen_bus)]
    entries += [(row_of(bus), at.turn[r], water.mw_per_flow[r]) for r, bus in enumerate(water.bus)]
    entries += [(int(at.power_rows[place // segments]), column, 1) for place, column in enumerate(at.deficit)]
    if len(at.flow):
        lower[at.flow], upper[at.flow], cost[at.flow] = (
            network.branch_min_mw,
            network.branch_max_mw,
            network.branch_cost,
        )
        for e, (source, target) in enumerate(zip(network.branch_from, network.branch_to, strict=True)):
            entries += [(row_of(source), at.flow[e], -1), (row_of(target), at.flow[e], 1)]
    if kind == "dc":
        assert network.branch_mw_per_rad is not None
        lower[at.angle] = -np.inf
        lower[at.angle[network.reference_bus]] = upper[at.angle[network.reference_bus]] = 0.0
        for e, (source, target) in enumerate(zip(network.branch_from, network.branch_to, strict=True)):
            through, row = network.branch_mw_per_rad[e], at.flow_rows[e]
            entries += [(row, at.flow[e], 1), (row, at.angle[source], -through), (row, at.angle[target], through)]
    rows = sum(map(len, at[Columns._fields.index("water_rows") :]))
    row_index, column_index, values = zip(*entries, strict=True)
    matrix = csr_array(coo_array((np.array(values, float), (row_index, column_index)), shape=(rows, width)))
    separate = None
    if kind in CONVEX:
        matrix = csr_array(matrix + _relaxed(instance, at, lower, upper, matrix.shape))
        separate = Tangents(network, at.places)
    before, after, noisy = at.before, at.after, at.water_rows
    if instance.autoregression is not None:
        before, after = np.concatenate([before, at.inflow_before]), np.concatenate([after, at.inflow_after])
        noisy = at.inflow_rows
    right, calm = np.zeros(rows), np.zeros((1, len(noisy)))
    made = Stage(cost, lower, upper, matrix, right, right, before, after, noisy, calm, np.ones(1))
    return replace(made, separate=separate, tolerance=COARSE)


def _relaxed(
    instance: HydroThermal, at: Columns, lower: np.ndarray, upper: np.ndarray, shape: tuple[int, int]
) -> csr_array:
    """Set the bounds of the relaxation's columns, and return what they add to the balances."""
    network = instance.network
    grid, limits, flows = network.grid, limits_of(network), flows_of(network, at.places)
    assert grid is not None
    lower[at.square], upper[at.square] = grid.bus_v_min**2, grid.bus_v_max**2
    pairs = pairs_of(network)
    upper[at.loss] = (upper[at.square[pairs.first]] + upper[at.square[pairs.second]]) / 2 - limits.real_min
    lower[at.cross], upper[at.cross] = limits.imaginary_min, limits.imaginary_max
    lower[at.reactive], upper[at.reactive] = instance.reactive_limits()
    count, number = len(at.square), np.arange(len(at.square))
    added = csr_array(shape)
    for rows, of_from, of_to, shunt in (
        (at.power_rows, flows.p_from, flows.p_to, -grid.bus_shunt_g),
        (at.reactive_rows, flows.q_from, flows.q_to, grid.bus_shunt_b),
    ):
        for bus, flow in ((network.branch_from, of_from), (network.branch_to, of_to)):
            places = coo_array((-np.ones(len(bus)), (rows[bus], np.arange(len(bus)))), shape=(shape[0], len(bus)))
            added = added + csr_array(places) @ flow
        values = grid.base_mva * shunt
        added = added + csr_array((values, (rows[number], at.square)), shape=shape)
    added = added + csr_array((np.ones(count), (at.reactive_rows, at.reactive)), shape=shape)
    added.eliminate_zeros()
    return added
