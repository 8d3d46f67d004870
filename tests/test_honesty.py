"""A method's claims are not believed: value, bound and status are held to what the verifier finds."""

import threading
import time

import numpy as np
import pytest
import toy_lotsizing
from hypothesis import given, settings
from shops import shops

import orl
from orl import api, registry, testing
from orl.compare import compare
from orl.hindsight import is_met
from orl.policy import RulePolicy
from orl.problems.jobshop.instance import Schedule
from orl.problems.jobshop.process import JobShopProcess
from orl.run import run_method
from orl.scenario import generator
from orl.simulate import simulate
from orl.solver import Control, NoSettings, Outcome, Solver


def liar(**claims):
    """Return a method that gives SPT's schedule of ft06 (88) and claims what it likes."""

    def solve(task):
        solution = orl.solve("jobshop/ft06", "spt").solutions[0]
        return Outcome(**{"status": orl.Status.OPTIMAL, "solutions": [solution], **claims})

    return Solver("liar", "", NoSettings, lambda problem: True, solve=solve)


def test_optimal_is_believed_only_at_the_bound():
    result = orl.solve("jobshop/ft06", liar(bound=60.0, bound_kind="proven"))
    assert (result.status, result.bound, result.verified) == ("feasible", 60, True)


def test_a_wrong_value_is_a_violation():
    result = orl.solve("jobshop/ft06", liar(value=80.0))
    assert not result.verified
    assert {violation.kind for violation in result.violations} == {"cost"}


def test_a_bound_above_the_value_is_a_violation_and_no_bound():
    result = orl.solve("jobshop/ft06", liar(bound=90.0, bound_kind="proven"))
    assert (result.bound, result.bound_kind, result.gap) == (None, "none", None)
    assert [violation.kind for violation in result.violations] == ["bound"]
    assert result.solutions


def test_a_broken_solution_is_reported_not_raised():
    broken = Schedule([-1], [0], [0], [0], [3])
    result = orl.solve("jobshop/ft06", liar(solutions=[broken]))
    assert not result.verified
    assert result.gap is None


def test_a_large_cost_is_not_optimal_because_it_is_nearly_so():
    assert not is_met(300_000_000_147.0, 300_000_000_141.0)
    assert is_met(930.0, 930.0)


@given(shops(max_jobs=3, max_machines=3, max_ops=3))
@settings(max_examples=25)
def test_no_policy_beats_the_hindsight_optimum_and_that_is_not_below_the_relaxation(shop):
    optimum = orl.solve(shop, "cp-sat", settings={"threads": 1}, time_limit=20)
    assert optimum.status == "optimal"
    assert optimum.value >= shop.makespan_bound()
    for rule in ("spt", "mwr", "random"):
        assert orl.solve(shop, rule).value >= optimum.value


def test_a_time_limit_ends_a_slow_policy_with_what_is_done():
    """A score rule that sleeps is stopped within its episode; nothing half-simulated is reported."""

    def slow(observation):
        time.sleep(0.05)
        return np.zeros(observation.legal.shape)

    started = time.perf_counter()
    result = orl.evaluate("jobshop/ft10", slow, time_limit=0.3)
    assert time.perf_counter() - started < 3
    assert (result.status, result.value, result.solutions) == ("no-solution", None, [])


def test_another_thread_may_interrupt():
    control = Control()
    threading.Timer(0.3, control.interrupt).start()
    result = orl.solve("jobshop/ta41", "best-of", settings={"runs": 10**8}, control=control)
    assert result.status == "interrupted"
    assert result.verified


class Patient:
    """The first legal choice, asked for one environment at a time; calls `meanwhile` before each decision."""

    clairvoyant, batch = False, 1

    def __init__(self, meanwhile=lambda count: None):
        self.decisions, self.meanwhile = 0, meanwhile

    def start(self, instances, rng):
        return None

    def decide(self, observation, memory):
        self.decisions += 1
        self.meanwhile(self.decisions)
        return observation.legal.argmax(axis=-1), memory


def run_patient(policy, control, make=lambda: None, scenarios=5):
    def made(task):
        make()
        return policy

    method = Solver("patient", "", type(None), lambda problem: True, policy=made)
    return run_method(toy_lotsizing.PROBLEM, toy_lotsizing.Toy(), method, None, scenarios=scenarios, control=control)


def test_a_policy_whose_making_is_interrupted_is_simulated_all_the_same(capsys):
    whole = run_patient(Patient(), Control())
    control = Control(verbose=True)
    cut = run_patient(Patient(), control, control.interrupt)
    assert (cut.status, cut.costs) == ("interrupted", whole.costs) and whole.status == "feasible"
    assert "interrupted: the policy is simulated as it is by now" in capsys.readouterr().err


@pytest.mark.parametrize(("reason", "status"), [("interrupted", "interrupted"), ("out of time", "feasible")])
def test_what_is_simulated_before_the_end_is_told(reason, status):
    """In the third of five scenarios; the second interruption, where the first one ended the making."""
    whole = run_patient(Patient(), Control())
    control = Control()

    def end(count):
        if count > 2 * toy_lotsizing.HORIZON:
            control.interrupt() if reason == "interrupted" else setattr(control, "time_limit", 0.0)

    cut = run_patient(Patient(end), control, control.interrupt if reason == "interrupted" else lambda: None)
    assert (cut.status, cut.costs, cut.scenarios) == (status, whole.costs[:2], 5)
    assert cut.verified and cut.value == np.mean(whole.costs[:2])


