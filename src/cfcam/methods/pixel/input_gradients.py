"""SmoothGrad, guided backpropagation and Guided Grad-CAM: gradients with respect to the input."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from cfcam.capture import Capture
from cfcam.capture.half_precision import gradients, takes_part
from cfcam.capture.state.guarantee import preserved
from cfcam.errors import MethodError
from cfcam.methods.base import Method, joined
from cfcam.methods.gradient.grad_cam import GradCAM
from cfcam.methods.numbers import check_draws
from cfcam.methods.scored.smooth import noise_draws

_aten = torch.ops.aten  # exported programs call these
_RELU = (
    *(F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.relu6),
    *(_aten.relu.default, _aten.relu_.default, _aten.relu6.default, _aten.relu6_.default),
)
_HARDTANH = (F.hardtanh, F.hardtanh_, _aten.hardtanh.default, _aten.hardtanh_.default)  # with least value 0: ReLU6


class PixelMethod(Method):
    """A method whose maps lie on the input's own grid, (N, K, *input_spatial); the target layer plays no part."""

    cost: ClassVar[str] = "2 + whole backward"
    uses_gradients: ClassVar[bool] = False  # of a layer
    needs_gradients: ClassVar[bool] = True
    needs_layer: ClassVar[bool] = False


@dataclass(frozen=True)
class SmoothGrad(PixelMethod):
    """SmoothGrad: ``sum_channels |mean_i dy/dx(x + d_i)|``, the gradient averaged over noisy inputs.

    The noise of a sample is the same for every image, so that an image's map does not depend on its batch.

    Args:
        samples: noisy inputs.
        noise: standard deviation of the noise, as a share of each input's range (maximum - minimum); 0 with one sample
            is the plain gradient.
        seed: of the noise.

    Source: Smilkov et al. 2017, arXiv 1706.03825; absolute values added over channels as in the authors' code.
    """

    name: ClassVar[str] = "smooth-grad"
    cost: ClassVar[str] = "1 + samples, each whole backward"
    samples: int = 16
    noise: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        check_draws(self)

    def __call__(self, capture: Capture) -> Tensor:
        """Returns maps (N, K, *input_spatial), zero or positive."""
        x = capture.input
        low, high = x.flatten(1).aminmax(dim=1)
        deviation = (self.noise * (high - low)).reshape(-1, *[1] * (x.ndim - 1))
        total = torch.zeros((), device=x.device)
        for draw in noise_draws(self.samples, x.shape[1:], self.seed):
            total = total + input_gradients(capture, x + deviation * draw.to(x), self.name)
        return (total / self.samples).abs().sum(2)


@dataclass(frozen=True)
class GuidedBackprop(PixelMethod):
    """Guided backpropagation: ``sum_channels dy/dx``, with only positive gradients passed back through ReLUs; signed.

    **It fails the test of a randomised model**: its picture is that of the input's edges, and hardly changes when the
    network's weights are replaced by noise (Adebayo et al. 2018, arXiv 1810.03292). It is here for comparison. ReLU6 is
    taken for a ReLU; networks without either (GELU) have plain gradients.

    Source: Springenberg et al. 2015, arXiv 1412.6806, section 3.4.
    """

    name: ClassVar[str] = "guided-backprop"

    def __call__(self, capture: Capture) -> Tensor:
        """Returns signed maps (N, K, *input_spatial)."""
        refuse_compiled(capture, self.name, "ReLUs")
        with Guided():
            return input_gradients(capture, capture.input, self.name).sum(2)


@dataclass(frozen=True)
class GuidedGradCAM(PixelMethod):
    """Guided Grad-CAM: guided backpropagation times the Grad-CAM map over the input, place by place; signed.

    Grad-CAM says where, guided backpropagation draws the edges there, which are those of the picture more than of the
    network: see `GuidedBackprop`.

    Source: Selvaraju et al. 2017, arXiv 1610.02391, section 3.3.
    """

    name: ClassVar[str] = "guided-grad-cam"
    needs_layer: ClassVar[bool] = True

    def __call__(self, capture: Capture) -> Tensor:
        """Returns signed maps (N, K, *input_spatial)."""
        where = capture.over_input(joined([GradCAM().maps(part) for part in capture.split()]))
        return GuidedBackprop()(capture) * where


class Guided(TorchFunctionMode):
    """Passes back through ReLUs, as modules or functions, in place or not, only what is positive."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs a function of torch, whose result is what it would be."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        is_relu = func in _RELU or (func in _HARDTANH and kwargs.get("min_val", args[1] if len(args) > 1 else -1) == 0)
        if is_relu and isinstance(result, Tensor) and result.requires_grad:
            result.register_hook(_positive)
        return result


def _positive(gradient: Tensor) -> Tensor:
    return gradient.clamp(min=0)


@contextmanager
def differentiable(capture: Capture) -> Iterator[None]:
    """Runs its body as the network is run, with a graph from its input on."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(preserved(capture.network.model, capture.input.device))
        stack.enter_context(capture.autocast())
        yield


def refuse_compiled(capture: Capture, method: str, what: str) -> None:
    """Refuses a network of which torch.jit has compiled a part, whose functions nothing in Python sees.

    Args:
        capture: of the network.
        method: that has to see them.
        what: it looks for.

    Raises:
        MethodError: it is such a network.
    """
    for name, module in capture.network.model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise MethodError(
                f"{method} cannot see the {what} in {name!r}, which torch.jit has compiled: give the Python module that"
                " it was made from"
            )


def scores_of(capture: Capture, x: Tensor, images: Tensor | None, method: str) -> Tensor:
    """Returns the scores (M, K) of inputs (M, C, *spatial) in a graph that reaches them; for `differentiable`.

    Raises:
        MethodError: the scores do not depend on the input, or the network is quantised.
    """
    if capture.network.quantised:
        raise MethodError(
            f"{method} needs gradients, and {capture.network.quantised!r} of this network is quantised: use recipro-cam"
        )
    found = capture.answer(x, images)
    scores = capture.targets(found.output, found.logits, images)
    if not scores.requires_grad:
        raise MethodError(
            f"{method} needs gradients from the score to the input, and the network records none on the way (no_grad,"
            " inference_mode or detach in its forward): use occlusion or score-cam"
        )
    return scores


def input_gradients(capture: Capture, x: Tensor, method: str) -> Tensor:
    """Returns the gradients (N, K, C, *spatial) of the scores with respect to inputs (N, C, *spatial), >= float32.

    Raises:
        MethodError: see `scores_of`.
    """
    with differentiable(capture):
        leaf = x.detach().clone().requires_grad_()
        scores = scores_of(capture, leaf, None, method)
        half = capture.network.half or takes_part(leaf, scores, autocast=capture.autocast)
        columns = []
        for k in range(scores.shape[1]):
            (column,) = gradients(scores[:, k], [leaf], half=half, retain_graph=True, allow_unused=True)
            if column is None:
                raise MethodError(f"{method}: the explained score does not depend on the input")
            finite = scores[:, k].isfinite().reshape(-1, *[1] * (x.ndim - 1))
            columns.append(torch.where(finite, column, torch.nan))  # a ReLU stops what is not finite
    return torch.stack(columns, dim=1).detach()
