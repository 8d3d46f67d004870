"""`CandidateNet` without torch: NumPy alone, for those who decide and do not train. The same formulas as `networks`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def scores(weights: Mapping[str, np.ndarray], rows: np.ndarray, legal: np.ndarray) -> np.ndarray:
    """Return the scores of choices, (n, K), minus infinity where illegal.

    Parameters
    ----------
    weights : name -> float32 ndarray
        As `CandidateNet.state_dict` names them.
    rows : float32 ndarray (n, K, inputs)
    legal : bool ndarray (n, K)
    """
    there = (rows != 0).any(-1)
    masks = np.stack([there, legal], axis=1).astype(np.float32)
    means = masks / np.maximum(masks.sum(-1, keepdims=True), 1)  # (n, 2, K)
    kept = masks[:, 0, :, None]
    hidden = np.maximum(rows @ weights["first.weight"].T + weights["first.bias"], 0) * kept
    layer = 0
    while f"own.{layer}.weight" in weights:
        context = np.concatenate([hidden.max(1), (means @ hidden).reshape(len(rows), -1)], axis=1)
        told = context @ weights[f"shared.{layer}.weight"].T
        own = hidden @ weights[f"own.{layer}.weight"].T + weights[f"own.{layer}.bias"]
        hidden = hidden + np.maximum(own + told[:, None], 0) * kept
        layer += 1
    result = (hidden @ weights["score.weight"].T + weights["score.bias"])[..., 0]
    return np.where(legal, result, -np.inf)
