"""Tabu search: the kernel's graph against a plain longest path, results that verify, and what it reaches."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shops import shops

import orl
from orl import cli
from orl.problems.jobshop import kernels_tabu as kernels
from orl.problems.jobshop.instance import JobShop
from orl.problems.jobshop.local_search import TabuSearch
from orl.solver import Control

NEIGHBOURHOODS = st.sampled_from(("N5", "N6", "N7"))
SETTINGS = {"iterations": 300, "patience": 20, "elite": 3}


def start_of(shop, rule="random", seed=0):
    return orl.solve(shop, rule, seed=seed).solutions[0]


def longest_paths(shop, sequences):
    """Return ends, tails with the own duration, and the makespan; a cycle is an AssertionError."""
    job_of, duration = shop.op_job.tolist(), shop.op_duration.tolist()
    after = {o: [o + 1] if o + 1 < shop.num_ops and job_of[o + 1] == job_of[o] else [] for o in range(shop.num_ops)}
    for sequence in sequences:
        for a, b in pairwise(sequence):
            after[a].append(b)
    missing = [0] * shop.num_ops
    for followers in after.values():
        for b in followers:
            missing[b] += 1
    order = [o for o in after if missing[o] == 0]
    head = [int(shop.releases[job]) for job in job_of]
    for a in order:
        for b in after[a]:
            head[b] = max(head[b], head[a] + duration[a])
            missing[b] -= 1
            if missing[b] == 0:
                order.append(b)
    assert len(order) == shop.num_ops, "the graph has a cycle"
    tail = duration[:]
    for a in reversed(order):
        tail[a] += max((tail[b] for b in after[a]), default=0)
    ends = [h + d for h, d in zip(head, duration, strict=True)]
    return ends, tail, max(ends)


def sequences_of(search, shop):
    """Return the machine sequences by following the kernel's links, both ways."""
    node, node_of = search._node, search._node_of.tolist()
    none, op_of = len(node) - 1, {n: o for o, n in enumerate(node_of)}
    sequences = []
    for machine in range(shop.num_machines):
        on = [node_of[o] for o in np.flatnonzero(shop.op_machine == machine)]
        sequence = [o for o in on if node[o, kernels.BEFORE] == none]
        assert len(sequence) == min(1, len(on))
        while sequence and (after := int(node[sequence[-1], kernels.AFTER])) != none:
            assert node[after, kernels.BEFORE] == sequence[-1]
            sequence.append(after)
        assert sorted(sequence) == on
        sequences.append([op_of[o] for o in sequence])
    return sequences


@given(shops(max_jobs=6, max_ops=6), NEIGHBOURHOODS, st.integers(0, 99))
@settings(max_examples=150)
def test_after_every_move_the_graph_is_acyclic_and_its_longest_paths_are_right(shop, neighbourhood, seed):
    """With zero durations, recirculation, releases and restarts."""
    search = TabuSearch(shop, start_of(shop, seed=seed), seed, neighbourhood, patience=7, elite=2)
    search.bound = -1.0
    for _ in range(15):
        search.improve(1)
        ends, tails, makespan = longest_paths(shop, sequences_of(search, shop))
        ours = search._node[search._node_of]
        assert ours[:, kernels.END].tolist() == ends
        assert ours[:, kernels.TAIL].tolist() == tails
        assert search._state[kernels.MAKESPAN] == makespan
        assert search._node[search._order, kernels.PLACE].tolist() == list(range(shop.num_ops))


@given(shops(max_jobs=6, max_ops=6), NEIGHBOURHOODS, st.integers(0, 99))
@settings(max_examples=60)
def test_every_result_verifies_and_is_not_worse_than_its_start(shop, neighbourhood, seed):
    start = orl.solve(shop, "random", seed=seed)
    result = orl.solve(
        shop, "tabu", seed=seed, settings={**SETTINGS, "start": "random", "neighbourhood": neighbourhood}
    )
    assert result.verified and result.value <= start.value
    assert (result.status == "optimal") == (result.value == shop.makespan_bound())


@given(shops(max_jobs=3, max_machines=3, max_ops=3))
@settings(max_examples=25)
def test_no_result_beats_the_optimum(shop):
    optimum = orl.solve(shop, "cp-sat", settings={"threads": 1}, time_limit=20)
    assert orl.solve(shop, "tabu", settings=SETTINGS).value >= optimum.value


@pytest.mark.parametrize(("name", "optimum"), [("ft06", 55), ("la01", 666), ("la05", 593)])
def test_the_optimum_of_small_shops(name, optimum):
    result = orl.solve(f"jobshop/{name}", "tabu", settings={"iterations": 20_000})
    assert (result.value, result.verified) == (optimum, True)
    assert result.status == ("feasible" if name == "ft06" else "optimal")  # the cheap bound of ft06 is 52


@pytest.mark.parametrize("neighbourhood", ["N5", "N6", "N7"])
def test_ft10_comes_close(neighbourhood):
    done = {"iterations": 300_000, "neighbourhood": neighbourhood}
    assert orl.solve("jobshop/ft10", "tabu", settings=done).value <= 945


