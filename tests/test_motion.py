"""A shop in motion goes on as if it had never been stopped."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from shops import (
    AT_6,
    BEFORE_6,
    EVERY_MODE,
    FROM_6,
    STATE_AT_6,
    random_choice,
    rows_of,
    scenario_of,
    schedule_of,
    shops,
    shops_in_motion,
    stopped,
)
from twins import shop_decisions_agree, shop_rules_agree

import orl
from orl.cli import main
from orl.errors import InputError
from orl.problems.jobshop.instance import Breakdowns, JobShop, JobShopSettings
from orl.problems.jobshop.metrics import metrics
from orl.problems.jobshop.process import JobShopProcess
from orl.problems.jobshop.rules import RULES
from orl.problems.jobshop.scenario import down_intervals, sample
from orl.problems.jobshop.simpy_twin import simulate
from orl.problems.jobshop.state import ShopState, observed_state, state_at, state_from
from orl.problems.jobshop.verify import verify
from orl.scenario import Purpose, Scenarios

IN_MOTION = {**EVERY_MODE, "dispatch": ("non-delay",), "probabilities": (0.0, 0.02, 0.05)}


def same_future(shop, scenario, state):
    """Return the scenario of a shop in motion whose machines fail as they do in the scenario it was stopped in."""
    if scenario.draw is None:
        return scenario
    intervals = down_intervals(replace(shop, calendar=()), scenario, 40_000)
    rows = []
    for pairs in intervals:
        to_come = [(a, b) for a, b in pairs if b > state.clock]
        last, of_machine = state.clock, []
        for a, b in to_come[:400]:
            of_machine.append((max(a, state.clock) - last, b - max(a, state.clock)))
            last = b
        rows.append(of_machine + [(2**30, 1)] * (400 - len(of_machine)))
    values = np.array(rows).transpose(1, 0, 2)  # (failures, machines, 2)
    return Scenarios(0, Purpose.EVALUATE, (0,), lambda rng, block: values)


@given(shops_in_motion())
@settings(max_examples=300)
def test_every_rule_gives_the_twins_schedule_from_where_the_shop_is(drawn):
    """Kernel and twin agree under every rule, whatever has happened before and whatever happens then."""
    shop, seed = drawn
    shop_rules_agree(shop, scenario_of(shop, seed + 1))


@given(shops_in_motion())
@settings(max_examples=300)
def test_random_decisions_lead_where_they_lead_in_the_twin_from_where_the_shop_is(drawn):
    """Kernel and twin offer the same at the same times and end up the same, whatever is decided."""
    shop, seed = drawn
    shop_decisions_agree(shop, scenario_of(shop, seed + 1), np.random.default_rng(seed))


@given(shops(**IN_MOTION), st.integers(0, 20), st.integers(0, 2**32), st.sampled_from(sorted(RULES)))
@settings(max_examples=300, deadline=None)
def test_a_stopped_shop_goes_on_as_it_would_have(shop, decisions, seed, rule):
    """Stopped at any decision and begun anew from the observed state, a rule is offered and does the same."""
    if shop.calendar and shop.settings.breakdowns.probability > 0:
        shop = replace(shop, calendar=())  # where the two overlap, an observation does not tell which has the machine
    scenario = scenario_of(shop, seed)
    process = stopped(shop, scenario, np.random.default_rng(seed), decisions)
    if process is None:
        return
    observation = process.observe()
    state = observed_state(shop, observation, 0)
    again = JobShopProcess([shop.in_motion(state)], [same_future(shop, scenario, state)])
    for key in ("clock", "num_started", "candidate", "machine", "status", "place", "available", "occupant"):
        assert (again.observe().arrays[key] == observation.arrays[key]).all(), key
    assert (again.observe().arrays["down_since"] == observation.arrays["down_since"]).all()
    assert (again.observe().legal == observation.legal).all()
    seeds = np.array([seed], dtype=np.uint64)
    process.run(RULES[rule], seeds)
    again.run(RULES[rule], seeds)
    before = {(job, position) for job, done in enumerate(state.ops_done) for position in range(done)}
    rows = [
        {(j, p): (a, b) for j, p, a, b in zip(s.job.tolist(), s.position.tolist(), s.start, s.end, strict=True)}
        for s in (process.solution(0), again.solution(0))
    ]
    for key, (start, end) in rows[0].items():
        if key not in before:
            is_in = start < state.clock  # begun before: when, an observation does not tell
            assert rows[1][key][1] == end and (is_in or rows[1][key][0] == start)
    assert not before & set(rows[1])


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0]])
def test_a_shop_goes_on_on_paper(order):
    """In whatever order its jobs are written: A goes on, B holds the saw, for which D waits, until A leaves at 7."""
    routes = [list(zip(*(AT_6.op_machine[a:b].tolist(), AT_6.op_duration[a:b].tolist()), strict=True))
              for a, b in zip(AT_6.job_first, AT_6.job_first[1:], strict=False)]  # fmt: skip
    shop = JobShop("at 6", *([[op[i] for op in routes[job]] for job in order] for i in (0, 1)), settings=AT_6.settings)
    by_job = ("ops_done", "work_left", "started", "ready_at")
    shop = shop.in_motion(replace(STATE_AT_6, **{key: getattr(STATE_AT_6, key)[order] for key in by_job}))
    process = JobShopProcess([shop], [Scenarios.deterministic()])
    process.run(RULES["fifo"], np.zeros(1, dtype=np.uint64))
    assert sorted((order[job], *rest) for job, *rest in rows_of(process.solution(0))) == FROM_6


@given(shops_in_motion())
def test_what_a_shop_in_motion_does_verifies_at_its_cost(drawn):
    """The verifier accepts what a rule and what a random policy do, at the process's cost, no less than the bound."""
    shop, seed = drawn
    scenario = scenario_of(shop, seed + 1)
    process = JobShopProcess([shop], [scenario])
    cost = process.run(RULES["mwr"], np.zeros(1, dtype=np.uint64))[0]
    report = verify(shop, scenario, process.solution(0))
    assert not report.violations and report.cost == pytest.approx(cost)
    schedule = simulate(shop, random_choice(np.random.default_rng(seed)), scenario)
    report = verify(shop, scenario, schedule)
    assert not report.violations and min(schedule.makespan, process.solution(0).makespan) >= shop.makespan_bound()


