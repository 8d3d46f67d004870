"""Optimal schedules of LLM serving by rounds: search in layers, the Pyomo model, and all schedules looked through."""

from functools import cache
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import orl
from orl.cli import main
from orl.exact import solve_model
from orl.layers import Layer, search, some
from orl.problems.llmserving import search as serving_search
from orl.problems.llmserving.exact import build
from orl.problems.llmserving.instance import Requests, Serving, ServingSettings
from orl.problems.llmserving.kernels_prices import fill_values, memory_taken, priced_bound
from orl.problems.llmserving.kernels_search import first_bound, shortest_first, sort
from orl.problems.llmserving.prices import find_prices, improved
from orl.problems.llmserving.search import LayeredServing
from orl.problems.llmserving.server import server
from orl.problems.llmserving.verify import verify
from orl.scenario import Scenarios
from orl.solver import Control
from orl.solvers.layers import LayersSettings, _attempt

NEVER_PREEMPT = ("mc-sf",)


def made(arrival, prompt, output, memory, weight=None, **engine):
    same = np.zeros(len(prompt), dtype=np.int64)
    weight = same + 1.0 if weight is None else weight
    asked = Requests(np.sort(np.array(arrival, dtype=float)), prompt, output, same, same, weight, same - 1, same)
    engine = ServingSettings(clock="rounds", enable_prefix_caching=False, **engine)
    return Serving("drawn", asked, settings=engine, **server(engine, {"num_blocks": memory}))


@st.composite
def small(draw):
    count = draw(st.integers(1, 4))
    whole = st.lists(st.integers(1, 4), min_size=count, max_size=count)
    prompt, output = draw(whole), draw(whole)
    most = max(p + o for p, o in zip(prompt, output, strict=True))
    arrival = draw(st.lists(st.integers(0, 4), min_size=count, max_size=count))
    weight = draw(st.lists(st.sampled_from([1.0, 2.0, 0.5]), min_size=count, max_size=count))
    return made(arrival, prompt, output, most + draw(st.integers(0, 4)), weight,
                max_num_seqs=draw(st.sampled_from([1, 2, 8])))  # fmt: skip


def least_cost(one, preempts, state=None, now=0):
    """Return the least cost of all schedules, idle ones among them, of what is left after so many tokens."""
    requests = one.source
    arrival, prompt, output = (np.asarray(getattr(requests, key), int) for key in ("arrival", "prompt", "output"))
    end = int(arrival.max() + output.sum()) + 1  # nobody need wait longer, with preemption or without

    @cache
    def rest(state, now):
        if all(g == o for g, o in zip(state, output, strict=True)):
            return 0.0
        if now > end:
            return np.inf
        options = []
        for g, a, o in zip(state, arrival, output, strict=True):
            may, must = g < o and a <= now, not preempts and 0 < g < o
            options.append([1] if must else [0, 1] if may else [0])
        best = np.inf
        for runs in product(*options):
            used = sum(int(p) + g for p, g, x in zip(prompt, state, runs, strict=True) if x)
            if used <= one.num_blocks and sum(runs) <= one.settings.max_num_seqs:
                after = tuple(g + x for g, x in zip(state, runs, strict=True))
                ends = [r for r in range(len(state)) if after[r] == output[r] > state[r]]
                paid = sum(requests.weight[r] * (now + 1 - arrival[r]) for r in ends)
                best = min(best, paid + rest(after, now + 1))
        return best

    return rest(tuple([0] * len(output)) if state is None else state, now)


@settings(max_examples=40)
@given(small())
def test_layers_find_the_best_of_all_schedules(one):
    result = orl.solve(one, "layers", time_limit=None)
    assert result.verified and result.status.value == "optimal"
    assert result.value == pytest.approx(least_cost(one, True)) == pytest.approx(result.bound)


