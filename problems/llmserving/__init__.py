"""Preemption in LLM serving. See README.md for the statement, the file formats and the tables of observations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orl.problem import Problem
from orl.registry import lazy, resolve

if TYPE_CHECKING:
    from orl.features import Features
    from orl.rule import Rule

_HERE = "orl.problems.llmserving"


def _rules() -> Mapping[str, Rule]:
    return resolve(f"{_HERE}.rules:RULES")


def _features() -> Features:
    return resolve(f"{_HERE}.features:FEATURES")


def _settings_type() -> type:
    return resolve(f"{_HERE}.instance:ServingSettings")


PROBLEM = Problem(
    name="llmserving",
    default_solver="fcfs",
    summary="requests share an LLM server's memory; some are preempted, swapped or computed anew",
    file_hint="TOML with problem = 'llmserving', or a CSV or JSONL of requests",
    settings=_settings_type,
    sniff=lazy(f"{_HERE}.formats:sniff"),
    load=lazy(f"{_HERE}.formats:load"),
    describe=lazy(f"{_HERE}.formats:describe"),
    sample=lazy(f"{_HERE}.scenario:sample"),
    process=lazy(f"{_HERE}.process:ServingProcess"),
    verify=lazy(f"{_HERE}.verify:verify"),
    columns=lazy(f"{_HERE}.plans:columns"),
    solution=lazy(f"{_HERE}.plans:solution"),
    follow=lazy(f"{_HERE}.plans:follow"),
    rules=_rules,
    default_rule="fcfs",
    bound=lazy(f"{_HERE}.scenario:bound"),
    draw=lazy(f"{_HERE}.scenario:draw"),
    in_motion=lazy(f"{_HERE}.state:in_motion"),
    metrics=lazy(f"{_HERE}.metrics:metrics"),
    models={"exact": lazy(f"{_HERE}.exact:build")},
    layered=lazy(f"{_HERE}.search:LayeredServing"),
    features=_features,
    plot=lazy(f"{_HERE}.plot:plot"),
    save=lazy(f"{_HERE}.formats:save"),
    exports={
        ".trace.json": lazy(f"{_HERE}.trace:trace_json"),
        ".requests.csv": lazy(f"{_HERE}.trace:requests_csv"),
    },
    env_name="LLMServing",
)
