"""Where a layer's cells lie on the input, when they do not share it evenly: patches that leave a rim, or pad it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


class Span(NamedTuple):
    """Where the cells of one axis lie, in pixels of the input; pixel i reaches from i to i + 1.

    Attributes:
        first: centre of the first cell.
        step: from one cell's centre to the next.
        low: where what the cells see begins.
        high: where it ends.
    """

    first: float
    step: float
    low: float
    high: float

    def positions(self, centres: Tensor, cells: int) -> tuple[Tensor, Tensor]:
        """Returns where places lie, counted in cells from 0 to cells - 1, and which of them no cell sees."""
        return ((centres - self.first) / self.step).clamp(0, cells - 1), (centres < self.low) | (centres > self.high)


def even(length: int, cells: int) -> Span:
    """Returns the span of cells that share an axis evenly."""
    return Span(length / cells / 2, length / cells, 0.0, float(length))


@dataclass(frozen=True)
class Placement:
    """Where the cells of a grid lie on the input.

    Attributes:
        input_size: *spatial of the input.
        spans: one for each axis; None: the cells share it evenly.
    """

    input_size: tuple[int, ...]
    spans: tuple[Span | None, ...]

    def __bool__(self) -> bool:
        return any(span is not None for span in self.spans)

    def span(self, axis: int, cells: int) -> Span:
        """Returns the span of one axis, also of an even one."""
        return self.spans[axis] or even(self.input_size[axis], cells)

    def upsampled(self, maps: Tensor, size: Sequence[int]) -> Tensor:
        """Returns maps (N, K, *cells) over the whole input, at any size (N, K, *size); 0 where no cell sees it."""
        some = [s if span is None else c for s, span, c in zip(size, self.spans, maps.shape[2:], strict=True)]
        maps = F.interpolate(maps, size=some, mode=LINEAR[len(some)], align_corners=False)
        for axis, (length, span) in enumerate(zip(size, self.spans, strict=True)):
            if span is not None:
                centres = (torch.arange(length, dtype=torch.float64) + 0.5) * (self.input_size[axis] / length)
                maps = along(maps, axis + 2, *span.positions(centres, maps.shape[axis + 2]))
        return maps

    def to(self, maps: Tensor, other: Placement | None, grid: Sequence[int]) -> Tensor:
        """Returns maps (N, K, *cells) on another grid of the same input; 0 where no cell of theirs sees it."""
        for axis, cells in enumerate(grid):
            span = even(self.input_size[axis], cells) if other is None else other.span(axis, cells)
            own = self.span(axis, maps.shape[axis + 2])
            if span != own or maps.shape[axis + 2] != cells:
                centres = span.first + span.step * torch.arange(cells, dtype=torch.float64)
                maps = along(maps, axis + 2, *own.positions(centres, maps.shape[axis + 2]))
        return maps

    def plain(self) -> list[list[float] | None]:
        """Returns the spans as plain values, for JSON."""
        return [None if span is None else list(span) for span in self.spans]

    @classmethod
    def of_plain(cls, input_size: Sequence[int], spans: Sequence[Any]) -> Placement:
        """Reads what `plain` gave."""
        return cls(tuple(input_size), tuple(None if span is None else Span(*map(float, span)) for span in spans))


def along(maps: Tensor, dim: int, positions: Tensor, unseen: Tensor) -> Tensor:
    """Returns maps interpolated linearly at positions (n,) float64 of one axis, 0 where ``unseen`` (n,)."""
    last = maps.shape[dim] - 1
    below = positions.floor().long()
    above = (below + 1).clamp(max=last)
    shape = [-1 if d == dim else 1 for d in range(maps.ndim)]
    weight = (positions - below).to(maps).view(shape)
    # lerp keeps a constant exactly constant and stays between its ends
    line = torch.lerp(
        maps.index_select(dim, below.to(maps.device)), maps.index_select(dim, above.to(maps.device)), weight
    )
    return line.masked_fill_(unseen.to(maps.device).view(shape), 0)


def upsampled(maps: Tensor, size: Sequence[int], placement: Placement | None = None) -> Tensor:
    """Returns maps (N, K, *cells) at the size of an input, (N, K, *size), linearly and without corner alignment."""
    if placement:
        return placement.upsampled(maps, size)
    return F.interpolate(maps, size=tuple(size), mode=LINEAR[len(size)], align_corners=False)