@settings(max_examples=20)
@given(small())
def test_without_preemption(one):
    """The preemptive optimum <= the other one <= every policy that does not preempt; both models agree."""
    right = least_cost(one, False)
    found = search(LayeredServing(one, Scenarios.deterministic(), preempts=False), 10**6, np.inf, Control())
    program = build(one, Scenarios.deterministic(), form="non-preemptive").program
    assert found.cost == pytest.approx(right) == pytest.approx(solve_model(program, Control()).value)
    assert orl.solve(one, "layers", time_limit=None).value <= right + 1e-6
    for rule in NEVER_PREEMPT:
        assert right <= orl.solve(one, rule, time_limit=None).value + 1e-6


@settings(max_examples=30)
@given(small(), st.booleans(), st.integers(0, 2**32))
def test_any_prices_give_a_bound(one, preempts, seed):
    """Drawn ones as well as those that are searched for, which are no worse than none at all."""
    right = least_cost(one, preempts)
    asked = one.source
    given = np.stack([asked.arrival, asked.prompt, asked.output, asked.weight]).astype(np.float64)
    found = find_prices(given, one.num_blocks, preempts)
    drawn, none = np.random.default_rng(seed).exponential(0.1, len(found.prices)), np.zeros(len(found.prices))
    bounds = []
    for prices in (drawn, none):
        fill_values(given, preempts, prices, values := np.zeros_like(found.values), 0)
        worth = one.num_blocks * np.append(prices[::-1].cumsum()[::-1], 0.0)
        bounds.append(bound_of(asked, [(values, worth)]))
    best = bound_of(asked, [found])
    assert max(*bounds, best) <= right + 1e-9 and best >= bounds[1] - 1e-9
    assert bound_of(asked, [(values, worth), found]) == max(bounds[1], best)


def bound_of(asked, several, state=None, now=0):
    """Return the bound that several prices give of a state."""
    state = np.zeros(len(asked), dtype=np.int16) if state is None else np.array(state, dtype=np.int16)
    values = np.stack([one[0][:, now] for one in several], axis=-1)
    worth = np.array([one[1][now] for one in several])
    is_open = state < asked.output
    return priced_bound(values, worth, state, np.zeros(len(worth))) - float(
        (asked.weight * asked.arrival)[is_open].sum()
    )


@settings(max_examples=30)
@given(small(), st.data())
def test_prices_are_better_where_they_are_improved_and_a_bound_everywhere(one, data):
    asked = one.source
    given = np.stack([asked.arrival, asked.prompt, asked.output, asked.weight]).astype(np.float64)
    found = find_prices(given, one.num_blocks, True)
    now = data.draw(st.integers(0, len(found.prices) - 1), label="now")
    state = [data.draw(st.integers(0, min(int(o), max(0, now - int(a))))) for a, o in zip(asked.arrival, asked.output,
                                                                                         strict=True)]  # fmt: skip
    # Where nobody stands aside for nothing, all are served by then.
    assume(max(now, int(asked.arrival.max())) + int((asked.output - state).sum()) <= len(found.prices))
    better = improved(given, one.num_blocks, True, found.prices, np.array(state), now)
    before, after = (bound_of(asked, [prices], state, now) for prices in (found, better))
    assert before - 1e-9 <= after <= least_cost(one, True, tuple(state), now) + 1e-9
    assert bound_of(asked, [better]) <= least_cost(one, True) + 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_prices_of_layers_change_no_optimum(monkeypatch, seed):
    rng = np.random.default_rng(seed)
    one = made(np.zeros(6), rng.integers(1, 6, 6), rng.integers(4, 14, 6), 20)
    plain = orl.solve(one, "layers", time_limit=None)
    monkeypatch.setattr(serving_search, "STATES_A_PRICE", 5)
    layered = LayeredServing(one, Scenarios.deterministic())
    found = search(layered, 1_000_000, plain.value + 1, Control())
    assert found.cost == plain.value and plain.status.value == "optimal"
    assert sum(map(len, layered._improved.values())) > 10


