"""Key figures of a dispatch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from orl.scenario import Scenarios

from .instance import HydroThermal
from .plans import Dispatch
from .verify import stage_cost


def metrics(instance: HydroThermal, scenario: Scenarios, dispatch: Dispatch) -> Mapping[str, float]:
    """Return shares of hydro power and of load that is not served, how often some is not, spill, and what stages cost.

    With network=ac the share of the load that is lost in branches, too (`loss_share`).
    `cost_reported` is the discounted cost of the first `reported_stages` stages.
    """
    hours = instance.stage_hours
    hydro = float((dispatch.turn * instance.reservoirs.mw_per_flow).sum())
    deficit = dispatch.deficit.sum(axis=1)
    load = float(sum(instance.load_mw(stage).sum() for stage in range(len(deficit))))
    figures = {
        "hydro_share": hydro / load if load else 0.0,
        "deficit_share": float(deficit.sum()) / load if load else 0.0,
        "deficit_stages_share": float((deficit > 1e-6).mean()),
        "deficit_mwh": float(deficit.sum()) * hours,
        "spill_hm3": float(dispatch.spill.sum()),
        "final_volume_hm3": float(dispatch.volume[-1].sum()),
    }
    if instance.settings.network == "ac":
        lost = float((dispatch.flow + dispatch.flow_to).sum())
        figures["loss_share"] = lost / load if load else 0.0
    if (reported := instance.settings.reported_stages) is not None:
        costs = [stage_cost(instance, dispatch, stage) for stage in range(reported)]
        figures["cost_reported"] = float(instance.settings.discount ** np.arange(reported) @ costs)
    return figures
