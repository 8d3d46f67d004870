"""What a network reads of capacitated lot sizing, and its environment: right on paper, blind to padding, trainable."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from lots import capacitated as instances
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from test_clsp import FAMILY, NOTHING, two
from test_gym import assert_equal

from orl.gym.forms import of_env
from orl.problems.clsp.features import ITEM_COLUMNS, PERIOD_COLUMNS, flat, graph
from orl.problems.clsp.instance import CapacitatedLotSizing, CapacitatedSettings
from orl.testing import RandomPolicy

ID = "orl.gym:orl/CapacitatedLotSizing-v0"
LARGEST = CapacitatedLotSizing(
    "largest", [[1] * 4] * 4, [9] * 4, *[[1] * 4] * 4, settings=CapacitatedSettings(overtime=1.0)
)


def parts(values):
    """Split flat features into those of the period and those of items, (envs, I, 9)."""
    return values[:, :PERIOD_COLUMNS], values[:, PERIOD_COLUMNS:].reshape(len(values), -1, ITEM_COLUMNS)


def test_features_on_paper():
    """Three periods of capacity 10, 13, 7; item 0 is wanted twice in each, item 1 six times in the last."""
    process = FAMILY.process([two(overtime=3.0)], [NOTHING])
    period, items = (part[0] for part in parts(flat(process.observe())))
    assert period == pytest.approx([0, 1, 3 / 13, 2 / 12, 2 / 12, 3 / 13, 30 / 43])
    assert items[0] == pytest.approx([0, 0, 1 / 3, 1 / 3, 1 / 3, 6 / 10, 4 / 14, 1 / 11, 5 / 9])
    assert items[1] == pytest.approx([0, 0, 0, 0, 0, 1, 0, 2 / 12, 1])  # nothing is asked of it yet
    process.decide(np.array([[2.0, 6.0]]))
    period, items = (part[0] for part in parts(flat(process.observe())))
    assert period[:4] == pytest.approx([1, 1, 3 / 13, 0])
    assert items[:, 0] == pytest.approx([2 / 6, 1]) and items[:, 1] == pytest.approx([2 / 8, 6 / 12])
    assert not items[:, [2, 4]].any()  # demand is met
    process.reveal()
    seen = graph(process.observe())
    assert seen["nodes"][0, 2, 2:9] == pytest.approx(flat(process.observe())[0, :7])
    assert seen["edges"][0].tolist() == [[0, 1, 2, 2], [2, 2, 0, 1]]
    assert seen["legal"][0, 0].tolist() == [0, 1], "what is there of item 1 stays, shares of the largest, 6"


@given(st.lists(instances(), min_size=1, max_size=2), st.integers(0, 50))
@profile(max_examples=30)
def test_both_forms_tell_the_same_and_padding_tells_nothing(drawn, seed):
    batch = [*drawn, LARGEST]
    process, alone = FAMILY.process(batch, [NOTHING] * len(batch)), FAMILY.process(batch[:1], [NOTHING])
    policy, count = RandomPolicy(), batch[0].num_items
    memory = policy.start(batch, np.random.default_rng(seed))
    for _ in range(batch[0].num_periods):
        for _ in range(2):
            seen, own = process.observe(), alone.observe()
            values, form = flat(seen), graph(seen)
            assert np.abs(values).max() <= 1 and np.abs(form["nodes"]).max() <= 1
            period, items = parts(values)
            assert not items[0, count:].any() and not form["nodes"][0, count:-1].any()
            assert_equal([period[0], items[0, :count]], [part[0] for part in parts(flat(own))])
            assert_equal(
                [form["nodes"][0, :count, 2:]], [np.hstack([np.tile(period[0], (count, 1)), items[0, :count]])]
            )
            if not seen.post:
                actions, memory = policy.decide(seen, memory)
                process.decide(actions)
                alone.decide(actions[:1, : alone.decision.width])
        process.reveal()
        alone.reveal()


@pytest.mark.parametrize("observation", ["flat", "graph"])
def test_gymnasiums_checker_finds_nothing(observation):
    env = gymnasium.make(ID, instance=[two(overtime=3.0), LARGEST], observation=observation).unwrapped
    check_env(env, skip_render_check=True)


@pytest.mark.parametrize("observation", ["flat", "graph"])
def test_a_vector_plays_what_a_single_environment_plays(observation):
    kwargs = {"instance": [two(overtime=3.0, demand="random"), LARGEST], "observation": observation}
    envs = gymnasium.make_vec(ID, num_envs=3, **kwargs)
    first = gymnasium.make(ID, **kwargs).unwrapped
    assert_equal([of_env(envs.reset(seed=3)[0], 0)], [first.reset(seed=3)[0]])
    envs.action_space.seed(0)
    ends = 0
    for _ in range(20):
        actions = envs.action_space.sample()
        seen, rewards, terminations, _, infos = envs.step(actions)
        own, reward, is_over, _, info = first.step(actions[0])
        assert envs.observation_space.contains(seen) and (reward, is_over) == (rewards[0], terminations[0])
        if is_over:
            assert infos["final_info"]["solution_cost"][0] == info["solution_cost"]
            own, _ = first.reset()
            ends += 1
        assert_equal([of_env(seen, 0)], [own])
    assert ends > 3


def test_ppo_trains_and_is_told_what_an_episode_cost():
    """Stable-Baselines3's, on flat observations as they are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        batch = make_vec_env(ID, n_envs=2, seed=0, env_kwargs={"instance": two(overtime=3.0), "post_decision": False})
        model = PPO("MlpPolicy", batch, n_steps=64, batch_size=64, n_epochs=2, gamma=1.0, seed=0, device="cpu")
        before = model.policy.action_net.weight.detach().clone()
        model.learn(256)
    finally:
        torch.set_num_threads(threads)
    assert (model.policy.action_net.weight != before).any()
    env = gymnasium.make(ID, instance=two(overtime=3.0)).unwrapped
    observation, _ = env.reset(seed=0)
    cost, is_over = 0.0, False
    while not is_over:
        action, _ = model.predict(observation, deterministic=True)
        observation, reward, is_over, _, info = env.step(action)
        cost -= reward
    report = FAMILY.verify(env.instance, env.scenario, env.solution())
    assert report.is_feasible and info["solution_cost"] == pytest.approx(cost) == report.cost
