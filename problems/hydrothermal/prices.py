"""Water values and nodal prices of a dispatch: the duals of each stage's program with its volumes as they were.

For a stage with volumes v at its beginning and w at its end, let

    C(a, d) = min  c' x    subject to  water rows of `stages.py` with v + a arriving and w fixed,
                                       power rows with load d, flows, limits

with a the inflow in hm3. C is convex and piecewise linear. The dual of a bus's power row is dC / dd_b, the cost of one
more MW there: its *nodal price*, USD/MWh. The dual of a water row is dC / da_r; the cost of a stage is that of one of
its H hours, so

    water value_r = -H dC / da_r,   USD per hm3

is what one more hm3 in this stage saves while all volumes at its end stay as they are: it is turbined or spilled at
once. Under an optimal policy that is what it is worth kept, too, unless a limit binds: the water of a plant that
turbines all it can is worth nothing here, whatever it may be worth later.

Where C has a kink (a plant just at its limit, a reservoir that keeps all it gets) the duals are one of many
subgradients: a price lies between what one MW less saves and what one more costs, a water value between what one hm3
more saves and what one less costs. Of these, we take those of a point with a trifle (`NUDGE`) more water everywhere.
So the program has a solution although executed volumes are rounded: what is too much can be spilled. For the same
reason the water that arrives is what the dispatch accounts for, which is v + K a_r but for its rounding. No penalty on
targets is in these programs. With commitment=on plants run or not as they did, and starts have no part in prices.

With network=ac the program is that of `ac.py` to the volumes as they were, and both are its multipliers at a local
optimum.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from orl.linear import NotSolved

from .instance import HydroThermal
from .plans import Dispatch
from .soc import FINE
from .stages import columns, stage_of

NUDGE = 1e-6  # hm3


class Prices(NamedTuple):
    """What water and power are worth in every stage of a dispatch.

    Parameters
    ----------
    water : ndarray (stages, R)
        USD per hm3, or per MW-stage where reservoirs hold energy.
    nodal : ndarray (stages, buses)
        USD/MWh; with network=single-bus one column.
    """

    water: np.ndarray
    nodal: np.ndarray


def prices(instance: HydroThermal, dispatch: Dispatch) -> Prices:
    """Return water values and nodal prices of a dispatch, which may be the beginning of an episode.

    Raises
    ------
    NotSolved
        If the dispatch breaks a rule, so that a stage has no solution.
    """
    if instance.settings.network == "ac":
        return _ac_prices(instance, dispatch)
    first, at = stage_of(instance, 0), columns(instance)
    water_rows = first.matrix[at.water_rows]
    program = replace(first, name=f"{instance.name} prices", tolerance=FINE).program()
    fixed, rows = np.concatenate([at.before, at.after]), np.arange(len(first.row_lower))
    duals = np.zeros((len(dispatch.volume), len(rows)))
    before = instance.reservoirs.initial_hm3
    for number, after in enumerate(dispatch.volume):
        stage, done = stage_of(instance, number), np.zeros(len(first.cost))
        done[at.before], done[at.after] = before, after
        for part, executed in ((at.turn, dispatch.turn), (at.spill, dispatch.spill)):
            done[part] = np.clip(executed[number], stage.lower[part], stage.upper[part])
        low, high = stage.row_lower.copy(), stage.row_upper.copy()
        low[at.water_rows] = high[at.water_rows] = water_rows @ done + NUDGE
        program.set_rows(rows, low, high)
        program.set_columns(fixed, done[fixed], done[fixed])
        program.set_columns(at.deficit, stage.lower[at.deficit], stage.upper[at.deficit])
        if instance.settings.commitment == "on":  # plants run or not as they did
            runs = np.round(dispatch.on[number])
            program.set_columns(at.power, runs * instance.least_mw, runs * instance.network.gen_max_mw)
        duals[number] = program.solve().row_duals[rows] + 0.0  # no -0
        before = after
    return Prices(0.0 - instance.stage_hours * duals[:, at.water_rows], duals[:, at.power_rows])


def _ac_prices(instance: HydroThermal, dispatch: Dispatch) -> Prices:
    from .ac import AcStage

    program, water, nodal, start = AcStage(instance), [], [], None
    before, k = instance.reservoirs.initial_hm3, instance.hm3_per_flow
    into_turn, into_spill = (
        part.T.astype(float) for part in (instance.reservoirs.turn_into, instance.reservoirs.spill_into)
    )
    for number, after in enumerate(dispatch.volume):
        turn, spill = dispatch.turn[number], dispatch.spill[number]
        arriving = after - before + k * (turn - into_turn @ turn) + spill - into_spill @ spill
        found = program.solve(number, before, arriving + NUDGE, after, start=start)
        if not found.is_solved:
            raise NotSolved(f"{instance.name}: stage {number} has no prices in alternating current ({found.status}).")
        water.append(-instance.stage_hours * found.state_duals)
        nodal.append(found.nodal_prices)
        before, start = after, found.point
    return Prices(np.array(water), np.array(nodal))
