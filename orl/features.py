"""What a network reads of an observation: the contract of a family's features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from orl.process import Observation


@dataclass(frozen=True)
class Features:
    """What a family shows a network, computed from observations alone, at either half-step.

    Both forms return new arrays whose shapes depend on the padding alone. They are NumPy's, so the ground and its
    clients need no particular library for networks.

    Parameters
    ----------
    flat : callable (observation) -> float32 ndarray (num_envs, F)
        One vector an environment, within [-1, 1].
    graph : callable (observation) -> name -> ndarray (num_envs, ...)
        One graph an environment. Floats are float32 within [-1, 1]; integers are int64 and number nodes, -1: none.

        | array | shape | meaning |
        |---|---|---|
        | `nodes` | (num_envs, V, f) float | features of the nodes, 0 in the padding |
        | `is_node` | (num_envs, V) bool | whether there is such a node |
        | `edges` | (num_envs, 2, E) int | from and to, -1 in the padding |
        | `edge_features` | (num_envs, E, k) float | for instance the kind of the edge, one-hot |
        | `legal` | (num_envs, *mask) bool | the observation's mask; of targets see below |
        | `choice_nodes` | the shape of `legal`, int | the node that a choice is about, -1: none |

        Targets have bounds in place of a mask. `legal` then holds floats (num_envs, 2, width), lowest and highest as
        shares of the environment's largest, and `choice_nodes` in either row the node whose target it is. `flat`
        leaves them out: in [-1, 1], as `orl.gym` takes actions, every target is legal.
    candidates : callable (observation, envs=None) -> float32 ndarray (len(envs), width, c), or None
        Of some environments, None: of all. One row a choice, within [-1, 1], for decisions of the kind 'choice': what
        is known of each candidate, in comparison with the others, too. Column 1 is the mask; rows of what is no
        candidate now are 0.
    choice_nodes : callable (observation) -> int64 ndarray (num_envs, width), or None
        What `graph` says under this name, without the rest, for networks that read the graph once an episode.
    """

    flat: Callable[[Observation], np.ndarray]
    graph: Callable[[Observation], Mapping[str, np.ndarray]]
    candidates: Callable[..., np.ndarray] | None = None
    choice_nodes: Callable[[Observation], np.ndarray] | None = None


def squash(amount: np.ndarray, scale: np.ndarray | float) -> np.ndarray:
    """Return amount / (|amount| + scale), within [-1, 1] and increasing; 0 where both are 0.

    Examples
    --------
    >>> squash(np.array([-1.0, 0.0, 3.0]), 1.0).tolist()
    [-0.5, 0.0, 0.75]
    """
    total = np.abs(amount) + scale
    return np.divide(amount, total, out=np.zeros(np.broadcast(amount, total).shape), where=total > 0)
