"""CAM: the class weights of a linear classifier behind global average pooling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from cfcam.capture import Capture, Scores
from cfcam.capture.state.guarantee import preserved
from cfcam.capture.targets.scores import what_is_asked
from cfcam.errors import MethodError
from cfcam.methods.base import Method, spatial_mean, weighted_sum

_ADVICE = "use grad-cam, which generalises CAM to any network"


@dataclass(frozen=True)
class CAM(Method):
    """Class activation mapping: ``sum_k W[c, k] A_k``, signed (no ReLU in the paper).

    Applies only where ``logits == W . mean(A) + b``; that identity is verified on the captured batch. A single logit z
    stands for two classes with weights -W and W.

    Raises:
        MethodError: the network has no such classifier behind this layer, or a target is no class.

    Source: Zhou et al. 2016, arXiv 1512.04150, eq. 2.
    """

    name: ClassVar[str] = "cam"
    cost: ClassVar[str] = "1"
    uses_gradients: ClassVar[bool] = False
    selective: ClassVar[bool] = True

    def __call__(self, capture: Capture) -> Tensor:
        """Returns signed maps (N, K, *layer_spatial)."""
        if capture.targets.functions:
            raise MethodError(
                f"cam explains classes only, and a target is {what_is_asked(capture.targets.functions)}: {_ADVICE}"
            )
        weight = classifier_weight(capture)
        if weight.shape[0] == 1:
            weight = torch.cat([-weight, weight])
        return weighted_sum(weight[capture.targets.indices], capture.activations)


def pooled_classifier(capture: Capture) -> Tensor | None:
    """Returns W (classes, C) if the scores are classes' logits, and these are ``W . mean(A) + b``; else None.

    What such a network says of changed activations follows without a pass; see `classifier_weight`.
    """
    if type(capture.targets) is not Scores or capture.targets.functions:
        return None
    try:
        return classifier_weight(capture)
    except MethodError:
        return None


def classifier_weight(capture: Capture) -> Tensor:
    """Returns W (classes, C) of the last linear layer, once ``logits == W . mean(A) + b`` is verified.

    Raises:
        MethodError: there is no such layer, or the identity does not hold for this batch.
    """
    channels = capture.activations.shape[1]
    logits = capture.logits
    shape = (logits.shape[-1], channels)
    found = _last_linear(capture, shape)
    where = f"layer {capture.layer!r} of {type(capture.network.model).__name__}"
    if found is None or logits.ndim != 2:
        raise MethodError(
            f"cam needs a linear classifier with {channels} inputs behind {where}, and there is none: {_ADVICE}"
        )
    dtype = capture.activations.dtype
    weight, bias = found[0].to(dtype), 0 if found[1] is None else found[1].to(dtype)
    expected = spatial_mean(capture.activations, 2) @ weight.T + bias
    error = (expected - logits.to(dtype)).abs()
    # The tolerance follows the network's precision; images that are not finite are judged by their status.
    scale = logits.to(dtype).abs().amax(dim=1, keepdim=True) + weight.abs().max()
    tolerance = {torch.float64: 1e-8, torch.float32: 1e-3}.get(logits.dtype, 5e-2) * scale
    if bool((error > tolerance).any()):
        raise MethodError(
            f"cam does not apply at {where}: its logits are not W.mean(A) + b (off by up to"
            f" {float(error.nan_to_num().max()):.3g}), because something stands between layer and classifier: {_ADVICE}"
        )
    return weight


def _last_linear(capture: Capture, shape: tuple[int, int]) -> tuple[Tensor, Tensor | None] | None:
    """Returns weight (classes, C) and bias of the last linear layer of a shape; None: there is none."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    # in evaluation mode, as in a pass: a spectral norm that trains moves its vectors whenever the weight is read
    with preserved(capture.network.model, capture.input.device):
        for module in reversed([m for m in capture.network.model.modules() if isinstance(m, kinds)]):
            weight = module.weight.detach()
            if weight.shape[:2] == shape and weight[0, 0].numel() == 1:
                bias = module.bias
                return weight.flatten(1), None if bias is None else bias.detach()
    return None
