"""HiResCAM, Layer-CAM and XGrad-CAM: gradients and activations multiplied position by position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cfcam.capture import Capture
from cfcam.methods.base import Method, places, sum_of_products, weighted_sum
from cfcam.methods.rounding import products, products_by_place


@dataclass(frozen=True)
class HiResCAM(Method):
    """HiResCAM: every activation with its own gradient, map ``sum_k dy/dA_k . A_k``, signed.

    Behind one linear layer (flattened or pooled) the map adds up to the score without its bias: it is what each place
    contributed. The paper has no ReLU, and the sum needs the negative places.

    Source: Draelos and Carin 2020, arXiv 2011.08891.
    """

    name: ClassVar[str] = "hires-cam"

    def __call__(self, capture: Capture) -> Tensor:
        """Returns signed maps (N, K, *layer_spatial)."""
        return products_by_place(capture, places(capture.gradients), capture.activations)


@dataclass(frozen=True)
class LayerCAM(Method):
    """Layer-CAM: every activation with its own positive gradient, map ``ReLU(sum_k ReLU(dy/dA_k) . A_k)``.

    Source: Jiang et al. 2021, "LayerCAM", IEEE Transactions on Image Processing 30.
    """

    name: ClassVar[str] = "layer-cam"

    def __call__(self, capture: Capture) -> Tensor:
        """Returns maps (N, K, *layer_spatial), zero or positive."""
        return sum_of_products(places(capture.gradients).relu(), capture.activations).relu_()


@dataclass(frozen=True)
class XGradCAM(Method):
    """XGrad-CAM: gradients averaged by activation, ``w_k = sum_s(A_k dy/dA_k) / sum_s(A_k)``, ``ReLU(sum_k w_k A_k)``.

    A channel whose activations add up to 0 has weight 0. No epsilon is added: beside signed activations it would decide
    the sign.

    Source: Fu et al. 2020, arXiv 2008.02312.
    """

    name: ClassVar[str] = "xgrad-cam"
    pools: ClassVar[bool] = True

    def __call__(self, capture: Capture) -> Tensor:
        """Returns maps (N, K, *layer_spatial), zero or positive."""
        A = capture.activations.flatten(2)
        g, total = places(capture.gradients), A.sum(-1)[:, None]
        sums = products(capture, g, A) if g.shape[3] == A.shape[2] else g[..., 0] * total
        weights = torch.where(total == 0, 0, sums / total)
        return weighted_sum(weights, capture.activations).relu_()
