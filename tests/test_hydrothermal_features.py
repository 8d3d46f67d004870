"""What a network reads of hydrothermal dispatch, and its environments: right on paper, blind to padding, trainable."""

import copy
import pickle
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from test_gym import assert_equal

import orl
import orl.gym
from orl import registry
from orl.gym.forms import of_env
from orl.problems.hydrothermal.features import RESERVOIR_COLUMNS, SYSTEM_COLUMNS, flat, graph
from orl.testing import RandomPolicy

ID = "orl.gym:orl/HydroThermal-v0"
HYDRO = registry.find_problem("hydrothermal")
PERIODIC = {"horizon": "periodic", "discount": 0.9, "stages": 5}


def case3(**settings):
    return orl.load("hydrothermal/case3", settings=settings)


def bolivia(stages=4):
    return orl.load("hydrothermal/bolivia", settings={"stages": stages, "reported_stages": stages})


def scenario_of(instance, seed=0):
    return HYDRO.sample(instance, seed, orl.Purpose.TRAIN, 1)[0]


def parts(values):
    """Split flat features into those of the system and those of reservoirs, (envs, R, 13)."""
    return values[:, :SYSTEM_COLUMNS], values[:, SYSTEM_COLUMNS:].reshape(len(values), -1, RESERVOIR_COLUMNS)


# features -----------------------------------------------------------------------------------------------------------


def test_features_of_case3_on_paper():
    """Of 0.54 hm3, 0.18 are stored. K = 0.0036, so the mean inflow of 50 m3/s brings 0.18 hm3 in a stage, and 80 m3/s,
    80 MW, can be turbined, 0.288 hm3. Thermal plants of 100 and 50 MW at 20 and 100 USD/MWh cost 140 / 3 on average,
    a deficit costs 1000; the load is 100 MW. 100 m3/s come in every stage.
    """
    process = HYDRO.process([replace(case3(), path=np.full((12, 1), 100.0))], [orl.Scenarios.deterministic()])
    plants = [80 / 180, 150 / 250, 140 / (140 + 3000)]
    plant = [0.54 / 0.72, 1, 80 / 130, 0, 80 / 180, 1, 1, 0, 0]

    def check(system, reservoir):
        seen = [part[0] for part in parts(flat(process.observe()))]
        assert seen[0] == pytest.approx([*system, *plants], abs=1e-6)
        assert seen[1][0] == pytest.approx([*reservoir, *plant], abs=1e-6)

    check([0, 1, 12 / 22, 0, 1, 1, 0.18 / 0.54, 100 / 150], [0.18 / 0.54, 0.18 / 0.468, 0.36 / 0.54, 100 / 150])
    process.decide(np.array([[0.3]]))
    reached = [0.3 / 0.54, 0.3 / 0.588, 0.24 / 0.42]
    check([1, 1, 12 / 22, 0, 1, 1, 0.3 / 0.54, 0], [*reached, 0])
    process.reveal()
    check([0, 11 / 12, 11 / 21, 0.5, 0.75**0.5, 1, 0.3 / 0.54, 100 / 150], [*reached, 100 / 150])


def test_a_horizon_without_end_shows_no_time_left():
    """A value function that looks beyond a cut-off must not know of it."""
    process = HYDRO.process([case3(**PERIODIC)], [scenario_of(case3())])
    for _ in range(3):
        assert flat(process.observe())[0, 1:3].tolist() == [1, 1]
        assert flat(process.observe())[0, 5] == pytest.approx(0.9)
        process.decide(np.array([[0.2]]))
        process.reveal()


