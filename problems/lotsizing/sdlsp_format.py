"""The JSON of the stochastic discrete lot-sizing settings of leokan92/discrete_lot_sizing_rl_agents (MIT licence)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orl import params
from orl.errors import InputError, at
from orl.files import parse_json, read_text

from .demand import Demand, binomial, discrete, uniform
from .instance import LotSizing, LotSizingSettings

_NEEDED = (
    "time_horizon", "n_items", "n_machines", "initial_setup", "machine_production", "max_inventory_level",
    "initial_inventory", "holding_costs", "lost_sales_costs", "demand_distribution", "setup_costs", "setup_loss",
)  # fmt: skip


def load_json(path: Path, settings: Mapping[str, Any]) -> LotSizing:
    """Read an instance; keys that it does not know are ignored, as the authors' files have some."""
    data = parse_json(read_text(path), path)
    if not isinstance(data, dict):
        raise at(path, None, "expected a JSON object.")
    for key in _NEEDED:
        if key not in data:
            raise at(path, None, f"{key} is missing.")
    items, machines = data["n_items"], data["n_machines"]
    for key in ("n_items", "n_machines", "time_horizon"):
        if not isinstance(data[key], int) or isinstance(data[key], bool) or data[key] < 1:
            raise at(path, None, f"{key} must be a whole number >= 1, got {data[key]!r}.")
    for key, expected in (("machine_production", machines), ("initial_setup", machines), ("holding_costs", items)):
        if not isinstance(data[key], list) or len(data[key]) != expected:
            raise at(path, None, f"{key} must have {expected} entries.")
    try:
        return LotSizing(
            path.stem,
            rates=data["machine_production"],
            holding_costs=data["holding_costs"],
            shortage_costs=data["lost_sales_costs"],
            stock_limits=data["max_inventory_level"],
            demand=_demand(data["demand_distribution"], items),
            num_periods=data["time_horizon"],
            setup_costs=data["setup_costs"],
            setup_losses=data["setup_loss"],
            initial_setup=data["initial_setup"],
            initial_stock=data["initial_inventory"],
            settings=params.make(LotSizingSettings, settings, "lotsizing"),
            source=str(path),
        )
    except InputError as error:
        raise at(path, None, str(error).removeprefix(f"{path}: ")) from None


def _demand(law: Any, items: int) -> Demand:
    if not isinstance(law, dict):
        raise InputError(f"demand_distribution must be an object, got {str(law)[:60]}.")
    name = law.get("name")
    needs = {
        "binomial": ("n", "p"),
        "probability_mass_function": ("vals", "probs"),
        "item_specific_uniform": ("distributions",),
    }
    if not isinstance(name, str) or name not in needs:
        raise InputError(f"demand_distribution: name must be one of {', '.join(needs)}, got {name!r}.")
    for key in needs[name]:
        if key not in law:
            raise InputError(f"demand_distribution: {key} is missing.")
    if name == "binomial":
        return binomial(items, law["n"], law["p"])
    if name == "probability_mass_function":
        return discrete(items, law["vals"], law["probs"])
    ranges = law["distributions"]
    if not isinstance(ranges, list) or len(ranges) != items or not all(isinstance(r, dict) for r in ranges):
        raise InputError(f"demand_distribution: distributions must be {items} objects.")
    return uniform([_ends(one) for one in ranges])


def _ends(one: Mapping[str, Any]) -> tuple[int, int]:
    if one.get("name", "discrete_uniform") != "discrete_uniform" or not {"low", "high"} <= set(one):
        raise InputError(f"demand_distribution: expected discrete_uniform with low and high, got {str(one)[:80]}.")
    return one["low"], one["high"]
