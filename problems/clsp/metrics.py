"""Key figures of a plan."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from orl.scenario import Scenarios

from .instance import CapacitatedLotSizing, CapacitatedPlan
from .verify import Books


def metrics(instance: CapacitatedLotSizing, scenario: Scenarios, plan: CapacitatedPlan) -> Mapping[str, float]:
    """Return costs by kind, lots, the share of capacity that is used, periods with overtime, and mean stock.

    Stock is in periods of mean demand.
    """
    books = Books(instance, scenario, plan)
    costs = books.play()
    capacity, used = float(instance.capacity.sum()), np.array(books.used)
    demand = float(instance.expected_demand.sum(axis=1).mean())
    return {f"{kind}_cost": cost for kind, cost in costs.items()} | {
        "lots": float(books.setups),
        "use": float(used.sum()) / capacity if capacity else 0.0,
        "overtime_periods": float((used > instance.capacity * (1 + 1e-9)).sum()),
        "stock_periods": float(np.array(books.stock).sum(axis=1).mean()) / demand if demand else 0.0,
    }