def test_small_batches_draw_what_large_ones_do():
    rows = toy_lotsizing.PROBLEM.sample(toy_lotsizing.Toy(), 0, "evaluate", 7)
    large, small = testing.RandomPolicy(), testing.RandomPolicy()
    small.batch = 2
    costs = [simulate(toy_lotsizing.PROBLEM, toy_lotsizing.Toy(), one, rows).costs.tolist() for one in (large, small)]
    assert costs[0] == costs[1] and len(set(costs[0])) > 1


def test_a_control_keeps_the_best_whoever_reports():
    control = Control()
    workers = [threading.Thread(target=lambda s=s: [control.report(value=float(v)) for v in range(400 + s, s, -1)])
               for s in range(4)]  # fmt: skip
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    values = [value for _, value, _ in control.trace]
    assert values == sorted(values, reverse=True)
    assert values[-1] == 1


def test_streams_do_not_collide():
    """Neither a longer key nor a large seed leads into another stream."""
    first = [generator(0, "train", 3), generator(0, "train", 3, 0), generator(2**32, "evaluate", 5)]
    first += [generator(0, "train", 3, 5), generator(0, "train", 5, 3)]
    assert len({rng.random() for rng in first}) == 5


def test_the_file_of_a_stochastic_solution_is_checked_on_its_own_scenarios(tmp_path):
    toy = toy_lotsizing.Toy()
    result = orl.evaluate(toy, "scarce", scenarios=3, seed=5, purpose="select")
    orl.save_result(toy, result, tmp_path / "a.json")
    orl.save_result(toy, result, tmp_path / "a.csv")
    assert orl.check(toy, tmp_path / "a.json").cost == pytest.approx(result.value)
    assert orl.check(toy, result).cost == pytest.approx(result.value)
    assert orl.check(toy, tmp_path / "a.csv", seed=5, purpose="select").cost == pytest.approx(result.value)
    assert orl.check(toy, tmp_path / "a.csv").cost != pytest.approx(result.value)


def test_a_mistake_in_the_last_swept_value_costs_nothing():
    with pytest.raises(orl.InputError, match="expected `int`"):
        compare("jobshop/ft06", ["best-of"], sweep=("runs", ["1", "2.5"]))


def test_a_partial_reset_waits_for_reveal_and_must_fit():
    shop, big = orl.load("jobshop/ft06"), orl.load("jobshop/ft10")
    process = JobShopProcess([shop] * 2, [orl.Scenarios.deterministic()] * 2)
    with pytest.raises(ValueError, match="ft10 does not fit"):
        process.reset([0], [big])
    assert process.instances[0] is shop
    process.decide(np.array([0, 1]))
    with pytest.raises(RuntimeError, match="reveal"):
        process.reset([1])


def test_a_scalar_table_is_refused_wherever_it_is_used():
    shop = orl.load("jobshop/ft06")
    policy = RulePolicy(orl.Rule("scalar", table=lambda instance: 1.0))
    with pytest.raises(orl.InputError, match="one-dimensional"):
        policy.start([shop], np.random.default_rng(0))


def test_a_result_is_checked_by_the_settings_of_its_instance_though_the_method_has_one_of_the_same_name(tmp_path):
    """Lot sizing and `exact` both know a `start`; settings and the file tell the one from the other."""
    both = {"lotsizing": {"start": "random"}, "exact": {"start": "none"}}
    result = orl.solve("lotsizing/setting_2items_VI", "exact", scenarios=1, settings=both)
    assert (result.settings["start"], result.settings["exact.start"]) == ("random", "none")
    orl.save_result(orl.load("lotsizing/setting_2items_VI"), result, tmp_path / "plan.json")
    assert orl.check("lotsizing/setting_2items_VI", tmp_path / "plan.json").cost == pytest.approx(result.value)


def test_a_policy_that_holds_another_is_asked_itself():
    """A wrapper of somebody's own is not unwrapped, whatever it calls what it holds."""

    class Counting:
        clairvoyant, asked = False, 0

        def __init__(self, policy):
            self.policy = policy
            self.start = policy.start

        def decide(self, observation, memory):
            self.asked += 1
            return self.policy.decide(observation, memory)

    counting = Counting(api.policy_of(registry.find_problem("jobshop"), None, "spt"))
    assert orl.evaluate("jobshop/ft06", counting).value == 88 and counting.asked == 36
    live = orl.make_policy("jobshop/ft06", "spt")
    assert orl.evaluate("jobshop/ft06", live).value == 88, "a live policy is asked for the one that it holds"


def test_a_result_keeps_its_trace_when_its_reins_are_used_again():
    control = Control()
    first = orl.solve("jobshop/ft06", "best-of", settings={"runs": 20, "rule": "spt"}, control=control)
    before = list(first.trace)
    orl.solve("jobshop/ft06", "tabu", settings={"iterations": 2000}, control=control)
    assert first.trace == before != control.trace
