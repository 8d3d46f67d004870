"""SDDP on graphs of linear stages: published values, and the deterministic equivalent of drawn trees."""

import json
import pickle
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.sparse import block_diag, csr_array, lil_array

from orl import linear
from orl.linear import LinearProgram, NotSolved
from orl.solvers.sddp.cuts import CutPool
from orl.solvers.sddp.node import Node
from orl.solvers.sddp.risk import AVaR, Entropic, Expectation, Mixture, WorstCase
from orl.solvers.sddp.stopping import IntervalRule
from orl.solvers.sddp.train import Sddp, train
from orl.stages import Edge, Operated, Stage, StageGraph

FREE = np.inf


def reservoir(cost, inflows=(0.0, 50.0, 100.0), demand=150.0, name="stage"):
    """Columns: volume before and after, hydro, thermal, spill; a reservoir of 200."""
    return Stage(
        cost=np.array([0, 0, 0, cost, 0.0]),
        lower=np.array([-FREE, 0, 0, 0, 0]),
        upper=np.array([FREE, 200, FREE, FREE, FREE]),
        matrix=csr_array(np.array([[-1, 1, 1, 0, 1.0], [0, 0, 1, 1, 0]])),
        row_lower=np.array([0, demand]),
        row_upper=np.array([0, demand]),
        incoming=np.array([0]),
        outgoing=np.array([1]),
        noise_rows=np.array([0]),
        noises=np.array(inflows)[:, None],
        probabilities=np.full(len(inflows), 1 / len(inflows)),
        name=name,
    )


def tutorial(**changes):
    graph = StageGraph.line([reservoir(cost, name=f"stage {cost}") for cost in (50.0, 100.0, 150.0)], np.array([200.0]))
    return replace(graph, **changes)


def trained(graph, iterations=40, seed=0, **options):
    sddp = Sddp(graph, **options)
    return sddp, train(sddp, np.random.default_rng(seed), lambda log: len(log) >= iterations, time.perf_counter)


def equivalent(graph):
    """Return the optimal expected cost of a graph without cycles, all its ways written out as one linear program."""
    blocks, cost, low, high, row_low, row_high, links = [], [], [], [], [], [], []
    width = 0

    def grow(edges, parent, weight):
        nonlocal width
        for edge in edges:
            stage = graph.stages[edge.node]
            for number, probability in enumerate(stage.probabilities):
                first, now = width, weight * edge.probability * probability
                slopes = np.zeros(stage.matrix.shape)
                if stage.noise_slopes is not None:
                    slopes[np.ix_(stage.noise_rows, stage.incoming)] = stage.noise_slopes[number]
                blocks.append(csr_array(stage.matrix.toarray() - slopes))
                width += len(stage.cost)
                cost.append(now * stage.cost)
                lower, upper = stage.lower.copy(), stage.upper.copy()
                if parent is None:
                    lower[stage.incoming] = upper[stage.incoming] = graph.initial
                else:
                    links.extend(zip(parent, first + stage.incoming, strict=True))
                low.append(lower)
                high.append(upper)
                raised = np.zeros(len(stage.row_lower))
                raised[stage.noise_rows] = stage.noises[number]
                row_low.append(stage.row_lower + raised)
                row_high.append(stage.row_upper + raised)
                grow(graph.children[edge.node], first + stage.outgoing, now * graph.discount)

    grow(graph.root, None, 1.0)
    matrix, row_low, row_high = csr_array(block_diag(blocks)), np.concatenate(row_low), np.concatenate(row_high)
    equal = row_low == row_high
    tie = lil_array((len(links), width))
    for row, (out, into) in enumerate(links):
        tie[row, out], tie[row, into] = 1, -1
    above, below = ~equal & np.isfinite(row_high), ~equal & np.isfinite(row_low)
    from scipy.sparse import vstack

    found = linprog(
        np.concatenate(cost),
        A_eq=vstack([matrix[equal], csr_array(tie)]) if links else matrix[equal],
        b_eq=np.concatenate([row_low[equal], np.zeros(len(links))]),
        A_ub=vstack([matrix[above], -matrix[below]]) if above.any() or below.any() else None,
        b_ub=np.concatenate([row_high[above], -row_low[below]]) if above.any() or below.any() else None,
        bounds=list(zip(np.concatenate(low), np.concatenate(high), strict=True)),
    )
    assert found.status == 0
    return found.fun


