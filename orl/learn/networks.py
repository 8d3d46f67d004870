"""Networks that read `orl.learn.readers` and answer a decision: an encoder, a score for each choice, a critic.

`CandidateNet` reads a row a choice. It is a stack of permutation-equivariant layers (Zaheer et al. 2017, Deep Sets,
arXiv 1703.06114): every choice is told its own row, mean and maximum over all candidates, and the mean over the legal
ones, so it may be trained on few choices and asked about many, in any order.

`GraphNet` reads a graph with relational graph convolutions (Schlichtkrull et al. 2017, arXiv 1703.06103), either anew
at every decision or once an episode; what it knows of a choice's node goes to a `CandidateNet`.

`PlainNet` reads one vector: hidden layers of tanh, for clients whose shapes never change.

All are asked in the same way: `embed` what an episode begins with, then `scores`, or `forward` for the critic, too.
`orl.learn.forward` says the same in NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from .forms import NetworkSettings

Seen = Mapping[str, Tensor]


def make_network(settings: NetworkSettings) -> nn.Module:
    """Return a network with fresh weights, drawn by torch's generator; its `post` judges post-decision states."""
    kinds: dict[str, type[nn.Module]] = {"plain": PlainNet, "candidates": CandidateNet}
    network = kinds.get(settings.encoder, GraphNet)(settings)
    post = make_network(replace(settings, has_post_critic=False)) if settings.has_post_critic else None
    network.register_module("post", post)
    return network


