"""LLM serving on the way: a server goes on from what an observation shows, in futures that agree with it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from servers import engines, servers
from test_llmserving import one_server

import orl
from orl.errors import InputError
from orl.problems.llmserving import kernels_codes as codes
from orl.problems.llmserving.generate import ANSWER_S, generate
from orl.problems.llmserving.instance import Generator, Requests, Serving, ServingLog
from orl.problems.llmserving.process import ServingProcess
from orl.problems.llmserving.rules import RULES
from orl.problems.llmserving.scenario import bound, realise, sample, tiny_costs
from orl.problems.llmserving.state import in_motion, observed_state
from orl.problems.llmserving.verify import verify
from orl.registry import find_problem
from orl.scenario import Purpose, Scenarios
from orl.simulate import run_episodes
from orl.testing import RandomPolicy

ANEW = (
    "counters",
    "touched",
    "engine",
    "running",
)  # looked at apart: the log begins anew; `engine` counts clients of the whole scenario


@st.composite
def generators(draw_from, **settings):
    """Servers whose requests are drawn, small and of every mode."""
    made = replace(draw_from(engines()), max_num_batched_tokens=64, **settings)
    law = Generator(
        arrivals=draw_from(st.sampled_from(["poisson", "bursty", "conversations"])),
        rate=draw_from(st.sampled_from([0.5, 20.0])),
        count=draw_from(st.integers(1, 8)),
        prompt_mean=6,
        output_mean=6,
        spread=draw_from(st.sampled_from([0.0, 1.0])),
        longest=20,
        turns=3.0,
        think_s=0.1,
        clients=3,
    )
    size = 1 if made.clock == "rounds" else made.block_size
    return Serving("drawn", law, tiny_costs(), -(-40 // size) + 1, 2 * (-(-40 // size)), 2**18, 2, made)


def row_of(one, seed):
    return sample(one, seed, Purpose.EVALUATE, 1)[0]


def played(one, scenario, steps, seed):
    """A server after so many random decisions, and what these cost; always before the end."""
    process, policy, paid = ServingProcess([one], [scenario]), RandomPolicy(), 0.0
    memory = policy.start([one], np.random.default_rng(seed))
    for _ in range(steps):
        actions, memory = policy.decide(process.observe(), memory)
        if process._states.num[0, codes.UNFINISHED] == 1 and actions[0] == 0:
            break  # this might be the end
        process.decide(actions)
        paid += float(process.reveal().cost[0])
    return process, paid


def assert_same_sight(own, other):
    """Two observations of one environment show the same, but for numbers of epochs and events."""
    for name, array in own.arrays.items():
        if name not in ANEW:
            assert (array == other.arrays[name]).all(), name
    assert (own.legal == other.legal).all()
    count = own.arrays["counters"][0, codes.NUM_RUNNING]
    assert (own.arrays["running"][0, :count] == other.arrays["running"][0, :count]).all()
    touched = [o.arrays["touched"] == o.arrays["counters"][:, codes.EPOCH, None] for o in (own, other)]
    assert (touched[0] == touched[1]).all()
    counters = [np.delete(o.arrays["counters"], [codes.EPOCH, codes.EVENTS], axis=1) for o in (own, other)]
    assert (counters[0] == counters[1]).all()


@given(servers(), st.integers(0, 120), st.sampled_from([None, *sorted(RULES)]), st.integers(0, 2**20))
@profile(max_examples=150, deadline=None)
def test_a_server_in_motion_goes_on_as_the_one_that_it_was(server, steps, name, seed):
    """In every mode, rebuilt from an observation, by rules and by random decisions: the same costs and events."""
    scenario = row_of(server, seed)
    process, _ = played(server, scenario, steps, seed)
    before = process.solution(0)
    moving = replace(server, state=observed_state(server, process.observe(), 0))
    again = ServingProcess([moving], [scenario])
    assert_same_sight(process.observe(), again.observe())
    seeds, costs = np.zeros(1, dtype=np.uint64), []
    for one in (process, again):
        costs.append(
            run_episodes(one, RandomPolicy(), np.random.default_rng(seed))[0]
            if name is None
            else one.run(RULES[name], seeds)
        )
    assert costs[0] == costs[1]
    whole, rest = process.solution(0), again.solution(0)
    assert (whole.decided[len(before.decided) :] == rest.decided).all()
    assert (whole.end[len(before.decided) :] == rest.end).all()
    assert (whole.events[len(before.events) :, 1:] == rest.events[:, 1:]).all()


def test_copies_on_their_way_out_end_in_the_order_in_which_they_began():
    """The second request is preempted first, then the third, then the first; whose copy ends when goes on."""
    server = one_server([4, 3, 5], [9, 9, 9], overlap=True, copy_us=1e6, pcie_gbs=1e6)
    process = ServingProcess([server], [Scenarios.deterministic()])
    for action in (1, 3, 5, 0, 4, 6, 2):
        assert process.observe().legal[0, action]
        process.decide(np.array([action]))
        process.reveal()
    moving = replace(server, state=observed_state(server, process.observe(), 0))
    again = ServingProcess([moving], [Scenarios.deterministic()])
    for one in (process, again):
        assert one._states.leaving[0, :3].tolist() == [1, 2, 0] and one._states.num[0, codes.LEAVING] == 3


@given(generators(), st.integers(0, 120), st.integers(0, 2**20))
@profile(max_examples=80, deadline=None)
def test_what_has_been_seen_is_seen_in_every_future(one, steps, seed):
    """Whoever looks at a future sees what there was to see; what is yet to come comes later, and an end can be met."""
    process, _ = played(one, row_of(one, seed), steps, seed)
    observation = process.observe()
    moving = in_motion(one, observation, 0)
    futures = list(sample(moving, seed + 1, Purpose.TRAIN, 4))
    several = ServingProcess([moving] * 4, futures)
    for env, future in enumerate(futures):
        alone = ServingProcess([moving], [future])
        assert_same_sight(observation, alone.observe())
        assert_same_sight(moving_view(several.observe(), env), alone.observe())
        requests, state = realise(moving, future).requests, moving.state
        if state is not None:
            assert (requests.arrival[len(state.seen) :] > state.now).all()
        assert np.isfinite(run_episodes(alone, RandomPolicy(), np.random.default_rng(seed))[0]).all()


def moving_view(observation, env):
    arrays = {name: array[env : env + 1] for name, array in observation.arrays.items()}
    return replace(observation, arrays=arrays, legal=observation.legal[env : env + 1])


@given(generators(priorities="file"), st.integers(0, 120), st.sampled_from(sorted(RULES)), st.integers(0, 2**20))
@profile(max_examples=50, deadline=None)
def test_past_and_future_are_one_log_that_the_verifier_accepts(one, steps, name, seed):
    """What was done, and a rule in a drawn future, on the requests of this future: at the cost of both."""
    process, paid = played(one, row_of(one, seed), steps, seed)
    moving, past = in_motion(one, process.observe(), 0), process.solution(0)
    future = row_of(moving, seed + 1)
    again = ServingProcess([moving], [future])
    cost = again.run(RULES[name], np.zeros(1, dtype=np.uint64))[0]
    rest = again.solution(0)
    events = rest.events + np.array([len(past.decided), 0, 0, 0])
    log = ServingLog(
        *(np.append(getattr(past, key), getattr(rest, key)) for key in ("decided", "start", "end")),
        events=np.concatenate([past.events, events]),
    )
    settings = replace(one.settings, prediction_noise=0.0)
    report = verify(
        replace(one, source=realise(moving, future).requests, settings=settings), Scenarios.deterministic(), log
    )
    assert report.is_feasible, report.violations
    assert report.cost == pytest.approx(paid + cost)


@given(generators(priorities="file"), st.integers(0, 120), st.integers(0, 2**20))
@profile(max_examples=50, deadline=None)
def test_futures_do_not_depend_on_what_is_hidden(one, steps, seed):
    """Two truths that have looked the same so far have the same futures."""
    one = replace(one, settings=replace(one.settings, prediction_noise=0.0))
    truth = row_of(one, seed)
    process, _ = played(one, truth, steps, seed)
    moving = in_motion(one, process.observe(), 0)
    other = replace(one, source=realise(moving, row_of(moving, seed + 1)).requests)
    twin = ServingProcess([other], [Scenarios.deterministic()])
    policy = RandomPolicy()
    memory = policy.start([one], np.random.default_rng(seed))
    first = ServingProcess([one], [truth])
    for _ in range(steps):
        if first._states.num[0, codes.EVENTS] == process._states.num[0, codes.EVENTS] and (
            first._states.num[0, codes.EPOCH] == process._states.num[0, codes.EPOCH]
        ):
            break
        actions, memory = policy.decide(first.observe(), memory)
        for each in (first, twin):
            each.decide(actions)
            each.reveal()
    mine, theirs = (in_motion(one, each.observe(), 0) for each in (first, twin))
    for row in range(3):
        a, b = (realise(each, sample(each, 7, Purpose.TRAIN, 3)[row]).requests for each in (mine, theirs))
        for key in Requests.__dataclass_fields__:
            assert (getattr(a, key) == getattr(b, key)).all(), key


def continued(law, seen, now, count=4000, **told):
    """Requests that go on from those seen at a time, of many scenarios."""
    state = type("Seen", (), {"seen": seen, "now": now, "is_told": np.zeros(len(seen), dtype=bool), **told})
    rng = np.random.default_rng(0)
    return [generate(law, rng.random((law.count, 8)), state)[0] for _ in range(count)]


def test_an_answer_under_way_is_one_of_those_that_are_longer():
    law = Generator(count=1, output_mean=50, spread=1.0, longest=500)
    seen = Requests([0.0], [10], [80], [0], [0], [1.0], [-1], [0])
    found = np.array([one.output[0] for one in continued(law, seen, 1.0)])
    plain = generate(replace(law, count=200_000), np.random.default_rng(1).random((200_000, 8)))[0].output
    longer = plain[plain >= 80]
    assert found.min() >= 80
    for share in (0.1, 0.5, 0.9):
        assert np.quantile(found, share) == pytest.approx(np.quantile(longer, share), rel=0.05)


def test_a_gap_that_has_begun_is_one_of_those_that_are_longer():
    """Bursts: after five times the mean gap without anybody, the next is awaited longer than a mean gap from now."""
    law = Generator(arrivals="bursty", count=2, rate=1.0, burstiness=3.0)
    seen = Requests([2.0], [10], [1], [0], [0], [1.0], [-1], [0])
    found = np.array([one.arrival[1] for one in continued(law, seen, 7.0)]) - 2.0
    plain = np.diff(generate(replace(law, count=400_000), np.random.default_rng(1).random((400_000, 8)))[0].arrival)
    longer = plain[plain > 5.0]
    assert found.min() >= 5.0
    for share in (0.1, 0.5, 0.9):
        assert np.quantile(found, share) == pytest.approx(np.quantile(longer, share), rel=0.06)


def test_a_silent_conversation_is_more_likely_to_be_over():
    """Three turns on average and 10 s of thought: over with 1/3 at once, with 1/3 / (1/3 + 2/3 e^-2) after 20 s."""
    law = Generator(arrivals="conversations", count=2, rate=1.0, turns=3.0, think_s=10.0, longest=4096)
    seen = Requests([0.0], [10], [40], [0], [0], [1.0], [-1], [0])
    for silent, expected in ((0.0, 1 / 3), (20.0, 1 / (1 + 2 * np.exp(-2)))):
        now = ANSWER_S * 40 + silent
        found = continued(law, seen, now, is_told=np.ones(1, dtype=bool))
        assert np.mean([one.parent[1] == -1 for one in found]) == pytest.approx(expected, abs=0.03)
        turns = [one for one in found if one.parent[1] == 0]
        assert all(one.shared[1] == 50 and one.prompt[1] > 50 for one in turns)
        assert np.mean([one.arrival[1] - now for one in turns]) == pytest.approx(10.0, rel=0.08)


def test_a_next_turn_tells_how_long_the_answer_is():
    """It repeats prompt and answer, though the answer is not finished here; one that was cut tells the least."""
    law = Generator(arrivals="conversations", count=2, longest=100, output_mean=10)
    for prompt, shared, outputs in ((60, 50, {40}), (100, 100, set(range(90, 101)))):
        seen = Requests([0.0, 5.0], [10, prompt], [shared - 10, 1], [0, 0], [0, 0], [1.0, 1.0], [-1, 0], [0, shared])
        assert {int(one.output[0]) for one in continued(law, seen, 6.0, count=300)} <= outputs


def test_requests_of_a_file_have_no_futures():
    one = orl.load("llmserving/theory-40")
    process = ServingProcess([one], [Scenarios.deterministic()])
    with pytest.raises(InputError, match="there are no futures to try; take an instance with \\[generator\\]"):
        in_motion(one, process.observe(), 0)


def test_a_server_in_motion_can_only_be_simulated(tmp_path):
    one = orl.load("llmserving/crowded", settings={"requests": 6})
    scenario = row_of(one, 0)
    process, _ = played(one, scenario, 10, 0)
    moving = in_motion(one, process.observe(), 0)
    for refused in (
        lambda: verify(moving, scenario, process.solution(0)),
        lambda: bound(moving, scenario),
        lambda: find_problem("llmserving").save(moving, tmp_path / "moving.toml"),
    ):
        with pytest.raises(InputError, match="crowded: a server in motion can only be simulated"):
            refused()


@pytest.mark.parametrize("settings", [{}, {"reserve_output": True}])
def test_rollout_knows_no_more_than_its_base_and_is_better(settings):
    """Five crowded servers, the same each time; futures follow from the seed, so fewer servers have the same costs."""
    one = orl.load("llmserving/crowded", settings={"requests": 16, "rate": 30.0, **settings})
    told = {"base": "fcfs", "futures": 3}
    result = orl.solve(one, "rollout", settings=told, scenarios=3, time_limit=None)
    assert result.verified
    assert result.value < orl.solve(one, "fcfs", scenarios=3).value
    assert orl.solve(one, "rollout", settings=told, scenarios=2, time_limit=None).costs == result.costs[:2]
