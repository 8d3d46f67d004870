"""What training leaves: a folder with weights as safetensors and the rest as JSON, loaded without running code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from orl.errors import InputError
from orl.files import make_folder, parse_json, read_bytes, read_text, write_atomically

FORMAT = 1
ABOUT = "about.json"


def is_there(folder: Path) -> bool:
    """Return whether a checkpoint was written; a kill before the first one was may leave a folder."""
    return (folder / ABOUT).exists()


def save(folder: Path, weights: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write a checkpoint over an older one; whenever the writer is killed, the old or the new one is there, whole.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    from safetensors.numpy import save as to_bytes

    make_folder(folder)
    data = to_bytes({name: np.ascontiguousarray(array) for name, array in weights.items()})
    digest = hashlib.sha256(data).hexdigest()
    name = f"weights-{digest[:8]}.safetensors"
    write_atomically(folder / name, data)
    head = {"format": FORMAT, "weights": name, "sha256": digest}
    write_atomically(folder / ABOUT, json.dumps({**head, **about}, indent=1) + "\n")
    for path in folder.glob("weights-*.safetensors"):
        if path.name != name:
            path.unlink(missing_ok=True)


def load(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return weights and the rest.

    Raises
    ------
    InputError
        If the folder is none of ours, its weights are not those that it was written with, or not finite.
    """
    for is_last in (False, True):  # a training may write a newer one meanwhile: then once more
        about = _about(folder)
        path = folder / Path(str(about.get("weights"))).name
        if path.is_file() or is_last:
            break
    if not path.is_file():
        raise InputError(f"{folder}: expected a checkpoint, {path.name} is missing.")
    data = read_bytes(path)
    if hashlib.sha256(data).hexdigest() != about.get("sha256"):
        raise InputError(f"{path}: truncated or changed; its checksum is not that of {ABOUT}.")
    return _weights(data, path), about


def _about(folder: Path) -> dict[str, Any]:
    path = folder / ABOUT
    if not path.is_file():
        raise InputError(f"{folder}: expected a checkpoint, {ABOUT} is missing.")
    about = parse_json(read_text(path), path)
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise InputError(f"{path}: expected a checkpoint of format {FORMAT}.")
    return about


def _weights(data: bytes, path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        weights = from_bytes(data)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:  # a header, or a type, that is none of ours
        raise InputError(f"{path}: expected weights as safetensors: {error}.") from None
    for name, array in weights.items():
        if array.dtype.kind != "f":
            raise InputError(f"{path}: {name} must be floating point, got {array.dtype}.")
        if not np.isfinite(array).all():
            raise InputError(f"{path}: {name} must be finite, got {array[~np.isfinite(array)].flat[0]}.")
    return weights


def of_shapes(weights: Mapping[str, np.ndarray], expected: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the weights that a network takes, without others that may be beside them.

    Parameters
    ----------
    weights : name -> ndarray
    expected : name -> what has a shape, or a shape

    Raises
    ------
    InputError
        If one is missing, or has another shape.
    """
    for name, one in expected.items():
        shape = tuple(getattr(one, "shape", one))
        if name not in weights:
            raise InputError(f"expected weights {name}, there are none.")
        if weights[name].shape != shape:
            raise InputError(f"{name} must have the shape {shape}, got {weights[name].shape}.")
    return {name: weights[name] for name in expected}
