"""LibraGrad: gradients of a transformer that add up to its score, for any method that takes gradients."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from cfcam.capture import Capture
from cfcam.errors import MethodError
from cfcam.methods.base import Method
from cfcam.methods.gradient.gradient_products import HiResCAM
from cfcam.methods.pixel.input_gradients import refuse_compiled
from cfcam.methods.wrapping import Wrapper

_aten = torch.ops.aten  # exported programs call these
_GATED = {f: f for f in (F.gelu, F.silu, F.mish, F.hardswish)} | {
    getattr(_aten, name).default: getattr(_aten, name.strip("_")).default
    for name in ("gelu", "gelu_", "silu", "silu_", "mish", "mish_", "hardswish", "hardswish_")
}  # -> the one that changes nothing in place
_CHANGING = (_aten.gelu_.default, _aten.silu_.default, _aten.mish_.default, _aten.hardswish_.default)
_SOFTMAX = (torch.softmax, F.softmax, Tensor.softmax, _aten.softmax.int, _aten._softmax.default)
_ATTENTION = (
    *(F.scaled_dot_product_attention, F.multi_head_attention_forward),
    _aten.scaled_dot_product_attention.default,
)


@dataclass(frozen=True)
class LibraGrad(Wrapper):
    """LibraGrad: another method (HiResCAM) on gradients whose ways back are pruned until they are balanced.

    Attention weights, the deviations that norms divide by, and the gates of GELU, SiLU, Mish and Hardswish (``f(x) =
    x gate(x)``) are held on the way back. What is left is linear in the activations: gradient times activation, over
    all tokens, adds up to the score without what the biases give it (FullGrad's completeness), which the plain
    gradients of a transformer do not. The forward pass is what it was, up to rounding. On a network without any of
    these functions it is the wrapped method.

    Products of two streams that are written out (SwiGLU, ``x * sigmoid(1.702 x)``) are left as they are.

    Args:
        base: the method, which takes gradients.

    Raises:
        MethodError: the wrapped method takes no gradients.

    Source: Mehri et al. 2025, arXiv 2411.16760, section 4; of its scaling of products nothing, see above.
    """

    name: ClassVar[str] = "libra-grad"
    cost: ClassVar[str] = "2 + backward"
    base: Method = field(default_factory=HiResCAM)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.base.needs_gradients:
            raise MethodError(f"LibraGrad(base={self.base!r}): it balances gradients, and {self.base.label} takes none")

    @property
    def label(self) -> str:
        """The key of the maps in an explanation: its own with its own base, else the base's and that it is balanced."""
        return self.name if self.base == HiResCAM() else f"{self.base.label}-{self.name}"

    def __call__(self, capture: Capture) -> Tensor:
        """Returns the wrapped method's maps (N, K, *layer_spatial) of the balanced gradients."""
        refuse_compiled(capture, self.label, "norms and gates")
        with Balanced():
            return self.base_maps(capture.again(capture.input))


class Balanced(TorchFunctionMode):
    """Runs torch's functions so that attention weights, deviations and gates are held on the way back."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs a function of torch; what it returns is what it would return, up to rounding."""
        kwargs = kwargs or {}
        if func in _ATTENTION:
            return func(*_held(args, kwargs, ("query", "key")), **kwargs)
        if func in (F.layer_norm, torch.layer_norm, _aten.layer_norm.default):
            return _layer_norm(*args, **kwargs)
        if func in (F.rms_norm, torch.rms_norm, _aten.rms_norm.default):
            return _rms_norm(*args, **kwargs)
        if func in _GATED:
            return _gated(func, args, kwargs)
        result = func(*args, **kwargs)
        if func in _SOFTMAX and result.ndim >= 3:
            over = kwargs.get("dim", args[1] if len(args) > 1 else None)
            return result.detach() if over in (-1, result.ndim - 1) else result
        return result


def _gated(func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
    x = args[0] if args else kwargs["input"]
    switch = kwargs.pop("inplace", False) or (func is not F.gelu and len(args) > 1 and args[1] is True)
    result = _GATED[func](*(args[:1] if switch else args), **kwargs)
    held = x * torch.where(x == 0, 0.5, result / x).detach()
    return x.copy_(held) if switch or func in _CHANGING else held


def _held(args: Any, kwargs: dict[str, Any], names: tuple[str, ...]) -> tuple[Any, ...]:
    """Returns positional arguments of which the first are held, and holds them among the others, too."""
    for name in names:
        if name in kwargs:
            kwargs[name] = kwargs[name].detach()
    return tuple(a.detach() if n < len(names) else a for n, a in enumerate(args))


def _layer_norm(
    input: Tensor,  # noqa: A002 (torch calls it so)
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    axes = tuple(range(-len(normalized_shape), 0))
    input = input.contiguous()  # noqa: A001 (as torch's own gives it: networks take views of it)
    centred = input - input.mean(axes, keepdim=True)
    normed = centred * (input.var(axes, unbiased=False, keepdim=True) + eps).rsqrt().detach()
    normed = normed if weight is None else normed * weight
    return normed if bias is None else normed + bias


def _rms_norm(
    input: Tensor,  # noqa: A002 (torch calls it so)
    normalized_shape: Any,
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    axes = tuple(range(-len(normalized_shape), 0))
    least = torch.finfo(input.dtype).eps if eps is None else eps
    input = input.contiguous()  # noqa: A001 (likewise)
    normed = input * (input.square().mean(axes, keepdim=True) + least).rsqrt().detach()
    return normed if weight is None else normed * weight