@given(shops_in_motion(probabilities=(0.1, 0.2)))
def test_the_downtime_of_a_machine_that_is_down_begins_when_it_failed(drawn):
    """And ends after the clock; what has ended by then is left out."""
    shop, seed = drawn
    for since, pairs in zip(shop.state.down_since, down_intervals(shop, scenario_of(shop, seed), 10_000), strict=True):
        assert pairs[0][1] > shop.clock and (pairs[0][0] <= shop.clock) == (since >= 0)
        assert since < 0 or pairs[0][0] == since


@given(shops(**{**EVERY_MODE, "dispatch": ("non-delay",), "probabilities": (0.0,)}), st.data())
@settings(max_examples=200)
def test_a_schedule_is_right_from_any_time_on(shop, data):
    """The shop that has followed a schedule for a while, and another while, may go on with it, at the same cost."""
    schedule = simulate(shop, random_choice(np.random.default_rng(data.draw(st.integers(0, 2**32)))))
    cost = verify(shop, None, schedule).cost
    times = sorted(data.draw(st.lists(st.integers(0, schedule.makespan), min_size=1, max_size=2)))
    has_history = data.draw(st.booleans())
    for time in times:
        assume(schedule.makespan > time)
        state = state_at(shop, schedule, time)
        if not has_history:
            is_left = np.array([p >= state.ops_done[j] for j, p, *_ in rows_of(schedule)])
            rows = [row for row, is_there in zip(rows_of(schedule), is_left, strict=True) if is_there]
            state, schedule = replace(state, history=None), schedule_of(rows)
        shop = shop.in_motion(state)
        report = verify(shop, None, schedule)
        assert report.violations == () and report.cost == cost


def test_a_machine_that_failed_is_repaired_though_none_else_fails():
    """Down since 3, and the repair takes 2 to 6: at 5 it has lasted 2, so the job may go on from 6 to 9."""
    options = JobShopSettings(breakdowns=Breakdowns(0, "uniform 2 6"))
    shop = JobShop("one", [[0, 1]], [[4, 1]], settings=options)
    shop = shop.in_motion(state_from(shop, FAILED))
    scenarios = sample(shop, 0, Purpose.EVALUATE, 100)
    ends = []
    for scenario in scenarios:
        shop_rules_agree(shop, scenario)
        schedule = simulate(shop, lambda state: 0, scenario)
        assert verify(shop, scenario, schedule).is_feasible
        ends.append(int(schedule.end[0]))
    assert set(ends) == {6 + 3, 7 + 3, 8 + 3, 9 + 3}


