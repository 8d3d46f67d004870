"""One page of results: what is in a folder of `bench` or of a training, or beneath it, as HTML without any network."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections import defaultdict
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from orl.benchmark import run_log
from orl.benchmark.charts import line_chart
from orl.benchmark.curves import LOG, gap_curves, is_log, read_log
from orl.benchmark.drawing import drawn, repeat
from orl.benchmark.page import Html, element, page, table
from orl.benchmark.picture import profile_measures
from orl.benchmark.results import Batch, Row, read_batch
from orl.benchmark.statistics import performance_profile
from orl.benchmark.suite import packaged_suites, suite_folder
from orl.benchmark.tables import LEGEND, SHIFT_SECONDS, measured, number, percent, shown_columns, summarise, what_failed
from orl.errors import InputError
from orl.files import check_writable, parse_json, read_text, write_atomically

FILE = "report.html"
MAX_PICTURES = 12  # of solutions, unless some are asked for
Section = tuple[str, list[Any]]  # heading and content


def write_report(folder: str | Path, out: str | Path | None = None, draw: Sequence[str] = ()) -> Path:
    """Write what a folder holds as one HTML page that loads nothing, and return the page's path.

    Parameters
    ----------
    folder : str or path
        Of `run_bench` or of a training, or a folder above such folders.
    out : str, path or None
        The page; None: `report.html` in the folder.
    draw : sequence of str
        Keys of runs, or what they begin with, whose kept solutions are drawn; empty: the best one of each table and
        instance, `MAX_PICTURES` at most. Each is verified again.

    Raises
    ------
    InputError
        If there is nothing to report, a file is broken, or a run that is to be drawn has kept no solution.

    Examples
    --------
    >>> import tempfile, orl
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     suite = Path(folder) / "tiny.toml"
    ...     _ = suite.write_text('[[runs]]\\ninstances = ["jobshop/ft06"]\\nsolvers = ["spt", "mwr"]')
    ...     _ = orl.run_bench(suite, folder)
    ...     orl.write_report(folder).read_text()[:15]
    '<!DOCTYPE html>'
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder.")
    path = check_writable(folder / FILE if out is None else out, (".html",))
    batches, trainings = _found(folder)
    chosen = _chosen(batches, draw)
    is_one = len(batches) + len(trainings) == 1
    sections: list[Section] = []
    for batch in batches:
        place = batch.folder.relative_to(folder)
        sections += _of_batch(batch, chosen, "" if place == Path() else f"{place}: ")
    sections += [_of_training(training, training.relative_to(folder)) for training in trainings]
    title = batches[0].name if is_one and batches else folder.resolve().name
    again = shlex.join(["python", "run.py", "report", str(folder), *(word for key in draw for word in ("--draw", key))])
    intro = [element("p", f"Made by: {again}", class_="note")]
    write_atomically(path, page(title, intro, sections))
    return path


def _found(folder: Path) -> tuple[list[Batch], list[Path]]:
    """Return the batches with rows and the folders of trainings, the folder itself and those beneath it."""
    batches, trainings = [], []
    for place, below, names in os.walk(folder):
        below.sort()
        if run_log.FILE in names and (batch := read_batch(Path(place))).rows:
            batches.append(batch)
        if LOG in names and is_log(Path(place) / LOG):
            trainings.append(Path(place))
    if not batches and not trainings:
        raise InputError(f"{folder}: holds neither runs ({run_log.FILE}) nor the log of a training ({LOG}).")
    return batches, trainings


def _chosen(batches: Sequence[Batch], wanted: Sequence[str]) -> set[tuple[Path, str]]:
    """Return the runs to draw, by folder and key: the same run may stand in several folders, kept in one."""
    kept = [(batch.folder, row) for batch in batches for row in batch.rows if row["verified"] and row.get("solution")]
    if wanted:
        found = {
            prefix: {(folder, row["key"]) for folder, row in kept if row["key"].startswith(prefix)} for prefix in wanted
        }
        for prefix, keys in found.items():
            if not keys:
                raise InputError(f"no run whose key begins with {prefix!r} has kept a solution; see keep_solutions.")
        return set().union(*found.values())
    best: dict[tuple[Path, str, str], Row] = {}
    for folder, row in kept:
        place = (folder, row["table"], row["instance"])
        if place not in best or _rank(row) < _rank(best[place]):
            best[place] = row
    return {(place[0], row["key"]) for place, row in list(best.items())[:MAX_PICTURES]}


