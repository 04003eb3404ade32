"""ROAD's noisy linear imputation: removed pixels become the weighted mean of their neighbours, all at once.

The weights are those of the binomial kernel (1, 2, 1) along every axis without its centre, divided by their sum: in two
dimensions 1/6 for direct and 1/12 for diagonal neighbours, as published. In three dimensions this gives 1/14 for the
six faces, 1/28 for the twelve edges and 1/56 for the eight corners, and in one dimension 1/2. Neighbours outside the
image do not count.

The linear system is a graph Laplacian with the kept pixels as boundary values. It is solved by conjugate gradients,
preconditioned by one multigrid V-cycle and started from the solutions on coarser and coarser grids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cfcam.errors import InputError

_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
_TOLERANCE = 1e-4
"""Largest estimated error of a pixel, as a share of the image's range; ROAD's noise is some 5e-3 of it."""
_LONGEST_IN_FLOAT32 = 512
_ITERATIONS = 200
_DAMPING = 0.8


def noisy_linear_imputation(x: Tensor, keep: Tensor, noise: float = 0.01, seed: int = 0) -> Tensor:
    """Replaces removed pixels by the weighted mean of their neighbours plus Gaussian noise.

    Args:
        x: (B, C, *spatial) images.
        keep: (B, *spatial) bool, which pixels stay; the others are imputed, in all channels.
        noise: standard deviation of the noise, in the units of ``x``.
        seed: of the noise; the noise is the same for every image, so a batch equals its images one by one.

    Returns:
        (B, C, *spatial) with the kept pixels untouched. The imputed ones are within 1e-3 of the image's range of the
        solution of the linear system (before the noise).

    Raises:
        InputError: the shapes do not fit, ``keep`` is not bool, or an image keeps no pixel.

    Source: Rong et al. 2022, arXiv 2202.00449, "Noisy Linear Imputation".
    """
    _check(x, keep)
    keep = keep.unsqueeze(1)
    work = x.to(torch.promote_types(x.dtype, _precision(x)))
    imputed = _solve(torch.where(keep, work, 0), keep)
    if noise:
        field = torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(seed), dtype=work.dtype)
        imputed = imputed + noise * field.to(x.device)
    return torch.where(keep, x, imputed.to(x.dtype))


def _precision(x: Tensor) -> torch.dtype:
    """Returns the type to solve in: rounding errors grow with the width of a hole, and most in one dimension.

    In float32 they are 2e-3 of the range at 1024 x 1024 pixels, and 1e-3 in a signal of 467.
    """
    return torch.float64 if x.ndim == 3 or max(x.shape[2:]) > _LONGEST_IN_FLOAT32 else torch.float32


def _check(x: Tensor, keep: Tensor) -> None:
    if keep.dtype != torch.bool or keep.shape != (x.shape[0], *x.shape[2:]):
        raise InputError(
            f"keep is {tuple(keep.shape)} of {keep.dtype} for images {tuple(x.shape)}: give one bool a pixel,"
            f" {(x.shape[0], *x.shape[2:])}"
        )
    if not keep.flatten(1).any(1).all():
        raise InputError("an image keeps no pixel, so nothing can be imputed from: keep at least one pixel of each")


@dataclass(frozen=True)
class _Level:
    """The linear system on one grid: an image solves it if `apply` gives 0."""

    removed: Tensor
    """(B, 1, *spatial) 1 where a value is unknown, else 0."""
    weight: float
    """Factor of the unnormalised kernel on this grid."""
    total: Tensor
    """(1, 1, *spatial) sum of the kernel inside the image, its centre included."""
    jacobi: Tensor
    """(B, 1, *spatial) the damped inverse of the diagonal, 0 where the value is known."""

    @classmethod
    def of(cls, removed: Tensor, weight: float) -> _Level:
        total = weight * _binomial(torch.ones_like(removed[:1]))
        centre = weight * 2.0 ** (removed.ndim - 2)
        return cls(removed, weight, total, torch.where(removed > 0, _DAMPING / (total - centre), 0))

    def apply(self, values: Tensor) -> Tensor:
        """Returns (B, C, *spatial): weights' sum times value less weighted sum of neighbours, 0 where it is known."""
        smooth = _binomial(values).mul_(-self.weight)
        return smooth.addcmul_(self.total, values).mul_(self.removed)


def _solve(x: Tensor, keep: Tensor) -> Tensor:
    """Returns (B, C, *spatial) with the pixels outside ``keep`` (B, 1, *spatial) solved for."""
    levels = _levels((~keep).to(x.dtype))
    if not levels:
        return x
    values = _full_multigrid(levels, x, keep)
    residual = levels[0].apply(values).neg_()
    tolerance = _tolerance(values)
    direction, before = torch.zeros_like(x), torch.full_like(_dot(residual, residual), torch.inf)
    for _ in range(_ITERATIONS):
        # The V-cycle is nearly the inverse of the system: it estimates the error that is left, not only the residual.
        error = _v_cycle(levels, residual)
        active = _per_image(error.abs()) > tolerance
        if not active.any():
            break
        energy = _dot(residual, error)
        direction = torch.addcmul(error, _ratio(energy, before), direction)
        change = levels[0].apply(direction)
        # An image that is done stays as it is, whatever the others of its batch need.
        step = active * _ratio(energy, _dot(direction, change))
        values = values.addcmul_(step, direction)
        residual = residual.addcmul_(-step, change)
        before = energy
    else:
        raise InputError(f"the imputation did not settle in {_ITERATIONS} steps: check the images for extreme values")
    return values


