"""MaskablePPO of sb3-contrib on ORL's vector environment, whose decisions are made side by side in one kernel."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from sb3_contrib import MaskablePPO
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from orl.gym.vector import ProcessVectorEnv


class SideBySide(VecEnv):
    """A `ProcessVectorEnv` as stable-baselines3 wants it: infos by environment, masks by method call."""

    def __init__(self, envs: ProcessVectorEnv):
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)
        self._envs, self._actions = envs, np.zeros(envs.num_envs, dtype=np.int64)

    def reset(self) -> Any:
        return self._envs.reset(seed=self._seeds[0])[0]

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> Any:
        seen, rewards, terminated, truncated, told = self._envs.step(self._actions)
        is_over = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for env in np.flatnonzero(is_over).tolist():
            cut_off = bool(truncated[env] and not terminated[env])
            infos[env] = {"terminal_observation": told["final_obs"][env], "TimeLimit.truncated": cut_off}
        return seen, rewards.astype(np.float32), is_over, infos

    def close(self) -> None:
        self._envs.close()

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        assert method_name == "action_masks" and indices is None
        return list(self._envs.action_masks())

    def has_attr(self, attr_name: str) -> bool:
        return attr_name == "action_masks"

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self._envs, attr_name)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


def trained(instance: Any, envs: int, steps: int, iterations: int, seed: int, look: Any, **told: Any) -> float:
    """Train with `iterations` updates after `steps` steps of each environment; return the seconds it took.

    `look(iteration, model)` is called after each; what it takes does not count.
    """
    torch.set_num_threads(1)
    made = ProcessVectorEnv("lotsizing", instance, num_envs=envs, post_decision=False)
    batch = SideBySide(made)
    batch.seed(seed)
    scaled = VecNormalize(batch, norm_obs=False, gamma=told["gamma"])
    model = MaskablePPO("MlpPolicy", scaled, n_steps=steps, seed=seed, **told)
    seconds = 0.0
    for number in range(iterations):
        started = time.perf_counter()
        model.learn(envs * steps, reset_num_timesteps=number == 0)
        seconds += time.perf_counter() - started
        look(number + 1, model)
    return seconds
