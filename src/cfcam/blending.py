"""Windows of an image, and what is found in them brought together: maps blended, scores averaged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cfcam.errors import InputError

Weight = Literal["gaussian", "hann", "constant"]
Aggregate = Literal["mean", "max"]
Batch = tuple[list[tuple[int, ...]], Tensor]

_SIGMA = 1 / 8  # of the window, as in nnU-Net and MONAI


@dataclass(frozen=True)
class Layout:
    """Windows of one `size` that begin at all combinations of `starts`, in voxels."""

    size: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...]

    @property
    def ends(self) -> list[int]:
        """Where the last window of each axis ends, in voxels."""
        return [on_axis[-1] + side for on_axis, side in zip(self.starts, self.size, strict=True)]

    def __len__(self) -> int:
        return math.prod(map(len, self.starts))

    def of(self, x: Tensor, batch_size: int) -> Iterator[Batch]:
        """Yields places and windows of one image (1, C, *spatial), the last axis running fastest."""
        places = list(product(*self.starts))
        for n in range(0, len(places), batch_size):
            some = places[n : n + batch_size]
            yield some, torch.cat([cut(x, place, self.size) for place in some])


def cut(x: Tensor, start: Sequence[int], size: Sequence[int]) -> Tensor:
    """A window of ``x``, whose border is repeated where the window reaches beyond it."""
    where = tuple(slice(at, at + side) for at, side in zip(start, size, strict=True))
    inside = x[(slice(None), slice(None), *where)]
    beyond = [n for side, kept in zip(size[::-1], inside.shape[:1:-1], strict=True) for n in (0, side - kept)]
    return F.pad(inside, beyond, mode="replicate") if any(beyond) else inside


class Running:
    """The mean or the maximum of values (windows, ...) that come batch by batch."""

    def __init__(self, aggregate: Aggregate) -> None:
        self._mean, self._count = aggregate == "mean", 0
        self._total: Tensor | None = None

    def add(self, values: Tensor) -> None:
        """Adds those of a batch."""
        values = values if values.dtype == torch.float64 else values.float()
        new = values.sum(0, keepdim=True) if self._mean else values.amax(0, keepdim=True)
        if self._total is not None:
            new = self._total + new if self._mean else torch.maximum(self._total, new)
        self._total = new
        self._count += len(values)

    def value(self) -> Tensor:
        """(1, ...), at least float32."""
        assert self._total is not None  # noqa: S101 (there is always a first window)
        return self._total / self._count if self._mean else self._total


class Blend:
    """The weighted mean of the maps (K, *cells) of overlapping windows; `shape` is *cells."""

    def __init__(self, method: str, maps: Tensor, windows: Layout, weight: Weight) -> None:
        self._cells = [side / count for side, count in zip(windows.size, maps.shape[1:], strict=True)]
        for cell, on_axis in zip(self._cells, windows.starts, strict=True):
            if any(at % cell for at in on_axis):
                raise InputError(
                    f"the maps of {method} have cells of {cell:g} voxels, on which the windows do not begin: take a"
                    " window that is a multiple of them, or leave the method out"
                )
        grid = [round(end / cell) for end, cell in zip(windows.ends, self._cells, strict=True)]
        self.shape = maps.shape[1:]
        self._share = weights(self.shape, weight).to(maps)
        self._sum, self._weight = maps.new_zeros(len(maps), *grid), maps.new_zeros(grid)

    def add(self, place: Sequence[int], maps: Tensor | None) -> None:
        """Adds the maps of a window, or of one in which there is nothing to explain: those are 0."""
        first = [round(at / cell) for at, cell in zip(place, self._cells, strict=True)]
        here = tuple(slice(at, at + count) for at, count in zip(first, self.shape, strict=True))
        if maps is not None:
            self._sum[(slice(None), *here)] += self._share * maps
        self._weight[here] += self._share

    def value(self) -> Tensor:
        """(K, *grid)."""
        return self._sum / self._weight


def weights(shape: Sequence[int], weight: Weight) -> Tensor:
    """The weight of each cell of a window's map, float64, largest in the middle, never 0."""
    total = torch.ones((), dtype=torch.float64)
    for count in shape:
        place = (torch.arange(count, dtype=torch.float64) + 0.5) / count  # 0 and 1 are the borders of the window
        if weight == "gaussian":
            along = torch.exp(-0.5 * ((place - 0.5) / _SIGMA) ** 2)
        elif weight == "hann":
            along = torch.sin(math.pi * place) ** 2
        else:
            along = torch.ones_like(place)
        total = total[..., None] * along
    return total


def fitted(maps: Tensor, excess: Sequence[float]) -> Tensor:
    """Maps (K, *grid) over somewhat more than the image, fitted to it; ``excess`` is how much more, axis by axis."""
    for n, share in enumerate(excess):
        if share == 1:
            continue
        cells = maps.shape[n + 1]
        kept = max(1, round(cells / share))
        place = (torch.arange(kept, dtype=torch.float64) + 0.5) * (cells / share / kept) - 0.5
        place = place.clamp(0, cells - 1)
        below = place.floor().long()
        part = (place - below).to(maps).view(-1, *[1] * (maps.ndim - n - 2))
        above = (below + 1).clamp(max=cells - 1).to(maps.device)
        below = below.to(maps.device)
        maps = torch.lerp(maps.index_select(n + 1, below), maps.index_select(n + 1, above), part)
    return maps
