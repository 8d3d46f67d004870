"""The job shop family. See README.md for the statement, the file formats and the tables of observations and actions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orl.problem import Problem
from orl.registry import lazy, resolve

if TYPE_CHECKING:
    from orl.embed import Live
    from orl.features import Features
    from orl.rule import Rule

    from .instance import JobShop

_HERE = "orl.problems.jobshop"


def _rules() -> Mapping[str, Rule]:
    return resolve(f"{_HERE}.rules:RULES")


def _settings_type() -> type:
    return resolve(f"{_HERE}.instance:JobShopSettings")


def _live() -> Live:
    return resolve(f"{_HERE}.live:LIVE")


def _features() -> Features:
    return resolve(f"{_HERE}.features:FEATURES")


def _kind(instance: JobShop) -> str:
    buffers = instance.settings.buffers
    return "classic" if buffers == "unlimited" else buffers


PROBLEM = Problem(
    name="jobshop",
    default_solver="cp-sat",
    summary="jobs visit machines in given orders; blocking, breakdowns, due dates",
    file_hint="text that begins with the numbers of jobs and machines, or TOML with problem = 'jobshop'",
    settings=_settings_type,
    sniff=lazy(f"{_HERE}.formats:sniff"),
    load=lazy(f"{_HERE}.formats:load"),
    describe=lazy(f"{_HERE}.formats:describe"),
    sample=lazy(f"{_HERE}.scenario:sample"),
    process=lazy(f"{_HERE}.process:JobShopProcess"),
    verify=lazy(f"{_HERE}.verify:verify"),
    columns=lazy(f"{_HERE}.schedules:columns"),
    solution=lazy(f"{_HERE}.schedules:schedule"),
    rules=_rules,
    choices=lazy(f"{_HERE}.rules:choices"),
    default_rule="mwr",
    bound=lazy(f"{_HERE}.scenario:bound"),
    best_known=lazy(f"{_HERE}.formats:best_known"),
    metrics=lazy(f"{_HERE}.metrics:metrics"),
    randomise=lazy(f"{_HERE}.process:randomise"),
    local_search=lazy(f"{_HERE}.local_search:TabuSearch"),
    mirrored=lazy(f"{_HERE}.mirror:mirrored"),
    draw=lazy(f"{_HERE}.scenario:draw"),
    in_motion=lazy(f"{_HERE}.state:in_motion"),
    nominal=lazy(f"{_HERE}.scenario:nominal"),
    follow=lazy(f"{_HERE}.replanning:follow"),
    is_disturbed=lazy(f"{_HERE}.replanning:is_disturbed"),
    live=_live,
    models={"cp-sat": lazy(f"{_HERE}.cp_sat:build"), "exact": lazy(f"{_HERE}.exact:build")},
    kind=_kind,
    choice_settings=("dispatch",),
    features=_features,
    plot=lazy(f"{_HERE}.plot:plot"),
    save=lazy(f"{_HERE}.formats:save"),
    env_name="JobShop",
)
