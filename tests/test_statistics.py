"""The statistics of the tables: values checked by hand, and what must hold for any numbers."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orl.benchmark import picture, tables
from orl.benchmark.statistics import (
    crossed_difference,
    holm,
    paired_difference_interval,
    performance_profile,
    primal_integral,
    relative_difference,
    shifted_geometric_mean,
    sign_flip_p_value,
    win_tie_loss,
)

numbers = st.floats(-1e6, 1e6, allow_nan=False)
positive = st.floats(1e-3, 1e6)


@given(numbers, numbers)
def test_a_relative_difference_is_antisymmetric_and_bounded(a, b):
    assert relative_difference(a, b) == -relative_difference(b, a)
    assert -2 <= relative_difference(a, b) <= 2


@given(st.lists(st.lists(numbers, min_size=1, max_size=3), min_size=1, max_size=8), st.integers(0, 9))
@example([[0.0], [0.0], [0.0], [0.0], [8.66e-147]], 0)
@example([[0.0], [0.0], [0.0], [0.0], [5e-324]], 0)
@settings(max_examples=40)
def test_an_interval_holds_the_mean_and_repeats_with_its_seed(differences, seed):
    """The mean weighs instances alike; the same seed gives the same limits; few instances have none."""
    found = paired_difference_interval(differences, seed, resamples=300)
    assert found.mean == pytest.approx(np.mean([np.mean(row) for row in differences]), abs=1e-6)
    again = paired_difference_interval(differences, seed, resamples=300)
    assert np.array_equal(found, again, equal_nan=True)
    if len(differences) < 5:
        assert math.isnan(found.low)
    else:
        assert found.low <= found.high
        assert min(map(min, differences)) - 1e-6 <= found.low
        assert found.high <= max(map(max, differences)) + 1e-6


@pytest.mark.parametrize(("instances", "seeds", "tolerance"), [(30, 1, 0.045), (30, 4, 0.045), (10, 1, 0.09)])
def test_intervals_cover_the_true_mean_nearly_as_often_as_they_say(instances, seeds, tolerance):
    """Where instances differ and seeds add noise of their own; of ten instances the interval is a little short."""
    rng = np.random.default_rng(1)
    covered = []
    for trial in range(300):
        x = rng.normal(0.3, 1, size=(instances, 1)) + rng.normal(0, 1, size=(instances, seeds))
        found = paired_difference_interval(x.tolist(), trial, resamples=500)
        covered.append(found.low <= 0.3 <= found.high)
    assert abs(np.mean(covered) - 0.95) < tolerance


def test_seeds_within_an_instance_are_no_instances():
    """Five seeds that agree make an interval no shorter; treated as 25 instances they would."""
    values = [-3.0, -1.0, 0.0, 1.0, 4.0]
    once = paired_difference_interval([[x, x] for x in values])
    often = paired_difference_interval([[x] * 6 for x in values])
    assert once.low == pytest.approx(often.low, abs=0.1)
    assert once.high == pytest.approx(often.high, abs=0.1)


def test_sign_flips_by_hand():
    assert sign_flip_p_value([1.0, 1.0, 1.0]) == pytest.approx(2 / 8)
    assert sign_flip_p_value([1.0, -1.0]) == 1
    assert sign_flip_p_value([0.0, 0.0]) == 1
    assert math.isnan(sign_flip_p_value([3.0]))


@given(st.lists(numbers, min_size=2, max_size=8))
@settings(max_examples=30)
def test_p_values_are_probabilities_whatever_the_sign(x):
    p = sign_flip_p_value(x)
    assert 0 < p <= 1
    assert p == pytest.approx(sign_flip_p_value([-value for value in x]))


def test_p_values_are_uniform_where_there_is_no_difference():
    rng = np.random.default_rng(0)
    found = [sign_flip_p_value(rng.normal(size=12), resamples=500) for _ in range(300)]
    assert abs(np.mean(np.array(found) < 0.1) - 0.1) < 0.05


@pytest.mark.parametrize(("of_instances", "of_seeds"), [(1.0, 0.0), (0.0, 1.0), (1.0, 0.3), (0.0, 0.0)])
def test_an_interval_over_instances_and_training_seeds_covers_what_it_says(of_instances, of_seeds):
    """Ten instances, three seeds, the truth 0: 95 % of intervals or more hold it, whichever of the two differs more."""
    rng, is_held, p_values = np.random.default_rng(0), [], []
    for _ in range(1000):
        found = crossed_difference(
            of_instances * rng.normal(size=(10, 1)) + of_seeds * rng.normal(size=3) + 0.5 * rng.normal(size=(10, 3))
        )
        is_held.append(found.low <= 0 <= found.high)
        p_values.append(found.p_value)
    assert np.mean(is_held) > 0.935
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(1 - np.mean(is_held))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_and_keeps_the_order(p):
    adjusted = holm(p)
    assert all(a <= b <= 1 for a, b in zip(p, adjusted, strict=True))
    assert sorted(range(len(p)), key=lambda i: p[i]) == sorted(range(len(p)), key=lambda i: (adjusted[i], p[i]))
    assert min(adjusted) == pytest.approx(min(1, len(p) * min(p)))


def test_holm_leaves_out_what_is_no_test():
    assert holm([0.02, math.nan, 0.03])[::2] == [0.04, 0.04]


@given(st.lists(numbers, max_size=20))
def test_wins_ties_and_losses_are_all(x):
    score = win_tie_loss(x)
    assert sum(score) == len(x)
    assert win_tie_loss([-value for value in x]) == (score.losses, score.ties, score.wins)


@given(st.dictionaries(st.text(max_size=3), st.lists(positive, min_size=4, max_size=4), min_size=1, max_size=5))
def test_profiles_rise_to_one_and_some_method_is_best_everywhere(measures):
    profiles = performance_profile(measures)
    assert sum(shares[0] for _, shares in profiles.values()) >= 1 - 1e-9
    for ratios, shares in profiles.values():
        assert (np.diff(ratios) > 0).all()
        assert (np.diff(shares) >= 0).all()
        assert shares[-1] == 1


def test_a_failure_never_counts_in_a_profile():
    profiles = performance_profile({"a": [1.0, math.inf, math.inf], "b": [3.0, 2.0, math.inf]})
    assert profiles["a"][1].tolist() == pytest.approx([1 / 3])
    assert profiles["b"][0].tolist() == [1, 3]
    assert profiles["b"][1].tolist() == pytest.approx([1 / 3, 2 / 3])
    with pytest.raises(ValueError, match="positive"):
        performance_profile({"a": [0.0]})


@given(st.lists(positive, min_size=1, max_size=10), st.floats(0.1, 10))
def test_a_shifted_mean_lies_between_the_times_and_below_the_plain_mean(times, shift):
    found = shifted_geometric_mean(times, shift)
    assert min(times) - 1e-6 <= found <= np.mean(times) + 1e-6


@given(st.lists(st.tuples(st.floats(0, 20), positive), max_size=6), positive)
def test_a_primal_integral_is_between_0_and_the_horizon(points, best):
    trace = [(seconds, value, None) for seconds, value in sorted(points)]
    assert -1e-9 <= primal_integral(trace, best, 10.0) <= 10 + 1e-9


def test_primal_integrals_by_hand():
    assert primal_integral([], 1.0, 7.0) == 7
    assert primal_integral([(0.0, 5.0, None)], 5.0, 7.0) == 0
    assert primal_integral([(2.0, None, 1.0), (3.0, -5.0, 1.0)], 5.0, 7.0) == 7
    assert primal_integral([(1.0, 10.0, None), (9.0, 5.0, None)], 5.0, 7.0) == 1 + 6 * 0.5


# Tables -------------------------------------------------------------------------------------------------------------


def row(label, instance, value, **more):
    """Return a row as the runner writes it, of a method that found `value`, or None for a failure."""
    verified = value is not None
    about = {
        "table": "t", "label": label, "instance": instance, "seed": 0, "value": value, "verified": verified,
        "status": "feasible" if verified else "crashed", "clairvoyant": False, "is_random": False, "scenarios": 1,
        "bound": None, "bound_kind": "none", "best_known": None, "gap_best_known": None, "seconds": 1.0 * verified,
        "time_limit": 10.0, "trace": [], "costs": [value] * verified, "instance_settings": {}, "peak_memory_mb": None,
    }  # fmt: skip
    return {**about, **more}


def test_a_bound_of_one_method_serves_all_on_the_same_instance_and_settings():
    rows = [row("a", "x", 100), row("b", "x", 120, bound=90, bound_kind="proven", instance_settings={}),
            row("c", "x", 100, instance_settings={"buffers": "swap"})]  # fmt: skip
    gaps = {line.method: line.gap_proven for line in tables.summarise(rows)}
    assert gaps == {"a": 0.1, "b": 0.25, "c": None}


def test_a_failure_loses_and_takes_its_time_limit():
    """It enters no mean, but the score and the mean time."""
    rows = [row(label, str(i), value) for label, values in {"a": [10, 10, 10], "b": [9, 8, None]}.items()
            for i, value in enumerate(values)]  # fmt: skip
    a, b = tables.summarise(rows)
    assert a.is_reference  # more solutions
    assert (b.verified, b.runs, b.score) == (2, 3, (2, 0, 1))
    assert b.difference.mean == pytest.approx(-0.15)
    assert b.seconds == pytest.approx((2 * 2 * 11) ** (1 / 3) - 1)
    c, d = tables.summarise(rows, reference="b")
    assert d.is_reference
    assert c.score == (1, 0, 2)


def test_the_best_is_the_reference_unless_it_knows_the_scenarios():
    rows = [row("a", "x", 10, is_random=True), row("b", "x", 12, is_random=True),
            row("oracle", "x", 5, is_random=True, clairvoyant=True, bound=5, bound_kind="hindsight-mean")]  # fmt: skip
    lines = tables.summarise(rows)
    assert [(line.method, line.is_reference, line.difference and line.difference.mean) for line in lines] == [
        ("a", True, None), ("b", False, pytest.approx(1 / 6)), ("oracle", False, None)]  # fmt: skip
    assert [line.gap_hindsight for line in lines] == [0.5, pytest.approx(7 / 12), 0]


def test_a_bound_of_other_scenarios_serves_nobody_else():
    rows = [row("a", "x", 10, is_random=True, seed=0), row("a", "x", 10, is_random=True, seed=1),
            row("b", "x", 10, is_random=True, seed=1, bound=5, bound_kind="hindsight-mean", costs=[10])]  # fmt: skip
    a, b = tables.summarise(rows)
    assert (a.gap_hindsight, b.gap_hindsight) == (0.5, 0.5)  # of seed 1 alone
    assert tables.summarise(rows[:1])[0].gap_hindsight is None


def test_profiles_are_drawn_where_there_is_something_to_see():
    rows = [row(label, str(i), 10 + i * k) for k, label in enumerate("ab") for i in range(6)]
    assert picture.draw_profiles(rows)[:4] == b"\x89PNG"
    assert picture.draw_profiles(rows[:6]) is None
    assert picture.draw_profiles([{**one, "value": 0} for one in rows]) is None
