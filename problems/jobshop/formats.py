"""Files of job shops: recognised, read and written, in the literature's text or in the TOML of our own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from orl import params
from orl.errors import InputError, at
from orl.files import instance_folder, known_bounds, read_solutions, read_text, write_atomically
from orl.problem import KnownBounds

from .instance import JobShop, JobShopSettings
from .schedules import schedule
from .state import read_state, state_at
from .text_format import parse_text, to_text
from .toml_format import load_toml, to_toml
from .verify import verify


def sniff(path: Path, head: bytes) -> bool:
    """Tell whether a file looks like a job shop: numbers first, or a TOML that says so."""
    text = head.decode("utf-8", errors="replace").lstrip("\ufeff")
    if path.suffix == ".toml":
        says = re.search(r"^\s*problem\s*=\s*[\"']([^\"']*)", text, re.M)
        return says.group(1) == "jobshop" if says else bool(re.search(r"^\s*(\[\[jobs\]\]|jobs\s*=)", text, re.M))
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
        return _set_in_motion(load_toml(path, settings or {}), path)
    routes, durations, num_machines = parse_text(read_text(path), path)
    options = params.make(JobShopSettings, settings or {}, "jobshop")
    name = path.stem.encode(errors="replace").decode()
    shop = JobShop(name, routes, durations, num_machines, settings=options, source=str(path))
    return _set_in_motion(shop, path)


def _set_in_motion(shop: JobShop, path: Path) -> JobShop:
    """Return the shop with the state and the plan that its settings name; paths may be relative to the shop's file."""
    options = shop.settings

    def find(name: str) -> Path:
        return Path(name) if Path(name).exists() else path.parent / name

    if options.state is not None:
        shop = shop.in_motion(read_state(shop, find(options.state)))
    if options.plan is None:
        return shop
    tables, _ = read_solutions(find(options.plan))
    try:
        plan = schedule(shop, tables[0])
    except InputError as error:
        raise InputError(f"{options.plan}: {error}") from None
    if options.freeze is not None:
        report = verify(shop, None, plan)
        if report.violations:
            what = report.violations[0].message
            raise InputError(f"{options.plan}: freeze needs a feasible plan, this one is not: {what}")
        shop = shop.in_motion(state_at(shop, plan, options.freeze))
    return replace(shop, plan=plan)


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
        or instance.calendar
        or instance.settings != JobShopSettings()
    )
    if has_more:
        raise InputError(f"{path}: the text format holds routes and durations only; choose a name ending in .toml.")
    write_atomically(path, to_text(instance))


def describe(instance: JobShop) -> str:
    """Say size and objective in one line."""
    settings, unit = instance.settings, f" in {instance.time_unit}" if instance.time_unit else ""
    size = f"{instance.num_jobs} jobs x {instance.num_machines} machines, {instance.num_ops} operations"
    words = [size, settings.objective + unit]
    if settings.dispatch == "active":
        words.append("active dispatch")
    if settings.buffers != "unlimited":
        words.append("blocking with swaps" if settings.buffers == "swap" else "blocking without swaps")
    if settings.breakdowns.probability:
        words.append(f"breakdowns {settings.breakdowns.probability:g} (repair {settings.breakdowns.repair})")
    if instance.calendar:
        words.append("planned downtime")
    return ", ".join(words)


def best_known(instance: JobShop) -> KnownBounds | None:
    """Return the literature's bounds if this is the very instance that is packaged under its name.

    There are tables for the makespan with unlimited buffers and for blocking with swaps, without downtime.
    """
    settings = instance.settings
    table = {"unlimited": "bounds", "swap": "swap_bounds"}.get(settings.buffers, "")
    bounds = known_bounds("jobshop", instance.name, table)
    path = instance_folder("jobshop") / f"{instance.name}.txt"
    if bounds is None or settings.objective != "makespan" or not path.is_file():
        return None
    routes, durations, _ = parse_text(read_text(path), path)
    packaged = (tuple(map(tuple, routes)), tuple(map(tuple, durations)))
    is_same = packaged == (instance.machines, instance.durations) and not instance.releases.any()
    return bounds if is_same and not instance.has_downtime and instance.state is None else None
