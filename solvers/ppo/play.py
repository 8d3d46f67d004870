"""Episodes played to their ends by the batched processes of a family, in this process, and what is kept of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from orl.errors import InputError
from orl.gym.actions import to_process
from orl.learn.heads import is_open, make_head
from orl.learn.readers import Reader
from orl.problem import Problem

# Storage ------------------------------------------------------------------------------------------------------------


class Played(NamedTuple):
    """What an iteration's episodes were: open decisions one below the other, costs by episode.

    Parameters
    ----------
    begun : name -> ndarray (N, ...)
        What the network was shown when the episodes began.
    seen : name -> ndarray (n, ...)
        What it was shown at each decision; 'episode' is the episode's place in `begun`.
    legal, actions : ndarray (n, ...)
        As the head takes them.
    after : name -> ndarray (n, ...)
        What the critic of the post-decision state was shown; nothing without one.
    log_probabilities, values, post_values : ndarray (n,)
        Values are 0 without a critic.
    place : int ndarray (n,)
        Step times environments plus environment.
    known, costs, discounts : ndarray (T, N)
        `known`: of `costs`, what was known when the decision was made.
    terminated, truncated : bool ndarray (T, N)
    cut_values : ndarray (2, T, N)
        Where an episode was cut off, what the critic says of the state, and what the second one said last: it knows
        no states before a decision.
    totals : ndarray (N,)
        Discounted cost of each episode.
    """

    begun: Mapping[str, np.ndarray]
    seen: Mapping[str, np.ndarray]
    after: Mapping[str, np.ndarray]
    legal: np.ndarray
    actions: np.ndarray
    log_probabilities: np.ndarray
    values: np.ndarray
    post_values: np.ndarray
    place: np.ndarray
    known: np.ndarray
    costs: np.ndarray
    discounts: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    cut_values: np.ndarray
    totals: np.ndarray


# Rollout ------------------------------------------------------------------------------------------------------------


def play(
    problem: Problem,
    network: Any,
    reader: Reader,
    envs: Sequence[Any],
    scenarios: Sequence[Any],
    rng: torch.Generator | None,
    copies: int = 1,
    has_critic: bool = False,
    fit: Sequence[Any] = (),
    plans: Sequence[Any] = (),
) -> Played:
    """Play episodes to their ends, drawing choices; without `rng` the likeliest one is taken, with `plans` theirs.

    So many `copies` of every environment stand side by side and begin alike; `fit` is what the padding has room for.
    """
    try:
        process = problem.process(envs, scenarios, fit)
    except ValueError as error:  # variants that no batch can hold together
        raise InputError(f"{problem.name}: {error}") from None
    head = make_head(process.decision)
    has_post_critic = has_critic and network.post is not None
    reads_after = has_post_critic or (bool(plans) and network.post is not None)  # a lesson is for both critics
    last_said = np.zeros(len(envs))  # by the second critic
    begun = {name: array[::copies] for name, array in reader.begin(process.observe()).items()}
    with torch.no_grad():
        embedded = network.embed(tensors(begun))
        post_embedded = network.post.embed(tensors(begun)) if has_post_critic else None
    asked: list[tuple[Any, ...]] = []  # as `Played` goes on after `begun`
    steps: list[tuple[np.ndarray, ...]] = []  # likewise, after `place`
    is_over, weight, totals = np.zeros(len(envs), dtype=bool), np.ones(len(envs)), np.zeros(len(envs))
    while not is_over.all():
        observation = process.observe()
        legal = np.array(observation.legal)
        chosen = legal[:, 0].copy() if legal.dtype != bool else legal.argmax(axis=-1)
        free = np.flatnonzero(is_open(process.decision, legal) & ~is_over)
        if len(free):
            seen = {**reader.read(observation, free), "episode": free // copies}
            mask = legal[free] if legal.dtype == bool else legal[free].astype(np.float32)
            with torch.no_grad():
                told = torch.from_numpy(mask)
                output, value = answered(network, tensors(seen), told, embedded, has_critic)
                if plans:
                    assert problem.follow is not None
                    planned = [problem.follow(envs[env], plans[env], observation, env) for env in free.tolist()]
                    action = torch.tensor(planned)
                else:
                    action = head.mode(output, told) if rng is None else head.draw(output, told, rng)
                likely, _ = head.judge(output, told, action)
            chosen[free] = to_process(process.decision, action.numpy(), legal[free])[0]
        known = process.decide(chosen)
        if len(free):
            after: dict[str, np.ndarray] = {}
            post_value = np.zeros(len(free), dtype=np.float32)
            if reads_after:
                after = {**reader.read(process.observe(), free), "episode": seen["episode"]}
            if has_post_critic:
                with torch.no_grad():
                    post_value = network.post(tensors(after), torch.zeros_like(told), post_embedded)[1].numpy()
            last_said[free] = post_value
            place = len(steps) * len(envs) + free
            asked.append((seen, after, mask, action.numpy(), likely.numpy(), value.numpy(), post_value, place))
        revealed = process.reveal()
        cost = known + revealed.cost
        totals += weight * cost
        weight *= revealed.discount
        ends = (revealed.terminated | revealed.truncated) & ~is_over
        cut = np.zeros((2, len(envs)))
        if has_critic and (lost := np.flatnonzero(ends & revealed.truncated)).size:
            seen = {**reader.read(process.observe(), lost), "episode": lost // copies}
            anything = torch.from_numpy(np.ones_like(legal[lost]))
            with torch.no_grad():
                cut[0, lost] = network(tensors(seen), anything, embedded)[1].numpy()
            cut[1, lost] = last_said[lost]
        steps.append((known, cost, revealed.discount, ends & revealed.terminated, ends & revealed.truncated, cut))
        is_over = is_over | ends
    if not asked:
        raise InputError(f"{envs[0].name}: there is nothing to decide.")
    seen_by_step, after_by_step, *others = zip(*asked, strict=True)
    seen, after = (
        {name: np.concatenate([one[name] for one in by_step]) for name in by_step[0]}
        for by_step in (seen_by_step, after_by_step)
    )
    decisions = [np.concatenate(column) for column in others]
    *columns, cuts = (np.stack(column) for column in zip(*steps, strict=True))
    return Played._make([begun, seen, after, *decisions, *columns, cuts.swapaxes(0, 1), totals])


def answered(network: Any, seen: Any, legal: Tensor, embedded: Any, has_critic: bool) -> tuple[Tensor, Tensor]:
    """Return scores and values; values of 0 without a critic, which is then not computed."""
    if has_critic:
        return network(seen, legal, embedded)
    return network.scores(seen, legal, embedded), torch.zeros(len(legal))


def tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Return arrays as tensors, by the same names."""
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
