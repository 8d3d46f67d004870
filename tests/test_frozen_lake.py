"""The modified Frozen Lake: exact values of record, the process plays by them, and PPO learns it."""

import numpy as np
import pytest
import torch
import toy_frozen_lake
from toy_frozen_lake import PROBLEM, Lake, LakeProcess, LakeSettings, sample

from orl.learn.training import Recipe, Training
from orl.scenario import Purpose
from orl.solver import Control
from orl.solvers.ppo.settings import PpoSettings
from orl.solvers.ppo.train import PpoLearner

# Computed independently of this code, by value iteration on the same statement.
OF_RECORD = {
    ("4x4", 0.9): 4.11121355,
    ("4x4", 0.99): 29.641324603,
    ("8x8", 0.9): 2.248740967,
    ("8x8", 0.99): 35.327375532,
}


@pytest.mark.parametrize(("name", "discount"), OF_RECORD)
def test_values_are_those_of_record(name, discount):
    assert Lake(LakeSettings(name, discount)).value() == pytest.approx(OF_RECORD[name, discount], abs=1e-8)


@pytest.mark.parametrize(("name", "right"), [("4x4", 35.217793), ("8x8", 35.641446)])
def test_of_a_hundred_steps_without_a_discount(name, right):
    assert Lake(LakeSettings(name, 1.0)).value(steps=100) == pytest.approx(right, abs=1e-6)


@pytest.mark.parametrize("name", ["4x4", "8x8"])
def test_episodes_are_worth_what_the_model_says(name):
    """A fixed policy on 4000 scenarios, within four standard errors."""
    lake = Lake(LakeSettings(name))
    moves = np.random.default_rng(1).integers(0, 4, lake.cells.size)
    moves[: lake.cells.shape[1]] = 2
    process = LakeProcess([lake] * 4000, list(sample(lake, 0, Purpose.EVALUATE, 4000)))
    totals, weight = np.zeros(4000), np.ones(4000)
    for _ in range(100):
        cost = process.decide(moves[process.observe().arrays["cell"]])
        revealed = process.reveal()
        totals -= weight * (cost + revealed.cost)
        weight *= revealed.discount
    assert (revealed.terminated | revealed.truncated).all()
    right = lake.value(moves, steps=100)
    assert totals.mean() == pytest.approx(right, abs=4 * totals.std() / 4000**0.5)


def test_two_critics_learn_the_small_lake(tmp_path):
    """From 40 times 16 episodes: the greedy policy is worth 95 % of the optimum, by the model, not by a sample."""
    settings = PpoSettings(encoder="plain", width=32, layers=1, iterations=40, instances=16, samples=1, minibatch=256,
                           epochs=4, baseline="critic", critic="dual", learning_rate=1e-2, entropy=0.01)  # fmt: skip
    recipe = Recipe("lake", [{}], [{}], validation_instances=16, validate_every=40, instance={"map": "4x4"})
    learner = PpoLearner(PROBLEM, recipe, settings)
    Training(learner, recipe, 40, tmp_path).run(Control())
    assert learned_value(learner, "4x4") > 0.95 * OF_RECORD["4x4", 0.99]


def test_where_an_episode_is_cut_off_the_critics_stand_for_what_is_left(monkeypatch):
    """The first says what the state is worth then, the second what it said of the last post-decision state."""
    monkeypatch.setattr(toy_frozen_lake, "STEPS", 5)
    settings = PpoSettings(encoder="plain", width=8, layers=1, instances=16, samples=1, baseline="critic",
                           critic="dual")  # fmt: skip
    recipe = Recipe("lake", [{}], [{}], validation_instances=16, instance={"map": "8x8"})
    learner = PpoLearner(PROBLEM, recipe, settings)
    drawn = learner.source.validation[0]
    played = learner._play(drawn.instances, drawn.scenarios, torch.Generator().manual_seed(0), has_critic=True)
    step, env = np.nonzero(played.truncated)
    assert len(env) and (played.discounts[step, env] == 0.99).all()
    last = {place % 16: row for row, place in enumerate(played.place.tolist())}
    assert (played.cut_values[1, step, env] == [played.post_values[last[one]] for one in env.tolist()]).all()
    assert played.cut_values[0, step, env].all() and not played.cut_values[:, ~played.truncated].any()


def learned_value(learner, name):
    """Return what the greedy policy of a learner is worth, exactly."""
    lake = Lake(LakeSettings(name))
    rows = np.column_stack([np.eye(lake.cells.size), np.zeros(lake.cells.size)]).astype(np.float32)
    legal = torch.ones((len(rows), 4), dtype=torch.bool)
    with torch.no_grad():
        moves = learner.network.scores({"vector": torch.from_numpy(rows)}, legal).argmax(-1).numpy()
    return lake.value(moves)
