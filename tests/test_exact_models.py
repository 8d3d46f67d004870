"""The exact models of the job shop, against brute force and one another; HiGHS and CP-SAT under the reins."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations, pairwise, permutations, product
from types import MappingProxyType

import numpy as np
import pyomo.environ as pyo
import pytest

import orl
from orl.errors import InputError, Stopped
from orl.exact import solve_model
from orl.problem import Problem
from orl.problems.jobshop import cp_sat, exact
from orl.problems.jobshop.instance import Breakdowns, JobShop, JobShopSettings, Schedule
from orl.problems.jobshop.scenario import bound, down_intervals, sample
from orl.problems.jobshop.verify import verify
from orl.registry import find_problem
from orl.result import Status
from orl.scenario import Purpose, Scenarios
from orl.simulate import best_rule
from orl.solver import Control, Outcome, Task
from orl.solvers.cp_sat import SOLVER as CP_SAT
from orl.solvers.exact import SOLVER as EXACT

SOLVERS = pytest.mark.parametrize("solver", [EXACT, CP_SAT], ids=lambda solver: solver.name)
BUILDERS = pytest.mark.parametrize("build", [exact.build, cp_sat.build], ids=["exact", "cp-sat"])

FT06 = orl.load("jobshop/ft06")


def problem(**fields: object) -> Problem:
    """Return a family of the job shop's models and verifier alone: no rules, no process."""
    needed = ("default_solver", "summary", "file_hint", "settings", "sniff", "load", "describe")
    blank = dict.fromkeys([*needed, "sample", "process", "columns", "solution"])
    models = {"exact": exact.build, "cp-sat": cp_sat.build}
    return Problem(**{**blank, "name": "shop", "verify": verify, "models": models, **fields})  # type: ignore[arg-type]


def solve(solver, instance, family=None, control=None, scenarios=None, **settings) -> Outcome:
    scenarios = scenarios or Scenarios.deterministic()
    task = Task(family or problem(), instance, scenarios, solver.settings(**settings), 0, control or Control())
    return solver.solve(task)


def drawn_shop(seed: int, max_jobs: int = 4) -> JobShop:
    """Return a small shop with zero durations, recirculation, releases and jobs of unequal length."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 5, size=rng.integers(1, max_jobs + 1))
    return JobShop(
        f"drawn-{seed}",
        machines=[rng.integers(3, size=n).tolist() for n in lengths],
        durations=[(rng.integers(0, 7, size=n) * (rng.random(n) < 0.7)).tolist() for n in lengths],
        num_machines=3,
        releases=(rng.integers(0, 9, size=len(lengths)) * (rng.random() < 0.5)).tolist(),
    )


def brute_force(shop: JobShop) -> int:
    """Return the least makespan over all orders in which operations can be placed one after another."""
    best = shop.op_duration.sum() + shop.releases.max()
    for jobs in set(permutations(shop.op_job.tolist())):
        position, ready, free = shop.job_first[:-1].copy(), shop.releases.copy(), np.zeros(shop.num_machines, int)
        for job in jobs:
            o = position[job]
            position[job] += 1
            ready[job] = free[shop.op_machine[o]] = max(ready[job], free[shop.op_machine[o]]) + shop.op_duration[o]
        best = min(best, ready.max())
    return int(best)


def tiny_shop(seed: int, **settings) -> JobShop:
    """Return a shop of at most 3 jobs and 8 operations, with due dates and weights of two decimals."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 4, size=rng.integers(2, 4))
    lengths[0] = max(lengths[0] - (lengths.sum() > 8), 2)
    due_dates = [int(date) if rng.random() < 0.8 else None for date in rng.integers(1, 20, size=len(lengths))]
    due_dates[-1] = 9
    has_zeros = rng.random() < 0.5
    objectives = ("makespan", "flow-time", "weighted-tardiness", "max-lateness", "tardy-jobs")
    return JobShop(
        f"tiny-{seed}",
        machines=[rng.integers(3, size=n).tolist() for n in lengths],
        durations=[rng.integers(0 if has_zeros else 1, 2 if has_zeros else 6, size=n).tolist() for n in lengths],
        num_machines=3,
        releases=(rng.integers(0, 4, size=len(lengths)) * (rng.random() < 0.5)).tolist(),
        due_dates=due_dates,
        weights=[1.0, *np.round(rng.uniform(0, 3, size=len(lengths) - 1), 2)],
        calendar=[(int(m), a, a + 2) for m in range(3) for a in (3, 8)] if settings.pop("has_calendar", False) else [],
        settings=JobShopSettings(**{"objective": objectives[seed % 5], **settings}),
    )


