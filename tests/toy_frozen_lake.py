"""The modified Frozen Lake of arXiv 2504.05150 as a process: the toy on which two critics are said to help.

A decision moves one cell in the chosen direction, walls hold: the cell reached is the post-decision state. If it is the
goal the episode ends with reward 1. Else, with probability 1/2, nature moves on once more by the slip law of the cell,
and the reward of where that leads is added to that of the first. A cell's reward is 1 / (1 + Manhattan distance to the
goal), less 1 / (rows + columns) on a hole; on a hole the next step ends the episode, with reward 0. Cut off after 100
steps. Slip laws are Dirichlet(1, 1, 1, 1) a cell, row by row, of numpy's RandomState(42). Costs are rewards with the
other sign.

This is the statement that came with exact values (`tests/test_frozen_lake.py`); the paper's code was not at hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from orl.features import Features
from orl.problem import Problem, Report
from orl.process import Decision, Observation, Revealed
from orl.scenario import Scenarios

MAPS = {
    "4x4": ("SFFF", "FHFH", "FFFH", "HFFG"),
    "8x8": ("SFFFFFFF", "FFFFFFFF", "FFFHFFFF", "FFFFFHFF", "FFFHFFFF", "FHHFFFHF", "FHFFHFHF", "FFFHFFFG"),
}
STEPS = 100


@dataclass(frozen=True)
class LakeSettings:
    map: str = "4x4"
    discount: float = 0.99


@dataclass(frozen=True, eq=False)
class Lake:
    """Cells are numbered row by row; moves are left, down, right, up."""

    settings: LakeSettings = LakeSettings()
    name: str = "lake"

    @cached_property
    def cells(self):
        return np.array([list(row) for row in MAPS[self.settings.map]])

    @cached_property
    def next_cell(self):
        rows, columns = self.cells.shape
        row, column = np.divmod(np.arange(self.cells.size)[:, None], columns)
        down, right = np.array([0, 1, 0, -1]), np.array([-1, 0, 1, 0])
        return np.clip(row + down, 0, rows - 1) * columns + np.clip(column + right, 0, columns - 1)

    @cached_property
    def slip(self):
        return np.random.RandomState(42).dirichlet(np.ones(4), self.cells.size)

    @cached_property
    def goal(self):
        return int((self.cells.ravel() == "G").argmax())

    @cached_property
    def is_hole(self):
        return self.cells.ravel() == "H"

    @cached_property
    def reward(self):
        rows, columns = self.cells.shape
        row, column = np.divmod(np.arange(self.cells.size), columns)
        goal_row, goal_column = divmod(self.goal, columns)
        return 1 / (1 + abs(row - goal_row) + abs(column - goal_column)) - self.is_hole / (rows + columns)

    def after(self, values):
        """Return what is expected from each post-decision cell on, given `values` of cells before a decision."""
        rest = self.settings.discount * values
        slipped = (self.slip * (self.reward + rest)[self.next_cell]).sum(axis=1)
        result = self.reward + (rest + slipped) / 2
        result[self.goal] = 1.0
        return result

    def value(self, moves=None, steps=10**4):
        """Return the expected discounted reward from the start, of the best moves or of those given, (cells,)."""
        is_end = self.is_hole | (np.arange(self.cells.size) == self.goal)
        values = np.zeros(self.cells.size)
        for _ in range(steps):
            after = self.after(values)[self.next_cell]  # (cells, moves)
            chosen = after.max(axis=1) if moves is None else after[np.arange(len(after)), moves]
            before, values = values, np.where(is_end, 0.0, chosen)
            if np.abs(values - before).max() < 1e-12:
                break
        return values[0]


class LakeProcess:
    def __init__(self, instances, scenarios, fit=()):
        self.num_envs, self.instances = len(instances), list(instances)
        self.decision = Decision("choice", width=4)
        self._lake = instances[0]
        self._draws = np.stack([scenario.values(0, STEPS)[:STEPS] for scenario in scenarios])
        self.reset()

    def reset(self, envs=None, instances=None, scenarios=None):
        self._cell, self._time, self._post = np.zeros(self.num_envs, dtype=int), 0, False
        self._is_over = np.zeros(self.num_envs, dtype=bool)
        self._is_ended = np.zeros(self.num_envs, dtype=bool)

    def observe(self):
        legal = np.repeat((~self._is_over & (not self._post))[:, None], 4, axis=1)
        state = {"cell": self._cell.copy(), "cells": np.full(self.num_envs, self._lake.cells.size)}
        return Observation(state, np.zeros((self.num_envs, 1), dtype=int), legal, self._post)

    def decide(self, actions):
        lake, self._post = self._lake, True
        goes = ~self._is_over & ~lake.is_hole[self._cell]
        self._is_ended |= ~self._is_over & ~goes
        self._cell = np.where(goes, lake.next_cell[self._cell, np.asarray(actions)], self._cell)
        self._goes = goes & (self._cell != lake.goal)
        self._is_ended |= goes & ~self._goes
        return -np.where(goes, lake.reward[self._cell], 0.0)

    def reveal(self):
        lake = self._lake
        is_moved, uniform = self._draws[:, self._time].T
        move = np.minimum((uniform[:, None] > lake.slip[self._cell].cumsum(axis=1)).sum(axis=1), 3)
        slips = self._goes & (is_moved < 0.5)
        self._cell = np.where(slips, lake.next_cell[self._cell, move], self._cell)
        cost = -np.where(slips, lake.reward[self._cell], 0.0)
        self._is_ended |= slips & (self._cell == lake.goal)
        self._time, self._post = self._time + 1, False
        is_cut = ~self._is_ended & (self._time >= STEPS)
        was_over, self._is_over = self._is_over, self._is_ended | is_cut
        discount = np.where(was_over, 1.0, lake.settings.discount)
        return Revealed(cost, discount, self._is_ended.copy(), is_cut)

    def solution(self, env):
        return int(self._cell[env])

    def run(self, rule, seeds):
        return None


def flat(observation):
    """Return which cell it is, and whether nature has the turn."""
    cell = np.eye(observation.arrays["cells"][0], dtype=np.float32)[observation.arrays["cell"]]
    return np.column_stack([cell, np.full(len(cell), observation.post, dtype=np.float32)])


def sample(lake, seed, purpose, n):
    return Scenarios(seed, purpose, tuple(range(n)), lambda rng, block: rng.random((128, 2)), None)


PROBLEM = Problem(
    name="lake",
    default_solver="ppo",
    summary="a frozen lake",
    file_hint="none",
    settings=lambda: LakeSettings,
    sniff=lambda path, head: False,
    load=lambda path, settings: Lake(settings),
    describe=lambda lake: lake.settings.map,
    sample=sample,
    process=LakeProcess,
    verify=lambda instance, scenario, solution: Report(None),
    columns=lambda instance, solution: {},
    solution=lambda instance, columns: None,
    draw=lambda rng, settings: Lake(settings),
    features=lambda: Features(flat, lambda observation: {}),
)
