"""Instances from and to files: a TOML of our own, or requests alone as CSV or JSONL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orl import params
from orl.errors import InputError, at
from orl.files import write_atomically

from .instance import Generator, Requests, Serving, ServingSettings
from .server import server
from .toml_format import load_toml, to_toml
from .workloads import has_columns, read_requests

AT_ONCE = 1e-6  # seconds or rounds within which all arrive: no rate is told


def sniff(path: Path, head: bytes) -> bool:
    """Return whether a file looks like LLM serving, from its beginning."""
    text = head.decode("utf-8-sig", errors="replace")
    if path.suffix == ".toml":
        says = re.search(r"""^\s*problem\s*=\s*["'](\w+)["']""", text, re.M)
        return says.group(1) == "llmserving" if says else bool(re.search(r"^\s*\[generator\]", text, re.M))
    first = text.lstrip().partition("\n")[0]
    if path.suffix == ".jsonl":
        return '"input_length"' in first and '"output_length"' in first
    return has_columns([name.strip() for name in first.split(",")])


def load(path: Path, settings: Mapping[str, Any] | None = None) -> Serving:
    """Read an instance; `settings` overrides the file's own options.

    Raises
    ------
    InputError
        One line that names the file and what was expected.
    """
    path = Path(path)
    if path.is_dir():
        raise at(path, None, "expected a file, found a folder.")
    if path.suffix == ".toml":
        return load_toml(path, settings or {})
    made = params.make(ServingSettings, settings or {}, str(path))
    requests = read_requests(path, made)
    try:
        return Serving(path.stem, requests, settings=made, **server(made))
    except InputError as error:
        raise at(path, None, str(error)) from None


def save(instance: Serving, path: Path | str) -> None:
    """Write an instance as TOML, requests and cost model and all.

    Raises
    ------
    InputError
        If the name does not end in .toml, or the instance is in motion.
    """
    instance.must_begin()
    path = Path(path)
    if path.suffix != ".toml":
        raise InputError(f"{path}: LLM serving is written as TOML; choose a name ending in .toml.")
    write_atomically(path, to_toml(instance))


def describe(instance: Serving) -> str:
    """Say workload, memory, model and clock in one line."""
    settings = instance.settings
    words = [_workload(instance.source, "round" if instance.is_rounds else "second")]
    words.append(f"{instance.num_blocks * instance.block_size} tokens of KV cache")
    if instance.is_rounds:
        words.append("clock in rounds")
    else:
        times = f"profile {Path(settings.profile).name}" if settings.profile else f"roofline of {settings.gpu}"
        ranks = f" on {settings.tensor_parallel_size} GPUs" if settings.tensor_parallel_size > 1 else ""
        words.append(f"{settings.model}{ranks}, {times}")
    if settings.priorities != "file":
        words.append(f"{settings.priorities} priorities")
    if settings.prediction_noise > 0:
        words.append(f"prediction noise {settings.prediction_noise:g}")
    return ", ".join(words)


def _workload(source: Requests | Generator, unit: str) -> str:
    if isinstance(source, Generator):
        return (
            f"{source.count} requests drawn ({source.arrivals}, {source.rate:g} a {unit}, mean prompt "
            f"{source.prompt_mean:g}, output {source.output_mean:g})"
        )
    last = source.arrival[-1]
    words = [f"{len(source)} requests", f"{source.prompt.sum()} prompt and {source.output.sum()} output tokens"]
    if source.num_clients > 1:
        words.append(f"{source.num_clients} clients")
    words.append(f"{len(source) / last:.3g} a {unit}" if last > AT_ONCE else "all at once")
    return ", ".join(words)
