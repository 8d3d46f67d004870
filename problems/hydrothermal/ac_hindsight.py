"""One path of inflows in alternating current, known beforehand: all stages as one program. An estimate, no bound.

    minimise    sum_t g_t cost_t
    subject to  the constraints of `ac_model.py` in every stage t, the volumes before being those after the stage before

with g_t the discount of a stage. What IPOPT finds is a local optimum. It can be carried out, so its cost is an upper
limit on the optimum in hindsight; but nothing proves that a policy could not do better. A proven bound is the optimum
of the relaxation `soc`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orl.scenario import Scenarios

from .ac_dispatcher import PARTS
from .ac_model import Equations, deficit_upper, equations, load_of
from .ac_read import parts_of
from .instance import HydroThermal
from .ipopt import Program, casadi
from .plans import Dispatch
from .scenario import realise


class Estimate(NamedTuple):
    """A local optimum of a path.

    Parameters
    ----------
    value : float
        Its discounted cost: an estimate of the optimum, no bound on policies.
    dispatch : Dispatch
    is_solved : bool
        Whether all is met to the tolerance; if not, the value says nothing.
    status : str
        What IPOPT says.
    """

    value: float
    dispatch: Dispatch
    is_solved: bool
    status: str


def estimate(instance: HydroThermal, scenario: Scenarios) -> Estimate:
    """Return a local optimum of a path of inflows that is known beforehand.

    Parameters
    ----------
    instance : HydroThermal
        With a grid.
    scenario : Scenarios
        Of one row.

    Examples
    --------
    >>> import orl
    >>> from orl.registry import find_problem
    >>> case = orl.load("hydrothermal/case3deterministic", settings={"network": "ac", "stages": 3})
    >>> found = estimate(case, find_problem("hydrothermal").sample(case, 0, "evaluate", 1)[0])
    >>> found.is_solved, bool(found.value > 0)
    (True, True)
    """
    of, inflows = equations(instance), realise(instance, scenario)
    stages, count = inflows.shape
    lower, upper = _limits(instance, of, stages)
    solved = _program(instance, of, stages).solve(
        np.concatenate([
            np.concatenate([np.concatenate(load_of(instance, stage)) for stage in range(stages)]),
            instance.settings.discount ** np.arange(stages),
            (inflows * instance.hm3_per_flow).ravel(),
        ]),
        (lower, upper),
        _rows(of, stages, count),
        np.tile(of.start, stages),
    )  # fmt: skip
    decided = np.clip(solved.point.x, lower, upper).reshape(stages, -1)
    parts = [parts_of(instance, of, x) for x in decided]
    dispatch = Dispatch(**{key: np.array([part[key] for part in parts]) for key in PARTS})
    return Estimate(_base(instance) * solved.value, dispatch, solved.is_solved, solved.status)


def _base(instance: HydroThermal) -> float:
    assert instance.network.grid is not None
    return instance.network.grid.base_mva


def _limits(instance: HydroThermal, of: Equations, stages: int) -> tuple[np.ndarray, np.ndarray]:
    upper = np.tile(of.upper, (stages, 1))
    for stage in range(stages):
        upper[stage, of.at.deficit] = deficit_upper(instance, stage)
    return np.tile(of.lower, stages), upper.ravel()


def _rows(of: Equations, stages: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    met = np.zeros(of.balance.shape[0] + count)
    lower, upper = (np.concatenate([met, limits]) for limits in (of.limited_lower, of.limited_upper))
    return np.tile(lower, stages), np.tile(upper, stages)


def _program(instance: HydroThermal, of: Equations, stages: int) -> Program:
    """Return all stages as one program; the derivatives of a stage are made once and mapped over all."""
    ca, initial = casadi(), instance.reservoirs.initial_hm3
    count, balances, loads = len(initial), of.balance.shape[0], 2 * of.load.shape[0]
    stage = ca.Function(
        "stage",
        [of.x, ca.vertcat(of.load, of.load_reactive)],
        [of.cost, ca.vertcat(of.balance, of.water, of.limited)],
    )
    x, load = ca.MX.sym("x", len(of.lower), stages), ca.MX.sym("load", loads, stages)
    weights, arriving = ca.MX.sym("weights", stages), ca.MX.sym("arriving", count, stages)
    cost, rows = stage.map(stages)(x, load)
    after = x[of.at.volume.start : of.at.volume.stop, :]
    before = ca.horzcat(ca.DM(initial), after[:, : stages - 1])
    water = rows[balances : balances + count, :] - before - arriving
    return Program({
        "x": ca.vec(x),
        "p": ca.vertcat(ca.vec(load), weights, ca.vec(arriving)),
        "f": ca.mtimes(cost, weights),
        "g": ca.vec(ca.vertcat(rows[:balances, :], water, rows[balances + count :, :])),
    })  # fmt: skip
