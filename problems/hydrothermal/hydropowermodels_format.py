"""Folders in the format of HydroPowerModels.jl (MIT licence): three files and two optional.

PowerModels.json (network, per unit), hydro.json (reservoirs), inflows.csv (a row a stage; for each reservoir a block of
one column a scenario), scenarioprobability.csv (a row a stage, a column a scenario), protocol.csv of our own (scenarios
to evaluate on).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from orl.errors import InputError, at

from .grid import Grid
from .instance import HydroThermal, HydroThermalSettings, Network, Reservoirs
from .tables import read_json, read_table

TINY = 1e-12  # numbers below are rounding of the files' writers


def sniff(folder: Path) -> bool:
    """Return whether a folder is in this format."""
    return (folder / "hydro.json").is_file()


def load(folder: Path, chosen: HydroThermalSettings) -> HydroThermal:
    """Read a folder in the format of HydroPowerModels.jl."""
    if chosen.inflow_model != "history":
        raise at(folder, None, "this format has no autoregression; leave inflow_model=history.")
    power = read_json(folder / "PowerModels.json")
    hydro = read_json(folder / "hydro.json")
    try:
        network, reservoirs = _system(power, hydro, chosen)
        hours = chosen.stage_hours or float(hydro.get("stage_hours", 1.0))
    except InputError as error:
        raise at(folder, None, str(error)) from None
    except KeyError as error:
        raise at(folder, None, f"{error.args[0]!r} is missing in PowerModels.json or hydro.json.") from None
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise at(folder, None, f"PowerModels.json or hydro.json hold something unexpected: {error}.") from None
    inflows = _inflows(folder / "inflows.csv", len(reservoirs.names))
    probabilities = np.full(inflows.shape[:2], 1 / inflows.shape[1])
    file = folder / "scenarioprobability.csv"
    if file.is_file() and chosen.probabilities == "file":
        probabilities = read_table(file)
    panel = None
    if chosen.panel == "protocol":
        if not (folder / "protocol.csv").is_file():
            raise at(folder, None, "panel=protocol needs a file protocol.csv.")
        panel = read_table(folder / "protocol.csv").astype(np.int64) - 1
    return HydroThermal(folder.name, network, reservoirs, inflows, probabilities, hours, chosen, str(folder), panel)


def _inflows(path: Path, count: int) -> np.ndarray:
    table = read_table(path)
    if table.shape[1] % count:
        raise at(path, 1, f"expected a multiple of {count} columns, one a scenario in a block a reservoir, got "
                          f"{table.shape[1]}.")  # fmt: skip
    if (table < 0).any():
        row = int((table < 0).any(axis=1).argmax())
        raise at(path, row + 1, f"inflows must be >= 0, got {table[row].min():g}.")
    return table.reshape(len(table), count, -1).transpose(0, 2, 1).copy()  # (rows, scenarios, reservoirs)


def _system(power: Mapping[str, Any], hydro: Mapping[str, Any], chosen: Any) -> tuple[Network, Reservoirs]:
    base = float(power["baseMVA"])
    buses = sorted(power["bus"].values(), key=lambda bus: bus["bus_i"])
    place = {bus["bus_i"]: number for number, bus in enumerate(buses)}

    def bus_of(number: int, what: str) -> int:
        if number not in place:
            raise InputError(f"{what} is at bus {number}, which does not exist.")
        return place[number]

    load_mw = np.zeros(len(buses))
    for load in power["load"].values():
        if load.get("status", 1):
            load_mw[bus_of(load["load_bus"], f"load {load['index']}")] += base * load["pd"] * chosen.load_factor
    units = hydro["Hydrogenerators"]
    gens = {gen["index"]: gen for gen in power["gen"].values() if gen.get("gen_status", 1)}
    thermal = [gen for index, gen in sorted(gens.items()) if index not in {unit["index_grid"] for unit in units}]
    branches = [
        branch for _, branch in sorted(power["branch"].items(), key=lambda pair: int(pair[0])) if branch["br_status"]
    ]
    impedance = np.array([branch["br_r"] ** 2 + branch["br_x"] ** 2 for branch in branches])
    if (impedance == 0).any():
        branch = branches[int((impedance == 0).argmax())]
        raise InputError(
            f"PowerModels.json: branch {branch['index']} from bus {branch['f_bus']} to bus {branch['t_bus']} has no "
            "impedance (br_r and br_x are 0)."
        )
    mw_per_rad = base * np.array([branch["br_x"] for branch in branches]) / impedance if branches else np.zeros(0)
    limits = [
        min(base * branch.get("rate_a", np.inf), abs(through) * min(branch["angmax"], -branch["angmin"]))
        for branch, through in zip(branches, mw_per_rad, strict=True)
    ]
    references = [number for number, bus in enumerate(buses) if bus["bus_type"] == 3]
    grid = None
    if chosen.network in ("ac", "soc"):
        if not references:
            raise InputError(
                f"PowerModels.json: no bus is the reference (bus_type 3), which network={chosen.network} needs."
            )
        plants = [gens[unit["index_grid"]] for unit in units if unit["index_grid"] in gens]
        grid = _grid(power, buses, branches, thermal, plants, bus_of, chosen.load_factor)
    network = Network(
        bus_names=tuple(str(bus.get("name", bus["bus_i"])).strip() for bus in buses),
        load_mw=load_mw[None],
        gen_names=tuple(str(gen.get("name", gen["index"])).strip() for gen in thermal),
        gen_bus=np.array([bus_of(gen["gen_bus"], f"generator {gen['index']}") for gen in thermal], dtype=np.int64),
        gen_min_mw=base * np.array([gen["pmin"] for gen in thermal], dtype=np.float64),
        gen_max_mw=base * np.array([gen["pmax"] for gen in thermal], dtype=np.float64),
        gen_cost=np.array([_linear(gen) for gen in thermal], dtype=np.float64) / base,
        branch_from=np.array([bus_of(branch["f_bus"], "a branch") for branch in branches], dtype=np.int64),
        branch_to=np.array([bus_of(branch["t_bus"], "a branch") for branch in branches], dtype=np.int64),
        branch_min_mw=-np.array(limits),
        branch_max_mw=np.array(limits),
        branch_cost=np.zeros(len(branches)),
        branch_mw_per_rad=mw_per_rad,
        deficit_cost=np.array([float(power["cost_deficit"])]),
        deficit_share=np.array([np.inf]),
        reference_bus=references[0] if references else 0,
        fixed_cost=float(sum(gen["cost"][1] for gen in gens.values() if len(gen.get("cost", [])) > 1)),
        grid=grid,
    )
    return network, _reservoirs(units, gens, base, bus_of)


def _grid(
    power: Mapping[str, Any], buses: Any, branches: Any, thermal: Any, hydro: Any, bus_of: Any, load_factor: float
) -> Grid:
    """Return what alternating current needs of buses, branches and generators in the network's order."""
    base = float(power["baseMVA"])
    load_mvar, shunt = np.zeros(len(buses)), np.zeros((2, len(buses)))
    for load in power["load"].values():
        if load.get("status", 1):
            load_mvar[bus_of(load["load_bus"], f"load {load['index']}")] += base * load["qd"] * load_factor
    for one in power.get("shunt", {}).values():
        if one.get("status", 1):
            shunt[:, bus_of(one["shunt_bus"], f"shunt {one['index']}")] += one["gs"], one["bs"]

    def of(parts: Any, key: str) -> np.ndarray:
        return np.array([part[key] for part in parts], dtype=np.float64)

    return Grid(
        base_mva=base,
        branch_r=of(branches, "br_r"),
        branch_x=of(branches, "br_x"),
        branch_g_from=of(branches, "g_fr"),
        branch_b_from=of(branches, "b_fr"),
        branch_g_to=of(branches, "g_to"),
        branch_b_to=of(branches, "b_to"),
        branch_tap=of(branches, "tap"),
        branch_shift=of(branches, "shift"),
        branch_rate=np.array([branch.get("rate_a", np.inf) for branch in branches], dtype=np.float64),
        branch_angle_min=of(branches, "angmin"),
        branch_angle_max=of(branches, "angmax"),
        bus_v_min=of(buses, "vmin"),
        bus_v_max=of(buses, "vmax"),
        bus_shunt_g=shunt[0],
        bus_shunt_b=shunt[1],
        load_mvar=load_mvar[None],
        gen_min_mvar=base * of(thermal, "qmin"),
        gen_max_mvar=base * of(thermal, "qmax"),
        hydro_min_mvar=base * of(hydro, "qmin"),
        hydro_max_mvar=base * of(hydro, "qmax"),
    )


