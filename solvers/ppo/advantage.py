"""By how much each decision was better than expected, and what critics should have said.

Rewards are costs with the other sign. Of a decision x in state s that leads to the post-decision state s^x and, once
nature has had its turn, to s':

    s --decide: cost c_d--> s^x --reveal: cost c_r, discount g--> s'

A single critic V(s) gives generalised advantage estimation (arXiv 1506.02438). With a dual critic there is a second,
W(s^x), and the form of the advantage is a setting (arXiv 2504.05150; what is ours is marked):

    max         max(A_d, A_r), A_d = G_d - V(s), A_r = G_r - W(s^x): V learns G_d, what all decisions from here on cost
                by themselves, W learns G_r, what nature charges from here on, both summed to the episode's end. The
                published one.
    sum         A_d + A_r of the same critics: all costs count, but W(s^x) takes what the decision itself is worth
                with it, as in `max`.
    post        -c_d + W(s^x) - V(s): both critics learn all that is left to pay, so nature's luck is in neither.
    half-steps  generalised advantage estimation over half-steps (ours): V and W as in `post`, and beyond W(s^x) what
                did happen, weighed by lambda a half-step; lambda = 0 is the advantage of `post`.

Where an episode is cut off, V says what is left. In `max` and `sum` V knows of the decisions' costs alone; for nature's
share W stands in, by what it said of the last post-decision state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from orl.learn.advantages import advantages

from .play import Played
from .settings import PpoSettings


class Judgement(NamedTuple):
    """Of each open decision, float32 (n,) each; zeros where there is no such critic.

    Parameters
    ----------
    advantage : ndarray
    target, post_target : ndarray
        What the critic of the state, and that of the post-decision state, should have said.
    """

    advantage: np.ndarray
    target: np.ndarray
    post_target: np.ndarray


def judged(played: Played, settings: PpoSettings, scale: np.ndarray) -> Judgement:
    """Return the judgement of each open decision.

    Parameters
    ----------
    scale : ndarray (N,)
        What costs are divided by, so that large and small instances look alike.
    """
    if settings.baseline == "group":
        totals = (played.totals / scale).reshape(-1, settings.samples)
        better = (totals.mean(1, keepdims=True) - totals) / (totals.std(1, keepdims=True) + 1e-8)
        nothing = np.zeros(len(played.place), dtype=np.float32)
        return Judgement(better.ravel()[played.place % len(scale)].astype(np.float32), nothing, nothing)
    if settings.critic == "single":
        advantage = _of_steps(played, settings, scale, settings.gae_decay)
        target, post_target = advantage + played.values, np.zeros(len(advantage))
    elif settings.advantage in ("max", "sum"):
        decided, revealed = played.known / scale, (played.costs - played.known) / scale
        of_decisions = _of_steps(played, settings, scale, 1.0, decided)
        of_nature = _of_steps(played, settings, scale, 1.0, revealed, is_post=True)
        both = np.stack([of_decisions, of_nature])
        advantage = both.max(axis=0) if settings.advantage == "max" else both.sum(axis=0)
        target, post_target = of_decisions + played.values, of_nature + played.post_values
    else:
        before, after = _of_half_steps(played, settings, scale, settings.gae_decay)
        target, post_target = before + played.values, after + played.post_values
        advantage = before
        if settings.advantage == "post":
            advantage = _of_half_steps(played, settings, scale, 0.0)[0]
    spread = advantage.std() + 1e-8
    return Judgement(*(x.astype(np.float32) for x in ((advantage - advantage.mean()) / spread, target, post_target)))


def returns(played: Played, settings: PpoSettings, scale: np.ndarray) -> np.ndarray:
    """Return what was left to pay at each open decision, until an episode ended or was cut off, as a reward, (n,)."""
    without = played._replace(values=np.zeros_like(played.values), cut_values=np.zeros_like(played.cut_values))
    return _of_steps(without, settings, scale, 1.0)


def decisions_of(played: Played, samples: int, ranks: Sequence[int]) -> np.ndarray:
    """Return the decisions of some of the environments that play the same instance, by rank, the cheapest first."""
    order = played.totals.reshape(-1, samples).argsort(axis=1, kind="stable")
    wanted = order[:, ranks] + np.arange(0, len(played.totals), samples)[:, None]
    return np.flatnonzero(np.isin(played.place % len(played.totals), wanted))


def _of_steps(
    played: Played,
    settings: PpoSettings,
    scale: np.ndarray,
    decay: float,
    costs: np.ndarray | None = None,
    is_post: bool = False,
) -> np.ndarray:
    """Return the advantage of each open decision by one critic, on all costs or on those given, (n,)."""
    said = played.post_values if is_post else played.values
    by_step = advantages(
        played.costs / scale if costs is None else costs, settings.discount * played.discounts,
        _by_step(played, said), _is_open(played), played.terminated, played.truncated,
        played.cut_values[int(is_post)], decay,
    )  # fmt: skip
    return np.asarray(by_step.ravel()[played.place])


def _of_half_steps(
    played: Played, settings: PpoSettings, scale: np.ndarray, decay: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the advantage at each open decision's state and at its post-decision state, (n,) each."""
    never = np.zeros(played.costs.shape, dtype=bool)
    is_open = _is_open(played)
    by_half = advantages(
        _alternating(played.known / scale, (played.costs - played.known) / scale),
        _alternating(np.ones(played.costs.shape), settings.discount * played.discounts),
        _alternating(_by_step(played, played.values), _by_step(played, played.post_values)),
        _alternating(is_open, is_open),
        _alternating(never, played.terminated),
        _alternating(never, played.truncated),
        _alternating(played.cut_values[0], played.cut_values[0]),
        decay,
    )
    return by_half[0::2].ravel()[played.place], by_half[1::2].ravel()[played.place]


def _alternating(decided: np.ndarray, revealed: np.ndarray) -> np.ndarray:
    return np.stack([decided, revealed], axis=1).reshape(-1, *decided.shape[1:])


def _by_step(played: Played, values: np.ndarray) -> np.ndarray:
    result = np.zeros(played.costs.shape)
    result.ravel()[played.place] = values
    return result


def _is_open(played: Played) -> np.ndarray:
    result = np.zeros(played.costs.shape, dtype=bool)
    result.ravel()[played.place] = True
    return result
