"""LLM servers drawn at random, small and of every mode."""

import numpy as np
from hypothesis import strategies as st

from orl.problems.llmserving.instance import CostModel, Requests, Serving, ServingSettings
from orl.problems.llmserving.scenario import draw
from orl.problems.llmserving.simpy_twin import Server

# Every batch takes a second, and half a second more for each token that is not decoded.
COSTS = CostModel([0, 0], [0, 1, 1], [0, 1], [0, 1], [[0, 0], [0.5, 0.5]], [0, 1], [0, 1], [[0, 0], [0, 0]])
# Every token, sequence, chunk and context has its price, and all go on beyond their tables.
UNEVEN = CostModel(
    [0, 0.5, 0.75, 1.5, 1.625],
    [0, 0.25, 0.75],
    [0, 2, 3],
    [0, 4],
    [[0, 0], [0.25, 0.75], [0.5, 2]],
    [0, 1, 4],
    [0, 3, 8],
    [[0, 0, 0], [0.25, 0.5, 1.5], [0.5, 1, 4]],
)


@st.composite
def engines(draw_from):
    """Settings of small engines, every mode of them."""
    flag = st.booleans()
    return ServingSettings(
        clock=draw_from(st.sampled_from(["seconds", "seconds", "rounds"])),
        block_size=draw_from(st.sampled_from([1, 4, 16])),
        max_num_seqs=draw_from(st.integers(1, 5)),
        max_num_batched_tokens=draw_from(st.sampled_from([5, 16, 64])),
        enable_prefix_caching=draw_from(flag),
        scheduler_reserve_full_isl=draw_from(flag),
        async_scheduling=draw_from(flag),
        overlap=draw_from(flag),
        overlap_from=draw_from(st.sampled_from([0, 0, 2])),
        block_group=draw_from(st.sampled_from([1, 2, 8])),
        kv_reuse=draw_from(st.sampled_from(["off", "preemptions", "turns"])),
        reserve_output=draw_from(flag),
        preemption=draw_from(st.sampled_from(["recompute", "swap", "cheaper"])),
        victim=draw_from(st.sampled_from(["last", "latest", "largest", "smallest"])),
        priorities=draw_from(st.sampled_from(["file", "random", "markov"])),
        priority_frequency=0.2,
        prediction_noise=draw_from(st.sampled_from([0.0, 0.5])),
        copy_us=draw_from(st.sampled_from([0.0, 1e4])),
    )


@st.composite
def servers(draw_from):
    settings = draw_from(engines())
    blocks = {1: 48, 4: 12, 16: 4}[1 if settings.clock == "rounds" else settings.block_size]
    rng = np.random.default_rng(draw_from(st.integers(0, 10**6)))
    return draw(rng, requests=draw_from(st.integers(1, 8)), blocks=blocks, longest=10, settings=settings)


def random_server(rng: np.random.Generator) -> Server:
    """Return a server whose numbers are small and even, so that much happens at one instant."""
    count = int(rng.integers(1, 7))
    arrival = np.sort(rng.integers(0, 12, count) / 2)
    prompt, output = rng.integers(1, 9, count), rng.integers(1, 6, count)
    parent = np.array([rng.integers(-1, number) if number else -1 for number in range(count)])
    room = np.where(parent >= 0, (prompt + output)[parent], 0)
    shared = rng.integers(0, np.minimum(room, prompt) + 1)
    weight = rng.integers(1, 4, count)
    client, priority = rng.integers(0, 2, (2, count))
    requests = Requests(arrival, prompt, output, client, priority, weight, parent, shared)
    size = int(rng.integers(1, 4))
    longest = int((prompt + output).max())
    is_chunked = bool(rng.integers(2))
    seqs = int(rng.integers(1, 5))
    options = ServingSettings(
        clock=["seconds", "seconds", "rounds"][rng.integers(3)],
        block_size=size,
        max_num_seqs=seqs,
        max_num_batched_tokens=max(seqs, int(rng.integers(1, 9)) if is_chunked else longest + int(rng.integers(3))),
        enable_chunked_prefill=is_chunked,
        enable_prefix_caching=bool(rng.integers(2)),
        scheduler_reserve_full_isl=bool(rng.integers(2)),
        async_scheduling=bool(rng.integers(2)),
        overlap=bool(rng.integers(2)),
        overlap_from=int(rng.integers(4)),
        block_group=2 ** int(rng.integers(4)),
        kv_reuse=["off", "preemptions", "turns"][rng.integers(3)],
        copy_us=[0.0, 62_500.0][rng.integers(2)],
        pcie_gbs=1.0,
    )
    in_rounds = options.clock == "rounds"
    blocks = (longest if in_rounds else -(-longest // size)) + int(rng.integers(0, 5))
    costs, cpu_blocks = [COSTS, UNEVEN][rng.integers(2)], int(rng.integers(0, 9))
    one = Serving("random", requests, costs, blocks, cpu_blocks, 125_000_000, 1, options)
    return Server(one, requests)
