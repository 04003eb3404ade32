"""Edge-preserving filters of gradient maps: batched, on the device, the same code in one, two and three dimensions.

kornia filters two dimensions only and cannot pad a map that is smaller than its window; it is the oracle of the tests.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from cfcam.methods.numbers import check_numbers, check_whole_numbers

_CONV: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class Filter(ABC):
    """A filter of maps (B, *spatial); each of the B maps is filtered by itself.

    Attributes:
        keeps_constants: whether a map that is the same everywhere stays what it is, and need not be filtered.
    """

    keeps_constants: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, maps: Tensor) -> Tensor:
        """Returns the filtered maps (B, *spatial)."""


@dataclass(frozen=True)
class BilateralFilter(Filter):
    """Bilateral filter: a mean over the window, weighted by closeness in space and in value; borders reflected.

    Args:
        radius: half width of the window in positions; on a shorter axis, that axis' length - 1.
        sigma_space: standard deviation of the weight in space, in positions.
        sigma_range: standard deviation of the weight in value, in units of the map's own spread (1.4826 x its median
            absolute deviation, or its standard deviation where that is zero). An absolute value would be inert or
            total, depending on the network, because gradients have no natural unit.

    Source: Tomasi and Manduchi 1998, eq. 5.
    """

    keeps_constants: ClassVar[bool] = True
    radius: int = 2
    sigma_space: float = 1.5
    sigma_range: float = 1.0

    def __post_init__(self) -> None:
        check_whole_numbers(self, "radius", least=0)
        check_numbers(self, "sigma_space", "sigma_range", above=0)

    def __call__(self, maps: Tensor) -> Tensor:
        """Returns the filtered maps (B, *spatial); a constant map stays what it is."""
        axes = maps.ndim - 1
        radius = [min(self.radius, size - 1) for size in maps.shape[1:]]
        pad = [r for r in reversed(radius) for _ in range(2)]
        windows = F.pad(maps.unsqueeze(1), pad, mode="reflect").squeeze(1)
        for axis, r in enumerate(radius, start=1):
            windows = windows.unfold(axis, 2 * r + 1, 1)
        windows = windows.flatten(1 + axes)  # (B, *spatial, window)
        offsets = torch.cartesian_prod(*[torch.arange(-r, r + 1, device=maps.device) for r in radius])
        distance = offsets.reshape(windows.shape[-1], -1).square().sum(-1).to(maps.dtype)
        spread = self.sigma_range * _spread(maps).reshape(-1, *[1] * axes, 1)
        deviation = torch.where(spread > 0, (windows - maps.unsqueeze(-1)) / spread, 0)
        weights = torch.exp(-distance / (2 * self.sigma_space**2) - deviation.square() / 2)
        return (weights * windows).sum(-1) / weights.sum(-1)


def _spread(maps: Tensor) -> Tensor:
    """Returns (B,) a robust standard deviation of each map."""
    flat = maps.flatten(1)
    mad = (flat - flat.median(1, keepdim=True).values).abs().median(1).values
    return torch.where(mad > 0, 1.4826 * mad, flat.std(1, correction=0))


@dataclass(frozen=True)
class GuidedFilter(Filter):
    """Self-guided filter; windows are cut at the borders and their means normalised.

    Args:
        radius: half width of the window in positions; None: a quarter of the geometric mean of the axes longer than
            one (for a 2-D map ``int(sqrt(H W) / 4)``), at least 1.
        regularization: in units of the map's own population variance.

    Source: He, Sun and Tang 2013, "Guided image filtering", eq. 5, 6 and 8.
    """

    keeps_constants: ClassVar[bool] = True
    radius: int | None = None
    regularization: float = 0.1

    def __post_init__(self) -> None:
        check_whole_numbers(self, "radius", least=0, optional=True)
        check_numbers(self, "regularization", least=0)

    def __call__(self, maps: Tensor) -> Tensor:
        """Returns the filtered maps (B, *spatial); a constant map stays what it is."""
        radius = [min(self._radius(maps), size - 1) for size in maps.shape[1:]]
        # The filter commutes with a shift; without the mean the variance does not cancel.
        centre = maps.flatten(1).mean(1).reshape(-1, *[1] * (maps.ndim - 1))
        guide = maps - centre
        variance = guide.flatten(1).var(1, correction=0).reshape_as(centre)
        mean = _box(guide, radius)
        local = (_box(guide.square(), radius) - mean.square()).clamp(min=0)
        denominator = local + self.regularization * variance
        slope = torch.where(denominator > 0, local / denominator, 0)
        intercept = (1 - slope) * mean
        return _box(slope, radius) * guide + _box(intercept, radius) + centre

    def _radius(self, maps: Tensor) -> int:
        if self.radius is not None:
            return self.radius
        sizes = [size for size in maps.shape[1:] if size > 1] or [1]
        return max(1, int(math.prod(sizes) ** (1 / len(sizes)) / 4 + 1e-9))  # 64^(1/3)^3 rounds below 64


def _box(maps: Tensor, radius: list[int]) -> Tensor:
    """Returns the means of windows cut at the borders, axis by axis: torch pools no volume that is thinner."""
    for axis, r in enumerate(radius, start=1):
        lines = maps.movedim(axis, -1)
        means = F.avg_pool1d(lines.flatten(0, -2).unsqueeze(1), 2 * r + 1, 1, r, count_include_pad=False)
        maps = means.reshape(lines.shape).movedim(-1, axis)
    return maps


@dataclass(frozen=True)
class PublishedFilter(Filter):
    """What the published CF-CAM code calls a bilateral filter: the map correlated with one kernel made from itself.

    The kernel is as large as the map, a Gaussian around half its size times a Gaussian of the distance to the map's
    mean; borders are zero. It is here only to reproduce published figures.

    Args:
        sigma_space: standard deviation in positions.
        sigma_range: standard deviation in absolute gradient units.

    Source: the implementation beside arXiv 2504.00060.
    """

    sigma_space: float = 5.0
    sigma_range: float = 0.1

    def __post_init__(self) -> None:
        check_numbers(self, "sigma_space", "sigma_range", above=0)

    def __call__(self, maps: Tensor) -> Tensor:
        """Returns the filtered maps (B, *spatial)."""
        axes = maps.ndim - 1
        grids = [torch.arange(size, device=maps.device, dtype=maps.dtype) - size / 2 for size in maps.shape[1:]]
        distance = sum(g.square() for g in torch.meshgrid(*grids, indexing="ij"))
        mean = maps.flatten(1).mean(1).reshape(-1, *[1] * axes)
        kernel = torch.exp(-distance / (2 * self.sigma_space**2) - (maps - mean).square() / (2 * self.sigma_range**2))
        kernel = kernel / (kernel.flatten(1).sum(1).reshape_as(mean) + 1e-6)
        pad = [p for size in reversed(maps.shape[1:]) for p in ((size - 1) // 2, size // 2)]
        filtered = _CONV[axes](F.pad(maps, pad).unsqueeze(0), kernel.unsqueeze(1), groups=len(maps))
        return filtered.squeeze(0)


FILTERS: dict[str, Filter] = {
    "bilateral": BilateralFilter(),
    "guided": GuidedFilter(),
    "published": PublishedFilter(),
}
