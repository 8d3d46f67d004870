"""The Gymnasium face keeps Gymnasium's contract to the letter, and tells what the process tells."""

import copy
import dataclasses
import pickle

import gymnasium
import numpy as np
import pytest
import toy_lotsizing
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from shops import EVERY_MODE, shops

import orl
import orl.gym
from orl import registry
from orl.features import Features
from orl.gym.actions import to_process
from orl.gym.vector import ProcessVectorEnv
from orl.problems.jobshop.scenario import draw
from orl.process import Decision, Revealed

ID = "orl.gym:orl/JobShop-v0"
FT06 = {"instance": "jobshop/ft06"}
FAILING = {"instance": "jobshop/ft06", "settings": {"breakdowns": {"probability": 0.02}}}
MODES = {
    "classic": FT06,
    "active": {**FT06, "settings": {"dispatch": "active"}},
    "breakdowns": FAILING,
    "blocking": {**FT06, "settings": {"buffers": "none"}},
    "tardiness": {**FT06, "settings": {"objective": "weighted-tardiness", "due_date_factor": 1.5}},
}


def toy_features(observation):
    """Return stock, set-up and period of the toy, and the half-step."""
    view = observation.arrays
    post = np.full((len(view["stock"]), 1), observation.post)
    columns = [view["stock"] / toy_lotsizing.LIMIT, view["setup"] / 2, view["period"][:, None] / toy_lotsizing.HORIZON]
    return np.concatenate([*columns, post], axis=1).astype(np.float32)


class CutOff(toy_lotsizing.ToyProcess):
    """The toy, cut off at its horizon rather than at its end."""

    def reveal(self):
        cost, discount, terminated, truncated = super().reveal()
        return Revealed(cost, discount, truncated, terminated.copy())


TOY = dataclasses.replace(
    toy_lotsizing.PROBLEM, features=lambda: Features(flat=toy_features, graph=None), env_name="Toy"
)


def lowest_legal(masks):
    return masks.argmax(axis=-1)


def random_legal(rng, masks):
    return np.where(masks, rng.random(masks.shape), -1).argmax(axis=-1)


def play(env, seed=None, choose=lowest_legal):
    """Play one episode; return its rewards and its last info."""
    env.reset(seed=seed)
    rewards, is_over = [], False
    while not is_over:
        _, reward, terminated, truncated, info = env.step(choose(env.get_wrapper_attr("action_masks")()))
        rewards.append(reward)
        is_over = terminated or truncated
    return rewards, info


def solution_costs(envs, seed, episodes, choose=lowest_legal):
    """Return the costs of the first episodes of each environment of a vector, a list an environment."""
    envs.reset(seed=seed)
    costs = [[] for _ in range(envs.num_envs)]
    while min(map(len, costs)) < episodes:
        infos = envs.step(choose(envs.action_masks()))[-1]
        for env in np.flatnonzero(infos.get("_final_info", [])):
            costs[env].append(float(infos["final_info"]["solution_cost"][env]))
    return [of_env[:episodes] for of_env in costs]


# Gymnasium's contract -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", registry.problem_names())
def test_every_family_has_its_environments(name):
    family = registry.find_problem(name)
    spec = gymnasium.spec(f"orl/{family.env_name}-v0")
    assert spec.entry_point and spec.vector_entry_point and family.features is not None


@pytest.mark.parametrize("observation", ["flat", "graph"])
@pytest.mark.parametrize("mode", MODES)
def test_gymnasiums_checker_finds_nothing(mode, observation):
    """Its warnings are errors here, as all are in these tests."""
    env = gymnasium.make(ID, **MODES[mode], observation=observation)
    check_env(env.unwrapped, skip_render_check=mode != "classic")


def test_the_checker_passes_an_environment_of_several_machines_and_a_discount():
    env = orl.gym.ProcessEnv(TOY, toy_lotsizing.Toy())
    check_env(env, skip_render_check=True)
    assert env.action_space == gymnasium.spaces.MultiDiscrete([3, 3])
    assert env.action_masks().tolist() == [True, True, False, True, True, True]


def test_an_environment_may_be_registered_for_a_family_of_ones_own():
    name = orl.gym.register(TOY)
    assert name == "orl/Toy-v0"
    env = gymnasium.make(name, instance=toy_lotsizing.Toy())
    env.reset(seed=0)
    assert env.step(np.array([0, 1]))[-1]["discount"] == toy_lotsizing.DISCOUNT


