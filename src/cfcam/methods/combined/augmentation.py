"""Test-time augmentation: any method, averaged over flipped and zoomed versions of the input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from cfcam.capture import Capture
from cfcam.capture.layers.placement import Placement, along
from cfcam.errors import MethodError
from cfcam.methods.numbers import check_each_number
from cfcam.methods.wrapping import Wrapper


@dataclass(frozen=True)
class Augmented(Wrapper):
    """Another method's raw maps, averaged over flipped and zoomed versions of the input, each mapped back.

    The input keeps its size; a zoom is about its centre, with the border repeated outward. A place that a magnified
    version does not show is averaged over the others. The classes stay those of the input itself.

    Args:
        base: the method.
        flips: spatial axes, counted from the last (-1: left-right); every subset of them is one version.
        scales: zooms besides 1, greater than 0.

    Source: Simonyan and Zisserman 2014, arXiv 1409.1556, section 3.2, of scores; here of maps.
    """

    name: ClassVar[str] = "augmented"
    cost: ClassVar[str] = "the method's x versions"
    flips: tuple[int, ...] = (-1,)
    scales: tuple[float, ...] = (0.9, 1.1)

    def __post_init__(self) -> None:
        super().__post_init__()
        axes = isinstance(self.flips, tuple) and all(type(axis) is int and -3 <= axis <= -1 for axis in self.flips)
        if not axes or len(set(self.flips)) != len(self.flips):
            raise MethodError(
                f"Augmented(flips={self.flips}): different spatial axes from -3 to -1, counted from the last"
            )
        check_each_number(self, "scales", above=0)

    @property
    def label(self) -> str:
        """The key of the maps in an explanation: the method's, and that it is augmented."""
        return f"{self.base.label}-{self.name}"

    def __call__(self, capture: Capture) -> Tensor:
        """Returns maps (N, K, *layer_spatial)."""
        axes = capture.input.ndim - 2
        if any(axis < -axes for axis in self.flips):
            raise MethodError(f"Augmented(flips={self.flips}): the input has {axes} spatial axes")
        total = covered = torch.zeros((), device=capture.input.device)
        for axis_subset, scale in self._versions():
            if scale == 1 and not axis_subset:
                maps = self.base_maps(capture)
            else:
                seen = zoomed(capture.input.flip(axis_subset), scale, "border")
                targets = capture.targets.moved(partial(_moved, axes=axis_subset, scale=scale))
                maps = self.base_maps(capture.again(seen, targets=targets))
            placement = capture.placement(maps.shape[2:])
            total = total + _laid_back(maps, axis_subset, scale, placement)
            covered = covered + _laid_back(torch.ones_like(maps[:1, :1]), axis_subset, scale, placement)
        return total / covered

    def _versions(self) -> Iterator[tuple[tuple[int, ...], float]]:
        for count in range(len(self.flips) + 1):
            for axes in combinations(self.flips, count):
                for scale in dict.fromkeys((1.0, *self.scales)):
                    yield axes, scale


def _laid_back(maps: Tensor, axes: tuple[int, ...], scale: float, placement: Placement | None) -> Tensor:
    """Returns maps (N, K, *layer_spatial) of a flipped and zoomed input where they lie on the input itself."""
    if placement is None:
        return zoomed(maps, 1 / scale, "zeros").flip(axes)
    for axis, (length, cells) in enumerate(zip(placement.input_size, maps.shape[2:], strict=True)):
        span = placement.span(axis, cells)
        centres = span.first + span.step * torch.arange(cells, dtype=torch.float64)
        flipped = length - centres if axis - len(placement.input_size) in axes else centres
        seen = length / 2 + (flipped - length / 2) * scale
        positions, unseen = span.positions(seen, cells)
        maps = along(maps, axis + 2, positions, unseen | (seen < 0) | (seen > length))
    return maps


def _moved(mask: Tensor, axes: tuple[int, ...], scale: float) -> Tensor:
    """Returns the mask (N, 1, *spatial) of a target, moved as its input is; no place outside is asked for."""
    return zoomed(mask.flip(axes), scale, "zeros")


def zoomed(x: Tensor, scale: float, padding: str) -> Tensor:
    """Returns ``x`` (N, C, *spatial) magnified about its centre by ``scale``, of the same size.

    Args:
        x: pictures or maps; interpolated linearly.
        scale: above 1, less of ``x`` is seen, and larger.
        padding: what is seen beyond it: "border" (its border) or "zeros".
    """
    if scale == 1:
        return x
    # grid_sample knows two and three axes: a signal is a picture of height 1, which a zoom leaves alone.
    picture = x.unsqueeze(2) if x.ndim == 3 else x
    picture = picture.to(torch.promote_types(x.dtype, torch.float32))
    axes = picture.ndim - 2
    theta = torch.eye(axes, axes + 1, dtype=picture.dtype, device=x.device) / scale
    grid = F.affine_grid(theta.expand(len(picture), -1, -1), list(picture.shape), align_corners=False)
    return F.grid_sample(picture, grid, padding_mode=padding, align_corners=False).reshape(x.shape).to(x.dtype)
