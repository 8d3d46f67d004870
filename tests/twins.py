"""What a process and its kernels must share with the family's SimPy twin and its verifier, on any drawn instance.

Tests draw a few hundred instances, benchmarks/robustness_twins.py many more. Where a family has no twin, as its
process has no kernels, the verifier is what its process is held to.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from orl import registry
from orl.problems.clsp.wagner_whitin import wagner_whitin
from orl.problems.jobshop import rules as shop_rules
from orl.problems.jobshop import simpy_twin as shop_twin
from orl.problems.jobshop.process import JobShopProcess
from orl.problems.jobshop.schedules import columns
from orl.problems.jobshop.simpy_twin_rules import SCORES, rule_choice
from orl.problems.jobshop.verify import verify as verify_schedule
from orl.problems.llmserving import rules as serving_rules
from orl.problems.llmserving.process import ServingProcess
from orl.problems.llmserving.verify import verify as verify_log
from orl.problems.lotsizing import rules as lot_rules
from orl.problems.lotsizing.process import LotSizingProcess
from orl.problems.lotsizing.scenario import realise as realise_lots
from orl.problems.lotsizing.scenario import sample as sample_lots
from orl.problems.lotsizing.simpy_twin import simulate as simulate_lots
from orl.problems.lotsizing.verify import verify as verify_lots
from orl.scenario import Purpose, Scenarios

NOTHING = Scenarios.deterministic()

# Job shops ----------------------------------------------------------------------------------------------------------


def twin_schedule(shop, choose, scenario):
    if shop.settings.dispatch == "active":
        return shop_twin.giffler_thompson(shop, choose)
    return shop_twin.simulate(shop, choose, scenario)


def shop_rules_agree(shop, scenario, names=tuple(SCORES)):
    """Rules give the twin's schedule and cost, and that is feasible."""
    process = JobShopProcess([shop], [scenario])
    for name in names:
        process.reset()
        cost = process.run(shop_rules.RULES[name], np.zeros(1, dtype=np.uint64))[0]
        twin = twin_schedule(shop, rule_choice(shop, SCORES[name]), scenario)
        assert columns(shop, process.solution(0)) == columns(shop, twin), name
        report = verify_schedule(shop, scenario, twin)
        assert cost == pytest.approx(report.cost)
        assert report.is_feasible, report.violations[:3]


def shop_decisions_agree(shop, scenario, rng):
    """Play at random, waiting included; the twin is offered the same jobs at the same times and ends up the same."""
    process = JobShopProcess([shop], [scenario])
    played, paid = [], 0.0
    is_over = False
    while not is_over:
        observation = process.observe()
        legal = np.flatnonzero(observation.legal[0]).tolist()
        action = int(rng.choice(legal))
        played.append((int(observation.arrays["clock"][0]), legal, action))
        paid += process.decide(np.array([action]))[0]
        revealed = process.reveal()
        paid += revealed.cost[0]
        is_over = bool(revealed.terminated[0])
    moves = iter(played)

    def choose(state, conflict=None):
        time, legal, action = next(moves)
        if conflict is None:
            offered = sorted(job for jobs in state.candidates().values() for job in jobs)
            offered += [shop.num_jobs] if state.can_wait else []
        else:
            offered = sorted(conflict)
        assert (state.time, offered) == (time, legal)
        return None if action == shop.num_jobs else action

    twin = twin_schedule(shop, choose, scenario)
    assert next(moves, None) is None
    assert columns(shop, process.solution(0)) == columns(shop, twin)
    report = verify_schedule(shop, scenario, twin)
    assert report.is_feasible, report.violations[:3]
    assert paid == pytest.approx(report.cost)


# Lot sizing ---------------------------------------------------------------------------------------------------------


def lots_scenario(instance, seed=0):
    return sample_lots(instance, seed, Purpose.EVALUATE, 1)[0]


def can_meet_demand(instance):
    """Whether some plan meets all demand; of unmet=forbid, by trying all of them."""
    if instance.settings.unmet != "forbid":
        return True
    first = instance.first_period
    stock = instance.initial_stock if instance.state is None else instance.state.stock
    reached = {tuple(stock.tolist())}
    for demand in instance.demand.path[first : first + instance.periods_left]:
        made = [np.eye(instance.num_items, dtype=int)[item] * rate for item, rate in enumerate(instance.rates[0])]
        after = [np.array(stock) + units - demand for stock in reached for units in (0 * demand, *made)]
        reached = {tuple(stock.tolist()) for stock in after if (stock >= 0).all()}
    return bool(reached)


def lots_rule_agrees(instance, rule, seed):
    """A rule's plan costs what it costs in the twin and in the verifier, and is feasible where some plan is."""
    scenario = lots_scenario(instance, seed)
    process = LotSizingProcess([instance], [scenario])
    cost = process.run(lot_rules.RULES[rule], np.array([seed], dtype=np.uint64))[0]
    plan = process.solution(0)
    twin_cost, twin_plan = simulate_lots(
        instance, scenario, lambda plant: int(plan.choices[plant.period, len(plant.told)])
    )
    assert (twin_plan.choices == plan.choices).all()
    assert cost == pytest.approx(twin_cost, rel=1e-9, abs=1e-9)
    report = verify_lots(instance, scenario, plan)
    assert report.cost == pytest.approx(twin_cost, rel=1e-9, abs=1e-9)
    assert report.is_feasible or {v.kind for v in report.violations} == {"shortage"}
    assert report.is_feasible or not can_meet_demand(instance)