def _reservoirs(units: Any, gens: Mapping[int, Any], base: float, bus_of: Any) -> Reservoirs:
    number = {unit["index"]: place for place, unit in enumerate(units)}
    into = {key: np.zeros((len(units), len(units)), dtype=bool) for key in ("downstream_turn", "downstream_spill")}
    for place, unit in enumerate(units):
        for key, table in into.items():
            for below in unit.get(key, []):
                if below not in number:
                    raise InputError(f"hydro plant {unit['index']}: {key} names plant {below}, which does not exist.")
                table[place, number[below]] = True
        if unit["index_grid"] not in gens:
            raise InputError(f"hydro plant {unit['index']}: there is no generator {unit['index_grid']} in service.")
    plants = [gens[unit["index_grid"]] for unit in units]
    factor = _column(units, "production_factor")
    power = np.where(factor > 0, factor, 1.0)
    lowest = np.where(factor > 0, base * np.array([gen["pmin"] for gen in plants]) / power, 0.0)
    highest = np.where(factor > 0, base * np.array([gen["pmax"] for gen in plants]) / power, np.inf)
    return Reservoirs(
        names=tuple(str(unit.get("name", unit["index"])).strip() for unit in units),
        bus=np.array([bus_of(gen["gen_bus"], f"generator {gen['index']}") for gen in plants], dtype=np.int64),
        min_hm3=_column(units, "min_volume"),
        max_hm3=_column(units, "max_volume"),
        initial_hm3=_column(units, "initial_volume"),
        min_turn=np.maximum(_column(units, "min_turn"), lowest),
        max_turn=np.minimum(_column(units, "max_turn"), highest),
        mw_per_flow=factor,
        cost=np.array([_linear(gen) for gen in plants]) / base,
        spill_cost=_column(units, "spill_cost"),
        turn_into=into["downstream_turn"],
        spill_into=into["downstream_spill"],
    )


def _column(units: Any, key: str) -> np.ndarray:
    values = np.array([float(unit[key]) for unit in units])
    return np.where(np.abs(values) < TINY, 0.0, values)


def _linear(gen: Mapping[str, Any]) -> float:
    """Return the linear cost of a generator, per unit; those without any cost nothing."""
    return float(gen["cost"][0]) if gen.get("cost") else 0.0
