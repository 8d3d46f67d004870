"""The SimPy twin of LLM serving: two requests on paper, and what must hold at every step of random play."""

from __future__ import annotations

import numpy as np
import pytest
import twins
from servers import COSTS, random_server

from orl.errors import IllegalAction
from orl.problems.llmserving.instance import (
    ADMIT,
    FINISH,
    PREFILL,
    RECOMPUTE,
    SWAP_IN,
    SWAP_OUT,
    CostModel,
    Requests,
    Serving,
    ServingSettings,
)
from orl.problems.llmserving.simpy_twin import RUN, Server, play

PLAIN = {"block_size": 1, "enable_prefix_caching": False, "async_scheduling": False, "copy_us": 0.0, "pcie_gbs": 1.0}


def server_of(rows, num_blocks, parents=None, costs=COSTS, **settings) -> Server:
    """Return a server of requests (arrival, prompt, output, weight); a block is copied in 1/8 s."""
    arrival, prompt, output, weight = zip(*rows, strict=True)
    nobody = [0] * len(rows)
    parent, shared = zip(*(parents or [(-1, 0)] * len(rows)), strict=True)
    requests = Requests(arrival, prompt, output, nobody, nobody, weight, parent, shared)
    options = ServingSettings(**{**PLAIN, **settings})
    return Server(Serving("paper", requests, costs, num_blocks, 8, 125_000_000, 1, options), requests)


def do(server: Server, *choices) -> float:
    """Decide this, then run; return the cost until the next epoch."""
    for choice in choices:
        server.decide(choice)
        assert server.reveal() == 0
    server.decide(RUN)
    return server.reveal()


def rows_of(server: Server):
    log = server.log()
    return list(zip(log.decided.tolist(), log.start.tolist(), log.end.tolist(), strict=True))


# On paper -----------------------------------------------------------------------------------------------------------

TWO = [(0, 2, 3, 1.0), (0, 2, 3, 2.0)]
BEGIN = [(0, 0, ADMIT, 0), (0, 1, ADMIT, 0), (0, 0, PREFILL, 2), (0, 1, PREFILL, 2)]


def until_it_is_full(server: Server) -> None:
    """Compute both prompts, 1 + 4/2 = 3 s, and a token each, 1 s: both have 3 tokens computed and 2 known at 4."""
    assert do(server, (0, "admit"), (1, "admit")) == 3 * 3
    assert do(server) == 3
    assert (server.now, server.c, server.g, server.held) == (4, [3, 3], [2, 2], [3, 3])
    assert RUN not in server.legal()


def test_preemption_by_recomputing() -> None:
    """6 blocks are full at 4. 1 goes; 0 ends at 5; 1 computes 2 + 2 tokens anew, 1 + 4/2 = 3 s, and ends at 8."""
    server = server_of(TWO, num_blocks=6)
    until_it_is_full(server)
    with pytest.raises(IllegalAction):
        server.decide(RUN)
    server.decide((1, "recompute"))
    assert server.legal() == [(0, "recompute"), (0, "swap-out"), RUN]  # nobody is touched twice
    assert do(server) == 3
    assert server.state == ["finished", "waiting"]
    assert do(server, (1, "admit")) == 2 * 3  # 5 + 2 * 8 in all
    assert server.is_over and server.legal() == []
    assert rows_of(server) == [(0, 0, 3), (3, 3, 4), (4, 4, 5), (5, 5, 8)]
    last = [(2, 1, RECOMPUTE, 3), (3, 0, FINISH, 0), (3, 1, ADMIT, 0), (3, 1, PREFILL, 4), (4, 1, FINISH, 0)]
    assert list(map(tuple, server.log().events.tolist())) == BEGIN + last
    assert server.served == [2 + 2 + 2 * 6] and server.counter == server.served


def test_preemption_by_swapping() -> None:
    """Batches wait 3/8 s for 3 blocks, out and in: 0 ends at 4 + 3/8 + 1, 1 at 5.375 + 3/8 + 1 = 6.75."""
    server = server_of(TWO, num_blocks=6)
    until_it_is_full(server)
    assert do(server, (1, "swap-out")) == 3 * 1.375
    assert (server.held_on_cpu, server.cpu_free, server.free) == ([0, 3], 5, 6)
    assert do(server, (1, "swap-in")) == 2 * 1.375
    assert rows_of(server)[2:] == [(4, 4.375, 5.375), (5.375, 5.75, 6.75)]
    last = [(2, 1, SWAP_OUT, 3), (3, 0, FINISH, 0), (3, 1, SWAP_IN, 3), (4, 1, FINISH, 0)]
    assert list(map(tuple, server.log().events.tolist())) == BEGIN + last


