"""Where the patches of a network lie: read off the convolutions that cut its input into them.

Only a convolution that works on the picture itself with a stride as long as its kernel cuts patches, and what follows
in the same manner (ConvNeXt's stages) or halves their grid (Swin's merging) keeps to them. Networks of overlapping
strided convolutions are left out: trained ones do not show the drift that the arithmetic of their padding predicts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from cfcam.capture.layers.placement import Placement, Span, even

Grid = tuple[int, ...]


@dataclass(frozen=True)
class Cut:
    """What one convolution did: from a grid to a grid, by kernels, strides and padding, axis by axis."""

    source: Grid
    grid: Grid
    kernel: Grid
    stride: Grid
    padding: Grid

    @property
    def disjoint(self) -> bool:
        """Whether its kernels lie side by side."""
        return self.kernel == self.stride

    @property
    def overlapping(self) -> bool:
        """Whether its kernels overlap, coarsen the grid, and never leave it: patches of some token networks."""
        pairs = list(zip(self.kernel, self.stride, strict=True))
        return not any(self.padding) and all(s <= k for k, s in pairs) and all(s > 1 for _, s in pairs)

    def spans(self, on: Sequence[Span]) -> tuple[Span, ...]:
        """Returns where its output's cells lie, given where those of its input do."""
        return tuple(map(_cut, on, self.grid, self.kernel, self.stride, self.padding))


def _cut(on: Span, cells: int, kernel: int, stride: int, padding: int) -> Span:
    edge = on.first - on.step / 2
    begin, end = -padding, (cells - 1) * stride - padding + kernel  # in cells of the input's grid
    return Span(
        first=edge + (begin + kernel / 2) * on.step,
        step=stride * on.step,
        low=max(on.low, edge + begin * on.step),
        high=min(on.high, edge + end * on.step),
    )


