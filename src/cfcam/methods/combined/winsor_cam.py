"""Winsor-CAM: the Grad-CAM maps of all convolutions, weighted by importances whose extremes are cut off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.modules.conv import _ConvNd

from cfcam.capture import Capture, probe_layers
from cfcam.errors import LayerError, MethodError
from cfcam.methods.base import Method
from cfcam.methods.combined.fusion import on_finest
from cfcam.methods.gradient.grad_cam import GradCAM
from cfcam.methods.numbers import check_layers, check_numbers
from cfcam.methods.rounding import mean_gradient, negligible


@dataclass(frozen=True)
class WinsorCAM(Method):
    """Winsor-CAM: ``sum_l w_l up(range(Grad-CAM_l))`` over all convolutions l, with winsorised importances w.

    A layer's importance is ``ReLU(mean_k mean_s(dy/dA_lk))``. Of an image's and class' importances, those above the
    given percentile of the positive ones are cut down to it; the positive ones are then brought to [0.1, 1] by their
    smallest and largest (all 1 if these are the same), and 0 stays 0. Each layer's Grad-CAM map is brought to [0, 1] by
    its own minimum and maximum (a flat one is 0), and interpolated to the finest of the layers' grids.

    A low percentile makes the layers alike, which brings out texture; a high one leaves the important ones, which are
    mostly deep, in front. The target layer plays no part. All layers are recorded in one pass, and one backward pass
    gives their gradients.

    Args:
        percentile: from 0 to 100; the example of the authors' code takes 90.
        layers: names of the layers; empty: all convolutions that run once and that the score depends on.
        importance: of a layer, the "mean" or the "max" of its channels' mean gradients.

    Raises:
        MethodError: the network has fewer than two convolutions, as most transformers have.
        LayerError: the score depends on none of the layers, or not on one that was named.

    Source: Wall et al. 2025, arXiv 2507.10846, as in the code that the authors published with it.
    """

    name: ClassVar[str] = "winsor-cam"
    cost: ClassVar[str] = "2 + backward"
    selective: ClassVar[bool] = True
    percentile: float = 90.0
    layers: tuple[str, ...] = ()
    importance: Literal["mean", "max"] = "mean"

    def __post_init__(self) -> None:
        check_numbers(self, "percentile", least=0, most=100)
        check_layers(self)
        if self.importance not in ("mean", "max"):
            raise MethodError(f"WinsorCAM(importance={self.importance!r}): 'mean' or 'max'")

    def parameters(self) -> dict[str, Any]:
        """Returns the hyper-parameters as plain values, for provenance."""
        return super().parameters() | {"layers": list(self.layers)}

    def __call__(self, capture: Capture) -> Tensor:
        """Returns maps (N, K, *finest_layer_spatial), zero or positive."""
        captures = self._captures(capture)
        weights = winsorized(torch.stack([self._importance(one) for one in captures]), self.percentile)
        maps = [_by_range(GradCAM().maps(one)) for one in captures]
        stack = on_finest(maps, [one.placement(m.shape[2:]) for one, m in zip(captures, maps, strict=True)])
        return (stack * weights.to(stack.dtype).reshape(*weights.shape, *[1] * (stack.ndim - 3))).sum(0)

    def _captures(self, capture: Capture) -> list[Capture]:
        if self.layers:
            return capture.at(self.layers)
        found, error = [], None
        for one in capture.at(convolutions(capture, self.name)):
            try:
                _ = one.gradients
            except LayerError as unused:  # a convolution of a branch that the score does not see
                error = unused
            else:
                found.append(one)
        if not found and error is not None:
            raise error
        return found

    def _importance(self, capture: Capture) -> Tensor:
        """Returns (N, K) the importance of a layer."""
        weights = mean_gradient(capture)
        if self.importance == "max":
            return weights.amax(2).relu()
        mean = weights.mean(2)
        # before a layer norm, which takes the mean over channels away, they cancel but for rounding
        return mean.relu().masked_fill(mean <= negligible(capture) * weights.abs().mean(2), 0)


def winsorized(importances: Tensor, percentile: float) -> Tensor:
    """Returns importances (L, ...) of L layers, winsorised and in [0.1, 1]; what is 0 stays 0, NaN stays NaN.

    Args:
        importances: zero or positive.
        percentile: of the positive ones of the L; what is above is cut down to it. Interpolated linearly.
    """
    positive = importances > 0
    among = torch.where(positive, importances, torch.nan)
    cut = torch.nanquantile(among.float() if among.dtype != torch.float64 else among, percentile / 100, dim=0)
    kept = torch.minimum(importances, torch.where(cut.isnan(), importances, cut).to(importances.dtype))
    low = torch.where(positive, kept, torch.inf).amin(0)
    spread = kept.amax(0) - low
    scaled = torch.where(spread > 0, 0.1 + 0.9 * (kept - low) / spread, 1.0)
    return torch.where(positive | importances.isnan(), torch.where(importances.isnan(), importances, scaled), 0.0)


def convolutions(capture: Capture, method: str) -> tuple[str, ...]:
    """Returns the names of the convolutions that run once and have maps on a grid, in the order in which they ran.

    Found by one pass of the first image, once per capture.

    Raises:
        MethodError: there are fewer than two.
    """

    def found() -> tuple[str, ...]:
        infos, _ = probe_layers(capture.network, capture.given, want=capture.want)
        modules = dict(capture.network.model.named_modules())
        return tuple(
            i.name
            for i in infos
            if isinstance(modules.get(i.name), _ConvNd)
            and (i.calls == 1 or i.looped)
            and i.spatial(capture.input.shape)
        )

    names = capture.memo("convolutions", found)
    if len(names) < 2:
        raise MethodError(
            f"{method} weighs the convolutions of a network, and {type(capture.network.model).__name__} has"
            f" {len(names)} with maps: name layers, WinsorCAM(layers=(...)), or use grad-cam"
        )
    return names


def _by_range(maps: Tensor) -> Tensor:
    """Returns maps (N, K, *spatial), each brought to [0, 1] by its minimum and maximum; 0 where it is flat."""
    low, high = (v.reshape(*v.shape, *[1] * (maps.ndim - 2)) for v in maps.flatten(2).aminmax(dim=2))
    return torch.where(high == low, 0, (maps - low) / (high - low))
