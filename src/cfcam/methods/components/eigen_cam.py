"""Eigen-CAM and Eigen-Grad-CAM: the first principal component of a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cfcam.capture import Capture
from cfcam.methods.base import Method, joined, places
from cfcam.methods.components.lanczos import largest_component
from cfcam.methods.numbers import check_flags


@dataclass(frozen=True)
class EigenCAM(Method):
    """Eigen-CAM: the activations projected on their first right singular vector, ``A v_1``, signed.

    It looks at no score, so its map is the same for every class. The vector's sign is that of `first_component`: the
    map goes with the mean activation, and behind a ReLU it is never negative. A map that would be positive nowhere is
    turned over, because there is nothing that it could speak against.

    Behind a layer norm without weights the activations of a place have no mean, and the sign is a convention, no
    finding: activations A and -A have one map, and where the two extremes of the component are about as large, a small
    change of the picture turns the map over. Eigen-Grad-CAM has the sign of the evidence for the class there.

    Args:
        center: subtract each channel's mean over the positions first. The paper does not; take it where activations are
            signed (tokens, layers before a ReLU), whose first component may be little else than these means.

    Source: Muhammad and Yeasin 2020, arXiv 2008.00299.
    """

    name: ClassVar[str] = "eigen-cam"
    cost: ClassVar[str] = "1"
    uses_gradients: ClassVar[bool] = False
    center: bool = False

    def __post_init__(self) -> None:
        check_flags(self, "center")

    def __call__(self, capture: Capture) -> Tensor:
        """Returns signed maps (N, K, *layer_spatial), alike for the K targets."""
        maps = first_component(capture.activations, center=self.center)
        positive = (maps > 0).flatten(1).any(1).reshape(-1, *[1] * (maps.ndim - 1))
        maps = torch.where(positive, maps, -maps)
        return torch.stack([maps] * capture.scores.shape[1], dim=1)


@dataclass(frozen=True)
class EigenGradCAM(Method):
    """Eigen-Grad-CAM: activations times gradients, projected on their first right singular vector, signed.

    The map goes with their sum over channels, which is HiResCAM's map: positive is for the class. It was never
    published; the definition is that of the pytorch-grad-cam library, which leaves the sign to chance.

    Args:
        center: subtract each channel's mean over the positions first, as that library does. Some place is positive
            then, also for a class that is not there; without, evidence against the class everywhere stays negative.

    Source: Eigen-CAM (Muhammad and Yeasin 2020, arXiv 2008.00299) of ``dy/dA . A``, as in pytorch-grad-cam.
    """

    name: ClassVar[str] = "eigen-grad-cam"
    parts_targets: ClassVar[bool] = True
    center: bool = True

    def __post_init__(self) -> None:
        check_flags(self, "center")

    def __call__(self, capture: Capture) -> Tensor:
        """Returns signed maps (N, K, *layer_spatial)."""
        return joined([self._maps(capture.only(columns)) for columns in capture.blocks()])

    def _maps(self, capture: Capture) -> Tensor:
        weights, A = places(capture.gradients), capture.activations
        if weights.shape[3] == 1 < A.flatten(2).shape[2]:
            unit = capture.memo("unit channels", lambda: unit_channels(A))
            return first_component_of_scaled(*unit, weights[..., 0], center=self.center).unflatten(2, A.shape[2:])
        products = capture.gradients * A[:, None]
        return first_component(products.flatten(0, 1), center=self.center).unflatten(0, products.shape[:2])


def first_component(features: Tensor, *, center: bool) -> Tensor:
    """Returns the first principal component ``sigma_1 u_1`` (B, *spatial) of features (B, C, *spatial).

    A singular vector has no sign of its own. Here its scalar product with the mean over channels is positive; if the
    two are all but orthogonal, as behind a layer norm, which leaves no mean, its largest absolute value is positive.

    Args:
        features: matrices of positions x channels; one that is not finite gives NaN.
        center: subtract the channels' means over the positions first.
    """
    matrix = features.flatten(2).mT  # (B, S, C)
    finite = matrix.isfinite().all(-1).all(-1)[:, None, None]
    scale = torch.where(finite, matrix, 0).abs().amax((1, 2), keepdim=True)
    matrix = torch.where(finite & (scale > 0), matrix / scale, 0)
    towards = matrix.mean(-1)
    if center:
        matrix = matrix - matrix.mean(1, keepdim=True)
    component = _signed(_un_signed(matrix), towards, matrix.shape[2]) * scale.squeeze(-1)
    return torch.where(finite.squeeze(-1), component, torch.nan).unflatten(1, features.shape[2:])


_ROOM = 40_000
"""Places of all images and classes for which vectors are kept at once: 24 in a row, which take 4 MB."""


def unit_channels(activations: Tensor) -> tuple[Tensor, Tensor]:
    """Returns channels (N, S, C) divided by their largest absolute values, and these (N, C)."""
    matrix = activations.flatten(2).mT
    largest = matrix.abs().amax(1)
    return matrix / torch.where(largest > 0, largest, 1)[:, None], largest


def first_component_of_scaled(channels: Tensor, largest: Tensor, weights: Tensor, *, center: bool) -> Tensor:
    """Returns `first_component` (N, K, S) of the same channels with K different weights each.

    No matrix is written down for each of the K. What a few steps of Lanczos leave open is decomposed one by one.

    Args:
        channels: (N, S, C), see `unit_channels`.
        largest: (N, C), likewise.
        weights: (N, K, C) that each channel is multiplied with.
        center: subtract the channels' means over the positions first.
    """
    weights = weights * largest[:, None]
    finite = weights.isfinite().all(2, keepdim=True) & channels.isfinite().flatten(1).all(1)[:, None, None]
    scale = torch.where(finite, weights, 0).abs().amax(2, keepdim=True)
    weights = torch.where(finite & (scale > 0), weights / scale, 0)
    channels = torch.where(channels.isfinite(), channels, 0)
    towards = weights @ channels.mT / channels.shape[2]
    if center:
        channels = channels - channels.mean(1, keepdim=True)
    some = weights.square().split(max(1, _ROOM // (channels.shape[0] * channels.shape[1])), dim=1)
    component, found = (
        torch.cat(parts, 1) for parts in zip(*[largest_component(channels, s) for s in some], strict=True)
    )
    for n, k in (~found).nonzero().tolist():
        component[n, k] = _un_signed((channels[n] * weights[n, k])[None])[0]
    signed = _signed(component.flatten(0, 1), towards.flatten(0, 1), channels.shape[2]).unflatten(0, scale.shape[:2])
    return torch.where(finite, signed * scale, torch.nan)


def _un_signed(matrix: Tensor) -> Tensor:
    """Returns ``sigma_1 u_1`` (B, S) of matrices (B, S, C), with either sign."""
    # The first vector of the smaller Gram matrix is as exact as that of the whole decomposition, and cheaper: with
    # eigenvalue gaps of (sigma_1 - sigma_2)(sigma_1 + sigma_2), squaring costs the first one nothing.
    if matrix.shape[1] <= matrix.shape[2]:
        values, vectors = torch.linalg.eigh(matrix @ matrix.mT)
        return vectors[..., -1] * values[:, -1:].clamp(min=0).sqrt()
    vectors = torch.linalg.eigh(matrix.mT @ matrix).eigenvectors
    return (matrix @ vectors[..., -1:]).squeeze(-1)


def _signed(component: Tensor, towards: Tensor, channels: int) -> Tensor:
    """Returns components (B, S) turned towards the mean over channels (B, S), or by their largest absolute value."""
    product = (component * towards).sum(-1, keepdim=True)
    largest = component.gather(1, component.abs().argmax(1, keepdim=True))
    # Of the right singular vector and the vector of ones: a smaller cosine than this may be rounding.
    orthogonal = product.abs() * channels**0.5 < 1e-3 * component.square().sum(-1, keepdim=True)
    return torch.where(torch.where(orthogonal, largest, product) < 0, -component, component)
