"""Cost and violations of a dispatch, by plain arithmetic; shares no code with the stage problems."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from orl.problem import Report, Violation
from orl.scenario import Scenarios

from .instance import HydroThermal
from .plans import Dispatch
from .scenario import realise

MAX_VIOLATIONS = 20
TOLERANCE = 1e-6  # share of the quantities that are balanced or limited, and as many MW or hm3


def verify(instance: HydroThermal, scenario: Scenarios, dispatch: Dispatch) -> Report:
    """Recompute water balances, power balances at every bus, limits and cost.

    Returns
    -------
    Report
        Without a cost if the dispatch has another shape than the episode.
    """
    inflows = realise(instance, scenario)
    stages, count = len(inflows), len(instance.reservoirs.names)
    if dispatch.volume.shape != (stages, count):
        message = f"expected {stages} stages x {count} reservoirs, got {dispatch.volume.shape}."
        return Report(None, (Violation("shape", message),))
    found: list[Violation] = []
    before, total = instance.reservoirs.initial_hm3, 0.0
    for stage in range(stages):
        found += _of_stage(instance, dispatch, stage, before, inflows[stage])
        before = dispatch.volume[stage]
        total += instance.settings.discount**stage * stage_cost(instance, dispatch, stage)
    return Report(total, tuple(found[:MAX_VIOLATIONS]))


def stage_cost(instance: HydroThermal, dispatch: Dispatch, stage: int) -> float:
    """Return the cost of one stage, USD for an hour of it."""
    network, water = instance.network, instance.reservoirs
    thermal = sum(float(c) * float(p) for c, p in zip(network.gen_cost, dispatch.power[stage], strict=True))
    hydro = sum(
        float(c) * float(rho) * float(q)
        for c, rho, q in zip(water.cost, water.mw_per_flow, dispatch.turn[stage], strict=True)
    )
    spilled = sum(float(c) * float(s) for c, s in zip(water.spill_cost, dispatch.spill[stage], strict=True))
    return network.fixed_cost + thermal + hydro + spilled + network.deficit_cost * float(dispatch.deficit[stage].sum())


def _of_stage(
    instance: HydroThermal, dispatch: Dispatch, stage: int, before: np.ndarray, inflow: np.ndarray
) -> Iterator[Violation]:
    network, water = instance.network, instance.reservoirs
    k = 0.0036 * instance.stage_hours
    turn, spill, volume = dispatch.turn[stage], dispatch.spill[stage], dispatch.volume[stage]
    for r, name in enumerate(water.names):
        arrives = before[r] + k * inflow[r]
        for upper in range(len(water.names)):
            arrives += k * turn[upper] * water.turn_into[upper, r] + spill[upper] * water.spill_into[upper, r]
        leaves = k * turn[r] + spill[r]
        if abs(arrives - leaves - volume[r]) > TOLERANCE * max(1.0, arrives):
            yield Violation("water", f"stage {stage}, {name}: {arrives:.6g} hm3 arrive, {leaves:.6g} leave, "
                                     f"{volume[r]:.6g} stay.")  # fmt: skip
    for key, values, low, high, unit in (
        ("volume", volume, water.min_hm3, water.max_hm3, "hm3"),
        ("turbined flow", turn, water.min_turn, water.max_turn, "m3/s"),
        ("spill", spill, np.zeros(len(spill)), np.full(len(spill), np.inf), "hm3"),
        ("thermal power", dispatch.power[stage], network.gen_min_mw, network.gen_max_mw, "MW"),
        ("deficit", dispatch.deficit[stage], np.zeros(dispatch.deficit.shape[1]), np.inf, "MW"),
    ):
        yield from _outside(f"stage {stage}, {key}", values, low, high, unit)
    is_dc = instance.settings.network == "dc"
    balance = -network.load_mw.astype(float)
    np.add.at(balance, network.gen_bus, dispatch.power[stage])
    np.add.at(balance, water.bus, water.mw_per_flow * turn)
    if is_dc:
        balance = balance + dispatch.deficit[stage]
        flow, angle = dispatch.flow[stage], dispatch.angle[stage]
        np.add.at(balance, network.branch_to, flow)
        np.add.at(balance, network.branch_from, -flow)
        driven = network.branch_mw_per_rad * (angle[network.branch_from] - angle[network.branch_to])
        for branch in np.flatnonzero(np.abs(driven - flow) > 1e-5 * np.maximum(1.0, np.abs(flow))):
            message = f"stage {stage}, branch {branch}: {flow[branch]:.6g} MW, angles drive {driven[branch]:.6g} MW."
            yield Violation("flow", message)
        limit = network.branch_limit_mw
        yield from _outside(f"stage {stage}, branch flow", flow, -limit, limit, "MW")
    else:
        balance = np.array([balance.sum() + dispatch.deficit[stage, 0]])
    for bus in np.flatnonzero(np.abs(balance) > 1e-5):
        name = network.bus_names[bus] if is_dc else "all"
        yield Violation("power", f"stage {stage}, bus {name}: {balance[bus]:.6g} MW too much.")


def _outside(place: str, values: np.ndarray, low: np.ndarray, high: object, unit: str) -> Iterator[Violation]:
    slack = TOLERANCE * np.maximum(1.0, np.abs(values))
    for number in np.flatnonzero((values < low - slack) | (values > np.asarray(high) + slack)):
        yield Violation("limit", f"{place} {number}: {values[number]:.6g} {unit} is outside its limits.")
