"""What is drawn in LLM serving: requests of a generator, predictions, the key of priorities; whole instances for tests.

A row of a stream holds uniform numbers, request by request, the same ones whatever the engine; `realise` turns them
into requests and predictions. The key from which drawn priorities follow is the row's beginning.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from orl.errors import InputError
from orl.scenario import Purpose, Scenarios

from .generate import NOISE, WIDTH, generate, normal
from .instance import CostModel, Generator, Requests, Serving, ServingSettings

BLOCK = 64  # requests drawn at a time


class Realised(NamedTuple):
    """What a scenario brings.

    Parameters
    ----------
    requests : Requests
    predicted : float ndarray (num_requests,)
        Output tokens as they are predicted, >= 1; the true ones without noise.
    priority_key : int in 0..2**64 - 1
        Drawn priorities follow from it; 0 if they are the file's.
    """

    requests: Requests
    predicted: np.ndarray
    priority_key: int


def sample(instance: Serving, seed: int, purpose: Purpose, n: int) -> Scenarios:
    """Return scenarios, or the one empty scenario of an instance in which nothing is random."""
    if not instance.is_random:
        if n != 1:
            raise InputError(f"{instance.name} is deterministic: it has 1 scenario, not {n}.")
        return Scenarios.deterministic(seed, purpose)
    return Scenarios(seed, purpose, tuple(range(n)), _draw_block, _draw_key)


def _draw_block(rng: np.random.Generator, block: int) -> np.ndarray:
    return rng.random((BLOCK, WIDTH))


def _draw_key(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(2**64, size=1, dtype=np.uint64)


def realise(instance: Serving, scenario: Scenarios) -> Realised:
    """Return what a scenario brings to an instance.

    Raises
    ------
    InputError
        If a request was drawn that the server could never serve.
    """
    settings, source = instance.settings, instance.source
    if scenario.draw is None:
        if isinstance(source, Generator):
            raise InputError(f"{instance.name}: its requests are drawn; the empty scenario brings none.")
        return Realised(source, source.output.astype(np.float64), 0)
    uniforms = scenario.values(0, instance.num_requests)[: instance.num_requests]
    order = np.arange(instance.num_requests)
    if isinstance(source, Generator):
        requests, order = generate(source, uniforms, instance.state)
        instance.check_fit(requests)
    else:
        requests = source
    noise = settings.prediction_noise * normal(uniforms[order, NOISE]) if settings.prediction_noise > 0 else 0.0
    key = int(scenario.start(0)[0]) if settings.priorities != "file" else 0
    return Realised(requests, np.maximum(requests.output * np.exp(noise), 1.0), key)


# Bounds -------------------------------------------------------------------------------------------------------------


def bound(instance: Serving, scenario: Scenarios) -> float:
    """Return a proven lower bound on the cost of a scenario: each request alone on the fastest iterations there are.

    A token of the output takes an iteration of its own, and iterations follow one another; none is shorter than the
    least time of a batch of one token or more. With clock=rounds each takes a round.
    """
    instance.must_begin()
    requests = realise(instance, scenario).requests
    least = 1.0 if instance.is_rounds else least_iteration(instance)
    return float(requests.weight @ requests.output) * least * (1 - 1e-12)


def least_iteration(instance: Serving) -> float:
    """Return seconds that no iteration with a token in its batch falls below.

    The tables are piecewise linear, so over whatever a batch can be each is least at one of its points or at the end of
    what can be. Attention counts as nothing, unless a table that falls beyond its points could make it less.
    """
    costs, settings = instance.costs, instance.settings
    room = float(instance.num_blocks * instance.block_size)
    tokens = float(max(instance.token_budget, settings.max_num_seqs))
    ends = (
        _up_to(costs.prefill, costs.chunk, costs.past, min(tokens, room), room),
        _up_to(costs.decode, costs.count, costs.context, float(settings.max_num_seqs), room),
    )
    if any((table < 0).any() for table in ends):
        return 0.0
    least = 0.0
    for table, limit in ((costs.dense, tokens), (costs.sequence, float(settings.max_num_seqs))):
        last = table[-1] + max(limit - len(table) + 1, 0.0) * (table[-1] - table[-2])
        least += min(float(table[1:].min()), float(last))
    return max(least, 0.0)


def _up_to(table: np.ndarray, rows: np.ndarray, columns: np.ndarray, last_row: float, last_column: float) -> np.ndarray:
    """Return a table with a row and a column more, at the largest values that occur, where these lie beyond it."""
    for axis, limit in ((rows, last_row), (columns, last_column)):
        if limit > axis[-1]:
            slope = (table[-1] - table[-2]) / (axis[-1] - axis[-2])
            table = np.vstack([table, table[-1] + slope * (limit - axis[-1])])
        table = table.T
    return table


# Instances for tests and training -----------------------------------------------------------------------------------


def tiny_costs() -> CostModel:
    """Return a cost model made by hand: 10 ms an iteration and 0.2 ms a token, attention by length."""
    axis = np.array([0.0, 16.0, 64.0])
    return CostModel(
        dense=np.append(0.0, 0.01 + 0.0002 * np.arange(1, 65)),
        sequence=0.0001 * np.arange(17),
        chunk=axis,
        past=axis,
        prefill=1e-6 * axis[:, None] * (axis[None, :] + axis[:, None] / 2),
        count=np.array([0.0, 4.0, 16.0]),
        context=axis,
        decode=1e-6 * np.array([0.0, 4.0, 16.0])[:, None] * axis[None, :],
    )


def draw(
    rng: np.random.Generator,
    requests: int = 12,
    blocks: int = 16,
    longest: int = 24,
    load: float = 2.0,
    name: str = "drawn",
    settings: ServingSettings | None = None,
    **options: Any,
) -> Serving:
    """Draw a small instance whose cache is short of room, so that requests are preempted.

    Parameters
    ----------
    rng : Generator
    requests : int
    blocks : int
        Of 4 tokens each, as long as `settings` or `options` do not say otherwise; with clock=rounds 4 times as many of
        one token.
    longest : int
        Prompts and outputs are uniform on 1 to this.
    load : float
        Requests that arrive, on average, in the time of ten iterations.
    name : str
    settings : ServingSettings, optional
    **options
        Of `ServingSettings`, on top of `settings` or of a small engine's.

    Examples
    --------
    >>> draw(np.random.default_rng(0), requests=3, async_scheduling=False).num_requests
    3
    """
    is_chunked = options.get("enable_chunked_prefill", True)
    small = {"block_size": 4, "max_num_seqs": 8, "max_num_batched_tokens": 16 if is_chunked else 2 * longest}
    settings = ServingSettings(**{**(vars(settings) if settings else small), **options})
    is_rounds = settings.clock == "rounds"
    prompt = rng.integers(1, longest + 1, size=requests)
    output = rng.integers(1, longest + 1, size=requests)
    gap = 10 * (1.0 if is_rounds else 0.012) / load
    parent = np.array([rng.integers(-1, row) if row else -1 for row in range(requests)])
    parent[rng.random(requests) < 0.4] = -1
    told = np.minimum(prompt, (prompt + output)[parent])
    shared = np.where(parent >= 0, np.minimum(rng.integers(1, longest + 1, size=requests), told), 0)
    source = Requests(
        arrival=np.cumsum(rng.exponential(gap, size=requests)).round(4),
        prompt=prompt,
        output=output,
        client=rng.integers(0, 3, size=requests),
        priority=rng.integers(0, 4, size=requests),
        weight=rng.integers(1, 4, size=requests),
        parent=parent,
        shared=shared,
    )
    size = 1 if is_rounds else settings.block_size
    return Serving(
        name,
        source,
        tiny_costs(),
        num_blocks=max(blocks * 4 if is_rounds else blocks, -(-2 * longest // size)),
        cpu_blocks=blocks * 2 * (4 if is_rounds else 1),
        block_bytes=2**18,
        pieces=2,
        settings=settings,
    )