def lots_decisions_agree(instance, seed):
    """The twin leads with random choices; the process follows, machine by machine."""
    instance = replace(instance, settings=replace(instance.settings, decision="machine"))
    scenario, rng = lots_scenario(instance), np.random.default_rng(seed)
    process = LotSizingProcess([instance], [scenario])
    paid, weight, demand = 0.0, 1.0, realise_lots(instance, scenario).demand

    def follow(plant):
        nonlocal paid, weight
        observation = process.observe()
        assert np.flatnonzero(observation.legal[0]).tolist() == plant.legal()
        assert observation.arrays["stock"][0].tolist() == plant.stock
        assert observation.arrays["setup"][0].tolist() == plant.setup
        assert plant.period == 0 or (observation.arrays["last_demand"][0] == demand[plant.period - 1]).all()
        choice = int(rng.choice(plant.legal()))
        paid += weight * process.decide(np.array([choice]))[0]
        revealed = process.reveal()
        paid += weight * revealed.cost[0]
        weight *= revealed.discount[0]
        return choice

    cost, _ = simulate_lots(instance, scenario, follow)
    assert paid == pytest.approx(cost, rel=1e-9, abs=1e-9)


# Capacitated lot sizing and hydrothermal dispatch --------------------------------------------------------------------


def targets_verify(family, instance, seed):
    """Whatever is aimed at, what is done is feasible and costs what the verifier says."""
    problem, rng = registry.find_problem(family), np.random.default_rng(seed)
    scenario = problem.sample(instance, seed, Purpose.EVALUATE, 1)[0]
    process = problem.process([instance], [scenario])
    paid, weight, is_over = 0.0, 1.0, False
    while not is_over:
        low, high = process.observe().legal[0]
        high = np.where(np.isinf(high), low + 20.0, high)
        share = np.clip(rng.uniform(-0.5, 1.5, len(low)), 0.0, 1.0)  # limits, too
        paid += weight * process.decide((low + share * (high - low))[None])[0]
        revealed = process.reveal()
        paid += weight * revealed.cost[0]
        weight *= revealed.discount[0]
        is_over = bool(revealed.terminated[0])
    report = problem.verify(instance, scenario, process.solution(0))
    assert report.is_feasible, report.violations[:3]
    assert report.cost == pytest.approx(paid, rel=1e-9, abs=1e-6)


def lots_of_items_are_cheapest(instance):
    """The kernel's plan of each item alone costs what plain recursion over the last lot says."""
    setup = np.tile(instance.setup_costs, (instance.num_periods, 1))
    found = wagner_whitin(instance.demand, setup, instance.holding_costs)
    for item, demand in enumerate(instance.demand.T.tolist()):
        least = [0.0]  # by number of periods
        for end in range(1, len(demand) + 1):
            ways = [least[end - 1]] if demand[end - 1] == 0 else []
            for start in range(end):
                held = sum((period - start) * demand[period] for period in range(start, end))
                ways.append(least[start] + instance.setup_costs[item] + instance.holding_costs[item] * held)
            least.append(min(ways))
        assert found.costs[item] == pytest.approx(least[-1])


# LLM serving --------------------------------------------------------------------------------------------------------

KIND_OF = {"admit": 1, "swap-in": 1, "recompute": 1, "swap-out": 2, "run": 0}


def action_of(choice) -> int:
    """The process's number of a decision of the twin."""
    number, kind = choice
    return 0 if kind == "run" else KIND_OF[kind] + 2 * number


def server_decisions_agree(server, rng):
    """Whatever is decided: the same decisions are legal at every step, and costs and logs are the same."""
    process = ServingProcess([server.instance], [NOTHING])
    cost = paid = 0.0
    for _ in range(3000):
        if server.is_over:
            break
        legal = server.legal()
        seen = process.observe()
        assert sorted(map(action_of, legal)) == np.flatnonzero(seen.legal[0]).tolist()
        assert (seen.arrays["kept"][0].tolist(), seen.arrays["blocks"][0].tolist()) == (server.kept, server.held)
        assert seen.arrays["stretches"][0].tolist() == [server.blocks.stretches(job.blocks) for job in server.jobs]
        weights = np.array([3.0 if kind in ("run", "admit", "swap-in") else 0.5 for _, kind in legal])
        choice = legal[rng.choice(len(legal), p=weights / weights.sum())]
        server.decide(choice)
        process.decide(np.array([action_of(choice)]))
        cost += server.reveal()
        paid += process.reveal().cost[0]
        assert paid == pytest.approx(cost, rel=1e-9, abs=1e-9)
    ours, twins = process.solution(0), server.log()
    report = verify_log(server.instance, NOTHING, ours)
    assert not report.violations and report.cost == pytest.approx(cost)
    assert ours.events.tolist() == twins.events.tolist()
    for name in ("decided", "start", "end"):
        assert getattr(ours, name) == pytest.approx(getattr(twins, name), rel=1e-9, abs=1e-9)


def server_rule_verifies(instance, scenario, rule):
    """What a rule does in one kernel is feasible and costs what the verifier says."""
    process = ServingProcess([instance], [scenario])
    cost = process.run(serving_rules.RULES[rule], np.zeros(1, dtype=np.uint64))[0]
    report = verify_log(instance, scenario, process.solution(0))
    assert report.is_feasible, report.violations[:3]
    assert report.cost == pytest.approx(cost, rel=1e-9)
