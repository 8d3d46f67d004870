"""The forms of an observation that a network reads, as Gymnasium's spaces and values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import numpy as np
from gymnasium import spaces

from orl.errors import InputError
from orl.problem import Problem
from orl.process import Observation

Form = Literal["flat", "graph"]
Values = Any  # an array, or a dict of arrays, batch first


def reader(problem: Problem, form: Form) -> Callable[[Observation], Values]:
    """Return the function that turns observations into values of this form.

    Booleans become int8, Gymnasium's type for them.
    """
    if form not in get_args(Form):
        raise InputError(f"observation must be one of {', '.join(get_args(Form))}, got {form!r}.")
    if problem.features is None:
        raise InputError(f"{problem.name} has no features for networks.")
    features = problem.features()
    if form == "flat":
        return features.flat

    def graph(observation: Observation) -> dict[str, np.ndarray]:
        arrays = features.graph(observation)
        return {name: array.astype(np.int8) if array.dtype == bool else array for name, array in arrays.items()}

    return graph


def space_of(values: Values) -> spaces.Space:
    """Return the space of one environment's values."""
    if not isinstance(values, Mapping):
        return spaces.Box(-1.0, 1.0, values.shape[1:], dtype=np.float32)
    last_node = values["nodes"].shape[1] - 1
    return spaces.Dict({name: _space_of_array(array, last_node) for name, array in values.items()})


def _space_of_array(array: np.ndarray, last_node: int) -> spaces.Space:
    if array.dtype == np.int8:
        return spaces.MultiBinary(array.shape[1:])
    if array.dtype == np.int64:
        return spaces.Box(-1, last_node, array.shape[1:], dtype=np.int64)
    return spaces.Box(-1.0, 1.0, array.shape[1:], dtype=np.float32)


def of_env(values: Values, env: int) -> Values:
    """Return one environment's values."""
    if isinstance(values, Mapping):
        return {name: array[env] for name, array in values.items()}
    return values[env]


def rows(observation: Observation, envs: np.ndarray) -> Observation:
    """Return the observations of some environments."""
    arrays = {name: array[envs] for name, array in observation.arrays.items()}
    return Observation(arrays, observation.sizes[envs], observation.legal[envs], observation.post)