def least_cost(
    shop: JobShop, scenario: Scenarios | None = None, begun: Mapping[int, int] = MappingProxyType({}), clock: int = 0
) -> float:
    """Return the least cost over all orders of the stays on each machine, times by unit steps, judged by `verify`.

    `begun` says when operations started that have; they come first, and all others start at the clock or later.
    """
    is_blocking = shop.settings.buffers != "unlimited"
    down = down_intervals(shop, scenario or Scenarios.deterministic(), 1000)
    machine, job = shop.op_machine.tolist(), shop.op_job.tolist()
    is_up = [[not any(a <= t < b for a, b in down[m]) for t in range(500)] for m in range(shop.num_machines)]
    last = [o + 1 in shop.job_first for o in range(shop.num_ops)]

    def end(o: int, start: int) -> int:
        done, time = 0, start
        while done < shop.op_duration[o]:
            is_lost = not is_up[machine[o]][time] and shop.settings.on_failure == "restart"
            done = 0 if is_lost else done + is_up[machine[o]][time]
            time += 1
        return time

    def fits(order: tuple[int, ...]) -> bool:
        if any(job[a] == job[b] and a > b for a, b in combinations(order, 2)):
            return False  # and a job that goes on on its own machine lets nobody in
        if any(a not in begun and b in begun for a, b in pairwise(order)):
            return False
        follows = [a + 1 == b for a, b in pairwise(order)]
        between = [o for o in order if not last[o] and machine[o + 1] == machine[o]]
        return not is_blocking or sum(follows) >= len(between)

    def earliest(after: list[tuple[int, int]]) -> list[int] | None:
        starts = [begun.get(o, max(head, clock)) for o, head in enumerate(shop.heads.tolist())]
        while max(starts) < 300:
            before = list(starts)
            for o in range(shop.num_ops):
                if o not in shop.job_first:
                    starts[o] = max(starts[o], end(o - 1, starts[o - 1]))
            for a, b in after:
                is_held = is_blocking and not last[a]
                starts[b] = max(starts[b], starts[a + 1] if is_held else end(a, starts[a]))
            for o in range(shop.num_ops):
                held = machine[o - 1] if is_blocking and o not in shop.job_first else machine[o]
                while not (is_up[machine[o]][starts[o]] and is_up[held][starts[o]]):
                    starts[o] += 1
            if starts == before:
                return starts if all(starts[o] == start for o, start in begun.items()) else None
        return None

    on_machine = [np.flatnonzero(shop.op_machine == m).tolist() for m in range(shop.num_machines)]
    orders = [[order for order in permutations(ops) if fits(order)] for ops in on_machine]
    least = np.inf
    for chosen in product(*orders):
        starts = earliest([pair for order in chosen for pair in combinations(order, 2)])
        if starts is not None:
            at = Schedule.from_starts(shop, starts)
            ends = [end(o, start) for o, start in enumerate(starts)]
            report = verify(shop, scenario, Schedule(at.job, at.position, at.machine, at.start, ends))
            least = min(least, report.cost if report.is_feasible else np.inf)
    return least


def one_after_another(shop: JobShop) -> Schedule:
    """Return the schedule that finishes a job before it begins the next: feasible and bad."""
    starts, clock = [], 0
    for job in range(shop.num_jobs):
        clock = max(clock, int(shop.releases[job]))
        for duration in shop.durations[job]:
            starts.append(clock)
            clock += duration
    return Schedule.from_starts(shop, starts)


