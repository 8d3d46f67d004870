"""An instance as it goes on from what an observation shows."""

from __future__ import annotations

from orl.process import Observation

from .instance import LotSizing, LotState


def in_motion(instance: LotSizing, observation: Observation, env: int) -> LotSizing:
    """Return the instance from the state of one environment on, between two decisions."""
    view = {key: observation.arrays[key][env] for key in ("setup", "stock", "last_demand", "factors")}
    machines, items = instance.num_machines, instance.num_items
    last = view["last_demand"][:items]
    return instance.derived(
        state=LotState(
            period=instance.first_period + int(observation.arrays["period"][env]),
            setup=view["setup"][:machines],
            stock=view["stock"][:items],
            booked=observation.arrays["choice"][env, : int(observation.arrays["machine"][env])],
            last_demand=last if (last >= 0).all() else None,
            cost_factors=view["factors"][:items] if instance.settings.cost_noise > 0 else None,
        )
    )
