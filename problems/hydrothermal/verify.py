"""Cost and violations of a dispatch, by plain arithmetic; shares no code with the stage problems."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from orl.problem import Report, Violation
from orl.scenario import Scenarios

from .instance import HydroThermal
from .plans import Dispatch, headings
from .scenario import realise
from .verify_ac import of_grid
from .verify_soc import of_relaxation

MAX_VIOLATIONS = 20
TOLERANCE = 1e-6  # share of the quantities that are balanced or limited, and as many MW or hm3


def verify(instance: HydroThermal, scenario: Scenarios, dispatch: Dispatch) -> Report:
    """Recompute water balances, power balances at every bus, limits and cost.

    Returns
    -------
    Report
        Without a cost if the dispatch has another shape than the episode, or holds what is no finite number.
    """
    inflows = realise(instance, scenario)
    if broken := _malformed(instance, dispatch, len(inflows)):
        return Report(None, (Violation("shape", broken),))
    found: list[Violation] = []
    before, total = instance.reservoirs.initial_hm3, 0.0
    for stage in range(len(inflows)):
        found += _of_stage(instance, dispatch, stage, before, inflows[stage])
        before = dispatch.volume[stage]
        total += instance.settings.discount**stage * stage_cost(instance, dispatch, stage)
    if instance.settings.commitment == "on":
        found += _of_commitment(instance, dispatch)
    return Report(total, tuple(found[:MAX_VIOLATIONS]))


def _malformed(instance: HydroThermal, dispatch: Dispatch, stages: int) -> str:
    """Return why a dispatch cannot be judged, or ''; what the instance's settings do not ask for is not looked at."""
    for key, names in headings(instance).items():
        values = getattr(dispatch, key)
        if names and values.shape != (stages, len(names)):
            return f"expected {key} of {stages} stages x {len(names)} columns, got shape {values.shape}."
        if names and not np.isfinite(values).all():
            stage, place = np.argwhere(~np.isfinite(values))[0].tolist()
            return f"stage {stage}, {names[place]}: expected a finite number, got {values[stage, place]}."
    return ""


def stage_cost(instance: HydroThermal, dispatch: Dispatch, stage: int) -> float:
    """Return the cost of one stage, USD for an hour of it."""
    network, water = instance.network, instance.reservoirs
    thermal = sum(float(c) * float(p) for c, p in zip(network.gen_cost, dispatch.power[stage], strict=True))
    hydro = sum(
        float(c) * float(rho) * float(q)
        for c, rho, q in zip(water.cost, water.mw_per_flow, dispatch.turn[stage], strict=True)
    )
    spilled = sum(float(c) * float(s) for c, s in zip(water.spill_cost, dispatch.spill[stage], strict=True))
    shed = dispatch.deficit[stage].reshape(-1, len(network.deficit_cost)).sum(axis=0) @ network.deficit_cost
    sent = 0.0
    if instance.settings.network != "single-bus":
        sent = sum(float(c) * float(f) for c, f in zip(network.branch_cost, dispatch.flow[stage], strict=True))
    starts = 0.0
    if instance.settings.commitment == "on":
        for g, most in enumerate(network.gen_max_mw):
            if dispatch.on[stage, g] and not (stage > 0 and dispatch.on[stage - 1, g]):
                starts += instance.settings.start_cost * float(most) / instance.stage_hours
    return network.fixed_cost + thermal + hydro + spilled + sent + float(shed) + starts


def _of_commitment(instance: HydroThermal, dispatch: Dispatch) -> Iterator[Violation]:
    """Find what is neither on nor off, and plants that were stopped or started too soon."""
    chosen = instance.settings
    for g, name in enumerate(instance.network.gen_names):
        was_on, since = False, -chosen.min_down  # off long enough before the first stage
        for stage, on in enumerate(dispatch.on[:, g].tolist()):
            if on not in (0, 1):
                yield Violation("commitment", f"stage {stage}, {name}: on is {on:g}, neither 0 nor 1.")
            if bool(on) == was_on:
                continue
            least, kind, state = (chosen.min_up, "min up", "on") if was_on else (chosen.min_down, "min down", "off")
            if stage - since < least:
                message = f"stage {stage}, {name}: {state} for {stage - since} stages, at least {least} are due."
                yield Violation(kind, message)
            was_on, since = bool(on), stage


