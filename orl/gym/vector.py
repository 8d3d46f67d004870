"""Many environments in one process, side by side in one kernel. `orl.gym` documents its arguments and `info`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import EzPickle
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from orl.gym import pictures
from orl.gym.actions import action_masks, action_space
from orl.gym.episodes import Episodes
from orl.gym.forms import Form, of_env, space_of
from orl.gym.single import refuse_options
from orl.problem import Problem
from orl.registry import find_problem


class ProcessVectorEnv(VectorEnv, EzPickle):
    """A batch of a family's decisions, one in each environment at a time.

    The autoreset mode is SAME_STEP, so that every action of every step is a decision and `action_masks()` never empty:
    an environment that ends begins its next episode in the same step. What is returned as its observation is that
    episode's first; the last one of the old episode is `final_obs`, what `info` says of the last step is under
    `final_info`. A truncated episode bootstraps from `final_obs`.

    A pickled environment keeps how it was made; call `reset` again.

    Parameters
    ----------
    problem : str or Problem
    instance, settings, purpose, observation, post_decision, fit, render_mode
        See `orl.gym`.
    num_envs : int

    Examples
    --------
    >>> envs = ProcessVectorEnv("jobshop", "jobshop/ft06", num_envs=2)
    >>> observations, infos = envs.reset(seed=0)
    >>> observations, rewards, terminations, truncations, infos = envs.step(envs.action_masks().argmax(axis=1))
    >>> infos["cost"].tolist(), infos["_cost"].tolist()
    ([0.0, 0.0], [True, True])
    """

    metadata = {  # noqa: RUF012 - as Gymnasium declares it
        "render_modes": list(pictures.MODES),
        "render_fps": 4,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        problem: str | Problem,
        instance: Any,
        settings: Mapping[str, Any] | None = None,
        purpose: str = "train",
        observation: Form = "flat",
        post_decision: bool = True,
        fit: Any = None,
        render_mode: str | None = None,
        num_envs: int = 1,
    ):
        EzPickle.__init__(
            self, problem, instance, settings, purpose, observation, post_decision, fit, render_mode, num_envs
        )
        family = find_problem(problem) if isinstance(problem, str) else problem
        self.num_envs = num_envs
        self._episodes = Episodes(family, instance, settings, purpose, observation, fit, num_envs)
        self._wants_post = post_decision
        self._has_begun = False
        self.render_mode = pictures.check_mode(render_mode)
        self.single_observation_space = space_of(self._episodes.observe())
        self.single_action_space = action_space(self._episodes.process.decision)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        refuse_options(options)
        self._episodes.start(self.np_random_seed if seed is not None or not self._has_begun else None)
        self._has_begun = True
        return self._episodes.observe(), {}

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        if not self._has_begun:
            raise ResetNeeded("the first episode has not begun; call reset first.")
        stepped = self._episodes.step(np.asarray(actions), self._wants_post)
        is_over = stepped.terminated | stepped.truncated
        info: dict[str, Any] = {"cost": stepped.cost, "illegal_action": stepped.illegal}
        if stepped.post is not None:
            info["post_decision"] = stepped.post
        has_discount = stepped.discount != 1
        infos = _with_masks(info, ~is_over)
        if has_discount.any():
            infos.update(_with_masks({"discount": stepped.discount}, has_discount & ~is_over))
        ended = np.flatnonzero(is_over)
        if len(ended):
            final = _with_masks({**info, "solution_cost": np.where(is_over, stepped.solution_cost, 0)}, is_over)
            if has_discount[ended].any():
                final.update(_with_masks({"discount": stepped.discount}, has_discount & is_over))
            last = self._episodes.observe(ended)
            final_obs = np.full(self.num_envs, None, dtype=object)
            for row, env in enumerate(ended):
                final_obs[env] = of_env(last, row)
            infos.update(final_obs=final_obs, _final_obs=is_over, final_info=final, _final_info=is_over)
            self._episodes.next(ended)
        return self._episodes.observe(), -stepped.cost, stepped.terminated, stepped.truncated, infos

    def action_masks(self) -> np.ndarray:
        """Return which actions are legal in each environment, (num_envs, choices) booleans."""
        process = self._episodes.process
        return action_masks(process.decision, process.observe().legal)

    def render(self) -> tuple[Any, ...] | None:
        """Return a picture or a text of each environment."""
        if self.render_mode is None:
            gymnasium.logger.warn("render was called without a render_mode; give one to gymnasium.make_vec.")
            return None
        return tuple(pictures.render(self._episodes, env, self.render_mode) for env in range(self.num_envs))


def _with_masks(values: Mapping[str, Any], mask: np.ndarray) -> dict[str, Any]:
    """Add to each entry, as vector environments do, a mask `_name` of the environments that it speaks of."""
    infos: dict[str, Any] = {}
    for name, value in values.items():
        infos[name] = _with_masks(value, mask) if isinstance(value, Mapping) else value
        infos[f"_{name}"] = mask.copy()
    return infos