@pytest.mark.parametrize("observation", ["flat", "graph"])
def test_the_vector_environment_does_what_gymnasiums_own_does(observation):
    """Gymnasium's vector over single environments, autoreset in the same step, gives equal observations, rewards, ends
    and infos, at legal and illegal actions, over several episodes.
    """
    kwargs = {**FT06, "observation": observation}
    mine = gymnasium.make_vec(ID, num_envs=3, **kwargs)
    theirs = SyncVectorEnv([lambda: gymnasium.make(ID, **kwargs)] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    assert mine.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    for name in ("observation_space", "action_space", "single_observation_space", "single_action_space"):
        assert getattr(mine, name) == getattr(theirs, name)
    assert_equal(mine.reset(seed=3), theirs.reset(seed=3))
    rng, ended = np.random.default_rng(0), 0
    for _ in range(200):
        actions = random_legal(rng, mine.action_masks())
        actions[rng.random(3) < 0.1] = rng.integers(7)
        *stepped, infos = mine.step(actions)
        *expected, expected_infos = theirs.step(actions)
        assert_equal(stepped, expected)
        assert_equal_infos(infos, expected_infos)
        assert mine.action_masks().any(axis=1).all(), "every action is a decision"
        ended += int(stepped[2].sum())
    assert ended > 6


def assert_equal(mine, theirs):
    assert gymnasium.utils.env_checker.data_equivalence(tuple(mine), tuple(theirs), exact=True)


def assert_equal_infos(mine, theirs):
    """Where the masks say that there is something, it is the same."""
    assert mine.keys() >= theirs.keys()
    assert not any(mine[f"_{key}"].any() for key in mine.keys() - theirs.keys() if not key.startswith("_"))
    for key in (key for key in theirs if not key.startswith("_")):
        mask = theirs[f"_{key}"]
        assert (mine[f"_{key}"] == mask).all(), key
        if isinstance(theirs[key], dict):
            assert_equal_infos(mine[key], theirs[key])
        else:
            for pair in zip(mine[key][mask], theirs[key][mask], strict=True):
                assert gymnasium.utils.env_checker.data_equivalence(*pair, exact=True), key


def test_a_cut_off_episode_is_truncated_and_not_terminated():
    """Its last observation is in `final_obs`, its cost in `final_info`; a terminated one says the opposite."""
    for process, column in ((toy_lotsizing.ToyProcess, 2), (CutOff, 3)):
        family = dataclasses.replace(TOY, process=process)
        envs = ProcessVectorEnv(family, toy_lotsizing.Toy(), num_envs=2)
        envs.reset(seed=0)
        for _ in range(toy_lotsizing.HORIZON):
            stepped = envs.step(np.zeros((2, 2), dtype=int))
        assert stepped[column].all() and not stepped[5 - column].any()
        infos = stepped[4]
        assert infos["_final_obs"].all() and not infos["_cost"].any()
        assert infos["final_obs"][1][4] == 1 and stepped[0][1][4] == 0, "the period at the end, and at the start"
        assert (infos["final_info"]["discount"] == toy_lotsizing.DISCOUNT).all()


def test_nothing_is_played_before_a_reset_or_after_the_end():
    env, envs = gymnasium.make(ID, **FT06).unwrapped, gymnasium.make_vec(ID, num_envs=2, **FT06)
    for one, action in ((env, 0), (envs, [0, 0])):
        with pytest.raises(ResetNeeded, match="call reset"):
            one.step(action)
    play(env)
    assert not env.action_masks().any()
    with pytest.raises(ResetNeeded, match="call reset"):
        env.step(0)


# what is played -----------------------------------------------------------------------------------------------------


@given(shops(**EVERY_MODE), st.integers(0, 100), st.sampled_from(["flat", "graph"]))
@profile(max_examples=80)
def test_observations_lie_in_their_space_and_rewards_are_the_solutions_cost(shop, seed, observation):
    """At either half-step; the solution verifies, and its cost is minus the sum of rewards."""
    env = gymnasium.make(ID, instance=shop, observation=observation).unwrapped
    rng = np.random.default_rng(seed)
    seen, _ = env.reset(seed=seed)
    assert env.observation_space.contains(seen)
    rewards, is_over = [], False
    while not is_over:
        seen, reward, terminated, truncated, info = env.step(random_legal(rng, env.action_masks()))
        assert env.observation_space.contains(seen) and env.observation_space.contains(info["post_decision"])
        assert not info["illegal_action"] and reward == -info["cost"]
        rewards.append(reward)
        is_over = terminated or truncated
    report = registry.find_problem("jobshop").verify(env.instance, env.scenario, env.solution())
    assert report.is_feasible
    assert -sum(rewards) == pytest.approx(report.cost, abs=1e-9) == info["solution_cost"]


def test_a_discounted_episode_costs_what_the_verifier_says():
    env = orl.gym.ProcessEnv(TOY, toy_lotsizing.Toy())
    info = play(env, seed=1, choose=lambda masks: random_legal(np.random.default_rng(0), masks.reshape(2, 3)))[1]
    assert info["solution_cost"] == pytest.approx(TOY.verify(env.instance, env.scenario, env.solution()).cost)


def test_an_episode_depends_on_seed_environment_and_number_alone():
    """Neither on how many environments there are nor on the others' play; a single environment is number 0."""
    few, many = (gymnasium.make_vec(ID, num_envs=n, **FAILING) for n in (2, 5))
    costs = solution_costs(few, 7, 3)
    assert solution_costs(many, 7, 3)[:2] == costs
    assert solution_costs(few, 8, 3) != costs
    assert solution_costs(few, 7, 3, lambda masks: masks.shape[1] - 1 - masks[:, ::-1].argmax(axis=1)) != costs
    assert solution_costs(few, 7, 3) == costs
    single = gymnasium.make(ID, **FAILING)
    assert [play(single, seed)[1]["solution_cost"] for seed in (7, None, None)] == costs[0]
    assert len({scenario_row(few, env, episode) for env in range(5) for episode in range(5)}) == 25, (
        "no two episodes of a seed share a row"
    )


def scenario_row(envs, env, episode):
    return envs._episodes._draws.draw(7, env, episode)[1].rows


def test_purposes_are_played_on_scenarios_of_their_own():
    costs = {p: solution_costs(gymnasium.make_vec(ID, num_envs=2, purpose=p, **FAILING), 0, 4) for p in orl.Purpose}
    assert len({str(value) for value in costs.values()}) == 3


def test_without_a_seed_environments_differ_and_go_on():
    one, other = (gymnasium.make(ID, **FAILING) for _ in range(2))
    assert [play(one)[1]["solution_cost"] for _ in range(4)] != [play(other)[1]["solution_cost"] for _ in range(4)]


def test_instances_are_drawn_anew_for_each_episode():
    """From a sequence, padded to its largest, or by a function of a random generator, padded to `fit`."""
    env = gymnasium.make(ID, instance=["jobshop/ft06", orl.load("jobshop/la01"), "jobshop/ft20"]).unwrapped
    assert env.action_space.n == 21
    names = [(env.reset(seed=0) if k == 0 else env.reset()) and env.instance.name for k in range(20)]
    assert set(names) == {"ft06", "la01", "ft20"}
    play(env)

    def make(rng):
        return draw(rng, jobs=int(rng.integers(2, 9)), machines=3)

    with pytest.raises(orl.InputError, match=r"does not fit .* as `fit`"):
        solution_costs(gymnasium.make_vec(ID, num_envs=1, instance=make), 0, 30)
    envs = gymnasium.make_vec(ID, num_envs=2, instance=make, fit="jobshop/la01")
    assert envs.single_action_space.n == 11
    costs = solution_costs(envs, 0, 5)
    assert solution_costs(gymnasium.make_vec(ID, num_envs=3, instance=make, fit="jobshop/la01"), 0, 5)[:2] == costs
    assert len(set(costs[0])) > 1


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"instance": "jobshop/ft66"}, "ft66"),
        ({"instance": []}, "at least one instance"),
        ({"instance": toy_lotsizing.Toy()}, "expected an instance of jobshop, got one of toy"),
        ({**FT06, "settings": {"buffer": "swap"}}, "buffer"),
        ({"instance": draw, "settings": {"buffers": "swap"}}, "given by name or path"),
        ({**FT06, "observation": "tree"}, "flat, graph, got 'tree'"),
        ({**FT06, "render_mode": "human"}, "rgb_array, ansi or None"),
        ({**FT06, "purpose": "test"}, "purpose must be one of train, select, evaluate, got 'test'"),
    ],
)
def test_bad_arguments_are_named(kwargs, message):
    with pytest.raises(orl.InputError, match=message):
        orl.gym.ProcessEnv("jobshop", **kwargs)
    with pytest.raises(orl.InputError, match="no features"):
        orl.gym.ProcessEnv(toy_lotsizing.PROBLEM, toy_lotsizing.Toy())


