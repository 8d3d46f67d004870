"""The verifier of job shops on drawn schedules: what is feasible is, and what is broken is found, in every mode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shops import (
    EVERY_MODE,
    ON_FAILURE,
    PROBABILITIES,
    Row,
    random_choice,
    rows_of,
    scenario_of,
    schedule_of,
    shops_in_motion,
)
from shops import shops as any_shops
from test_verify import BROKEN, kinds, with_settings

from orl.problems.jobshop.instance import JobShop, Schedule
from orl.problems.jobshop.metrics import metrics
from orl.problems.jobshop.scenario import down_intervals
from orl.problems.jobshop.simpy_twin import giffler_thompson, simulate
from orl.problems.jobshop.simpy_twin_rules import SCORES, rule_choice
from orl.problems.jobshop.verify import verify
from orl.scenario import Scenarios

# Drawn shops --------------------------------------------------------------------------------------------------------

OP = st.tuples(st.integers(0, 2), st.integers(0, 5))


@st.composite
def shops(draw: Callable) -> JobShop:
    """Draw a small shop: recirculation, zero durations, releases, unequal jobs.

    The first job has every feature that a mutation needs: two real operations in a row on one machine, and a release.
    """
    jobs = [[(0, 3), (0, 2)], *draw(st.lists(st.lists(OP, min_size=1, max_size=4), max_size=4))]
    return JobShop(
        "drawn",
        machines=[[machine for machine, _ in job] for job in jobs],
        durations=[[duration for _, duration in job] for job in jobs],
        num_machines=4,
        releases=[2, *draw(st.lists(st.integers(0, 6), min_size=len(jobs) - 1, max_size=len(jobs) - 1))],
        job_names=draw(st.sampled_from([None, [f"job {job}" for job in range(len(jobs))]])),
    )


@st.composite
def scheduled(draw: Callable) -> tuple[JobShop, list[Row], np.random.Generator]:
    """Draw a shop and a valid schedule of it, by a random rule or a random policy, non-delay, waiting or active."""
    shop, rng = draw(shops()), np.random.default_rng(draw(st.integers(0, 2**32)))
    rule = rule_choice(shop, draw(st.sampled_from([*SCORES.values(), rng.random(shop.num_ops)])))
    way = draw(st.sampled_from(["rule", "policy", "active"]))
    if way == "active":
        return shop, rows_of(giffler_thompson(shop, rule)), rng
    return shop, rows_of(simulate(shop, rule if way == "rule" else random_choice(rng))), rng


@given(scheduled())
def test_what_the_twin_does_is_feasible(drawn: tuple[JobShop, list[Row], np.random.Generator]) -> None:
    """Every schedule of the twin passes, no sooner than the bound; the key figures agree and are finite."""
    shop, rows, rng = drawn
    rng.shuffle(rows)
    schedule = schedule_of(rows)
    report = verify(shop, None, schedule)
    assert report.is_feasible and report.cost == schedule.makespan >= shop.makespan_bound()
    figures = metrics(shop, None, schedule)
    assert figures["makespan"] == report.cost and np.isfinite(list(figures.values())).all()
    assert 0 <= figures["utilisation_mean"] <= figures["utilisation_max"] <= 1
    assert 0 <= figures["waiting_time_mean"] <= figures["flow_time_mean"] and figures["idle_time_total"] >= 0


def moved(row: Row, start: int) -> Row:
    return (*row[:3], start, start + row[4] - row[3])


def mutated(kind: str, shop: JobShop, rows: list[Row], rng: np.random.Generator) -> list[Row]:
    """Return the rows with one mutation that must be reported as `kind`."""

    def pick(fits: Callable[[Row], bool]) -> int:
        return int(rng.choice([index for index, row in enumerate(rows) if fits(row)]))

    index = pick(lambda row: True)
    row = rows[index]
    job, position, machine, start, end = row
    new: list[Row] = []
    match kind:
        case "duplicate":
            new = [row, moved(row, start + int(rng.integers(0, 100)))]
        case "unknown":
            length = len(shop.machines[job])
            wrong = [(-1, position, machine), (shop.num_jobs, position, machine), (job, length, machine)]
            wrong += [(job, -1, machine), (job, position, shop.num_machines), (job, position, -1)]
            new = [(*wrong[rng.integers(len(wrong))], start, end)]
        case "machine":
            new = [(job, position, (machine + int(rng.integers(1, 4))) % 4, start, end)]
        case "duration":
            new = [(job, position, machine, start, end + int(rng.choice([-1, 1])))]
        case "negative start":
            new = [moved(row, -int(rng.integers(1, 100)))]
        case "release":
            index = pick(lambda row: shop.releases[row[0]] > 0)
            new = [moved(rows[index], int(rng.integers(shop.releases[rows[index][0]])))]
        case "precedence":
            index = pick(lambda row: row[1] > 0)
            before = next(row for row in rows if row[:2] == (rows[index][0], rows[index][1] - 1))
            new = [moved(rows[index], before[4] - 1)]
        case "overlap":  # with another of the same machine, both of some duration
            index = pick(lambda row: row[0] == 0)
            rivals = [r for r in rows if r[2] == rows[index][2] and r[4] > r[3] and r != rows[index]]
            new = [moved(rows[index], rivals[rng.integers(len(rivals))][3])]
    return rows[:index] + new + rows[index + 1 :]


@pytest.mark.parametrize("kind", [*dict.fromkeys(kind for kind, _, _ in BROKEN)])
@given(drawn=scheduled())
def test_a_mutation_is_caught(kind: str, drawn: tuple[JobShop, list[Row], np.random.Generator]) -> None:
    """A valid schedule in which one thing is changed is reported under the name of that thing."""
    shop, rows, rng = drawn
    assert kind in kinds(shop, mutated(kind, shop, rows, rng))


@given(scheduled())
def test_overlap_is_what_the_pairs_say(drawn: tuple[JobShop, list[Row], np.random.Generator]) -> None:
    """With starts at random, an operation is reported if and only if some pair of its machine is out of order."""
    shop, rows, rng = drawn
    rows = [moved(row, int(rng.integers(0, 25))) for row in rows]
    pairs = [
        (a, b)
        for a, b in combinations(rows, 2)
        if a[2] == b[2] and not (a[4] <= b[3] or b[4] <= a[3])
    ]  # fmt: skip
    found = Counter(kinds(shop, rows))["overlap"]
    assert bool(pairs) == bool(found) and found <= len(pairs)


COLUMN = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-1, 4), max_size=6)


@given(
    shops() | any_shops(**EVERY_MODE),
    st.lists(COLUMN, min_size=5, max_size=5) | COLUMN.map(lambda column: [column] * 5),
)
def test_no_schedule_makes_it_raise(shop: JobShop, columns: list[list[int]]) -> None:
    """Unless it happens to be right, which it can be in a shop of a single operation."""
    schedule = Schedule(*columns)
    report = verify(shop, scenario_of(shop, 0), schedule)
    assert report.is_feasible == (not report.violations) and (report.violations or shop.num_ops == len(schedule.job))


# Drawn shops of every mode -------------------------------------------------------------------------------------------


@st.composite
def scheduled_in_any_mode(draw: Callable, **modes) -> tuple[JobShop, Scenarios, list[Row], np.random.Generator]:
    """Draw a shop, a scenario and the schedule of a random policy of the twin."""
    shop = draw(any_shops(**{**EVERY_MODE, "dispatch": ("non-delay",), **modes}))
    seed = draw(st.integers(0, 2**32))
    scenario, rng = scenario_of(shop, seed), np.random.default_rng(seed)
    return shop, scenario, rows_of(simulate(shop, random_choice(rng), scenario)), rng


@given(scheduled_in_any_mode())
def test_key_figures_are_in_range_in_any_mode(drawn: tuple[JobShop, Scenarios, list[Row], np.random.Generator]) -> None:
    shop, scenario, rows, _ = drawn
    figures = metrics(shop, scenario, schedule_of(rows))
    assert np.isfinite(list(figures.values())).all()
    assert 0 <= figures["utilisation_mean"] <= figures["utilisation_max"] <= 1
    assert 0 <= figures["waiting_time_mean"] <= figures["flow_time_mean"] and figures["idle_time_total"] >= 0
    assert 0 <= figures.get("time_blocked_total", 0) <= shop.num_machines * figures["makespan"]
    assert ("time_blocked_total" in figures) == (shop.settings.buffers != "unlimited")
    assert ("downtime_total" in figures) == shop.has_downtime
    down = down_intervals(shop, scenario, int(figures["makespan"]) + 1)
    ticks = sum(a <= t < b for pairs in down for a, b in pairs for t in range(int(figures["makespan"])))
    assert figures.get("downtime_total", 0) == ticks


@given(scheduled_in_any_mode())
def test_a_false_end_is_caught_in_any_mode(drawn: tuple[JobShop, Scenarios, list[Row], np.random.Generator]) -> None:
    shop, scenario, rows, rng = drawn
    index = int(rng.integers(len(rows)))
    rows[index] = (*rows[index][:4], rows[index][4] + int(rng.choice([-1, 1])))
    assert "duration" in kinds(shop, rows, scenario)


@given(scheduled_in_any_mode(probabilities=PROBABILITIES[2:]))
def test_a_start_in_downtime_is_caught_in_any_mode(
    drawn: tuple[JobShop, Scenarios, list[Row], np.random.Generator],
) -> None:
    shop, scenario, rows, rng = drawn
    index = int(rng.integers(len(rows)))
    job, position, machine, start, end = rows[index]
    a, b = down_intervals(shop, scenario, 100)[machine][0]
    start = int(rng.integers(a, b))
    rows[index] = (job, position, machine, start, max(start, end))
    assert "downtime" in kinds(shop, rows, scenario)


@given(any_shops(max_ops=1, max_jobs=1, max_machines=1, probabilities=PROBABILITIES[1:], calendars=True,
                 on_failure=ON_FAILURE), st.integers(0, 2**32), st.integers(10, 50))  # fmt: skip
def test_an_end_is_what_counting_time_units_says(shop: JobShop, seed: int, start: int) -> None:
    scenario = scenario_of(shop, seed)

    def is_down(time: int) -> bool:
        return any(a <= time < b for a, b in down_intervals(shop, scenario, time + 1)[0])

    while is_down(start):
        start += 1
    time, done, duration = start, 0, shop.durations[0][0]
    while done < duration:
        done = done if is_down(time) else done + 1
        if is_down(time) and shop.settings.on_failure == "restart":
            done = 0
        time += 1
    for end in (time - 1, time, time + 1):
        assert kinds(shop, [(0, 0, 0, start, end)], scenario) == ["duration"] * (end != time)


def holdings(rows: list[Row]) -> list[tuple[int, int, int]]:
    """Return (machine, from, to) of what a blocking shop holds, consecutive operations on one machine joined."""
    held: list[tuple[int, int, int]] = []
    before: Row | None = None
    for row in sorted(rows):
        if before is not None and row[0] == before[0]:
            machine, since, _ = held[-1]
            held[-1] = machine, since, row[3]
            if row[2] == before[2]:
                held[-1] = machine, since, row[4]
                before = row
                continue
        held.append((row[2], row[3], row[4]))
        before = row
    return held


@given(scheduled_in_any_mode(buffers=("unlimited",), probabilities=(0.0,), calendars=False))
def test_blocking_is_what_the_pairs_say(drawn: tuple[JobShop, Scenarios, list[Row], np.random.Generator]) -> None:
    """A schedule of a shop with buffers is reported if and only if two jobs would hold one machine."""
    shop, _, rows, _ = drawn
    pairs = [(a, b) for a, b in combinations(holdings(rows), 2) if a[0] == b[0] and not (a[2] <= b[1] or b[2] <= a[1])]
    found = kinds(with_settings(shop, buffers="swap"), rows)
    assert ("blocking" in found) == bool(pairs)


@st.composite
def scheduled_in_motion(draw: Callable, **modes) -> tuple[JobShop, Scenarios, list[Row], np.random.Generator]:
    """Draw a shop in motion, a scenario and the schedule of a random policy of the twin."""
    shop, seed = draw(shops_in_motion(**modes))
    scenario, rng = scenario_of(shop, seed + 1), np.random.default_rng(seed)
    return shop, scenario, rows_of(simulate(shop, random_choice(rng), scenario)), rng


@given(scheduled_in_motion())
def test_a_change_is_caught_in_motion(drawn: tuple[JobShop, Scenarios, list[Row], np.random.Generator]) -> None:
    """A false end, a start before the clock, or before the one of what is under way, and a change of what has been."""
    shop, scenario, rows, rng = drawn
    index = int(rng.integers(len(rows)))
    job, position, machine, start, end = rows[index]
    assert shop.state is not None
    is_before = position < shop.state.ops_done[job]
    is_under_way = position == shop.state.ops_done[job] and shop.state.work_left[job] > 0
    false_end = (job, position, machine, start, end + int(rng.choice([-1, 1])))
    assert ("history" if is_before else "duration") in kinds(
        shop, [*rows[:index], false_end, *rows[index + 1 :]], scenario
    )
    early = (start if is_under_way else shop.clock) - 1
    found = kinds(shop, [*rows[:index], (job, position, machine, early, end), *rows[index + 1 :]], scenario)
    assert is_before or ("clock" if early >= 0 or is_under_way else "negative start") in found
    found = kinds(shop, rows[:index] + rows[index + 1 :], scenario)
    assert ("history" if is_before else "missing") in found


@given(shops_in_motion(buffers=("swap",), probabilities=(0.0,), calendars=False))
def test_blocking_in_motion_is_what_the_pairs_say(drawn: tuple[JobShop, int]) -> None:
    """With gaps at random, it is reported if and only if two jobs hold one machine; some do before anything moves."""
    shop, seed = drawn
    rng, state, rows = np.random.default_rng(seed), shop.state, []
    assert state is not None
    held = []
    for job, (route, durations) in enumerate(zip(shop.machines, shop.durations, strict=True)):
        done, time = int(state.ops_done[job]), max(shop.clock, int(shop.releases[job]))
        of_job = []
        if 0 < done < len(route) and state.work_left[job] == 0:
            of_job = [(job, done - 1, route[done - 1], time - 0.5, time)]
        for position in range(done, len(route)):
            start = time + int(rng.integers(4))
            time = start + durations[position]
            row = (job, position, route[position], start, time)
            if position == done and state.work_left[job] > 0:
                time = shop.clock + int(state.work_left[job])
                row = (job, position, route[position], int(state.started[job]), time)
                of_job.append((*row[:3], shop.clock - 0.5, time))
            else:
                of_job.append(row)
            rows.append(row)
        held += holdings(of_job)
    pairs = [(a, b) for a, b in combinations(held, 2) if a[0] == b[0] and not (a[2] <= b[1] or b[2] <= a[1])]
    found = kinds(shop.in_motion(replace(state, history=None)), rows)
    assert ("blocking" in found) == bool(pairs) and set(found) <= {"blocking", "swap"}


# The moves of one instant, against trying everything ----------------------------------------------------------------


def can_be_ordered(paths: list[list[int | None]], may_swap: bool) -> bool:
    """Return whether jobs can go these ways, one move after the other or in a cycle; None is outside."""

    def is_reachable(done: tuple[int, ...]) -> bool:
        if done in seen:
            return False
        seen.add(done)
        here = [path[at] for path, at in zip(paths, done, strict=True)]
        target = {
            job: path[at + 1] for job, (path, at) in enumerate(zip(paths, done, strict=True)) if at + 1 < len(path)
        }
        if not target:
            return True
        sets = [{job} for job, machine in target.items() if machine is None or machine not in here]
        if may_swap:
            for size in range(2, len(paths) + 1):
                for jobs in combinations(target, size):
                    if None not in (goal := {target[job] for job in jobs}) and goal == {here[job] for job in jobs}:
                        sets.append(set(jobs))
        return any(is_reachable(tuple(at + (job in jobs) for job, at in enumerate(done))) for jobs in sets)

    seen: set[tuple[int, ...]] = set()
    return is_reachable(tuple(0 for _ in paths))


@given(st.data())
def test_moves_can_be_ordered_if_trying_everything_finds_an_order(data: st.DataObject) -> None:
    """Jobs come from machines held until 1 or from outside, pass others in no time, and stay on others or leave."""
    num_machines, num_jobs = 4, data.draw(st.integers(2, 4))
    begin = data.draw(st.permutations(range(4)))[:num_jobs]
    finish = data.draw(st.permutations(range(4)))[:num_jobs]
    machines, durations, rows, paths = [], [], [], []
    for job in range(num_jobs):
        comes, stays = data.draw(st.booleans()), data.draw(st.booleans())
        middle = data.draw(st.lists(st.integers(0, num_machines - 1), min_size=1 - (comes or stays), max_size=3))
        route = [begin[job]] * comes + middle + [finish[job]] * stays
        times = [1] * comes + [0] * len(middle) + [1] * stays
        starts = [0] * comes + [1] * (len(middle) + stays)
        machines.append(route)
        durations.append(times)
        rows += [(job, o, m, s, s + d) for o, (m, s, d) in enumerate(zip(route, starts, times, strict=True))]
        path: list[int | None] = [] if comes else [None]
        path += [machine for o, machine in enumerate(route) if o == 0 or machine != route[o - 1]]
        paths.append(path if stays else [*path, None])
    shop = JobShop("instant", machines, durations, num_machines)
    for buffers in ("swap", "none"):
        found = kinds(with_settings(shop, buffers=buffers), rows)
        if "blocking" in found or "overlap" in found:  # a job that never leaves its machine while others pass it
            continue
        assert found == ([] if can_be_ordered(paths, buffers == "swap") else ["swap"])
