"""The rule without torch, stage by stage: the same formulas as `network`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Weights = Mapping[str, np.ndarray]
STRETCH = 0.05  # how far the sigmoid goes beyond 0 and 1, where it is cut: the ends themselves can be reached


def nothing_remembered(weights: Weights, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the memory before the first stage, output and cell, (n, width) each."""
    width = weights["memory.weight_hh_l0"].shape[1]
    return np.zeros((count, width)), np.zeros((count, width))


def remember(
    weights: Weights, memory: tuple[np.ndarray, np.ndarray], seen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the memory after a stage in which `seen`, (n, num_seen), was seen."""
    output, cell = memory
    into = seen @ weights["memory.weight_ih_l0"].T + output @ weights["memory.weight_hh_l0"].T
    into = into + weights["memory.bias_ih_l0"] + weights["memory.bias_hh_l0"]
    if into.shape[1] == output.shape[1]:  # the linear one
        return into, cell
    enters, stays, new, leaves = np.split(into, 4, axis=1)
    cell = _sigmoid(stays) * cell + _sigmoid(enters) * np.tanh(new)
    return _sigmoid(leaves) * np.tanh(cell), cell


def shares(weights: Weights, remembered: np.ndarray, seen: np.ndarray, state: np.ndarray) -> np.ndarray:
    """Return the shares at one stage, (n, num_shares)."""
    told = np.concatenate([remembered, seen, state], axis=1)
    if "layer.0.weight" in weights:
        told = np.tanh(told @ weights["layer.0.weight"].T + weights["layer.0.bias"])
    share = _sigmoid(told @ weights["last.weight"].T + weights["last.bias"])
    return np.clip((1 + 2 * STRETCH) * share - STRETCH, 0.0, 1.0)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))
