"""The TOML of our own, which holds everything that a job shop may have; see the README for its keys."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orl import params
from orl.errors import InputError, at
from orl.files import parse_toml, read_text

from .instance import NO_DUE_DATE, JobShop, JobShopSettings
from .text_format import MAX_OPS, parse_text

_TOP = ("problem", "name", "time_unit", "file", "machines", "options", "calendar", "jobs")
_JOB = ("name", "release", "due", "weight", "operations")


def load_toml(path: Path, settings: Mapping[str, Any]) -> JobShop:
    """Read an instance; `settings` overrides the file's own options."""
    text = read_text(path)
    data = parse_toml(text, path)
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
    try:
        return JobShop(
            name,
            routes,
            durations,
            num_machines,
            releases=reader.of_jobs(jobs, "release", 0),
            due_dates=reader.of_jobs(jobs, "due", None),
            weights=reader.of_jobs(jobs, "weight", 1.0),
            calendar=reader.calendar(data.get("calendar", []), machine_names),
            job_names=reader.job_names(jobs),
            machine_names=machine_names if isinstance(machine_names, tuple) else None,
            time_unit=unit,
            settings=params.make(JobShopSettings, {**options, **settings}, str(path)),
            source=str(path),
        )
    except InputError as error:
        raise reader.located(error) from None


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

    def located(self, error: InputError) -> InputError:
        """Return an error that `JobShop` raised, with the line of the job it speaks of."""
        message = str(error).removeprefix(f"{self.path}: ")
        job = re.search(r"\bjob (\d+)", message)
        return self.error(None, message, int(job.group(1)) if job else None)

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

    def calendar(self, entries: Any, names: tuple[str, ...] | int | None) -> Any:
        """Return planned downtime as (machine, from, to); `JobShop` checks the numbers."""
        index_of = {name: i for i, name in enumerate(names)} if isinstance(names, tuple) else {}
        is_list = isinstance(entries, list) and all(isinstance(entry, list) and len(entry) == 3 for entry in entries)
        if not is_list:
            raise self.error("calendar", f"expected a list of [machine, from, to], got {str(entries)[:60]}.")
        for machine, *_ in entries:
            if isinstance(machine, str) and machine not in index_of:
                raise self.error("calendar", f"unknown machine {machine!r}; {params.nearest(machine, index_of)}")
        return tuple((index_of[m] if isinstance(m, str) else m, start, end) for m, start, end in entries)

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
    data["options"] = {key: value for key, value in params.to_dict(instance.settings).items() if value is not None}
    if instance.calendar:
        data["calendar"] = [[instance.machine_label(machine), *span] for machine, *span in instance.calendar]
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