@pytest.mark.parametrize(
    ("risk", "value"),
    [
        (Expectation(), 8333.3333),
        (WorstCase(), 15000.0),
        (AVaR(0.5), 13333.3333),
        (Entropic(0.1), 14986.70339),
    ],
)
def test_published_values_of_the_three_stage_reservoir(risk, value):
    """O. Dowson, L. Kapelevich (2021). SDDP.jl. INFORMS Journal on Computing 33(1): the introductory example."""
    _, log = trained(tutorial(), risk=risk)
    assert log[-1].bound == pytest.approx(value, abs=6e-5)


def test_mixtures_lie_between_their_measures_and_extremes_agree():
    _, mixed = trained(tutorial(), risk=Mixture([Expectation(), WorstCase()], [0.5, 0.5]))
    assert 8333.34 < mixed[-1].bound < 14999.9
    assert trained(tutorial(), risk=AVaR(1.0))[1][-1].bound == pytest.approx(8333.3333, abs=6e-5)
    assert trained(tutorial(), risk=AVaR(1e-6))[1][-1].bound == pytest.approx(15000.0, abs=6e-5)
    with pytest.raises(ValueError, match="sum to 1"):
        Mixture([Expectation()], [0.5])


@st.composite
def graphs(draw):
    """Return a graph of up to 4 stages of one or two reservoirs in a cascade, without cycles."""

    def number(*options):
        return draw(st.sampled_from(options))

    def stage(name):
        count = draw(st.integers(1, 3))
        # before, after (two reservoirs each), turbined (2), spilled (2), thermal, deficit
        matrix = np.zeros((3, 10))
        matrix[0, [0, 2, 4, 6]] = -1, 1, 1, 1
        matrix[1, [1, 3, 5, 7, 4, 6]] = -1, 1, 1, 1, -1, -1
        matrix[2, [4, 5, 8, 9]] = 1, number(0.5, 2.0), 1, 1
        inflows = np.array([[number(0.0, 1.0, 3.0, 6.0), number(0.0, 2.0, 4.0)] for _ in range(count)])
        demand = number(2.0, 5.0, 8.0)
        weights = np.array([number(1.0, 2.0, 5.0) for _ in range(count)])
        return Stage(
            cost=np.array([0, 0, 0, 0, 0, 0, number(0.0, 0.1), 0, number(1.0, 3.0), 20.0]),
            lower=np.array([-FREE, -FREE, 0, 0, 0, 0, 0, 0, 0, 0]),
            upper=np.array([FREE, FREE, 5, 3, 4, 4, FREE, FREE, number(1.0, 4.0), FREE]),
            matrix=csr_array(matrix),
            row_lower=np.array([0, 0, demand]),
            row_upper=np.array([0, 0, number(demand, FREE)]),
            incoming=np.array([0, 1]),
            outgoing=np.array([2, 3]),
            noise_rows=np.array([0, 1]),
            noises=inflows,
            probabilities=weights / weights.sum(),
            name=name,
        )

    count = draw(st.integers(1, 4))
    stages = [stage(f"stage{t}") for t in range(count)]
    graph = StageGraph.line(stages, np.array([number(0.0, 3.0), 1.0]), number(1.0, 0.9))
    if count == 4 and draw(st.booleans()):  # a Markov chain: the second period is one of two nodes
        children = ((Edge(1, 0.3), Edge(2, 0.7)), (Edge(3, 1.0),), (Edge(3, 1.0),), ())
        graph = replace(graph, children=children)
    return graph


