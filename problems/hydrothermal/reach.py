"""Which volumes a stage can end at, as a rule that asks for volumes needs to know.

Going downstream, with v the volume before, a the inflow, K q+ and K q- most and least that is turbined, all hm3,

    have_r  = v_r + a_r + what certainly can arrive from upstream
    high_r  = min( largest_r, have_r - K q-_r ),    low_r = min( least_r, high_r )
    x_r     = low_r + share_r (high_r - low_r),     release_r = have_r - x_r.

Of a release all arrives where both turbined and spilled water flow, as much of it as the turbines take, min(release,
K q+), where turbined water flows, and the rest where spilled water does. So volumes are reached all together by
turbining what there is, as far as the turbines can, and spilling the rest, if the network takes the power.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from orl.errors import InputError

from .instance import HydroThermal


class Reach:
    """Volumes at the end of a stage from shares of the way between the lowest and the highest that can be reached.

    Works on arrays of NumPy and tensors of torch alike, and on the latter with gradients.
    """

    def __init__(self, instance: HydroThermal):
        water, k = instance.reservoirs, instance.hm3_per_flow
        self.num_shares = len(water.names)
        self._low, self._high = water.min_hm3.tolist(), water.max_hm3.tolist()
        self._most, self._least = (k * water.max_turn).tolist(), (k * water.min_turn).tolist()
        self._order = _downstream(water.turn_into | water.spill_into)
        # Of each reservoir, those that flow into it, and whether their turbined and their spilled water does.
        self._upstream = [
            [(u, bool(water.turn_into[u, r]), bool(water.spill_into[u, r]))
             for u in np.flatnonzero((water.turn_into | water.spill_into)[:, r]).tolist()]
            for r in range(self.num_shares)
        ]  # fmt: skip
        self._has_memory = instance.autoregression is not None

    def __call__(self, state: Any, noise: Any, share: Any) -> list[Any]:
        """Return the state that goes out, a list of its entries.

        Parameters
        ----------
        state : (..., S)
            Volumes, hm3; with an autoregression inflows of the stage before, too, which say nothing here.
        noise : (..., R)
            Inflow of this stage, hm3.
        share : (..., R)
            In [0, 1].
        """
        volume: list[Any] = [None] * self.num_shares
        release = volume.copy()
        for r in self._order:
            have = state[..., r] + noise[..., r]
            for u, turns, spills in self._upstream[r]:
                arrives = release[u]
                if not spills:
                    arrives = arrives.clip(max=self._most[u])
                elif not turns:
                    arrives = (arrives - self._most[u]).clip(min=0.0)
                have = have + arrives
            high = (have - self._least[r]).clip(max=self._high[r])
            low = high.clip(max=self._low[r])
            volume[r] = low + share[..., r] * (high - low)
            release[r] = have - volume[r]
        return volume + ([noise[..., r] for r in range(self.num_shares)] if self._has_memory else [])


def _downstream(into: np.ndarray) -> list[int]:
    """Return the reservoirs, each after all that flow into it."""
    left, order = set(range(len(into))), list[int]()
    while left:
        ready = sorted(r for r in left if not any(into[u, r] for u in left if u != r))
        if not ready:
            raise InputError("water flows in a circle between reservoirs; targets cannot be made one after the other.")
        order += ready
        left -= set(ready)
    return order
