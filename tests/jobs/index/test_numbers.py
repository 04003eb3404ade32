import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from cfcam.jobs.index.entry import Entry
from cfcam.jobs.index.glance import GRID, packed
from cfcam.jobs.index.numbers import confusion, correlation, groups, typicality, wilson

BENIGN, MALIGNANT = 0, 1


def entry(explained, label=None, answer=None, rows=8, value=1.0):
    """An entry whose map is ``value`` in its first rows of `GRID` and 0 below."""
    heat = torch.zeros(GRID, GRID)
    heat[:rows] = value
    answer = explained if answer is None else answer
    return Entry("a", "ok", explained=explained, answer=answer, label=label, grid=packed(heat))


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (10, 10), (9, 10), (99, 115), (1, 3)])
def test_wilson_is_that_of_scipy(hits, n):
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_nothing_says_nothing():
    assert wilson(0, 0) == (0, 1)


def test_the_confusion_counts_pictures_of_which_both_are_known():
    entries = [entry(0, 0), entry(0, 1), entry(0, 1), entry(1, 1), entry(1), Entry("b", "failed", label=1)]
    assert confusion(entries) == {(0, 0): 1, (1, 0): 2, (1, 1): 1}


def test_the_correlation_is_pearsons_and_none_for_a_map_that_is_the_same_everywhere():
    ramp = np.arange(9.0, dtype=np.float32).reshape(3, 3)
    assert correlation(ramp, 5 - 2 * ramp) == pytest.approx(-1)
    other = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float32)
    assert correlation(ramp, other) == pytest.approx(np.corrcoef(ramp.ravel(), other.ravel())[0, 1])
    assert correlation(ramp, np.full((3, 3), 0.3, np.float32)) is None


def test_mean_maps_are_of_classes_without_labels():
    found = groups([entry(0, value=1.0), entry(0, value=0.2), entry(1, rows=4)], [None] * 3)
    assert [(g.explained, g.label, g.answer, g.wrong, len(g.members)) for g in found] == [
        (0, None, None, False, 2),
        (1, None, None, False, 1),
    ]
    assert found[0].mean[:8] == pytest.approx(0.6, abs=1e-6)  # 51 and 255 of 255
    assert found[0].mean[8:] == pytest.approx(0)
    assert found[1].mean.mean() == pytest.approx(0.25)


def test_mean_maps_are_of_right_answers_and_of_each_kind_of_error_with_labels():
    entries = [
        entry(BENIGN, BENIGN),
        entry(MALIGNANT, BENIGN, rows=2),
        entry(MALIGNANT, BENIGN, rows=4),
        entry(BENIGN, MALIGNANT, rows=16),
        entry(BENIGN, None),  # belongs nowhere: what it is nobody says
        entry(MALIGNANT, MALIGNANT, rows=1),
    ]
    found = groups(entries, typicality(entries))
    assert [(g.label, g.answer, g.members) for g in found] == [
        (BENIGN, BENIGN, (0,)),
        (MALIGNANT, MALIGNANT, (5,)),
        (BENIGN, MALIGNANT, (1, 2)),  # the more frequent error comes first; map 1 is the more like map 5
        (MALIGNANT, BENIGN, (3,)),
    ]
    assert found[2].mean[:, 0].tolist() == pytest.approx([1, 1, 0.5, 0.5] + [0] * 12, abs=1e-6)


def test_typicality_compares_with_right_answers_of_the_class_that_is_explained():
    entries = [
        entry(BENIGN, BENIGN, rows=8),
        entry(BENIGN, MALIGNANT, rows=4),
        entry(MALIGNANT, BENIGN, rows=4),
        Entry("bare", "no positive evidence", explained=BENIGN, answer=BENIGN, label=BENIGN),
    ]
    first, error, unknown, bare = typicality(entries)
    assert first == pytest.approx(1)  # the only right answer is its own mean
    # upper half against upper quarter: cov 1/4 - 1/2·1/4 = 1/8, variances 1/4 and 3/16
    assert error == pytest.approx((1 / 8) / (1 / 4 * 3 / 16) ** 0.5)
    assert unknown is None  # no right answer says malignant
    assert bare is None


def test_typicality_without_labels_compares_with_all_maps_of_the_class():
    like = typicality([entry(0, rows=8), entry(0, rows=8), entry(0, rows=4)])
    assert like[0] == like[1] > like[2]
