"""What is drawn in LLM serving: requests of a generator, priorities, predictions; whole instances for tests.

A row of a stream holds uniform numbers, request by request; `realise` turns them into requests. They do not depend on
the engine, so every engine is asked for the same.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from orl.errors import InputError
from orl.scenario import Purpose, Scenarios

from .instance import CostModel, Generator, Requests, Serving, ServingSettings

BLOCK = 64  # requests drawn at a time
GAP, PROMPT, OUTPUT, CLIENT, TURNS, THINK, PREDICTION, KEY, WIDTH = range(9)  # uniform numbers of a request
KEY_BITS = 52


class Realised(NamedTuple):
    """What a scenario brings.

    Parameters
    ----------
    requests : Requests
    predicted : ndarray (num_requests,)
        Output tokens as predicted; true without `prediction_noise`.
    priority_key : int >= 0
        By which drawn priorities are drawn.
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
    return Scenarios(seed, purpose, tuple(range(n)), lambda rng, block: rng.random((BLOCK, WIDTH)))


def realise(instance: Serving, scenario: Scenarios) -> Realised:
    """Return what a scenario brings to an instance."""
    if scenario.draw is None:
        assert isinstance(instance.source, Requests)
        return Realised(instance.source, instance.source.output.astype(np.float64), 0)
    uniforms = scenario.values(0, instance.num_requests)[: instance.num_requests]
    if isinstance(instance.source, Requests):
        requests = instance.source
    else:
        requests = _drawn(instance.source, uniforms, instance.settings.rate)
    noise = instance.settings.prediction_noise * _normal(uniforms[:, PREDICTION])
    predicted = np.maximum(requests.output * np.exp(noise), 1.0)
    return Realised(requests, predicted, int(uniforms[0, KEY] * 2**KEY_BITS))


def _drawn(source: Generator, uniforms: np.ndarray, rate: float) -> Requests:
    """Return a generator's requests."""
    rate = rate or source.rate
    count, uniform = len(uniforms), uniforms.T
    prompt, output = (
        _lengths(uniform[column], mean, source)
        for column, mean in ((PROMPT, source.prompt_mean), (OUTPUT, source.output_mean))
    )
    client = np.minimum((uniform[CLIENT] * source.clients).astype(np.int64), source.clients - 1)
    parent, shared = np.full(count, -1), np.zeros(count, dtype=np.int64)
    exponential = -np.log1p(-uniform[GAP])
    if source.arrivals == "conversations":
        return _conversations(source, rate, uniform, prompt, output, client)
    if source.arrivals == "bursty":
        # A gap is 0 with probability 1 - p, else exponential of mean 1 / p: its coefficient of variation is as asked.
        share = 2 / (1 + max(source.burstiness, 1.0) ** 2)
        exponential = np.where(uniform[THINK] < share, exponential / share, 0.0)
    arrival = np.cumsum(exponential) / rate
    return _requests(arrival, prompt, output, client, parent, shared)


def _conversations(
    source: Generator, rate: float, uniform: np.ndarray, prompt: np.ndarray, output: np.ndarray, client: np.ndarray
) -> Requests:
    """Return requests that are turns of conversations; each row's numbers serve the turn of that number."""
    count = len(prompt)
    arrival, parent, shared = np.zeros(count), np.full(count, -1), np.zeros(count, dtype=np.int64)
    start, begun, goes_on = 0.0, 0.0, False
    for turn in range(count):
        goes_on = goes_on and uniform[TURNS, turn] >= 1 / source.turns
        if goes_on:
            before = turn - 1
            told = prompt[before] + output[before]
            goes_on = told + 1 < source.longest
        if goes_on:
            parent[turn], shared[turn] = before, told
            prompt[turn] = min(told + prompt[turn], source.longest)
            client[turn] = client[before]
            start += -source.think_s * np.log1p(-uniform[THINK, turn])
        else:
            begun += -np.log1p(-uniform[GAP, turn]) * source.turns / rate
            start, goes_on = begun, True
        arrival[turn] = start
    order = np.argsort(arrival, kind="stable")
    place = np.empty(count, dtype=np.int64)
    place[order] = np.arange(count)
    parent = np.where(parent >= 0, place[parent], -1)
    return _requests(*(values[order] for values in (arrival, prompt, output, client, parent, shared)))


