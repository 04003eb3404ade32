"""Recipro-CAM: what the network says of one place of its layer at a time, without gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from cfcam.capture import Capture
from cfcam.errors import MethodError
from cfcam.methods.base import Method, spatial_mean
from cfcam.methods.cam import pooled_classifier
from cfcam.methods.numbers import check_whole_numbers
from cfcam.methods.rounding import beyond_rounding
from cfcam.methods.scored.score_cam import chunk_size

_TAIL = 1 << 26
"""Bytes of masked activations that a CPU is given in one pass of the tail."""


@dataclass(frozen=True)
class ReciproCAM(Method):
    """Recipro-CAM: the class' score where one place of the layer is left, ``Y(A . M_p) - min_q Y(A . M_q)``.

    ``M_p`` is 0 everywhere but at place p: there is one mask for each place, and each hides all other places in all
    channels. Only the tail behind the layer is run, where the network allows it; one pass serves all K targets. Behind
    global average pooling and one linear layer (verified as for CAM) nothing is run. The tokens that belong to no place
    (class, distillation and register tokens) keep what they are.

    The paper scales each map from its own minimum to its own maximum. The maximum is left to whoever draws the map, as
    for every method; the minimum is subtracted here, so that **the place that says least counts as none**: some place
    is positive for every class, also for one that is not there. With ``zero="masked"`` 0 is the score of a layer that
    shows nothing, and the map is signed: negative where a place speaks against the class.

    Args:
        score: Y is the class "probability" (as in the authors' code) or the "logit"; callables are taken as they are.
        spread: what a mask leaves: the "cell" alone (the authors' code for convolutional networks), or also its
            neighbours, "gaussian": 1/4, 1/2, 1/4 along each axis, multiplied over the axes (their code for
            transformers).
        zero: what is subtracted: each map's own "minimum", the score of a layer that is "masked" everywhere, or None.
        batch_size: masked layers in one pass of the tail; None: from their size and what memory is free.

    Source: Byun and Lee 2022, arXiv 2209.14074 (Recipro-CAM).
    """

    name: ClassVar[str] = "recipro-cam"
    cost: ClassVar[str] = "1 + positions, tail only"
    uses_gradients: ClassVar[bool] = False
    score: Literal["probability", "logit"] = "probability"
    spread: Literal["cell", "gaussian"] = "cell"
    zero: Literal["minimum", "masked"] | None = "minimum"
    batch_size: int | None = None

    def __post_init__(self) -> None:
        name = type(self).__name__
        if self.score not in ("probability", "logit"):
            raise MethodError(f"{name}(score={self.score!r}): 'probability' or 'logit'")
        if self.spread not in ("cell", "gaussian"):
            raise MethodError(f"{name}(spread={self.spread!r}): 'cell' or 'gaussian'")
        if self.zero not in ("minimum", "masked", None):
            raise MethodError(f"{name}(zero={self.zero!r}): 'minimum', 'masked' or None")
        check_whole_numbers(self, "batch_size", optional=True)

    def __call__(self, capture: Capture) -> Tensor:
        """Returns maps (N, K, *layer_spatial), zero or positive; signed if 0 is the score of a masked layer."""
        A = capture.activations
        grid, probability = A.shape[2:], self.score == "probability"
        masks = place_masks(grid, gaussian=self.spread == "gaussian").to(A)
        if self.zero == "masked":
            masks = torch.cat([masks, torch.zeros_like(masks[:1])])
        pooled = pooled_scores(capture, masks, probability=probability)
        scores = self._scores(capture, masks, probability=probability) if pooled is None else pooled
        maps = scores[..., : grid.numel()].unflatten(2, grid)
        if self.zero is None:
            return maps.to(A.dtype)
        least = maps.flatten(2).amin(2) if self.zero == "minimum" else scores[..., -1]

        def again(image: Tensor) -> Tensor:
            same = image.expand(min(self.batch_size or tail_chunk(capture), len(masks)))
            found = capture.rescore_activations(A[same] * masks[-1], same, probability=probability)
            return found - scores[image, :, -1] + least[image]  # as if the least were what is scored again

        changes = maps - least.reshape(*maps.shape[:2], *[1] * len(grid))
        passes = again if pooled is None else None
        return beyond_rounding(capture, changes, least, passes, probability=probability).to(A.dtype)

    def _scores(self, capture: Capture, masks: Tensor, *, probability: bool) -> Tensor:
        """Returns (N, K, masks) by passes of the tail."""
        A, found = capture.activations, []
        for image in torch.arange(len(A), device=A.device):  # one at a time, so that its head is run only once
            parts = [
                capture.rescore_activations(
                    A[image] * part.unsqueeze(1), image.expand(len(part)), probability=probability
                )
                for part in masks.split(self.batch_size or tail_chunk(capture))
            ]
            found.append(torch.cat(parts).T)
        return torch.stack(found)


@dataclass(frozen=True)
class ViTReciproCAM(ReciproCAM):
    """ViT-Recipro-CAM: Recipro-CAM on the grid of a transformer's patches, with the neighbours of each in the mask.

    The layer is the normalised input of a block (the layer that is chosen automatically); the class token is kept
    as it is, the other patches are 0 in what the block attends to. On a network without tokens it is Recipro-CAM with
    Gaussian masks.

    Args:
        score: see `ReciproCAM`.
        spread: see there.
        zero: see there.
        batch_size: see there.

    Source: Byun and Lee 2023, arXiv 2310.02588 (ViT-ReciproCAM).
    """

    name: ClassVar[str] = "vit-recipro-cam"
    spread: Literal["cell", "gaussian"] = "gaussian"


def place_masks(grid: Sequence[int], *, gaussian: bool) -> Tensor:
    """Returns one mask for each place of a grid, (places, *grid): 1 there, and 0 elsewhere.

    Args:
        grid: sizes of the axes.
        gaussian: 1/2 there and 1/4 beside it along each axis, multiplied over the axes that have neighbours,
            cut off at the border.
    """
    masks = torch.ones(1)
    for axis, size in enumerate(grid):
        lines = torch.eye(size)
        if gaussian and size > 1:
            lines = lines / 2 + (torch.eye(size).roll(1, 0).tril() + torch.eye(size).roll(-1, 0).triu()) / 4
        before, after = masks.reshape(-1, 1, *grid[:axis], 1), lines.reshape(1, size, *[1] * axis, size)
        masks = (before * after).flatten(0, 1)
    return masks


def pooled_scores(capture: Capture, masks: Tensor, *, probability: bool) -> Tensor | None:
    """Returns the scores (N, K, masks) of masked activations without a pass, if that can be had; else None.

    It can be had of classes, behind global average pooling and one linear layer, which is verified as for CAM.

    Args:
        capture: of a layer with this grid.
        masks: (masks, *grid), the same for each channel.
        probability: class scores as probabilities instead of logits.
    """
    if (weight := pooled_classifier(capture)) is None:
        return None
    # One of many places moves a score by less than float32 can tell; what is left of A's own rounding is relative.
    A, weight, masks = capture.activations.double(), weight.double(), masks.double()
    bias = capture.logits.double() - spatial_mean(A, 2) @ weight.T
    pooled = A.flatten(2) @ masks.flatten(1).T / masks[0].numel()
    logits = pooled.mT @ weight.T + bias[:, None]
    images = torch.arange(len(A), device=A.device).repeat_interleave(len(masks))
    scores = capture.targets(None, logits.flatten(0, 1), images, probability=probability)
    return scores.unflatten(0, (len(A), len(masks))).mT


def tail_chunk(capture: Capture) -> int:
    """Returns how many outputs of the capture's layer go through the tail at once, within what memory is free."""
    one = math.prod(capture.activations.shape[1:]) * capture.activations.element_size()
    if capture.input.device.type == "cuda":
        return min(max(torch.cuda.mem_get_info(capture.input.device)[0] // 4 // (8 * one), 1), 1024)
    return max(_TAIL // one, chunk_size(capture.input))
