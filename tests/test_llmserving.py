"""LLM serving: the kernels keep their books, and rules do the same step by step as in one kernel."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from servers import servers

import orl
from orl.kernels_squash import squash
from orl.policy import RulePolicy
from orl.problems.llmserving import kernels_codes as codes
from orl.problems.llmserving.features import FEATURES
from orl.problems.llmserving.instance import (
    ADMIT,
    FINISH,
    RECOMPUTE,
    SWAP_OUT,
    CostModel,
    Requests,
    Serving,
    ServingSettings,
)
from orl.problems.llmserving.kernels_moves import lift
from orl.problems.llmserving.kernels_rules import comes_before
from orl.problems.llmserving.plans import follow
from orl.problems.llmserving.process import ServingProcess
from orl.problems.llmserving.rules import RULES
from orl.problems.llmserving.scenario import bound, draw, realise, sample
from orl.scenario import Scenarios
from orl.simulate import run_episodes
from orl.testing import RandomPolicy, check_process

NOTHING = Scenarios.deterministic()
FREE = CostModel([0.0, 1.0], [0.0, 0.0], [0, 1], [0, 1], np.zeros((2, 2)), [0, 1], [0, 1], np.zeros((2, 2)))


def one_server(prompts, outputs, arrivals=None, blocks=100, **settings):
    """A server whose batches take a second, without blocks, chunks, pipelining and caching unless asked for."""
    count = len(prompts)
    same = [0] * count
    asked = Requests(arrivals or same, prompts, outputs, same, same, [1.0] * count, [-1] * count, same)
    plain = {"block_size": 1, "async_scheduling": False, "enable_prefix_caching": False, **settings}
    costs = CostModel([0.0, 1.0, 1.0], [0.0, 0.0], [0, 1], [0, 1], np.zeros((2, 2)), [0, 1], [0, 1], np.zeros((2, 2)))
    return Serving("paper", asked, costs, blocks, 100, 1000, 1, ServingSettings(**plain))


def finished_at(log, count):
    """When each request's last token was known."""
    times = np.full(count, np.nan)
    for epoch, request, kind, _ in log.events.tolist():
        if kind == FINISH:
            # known at the next epoch, whose time is when the batch ended
            times[request] = log.decided[epoch] if epoch < len(log.decided) else log.end.max()
    return times


def played(instance, rule, scenario=None):
    process = ServingProcess([instance], [scenario or Scenarios.deterministic()])
    cost = process.run(RULES[rule], np.zeros(1, dtype=np.uint64))
    return float(cost[0]), process.solution(0)


def test_two_requests_on_paper():
    """Prompts are computed in one batch, a token each; then a token a second: 3 and 2 seconds in the system."""
    cost, log = played(one_server([4, 2], [3, 2]), "fcfs")
    assert cost == 5.0
    assert finished_at(log, 2).tolist() == [3.0, 2.0]


def test_a_preempted_request_computes_again_on_paper():
    """Ten blocks: prompts of 4 and 4; at time 2 both hold 5 and nothing is left, so the second gives way.

    The first has its third and fourth token at 3 and 4 alone. The second, 4 + 2 tokens known, is computed again in the
    batch of 4..5 and has its third token then; its fourth comes at 6.
    """
    cost, log = played(one_server([4, 4], [4, 4], blocks=10), "fcfs")
    assert finished_at(log, 2).tolist() == [4.0, 6.0]
    assert cost == 10.0
    assert [2, 1, codes.RECOMPUTE, 5] in log.events.tolist()


@pytest.mark.parametrize(
    ("rule", "order"),
    [("fcfs", [0, 1, 2]), ("priority", [1, 0, 2]), ("priority-seats", [1, 0, 2]), ("shortest", [2, 0, 1])],
)
def test_who_goes_first_on_paper(rule, order):
    """One seat, three requests from the beginning, of priorities 1, 0, 2 and outputs 2, 3, 1."""
    server = one_server([2, 2, 2], [2, 3, 1], max_num_seqs=1)
    server = replace(server, source=replace(server.source, priority=[1, 0, 2]))
    _, log = played(server, rule)
    assert np.argsort(finished_at(log, 3)).tolist() == order


