"""A shop in motion goes on as if it had never been stopped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from shops import EVERY_MODE, PROBABILITIES, scenario_of, shops
from test_kernels import assert_decisions_agree, assert_rules_agree

from orl.problems.jobshop.process import JobShopProcess
from orl.problems.jobshop.rules import RULES
from orl.problems.jobshop.scenario import down_intervals
from orl.problems.jobshop.state import observed_state
from orl.scenario import Purpose, Scenarios

IN_MOTION = {**EVERY_MODE, "dispatch": ("non-delay",), "probabilities": (0.0, 0.02, 0.05)}


def stopped(shop, scenario, rng, decisions):
    """Play at random for some decisions; return the process, or None if the episode ends before."""
    process = JobShopProcess([shop], [scenario])
    for _ in range(decisions):
        legal = np.flatnonzero(process.observe().legal[0])
        if not len(legal):
            return None
        process.decide(np.array([rng.choice(legal)]))
        process.reveal()
    return process if process.observe().legal.any() else None


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


@st.composite
def in_motion(draw, **modes):
    """Draw a shop that was played at random for some decisions, with or without the history of it, and a seed."""
    shop, seed = draw(shops(**{**IN_MOTION, "probabilities": PROBABILITIES, **modes})), draw(st.integers(0, 2**32))
    process = stopped(shop, scenario_of(shop, seed), np.random.default_rng(seed), draw(st.integers(0, 20)))
    assume(process is not None)
    state = observed_state(shop, process.observe(), 0)
    if draw(st.booleans()):
        state = replace(state, history=process.solution(0))
    return shop.in_motion(state), seed


@given(in_motion())
@settings(max_examples=300)
def test_every_rule_gives_the_twins_schedule_from_where_the_shop_is(drawn):
    """Kernel and twin agree under every rule, whatever has happened before and whatever happens then."""
    shop, seed = drawn
    assert_rules_agree(shop, scenario_of(shop, seed + 1))


@given(in_motion())
@settings(max_examples=300)
def test_random_decisions_lead_where_they_lead_in_the_twin_from_where_the_shop_is(drawn):
    """Kernel and twin offer the same at the same times and end up the same, whatever is decided."""
    shop, seed = drawn
    assert_decisions_agree(shop, scenario_of(shop, seed + 1), np.random.default_rng(seed))


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
