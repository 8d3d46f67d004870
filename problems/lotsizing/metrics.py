"""Key figures of a plan in a scenario."""

from __future__ import annotations

from collections.abc import Mapping

from orl.scenario import Scenarios

from .instance import LotPlan, LotSizing
from .verify import Ledger


def metrics(instance: LotSizing, scenario: Scenarios, plan: LotPlan) -> Mapping[str, float]:
    """Return key figures by name.

    | name | unit | meaning |
    |---|---|---|
    | `setup_cost`, `holding_cost`, `shortage_cost` | cost | the parts of the (discounted) cost |
    | `fill_rate` | share | of demand that was met in its own period; 1 without demand |
    | `setups_per_period` | | set-ups of all machines |
    | `utilisation` | share | of machine periods in which something is made |
    | `discarded_units` | units | thrown away above the stock limits |
    """
    books = Ledger(instance, scenario)
    for period, row in enumerate(plan.choices.tolist()):
        books.play(period, row)
    periods = len(plan.choices)
    return {
        "setup_cost": books.setup_cost,
        "holding_cost": books.holding_cost,
        "shortage_cost": books.shortage_cost,
        "fill_rate": 1 - books.short / books.demanded if books.demanded else 1.0,
        "setups_per_period": books.setups / periods,
        "utilisation": float((plan.choices > 0).mean()),
        "discarded_units": float(books.discarded),
    }