def test_states_that_are_alike_are_looked_for_as_often_as_one_likes(monkeypatch):
    rng = np.random.default_rng(7)
    one = made(np.zeros(5), rng.integers(1, 6, 5), rng.integers(4, 12, 5), 20)
    monkeypatch.setattr(serving_search, "CHUNK", 3)
    found = []
    for many in (0, 10, 10**9):
        monkeypatch.setattr(orl.layers, "MANY", many)
        found.append(search(LayeredServing(one, Scenarios.deterministic()), 10_000, np.inf, Control()))
    assert len({(one.cost, one.bound, one.states) for one in found}) == 1 and found[0].states > 1000


def test_prices_of_memory_on_paper():
    """Two requests of prompt 1 and output 1, memory 2 (1 token each): together in a round. Of memory 1: one waits.

    At price 1 for the first round one pays it and ends at 1, or waits until 2: 2 each, less 1 for the memory: 3.
    """
    asked = made([0, 0], [1, 1], [1, 1], 2).source
    given = np.stack([asked.arrival, asked.prompt, asked.output, asked.weight]).astype(np.float64)
    assert bound_of(asked, [find_prices(given, 2, True)]) == pytest.approx(2)
    assert bound_of(asked, [find_prices(given, 1, True)]) == pytest.approx(3, abs=0.01)


def test_who_has_begun_takes_memory_until_the_end_on_paper():
    """Begun at 0, at prices 0 and 2 x 1.5, it ends at 2: 5 in all. Later would be dearer; a pause may not be."""
    given, prices = np.array([[0.0], [1.0], [2.0], [1.0]]), np.array([0, 1.5, 0.5, 9, 9])
    taken = np.zeros(5)
    for preempts, right in ((False, [1, 2, 0, 0, 0]), (True, [1, 0, 2, 0, 0])):
        fill_values(given, preempts, prices, values := np.zeros((1, 6, 3)), 0)
        memory_taken(given, preempts, prices, values, np.array([0]), 0, taken)
        assert taken.tolist() == right and values[0, 0, 0] == (prices * right).sum() + (3 if preempts else 2)


def test_a_first_bound_on_paper():
    """One has ended. The memory is through with the others at 2 and 7 at best, but none ends before 4: 4 + 7."""
    given, work = np.array([[0, 0, 0], [1, 1, 1], [1, 3, 3], [2, 1, 1.0]]), np.array([[1.0] * 4, [1.0] * 4, [5.0] * 4])
    assert first_bound(given, work, np.array([1, 0, 0]), 1, np.zeros((4, 3))) == 4 + 7


@pytest.mark.parametrize("seed", range(4))
def test_all_fill_the_memory_that_can(seed):
    """What follows the first state is who runs together, of all sets that nobody fits into any more."""
    rng = np.random.default_rng(seed)
    prompt, memory = rng.integers(1, 6, 5), 9
    layered = LayeredServing(made(np.zeros(5), prompt, rng.integers(2, 4, 5), memory), Scenarios.deterministic())
    full = [
        runs
        for runs in product(range(2), repeat=5)
        if 0 <= memory - prompt @ runs < min(prompt[~np.array(runs, bool)], default=99)
    ]
    found = [state for layer in layered.next(layered.first(), 0, np.inf) for state in layer.states.tolist()]
    assert sorted(map(tuple, found)) == sorted(full)


def test_one_machine_works_at_what_is_shortest_on_paper():
    """Of 5, 3 are left when 1 arrives at 2 and goes first; and what is to be sorted, is, as far as it is told."""
    ends, values = np.zeros(2), np.array([3.0, 2, 1, 0])
    shortest_first(2, np.array([5.0, 1]), np.array([0.0, 2]), ends, 0.0)
    sort(values, 3)
    assert ends.tolist() == [3, 6] and values.tolist() == [1, 2, 3, 0]


