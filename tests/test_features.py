"""What a network reads of a job shop: right on paper, equal in both forms, blind to padding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from shops import EVERY_MODE, scenario_of, shops

from orl.problems.jobshop.features import flat, graph
from orl.problems.jobshop.instance import Breakdowns, JobShop, JobShopSettings
from orl.problems.jobshop.kernels_features import NUM_BY_JOB, NUM_BY_MACHINE, NUM_GLOBAL
from orl.problems.jobshop.process import JobShopProcess
from orl.problems.jobshop.state import ShopState
from orl.registry import find_problem
from orl.scenario import Scenarios
from orl.testing import RandomPolicy

LARGEST = JobShop("largest", machines=[[0, 1, 2, 3, 0, 1]] * 7, durations=[[1] * 6] * 7)
JOB_IN_GRAPH = {8: 11, 10: 9, 11: 8, 14: 12, 15: 13, 16: 14}  # column of a job -> of its next operation's node


def parts(values, jobs, machines):
    """Split flat features into mask (envs, J + 1), globals, jobs (envs, J, 17), machines (envs, M, 8)."""
    mask, rest = values[:, : jobs + 1], values[:, jobs + 1 :]
    shop, rest = rest[:, :NUM_GLOBAL], rest[:, NUM_GLOBAL:]
    of_jobs, of_machines = rest[:, : jobs * NUM_BY_JOB], rest[:, jobs * NUM_BY_JOB :]
    return mask, shop, of_jobs.reshape(-1, jobs, NUM_BY_JOB), of_machines.reshape(-1, machines, NUM_BY_MACHINE)


def test_features_of_a_shop_on_paper():
    """Two jobs, two machines, at time 4: job 0 has waited since 3 for machine 1, which job 1 has just left; the mean
    duration is 11/4, the mean work of a job 11/2.
    """
    shop = JobShop("two", machines=[[0, 1], [1, 0]], durations=[[3, 2], [4, 2]], weights=[1, 3])
    process = JobShopProcess([shop], [Scenarios.deterministic()])
    for job in (0, 1):
        process.decide(np.array([job]))
        process.reveal()
    assert process.observe().arrays["clock"][0] == 4, "there is nothing to decide at 3"
    mask, shop_wide, jobs, machines = (part[0].tolist() for part in parts(flat(process.observe()), 2, 2))
    assert mask == [1, 1, 0]
    waited = 1 / (1 + 11 / 4)
    assert shop_wide == pytest.approx([0, 2 / 4, 0, 4 / (4 + 5.5)])
    work, duration = 2 / (2 + 5.5), 2 / (2 + 11 / 4)
    assert jobs[0] == pytest.approx([1, 0, 1, 0, 0, 0, 0, 0, waited, 1 / 2, work, duration, 0, 0, 0, 0, 1 / 2])
    assert jobs[1] == pytest.approx([1, 0, 1, 0, 0, 0, 0, 0, 0, 1 / 2, work, duration, 0, 0, 0, 0, 3 / 4])
    assert machines == [pytest.approx([1, 1, 0, 0, 0, work, 1 / 2, work])] * 2

    process.decide(np.array([0]))
    post = graph(process.observe())
    nodes = post["nodes"][0]
    assert nodes[:4, 2].tolist() == [1, 1, 1, 0], "started"
    assert nodes[:4, 3].tolist() == [0, 1, 0, 0], "on a machine"
    assert nodes[:4, 5].tolist() == [0, 0, 0, 1], "next of its job"
    assert nodes[:4, 10] == pytest.approx([0, work, 0, work]), "earliest completion, from now"
    assert post["choice_nodes"][0].tolist() == [-1, 3, -1] and not post["legal"].any()
    edges = [[0, 1], [2, 3], [1, 0], [3, 2], [0, 4], [1, 5], [2, 5], [3, 4], [4, 0], [5, 1], [5, 2], [4, 3]]
    assert sorted(edge for edge in post["edges"][0].T.tolist() if edge[0] >= 0) == sorted(edges)


@given(st.lists(shops(**EVERY_MODE, max_jobs=4), min_size=2, max_size=3), st.integers(0, 50))
@profile(max_examples=80)
def test_both_forms_tell_the_same_and_padding_tells_nothing(drawn, seed):
    """At every half-step of a random episode; the two forms are computed by code that is not shared."""
    batch = [*drawn, LARGEST]
    scenarios = [scenario_of(shop, seed) for shop in batch]
    process, alone = JobShopProcess(batch, scenarios), JobShopProcess(batch[:1], scenarios[:1])
    policy = RandomPolicy()
    memory = policy.start(batch, np.random.default_rng(seed))
    is_over = False
    while not is_over:
        observation = process.observe()
        actions, memory = policy.decide(observation, memory)
        own = np.where(actions[:1] == len(LARGEST.durations), alone.decision.width - 1, actions[:1])
        check_forms(process)
        check_padding(process, alone)
        process.decide(actions), alone.decide(own)
        check_forms(process)
        check_padding(process, alone)
        process.reveal()
        is_over = alone.reveal().terminated[0]


def check_forms(process):
    observation = process.observe()
    vector, nodes = flat(observation), graph(observation)["nodes"]
    jobs, machines = observation.legal.shape[1] - 1, observation.arrays["free_at"].shape[1]
    mask, shop, of_jobs, of_machines = parts(vector, jobs, machines)
    assert np.abs(vector).max() <= 1 and np.abs(nodes).max() <= 1
    assert (mask == observation.legal).all() and (shop[:, 0] == observation.post).all()
    np.testing.assert_allclose(of_machines[:, :, 1:], nodes[:, -machines:, 15:], atol=1e-6)
    env, job = np.nonzero(observation.arrays["candidate"][:, :-1] >= 0)
    node = nodes[env, observation.arrays["candidate"][env, job]]
    for column, other in JOB_IN_GRAPH.items():
        np.testing.assert_allclose(of_jobs[env, job, column], node[:, other], atol=1e-6, err_msg=str(column))
    assert (node[:, 6] == observation.legal[env, job]).all()


def check_padding(process, alone):
    """A shop beside a larger one shows what it shows alone, and 0 in the padding."""
    large, small = process.observe(), alone.observe()
    shop = process.instances[0]
    sizes = [(x.legal.shape[1] - 1, x.arrays["free_at"].shape[1]) for x in (large, small)]
    (mask, wide, jobs, machines), own = (parts(flat(x), *size) for x, size in zip((large, small), sizes, strict=True))
    n, m = shop.num_jobs, shop.num_machines
    assert (mask[0, [*range(n), -1]] == own[0][0]).all() and (wide[0] == own[1][0]).all()
    assert (jobs[0, :n] == own[2][0]).all() and (machines[0, :m] == own[3][0]).all()
    assert not jobs[0, n:].any() and not machines[0, m:].any()
    padded, bare = graph(large), graph(small)
    assert (padded["nodes"][0][padded["is_node"][0]] == bare["nodes"][0][bare["is_node"][0]]).all()
    ends = [{tuple(edge) for edge in g["edges"][0].T.tolist() if edge[0] >= 0} for g in (padded, bare)]
    shift = padded["nodes"].shape[1] - sizes[0][1] - shop.num_ops  # of the machines' numbers
    assert ends[0] == {tuple(v + shift * (v >= shop.num_ops) for v in edge) for edge in ends[1]}


@given(shops(), st.integers(0, 30), st.integers(0, 99))
@profile(max_examples=60)
def test_rows_of_candidates_are_bounded_and_about_the_right_job(shop, steps, seed):
    """Every row is within [-1, 1], 0 where there is no next operation, and column 1 is the mask."""
    family = find_problem("jobshop")
    process = family.process([shop], [family.sample(shop, seed, "evaluate", 1)[0]])
    rng, policy = np.random.default_rng(seed), RandomPolicy()
    memory = policy.start([shop], rng)
    for _ in range(steps):
        observation = process.observe()
        if not observation.legal.any():
            break
        rows = family.features().candidates(observation)[0]
        assert (family.features().candidates(observation, np.array([0, 0])) == rows).all()
        assert np.abs(rows).max() <= 1 and np.isfinite(rows).all()
        assert (rows[:, 1] == observation.legal[0]).all()
        has_next = observation.arrays["candidate"][0] >= 0
        assert (rows[:, 2] == has_next).all() and (rows[:-1][~has_next[:-1]] == 0).all()
        actions, memory = policy.decide(observation, memory)
        process.decide(actions)
        process.reveal()


def test_rows_of_candidates_on_paper():
    """Jobs (machine 0: 3, then 1: 2) and (0: 5, then 1: 1): mean duration 2.75, mean work 5.5, bound 0 + 8 + 1 = 9."""
    shop = JobShop("paper", machines=[[0, 1], [0, 1]], durations=[[3, 2], [5, 1]])
    family = find_problem("jobshop")
    process = family.process([shop], [Scenarios.deterministic()])
    first, second, wait = family.features().candidates(process.observe())[0]

    def squash(x, scale):
        return x / (abs(x) + scale)

    assert wait[:3].tolist() == [1, 0, 0] and first[:3].tolist() == second[:3].tolist() == [0, 1, 1]
    assert first[3] == pytest.approx(squash(3, 2.75)) and second[9] == pytest.approx(squash(6, 5.5))
    assert second[5] == pytest.approx(squash(2, 2.75)) and first[10] == pytest.approx(5 / 6)
    assert first[14] == pytest.approx(squash(9 - 5, 5.5)) and first[15] == 0 and second[13] == 1
    # The first first: the second starts at 3 and ends at 9, the bound. The second first: the first ends at 10.
    assert first[18] == pytest.approx(squash(3, 2.75)) and first[19] == 0
    assert second[19] == pytest.approx(squash(1, 2.75)) and first[23] == pytest.approx(squash(5 + 5 - 9, 2.75))
    assert first[21] == pytest.approx(squash(-1, 5.5)) and second[22] == pytest.approx(squash(2, 2.75))
    assert first[24] == 1 and first[25] == 1 and first[28] == pytest.approx(3 / 8) and first[29] == 0
    # From the end machine 1 has the second, then the first; machine 0 the second, whose head is later, then the first:
    # the first's operation has a tail of 6, the second's one of 1, and the outlook is 3 + 6 = 9.
    assert first[30:32].tolist() == [0, 0] and second[30] == pytest.approx(squash(6 - 9, 2.75))
    assert first[32] == pytest.approx(squash(5, 2.75)) and second[32] == pytest.approx(squash(-5, 2.75))
    assert first[33] == 0 and second[33] == pytest.approx(squash(14 - 9, 2.75))
    assert first[34] == pytest.approx(squash(14 - 9, 2.75)) and second[34] == 0
    assert first[35:37].tolist() == [0, 0]
    assert second[35:37] == pytest.approx([squash(14 - 9, 2.75), squash(14 - 9, 5.5)])


def test_rows_of_candidates_tell_of_the_floor():
    """Job 0 runs on machine 0 until 3 and goes to 1, job 1 would go from 1 to 0, job 2 waits for 0."""
    shop = JobShop(
        "floor", machines=[[0, 1, 2], [1, 0], [0, 2]], durations=[[3, 2, 4], [5, 1], [2, 1]],
        settings=JobShopSettings(buffers="swap"),
    )  # fmt: skip
    first, second, third, wait = floor_rows(shop, [0])
    third_part, mean = 1 / 3, 18 / 7
    assert first[37:42].tolist() == [1, 1, 0, 0, 0] and not second[37:42].any() and not third[37:42].any()
    assert third[44:46].tolist() == [1, 0] and third[46:48] == pytest.approx([3 / (3 + mean), third_part])
    assert second[44:48].tolist() == [0, 0, 0, 0] and first[48] == pytest.approx(third_part)  # job 2 waits
    # Where job 1 goes next is held by job 0 until 3, before it would be done at 5, and job 0 wants to come here.
    assert second[49:52].tolist() == [0, 1, 1] and second[54] == 1
    assert second[52:54] == pytest.approx([-2 / (2 + mean), third_part])
    assert second[55:59] == pytest.approx([1 / 4, 1 / 4, third_part, 1 / 4]) and third[55:57].tolist() == [0, 0]
    assert wait[57:59] == pytest.approx([third_part, 1 / 4]) and wait[6] == pytest.approx(3 / (3 + mean))


def test_rows_of_candidates_tell_of_blocked_jobs_and_machines_that_are_down():
    """At 5 job 0 has been blocked on 0 since 1, by job 1 on 1, which may go on to 2."""
    shop = JobShop(
        "blocked", machines=[[0, 1], [1, 2], [0, 2]], durations=[[1, 2], [5, 1], [3, 2]],
        settings=JobShopSettings(buffers="swap", breakdowns=Breakdowns(1e-6)),
    )  # fmt: skip
    first, second, *_ = floor_rows(shop, [0, 1])
    mean = 14 / 6
    assert first[38:41] == pytest.approx([0, 1, 4 / (4 + mean)]) and second[38:41].tolist() == [0, 1, 0]
    assert first[44:48] == pytest.approx([0, 1, 0, 1 / 3]) and second[48] == pytest.approx(1 / 3)
    state = {"clock": 9, "ops_done": [0, 1, 0], "work_left": [1, 0, 0], "down_since": [7, -1, -1]}
    moving = shop.in_motion(ShopState(**state, started=[-1] * 3, ready_at=[-1] * 3))
    family = find_problem("jobshop")
    process = family.process([moving], [family.sample(moving, 0, "evaluate", 1)[0]])
    first, second, third, _ = family.features().candidates(process.observe())[0]
    assert first[6] == pytest.approx(1 / (1 + mean)), "it can go on when the unit of work that is left is done"
    assert first[41] == pytest.approx(1 / (1 + mean)) and third[42:44] == pytest.approx([1, 2 / (2 + mean)])
    assert first[42] == 0 and second[49] == 0


def floor_rows(shop, actions):
    """Return the rows of candidates after some decisions, waits in between where nothing may start."""
    family = find_problem("jobshop")
    process = family.process([shop], [family.sample(shop, 0, "evaluate", 1)[0]])
    for action in actions:
        assert process.observe().legal[0, action]
        process.decide(np.array([action]))
        process.reveal()
    return family.features().candidates(process.observe())[0]
