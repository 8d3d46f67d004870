"""What an optimiser of torch remembers, as arrays that a checkpoint can keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

PREFIX = "optimiser."


def momentum_of(optimiser: Any) -> dict[str, np.ndarray]:
    """Return the moments and counts of an optimiser by name."""
    return {
        f"{PREFIX}{kind}.{place}": tensor.numpy().reshape(tensor.shape)
        for place, state in optimiser.state_dict()["state"].items()
        for kind, tensor in state.items()
    }


def restore_momentum(optimiser: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Give an optimiser back what `momentum_of` said, from arrays that may hold other things, too."""
    whole = optimiser.state_dict()
    for name, array in arrays.items():
        if name.startswith(PREFIX):
            kind, place = name.removeprefix(PREFIX).split(".")
            whole["state"].setdefault(int(place), {})[kind] = torch.from_numpy(array.copy())
    optimiser.load_state_dict(whole)
