"""Published values, one a line of the bounds table: nothing beats them, and the easy ones are reproduced."""

import numpy as np
import pytest

import orl
from orl import files
from orl.problems.jobshop.process import JobShopProcess, randomise
from orl.problems.jobshop.rules import RULES
from orl.scenario import Scenarios

TABLE = files.bounds_table("jobshop")
EASY = ["ft06", "la01", "la02", "la03", "la04", "la05", "la06", "la11", "la16", "orb07"]
HARDER = ["ft10", "ft20", "abz5", "abz6", "la17", "la18", "la19", "la20", "orb01", "orb10"]


def cost_of(shop, rule):
    return JobShopProcess([shop], [Scenarios.deterministic()]).run(rule, np.zeros(1, dtype=np.uint64))[0]


@pytest.mark.parametrize("name", TABLE)
def test_no_rule_and_no_randomised_run_beats_the_published_bound(name):
    """Every schedule costs at least the published lower bound, and our own bound does not exceed it."""
    shop = orl.load(f"jobshop/{name}")
    lower = int(TABLE[name]["lower_bound"])
    costs = [cost_of(shop, rule) for rule in RULES.values()]
    costs.append(randomise(shop, RULES["fdd/mwr"], 3, 0, 0.2, 0)[0])
    assert shop.makespan_bound() <= lower <= min(costs)


@pytest.mark.parametrize("name", TABLE)
def test_no_rule_beats_the_published_bound_with_swaps(name):
    """What every job shop keeps: classic lower bound <= that with swaps <= the cost of every rule with swaps."""
    shop = orl.load(f"jobshop/{name}", settings={"buffers": "swap"})
    swap = files.bounds_table("jobshop", "swap_bounds")[name]
    assert int(TABLE[name]["lower_bound"]) <= int(swap["lower_bound"]) <= int(swap["upper_bound"])
    assert int(swap["lower_bound"]) <= min(cost_of(shop, rule) for rule in RULES.values())


@pytest.mark.parametrize("name", EASY)
def test_cp_sat_proves_the_published_optimum(name):
    result = orl.solve(f"jobshop/{name}", "cp-sat", time_limit=60)
    assert (result.value, result.bound, result.status) == (int(TABLE[name]["upper_bound"]),) * 2 + ("optimal",)
    assert result.verified


@pytest.mark.slow
@pytest.mark.parametrize("name", HARDER)
def test_cp_sat_proves_harder_published_optima(name):
    result = orl.solve(f"jobshop/{name}", "cp-sat", time_limit=180)
    assert (result.value, result.bound) == (int(TABLE[name]["upper_bound"]),) * 2


def test_the_mixed_integer_programme_proves_ft06():
    result = orl.solve("jobshop/ft06", "exact", time_limit=120)
    assert (result.value, result.bound, result.status) == (55, 55, "optimal")
    assert result.verified


SWAP = {"ft06": 63, "la01": 793, "la02": 793, "la03": 715, "la04": 743, "la05": 664}
NO_SWAP = {"ft06": 69, "la01": 881, "la02": 900, "la05": 732}
BLOCKING = [("swap", *pair) for pair in SWAP.items()] + [("none", *pair) for pair in NO_SWAP.items()]


@pytest.mark.parametrize(("buffers", "name", "optimum"), BLOCKING)
def test_cp_sat_proves_the_published_blocking_optimum_and_no_rule_beats_it(buffers, name, optimum):
    """The swap values are those of 30-minute runs of two constraint solvers (ScheduleOpt/optalcp-benchmarks, adcef15);
    those without swaps were computed with CP-SAT, and no table holds them. The classic bounds do not apply.
    """
    shop = orl.load(f"jobshop/{name}", settings={"buffers": buffers})
    result = orl.solve(shop, "cp-sat", time_limit=60)
    assert (result.value, result.bound, result.best_known) == (optimum, optimum, optimum if buffers == "swap" else None)
    assert min(cost_of(shop, rule) for rule in RULES.values()) >= optimum