def test_both_models_and_brute_force_agree_on_drawn_shops():
    for seed in range(200):
        shop = drawn_shop(seed, max_jobs=3)
        if shop.num_ops > 7:
            continue
        outcomes = [solve(EXACT, shop), solve(CP_SAT, shop, threads=1)]
        assert [o.status for o in outcomes] == [Status.OPTIMAL] * 2, seed
        assert [o.value for o in outcomes] == [o.bound for o in outcomes] == [brute_force(shop)] * 2, seed


def test_both_models_agree_on_larger_drawn_shops_and_their_schedules_are_feasible():
    for seed in range(40):
        shop = drawn_shop(seed, max_jobs=7)
        outcomes = [solve(EXACT, shop), solve(CP_SAT, shop, threads=1)]
        reports = [verify(shop, None, o.solutions[0]) for o in outcomes]
        assert all(report.is_feasible for report in reports), seed
        assert reports[0].cost == reports[1].cost == outcomes[0].bound == outcomes[1].bound, seed


@pytest.mark.parametrize("buffers", ["unlimited", "swap", "none"])
def test_both_models_and_brute_force_agree_on_every_buffer_and_objective(buffers):
    for seed in range(60):
        shop = tiny_shop(seed, buffers=buffers)
        outcomes = [solve(EXACT, shop), solve(CP_SAT, shop, threads=1)]
        assert [o.status for o in outcomes] == [Status.OPTIMAL] * 2, seed
        assert [o.value for o in outcomes] == pytest.approx([least_cost(shop)] * 2), seed
        assert all(verify(shop, None, o.solutions[0]).is_feasible for o in outcomes), seed


@pytest.mark.parametrize("on_failure", ["resume", "restart"])
@pytest.mark.parametrize("buffers", ["unlimited", "swap", "none"])
def test_cp_sat_and_brute_force_agree_in_hindsight_of_downtime(buffers, on_failure):
    for seed in range(30):
        breakdowns = Breakdowns(0.1, "uniform 1 4") if seed % 3 else Breakdowns()
        settings = {"buffers": buffers, "on_failure": on_failure, "breakdowns": breakdowns}
        shop = tiny_shop(seed, has_calendar=seed % 3 != 1, **settings)
        scenario = sample(shop, seed, Purpose.EVALUATE, 1)
        outcome = solve(CP_SAT, shop, scenarios=scenario, threads=1)
        assert outcome.status == Status.OPTIMAL, seed
        assert verify(shop, scenario, outcome.solutions[0]).is_feasible, seed
        assert outcome.value == pytest.approx(least_cost(shop, scenario)), seed


@SOLVERS
def test_less_freedom_costs_no_less(solver):
    for seed in range(15):
        drawn = drawn_shop(seed)
        modes = [JobShopSettings(buffers=buffers) for buffers in ("unlimited", "swap", "none")]
        values = [solve(solver, replace(drawn, settings=mode)).value for mode in modes]
        assert values == sorted(values), seed


@SOLVERS
def test_two_jobs_that_trade_machines_swap_or_pass_one_another(solver):
    """With a swap at 2 both are done at 5; without one a job waits outside until the other is done."""
    for buffers, makespan in (("unlimited", 5), ("swap", 5), ("none", 10)):
        shop = JobShop(
            "trade", machines=[[0, 1], [1, 0]], durations=[[2, 3], [2, 3]], settings=JobShopSettings(buffers=buffers)
        )
        assert solve(solver, shop).value == makespan


@SOLVERS
def test_an_operation_without_duration_may_not_lie_inside_another(solver):
    """Job 1 passes machine 0 at 1, which delays job 0 by 1 (11), or at 4 (12); inside job 0's operation it were 10."""
    shop = JobShop("pass", machines=[[0, 3], [1, 0, 2]], durations=[[4, 6], [1, 0, 8]])
    assert solve(solver, shop).value == 11


@BUILDERS
def test_a_schedule_that_starts_a_model_is_read_back_and_is_no_longer(build):
    for seed in range(20):
        shop = drawn_shop(seed)
        schedule = one_after_another(shop)
        model = build(shop, upper_bound=schedule.makespan)
        values = {id(variable): number for variable, number in model.start(schedule)}
        back = model.read(lambda variable, of=values: of[id(variable)])
        assert verify(shop, None, back).cost <= schedule.makespan


