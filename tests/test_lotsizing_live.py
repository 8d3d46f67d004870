"""Live states of lot sizing: the answer is what the policy does in the simulated process at the same state."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from lots import lots

import orl
from orl.errors import InputError
from orl.problems.lotsizing.demand import PathDemand, binomial
from orl.problems.lotsizing.instance import LotSizing, LotSizingSettings, LotState
from orl.problems.lotsizing.process import LotSizingProcess
from orl.problems.lotsizing.rules import RULES
from orl.problems.lotsizing.scenario import draw, sample
from orl.problems.lotsizing.state import in_motion
from orl.scenario import Purpose

RUN = str(Path(__file__).parent.parent / "run.py")
SCHEMA = orl.schema("lotsizing")


def two_lines(**settings) -> LotSizing:
    """Return two machines and two items, red and blue; the second machine makes only blue."""
    return LotSizing(
        "two",
        rates=[[3, 3], [0, 2]],
        holding_costs=[1.0, 1.0],
        shortage_costs=[10.0, 10.0],
        stock_limits=[20, 20],
        demand=binomial(2, 4, 0.5),
        num_periods=8,
        setup_costs=[[1.0, 1.0], [1.0, 1.0]],
        item_names=("red", "blue"),
        machine_names=("line 1", "line 2"),
        settings=LotSizingSettings(**settings),
    )


def as_dictionaries(instance, state: LotState):
    """Return a state as a plant would write it in JSON."""
    items = [instance.item_label(item) for item in range(instance.num_items)]
    machines = [instance.machine_label(machine) for machine in range(instance.num_machines)]
    choices = ["idle", *items]
    plain = {
        "period": state.period,
        "setup": {name: choices[choice] for name, choice in zip(machines, state.setup, strict=True)},
        "stock": dict(zip(items, state.stock.tolist(), strict=True)),
        "booked": {name: choices[choice] for name, choice in zip(machines, state.booked, strict=False)},
    }
    for key in ("last_demand", "cost_factors"):
        if (values := getattr(state, key)) is not None:
            plain[key] = dict(zip(items, values.tolist(), strict=True))
    return json.loads(json.dumps(plain))


def meant(instance, observation, action):
    """Return an action as a live policy answers it."""
    labels = ["idle", *(instance.item_label(item) for item in range(instance.num_items))]
    names = [instance.machine_label(machine) for machine in range(instance.num_machines)]
    if np.ndim(action):
        return {"machines": {name: labels[choice] for name, choice in zip(names, action, strict=True)}}
    return {"machine": names[observation.arrays["machine"][0]], "item": labels[action]}


def drawn_state(instance, seed, decisions):
    """Return the process after some random decisions, at most up to its last period."""
    rng = np.random.default_rng(seed)
    process = LotSizingProcess([instance], [sample(instance, seed, Purpose.EVALUATE, 1)[0]])
    for _ in range(decisions):
        legal = process.observe().legal[0]
        actions = np.array([rng.choice(np.flatnonzero(row)) for row in np.atleast_2d(legal)])
        process.decide(actions[None] if legal.ndim == 2 else actions)
        process.reveal()
        if not process.observe().legal.any():
            return None
    return process


def in_the_simulator(policy, instance, observation):
    """Return what a policy does that remembers nothing."""
    memory = policy.policy.start([instance], np.random.default_rng(0))
    return meant(instance, observation, policy.policy.decide(observation, memory)[0][0])


@given(lots(), st.integers(0, 2**32), st.integers(0, 8))
@profile(max_examples=50, deadline=None)
def test_rules_decide_as_in_the_simulator(instance, seed, decisions):
    """At a drawn state of a drawn instance, asked by record, arrays, dictionaries, or the ordinary way."""
    process = drawn_state(instance, seed, decisions)
    if process is None:
        return
    observation = process.observe()
    state = in_motion(instance, observation, 0).state
    keys = ("period", "setup", "stock", "booked", "last_demand", "cost_factors")
    arrays = {key: getattr(state, key) for key in keys if getattr(state, key) is not None}
    plain = as_dictionaries(instance, state)
    jsonschema.validate(plain, SCHEMA)
    jsonschema.validate(json.loads(json.dumps(arrays, default=lambda array: array.tolist())), SCHEMA)
    for rule in RULES.values():
        policy = orl.make_policy(instance, rule)
        expected = in_the_simulator(policy, instance, observation)
        for question in (state, arrays, plain):
            answer = policy.decide(question, with_scores=True)
            assert answer.decision == expected, rule.name
            assert (answer.answered_by, answer.note) == (rule.name, "")
            assert len(answer.scores) == observation.legal.sum()
            assert policy.decide(question).decision == expected
        ordinary = policy._step(state, True)
        assert (ordinary.decision, ordinary.scores) == (expected, answer.scores)
        jsonschema.validate(json.loads(json.dumps(answer.decision)), {**SCHEMA, "$ref": "#/$defs/decision"})


def first_legal(observation):
    """The legal choice of the highest number."""
    return observation.legal * np.arange(observation.legal.shape[-1])


def simple(instance):
    """Return an instance in which there is nothing that `lagrangian` or `dp` does not have."""
    state, items = instance.state, instance.num_items
    return replace(
        instance,
        changeover_costs=None,
        changeover_losses=None,
        demand=binomial(items, 3, 0.4),
        settings=replace(instance.settings, unmet="lost", cost_noise=0.0),
        state=state and replace(state, stock=np.maximum(state.stock, 0), booked=[], cost_factors=None),
    )


@given(st.one_of(lots(), lots().map(simple)), st.integers(0, 2**32), st.integers(0, 6))
@profile(max_examples=40, deadline=None)
def test_policies_that_look_ahead_decide_as_in_the_simulator(instance, seed, decisions):
    """Those that take the instance; a rule of one's own always does."""
    process = drawn_state(instance, seed, decisions)
    if process is None:
        return
    observation = process.observe()
    state = as_dictionaries(instance, in_motion(instance, observation, 0).state)
    rolling = {"replan_time": 5.0, "lookahead": 2}
    known = {"lagrangian": {"iterations": 3}, "rollout": {"futures": 2}, "rolling": rolling, "dp": {}, first_legal: {}}
    for name, settings in known.items():
        try:
            policy = orl.make_policy(instance, name, settings)
            expected = in_the_simulator(policy, instance, observation)
        except InputError as error:
            assert name != first_legal and "\n" not in str(error)
            continue
        assert policy.decide(state, with_scores=True).decision == expected, name