def test_copies_that_go_on_while_batches_are_computed() -> None:
    """With 8 blocks none is short; 0 goes on during the copy and ends at 5; 1 is back at 5.375 and ends at 6.375."""
    server = server_of(TWO, num_blocks=8, overlap=True)
    do(server, (0, "admit"), (1, "admit"))
    do(server)
    server.decide((1, "swap-out"))
    assert (server.free, server.held, server.held_on_cpu) == (2, [3, 3], [0, 3])  # until it is copied
    assert do(server) == 3 and server.free == 8
    server.decide((1, "swap-in"))
    assert server.batch().parts == [] and server.legal() == [RUN]
    assert do(server) == 2 * 0.375
    assert do(server) == 2
    assert rows_of(server)[2:] == [(4, 4, 5), (5, 5, 5), (5.375, 5.375, 6.375)]


def test_rounds() -> None:
    """One runs at a time. 0 comes at 2.5 and takes rounds 2.5 and 3.5; 1 comes at 3 and takes the one after."""
    server = server_of([(2.5, 9, 2, 1.0), (3, 1, 1, 1.0)], num_blocks=11, clock="rounds", max_num_seqs=1)
    assert server.legal() == [RUN] and do(server) == 0
    assert server.state == ["waiting", "future"]
    assert do(server, (0, "admit")) == 1.5
    assert server.state == ["running", "waiting"] and server.g == [1, 0]
    assert server.legal() == [(0, "recompute"), RUN]  # its 9 blocks do not fit the CPU
    assert do(server) == 2
    assert do(server, (1, "admit")) == 1
    assert rows_of(server) == [(0, 0, 0), (2.5, 2.5, 3.5), (3.5, 3.5, 4.5), (4.5, 4.5, 5.5)]


def test_two_turns_share_what_the_first_has_computed() -> None:
    """Of 0's 7 tokens 6 are computed, 3 blocks. 1 and 2 find them and compute 8 - 6 and 7 - 6 tokens, 1 + 3/2 s."""
    rows = [(0, 4, 3, 1.0), (10, 8, 1, 1.0), (10, 7, 1, 1.0)]
    parents = [(-1, 0), (0, 7), (1, 6)]
    server = server_of(rows, 5, parents, block_size=2, enable_prefix_caching=True)
    assert do(server, (0, "admit")) + do(server) + do(server) == 3 + 1 + 1
    assert server.blocks.free == [3, 4, 2, 1, 0] and do(server) == 0 and server.now == 10
    server.decide((1, "admit"))
    assert (server.c[1], server.free) == (6, 2)  # one of which its batch needs
    server.decide((2, "admit"))
    assert (server.c[2], server.free, server.blocks.holders) == (6, 2, [2, 2, 2, 0, 0])
    assert do(server) == 2 * 2.5
    assert server.log().events[-4:].tolist() == [[4, 1, PREFILL, 2], [4, 2, PREFILL, 1], [5, 1, FINISH, 0],
                                                 [5, 2, FINISH, 0]]  # fmt: skip
    assert server.blocks.free == [3, 4, 2, 1, 0]  # shared ones when the second gives them up
    assert set(server.blocks.known) == {(0, 0), (0, 1), (0, 2), (1, 3)}


def test_what_is_taken_is_known_no_more() -> None:
    """1 needs 3 of 4 blocks: the one that is empty, then the last two of 0; 2 finds one block of 0's three."""
    rows = [(0, 5, 2, 1.0), (10, 5, 1, 1.0), (20, 7, 1, 1.0)]
    server = server_of(rows, 4, [(-1, 0), (-1, 0), (0, 7)], block_size=2, enable_prefix_caching=True)
    do(server, (0, "admit"))
    do(server)
    do(server)
    do(server, (1, "admit"))
    do(server)
    assert server.now == 20 and set(server.blocks.known) == {(0, 0), (1, 0), (1, 1)}
    server.decide((2, "admit"))
    assert server.c[2] == 2


