"""The first component of many matrices that differ in the weights of their columns alone."""

from __future__ import annotations

import torch
from torch import Tensor

_STEPS = (8, 10, 12, 16, 24)
"""After which it is asked whether all components are found; a gap of a hundredth takes some twenty."""


def largest_component(columns: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
    """Returns ``sigma_1 u_1`` (N, K, S) of matrices (S, C), with either sign, and (N, K) whether they are found.

    By Lanczos' iteration with all vectors kept orthogonal, on ``X diag(squares) X'``, which is never written down:
    each step is a product with X and one with X' for all K. Found is what is off by no more than eps^0.75 of its length
    (6e-6 in float32), by the residual and the gap to the second component.

    Args:
        columns: (N, S, C) X of each of N images; S is 2 or more.
        squares: (N, K, C) of the weights of its columns.

    Source: Golub and Van Loan, Matrix Computations, section 10.1.
    """
    rows = columns.shape[1]
    # The same numbers everywhere, and unlike any pattern that a matrix has: it is orthogonal to no component.
    start = torch.randn(rows, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    q = (start / start.norm()).to(columns).expand(*squares.shape[:2], -1)
    basis, diagonal, beside = list[Tensor](), list[Tensor](), list[Tensor]()
    error, last = torch.finfo(columns.dtype).eps ** 0.75, min(_STEPS[-1], rows)
    for step in range(1, last + 1):
        basis.append(q)
        image = torch.bmm(torch.bmm(q, columns) * squares, columns.mT)
        diagonal.append((image * q).sum(2))
        known = torch.stack(basis, 2)  # (N, K, step, S)
        for _ in range(2):  # once leaves rounding where most is taken off
            image = image - ((known @ image[..., None]).mT @ known)[:, :, 0]
        length = image.norm(dim=2)
        if step in _STEPS or step == last:
            values, vectors = _decomposed(diagonal, beside)
            found = length * vectors[..., -1, -1].abs() <= error * (values[..., -1] - values[..., -2])
            if step == last or bool(found.all()):
                break
        beside.append(length)
        q = torch.where(length > 0, 1 / length, 0)[..., None] * image
    component = (vectors[..., -1:].mT @ known)[:, :, 0]
    return component * values[..., -1:].clamp(min=0).sqrt(), found


def _decomposed(diagonal: list[Tensor], beside: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Returns eigenvalues (N, K, J), ascending, and eigenvectors of symmetric matrices with three diagonals."""
    matrix = torch.stack(diagonal, 2).diag_embed()
    sides = torch.stack(beside, 2)
    return torch.linalg.eigh(matrix + sides.diag_embed(1) + sides.diag_embed(-1))
