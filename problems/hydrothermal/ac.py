"""A stage in alternating current: its cheapest dispatch, towards target volumes or with a future cost given as cuts.

With the variables and constraints of `ac_model.py`, and volumes v before and K a flowing in,

    to targets      minimise  cost + price sum_r (d+_r + d-_r)      subject to  w_r - d+_r + d-_r = target_r
    with cuts       minimise  cost + theta                          subject to  theta >= i_c + g_c' w  for every cut c

The price is above any value that water can have, so targets that can be reached are. Limits of w are not in the first
program, as targets keep to them: a target at a limit would have a multiplier anywhere between the value of water and
the price. Derivatives of the value follow from the multipliers: by what is there, v + K a, those of the water rows; by
a target, that of its row.

The program is not convex. What IPOPT finds meets the constraints to its tolerance and is a local optimum: an upper
limit on the optimal value, and no bound.

Of many cuts only those that are highest near the solution matter. The program has room for `BLOCK` cuts. Those that are
highest at a point nearby go in; the solution is held against all others, and what it violates goes in for another
solve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .ac_model import Equations, Places, deficit_upper, equations, load_of
from .ac_read import parts_of
from .instance import HydroThermal
from .ipopt import TOLERANCE, Found, Point, Program, casadi
from .stages import PRICE, most_worth

BLOCK = 16  # cuts in the program; more than this are never needed but where many meet
ROUNDS = 6  # before the block is doubled
CUT_TOLERANCE = 1e-6  # share of the future cost


@dataclass(frozen=True, eq=False)
class Cuts:
    """A convex future cost: the highest of intercepts (n,) + slopes (n, R) . volumes, USD and USD/hm3."""

    intercepts: np.ndarray
    slopes: np.ndarray

    def at(self, volume: np.ndarray) -> np.ndarray:
        """Return the value of each cut at a volume, (n,)."""
        return self.intercepts + self.slopes @ volume


@dataclass(frozen=True, eq=False)
class AcSolution:
    """The dispatch of a stage, powers in MW and Mvar.

    Parameters
    ----------
    value : float
        What is minimised: the cost, and the future's or what the distance from the targets is charged.
    cost : float
        Of the stage alone, USD for an hour of it.
    distance : ndarray (R,)
        How far volumes end from their targets, hm3; 0 without targets.
    state_duals : ndarray (R,)
        Derivative of the value by the volume before, USD/hm3.
    target_duals : ndarray (R,)
        By the target; 0 without targets.
    nodal_prices : ndarray (B,)
        By the load of each bus, USD/MWh.
    volume, turn, spill : ndarray (R,)
    power : ndarray (G,)
    deficit : ndarray (B * segments,)
    voltage, angle : ndarray (B,)
        pu, rad.
    gen_mvar, hydro_mvar : ndarray (G,), (R,)
    flow, flow_to, flow_mvar, flow_to_mvar : ndarray (E,)
        Into the branch at its beginning and at its end: flow + flow_to is lost in it.
    is_solved : bool
        Whether all constraints are met, and it is a local optimum, to the tolerance.
    status : str
    iterations : int
        Of IPOPT.
    point : Point
        To start another solve from.
    """

    value: float
    cost: float
    distance: np.ndarray
    state_duals: np.ndarray
    target_duals: np.ndarray
    nodal_prices: np.ndarray
    volume: np.ndarray
    turn: np.ndarray
    spill: np.ndarray
    power: np.ndarray
    deficit: np.ndarray
    voltage: np.ndarray
    angle: np.ndarray
    gen_mvar: np.ndarray
    hydro_mvar: np.ndarray
    flow: np.ndarray
    flow_to: np.ndarray
    flow_mvar: np.ndarray
    flow_to_mvar: np.ndarray
    is_solved: bool
    status: str
    iterations: int
    point: Point


class AcStage:
    """The stage problem of an instance in alternating current. It can be pickled; programs are then made anew.

    Parameters
    ----------
    instance : HydroThermal
        With a grid, see `grid.py`.

    Examples
    --------
    >>> import orl
    >>> case = orl.load("hydrothermal/case3", settings={"network": "ac"})
    >>> found = AcStage(case).solve(0, case.reservoirs.initial_hm3, np.array([0.0]), target=np.array([0.0]))
    >>> found.is_solved, round(found.cost), bool((found.flow + found.flow_to > 0).all())
    (True, 1043, True)
    """

    def __init__(self, instance: HydroThermal):
        self.instance = instance
        self._price = PRICE * most_worth(instance)
        self._make()

    def __getstate__(self) -> dict[str, Any]:
        return {"instance": self.instance, "_price": self._price}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._make()

    def solve(
        self,
        stage: int,
        volume: np.ndarray,
        arriving_hm3: np.ndarray,
        target: np.ndarray | None = None,
        cuts: Cuts | None = None,
        near: np.ndarray | None = None,
        start: Point | None = None,
    ) -> AcSolution:
        """Return the cheapest dispatch of a stage.

        Parameters
        ----------
        stage : int
            For its load.
        volume, arriving_hm3 : ndarray (R,)
            Before the stage, and what flows in, hm3.
        target : ndarray (R,), or None
            Volumes to end at, as nearly as can be, within the reservoirs' limits, hm3.
        cuts : Cuts or None
            What is to come, if there is no target; None: nothing.
        near : ndarray (R,), or None
            Volumes that the stage is likely to end at, for choosing among cuts.
        start : Point or None
            Where another stage ended; None: from scratch.
        """
        if target is not None and cuts is not None:
            raise ValueError("a stage has either targets or cuts.")
        if target is not None:
            found = self._to_target(stage, volume + arriving_hm3, target, start)
            return self._read(found, target, None)
        cuts = Cuts(np.zeros(1), np.zeros((1, len(volume)))) if cuts is None else cuts
        if near is None:
            near = np.clip(volume + arriving_hm3, *self._volumes) if start is None else start.x[self._at.volume]
        return self._read(self._with_cuts(stage, volume + arriving_hm3, cuts, near, start), None, cuts)

    # private

    def _make(self) -> None:
        self._symbols: Equations = equations(self.instance)
        self._at: Places = self._symbols.at
        self._programs: dict[int, Program] = {}  # by the number of cuts; 0: to targets
        self._cost_of = casadi().Function("cost", [self._symbols.x], [self._symbols.cost])
        grid = self.instance.network.grid
        assert grid is not None
        self._grid, self._base = grid, grid.base_mva
        self._volumes = self._symbols.lower[self._at.volume], self._symbols.upper[self._at.volume]

    def _program(self, block: int) -> Program:
        """Return the program to targets, or with a number of cuts."""
        if block not in self._programs:
            ca, of, count = casadi(), self._symbols, len(self._volumes[0])
            there, volume = ca.SX.sym("there", count), of.x[self._at.volume]
            given, rows = [of.load, of.load_reactive, there], [of.balance, of.water - there, of.limited]
            if block:
                theta, slopes, intercepts = (
                    ca.SX.sym("theta"),
                    ca.SX.sym("slope", block, count),
                    ca.SX.sym("cut", block),
                )
                given += [ca.vec(slopes), intercepts]
                more, rows, paid = theta, [*rows, theta - ca.mtimes(slopes, volume) - intercepts], theta
            else:
                target, away = ca.SX.sym("target", count), ca.SX.sym("away", 2 * count)
                given += [target]
                more, rows = away, [*rows, volume - away[:count] + away[count:] - target]
                paid = self._price / self._base * ca.sum1(away)
            self._programs[block] = Program(
                {"x": ca.vertcat(of.x, more), "p": ca.vertcat(*given), "f": of.cost + paid, "g": ca.vertcat(*rows)}
            )
        return self._programs[block]

    def _to_target(self, stage: int, there: np.ndarray, target: np.ndarray, start: Point | None) -> Found:
        count = len(target)
        given = np.concatenate([*load_of(self.instance, stage), there, target])
        more = np.zeros(2 * count), np.full(2 * count, np.inf)
        begin = self._begin(start, target, np.zeros(2 * count), count)
        found = self._solved(0, stage, given, more, (np.zeros(count), np.zeros(count)), begin)
        low, high = self._volumes
        after, room = found.point.x[self._at.volume], TOLERANCE * np.maximum(1.0, high)
        if found.is_solved and not ((after >= low - room) & (after <= high + room)).all():
            return found._replace(is_solved=False, status="more must be turbined than there is")
        return found

    def _with_cuts(self, stage: int, there: np.ndarray, cuts: Cuts, near: np.ndarray, start: Point | None) -> Found:
        block, iterations = BLOCK, 0
        while True:
            chosen = np.argsort(-cuts.at(near), kind="stable")[:block]
            for _ in range(ROUNDS):
                # Room that is left is filled with copies of a cut, far below it.
                slopes = np.resize(cuts.slopes[chosen], (block, len(near)))
                intercepts = np.resize(cuts.intercepts[chosen], block)
                intercepts[len(chosen) :] -= 1e3 * self._base
                given = np.concatenate([
                    *load_of(self.instance, stage), there, slopes.ravel(order="F") / self._base, intercepts / self._base
                ])  # fmt: skip
                future = np.array([float(cuts.at(near).max()) / self._base])
                begin = self._begin(start, near, future, block)
                limits = np.full(1, -np.inf), np.full(1, np.inf)
                found = self._solved(block, stage, given, limits, (np.zeros(block), np.full(block, np.inf)), begin)
                iterations += found.iterations
                found = found._replace(iterations=iterations)
                near = np.clip(found.point.x[self._at.volume], *self._volumes)
                values, theta = cuts.at(near), self._base * found.point.x[-1]
                room = CUT_TOLERANCE * max(1.0, abs(theta))
                has_all = len(chosen) == len(values)
                if not found.is_solved or has_all or values.max() <= theta + room:
                    return found
                # The highest half, then those in the program that are not far below, as far as there is room.
                fresh = np.argsort(-values, kind="stable")[: block // 2]
                kept = chosen[values[chosen] > theta - 1e3 * room]
                chosen = np.array(list(dict.fromkeys([*fresh.tolist(), *kept.tolist()]))[:block])
                start = found.point
            block *= 2

    def _solved(
        self, block: int, stage: int, given: np.ndarray, more: Any, last_rows: Any, begin: tuple[np.ndarray, Any]
    ) -> Found:
        """Solve a program with limits of what it has `more` than the stage, and of its last rows."""
        of, count = self._symbols, len(self._volumes[0])
        lower, upper = of.lower.copy(), of.upper.copy()
        if not block:
            lower[self._at.volume], upper[self._at.volume] = -np.inf, np.inf
        upper[self._at.deficit] = deficit_upper(self.instance, stage)
        met = np.zeros(2 * len(self._grid.bus_v_min) + count)
        return self._program(block).solve(
            given,
            (np.concatenate([lower, more[0]]), np.concatenate([upper, more[1]])),
            (
                np.concatenate([met, of.limited_lower, last_rows[0]]),
                np.concatenate([met, of.limited_upper, last_rows[1]]),
            ),
            *begin,
        )

    def _begin(
        self, start: Point | None, near: np.ndarray, more: np.ndarray, last_rows: int
    ) -> tuple[np.ndarray, Point | None]:
        """Return where a solve from scratch begins, and where one from an earlier point does, of whatever program."""
        of = self._symbols
        scratch = np.concatenate([of.start, more])
        scratch[self._at.volume] = near
        if start is None:
            return scratch, None
        width, height = len(of.lower), len(start.row_duals)
        shared = 2 * len(self._grid.bus_v_min) + len(near) + len(of.limited_lower)
        x, limit_duals, row_duals = scratch.copy(), np.zeros(len(scratch)), np.zeros(shared + last_rows)
        x[:width], limit_duals[:width] = start.x[:width], start.limit_duals[:width]
        row_duals[:shared] = start.row_duals[:shared]
        if height == len(row_duals) and len(start.x) == len(x):  # of the same program
            limit_duals[width:], row_duals[shared:] = start.limit_duals[width:], start.row_duals[shared:]
        x[self._at.volume] = near
        return scratch, Point(x, limit_duals, row_duals)

    def _read(self, found: Found, target: np.ndarray | None, cuts: Cuts | None) -> AcSolution:
        of, base, buses = self._symbols, self._base, len(self._grid.bus_v_min)
        count, x = len(self._volumes[0]), np.clip(found.point.x[: len(of.lower)], of.lower, of.upper)
        parts, zeros = parts_of(self.instance, of, x), np.zeros(count)
        volume = parts["volume"]
        cost = base * float(self._cost_of(x))
        duals = -base * found.point.row_duals
        distance = zeros if target is None else np.abs(volume - target)
        future = 0.0 if cuts is None else float(cuts.at(volume).max())
        return AcSolution(
            value=cost + future + self._price * float(distance.sum()),
            cost=cost,
            distance=distance,
            state_duals=duals[2 * buses : 2 * buses + count],
            target_duals=zeros if target is None else duals[-count:],
            nodal_prices=duals[:buses] / base,
            **parts,
            is_solved=found.is_solved,
            status=found.status,
            iterations=found.iterations,
            point=found.point,
        )
