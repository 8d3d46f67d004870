"""One environment. `orl.gym` documents its arguments and what `info` holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded

from orl.gym import pictures
from orl.gym.actions import action_masks, action_space
from orl.gym.episodes import Episodes
from orl.gym.forms import Form, of_env, space_of
from orl.problem import Problem
from orl.registry import find_problem
from orl.scenario import Scenarios


class ProcessEnv(gymnasium.Env):
    """A family's decisions, one at a time.

    A pickled or deeply copied environment stands where the original stood: it is built again and the episode's actions
    are replayed, since a run is a function of instance, scenario and decisions.

    Parameters
    ----------
    problem : str or Problem
    instance, settings, purpose, observation, post_decision, fit, render_mode
        See `orl.gym`.

    Examples
    --------
    >>> env = ProcessEnv("jobshop", "jobshop/ft06")
    >>> observation, info = env.reset(seed=0)
    >>> env.action_masks().tolist()            # each job may start, there is nothing to wait for
    [True, True, True, True, True, True, False]
    >>> observation, reward, terminated, truncated, info = env.step(6)
    >>> info["illegal_action"], info["cost"]
    (True, 0.0)
    """

    metadata = {"render_modes": list(pictures.MODES), "render_fps": 4}  # noqa: RUF012 - as Gymnasium declares it

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
    ):
        self._made_with = (problem, instance, settings, purpose, observation, post_decision, fit, render_mode)
        family = find_problem(problem) if isinstance(problem, str) else problem
        self._episodes = Episodes(family, instance, settings, purpose, observation, fit, num_envs=1)
        self._wants_post = post_decision
        self._actions: list[Any] | None = None  # of this episode; None before the first
        self._is_over = False
        self.render_mode = pictures.check_mode(render_mode)
        self.observation_space = space_of(self._episodes.observe())
        self.action_space = action_space(self._episodes.process.decision)

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        refuse_options(options)
        is_first = self._actions is None
        self._episodes.start(self.np_random_seed if seed is not None or is_first else None)
        self._actions, self._is_over = [], False
        return of_env(self._episodes.observe(), 0), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self._actions is None or self._is_over:
            raise ResetNeeded("the episode is over or has not begun; call reset first.")
        self._actions.append(action)
        stepped = self._episodes.step(np.asarray(action)[None], self._wants_post)
        cost, discount, terminated, truncated, illegal, solution_cost = (column[0].item() for column in stepped[:-1])
        self._is_over = terminated or truncated
        info: dict[str, Any] = {"cost": cost, "illegal_action": illegal}
        if stepped.post is not None:
            info["post_decision"] = of_env(stepped.post, 0)
        if discount != 1:
            info["discount"] = discount
        if self._is_over:
            info["solution_cost"] = solution_cost
        return of_env(self._episodes.observe(), 0), -cost, terminated, truncated, info

    def action_masks(self) -> np.ndarray:
        """Return which actions are legal, (choices,) booleans; all false at the end of an episode."""
        process = self._episodes.process
        return action_masks(process.decision, process.observe().legal)[0]

    @property
    def instance(self) -> Any:
        """The instance that is played."""
        return self._episodes.process.instances[0]

    @property
    def scenario(self) -> Scenarios:
        """The scenario that is played, one row; a policy must not look at it."""
        return self._episodes.scenarios[0]

    def solution(self) -> Any:
        """Return what was executed so far, for verification and pictures."""
        return self._episodes.process.solution(0)

    def render(self) -> Any:
        """Return a picture as an array (height, width, 3) of uint8, or a text."""
        if self.render_mode is None:
            gymnasium.logger.warn("render was called without a render_mode; give one to gymnasium.make.")
            return None
        return pictures.render(self._episodes, 0, self.render_mode)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "made_with": self._made_with,
            "spec": self.spec,
            "action_space": self.action_space,
            "np_random": (self._np_random, self._np_random_seed),
            "episode": (self._episodes.seed, self._episodes.numbers),
            "actions": self._actions,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(*state["made_with"])  # type: ignore[misc]
        self.spec, self.action_space = state["spec"], state["action_space"]
        self._np_random, self._np_random_seed = state["np_random"]
        if state["actions"] is None:
            return
        self._episodes.seed, self._episodes.numbers = state["episode"]
        self._episodes.begin(np.arange(1))
        self._actions = state["actions"]
        for action in state["actions"]:
            stepped = self._episodes.step(np.asarray(action)[None], wants_post=False)
            self._is_over = bool(stepped.terminated[0] or stepped.truncated[0])


def refuse_options(options: Mapping[str, Any] | None) -> None:
    """Refuse options of `reset` rather than ignore them: there are none."""
    if options:
        raise ValueError(f"reset has no options, got {', '.join(map(str, options))}.")
