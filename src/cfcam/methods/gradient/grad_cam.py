"""Grad-CAM and Grad-CAM++: weights from the gradients of the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cfcam.capture import Capture
from cfcam.methods.base import Method, places, weighted_sum
from cfcam.methods.rounding import mean_gradient


@dataclass(frozen=True)
class GradCAM(Method):
    """Grad-CAM: ``w_k = mean_s(dy/dA_k)``, map ``ReLU(sum_k w_k A_k)``.

    Source: Selvaraju et al. 2017, arXiv 1610.02391, eq. 1 and 2.
    """

    name: ClassVar[str] = "grad-cam"
    pools: ClassVar[bool] = True

    def __call__(self, capture: Capture) -> Tensor:
        """Returns maps (N, K, *layer_spatial), zero or positive."""
        return weighted_sum(mean_gradient(capture), capture.activations).relu_()


@dataclass(frozen=True)
class GradCAMPlusPlus(Method):
    """Grad-CAM++: pixel-wise weights ``alpha = g^2 / (2 g^2 + sum_s(A_k) g^3)``, map ``ReLU(sum_k w_k A_k)``.

    ``w_k = sum_s(alpha ReLU(g))``; alpha is 0 where its denominator is. This is eq. 19 for ``Y = exp(y)``, whose factor
    exp(y) cancels from alpha and only scales the weights. No epsilon is added: gradients of 1e-3 squared would drown.

    Source: Chattopadhay et al. 2018, arXiv 1710.11063, eq. 10 and 19.
    """

    name: ClassVar[str] = "grad-cam++"
    pools: ClassVar[bool] = True

    def __call__(self, capture: Capture) -> Tensor:
        """Returns maps (N, K, *layer_spatial), zero or positive."""
        positive = places(capture.gradients).relu()  # (N, K, C, S)
        alike = capture.activations.flatten(2).shape[2] // positive.shape[3]
        total = capture.activations.flatten(2).sum(-1)[:, None, :, None]
        # g^2 is divided out of the fraction, so that a gradient of 1e-15 does not underflow when it is cubed. Where g
        # is not positive its weight is 0 through ReLU(g), so ReLU(g) may stand for g throughout.
        denominator = (total * positive).add_(2)
        if bool((total < 0).any()):  # behind a ReLU the denominator is never zero
            denominator.masked_fill_(denominator == 0, torch.inf)
        weights = positive.div_(denominator).sum(-1)
        return weighted_sum(weights if alike == 1 else weights * alike, capture.activations).relu_()
