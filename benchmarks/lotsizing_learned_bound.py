"""Bounds in hindsight that pay for what they know by learned values: how much of the hindsight gap do they close?

python benchmarks/lotsizing_learned_bound.py measure   train on each of 15x5-a, -b, -c, and bound 20 scenarios
python benchmarks/lotsizing_learned_bound.py           write the table

A scenario that is known beforehand is charged, in every period, what its demand makes the next state's value above the
mean over all demands (information relaxation; Brown, Smith and Sun 2010, doi 10.1287/opre.1090.0796). That mean is
taken by the law of demand, so any values give a bound; good ones a tight one. The penalised problem must fall apart
into items, which a network's values do not: of the critic that PDPPO learns together with that of the post-decision
state, each item's main effect is taken, its mean over states that the policy visits, by period, by whether a machine
is set up for the item, and by stock. They are made to fall with stock (isotonic regression): at stocks that the policy
keeps away from, none at all among them, the critic has learned little. That, and the small shares, came after a first
run on the same scenarios had closed nothing.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import record
import rows
import torch
from lotsizing_bounds import FEW, SEED, half_width
from lotsizing_ppo import FORMS, TRAINING
from scipy.interpolate import interp1d
from scipy.optimize import isotonic_regression

import orl
from orl import params
from orl.decomposition import Decomposition
from orl.learn.training import Recipe, Training
from orl.problems.lotsizing.instance import LotSizing, LotState
from orl.problems.lotsizing.process import LotSizingProcess
from orl.registry import find_problem
from orl.scenario import Purpose
from orl.solver import Control
from orl.solvers.lagrangian import SCENARIO_STEP
from orl.solvers.lagrangian.ascent import ascend
from orl.solvers.ppo.policy import LearnedPolicy
from orl.solvers.ppo.settings import PpoSettings
from orl.solvers.ppo.train import PpoLearner

RAW = record.RESULTS / "lotsizing_learned_bound"
INSTANCES = ("15x5-a", "15x5-b", "15x5-c")
ITERATIONS = 20
PERIODS = np.array([*range(0, 96, 8), 96, 99])
LEVELS = np.array([*range(20), *range(20, 101, 5)])
VISITED = 16  # states of each period
SHARES = (0.0, 0.1, 0.2, 0.3, 0.5, 1.0)  # of the penalties, the best on a few `select` scenarios is taken
PRICES, SCENARIO_PRICES = 150, 40  # evaluations, as the bounds by `lagrangian` have them


def trained(instance: str, folder: Path) -> PpoLearner:
    """Return what PDPPO has learned in 640,000 steps."""
    training = {**TRAINING, **FORMS["half-steps"], "iterations": ITERATIONS}
    told = [{"instance": f"lotsizing/{instance}"}]
    recipe = Recipe("lotsizing", told, told, seed=0, validation_instances=32, validate_every=10, training=training)
    learner = PpoLearner(find_problem("lotsizing"), recipe, params.make(PpoSettings, training, instance))
    Training(learner, recipe, ITERATIONS, folder, (folder / "last").exists()).run(Control())
    return learner


def visited(one: LotSizing, policy: Any) -> dict[int, list[tuple[np.ndarray, np.ndarray]]]:
    """Return set-ups and stocks that the policy meets at the beginning of periods, on `select` scenarios."""
    scenarios = list(find_problem("lotsizing").sample(one, SEED, Purpose.SELECT, VISITED))
    process = LotSizingProcess([one] * VISITED, scenarios)
    memory, found = policy.start([one] * VISITED, np.random.default_rng(0)), {}
    while (observation := process.observe()).legal.any():
        period = int(observation.arrays["period"][0])
        if period in PERIODS and observation.arrays["machine"][0] == 0:
            seen = (observation.arrays[name].copy() for name in ("setup", "stock"))
            found[period] = list(zip(*seen, strict=True))
        actions, memory = policy.decide(observation, memory)
        process.decide(actions)
        process.reveal()
    return found


def main_effects(one: LotSizing, learner: PpoLearner, policy: LearnedPolicy) -> np.ndarray:
    """Return what each item's stock and set-up are worth, as costs, (periods + 1, items, 2, levels)."""
    none, unit = np.zeros(0, dtype=np.int64), learner.spread[0] * find_problem("lotsizing").scale(one)
    scenarios = find_problem("lotsizing").sample(one, SEED, Purpose.SELECT, 1)
    found = visited(one, policy)
    effects = np.zeros((len(PERIODS) + 1, one.num_items, 2, len(LEVELS)))  # nothing is left to pay after the last one
    for at, period in enumerate(PERIODS.tolist()):
        places = []
        for setup, stock in found[period]:
            for item in range(one.num_items):
                for level in LEVELS:
                    changed = np.where(np.arange(one.num_items) == item, level, stock)
                    places.append(replace(one, state=LotState(period, setup=setup, stock=changed, booked=none)))
        observation = LotSizingProcess(places, [scenarios[0]] * len(places)).observe()
        legal = torch.from_numpy(np.array(observation.legal))
        seen = {"rows": torch.from_numpy(learner.reader.read(observation, np.arange(len(places)))["rows"])}
        with torch.no_grad():
            values = -unit * learner.network(seen, legal)[1].numpy().astype(float)
        values = values.reshape(VISITED, one.num_items, len(LEVELS))
        is_set_up = np.array([np.isin(np.arange(one.num_items) + 1, setup) for setup, _ in found[period]])
        for item in range(one.num_items):
            for state in (0, 1):
                alike = is_set_up[:, item] == state
                effects[at, item, state] = values[alike if alike.any() else slice(None), item].mean(axis=0)
    effects = np.apply_along_axis(lambda along: isotonic_regression(along, increasing=False).x, -1, effects)
    times = np.append(PERIODS, one.periods_left)
    by_level = interp1d(LEVELS, effects, axis=-1)(np.arange(LEVELS[-1] + 1))
    return np.asarray(interp1d(times, by_level, axis=0)(np.arange(one.periods_left + 1)))


