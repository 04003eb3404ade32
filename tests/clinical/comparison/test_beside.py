"""A prior that was shifted by known pixels comes to lie on the current study, pixel by pixel."""

import numpy as np
import pytest

from cfcam.clinical.comparison.beside import Beside
from cfcam.clinical.comparison.placed import Grid, Placed

SIZE = (12, 16)


def placed(values, step=1.0):
    values = np.asarray(values, np.float32)
    return Placed(values, Grid.of_spacing(values.shape, (step,) * values.ndim))


def shifted(down, right):
    """What is at (r, c) of the prior is at (r + down, c + right) of the current study."""
    matrix = np.eye(3)
    matrix[:2, 2] = down, right
    return matrix


def dot(row, column, value=1.0):
    values = np.zeros(SIZE, np.float32)
    values[row, column] = value
    return values


@pytest.fixture
def beside():
    prior, current = placed(dot(3, 4, 0.5)), placed(dot(5, 7, 2.0))
    return Beside(shifted(2, 3), prior, current, prior.grid, current.grid, 2.0)


def test_the_prior_map_lies_where_the_registration_says_in_its_own_unit(beside):
    np.testing.assert_array_equal(beside.map(), dot(5, 7, 0.5))


def test_the_difference_is_current_less_prior_over_one_scale(beside):
    # (2.0 - 0.5) / 2.0, at the one place where there is evidence in either
    np.testing.assert_allclose(beside.difference(), dot(5, 7, 0.75), atol=1e-7)


def test_where_the_prior_has_more_the_difference_is_negative_and_evidence_against_the_class_counts_as_none():
    prior, current = placed(dot(3, 4, 1.0)), placed(dot(5, 7, -3.0))
    found = Beside(shifted(2, 3), prior, current, prior.grid, current.grid, 1.0)
    np.testing.assert_allclose(found.difference(), dot(5, 7, -1.0), atol=1e-7)


def test_nothing_is_compared_where_the_prior_is_not():
    everywhere = placed(np.ones(SIZE))
    found = Beside(shifted(2, 3), placed(np.zeros(SIZE)), everywhere, everywhere.grid, everywhere.grid, 1.0)
    difference = found.difference()
    assert (difference[:2] == 0).all()
    assert (difference[:, :3] == 0).all()
    assert (difference[2:, 3:] == 1).all()
    assert found.seen().sum() == (12 - 2) * (16 - 3)


def test_the_prior_picture_lies_on_the_current_one_and_is_dark_where_it_is_not():
    values = np.random.default_rng(0).random(SIZE).astype(np.float32)
    flat = placed(np.zeros(SIZE))
    found = Beside(shifted(2, 3), flat, flat, flat.grid, flat.grid, 1.0).laid(values, outside=-7)
    np.testing.assert_allclose(found[2:, 3:], values[:-2, :-3], atol=1e-6)
    assert (found[:2] == -7).all()
    assert (found[:, :3] == -7).all()


def test_a_prior_of_another_size_and_spacing_comes_onto_the_current_grid():
    # 6 x 8 positions 2 mm apart; the prior's (r, c) lies at (2r, 2c) mm, which is (2r, 2c) of a grid of 1 mm
    coarse, fine = placed(np.arange(48).reshape(6, 8), 2.0), placed(np.zeros(SIZE))
    found = Beside(np.eye(3), coarse, fine, coarse.grid, fine.grid, 1.0)
    np.testing.assert_allclose(found.map()[::2, ::2], coarse.values, atol=1e-5)


def test_two_empty_maps_differ_nowhere():
    flat = placed(np.zeros(SIZE))
    assert not Beside(np.eye(3), flat, flat, flat.grid, flat.grid, 0.0).difference().any()
