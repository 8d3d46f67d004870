"""What an optimiser of torch remembers, as arrays that a checkpoint can keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from orl.errors import InputError

PREFIX = "optimiser."


def momentum_of(optimiser: Any) -> dict[str, np.ndarray]:
    """Return the moments and counts of an optimiser by name."""
    return {
        f"{PREFIX}{kind}.{place}": tensor.numpy().reshape(tensor.shape)
        for place, state in optimiser.state_dict()["state"].items()
        for kind, tensor in state.items()
    }


def restore_momentum(optimiser: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Give an optimiser of Adam's back what `momentum_of` said, from arrays that may hold other things, too.

    Raises
    ------
    InputError
        If it is of other weights.
    """
    whole = optimiser.state_dict()
    shapes = [tuple(one.shape) for group in optimiser.param_groups for one in group["params"]]
    expected = {
        f"{PREFIX}{kind}.{place}": (1,) if kind == "step" else shape
        for place, shape in enumerate(shapes)
        for kind in ("step", "exp_avg", "exp_avg_sq")
    }
    for name, array in arrays.items():
        if name.startswith(PREFIX):
            if expected.get(name) != np.atleast_1d(array).shape:
                raise InputError(f"{name} must have the shape {expected.get(name)}, got {array.shape}.")
            kind, place = name.removeprefix(PREFIX).split(".")
            whole["state"].setdefault(int(place), {})[kind] = torch.from_numpy(array.copy())
    optimiser.load_state_dict(whole)