def test_a_live_answer_on_paper():
    """Blue is short: line 1 makes it unless it is booked for red; line 2 cannot make red."""
    state = {"period": 2, "setup": {"line 1": "idle", "line 2": "idle"}, "stock": {"red": 20, "blue": 0}}
    policy = orl.make_policy(two_lines(), "greedy")
    assert policy.decide(state).decision == {"machine": "line 1", "item": "blue"}
    booked = {**state, "setup": {"line 1": "red", "line 2": "idle"}, "booked": {"line 1": "red"}}
    assert policy.decide(booked).decision == {"machine": "line 2", "item": "blue"}
    full = {**state, "stock": {"red": 20, "blue": 20}}
    assert policy.decide(full).decision == {"machine": "line 1", "item": "idle"}
    joint = orl.make_policy(two_lines(decision="joint"), "greedy").decide(state, with_scores=True)
    assert joint.decision == {"machines": {"line 1": "blue", "line 2": "blue"}}
    assert joint.scores["line 1: blue"] == 1 and "line 2: red" not in joint.scores


def test_dynamic_programming_knows_what_period_it_is():
    """Demand comes in period 2 alone: nothing is made before period 1 or after 2, whatever was simulated before."""
    path = PathDemand([[0], [0], [3], [0]])
    one = LotSizing("one", [[3]], [1.0], [10.0], [10], path, 4)
    policy = orl.make_policy(one, "dp")
    made = [policy.decide({"period": t, "setup": [0], "stock": [0]}).decision["item"] for t in range(4)]
    assert made == ["idle", "idle", "0", "idle"]