def test_where_prices_would_take_long_there_are_none():
    given = np.array([[0.0] * 16, [1.0] * 16, [30_000.0] * 16, [1.0] * 16])
    values, worth, _ = find_prices(given, 100_000, True)
    assert values.shape == (16, 1, 30_001) and not values.any() and worth.tolist() == [0.0]


@pytest.mark.parametrize(("weight", "grain"), [([2.0, 4.0, 6.0], 2), ([3.0, 3.0, 3.0], 3), ([0.5, 1.0, 1.0], 0)])
def test_bounds_are_rounded_up_to_what_a_cost_can_be(weight, grain):
    one = made([0, 0, 1], [1, 2, 1], [3, 4, 2], 7, weight)
    layered = LayeredServing(one, Scenarios.deterministic())
    layers = [layered.first()]
    layers += layered.next(layers[0], 0, np.inf)
    bounds = np.concatenate([layer.bounds for layer in layers])
    assert bounds[0] <= least_cost(one, True)
    assert (bounds % grain == 0).all() if grain else (bounds % 0.5 > 0).any()


def test_states_that_others_dominate_are_left_out():
    """Requests of 5 and 3 tokens, at round 4. The second state is behind the first; the third as well, but cheaper.

    The fifth is behind the fourth, whose first request has ended: at a cost of 5 the fourth is no dearer than the
    fifth, at 0, which pays 4 + 1 at least.
    """
    one = made([0, 0], [1, 1], [5, 3], 9)
    layered = LayeredServing(one, Scenarios.deterministic())
    states = np.array([[3, 2], [2, 2], [1, 2], [5, 1], [4, 1], [2, 0]], dtype=np.int16)
    costs = np.array([1.0, 1.0, 0.5, 5.0, 0.0, 0.0])
    layer = Layer(states, costs, costs, np.arange(6), np.zeros(6, dtype=bool))
    assert layered.undominated(layer, 4).parents.tolist() == [0, 2, 3, 5]
    dearer = layer._replace(costs=np.array([1.0, 1.0, 0.5, 5.1, 0.0, 0.0]))
    assert layered.undominated(dearer, 4).parents.tolist() == [0, 2, 3, 4, 5]
    assert LayeredServing(one, Scenarios.deterministic(), preempts=False).undominated(layer, 4) is layer


@settings(max_examples=20)
@given(small())
def test_the_program_finds_it_too(one):
    result = orl.solve(one, "exact", time_limit=None)
    assert result.verified and result.status.value == "optimal"
    assert result.value == pytest.approx(least_cost(one, True))


@settings(max_examples=20)
@given(small())
def test_the_program_alone_can_be_carried_out(one):
    """Without a start, so that what is read is the program's own schedule, idle rounds filled."""
    model = build(one, Scenarios.deterministic())
    solved = solve_model(model.program, Control())
    report = verify(one, Scenarios.deterministic(), model.read(solved.of))
    assert report.is_feasible and report.cost == pytest.approx(solved.value)


@given(small(), st.sampled_from(["shortest", "fcfs", "las"]))
@settings(max_examples=20)
def test_a_schedule_is_a_start_of_the_program(one, rule):
    """Every constraint holds, and the objective is the schedule's cost."""
    result = orl.solve(one, rule, time_limit=None)
    model = build(one, Scenarios.deterministic(), upper_bound=result.value)
    for variable, number in model.start(result.solutions[0]):
        variable.fix(number)
    assert solve_model(model.program, Control()).value == pytest.approx(result.value)


def test_a_narrow_search_gives_a_bound():
    """Eight requests, none of which fits beside all others: ten states of a layer are too few, and it says so."""
    rng = np.random.default_rng(1)
    one = made(np.zeros(8), rng.integers(1, 6, 8), rng.integers(4, 12, 8), 20)
    wide = orl.solve(one, "layers", time_limit=None)
    narrow = orl.solve(one, "layers", settings={"width": 10}, time_limit=None)
    assert wide.status.value == "optimal" and narrow.status.value == "feasible"
    assert narrow.bound < wide.value <= narrow.value and narrow.verified


