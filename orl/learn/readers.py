"""What each kind of network is shown of an observation. NumPy alone, for those who train and those who decide.

| encoder | once an episode | at every decision |
|---|---|---|
| `candidates` | | `rows`: a row of features a candidate |
| `plain` | | `vector`: all features, flat |
| `graph` | | the graph as it is now |
| `graph-once` | the graph as it is at first | `rows`, and `choice_nodes`: the node that each candidate is about |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from orl.errors import InputError
from orl.features import Features
from orl.problem import Problem
from orl.process import Observation

Encoder = Literal["candidates", "plain", "graph", "graph-once"]
Seen = Mapping[str, np.ndarray]
GRAPH = ("nodes", "is_node", "edges", "edge_features")


@dataclass(frozen=True)
class Reader:
    """What one kind of network is shown.

    Parameters
    ----------
    begin : callable (observation) -> name -> ndarray (num_envs, ...)
        Once, when an episode begins; nothing if the network remembers nothing.
    read : callable (observation, envs) -> name -> ndarray (len(envs), ...)
        At a decision, of some environments.
    """

    begin: Callable[[Observation], Seen]
    read: Callable[[Observation, np.ndarray], Seen]


def make_reader(problem: Problem, encoder: Encoder, columns: int = 0) -> Reader:
    """Return what a network with this encoder reads of a family.

    Parameters
    ----------
    problem : Problem
    encoder : str
    columns : int
        Of the rows so many are read, the first ones; 0: all.

    Raises
    ------
    InputError
        If the family has no such features.
    """
    if problem.features is None:
        raise InputError(f"{problem.name} has no features; nothing can be learned there yet.")
    features: Features = problem.features()
    flat, choice_nodes, graph = features.flat, features.choice_nodes, features.graph
    if encoder == "plain":
        return Reader(_nothing, lambda observation, envs: {"vector": flat(observation)[envs]})
    if encoder == "graph":
        return Reader(_nothing, lambda observation, envs: {name: x[envs] for name, x in graph(observation).items()})
    if features.candidates is None:
        raise InputError(f"{problem.name} has no features of candidates; set encoder=plain.")

    def rows(observation: Observation, envs: np.ndarray) -> np.ndarray:
        assert features.candidates is not None
        return features.candidates(observation, envs)[..., : columns or None]

    if encoder == "candidates":
        return Reader(_nothing, lambda observation, envs: {"rows": rows(observation, envs)})
    if choice_nodes is None:
        raise InputError(f"{problem.name} does not tell which nodes its choices are about; set encoder=candidates.")
    return Reader(
        lambda observation: {name: array for name, array in graph(observation).items() if name in GRAPH},
        lambda observation, envs: {
            "rows": rows(observation, envs),
            "choice_nodes": choice_nodes(observation)[envs],
        },
    )


def _nothing(observation: Observation) -> Seen:
    return {}
