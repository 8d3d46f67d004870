"""Long-term hydrothermal dispatch. See README.md for the statement, the file format and the tables of observations."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from orl.problem import Problem
from orl.registry import lazy, resolve

if TYPE_CHECKING:
    from orl.features import Features

_HERE = "orl.problems.hydrothermal"


def _features() -> Features:
    return resolve(f"{_HERE}.features:FEATURES")


def _settings_type() -> type:
    return resolve(f"{_HERE}.instance:HydroThermalSettings")


PROBLEM = Problem(
    name="hydrothermal",
    default_solver="sddp",
    summary="reservoirs and thermal plants on a network serve a load under uncertain inflows",
    file_hint="a folder with PowerModels.json, hydro.json and inflows.csv, or TOML with problem = 'hydrothermal'",
    settings=_settings_type,
    sniff=lazy(f"{_HERE}.formats:sniff"),
    load=lazy(f"{_HERE}.formats:load"),
    describe=lazy(f"{_HERE}.instance:describe"),
    sample=lazy(f"{_HERE}.scenario:sample"),
    process=lazy(f"{_HERE}.process:HydroThermalProcess"),
    verify=lazy(f"{_HERE}.verify:verify"),
    columns=lazy(f"{_HERE}.plans:columns"),
    solution=lazy(f"{_HERE}.plans:dispatch"),
    rules=partial(resolve, f"{_HERE}.rules:RULES"),
    metrics=lazy(f"{_HERE}.metrics:metrics"),
    in_motion=lazy(f"{_HERE}.planning:in_motion"),
    shortened=lazy(f"{_HERE}.planning:shortened"),
    nominal=lazy(f"{_HERE}.planning:nominal"),
    follow=lazy(f"{_HERE}.planning:follow"),
    is_disturbed=lazy(f"{_HERE}.planning:is_disturbed"),
    models={"exact": lazy(f"{_HERE}.exact:build")},
    has_trees=True,
    stages=lazy(f"{_HERE}.stages:staged"),
    features=_features,
    env_name="HydroThermal",
    plot=lazy(f"{_HERE}.plot:plot"),
)