@given(graphs(), st.booleans(), st.booleans(), st.integers(0, 3))
@profile(max_examples=40, deadline=None)
def test_the_bound_rises_to_the_deterministic_equivalent(graph, multi_cut, selects, seed):
    optimum = equivalent(graph)
    sddp = Sddp(graph, multi_cut=multi_cut, selects=selects)

    def is_done(log):  # a rare way may have to be drawn first
        return (len(log) >= 60 and log[-1].bound >= optimum * (1 - 1e-5) - 1e-5) or len(log) >= 1500

    log = train(sddp, np.random.default_rng(seed), is_done, time.perf_counter)
    if not selects:  # without the best bound of before
        sddp._bound = -np.inf
        assert sddp.bound() == pytest.approx(log[-1].bound, rel=1e-9, abs=1e-9)
    bounds = [line.bound for line in log]
    slack = 1e-6 * max(1.0, abs(optimum))
    assert (np.diff(bounds) >= -slack).all()
    assert bounds[-1] <= optimum + slack
    assert bounds[-1] == pytest.approx(optimum, rel=1e-4, abs=1e-4)
    costs = [sddp.cost(sddp.forward(np.random.default_rng(k))) for k in range(5)]
    assert all(cost >= -slack for cost in costs)


@given(graphs(), st.integers(0, 3))
@profile(max_examples=15, deadline=None)
def test_gradients_are_one_sided_differences(graph, seed):
    sddp, _ = trained(graph, 5, seed)
    node, step = sddp.nodes[0], 1e-5
    state = graph.initial + 0.1234  # away from kinks, almost surely
    raised = graph.stages[0].noises[0]
    visit = node.visit(state, raised)
    for axis in range(len(state)):
        ahead, behind = (node.visit(state + sign * step * np.eye(len(state))[axis], raised).value for sign in (1, -1))
        # Subgradients of a convex function lie between its slopes on both sides.
        low, high = (visit.value - behind) / step, (ahead - visit.value) / step
        assert low - 1e-3 <= visit.gradient[axis] <= high + 1e-3


def walked(sddp, node=0, state=None):
    """Return what a policy on a line costs, and what its cuts miss on the way; expected, all its paths walked."""
    state = sddp.graph.initial if state is None else state
    stage, cost, missed = sddp.graph.stages[node], 0.0, 0.0
    for probability, visit in zip(stage.probabilities, sddp.nodes[node].draws(state), strict=True):
        cost += probability * visit.cost
        if sddp.graph.children[node]:
            after = sddp.nodes[node + 1].draws(visit.outgoing)
            believed = visit.value - visit.cost
            missed += probability * (np.mean([child.value for child in after]) - believed)
            further = walked(sddp, node + 1, visit.outgoing)
            cost, missed = cost + probability * further[0], missed + probability * further[1]
    return cost, missed


def test_a_policy_costs_the_bound_and_what_its_cuts_miss_on_its_way():
    """So it may cost more after another iteration, here while the bound becomes the optimum."""
    has_risen = False
    for seed in range(6):
        sddp, rng, costs = Sddp(tutorial()), np.random.default_rng(seed), []
        for _ in range(4):
            sddp.iterate(rng)
            cost, missed = walked(sddp)
            assert missed >= -1e-6 and cost == pytest.approx(sddp.bound() + missed, rel=1e-9)
            costs.append(cost)
        assert costs[-1] == pytest.approx(8333.3333, rel=1e-6)
        has_risen |= bool((np.diff(costs) > 100).any())
    assert has_risen


def test_a_ring_is_worth_what_its_stationary_policy_costs():
    """One stage for ever, inflow and demand known: each period costs the same, discounted."""
    ring = StageGraph.ring([reservoir(2.0, inflows=(100.0,))], np.array([0.0]), 0.5)
    assert ring.is_cyclic and not tutorial().is_cyclic
    _, log = trained(ring, 60)
    assert log[-1].bound == pytest.approx(2.0 * 50 / (1 - 0.5), rel=1e-5)
    with pytest.raises(ValueError, match="discount below 1"):
        StageGraph.ring([reservoir(2.0)], np.array([0.0]), 1.0)


