"""Intervals and tests: against SciPy, by hand, and by simulation of what they promise."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from scipy import stats

from cfcam.errors import InputError
from cfcam.metrics.scorecard.statistics import bootstrap_interval, holm, paired_difference

NAN = float("nan")


@pytest.fixture(autouse=True)
def _warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def patients_with_effect(rng, patients, images, spread=1.0):
    """Values that share their patient's effect, and the patient of each."""
    values = rng.normal(0, spread, (patients, 1)) + rng.normal(0, 0.3, (patients, images))
    return values.ravel(), np.repeat(np.arange(patients), images)


def test_interval_without_patients_is_scipys_bca():
    values = np.random.default_rng(1).exponential(size=40)
    ours = bootstrap_interval(values, resamples=999, seed=7)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=999, method="BCa", rng=np.random.default_rng(7))
    assert ours.mean == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.02)
    # Exponential values are skewed to the right, and so is the interval: a symmetric one would not be BCa.
    assert ours.high - ours.mean > 1.1 * (ours.mean - ours.low)


def test_mean_is_over_images_and_counts_are_told():
    interval = bootstrap_interval([1, 1, 1, 0, NAN, 0, NAN], clusters=["a", "a", "a", "b", "b", "c", "d"])
    assert interval.mean == pytest.approx(3 / 5)
    assert (interval.n, interval.clusters, interval.excluded) == (5, 3, 2)


def test_one_value_a_patient_is_the_same_as_no_patients():
    values = np.random.default_rng(2).random(20)
    named = bootstrap_interval(values, clusters=[f"p{i:02d}" for i in range(20)])
    assert named == bootstrap_interval(values)


def test_copies_of_patients_images_add_no_certainty():
    values = np.random.default_rng(3).random(15)
    once = bootstrap_interval(values)
    copied = bootstrap_interval(np.repeat(values, 10), clusters=np.repeat(np.arange(15), 10).astype(str))
    assert copied.high - copied.low == pytest.approx(once.high - once.low, rel=0.1)
    ignoring = bootstrap_interval(np.repeat(values, 10))
    assert ignoring.high - ignoring.low < 0.5 * (once.high - once.low)


def test_the_seed_decides_and_the_global_generator_is_left_alone():
    values = np.random.default_rng(4).random(12)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)
    assert paired_difference(values, values[::-1] ** 2) == paired_difference(values, values[::-1] ** 2)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


@pytest.mark.parametrize("values", [[], [NAN, NAN]])
def test_nothing_assessed_is_nan(values):
    interval = bootstrap_interval(values)
    assert np.isnan([interval.mean, interval.low, interval.high]).all()
    assert (interval.n, interval.excluded) == (0, len(values))


@pytest.mark.parametrize("values", [[0.4], [0.4, 0.6]])
def test_fewer_than_three_patients_have_a_mean_and_no_interval(values):
    interval = bootstrap_interval(values)
    assert interval.mean == pytest.approx(np.mean(values))
    assert np.isnan([interval.low, interval.high]).all()
    many_images = bootstrap_interval(values * 10, clusters=[0] * len(values) + [1] * (9 * len(values)))
    assert np.isnan(many_images.low)


@pytest.mark.parametrize(
    ("values", "clusters"), [([0.1] * 7, None), ([0.1] * 7, [0, 0, 0, 1, 2, 2, 3]), ([0, 1, 0.5, 0.5, 1, 0], "aabbcc")]
)
def test_what_does_not_vary_has_an_interval_of_no_width(values, clusters):
    interval = bootstrap_interval(values, clusters)
    assert interval.low == interval.high == pytest.approx(np.mean(values))