def test_the_graph_shows_where_water_flows():
    """Edges between reservoirs are the published cascades, both ways, with what flows; each meets the system."""
    instance = bolivia()
    values = graph(HYDRO.process([instance], [scenario_of(instance)]).observe())
    names = [*instance.reservoirs.names, "system"]
    edges, kinds = values["edges"][0], values["edge_features"][0]
    told = {(names[edges[0, k]], names[edges[1, k]]): kinds[k].tolist() for k in np.flatnonzero(edges[0] >= 0)}
    both, turbined = [1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]
    expected = {("ZON", "CHU"): both, ("TAQ1", "TAQ2"): both, ("COR", "SIS"): turbined}
    expected |= {(end, begin): [*kind[2:4], *kind[:2], 0, 0] for (begin, end), kind in list(expected.items())}
    expected |= {(name, "system"): [0, 0, 0, 0, 1, 0] for name in names[:-1]}
    expected |= {("system", name): [0, 0, 0, 0, 0, 1] for name in names[:-1]}
    assert told == expected
    water = instance.reservoirs
    assert values["choice_nodes"][0].tolist() == [list(range(11))] * 2
    np.testing.assert_allclose(values["legal"][0], [water.min_hm3 / 137.99, water.max_hm3 / 137.99], rtol=1e-6)


def check_form(values):
    for name, array in values.items():
        if array.dtype == np.float32:
            assert np.isfinite(array).all() and np.abs(array).max() <= 1, name
        else:
            assert array.dtype == (bool if name == "is_node" else np.int64), name


@pytest.mark.parametrize("seed", range(4))
def test_both_forms_tell_the_same_and_padding_tells_nothing(seed):
    """At every half-step of a random episode of case3 beside the Bolivian system: as beside itself with room for it,
    and as alone.
    """
    batch = [case3(stages=4), bolivia()]
    scenarios = [scenario_of(one, seed) for one in batch]
    process = HYDRO.process(batch, scenarios)
    fitted = HYDRO.process(batch[:1], scenarios[:1], fit=batch[1:])
    alone = HYDRO.process(batch[:1], scenarios[:1])
    policy = RandomPolicy()
    memory = policy.start(batch, np.random.default_rng(seed))

    def check():
        wide, fit, small = (one.observe() for one in (process, fitted, alone))
        for observation in (wide, fit, small):
            vector, values = flat(observation), graph(observation)
            check_form({"flat": vector, **values})
            assert vector.dtype == values["nodes"].dtype == values["legal"].dtype == np.float32
            system, reservoirs = parts(vector)
            nodes = values["nodes"]
            assert (nodes[:, -1, 2 : 2 + SYSTEM_COLUMNS] == system).all()
            assert (nodes[:, :-1, 2 + SYSTEM_COLUMNS :] == reservoirs).all()
            assert not nodes[~values["is_node"]].any() and not nodes[:, -1, 2 + SYSTEM_COLUMNS :].any()
        assert (flat(wide)[0] == flat(fit)[0]).all()
        assert all((graph(wide)[name][0] == array[0]).all() for name, array in graph(fit).items())
        for name, array in wide.arrays.items():
            assert (array[0] == fit.arrays[name][0]).all(), name
        bare = flat(small)[0]
        assert (flat(wide)[0, : len(bare)] == bare).all() and not flat(wide)[0, len(bare) :].any()
        padded, own = graph(wide), graph(small)
        assert (padded["nodes"][0][padded["is_node"][0]] == own["nodes"][0][own["is_node"][0]]).all()
        assert (padded["choice_nodes"][0] >= 0).sum() == 2 and not padded["legal"][0, :, 1:].any()
        edges = padded["edges"][0]
        assert edges[:, edges[0] >= 0].tolist() == [[0, 11], [11, 0]] and own["edges"][0].tolist() == [[0, 1], [1, 0]]

    is_over = False
    while not is_over:
        actions, memory = policy.decide(process.observe(), memory)
        check()
        process.decide(actions), fitted.decide(actions[:1]), alone.decide(actions[:1, :1])
        check()
        process.reveal(), fitted.reveal()
        is_over = alone.reveal().terminated[0]
    check()


# environments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("observation", ["flat", "graph"])
@pytest.mark.parametrize("instance", [case3(), case3(**PERIODIC), [bolivia(), case3()]], ids=["case3", "ring", "both"])
def test_gymnasiums_checker_finds_nothing(instance, observation):
    env = gymnasium.make(ID, instance=instance, observation=observation).unwrapped
    check_env(env, skip_render_check=True)
    with pytest.raises(TypeError, match="bounds, not masks"):
        env.action_masks()


