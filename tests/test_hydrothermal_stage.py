"""The stage of the Bolivian system against the authors' own, as they serialised it.

tests/data/bolivia_stage_dcp.mof.json is `examples/HydroPowerModels/bolivia/DCPPowerModel.mof.json` of DecisionRules.jl
(MIT, the licence is beside it), commit 5863bc1: K = 0.0036, so a stage of an hour, though the case has weeks; loads are
already times 0.6; per unit of 100 MVA. Its extra variables of violated minima cost nothing and are 0 here.
"""

from pathlib import Path

import numpy as np
import pytest
from mof import read_mof

import orl
from orl.linear import LinearProgram
from orl.problems.hydrothermal.stages import columns, stage_of

BASE = 100.0  # MVA
FILE = Path(__file__).parent / "data" / "bolivia_stage_dcp.mof.json"


@pytest.fixture(scope="module")
def instance():
    return orl.load("hydrothermal/bolivia", settings={"stage_hours": 1})


class Theirs:
    """The authors' stage."""

    def __init__(self):
        self.place, (cost, lower, upper, *rows) = read_mof(FILE)
        for name, column in self.place.items():
            if "violation" in name:
                lower[column] = upper[column] = 0.0
        self.cost, self.lower, self.upper = cost, lower, upper
        self.program = LinearProgram(cost, lower, upper, *rows, "theirs")
        self.before, self.after, self.inflow = (
            [self.place[name.format(r)] for r in range(1, 12)]
            for name in ("reservoir[{}]_in", "reservoir[{}]_out", "inflow[{}]")
        )

    def fix(self, volume, inflow):
        self.program.set_columns(self.before, volume, volume)
        self.program.set_columns(self.inflow, inflow, inflow)


class Ours:
    """Our stage."""

    def __init__(self, instance):
        at, s = columns(instance), stage_of(instance, 0)
        self.program = LinearProgram(s.cost, s.lower, s.upper, s.matrix, s.row_lower, s.row_upper, "ours")
        self.cost, self.lower, self.upper = s.cost, s.lower, s.upper
        self.before, self.after, self.water, self.k = at.before, at.after, at.water_rows, instance.hm3_per_flow

    def fix(self, volume, inflow):
        self.program.set_columns(self.before, volume, volume)
        self.program.set_rows(self.water, self.k * inflow, self.k * inflow)


@pytest.fixture(scope="module")
def stages(instance):
    return Theirs(), Ours(instance)


def volumes_of(rng, instance):
    """Return volumes at the beginning, from empty to full."""
    return rng.choice([0.0, 0.02, 0.5, 1.0], size=11) * rng.random(11) * instance.reservoirs.max_hm3


def best(stage, worth=None):
    """Return value and volumes at the end, where a hm3 left is worth something, or given volumes are due."""
    stage.program.set_costs(stage.after, stage.cost[stage.after] - (0.0 if worth is None else worth))
    found = stage.program.solve()
    return found.value, found.columns[stage.after]


def test_numbers_are_those_of_the_file(instance, stages):
    """Limits and costs one by one, so that equal values are no accident."""
    theirs, _ = stages
    water, network, place = instance.reservoirs, instance.network, stages[0].place
    assert theirs.upper[theirs.after] == pytest.approx(water.max_hm3)
    outflow = [place[f"outflow[{r}]"] for r in range(1, 12)]
    assert theirs.upper[outflow] == pytest.approx(water.max_turn, rel=1e-3), "turbines, or the plant's power"
    power = [place[f"0_pg[{g}]"] for g in range(1, 24)]
    assert BASE * theirs.upper[power] == pytest.approx(network.gen_max_mw)
    assert theirs.cost[power] / BASE == pytest.approx(network.gen_cost)
    deficit = [place[f"deficit[{bus}]"] for bus in range(1, 29)]
    assert theirs.cost[deficit] / BASE == pytest.approx(network.deficit_cost[0])


@pytest.mark.parametrize("seed", range(8))
def test_a_stage_costs_what_the_authors_stage_costs(instance, stages, seed):
    rng = np.random.default_rng(seed)
    for _ in range(5):
        volume = volumes_of(rng, instance)
        inflow = instance.inflows[rng.integers(48), rng.integers(15)] * rng.choice([1.0, 1.0, 30.0])
        worths = [None, *(rng.random(11) * rng.choice([1e2, 1e4, 1e5]) for _ in range(2))]
        ends, costs = [], []
        for stage in stages:
            stage.fix(volume, inflow)
            stage.program.set_columns(stage.after, stage.lower[stage.after], stage.upper[stage.after])
        for worth in worths:
            values = [best(stage, worth) for stage in stages]
            assert values[0][0] == pytest.approx(values[1][0], rel=1e-8, abs=1e-6)
            costs.append(values[0][0])
            ends.append(values[0][1])
        assert len({round(cost, 3) for cost in costs}) > 1, "what water is worth matters"
        # Ends between two that can be reached can be reached.
        share = rng.random()
        due = np.clip(share * ends[0] + (1 - share) * ends[-1], 0.0, instance.reservoirs.max_hm3)
        for stage in stages:
            stage.program.set_columns(stage.after, due, due)
        theirs, ours = (best(stage)[0] for stage in stages)
        assert ours == pytest.approx(theirs, rel=1e-8, abs=1e-6)


def test_weeks_in_place_of_hours_cost_something_else(instance, stages):
    """K is the trap: the published case has stages of 168 hours."""
    weeks = orl.load("hydrothermal/bolivia")
    stages[0].program.set_columns(stages[0].after, stages[0].lower[stages[0].after], stages[0].upper[stages[0].after])
    volume, inflow = 0.5 * instance.reservoirs.max_hm3, instance.inflows[0, 0]
    values = []
    for stage in (stages[0], Ours(weeks)):
        stage.fix(volume, inflow)
        values.append(best(stage, np.full(11, 1000.0))[0])
    assert abs(values[0] - values[1]) > 1.0
