"""FullGrad: what the input and every bias of the network give the score, drawn together over the input."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from cfcam.capture import Capture
from cfcam.capture.answers.outputs import find_tensor, replace_tensor
from cfcam.capture.half_precision import gradients, takes_part
from cfcam.capture.layers.placement import upsampled
from cfcam.errors import MethodError
from cfcam.methods.pixel.input_gradients import PixelMethod, differentiable, scores_of


@dataclass(frozen=True)
class FullGrad(PixelMethod):
    """FullGrad: ``psi(dy/dx . x) + sum_l psi(dy/dz_l . b_l)``, each added over its channels.

    z_l are the outputs of the convolutions and batch norms, b_l their biases (of a batch norm what is left of it at
    input 0), and psi takes absolute values, brings those of an image and a layer to [0, 1] together, and interpolates
    linearly to the input. Without psi the terms, with those of the linear layers, add up to the score of a ReLU network
    exactly; psi loses that, so that a map says where and not how much.

    Raises:
        MethodError: float16 takes part, or see `cfcam.methods.pixel.input_gradients.scores_of`.

    Source: Srinivas and Fleuret 2019, arXiv 1905.00780, eq. 6 and 8, and the code published with it.
    """

    name: ClassVar[str] = "full-grad"

    def __call__(self, capture: Capture) -> Tensor:
        """Returns maps (N, K, *input_spatial), zero or positive."""
        columns = []
        for terms in contributions(capture, self.name):
            size = capture.input.shape[2:]
            parts = [upsampled(_unit_range(term), size).sum(1) for term in terms if term.ndim == capture.input.ndim]
            columns.append(torch.stack(parts).sum(0))
        return torch.stack(columns, dim=1)


def contributions(capture: Capture, method: str) -> list[list[Tensor]]:
    """Returns for each of the K targets what the input (first) and each bias gave the score, all (N, C, *spatial).

    Biases of linear layers have the shape of their output, (N, C). What has not N rows is left out.
    """
    x, kept = capture.input, list[tuple[Tensor, Tensor]]()

    def keep(module: nn.Module, args: Any, output: Any) -> Any:
        tensor, bias = find_tensor(output), implicit_bias(module)
        if tensor is None or bias is None or len(tensor) != len(x) or not tensor.requires_grad:
            return output
        axis = 1 if not isinstance(module, nn.Linear) else tensor.ndim - 1
        kept.append((tensor, bias.reshape([-1 if a == axis else 1 for a in range(tensor.ndim)])))
        return replace_tensor(output, tensor.clone())  # what is changed in place behind it is the copy

    with ExitStack() as stack:
        stack.enter_context(differentiable(capture))
        for module in capture.network.model.modules():
            if isinstance(module, (_ConvNd, _BatchNorm, nn.Linear)):
                stack.callback(module.register_forward_hook(keep).remove)
        leaf = x.detach().clone().requires_grad_()
        scores = scores_of(capture, leaf, None, method)
        if capture.network.half or takes_part(leaf, scores, autocast=capture.autocast):
            raise MethodError(f"{method} adds up gradients of all layers, which float16 has no room for: use bfloat16")
        inputs = [leaf, *[tensor for tensor, _ in kept]]
        factors = [x, *[bias for _, bias in kept]]
        found = []
        for k in range(scores.shape[1]):
            slopes = gradients(scores[:, k], inputs, half=False, retain_graph=True, allow_unused=True)
            if slopes[0] is None:
                raise MethodError(f"{method}: the explained score does not depend on the input")
            finite = scores[:, k].isfinite()
            pairs = [(slope, factor) for slope, factor in zip(slopes, factors, strict=True) if slope is not None]
            found.append([_marked((slope * factor).detach(), finite) for slope, factor in pairs])
    return found


def implicit_bias(module: nn.Module) -> Tensor | None:
    """Returns what a convolution, linear layer or batch norm adds to each channel, (C,); None: nothing."""
    if not isinstance(module, _BatchNorm):
        bias = module.bias
        return bias.detach() if isinstance(bias, Tensor) else None
    if module.running_mean is None or module.running_var is None:
        return None if module.bias is None else module.bias.detach()
    shift = -module.running_mean * (module.running_var + module.eps).rsqrt()
    shift = shift if module.weight is None else shift * module.weight
    return (shift if module.bias is None else shift + module.bias).detach()


def _marked(term: Tensor, finite: Tensor) -> Tensor:
    """Returns a term (N, ...), NaN where the score (N,) is not finite: a ReLU stops what is not finite."""
    return torch.where(finite.reshape(-1, *[1] * (term.ndim - 1)), term, torch.nan)


def _unit_range(term: Tensor) -> Tensor:
    """Returns absolute values (N, C, *spatial), those of an image brought to [0, 1] together; 0 where all are alike."""
    size = term.abs()
    low, high = (v.reshape(-1, *[1] * (term.ndim - 1)) for v in size.flatten(1).aminmax(dim=1))
    return torch.where(high == low, 0, (size - low) / (high - low))