def test_selection_keeps_the_bound_with_fewer_cuts():
    graph = StageGraph.line([reservoir(50.0 + 10 * t) for t in range(6)], np.array([100.0]))
    selecting, with_selection = trained(graph, 60)
    plain, without = trained(graph, 60, selects=False)
    assert with_selection[-1].bound == pytest.approx(without[-1].bound, rel=1e-7)
    assert sum(node.num_cuts for node in selecting.nodes) < sum(node.num_cuts for node in plain.nodes) / 2


def test_cuts_written_and_read_give_the_same_policy(tmp_path):
    sddp, log = trained(tutorial())
    file = tmp_path / "cuts.json"
    file.write_text(json.dumps(sddp.to_dict()))
    again = Sddp(tutorial())
    assert again.bound() < log[-1].bound - 1
    again.load_cuts(json.loads(file.read_text()))
    assert again.bound() == pytest.approx(log[-1].bound)
    with pytest.raises(ValueError, match="of a graph with 3 nodes"):
        Sddp(StageGraph.line([reservoir(1.0)], np.array([0.0]))).load_cuts(sddp.to_dict())
    written = sddp.to_dict()
    written["nodes"][0][0]["intercepts"][0] += 1.0  # a bound that nobody has proven
    with pytest.raises(ValueError, match="their checksum is another"):
        again.load_cuts(written)
    with pytest.raises(ValueError, match="of other stages"):  # cuts stand on the least that the future can cost
        Sddp(replace(tutorial(), least_cost=-1e4)).load_cuts(sddp.to_dict())


def test_training_goes_on_in_a_pickled_copy():
    """The last bases are lost, no more: the same programs, cuts and bound."""
    sddp, log = trained(tutorial(), 3)
    again = pickle.loads(pickle.dumps(sddp))
    assert again.bound() == pytest.approx(log[-1].bound, rel=1e-12)
    assert again.to_dict() == sddp.to_dict()
    bounds = [train(one, np.random.default_rng(1), lambda log: len(log) >= 30, time.perf_counter)[-1].bound
              for one in (sddp, again)]  # fmt: skip
    assert bounds == pytest.approx([8333.3333, 8333.3333], abs=6e-5)


def test_a_copy_of_a_program_has_its_rows_bounds_and_kept_basis():
    one = np.ones(1)
    program = LinearProgram(one, 0 * one, 9 * one, csr_array([[1.0]]), 2 * one, np.inf * one)
    program.set_rows([0], [3.0], [np.inf])
    program.add_row(5.0, np.inf, [0], [2.0])
    assert program.solve().value == 3.0
    program.keep_basis()
    again = pickle.loads(pickle.dumps(program))
    assert again.solve(from_kept=True).value == 3.0 and again.num_rows == 2
    again.set_rows([1], [8.0], [np.inf])
    assert (again.solve().value, again.solve().row_duals.tolist(), program.solve().value) == (4.0, [0.0, 0.5], 3.0)


def test_relabelling_states_changes_nothing():
    graph = tutorial()
    doubled = [
        Stage(
            cost=np.concatenate([s.cost, 2 * s.cost]),
            lower=np.concatenate([s.lower, s.lower]),
            upper=np.concatenate([s.upper, s.upper]),
            matrix=csr_array(block_diag([s.matrix, s.matrix])),
            row_lower=np.concatenate([s.row_lower, s.row_lower]),
            row_upper=np.concatenate([s.row_upper, s.row_upper]),
            incoming=np.array([0, 5]),
            outgoing=np.array([1, 6]),
            noise_rows=np.array([0, 2]),
            noises=np.hstack([s.noises, s.noises]),
            probabilities=s.probabilities,
        )
        for s in graph.stages
    ]
    swapped = [replace(s, incoming=s.incoming[::-1], outgoing=s.outgoing[::-1]) for s in doubled]
    values = [trained(StageGraph.line(s, np.full(2, 200.0)), 60)[1][-1].bound for s in (doubled, swapped)]
    assert values[0] == pytest.approx(3 * 8333.3333, rel=1e-6) == pytest.approx(values[1], rel=1e-6)