def _rank(row: Row) -> tuple[bool, float]:
    return row["clairvoyant"], row["value"]


# A batch -----------------------------------------------------------------------------------------------------------


def _of_batch(batch: Batch, chosen: set[tuple[Path, str]], prefix: str) -> list[Section]:
    tables: dict[str, list[Row]] = defaultdict(list)
    for row in batch.rows:
        tables[row["table"]].append(row)
    lines = defaultdict(list)
    for line in summarise(batch.rows, batch.reference):
        lines[line.table].append(line)
    sections: list[Section] = [(f"{prefix}How it was measured", _measured(batch))]
    for name, rows in tables.items():
        instances = len({row["instance"] for row in rows})
        columns = shown_columns(lines[name])
        numeric = [column for column in columns if column != "method"]
        told = f"{name}: {instances} instance{'s' * (instances > 1)}, a line a method"
        charts = element("div", _profiles(name, rows), _gaps(name, rows), class_="charts")
        sections.append((prefix + name, [table(told, columns, numeric), charts]))
    pictures = [drawn(batch, row) for row in batch.rows if (batch.folder, row["key"]) in chosen]
    if pictures:
        total = sum(bool(row.get("solution")) for row in batch.rows)
        note = (
            f"{len(pictures)} of {total} kept solutions; --draw KEY draws others, by the keys in the table of all runs."
        )
        sections.append((f"{prefix}Solutions", [element("p", note, class_="note"), *pictures]))
    failures = [row for row in batch.rows if not row["verified"]]
    if failures:
        sections.append((f"{prefix}Without a verified solution", [_failures(batch, failures)]))
    sections.append((f"{prefix}All runs", [_runs(batch.rows)]))
    return sections


def _measured(batch: Batch) -> list[Html | None]:
    packaged = batch.name in packaged_suites() and read_text(suite_folder() / f"{batch.name}.toml") == batch.suite
    suite = batch.name if packaged else "suite.toml"
    commits = sorted({row["versions"]["commit"] for row in batch.rows if row["versions"].get("commit")})
    checkout = [f"git checkout {commits[0].removesuffix('+changes')}"] if len(commits) == 1 else []
    commands = [*checkout, f"python run.py bench {suite} --out {shlex.quote(batch.name)}"]
    notes = []
    if batch.missing:
        notes.append(f"{batch.missing} of {batch.missing + len(batch.rows)} runs are missing.")
    if batch.missing is None:
        notes.append("The folder does not say which runs its suite has, so some may be missing.")
    if any(commit.endswith("+changes") for commit in commits):
        notes.append("The code had changes that no commit holds.")
    return [
        element("p", batch.description) if batch.description else None,
        element("p", measured(batch.rows)),
        *(element("p", note, class_="bad") for note in notes),
        element("p", "To repeat it:"),
        element("pre", "\n".join(commands)),
        element("details", element("summary", f"The suite, {suite}"), element("pre", batch.suite))
        if batch.suite
        else None,
        element(
            "details",
            element("summary", "What the columns of the tables say"),
            element("p", _code(LEGEND.format(shift=SHIFT_SECONDS))),
        ),
        element("p", "The folder's runs.jsonl, runs.csv, summary.csv and summary.md hold all digits.", class_="note"),
    ]


def _profiles(name: str, rows: Sequence[Row]) -> list[Html]:
    costs, times = profile_measures(rows) or (None, None)
    charts = []
    for measures, what, label in (
        (costs, "cost", "cost / best cost"),
        (times, "time to a proven optimum", "time / shortest time"),
    ):
        if measures is None:
            continue
        profiles = performance_profile(measures)
        series = {method: (ratios.tolist(), (100 * shares).tolist()) for method, (ratios, shares) in profiles.items()}
        charts.append(
            line_chart(
                f"Performance profile of {name}: {what}",
                f"For each method the share of runs whose {what} is at most so many times the best one.",
                series,
                (label, "share of runs, %"),
                is_stepped=True,
                is_log=max(ratios[-1] for ratios, _ in series.values()) > 3,
                span=(0, 100),
            )
        )
    return charts


