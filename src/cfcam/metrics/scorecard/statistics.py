"""Intervals and tests for one number per image: bootstrap by patient, paired permutation test, Holm's correction.

NaN is "not assessed": it is left out and counted, never averaged in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from cfcam.errors import InputError

Floats = NDArray[np.float64]

_ROUNDING = 1e-12
_ELEMENTS_AT_ONCE = 2**22  # bounds the memory of resampling to some 100 MB
_BCA_LIMIT = 10_000
_NO_PATIENT = "an image has no patient: give every image one, or no clusters"
_FEWEST_RESAMPLES = 100  # with a few the bias correction can be infinite


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval.

    Attributes:
        mean: over all values that were assessed; NaN if there is none.
        low: lower end; NaN where an interval cannot be given (fewer than three patients).
        high: upper end.
        n: the values assessed.
        clusters: the patients they come from; ``n`` where no patients were given.
        excluded: the values that were NaN.
    """

    mean: float
    low: float
    high: float
    n: int
    clusters: int
    excluded: int


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences a - b, with its interval and tests.

    Attributes:
        mean: over all images assessed on both sides; NaN if there is none.
        low: lower end of the confidence interval; NaN with fewer than three patients.
        high: upper end.
        p: two-sided p of the sign-flip permutation test by patient; NaN if there is nothing to compare.
        n: the images assessed on both sides.
        clusters: the patients they come from; ``n`` where no patients were given.
        excluded: the images not assessed on one side or both.
        wilcoxon_p: two-sided p of Wilcoxon's signed-rank test on the patients' mean differences, a check by ranks.
    """

    mean: float
    low: float
    high: float
    p: float
    n: int
    clusters: int
    excluded: int
    wilcoxon_p: float


def bootstrap_interval(
    values: ArrayLike,
    clusters: Sequence[Any] | NDArray[Any] | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Returns the mean with its bias-corrected and accelerated (BCa) bootstrap interval.

    With clusters whole patients are drawn: the statistic is (sum of the patients' sums) / (sum of their counts), the
    mean over images. Without them each value is its own cluster. Values that are all equal, or patients whose means
    are, give an interval of no width; that says the sample does not vary, not that the mean is certain. Above 10,000
    clusters the percentile interval is taken: there the correction, which shrinks with the root of their number, is
    small beside the interval, while its jackknife costs the square.

    Source: Efron 1987, J. Am. Stat. Assoc. 82, by ``scipy.stats.bootstrap``; by cluster: Field and Welsh 2007, J. R.
    Stat. Soc. B 69.

    Args:
        values: (n,) one for each image; NaN is excluded.
        clusters: (n,) the patient of each image.
        confidence: in (0, 1).
        resamples: draws, at least 100.
        seed: of the draws; the same seed gives the same interval.

    Raises:
        InputError: the arguments do not fit each other or are out of range, or a value is infinite.

    Example:
        >>> interval = bootstrap_interval([0.2, 0.4, 0.4, 0.6, 0.9, float("nan")])
        >>> f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}], n = {interval.n}"
        '0.50 [0.32, 0.74], n = 5'
    """
    numbers = _vector(values)
    if not 0 < confidence < 1 or resamples < _FEWEST_RESAMPLES:
        raise InputError(
            f"confidence {confidence} and {resamples} resamples: give a confidence in (0, 1) and at least "
            f"{_FEWEST_RESAMPLES} resamples"
        )
    known = ~np.isnan(numbers)
    sums, counts = _by_cluster(numbers, clusters, known)
    n = int(known.sum())
    mean = float(sums.sum() / n) if n else math.nan
    low, high = _interval(sums, counts, confidence, resamples, seed)
    return Interval(mean, low, high, n, len(sums), len(numbers) - n)


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Any] | NDArray[Any] | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    permutations: int = 9999,
    seed: int = 0,
) -> Difference:
    """Returns the mean difference a - b over images assessed on both sides, with interval and p.

    p is of the sign-flip test: if a and b were exchangeable within a patient, the sign of the patient's summed
    difference would be a coin's. All 2^patients signs are tried if there are no more than ``permutations`` + 1 of them,
    else that many draws, with p = (1 + as extreme) / (1 + draws). The smallest p is therefore 2^(1 - patients) or
    1 / (1 + draws).

    Source: Fisher's randomisation test; Phipson and Smyth 2010, 1603.05766, for the p of draws. The interval is
    `bootstrap_interval` of the differences.

    Args:
        a: (n,) one for each image.
        b: (n,) of the same images.
        clusters: (n,) the patient of each image.
        confidence: in (0, 1).
        resamples: draws of the bootstrap, at least 100.
        permutations: draws of the test.
        seed: of both.

    Raises:
        InputError: the arguments do not fit each other or are out of range, or a value is infinite.

    Example:
        >>> difference = paired_difference([0.9, 0.8, 0.7, 0.9, 0.8], [0.5, 0.6, 0.6, 0.6, 0.7])
        >>> round(difference.mean, 3), difference.p, difference.wilcoxon_p
        (0.22, 0.0625, 0.0625)
    """
    left, right = _vector(a), _vector(b)
    if left.shape != right.shape:
        raise InputError(f"{len(left)} and {len(right)} values to compare: pairs need one of each for every image")
    if permutations < 1:
        raise InputError(f"{permutations} permutations: give 1 or more")
    difference = left - right
    interval = bootstrap_interval(difference, clusters, confidence, resamples, seed)
    sums, counts = _by_cluster(difference, clusters, ~np.isnan(difference))
    return Difference(
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        p=_sign_flip_p(sums, permutations, seed),
        n=interval.n,
        clusters=interval.clusters,
        excluded=interval.excluded,
        wilcoxon_p=_wilcoxon_p(sums / counts),
    )


