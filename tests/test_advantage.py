"""By how much a decision was better than expected: by hand, at the ends of episodes, with one critic and with two."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from orl import params
from orl.learn.advantages import advantages
from orl.learn.forms import NetworkSettings
from orl.learn.networks import make_network
from orl.learn.readers import make_reader
from orl.learn.training import Recipe
from orl.problems.jobshop.instance import JobShopSettings
from orl.problems.jobshop.kernels_candidates import NUM_COLUMNS
from orl.problems.jobshop.scenario import draw
from orl.problems.lotsizing.demand import PathDemand
from orl.registry import find_problem
from orl.scenario import Purpose, Scenarios
from orl.solvers.ppo.advantage import judged, returns
from orl.solvers.ppo.play import Played, play
from orl.solvers.ppo.settings import PpoSettings
from orl.solvers.ppo.train import PpoLearner

ROOT = Path(__file__).resolve().parent.parent
JOBSHOP = find_problem("jobshop")
ACTIVE = JobShopSettings(dispatch="active")
CANDIDATES = make_reader(JOBSHOP, "candidates")


def test_advantages_by_hand():
    """Environment 0 ends, 1 is cut off (worth -10 then), 2 has a forced decision in the middle."""
    costs = np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [4.0, 4.0, 4.0]])
    discounts = np.full((3, 3), 0.5)
    values = np.array([[-1.0, -1.0, -1.0], [-2.0, -2.0, -9.0], [-3.0, -3.0, -3.0]])
    is_open = np.array([[1, 1, 1], [1, 1, 0], [1, 1, 1]], dtype=bool)
    ended, cut = np.zeros((3, 3), dtype=bool), np.zeros((3, 3), dtype=bool)
    ended[2, [0, 2]], cut[2, 1] = True, True
    cut_values = np.zeros((3, 3))
    cut_values[2, 1] = -10.0
    found = advantages(costs, discounts, values, is_open, ended, cut, cut_values, 0.5)
    # 0: d2 = -4 + 3 = -1; d1 = -2 - 1.5 + 2 = -1.5; d0 = -1 - 1 + 1 = -1; each takes a quarter of the next one's.
    assert found[:, 0].tolist() == [-1 - 1.75 / 4, -1.75, -1.0]
    # 1: d2 = -4 - 5 + 3 = -6.
    assert found[:, 1].tolist() == [-1 - 3 / 4, -1.5 - 6 / 4, -6.0]
    # 2: the first decision costs 1 + 2 / 2 and is followed by the third, at a quarter: -2 - 0.75 + 1, and -1 / 8.
    assert found[:, 2].tolist() == [-1.75 - 1 / 8, 0.0, -1.0]


def test_a_group_is_compared_with_its_mean():
    """Two instances, two environments each: the cheaper one is better by one spread, whatever the size."""
    played = play(JOBSHOP, make_network(NetworkSettings(inputs=NUM_COLUMNS, width=4)), CANDIDATES,
                  [draw(np.random.default_rng(k), 3, 3, settings=ACTIVE) for k in (0, 0, 1, 1)],
                  [Scenarios.deterministic()] * 4, torch.Generator().manual_seed(0))  # fmt: skip
    played = played._replace(totals=np.array([10.0, 20.0, 500.0, 300.0]))
    settings = PpoSettings(instances=2, samples=2)
    advantage = judged(played, settings, np.array([1.0, 1.0, 50.0, 50.0])).advantage
    assert advantage == pytest.approx(np.array([1.0, -1.0, -1.0, 1.0])[played.place % 4], abs=1e-6)


def made_up(**changed):
    """Three steps, nobody was asked at the second: costs 1 + 2, 4 + 8, 16 + 32, discount 1/2."""
    told = {
        "begun": {}, "seen": {}, "after": {}, "legal": np.ones((2, 2), dtype=bool), "actions": np.zeros(2, dtype=int),
        "log_probabilities": np.zeros(2), "values": np.array([-10.0, -20.0]), "post_values": np.array([-5.0, -7.0]),
        "place": np.array([0, 2]), "known": np.array([[1.0], [4.0], [16.0]]),
        "costs": np.array([[3.0], [12.0], [48.0]]),
        "discounts": np.full((3, 1), 0.5), "terminated": np.array([[False], [False], [True]]),
        "truncated": np.zeros((3, 1), dtype=bool), "cut_values": np.zeros((2, 3, 1)), "totals": np.array([21.0]),
    }  # fmt: skip
    return Played(**{**told, **changed})


# What is left to pay: 1 + 2 + 4/2 + 8/2 + 16/4 + 32/4 = 21 at the first decision, 48 at the second.
DUAL = {
    # G_d = 1 + 2 + 4 = 7 and 16, G_r = 2 + 4 + 8 = 14 and 32: A_d = 3, 4 and A_r = -9, -25.
    "max": ([3.0, 4.0], [-7.0, -16.0], [-14.0, -32.0]),
    "sum": ([-6.0, -21.0], [-7.0, -16.0], [-14.0, -32.0]),
    # -1 - 5 + 10 and -16 - 7 + 20; after the first decision 20 are left to pay, after the second 32.
    "post": ([4.0, -3.0], [-21.0, -48.0], [-20.0, -32.0]),
    "half-steps": ([-11.0, -28.0], [-21.0, -48.0], [-20.0, -32.0]),  # lambda = 1: all that happened
}


@pytest.mark.parametrize("form", DUAL)
def test_dual_advantages_by_hand(form):
    settings = PpoSettings(baseline="critic", critic="dual", advantage=form, gae_decay=1.0)
    advantage, target, post_target = judged(made_up(), settings, np.ones(1))
    right, *targets = DUAL[form]
    assert advantage == pytest.approx((np.array(right) - np.mean(right)) / np.std(right), abs=1e-5)
    assert [target.tolist(), post_target.tolist()] == targets


def test_lambda_weighs_half_steps():
    """From the first decision: -1 - 5 + 10 = 4, then, revealed, -2 - 6 + (-20)/4 + 5 = -8, then -3, then -32 + 7."""
    settings = PpoSettings(baseline="critic", critic="dual", advantage="half-steps", gae_decay=0.5)
    _, target, post_target = judged(made_up(), settings, np.ones(1))
    second, after_second = -3 - 25 / 2, -25
    after_first = -8 + 0.5 * 0.25 * second
    assert post_target.tolist() == [-5 + after_first, -7 + after_second]
    assert target.tolist() == [-10 + 4 + after_first / 2, -20 + second]


def test_an_episode_that_is_cut_off_is_worth_what_the_critics_say():
    """The last state is worth -100 to the first critic, -40 to the second; a half of it counts."""
    cut = np.zeros((2, 3, 1))
    cut[:, 2, 0] = -100.0, -40.0
    ends = {"terminated": np.zeros((3, 1), dtype=bool), "truncated": np.array([[False], [False], [True]])}
    for form, right in (("post", (-48 - 50, -32 - 50)), ("max", (-16 - 50, -32 - 20))):
        settings = PpoSettings(baseline="critic", critic="dual", advantage=form, gae_decay=1.0)
        _, target, post_target = judged(made_up(**ends, cut_values=cut), settings, np.ones(1))
        assert (target[1], post_target[1]) == right


def test_with_a_single_critic_nothing_is_read_after_a_decision():
    """With a dual one every open decision is; the second critic is shown nothing but the post-decision state."""
    asked = []

    def read(observation, envs):
        asked.append(observation.post)
        return CANDIDATES.read(observation, envs)

    shops = [draw(np.random.default_rng(k), 4, 3, settings=ACTIVE) for k in range(2)]
    for has_post_critic in (False, True):
        asked.clear()
        form = NetworkSettings(inputs=NUM_COLUMNS, width=4, has_post_critic=has_post_critic)
        played = play(JOBSHOP, make_network(form), replace(CANDIDATES, read=read), shops,
                      [Scenarios.deterministic()] * 2, torch.Generator().manual_seed(0), has_critic=True)  # fmt: skip
        assert any(asked) == has_post_critic and asked.count(True) in (0, len(asked) / 2)
        assert bool(played.after) == has_post_critic and played.post_values.any() == has_post_critic


@pytest.mark.parametrize("tied", [{"overflow": "forbid"}, {"item_machines": "one"}])
def test_masks_hold_for_every_machine(tied):
    """A network that knows nothing and draws: no machine makes what it cannot, and what ties machines is kept."""
    lots = find_problem("lotsizing")
    told = params.make(lots.settings(), {"start": "random", **tied}, "instance")
    plants = [lots.draw(np.random.default_rng(k), items=3 + k, machines=3, periods=9, settings=told) for k in range(3)]
    scenarios = [lots.sample(plant, 0, Purpose.TRAIN, 1)[0] for plant in plants]
    width = lots.features().candidates(lots.process(plants[:1], scenarios[:1]).observe()).shape[-1]
    network = make_network(NetworkSettings(inputs=width, width=4, has_post_critic=True))
    played = play(lots, network, make_reader(lots, "candidates"), plants, scenarios, torch.Generator().manual_seed(0),
                  has_critic=True)  # fmt: skip
    assert played.legal[np.arange(len(played.actions)), played.actions].all()
    assert (played.log_probabilities < 0).any() and not played.legal.all()


def test_without_noise_both_critics_learn_the_same():
    """Production is known to the unit: what is left to pay before a decision is its cost and what is left after it."""
    lots = find_problem("lotsizing")
    instance = lots.draw(np.random.default_rng(0), items=3, machines=2, periods=6)
    known = replace(instance, demand=PathDemand(np.random.default_rng(1).integers(0, 12, (6, 3))), num_periods=6,
                    settings=replace(instance.settings, start="file"))  # fmt: skip
    training = {"baseline": "critic", "critic": "dual", "iterations": 150, "instances": 1, "samples": 4, "width": 16,
                "learning_rate": 1e-2, "entropy": 0.0, "minibatch": 64, "epochs": 4}  # fmt: skip
    recipe = Recipe("lotsizing", [{}], [{}], validation_instances=1, validate_every=10, training=training)
    learner = PpoLearner(replace(lots, draw=lambda rng, settings: known), recipe, PpoSettings(**training))
    for number in range(150):
        learner.iterate(number)
    drawn = learner.source.validation[0]
    played = learner._play(drawn.instances, drawn.scenarios, has_critic=True)
    scale = learner._scale(played, drawn.scale)
    left = returns(played, learner.settings, scale)
    decided = played.known.ravel()[played.place] / scale[0]
    assert played.values == pytest.approx(left, abs=0.15 * np.ptp(left))
    assert played.post_values - decided == pytest.approx(left, abs=0.15 * np.ptp(left))
