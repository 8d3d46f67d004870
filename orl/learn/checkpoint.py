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
ABOUT = "about.json"


def save(folder: Path, weights: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write a checkpoint over an older one; whenever the writer is killed, the old or the new one is there, whole."""
    from safetensors.numpy import save as to_bytes

    folder.mkdir(parents=True, exist_ok=True)
    data = to_bytes({name: np.ascontiguousarray(array) for name, array in weights.items()})
    digest = hashlib.sha256(data).hexdigest()
    name = f"weights-{digest[:8]}.safetensors"
    write_atomically(folder / name, data)
    head = {"format": FORMAT, "weights": name, "sha256": digest}
    write_atomically(folder / ABOUT, json.dumps({**head, **about}, indent=1) + "\n")
    for path in folder.glob("weights-*.safetensors"):
        if path.name != name:
            path.unlink()


def load(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return weights and the rest.

    Raises
    ------
    InputError
        If the folder is none of ours, or its weights are not those that it was written with.
    """
    from safetensors.numpy import load as from_bytes

    about_path = folder / ABOUT
    if not about_path.is_file():
        raise InputError(f"{folder}: expected a checkpoint, {ABOUT} is missing.")
    try:
        about = json.loads(read_text(about_path))
    except ValueError as error:
        raise InputError(f"{about_path}: expected JSON: {error}.") from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise InputError(f"{about_path}: expected a checkpoint of format {FORMAT}.")
    weights_path = folder / Path(str(about.get("weights"))).name
    if not weights_path.is_file():
        raise InputError(f"{folder}: expected a checkpoint, {weights_path.name} is missing.")
    data = weights_path.read_bytes()
    if hashlib.sha256(data).hexdigest() != about.get("sha256"):
        raise InputError(f"{weights_path}: truncated or changed; its checksum is not that of {ABOUT}.")
    return from_bytes(data), about
