"""Stages of a process in alternating current: the dispatcher of `process.py` over `AcStage`.

A target that the stage cannot end at is met as nearly as can be, as with the linear program: its distance, summed over
reservoirs, is charged at ten times the most that any water can be worth. A stage begins where the one before ended, so
what an episode does depends on the instance, the scenario and the decisions alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orl.linear import NotSolved

from .ac import AcStage
from .instance import HydroThermal
from .ipopt import Point
from .plans import Dispatch

PARTS = ("volume", "turn", "spill", "power", "deficit", "flow", "angle",
         "flow_to", "voltage", "gen_mvar", "hydro_mvar")  # fmt: skip


class AcExecuted(NamedTuple):
    """The decision of one stage: its cost, the parts of a dispatch one after another, and where its solve ended."""

    cost: float
    columns: np.ndarray
    memory: Point


class AcDispatcher:
    """The stage problem of an instance in alternating current with targets for the volumes at its end.

    Parameters
    ----------
    instance : HydroThermal
    """

    def __init__(self, instance: HydroThermal):
        self._stage, network = AcStage(instance), instance.network
        reservoirs, buses, branches = len(instance.reservoirs.names), len(network.bus_names), len(network.branch_from)
        thermal, deficits = len(network.gen_names), buses * len(network.deficit_cost)
        self._sizes = (*(reservoirs,) * 3, thermal, deficits, branches, *(buses, branches, buses), thermal, reservoirs)
        self._name, self.volume = instance.name, np.arange(reservoirs)

    def execute(
        self, stage: int, volume: np.ndarray, arriving_hm3: np.ndarray, target: np.ndarray, memory: Point | None = None
    ) -> AcExecuted:
        """Return the cheapest dispatch of a stage that ends as near the target as can be.

        Raises
        ------
        NotSolved
            If none is found that keeps to the limits of the grid.
        """
        found = self._stage.solve(stage, volume, arriving_hm3, target, start=memory)
        if not found.is_solved:
            raise NotSolved(
                f"{self._name}: IPOPT finds no dispatch in alternating current of stage {stage} ({found.status})."
            )
        columns = np.concatenate([getattr(found, part) for part in PARTS])
        return AcExecuted(found.cost, columns, found.point)

    def read(self, done: np.ndarray) -> Dispatch:
        """Return what columns (stages, width) of executed stages mean."""
        parts = np.split(done.reshape(len(done), sum(self._sizes)), np.cumsum(self._sizes)[:-1], axis=1)
        return Dispatch(**dict(zip(PARTS, parts, strict=True)))