def _of_stage(
    instance: HydroThermal, dispatch: Dispatch, stage: int, before: np.ndarray, inflow: np.ndarray
) -> Iterator[Violation]:
    network, water = instance.network, instance.reservoirs
    k = 1.0 if instance.holds_energy else 0.0036 * instance.stage_hours
    volume_unit, flow_unit = instance.volume_unit, instance.flow_unit
    turn, spill, volume = dispatch.turn[stage], dispatch.spill[stage], dispatch.volume[stage]
    for r, name in enumerate(water.names):
        arrives = before[r] + k * inflow[r]
        for upper in range(len(water.names)):
            arrives += k * turn[upper] * water.turn_into[upper, r] + spill[upper] * water.spill_into[upper, r]
        leaves = k * turn[r] + spill[r]
        if abs(arrives - leaves - volume[r]) > TOLERANCE * max(1.0, arrives):
            message = f"{arrives:.6g} {volume_unit} arrive, {leaves:.6g} leave, {volume[r]:.6g} stay."
            yield Violation("water", f"stage {stage}, {name}: {message}")
    lowest, highest = network.gen_min_mw, network.gen_max_mw
    if instance.settings.commitment == "on":
        if (share := instance.settings.min_output) is not None:
            lowest = share * highest
        lowest, highest = dispatch.on[stage] * lowest, dispatch.on[stage] * highest
    for key, values, low, high, unit in (
        ("volume", volume, water.min_hm3, water.max_hm3, volume_unit),
        ("turbined flow", turn, water.min_turn, water.max_turn, flow_unit),
        ("spill", spill, np.zeros(len(spill)), np.full(len(spill), np.inf), volume_unit),
        ("thermal power", dispatch.power[stage], lowest, highest, "MW"),
    ):
        yield from _outside(f"stage {stage}, {key}", values, low, high, unit)
    kind, load = instance.settings.network, instance.load_mw(stage)
    deficit = dispatch.deficit[stage].reshape(-1, len(network.deficit_cost))
    for segment, share in enumerate(network.deficit_share):
        most = (load if kind != "single-bus" else load.sum(keepdims=True)) * share if share < np.inf else np.inf
        yield from _outside(f"stage {stage}, deficit segment {segment}, bus", deficit[:, segment], 0.0, most, "MW")
    if kind in ("ac", "soc"):
        yield from (of_grid if kind == "ac" else of_relaxation)(instance, dispatch, stage)
        return
    balance = -load.astype(float)
    np.add.at(balance, network.gen_bus, dispatch.power[stage])
    np.add.at(balance, water.bus, water.mw_per_flow * turn)
    if kind != "single-bus":
        balance = balance + deficit.sum(axis=1)
        flow = dispatch.flow[stage]
        np.add.at(balance, network.branch_to, flow)
        np.add.at(balance, network.branch_from, -flow)
        yield from _outside(f"stage {stage}, branch flow", flow, network.branch_min_mw, network.branch_max_mw, "MW")
    else:
        balance = np.array([balance.sum() + deficit.sum()])
    if kind == "dc":
        assert network.branch_mw_per_rad is not None
        angle = dispatch.angle[stage]
        driven = network.branch_mw_per_rad * (angle[network.branch_from] - angle[network.branch_to])
        for branch in np.flatnonzero(np.abs(driven - flow) > 1e-5 * np.maximum(1.0, np.abs(flow))):
            message = f"stage {stage}, branch {branch}: {flow[branch]:.6g} MW, angles drive {driven[branch]:.6g} MW."
            yield Violation("flow", message)
    for bus in np.flatnonzero(np.abs(balance) > 1e-5):
        name = "all" if kind == "single-bus" else network.bus_names[bus]
        yield Violation("power", f"stage {stage}, bus {name}: {balance[bus]:.6g} MW too much.")


def _outside(place: str, values: np.ndarray, low: object, high: object, unit: str) -> Iterator[Violation]:
    slack = TOLERANCE * np.maximum(1.0, np.abs(values))
    for number in np.flatnonzero((values < np.asarray(low) - slack) | (values > np.asarray(high) + slack)):
        yield Violation("limit", f"{place} {number}: {values[number]:.6g} {unit} is outside its limits.")