def test_the_highest_cuts_are_selected():
    pool = CutPool(1)
    pool.add(np.array([1.0]), 0.0, np.array([0.0]))
    pool.add(np.array([-1.0]), 4.0, np.array([1.0]))  # higher at both states
    assert pool.selected().tolist() == [1]
    pool.add(np.array([0.0]), -9.0, np.array([9.0]))  # highest nowhere, but its state needs the first again
    assert pool.selected().tolist() == [0, 1]


def test_a_program_without_an_optimum_is_saved_and_told():
    one, none = np.ones(1), np.array([0.0])
    program = LinearProgram(one, none, one, csr_array([[1.0]]), 5 * one, 9 * one, "too_much")
    with pytest.raises(
        NotSolved, match=r"too_much has no optimum \(infeasible, .*\); it is saved as .*too_much\.lp; sizes"
    ):
        program.solve()


def test_stages_are_checked_when_they_are_made():
    stage = reservoir(1.0)
    with pytest.raises(ValueError, match="probabilities must be >= 0"):
        replace(stage, probabilities=np.array([0.5, 0.2, 0.2]))
    with pytest.raises(ValueError, match="cost must have 5 entries"):
        replace(stage, cost=np.zeros(4))
    with pytest.raises(ValueError, match="probabilities of edges"):
        tutorial(root=(Edge(0, 0.5),))


def interval_trained(graph, every, count, most=200, seed=0):
    """Train until the interval rule is met; return Sddp, log and rule."""
    sddp = Sddp(graph)
    rule = IntervalRule(sddp, np.random.default_rng(7), every, count)
    log = train(
        sddp,
        np.random.default_rng(seed),
        lambda log: len(log) >= most or rule.is_met(log),
        time.perf_counter,
    )
    return sddp, log, rule


def test_training_ends_when_the_bound_lies_in_the_simulated_interval():
    _, log, rule = interval_trained(tutorial(), 10, 400)
    assert len(log) < 200 and len(log) % 10 == 0
    assert rule.interval.low <= log[-1].bound <= rule.interval.high
    assert log[-1].bound <= 8333.3334
    assert [line.bound for line in log] == [line.bound for line in trained(tutorial(), len(log))[1]], (
        "training is the same"
    )


def test_the_interval_rule_is_weak():
    """With two paths it is content with a worse policy than with four hundred: why it is not the default."""
    few = interval_trained(tutorial(), 1, 2)[1]
    many = interval_trained(tutorial(), 1, 400)[1]
    assert len(few) < len(many)
    assert few[-1].bound < many[-1].bound - 1


def test_nothing_random_has_an_interval_without_width():
    certain = StageGraph.line([reservoir(cost, inflows=(50.0,)) for cost in (50.0, 100.0, 150.0)], np.array([200.0]))
    _, log, rule = interval_trained(certain, 1, 2)
    assert len(log) < 50 and rule.interval.low == pytest.approx(rule.interval.high, rel=1e-9)
    assert log[-1].bound == pytest.approx(equivalent(certain), rel=1e-5)


def test_paths_without_an_end_are_simulated_by_chance():
    """Their mean, undiscounted, is that of discounted costs for ever: here 2 * 50 a period at 0.5."""
    ring = StageGraph.ring([reservoir(2.0, inflows=(100.0,))], np.array([0.0]), 0.5)
    _, log, rule = interval_trained(ring, 5, 2000)
    assert len(log) < 200
    assert rule.interval.low <= 2.0 * 50 / (1 - 0.5) <= rule.interval.high


def test_a_simulation_that_comes_too_late_decides_nothing():
    sddp, log = trained(tutorial(), 10)
    rule = IntervalRule(sddp, np.random.default_rng(7), 10, 400)
    assert not rule.is_met(log, lambda: True) and rule.interval is None
    assert not IntervalRule(sddp, np.random.default_rng(7), 0, 400).is_met(log)


def hard(name):
    """A program of twelve rows that is solved, and whose rows then ask for something else."""
    matrix, one = csr_array(np.random.default_rng(0).random((12, 12))), np.ones(12)
    program = LinearProgram(one, 0 * one, 9 * one, matrix, one, FREE * one, name)
    program.solve()
    program.set_rows(np.arange(12), np.linspace(1, 9, 12), FREE * one)
    return program, matrix


