"""Two choices and two states: pay 2 now and 0 later, or 1 now and 3 later. Patience costs 2, greed 4."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orl.features import Features
from orl.problem import Problem, Report
from orl.process import Decision, Observation, Revealed
from orl.scenario import Scenarios


@dataclass(frozen=True)
class Settings:
    pass


@dataclass(frozen=True, eq=False)
class Toy:
    name: str = "toy"
    settings: Settings = Settings()


class ToyProcess:
    def __init__(self, instances, scenarios, fit=()):
        self.num_envs, self.instances = len(instances), list(instances)
        self.decision = Decision("choice", width=2)
        self.reset()

    def reset(self, envs=None, instances=None, scenarios=None):
        self.time, self.first, self.post = 0, np.zeros(self.num_envs, dtype=int), False

    def observe(self):
        legal = np.full((self.num_envs, 2), not self.post and self.time < 2)
        state = {"time": np.full(self.num_envs, float(self.time)), "first": self.first.astype(float)}
        return Observation(state, np.zeros((self.num_envs, 1), dtype=int), legal, self.post)

    def decide(self, actions):
        self.post = True
        if self.time == 0:
            self.first = np.asarray(actions)
            return np.where(self.first == 0, 1.0, 2.0)
        return np.where(self.first == 0, 3.0, 0.0)

    def reveal(self):
        self.time, self.post = self.time + 1, False
        over = np.full(self.num_envs, self.time == 2)
        return Revealed(np.zeros(self.num_envs), np.ones(self.num_envs), over, np.zeros(self.num_envs, dtype=bool))

    def solution(self, env):
        return int(self.first[env])

    def run(self, rule, seeds):
        return None


def flat(observation):
    return np.stack([observation.arrays["time"], observation.arrays["first"]], axis=1).astype(np.float32)


PROBLEM = Problem(
    name="toy",
    default_solver="ppo",
    summary="two states",
    file_hint="none",
    settings=lambda: Settings,
    sniff=lambda path, head: False,
    load=lambda path, settings: Toy(),
    describe=lambda instance: "two states",
    sample=lambda instance, seed, purpose, n: Scenarios.deterministic(seed, purpose),
    process=ToyProcess,
    verify=lambda instance, scenario, solution: Report(None),
    columns=lambda instance, solution: {},
    solution=lambda instance, columns: None,
    draw=lambda rng, settings: Toy(),
    features=lambda: Features(flat, lambda observation: {}),
)
