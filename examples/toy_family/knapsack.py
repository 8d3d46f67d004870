"""A family of one file: a van has room for so much, and loads are offered one by one, each taken or refused for ever.

State       offers still to come, room left, size and worth of the load on offer
Decision    0: refuse it; 1: take it, if it fits
Revealed    the next load, its size uniform on 1..largest, its worth uniform on 1..dearest
Minimise    the worth of what is refused

A. J. Kleywegt, J. D. Papastavrou (1998). The dynamic and stochastic knapsack problem. Operations Research 46(1).
doi 10.1287/opre.46.1.17
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from orl import params
from orl.errors import IllegalAction, InputError
from orl.files import parse_toml, read_text
from orl.problem import Model, Problem, Report, Violation
from orl.process import Decision, Observation, Revealed
from orl.rule import Rule
from orl.scenario import Scenarios

REFUSE, TAKE = 0, 1


# The instance: checked when it is made, read from a file, settings on top --------------------------------------------


@dataclass(frozen=True)
class Settings:
    """Units of room, number of offers, largest size, largest worth; a file gives them, `--set` overrides."""

    room: int = 30
    offers: int = 20
    largest: int = 9
    dearest: int = 20

    def __post_init__(self):
        for field in fields(self):
            if not 1 <= getattr(self, field.name) <= 10**6:
                raise ValueError(f"{field.name} must be in 1..1000000, got {getattr(self, field.name)}")


@dataclass(frozen=True, eq=False)
class Trip:
    """A named van and what is known of its offers."""

    name: str
    settings: Settings
    problem = "knapsack:PROBLEM"  # where the family is found; pickled instances find it, too


def sniff(path, head):
    """Return whether a file is one of this family, from its beginning."""
    return re.search(rb"""^\s*problem\s*=\s*["']knapsack["']""", head, re.M) is not None


def load(path, settings):
    """Read an instance; what is wrong is an `InputError` of one line."""
    path = Path(path)
    told = parse_toml(read_text(path), path)
    if told.pop("problem", "knapsack") != "knapsack":
        raise InputError(f"{path}: expected problem = 'knapsack'.")
    return Trip(path.stem, params.make(Settings, {**told, **settings}, str(path)))


# Nature: row i of a stream depends on (seed, purpose, i) alone -------------------------------------------------------


def sample(trip, seed, purpose, n):
    """Return n scenarios: sizes and worths, drawn in blocks as far as they are asked for."""
    most = [trip.settings.largest + 1, trip.settings.dearest + 1]
    return Scenarios(seed, purpose, tuple(range(n)), draw=lambda rng, block: rng.integers(1, most, size=(32, 2)))


def loads(trip, scenario):
    """Return sizes and worths of a scenario's offers, each (offers,)."""
    return scenario.values(0, trip.settings.offers)[: trip.settings.offers].T


# The process: a batch of trips, decided and revealed offer by offer --------------------------------------------------


class KnapsackProcess:
    """Environments that have come to their end wait for the others: they take no action and cost nothing."""

    def __init__(self, instances, scenarios, fit=()):
        self.num_envs, self.decision = len(instances), Decision("choice", width=2)
        self.instances, self.scenarios, self.post = list(instances), list(scenarios), False
        self.num_offers, self.room, self.offer = (np.zeros(self.num_envs, dtype=int) for _ in range(3))
        self.loads, self.taken = [None] * self.num_envs, [None] * self.num_envs
        self.reset()

    def reset(self, envs=None, instances=None, scenarios=None):
        if envs is not None and self.post:
            raise RuntimeError("call reveal first.")
        self.post = False
        for place, env in enumerate(range(self.num_envs) if envs is None else envs):
            self.instances[env] = instances[place] if instances is not None else self.instances[env]
            self.scenarios[env] = scenarios[place] if scenarios is not None else self.scenarios[env]
            trip = self.instances[env]
            self.room[env], self.num_offers[env], self.offer[env] = trip.settings.room, trip.settings.offers, 0
            self.loads[env], self.taken[env] = loads(trip, self.scenarios[env]), []

    @property
    def is_over(self):
        return self.offer >= self.num_offers

    def observe(self):
        pairs = zip(self.loads, np.minimum(self.offer, self.num_offers - 1), strict=True)
        size, worth = np.array([of[:, offer] for of, offer in pairs]).T
        is_asked = ~self.is_over & (not self.post)
        seen = {
            "left": self.num_offers - self.offer,  # offers, the one at hand included
            "room": self.room.copy(),
            "size": size,
            "worth": worth,
            "dearest": np.array([trip.settings.dearest for trip in self.instances]),
            "candidate": np.tile([REFUSE, TAKE], (self.num_envs, 1)),  # each choice's entry in a rule's table
        }
        legal = np.stack([is_asked, is_asked & (size <= self.room)], axis=1)
        for array in (*seen.values(), legal):
            array.setflags(write=False)
        return Observation(seen, np.ones((self.num_envs, 1), dtype=int), legal, self.post)

    def decide(self, actions):
        observation, is_over = self.observe(), self.is_over
        actions = np.asarray(actions)
        takes = (actions == TAKE) & ~is_over
        is_legal = (actions == REFUSE) | (takes & observation.legal[:, TAKE]) | is_over
        if not is_legal.all():
            env = int(is_legal.argmin())
            raise IllegalAction(f"expected 0, or 1 if the load fits, got {actions[env]} in environment {env}.")
        self.room -= np.where(takes, observation.arrays["size"], 0)
        for env in np.flatnonzero(~is_over):
            self.taken[env].append(bool(takes[env]))
        self.post = True
        return np.where(takes | is_over, 0.0, observation.arrays["worth"])

    def reveal(self):
        self.offer += ~self.is_over
        self.post = False
        nothing = np.zeros(self.num_envs)
        return Revealed(nothing, nothing + 1, self.is_over, nothing > 0)

    def solution(self, env):
        return np.array(self.taken[env], dtype=bool)

    def run(self, rule, seeds):
        return None  # no kernel: rules are asked step by step


# The verifier: shares no code with the process -----------------------------------------------------------------------


def verify(trip, scenario, taken):
    """Return what a solution costs and where it breaks the rules."""
    if len(taken) != trip.settings.offers:
        return Report(None, (Violation("offers", f"expected {trip.settings.offers} answers, got {len(taken)}."),))
    room, cost, violations = trip.settings.room, 0.0, []
    for offer, (size, worth) in enumerate(scenario.values(0, len(taken))[: len(taken)].tolist()):
        room -= size if taken[offer] else 0
        cost += 0 if taken[offer] else worth
        if taken[offer] and room < 0:
            violations.append(Violation("room", f"offer {offer} of size {size} is {-room} too large."))
    return Report(cost, tuple(violations))


def columns(trip, taken):
    """Return a solution as the table that `--out` writes."""
    return {"offer": list(range(len(taken))), "taken": taken.astype(int).tolist()}


def solution(trip, columns):
    """Return the solution that such a table tells."""
    try:
        return np.array([{"0": False, "1": True}[str(x)] for x in columns["taken"]], dtype=bool)
    except KeyError as error:
        raise InputError(f"expected a column 'taken' of 0 and 1, got {error}.") from None


# Rules, a bound, a model: what methods ask for -----------------------------------------------------------------------


def first_come(instance):
    """First come: take whatever fits."""
    return np.array([0.0, 1.0])


def quota(observation):
    """Quota: take the dearest loads, of as many as there would be room for if all were of this size."""
    seen = observation.arrays
    share = seen["room"] / (seen["left"] * seen["size"]).clip(1)  # of the loads to come that fit
    return np.stack([seen["dearest"] * (1 - share), seen["worth"]], axis=1)


def bound(trip, scenario):
    """Return what must be refused if loads could be split: the dearest a unit go first."""
    size, worth = loads(trip, scenario)
    order = np.argsort(-worth / size, kind="stable")
    left = trip.settings.room - (size[order].cumsum() - size[order])
    return float((worth[order] * (1 - np.clip(left / size[order], 0, 1))).sum())


def exact(trip, scenarios, upper_bound=None, should_stop=None):
    """Return the binary program of one scenario: minimise sum_i w_i (1 - x_i) subject to sum_i s_i x_i <= room."""
    import pyomo.environ as pyo

    size, worth = (row.tolist() for row in loads(trip, scenarios))
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(len(size)), domain=pyo.Binary)
    m.room = pyo.Constraint(expr=sum(s * m.x[i] for i, s in enumerate(size)) <= trip.settings.room)
    m.cost = pyo.Objective(expr=sum(w * (1 - m.x[i]) for i, w in enumerate(worth)))
    return Model(
        m,
        read=lambda value: np.array([value(m.x[i]) > 0.5 for i in m.x]),
        start=lambda taken: [(m.x[i], float(taken[i])) for i in m.x],
    )


PROBLEM = Problem(
    name="knapsack",
    default_solver="quota",
    summary="loads are offered one by one to a van with little room",
    file_hint="TOML with problem = 'knapsack'",
    settings=lambda: Settings,
    sniff=sniff,
    load=load,
    describe=lambda trip: f"{trip.settings.offers} offers, room for {trip.settings.room}; minimise what is refused",
    sample=sample,
    process=KnapsackProcess,
    verify=verify,
    columns=columns,
    solution=solution,
    rules=lambda: {
        "first-come": Rule("first-come", table=first_come),
        "quota": Rule("quota", score=quota),
    },
    default_rule="first-come",
    bound=bound,
    models={"exact": exact},
)
