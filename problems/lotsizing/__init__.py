"""Stochastic lot sizing. See README.md for the statement, the file formats and the tables of observations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orl.problem import Problem
from orl.registry import lazy, resolve

if TYPE_CHECKING:
    from orl.embed import Live
    from orl.features import Features
    from orl.rule import Rule

_HERE = "orl.problems.lotsizing"


def _rules() -> Mapping[str, Rule]:
    return resolve(f"{_HERE}.rules:RULES")


def _features() -> Features:
    return resolve(f"{_HERE}.features:FEATURES")


def _live() -> Live:
    return resolve(f"{_HERE}.live:LIVE")


def _settings_type() -> type:
    return resolve(f"{_HERE}.instance:LotSizingSettings")


PROBLEM = Problem(
    name="lotsizing",
    default_solver="greedy",
    summary="machines make items to stock before random demand is known; set-ups, holding, shortage",
    file_hint="JSON with machine_production, .psp or .dzn of pigment sequencing, or TOML with problem = 'lotsizing'",
    settings=_settings_type,
    sniff=lazy(f"{_HERE}.formats:sniff"),
    load=lazy(f"{_HERE}.formats:load"),
    describe=lazy(f"{_HERE}.formats:describe"),
    sample=lazy(f"{_HERE}.scenario:sample"),
    process=lazy(f"{_HERE}.process:LotSizingProcess"),
    verify=lazy(f"{_HERE}.verify:verify"),
    columns=lazy(f"{_HERE}.plans:columns"),
    solution=lazy(f"{_HERE}.plans:plan"),
    rules=_rules,
    default_rule="greedy",
    bound=lazy(f"{_HERE}.scenario:bound"),
    scale=lazy(f"{_HERE}.scenario:scale"),
    best_known=lazy(f"{_HERE}.psp_format:best_known"),
    draw=lazy(f"{_HERE}.scenario:draw"),
    in_motion=lazy(f"{_HERE}.state:in_motion"),
    shortened=lazy(f"{_HERE}.planning:shortened"),
    nominal=lazy(f"{_HERE}.planning:nominal"),
    follow=lazy(f"{_HERE}.planning:follow"),
    is_disturbed=lazy(f"{_HERE}.planning:is_disturbed"),
    metrics=lazy(f"{_HERE}.metrics:metrics"),
    live=_live,
    windows=lazy(f"{_HERE}.exact:windows"),
    models={"exact": lazy(f"{_HERE}.exact:build"), "cp-sat": lazy(f"{_HERE}.cp_sat:build")},
    has_trees=True,
    tabular=lazy(f"{_HERE}.tabular:tabular"),
    layered=lazy(f"{_HERE}.layers:LayeredLots"),
    decomposition=lazy(f"{_HERE}.decomposition:ItemDecomposition"),
    features=_features,
    plot=lazy(f"{_HERE}.plot:plot"),
    save=lazy(f"{_HERE}.formats:save"),
    env_name="LotSizing",
)
