"""LLM servers drawn at random, small and of every mode."""

import numpy as np
from hypothesis import strategies as st

from orl.problems.llmserving.instance import ServingSettings
from orl.problems.llmserving.scenario import draw


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