def test_dynamic_programming_says_what_it_cannot_answer():
    policy = orl.make_policy(two_lines(), "dp")
    begin = {"period": 1, "setup": {"line 1": "red", "line 2": "idle"}, "stock": {"red": 1, "blue": 0}}
    assert policy.decide(begin).decision["machine"] == "line 1"
    with pytest.raises(InputError, match="decides at the first choice of a period"):
        policy.decide({**begin, "booked": {"line 1": "red"}})
    with pytest.raises(InputError, match=r"has stock 0..20, 0..20 .* got stock \[21, 0\]"):
        policy.decide({**begin, "stock": {"red": 21, "blue": 0}})
    with pytest.raises(InputError, match=r"set-ups that the machines can make"):
        policy.decide({**begin, "setup": {"line 1": "red", "line 2": "red"}})


GOOD = {"period": 1, "setup": [0, 0], "stock": [2, 3]}
BAD = [
    (7, "must be an object with period, setup and stock, got 7"),
    ({"setup": [0, 0], "stock": [2, 3]}, "period is missing"),
    ({"period": 1, "setup": [0, 0]}, "stock is missing"),
    ({**GOOD, "stok": 1}, "unknown key 'stok'; did you mean stock"),
    ({**GOOD, "period": 8}, "period must be a whole number in 0..7, got 8"),
    ({**GOOD, "period": 1.5}, "period must be a whole number in 0..7, got 1.5"),
    ({**GOOD, "period": True}, "period must be a whole number in 0..7, got True"),
    ({**GOOD, "period": float("nan")}, "period must be a whole number"),
    ({**GOOD, "setup": "red"}, "setup must be an object, by machine, or an array, got red"),
    ({**GOOD, "setup": [0]}, r"setup must have 2 entries, got shape \(1,\)"),
    ({**GOOD, "setup": [0, 3]}, "setup must be in 0..2, got 3 at machine line 2"),
    ({**GOOD, "setup": ["red", 0]}, "setup of 'line 1' must be a whole number, got 'red'"),
    ({**GOOD, "setup": {"line 1": "red", "lin 2": "red"}}, "there is no machine 'lin 2'; did you mean line"),
    ({**GOOD, "setup": {"line 1": "red"}}, "setup must tell of every machine; machine 'line 2' is missing"),
    ({**GOOD, "setup": {"line 1": "bleu", "line 2": "red"}}, "of 'line 1' must be an item or 'idle', got 'bleu'; did"),
    ({**GOOD, "stock": {"red": 1, "blue": None}}, "stock of 'blue' must be a whole number, got 'None'"),
    ({**GOOD, "stock": {"red": 1, "blue": True}}, "stock of 'blue' must be a whole number, got 'True'"),
    ({**GOOD, "stock": np.array([0.5, 1])}, "stock of 'red' must be a whole number, got '0.5'"),
    ({**GOOD, "stock": np.array(4)}, r"stock must have 2 entries, got shape \(\)"),
    ({**GOOD, "stock": [[1, 2], [3]]}, r"stock of 'red' must be a whole number, got '\[1, 2\]'"),
    ({**GOOD, "stock": [1, 2, "x"]}, "stock of 2 must be a whole number"),
    ({**GOOD, "stock": [-1, 0]}, "stock must be >= 0, unless unmet=backlog, .* got -1 at item red"),
    ({**GOOD, "stock": [0, 2**40]}, r"stock must be .* below 2\*\*40, got 1099511627776 at item blue"),
    ({**GOOD, "stock": [0, 2**70]}, "stock of 'blue' must be a whole number"),
    ({**GOOD, "booked": [0, 0]}, "booked must be choices of fewer than all 2 machines"),
    ({**GOOD, "booked": {"line 2": "blue"}}, "be of the first machines, in their order; machine 'line 1' is missing"),
    ({**GOOD, "booked": [1]}, "setup must be what it is after what is booked, 1, got 0 at machine line 1"),
    ({**GOOD, "last_demand": [1, -1]}, "last_demand must be >= 0 .* got -1 at item blue"),
    ({**GOOD, "cost_factors": [1, 1]}, "cost_factors are for instances with cost_noise"),
    (LotState(1, [0, 0], [1], []), r"stock must have 2 entries, got shape \(1,\)"),
    (LotState(1, [0, 0], [1, 1], 0), r"booked must be choices .* got shape \(\)"),
]


