"""SDDP's bound in fractions: never above the optimum of the tree, whatever dual values; at it when cuts are good."""

from fractions import Fraction

import numpy as np
import pytest
from scipy.sparse import csr_array

import orl
from orl import registry
from orl.errors import InputError, Stopped
from orl.problems.hydrothermal.optimum import optimal_cost
from orl.solvers.sddp.node import Visit
from orl.solvers.sddp.proof import prove_bound
from orl.solvers.sddp.risk import WorstCase
from orl.solvers.sddp.train import Sddp
from orl.stages import Stage, StageGraph

HYDRO = registry.find_problem("hydrothermal")
AUTOREGRESSIVE = {"stages": 3, "inflow_model": "autoregressive", "noise_samples": 3, "network": "single-bus"}


def case3(**settings):
    return orl.load("hydrothermal/case3", settings={"stages": 3, **settings})


def trained(instance, iterations, **options):
    sddp, rng = Sddp(HYDRO.stages(instance).graph, **options), np.random.default_rng(0)
    for _ in range(iterations):
        sddp.iterate(rng)
    sddp.bound()
    return sddp


@pytest.mark.parametrize(
    ("instance", "iterations", "options"),
    [
        (case3(), 20, {}),
        (case3(discount=0.9), 20, {"multi_cut": True}),
        (orl.load("hydrothermal/brazil", settings=AUTOREGRESSIVE), 25, {}),
    ],
    ids=["dc", "multi-cut", "autoregressive"],
)
def test_the_proven_bound_reaches_the_optimum(instance, iterations, options):
    """Also where the state adds to noises, and where angles have no limits but those that follow from branches."""
    optimum, bound = optimal_cost(instance), float(prove_bound(trained(instance, iterations, **options)))
    assert bound <= optimum * (1 + 1e-9)
    assert bound == pytest.approx(optimum, rel=1e-5)


def test_false_dual_values_prove_less(monkeypatch):
    """The bound is a bound whatever they are; with noise of a hundredth on each it is a weaker one."""
    sddp, optimum = trained(case3(), 10), optimal_cost(case3())
    rng, true = np.random.default_rng(1), Visit.row_duals
    for size in (1e-9, 1e-2, 10.0):
        noisy = property(lambda self, size=size: true.fget(self) * (1 + size * rng.normal(size=len(true.fget(self)))))
        monkeypatch.setattr(Visit, "row_duals", noisy)
        try:
            bound = prove_bound(sddp)
        except Stopped:
            continue
        assert bound <= optimum
        if size == 1e-2:
            assert bound < optimum * (1 - 1e-6)


def test_a_bound_on_paper():
    """Two stages; a thermal unit costs 1 in the first and 3 in the second.

    Load 2 a stage, inflow 0 or 1 in the second: of 2 units of water in store all go to the second stage, so that the
    cost is 2 in the first, and none in the second.
    """

    def stage(cost, noises):
        """Columns: water before, water after, turbined, thermal."""
        rows = csr_array(np.array([[-1.0, 1, 1, 0], [0, 0, 1, 1]]))
        low, high = np.zeros(4), np.array([9.0, 3, 9, 9])
        sides = np.array([0.0, 2.0])
        noise = np.array(noises, dtype=float)[:, None]
        states = np.array([0]), np.array([1])
        costs = np.array([0, 0, 0, cost])
        equal = np.full(len(noises), 1 / len(noises))
        return Stage(costs, low, high, rows, sides, sides, *states, np.array([0]), noise, equal)

    sddp = Sddp(StageGraph.line([stage(1.0, [0]), stage(3.0, [0, 1])], np.array([2.0])))
    rng = np.random.default_rng(0)
    for _ in range(10):
        sddp.iterate(rng)
    # A unit kept saves 3 where there is no inflow, so three halves; both are worth it.
    assert sddp.bound() == 2
    assert 2 - Fraction(1, 10**15) <= prove_bound(sddp) <= 2


def test_what_cannot_be_proven_is_refused():
    sddp = trained(case3(), 2)
    with pytest.raises(Stopped, match="no time"):
        prove_bound(sddp, lambda: True)
    with pytest.raises(InputError, match="expected cost"):
        prove_bound(Sddp(sddp.graph, WorstCase()))
    with pytest.raises(InputError, match="has none"):
        prove_bound(Sddp(StageGraph.ring(sddp.graph.stages, sddp.graph.initial, 0.9)))
    with pytest.raises(InputError, match="these are convex"):
        orl.solve(case3(network="soc"), "sddp", settings={"prove": True})


def test_solve_tells_the_proven_bound():
    result = orl.solve(case3(), "sddp", settings={"prove": True, "iterations": 10}, scenarios=2, time_limit=None)
    assert result.metrics["proven_bound"] == pytest.approx(result.bound, rel=1e-4)
    assert "proven_bound" not in orl.solve(case3(), "sddp", settings={"iterations": 2}, scenarios=2).metrics