def penalties(decomposition: Any, effects: np.ndarray) -> list[np.ndarray]:
    """Return values as `Decomposition.penalties` does, discounted to the beginning."""
    one = decomposition.instance
    weight = one.settings.discount ** np.arange(one.periods_left + 1)
    result = []
    for number, part in enumerate(decomposition.parts):
        assert part.item.empty == 0 and part.start.shape[1] == effects.shape[-1]
        is_set_up = (np.arange(len(part.start)) > 0).astype(int)
        result.append(np.ascontiguousarray(weight[:, None, None] * effects[:, number, is_set_up]))
    return result


def bounds(decomposition: Decomposition, scenarios: Any, values: Any, prices: np.ndarray) -> list[float]:
    """Return the penalised bound of each scenario."""
    return [
        ascend(decomposition.penalised(scenario, values), SCENARIO_PRICES, start=prices, first_step=SCENARIO_STEP).value
        for scenario in scenarios
    ]


def bounded(instance: str, work: Path) -> rows.Row:
    problem, one = find_problem("lotsizing"), orl.load(f"lotsizing/{instance}")
    learner = trained(instance, work / instance)
    weights = {name: array for name, array in learner.weights().items() if not name.startswith("post.")}
    policy = LearnedPolicy(problem, "candidates", weights)
    assert problem.decomposition is not None
    decomposition = problem.decomposition(one)
    prices = ascend(decomposition.expected(), PRICES).prices
    few = list(problem.sample(one, SEED, Purpose.SELECT, 4))
    learned = penalties(decomposition, main_effects(one, learner, policy))
    by_share = {
        share: float(np.mean(bounds(decomposition, few, [share * value for value in learned], prices)))
        for share in SHARES
    }
    best = max(by_share, key=lambda share: by_share[share])
    judged = list(problem.sample(one, SEED, Purpose.EVALUATE, FEW))
    kinds = {
        "nothing": [0.0 * value for value in learned],
        "learned": [best * value for value in learned],
        "lagrangian": decomposition.penalties(prices),
    }
    found = {kind: bounds(decomposition, judged, values, prices) for kind, values in kinds.items()}
    return {"share": best, "select": by_share, **found}


def table(found: list[rows.Row]) -> list[list[object]]:
    costs = {(row["instance"], row["method"]): np.array(row["costs"])
             for row in rows.read(record.RESULTS / "lotsizing_bounds") if row["part"] == "policies"}  # fmt: skip
    lines: list[list[object]] = []
    for row in found:
        cost = costs[row["instance"], "lagrangian"][:FEW].mean()
        free = np.mean(row["nothing"])
        closed = [100 * (np.mean(row[kind]) - free) / (cost - free) for kind in ("learned", "lagrangian")]
        lines.append([
            row["instance"], f"{cost:.0f}", *(half_width(row[kind]) for kind in ("nothing", "learned", "lagrangian")),
            f"{row['share']:g}", *(f"{one:.0f}" for one in closed),
        ])  # fmt: skip
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", choices=["measure"])
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "orl-lotsizing-learned-bound")
    options = parser.parse_args()
    if options.action == "measure":
        record.one_core()
        keys = [{"part": "bounds", "instance": instance} for instance in INSTANCES]
        rows.measure(RAW, "bounds", [(key, partial(bounded, key["instance"], options.work)) for key in keys])
        return
    found = rows.read(RAW)
    text = (
        f"{rows.commits(found)}\n\n{FEW} scenarios of `evaluate`: mean cost of `lagrangian`; mean bound in hindsight ± "
        f"half a 95 % interval, {SCENARIO_PRICES} evaluations of prices a scenario, all from the same prices: without "
        "penalties, with those of learned values, with those of the values that `lagrangian` has at its prices; which "
        "share of the learned penalties is charged (chosen on 4 scenarios of `select`); how much of the gap between "
        "the bound without penalties and the policy each closes, %."
    )
    headers = ["instance", "cost", "no penalties", "learned", "lagrangian", "share", "learned closes",
               "lagrangian closes"]  # fmt: skip
    record.write("lotsizing_learned_bound", "Penalties of learned values", [(text, headers, table(found))], digits=4)


if __name__ == "__main__":
    main()
