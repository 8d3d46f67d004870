"""Actions of a family whose decisions are choices, checked before anything is changed."""

from __future__ import annotations

import numpy as np

from orl.errors import IllegalAction
from orl.kernels_choices import first_illegal


def checked(actions: np.ndarray, legal: np.ndarray, is_over: np.ndarray) -> np.ndarray:
    """Return the actions as integers.

    Parameters
    ----------
    actions : array (num_envs,) or (num_envs, machines)
        Whole numbers; those of environments at their end are not looked at.
    legal : bool array (num_envs, width) or (num_envs, machines, width)
    is_over : bool array (num_envs,)

    Returns
    -------
    ndarray of int64, of the shape of `actions`

    Raises
    ------
    IllegalAction
        With the choices that are legal there.

    Examples
    --------
    >>> checked([1.0], np.array([[False, True]]), np.array([False]))
    array([1])
    """
    actions = np.asarray(actions)
    if not np.issubdtype(actions.dtype, np.integer):
        if not np.issubdtype(actions.dtype, np.floating) or (actions != np.floor(actions)).any():
            raise IllegalAction(f"actions must be whole numbers, got {actions.dtype}.")
        # What no int64 can hold is out of range as well as -1 is.
        actions = np.where(np.abs(actions) < 2.0**53, actions, -1)
    if actions.shape != legal.shape[:-1]:
        raise IllegalAction(f"actions must have shape {legal.shape[:-1]}, got {actions.shape}.")
    actions = np.ascontiguousarray(actions, dtype=np.int64)
    num_envs, width = len(legal), legal.shape[-1]
    wrong = int(first_illegal(legal.reshape(num_envs, -1, width), is_over, actions.reshape(num_envs, -1)))
    if wrong >= 0:
        at = np.unravel_index(wrong, actions.shape)
        place = f", machine {at[1]}" if actions.ndim == 2 else ""
        raise IllegalAction(
            f"action {actions[at]} is illegal in environment {at[0]}{place}; legal are "
            f"{np.flatnonzero(legal[at]).tolist()}."
        )
    return actions
