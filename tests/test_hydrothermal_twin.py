"""Hydrothermal dispatch and its SimPy twin: two stages worked out on paper, drawn systems, those that are carried."""

from dataclasses import replace

import numpy as np
import pytest
from grids import draw_lossless
from hypothesis import given, settings
from hypothesis import strategies as st
from twins import dispatches_agree

import orl
from orl.errors import IllegalAction, InputError
from orl.linear import NotSolved
from orl.problems.hydrothermal.instance import Autoregression, HydroThermal, HydroThermalSettings, Network, Reservoirs
from orl.problems.hydrothermal.simpy_twin import simulate
from orl.scenario import Scenarios

NOTHING = Scenarios.deterministic()


def paper(**changes):
    """Return two reservoirs, of which the first turbines into the second, beside 6 MW of thermal power; K is 1."""
    load, plant, nothing, two = np.array([[12.0]]), np.array([6.0]), np.zeros(0), np.ones(2)
    network = Network(
        ("bus",), load, ("plant",), np.array([0]), 0 * plant, plant, np.array([20.0]), nothing.astype(int),
        nothing.astype(int), nothing, nothing, nothing, None, np.array([100.0]), np.array([np.inf]),
    )  # fmt: skip
    falls = np.array([[False, True], [False, False]])
    water = Reservoirs(
        ("upper", "lower"), np.zeros(2, dtype=int), 0 * two, 10 * two, np.array([5.0, 3.0]), 0 * two, 10 * two, two,
        0 * two, 0.5 * two, falls, ~falls & falls,
    )  # fmt: skip
    inflows = np.array([[[4.0, 2.0]], [[0.0, 1.0]]])
    chosen = HydroThermalSettings(network="single-bus")
    made = HydroThermal("paper", network, water, inflows, np.ones((2, 1)), settings=chosen, holds_energy=True)
    return replace(made, **changes)


def test_two_stages_on_paper():
    """First 9 can be kept above at most, 3 below if 2 are turbined there: 6 MW at 20 and 4 at 100 are left. Then all
    water is to go: of 12 MW 4 come from above and 8 from below, and 5 are spilled at 0.5.
    """
    targets = iter([[10, 3], [0, 0]])
    costs, volumes = simulate(paper(), NOTHING, lambda system: next(targets))
    assert costs == pytest.approx([6 * 20 + 4 * 100, 5 * 0.5])
    assert np.array(volumes) == pytest.approx(np.array([[9, 3], [0, 0]]), abs=1e-6)


@pytest.mark.parametrize("rule", ["myopic", "storage-curve"])
def test_reservoirs_in_a_ring_are_dispatched(rule):
    """Water has nowhere to go: full ones could take no inflow, and that is no reason to refuse those that are not."""
    ring = ~np.eye(2, dtype=bool)
    water = replace(paper().reservoirs, turn_into=ring, spill_into=ring, min_turn=np.ones(2))
    one = paper(reservoirs=water)
    dispatches_agree(one, 0)
    result = orl.solve(one, rule, scenarios=1)
    assert result.verified and result.solutions[0].volume[-1].sum() == pytest.approx(5 + 3 + 4 + 2 + 1)


def test_of_misses_that_are_equal_the_cheapest_is_done():
    """There are 9 and 5 for targets of 10 and 10; what is turbined above is no further away below, and 5 MW."""
    one, asked = paper(settings=HydroThermalSettings(network="single-bus", stages=1)), []

    def choose(system):
        asked.append(system.dispatch([10.0, 10.0]))
        return [10, 10]

    costs, volumes = simulate(one, NOTHING, choose)
    assert asked[0].distance == pytest.approx(6) and asked[0].turn == pytest.approx([5, 0], abs=1e-6)
    assert costs == pytest.approx([6 * 20 + 1 * 100]) and volumes == [pytest.approx([4, 10])]


def test_inflows_remember_those_before():
    """The first are known, the second errors of 0 and 1 times 3 + 0.5 times those before."""
    seen = []
    memory = Autoregression(np.full((2, 2), 3.0), np.full((2, 2), 0.5))
    one = paper(autoregression=memory, first_inflow=np.array([8.0, 2.0]))
    simulate(one, NOTHING, lambda system: seen.append(system.inflow) or [0, 0])
    assert seen == [[8, 2], [0, 4]]


def test_what_the_twin_does_not_know_is_said():
    known = orl.load("hydrothermal/case3")
    for kind in ("ac", "soc"):
        one = orl.load("hydrothermal/case3", settings={"network": kind})
        with pytest.raises(InputError, match=f"network={kind}"):
            simulate(one, NOTHING, lambda system: [0.0])
    with pytest.raises(InputError, match="commitment=on"):
        simulate(replace(known, settings=replace(known.settings, commitment="on")), NOTHING, lambda system: [0.0])
    with pytest.raises(IllegalAction, match="a volume of 11 of lower is illegal in stage 0"):
        simulate(paper(), NOTHING, lambda system: [0, 11])
    thirsty = paper(reservoirs=replace(paper().reservoirs, min_turn=np.array([0.0, 7.0])))
    with pytest.raises(NotSolved, match="stage 1 has no dispatch"):  # of 7 that must flow, 2 come from above
        simulate(thirsty, NOTHING, lambda system: [0, 0])


@given(st.integers(0, 10**6))
@settings(max_examples=60)
def test_the_process_is_that_of_the_twin(seed):
    dispatches_agree(draw_lossless(seed), seed)


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("case3", {}),
        ("case3", {"network": "transport", "horizon": "periodic", "discount": 0.9, "stages": 14}),
        ("bolivia", {"stages": 3, "reported_stages": 3}),
        ("bolivia", {"stages": 3, "reported_stages": 3, "network": "single-bus", "panel": "protocol"}),
        ("brazil", {"network": "transport", "stages": 3}),
        ("brazil", {"network": "transport", "stages": 3, "inflow_model": "autoregressive"}),
    ],
)
def test_systems_of_the_literature_are_those_of_the_twin(name, chosen):
    dispatches_agree(orl.load(f"hydrothermal/{name}", settings=chosen), 0)