def test_an_option_of_reset_is_refused_rather_than_ignored():
    with pytest.raises(ValueError, match="no options, got instance"):
        gymnasium.make(ID, **FT06).reset(options={"instance": "jobshop/la01"})


# actions ------------------------------------------------------------------------------------------------------------


def test_an_illegal_action_becomes_the_lowest_legal_one_and_is_flagged():
    env, same = (gymnasium.make(ID, **FT06).unwrapped for _ in range(2))
    env.reset(seed=0), same.reset(seed=0)
    _, _, _, _, info = env.step(6)
    assert info["illegal_action"]
    assert not same.step(0)[-1]["illegal_action"]
    assert (env.action_masks() == same.action_masks()).all()
    with pytest.raises(orl.IllegalAction, match="whole numbers"):
        env.step(0.5)


def test_actions_of_several_machines_and_of_targets():
    legal = np.array([[[True, True, False], [False, True, True]]])
    machines = Decision("per_machine", width=3, machines=2)
    assert [x.tolist() for x in to_process(machines, np.array([[1, 2]]), legal)] == [[[1, 2]], [False]]
    assert [x.tolist() for x in to_process(machines, np.array([[2, 2]]), legal)] == [[[0, 2]], [True]]
    targets, bounds = Decision("targets", width=2), np.array([[[0.0, 10.0], [4.0, 10.0]]])
    assert [x.tolist() for x in to_process(targets, np.array([[-0.5, 1]]), bounds)] == [[[1, 10]], [False]]
    assert [x.tolist() for x in to_process(targets, np.array([[2, np.nan]]), bounds)] == [[[4, 10]], [True]]
    assert orl.gym.single.action_space(targets).shape == (2,)
    with pytest.raises(TypeError, match="bounds, not masks"):
        orl.gym.single.action_masks(targets, bounds)


