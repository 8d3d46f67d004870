"""What a rolling horizon plans with: fewer stages, expected inflows; and what it does with a plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from orl.process import Observation
from orl.scenario import Scenarios

from .instance import HydroThermal, expected_inflows
from .plans import Dispatch

SAME = 1e-9  # share of an inflow by which it may differ from what was foreseen


def in_motion(instance: HydroThermal, observation: Observation, env: int) -> HydroThermal:
    """Return the instance as it goes on: from these volumes, this stage's inflows known, others those of the folder."""
    stage, count = int(observation.arrays["stage"][env]), len(instance.reservoirs.names)
    volume, inflow = (observation.arrays[key][env, :count].copy() for key in ("volume", "inflow"))
    water = instance.reservoirs
    return replace(
        instance,
        reservoirs=replace(water, initial_hm3=np.clip(volume, water.min_hm3, water.max_hm3)),
        settings=replace(instance.settings, stages=max(1, instance.num_stages - stage), reported_stages=None),
        first_inflow=inflow,
        first_stage=instance.first_stage + stage,
        path=None,  # a path of the user's own is for nature to know
        panel=None,
        origin=instance.origin or instance,
    )


def shortened(instance: HydroThermal, stages: int) -> HydroThermal:
    """Return the instance that ends after so many further stages, if it does not end before."""
    if stages >= instance.num_stages:
        return instance
    settings = replace(instance.settings, stages=stages, reported_stages=None)
    return replace(instance, settings=settings, origin=instance.origin or instance)


def nominal(instance: HydroThermal) -> tuple[HydroThermal, Scenarios]:
    """Return the instance with expected inflows in place of random ones, and its one scenario.

    A path of the user's own is not foreseen either: its stages after the first are expected from the folder's inflows.
    """
    path = expected_inflows(instance, instance.num_stages)
    settings = replace(instance.settings, horizon="finite")
    planned = replace(instance, path=path, settings=settings, origin=instance.origin or instance)
    return planned, Scenarios.deterministic()


def is_disturbed(planned: HydroThermal, observation: Observation, env: int) -> bool:
    """Return whether inflows are not as foreseen, or the plan ends before the episode does."""
    stage, first = int(observation.arrays["calendar"][env]), planned.first_stage
    if planned.path is None:  # the plan of a tree of futures holds for the stage that they share
        return stage != first
    end = stage - int(observation.arrays["stage"][env]) + int(observation.sizes[env, 1])
    if stage != first and first + planned.num_stages < end:
        return True  # a horizon now reaches further
    foreseen = planned.path[stage - first]
    seen = observation.arrays["inflow"][env, : len(foreseen)]
    return bool((np.abs(seen - foreseen) > SAME * np.maximum(1.0, foreseen)).any())


def follow(planned: HydroThermal, plan: Dispatch, observation: Observation, env: int) -> np.ndarray:
    """Return the volumes that a plan has at the end of this stage."""
    stage, count = int(observation.arrays["calendar"][env]), len(planned.reservoirs.names)
    targets = np.zeros(observation.legal.shape[2])
    volume = plan.volume[stage - planned.first_stage]
    targets[:count] = np.clip(volume, *observation.legal[env, :, :count])
    return targets