def _gaps(name: str, rows: Sequence[Row]) -> Html | None:
    curves = gap_curves(rows)
    if not curves:
        return None
    told = "For each method the mean primal gap to the best known values, 100 % before a first solution."
    return line_chart(
        f"Gap against time: {name}",
        told,
        curves,
        ("seconds", "mean primal gap, %"),
        is_stepped=True,
        is_log=True,
    )


def _runs(rows: Sequence[Row]) -> Html:
    columns: dict[str, list[Any]] = {
        "method": [row["label"] + " *" * row["clairvoyant"] for row in rows],
        "instance": [row["instance"] for row in rows],
        "seed": [row["seed"] for row in rows],
        "status": [row["status"] for row in rows],
        "verified": ["yes" if row["verified"] else "no" for row in rows],
        "value": [number(row["value"], 8) for row in rows],
        "bound": [number(row["bound"], 8) for row in rows],
        "kind of bound": [row["bound_kind"] if row["bound"] is not None else "" for row in rows],
        "gap, %": [percent(row["gap"]) for row in rows],
        "best known": [number(row["best_known"], 8) for row in rows],
        "gap to best known, %": [percent(row["gap_best_known"]) for row in rows],
        "seconds": [number(row["seconds"], 3) for row in rows],
        "peak MB": [number(row["peak_memory_mb"], 4) for row in rows],
        "scenarios": [str(row["scenarios"]) if row["is_random"] else "" for row in rows],
        "table": [row["table"] for row in rows],
        "key": [row["key"] for row in rows],
    }
    shown = {name: cells for name, cells in columns.items() if name == "seed" or any(cells)}
    picked = ("method", "instance", "status", "verified", "table")
    numeric = [name for name in shown if name not in (*picked, "kind of bound", "key")]
    return table(f"All {len(rows)} runs", shown, numeric, picked)


def _failures(batch: Batch, rows: Sequence[Row]) -> Html:
    columns: dict[str, list[Any]] = {
        "method": [row["label"] for row in rows],
        "instance": [row["instance"] for row in rows],
        "seed": [row["seed"] for row in rows],
        "status": [row["status"] for row in rows],
        "message": [what_failed(row) for row in rows],
        "table": [row["table"] for row in rows],
        "by itself": [element("code", repeat(row, batch.planned.get(row["key"])) or "") for row in rows],
    }
    return table(f"{len(rows)} runs without a verified solution", columns, ["seed"], ("method", "status", "table"))


def _code(text: str) -> Html:
    return Html(re.sub("`([^`]+)`", r"<code>\1</code>", escape(text)))


# A training --------------------------------------------------------------------------------------------------------


def _of_training(folder: Path, name: Path) -> Section:
    curves = read_log(folder / LOG)
    validation = curves.pop("validation", None)
    content: list[Any] = []
    if validation is not None:
        best = min(validation[1])
        at = validation[0][validation[1].index(best)]
        content.append(element("p", f"Best validation {best:.6g} at iteration {at:g} (smaller is better)."))
    about = next((path for path in (folder / "last", folder / "best", folder) if (path / "about.json").exists()), None)
    if about is not None:
        content += _recipe(about / "about.json")
    charts = {"validation": validation} if validation is not None else {}
    charts |= curves
    drawings = [
        line_chart(
            f"{column} by iteration",
            f"The column {column} of the training's log.",
            {column: points},
            ("iteration", column),
        )
        for column, points in charts.items()
    ]
    content.append(element("div", drawings, class_="charts"))
    return "Training" if name == Path() else f"{name}: training", content


def _recipe(path: Path) -> list[Html]:
    about = parse_json(read_text(path), path)
    try:
        recipe, problem, iteration = about["recipe"], about["problem"], about["iteration"]
        method = recipe.get("method")  # older checkpoints do not tell
    except (AttributeError, KeyError, TypeError):
        raise InputError(f"{path}: expected the description of a checkpoint.") from None
    who = f"Method {method}, family {problem}" if method else f"Family {problem}"
    return [
        element("p", f"{who}; the checkpoint is of iteration {iteration}."),
        element(
            "details",
            element("summary", "The recipe"),
            element("pre", json.dumps(recipe, indent=1, ensure_ascii=False)),
        ),
    ]