def test_a_swapped_request_goes_on_where_it_was_on_paper():
    """As before, but its 5 blocks go out and come back, a second a block: batches wait for the copies."""
    server = one_server([4, 4], [4, 4], blocks=10, copy_us=1e6, pcie_gbs=1e6)
    cost, log = played(server, "fcfs-swap")
    assert finished_at(log, 2) == pytest.approx([4.0 + 5, 6.0 + 10])
    assert cost == pytest.approx(25.0)


def test_the_next_batch_is_decided_while_one_is_computed():
    """With async_scheduling who arrives during a batch joins the one after the next."""
    times = [played(one_server([2, 2], [9, 1], [0.0, 1.5], async_scheduling=mode), "fcfs")[1] for mode in (False, True)]
    assert [finished_at(log, 2)[1] for log in times] == [3.0, 4.0]


def check_books(process, env):
    """Blocks are held, shared or free; nothing is negative; known content is where it is said to be."""
    states, work = process._states, process._work
    num, request, sizes = states.num[env], states.request[env], work.sizes[env]
    count, total = sizes[codes.NUM_REQUESTS], sizes[codes.NUM_BLOCKS]
    blocks, contents = states.blocks[env], states.contents[env]
    holders = np.zeros(total, dtype=int)
    for one in range(count):
        offset, held = work.request[env, one, codes.OFFSET], request[one, codes.HELD]
        for block in contents[offset : offset + held, codes.TABLE]:
            holders[block] += 1
    assert (holders == blocks[:total, codes.HOLDERS]).all()
    free, at = [], blocks[total, codes.AFTER]
    while at != total:
        free.append(at)
        at = blocks[at, codes.AFTER]
    assert sorted(free) == np.flatnonzero(holders == 0).tolist() and len(free) == num[codes.FREE]
    assert num[codes.CPU_FREE] + request[:count, codes.ON_CPU].sum() == sizes[codes.CPU_BLOCKS]
    assert num[codes.CPU_FREE] >= 0 and 0 <= num[codes.NUM_RUNNING] <= sizes[codes.MAX_SEQS]
    for content in np.flatnonzero(contents[:, codes.KNOWN] >= 0):
        assert blocks[contents[content, codes.KNOWN], codes.OWNER] == content
    assert (request[:count, codes.GENERATED] <= work.request[env, :count, codes.OUTPUT]).all()
    leaving = states.leaving[env, : num[codes.LEAVING]]
    assert num[codes.OUTBOUND] == request[leaving, codes.HELD].sum(), "blocks that are free when they are copied"
    every = sizes[codes.PRIORITY_EVERY]
    assert num[codes.UPDATES] == (num[codes.ITERATIONS] // every if every > 0 else 0)


def test_who_ends_on_the_way_out_leaves_no_blocks_to_come_on_paper():
    """Swapped out while its one token is computed, a request ends before its copy does: the blocks are free at once."""
    server = one_server([4], [1], async_scheduling=True, overlap=True, copy_us=1e6, pcie_gbs=1e6)
    process = ServingProcess([server], [NOTHING])
    for action in (1, 0, 2, 0):
        assert process.observe().legal[0, action]
        process.decide(np.array([action]))
        process.reveal()
        check_books(process, 0)
    assert process._states.num[0, codes.LEAVING] == 1 and not process.observe().legal.any(), "though copies go on"


def test_time_is_told_in_iterations_on_paper():
    """One of 4 tokens runs, an iteration of 2 and 0.4 s, the other is swapped out; both have waited for 2 s."""
    costs = replace(FREE, dense=[0, 2, 2], context=[0, 10], decode=[[0, 0], [0, 1]])
    process = ServingProcess([replace(one_server([4, 4], [9, 9], copy_us=1e6), costs=costs)], [NOTHING])
    for action in (1, 3, 0, 4):
        process.decide(np.array([action]))
        process.reveal()
    rows = FEATURES.candidates(process.observe())[0]
    assert rows[1, 19] == rows[3, 19] == pytest.approx(squash(2, 100 * 2.4)), "waited"
    assert rows[1, 26] == rows[3, 26] == pytest.approx(squash(2, 10 * 2.4)), "to compute its keys again"
    assert rows[1, 27] == rows[3, 27] == pytest.approx(squash(2 * 4, 10 * 2.4)), "to copy them there and back"


@pytest.mark.parametrize(
    ("order", "column"), [(codes.BY_COUNTER, codes.COUNTER), (codes.BY_SERVED, codes.SERVED), (codes.BY_KNOWN, None)]
)
def test_clients_are_served_in_turn_by_more_than_a_little_on_paper(order, column):
    """Who runs gives way to another client if its service is ahead by more than 1000; in tokens, by any."""
    server = one_server([4, 5], [9, 9])
    server = replace(server, source=replace(server.source, client=[0, 1]))
    process = ServingProcess([server], [NOTHING])
    s, w = (type(arrays)(*(array[0] for array in arrays)) for arrays in (process._states, process._work))
    found = []
    for ahead in (1000, 1001):
        if column is not None:
            s.clients[1, column] = ahead
        found.append(bool(comes_before(s, w, 0, 1, order)))
    assert found == [column is None, True]


@pytest.mark.parametrize(("queued", "lifted"), [([1, 1, 0], 5), ([0, 0, 0], 9), ([1, 1, 1], 2), ([0, 1, 0], 9)])
def test_a_client_that_comes_back_is_lifted_on_paper(queued, lifted):
    """To the least counter of those who wait, or to that of the client let in last; not if it has been waiting."""
    server = one_server([4, 4, 4], [1, 1, 1])
    process = ServingProcess([replace(server, source=replace(server.source, client=[0, 1, 2]))], [NOTHING])
    s, w = (type(arrays)(*(array[0] for array in arrays)) for arrays in (process._states, process._work))
    s.clients[:, codes.QUEUED], s.clients[:, codes.COUNTER], s.num[codes.LAST_CLIENT] = queued, [5, 9, 2], 1
    lift(s, w, 2)
    assert s.clients[:, codes.COUNTER].tolist() == [5, 9, lifted]


@given(servers(), st.integers(0, 1000))
@profile(max_examples=60, deadline=None)
def test_blocks_are_conserved_and_every_token_is_served_once(server, seed):
    """Whatever is decided, at every step; what is paid is the weighted time in the system."""
    scenario = sample(server, seed, "evaluate", 1)
    process = ServingProcess([server], [scenario])
    policy, rng = RandomPolicy(), np.random.default_rng(seed)
    memory, total = policy.start([server], rng), 0.0
    for _ in range(50_000):
        actions, memory = policy.decide(process.observe(), memory)
        process.decide(actions)
        check_books(process, 0)
        revealed = process.reveal()
        check_books(process, 0)
        total += revealed.cost[0]
        if revealed.terminated[0]:
            break
    assert revealed.terminated[0] and not process.observe().legal.any()
    requests, log = realise(server, scenario).requests, process.solution(0)
    assert (process._states.request[0, : len(requests), codes.GENERATED] == requests.output).all()
    assert sorted(log.events[log.events[:, 2] == FINISH, 1].tolist()) == list(range(len(requests)))
    assert bound(server, scenario) <= total * (1 + 1e-9)


@given(servers(), st.sampled_from(sorted(RULES)), st.integers(0, 1000))
@profile(max_examples=60, deadline=None)
def test_a_rule_does_the_same_in_one_kernel_and_step_by_step(server, name, seed):
    scenario = sample(server, seed, "evaluate", 1)
    cost, log = played(server, name, scenario)
    stepped = ServingProcess([server], [scenario])
    policy, total = RulePolicy(RULES[name]), 0.0
    memory = policy.start([server], np.random.default_rng(0))
    for _ in range(50_000):
        actions, memory = policy.decide(stepped.observe(), memory)
        stepped.decide(actions)
        revealed = stepped.reveal()
        total += revealed.cost[0]
        if revealed.terminated[0]:
            break
    assert total == pytest.approx(cost, rel=1e-12)
    assert (stepped.solution(0).events == log.events).all()


@given(servers(), st.sampled_from(["fcfs", "vtc", "lcf"]))
@profile(max_examples=100)
def test_nobody_is_preempted_where_outputs_are_reserved(server, name):
    """Where every prompt is computed in one iteration and copies are waited for, that is; see the next test."""
    chosen = {"priorities": "file", "max_num_batched_tokens": 10_000, "overlap": False}
    settings = replace(server.settings, reserve_output=True, **chosen)
    _, log = played(replace(server, settings=settings), name)
    assert not np.isin(log.events[:, 2], [RECOMPUTE, SWAP_OUT]).any()


def test_who_copies_a_finished_turn_beside_the_computing_may_run_short_on_paper():
    """Eight blocks: 4 + 2 - 1 and 2 + 3 - 1 tokens fit, as the first ends at 2, when the other holds 3. But it is
    copied out until 7, a second a block, and the fourth block of the other is not there at 2: so it begins anew at 7.
    """
    sizes = {"blocks": 8, "reserve_output": True, "overlap": True, "copy_us": 1e6, "pcie_gbs": float("inf")}
    assert played(one_server([4, 2], [2, 3], **sizes), "fcfs")[0] == 2 + 3
    cost, log = played(one_server([4, 2], [2, 3], kv_reuse="turns", **sizes), "fcfs")
    assert cost == 2 + 8 and log.events[log.events[:, 2] == RECOMPUTE, 1].tolist() == [1]


def test_a_request_waits_until_what_runs_and_it_fit_to_the_end_on_paper():
    """Eight blocks, 4 + 3 and 2 + 3 tokens, of the last of which no keys are kept. The first ends at 3 with 6 blocks.

    The second has 4, 3 or 2 by then if it is admitted at 0, 1 or 2: at 2, and it ends at 5.
    """
    cost, log = played(one_server([4, 2], [3, 3], blocks=8, reserve_output=True), "fcfs")
    assert finished_at(log, 2).tolist() == [3.0, 5.0] and cost == 8.0
    assert played(one_server([4, 2], [3, 3], blocks=10, reserve_output=True), "fcfs")[0] == 6.0


def test_the_smallest_goes_first_on_paper():
    """Prompts of 2 and 3 fit beside one another, that of 6 beside neither. Where limits are declared, on one seat, one
    token of output for a prompt of 3 goes before nine for one of 2.
    """
    assert [played(one_server([6, 2, 3], [1, 1, 1], blocks=7), rule)[0] for rule in ("smallest", "fcfs")] == [4, 5]
    declares = [played(one_server([2, 3], [9, 1], max_num_seqs=1, reserve_output=on), "smallest")[0] for on in (0, 1)]
    assert declares == [9 + 10, 1 + 10]
    log = played(one_server([4, 2], [3, 3], blocks=8, reserve_output=True), "smallest-now")[1]
    assert finished_at(log, 2).min() == 3.0 and log.events[:2, 2].tolist() == [ADMIT, ADMIT], "though it will not fit"


@pytest.mark.parametrize("reserve_output", [False, True])
def test_limits_are_shown_only_where_requests_declare_them(reserve_output):
    process = ServingProcess([one_server([4, 2], [3, 5], [0, 9], reserve_output=reserve_output)], [NOTHING])
    assert process.observe().arrays["limit"].tolist() == [[3 * reserve_output, 0]]


def test_the_process_keeps_its_contract():
    server = draw(np.random.default_rng(3))
    check_process(lambda envs: ServingProcess([server] * envs, [Scenarios.deterministic()] * envs))


def test_servers_of_different_sizes_play_side_by_side():
    rng = np.random.default_rng(5)
    some = [draw(rng, requests=count, blocks=20 + count) for count in (2, 7, 4)]
    together = ServingProcess(some, [Scenarios.deterministic()] * 3).run(RULES["fcfs"], np.zeros(3, dtype=np.uint64))
    assert together.tolist() == [played(server, "fcfs")[0] for server in some]


def test_rules_that_know_lengths_say_so():
    """A rule that does not declare itself clairvoyant is shown no output length; what has not arrived is not seen."""
    server = draw(np.random.default_rng(4), requests=5)
    process = ServingProcess([server], [Scenarios.deterministic()])
    observation = process.observe()
    assert {name for name in RULES if RULES[name].clairvoyant} == {"shortest", "mc-sf", "mc-sf-predicted"}
    assert (observation.arrays["prompt"][0, observation.arrays["status"][0] == codes.FUTURE] == 0).all()
    assert "output" not in observation.arrays and (observation.hidden["output"][0] == server.source.output).all()
    seen = []
    spy = orl.Rule("spy", score=lambda observation: seen.append(observation.hidden) or observation.legal * 1.0)
    run_episodes(process, RulePolicy(spy), np.random.default_rng(0))
    assert seen and not any(seen)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": [0, 1]}, "prompt must be in 1.."),
        ({"outputs": [-3, 1]}, "output must be in 1.."),
        ({"arrivals": [2.0, 1.0]}, "arrivals must be sorted, got 1 after 2"),
        ({"prompts": [200, 1]}, "request 0 needs 202 tokens of KV cache"),
    ],
)
def test_requests_that_make_no_sense_are_refused(change, message):
    with pytest.raises(orl.InputError, match=message):
        one_server(**{"prompts": [4, 2], "outputs": [2, 2], **change})