def test_an_optimal_schedule_keeps_every_constraint_and_cut_of_the_mixed_integer_model():
    for seed in range(30):
        shop = drawn_shop(seed, max_jobs=6)
        schedule = solve(CP_SAT, shop, threads=1).solutions[0]
        model = exact.build(shop, upper_bound=schedule.makespan)
        for variable, number in model.start(schedule):
            variable.set_value(number)
        assert all(variable.value is not None for variable in model.program.component_data_objects(pyo.Var))
        for constraint in model.program.component_data_objects(pyo.Constraint):
            assert constraint.slack() >= 0, (seed, constraint.name)


def test_noise_of_the_solver_changes_no_schedule():
    rng = np.random.default_rng(1)
    for seed in range(30):
        shop = drawn_shop(seed, max_jobs=6)
        schedule = solve(CP_SAT, shop, threads=1).solutions[0]
        model = exact.build(shop)
        values = {id(variable): number for variable, number in model.start(schedule)}
        noisy = model.read(lambda variable, of=values: of[id(variable)] + rng.uniform(-1e-3, 1e-3))
        assert verify(shop, None, noisy).is_feasible
        assert (noisy.start <= schedule.start).all()


@BUILDERS
def test_a_model_refuses_what_it_cannot_do(build):
    with pytest.raises(InputError, match="upper_bound must be >= 52"):
        build(FT06, upper_bound=51)


def test_the_mixed_integer_model_sends_machines_that_go_down_to_cp_sat():
    for fields in ({"calendar": [(0, 3, 5)]}, {"settings": JobShopSettings(breakdowns=Breakdowns(0.01))}):
        with pytest.raises(InputError, match="cp-sat"):
            exact.build(replace(FT06, **fields))


def test_cp_sat_refuses_weights_that_are_no_short_decimals():
    settings = JobShopSettings(objective="weighted-tardiness", due_date_factor=1.0)
    shop = JobShop("thirds", [[0], [0]], [[2], [3]], weights=[1 / 3, 1], settings=settings)
    with pytest.raises(InputError, match=r"weights must be decimals .* got 0\.3333333333333333"):
        cp_sat.build(shop)
    tenths = replace(shop, weights=[0.1, 0.3])
    assert solve(CP_SAT, tenths).bound == solve(EXACT, tenths).bound == pytest.approx(0.3)


def test_machines_that_are_hardly_ever_up_are_refused():
    settings = JobShopSettings(breakdowns=Breakdowns(0.9, "fixed 1"), on_failure="restart")
    shop = JobShop("never", [[0]], [[60]], settings=settings)
    with pytest.raises(InputError, match="hardly ever up"):
        cp_sat.build(shop, sample(shop, 0, Purpose.EVALUATE, 1))


@SOLVERS
def test_a_starting_solution_is_the_first_reported_and_never_lost(solver):
    control = Control()
    family = find_problem("jobshop")
    _, cost, _ = best_rule(family, FT06, Scenarios.deterministic())
    solve(solver, FT06, family, control)
    values = [value for _, value, _ in control.trace if value is not None]
    assert values[0] == cost
    assert values == sorted(values, reverse=True)


def test_highs_accepts_a_starting_schedule():
    """The first value that HiGHS reports is at most that of the start it is given."""
    schedule = one_after_another(FT06)
    model = exact.build(FT06, upper_bound=schedule.makespan)
    control = Control()
    solve_model(model.program, control, model.start(schedule))
    values = [value for _, value, _ in control.trace if value is not None]
    assert values[0] <= schedule.makespan


@SOLVERS
@pytest.mark.parametrize("reason", ["interrupted", "out of time"])
def test_whoever_stops_before_the_search_gets_the_best_rules_schedule_and_the_cheap_bound(solver, reason):
    control = Control(time_limit=0.0 if reason == "out of time" else None)
    if reason == "interrupted":
        control.interrupt()
    outcome = solve(solver, FT06, find_problem("jobshop"), control)
    assert outcome.status == (Status.INTERRUPTED if reason == "interrupted" else Status.FEASIBLE)
    assert verify(FT06, None, outcome.solutions[0]).cost == outcome.value
    assert outcome.bound == FT06.makespan_bound()