@pytest.mark.parametrize("failures", range(1, len(linear.RETRIES) + 1))
def test_a_solve_that_fails_is_tried_otherwise(failures, monkeypatch):
    """Whichever attempt is the first to end: the optimum is the same, and the next solve is as ever."""
    right = hard("right")[0].solve().value
    program, _ = hard("fails")
    attempts = iter(range(1, failures + 1))
    run = type(program._highs).run

    def failing(self):
        options = {"solver": "simplex", "presolve": "off", "simplex_iteration_limit": 0} if next(attempts, 0) else {}
        before = {name: self.getOptionValue(name)[1] for name in options}
        for name, value in options.items():
            self.setOptionValue(name, value)
        run(self)
        for name, value in before.items():
            self.setOptionValue(name, value)

    monkeypatch.setattr(type(program._highs), "run", failing)
    assert program.solve().value == pytest.approx(right, rel=1e-9)
    assert [program._highs.getOptionValue(name)[1] for name in ("solver", "presolve")] == ["simplex", "choose"]
    program.set_rows(np.arange(12), np.ones(12), FREE * np.ones(12))
    assert program.solve().value < right


def test_a_program_that_simplex_methods_give_up_is_solved():
    """A stage of a training on Bolivia: HiGHS 1.14 finds no optimum at this tolerance, with and without presolve."""
    with np.load(Path(__file__).parent / "data" / "hard_stage.npz") as data:
        matrix = csr_array((data["values"], data["columns"], data["starts"]), shape=data["shape"])
        names = ("cost", "lower", "upper")
        program = LinearProgram(
            *(data[name] for name in names), matrix, data["row_lower"], data["row_upper"], "hard stage"
        )
    assert program.solve().value == pytest.approx(95956.806537, abs=1e-5)


def test_a_solve_that_never_ends_is_said_to(monkeypatch):
    program, matrix = hard("endless")
    assert 0 < program._highs.getOptionValue("simplex_iteration_limit")[1] < 10**6
    monkeypatch.setattr(linear, "RETRIES", ({"presolve": "off"}, {"presolve": "off", "simplex_strategy": 4}))
    program._highs.setOptionValue("presolve", "off")
    program._highs.setOptionValue("simplex_iteration_limit", 0)
    with pytest.raises(NotSolved, match="iteration limit"):
        program.solve()
    program._highs.setOptionValue("simplex_iteration_limit", 1000)
    assert (matrix @ program.solve().columns >= np.linspace(1, 9, 12) - 1e-6).all()


def test_forward_passes_follow_stages_as_they_are():
    """Here they are the graph's own, solved with the cuts that are handed over: the bound rises to the same optimum."""
    graph = StageGraph.line([reservoir(cost) for cost in (50, 100, 150)], np.array([200.0]), discount=0.9)
    seen = []

    def operate(node, state, noise, intercepts, slopes, near=None, memory=None):
        own = Node(graph.stages[node], [1.0], -np.inf)
        for intercept, slope in zip(intercepts, slopes, strict=True):
            own.add_cut(0, slope, float(intercept), None)
        visit = own.visit(state, noise)
        assert visit.cost + (intercepts + slopes @ visit.outgoing).max() == pytest.approx(visit.value)
        seen.append((node, memory))
        return Operated(visit.outgoing, visit.cost, node)

    optimum = equivalent(graph)
    sddp = Sddp(graph, operate=operate)
    log = train(sddp, np.random.default_rng(0), lambda log: len(log) >= 40, time.perf_counter)
    assert log[-1].bound == pytest.approx(optimum, rel=1e-5)
    assert seen[:3] == [(0, None), (1, 0), (2, 1)]
    settled, node = sddp.settled()[0], sddp.nodes[0]
    assert all((a == b).all() for a, b in zip(settled.future(), node.future(), strict=True))
    with pytest.raises(ValueError, match="several cuts are for stages that are the process's own"):
        Sddp(graph, multi_cut=True, operate=operate)