def _tolerance(values: Tensor) -> Tensor:
    """Returns (B, 1, ...) the error of a pixel that is let pass: never below what the type of number can tell."""
    smallest = 64 * torch.finfo(values.dtype).eps * _per_image(values.abs())
    return torch.maximum(_TOLERANCE * (_per_image(values) + _per_image(-values)), smallest)


def _levels(removed: Tensor) -> list[_Level]:
    """Returns the systems of coarser and coarser grids; a coarse value is unknown if all it stands for is."""
    levels, weight = [], 1.0
    while removed.any():
        levels.append(_Level.of(removed, weight))
        # Of a smooth error, a grid halved along m axes has 2^-m of the differences between neighbours, twice as large
        # each. The coarse system weighs them by 2^(m - 2), so that it measures the same energy.
        weight *= 2.0 ** (sum(size > 1 for size in removed.shape[2:]) - 2)
        removed = (_halve(removed) == _halve(torch.ones_like(removed))).to(removed.dtype)
    return levels


def _v_cycle(levels: list[_Level], residual: Tensor) -> Tensor:
    """Returns (B, C, *spatial) an estimate of what solves the first level's system for ``residual``."""
    level, coarser = levels[0], levels[1:]
    error = residual * level.jacobi
    if coarser:
        left = residual - level.apply(error)
        correction = _v_cycle(coarser, _gather(left) * coarser[0].removed)
        error = error.addcmul_(_interpolate(correction, residual.shape[2:]), level.removed)
    return error.addcmul_(residual - level.apply(error), level.jacobi)


def _full_multigrid(levels: list[_Level], x: Tensor, keep: Tensor) -> Tensor:
    """Returns (B, C, *spatial) with removed pixels interpolated from the coarser grid, solved there in the same way."""
    if not levels:
        return x
    kept = keep.to(x.dtype)
    count = _halve(kept)
    mean = torch.where(count > 0, _halve(x * kept) / count, 0)
    coarse = _full_multigrid(levels[1:], mean, count > 0)
    filled = torch.where(keep, x, _interpolate(coarse, x.shape[2:]))
    return filled.sub_(_v_cycle(levels, levels[0].apply(filled)))


def _interpolate(values: Tensor, size: Sequence[int]) -> Tensor:
    """Returns values linearly interpolated onto the next finer grid, which has ``size``."""
    fine = [2 * coarse for coarse in values.shape[2:]]
    values = F.interpolate(values, size=fine, mode=_LINEAR[values.ndim - 2], align_corners=False)
    for axis, length in enumerate(size, start=2):
        values = values.narrow(axis, 0, length)
    return values


def _gather(values: Tensor) -> Tensor:
    """Returns the transpose of `_interpolate`, which keeps the preconditioner symmetric, on the next coarser grid."""
    for axis in range(2, values.ndim):
        if values.shape[axis] > 1:
            even, odd = _pairs(values, axis)
            values = (even + odd).mul_(0.75)
            last = values.shape[axis] - 1
            # A quarter of each value goes to the next place on its other side, or stays where there is none.
            values.narrow(axis, 1, last).add_(odd.narrow(axis, 0, last), alpha=0.25)
            values.narrow(axis, last, 1).add_(odd.narrow(axis, last, 1), alpha=0.25)
            values.narrow(axis, 0, last).add_(even.narrow(axis, 1, last), alpha=0.25)
            values.narrow(axis, 0, 1).add_(even.narrow(axis, 0, 1), alpha=0.25)
    return values


def _halve(values: Tensor) -> Tensor:
    """Returns sums of neighbours two by two along every axis longer than one."""
    for axis in range(2, values.ndim):
        if values.shape[axis] > 1:
            even, odd = _pairs(values, axis)
            values = even + odd
    return values


def _pairs(values: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Returns the values at even and at odd places of an axis, a zero after the last if their number is odd."""
    size = values.shape[axis]
    if size % 2:
        values = F.pad(values, [0, 0] * (values.ndim - 1 - axis) + [0, 1])
    pairs = values.unflatten(axis, (-1, 2))
    return pairs.select(axis + 1, 0), pairs.select(axis + 1, 1)


def _binomial(values: Tensor) -> Tensor:
    """Returns values (B, C, *spatial) summed with weights (1, 2, 1) along every axis; nothing lies outside."""
    for axis in range(2, values.ndim):
        size, line = values.shape[axis], values
        values = 2 * line
        if size > 1:
            values.narrow(axis, 1, size - 1).add_(line.narrow(axis, 0, size - 1))
            values.narrow(axis, 0, size - 1).add_(line.narrow(axis, 1, size - 1))
    return values


def _per_image(values: Tensor) -> Tensor:
    """Returns (B, 1, ...) the largest value of each image."""
    return values.flatten(1).amax(1).reshape(-1, *[1] * (values.ndim - 1))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Returns (B, C, 1, ...) the inner product of each channel."""
    return (a * b).sum(tuple(range(2, a.ndim)), keepdim=True)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(b > 0, a / b, 0)
