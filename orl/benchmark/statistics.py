"""Statistics as an OR paper wants them: paired differences, p-values, profiles, shifted means, primal integrals.

Costs are minimised. What is unknown or failed is infinity or NaN, as each function says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from orl.result import Interval

RESAMPLES = 10_000
MIN_INSTANCES = 5  # for an interval


def relative_difference(a: float, b: float) -> float:
    """Return (a - b) / max(|a|, |b|): for costs of any sign, in [-2, 2], 0 where both are 0.

    >>> relative_difference(99.0, 100.0), relative_difference(0.0, 0.0), relative_difference(0.0, 5.0)
    (-0.01, 0.0, -1.0)
    """
    largest = max(abs(a), abs(b))
    return (a - b) / largest if largest > 0 else 0.0


def paired_difference_interval(
    differences: Sequence[Sequence[float]], seed: int = 0, level: float = 0.95, resamples: int = RESAMPLES
) -> Interval:
    """Return mean and bootstrap interval of paired differences over instances, and over the seeds of each.

    Instances are drawn with replacement and, where there are several seeds, seeds within each drawn instance (the
    two-stage bootstrap); every instance weighs the same. With one seed an instance the interval is scipy's BCa, else
    the percentile interval.

    Parameters
    ----------
    differences : sequence over instances of sequences over seeds
        Of one method minus the other; instances may differ in how many seeds they have.
    seed : int
        Of the resampling.
    level : float in (0, 1)
    resamples : int

    Returns
    -------
    Interval
        Without limits (NaN) for fewer than `MIN_INSTANCES` instances, of which it would cover far less than it says.
        Of ten it covers some 90 %.

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap (1993), doi 10.1201/9780429246593; Davison and Hinkley,
    Bootstrap Methods and their Application (1997), section 3.8, doi 10.1017/CBO9780511802843.

    Examples
    --------
    >>> interval = paired_difference_interval([[-1.0], [-2.0], [-3.0], [-2.0], [-2.0]])
    >>> interval.mean, interval.high < 0
    (-2.0, True)
    """
    values = [np.asarray(of_instance, dtype=np.float64) for of_instance in differences]
    means = np.array([of_instance.mean() for of_instance in values])
    mean, count = float(means.mean()) if len(means) else math.nan, len(means)
    if count < MIN_INSTANCES:
        return Interval(mean, math.nan, math.nan)
    if all(np.ptp(of_instance) == 0 for of_instance in values) and np.ptp(means) == 0:
        return Interval(mean, mean, mean)
    rng = np.random.default_rng(seed)
    if all(len(of_instance) == 1 for of_instance in values):
        limits = _bca(means, rng, level, resamples)
    else:
        drawn = np.empty(resamples * count)  # the mean of a resampled instance at each place
        places = rng.integers(count, size=resamples * count)
        order = np.argsort(places.astype(np.min_scalar_type(count)), kind="stable")  # small integers sort fast
        ends = np.cumsum(np.bincount(places, minlength=count))[:-1]
        for of_instance, here in zip(values, np.split(order, ends), strict=True):
            seeds = rng.integers(len(of_instance), size=(len(here), len(of_instance)))
            drawn[here] = of_instance[seeds].mean(axis=1)
        tail = (1 - level) / 2
        limits = np.quantile(drawn.reshape(resamples, count).mean(axis=1), [tail, 1 - tail])
    return Interval(mean, float(limits[0]), float(limits[1]))


def _bca(sample: np.ndarray, rng: np.random.Generator, level: float, resamples: int) -> np.ndarray:
    from scipy.stats import bootstrap

    def interval(method: str) -> np.ndarray:
        found = bootstrap(
            (scaled,), np.mean, confidence_level=level, n_resamples=resamples, method=method, rng=rng, batch=1000
        )
        return scale * np.asarray(found.confidence_interval)

    scale = np.abs(sample).max()  # the cubes of tiny differences would underflow
    scaled = sample / scale
    # Jackknife means that do not differ leave BCa without an acceleration; they cannot be told from noise then.
    return interval("percentile" if np.ptp(scaled) <= 1e-9 else "BCa")


def sign_flip_p_value(differences: Sequence[float], seed: int = 0, resamples: int = RESAMPLES) -> float:
    """Return the two-sided p-value of a mean paired difference of 0, by the sign-flip permutation test.

    Under the hypothesis the sign of each pair's difference is as likely plus as minus. All sign patterns are counted
    where there are at most `resamples`, else that many are drawn. Unlike the signed-rank test it speaks of the mean, as
    the tables do, and takes ties and zeros as they are.

    Parameters
    ----------
    differences : sequence of float
        One an instance; average over seeds first.

    Returns
    -------
    float
        In (0, 1]; NaN for fewer than two instances.

    References
    ----------
    Fisher, The Design of Experiments (1935), section 21; Good, Permutation, Parametric and Bootstrap Tests of
    Hypotheses (2005), doi 10.1007/b138696.

    Examples
    --------
    >>> sign_flip_p_value([1.0, 2.0, 3.0, 4.0, 5.0])    # 2 of 32 sign patterns are as extreme
    0.0625
    """
    sample = np.asarray(differences, dtype=np.float64)
    if len(sample) < 2:
        return math.nan
    if not sample.any():
        return 1.0
    from scipy.stats import permutation_test

    found = permutation_test(
        (sample,),
        lambda x, axis: x.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=1000,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


class CrossedDifference(NamedTuple):
    """A mean difference, its confidence limits, and the p-value of none."""

    mean: float
    low: float
    high: float
    p_value: float


def crossed_difference(differences: Sequence[Sequence[float]], level: float = 0.95) -> CrossedDifference:
    """Return mean and interval of differences over instances and training seeds, each seed on every instance.

    Both are drawn from what might have been: with m_I and m_S the mean squares of instances and of seeds, the mean of
    n differences has a variance of at most (m_I + m_S) / n, which counts the residual twice; degrees of freedom after
    Satterthwaite. A few seeds make a wide interval where policies differ, which resampling of three would not.

    Parameters
    ----------
    differences : (instances, seeds)
        Two or more of both.
    level : float in (0, 1)

    Raises
    ------
    ValueError
        If it is no such table.

    References
    ----------
    Satterthwaite, An Approximate Distribution of Estimates of Variance Components (1946), Biometrics Bulletin 2,
    110-114, doi 10.2307/3002019.

    Examples
    --------
    >>> [round(x, 3) for x in crossed_difference([[-2.0, -3.0], [-4.0, -5.0], [-3.0, -4.0]])]
    [-3.5, -5.988, -1.012, 0.021]
    """
    from scipy.special import stdtr, stdtrit

    table = np.asarray(differences, dtype=np.float64)
    if table.ndim != 2 or min(table.shape) < 2:
        raise ValueError(f"differences of two or more instances and seeds are needed, got shape {table.shape}.")
    instances, seeds = table.shape
    squares = seeds * table.mean(1).var(ddof=1), instances * table.mean(0).var(ddof=1)
    mean, error = float(table.mean()), math.sqrt(sum(squares) / table.size)
    if error == 0:
        return CrossedDifference(mean, mean, mean, 1.0 if mean == 0 else 0.0)
    free = sum(squares) ** 2 / (squares[0] ** 2 / (instances - 1) + squares[1] ** 2 / (seeds - 1))
    half = float(stdtrit(free, 0.5 + level / 2)) * error
    return CrossedDifference(mean, mean - half, mean + half, 2 * float(stdtr(free, -abs(mean) / error)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for how many there are, so that the chance of any false finding is what each says.

    NaN are not tests and stay NaN.

    References
    ----------
    Holm, A Simple Sequentially Rejective Multiple Test Procedure (1979), Scandinavian Journal of Statistics 6, 65-70,
    https://www.jstor.org/stable/4615733.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    tests = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    adjusted, largest = list(map(float, p_values)), 0.0
    for rank, (p, index) in enumerate(tests):
        largest = max(largest, min(1.0, (len(tests) - rank) * p))
        adjusted[index] = largest
    return adjusted


class WinTieLoss(NamedTuple):
    """How often a method was better than, as good as and worse than another."""

    wins: int
    ties: int
    losses: int


def win_tie_loss(differences: Sequence[float], tolerance: float = 1e-9) -> WinTieLoss:
    """Count the instances in which a method was better (a negative difference), as good, worse.

    >>> win_tie_loss([-1.0, 0.0, 2.0, -3.0])
    WinTieLoss(wins=2, ties=1, losses=1)
    """
    x = np.asarray(differences, dtype=np.float64)
    return WinTieLoss(
        int((x < -tolerance).sum()), int((np.abs(x) <= tolerance).sum()), int((x > tolerance).sum())
    )  # fmt: skip


def performance_profile(
    measures: Mapping[str, Sequence[float]],
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return each method's performance profile.

    The profile of a method at tau is the share of instances on which its measure is at most tau times the best one's.

    Parameters
    ----------
    measures : method -> one positive number an instance
        A cost or a time, in the same order of instances; infinity where the method failed.

    Returns
    -------
    method -> (ratios, shares)
        Where the step function rises, from ratio 1 on, and to what; an instance that every method failed counts
        for none.

    References
    ----------
    Dolan and More, Benchmarking optimization software with performance profiles, Mathematical Programming 91 (2002)
    201-213, doi 10.1007/s101070100263.

    Examples
    --------
    >>> profile = performance_profile({"a": [1.0, 4.0], "b": [2.0, 2.0]})
    >>> profile["b"]
    (array([1., 2.]), array([0.5, 1. ]))
    """
    table = np.array([list(row) for row in measures.values()], dtype=np.float64)
    if table.size and not (table > 0).all():
        raise ValueError("performance profiles are of positive measures.")
    best = table.min(axis=0)
    ratios = np.full(table.shape, np.inf)
    np.divide(table, best, out=ratios, where=np.isfinite(table))
    profiles = {}
    for name, row in zip(measures, ratios, strict=True):
        steps = np.unique(np.concatenate([[1.0], row[np.isfinite(row)]]))
        profiles[name] = (steps, (row[None, :] <= steps[:, None]).mean(axis=1))
    return profiles


