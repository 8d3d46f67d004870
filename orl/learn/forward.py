"""The networks without torch: NumPy alone, for those who decide and do not train. The same formulas as `networks`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy import sparse

from orl.errors import InputError

from .readers import Encoder, Seen

Weights = Mapping[str, np.ndarray]


def embed(encoder: Encoder, weights: Weights, begun: Seen) -> np.ndarray | None:
    """Return what is known of each node when an episode begins, (num_envs, V, width); None if nothing is read then.

    Parameters
    ----------
    encoder : str
    weights : name -> float32 ndarray
        As the network's `state_dict` names them.
    begun : name -> ndarray
        See `readers`.
    """
    return _convolved(weights, begun) if encoder == "graph-once" else None


def output(
    encoder: Encoder, weights: Weights, seen: Seen, legal: np.ndarray, embedded: np.ndarray | None = None
) -> np.ndarray:
    """Return what a network says of decisions: scores, minus infinity where illegal, or means and deviations.

    Parameters
    ----------
    encoder, weights : see `embed`
    seen : name -> ndarray (n, ...)
    legal : ndarray (n, *mask)
    embedded : ndarray (n, V, width), optional
        Of the same environments.
    """
    return ANSWERS[encoder](weights, seen, legal, embedded)


def _candidates(weights: Weights, seen: Seen, legal: np.ndarray, embedded: np.ndarray | None) -> np.ndarray:
    rows = seen["rows"]
    there = (rows != 0).any(-1)
    most = max(int(there.sum(1).max()), 1) if len(rows) else rows.shape[1]
    if 2 * most > rows.shape[1]:
        return _scores(weights, rows, legal, "")
    place = np.argsort(~there, axis=1, kind="stable")[:, :most]  # few are there: these alone
    result = np.full(legal.shape, -np.inf, dtype=rows.dtype)
    few = np.take_along_axis(rows, place[..., None], axis=1)
    np.put_along_axis(result, place, _scores(weights, few, np.take_along_axis(legal, place, axis=1), ""), axis=1)
    return result


def _graph_once(weights: Weights, seen: Seen, legal: np.ndarray, embedded: np.ndarray | None) -> np.ndarray:
    assert embedded is not None
    return _scores(weights, _told(embedded, seen["choice_nodes"], seen["rows"]), legal, "head.")


def _graph(weights: Weights, seen: Seen, legal: np.ndarray, embedded: np.ndarray | None) -> np.ndarray:
    rows = _told(_convolved(weights, seen), seen["choice_nodes"], legal[..., None].astype(np.float32))
    return _scores(weights, rows, legal, "head.")


def _plain(weights: Weights, seen: Seen, legal: np.ndarray, embedded: np.ndarray | None) -> np.ndarray:
    hidden, places = seen["vector"], [int(name.split(".")[1]) for name in weights if name.startswith("actor")]
    last = max(places)
    _check(hidden, weights["actor.0.weight"])
    for place in range(0, last + 1, 2):  # a layer, a function, a layer, ...
        hidden = hidden @ weights[f"actor.{place}.weight"].T + weights[f"actor.{place}.bias"]
        if place < last:
            hidden = np.tanh(hidden)
    if hidden.size != legal.size:
        raise InputError(
            f"the network gives {hidden[0].size} numbers a decision, {legal[0].size} are needed; {_ANOTHER}"
        )
    said = hidden.reshape(legal.shape)
    return np.where(legal, said, -np.inf) if legal.dtype == bool else said


ANSWERS: dict[str, Callable[[Weights, Seen, np.ndarray, np.ndarray | None], np.ndarray]] = {
    "candidates": _candidates,
    "graph": _graph,
    "graph-once": _graph_once,
    "plain": _plain,
}


def _scores(weights: Weights, rows: np.ndarray, legal: np.ndarray, name: str) -> np.ndarray:
    """As `CandidateNet.scores`."""
    there = (rows != 0).any(-1)
    masks = np.stack([there, legal], axis=1).astype(np.float32)
    means = masks / np.maximum(masks.sum(-1, keepdims=True), 1)  # (n, 2, K)
    kept = masks[:, 0, :, None]
    _check(rows, weights[name + "first.weight"])
    hidden = np.maximum(rows @ weights[name + "first.weight"].T + weights[name + "first.bias"], 0) * kept
    layer = 0
    while f"{name}own.{layer}.weight" in weights:
        context = np.concatenate([hidden.max(1), (means @ hidden).reshape(len(rows), -1)], axis=1)
        told = context @ weights[f"{name}shared.{layer}.weight"].T
        own = hidden @ weights[f"{name}own.{layer}.weight"].T + weights[f"{name}own.{layer}.bias"]
        hidden = hidden + np.maximum(own + told[:, None], 0) * kept
        layer += 1
    result = (hidden @ weights[name + "score.weight"].T + weights[name + "score.bias"])[..., 0]
    return np.where(legal, result, -np.inf)


_ANOTHER = "it was trained by another version, or, with encoder=plain, on other sizes; train it again."


def _check(told: np.ndarray, weight: np.ndarray) -> None:
    if told.shape[-1] != weight.shape[1]:
        raise InputError(f"the network reads {weight.shape[1]} features and is shown {told.shape[-1]}: {_ANOTHER}")


def _told(nodes: np.ndarray, about: np.ndarray, told: np.ndarray) -> np.ndarray:
    known = np.take_along_axis(nodes, np.maximum(about, 0)[..., None], axis=1) * (about >= 0)[..., None]
    return np.concatenate([told, known.astype(np.float32)], axis=-1)


def _convolved(weights: Weights, graph: Seen) -> np.ndarray:
    """As `GraphNet._convolved`."""
    is_node, edges = graph["is_node"], graph["edges"]
    place = np.cumsum(is_node.ravel()) - 1
    which, edge = np.nonzero(edges[:, 0] >= 0)
    begins, ends = (place[which * is_node.shape[1] + edges[which, side, edge]] for side in (0, 1))
    kind = graph["edge_features"][which, edge].argmax(-1)
    hidden = graph["nodes"][is_node]
    _check(hidden, weights["convolutions.0.root"].T)
    _check(graph["edge_features"], weights["convolutions.0.weight"].swapaxes(0, 1))
    means = []
    for relation in range(graph["edge_features"].shape[-1]):
        here = kind == relation
        count = np.bincount(ends[here], minlength=len(hidden))
        share = (1.0 / count[ends[here]]).astype(np.float32)
        means.append(sparse.csr_array((share, (ends[here], begins[here])), shape=(len(hidden), len(hidden))))
    layer = 0
    while f"convolutions.{layer}.root" in weights:
        name = f"convolutions.{layer}."
        new = hidden @ weights[name + "root"] + weights[name + "bias"]
        for relation, mean in enumerate(means):
            new = new + (mean @ hidden) @ weights[name + "weight"][relation]
        new = np.maximum(new, 0)
        hidden = new if layer == 0 else hidden + new
        layer += 1
    result = np.zeros((*is_node.shape, hidden.shape[-1]), dtype=np.float32)
    result[is_node] = hidden
    return result
