"""ORL: operations-research decisions under uncertainty, solved by rules, learned policies and exact models alike.

The public names load when they are first used, so `import orl` is quick.

>>> import orl
>>> orl.solve("jobshop/ft06", "mwr").value
61.0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orl.api import check, evaluate, load, make_policy, plot, save, save_result, schema, solve, train
    from orl.benchmark.batch import run_bench
    from orl.benchmark.report import write_report
    from orl.certificate import certify
    from orl.errors import IllegalAction, InputError
    from orl.problem import Model, Problem, Report, Violation
    from orl.reproof import check_bound
    from orl.result import Result, Status
    from orl.rule import Rule
    from orl.scenario import Purpose, Scenarios
    from orl.solver import Control, Solver

_HOME = {
    "certify": "certificate",
    "check": "api",
    "check_bound": "reproof",
    "evaluate": "api",
    "load": "api",
    "make_policy": "api",
    "plot": "api",
    "run_bench": "benchmark.batch",
    "save": "api",
    "save_result": "api",
    "schema": "api",
    "solve": "api",
    "train": "api",
    "write_report": "benchmark.report",
    "IllegalAction": "errors",
    "InputError": "errors",
    "Model": "problem",
    "Problem": "problem",
    "Report": "problem",
    "Violation": "problem",
    "Result": "result",
    "Status": "result",
    "Rule": "rule",
    "Control": "solver",
    "Purpose": "scenario",
    "Scenarios": "scenario",
    "Solver": "solver",
}

__all__ = [  # noqa: RUF022 - verbs first
    "load", "solve", "train", "evaluate", "make_policy", "schema", "check", "certify", "check_bound", "plot", "save",
    "save_result", "run_bench", "write_report",
    "IllegalAction", "InputError", "Control", "Model", "Problem", "Purpose", "Report", "Result", "Rule", "Scenarios",
    "Solver", "Status", "Violation",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'orl' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"orl.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