def test_two_batches_under_way() -> None:
    """The prompt takes 2 s; the batch of the second token is decided at 0, too, and the third's at 2."""
    server = server_of([(0, 2, 3, 1.0)], 5, async_scheduling=True)
    assert do(server, (0, "admit")) == 0
    assert (server.c, server.g, server.q) == ([2], [0], [1])
    assert do(server) == 2  # the time of the first token
    assert (server.c, server.g, server.q) == ([3], [1], [1])
    assert do(server) == 1
    assert server.batch().parts == []  # all is under way
    assert do(server) == 1 and server.is_over
    assert rows_of(server) == [(0, 0, 2), (0, 2, 3), (2, 3, 4), (3, 3, 3)]


@pytest.mark.parametrize("kind", ["recompute", "swap-out"])
@pytest.mark.parametrize("overlap", [False, True])
def test_a_token_under_way_outlives_preemption(kind, overlap) -> None:
    """At 0 the first token is under way, at 3 the last: the request ends at 4 wherever it is."""
    server = server_of([(0, 2, 3, 1.0)], 5, async_scheduling=True, overlap=overlap)
    do(server, (0, "admit"))
    do(server)
    do(server)
    server.decide((0, kind))
    assert (server.g, server.q, server.now) == ([2], [1], 3)
    assert do(server) == 1
    assert server.is_over and (server.free, server.cpu_free) == (5, 8)
    assert server.log().events[-1].tolist() == [4, 0, FINISH, 0]


def test_the_token_of_a_request_that_comes_back() -> None:
    """Preempted at 0 with a token under way; at 2 it has 1 token, and computes 3, 1 + 3/2 s; then one a second."""
    server = server_of([(0, 2, 3, 1.0)], 5, async_scheduling=True)
    do(server, (0, "admit"))
    assert do(server, (0, "recompute")) == 2
    assert (server.state, server.g, server.q, server.c) == (["waiting"], [1], [0], [0])
    assert do(server, (0, "admit")) == 0
    assert do(server) == 2.5
    assert do(server) == 1 and server.is_over


def test_a_copy_out_waits_for_the_batches_under_way() -> None:
    """Decided at 0 while the prompt is computed until 2, copied at 2.25; in again from 2.25 to 2.5."""
    server = server_of([(0, 2, 3, 1.0)], 5, async_scheduling=True, overlap=True)
    do(server, (0, "admit"))
    assert do(server, (0, "swap-out")) == 2
    assert (server.legal(), server.free, server.g) == ([RUN], 3, [1])
    assert do(server) == 0.25
    assert do(server, (0, "swap-in")) == 0.25
    assert do(server) == 0 and do(server) == 1 and server.g == [2]


def test_times_come_from_tables() -> None:
    """Both attentions are bilinear, and all go on beyond their tables."""
    dense = np.arange(9.0) ** 2
    costs = CostModel(dense, [0, 1, 3], [0, 2], [0, 4], [[0, 8], [2, 10]], [0, 2], [0, 10], [[0, 0], [4, 24]])
    server = server_of([(0, 1, 2, 1.0), (0, 4, 1, 1.0)], 9, costs=costs)
    # 1 token: dense 1, sequence 1, prefill (1, 0) = 1.
    assert do(server, (0, "admit")) == pytest.approx(2 * 3)
    # 1 + 4 tokens: dense of 5 = 25, sequence 3, prefill (4, 0) = 4, decode (1, 2) = half of 4 + 20 * 2 / 10.
    assert do(server, (1, "admit")) == pytest.approx(2 * (25 + 3 + 4 + 4))
    # Beyond 8 tokens 15 a token more.
    server = server_of([(0, 12, 1, 1.0)], 13, costs=costs)
    assert do(server, (0, "admit")) == pytest.approx(64 + 15 * 4 + 1 + 12)


def test_the_counter_is_lifted_when_a_client_comes() -> None:
    """Client 0 has 4 + 2 when client 1 comes and nobody waits: 6, that of the last to be admitted. Client 2: of 1."""
    requests = Requests([0, 1, 1], [4, 4, 1], [3, 1, 1], [0, 1, 2], [0] * 3, [1.0] * 3, [-1] * 3, [0] * 3)
    options = ServingSettings(**PLAIN)
    server = Server(Serving("vtc", requests, COSTS, 9, 0, 1, 1, options), requests)
    do(server, (0, "admit"))
    assert server.served == [6, 0, 0] and server.counter == [6, 6, 6]