FAILED = {
    "clock": 5,
    "jobs": [{"job": 0, "work_left": 3, "started": 2}],
    "machines": [{"machine": 0, "down_since": 3}],
}


# States that cannot be ----------------------------------------------------------------------------------------------

CROSSING = JobShop(
    "crossing",
    machines=[[0, 1], [1, 0], [0]],
    durations=[[3, 2], [2, 4], [1]],
    releases=[0, 0, 6],
    job_names=("A", "B", "C"),
    machine_names=("saw", "lathe"),
    settings=JobShopSettings(buffers="none"),
)
A_DONE, B_DONE = {"job": "A", "ops_done": 1}, {"job": "B", "ops_done": 1}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "a state must be an object with clock, jobs and machines."),
        ({"jobs": []}, "clock is missing."),
        ({"clock": 1.5}, "clock must be a whole number, got 1.5."),
        ({"clock": -1}, "clock must be >= 0 and below 2**40, got -1."),
        ({"clock": 4, "time": 4}, "state: unknown key 'time'"),
        ({"clock": 4, "jobs": {}}, "jobs must be a list of objects."),
        ({"clock": 4, "jobs": [{"job": "A", "done": 1}]}, "jobs[0]: unknown key 'done'"),
        ({"clock": 4, "jobs": [{"job": "X"}]}, "jobs[0]: job must be one of A, B, C, got 'X'."),
        ({"clock": 4, "jobs": [{"job": 0}]}, "jobs[0]: job must be one of A, B, C, got 0."),
        ({"clock": 4, "jobs": [A_DONE, A_DONE]}, "jobs[1]: job 'A' is there twice."),
        ({"clock": 4, "jobs": [{"job": "A", "ops_done": "1"}]}, "jobs[0].ops_done must be a whole number, got '1'."),
        ({"clock": 4, "machines": [{"machine": "mill"}]}, "machine must be one of saw, lathe, got 'mill'."),
        ({"clock": 4, "jobs": [{"job": "A", "ops_done": 3}]}, "ops_done must be in 0..2, got 3 at job A."),
        (
            {"clock": 4, "jobs": [{"job": "A", "work_left": 4}]},
            "work_left must be in 0..3, the duration of the job's next operation, got 4 at job A.",
        ),
        (
            {"clock": 4, "jobs": [{"job": "A", "ops_done": 2, "work_left": 1}]},
            "work_left must be in 0..0, the duration of the job's next operation, got 1 at job A.",
        ),
        ({"clock": 4, "jobs": [{"job": "C", "work_left": 1}]}, "job C has begun before its release."),
        ({"clock": 4, "jobs": [{"job": "C", "ops_done": 1}]}, "job C has begun before its release."),
        (
            {"clock": 4, "jobs": [{"job": "A", "work_left": 1, "started": 5}]},
            "started must be <= clock = 4, got 5 at job A.",
        ),
        ({"clock": 4, "jobs": [{**A_DONE, "ready_at": 5}]}, "ready_at must be <= clock = 4, got 5 at job A."),
        (
            {"clock": 4, "machines": [{"machine": "saw", "down_since": 5}]},
            "down_since must be <= clock = 4, got 5 at machine saw.",
        ),
        (
            {"clock": 9, "jobs": [{"job": name, "ops_done": done} for name, done in (("A", 2), ("B", 2), ("C", 1))]},
            "all jobs are complete; there is nothing left to decide.",
        ),
        (
            {"clock": 9, "jobs": [A_DONE, {"job": "C", "work_left": 1}]},
            "job A and job C are both on machine saw.",
        ),
        (
            {"clock": 9, "jobs": [A_DONE, B_DONE]},
            "with buffers=none job A, job B block one another: no way was found in which all can finish.",
        ),
    ],
)
def test_a_state_that_cannot_be_is_refused(data, message):
    """What is wrong is named with place and numbers."""
    with pytest.raises(InputError) as error:
        CROSSING.in_motion(state_from(CROSSING, data))
    assert message in str(error.value)