def test_an_end_of_time_keeps_what_is_known():
    rng = np.random.default_rng(0)
    one = made(np.zeros(12), rng.integers(1, 6, 12), rng.integers(10, 30, 12), 40)
    result = orl.solve(one, "layers", time_limit=0.5)
    assert result.verified and result.status.value == "feasible" and result.bound < result.value
    assert result.value <= orl.solve(one, "shortest", time_limit=None).value


def test_where_no_path_ends_there_is_no_solution():
    class Blind:
        def first(self):
            return Layer(np.zeros((1, 1), np.int16), np.zeros(1), np.zeros(1), np.zeros(1, int), np.zeros(1, bool))

        def next(self, layer, number, below):
            assert below == np.inf
            yield some(layer, slice(0, 1 if number < 3 else 0))

        def undominated(self, layer, number):
            return layer

    task = SimpleNamespace(problem=SimpleNamespace(layered=lambda *_: Blind()), instance=None,
                           scenarios=None, control=Control(), settings=LayersSettings())  # fmt: skip
    found = _attempt(task, None, None)
    assert (found.status.value, found.solution, found.bound) == ("infeasible", None, None)


def test_without_a_known_solution_one_is_found():
    one, scenario = made([0, 2], [1, 4], [5, 2], 6), Scenarios.deterministic()
    task = SimpleNamespace(problem=SimpleNamespace(layered=LayeredServing), instance=one, scenarios=scenario,
                           control=Control(), settings=LayersSettings())  # fmt: skip
    found = _attempt(task, None, None)
    assert (found.status.value, found.bound) == ("optimal", 9)


@settings(max_examples=20)
@given(small(), st.integers(1, 20))
def test_small_parts_and_narrow_searches(one, width):
    """The order of parts changes nothing, and a bound is one whatever the width."""
    right = least_cost(one, True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orl.problems.llmserving.search.CHUNK", 3)
        found = search(LayeredServing(one, Scenarios.deterministic()), 10**6, np.inf, Control())
    assert found.cost == pytest.approx(right) and found.bound == np.inf
    assert orl.solve(one, "layers", settings={"width": width}, time_limit=None).bound <= right + 1e-6


def test_preemption_pays():
    """A long one has begun when a short one arrives that does not fit beside it: it stands aside for two rounds."""
    one = made([0, 2], [1, 4], [5, 2], 6)
    assert orl.solve(one, "layers", time_limit=None).value == 7 + 2
    assert least_cost(one, False) == 5 + 5


@pytest.mark.parametrize(
    ("told", "message"),
    [([], "set clock=rounds"), (["--set", "clock=rounds", "--set", "requests=3"], "arrivals at whole rounds")],
)
@pytest.mark.parametrize("method", ["layers", "exact"])
def test_what_is_not_meant_is_refused(told, message, method, capsys):
    assert main(["solve", "llmserving/poisson", "--solver", method, *told]) == 2
    assert message in capsys.readouterr().err


def test_too_many_requests_are_refused():
    with pytest.raises(orl.InputError, match="at most 16 requests"):
        orl.solve("llmserving/theory-40", "layers")


def test_an_arrival_in_the_far_future_is_refused():
    with pytest.raises(orl.InputError, match="up to 1000000 rounds"):
        orl.solve(made([0, 0, 10**8], [4, 4, 4], [2, 2, 2], 8), "layers")


def test_shared_prefixes_are_refused():
    asked = Requests([0.0, 0.0], [4, 4], [2, 2], [0, 0], [0, 0], [1.0, 1.0], [-1, 0], [0, 4])
    engine = ServingSettings(clock="rounds")
    one = Serving("shared", asked, settings=engine, **server(engine, {"num_blocks": 8}))
    with pytest.raises(orl.InputError, match="enable_prefix_caching=false"):
        orl.solve(one, "layers")
