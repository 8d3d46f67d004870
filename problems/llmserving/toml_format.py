"""The TOML of our own, which holds everything that an instance may have; see the README for its keys."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from orl import params
from orl.errors import InputError, at
from orl.files import parse_toml, read_text

from .instance import CostModel, Generator, Requests, Serving, ServingSettings
from .server import COMES_FROM, server
from .workloads import adapted, read_requests

_NUMBERS = ("num_blocks", "cpu_blocks", "block_bytes", "pieces")
_TOP = ("problem", "name", *_NUMBERS, "requests", "generator", "options", "costs")
_DEFAULTS = {"client": 0, "priority": 0, "weight": 1, "parent": -1, "shared": 0}


def load_toml(path: Path, settings: Mapping[str, Any]) -> Serving:
    """Read an instance; `settings` overrides the file's own options."""
    text = read_text(path)
    data = parse_toml(text, path)
    try:
        return _instance(path, data, settings)
    except InputError as error:
        message = str(error).removeprefix(f"{path}: ")
        raise at(path, _line_of(text, message), message) from None


def _instance(path: Path, data: dict[str, Any], settings: Mapping[str, Any]) -> Serving:
    for key in data:
        if key not in _TOP:
            raise InputError(f"{key}: unknown; {params.nearest(key, _TOP)}")
    if data.get("problem", "llmserving") != "llmserving":
        raise InputError(f"problem: expected 'llmserving', got {data['problem']!r}.")
    if ("requests" in data) == ("generator" in data):
        raise InputError("expected either requests (a file's name or a table) or a table [generator].")
    name = data.get("name", path.stem)
    if not isinstance(name, str):
        raise InputError(f"name must be text, got {name!r}.")
    own = params.make(ServingSettings, _table(data, "options"), str(path))
    made = params.make(ServingSettings, {**_table(data, "options"), **settings}, str(path))
    folders = {key: Path() if key in settings else path.parent for key in ("model", "profile")}
    given = _resized(_given(data), own, made)
    given = {key: value for key, value in given.items() if not COMES_FROM[key] & set(settings)}
    return Serving(name, _source(path, data, made), settings=made, **server(made, given, folders))


def _table(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    table = data.get(key, {})
    if not isinstance(table, dict):
        raise InputError(f"{key} must be a table, [{key}].")
    return table


def _source(path: Path, data: Mapping[str, Any], settings: ServingSettings) -> Requests | Generator:
    if "generator" in data:
        law = params.make(Generator, _table(data, "generator"), "generator")
        asked = {"count": settings.requests or law.count, "rate": settings.rate or law.rate}
        return params.make(Generator, {**vars(law), **asked}, "generator")
    requests = data["requests"]
    if isinstance(requests, str):
        return read_requests(path.parent / requests, settings)
    table = _table(data, "requests")
    for key in ("arrival", "prompt", "output"):
        if key not in table:
            raise InputError(f"requests: {key} is missing.")
    known = [field.name for field in dataclasses.fields(Requests)]
    for key in table:
        if key not in known:
            raise InputError(f"requests: {key} is unknown; {params.nearest(key, known)}")
    whole = [key for key in known if key not in ("arrival", "weight")]
    arrays = {key: _array(f"requests: {key}", value, key in whole) for key, value in table.items()}
    count = len(arrays["arrival"])
    for key, value in _DEFAULTS.items():
        arrays.setdefault(key, np.full(count, value))
    return adapted(Requests(**arrays), settings, str(path))


def _given(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the server's fields that a file says outright."""
    given: dict[str, Any] = {}
    for key in _NUMBERS:
        if key in data:
            if not isinstance(data[key], int) or isinstance(data[key], bool):
                raise InputError(f"{key} must be an integer, got {data[key]!r}.")
            given[key] = data[key]
    if "costs" in data:
        table, known = _table(data, "costs"), [field.name for field in dataclasses.fields(CostModel)]
        for key in (*known, *table):
            if key not in table or key not in known:
                state = "is missing" if key in known else f"is unknown; {params.nearest(key, known)}"
                raise InputError(f"costs: {key} {state.rstrip('.')}.")
        given["costs"] = CostModel(**{key: _array(f"costs: {key}", table[key], False) for key in known})
    return given


def _resized(given: dict[str, Any], own: ServingSettings, made: ServingSettings) -> dict[str, Any]:
    """Return the fields for another size of blocks: memory stays what it is in tokens."""
    before, after = (1 if each.clock == "rounds" else each.block_size for each in (own, made))
    result = dict(given)
    if before != after:
        for key in ("num_blocks", "cpu_blocks"):
            if key in given:
                result[key] = given[key] * before // after
        if "block_bytes" in given:
            result["block_bytes"] = max(given["block_bytes"] * after // before, 1)
    return result


def _array(name: str, value: Any, is_whole: bool) -> np.ndarray:
    try:
        array = np.array(value)
    except ValueError:
        array = np.array(None)
    if not isinstance(value, list) or array.dtype.kind not in ("i" if is_whole else "if") or array.size == 0:
        raise InputError(f"{name} must be a list of {'integers' if is_whole else 'numbers'}.")
    return array


def _line_of(text: str, message: str) -> int | None:
    """Return the line of the key that a message begins with, if it is there."""
    first = re.match(r"(?:(?:requests|costs|generator): )?(?:setting )?(\w+)", message)
    for number, line in enumerate(text.splitlines(), start=1):
        if first and re.match(rf"\s*\[?\s*{re.escape(first.group(1))}\b", line):
            return number
    return None


def to_toml(instance: Serving) -> str:
    """Return our TOML, which holds everything that an instance has."""
    import tomli_w

    data: dict[str, Any] = {"problem": "llmserving", "name": instance.name}
    data.update({key: int(getattr(instance, key)) for key in _NUMBERS})
    if isinstance(instance.source, Generator):
        data["generator"] = params.to_dict(instance.source)
    else:
        data["requests"] = _lists(instance.source)
    data["options"] = params.to_dict(instance.settings)
    data["costs"] = _lists(instance.costs)
    return tomli_w.dumps(data)


def _lists(record: Requests | CostModel) -> dict[str, Any]:
    return {field.name: getattr(record, field.name).tolist() for field in dataclasses.fields(record)}
