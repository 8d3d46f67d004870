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
CONE = 1e-6  # pu of power by which a cone, a rate or an angle of the relaxation may be missed
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
    if instance.settings.commitment == "on" and dispatch.on.shape != dispatch.power.shape:
        message = f"commitment=on asks what runs in {stages} stages, got {dispatch.on.shape}."
        return Report(None, (Violation("shape", message),))
    found: list[Violation] = []
    before, total = instance.reservoirs.initial_hm3, 0.0
    for stage in range(stages):
        found += _of_stage(instance, dispatch, stage, before, inflows[stage])
        before = dispatch.volume[stage]
        total += instance.settings.discount**stage * stage_cost(instance, dispatch, stage)
    if instance.settings.commitment == "on":
        found += _of_commitment(instance, dispatch)
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
    balance = -load.astype(float)
    np.add.at(balance, network.gen_bus, dispatch.power[stage])
    np.add.at(balance, water.bus, water.mw_per_flow * turn)
    if kind == "soc":
        balance = balance + deficit.sum(axis=1)
        yield from _of_relaxation(instance, dispatch, stage, balance)
    elif kind != "single-bus":
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


def _of_relaxation(instance: HydroThermal, dispatch: Dispatch, stage: int, balance: np.ndarray) -> Iterator[Violation]:
    """Take out of the `balance` of active power what branches take; find what breaks the cone relaxation's rules.

    By complex numbers: with S_ij = V_i conj(I_ij), power into a branch is linear in |V_i|^2 and V_i conj(V_j).
    """
    network, grid = instance.network, instance.network.grid
    assert grid is not None
    base, source, target = grid.base_mva, network.branch_from, network.branch_to
    square = dispatch.voltage[stage] ** 2
    product = dispatch.product_real[stage] + 1j * dispatch.product_imaginary[stage]
    y, ratio = 1 / (grid.branch_r + 1j * grid.branch_x), grid.branch_tap * np.exp(1j * grid.branch_shift)
    ground_from, ground_to = grid.branch_g_from + 1j * grid.branch_b_from, grid.branch_g_to + 1j * grid.branch_b_to
    into_from = base * (np.conj(y + ground_from) * square[source] / grid.branch_tap**2 - np.conj(y) / ratio * product)
    into_to = base * (np.conj(y + ground_to) * square[target] - np.conj(y / ratio) * np.conj(product))
    apparent = -1j * instance.load_mvar(stage) + 1j * dispatch.reactive[stage]
    apparent -= base * square * (grid.bus_shunt_g - 1j * grid.bus_shunt_b)
    np.add.at(apparent, source, -into_from)
    np.add.at(apparent, target, -into_to)
    balance += apparent.real
    for bus in np.flatnonzero(np.abs(apparent.imag) > 1e-5):
        message = f"stage {stage}, bus {network.bus_names[bus]}: {apparent[bus].imag:.6g} Mvar too much."
        yield Violation("reactive power", message)
    least, most = np.zeros(len(square)), np.zeros(len(square))
    for bus_of, low, high in (
        (network.gen_bus, grid.gen_min_mvar, grid.gen_max_mvar),
        (instance.reservoirs.bus, grid.hydro_min_mvar, grid.hydro_max_mvar),
    ):
        np.add.at(least, bus_of, low)
        np.add.at(most, bus_of, high)
    yield from _outside(f"stage {stage}, reactive power, bus", dispatch.reactive[stage], least, most, "Mvar")
    yield from _outside(f"stage {stage}, voltage, bus", dispatch.voltage[stage], grid.bus_v_min, grid.bus_v_max, "pu")
    yield from _outside(f"stage {stage}, branch flow", np.abs(dispatch.flow[stage] - into_from.real), 0.0, 0.0, "MW")
    slack = CONE * base
    for branch in range(len(source)):
        w_i, w_j, of = square[source[branch]], square[target[branch]], product[branch]
        # By how much the product is too large, and what a loss of that much less is, MVA.
        beyond = float(np.hypot(abs(of), (w_i - w_j) / 2) - (w_i + w_j) / 2) * 2 * base * abs(y[branch])
        if beyond > slack:
            message = f"stage {stage}, branch {branch}: {beyond:.6g} MVA less is lost than the cone asks for."
            yield Violation("cone", message)
        flow, rate = max(abs(into_from[branch]), abs(into_to[branch])), base * grid.branch_rate[branch]
        if flow > rate + slack:
            yield Violation("limit", f"stage {stage}, branch {branch}: {flow:.6g} MVA, at most {rate:.6g}.")
        low, high = grid.branch_angle_min[branch], grid.branch_angle_max[branch]
        if -np.pi / 2 < low and high < np.pi / 2:
            outside = max(np.tan(low) * of.real - of.imag, of.imag - np.tan(high) * of.real) * 2 * base * abs(y[branch])
            if outside > slack:
                message = f"stage {stage}, branch {branch}: the angle is outside {low:.6g}..{high:.6g} rad."
                yield Violation("angle", message)
        twins = np.flatnonzero((source == source[branch]) & (target == target[branch]))
        turned = np.flatnonzero((source == target[branch]) & (target == source[branch]))
        apart = max(abs(product[twins] - of).max(), abs(np.conj(product[turned]) - of).max(initial=0.0))
        if apart > TOLERANCE:
            yield Violation("product", f"stage {stage}, branch {branch}: another of the pair has another product.")


def _outside(place: str, values: np.ndarray, low: object, high: object, unit: str) -> Iterator[Violation]:
    slack = TOLERANCE * np.maximum(1.0, np.abs(values))
    for number in np.flatnonzero((values < np.asarray(low) - slack) | (values > np.asarray(high) + slack)):
        yield Violation("limit", f"{place} {number}: {values[number]:.6g} {unit} is outside its limits.")
