"""Settings: a dataclass from a mapping and from `--set key=value`; an unknown key is an error."""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from orl.errors import InputError

T = TypeVar("T")

MAX_THREADS = 512
_SWITCH = {"on": True, "off": False}


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the tail of a message about an unknown name: the nearest known ones, or all if there are few.

    >>> nearest("stp", ["spt", "lpt", "random"])
    'did you mean spt?'
    """
    known = list(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(close)}?"
    listed = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return f"known are: {listed or 'none'}."


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Return a nested mapping of `--set` arguments.

    >>> parse_assignments(["a=1", "breakdowns.probability=0.01"])
    {'a': '1', 'breakdowns': {'probability': '0.01'}}
    """
    result: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts):
            raise InputError(f"--set expects key=value, got {assignment!r}.")
        place = result
        for part in parts[:-1]:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise InputError(f"--set {key}: {part} has a value already.")
        if parts[-1] in place:
            raise InputError(f"--set {key} is given twice.")
        place[parts[-1]] = value.strip()
    return result


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings, the second's on top of the first's.

    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}})
    {'a': {'b': 3, 'c': 2}}
    """
    result = dict(first)
    for key, value in second.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result


def nested(key: str, value: Any) -> dict[str, Any]:
    """Return a setting by its dotted name as nested settings.

    >>> nested("a.b", 1)
    {'a': {'b': 1}}
    """
    first, dot, rest = key.partition(".")
    return {first: nested(rest, value) if dot else value}


def dotted(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted names.

    >>> dotted({"a": {"b": [1, 2]}, "c": 3})
    {'a.b': [1, 2], 'c': 3}
    """
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found.update(dotted(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value})
    return found


def make(cls: type[T], values: object, where: str) -> T:
    """Make a settings dataclass, text converted to the fields' types; what is on or off is as good as true or false.

    Raises
    ------
    InputError
        For an unknown key (with the nearest known ones) or a value of the wrong type, or if `values` is no mapping.

    Examples
    --------
    >>> @dataclasses.dataclass(frozen=True)
    ... class Speed:
    ...     threads: int = 2
    >>> @dataclasses.dataclass(frozen=True)
    ... class Switch:
    ...     overlap: bool = False
    >>> make(Speed, {"threads": "4"}, "cp-sat")
    Speed(threads=4)
    >>> make(Switch, {"overlap": "on"}, "serving")
    Switch(overlap=True)
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{where}: expected settings, got {values!r}.")
    _check_keys(cls, values, where, "")
    fields = _fields(cls)
    told = {key: _SWITCH.get(x, x) if fields[key] is bool and isinstance(x, str) else x for key, x in values.items()}
    try:
        made = msgspec.convert(told, cls, strict=False)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at ")
        key = place.strip("`").removeprefix("$.").removeprefix("$")
        message = f"{message[0].lower()}{message[1:]}"
        if typing.get_origin(kind := fields.get(key)) is typing.Literal:
            message = f"expected {' or '.join(map(str, typing.get_args(kind)))}, got {values[key]!r}"
        raise InputError(f"{where}: {f'setting {key}: ' if key else ''}{message.rstrip('.')}.") from None
    _check_numbers(made, where, "")
    return made


def split(
    values: Mapping[str, Any],
    family: str,
    of_family: type | None,
    of_solvers: Mapping[str, type],
    unloaded: Iterable[str] = (),
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Divide settings between an instance and methods; each method gets all that it knows.

    Parameters
    ----------
    values : name -> value
        Under the name of the family or of a method: settings of it alone, which tells those of one name apart.
    family : str
        The family's name.
    of_family : type or None
        The instance's settings dataclass; None: the instance is loaded, nothing can be set any more.
    of_solvers : method name -> settings dataclass
    unloaded : names
        What could have been set before loading.

    Raises
    ------
    InputError
        For a key that belongs to neither, or to both.

    Examples
    --------
    >>> @dataclasses.dataclass
    ... class Both:
    ...     start: str = ""
    >>> split({"lots": {"start": "a"}, "exact": {"start": "b"}}, "lots", Both, {"exact": Both})
    ({'start': 'a'}, {'exact': {'start': 'b'}})
    """
    of_instance = keys(of_family) if of_family else []
    of_method = {name: keys(cls) for name, cls in of_solvers.items()}
    known = [key for names in of_method.values() for key in names]
    solvers = f"solver{'s' if len(of_method) > 1 else ''} {', '.join(of_method)}"
    names = {family, *of_method} if of_family else set(of_method)
    apart = {
        name: values[name] for name in names.difference(of_instance, known) if isinstance(values.get(name), Mapping)
    }
    values = {key: value for key, value in values.items() if key not in apart}
    for key in values:
        if key in of_instance and key in known:
            owner = next(name for name in of_method if key in of_method[name])
            raise InputError(
                f"setting {key!r} belongs to both {family} and {solvers}; set {family}.{key} or {owner}.{key}."
            )
        if key not in of_instance and key not in known:
            if of_family is None and key in unloaded:
                raise InputError(f"setting {key!r} of {family} cannot be changed once the instance is loaded.")
            hint = nearest(key, dict.fromkeys([*of_instance, *known]))
            where = f"neither to {family} nor to {solvers}" if of_method else f"not to {family}"
            raise InputError(f"setting {key!r} belongs {where}; {hint}")

    def told(name: str, own: Iterable[str]) -> dict[str, Any]:
        return {**{key: value for key, value in values.items() if key in own}, **apart.get(name, {})}

    return told(family, of_instance), {name: told(name, own) for name, own in of_method.items()}


def keys(cls: type) -> list[str]:
    """Return the names of a settings dataclass's fields."""
    return list(_fields(cls))


def check_threads(threads: int) -> None:
    """Refuse a number of threads that no machine has; 0 stands for all cores.

    Raises
    ------
    ValueError
    """
    if not 0 <= threads <= MAX_THREADS:
        raise ValueError(f"threads must be in 0..{MAX_THREADS}, got {threads}.")


def to_dict(settings: Any) -> dict[str, Any]:
    """Return a settings dataclass as a plain mapping."""
    return dataclasses.asdict(settings) if dataclasses.is_dataclass(settings) else {}  # type: ignore[arg-type]


def _fields(cls: type) -> dict[str, type]:
    hints = typing.get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else {}


def _check_keys(cls: type, values: Mapping[str, Any], where: str, prefix: str) -> None:
    fields = _fields(cls)
    for key, value in values.items():
        if key not in fields:
            raise InputError(f"{where}: unknown setting {prefix + key!r}; {nearest(key, fields)}")
        if isinstance(value, Mapping) and dataclasses.is_dataclass(fields[key]):
            _check_keys(fields[key], value, where, f"{prefix}{key}.")


def _check_numbers(made: Any, where: str, key: str) -> None:
    """Refuse what is no number; nothing can be said of it that it would not pass."""
    if isinstance(made, float) and math.isnan(made):
        raise InputError(f"{where}: setting {key}: expected a number, got nan.")
    inside: Iterable[tuple[Any, Any]] = ()
    if dataclasses.is_dataclass(made):
        inside = ((f.name, getattr(made, f.name)) for f in dataclasses.fields(made))
    elif isinstance(made, Mapping):
        inside = made.items()
    elif isinstance(made, list | tuple):
        inside = enumerate(made)
    for name, value in inside:
        _check_numbers(value, where, f"{key}.{name}" if key else str(name))
