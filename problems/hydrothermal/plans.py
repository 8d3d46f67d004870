"""What was dispatched, as a record and as columns of a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from orl.entries import check_columns, number
from orl.errors import InputError
from orl.problem import Columns

from .instance import HydroThermal
from .soc import flows_of, pairs_of
from .stages import columns as stage_columns


@dataclass(frozen=True, eq=False)
class Dispatch:
    """What was done in every stage of an episode.

    Parameters
    ----------
    volume : ndarray (stages, R)
        hm3 at the end of the stage.
    turn : ndarray (stages, R)
        m3/s through the turbines.
    spill : ndarray (stages, R)
        hm3.
    power : ndarray (stages, G)
        MW of thermal plants.
    deficit : ndarray (stages, buses * segments)
        MW of load that is not served, bus by bus, segment by segment; with network=single-bus there is one bus.
    flow : ndarray (stages, branches)
        MW, with network=ac and network=soc into the branch at its beginning; with network=single-bus no column.
    angle : ndarray (stages, buses)
        rad; with network=dc and network=ac alone, else no column.
    on : int ndarray (stages, G)
        1 where a thermal plant runs, else 0; with commitment=on alone, else no column.
    flow_to : ndarray (stages, branches)
        MW into the branch at its end; with network=ac alone, else no column.
    voltage : ndarray (stages, buses)
        Magnitudes, pu; with network=ac and network=soc alone, else no column.
    gen_mvar, hydro_mvar : ndarray (stages, G), (stages, R)
        Reactive power of thermal plants and of those of reservoirs; with network=ac alone, else no column.
    reactive : ndarray (stages, buses)
        Mvar of all plants at the bus; this and what follows with network=soc alone, else no column.
    product_real, product_imaginary : ndarray (stages, branches)
        What stands for V_i conj(V_j), i where the branch begins and j where it ends, pu.
    """

    volume: np.ndarray
    turn: np.ndarray
    spill: np.ndarray
    power: np.ndarray
    deficit: np.ndarray
    flow: np.ndarray
    angle: np.ndarray
    on: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    flow_to: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    voltage: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    gen_mvar: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    hydro_mvar: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    reactive: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    product_real: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    product_imaginary: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))


def reader(instance: HydroThermal) -> Callable[[np.ndarray], Dispatch]:
    """Return what says what the columns of stages, (stages, n), mean; it does not hold on to the instance."""
    at = stage_columns(instance)

    def linear(found: np.ndarray) -> Dispatch:
        parts = (at.after, at.turn, at.spill, at.power, at.deficit, at.flow, at.angle)
        return Dispatch(*(found[:, part] for part in parts))

    if not len(at.square):
        return linear
    pairs, flow = pairs_of(instance.network), flows_of(instance.network, at.places).p_from

    def relaxed(found: np.ndarray) -> Dispatch:
        square = found[:, at.square]
        real = (square[:, pairs.first] + square[:, pairs.second]) / 2 - found[:, at.loss]
        return replace(
            linear(found),
            flow=found @ flow.T,
            voltage=np.sqrt(square),
            reactive=found[:, at.reactive],
            product_real=real[:, pairs.of_branch],
            product_imaginary=pairs.sign * found[:, at.cross][:, pairs.of_branch],
        )

    return relaxed


def headings(instance: HydroThermal) -> dict[str, list[str]]:
    """Return the headings of the columns of each field of a dispatch, units included."""
    network, plants, kind = instance.network, instance.reservoirs.names, instance.settings.network
    volume, flow = instance.volume_unit, instance.flow_unit
    buses = ["all"] if kind == "single-bus" else list(network.bus_names)
    branches = [] if kind == "single-bus" else list(range(len(network.branch_from)))
    segments = range(1, len(network.deficit_cost) + 1)
    parts = [f"{name} {segment}" for name in buses for segment in segments] if len(segments) > 1 else buses
    return {
        "volume": [f"volume {name} ({volume})" for name in plants],
        "turn": [f"turbined {name} ({flow})" for name in plants],
        "spill": [f"spill {name} ({volume})" for name in plants],
        "power": [f"power {name} (MW)" for name in network.gen_names],
        "deficit": [f"deficit {name} (MW)" for name in parts],
        "flow": [f"flow branch {number} (MW)" for number in branches],
        "angle": [f"angle {name} (rad)" for name in buses] if kind in ("dc", "ac") else [],
        "on": [f"on {name}" for name in network.gen_names] if instance.has_commitment else [],
        **{key: names if kind in kinds else [] for key, kinds, names in (
            ("flow_to", ("ac",), [f"flow branch {number} at its end (MW)" for number in branches]),
            ("voltage", ("ac", "soc"), [f"voltage {name} (pu)" for name in buses]),
            ("gen_mvar", ("ac",), [f"reactive power {name} (Mvar)" for name in network.gen_names]),
            ("hydro_mvar", ("ac",), [f"reactive power reservoir {name} (Mvar)" for name in plants]),
            ("reactive", ("soc",), [f"reactive power bus {name} (Mvar)" for name in buses]),
            ("product_real", ("soc",), [f"product branch {number}, real (pu)" for number in branches]),
            ("product_imaginary", ("soc",), [f"product branch {number}, imaginary (pu)" for number in branches]),
        )},
    }  # fmt: skip


def columns(instance: HydroThermal, dispatch: Dispatch) -> Columns:
    """Return a dispatch as columns: the stage, then one for each quantity."""
    table: dict[str, list[Any]] = {"stage": list(range(len(dispatch.volume)))}
    for key, names in headings(instance).items():
        for place, name in enumerate(names):
            table[name] = getattr(dispatch, key)[:, place].tolist()
    return table


def dispatch(instance: HydroThermal, table: Columns) -> Dispatch:
    """Return the dispatch that columns mean.

    Raises
    ------
    InputError
        If a column is missing or unknown, or an entry is no number.
    """
    names = headings(instance)
    check_columns(table, ["stage", *(name for of_field in names.values() for name in of_field)])
    stages = len(table["stage"])
    arrays = {}
    for part in fields(Dispatch):
        values = np.empty((stages, len(names[part.name])))
        for place, name in enumerate(names[part.name]):
            for row, entry in enumerate(table[name]):
                if (value := number(entry)) is None:
                    raise InputError(f"column {name!r}, row {row}: expected a number, got {str(entry)[:40]!r}.")
                values[row, place] = value
        arrays[part.name] = values
    return Dispatch(**arrays)