# copies and pictures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copied_environment_stands_where_the_original_stood(copied):
    env = gymnasium.make(ID, **FAILING).unwrapped
    play(env, seed=5)
    env.reset()
    env.action_space.seed(3)
    for _ in range(17):
        observation = env.step(lowest_legal(env.action_masks()))[0]
    twin = copied(env)
    assert (twin._episodes.observe()[0] == observation).all()
    assert twin.spec == env.spec and twin.action_space.sample() == env.action_space.sample()
    for _ in range(10):
        action = lowest_legal(env.action_masks())
        assert_equal(env.step(action), twin.step(action))
    assert play(env)[0] == play(twin)[0], "and the next episode is the same"
    assert play(copied(gymnasium.make(ID, **FAILING).unwrapped), 5) is not None


def test_a_pickled_vector_environment_keeps_how_it_was_made():
    envs = gymnasium.make_vec(ID, num_envs=2, **FAILING).unwrapped
    assert solution_costs(pickle.loads(pickle.dumps(envs)), 4, 2) == solution_costs(envs, 4, 2)


@pytest.mark.parametrize(
    ("name", "told"),
    [("LotSizing", {"instance": "lotsizing/15x5-a"}), ("HydroThermal", {"instance": "hydrothermal/case3"}),
     ("CapacitatedLotSizing", {"instance": "lotsizing/X11417A", "settings": {"overtime": 50.0, "variation": 0.3}}),
     ("LLMServing", {"instance": "llmserving/poisson", "settings": {"requests": 9}})],
)  # fmt: skip
@pytest.mark.parametrize("steps", [0, 1, 6])
def test_what_is_drawn_is_played_on_the_scenario_of_the_episode(name, told, steps):
    """Of demand or requests that are drawn, from the beginning on, where nothing is done yet."""
    env = gymnasium.make(f"orl.gym:orl/{name}-v0", render_mode="rgb_array", **told)
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(steps):
        env.step(env.action_space.sample())
    assert env.render().shape[2] == 3


def test_pictures_of_what_was_done_so_far():
    env = gymnasium.make(ID, render_mode="rgb_array", **FT06)
    env.reset(seed=0)
    first = env.render()
    play(env)
    last = env.render()
    assert first.dtype == np.uint8 and first.shape == last.shape and first.shape[2] == 3
    assert (first != last).any()
    envs = gymnasium.make_vec(ID, num_envs=2, render_mode="ansi", **FT06)
    envs.reset(seed=0)
    assert [("cost so far 0; legal actions: [0, 1, 2, 3, 4, 5]" in text) for text in envs.render()] == [True, True]
    toy = orl.gym.ProcessEnv(TOY, toy_lotsizing.Toy(), render_mode="ansi")
    toy.reset(seed=0)
    toy.step([0, 1])
    assert "legal actions: [[0, 1], [0, 1, 2]]" in toy.render() and "machine_1" in toy.render()
    with pytest.raises(orl.InputError, match="no pictures"):
        orl.gym.ProcessEnv(TOY, toy_lotsizing.Toy(), render_mode="rgb_array").render()