@SOLVERS
def test_without_time_and_start_there_is_no_solution_and_no_bound(solver):
    outcome = solve(solver, FT06, control=Control(time_limit=0.0), start="none")
    assert outcome == Outcome(Status.NO_SOLUTION, [], None, "none", None, {"nodes": 0.0, "proven_scenarios": 0.0})


@SOLVERS
def test_an_interrupted_search_ends_soon_and_returns_its_best_schedule(solver):
    rng = np.random.default_rng(0)
    shop = JobShop(
        "hard", [rng.permutation(15).tolist() for _ in range(20)], [rng.integers(1, 99, 15).tolist() for _ in range(20)]
    )
    control = Control()
    timer = threading.Timer(2.0, control.interrupt)
    timer.start()
    outcome = solve(solver, shop, find_problem("jobshop"), control)
    timer.cancel()
    assert outcome.status == Status.INTERRUPTED
    assert control.seconds < 10
    assert verify(shop, None, outcome.solutions[0]).cost == outcome.value > outcome.bound > 0


@SOLVERS
def test_a_solution_within_the_gap_is_feasible_not_optimal(solver):
    outcome = solve(solver, FT06, find_problem("jobshop"), gap=0.2)
    assert outcome.status == Status.FEASIBLE
    assert 0 < outcome.value - outcome.bound <= 0.2 * outcome.value


@SOLVERS
def test_several_scenarios_give_the_mean_of_their_bounds(solver):
    outcome = solve(solver, drawn_shop(3), scenarios=Scenarios(0, Purpose.EVALUATE, (0, 1)))
    assert (len(outcome.solutions), outcome.bound_kind, outcome.status) == (2, "hindsight-mean", Status.OPTIMAL)
    assert outcome.bound == outcome.value
    assert outcome.metrics["proven_scenarios"] == 2


def test_scenarios_share_the_time_and_report_nothing_of_one_another():
    rng = np.random.default_rng(0)
    settings = JobShopSettings(breakdowns=Breakdowns(0.002))
    routes = [rng.permutation(15).tolist() for _ in range(20)]
    shop = JobShop("hard", routes, [rng.integers(1, 99, 15).tolist() for _ in range(20)], settings=settings)
    control = Control(time_limit=6.0)
    outcome = solve(CP_SAT, shop, problem(bound=bound), control, sample(shop, 0, Purpose.EVALUATE, 3), start="none")
    assert outcome.bound_kind == "hindsight-mean"
    assert outcome.metrics["proven_scenarios"] == 0
    assert control.trace == []
    assert control.seconds < 15


@SOLVERS
@pytest.mark.parametrize(
    "settings", [{"gap": -0.1}, {"gap": float("nan")}, {"gap": float("inf")}, {"threads": -1}, {"threads": 10**6}]
)
def test_settings_out_of_range_are_refused(solver, settings):
    with pytest.raises(ValueError, match="must be"):
        solver.settings(**settings)


def test_building_stops_when_asked_and_the_known_solution_stays():
    shop = drawn_shop(1)
    with pytest.raises(Stopped):
        exact.build(shop, should_stop=lambda: True)
    control = Control()
    task = Task(find_problem("jobshop"), shop, Scenarios.deterministic(), EXACT.settings(), 0, control)
    control.report = lambda value=None, bound=None: control.interrupt()  # as if Ctrl-C came with the rule's schedule
    outcome = EXACT.solve(task)
    assert outcome.status == Status.INTERRUPTED
    assert verify(shop, None, outcome.solutions[0]).is_feasible


def test_cp_sat_ends_repeatably_by_its_work():
    """Cut off long before a proof, by work and not by the clock, one worker finds the same schedule again."""
    settings = {"threads": 1, "work": 0.1}
    first, again = (orl.solve("jobshop/la21", "cp-sat", settings=settings, time_limit=None, seed=1) for _ in range(2))
    assert first.status == "feasible" and first.bound == again.bound
    assert (first.solutions[0].start == again.solutions[0].start).all()
    with pytest.raises(InputError, match="work must be > 0"):
        orl.solve("jobshop/ft06", "cp-sat", settings={"work": 0.0})
