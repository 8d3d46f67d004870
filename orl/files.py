"""Instance lookup, the tables of best known bounds, solutions as JSON and CSV, atomic writes."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orl.errors import InputError, at
from orl.params import nearest
from orl.problem import Columns, KnownBounds, Problem

if TYPE_CHECKING:
    from orl.result import Result

HEAD_BYTES = 2**18  # what a family sees of a file to recognise it, long comments included
MAX_INSTANCE_BYTES = 256 * 2**20
UNFINISHED = ".orl-"  # how names of files begin that are not whole yet


# Instances ----------------------------------------------------------------------------------------------------------


def packaged(package: str) -> Path:
    """Return the folder of a package, for what comes with it."""
    return Path(str(files(package)))


def instance_folder(problem_name: str) -> Path:
    """Return the folder of a family's packaged instances."""
    return packaged("orl.instances") / problem_name


@cache
def bounds_table(problem_name: str, table: str = "bounds") -> Mapping[str, Mapping[str, str]]:
    """Return the rows of one of a family's tables of best known bounds, by instance; empty if there is none."""
    path = instance_folder(problem_name) / f"{table}.csv"
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {row["instance"]: row for row in csv.DictReader(file)}


def known_row(problem_name: str, instance_name: str) -> Mapping[str, str]:
    """Return what the tables beside a packaged instance say of it: `bounds` before the others; empty if nothing."""
    others = sorted(path.stem for path in instance_folder(problem_name).glob("*_bounds.csv"))
    tables = (bounds_table(problem_name, table) for table in ("bounds", *others))
    return next((table[instance_name] for table in tables if instance_name in table), {})


def known_bounds(problem_name: str, instance_name: str, table: str = "bounds") -> KnownBounds | None:
    """Return the best bounds that the literature reports for a packaged instance, or None."""
    row = bounds_table(problem_name, table).get(instance_name)
    if row is None:
        return None
    lower, upper = (float(row[key]) if row[key] else None for key in ("lower_bound", "upper_bound"))
    return KnownBounds(lower, upper, row["source"])


def packaged_instances(problem_name: str) -> Iterator[str]:
    """Yield the names of a family's packaged instances, as in `jobshop/ft06`."""
    folder = instance_folder(problem_name)
    if folder.is_dir():
        for path in sorted(folder.iterdir(), key=_natural):
            if _holds_files(path) if path.is_dir() else _is_instance(path):
                yield f"{problem_name}/{path.stem}"


def _is_instance(path: Path) -> bool:
    """Whether a file is an instance, not one of the notes, licences and tables beside them."""
    is_note = path.suffix in (".md", ".csv", ".py") or path.name.startswith(("LICENSE", "README", "SOURCE"))
    return not is_note and not path.name.startswith(".")


def _holds_files(path: Path) -> bool:
    """Whether a path is a folder with files of its own, not one of folders, such as what several instances need."""
    return path.is_dir() and any(inside.is_file() for inside in path.iterdir())


def find_instance(name: str | Path, problem_names: Sequence[str]) -> Path:
    """Return the path of an instance: a path, or a name such as `jobshop/ft06`."""
    if not isinstance(name, str | Path):
        raise InputError(f"expected an instance, a path or a name, got a {type(name).__name__}.")
    path, name = Path(name), str(name)
    try:
        if path.exists():
            return path
    except OSError as error:
        raise InputError(f"{name[:60]}...: is no name of a file ({error.strerror}).") from None
    known = [known for problem in problem_names for known in packaged_instances(problem)]
    folder_name, _, stem = name.partition("/")
    # A whole name is found whatever the family: two of them may keep their files in one folder.
    if name in known or (stem and folder_name.isidentifier() and name in packaged_instances(folder_name)):
        return next(path for path in sorted(instance_folder(folder_name).iterdir()) if path.stem == stem)
    inside = [f"{problem}/{name}" for problem in problem_names if f"{problem}/{name}" in known]
    hint = f"did you mean {' or '.join(inside)}?" if inside else nearest(name, known)
    raise InputError(f"there is no file and no instance {name!r}; {hint}")


