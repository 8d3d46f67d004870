"""Random numbers inside kernels: functions of integers, so that nothing has to be carried along."""

from __future__ import annotations

import numpy as np

from orl.jit import kernel


@kernel
def hash_uniform(seed, a, b):
    """Return a number in [0, 1) that depends on three integers alone (the finaliser of splitmix64, Steele et al. 2014,
    doi 10.1145/2660193.2660195).
    """
    x = np.uint64(seed) + np.uint64(a) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(b) * np.uint64(0xD1B54A32D192ED03)
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)) * (1.0 / 9007199254740992.0)
