"""A decision process small enough to be written out: what dynamic programming stands on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from orl.process import Observation
from orl.scenario import Scenarios

MAX_ENTRIES = 20_000_000  # states times actions


@dataclass(frozen=True, eq=False)
class Tabular:
    """States, actions, post-decision states, and what is expected of them.

    With V the values of states and V^x those of post-decision states, period by period,

        V(s) = min over a of cost[s, a] + V^x(successor[s, a]),   V^x(x) = post_cost[x] + discount * E[V(s') | x].

    Parameters
    ----------
    successor : int ndarray (num_states, num_actions)
        Post-decision state; -1: the action is illegal.
    cost : ndarray (num_states, num_actions)
        Known at the decision.
    post_cost : callable (period) -> ndarray (num_posts,)
        Expected cost of what is revealed then.
    expect : callable (values (num_states,), period) -> ndarray (num_posts,)
        The mean of the next state's value.
    discount : float in (0, 1]
    periods : int or None
        None: for ever, and nothing depends on the period.
    episode : int
        Number of periods of an episode, after which an infinite horizon is cut off.
    start : ndarray (num_states,)
        Probabilities of the first state.
    state_of : callable (observation) -> int ndarray (num_envs,)
        The state that each environment is in at the beginning of a period.
    period_of : callable (observation) -> int ndarray (num_envs,)
    is_first : callable (observation) -> bool ndarray (num_envs,)
        Whether the decision that is due is the first of its period.
    actions_of : callable (actions (num_envs,), observation) -> ndarray
        What an action means for the process, now: in the form of its decision.
    realised : callable (this table, scenario) -> Tabular
        The same with nothing random: what one scenario brings, over the periods of an episode.
    """

    successor: np.ndarray
    cost: np.ndarray
    post_cost: Callable[[int], np.ndarray]
    expect: Callable[[np.ndarray, int], np.ndarray]
    discount: float
    periods: int | None
    episode: int
    start: np.ndarray
    state_of: Callable[[Observation], np.ndarray]
    period_of: Callable[[Observation], np.ndarray]
    is_first: Callable[[Observation], np.ndarray]
    actions_of: Callable[[np.ndarray, Observation], np.ndarray]
    realised: Callable[[Tabular, Scenarios], Tabular]

    @property
    def num_states(self) -> int:
        return self.successor.shape[0]