def test_equal_seeds_and_iterations_give_equal_results_however_the_calls_are_cut():
    shop = orl.load("jobshop/la21")
    whole, cut = (TabuSearch(shop, start_of(shop, "mwr"), seed=3, patience=100, elite=3) for _ in range(2))
    whole.improve(5000)
    for piece in (1, 99, 100, 1, 700, 4099):
        cut.improve(piece)
    assert whole.iterations == cut.iterations == 5000 and whole.restarts == cut.restarts > 5
    assert whole.solution().start.tolist() == cut.solution().start.tolist()
    results = [orl.solve(shop, "tabu", settings={"iterations": 5000}, seed=seed) for seed in (4, 4, 5)]
    assert results[0].solutions[0].start.tolist() == results[1].solutions[0].start.tolist()
    assert results[0].solutions[0].start.tolist() != results[2].solutions[0].start.tolist()


def test_the_elite_holds_what_is_new():
    shop = orl.load("jobshop/ft06")
    search = TabuSearch(shop, start_of(shop), elite=2)
    a, b = search._random_order(), search._random_order()
    for makespan, order in ((70, a), (60, b), (60, b), (65, a)):
        search._enter_elite(makespan, order)
    assert [makespan for makespan, _ in search._elite] == [65, 60]


@given(shops(), st.integers(0, 99), st.floats(0, 1))
@settings(max_examples=50)
def test_between_two_orders_lies_what_both_agree_on(shop, seed, weight):
    search = TabuSearch(shop, start_of(shop), seed)
    a, b = search._random_order(), search._random_order()
    first, second, between = (search._places(x) for x in (a, b, search._between(a, b, weight)))
    for o in range(shop.num_ops):
        for other in np.flatnonzero((first > first[o]) & (second > second[o])):
            assert between[o] < between[other]


class Impatient(Control):
    """Interrupts at the third improvement."""

    def report(self, *args, **kwargs):
        super().report(*args, **kwargs)
        if len(self.trace) == 3:
            self.interrupt()


def test_an_interruption_keeps_the_best():
    control = Impatient()
    result = orl.solve("jobshop/ta41", "tabu", control=control)
    assert (result.status, result.verified) == ("interrupted", True)
    assert result.value == control.trace[-1][1] < control.trace[0][1]


def test_a_time_limit_is_kept():
    orl.solve("jobshop/ft06", "tabu", settings={"start": "spt", "iterations": 1})  # compiles
    result = orl.solve("jobshop/ta71", "tabu", settings={"start": "spt"}, time_limit=0.5)
    assert result.verified and result.seconds < 3


def test_it_starts_from_any_policy():
    start = orl.solve("jobshop/ft06", "rollout")
    result = orl.solve("jobshop/ft06", "tabu", settings={"start": "rollout", "iterations": 1})
    assert result.verified and result.value <= start.value


CLASSIC = {"machines": [[0, 1], [1, 0]], "durations": [[3, 2], [2, 4]]}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"buffers": "swap"}, "got buffers=swap"),
        ({"objective": "flow-time"}, "got objective=flow-time"),
        ({"breakdowns.probability": 0.01}, "tabu is for instances in which nothing is random"),
    ],
)
def test_what_does_not_fit_is_one_line_and_exit_code_2(settings, message, capsys):
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    assert cli.main(["solve", "jobshop/ft06", "--solver", "tabu", *words]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert message in error[-1] and "Traceback" not in error[0]


def test_downtime_motion_and_size_are_refused():
    with pytest.raises(orl.InputError, match="got machines that go down"):
        orl.solve(JobShop("plan", **CLASSIC, calendar=[(0, 1, 2)]), "tabu")
    with pytest.raises(orl.InputError, match="below 2\\*\\*27"):
        orl.solve(JobShop("long", machines=[[0] * 12_000], durations=[[1] * 12_000]), "tabu", settings={"start": "spt"})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": "exact"}, "start must be a policy"),
        ({"start": "sptt"}, "unknown solver 'sptt'"),
        ({"iterations": 0}, "iterations must be >= 1"),
        ({"iterations": 2**40}, "iterations must be <= 2,000,000,000"),
        ({"elite": 1}, "elite must be >= 2"),
        ({"tenure": 0.0}, "tenure must be > 0"),
        ({"neighbourhood": "N4"}, "neighbourhood"),
    ],
)
def test_misuse_is_told(settings, message):
    with pytest.raises(orl.InputError, match=message):
        orl.solve("jobshop/ft06", "tabu", settings=settings)


def test_a_single_job_or_machine_is_optimal_at_once():
    for shop in (JobShop("job", [[0, 1, 0]], [[1, 0, 2]]), JobShop("machine", [[0], [0]], [[1], [2]])):
        result = orl.solve(shop, "tabu", time_limit=None)
        assert (result.status, result.value) == ("optimal", 3)