# By hand: scipy 1.17.1 adjusts for the false discovery rate only; Holm's method is in statsmodels, a dependency more.
def holm(p_values: ArrayLike) -> Floats:
    """Returns p-values adjusted for their number by Holm's step-down method; reject where they are at most alpha.

    With p_(1) <= ... <= p_(m): adjusted p_(i) = max over j <= i of min(1, (m - j + 1) p_(j)). NaN stays NaN and does
    not count as a test. Source: Holm 1979, Scand. J. Stat. 6.

    Args:
        p_values: (m,) in [0, 1] or NaN.

    Raises:
        InputError: a p-value outside [0, 1].

    Example:
        >>> holm([0.01, 0.04, 0.03, float("nan")])
        array([0.03, 0.06, 0.06,  nan])
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or bool(((p < 0) | (p > 1)).any()):
        raise InputError(f"p-values {p}: give a list of numbers in [0, 1]")
    tests = np.flatnonzero(~np.isnan(p))
    order = tests[np.argsort(p[tests], kind="stable")]
    stepped = np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1))
    adjusted = np.full_like(p, np.nan)
    adjusted[order] = stepped.clip(max=1.0)
    return adjusted


def _vector(values: ArrayLike) -> Floats:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or bool(np.isinf(numbers).any()):
        raise InputError(f"values of shape {numbers.shape}: give a list of finite numbers, NaN where not assessed")
    return numbers


def _by_cluster(
    numbers: Floats, clusters: Sequence[Any] | NDArray[Any] | None, known: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Sum and count of the known values of each cluster that has any."""
    if clusters is None:
        return numbers[known], np.ones(int(known.sum()))
    if len(clusters) != len(numbers):
        raise InputError(f"{len(numbers)} values and {len(clusters)} patients: give the patient of every image")
    if not isinstance(clusters, np.ndarray) or clusters.dtype.kind != "U":
        if any(label is None or label != label for label in clusters):
            raise InputError(_NO_PATIENT)
        clusters = np.array([str(label) for label in clusters])
    if (clusters == "").any():
        raise InputError(_NO_PATIENT)
    _, member = np.unique(clusters, return_inverse=True)
    counts = np.bincount(member, weights=known).astype(np.float64)
    sums = np.bincount(member, weights=np.where(known, numbers, 0)).astype(np.float64)
    return sums[counts > 0], counts[counts > 0]


def _interval(sums: Floats, counts: Floats, confidence: float, resamples: int, seed: int) -> tuple[float, float]:
    if len(sums) < 3:
        return math.nan, math.nan
    mean = sums.sum() / counts.sum()
    if np.allclose(sums, mean * counts, rtol=_ROUNDING, atol=_ROUNDING * np.abs(sums).max()):
        return float(mean), float(mean)
    result = stats.bootstrap(
        (sums, counts),
        lambda total, number, axis: total.sum(axis) / number.sum(axis),
        paired=True,
        vectorized=True,
        confidence_level=confidence,
        n_resamples=resamples,
        batch=max(1, _ELEMENTS_AT_ONCE // len(sums)),
        method="BCa" if len(sums) <= _BCA_LIMIT else "percentile",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


# By hand: scipy 1.17.1's permutation_test takes 9 to 21 x as long, doubles the least p, misses ties at a sum of 0.
def _sign_flip_p(sums: Floats, permutations: int, seed: int) -> float:
    """Two-sided p of the sum of the clusters' differences under random signs."""
    clusters = len(sums)
    if not clusters:
        return math.nan
    # Sums that are equal on paper differ in their last digits; they are as extreme all the same.
    limit = abs(sums.sum()) - _ROUNDING * np.abs(sums).sum()
    if 2**clusters <= permutations + 1:
        bits = np.arange(2**clusters)[:, None] >> np.arange(clusters)
        return float((np.abs((1 - 2 * (bits & 1)) @ sums) >= limit).mean())
    rng = np.random.default_rng(seed)
    batch = max(1, _ELEMENTS_AT_ONCE // clusters)
    extreme = 0
    for start in range(0, permutations, batch):
        signs = 2 * rng.integers(0, 2, (min(batch, permutations - start), clusters), dtype=np.int8) - 1
        extreme += int((np.abs(signs @ sums) >= limit).sum())
    return (1 + extreme) / (1 + permutations)


def _wilcoxon_p(differences: Floats) -> float:
    if not len(differences):
        return math.nan
    if not differences.any():
        return 1.0
    return float(stats.wilcoxon(differences).pvalue)