@dataclass
class Patches:
    """The convolutions of one pass that change a grid, in the order in which they ran.

    Attributes:
        spatial: of the input.
        cuts: each once.
        start: the grid that the first convolution got, where the network padded, cropped or resized its input itself,
            and where its places lie on the input.
    """

    spatial: Grid
    cuts: dict[Cut, None] = field(default_factory=dict)
    start: tuple[Grid, tuple[Span, ...]] | None = None

    def observe(self, module: nn.Module, args: Any, output: Any, x: Callable[[], Tensor] | None) -> None:
        """Takes note of a module, if it is a convolution along the axes of the input; ``x`` gives the input itself."""
        if not isinstance(module, _ConvNd) or isinstance(module, _ConvTransposeNd) or not args:
            return
        seen, axes = args[0], len(self.spatial)
        if not isinstance(seen, Tensor) or not isinstance(output, Tensor) or len(module.kernel_size) != axes:
            return
        if seen.ndim != axes + 2 or any(d != 1 for d in module.dilation):
            return
        padding = (0,) * axes if isinstance(module.padding, str) else tuple(module.padding)
        source, grid = tuple(seen.shape[2:]), tuple(output.shape[2:])
        if not self.cuts and source != self.spatial and self.start is None:
            self.start = source, tuple(_laid(self.spatial, seen, None if x is None else x()))
        if any(k > 1 for k in module.kernel_size):
            self.cuts.setdefault(Cut(source, grid, tuple(module.kernel_size), tuple(module.stride), padding))

    def placement(self, grid: Grid, tokens: int | None) -> Placement | None:
        """Returns where the cells of a grid lie; None: they share the input evenly, or nothing says otherwise.

        Args:
            grid: of a layer.
            tokens: how many the network works on, if it works on tokens.
        """
        spans = self._spans(tokens).get(grid) or self._merged(grid, tokens)
        if spans is None or len(spans) != len(self.spatial):
            return None
        shared = [even(length, cells) for length, cells in zip(self.spatial, grid, strict=True)]
        kept = [None if _alike(span, other) else span for span, other in zip(spans, shared, strict=True)]
        return Placement(self.spatial, tuple(kept)) if any(kept) else None

    def _spans(self, tokens: int | None) -> dict[Grid, tuple[Span, ...] | None]:
        begin, identity = self.spatial, tuple(even(length, length) for length in self.spatial)
        if self.start is not None:
            begin, identity = self.start
        known: dict[Grid, tuple[Span, ...] | None] = {begin: identity}
        for cut in self.cuts:
            on = known.get(cut.source)
            patches = cut.disjoint or (cut.source == begin and cut.overlapping and _is_tokens(cut.grid, tokens))
            found = cut.spans(on) if on is not None and patches else None
            if cut.source == begin and not patches:
                known[begin] = None  # a strided network: the arithmetic of its padding is not what its cells see
            if cut.grid != cut.source:
                known[cut.grid] = found if known.get(cut.grid, found) == found else None
        return known

    def _merged(self, grid: Grid, tokens: int | None) -> tuple[Span, ...] | None:
        """Returns the spans of a grid that is left of one of patches when all axes are halved again and again."""
        for fine, spans in self._spans(tokens).items():
            if spans is None or fine in (self.spatial, grid):
                continue
            side = 2
            while side <= 2 * max(fine):
                ups = tuple(-(-cells // side) for cells in fine)
                downs = tuple(max(cells // side, 1) for cells in fine)
                if grid in (ups, downs):
                    return tuple(_merge(span, cells, side) for span, cells in zip(spans, grid, strict=True))
                side *= 2
        return None


def _merge(span: Span, cells: int, side: int) -> Span:
    edge, step = span.first - span.step / 2, span.step * side
    return Span(edge + step / 2, step, span.low, min(span.high, edge + cells * step))


def _is_tokens(grid: Grid, tokens: int | None) -> bool:
    return tokens is not None and 0 <= tokens - math.prod(grid) < math.prod(grid)


def _alike(span: Span, other: Span) -> bool:
    return all(math.isclose(a, b, abs_tol=1e-9) for a, b in zip(span, other, strict=True))


def _laid(spatial: Grid, seen: Tensor, x: Tensor | None) -> list[Span]:
    """Returns where the places of what the first convolution got lie on the input.

    They are the input padded or cropped, at its ends or all around, if it is found there up to its scale; else they are
    taken for the input resized.
    """
    extents = tuple(seen.shape[2:])
    if x is not None and x.ndim == seen.ndim and len(x) == len(seen):
        shifts = [
            list(dict.fromkeys((0, d // 2, -(-d // 2), d)))
            for d in (e - s for e, s in zip(extents, spatial, strict=True))
        ]
        for offsets in _combinations(shifts):
            if _same(x[0, 0], seen[0, 0].detach(), offsets):
                return [
                    Span(0.5 - o, 1.0, max(0.0, float(-o)), min(float(s), float(e - o)))
                    for o, s, e in zip(offsets, spatial, extents, strict=True)
                ]
    return [Span(s / e / 2, s / e, 0.0, float(s)) for s, e in zip(spatial, extents, strict=True)]


def _combinations(shifts: list[list[int]]) -> list[tuple[int, ...]]:
    alike = [tuple(s[min(n, len(s) - 1)] for s in shifts) for n in range(max(map(len, shifts)))]
    every = torch.cartesian_prod(*map(torch.tensor, shifts)).reshape(-1, len(shifts)).tolist()
    return list(dict.fromkeys([*alike, *map(tuple, every)]))


def _same(x: Tensor, seen: Tensor, offsets: Sequence[int]) -> bool:
    """Tells whether place i of the input is place i + offset of what was seen, up to a factor and a constant."""
    for axis, o in enumerate(offsets):
        begin, length = max(0, -o), min(x.shape[axis], seen.shape[axis] - o) - max(0, -o)
        if length < 1:
            return False
        x, seen = x.narrow(axis, begin, length), seen.narrow(axis, begin + o, length)
    a, b = x.flatten().double(), seen.flatten().double()
    a, b = a - a.mean(), b - b.mean()
    norm = a.norm() * b.norm()
    return bool(norm > 0) and bool((a @ b / norm).abs() > 1 - 1e-4)