class CandidateNet(nn.Module):
    """Scores of choices from a row each, and the value of the state."""

    def __init__(self, settings: NetworkSettings):
        super().__init__()
        width = settings.width
        self.gathers = settings.encoder == "candidates"  # of graphs, every choice has a row
        self.first = nn.Linear(settings.inputs, width)
        self.own = nn.ModuleList(nn.Linear(width, width) for _ in range(settings.layers))
        self.shared = nn.ModuleList(nn.Linear(3 * width, width, bias=False) for _ in range(settings.layers))
        self.score = nn.Linear(width, 1)
        self.critic = nn.Sequential(nn.Linear(3 * width, width), nn.ReLU(), nn.Linear(width, 1))
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def embed(self, begun: Seen) -> None:
        """Remember nothing of how an episode began."""

    def forward(self, seen: Seen, legal: Tensor, embedded: None = None) -> tuple[Tensor, Tensor]:
        """Return scores (n, K), minus infinity where illegal, and values (n,).

        Parameters
        ----------
        seen : 'rows' -> float Tensor (n, K, inputs)
        legal : bool Tensor (n, K)
        """
        rows, is_legal, place = self._gathered(seen["rows"], legal)
        hidden, means = self._encoded(rows, is_legal)
        return self._scored(hidden, legal, place), self.critic(_context(hidden, means)).squeeze(-1)

    def scores(self, seen: Seen, legal: Tensor, embedded: None = None) -> Tensor:
        """Return the scores alone, which are cheaper."""
        rows, is_legal, place = self._gathered(seen["rows"], legal)
        return self._scored(self._encoded(rows, is_legal)[0], legal, place)

    def _gathered(self, rows: Tensor, legal: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return rows and mask, where few rows are there of these alone, and whose they are; None: all, as they are."""
        there = (rows != 0).any(-1)
        most = max(int(there.sum(1).max()), 1) if len(rows) else rows.shape[1]
        if not self.gathers or 2 * most > rows.shape[1]:
            return rows, legal, None
        place = there.logical_not().to(torch.uint8).argsort(dim=1, stable=True)[:, :most]
        return rows.gather(1, place.unsqueeze(-1).expand(-1, -1, rows.shape[-1])), legal.gather(1, place), place

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

    def _scored(self, hidden: Tensor, legal: Tensor, place: Tensor | None) -> Tensor:
        scores = self.score(hidden).squeeze(-1)
        if place is not None:
            scores = scores.new_zeros(legal.shape).scatter(1, place, scores)
        return scores.masked_fill(~legal, -math.inf)


def _context(hidden: Tensor, means: Tensor) -> Tensor:
    """Return the maximum over all candidates, the mean over them and over the legal ones, (n, 3 width)."""
    return torch.cat([hidden.amax(1), torch.bmm(means, hidden).flatten(1)], dim=1)


class GraphNet(nn.Module):
    """A `CandidateNet` that is told, of each choice, what graph convolutions know of its node."""

    def __init__(self, settings: NetworkSettings):
        super().__init__()
        from torch_geometric.nn import RGCNConv  # slow to load

        self.is_once, width = settings.encoder == "graph-once", settings.width
        sizes = [settings.nodes, *([width] * settings.graph_layers)]
        self.convolutions = nn.ModuleList(
            RGCNConv(here, there, settings.relations, aggr="mean") for here, there in pairwise(sizes)
        )
        told = settings.inputs if self.is_once else 1  # or whether it is legal
        form = NetworkSettings(settings.encoder, inputs=width + told, width=width, layers=settings.layers)
        self.head = CandidateNet(form)

    def embed(self, begun: Seen) -> Tensor | None:
        """Return what is known of each node when an episode begins, (num_envs, V, width)."""
        return self._convolved(begun) if self.is_once else None

    def forward(self, seen: Seen, legal: Tensor, embedded: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return scores (n, K), minus infinity where illegal, and values (n,).

        Parameters
        ----------
        seen : name -> Tensor (n, ...)
            A graph, or else 'rows', 'choice_nodes' and, in 'episode', the place of each decision in `embedded`.
        legal : bool Tensor (n, K)
        """
        return self.head({"rows": self._rows(seen, legal, embedded)}, legal)

    def scores(self, seen: Seen, legal: Tensor, embedded: Tensor | None = None) -> Tensor:
        """Return the scores alone."""
        return self.head.scores({"rows": self._rows(seen, legal, embedded)}, legal)

    def _rows(self, seen: Seen, legal: Tensor, embedded: Tensor | None) -> Tensor:
        if embedded is None:
            nodes, episode = self._convolved(seen), torch.arange(len(legal))
            told = legal.unsqueeze(-1).to(nodes.dtype)
        else:
            nodes, episode, told = embedded, seen["episode"], seen["rows"]
        about = seen["choice_nodes"]
        known = nodes[episode[:, None], about.clamp(min=0)] * (about >= 0).unsqueeze(-1)
        return torch.cat([told, known], dim=-1)

    def _convolved(self, graph: Seen) -> Tensor:
        """Return the nodes of padded graphs, (n, V, width), 0 in the padding."""
        is_node, edges = graph["is_node"], graph["edges"]
        place = is_node.flatten().cumsum(0) - 1  # of a node among all graphs' nodes
        which, edge = (edges[:, 0] >= 0).nonzero(as_tuple=True)
        index = place[which * is_node.shape[1] + edges[which, :, edge].T]
        kind = graph["edge_features"][which, edge].argmax(-1)
        hidden = graph["nodes"][is_node]
        for number, convolution in enumerate(self.convolutions):
            new = torch.relu(convolution(hidden, index, kind))
            hidden = new if number == 0 else hidden + new
        result = hidden.new_zeros((*is_node.shape, hidden.shape[-1]))
        result[is_node] = hidden
        return result


class PlainNet(nn.Module):
    """Scores of choices, or means and deviations of targets, from one vector; actor and critic share nothing."""

    def __init__(self, settings: NetworkSettings):
        super().__init__()
        self.outputs = settings.outputs
        self.actor = _layers(settings.inputs, settings.width, settings.layers, math.prod(settings.outputs))
        self.critic = _layers(settings.inputs, settings.width, settings.layers, 1)
        for last in self.actor[-1].parameters():
            nn.init.zeros_(last)

    def embed(self, begun: Seen) -> None:
        """Remember nothing of how an episode began."""

    def forward(self, seen: Seen, legal: Tensor, embedded: None = None) -> tuple[Tensor, Tensor]:
        """Return scores (n, *mask), minus infinity where illegal, and values (n,)."""
        return self.scores(seen, legal), self.critic(seen["vector"]).squeeze(-1)

    def scores(self, seen: Seen, legal: Tensor, embedded: None = None) -> Tensor:
        """Return the scores alone."""
        said = self.actor(seen["vector"]).unflatten(-1, self.outputs)
        return said.masked_fill(~legal, -math.inf) if legal.dtype == torch.bool else said


def _layers(inputs: int, width: int, layers: int, outputs: int) -> nn.Sequential:
    sizes = [inputs, *([width] * layers)]
    parts: list[nn.Module] = []
    for here, there in pairwise(sizes):
        parts += [nn.Linear(here, there), nn.Tanh()]
    return nn.Sequential(*parts, nn.Linear(sizes[-1], outputs))
