"""Lot sizing: exact values of record, and the rules on the same scenarios, held to the optimum where it is known.

python benchmarks/lotsizing_rules.py
"""

from __future__ import annotations

import numpy as np
import record

import orl
from orl import registry
from orl.problems.lotsizing.rules import RULES
from orl.result import mean_interval
from orl.scenario import Purpose
from orl.simulate import rule_policy, simulate
from orl.solver import Control

SCENARIOS = 500
SIZES = ("15x5", "20x10", "25x10", "25x15")
# Optimal values at set-up idle and no stock, printed by an independent policy iteration.
OF_RECORD = [
    ("setting_2items_VI", 0.9, 8.40909542),
    ("setting_2items_VI", 0.99, 66.29620309),
    ("setting_2items_VI_binomial_1", 0.9, 44.06068955),
    ("setting_2items_VI_binomial_1", 0.99, 381.79696621),
    ("setting_2items_VI_binomial_3", 0.9, 42.09054203),
    ("setting_2items_VI_binomial_3", 0.99, 362.36360831),
]


def costs(instance, method):
    """Return the verified costs of a method, (SCENARIOS,), and its result."""
    result = orl.solve(instance, method, scenarios=SCENARIOS, time_limit=None)
    assert result.verified, result.violations
    return np.array(result.costs), result


def simulated(instance, rule):
    """Return the simulated costs of a rule, (SCENARIOS,); the first 20 are held to the verifier."""
    family = registry.find_problem("lotsizing")
    rows = family.sample(instance, 0, Purpose.EVALUATE, SCENARIOS)
    run = simulate(family, instance, rule_policy(family, RULES[rule]), rows, 0, Control())
    for place in range(20):
        report = family.verify(instance, rows[place], run.solutions[place])
        assert report.is_feasible and np.isclose(report.cost, run.costs[place], rtol=1e-9), report
    return run.costs


def with_interval(values):
    interval = mean_interval(values)
    return f"{np.mean(values):.1f} ± {(interval.high - interval.low) / 2:.1f}"


def of_record():
    """Return a row a value: what is on record, what `dp` proves, and how far the rules are from it."""
    rows = []
    for name, discount, value in OF_RECORD:
        instance = orl.load(f"lotsizing/{name}", settings={"discount": discount})
        dp, result = costs(instance, "dp")
        optimum = result.metrics["optimal_cost"]
        excess = [f"{100 * (costs(instance, rule)[0] - dp).mean() / optimum:.1f}" for rule in RULES]
        rows.append([name, discount, value, f"{optimum:.8f}", f"{abs(optimum - value):.0e}", *excess])
    return rows


def of_sizes():
    """Return two rows a rule: mean cost over the instances of a size, and the paired difference to greedy."""
    means = {rule: [] for rule in RULES}
    for size in SIZES:
        of_rule = {
            rule: np.mean([simulated(orl.load(f"lotsizing/{size}-{letter}"), rule) for letter in "abc"], axis=0)
            for rule in RULES
        }
        for rule in RULES:
            means[rule].append((with_interval(of_rule[rule]), with_interval(of_rule[rule] - of_rule["greedy"])))
    return [
        [[rule, *(pair[side] for pair in pairs)] for rule, pairs in means.items() if rule != "greedy" or not side]
        for side in (0, 1)
    ]


def main():
    """Measure and write the tables."""
    by_size, differences = of_sizes()
    text = f"three instances a size, {SCENARIOS} scenarios, stream `evaluate`, seed 0"
    record.write(
        "lotsizing_rules",
        "Rules of lot sizing",
        [
            (f"Exact values of record, and the excess of rules over `dp` on the same {SCENARIOS} scenarios, % of the "
             "optimum.", ["instance", "discount", "on record", "dp", "difference", *RULES], of_record()),
            (f"Mean cost, ± half a 95 % interval; {text}. Rules are tuned on the stream `select`.",
             ["rule", *SIZES], by_size),
            (f"Paired difference to `greedy`; {text}.", ["rule", *SIZES], differences),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
