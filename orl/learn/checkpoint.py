"""What training leaves: a folder with weights as safetensors and the rest as JSON, loaded without running code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from orl.errors import InputError
from orl.files import read_text, write_atomically

FORMAT = 1
WEIGHTS, ABOUT = "weights.safetensors", "about.json"


def save(folder: Path, weights: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write a checkpoint; one that is cut off in between does not load, the old weights do with the old `about`."""
    from safetensors.numpy import save as to_bytes

    folder.mkdir(parents=True, exist_ok=True)
    data = to_bytes({name: np.ascontiguousarray(array) for name, array in weights.items()})
    digest = hashlib.sha256(data).hexdigest()
    write_atomically(folder / WEIGHTS, data)
    write_atomically(folder / ABOUT, json.dumps({"format": FORMAT, "sha256": digest, **about}, indent=1) + "\n")


def load(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return weights and the rest.

    Raises
    ------
    InputError
        If the folder is none of ours, or its weights are not those that it was written with.
    """
    from safetensors.numpy import load as from_bytes

    about_path, weights_path = folder / ABOUT, folder / WEIGHTS
    for path in (about_path, weights_path):
        if not path.is_file():
            raise InputError(f"{folder}: expected a checkpoint, {path.name} is missing.")
    try:
        about = json.loads(read_text(about_path))
    except ValueError as error:
        raise InputError(f"{about_path}: expected JSON: {error}.") from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise InputError(f"{about_path}: expected a checkpoint of format {FORMAT}.")
    data = weights_path.read_bytes()
    if hashlib.sha256(data).hexdigest() != about.get("sha256"):
        raise InputError(f"{weights_path}: truncated or changed; its checksum is not that of {ABOUT}.")
    return from_bytes(data), about
