"""The house rules: who may import whom, docstrings that run, streams, statistics."""

import ast
import doctest
import importlib
import pkgutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import orl
from orl import registry
from orl.result import mean_interval, paired_difference, relative_gap
from orl.rule import Rule, call_table
from orl.scenario import Purpose, Scenarios
from orl.solver import Control

ROOT = Path(__file__).resolve().parent.parent
MODULES = [
    name
    for package in ("orl", "orl.problems", "orl.solvers")
    for _, name, _ in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
]


def imports(path):
    """Yield (level, module) of every import statement in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names] if node.module else [""]
            yield from ((node.level, name) for name in names)


def test_the_floors_import_downwards_only():
    """The ground knows no family and no method, families and methods know the ground alone."""
    for path in [*ROOT.glob("orl/**/*.py"), *ROOT.glob("problems/*/*.py"), *ROOT.glob("solvers/*/*.py")]:
        for level, module in imports(path):
            floor = path.relative_to(ROOT).parts[0]
            assert not module.startswith(("problems", "solvers")), path
            assert level <= 1, f"{path}: relative imports stay within a folder"
            if module.startswith(("orl.problems.", "orl.solvers.")) and level == 0:
                is_table = floor == "orl" and module in ("orl.problems.PROBLEMS", "orl.solvers.SOLVERS")
                assert is_table, f"{path} imports {module}"


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_every_public_name_loads_and_is_documented():
    for name in orl.__all__:
        assert getattr(orl, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'sovle'"):
        _ = orl.sovle


@given(st.integers(0, 2**40), st.sampled_from(list(Purpose)), st.integers(1, 5), st.integers(1, 50))
def test_a_row_depends_on_seed_purpose_and_number_alone(seed, purpose, count, length):
    def draw(rng, block):
        return rng.random(7)

    many = Scenarios(seed, purpose, tuple(range(count)), draw)
    alone = Scenarios(seed, purpose, (count - 1,), draw)
    long = many.values(count - 1, 3 * length)
    short = alone.values(0, length)
    assert len(short) >= length
    assert (long[: len(short)] == short).all()
    assert (many[count - 1].values(0, length) == short).all()


def test_purposes_rows_and_seeds_share_no_draws():
    def draw(rng, block):
        return rng.random(4)

    rows = [Scenarios(seed, purpose, (row,), draw).values(0, 40)
            for seed in (0, 1) for purpose in Purpose for row in (0, 1)]  # fmt: skip
    assert len(np.unique(np.concatenate(rows))) == 12 * 40


def test_intervals_cover_the_mean_as_often_as_they_say():
    rng = np.random.default_rng(0)
    intervals = [mean_interval(rng.normal(3.0, 2.0, size=6)) for _ in range(2000)]
    covered = np.mean([interval.low <= 3.0 <= interval.high for interval in intervals])
    assert abs(covered - 0.95) < 0.02


def test_gaps_and_differences():
    assert relative_gap(110.0, 100.0) == pytest.approx(10 / 110)
    assert relative_gap(None, 1.0) is None
    assert relative_gap(1.0, float("-inf")) is None
    assert relative_gap(0.0, 0.0) == 0
    with pytest.raises(ValueError, match="one length"):
        paired_difference([1.0], [1.0, 2.0])


def test_a_rules_mistakes_are_named():
    shop = orl.load("jobshop/ft06")
    with pytest.raises(orl.InputError, match="NaN at entry 0"):
        call_table(Rule("nan", table=lambda instance: np.full(36, np.nan)), shop, 36)
    with pytest.raises(orl.InputError, match="scores of shape"):
        orl.evaluate(shop, lambda observation: np.zeros(3))
    with pytest.raises(orl.InputError, match="expected an instance"):
        orl.evaluate(3, "spt")


def test_solver_names_and_rules_do_not_collide():
    for name in registry.problem_names():
        family = registry.find_problem(name)
        assert not set(registry.rules_of(family)) & set(registry.solver_names())


def test_a_control_counts_down_and_keeps_the_trace():
    control = Control(time_limit=1000)
    control.report(value=10.0)
    control.report(bound=3.0)
    control.report(bound=3.0)
    assert [(value, bound) for _, value, bound in control.trace] == [(10.0, None), (10.0, 3.0)]
    assert 0 < control.remaining <= 1000
    assert not control.should_stop
    control.interrupt()
    assert control.should_stop
