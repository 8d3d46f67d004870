"""Proximal policy optimisation in one page, on the vector environment of any family with choices; needs torch.

    python examples/plain_ppo.py jobshop/ft06

Schulman et al. 2017, arXiv 1707.06347, with invalid action masking (Huang and Ontanon 2022, arXiv 2006.14171). It shows
what a training loop has to do about masks and about episodes that end: the environment begins the next one in the same
step, so an observation always belongs to a decision, and what was seen last is in `final_obs`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import nn


@dataclass(frozen=True)
class Settings:
    """What the loop can be told."""

    env_id: str = "orl.gym:orl/JobShop-v0"
    seed: int = 0
    num_envs: int = 64
    num_steps: int = 64  # in each environment, between updates
    updates: int = 20
    epochs: int = 4
    minibatches: int = 8
    learning_rate: float = 1e-3
    gamma: float = 1.0  # a makespan is a sum, nothing is discounted
    lam: float = 0.95
    clip: float = 0.2
    entropy: float = 0.01
    hidden: int = 64


class Network(nn.Module):
    """A policy and a critic, two small networks."""

    def __init__(self, inputs: int, actions: int, hidden: int):
        super().__init__()
        self.policy, self.critic = (
            nn.Sequential(
                nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, outputs)
            )
            for outputs in (actions, 1)
        )

    def distribution(self, observations: torch.Tensor, masks: torch.Tensor) -> torch.distributions.Categorical:
        """Return the policy over what is legal."""
        logits = self.policy(observations).masked_fill(~masks, -1e8)  # (batch, actions)
        return torch.distributions.Categorical(logits=logits)

    def value(self, observations: torch.Tensor) -> torch.Tensor:
        """Return what the critic expects of the reward to come, (batch,)."""
        return self.critic(observations).squeeze(-1)


def train(instance: Any, settings: Settings = Settings()) -> tuple[Network, list[float]]:
    """Train on an instance; return the network and the mean cost of the episodes that ended in each update."""
    torch.manual_seed(settings.seed)
    envs = gymnasium.make_vec(settings.env_id, num_envs=settings.num_envs, instance=instance, post_decision=False)
    network = Network(envs.single_observation_space.shape[0], envs.single_action_space.n, settings.hidden)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, eps=1e-5)

    shape = (settings.num_steps, settings.num_envs)
    observations = torch.zeros(*shape, *envs.single_observation_space.shape)
    masks = torch.zeros(*shape, envs.single_action_space.n, dtype=torch.bool)
    actions = torch.zeros(shape, dtype=torch.int64)
    log_probs, rewards, values, next_values, goes_on = torch.zeros(5, *shape)

    observation, scale, history = envs.reset(seed=settings.seed)[0], 1.0, []
    for _ in range(settings.updates):
        costs: list[float] = []
        for step in range(settings.num_steps):
            observations[step] = torch.from_numpy(observation)
            masks[step] = torch.from_numpy(envs.action_masks())
            with torch.no_grad():
                distribution = network.distribution(observations[step], masks[step])
                actions[step] = distribution.sample()
                log_probs[step] = distribution.log_prob(actions[step])
                values[step] = network.value(observations[step])
            observation, reward, terminated, truncated, infos = envs.step(actions[step].numpy())
            rewards[step] = torch.from_numpy(reward)
            goes_on[step] = torch.from_numpy(~(terminated | truncated))
            with torch.no_grad():
                next_values[step] = network.value(torch.from_numpy(observation))
                for env in np.flatnonzero(terminated | truncated):
                    # A terminated episode is worth nothing further; one cut off is worth what its last state is.
                    last = torch.from_numpy(infos["final_obs"][env])[None]
                    next_values[step, env] = network.value(last)[0] if truncated[env] else 0.0
                    costs.append(float(infos["final_info"]["solution_cost"][env]))
        history.append(float(np.mean(costs)) if costs else float("nan"))

        # Rewards come in time units: the critic sees them as fractions of the cost of the first episodes.
        if scale == 1.0 and costs:
            scale = abs(history[-1]) or 1.0
        advantages, running = torch.zeros(shape), torch.zeros(settings.num_envs)
        for step in reversed(range(settings.num_steps)):
            surprise = rewards[step] / scale + settings.gamma * next_values[step] - values[step]
            running = surprise + settings.gamma * settings.lam * goes_on[step] * running
            advantages[step] = running
        data = [x.flatten(0, 1) for x in (observations, masks, actions, log_probs, advantages, advantages + values)]

        for _ in range(settings.epochs):
            for rows in torch.randperm(data[0].shape[0]).chunk(settings.minibatches):
                seen, legal, taken, old, advantage, target = (x[rows] for x in data)
                distribution = network.distribution(seen, legal)
                ratio = (distribution.log_prob(taken) - old).exp()
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                clipped = ratio.clamp(1 - settings.clip, 1 + settings.clip)
                policy_loss = -torch.min(ratio * advantage, clipped * advantage).mean()
                value_loss = 0.5 * (network.value(seen) - target).square().mean()
                loss = policy_loss + value_loss - settings.entropy * distribution.entropy().mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), 0.5)
                optimizer.step()
    envs.close()
    return network, history


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train a small network by PPO.")
    parser.add_argument("instance")
    for number, cost in enumerate(train(parser.parse_args().instance)[1]):
        print(f"update {number}: mean cost {cost:.2f}", flush=True)
