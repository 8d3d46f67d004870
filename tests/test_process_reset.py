"""An environment that is reset on another shop, or another scenario, plays as a new one would."""

import numpy as np
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from shops import scenario_of, shops

from orl.problems.jobshop.instance import JobShop
from orl.problems.jobshop.process import JobShopProcess
from orl.testing import RandomPolicy, run_episodes

LARGEST = JobShop("largest", machines=[[0, 1, 2, 3, 0]] * 5, durations=[[1] * 5] * 5)


@given(
    st.lists(shops(probabilities=(0.0, 0.1), calendars=True), min_size=3, max_size=5),
    st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), max_size=3), max_size=6),
)
@profile(max_examples=60)
def test_any_sequence_of_resets_leaves_what_a_new_process_has(drawn, resets):
    """Environments take shops in turn, rows are written over, downtime is laid out anew; nothing tells of before."""
    playing = [LARGEST, drawn[0], drawn[0]]
    process = JobShopProcess(playing, [scenario_of(shop, 0) for shop in playing])
    for seed, pairs in enumerate(resets):
        change = {env: drawn[which % len(drawn)] for env, which in pairs}
        for env, shop in change.items():
            playing[env] = shop
        process.reset(list(change), list(change.values()), [scenario_of(shop, seed) for shop in change.values()])
        again = JobShopProcess([*playing, LARGEST], [*process.scenarios, scenario_of(LARGEST, 0)])
        process.reset()
        mine, new = process.observe(), again.observe()
        assert (mine.sizes == new.sizes[:3]).all()
        assert (mine.legal == new.legal[:3]).all()
        for name, array in mine.arrays.items():
            assert (array == new.arrays[name][:3]).all(), name
        costs = run_episodes(process, RandomPolicy(), np.random.default_rng(seed))[0]
        assert costs.tolist() == run_episodes(again, RandomPolicy(), np.random.default_rng(seed))[0][:3].tolist()
