"""Nodes of an instance's graph in alternating current, for methods whose own stages are those of the relaxation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from orl.linear import NotSolved
from orl.stages import Operated

from .ac import AcStage, Cuts
from .instance import HydroThermal
from .ipopt import Point


@dataclass(frozen=True, eq=False)
class AcOperation:
    """Decide a stage in alternating current with a future given as cuts; an `orl.stages.Operate`.

    Where IPOPT finds no solution, also not from scratch, the stage is decided with the volumes nearby as targets.

    Parameters
    ----------
    instance : HydroThermal
        With network=ac.
    """

    instance: HydroThermal = field(repr=False)
    _stage: AcStage = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_stage", AcStage(self.instance))

    def __call__(
        self,
        node: int,
        state: np.ndarray,
        noise: np.ndarray,
        intercepts: np.ndarray,
        slopes: np.ndarray,
        near: np.ndarray | None = None,
        memory: Any = None,
    ) -> Operated:
        count = len(self.instance.reservoirs.names)
        has_memory = self.instance.autoregression is not None
        if has_memory:  # the inflow goes out with the volumes, whatever is decided
            intercepts = intercepts + slopes[:, count:] @ noise
        volume, cuts = state[:count], Cuts(intercepts, slopes[:, :count])
        aim = None if near is None else near[:count]
        start: Point | None = memory
        found = self._stage.solve(node, volume, noise, cuts=cuts, near=aim, start=start)
        if not found.is_solved and aim is not None:
            found = self._stage.solve(node, volume, noise, target=aim)
        if not found.is_solved:
            name = self.instance.name
            raise NotSolved(f"{name}: IPOPT finds no dispatch in alternating current at node {node} ({found.status}).")
        outgoing = np.concatenate([found.volume, noise]) if has_memory else found.volume
        return Operated(outgoing, found.cost, found.point)
