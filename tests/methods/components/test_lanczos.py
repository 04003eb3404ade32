"""The first component of matrices with many weights, against the whole decomposition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cfcam.methods.components.lanczos import largest_component


def test_by_hand():
    # X = [[3, 0], [0, 2]] with column weights (1, 1), (1, 2), (0, 0): X X' = diag(9, 4), diag(9, 16), 0.
    columns = torch.tensor([[[3.0, 0.0], [0.0, 2.0]]])
    squares = torch.tensor([[[1.0, 1.0], [1.0, 4.0], [0.0, 0.0]]])
    component, found = largest_component(columns, squares)
    torch.testing.assert_close(component.abs(), torch.tensor([[[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]]]))
    assert bool(found.all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows", [2, 9, 49])
def test_what_is_found_is_the_first_of_the_whole_decomposition(rows, dtype):
    generator = torch.Generator().manual_seed(3)
    columns = torch.rand(2, rows, 60, generator=generator, dtype=dtype)
    weights = torch.randn(2, 15, 60, generator=generator, dtype=dtype)
    component, found = largest_component(columns, weights.square())
    assert float(found.float().mean()) > 0.9
    for n, k in found.nonzero().tolist():
        left, sigma, _ = np.linalg.svd((columns[n] * weights[n, k]).double().numpy(), full_matrices=False)
        expected = sigma[0] * left[:, 0]
        given = component[n, k].double().numpy()
        tolerance = {torch.float32: 2e-5, torch.float64: 1e-10}[dtype] * sigma[0]
        assert min(np.abs(given - expected).max(), np.abs(given + expected).max()) < tolerance


def test_two_that_are_all_but_alike_are_not_found():
    """Singular values 1 and 1 - 1e-6: which of the two is first is beyond float32; and 40 more stand between."""
    rows = torch.eye(42)
    sigma = torch.linspace(0.5, 0.999, 42)
    sigma[:2] = torch.tensor([1.0, 1 - 1e-6])
    _, found = largest_component((rows * sigma)[None], torch.ones(1, 1, 42))
    assert not bool(found.any())


def test_of_a_single_column_nothing_is_left_after_the_first_steps():
    column = torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0])
    component, found = largest_component(column[None, :, None], torch.tensor([[[4.0]]]))
    assert bool(found.all())
    torch.testing.assert_close((component[0, 0] * component[0, 0, 4].sign()), 2 * column)