@pytest.mark.parametrize(("state", "message"), BAD, ids=[message[:30] for _, message in BAD])
def test_a_state_that_cannot_be_is_refused_with_one_line(state, message):
    for name in ("greedy", "rollout"):
        policy = orl.make_policy(two_lines(), name)
        with pytest.raises(InputError, match=message) as error:
            policy.decide(state)
        assert "\n" not in str(error.value)
        assert policy.decide(GOOD).decision  # and nothing is broken by it


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf"), "x"])
def test_cost_factors_are_positive_numbers_and_1_unless_told(factor):
    policy = orl.make_policy(two_lines(cost_noise=0.5), "greedy")
    with pytest.raises(InputError, match="cost_factors"):
        policy.decide({**GOOD, "cost_factors": [1.0, factor]})
    seen = policy._live.read(policy.instance, GOOD)
    assert seen.state.cost_factors.tolist() == [1.0, 1.0]


def test_a_machine_is_not_booked_for_what_it_cannot_make():
    swapped = replace(two_lines(), rates=[[0, 2], [3, 3]])
    with pytest.raises(InputError, match="booked: machine line 1 cannot make choice 1"):
        orl.make_policy(swapped, "greedy").decide({**GOOD, "booked": {"line 1": "red"}})


@pytest.mark.parametrize("policy", ["greedy", "rollout", "lagrangian", first_legal])
def test_without_an_instance_nothing_can_be_said(policy):
    with pytest.raises(InputError, match=r"instance .*known|none is given"):
        orl.make_policy("lotsizing", policy)


def test_an_instance_that_goes_on_does_not_go_back():
    ahead = two_lines().derived(state=LotState(3, [0, 0], [1, 1], []))
    policy = orl.make_policy(ahead, "greedy")
    assert policy.decide({**GOOD, "period": 3}).decision
    with pytest.raises(InputError, match="period must be >= 3, where the instance goes on, got 1"):
        policy.decide(GOOD)


def test_a_budget_a_copy_and_threads_change_no_answer():
    instance = draw(np.random.default_rng(3), items=6, machines=3, periods=20)
    rng = np.random.default_rng(0)
    states = [{"period": 4, "setup": np.zeros(3, int), "stock": rng.integers(0, 20, 6)} for _ in range(20)]
    plain = orl.make_policy(instance, "greedy")
    expected = [plain.decide(state).decision for state in states]
    hurried = orl.make_policy(instance, "greedy", budget_ms=5000, fallback="keep")
    copy = pickle.loads(pickle.dumps(plain))
    for policy in (hurried, copy):
        assert [policy.decide(state).decision for state in states] == expected
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda state: plain.decide(state).decision, 50 * states)) == 50 * expected
    late = orl.make_policy(instance, "rollout", {"futures": 500}, budget_ms=1).decide(states[0])
    assert (late.answered_by, late.decision) == ("greedy", expected[0]) and "did not answer within 1 ms" in late.note


def test_the_command_answers_a_line_with_a_line_and_goes_on_after_a_bad_one():
    names = [str(i) for i in range(5)]
    state = {"period": 0, "setup": {str(m): "idle" for m in names}, "stock": {str(i): 9 for i in range(15)}}
    lines = [json.dumps(state), "{", json.dumps({**state, "period": -1}), json.dumps({**state, "stock": [1]})]
    command = [sys.executable, RUN, "decide", "lotsizing/15x5-a", "--solver", "greedy"]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 2 and done.stderr == ""
    assert answers[0]["decision"]["machine"] == "0" and answers[0]["answered_by"] == "greedy"
    assert re.match("line 3: .*period must be .*got -1", answers[2]["error"])
    assert "line 2" in answers[1]["error"] and "15 entries" in answers[3]["error"]
    family = [sys.executable, RUN, "decide", "lotsizing", "--solver", "greedy"]
    done = subprocess.run(family, input="", capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "instance that is known" in done.stderr
