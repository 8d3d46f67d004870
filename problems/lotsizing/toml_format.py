"""The TOML of our own, which holds everything that an instance may have; see the README for its keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orl import params
from orl.errors import InputError, at
from orl.files import parse_toml, read_text

from .demand import Demand, IndependentDemand, PathDemand, SeasonalDemand, binomial, discrete, uniform
from .instance import LotSizing, LotSizingSettings

_TABLES = (
    "rates", "setup_costs", "setup_losses", "changeover_costs", "changeover_losses", "initial_setup",
)  # fmt: skip
_BY_ITEM = ("holding_costs", "shortage_costs", "stock_limits", "initial_stock")
_TOP = ("problem", "name", "periods", "items", "machines", "demand", "options", *_TABLES, *_BY_ITEM)
_LAWS = {
    "binomial": ({"n", "p"}, set()),
    "pmf": ({"values", "probabilities"}, set()),
    "uniform": ({"low", "high"}, set()),
    "poisson": ({"means"}, {"season", "autocorrelation"}),
    "path": ({"path"}, set()),
}


def load_toml(path: Path, settings: Mapping[str, Any]) -> LotSizing:
    """Read an instance; `settings` overrides the file's own options."""
    text = read_text(path)
    data = parse_toml(text, path)
    try:
        return _instance(path, data, settings)
    except InputError as error:
        message = str(error).removeprefix(f"{path}: ")
        raise at(path, _line_of(text, message), message) from None


def _instance(path: Path, data: dict[str, Any], settings: Mapping[str, Any]) -> LotSizing:
    for key in data:
        if key not in _TOP:
            raise InputError(f"{key}: unknown; {params.nearest(key, _TOP)}")
    if data.get("problem", "lotsizing") != "lotsizing":
        raise InputError(f"problem: expected 'lotsizing', got {data['problem']!r}.")
    for key in ("rates", "holding_costs", "shortage_costs", "stock_limits", "demand"):
        if key not in data:
            raise InputError(f"{key} is missing.")
    rates = data["rates"]
    if not isinstance(rates, list) or not rates or not all(isinstance(row, list) and row for row in rates):
        raise InputError("rates must be a list of rows, one a machine with one number an item.")
    machines, items = len(rates), len(rates[0])
    law = data["demand"]
    if not isinstance(law, dict):
        raise InputError("demand must be a table, [demand].")
    demand = _demand(law, items)
    periods = data.get("periods", len(demand.path) if isinstance(demand, PathDemand) else None)
    if periods is None:
        raise InputError("periods is missing.")
    options = data.get("options", {})
    if not isinstance(options, dict):
        raise InputError("options must be a table, [options].")
    name = data.get("name", path.stem)
    if not isinstance(name, str):
        raise InputError(f"name must be text, got {name!r}.")
    return LotSizing(
        name,
        rates=rates,  # type: ignore[arg-type]
        **{key: _spread(data[key], items) for key in _BY_ITEM if key in data},
        demand=demand,
        num_periods=periods,
        **{key: data[key] for key in _TABLES if key in data and key != "rates"},
        item_names=_names(data, "items", items),
        machine_names=_names(data, "machines", machines),
        settings=params.make(LotSizingSettings, {**options, **settings}, str(path)),
        source=str(path),
    )


def _spread(value: Any, items: int) -> Any:
    """One number stands for every item."""
    return [value] * items if isinstance(value, int | float) and not isinstance(value, bool) else value


def _names(data: Mapping[str, Any], key: str, count: int) -> tuple[str, ...] | None:
    if key not in data:
        return None
    names = data[key]
    if not isinstance(names, list):
        raise InputError(f"{key} must be a list of {count} names.")
    return tuple(names)


def _demand(law: Mapping[str, Any], items: int) -> Demand:
    name = law.get("law")
    if name not in _LAWS:
        raise InputError(f"demand: law must be one of {', '.join(_LAWS)}, got {name!r}.")
    needed, more = _LAWS[name]
    for key in sorted(needed - set(law)):
        raise InputError(f"demand: {key} is missing.")
    for key in law:
        if key != "law" and key not in needed | more:
            raise InputError(f"demand: {key} is unknown for law {name!r}; {params.nearest(key, needed | more)}")
    if name == "binomial":
        return binomial(items, law["n"], law["p"])
    if name == "uniform":
        lows, highs = (_spread(law[key], items) for key in ("low", "high"))
        if not all(isinstance(ends, list) and len(ends) == items for ends in (lows, highs)):
            raise InputError(f"demand: low and high must be a number or {items} numbers.")
        return uniform(list(zip(lows, highs, strict=True)))
    if name == "poisson":
        means = _spread(law["means"], items)
        return SeasonalDemand(means, law.get("season", [1.0]), law.get("autocorrelation", 0.0))
    if name == "path":
        return PathDemand(law["path"])
    values, weights = law["values"], law["probabilities"]
    if not (isinstance(values, list) and isinstance(weights, list) and weights):
        raise InputError("demand: values and probabilities must be lists.")
    if not isinstance(weights[0], list):
        return discrete(items, values, weights)
    rows = [discrete(1, values, row).probabilities[0] for row in weights]
    return IndependentDemand(rows)  # type: ignore[arg-type]


def _line_of(text: str, message: str) -> int | None:
    """Return the line of the key that a message begins with, if it is there."""
    first = re.match(r"(?:demand: )?(\w+)", message)
    for number, line in enumerate(text.splitlines(), start=1):
        if first and re.match(rf"\s*\[?\s*{re.escape(first.group(1))}\b", line):
            return number
    return None


def to_toml(instance: LotSizing) -> str:
    """Return our TOML, which holds everything that an instance has."""
    import tomli_w

    data: dict[str, Any] = {"problem": "lotsizing", "name": instance.name, "periods": int(instance.num_periods)}
    if instance.item_names:
        data["items"] = list(instance.item_names)
    if instance.machine_names:
        data["machines"] = list(instance.machine_names)
    for key in (*_TABLES, *_BY_ITEM):
        if getattr(instance, key) is not None:
            data[key] = getattr(instance, key).tolist()
    data["demand"] = _law_of(instance.demand)
    data["options"] = params.to_dict(instance.settings)
    return tomli_w.dumps(data)


def _law_of(demand: Demand) -> dict[str, Any]:
    if isinstance(demand, PathDemand):
        return {"law": "path", "path": demand.path.tolist()}
    if isinstance(demand, SeasonalDemand):
        return {
            "law": "poisson",
            "means": demand.means.tolist(),
            "season": demand.season.tolist(),
            "autocorrelation": demand.autocorrelation,
        }
    table = demand.probabilities
    is_one = bool((table == table[0]).all())
    values = list(range(table.shape[1]))
    return {"law": "pmf", "values": values, "probabilities": (table[0] if is_one else table).tolist()}