# Random play --------------------------------------------------------------------------------------------------------


def check(server: Server) -> None:
    """What must hold at any time."""
    one, blocks = server.instance, server.blocks
    holders = [0] * one.num_blocks
    for job in server.jobs:
        assert len(set(job.blocks)) == len(job.blocks)
        for block in job.blocks:
            holders[block] += 1
    assert holders == blocks.holders
    assert sorted(blocks.free) == [block for block in range(one.num_blocks) if holders[block] == 0]
    assert {content: block for block, content in blocks.content.items()} == blocks.known
    assert server.cpu_free + sum(server.held_on_cpu) == one.cpu_blocks
    assert server.cpu_free >= sum(server.kept)
    assert [job for job in server.running if job.state != "running"] == []
    assert len(server.running) == server.state.count("running") <= one.settings.max_num_seqs
    for job in server.jobs:
        assert min(job.g, job.q, job.c, job.missing) >= 0 and job.q <= one.depth and job.g + job.q <= job.output
        assert (job.g == job.output) == (job.state == "finished")
        if job.state == "running":
            assert len(job.blocks) == -(-job.c // one.block_size)
        elif not (job.state in ("swapped", "finished") and job.is_copying):
            assert job.blocks == []
        assert server.kept[job.number] == 0 or job.state in ("running", "finished")
        assert (job.cpu > 0) == (job.state == "swapped")
        assert job.c == 0 or job.state not in ("future", "waiting")
    for client in range(server.requests.num_clients):
        mine = [job for job in server.jobs if job.client == client]
        assert server.served[client] == sum(job.prompt * job.was_admitted + 2 * job.g for job in mine)
        assert server.counter[client] >= server.served[client]


@pytest.mark.parametrize("seed", range(80))
def test_random_play(seed) -> None:
    rng = np.random.default_rng(seed)
    server = random_server(rng)
    cost, steps = 0.0, 0
    check(server)
    while not server.is_over:
        legal = server.legal()
        assert legal, "somebody may always be told something"
        chance = [{"run": 6.0, "admit": 4.0, "swap-in": 4.0}.get(kind, 0.7) for _, kind in legal]
        server.decide(legal[rng.choice(len(legal), p=np.array(chance) / sum(chance))])
        check(server)
        cost += server.reveal()
        check(server)
        steps += 1
        assert steps < 5000
    log = server.log()
    kinds, requests = log.events[:, 2], server.requests
    assert sorted(log.events[kinds == FINISH, 1].tolist()) == list(range(len(requests)))
    known_at = np.append(log.decided, server.now)
    spent = 0.0
    for epoch, request, _, _ in log.events[kinds == FINISH].tolist():
        spent += requests.weight[request] * (known_at[epoch] - requests.arrival[request])
    assert cost == pytest.approx(spent)
    assert (np.diff(log.decided) >= 0).all() and (log.start >= log.decided).all() and (log.end >= log.start).all()
    computed = log.end > log.start
    assert (log.start[computed][1:] >= log.end[computed][:-1]).all()  # one batch at a time
    assert sum(server.served) == int(requests.prompt.sum() + 2 * requests.output.sum())
    assert server.blocks.holders == [0] * server.instance.num_blocks or any(job.is_copying for job in server.jobs)


def test_play() -> None:
    """As on paper: 0 ends at 5.375, 1 at 6.75."""
    server = server_of(TWO, num_blocks=6)

    def choose(server: Server):
        legal = server.legal()
        return next((choice for choice in legal if choice[1] in ("admit", "run")), legal[-1])

    cost, log = play(server.instance, server.requests, choose)
    assert cost == 5.375 + 2 * 6.75
    assert log.end.tolist() == [3, 4, 5.375, 6.75]


@pytest.mark.parametrize("seed", range(800))
def test_the_kernels_do_what_the_twin_does(seed):
    """Whatever is decided: the same decisions are legal at every step, and costs and logs are the same."""
    rng = np.random.default_rng([7, seed])
    twins.server_decisions_agree(random_server(rng), rng)
