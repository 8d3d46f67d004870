"""A nonlinear program that IPOPT solves again and again, each time from where another solve ended.

An interior-point method gains little from a start at the limits of its variables: a warm start keeps a hundredth of
the range away from them (`PUSH`), and begins with a small barrier (`WARM_BARRIER`). Where that fails it starts from
scratch.
The same question from the same start has the same answer.

References
----------
A. Waechter, L. T. Biegler (2006). On the implementation of an interior-point filter line-search algorithm for
large-scale nonlinear programming. Mathematical Programming 106. doi 10.1007/s10107-004-0559-y
J. A. E. Andersson, J. Gillis, G. Horn, J. B. Rawlings, M. Diehl (2019). CasADi: a software framework for nonlinear
optimization and optimal control. Mathematical Programming Computation 11. doi 10.1007/s12532-018-0139-4
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from orl.errors import InputError

MISSING = "network=ac needs CasADi, which the extra power brings: pip install 'orl[power]'."
TOLERANCE = 1e-8  # of constraints (absolute) and of optimality (scaled)
PUSH = 1e-2
WARM_BARRIER = 1e-5
SILENT = {"print_time": False, "ipopt.print_level": 0, "ipopt.sb": "yes"}
COMMON = {
    **SILENT,
    "ipopt.tol": TOLERANCE,
    "ipopt.acceptable_iter": 0,
    "ipopt.max_iter": 1000,
    "ipopt.bound_relax_factor": 0.0,  # limits are kept, and not by some 1e-8 of them
}
WARM = {
    "ipopt.warm_start_init_point": "yes",
    "ipopt.mu_init": WARM_BARRIER,
    **{f"ipopt.warm_start_{part}": PUSH for part in (
        "bound_push", "bound_frac", "slack_bound_push", "slack_bound_frac", "mult_bound_push",
    )},
}  # fmt: skip
# What is tried one after another; the first only from an earlier solve.
WAYS: tuple[Mapping[str, Any], ...] = (
    WARM,
    {"ipopt.least_square_init_duals": "yes"},
    {"ipopt.mu_strategy": "adaptive", "ipopt.bound_relax_factor": 1e-8},
)


def casadi() -> Any:
    """Return the module CasADi.

    Raises
    ------
    InputError
        If it is not installed; names the extra that brings it.
    """
    try:
        import casadi
    except ModuleNotFoundError:
        raise InputError(MISSING) from None
    return casadi


class Point(NamedTuple):
    """Where a solve ended: variables (n,), multipliers of their limits (n,) and of the rows (m,)."""

    x: np.ndarray
    limit_duals: np.ndarray
    row_duals: np.ndarray


class Found(NamedTuple):
    """What a solve found.

    Parameters
    ----------
    value : float
    point : Point
    is_solved : bool
        Whether all is met to the tolerance. If not, the point is the last one looked at.
    status : str
        What IPOPT says.
    iterations : int
        Of all ways that were tried.
    """

    value: float
    point: Point
    is_solved: bool
    status: str
    iterations: int


class Program:
    """Minimise f(x, p) subject to limits on x and on g(x, p).

    Parameters
    ----------
    functions : name -> expression
        Of CasADi: x, p, f, g.
    options : name -> value
        Of `nlpsol`, beside those of this module.
    """

    def __init__(self, functions: Mapping[str, Any], options: Mapping[str, Any] | None = None):
        self._functions, self._options = functions, options or {}
        self._solvers: dict[int, Any] = {}
        self._lock = threading.Lock()

    def solve(
        self,
        parameters: np.ndarray,
        limits: tuple[np.ndarray, np.ndarray],
        rows: tuple[np.ndarray, np.ndarray],
        x: np.ndarray,
        start: Point | None = None,
    ) -> Found:
        """Solve from an earlier point, or else from variables alone.

        Parameters
        ----------
        parameters : ndarray
        limits, rows : pair of ndarrays
            Lower and upper limits of x and of g.
        x : ndarray (n,)
            Where a solve from scratch begins.
        start : Point or None
        """
        given = {"p": parameters, "lbx": limits[0], "ubx": limits[1], "lbg": rows[0], "ubg": rows[1]}
        iterations = 0
        with self._lock:
            for way in range(0 if start is not None else 1, len(WAYS)):
                begin = {"x0": x}
                if way == 0 and start is not None:
                    begin = {"x0": start.x, "lam_x0": start.limit_duals, "lam_g0": start.row_duals}
                solver = self._solver(way)
                end = solver(**given, **begin)
                said = solver.stats()
                iterations += max(0, said["iter_count"])
                if said["success"]:
                    break
        point = Point(*(np.array(end[key]).ravel() for key in ("x", "lam_x", "lam_g")))
        is_finite = all(np.isfinite(part).all() for part in point)
        return Found(float(end["f"]), point, said["success"] and is_finite, said["return_status"], iterations)

    def _solver(self, way: int) -> Any:
        if way not in self._solvers:
            options = {**COMMON, **WAYS[way], **self._options}
            self._solvers[way] = casadi().nlpsol("program", "ipopt", self._functions, options)
        return self._solvers[way]
