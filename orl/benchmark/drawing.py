"""Kept solutions, verified once more and drawn for a page; and how a run is repeated."""

from __future__ import annotations

import base64
import shlex
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from orl import api, files, params
from orl.benchmark.page import Html, element
from orl.benchmark.results import Batch, Row
from orl.benchmark.runs import modules_of
from orl.errors import InputError
from orl.scenario import Purpose

MAX_SVG_BYTES = 2**20  # a larger drawing goes into a page as PNG
TYPES = {".svg": "image/svg+xml", ".png": "image/png"}


def drawn(batch: Batch, row: Row) -> Html:
    """Return the picture of a row's solution, closed, or in its place why there is none."""
    name = f"{row['label']} on {row['instance']}, seed {row['seed']} ({row['table']})"
    try:
        with modules_of(batch.home) if batch.home else nullcontext():
            told, picture = _verified_picture(batch, row)
    except InputError as error:
        return element("p", f"{name} is not drawn: {error}", class_="bad")
    image = element("img", src=picture, alt=f"Picture of the solution by {name}: {told}")
    command = repeat(row, batch.planned.get(row["key"]))
    parts = element("div", image, class_="wide", tabindex=0, role="region", aria_label=name)
    return element(
        "details",
        element("summary", f"{name}: {told}"),
        parts,
        element("pre", command) if command else None,
        class_="drawn",
    )


def _verified_picture(batch: Batch, row: Row) -> tuple[str, str]:
    """Return what the verifier says of a kept solution, and its picture as a data URI."""
    if Path(row["solution"]).parts != ("solutions", f"{row['key']}.json"):
        raise InputError(f"{row['solution']}: expected solutions/{row['key']}.json.")
    path = batch.folder / row["solution"]
    place = batch.planned.get(row["key"], row).get("path", row["instance"])
    instance = api.load(place, row["problem"], row["instance_settings"])
    report = api.check(instance, path)
    if not report.is_feasible:
        raise InputError(f"the kept solution is not verified: {report.violations[0].message}")
    family = api.problem_of(instance)
    solutions = [family.solution(instance, columns) for columns in files.read_solutions(path)[0]]
    scenario = family.sample(instance, row["seed"], Purpose(row["purpose"]), 1)
    is_whole = len(solutions) == len(row["costs"])
    bound = row["bound"] if is_whole and row["bound_kind"] == "proven" else None
    of_first = "" if is_whole else f" over the first {len(solutions)} of {row['scenarios']} scenarios"
    return f"verified again, cost {report.cost:.10g}{of_first}", _data_uri(instance, solutions, bound, scenario)


def _data_uri(instance: Any, solutions: list[Any], bound: float | None, scenario: Any) -> str:
    with tempfile.TemporaryDirectory(prefix="orl-report-") as scratch:
        path = Path(scratch) / "picture.svg"
        api.plot(instance, solutions, path, bound, scenario)
        if path.stat().st_size > MAX_SVG_BYTES:
            path = path.with_suffix(".png")
            api.plot(instance, solutions, path, bound, scenario)
        return f"data:{TYPES[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"


def repeat(row: Row, planned: Mapping[str, Any] | None) -> str | None:
    """Return the command that makes a run again by itself; None where there is none or it is not known."""
    if planned is None or not row.get("solver") or row["purpose"] != Purpose.EVALUATE:
        return None
    known = row.get("settings", {})

    def named(owner: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings by name, in full where instance and method have one of the same name."""
        return {f"{owner}.{key}" if f"{row['solver']}.{key}" in known else key: x for key, x in settings.items()}

    told = {**named(row["problem"], row["instance_settings"]), **named(row["solver"], planned["options"])}
    settings = params.dotted(told)
    if not all(isinstance(value, str | int | float) for value in settings.values()):
        return None
    words = ["python", "run.py", "solve", planned["path"], "--problem", row["problem"], "--solver", row["solver"]]
    for key, value in settings.items():
        words += ["--set", f"{key}={str(value).lower() if isinstance(value, bool) else value}"]
    words += ["--scenarios", str(row["scenarios"])] if row["is_random"] else []
    words += ["--seed", str(row["seed"]), "--time-limit", f"{row['time_limit']:g}"]
    return shlex.join(words)
