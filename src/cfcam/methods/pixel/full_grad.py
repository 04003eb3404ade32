"""FullGrad: what the input and every bias of the network give the score, drawn together over the input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from cfcam.capture import Capture
from cfcam.capture.half_precision import gradients, takes_part
from cfcam.capture.layers.placement import upsampled
from cfcam.errors import MethodError
from cfcam.methods.pixel.input_gradients import PixelMethod, differentiable, refuse_compiled, scores_of


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

    Those of linear layers are (N, C), added over what else their outputs have. What has not N rows is left out.

    Raises:
        MethodError: see `FullGrad`, or torch.jit has compiled a part of the network, whose biases cannot be seen.
    """
    x, heard = capture.input, _Biases(len(capture.input))
    refuse_compiled(capture, method, "biases")
    with differentiable(capture):
        leaf = x.detach().clone().requires_grad_()
        with heard:
            scores = scores_of(capture, leaf, None, method)
        if capture.network.half or takes_part(leaf, scores, autocast=capture.autocast):
            raise MethodError(f"{method} adds up gradients of all layers, which float16 has no room for: use bfloat16")
        inputs, factors = [leaf, *[one.output for one in heard.kept]], [x, *[one.bias for one in heard.kept]]
        linear = [False, *[one.linear for one in heard.kept]]
        found = []
        for k in range(scores.shape[1]):
            slopes = gradients(scores[:, k], inputs, half=False, retain_graph=True, allow_unused=True)
            if slopes[0] is None:
                raise MethodError(f"{method}: the explained score does not depend on the input")
            finite = scores[:, k].isfinite()
            terms = []
            for slope, factor, flat in zip(slopes, factors, linear, strict=True):
                if slope is not None:
                    term = (slope * factor).detach()
                    terms.append(_marked(term.flatten(1, -2).sum(1) if flat and term.ndim > 2 else term, finite))
            found.append(terms)
    return found


@dataclass(frozen=True, eq=False)
class _Kept:
    output: Tensor
    bias: Tensor
    linear: bool


class _Biases(TorchFunctionMode):
    """Hears of each convolution, batch norm and linear layer, however it is called, its output and bias.

    Args:
        rows: of outputs that are kept.

    Attributes:
        kept: outputs with what was added to them, of a shape that fits.
    """

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.kept: list[_Kept] = []
        self._rows = rows

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs a function of torch, whose result is what it would be."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func not in _ARGUMENTS or not result.requires_grad or len(result) != self._rows:
            return result
        given = {**dict(zip(_ARGUMENTS[func], args, strict=False)), **kwargs}
        bias = implicit_bias(given)
        if bias is None:
            return result
        axis = result.ndim - 1 if func in _LINEAR else 1
        shape = [-1 if a == axis else 1 for a in range(result.ndim)]
        self.kept.append(_Kept(result, bias.reshape(shape), func in _LINEAR))
        return result.clone()  # what is changed in place behind it is the copy


_aten = torch.ops.aten
_LINEAR = (F.linear, _aten.linear.default)
_ARGUMENTS: dict[Any, tuple[str, ...]] = {
    **dict.fromkeys(
        [
            *_LINEAR,
            *[getattr(F, f"conv{kind}{axes}d") for kind in ("", "_transpose") for axes in (1, 2, 3)],
            *[getattr(_aten, f"conv{axes}d").default for axes in (1, 2, 3)],
            *[getattr(_aten, f"conv{axes}d").padding for axes in (1, 2, 3)],
            _aten.conv_transpose1d.default,
            _aten.conv_transpose2d.input,
            _aten.conv_transpose3d.input,
            _aten.convolution.default,
        ],
        ("input", "weight", "bias"),
    ),
    F.batch_norm: ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
    **dict.fromkeys(
        [torch.batch_norm, _aten.batch_norm.default],
        ("input", "weight", "bias", "running_mean", "running_var", "training", "momentum", "eps"),
    ),
}
"""What a function is given in which place: those of torch, and those that exported programs call."""


def implicit_bias(given: Mapping[str, Any]) -> Tensor | None:
    """Returns what a convolution, linear layer or batch norm adds to each channel, (C,); None: nothing.

    Args:
        given: its arguments by name.
    """
    bias, mean, variance = given.get("bias"), given.get("running_mean"), given.get("running_var")
    if mean is None or variance is None or given.get("training"):
        return None if bias is None else bias.detach()
    shift = -mean * (variance + given.get("eps", 1e-5)).rsqrt()
    shift = shift if given.get("weight") is None else shift * given["weight"]
    return (shift if bias is None else shift + bias).detach()


def _marked(term: Tensor, finite: Tensor) -> Tensor:
    """Returns a term (N, ...), NaN where the score (N,) is not finite: a ReLU stops what is not finite."""
    return torch.where(finite.reshape(-1, *[1] * (term.ndim - 1)), term, torch.nan)


def _unit_range(term: Tensor) -> Tensor:
    """Returns absolute values (N, C, *spatial), those of an image brought to [0, 1] together; 0 where all are alike."""
    size = term.abs()
    low, high = (v.reshape(-1, *[1] * (term.ndim - 1)) for v in size.flatten(1).aminmax(dim=1))
    return torch.where(high == low, 0, (size - low) / (high - low))
