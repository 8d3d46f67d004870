"""Every registered family, process, rule and method keeps the contracts; so does a toy of another decision form."""

import pickle

import numpy as np
import pytest
import toy_lotsizing
from hypothesis import given
from hypothesis import settings as profile
from servers import servers
from shops import shops

import orl
from orl import registry, testing

TRAINED = {("jobshop", "ppo"), ("lotsizing", "ppo")}  # a policy comes with ORL; to others test_ppo trains one
PAIRS = [
    (problem, solver)
    for problem in registry.problem_names()
    for solver in [
        *registry.solver_names(registry.find_problem(problem)),
        *registry.rules_of(registry.find_problem(problem)),
    ]
    if solver not in ("ppo", "pdppo", "ts-ddr", "ts-ldr") or (problem, solver) in TRAINED
]
SMALL = {
    "clsp": "lotsizing/X11117A",
    "jobshop": "jobshop/ft06",
    "lotsizing": "lotsizing/setting_2items_VI",
    "hydrothermal": "hydrothermal/case3",
    "llmserving": "llmserving/theory-40",
}
NEEDED = {"clsp": {"overtime": 50.0}}  # by policies
OTHERS = {
    ("clsp", "sddp"): ("lotsizing/X11117A", {"setups": "relaxed", "overtime": 50.0}),
    ("llmserving", "rollout"): ("llmserving/crowded", {"requests": 2}),  # a file's requests have no futures
    ("lotsizing", "cp-sat"): ("lotsizing/pigment15a", {}),  # no shortage
    ("lotsizing", "layers"): ("lotsizing/pigment15a", {}),
}
FEWER = {"llmserving": {"requests": 4}}  # for methods: schedules of more are not looked through
QUICK = {
    "best-of": {"runs": 20},
    "tabu": {"iterations": 2000},
    "sddp": {"iterations": 20},
    "rollout": {"futures": 1},
    "rolling": {"replan_time": 10},  # a limit, for busy machines
}


@pytest.mark.parametrize("name", registry.problem_names())
def test_family_keeps_the_contract_on_a_packaged_instance(name):
    testing.check_problem(registry.find_problem(name), orl.load(SMALL[name], settings=NEEDED.get(name, {})))


@pytest.mark.parametrize("name", registry.problem_names())
def test_a_family_travels_with_the_policies_that_hold_it(name):
    """Policies that plan, try or have learned know their family, and are pickled."""
    again = pickle.loads(pickle.dumps(registry.find_problem(name)))
    assert registry.rules_of(again).keys() == registry.rules_of(registry.find_problem(name)).keys()


@given(shops())
@profile(max_examples=60)
def test_job_shop_keeps_the_contract_on_drawn_shops(shop):
    testing.check_problem(registry.find_problem("jobshop"), shop)


@given(servers())
@profile(max_examples=30)
def test_llm_serving_keeps_the_contract_on_drawn_servers(server):
    testing.check_problem(registry.find_problem("llmserving"), server)


def test_toy_with_per_machine_decisions_and_random_demand_keeps_the_contract():
    testing.check_problem(toy_lotsizing.PROBLEM, toy_lotsizing.Toy())


@pytest.mark.parametrize(("problem", "solver"), PAIRS)
def test_every_method_gives_a_verified_and_honest_result(problem, solver):
    family = registry.find_problem(problem)
    method = registry.find_solver(solver, family)
    # Kernels to compile on a new machine, or models to build for each of a hundred scenarios.
    limit = {"rollout": 300, "rolling": 60, "exact": 60, "lagrangian": 60}.get(solver, 10)
    usual = {**NEEDED.get(problem, {}), **FEWER.get(problem, {})}
    name, settings = OTHERS.get((problem, solver), (SMALL[problem], usual))
    one = orl.load(name, settings=settings)
    scenarios = 2 if (problem, solver) == ("llmserving", "rollout") else None
    testing.check_solver(family, method, one, limit, scenarios, **QUICK.get(solver, {}))


def test_policies_are_compared_on_the_same_demand():
    """Equal seeds give equal costs; more scenarios leave the first ones as they are."""
    few = orl.evaluate(toy_lotsizing.Toy(), "scarce", scenarios=3, seed=5)
    many = orl.evaluate(toy_lotsizing.Toy(), "scarce", scenarios=7, seed=5)
    assert many.costs[:3] == few.costs
    assert few.interval[0] < few.value < few.interval[1]
    assert orl.evaluate(toy_lotsizing.Toy(), "scarce", scenarios=3, seed=6).costs != few.costs
    assert orl.evaluate(toy_lotsizing.Toy(), "scarce", scenarios=3, seed=5, purpose="select").costs != few.costs


def test_a_contract_violation_is_found():
    """The checks can fail: a process that forgets the cost of set-ups is caught."""

    class Forgetful(toy_lotsizing.ToyProcess):
        def decide(self, actions):
            return 0 * super().decide(actions)

    broken = toy_lotsizing.PROBLEM.__class__(**{**vars(toy_lotsizing.PROBLEM), "process": Forgetful})
    with pytest.raises(AssertionError, match="paid cost = verified cost"):
        testing.check_problem(broken, toy_lotsizing.Toy())


def test_a_batch_may_mix_instances_of_different_sizes():
    names = ["jobshop/ft06", "jobshop/la01", "jobshop/ft20"]
    instances = [orl.load(name) for name in names]
    empty = [orl.Scenarios.deterministic()] * 3
    family = registry.find_problem("jobshop")
    mixed = family.process(instances, empty)
    costs, _ = testing.run_episodes(mixed, testing.RandomPolicy(), np.random.default_rng(0))
    for env, instance in enumerate(instances):
        assert family.verify(instance, empty[env], mixed.solution(env)).cost == costs[env]
    for name, rule in registry.rules_of(family).items():
        mixed.reset()
        whole = mixed.run(rule, np.zeros(3, dtype=np.uint64))
        single = [family.process([i], empty[:1]).run(rule, np.zeros(1, dtype=np.uint64))[0] for i in instances]
        assert whole.tolist() == single, name