@given(servers(), st.integers(0, 1000))
@profile(max_examples=20, deadline=None)
def test_what_a_network_reads_is_bounded_and_about_the_right_request(server, seed):
    process = ServingProcess([server], [sample(server, seed, "evaluate", 1)])
    policy, width = RandomPolicy(), 8 + 15 * server.num_requests
    memory = policy.start([server], np.random.default_rng(seed))
    for _ in range(10):
        observation = process.observe()
        vector, seen = FEATURES.flat(observation), FEATURES.graph(observation)
        assert vector.shape == (1, width) and (np.abs(vector) <= 1).all() and (np.abs(seen["nodes"]) <= 1).all()
        about = seen["choice_nodes"][seen["legal"]]
        assert seen["is_node"][0, about].all()
        actions, memory = policy.decide(observation, memory)
        process.decide(actions)
        process.reveal()


def test_rows_of_candidates_on_paper():
    """Ten blocks of a token, four seats. At time 1 request 0 holds 4 of a prompt of 4 and has 1 token of 3 declared;
    requests 1 and 2 (prompts 2 and 7, outputs 2 and 1) have just come; request 2 does not fit.

    An iteration takes a second. Once 1 is admitted nothing can be let in; then 0 is swapped out.
    """
    server = one_server([4, 2, 7], [3, 2, 1], [0, 1, 1], blocks=10, reserve_output=True, max_num_seqs=4, copy_us=1e6)
    process, read = ServingProcess([server], [NOTHING]), FEATURES.candidates
    for action in (1, 0):
        process.decide(np.array([action]))
        process.reveal()
    run, first, swap, second, none, third, neither = read(process.observe())[0]
    assert run[:6].tolist() == [1, 1, 0, 0, 0, 0] and first[:6].tolist() == [0, 1, 0, 0, 1, 0]
    assert swap[:6].tolist() == [0, 1, 0, 0, 0, 1] and (swap[6:] == first[6:]).all()
    assert second[:6].tolist() == [0, 1, 1, 0, 0, 0] and third[:6].tolist() == [0, 0, 1, 0, 0, 0]
    assert not none.any() and not neither.any()
    assert run[6:13] == pytest.approx([0, (6 - 1) / 10, 1 / 10, 2047 / 2048, 1 / 4, squash(2, 4), 0])
    assert run[18] == run[7] and not run[13:18].any() and not run[19:].any()
    room = 10 / 8
    assert first[13:19] == pytest.approx([squash(4, room), squash(1, room), squash(4, room), 0.4, 0.5, (5 + 4) / 10])
    assert second[13:19] == pytest.approx([squash(2, room), 0, 0, 0, 0.2, (5 - 2) / 10])
    assert third[18] == pytest.approx((5 - 7) / 10)
    mean_left = (2 + 2 + 1) / 3
    assert first[19:26] == pytest.approx([squash(1, 100), 0.5, 0, 1, squash(2, room), squash(2, mean_left), 7 / 10])
    assert third[19:26] == pytest.approx([0, 0.5, 0, 1, squash(1, room), squash(1, mean_left), 8 / 10])
    copied = 2 * 4 * (1 + 1000 / 25e9)
    assert first[26:30] == pytest.approx([squash(1, 10), squash(copied, 10), 0, 0])
    assert first[30:].tolist() == [1, 1, 1], "of those that run it is the only one"
    assert second[30:].tolist() == [1, 0.5, 1] and third[30:].tolist() == [0.5, 1, 0.5]  # work: 3 x 2 and 7.5 x 1
    process.decide(np.array([3]))
    assert not any(read(process.observe())[0, :, 1]) and read(process.observe())[0, 0, 6] == 1
    process.reveal()
    rows = read(process.observe())[0]
    assert rows[3, :5].tolist() == [0, 0, 0, 0, 1] and rows[3, 28] == 1 and rows[3, 30] == 1 and rows[1, 30] == 0.5
    process.decide(np.array([2]))
    process.reveal()
    rows = read(process.observe())[0]
    assert rows[1, :5].tolist() == [0, 0, 0, 1, 0] and rows[1, 16] == pytest.approx(0.4) and rows[0, 12] == 0.5