def test_awkward_values_never_warn_and_give_an_ordered_interval():
    rng = np.random.default_rng(5)
    for trial in range(60):
        n = int(rng.integers(3, 15))
        values = [rng.integers(0, 2, n), (np.arange(n) == 0), rng.random(n) ** 30, rng.normal(size=n)][trial % 4]
        clusters = None if trial % 3 else np.arange(n) % max(3, n // 2)
        interval = bootstrap_interval(values.astype(float), clusters, resamples=100, seed=trial)
        assert interval.low <= interval.high


def test_many_images_take_the_percentile_interval_which_agrees_with_theory():
    values = np.random.default_rng(6).random(12_000)
    interval = bootstrap_interval(values, resamples=500)
    error = values.std() / np.sqrt(len(values))
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(7)
    covered = []
    for seed in range(200):
        interval = bootstrap_interval(rng.exponential(size=40), resamples=300, seed=seed)
        covered.append(interval.low <= 1 <= interval.high)
    assert 0.88 <= np.mean(covered) <= 0.99


def test_intervals_by_patient_cover_where_intervals_by_image_do_not():
    rng = np.random.default_rng(8)
    by_patient, by_image = [], []
    for seed in range(100):
        values, patients = patients_with_effect(rng, patients=30, images=8)
        for covered, clusters in ((by_patient, patients), (by_image, None)):
            interval = bootstrap_interval(values, clusters, resamples=200, seed=seed)
            covered.append(interval.low <= 0 <= interval.high)
    assert np.mean(by_patient) >= 0.87
    assert np.mean(by_image) <= 0.7


def test_p_by_hand():
    # Differences 4, 1, 2, 3, 1 are all positive: of 32 sign patterns only all plus and all minus are as extreme.
    difference = paired_difference([0.9, 0.8, 0.7, 0.9, 0.8], [0.5, 0.7, 0.5, 0.6, 0.7])
    assert difference.mean == pytest.approx(0.22)
    assert difference.p == 2 / 32
    assert difference.wilcoxon_p == pytest.approx(2 / 32)


def test_p_of_ties_counts_them_although_floats_do_not_add_up():
    # |0.1 + 0.2 - 0.3| is 0 on paper: every pattern is as extreme.
    assert paired_difference([0.1, 0.2, 0.0], [0.0, 0.0, 0.3]).p == 1


def test_exact_p_is_that_of_a_loop_over_all_signs():
    values = np.random.default_rng(9).normal(0.3, 1, 9)
    observed = abs(values.sum())
    patterns = list(itertools.product([1, -1], repeat=9))
    extreme = sum(abs(sum(s * v for s, v in zip(signs, values, strict=True))) >= observed - 1e-12 for signs in patterns)
    assert paired_difference(values, np.zeros(9)).p == extreme / len(patterns)


@pytest.mark.parametrize(("n", "tolerance"), [(10, 1e-12), (40, 0.015)])
def test_p_is_scipys_permutation_test(n, tolerance):
    rng = np.random.default_rng(10)
    a, b = rng.normal(0.35, 1, n), rng.normal(0, 1, n)
    theirs = stats.permutation_test(
        (a, b), lambda x, y, axis: (x - y).mean(axis), permutation_type="samples", vectorized=True, rng=rng
    )
    ours = paired_difference(a, b)
    assert ours.p == pytest.approx(theirs.pvalue, abs=tolerance)
    assert ours.wilcoxon_p == pytest.approx(stats.wilcoxon(a, b).pvalue)


def test_signs_are_flipped_by_patient():
    # Three patients with ten images each give 2^3 patterns, however many images there are.
    a, patients = np.linspace(0.5, 0.9, 30), np.repeat([0, 1, 2], 10)
    difference = paired_difference(a, np.zeros(30), patients)
    assert difference.p == 2 / 8
    assert (difference.n, difference.clusters) == (30, 3)


def test_differences_are_over_images_assessed_on_both_sides():
    difference = paired_difference([0.5, NAN, 0.7, 0.9, 0.6], [0.1, 0.2, NAN, 0.3, 0.5])
    assert (difference.n, difference.excluded) == (3, 2)
    assert difference.mean == pytest.approx((0.4 + 0.6 + 0.1) / 3)
    interval = bootstrap_interval([0.4, 0.6, 0.1])
    assert (difference.low, difference.high) == pytest.approx((interval.low, interval.high))


def test_swapping_sides_changes_the_sign_only():
    rng = np.random.default_rng(11)
    a, b = rng.random(25), rng.random(25)
    forth, back = paired_difference(a, b), paired_difference(b, a)
    assert back.mean == -forth.mean
    assert (back.p, back.wilcoxon_p) == (forth.p, forth.wilcoxon_p)


def test_degenerate_pairs():
    nothing = paired_difference([NAN, 1], [1, NAN])
    assert np.isnan([nothing.mean, nothing.p, nothing.wilcoxon_p]).all()
    same = paired_difference([0.3, 0.5, 0.2, 0.4], [0.3, 0.5, 0.2, 0.4])
    assert (same.mean, same.low, same.high, same.p, same.wilcoxon_p) == (0, 0, 0, 1, 1)
    one = paired_difference([0.9], [0.1])
    assert one.p == 1
    assert np.isnan(one.low)


def test_p_of_draws_is_never_zero():
    difference = paired_difference(np.linspace(1, 2, 30), np.zeros(30), permutations=99)
    assert difference.p == 1 / 100


def test_type_one_error_is_the_level():
    rng = np.random.default_rng(12)
    p = [paired_difference(rng.random(20), rng.random(20), resamples=100, permutations=199).p for _ in range(300)]
    assert 0.02 <= np.mean(np.array(p) <= 0.05) <= 0.085
    assert np.mean(p) == pytest.approx(0.5, abs=0.05)


def test_type_one_error_holds_by_patient_and_not_by_image():
    rng = np.random.default_rng(13)
    by_patient, by_image = [], []
    for _ in range(150):
        values, patients = patients_with_effect(rng, patients=12, images=6)
        zero = np.zeros_like(values)
        by_patient.append(paired_difference(values, zero, patients, resamples=100, permutations=199).p <= 0.05)
        by_image.append(paired_difference(values, zero, resamples=100, permutations=199).p <= 0.05)
    assert np.mean(by_patient) <= 0.1
    assert np.mean(by_image) >= 0.2


def test_holm_by_hand():
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, 0.04; the last may not fall below the third.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_stops_at_one_and_leaves_nan_out_of_the_count():
    np.testing.assert_allclose(holm([NAN, 0.6, 0.02, NAN, 0.7]), [NAN, 1, 0.06, NAN, 1])
    np.testing.assert_allclose(holm([0.03]), [0.03])
    assert holm([]).shape == (0,)
    assert np.isnan(holm([NAN])).all()


def test_holm_keeps_the_family_error_under_the_null():
    rng = np.random.default_rng(14)
    families = rng.random((2000, 8))
    rejected = np.mean([(holm(p) <= 0.05).any() for p in families])
    assert rejected == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bootstrap_interval([1.0, np.inf]), "finite"),
        (lambda: bootstrap_interval([[1.0]]), "list"),
        (lambda: bootstrap_interval([1.0, 2.0], clusters=["a"]), "2 values and 1 patients"),
        (lambda: bootstrap_interval([1.0, 2.0], clusters=["a", None]), "no patient"),
        (lambda: bootstrap_interval([1.0, 2.0], clusters=["a", NAN]), "no patient"),
        (lambda: bootstrap_interval([1.0], confidence=95), "confidence"),
        (lambda: paired_difference([1.0], [1.0, 2.0]), "pairs"),
        (lambda: bootstrap_interval([1.0], resamples=10), "at least 100"),
        (lambda: paired_difference([1.0], [1.0], permutations=0), "1 or more"),
        (lambda: holm([0.5, 1.5]), r"\[0, 1\]"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call()
