"""Curves of target storage: what the rules of hydrothermal dispatch steer by.

A rule is a curve of target storage, and a price of the water below it, in USD per MWh that it gives on its way down:
below the curve water serves only what would else cost more than that, above it water goes first. It is the stage's
linear program with

    minimise  cost of the stage + sum_r p h_r short_r - epsilon sum_r h_r w_r,    w_r + short_r >= curve_r

with h_r the power of a hm3 on its way down, MW in a stage. What water is left over is kept, not spilled. `myopic` has
its curve at the bottom, `thermal-first` at the top with a price above all thermal plants; `storage-curve` has one by
season whose height, swing and price are tuned on the `select` stream.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache

import numpy as np
from scipy.sparse import csr_array, hstack, vstack

from orl.linear import LinearProgram, NotSolved
from orl.memo import remembered
from orl.process import Observation
from orl.scenario import Purpose

from .instance import HydroThermal
from .scenario import sample
from .stages import Loads, columns, stage_of

Parameters = tuple[float, ...]  # level, swing, price

EPSILON = 1e-4  # price of water that is left over, as a share of the highest below a curve
LEVELS = (0.0, 0.1, 0.2, 0.4, 0.7, 1.0)  # of the range between least and largest volume
SWINGS = (0.0, 0.25, 0.5, 1.0)  # by how much of the range it is higher before the dry season than before the wet one
PRICES = (0.05, 0.2, 0.4, 0.7, 1.0)  # quantiles of the costs of thermal plants; 1: above all of them
FIRST: Parameters = (0.2, 0.5, 0.05)  # level, swing and price that the search begins with
AHEAD = 0.25  # of a cycle of inflows: what is before a season
SCENARIOS = 5  # of the select stream
SEED = 0  # of the select stream, whatever the seed of the run
MAX_STAGES = 150  # of an episode to tune on


def tuned(instance: HydroThermal) -> Parameters:
    """Return the curve that does best on the select stream, searched for once and remembered."""
    return _tuned(instance.origin or instance)


@remembered
def _tuned(instance: HydroThermal) -> Parameters:
    """Go along one axis of the grid after another until nothing improves."""
    cost, best = _trial(instance), FIRST
    while True:
        before = best
        for axis, grid in enumerate((LEVELS, SWINGS, PRICES)):
            tries = [(*best[:axis], value, *best[axis + 1 :]) for value in grid]
            best = min([best, *tries], key=cost)
        if best == before:
            return best


def _trial(instance: HydroThermal) -> Callable[[Parameters], float]:
    """Return what tells the mean cost of parameters on the beginning of scenarios of the select stream."""
    from .planning import shortened
    from .process import HydroThermalProcess

    short = replace(shortened(instance, MAX_STAGES), path=None)  # a path of the user's own is not for tuning
    rows = sample(short, SEED, Purpose.SELECT, SCENARIOS if short.is_random else 1)
    process = HydroThermalProcess([short] * len(rows), list(rows))

    @cache
    def cost(parameters: Parameters) -> float:
        steer = StorageCurve(short, *parameters)
        process.reset()
        total, weight = 0.0, 1.0
        for _ in range(short.num_stages):
            observation = process.observe()
            total += weight * float(
                process.decide(np.stack([steer(observation, env) for env in range(len(rows))])).sum()
            )
            process.reveal()
            weight *= short.settings.discount
        return total

    return cost


class StorageCurve:
    """A stage's program with the water below a curve at a price.

    Parameters
    ----------
    instance : HydroThermal
    level, swing : float in [0, 1]
        Height of the curve, and by how much it is higher before a dry season than before a wet one, as shares of the
        range between least and largest volume.
    price : float in (0, 1]
        Of the water below the curve, as a quantile of the costs of thermal plants.
    """

    def __init__(self, instance: HydroThermal, level: float, swing: float, price: float):
        self._at, stage = columns(instance), stage_of(instance, 0)
        self._noise_rows, self._loads, self._hm3_per_flow = stage.noise_rows, Loads(instance), instance.hm3_per_flow
        water, count = instance.reservoirs, len(instance.reservoirs.names)
        width = len(stage.cost)
        power = instance.mw_downstream / instance.hm3_per_flow  # MW of a hm3 in a stage
        cost = np.concatenate([stage.cost, _price(instance, price) * power])
        cost[self._at.after] -= EPSILON * _price(instance, 1.0) * power
        short = csr_array((np.ones(count), (np.arange(count), self._at.after)), shape=(count, width))
        matrix = vstack([
            hstack([stage.matrix, csr_array((stage.matrix.shape[0], count))]),
            hstack([short, csr_array(np.eye(count))]),
        ])  # fmt: skip
        self._curve_rows = stage.matrix.shape[0] + np.arange(count)
        height = np.clip(level + swing * dryness(instance) / 2, 0.0, 1.0)
        self._curve = water.min_hm3 + np.multiply.outer(height, water.max_hm3 - water.min_hm3)  # (rows, R)
        self._program = LinearProgram(
            cost,
            np.concatenate([stage.lower, np.zeros(count)]),
            np.concatenate([stage.upper, np.full(count, np.inf)]),
            csr_array(matrix),
            np.concatenate([stage.row_lower, self._curve[0]]),
            np.concatenate([stage.row_upper, np.full(count, np.inf)]),
            f"{instance.name} storage curve",
        )
        arriving = instance.hm3_per_flow * water.min_turn  # enough for what must be turbined
        self._program.set_columns(self._at.before, water.max_hm3, water.max_hm3)
        self._program.set_rows(self._noise_rows, arriving, arriving)
        with suppress(NotSolved):  # a ring of full reservoirs, see `Dispatcher`
            self._program.solve()
            self._program.keep_basis()  # whatever was asked before, the same question has the same answer

    def __call__(self, observation: Observation, env: int) -> np.ndarray:
        targets = np.zeros(observation.legal.shape[2])
        stage, count = int(observation.arrays["stage"][env]), len(self._at.before)
        if stage >= observation.sizes[env, 1]:
            return targets
        self._loads.set(self._program, stage)
        volume, inflow = (observation.arrays[key][env, :count] for key in ("volume", "inflow"))
        arriving = inflow * self._hm3_per_flow
        self._program.set_columns(self._at.before, volume, volume)
        self._program.set_rows(self._noise_rows, arriving, arriving)
        curve = self._curve[int(observation.arrays["row"][env])]
        self._program.set_rows(self._curve_rows, curve, np.full(count, np.inf))
        found = self._program.solve(from_kept=True).columns[self._at.after]
        targets[:count] = np.clip(found, *observation.legal[env, :, :count])
        return targets


def dryness(instance: HydroThermal) -> np.ndarray:
    """Return how dry the quarter of a cycle after each row is, from 1, the driest, to -1, the wettest, (rows,)."""
    energy = instance.mean_inflows @ instance.mw_downstream
    rows = len(energy)
    ahead = np.mean([np.roll(energy, -k) for k in range(1, 1 + max(1, round(AHEAD * rows)))], axis=0)
    spread = np.ptp(ahead)
    return 1 - 2 * (ahead - ahead.min()) / spread if spread > 0 else np.zeros(rows)


def _price(instance: HydroThermal, quantile: float) -> float:
    """Return a quantile of the costs of thermal plants below that of a deficit, USD/MWh.

    1 is the middle between the dearest of them and the deficit.
    """
    deficit = float(instance.network.deficit_cost[0])
    costs = instance.network.gen_cost[instance.network.gen_cost < deficit]
    dearest = float(costs.max(initial=0.0))
    return (dearest + deficit) / 2 if quantile == 1 or not len(costs) else float(np.quantile(costs, quantile))
