"""The contract of a sequential decision process: a decision is two half-steps.

    S_t --decide(x_t)--> S^x_t --reveal(W_{t+1})--> S_{t+1}

`decide` is deterministic and gives the post-decision state; `reveal` brings in what nobody controls. The form follows
Powell, Reinforcement Learning and Stochastic Optimization (2022), chapter 9, doi 10.1002/9781119815068.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from orl.errors import IllegalAction
from orl.rule import Rule
from orl.scenario import Scenarios


@dataclass(frozen=True)
class Decision:
    """The form of a family's actions.

    Parameters
    ----------
    kind : 'choice', 'per_machine' or 'targets'
        'choice': actions (num_envs,), one of `width` padded candidates. 'per_machine': actions (num_envs, machines),
        a choice for each machine under masks that do not depend on one another. 'targets': actions (num_envs, width),
        physical values between bounds.
    width : int
    machines : int
    """

    kind: Literal["choice", "per_machine", "targets"]
    width: int
    machines: int = 1

    @property
    def mask_shape(self) -> tuple[int, ...]:
        """The shape of one environment's `legal`."""
        return {
            "choice": (self.width,),
            "per_machine": (self.machines, self.width),
            "targets": (2, self.width),
        }[self.kind]


@dataclass(frozen=True, eq=False)
class Observation:
    """What a policy may see: batch first, padded, read-only, one schema at both half-steps.

    The arrays are views of the process and hold until its next `decide`, `reveal` or `reset`; copy what must last.

    Parameters
    ----------
    arrays : name -> ndarray (num_envs, ...)
        Documented by the family. A family whose rules are tables has `candidate` (num_envs, ..., width): the index
        of each candidate in a rule's table, -1 where there is none.
    sizes : ndarray (num_envs, k)
        True sizes under the padding.
    legal : ndarray
        Booleans of shape (num_envs, *decision.mask_shape); all false between `decide` and `reveal` and at the end of
        an episode. For 'targets': floats (num_envs, 2, width), low and high.
    post : bool
        True between `decide` and `reveal`.
    hidden : name -> ndarray (num_envs, ...)
        What only a policy may read that declares itself clairvoyant; no network, rule or client is shown it otherwise.
    """

    arrays: Mapping[str, np.ndarray]
    sizes: np.ndarray
    legal: np.ndarray
    post: bool
    hidden: Mapping[str, np.ndarray] = field(default_factory=dict)


def checked_targets(actions: np.ndarray, legal: np.ndarray, is_over: np.ndarray, what: str, unit: str) -> np.ndarray:
    """Return actions of the kind 'targets', (num_envs, width), within their bounds; rounding is cut off.

    Parameters
    ----------
    legal : ndarray (num_envs, 2, width)
    is_over : bool ndarray (num_envs,)
        Where actions are not looked at.
    what, unit : str
        Whose targets they are and what they are measured in, for messages.

    Raises
    ------
    IllegalAction
        If there are more or fewer, or one is beyond its bounds.

    Examples
    --------
    >>> legal, going_on = np.array([[[0.0], [9.0]]]), np.zeros(1, dtype=bool)
    >>> checked_targets([[9.000000001]], legal, going_on, "reservoir", "hm3").tolist()
    [[9.0]]
    """
    actions = np.asarray(actions, dtype=np.float64)
    low, high = legal[:, 0], legal[:, 1]
    if actions.shape != low.shape:
        raise IllegalAction(f"actions must have shape {low.shape}, got {actions.shape}.")
    slack = 1e-9 * np.maximum(1.0, high)
    is_wrong = ~((actions >= low - slack) & (actions <= high + slack)) & ~is_over[:, None]
    if is_wrong.any():
        env, place = (int(x) for x in np.argwhere(is_wrong)[0])
        raise IllegalAction(
            f"target {actions[env, place]:g} is illegal in environment {env}, {what} {place}; legal are "
            f"{low[env, place]:g}..{high[env, place]:g} {unit}."
        )
    return np.clip(actions, low, high)


class Revealed(NamedTuple):
    """What `reveal` returns, each of shape (num_envs,).

    `discount` multiplies everything that comes later (1 between choices of one epoch). `terminated`: the episode came
    to its own end; `truncated`: it was cut off, and a value function may look beyond. Environments already at their
    end report cost 0, discount 1 and their flags again.
    """

    cost: np.ndarray
    discount: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray


class Process(Protocol):
    """A batch of (instance, scenario) pairs; the instances may differ."""

    num_envs: int
    decision: Decision

    @property
    def instances(self) -> Sequence[Any]:
        """The instance of each environment."""

    def reset(
        self,
        envs: Sequence[int] | np.ndarray | None = None,
        instances: Sequence[Any] | None = None,
        scenarios: Sequence[Scenarios] | None = None,
    ) -> None:
        """Start `envs` (None: all) anew, on their old instances and scenarios or on those given, one for each."""

    def observe(self) -> Observation:
        """Return what a policy may see now."""

    def decide(self, actions: np.ndarray) -> np.ndarray:
        """Apply one action in each environment and return the cost known now, (num_envs,).

        Actions of environments at their end are ignored. An illegal action raises `IllegalAction` and changes nothing.
        """

    def reveal(self) -> Revealed:
        """Bring in the exogenous information and move to the next state."""

    def solution(self, env: int) -> Any:
        """Return the executed decisions of one environment, for verification and pictures."""

    def run(self, rule: Rule, seeds: np.ndarray) -> np.ndarray | None:
        """Finish the episodes, from where they are, in one kernel and return the costs that this adds, (num_envs,).

        None if the kernel does not know the rule: step instead. `seeds` (num_envs,) uint64 feed a random rule.
        """