def _requests(
    arrival: np.ndarray,
    prompt: np.ndarray,
    output: np.ndarray,
    client: np.ndarray,
    parent: np.ndarray,
    shared: np.ndarray,
) -> Requests:
    same = np.zeros(len(arrival), dtype=np.int64)
    return Requests(arrival, prompt, output, client, same, np.ones(len(arrival)), parent, shared)


def _lengths(uniforms: np.ndarray, mean: float, source: Generator) -> np.ndarray:
    """Return log-normal lengths of a mean, before they are cut to 1..longest."""
    logs = np.log(mean) - source.spread**2 / 2 + source.spread * _normal(uniforms)
    return np.clip(np.round(np.exp(logs)), 1, source.longest).astype(np.int64)


def _normal(uniforms: np.ndarray) -> np.ndarray:
    standard = NormalDist()
    return np.array([standard.inv_cdf(u) for u in np.clip(uniforms, 1e-12, 1 - 1e-12)])


def bound(instance: Serving, scenario: Scenarios) -> float:
    """Return a proven lower bound on the cost of a scenario: a request takes as many batches as it has output tokens.

    A batch yields at most one token of a request and takes at least as long as the shortest of a token or more.
    """
    requests = realise(instance, scenario).requests
    return float(requests.weight @ requests.output) * shortest_batch(instance)


def shortest_batch(instance: Serving) -> float:
    """Return the least time that a batch may take, or the least whose table falls nowhere; see `CostModel`."""
    if instance.is_rounds:
        return 1.0
    costs = instance.costs
    falls = costs.dense[-1] < costs.dense[-2] or costs.sequence[-1] < costs.sequence[-2]
    return 0.0 if falls else float(costs.dense[1:].min() + costs.sequence[1:].min())


def draw(
    rng: np.random.Generator,
    requests: int = 6,
    blocks: int = 12,
    block_size: int = 4,
    longest: int = 20,
    settings: ServingSettings | None = None,
    name: str = "drawn",
) -> Serving:
    """Draw a small instance, short of memory, with shared prefixes, clients, priorities and weights.

    Examples
    --------
    >>> draw(np.random.default_rng(0)).num_requests
    6
    """
    settings = settings or ServingSettings(
        block_size=block_size, max_num_seqs=4, max_num_batched_tokens=16, enable_chunked_prefill=True
    )
    size = 1 if settings.clock == "rounds" else settings.block_size
    room = blocks * size
    prompt = rng.integers(1, max(min(longest, room - 1), 2), size=requests)
    output = np.minimum(rng.integers(1, longest, size=requests), room - prompt)
    parent = np.array([rng.integers(-1, place) if place else -1 for place in range(requests)])
    told = np.where(parent >= 0, np.minimum(prompt, (prompt + output)[parent]), 0)
    shared = rng.integers(0, told + 1)
    gaps = rng.exponential(0.05, size=requests) if settings.clock == "seconds" else rng.integers(0, 4, size=requests)
    asked = Requests(
        arrival=np.cumsum(gaps),
        prompt=prompt,
        output=output,
        client=rng.integers(0, 3, size=requests),
        priority=rng.integers(0, 3, size=requests),
        weight=rng.choice([1.0, 2.0], size=requests),
        parent=parent,
        shared=np.where(parent >= 0, shared, 0),
    )
    costs = CostModel(
        dense=[0.0, 0.01, 0.012, 0.013, 0.02],
        sequence=[0.0, 0.001, 0.0015],
        chunk=[0, 4, 16],
        past=[0, 8],
        prefill=[[0.0, 0.0], [0.002, 0.004], [0.01, 0.03]],
        count=[0, 1, 4],
        context=[0, 16],
        decode=[[0.0, 0.0], [0.0, 0.002], [0.0, 0.006]],
    )
    return Serving(name, asked, costs, blocks, int(rng.integers(0, 2 * blocks)), 1000, 2, settings)
