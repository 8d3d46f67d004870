"""Policies for plants that somebody else runs: they decide as in the simulator, in time, and say who answered."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shops import EVERY_MODE, scenario_of, shops

import orl
from orl import registry
from orl.errors import InputError
from orl.problems.jobshop.instance import JobShop, JobShopSettings
from orl.problems.jobshop.process import JobShopProcess
from orl.problems.jobshop.rules import RULES, choices
from orl.problems.jobshop.state import ShopState, observed_state

RUN = str(Path(__file__).parent.parent / "run.py")
JOBS = [
    {"job": "a", "operations": [["lathe", 5]], "due": 20},
    {"job": "b", "operations": [["lathe", 2], ["mill", 4]], "due": 9},
    {"job": "c", "operations": [["mill", 3], ["lathe", 1]], "ops_done": 1},
]


def as_dictionaries(shop, state: ShopState):
    keys = ("ops_done", "work_left", "started", "ready_at")
    jobs = [
        {"job": shop.job_label(j), **{key: int(getattr(state, key)[j]) for key in keys}} for j in range(shop.num_jobs)
    ]
    jobs = [{key: value for key, value in job.items() if value != -1} for job in jobs]
    down = enumerate(state.down_since.tolist())
    machines = [{"machine": shop.machine_label(m), "down_since": since} for m, since in down if since >= 0]
    return {"clock": state.clock, "jobs": jobs, "machines": machines}


@given(
    shops(**{**EVERY_MODE, "dispatch": ("non-delay",), "probabilities": (0.0, 0.05)}),
    st.integers(0, 2**32),
    st.integers(0, 12),
)
@settings(max_examples=60, deadline=None)
def test_decisions_agree_with_those_in_the_simulator(shop, seed, decisions):
    """At a drawn state of a drawn shop every rule starts the same job, asked by arrays, dictionaries or stepwise."""
    rng = np.random.default_rng(seed)
    process = JobShopProcess([shop], [scenario_of(shop, seed)])
    for _ in range(decisions):
        legal = np.flatnonzero(process.observe().legal[0])
        if not len(legal):
            return
        process.decide(np.array([rng.choice(legal)]))
        process.reveal()
    observation = process.observe()
    if not observation.legal.any():
        return
    state = observed_state(shop, observation, 0)
    arrays = {key: getattr(state, key) for key in ("clock", "ops_done", "work_left", "ready_at", "down_since")}
    plain = as_dictionaries(shop, state)
    schema = orl.schema("jobshop")
    jsonschema.validate(plain, schema)
    for rule in RULES.values():
        policy = orl.make_policy(shop, rule)
        memory = policy.policy.start([shop], np.random.default_rng(0))
        action = int(policy.policy.decide(observation, memory)[0][0])
        machine = int(observation.arrays["machine"][0, action])
        expected = {"job": action, "machine": machine}
        for question in (arrays, plain):
            answer = policy.decide(question, with_scores=True)
            assert answer.decision == expected, rule.name
            assert answer.answered_by == rule.name and not answer.note
            among = np.flatnonzero(choices(observation)[0]).tolist()
            assert sorted(answer.scores) == among and answer.scores[action] == max(answer.scores.values())
        assert policy._step(arrays, True).decision == expected
        assert policy._choose(arrays).decision == expected, "in one call of the kernel"
        jsonschema.validate(answer.decision, {**schema, "$ref": "#/$defs/decision"})


def test_a_state_may_bring_its_jobs_along():
    """SPT: b (2) before c (1)? c has one unit left on the lathe, so c goes first; EDD takes b, due at 9."""
    state = {"clock": 3, "jobs": JOBS}
    jsonschema.validate(state, orl.schema("jobshop"))
    assert orl.make_policy("jobshop", "spt").decide(state).decision == {"job": "c", "machine": "lathe"}
    assert orl.make_policy("jobshop", "edd").decide(state).decision == {"job": "b", "machine": "lathe"}
    busy = {"clock": 3, "jobs": [JOBS[0], {**JOBS[1], "work_left": 2}], "machines": [{"machine": "mill"}]}
    assert orl.make_policy("jobshop", "spt").decide(busy).decision is None
    down = {"clock": 3, "jobs": JOBS, "machines": [{"machine": "lathe", "down_since": 1}]}
    assert orl.make_policy("jobshop", "spt").decide(down).decision is None


def user_rule(instance):
    """Longest job first, whatever the machine."""
    return instance.remaining_work[instance.job_first[instance.op_job]]


def test_policies_that_look_ahead_answer_live_states_too():
    for name in ("rollout", "rolling"):
        policy = orl.make_policy("jobshop/ft06", name, {"futures": 2} if name == "rollout" else {"replan_time": 0.2})
        answer = policy.decide({"clock": 0})
        assert answer.decision and answer.answered_by == name
    assert orl.make_policy("jobshop/ft06", user_rule).decide({"clock": 0}).answered_by == "user_rule"


AT_1 = {"clock": 1, "ops_done": np.zeros(6, dtype=int)}
BAD = [
    ({"jobs": []}, "clock is missing"),
    ({"clock": -1}, "clock must be >= 0"),
    ({"clock": 1, "job": []}, "unknown key 'job'; did you mean jobs"),
    ({"clock": 1, "jobs": [{"job": 99}]}, r"jobs\[0\]: job must be a number in 0..5, got 99"),
    ({"clock": 1, "jobs": [{"job": 0, "work_left": 9}]}, "work_left must be in 0..1"),
    ({"clock": 1, "ops_done": np.array([0, 0])}, "ops_done must have 6 entries"),
    ({"clock": 1, "ops_done": np.full(6, 7)}, r"ops_done must be in 0..6"),
    ({"clock": 1, "ops_done": np.full(6, 6)}, "all jobs are complete"),
    ({"clock": 1, "ops_done": np.array([7, 0, 0, 0, 0, 0])}, "ops_done must be in 0..6, got 7 at job 0"),
    ({"clock": 1, "ops_done": np.array([0, -1, 0, 0, 0, 0])}, "ops_done must be in 0..6, got -1 at job 1"),
    ({**AT_1, "work_left": np.array([0, 0, 0, 0, 0, -1])}, "work_left must be in 0..3.*, got -1 at job 5"),
    (
        {**AT_1, "ops_done": np.array([6, 0, 0, 0, 0, 0]), "work_left": np.eye(6, dtype=int)[0]},
        "work_left must be in 0..0",
    ),
    ({"clock": 1, "ops_done": np.full(6, 0.5)}, "whole numbers"),
    ({"clock": 1, "ops_done": np.zeros(6, dtype=int), "work_left": np.array([1, 1, 1, 1, 1, 1])}, "both on machine"),
    ({"clock": 1, "ops_done": np.zeros(6, dtype=int), "down": 3}, "unknown array 'down'; known are: clock"),
    (7, "must be an object"),
]


@pytest.mark.parametrize(("state", "message"), BAD, ids=[message[:20] for _, message in BAD])
def test_a_state_that_cannot_be_is_refused_with_one_line(state, message):
    policy = orl.make_policy("jobshop/ft06", "mwr")
    with pytest.raises(InputError, match=message):
        policy.decide(state)
    assert policy.decide({"clock": 0}).decision  # and nothing is broken by it


# Jobs 0 and 1 may swap machines; job 2 is released at 9.
SWAPPING = JobShop(
    "swapping",
    machines=[[0, 1, 2], [1, 0, 2], [2, 0, 1]],
    durations=[[3, 2, 1]] * 3,
    releases=[0, 0, 9],
    settings=JobShopSettings(buffers="swap"),
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ops_done": [1, 2, 0]}, "job 0 and job 1 are both on machine 0"),
        ({"ops_done": [1, 1, 1]}, "job 2 has begun before its release"),
        ({"ready_at": [5, -1, -1]}, "ready_at must be <= clock = 4, got 5 at job 0"),
        ({"ops_done": [0, 1, 0], "work_left": [4, 0, 0]}, "work_left must be in 0..3"),
    ],
)
def test_who_holds_a_machine_or_is_to_come_is_looked_at(change, message):
    policy = orl.make_policy(SWAPPING, "mwr")
    good = {"clock": 4, "ops_done": np.array([1, 1, 0])}
    assert policy._choose(good) == (None, None), "both swap at once and nobody else is there"
    with pytest.raises(InputError, match=message):
        policy.decide({**good, **{key: np.array(values) for key, values in change.items()}})


class Slow:
    """A policy that sleeps, or fails."""

    clairvoyant = False

    def __init__(self):
        self.seconds, self.error = 0.0, None

    def start(self, instances, rng):
        return None

    def decide(self, observation, memory):
        time.sleep(self.seconds)
        if self.error:
            raise self.error
        return observation.legal.argmax(axis=1), memory


def test_whoever_is_late_or_fails_is_replaced_and_the_answer_says_so():
    slow = Slow()
    policy = orl.make_policy("jobshop/ft06", slow, budget_ms=200, fallback="spt")
    spt = orl.make_policy("jobshop/ft06", "spt").decide({"clock": 0}).decision
    assert policy.decide({"clock": 0}).answered_by == "policy"
    slow.seconds = 2.0
    late = policy.decide({"clock": 0})
    assert (late.decision, late.answered_by) == (spt, "spt") and "did not answer within 200 ms" in late.note
    assert late.milliseconds < 1000
    busy = policy.decide({"clock": 0})
    assert busy.answered_by == "spt" and "still busy" in busy.note
    slow.seconds = 0.0
    time.sleep(2.2)
    assert policy.decide({"clock": 0}).answered_by == "policy"
    slow.error = RuntimeError("no weights")
    assert "RuntimeError: no weights" in policy.decide({"clock": 0}).note
    with pytest.raises(InputError, match="budget"):
        orl.make_policy("jobshop/ft06", "mwr", fallback="spt")


def test_threads_get_the_answers_that_one_thread_gets():
    shop = orl.load("jobshop/la01")
    policy = orl.make_policy(shop, "mwr")
    states = [{"clock": 50, "ops_done": np.random.default_rng(i).integers(0, 5, 10)} for i in range(400)]
    expected = [policy.decide(state, True)[:2] for state in states]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda state: policy.decide(state, True)[:2], states)) == expected
    copy = pickle.loads(pickle.dumps(policy))
    assert copy.decide(states[0], True)[:2] == expected[0]


FORKED = """
import os, sys, warnings, orl
warnings.simplefilter("ignore")
policy = orl.make_policy("jobshop/ft06", "mwr", budget_ms=2000)
mine = policy.decide({"clock": 0})
child = os.fork()
if child == 0:
    os._exit(0 if policy.decide({"clock": 0})[:3] == mine[:3] else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_and_one_without_home_or_a_place_to_write_decide_and_print_nothing(tmp_path):
    env = {"PATH": os.environ["PATH"], "XDG_CACHE_HOME": "/proc/none", "NUMBA_CACHE_DIR": "/proc/none"}
    done = subprocess.run([sys.executable, "-c", FORKED], env=env, cwd="/", capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_command_answers_a_line_with_a_line_and_goes_on_after_a_bad_one():
    lines = [json.dumps({"clock": 3, "jobs": JOBS}), "{", json.dumps({"clock": 3, "jobs": [{"job": "x"}]}), ""]
    command = [sys.executable, RUN, "decide", "jobshop", "--solver", "mwr"]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 2 and done.stderr == ""
    assert answers[0]["decision"] == {"job": "b", "machine": "lathe"} and answers[0]["scores"] == {
        "a": 5,
        "b": 6,
        "c": 1,
    }
    assert "line 2" in answers[1]["error"] and "jobs[0].operations" in answers[2]["error"]


def test_scores_may_be_infinite_but_the_commands_json_is_json():
    """EDD scores a job without due date minus infinity; JSON has no such number, so it is null."""
    state = json.dumps({"clock": 0, "jobs": [{"job": "a", "operations": [["m", 1]]}, {**JOBS[1]}]})
    command = [sys.executable, RUN, "decide", "jobshop", "--solver", "edd"]
    done = subprocess.run(command, input=state, capture_output=True, text=True)
    answer = json.loads(done.stdout)
    assert (answer["decision"], answer["scores"]) == ({"job": "a", "machine": "m"}, {"a": None})


def test_a_family_without_live_states_says_so():
    import toy_lotsizing

    with pytest.raises(InputError, match="cannot answer live states"):
        orl.make_policy(toy_lotsizing.Toy(), next(iter(registry.rules_of(toy_lotsizing.PROBLEM))))
