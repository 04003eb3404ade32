"""Maps that know nothing, or little: what a method has to beat before its number means anything."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from cfcam.capture import Capture
from cfcam.methods import GradCAM, Method


@dataclass(frozen=True)
class RandomMap(Method):
    """Uniform noise at the layer's resolution: a fresh draw for every input, the same for the same input."""

    name: ClassVar[str] = "random"
    cost: ClassVar[str] = "0"
    uses_gradients: ClassVar[bool] = False
    needs_layer: ClassVar[bool] = False
    seed: int = 0

    def __call__(self, capture: Capture) -> Tensor:
        """Returns maps (N, K, *layer_spatial) in [0, 1)."""
        shape = (capture.scores.shape[1], *capture.activations.shape[2:])
        return torch.stack([self._draw(image, shape) for image in capture.input]).to(capture.activations)

    def _draw(self, image: Tensor, shape: tuple[int, ...]) -> Tensor:
        content = image.detach().float().cpu().contiguous().numpy().tobytes()
        return torch.rand(shape, generator=torch.Generator().manual_seed(zlib.crc32(content) ^ self.seed))


@dataclass(frozen=True)
class CentredGaussian(Method):
    """A Gaussian in the middle, a quarter of each axis wide: the bias of photographers and of radiographers."""

    name: ClassVar[str] = "centre"
    cost: ClassVar[str] = "0"
    uses_gradients: ClassVar[bool] = False
    needs_layer: ClassVar[bool] = False

    def __call__(self, capture: Capture) -> Tensor:
        """Returns maps (N, K, *layer_spatial) in (0, 1]."""
        A = capture.activations
        exponent = A.new_zeros(A.shape[2:])
        for axis, size in enumerate(A.shape[2:]):
            place = (torch.arange(size, device=A.device, dtype=A.dtype) + 0.5) / size - 0.5
            exponent = exponent + (place / 0.25).square().reshape([-1 if a == axis else 1 for a in range(A.ndim - 2)])
        return (-0.5 * exponent).exp().expand(len(A), capture.scores.shape[1], *A.shape[2:]).clone()


@dataclass(frozen=True)
class ChannelMean(Method):
    """The plain mean of the channels: what the layer responds to, whatever the class."""

    name: ClassVar[str] = "channel-mean"
    cost: ClassVar[str] = "1"
    uses_gradients: ClassVar[bool] = False
    needs_layer: ClassVar[bool] = False

    def __call__(self, capture: Capture) -> Tensor:
        """Returns maps (N, K, *layer_spatial), signed."""
        mean = capture.activations.mean(1, keepdim=True)
        return mean.expand(-1, capture.scores.shape[1], *[-1] * (mean.ndim - 2)).clone()


@dataclass(frozen=True)
class BlurredGradCAM(Method):
    """Grad-CAM blurred by one position of the layer: metrics that reward smoothness reward this."""

    name: ClassVar[str] = "blurred-grad-cam"

    def __call__(self, capture: Capture) -> Tensor:
        """Returns maps (N, K, *layer_spatial), zero or positive."""
        maps = GradCAM().maps(capture)
        offsets = torch.arange(-2.0, 3.0, device=maps.device, dtype=maps.dtype)
        kernel = (-offsets.square() / 2).exp()
        for axis in range(2, maps.ndim):
            maps = _blur(maps, axis, kernel / kernel.sum())
        return maps


def _blur(maps: Tensor, axis: int, kernel: Tensor) -> Tensor:
    """Correlates one axis with a kernel; borders are replicated."""
    lines = maps.movedim(axis, -1)
    padded = F.pad(lines.reshape(-1, 1, lines.shape[-1]), [len(kernel) // 2] * 2, mode="replicate")
    return F.conv1d(padded, kernel.view(1, 1, -1)).reshape(lines.shape).movedim(-1, axis)


CONTROLS: tuple[Method, ...] = (RandomMap(), CentredGaussian(), ChannelMean(), GradCAM(), BlurredGradCAM())
