"""Values at their places in the patient."""

import math

import numpy as np
import pytest

from cfcam.clinical.comparison.placed import Grid, Placed


def test_values_are_sampled_linearly_at_the_places_of_another_grid():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 7)).astype(np.float32)
    source = Placed(values, Grid((5, 7), np.array([[2.0, 0, 1], [0, 0.5, -1], [0, 0, 1]])))
    target = Grid((6, 4), np.array([[1.3, 0.1, 0], [0.2, 0.9, -2], [0, 0, 1]]))
    matrix = np.array([[0.9, 0.1, 0.4], [-0.1, 1.1, 0.3], [0, 0, 1]])
    wanted, inside = np.zeros(target.size), np.zeros(target.size, bool)
    for i, j in np.ndindex(*target.size):
        y, x = np.linalg.inv(source.grid.affine)[:2] @ matrix @ target.affine @ (i, j, 1)
        inside[i, j] = -0.5 <= y <= 4.5 and -0.5 <= x <= 6.5
        if inside[i, j]:
            y, x = min(max(y, 0), 4), min(max(x, 0), 6)
            a, b = min(int(y), 3), min(int(x), 5)
            top = values[a, b] * (b + 1 - x) + values[a, b + 1] * (x - b)
            low = values[a + 1, b] * (b + 1 - x) + values[a + 1, b + 1] * (x - b)
            wanted[i, j] = top * (a + 1 - y) + low * (y - a)
    assert 0 < inside.sum() < inside.size
    assert np.array_equal(source.covers(target, matrix), inside)
    assert source.sampled(target, matrix) == pytest.approx(wanted, abs=1e-5)


def test_a_thinned_grid_keeps_places():
    grid = Grid((11, 20, 9), np.diag([2.0, 1.0, 3.0, 1.0]))
    index = grid.every(40)
    thin = grid.picked(index)
    values = np.random.default_rng(0).normal(size=grid.size).astype(np.float32)
    assert thin.size == values[index].shape
    assert math.prod(thin.size) <= 60
    assert Placed(values, grid).sampled(thin) == pytest.approx(values[index], abs=1e-6)
    assert grid.every(10**6) == (slice(0, None, 1),) * 3
