"""Score-CAM: weights from masked forward passes, without gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cfcam.capture import Capture
from cfcam.errors import MethodError
from cfcam.methods.base import Method, weighted_sum

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True)
class ScoreCAM(Method):
    """Score-CAM: ``alpha_k = Y(X . H_k) - Y(X_b)``, map ``ReLU(sum_k alpha_k A_k)``.

    ``H_k`` is A_k scaled to [0, 1] by its own minimum and maximum and upsampled linearly to the input. A channel whose
    minimum is its maximum carries no mask and has weight 0. One masked pass serves all K targets.

    Args:
        score: Y is the class "probability" (as in the authors' code) or the "logit"; callables are taken as they are.
        baseline: X_b: "zero" (an input of zeros), "blur" (the input averaged over an eighth of its size) or a number
            that fills the input.
        normalize: None, or "softmax" over the channels, as other libraries do.
        batch_size: masked inputs in one forward pass; bounds the memory.

    Source: Wang et al. 2020, arXiv 1910.01279, eq. 5 to 7 and algorithm 1.
    """

    name: ClassVar[str] = "score-cam"
    score: Literal["probability", "logit"] = "probability"
    baseline: Literal["zero", "blur"] | float = "zero"
    normalize: Literal["softmax"] | None = None
    batch_size: int = 32

    def __post_init__(self) -> None:
        if self.score not in ("probability", "logit"):
            raise MethodError(f"ScoreCAM(score={self.score!r}): 'probability' or 'logit'")
        if self.baseline not in ("zero", "blur") and not isinstance(self.baseline, (int, float)):
            raise MethodError(f"ScoreCAM(baseline={self.baseline!r}): 'zero', 'blur' or a number")
        if self.normalize not in (None, "softmax"):
            raise MethodError(f"ScoreCAM(normalize={self.normalize!r}): None or 'softmax'")
        if self.batch_size < 1:
            raise MethodError(f"ScoreCAM(batch_size={self.batch_size}): 1 or more")

    def __call__(self, capture: Capture) -> Tensor:
        """Returns maps (N, K, *layer_spatial), zero or positive."""
        weights, scored = self._channel_scores(capture)
        if self.normalize == "softmax":
            weights = weights.masked_fill(~scored[:, None], -torch.inf).softmax(-1)
            weights = torch.where(scored.any(-1)[:, None, None], weights, 0)
        return weighted_sum(weights, capture.activations).relu_()

    def _channel_scores(self, capture: Capture) -> tuple[Tensor, Tensor]:
        """Returns alpha (N, K, C), 0 for flat channels, and which channels carry a mask (N, C)."""
        A = capture.activations
        flat = A.flatten(2)
        low, high = flat.aminmax(dim=2)
        scored = high != low  # also true where they are NaN: what is not finite has to show
        images, channels = scored.nonzero(as_tuple=True)
        kept = self._rescored(capture, images, channels, low, high)
        reference = capture.rescore(
            self._baseline(capture.input),
            torch.arange(len(A), device=A.device),
            probability=self._probability,
        )
        alpha = kept.new_zeros(len(A), A.shape[1], kept.shape[1])
        alpha[images, channels] = kept - reference[images]
        return alpha.transpose(1, 2).to(A.dtype), scored

    def _rescored(self, capture: Capture, images: Tensor, channels: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Returns the scores (M, K) of the M masked inputs, made and run ``batch_size`` at a time."""
        A, x = capture.activations, capture.input
        scores = [capture.scores.new_zeros(0, capture.scores.shape[1])]
        for i, c in zip(images.split(self.batch_size), channels.split(self.batch_size), strict=True):
            lowest, highest = (v[i, c].reshape(-1, 1, *[1] * (A.ndim - 2)) for v in (low, high))
            masks = (A[i, c].unsqueeze(1) - lowest) / (highest - lowest)
            masks = F.interpolate(masks, size=x.shape[2:], mode=LINEAR[x.ndim - 2], align_corners=False)
            scores.append(capture.rescore(x[i] * masks.to(x.dtype), i, probability=self._probability))
        return torch.cat([s.to(scores[-1].dtype) for s in scores])

    @property
    def _probability(self) -> bool:
        return self.score == "probability"

    def _baseline(self, x: Tensor) -> Tensor:
        if self.baseline == "blur":
            return blurred(x)
        return torch.full_like(x, 0.0 if self.baseline == "zero" else self.baseline)


def blurred(x: Tensor) -> Tensor:
    """Returns (N, C, *spatial) inputs averaged over windows of an eighth of each axis, borders normalised."""
    pool: Any = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[x.ndim - 2]
    radius = [size // 16 for size in x.shape[2:]]
    return pool(x, [2 * r + 1 for r in radius], 1, radius, count_include_pad=False)
