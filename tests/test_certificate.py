"""Without buffers a move is legal if the jobs in the shop can still all leave it."""

from functools import cache

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import settings as profile
from hypothesis import strategies as st

import orl
from orl.problems.jobshop.instance import JobShop, JobShopSettings
from orl.problems.jobshop.kernels_certificate import _is_known, can_all_leave, search_room
from orl.problems.jobshop.process import JobShopProcess
from orl.scenario import Scenarios


def found(routes, done):
    """What the kernel says of jobs that are on their `done`-th machine."""
    first = np.cumsum([0, *map(len, routes)])
    machines = np.concatenate([np.array(route, dtype=np.int64) for route in routes])
    size = max(len(routes), 1 + int(machines.max()))
    room = np.zeros(search_room(size), dtype=np.int64)
    room[: len(routes)] = first[:-1] + np.array(done)
    room[size : size + len(routes)] = first[1:]
    return bool(can_all_leave(machines, room, len(routes), size))


def exhaustive(routes, done):
    """The same from its definition: any sequence of single moves."""

    @cache
    def can_leave(position):
        inside = {routes[job][op - 1]: job for job, op in enumerate(position) if op < len(routes[job])}
        return not inside or any(
            inside.get(routes[job][position[job]], job) == job
            and can_leave((*position[:job], position[job] + 1, *position[job + 1 :]))
            for job in inside.values()
        )

    return can_leave(tuple(done))


@st.composite
def positions(draw):
    """Jobs on machines of their own, in the midst of routes that may come back to a machine."""
    machines = draw(st.integers(2, 6))
    jobs = draw(st.integers(1, machines))
    held = draw(st.permutations(range(machines)))
    routes, done = [], []
    for job in range(jobs):
        before = draw(st.lists(st.integers(0, machines - 1), max_size=2))
        after = draw(st.lists(st.integers(0, machines - 1), max_size=6))
        routes.append([*before, held[job], *after])
        done.append(len(before) + 1)
    return routes, done


@given(positions())
@example(([[0, 1], [1, 0]], [1, 1]))  # each wants the machine that the other has
@example(([[0, 1, 2], [1, 0, 2]], [1, 1]))
@example(([[0, 1, 2], [1, 2, 0]], [1, 1]))  # one steps aside
@profile(max_examples=500)
def test_the_search_finds_a_way_out_if_there_is_one(case):
    assert found(*case) == exhaustive(*case)


@pytest.mark.parametrize(
    ("machines", "legal"),
    [
        (
            [[0, 1], [1, 0], [2]],
            [False, False, True, True],
        ),  # the second would hold what the first needs, and wait for it
        ([[0], [1, 2], [1, 0]], [False, True, True, True]),  # who has not begun is in nobody's way
    ],
)
def test_who_may_begin_when_the_first_has_on_paper(machines, legal):
    shop = JobShop("few", machines, [[1] * len(route) for route in machines], settings=JobShopSettings(buffers="none"))
    process = JobShopProcess([shop], [Scenarios.deterministic()])
    process.decide(np.array([0]))
    process.reveal()
    assert process.observe().legal[0].tolist() == legal


def test_positions_of_equal_keys_are_compared():
    keys = np.array([7, 7])
    assert _is_known(np.array([1, 2, 1, 2]), keys, 1, 2) and not _is_known(np.array([1, 2, 2, 1]), keys, 1, 2)


@pytest.mark.parametrize("size", [(8, 6), (6, 9)])
def test_large_positions(size):
    """Drawn ones of full-sized routes, of which some can leave and some cannot."""
    jobs, machines = size
    rng = np.random.default_rng(0)
    answers = set()
    for _ in range(60):
        routes = [rng.permutation(machines).tolist() for _ in range(jobs)]
        done, taken = [], set()
        for route in routes:
            place = int(rng.integers(1, machines))
            while place < machines and route[place - 1] in taken:
                place += 1
            done.append(place)
            if place < machines:
                taken.add(route[place - 1])
        answers.add(exhaustive(routes, done))
        assert found(routes, done) == exhaustive(routes, done)
    assert answers == {True, False}


def test_a_shop_never_stops_where_the_search_is_cut():
    """As it is on a 20x20 shop; after what was allowed there is always a move."""
    none, swap = (
        orl.solve(orl.load("jobshop/ta21", settings={"buffers": buffers}), "mwr") for buffers in ("none", "swap")
    )
    assert none.verified and none.value < 2 * swap.value
