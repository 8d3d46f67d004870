"""Capacitated lot sizing in big buckets. See README.md for the statement, the file formats and the observations."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from orl.problem import Problem
from orl.registry import lazy, resolve

if TYPE_CHECKING:
    from orl.features import Features

_HERE = "orl.problems.clsp"


def _settings_type() -> type:
    return resolve(f"{_HERE}.instance:CapacitatedSettings")


def _features() -> Features:
    return resolve(f"{_HERE}.features:FEATURES")


PROBLEM = Problem(
    name="clsp",
    default_solver="exact",
    summary="items share the capacity of a period, and set-ups cost money and capacity (big buckets)",
    file_hint="the text of Trigeiro, Thomas and McClain, or TOML with problem = 'clsp'",
    settings=_settings_type,
    sniff=lazy(f"{_HERE}.formats:sniff"),
    load=lazy(f"{_HERE}.formats:load"),
    describe=lazy(f"{_HERE}.formats:describe"),
    sample=lazy(f"{_HERE}.scenario:sample"),
    process=lazy(f"{_HERE}.process:CapacitatedProcess"),
    verify=lazy(f"{_HERE}.verify:verify"),
    columns=lazy(f"{_HERE}.plans:columns"),
    solution=lazy(f"{_HERE}.plans:plan"),
    rules=partial(resolve, f"{_HERE}.rules:RULES"),
    default_rule="silver-meal",
    bound=lazy(f"{_HERE}.wagner_whitin:bound"),
    best_known=lazy(f"{_HERE}.formats:best_known"),
    metrics=lazy(f"{_HERE}.metrics:metrics"),
    models={"exact": lazy(f"{_HERE}.exact:build")},
    windows=lazy(f"{_HERE}.exact:windows"),
    decomposition=lazy(f"{_HERE}.decomposition:CapacityPrices"),
    stages=lazy(f"{_HERE}.stages:staged"),
    features=_features,
    plot=lazy(f"{_HERE}.plot:plot"),
    save=lazy(f"{_HERE}.formats:save"),
    env_name="CapacitatedLotSizing",
)
