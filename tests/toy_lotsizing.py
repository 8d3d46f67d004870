"""A two-item lot-sizing family, small enough to read: the contracts with per-machine decisions and random demand.

Every period each machine makes nothing or one item (+2 units; a change of item costs 1); then demand is revealed, stock
costs 0.1 a unit, a lost sale 2. Machine 0 cannot make item 1. The horizon is 12 periods, the discount 0.9.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from orl.errors import IllegalAction, InputError
from orl.problem import Problem, Report, Violation
from orl.process import Decision, Observation, Revealed
from orl.rule import Rule
from orl.scenario import Purpose, Scenarios

HORIZON, LIMIT, RATE, DISCOUNT = 12, 8, 2, 0.9
POSSIBLE = np.array([[True, True, False], [True, True, True]])  # (machines, idle or item + 1)


@dataclass(frozen=True)
class Settings:
    demand: float = 0.5


@dataclass(frozen=True, eq=False)
class Toy:
    name: str = "toy"
    settings: Settings = Settings()
    problem = "toy_lotsizing:PROBLEM"


def sample(instance: Toy, seed: int, purpose: Purpose, n: int) -> Scenarios:
    return Scenarios(
        seed,
        purpose,
        tuple(range(n)),
        draw=lambda rng, block: rng.binomial(4, instance.settings.demand, size=(5, 2)),
        initial=lambda rng: rng.integers(0, 3, size=2),
    )


class ToyProcess:
    def __init__(self, instances, scenarios, fit=()):
        self.num_envs, self.instances, self.scenarios = len(instances), list(instances), list(scenarios)
        self.decision = Decision("per_machine", width=3, machines=2)
        self.reset()

    def reset(self, envs=None, instances=None, scenarios=None):
        if envs is not None and self.post:
            raise RuntimeError("call reveal first.")
        if envs is None:
            self.stock, self.setup = np.zeros((self.num_envs, 2)), np.zeros((self.num_envs, 2), dtype=int)
            self.period, self.log = np.zeros(self.num_envs, dtype=int), [[] for _ in range(self.num_envs)]
            self.post, envs = False, range(self.num_envs)
        for place, env in enumerate(envs):
            if instances is not None:
                self.instances[env] = instances[place]
            if scenarios is not None:
                self.scenarios[env] = scenarios[place]
            self.stock[env], self.setup[env], self.period[env] = self.scenarios[env].start(0), 0, 0
            self.log[env] = []

    @property
    def is_over(self):
        return self.period >= HORIZON

    def observe(self):
        legal = np.broadcast_to(POSSIBLE, (self.num_envs, 2, 3)) & ~self.is_over[:, None, None] & (not self.post)
        candidate = np.broadcast_to(np.arange(6).reshape(2, 3), (self.num_envs, 2, 3))
        arrays = {"stock": self.stock, "setup": self.setup, "period": self.period, "candidate": candidate}
        views = {name: array.view() for name, array in {**arrays, "legal": legal}.items()}
        for view in views.values():
            view.setflags(write=False)
        legal = views.pop("legal")
        return Observation(views, np.full((self.num_envs, 2), 2), legal, self.post)

    def decide(self, actions):
        actions = np.asarray(actions).astype(int)
        inside = (actions >= 0) & (actions < 3)
        legal = POSSIBLE[np.arange(2), np.where(inside, actions, 0)] & inside
        if not (legal | self.is_over[:, None]).all():
            raise IllegalAction("a machine cannot make this item.")
        cost = np.zeros(self.num_envs)
        for env in np.flatnonzero(~self.is_over):
            for machine, action in enumerate(actions[env]):
                cost[env] += action != self.setup[env, machine] and action > 0
                self.setup[env, machine] = action
                if action:
                    self.stock[env, action - 1] = min(self.stock[env, action - 1] + RATE, LIMIT)
            self.log[env].append(actions[env].tolist())
        self.post = True
        return cost

    def reveal(self):
        cost, discount = np.zeros(self.num_envs), np.where(self.is_over, 1.0, DISCOUNT)
        for env in np.flatnonzero(~self.is_over):
            demand = self.scenarios[env].values(0, self.period[env] + 1)[self.period[env]]
            cost[env] = 2 * np.maximum(demand - self.stock[env], 0).sum()
            self.stock[env] = np.maximum(self.stock[env] - demand, 0)
            cost[env] += 0.1 * self.stock[env].sum()
            self.period[env] += 1
        self.post = False
        return Revealed(cost, discount, self.is_over, np.zeros(self.num_envs, dtype=bool))

    def solution(self, env):
        return SimpleNamespace(made=np.array(self.log[env]).reshape(-1, 2))

    def run(self, rule, seeds):
        return None


def verify(instance, scenario, solution):
    violations, cost = [], 0.0
    stock, setup = scenario.start(0).astype(float), [0, 0]
    for period, row in enumerate(solution.made.tolist()):
        paid = 0.0
        for machine, action in enumerate(row):
            if not 0 <= action < 3 or not POSSIBLE[machine][action]:
                return Report(None, (Violation("impossible", f"machine {machine} in period {period}."),))
            paid += 1.0 if action not in (0, setup[machine]) else 0.0
            setup[machine] = action
            if action:
                stock[action - 1] = min(stock[action - 1] + RATE, LIMIT)
        short = scenario.values(0, period + 1)[period] - stock
        stock = np.maximum(-short, 0)
        cost += DISCOUNT**period * (paid + 2 * np.maximum(short, 0).sum() + 0.1 * stock.sum())
    if len(solution.made) != HORIZON:
        violations.append(Violation("horizon", f"expected {HORIZON} periods, got {len(solution.made)}."))
    return Report(cost, tuple(violations))


def from_columns(instance, columns):
    try:
        return SimpleNamespace(made=np.array([[int(x) for x in columns[f"machine_{m}"]] for m in (0, 1)]).T)
    except (KeyError, ValueError):
        raise InputError("expected columns machine_0 and machine_1 of whole numbers.") from None


def idle(instance):
    """Idle: make nothing."""
    return np.array([1, 0, 0, 1, 0, 0])


def scarce(observation):
    """Scarce: every machine makes the item with the least stock that it can make."""
    score = np.zeros(observation.legal.shape)
    score[:, :, 1:] = 100 - observation.arrays["stock"][:, None, :]
    return score


PROBLEM = Problem(
    name="toy",
    default_solver="scarce",
    summary="two items, two machines",
    file_hint="none",
    settings=lambda: Settings,
    sniff=lambda path, head: False,
    load=lambda path, settings: Toy(),
    describe=lambda instance: "2 items x 2 machines, discounted cost",
    sample=sample,
    process=ToyProcess,
    verify=verify,
    columns=lambda instance, solution: {f"machine_{m}": solution.made[:, m].tolist() for m in (0, 1)},
    solution=from_columns,
    rules=lambda: {"idle": Rule("idle", table=idle), "scarce": Rule("scarce", score=scarce)},
    bound=lambda instance, scenario: 0.0,
)