def read_text(path: Path) -> str:
    """Return a text file's content; what cannot be read is an `InputError`."""
    data = read_bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise at(path, line, "expected text in UTF-8, found other bytes.") from None


def parse_toml(text: str, path: Path) -> dict[str, Any]:
    """Return what a TOML file's text says; what is no TOML is an `InputError` with its line."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise at(path, int(line.group(1)) if line else None, f"expected TOML: {error}.") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, a table of thousands of levels
        raise at(path, None, f"expected TOML: {error}.") from None


def read_head(path: Path) -> bytes:
    """Return the beginning of a file, for recognising its family; empty for a folder."""
    return b"" if path.is_dir() else read_bytes(path, HEAD_BYTES, whole=False)


def read_bytes(path: Path, limit: int = MAX_INSTANCE_BYTES, whole: bool = True) -> bytes:
    """Return a file's content, or no more than its beginning; what cannot be read is an `InputError`."""
    try:
        if not path.exists():
            raise InputError(f"{path}: there is no such file.")
        if not path.is_file():
            raise InputError(f"{path}: expected a plain file.")
        with path.open("rb") as file:
            data = file.read(limit)
            if whole and file.read(1):
                raise InputError(f"{path}: larger than {limit} bytes.")
            return data
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None


def _natural(path: Path) -> tuple[str, int]:
    letters = path.stem.rstrip("0123456789")
    digits = path.stem[len(letters) :]
    return letters, int(digits) if digits else -1


# Solutions ----------------------------------------------------------------------------------------------------------


def solution_json(problem: Problem, instance: Any, result: Result) -> str:
    """Return a result with its solutions: one a scenario, each a list of rows."""
    tables = [_rows(problem.columns(instance, solution)) for solution in result.solutions]
    head = json.dumps(result.to_dict(), indent=1)[:-2]  # without the closing brace
    scenarios = ",\n".join(" [\n" + ",\n".join("  " + json.dumps(row) for row in rows) + "\n ]" for rows in tables)
    return f'{head},\n "solutions": [\n{scenarios}\n ]\n}}\n'


def solution_csv(problem: Problem, instance: Any, result: Result) -> str:
    """Return a result's solutions as one table; with several scenarios the first column numbers them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    several = len(result.solutions) > 1
    for index, solution in enumerate(result.solutions):
        columns = problem.columns(instance, solution)
        if index == 0:
            writer.writerow([*(["scenario"] if several else []), *columns])
        for row in zip(*columns.values(), strict=True):
            writer.writerow([*([index] if several else []), *row])
    return text.getvalue()


def read_solutions(path: Path) -> tuple[list[Columns], dict[str, Any]]:
    """Read the solutions of a JSON or CSV file, one a scenario, and what else the JSON says (seed, settings).

    JSON: what `--out` wrote, or a list of rows (objects), or columns (lists by name). CSV: a header and rows.
    """
    text = read_text(path)
    if text.lstrip()[:1] in ("{", "["):
        return _read_json(path, text)
    return _read_csv(path, text), {}


def parse_json(text: str, path: Path) -> Any:
    """Return what a JSON file's text says; what is no JSON is an `InputError` with its line."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise at(path, error.lineno, f"expected JSON: {error.msg}.") from None
    except ValueError as error:  # a number of thousands of digits
        raise at(path, None, f"expected JSON: {error}.") from None
    except RecursionError:
        raise at(path, None, "found JSON nested too deeply.") from None


def _read_json(path: Path, text: str) -> tuple[list[Columns], dict[str, Any]]:
    data = parse_json(text, path)
    if isinstance(data, list):
        return [_columns_of_rows(path, data)], {}
    if "solutions" not in data:
        return [_check_columns(path, data)], {}
    if not isinstance(data["solutions"], list):
        raise at(path, None, "expected 'solutions' to be a list.")
    about = {key: value for key, value in data.items() if key != "solutions"}
    return [
        _columns_of_rows(path, rows) if isinstance(rows, list) else _check_columns(path, rows)
        for rows in data["solutions"]
    ], about


