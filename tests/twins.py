"""What a process and its kernels must share with the family's SimPy twin and its verifier, on any drawn instance.

Tests draw a few hundred instances, benchmarks/robustness_twins.py many more. Where a twin does not reach, as with the
cone relaxation, the verifier alone is what a process is held to.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from orl import registry
from orl.linear import NotSolved
from orl.problems.clsp import rules as capacitated_rules
from orl.problems.clsp import simpy_twin as capacitated_twin
from orl.problems.clsp.process import CapacitatedProcess
from orl.problems.clsp.scenario import sample as sample_capacitated
from orl.problems.clsp.wagner_whitin import wagner_whitin
from orl.problems.hydrothermal.simpy_twin import NO_FARTHER
from orl.problems.hydrothermal.simpy_twin import simulate as simulate_dispatch
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


# Capacitated lot sizing ----------------------------------------------------------------------------------------------


def capacitated_rule_agrees(instance, rule, seed):
    """A rule makes what it makes in the twin, and that costs the same in every period."""
    scenario = sample_capacitated(instance, seed, Purpose.EVALUATE, 1)[0]
    process = CapacitatedProcess([instance], [scenario])
    steer, paid = capacitated_rules.RULES[rule].steer(instance), []
    for _ in range(instance.num_periods):
        paid.append(process.decide(steer(process.observe(), 0)[None])[0])
        process.reveal()
    costs, plan = capacitated_twin.simulate(instance, scenario, capacitated_twin.RULES[rule])
    assert process.solution(0).production == pytest.approx(plan.production, rel=1e-9, abs=1e-9)
    assert paid == pytest.approx(costs, rel=1e-9, abs=1e-9)


def capacitated_targets_agree(instance, seed):
    """The twin leads with random stocks; the process sees the same, and makes the same at the same cost."""
    scenario, rng = sample_capacitated(instance, seed, Purpose.EVALUATE, 1)[0], np.random.default_rng(seed)
    process, paid = CapacitatedProcess([instance], [scenario]), []

    def follow(plant):
        seen = process.observe()
        assert seen.arrays["period"][0] == plant.period == len(paid)
        assert seen.arrays["stock"][0] == pytest.approx(plant.stock, rel=1e-9, abs=1e-9)
        assert seen.arrays["demand"][0] == pytest.approx(plant.wanted, rel=1e-9)
        for item, limits in enumerate(plant.legal()):
            assert tuple(seen.legal[0, :, item]) == pytest.approx(limits, rel=1e-9, abs=1e-9)
            assert seen.arrays["largest"][0, item] == pytest.approx(plant.largest(item))
            later = [*plant.expected(item), 0.0][plant.period + 1]
            assert seen.arrays["expected"][0, item] == pytest.approx(later)
        assert seen.arrays["capacity"][0] == instance.capacity[plant.period]
        stock = _targets(seen, rng)
        paid.append(process.decide(stock[None])[0])
        assert process.reveal().terminated[0] == (len(paid) == instance.num_periods)
        return stock

    costs, plan = capacitated_twin.simulate(instance, scenario, follow)
    assert process.solution(0).production == pytest.approx(plan.production, rel=1e-9, abs=1e-9)
    assert paid == pytest.approx(costs, rel=1e-9, abs=1e-9)


def _targets(seen, rng):
    """Return targets at random, often a limit."""
    low, high = seen.legal[0]
    high = np.where(np.isinf(high), low + 20.0, high)
    share = np.clip(rng.uniform(-0.5, 1.5, len(low)), 0.0, 1.0)
    return low + share * (high - low)


# Hydrothermal dispatch ------------------------------------------------------------------------------------------------


def dispatches_agree(instance, seed):
    """The twin leads with random targets; the process sees the same, and ends as near to them, at the same cost.

    Volumes may not be determined, so the twin is then asked for those of the process, which are to cost the same.
    """
    problem, rng = registry.find_problem("hydrothermal"), np.random.default_rng(seed)
    scenario = problem.sample(instance, seed, Purpose.EVALUATE, 1)[0]
    process, paid, has_dispatch = problem.process([instance], [scenario]), [], True
    limits = np.array([instance.reservoirs.min_hm3, instance.reservoirs.max_hm3])
    is_ring = instance.settings.horizon == "periodic"
    # What the twin saves by ending that little farther from the targets, and from volumes that were themselves so far
    # from theirs: the energy of the water, at the dearest.
    power = instance.network.deficit_cost.max() * instance.reservoirs.mw_per_flow.sum() / instance.hm3_per_flow
    slack = 1e-6 + 2 * NO_FARTHER * power

    def follow(system):
        nonlocal has_dispatch
        seen = process.observe()
        assert seen.arrays["stage"][0] == system.stage == len(paid)
        assert seen.arrays["calendar"][0] == instance.first_stage + system.stage
        assert seen.arrays["volume"][0] == pytest.approx(system.volume, rel=1e-6, abs=1e-6)
        assert seen.arrays["inflow"][0] == pytest.approx(system.inflow, rel=1e-9)
        assert seen.arrays["load"][0] == pytest.approx(sum(system.load))
        assert (seen.legal[0] == limits).all()
        targets = _targets(seen, rng)
        try:
            asked = system.dispatch(targets.tolist())
        except NotSolved:  # nor has the process
            has_dispatch = False
            with pytest.raises(NotSolved):
                process.decide(targets[None])
            raise
        paid.append(process.decide(targets[None])[0])
        assert paid[-1] == pytest.approx(asked.cost, rel=1e-6, abs=slack)
        ends = process.observe().arrays["volume"][0].copy()
        assert abs(ends - targets).sum() == pytest.approx(asked.distance, rel=1e-6, abs=1e-6)
        revealed, is_over = process.reveal(), len(paid) == instance.num_stages
        assert revealed.discount[0] == instance.settings.discount
        assert (revealed.terminated[0], revealed.truncated[0]) == (is_over and not is_ring, is_over and is_ring)
        return ends

    try:
        costs, volumes = simulate_dispatch(instance, scenario, follow)
    except NotSolved:
        assert not has_dispatch
        return
    assert paid == pytest.approx(costs, rel=1e-6, abs=slack)
    assert process.solution(0).volume == pytest.approx(np.array(volumes), rel=1e-6, abs=1e-6)
    report = problem.verify(instance, scenario, process.solution(0))
    assert report.is_feasible, report.violations[:3]
    assert report.cost == pytest.approx(instance.settings.discount ** np.arange(len(paid)) @ paid)


# Capacitated lot sizing and hydrothermal dispatch --------------------------------------------------------------------


def targets_verify(family, instance, seed):
    """Whatever is aimed at, what is done is feasible and costs what the verifier says."""
    problem, rng = registry.find_problem(family), np.random.default_rng(seed)
    scenario = problem.sample(instance, seed, Purpose.EVALUATE, 1)[0]
    process = problem.process([instance], [scenario])
    paid, weight, is_over = 0.0, 1.0, False
    while not is_over:
        paid += weight * process.decide(_targets(process.observe(), rng)[None])[0]
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
