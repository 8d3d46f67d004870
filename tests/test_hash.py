"""Random numbers inside kernels: the finaliser of splitmix64 in Python's integers."""

import numpy as np
import pytest

from orl.kernels_hash import hash_uniform
from orl.problems.llmserving.kernels import mixed

TO_A, TO_B = 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03


def finalised(x):
    x %= 2**64
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
    return ((x ^ x >> 31) >> 11) / 2**53


@pytest.mark.parametrize("seed", [0, 1, 7, 2**32 + 5, 2**63 + 12345])
def test_numbers_are_those_of_splitmix64(seed):
    for a, b in ((0, 0), (1, 0), (0, 1), (3, 1000), (123456, 789)):
        seeds = np.uint64(seed), np.uint64(a), np.uint64(b)
        assert hash_uniform(*seeds) == finalised(seed + a * TO_A + b * TO_B)
        assert mixed(*seeds) == finalised(seed + (a + 1) * TO_A + (b + 1) * TO_B)