def test_jobs_that_block_one_another_may_swap():
    """What is refused without swaps moves at once with them, and may be with buffers."""
    for buffers in ("swap", "unlimited"):
        shop = replace(CROSSING, settings=JobShopSettings(buffers=buffers))
        shop = shop.in_motion(state_from(shop, {"clock": 9, "jobs": [A_DONE, B_DONE]}))
        schedule = simulate(shop, lambda state: state.startable()[0][0])
        assert {row[:4] for row in rows_of(schedule)} == {(0, 1, 1, 9), (1, 1, 0, 9), (2, 0, 0, 13)}


def test_a_state_is_as_long_as_its_shop_and_not_for_active_dispatch():
    """Arrays of another length are named, and so is the setting that has no clock."""
    nothing = ShopState(0, [0, 0], [0, 0], [-1, -1], [-1, -1], [-1, -1])
    with pytest.raises(InputError, match="ops_done must have 3 entries"):
        CROSSING.in_motion(nothing)
    shop = JobShop("active", [[0], [1]], [[1], [1]], settings=JobShopSettings(dispatch="active"))
    with pytest.raises(InputError, match="dispatch=non-delay"):
        shop.in_motion(nothing)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "got 0 of operation 0 of job 0"),
        ([(0, 0, 0, 0, 3), (0, 0, 0, 0, 3)], "got 2 of operation 0 of job 0"),
        ([(0, 0, 0, 0, 3), (1, 0, 1, 0, 2)], "got 1 of operation 0 of job 1"),
        ([(0, 0, 0, 2, 5)], "history must end by clock = 4, got 5."),
    ],
)
def test_a_history_is_that_of_what_is_completed(rows, message):
    """It has one row of each operation completed, no other, and none that ends after the clock."""
    state = state_from(CROSSING, {"clock": 4, "jobs": [A_DONE]})
    with pytest.raises(InputError) as error:
        CROSSING.in_motion(replace(state, history=schedule_of(rows)))
    assert message in str(error.value)


# Key figures --------------------------------------------------------------------------------------------------------


def test_key_figures_of_a_shop_in_motion():
    """On paper, without and with the history; B blocks the saw from 5 on, or as far as one knows from 6 on, until 7."""
    shop = AT_6.in_motion(STATE_AT_6)
    without = {
        "makespan": 10,
        "flow_time_mean": (7 + 8 + 3 + 10) / 4,
        "waiting_time_mean": (0 + 1 + 0 + 1) / 4,
        "utilisation_mean": pytest.approx((3 / 4 + 2 / 4) / 2),
        "utilisation_max": 3 / 4,
        "idle_time_total": 1,
        "time_blocked_total": 1,
    }
    assert metrics(shop, None, schedule_of(FROM_6)) == without
    shop = shop.in_motion(replace(shop.state, history=schedule_of(BEFORE_6)))
    assert metrics(shop, None, schedule_of([*BEFORE_6, *FROM_6])) == {
        **without,
        "waiting_time_mean": (0 + 5 + 0 + 7) / 4,
        "utilisation_mean": pytest.approx((9 / 10 + 7 / 10) / 2),
        "utilisation_max": 9 / 10,
        "idle_time_total": 1 + 2,
        "time_blocked_total": 2,
    }


def test_key_figures_against_a_plan():
    """In the plan D goes to the saw and to the lathe 2 sooner, there before B, which is 1 later; A is as it is."""
    shop = AT_6.in_motion(STATE_AT_6)
    plan = [*[(j, p, m, a + 9, b + 9) for j, p, m, a, b in BEFORE_6], (0, 1, 1, 3, 7), (3, 0, 0, 5, 7), (3, 1, 1, 7, 8)]
    for planned_b, expected in (([(1, 1, 1, 8, 9)], (3, 5 / 4, 2, 2)), ([], (2, 4 / 3, 2, 0))):
        planned = replace(shop, plan=schedule_of([*plan, *planned_b]))
        figures = metrics(planned, None, schedule_of(FROM_6))
        changes = ("moved_operations", "shift_mean", "shift_max", "resequenced_operations")
        assert tuple(figures[key] for key in changes) == expected
        assert metrics(shop, None, schedule_of(FROM_6)) == {k: v for k, v in figures.items() if k not in changes}
    same = metrics(replace(shop, plan=schedule_of(FROM_6)), None, schedule_of(FROM_6))
    assert [same[key] for key in changes] == [0, 0, 0, 0]