@pytest.mark.parametrize("observation", ["flat", "graph"])
def test_a_vector_of_systems_of_two_sizes_plays_what_a_single_environment_plays(observation):
    """One is cut off and the other comes to its end, over several episodes; what is seen lies in its space."""
    kwargs = {"instance": [bolivia(3), case3(**PERIODIC)], "observation": observation}
    envs = gymnasium.make_vec(ID, num_envs=3, **kwargs)
    first = gymnasium.make(ID, **kwargs).unwrapped
    assert_equal([of_env(envs.reset(seed=3)[0], 0)], [first.reset(seed=3)[0]])
    envs.action_space.seed(0)
    terminated = truncated = 0
    for _ in range(50):
        actions = envs.action_space.sample()
        seen, rewards, terminations, truncations, infos = envs.step(actions)
        assert envs.observation_space.contains(seen)
        own, reward, *ends, info = first.step(actions[0])
        assert reward == rewards[0] and ends == [terminations[0], truncations[0]] and not info["illegal_action"]
        assert first.observation_space.contains(info["post_decision"])
        if any(ends):
            assert_equal([infos["final_obs"][0]], [own])
            assert infos["final_info"]["solution_cost"][0] == info["solution_cost"]
            post = infos["final_info"]["post_decision"]
            own, _ = first.reset()
        else:
            post = infos["post_decision"]
        if observation == "graph":  # without the masks that a vector's infos carry
            post = {name: post[name] for name in info["post_decision"]}
        assert_equal([of_env(post, 0)], [info["post_decision"]])
        assert_equal([of_env(seen, 0)], [own])
        terminated, truncated = terminated + ends[0], truncated + ends[1]
    assert terminated > 1 and truncated > 1


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copied_environment_stands_where_the_original_stood(copied):
    env = gymnasium.make(ID, instance=[bolivia(), case3()], render_mode="ansi").unwrapped
    env.reset(seed=1)
    env.action_space.seed(1)
    env.step(env.action_space.sample())
    twin = copied(env)
    assert twin.render() == env.render() and "cost so far" in env.render()
    for _ in range(2):
        action = env.action_space.sample()
        assert_equal(env.step(action), twin.step(action))
    assert_equal(env.reset(), twin.reset())


def test_systems_drawn_anew_are_dispatched_as_themselves():
    """An instance that is gone leaves nothing to one that takes its place in memory."""

    system = case3(stages=2)

    def draw(rng):
        return replace(system, network=replace(system.network, load_mw=system.network.load_mw * rng.uniform(0.5, 1.5)))

    env = gymnasium.make(ID, instance=draw, fit=system).unwrapped
    env.reset(seed=0)
    for _ in range(20):
        env.step(np.zeros(1))
        info = env.step(np.zeros(1))[-1]
        report = HYDRO.verify(env.instance, env.scenario, env.solution())
        assert report.is_feasible and report.cost == pytest.approx(info["solution_cost"])
        env.reset()
    assert len(env._episodes.process._dispatchers) <= 2


def test_ppo_trains_and_is_told_what_an_episode_cost():
    """Stable-Baselines3's, on flat observations as they are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        batch = make_vec_env(ID, n_envs=2, seed=0, env_kwargs={"instance": case3(), "post_decision": False})
        model = PPO("MlpPolicy", batch, n_steps=128, batch_size=64, n_epochs=2, gamma=1.0, seed=0, device="cpu")
        before = model.policy.action_net.weight.detach().clone()
        model.learn(512)
    finally:
        torch.set_num_threads(threads)
    assert (model.policy.action_net.weight != before).any()
    env = gymnasium.make(ID, instance=case3())
    observation, _ = env.reset(seed=0)
    cost, is_over = 0.0, False
    while not is_over:
        action, _ = model.predict(observation, deterministic=True)
        observation, reward, terminated, truncated, info = env.step(action)
        cost, is_over = cost - reward, terminated or truncated
        assert ("solution_cost" in info) == is_over
    report = HYDRO.verify(env.unwrapped.instance, env.unwrapped.scenario, env.unwrapped.solution())
    assert report.is_feasible and info["solution_cost"] == pytest.approx(cost) == report.cost
