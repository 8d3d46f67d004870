"""Files of job shops, read and written: the literature's text, a TOML of our own, and the columns of a schedule.

Text: lines that begin with # are comments; then `jobs machines`; then a line a job of pairs `machine duration`,
machines from 0 (jobs of unequal length are legal then); or, with any line breaks, jobs x machines pairs. Taillard's
form: a line that begins with `jobs machines`, then the block `Times` and the block `Machines`, a row a job, machines
from 1.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from orl import params
from orl.errors import InputError, at
from orl.files import instance_folder, known_bounds, read_text, write_atomically
from orl.problem import Columns, KnownBounds

from .instance import MAX_HORIZON, NO_DUE_DATE, JobShop, JobShopSettings, Schedule

MAX_OPS = 10_000_000
Tokens = list[tuple[int, list[str]]]  # (line number, words)


def sniff(path: Path, head: bytes) -> bool:
    """Tell whether a file looks like a job shop: numbers first, or a TOML that says so."""
    text = head.decode("utf-8", errors="replace").lstrip("\ufeff")
    if path.suffix == ".toml":
        says = re.search(r"^\s*problem\s*=\s*[\"']([^\"']*)", text, re.M)
        return (
            says.group(1) == "jobshop" if says else bool(re.search(r"^\s*(\[\[jobs\]\]|jobs\s*=|file\s*=)", text, re.M))
        )
    first = next((line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")), "")
    return bool(re.match(r"\s*\d+\s+\d+\b", first)) or bool(re.search(r"(?i)nb of jobs", first))


def load(path: Path, settings: Mapping[str, Any] | None = None) -> JobShop:
    """Read an instance; `settings` overrides the file's own options.

    Raises
    ------
    InputError
        One line that names file, line and what was expected.
    """
    path = Path(path)
    if path.is_dir():
        raise at(path, None, "expected a file, found a folder.")
    if path.suffix == ".toml":
        return _load_toml(path, settings or {})
    routes, durations, num_machines = parse_text(read_text(path), path)
    options = params.make(JobShopSettings, settings or {}, "jobshop")
    return JobShop(path.stem, routes, durations, num_machines, settings=options, source=str(path))


# The literature's text ----------------------------------------------------------------------------------------------


def parse_text(text: str, path: Path | str = "<text>") -> tuple[list[list[int]], list[list[int]], int]:
    """Return routes, durations and the number of machines of a text in the standard or in Taillard's form."""
    lines: Tokens = [
        (number, line.split())
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if lines and lines[0][1][0].lower() == "nb":  # Taillard's files open with a line of words
        lines = lines[1:]
    if not lines:
        raise at(path, None, "expected 'jobs machines', found no numbers.")
    number, words = lines[0]
    if len(words) < 2:
        raise at(path, number, f"expected 'jobs machines', got {_shown(words)}.")
    jobs, machines = (
        _integer(word, path, number, what) for word, what in zip(words, ("jobs", "machines"), strict=False)
    )
    if jobs < 1 or machines < 1 or jobs * machines > MAX_OPS:
        raise at(
            path, number, f"expected 1 or more jobs and machines, at most {MAX_OPS} operations, got {jobs} {machines}."
        )
    named = {words[0].lower().rstrip(":"): i for i, (_, words) in enumerate(lines) if words[0][0].isalpha()}
    if "times" in named and "machines" in named:
        return _taillard_blocks(lines, named, jobs, machines, path)
    body = lines[1:]
    if len(words) == 2 and len(body) == jobs:
        return (*_rows_of_pairs(body, machines, path), machines)
    if len(words) == 2 and _is_taillard(body, jobs, machines):
        blocks = [(number, ["Times"]), *body[:jobs], (number, ["Machines"]), *body[jobs:]]
        return _taillard_blocks(blocks, {"times": 0, "machines": jobs + 1}, jobs, machines, path)
    numbers = [(line, word) for line, row in [(number, words[2:]), *body] for word in row]
    if len(numbers) != 2 * jobs * machines:
        what = f"expected {jobs} lines of jobs, or {2 * jobs * machines} numbers in all"
        what += f", got {len(body)} lines with {len(numbers)} numbers"
        raise at(path, lines[-1][0], what + (" (a flexible job shop?)." if len(words) == 3 else "."))
    width = 2 * machines
    return (*_pairs([numbers[i : i + width] for i in range(0, len(numbers), width)], machines, path), machines)


def _rows_of_pairs(body: Tokens, machines: int, path: Path | str) -> tuple[list[list[int]], list[list[int]]]:
    for number, words in body:
        if len(words) % 2:
            raise at(path, number, f"expected pairs 'machine duration', got {len(words)} numbers.")
    return _pairs([[(number, word) for word in words] for number, words in body], machines, path)


def _pairs(
    rows: list[list[tuple[int, str]]], machines: int, path: Path | str
) -> tuple[list[list[int]], list[list[int]]]:
    routes, durations = [], []
    for row in rows:
        routes.append([_integer(word, path, line, "machine", machines - 1) for line, word in row[0::2]])
        durations.append([_integer(word, path, line, "duration") for line, word in row[1::2]])
    return routes, durations


def _is_taillard(body: Tokens, jobs: int, machines: int) -> bool:
    """Whether unnamed lines are the two blocks: machines from 1, each job visiting each machine once."""
    if len(body) != 2 * jobs or any(len(words) != machines for _, words in body):
        return False
    every = sorted(str(machine) for machine in range(1, machines + 1))
    return all(sorted(words) == every for _, words in body[jobs:])


def _taillard_blocks(
    lines: Tokens, named: Mapping[str, int], jobs: int, machines: int, path: Path | str
) -> tuple[list[list[int]], list[list[int]], int]:
    blocks = {}
    for name, low, high in (("times", 0, MAX_HORIZON), ("machines", 1, machines)):
        rows = lines[named[name] + 1 : named[name] + 1 + jobs]
        for number, words in rows:
            if len(words) != machines:
                raise at(path, number, f"expected {machines} numbers in the block of {name}, got {_shown(words)}.")
        if len(rows) < jobs:
            raise at(path, lines[-1][0], f"expected {jobs} lines in the block of {name}, got {len(rows)}.")
        blocks[name] = [[_integer(word, path, number, name, high, low) for word in words] for number, words in rows]
    return [[machine - 1 for machine in row] for row in blocks["machines"]], blocks["times"], machines


def _integer(word: str, path: Path | str, line: int, what: str, high: int = MAX_HORIZON - 1, low: int = 0) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", word):
        raise at(path, line, f"expected an integer for {what}, got {word[:40]!r}.")
    value = int(word)
    if not low <= value <= high:
        raise at(path, line, f"expected {what} in {low}..{high}, got {value}.")
    return value


def _shown(words: Sequence[str]) -> str:
    return repr(" ".join(words)[:60])


def to_text(instance: JobShop) -> str:
    """Return the standard text: exactly the routes and durations, with the name as a comment.

    >>> print(to_text(JobShop("two", machines=[[0, 1], [1, 0]], durations=[[3, 2], [2, 4]])), end="")
    # two
    2 2
    0 3 1 2
    1 2 0 4
    """
    rows = [
        " ".join(f"{machine} {duration}" for machine, duration in zip(route, times, strict=True))
        for route, times in zip(instance.machines, instance.durations, strict=True)
    ]
    name = " ".join(instance.name.split())
    return "\n".join([f"# {name}", f"{instance.num_jobs} {instance.num_machines}", *rows]) + "\n"


# Our TOML -----------------------------------------------------------------------------------------------------------

_TOP = ("problem", "name", "time_unit", "file", "machines", "options", "jobs")
_JOB = ("name", "release", "due", "weight", "operations")


def _load_toml(path: Path, settings: Mapping[str, Any]) -> JobShop:
    text = read_text(path)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise at(path, int(line.group(1)) if line else None, f"expected TOML: {error}.") from None
    except RecursionError:
        raise at(path, None, "expected TOML, found it nested too deeply.") from None
    reader = _TomlReader(path, text)
    reader.check_keys(data, _TOP, "", None)
    if data.get("problem", "jobshop") != "jobshop":
        raise reader.error("problem", f"expected 'jobshop', got {data['problem']!r}.")
    options = data.get("options", {})
    if not isinstance(options, dict):
        raise reader.error("options", "expected a table.")
    jobs = data.get("jobs", [])
    if not isinstance(jobs, list) or not all(isinstance(job, dict) for job in jobs):
        raise reader.error("jobs", "expected tables [[jobs]].")
    for index, job in enumerate(jobs):
        reader.check_keys(job, _JOB, f"jobs[{index}].", index)
    machine_names = reader.machines(data.get("machines"))
    name, unit = (reader.text(data, key, default) for key, default in (("name", path.stem), ("time_unit", "")))
    if "file" in data:
        file = path.parent / reader.text(data, "file", "")
        routes, durations, num_machines = parse_text(read_text(file), file)
        if jobs and len(jobs) != len(routes):
            raise reader.error("jobs", f"expected one [[jobs]] for each of the {len(routes)} jobs of {file}, or none.")
        if any("operations" in job for job in jobs):
            raise reader.error("operations", "expected the operations in the file or here, not in both.")
    else:
        if not jobs:
            raise reader.error(None, "expected 'file' or [[jobs]].")
        routes, durations = reader.operations(jobs, machine_names)
        num_machines = len(machine_names) if isinstance(machine_names, tuple) else None  # type: ignore[assignment]
    if isinstance(machine_names, int):
        num_machines = machine_names
    return JobShop(
        name,
        routes,
        durations,
        num_machines,
        releases=reader.of_jobs(jobs, "release", 0),
        due_dates=reader.of_jobs(jobs, "due", None),
        weights=reader.of_jobs(jobs, "weight", 1.0),
        job_names=reader.job_names(jobs),
        machine_names=machine_names if isinstance(machine_names, tuple) else None,
        time_unit=unit,
        settings=params.make(JobShopSettings, {**options, **settings}, str(path)),
        source=str(path),
    )


class _TomlReader:
    """Takes checked values out of a parsed TOML; its errors name the line of the table they speak of."""

    def __init__(self, path: Path, text: str):
        self.path = path
        self.lines = text.splitlines()

    def error(self, key: str | None, message: str, job: int | None = None) -> InputError:
        pattern = r"\s*\[\[\s*jobs\s*\]\]" if job is not None else rf"\s*\[*\s*{re.escape(key or '')}\b"
        found = [number for number, line in enumerate(self.lines, start=1) if re.match(pattern, line)]
        index = job or 0
        line = found[index] if index < len(found) and (key or job is not None) else None
        return at(self.path, line, f"{key}: {message}" if key else message)

    def check_keys(self, table: Mapping[str, Any], known: Sequence[str], prefix: str, job: int | None) -> None:
        for key in table:
            if key not in known:
                raise self.error(
                    key if job is None else f"{prefix}{key}", f"unknown; {params.nearest(key, known)}", job
                )

    def text(self, data: Mapping[str, Any], key: str, default: str) -> str:
        value = data.get(key, default)
        if not isinstance(value, str):
            raise self.error(key, f"expected text, got {value!r}.")
        return value

    def machines(self, value: Any) -> tuple[str, ...] | int | None:
        is_count = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_OPS
        is_names = isinstance(value, list) and value and all(isinstance(name, str) for name in value)
        if value is None or is_count:
            return value
        if not is_names:
            raise self.error("machines", f"expected a number >= 1 or a list of names, got {str(value)[:60]!r}.")
        return tuple(value)

    def operations(self, jobs: list[dict[str, Any]], names: tuple[str, ...] | int | None) -> tuple[list, list]:
        routes: list[list[int]] = []
        durations: list[list[int]] = []
        index_of = {name: i for i, name in enumerate(names)} if isinstance(names, tuple) else {}
        for j, job in enumerate(jobs):
            ops = job.get("operations")
            if not isinstance(ops, list) or not ops:
                raise self.error(f"jobs[{j}].operations", "expected a list of [machine, duration].", j)
            for k, op in enumerate(ops):
                if not isinstance(op, list) or len(op) != 2:
                    message = f"expected [machine, duration], got {str(op)[:60]}."
                    raise self.error(f"jobs[{j}].operations[{k}]", message, j)
                if isinstance(op[0], str) and op[0] not in index_of:
                    message = f"unknown machine {op[0]!r}; {params.nearest(op[0], index_of)}"
                    raise self.error(f"jobs[{j}].operations[{k}]", message, j)
            routes.append([index_of[op[0]] if isinstance(op[0], str) else op[0] for op in ops])
            durations.append([op[1] for op in ops])
        return routes, durations

    def of_jobs(self, jobs: list[dict[str, Any]], key: str, default: Any) -> Any:
        return [job.get(key, default) for job in jobs] if any(key in job for job in jobs) else None

    def job_names(self, jobs: list[dict[str, Any]]) -> tuple[str, ...] | None:
        if not any("name" in job for job in jobs):
            return None
        return tuple(job.get("name", str(index)) for index, job in enumerate(jobs))


def to_toml(instance: JobShop) -> str:
    """Return our TOML, which holds everything that an instance has."""
    import tomli_w

    data: dict[str, Any] = {"problem": "jobshop", "name": instance.name}
    if instance.time_unit:
        data["time_unit"] = instance.time_unit
    data["machines"] = list(instance.machine_names) if instance.machine_names else instance.num_machines
    data["options"] = params.to_dict(instance.settings)
    data["jobs"] = []
    for j, (route, times) in enumerate(zip(instance.machines, instance.durations, strict=True)):
        job: dict[str, Any] = {"name": instance.job_names[j]} if instance.job_names else {}
        if instance.releases[j]:
            job["release"] = int(instance.releases[j])
        if instance.due_dates[j] != NO_DUE_DATE:
            job["due"] = int(instance.due_dates[j])
        if instance.weights[j] != 1:
            job["weight"] = float(instance.weights[j])
        job["operations"] = [[instance.machine_label(m), d] for m, d in zip(route, times, strict=True)]
        data["jobs"].append(job)
    return tomli_w.dumps(data)


def save(instance: JobShop, path: Path | str) -> None:
    """Write an instance: as TOML if the name ends in .toml, else as the standard text.

    Raises
    ------
    InputError
        If the text cannot hold all that the instance has (releases, due dates, weights, names, options).
    """
    path = Path(path)
    if path.suffix == ".toml":
        write_atomically(path, to_toml(instance))
        return
    has_more = (
        instance.releases.any()
        or instance.has_due_dates
        or (instance.weights != 1).any()
        or instance.job_names
        or instance.machine_names
        or instance.time_unit
        or instance.settings != JobShopSettings()
    )
    if has_more:
        raise InputError(f"{path}: the text format holds routes and durations only; choose a name ending in .toml.")
    write_atomically(path, to_text(instance))


# Schedules as columns, descriptions, known bounds -------------------------------------------------------------------


def columns(instance: JobShop, schedule: Schedule) -> Columns:
    """Return a schedule as a table, by machine and time; jobs and machines by their names where they have any."""
    order = np.lexsort((schedule.position, schedule.job, schedule.end, schedule.start, schedule.machine))
    return {
        "job": [instance.job_label(j) for j in schedule.job[order].tolist()],
        "operation": schedule.position[order].tolist(),
        "machine": [instance.machine_label(m) for m in schedule.machine[order].tolist()],
        "start": schedule.start[order].tolist(),
        "end": schedule.end[order].tolist(),
    }


def schedule(instance: JobShop, table: Columns) -> Schedule:
    """Return the schedule that a table holds; `verify` judges it.

    Raises
    ------
    InputError
        If a column is missing or an entry is neither a whole number nor a known name; names column and row.
    """
    for key in ("job", "operation", "machine", "start", "end"):
        if key not in table:
            raise InputError(f"a schedule needs the columns job, operation, machine, start, end; {key!r} is missing.")
    names = {"job": instance.job_names or (), "machine": instance.machine_names or ()}
    read = {
        key: _column(key, table[key], names.get(key, ())) for key in ("job", "operation", "machine", "start", "end")
    }
    return Schedule(read["job"], read["operation"], read["machine"], read["start"], read["end"])


def _column(key: str, entries: Sequence[Any], names: Sequence[str]) -> np.ndarray:
    index_of = {name: index for index, name in enumerate(names)}
    values = np.empty(len(entries), dtype=np.int64)
    for row, entry in enumerate(entries):
        found = index_of.get(entry) if isinstance(entry, str) else None
        if found is None:
            try:
                found = int(entry) if not isinstance(entry, bool) else None
                if found is not None and (abs(found) >= MAX_HORIZON or (isinstance(entry, float) and found != entry)):
                    found = None
            except (TypeError, ValueError, OverflowError):
                found = None
        if found is None:
            kind = f"a whole number or one of {', '.join(names[:5])}" if names else "a whole number"
            raise InputError(f"column {key!r}, row {row}: expected {kind}, got {str(entry)[:40]!r}.")
        values[row] = found
    return values


def describe(instance: JobShop) -> str:
    """Say size and objective in one line."""
    unit = f" in {instance.time_unit}" if instance.time_unit else ""
    rules = ", active dispatch" if instance.settings.dispatch == "active" else ""
    size = f"{instance.num_jobs} jobs x {instance.num_machines} machines, {instance.num_ops} operations"
    return f"{size}, makespan{unit}{rules}"


def best_known(instance: JobShop) -> KnownBounds | None:
    """Return the literature's bounds if this is the very instance that is packaged under its name."""
    bounds = known_bounds("jobshop", instance.name)
    path = instance_folder("jobshop") / f"{instance.name}.txt"
    if bounds is None or not path.is_file():
        return None
    routes, durations, _ = parse_text(read_text(path), path)
    packaged = (tuple(map(tuple, routes)), tuple(map(tuple, durations)))
    is_same = packaged == (instance.machines, instance.durations) and not instance.releases.any()
    return bounds if is_same else None