@given(shops_in_motion())
def test_key_figures_are_in_range_of_a_shop_in_motion(drawn):
    """Shares are between 0 and 1 and times are not negative, with history and without."""
    shop, seed = drawn
    scenario = scenario_of(shop, seed + 1)
    figures = metrics(shop, scenario, simulate(shop, random_choice(np.random.default_rng(seed)), scenario))
    assert np.isfinite(list(figures.values())).all()
    assert 0 <= figures["utilisation_mean"] <= figures["utilisation_max"] <= 1
    assert 0 <= figures["waiting_time_mean"] <= figures["flow_time_mean"] and figures["idle_time_total"] >= 0
    assert figures.get("time_blocked_total", 0) >= 0 and figures.get("downtime_total", 0) >= 0
    assert figures["makespan"] >= shop.clock


# from the command line ----------------------------------------------------------------------------------------------


def test_a_frozen_beginning_stays_and_the_result_tells_what_moved(tmp_path, capsys):
    """The plan of a rule is kept until 30 and improved after; history and rest are one schedule of the whole shop."""
    plan, out = tmp_path / "plan.json", tmp_path / "new.json"
    assert main(["solve", "jobshop/ft06", "--solver", "spt", "--out", str(plan)]) == 0
    options = ["--set", f"plan={plan}", "--set", "freeze=30"]
    assert main(["solve", "jobshop/ft06", *options, "--out", str(out), "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 55 < result["value"] < 88 and result["status"] == "optimal" and result["verified"]
    assert result["metrics"]["moved_operations"] > 0 and result["metrics"]["shift_max"] > 0
    before, after = (json.loads(path.read_text())["solutions"][0] for path in (plan, out))
    kept = {tuple(row.items()) for row in before if row["start"] < 30}
    assert kept and kept == {tuple(row.items()) for row in after if row["start"] < 30}
    assert main(["check", "jobshop/ft06", str(out)]) == 0
    assert orl.check("jobshop/ft06", out, settings={}).is_feasible  # a schedule of the shop from its beginning, too
    for solver in ("exact", "mwr", "rollout", "rolling"):
        assert main(["solve", "jobshop/ft06", *options, "--solver", solver]) == 0


def test_a_shop_in_motion_is_solved_from_a_file(tmp_path):
    """Jobs 0 and 1 of ft06 are on their way; no solver ends before the clock, all agree with the verifier."""
    state = {"clock": 10, "jobs": [{"job": 0, "ops_done": 2, "work_left": 3}, {"job": 1, "ops_done": 1}]}
    path = tmp_path / "now.json"
    path.write_text(json.dumps(state))
    values = {}
    for solver in ("cp-sat", "exact", "mwr", "rollout", "rolling"):
        result = orl.solve("jobshop/ft06", solver, settings={"state": str(path)})
        assert result.verified, result.violations
        values[solver] = result.value
    assert values["cp-sat"] == values["exact"] <= min(values.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"freeze": "5"}, "freeze keeps the beginning of a plan"),
        ({"state": "nowhere.json"}, "nowhere.json"),
        ({"plan": "{plan}", "freeze": "88"}, "freeze must be below 88"),
        ({"plan": "{other}"}, "not a schedule of ft06"),
        ({"state": "{bad}"}, "expected JSON"),
    ],
)
def test_a_bad_state_or_plan_is_one_line_and_code_2(tmp_path, capsys, settings, message):
    plan, other, bad = (tmp_path / name for name in ("plan.json", "other.json", "bad.json"))
    main(["solve", "jobshop/ft06", "--solver", "spt", "--out", str(plan)])
    main(["solve", "jobshop/la01", "--solver", "spt", "--out", str(other)])
    bad.write_text("{")
    capsys.readouterr()
    given = {key: value.format(plan=plan, other=other, bad=bad) for key, value in settings.items()}
    assert (
        main(["solve", "jobshop/ft06", *(x for key, value in given.items() for x in ("--set", f"{key}={value}"))]) == 2
    )
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_a_shop_in_motion_is_not_written_without_its_state(tmp_path):
    shop = orl.load("jobshop/ft06")
    moving = shop.in_motion(state_from(shop, {"clock": 3}))
    with pytest.raises(InputError, match="cannot be written"):
        orl.save(moving, tmp_path / "moving.toml")
