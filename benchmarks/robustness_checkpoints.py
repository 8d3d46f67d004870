"""Checkpoints and cuts that somebody tampered with: refused in one line, or harmless; no code of theirs is run."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from robustness_commands import Case, counted, limited

from orl.learn import checkpoint

SHORT = ["--scenarios", "1", "--time-limit", "2", "--json"]
POLICIES = {  # what is tampered with, and what it decides
    "ppo": ("orl.solvers.ppo", "checkpoints/ppo/jobshop/classic", ["solve", "jobshop/ft06", "--solver", "ppo"]),
    "pdppo": ("orl.solvers.ppo", "checkpoints/pdppo/lotsizing",
              ["solve", "lotsizing/setting_2items_VI", "--solver", "pdppo"]),
    "ts-ddr": ("orl.solvers.decision_rules", "checkpoints/ts-ddr/bolivia",
               ["solve", "hydrothermal/bolivia", "--solver", "ts-ddr", "--set", "stages=3"]),
}  # fmt: skip
HURTS = (None, True, -1, 0, 10**18, 1e308, float("nan"), float("inf"), "", "abc", [], {}, [[]], {"a": 1}, "../../x")


class Bomb:
    """Unpickled, it would leave a file."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def replaced(data: Any, rng: np.random.Generator) -> Any:
    """Return JSON in which one entry, at any depth, is another, missing, or has another name."""
    if isinstance(data, dict) and data and rng.random() < 0.85:
        key = list(data)[rng.integers(len(data))]
        kind = rng.integers(6)
        rest = {name: value for name, value in data.items() if name != key}
        if kind == 0:
            return rest
        return {**rest, key + "x": data[key]} if kind == 1 else {**data, key: replaced(data[key], rng)}
    if isinstance(data, list) and data and rng.random() < 0.85:
        place = int(rng.integers(len(data)))
        return [*data[:place], replaced(data[place], rng), *data[place + 1 :]]
    return HURTS[rng.integers(len(HURTS))]


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(len(data)))
    return data[:place] + bytes([data[place] ^ (1 << int(rng.integers(8)))]) + data[place + 1 :]


def zipped(size: int) -> bytes:
    """Return what unpacks to so many zeros."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.pkl", bytes(size))
    return file.getvalue()


def tampered(folder: Path, rng: np.random.Generator, trace: Path) -> None:
    """Spoil a checkpoint in one of many ways; half of the time its checksum is mended."""
    about_path, kind = folder / checkpoint.ABOUT, rng.integers(9)
    about = json.loads(about_path.read_text())
    weights_path = folder / about["weights"]
    data = weights_path.read_bytes()
    if kind == 0:
        data = flipped(data, rng)
    elif kind == 1:
        data = data[: int(rng.integers(len(data)))]
    elif kind == 2:
        data = [pickle.dumps(Bomb(trace)), zipped(2**28), b"", b"\x00" * 100, b"\xff" * 8 + data,
                len(data).to_bytes(8, "little") + b"{" * len(data)][rng.integers(6)]  # fmt: skip
    elif kind == 3:  # another header of the same weights
        length = int.from_bytes(data[:8], "little")
        head = json.dumps(replaced(json.loads(data[8 : 8 + length]), rng)).encode()
        data = len(head).to_bytes(8, "little") + head + data[8 + length :]
    elif kind == 4:
        arrays, told = checkpoint.load(folder)
        name = list(arrays)[rng.integers(len(arrays))]
        one = arrays[name]
        arrays[name] = [np.full_like(one, np.nan), np.full_like(one, np.inf), one[:-1], one[..., None], one.astype(int),
                        one.astype(bool), np.zeros((0, *one.shape[1:]), one.dtype), one.astype(np.float16),
                        one * 1e30][rng.integers(9)]  # fmt: skip
        checkpoint.save(folder, arrays, {k: v for k, v in told.items() if k not in ("weights", "sha256")})
        return
    elif kind == 5:
        text = about_path.read_text().encode()
        about_path.write_bytes(flipped(text, rng) if rng.random() < 0.5 else text[: int(rng.integers(len(text)))])
        return
    elif kind == 6:
        about_path.write_bytes([b"", b"[]", b"[" * 10**5, b"{" * 10**5, b"\xff\xfe", b"null", b"1" * 10**5,
                                pickle.dumps(Bomb(trace))][rng.integers(8)])  # fmt: skip
        return
    else:
        about_path.write_text(json.dumps(replaced(about, rng)))
        return
    weights_path.write_bytes(data)
    if rng.random() < 0.5:
        about_path.write_text(json.dumps({**about, "sha256": hashlib.sha256(data).hexdigest()}))


def not_run(trace: Path) -> str:
    return "code was run" if trace.exists() else ""


def policies(method: str, count: int, seed: int) -> Mapping[str, Any]:
    """Return what became of decisions by so many tampered checkpoints, some of another method or family."""
    limited()
    rng = np.random.default_rng([seed, *method.encode()])
    package, inside, command = POLICIES[method]
    with tempfile.TemporaryDirectory() as scratch:
        folder, trace = Path(scratch) / "checkpoint", Path(scratch) / "trace"

        def before() -> None:
            shutil.rmtree(folder, ignore_errors=True)
            other = rng.random() < 0.05
            source = POLICIES[list(POLICIES)[rng.integers(3)]][:2] if other else (package, inside)
            shutil.copytree(str(files(source[0]) / source[1]), folder)
            if not other:
                tampered(folder, rng, trace)

        case = Case([*command, "--set", f"checkpoint={folder}", *SHORT], holds=partial(not_run, trace), before=before)
        return counted(case for _ in range(count))


def cuts(_: str, count: int, seed: int) -> Mapping[str, Any]:
    """Return what became of `sddp` with so many tampered files of cuts."""
    limited()
    rng = np.random.default_rng([seed, *b"cuts"])
    command = ["solve", "hydrothermal/case3", "--solver", "sddp", "--set", "iterations=1"]
    with tempfile.TemporaryDirectory() as scratch:
        path, trace = Path(scratch) / "cuts.json", Path(scratch) / "trace"
        counted([Case([*command, "--set", f"cuts={path}", *SHORT])])
        text = path.read_bytes()
        changes: list[Callable[[], bytes]] = [
            lambda: flipped(text, rng),
            lambda: text[: int(rng.integers(len(text)))],
            lambda: json.dumps(replaced(json.loads(text), rng)).encode(),
            lambda: json.dumps(replaced(json.loads(text), rng)).encode(),
            lambda: [b"", b"null", b"[" * 10**5, zipped(2**20), pickle.dumps(Bomb(trace)), b"9" * 10**5][
                rng.integers(6)
            ],
        ]

        def before() -> None:
            path.write_bytes(changes[rng.integers(len(changes))]())

        case = Case([*command, "--set", f"cuts={path}", *SHORT], holds=partial(not_run, trace), before=before)
        return counted(case for _ in range(count))
