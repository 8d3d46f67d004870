"""The server that settings describe: how long iterations take, how many blocks there are, how large they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .hardware import ModelShape, block_bytes, blocks_on_cpu, blocks_that_fit, find_gpu, read_model
from .instance import CostModel, ServingSettings
from .profiles import find_profile, read_profile, roofline

# What a file says outright holds until one of these is asked for anew.
COMES_FROM = {
    "costs": {"profile", "gpu", "model", "tensor_parallel_size", "link_gbs", "link_us"},
    "num_blocks": {"num_gpu_blocks_override", "gpu_memory_utilization", "gpu", "model", "tensor_parallel_size"},
    "cpu_blocks": {"swap_space", "model", "tensor_parallel_size"},
    "block_bytes": {"model", "tensor_parallel_size"},
    "pieces": {"model"},
}


def server(
    settings: ServingSettings, given: dict[str, Any] | None = None, where: dict[str, Path] | None = None
) -> dict[str, Any]:
    """Return the fields of `Serving` that follow from settings.

    What is `given` is not worked out, nor refused for want of memory.

    Parameters
    ----------
    settings : ServingSettings
    given : field -> value, optional
    where : setting -> Path, optional
        Folders that `model` and `profile` are relative to.
    """
    where = where or {}
    shape = read_model(settings.model, where.get("model"))
    find_gpu(settings.gpu)  # a name that is unknown is refused even where a profile says how long things take
    made: dict[str, Callable[[], Any]] = {
        "costs": lambda: _costs(shape, settings, where.get("profile")),
        "num_blocks": lambda: _blocks(shape, settings),
        "cpu_blocks": lambda: blocks_on_cpu(shape, settings),
        "block_bytes": lambda: block_bytes(shape, settings),
        "pieces": lambda: shape.pieces,
    }
    given = given or {}
    return {key: given[key] if key in given else make() for key, make in made.items()}


def _costs(shape: ModelShape, settings: ServingSettings, folder: Path | None) -> CostModel:
    if settings.clock == "rounds":
        points, nothing = np.array([0.0, 1.0]), np.zeros((2, 2))
        return CostModel(points, np.zeros(2), points, points, nothing, points, points, nothing)
    if settings.profile:
        return read_profile(find_profile(settings.profile, folder), shape, settings)
    return roofline(shape, find_gpu(settings.gpu), settings)


def _blocks(shape: ModelShape, settings: ServingSettings) -> int:
    """Return the blocks for requests; with clock=rounds as many as the tokens that these hold."""
    if settings.num_gpu_blocks_override:
        size = settings.block_size if settings.clock == "rounds" else 1
        return (settings.num_gpu_blocks_override - 1) * size
    return blocks_that_fit(shape, find_gpu(settings.gpu), settings)
