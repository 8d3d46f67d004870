"""The rule as a network of torch: what has been seen goes into a memory, from which shares of what can be reached come.

`forward` says the same in NumPy, for those who decide.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .forward import STRETCH


class _Cut(torch.autograd.Function):
    """Cut to [0, 1]. Beyond the ends a gradient that leads back passes, one that leads further away does not."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        context.save_for_backward(x)
        return x.clip(0.0, 1.0)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        (x,) = context.saved_tensors
        leads_away = (x < 0) & (gradient > 0) | (x > 1) & (gradient < 0)  # descent goes against the gradient
        return gradient.masked_fill(leads_away, 0.0)


class Rule(nn.Module):
    """Shares, [0, 1], from the noises of the stages so far and the state.

    Parameters
    ----------
    num_seen, num_states, num_shares : int
        Numbers that are seen in a stage (noise and time), entries of the state, shares to choose.
    width : int
    is_linear : bool
        A linear recurrence in place of a long short-term memory, and no layer above.
    """

    def __init__(self, num_seen: int, num_states: int, num_shares: int, width: int, is_linear: bool):
        super().__init__()
        self.is_linear = is_linear
        memory = nn.RNN if is_linear else nn.LSTM
        made: Any = memory(num_seen, width, batch_first=True)
        self.memory: Any = made
        inputs = width + num_seen + num_states
        self.layer = nn.Identity() if is_linear else nn.Sequential(nn.Linear(inputs, width), nn.Tanh())
        self.last = nn.Linear(inputs if is_linear else width, num_shares)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        if is_linear:
            nn.init.zeros_(made.weight_hh_l0)  # forgets at first; what it remembers is learned

    def remember(self, seen: Tensor) -> Tensor:
        """Return the memory after each stage, (n, T, width), from what is seen, (n, T, num_seen)."""
        if not self.is_linear:
            return self.memory(seen)[0]
        into = seen @ self.memory.weight_ih_l0.T + self.memory.bias_ih_l0 + self.memory.bias_hh_l0
        state, states = torch.zeros_like(into[:, 0]), []
        for stage in range(seen.shape[1]):
            state = state @ self.memory.weight_hh_l0.T + into[:, stage]
            states.append(state)
        return torch.stack(states, dim=1)

    def forward(self, remembered: Tensor, seen: Tensor, state: Tensor) -> Tensor:
        """Return the shares at one stage, (n, num_shares)."""
        told = torch.cat([remembered, seen, state], dim=-1)
        share = torch.sigmoid(self.last(self.layer(told)))
        return _Cut.apply((1 + 2 * STRETCH) * share - STRETCH)