def test_what_is_expected_of_outputs_follows_from_what_was_seen():
    """Without limits: all tokens that are known, by the finished requests and one more."""
    process = ServingProcess([one_server([1, 1], [2, 9])], [NOTHING])
    seen = []
    for action in (1, 3, 0, 0, 0):
        process.decide(np.array([action]))
        process.reveal()
        rows = FEATURES.candidates(process.observe())[0]
        seen.append(rows[3, 23])
    room = 100 / 8
    assert seen == pytest.approx([squash(left, room) for left in (1, 1, 2, 4 / 2, 5 / 2)])


@given(servers(), st.integers(0, 30), st.integers(0, 2**32))
@profile(max_examples=60, deadline=None)
def test_rows_of_candidates_are_bounded_and_blind_to_company(server, steps, seed):
    """At either half-step; beside a larger server one is shown as alone, and 0 in the padding."""
    large = draw(np.random.default_rng(seed), requests=12, settings=server.settings)
    of = {id(one): sample(one, seed, "evaluate", 1) for one in (server, large)}
    alone = ServingProcess([server], [of[id(server)]])
    both = ServingProcess([server, large], [of[id(server)], of[id(large)]])
    rng, width = np.random.default_rng(seed), 1 + 2 * server.num_requests
    for _ in range(steps):
        observation = alone.observe()
        if not observation.legal.any():
            break
        choice = rng.choice(np.flatnonzero(observation.legal[0]))
        other = int(both.observe().legal[1].argmax())
        for half in ("decide", "reveal"):
            observation, beside = alone.observe(), both.observe()
            rows, padded = FEATURES.candidates(observation)[0], FEATURES.candidates(beside, np.array([0, 0]))
            assert np.abs(rows).max() <= 1 and (rows[:, 1] == observation.legal[0]).all()
            assert (padded[0, :width] == rows).all() and (padded[1] == padded[0]).all() and not padded[0, width:].any()
            for process, actions in ((alone, [choice]), (both, [choice, other])):
                process.decide(np.array(actions)) if half == "decide" else process.reveal()


@given(servers(), st.sampled_from(["fcfs-swap", "las", "priority-seats"]), st.integers(0, 1000))
@profile(max_examples=30, deadline=None)
def test_a_log_can_be_followed(server, rule, seed):
    scenario = sample(server, seed, "evaluate", 1)
    cost, log = played(server, rule, scenario)
    process, total = ServingProcess([server], [scenario]), 0.0
    while (observation := process.observe()).legal.any():
        total += process.decide(np.array([follow(server, log, observation, 0)]))[0]
        total += process.reveal().cost[0]
    assert total == cost and process.solution(0).events.tolist() == log.events.tolist()
