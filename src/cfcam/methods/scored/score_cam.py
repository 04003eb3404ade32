"""Score-CAM: weights from masked forward passes, without gradients."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cfcam.capture import Capture
from cfcam.errors import MethodError
from cfcam.methods.base import Method, weighted_sum
from cfcam.methods.clustering import k_means, one_hot
from cfcam.methods.numbers import check_baseline, check_whole_numbers
from cfcam.methods.rounding import beyond_rounding

_CACHED = 20 << 20
"""Bytes of the largest activation of a masked pass on a CPU: the C library keeps three such blocks for the next pass,
and maps fresh pages for more. MobileNetV2 takes twice as long with 8 masks of 224 x 224 as with 4."""


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
        batch_size: masked inputs in one forward pass; bounds the memory. None: from what is free, at most 64;
            on a CPU from what it does fastest, 4 inputs of 224 x 224 and at most 8.
        approximate: None for the exact method, one masked pass per channel; a number G for G passes: channels are
            grouped by their masks (k-means), and the mean mask of a group is scored for all its channels.

    Source: Wang et al. 2020, arXiv 1910.01279, eq. 5 to 7 and algorithm 1.
    """

    name: ClassVar[str] = "score-cam"
    cost: ClassVar[str] = "2 + channels"
    uses_gradients: ClassVar[bool] = False
    score: Literal["probability", "logit"] = "probability"
    baseline: Literal["zero", "blur"] | float = "zero"
    normalize: Literal["softmax"] | None = None
    batch_size: int | None = None
    approximate: int | None = None

    def __post_init__(self) -> None:
        if self.score not in ("probability", "logit"):
            raise MethodError(f"ScoreCAM(score={self.score!r}): 'probability' or 'logit'")
        check_baseline(self)
        if self.normalize not in (None, "softmax"):
            raise MethodError(f"ScoreCAM(normalize={self.normalize!r}): None or 'softmax'")
        check_whole_numbers(self, "approximate", "batch_size", optional=True)

    def __call__(self, capture: Capture) -> Tensor:
        """Returns maps (N, K, *layer_spatial), zero or positive."""
        masks, scored = unit_range(capture.activations)
        weights = self._weights(capture, masks, scored)
        if self.normalize == "softmax":
            weights = weights.masked_fill(~scored[:, None], -torch.inf).softmax(-1)
            weights = torch.where(scored.any(-1)[:, None, None], weights, 0)
        return weighted_sum(weights, capture.activations).relu_()

    def _weights(self, capture: Capture, masks: Tensor, scored: Tensor) -> Tensor:
        """Returns alpha (N, K, C), 0 for channels without a mask."""
        if self.approximate is None or self.approximate >= masks.shape[1]:
            return self._alpha(capture, masks, scored)
        groups = k_means(masks.flatten(2), self.approximate, scored)
        membership = one_hot(groups, self.approximate).to(masks.dtype)
        size = membership.sum(2)
        means = membership @ masks.flatten(2) / size.clamp(min=1)[..., None]
        alpha = self._alpha(capture, means.unflatten(2, masks.shape[2:]), size > 0)
        return torch.where(scored[:, None], alpha @ membership, 0)

    def _alpha(self, capture: Capture, masks: Tensor, valid: Tensor) -> Tensor:
        """Returns (N, K, M) the rise of the scores by seeing the input through each of the masks (N, M, *spatial)."""
        x, images = capture.input, torch.arange(len(masks), device=masks.device)
        blank = uninformative(x, self.baseline)
        reference = capture.rescore(blank, images, probability=self._probability)
        alpha = reference.new_zeros(*masks.shape[:2], reference.shape[1])
        for place in valid.nonzero().split(self.batch_size or chunk_size(x)):
            if len(place) == 0:  # no channel carries a mask; splitting nothing yields one empty part
                continue
            image, mask = place.unbind(1)
            seen = capture.over_input(masks[image, mask].unsqueeze(1))
            scores = capture.rescore(x[image] * seen.to(x.dtype), image, probability=self._probability)
            alpha[image, mask] = scores - reference[image]

        def again(image: Tensor) -> Tensor:
            same = image.expand(min(self.batch_size or chunk_size(x), masks.shape[1]))
            return capture.rescore(blank[same], same, probability=self._probability)

        found = alpha.transpose(1, 2).to(masks.dtype)
        return beyond_rounding(capture, found, reference, again, probability=self._probability)

    @property
    def _probability(self) -> bool:
        return self.score == "probability"


def unit_range(activations: Tensor) -> tuple[Tensor, Tensor]:
    """Returns each channel scaled to [0, 1] (N, C, *spatial), and which ones are not flat (N, C)."""
    low, high = (v.reshape(*v.shape, *[1] * (activations.ndim - 2)) for v in activations.flatten(2).aminmax(dim=2))
    varied = high != low  # also true where they are NaN: what is not finite has to show
    return torch.where(varied, (activations - low) / (high - low), 0), varied.flatten(1)


def chunk_size(x: Tensor) -> int:
    """Returns how many inputs like those of ``x`` (N, C, *spatial) run at once within a quarter of the free memory.

    A convolutional network's activations take some thirty times the room of its input. The largest of them has at most
    96 channels at half the resolution (MobileNetV2, EfficientNet-B0; 64 in a ResNet).
    """
    room = 32 * x[0].numel() * x.element_size()
    if x.device.type == "cuda":
        return min(max(torch.cuda.mem_get_info(x.device)[0] // 4 // room, 1), 64)
    largest = 96 * x[0, 0].numel() * x.element_size() // 2 ** (x.ndim - 2)
    return min(max(_free_memory() // 4 // room, 1), max(_CACHED // largest, 2), 8)


def _free_memory() -> int:
    """Returns the free bytes of the machine, or 4 GiB where the system does not say."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 4 << 30


def uninformative(x: Tensor, baseline: Literal["zero", "blur"] | float) -> Tensor:
    """Returns what stands for inputs ``x`` that show nothing: `blurred`, or one number everywhere."""
    if baseline == "blur":
        return blurred(x)
    return torch.full_like(x, 0.0 if baseline == "zero" else baseline)


def blurred(x: Tensor) -> Tensor:
    """Returns (N, C, *spatial) inputs averaged over windows of an eighth of each axis, borders normalised."""
    y = x if x.dtype == torch.float64 else x.float()  # half precision would round anew on every axis
    for axis, size in enumerate(x.shape[2:], start=2):  # torch pools no volume that is thinner than the window
        if size > 1:
            lines, r = y.movedim(axis, -1), max(1, size // 16)
            means = F.avg_pool1d(lines.flatten(0, -2).unsqueeze(1), 2 * r + 1, 1, r, count_include_pad=False)
            y = means.reshape(lines.shape).movedim(-1, axis)
    return y.to(x.dtype)
