"""Small convolutions of a lone volume, which PyTorch runs ten times as slowly as those of two."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_SMALL = 20480  # PyTorch's own bound (ConvParams::use_mkldnn), on images x channels x depth x height: no width
_FEW = 4  # channels that oneDNN's way back gains nothing from

Sizes = tuple[int, int, int]


def small_convolutions(given: Tensor) -> AbstractContextManager[Any]:
    """Returns the context for a pass, with a graph or without: `InHalves`, if that is a lone volume on a CPU."""
    usable = torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
    lone = given.ndim == 5 and len(given) == 1 and given.dtype == torch.float32 and given.device.type == "cpu"
    return InHalves() if usable and lone else nullcontext()


class InHalves(TorchFunctionMode):
    """While active, 3-D convolutions of one volume that PyTorch would not give to oneDNN run as a batch of two halves.

    It is the same convolution, forwards and backwards, to rounding. PyTorch's own way unfolds the input to 27 times its
    size: with 64 channels of 16 x 16 x 16 a pass and its way back take 36 ms alone, and 10 ms in halves (one thread).
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs the call, in halves if it is such a convolution."""
        if func is F.conv3d and len(args) == 7 and not kwargs and _is_slow(*args):
            return in_halves(*args[:6])
        return func(*args, **(kwargs or {}))


def _is_slow(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int
) -> bool:
    if not all(isinstance(setting, tuple) and len(setting) == 3 for setting in (stride, padding, dilation)):
        return False
    kernel = weight.shape[2:]
    plain = x.ndim == 5 and x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    small = len(x) == 1 and groups == 1 and math.prod(x.shape[:4]) <= _SMALL and min(kernel[1:]) <= 3
    back = torch.is_grad_enabled() and x.requires_grad
    worth = x.shape[1] > (_FEW if back else 0) and max(kernel) > 1
    if not (plain and small and worth):
        return False
    sizes = _sizes(x, kernel, stride, padding, dilation)
    return min(sizes) > 0 and max(sizes) > 1  # of one that does not fit PyTorch is to name the size that it was given


def in_halves(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sizes, padding: Sizes, dilation: Sizes) -> Tensor:
    """Returns the convolution (1, C', *spatial) of one volume, as that of a batch of its two halves.

    They are halves of the result's longest axis; what the second needs overlaps what the first does.

    Args:
        x: (1, C, *spatial).
        weight: (C', C, *kernel).
        bias: (C',), or none.
        stride: by axis, as the rest.
        padding: with zeros.
        dilation: of the kernel.
    """
    sizes = _sizes(x, weight.shape[2:], stride, padding, dilation)
    axis = max(range(3), key=lambda a: sizes[a])
    if padding[axis]:
        x = F.pad(x, [0, 0] * (2 - axis) + [padding[axis]] * 2)
    half = (sizes[axis] + 1) // 2
    needed = (half - 1) * stride[axis] + (weight.shape[2 + axis] - 1) * dilation[axis] + 1
    begin = (sizes[axis] - half) * stride[axis]
    both = torch.cat([x.narrow(2 + axis, 0, needed), x.narrow(2 + axis, begin, needed)])
    rest = tuple(0 if a == axis else padding[a] for a in range(3))
    first, second = F.conv3d(both, weight, bias, stride, rest, dilation).split(1)
    shared = 2 * half - sizes[axis]  # of an odd axis the middle is in both
    return torch.cat([first, second.narrow(2 + axis, shared, half - shared)], dim=2 + axis)


def _sizes(x: Tensor, kernel: Sequence[int], stride: Sizes, padding: Sizes, dilation: Sizes) -> list[int]:
    settings = zip(x.shape[2:], kernel, stride, padding, dilation, strict=True)
    return [(size + 2 * p - d * (k - 1) - 1) // s + 1 for size, k, s, p, d in settings]
