"""Networks that read `orl.features` and answer a decision: an encoder, a head, a critic. `forward` needs torch alone.

`CandidateNet` reads a row a choice. It is a stack of permutation-equivariant layers (Zaheer et al. 2017, Deep Sets,
arXiv 1703.06114): every choice is told its own row, mean and maximum over all candidates, and the mean over the legal
ones, so it may be trained on few choices and asked about many, in any order.

`PlainNet` reads one vector: two hidden layers, for clients whose shapes never change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class NetworkSettings:
    """The form of a network.

    Parameters
    ----------
    encoder : 'candidates' or 'plain'
        Reads `Features.candidates` or `Features.flat`.
    inputs : int
        Features a candidate, or of the vector.
    choices : int
        Of a plain network, whose outputs are counted; 0 with candidates, of which there may be any number.
    width, layers : int
    """

    encoder: Literal["candidates", "plain"] = "candidates"
    inputs: int = 1
    choices: int = 0
    width: int = 64
    layers: int = 3


def make_network(settings: NetworkSettings) -> nn.Module:
    """Return a network with fresh weights, drawn by torch's generator."""
    return CandidateNet(settings) if settings.encoder == "candidates" else PlainNet(settings)


class CandidateNet(nn.Module):
    """Scores of choices from a row each, and the value of the state."""

    def __init__(self, settings: NetworkSettings):
        super().__init__()
        width = settings.width
        self.first = nn.Linear(settings.inputs, width)
        self.own = nn.ModuleList(nn.Linear(width, width) for _ in range(settings.layers))
        self.shared = nn.ModuleList(nn.Linear(3 * width, width, bias=False) for _ in range(settings.layers))
        self.score = nn.Linear(width, 1)
        self.critic = nn.Sequential(nn.Linear(3 * width, width), nn.ReLU(), nn.Linear(width, 1))
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, rows: Tensor, legal: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores (n, K), minus infinity where illegal, and values (n,).

        Parameters
        ----------
        rows : float Tensor (n, K, inputs)
        legal : bool Tensor (n, K)
        """
        hidden, means = self._encoded(rows, legal)
        return self._scored(hidden, legal), self.critic(_context(hidden, means)).squeeze(-1)

    def scores(self, rows: Tensor, legal: Tensor) -> Tensor:
        """Return the scores alone, which are cheaper."""
        return self._scored(self._encoded(rows, legal)[0], legal)

    def _encoded(self, rows: Tensor, legal: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is known of each candidate (n, K, width), 0 where there is none, and the weights of the means."""
        there = (rows != 0).any(-1)
        masks = torch.stack([there, legal], dim=1).to(rows.dtype)
        means = masks / masks.sum(-1, keepdim=True).clamp(min=1)  # (n, 2, K)
        kept = masks[:, 0, :, None]
        hidden = torch.relu(self.first(rows)) * kept
        for own, shared in zip(self.own, self.shared, strict=True):
            context = shared(_context(hidden, means))
            hidden = hidden + torch.relu(own(hidden) + context[:, None]) * kept
        return hidden, means

    def _scored(self, hidden: Tensor, legal: Tensor) -> Tensor:
        return self.score(hidden).squeeze(-1).masked_fill(~legal, -math.inf)


def _context(hidden: Tensor, means: Tensor) -> Tensor:
    """Return the maximum over all candidates, the mean over them and over the legal ones, (n, 3 width)."""
    return torch.cat([hidden.amax(1), torch.bmm(means, hidden).flatten(1)], dim=1)


class PlainNet(nn.Module):
    """Scores of choices from one vector, and the value of the state; actor and critic share nothing."""

    def __init__(self, settings: NetworkSettings):
        super().__init__()
        self.actor = _layers(settings.inputs, settings.width, settings.layers, settings.choices)
        self.critic = _layers(settings.inputs, settings.width, settings.layers, 1)
        for last in self.actor[-1].parameters():
            nn.init.zeros_(last)

    def forward(self, vector: Tensor, legal: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores (n, choices), minus infinity where illegal, and values (n,)."""
        return self.scores(vector, legal), self.critic(vector).squeeze(-1)

    def scores(self, vector: Tensor, legal: Tensor) -> Tensor:
        """Return the scores alone."""
        return self.actor(vector).masked_fill(~legal, -math.inf)


def _layers(inputs: int, width: int, layers: int, outputs: int) -> nn.Sequential:
    sizes = [inputs, *([width] * layers)]
    parts: list[nn.Module] = []
    for here, there in pairwise(sizes):
        parts += [nn.Linear(here, there), nn.Tanh()]
    return nn.Sequential(*parts, nn.Linear(sizes[-1], outputs))