def _columns_of_rows(path: Path, rows: list[Any]) -> Columns:
    names = list(rows[0]) if rows and isinstance(rows[0], dict) else []
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or set(row) != set(names):
            expected = f"the columns {', '.join(names)}" if names else "an object"
            raise at(path, None, f"row {number}: expected {expected}, got {json.dumps(row)[:80]}.")
    return {name: [row[name] for row in rows] for name in names}


def _check_columns(path: Path, data: Any) -> Columns:
    is_table = isinstance(data, dict) and data and all(isinstance(column, list) for column in data.values())
    if not is_table or len({len(column) for column in data.values()}) != 1:
        raise at(path, None, "expected 'solutions', a list of rows, or columns of one length.")
    return data


def _read_csv(path: Path, text: str) -> list[Columns]:
    reader = csv.reader(io.StringIO(text))
    tables: dict[int, dict[str, list[str]]] = {}
    try:
        header = [name.strip() for name in next(reader, [])]
        if not any(header):
            raise at(path, 1, "expected a header with the names of the columns.")
        several = header[0] == "scenario"
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                message = f"expected {len(header)} entries ({', '.join(header)}), got {len(row)}."
                raise at(path, reader.line_num, message)
            if several and not re.fullmatch("[0-9]{1,9}", row[0]):
                raise at(path, reader.line_num, f"expected a scenario's number, got {row[0][:40]!r}.")
            number = int(row[0]) if several else 0
            table = tables.setdefault(number, {name: [] for name in header[several:]})
            for name, entry in zip(header[several:], row[several:], strict=True):
                table[name].append(entry.strip())
    except csv.Error as error:
        raise at(path, reader.line_num, f"expected CSV: {error}.") from None
    if sorted(tables) != list(range(len(tables))):
        raise at(path, None, f"expected scenarios 0 to {len(tables) - 1}, got {sorted(tables)[:10]}.")
    return [tables[number] for number in sorted(tables)] or [{name: [] for name in header}]


def _rows(columns: Columns) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


# Writing ------------------------------------------------------------------------------------------------------------


def write_atomically(path: Path | str, content: str | bytes) -> None:
    """Write a file whole or not at all.

    Raises
    ------
    InputError
        If it cannot be written; a file that was there before stays as it was.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=UNFINISHED, delete=False) as file:
            temporary = file.name
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}).") from None
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def sweep(*folders: Path) -> None:
    """Delete what a killed `write_atomically` left in folders that nobody else writes to now."""
    for folder in folders:
        for path in folder.glob(f"{UNFINISHED}*"):
            with suppress(OSError):
                path.unlink()


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, unless they are there.

    Raises
    ------
    InputError
        If it cannot be made.
    """
    if "\0" in str(path):
        raise InputError(f"{path}: is no name of a folder.")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}).") from None


def lock(file: int, path: Path, writer: str) -> None:
    """Keep others from an open file until this process ends or closes it; forked children do not inherit the lock.

    Raises
    ------
    InputError
        If another has it, or its file system knows no locks.
    """
    import fcntl  # not on Windows

    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        raise InputError(f"{path}: another {writer} is writing to it.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be locked ({error.strerror}).") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def check_writable(path: Path | str, suffixes: Sequence[str]) -> Path:
    """Return `path` if its ending is known and its folder can be written to: asked before work, not after."""
    path = Path(path)
    if "\0" in str(path):
        raise InputError(f"{path}: is no name of a file.")
    if path.suffix.lower() not in suffixes:
        raise InputError(f"{path}: expected a name ending in {', '.join(suffixes)}.")
    try:
        if not path.parent.is_dir():
            raise InputError(f"{path}: there is no folder {path.parent}.")
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise InputError(f"{path}: cannot be written.")
    except OSError as error:
        raise InputError(f"{str(path)[:60]}...: cannot be written ({error.strerror}).") from None
    return path