def shifted_geometric_mean(seconds: Sequence[float], shift: float = 1.0) -> float:
    """Return the geometric mean of times, each made longer by `shift` beforehand and the mean shorter afterwards.

    The shift keeps runs of milliseconds from ruling the mean.

    References
    ----------
    Achterberg, Constraint Integer Programming (2007), appendix A.3, doi 10.14279/depositonce-1634.

    Examples
    --------
    >>> round(shifted_geometric_mean([0.0, 3.0]), 9)    # sqrt(1 * 4) - 1
    1.0
    """
    from scipy.stats import gmean

    times = np.asarray(seconds, dtype=np.float64)
    if not (times >= 0).all():
        raise ValueError("times must be >= 0.")
    return float(gmean(times + shift) - shift) if len(times) else math.nan


def primal_integral(trace: Sequence[tuple[float, float | None, float | None]], best: float, horizon: float) -> float:
    """Return the primal integral: the primal gap of the incumbent, integrated over time from 0 to `horizon`.

    The gap is 1 before the first incumbent and when its sign is not that of `best`, else |value - best| divided by
    the larger of the two in absolute value. Small is good; `horizon` is the integral of a run that found nothing.

    Parameters
    ----------
    trace : sequence of (seconds, value, bound)
        Incumbents, in the order of time, as `Result.trace`.
    best : float
        Best known value.
    horizon : float
        Seconds; the same for all methods that are compared.

    References
    ----------
    Berthold, Measuring the impact of primal heuristics, Operations Research Letters 41 (2013) 611-614,
    doi 10.1016/j.orl.2013.08.007.

    Examples
    --------
    >>> primal_integral([(1.0, 200.0, None), (3.0, 100.0, None)], best=100.0, horizon=10.0)    # 1 + 2 * 0.5 + 0
    2.0
    """
    total, since, gap = 0.0, 0.0, 1.0
    for seconds, later in primal_gaps(trace, best):
        now = min(seconds, horizon)
        total += gap * (now - since)
        since, gap = now, later
    return total + gap * (horizon - since)


def primal_gaps(trace: Sequence[tuple[float, float | None, float | None]], best: float) -> list[tuple[float, float]]:
    """Return when an incumbent came (seconds, never decreasing) and its primal gap, see `primal_integral`.

    Examples
    --------
    >>> primal_gaps([(1.0, 200.0, None), (3.0, 100.0, None)], best=100.0)
    [(1.0, 0.5), (3.0, 0.0)]
    """
    gaps, since = [], 0.0
    for seconds, value, _ in trace:
        if value is not None:
            since = max(seconds, since)
            gaps.append((since, 1.0 if value * best < 0 else abs(relative_difference(value, best))))
    return gaps
