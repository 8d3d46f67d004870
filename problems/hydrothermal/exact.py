"""The deterministic equivalent of one path of inflows, in Pyomo: what could have been done had it been known.

All stages of `stages.py` at once, with the volumes that go out of one coming in at the next:

    minimise    sum_t discount^t c' x_t
    subject to  A x_t = b + (K a_tr in the water rows),  l <= x_t <= u,  v_0 = initial volumes,  v_t = w_{t-1}
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from orl.errors import InputError, Stopped
from orl.problem import Model
from orl.scenario import Scenarios

from .instance import HydroThermal
from .plans import Dispatch
from .scenario import realise
from .stages import columns, stage_of


def build(
    instance: HydroThermal,
    scenarios: Scenarios,
    upper_bound: float | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Model:
    """Return the linear program of one path of inflows.

    Parameters
    ----------
    instance : HydroThermal
    scenarios : Scenarios
        One row.
    upper_bound : number or None
        Not made use of.
    should_stop : callable () -> bool, or None
        Asked at every stage as the model is built.

    Raises
    ------
    InputError
        If there are several scenarios, or no end.
    """
    import pyomo.environ as pyo

    if len(scenarios) != 1:
        raise InputError(f"{instance.name}: the model is of 1 path of inflows, got {len(scenarios)}.")
    stage, at = stage_of(instance, 0), columns(instance)
    inflows = realise(instance, scenarios) * instance.hm3_per_flow
    periods, width = len(inflows), len(stage.cost)
    rows = [np.flatnonzero(part) for part in stage.matrix.toarray() != 0]
    m = pyo.ConcreteModel(instance.name)

    of_stage = [stage_of(instance, t, stage) for t in range(periods)]

    def limits(_: Any, t: int, column: int) -> tuple[float | None, float | None]:
        low, high = float(stage.lower[column]), float(of_stage[t].upper[column])
        return (low if np.isfinite(low) else None), (high if np.isfinite(high) else None)

    m.x = pyo.Var(range(periods), range(width), bounds=limits)
    for place, column in enumerate(at.before.tolist()):
        m.x[0, column].fix(float(instance.reservoirs.initial_hm3[place]))
    m.balance = pyo.ConstraintList()
    matrix = stage.matrix.toarray()
    raised = np.zeros((periods, len(rows)))
    raised[:, stage.noise_rows] = inflows
    for t in range(periods):
        if should_stop is not None and should_stop():
            raise Stopped
        for row, held in enumerate(rows):
            left = pyo.quicksum(float(matrix[row, column]) * m.x[t, column] for column in held.tolist())
            m.balance.add(left == float(of_stage[t].row_lower[row] + raised[t, row]))
        if t > 0:
            for before, after in zip(at.before.tolist(), at.after.tolist(), strict=True):
                m.balance.add(m.x[t, before] == m.x[t - 1, after])
    weights = instance.settings.discount ** np.arange(periods)
    paid = np.flatnonzero(stage.cost).tolist()
    m.cost = pyo.Objective(
        expr=pyo.quicksum(
            float(weights[t] * stage.cost[column]) * m.x[t, column] for t in range(periods) for column in paid
        )
    )

    def read(value: Callable[[Any], float]) -> Dispatch:
        found = np.array([[value(m.x[t, column]) for column in range(width)] for t in range(periods)])
        parts = (at.after, at.turn, at.spill, at.power, at.deficit, at.flow, at.angle)
        return Dispatch(*(found[:, part] for part in parts))

    return Model(m, read, lambda solution: ())
