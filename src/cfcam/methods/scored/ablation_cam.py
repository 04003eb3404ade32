"""Ablation-CAM: weights from switching the channels off, one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from cfcam.capture import Capture
from cfcam.errors import MethodError
from cfcam.methods.base import Method, spatial_mean, weighted_sum
from cfcam.methods.cam import pooled_classifier
from cfcam.methods.numbers import check_whole_numbers
from cfcam.methods.rounding import beyond_rounding
from cfcam.methods.scored.score_cam import chunk_size


@dataclass(frozen=True)
class AblationCAM(Method):
    """Ablation-CAM: ``w_k = y - y_k``, y_k the score with channel k of the layer set to 0, map ``ReLU(sum_k w_k A_k)``.

    The paper divides by y. That scales the map, and nothing else if y is positive; a negative y turns it into its
    opposite. Only the tail behind the layer is run, where the network allows it; behind global average pooling and one
    linear layer (verified as for CAM) nothing is run, because there ``w_k = W[c, k] mean_s(A_k)``.

    Args:
        normalize: None, or "score": divide by y as the paper does.
        batch_size: ablated channels in one pass; None: from what memory is free.

    Source: Desai and Ramaswamy 2020, "Ablation-CAM", WACV.
    """

    name: ClassVar[str] = "ablation-cam"
    cost: ClassVar[str] = "1 + channels"
    uses_gradients: ClassVar[bool] = False
    normalize: Literal["score"] | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        if self.normalize not in (None, "score"):
            raise MethodError(f"AblationCAM(normalize={self.normalize!r}): None or 'score'")
        check_whole_numbers(self, "batch_size", optional=True)

    def __call__(self, capture: Capture) -> Tensor:
        """Returns maps (N, K, *layer_spatial), zero or positive."""
        weight = pooled_classifier(capture)
        if weight is None:
            drops = self._drops(capture)
        else:
            weight = torch.cat([-weight, weight]) if weight.shape[0] == 1 else weight
            drops = weight[capture.targets.indices] * spatial_mean(capture.activations, 2)[:, None]
        if self.normalize == "score":
            drops = drops / capture.scores.to(drops.dtype)[..., None]
        return weighted_sum(drops, capture.activations).relu_()

    def _drops(self, capture: Capture) -> Tensor:
        """Returns ``y - y_k`` (N, K, C); 0 for a channel that is 0 already."""
        A = capture.activations
        images = torch.arange(len(A), device=A.device)
        reference = capture.rescore_activations(A, images)
        drops = reference.new_zeros(*A.shape[:2], reference.shape[1])
        active = (A.flatten(2) != 0).any(-1)
        for image in images:  # one at a time, so that its head is run once and not once per channel
            for channels in active[image].nonzero().squeeze(1).split(self.batch_size or chunk_size(capture.input)):
                if len(channels) == 0:  # every channel is 0; splitting nothing yields one empty part
                    continue
                ablated = A[image].repeat(len(channels), *[1] * (A.ndim - 1))
                ablated[torch.arange(len(channels), device=A.device), channels] = 0
                scores = capture.rescore_activations(ablated, image.expand(len(channels)))
                drops[image, channels] = reference[image] - scores

        def again(image: Tensor) -> Tensor:
            same = image.expand(min(self.batch_size or chunk_size(capture.input), A.shape[1]))
            return capture.rescore_activations(A[same], same)

        return beyond_rounding(capture, drops.transpose(1, 2).to(A.dtype), reference, again)
