"""The form of a network, and the shapes of the weights that decide. NumPy alone: whoever decides needs no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from .readers import Encoder

MAX_WIDTH, MAX_LAYERS = 2**14, 64


@dataclass(frozen=True)
class NetworkSettings:
    """The form of a network.

    Parameters
    ----------
    encoder : 'candidates', 'plain', 'graph' or 'graph-once'
        See `orl.learn.readers`.
    inputs : int
        Features a candidate that are read, the first ones, or of the vector.
    nodes, relations : int
        Features a node and kinds of edges of a graph.
    outputs : sequence of int
        Shape of one environment's mask, for a plain network, whose outputs are counted.
    width, layers, graph_layers : int
    has_post_critic : bool
        Whether a network of the same form, `post`, judges post-decision states.
    """

    encoder: Encoder = "candidates"
    inputs: int = 0
    nodes: int = 0
    relations: int = 0
    outputs: tuple[int, ...] = ()
    width: int = 64
    layers: int = 3
    graph_layers: int = 2
    has_post_critic: bool = False

    def __post_init__(self) -> None:
        check_size(self)
        for key in ("inputs", "nodes", "relations"):
            if getattr(self, key) < 0:
                raise ValueError(f"{key} must be >= 0, got {getattr(self, key)}.")


def check_size(settings: Any) -> None:
    """Refuse a network that has no layers, or more than anybody trains; `settings` may be others that tell its size.

    Raises
    ------
    ValueError
    """
    for key, most in (("width", MAX_WIDTH), ("layers", MAX_LAYERS), ("graph_layers", MAX_LAYERS)):
        if not 1 <= getattr(settings, key) <= most:
            raise ValueError(f"{key} must be in 1..{most}, got {getattr(settings, key)}.")


def deciding(form: NetworkSettings) -> Mapping[str, tuple[int, ...]]:
    """Return the shape of each array of weights that decides, as the network's `state_dict` names them.

    Examples
    --------
    >>> deciding(NetworkSettings("plain", inputs=5, outputs=(2, 3), width=4, layers=1))["actor.2.weight"]
    (6, 4)
    """
    width = form.width
    if form.encoder == "candidates":
        return _of_candidates(form, form.inputs, "")
    if form.encoder == "plain":
        sizes = [form.inputs, *([width] * form.layers), math.prod(form.outputs)]
        return {
            f"actor.{2 * place}.{name}": shape
            for place, (here, there) in enumerate(pairwise(sizes))
            for name, shape in (("weight", (there, here)), ("bias", (there,)))
        }
    sizes = [form.nodes, *([width] * form.graph_layers)]
    convolutions = {
        f"convolutions.{place}.{name}": shape
        for place, (here, there) in enumerate(pairwise(sizes))
        for name, shape in (("root", (here, there)), ("weight", (form.relations, here, there)), ("bias", (there,)))
    }
    told = form.inputs if form.encoder == "graph-once" else 1  # or whether it is legal
    return {**convolutions, **_of_candidates(form, width + told, "head.")}


def _of_candidates(form: NetworkSettings, inputs: int, prefix: str) -> dict[str, tuple[int, ...]]:
    width = form.width
    shapes: dict[str, tuple[int, ...]] = {"first.weight": (width, inputs), "first.bias": (width,)}
    for layer in range(form.layers):
        shapes |= {f"own.{layer}.weight": (width, width), f"own.{layer}.bias": (width,)}
        shapes[f"shared.{layer}.weight"] = (width, 3 * width)
    shapes |= {"score.weight": (1, width), "score.bias": (1,)}
    return {prefix + name: shape for name, shape in shapes.items()}
