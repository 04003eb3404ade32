"""Windows of an image, and what is found in them brought together: maps blended, scores averaged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cfcam.capture import Capture, Network
from cfcam.capture.answers.probabilities import Kind
from cfcam.capture.state.guarantee import preserved
from cfcam.capture.targets.classes import resolve_targets
from cfcam.capture.targets.dense import MaskedScore, Segmentation
from cfcam.capture.targets.scores import function_name, of_rule
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

    def places(self) -> list[tuple[int, ...]]:
        """Where each window begins, the last axis running fastest."""
        return list(product(*self.starts))

    def of(self, x: Tensor, batch_size: int) -> Iterator[Batch]:
        """Yields places and windows of one image (1, C, *spatial), the last axis running fastest."""
        places = self.places()
        for n in range(0, len(places), batch_size):
            some = places[n : n + batch_size]
            yield some, torch.cat([cut(x, place, self.size) for place in some])


def laid_out(capture: Capture, extent: Sequence[int], overlap: float) -> Layout:
    """Returns where windows begin along each axis: evenly, at whole cells of the layer, the last one reaching the end.

    Args:
        capture: of one window.
        extent: *spatial of the image.
        overlap: share of a window that it has in common with the next, at least.

    Raises:
        InputError: the window is no multiple of the layer's cells.
    """
    size, starts = tuple(capture.input.shape[2:]), list[tuple[int, ...]]()
    for side, cells, whole in zip(size, capture.activations.shape[2:], extent, strict=True):
        if side == whole:
            starts.append((0,))
            continue
        if side % cells:
            likely = 2 ** round(math.log2(side / cells))
            lower = max(likely, side // likely * likely)
            raise InputError(
                f"a window of {side} voxels becomes {cells} cells of layer {capture.layer!r}, which do not divide it:"
                f" take a window of {lower} or {lower + likely}"
            )
        _check_covered(capture, size)
        cell = side // cells
        end = math.ceil(whole / cell) - cells  # in cells
        step = max(1, math.floor(cells * (1 - overlap)))
        count = math.ceil(end / step) + 1
        starts.append(tuple(round(n * end / (count - 1)) * cell for n in range(count)))
    return Layout(size, tuple(starts))


def _check_covered(capture: Capture, size: tuple[int, ...]) -> None:
    """Raises `InputError` if the layer's patches do not cover a window: cells of two windows would not coincide."""
    if placement := capture.placement():
        steps = [span.step for span in placement.spans if span is not None]
        patch = math.lcm(*(round(step) for step in steps if step >= 1)) if steps else 1
        fits = max(patch, min(size) // patch * patch)
        raise InputError(
            f"a window of {list(size)} voxels is not covered by the patches of layer {capture.layer!r}, which are"
            f" {' x '.join(f'{step:g}' for step in steps)} voxels: take a window of {fits} or {fits + patch}"
        )


@dataclass(frozen=True, eq=False)
class Patch:
    """Other values of a block of an image.

    Attributes:
        start: the first voxel of the block.
        values: (1, C, *block).
    """

    start: tuple[int, ...]
    values: Tensor

    def into(self, x: Tensor, first: Sequence[int] | None = None) -> Tensor | None:
        """Returns x (1, C, *spatial), a part of the image, with these values; None: nothing of it is another.

        Args:
            x: the part.
            first: where it begins in the image; None: it is the whole image.
        """
        there, here = [slice(None)] * 2, [slice(None)] * 2
        sides = zip(self.start, self.values.shape[2:], first or [0] * len(self.start), x.shape[2:], strict=True)
        for start, side, at, extent in sides:
            low, high = max(start - at, 0), min(start - at + side, extent)
            if high <= low:
                return None
            here.append(slice(low, high))
            there.append(slice(low + at - start, high + at - start))
        values = self.values[tuple(there)].to(x)
        if torch.equal(x[tuple(here)], values):
            return None
        changed = x.clone()
        changed[tuple(here)] = values
        return changed


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
        here = self._cells_of(place)
        if maps is not None:
            self._sum[(slice(None), *here)] += self._share * maps
        self._weight[here] += self._share

    def share(self, place: Sequence[int]) -> Tensor:
        """(*cells) what a window counts for in `value`: of all windows that see a place these add up to 1."""
        return self._share / self._weight[self._cells_of(place)]

    def _cells_of(self, place: Sequence[int]) -> tuple[slice, ...]:
        first = [round(at / cell) for at, cell in zip(place, self._cells, strict=True)]
        return tuple(slice(at, at + count) for at, count in zip(first, self.shape, strict=True))

    def value(self) -> Tensor:
        """(K, *grid)."""
        return self._sum / self._weight


@dataclass(frozen=True, eq=False)
class Column:
    """One score of a segmentation: of a class at places of the whole image, or what each window is asked for.

    Attributes:
        rule: what a window is asked for, where ``places`` is None.
        places: the class, and the weight of each place of the output (1, *output).
        score: of the whole image; None: the windows' own are aggregated.
        name: as shown to people.
        factor: from a sum over the places to the score.
    """

    rule: Any
    places: tuple[int, Tensor] | None = None
    score: float | None = None
    name: str | None = None
    factor: float = 1.0

    def asked(self, first: Sequence[int], shape: Sequence[int]) -> Any:
        """What a window is asked for, that begins at a place of the output; None: it sees nothing of the class."""
        if self.places is None:
            return self.rule
        index, weights = self.places
        mask = weights[(slice(None), *(slice(at, at + count) for at, count in zip(first, shape, strict=True)))]
        beyond = [n for want, has in zip(shape[::-1], mask.shape[:0:-1], strict=True) for n in (0, want - has)]
        mask = F.pad(mask, beyond)  # where a window reaches beyond the image there is nothing of it
        return Segmentation(index, mask, background=None) if bool((mask > 0).any()) else None


def columns_of(
    rules: Sequence[Any], logits: Tensor, classes: Sequence[str] | None, kind: Kind, spatial: tuple[int, ...]
) -> list[Column]:
    """Returns the scores that rules ask for of a segmentation of a whole image.

    Args:
        rules: of `cfcam.capture.targets.classes.check_targets`.
        logits: (1, classes, *output) of the whole image.
        classes: class names.
        kind: how logits become probabilities.
        spatial: *spatial of the image.

    Raises:
        TargetError: see `cfcam.capture.targets.classes.resolve_targets`.
    """
    columns = []
    for n, rule in enumerate(rules):
        with of_rule(n):
            resolved = resolve_targets([rule], logits, classes, kind, spatial=spatial)
        columns += [_column(rule, resolved.functions.get(k), logits) for k in range(resolved.indices.shape[1])]
    return columns


def _column(rule: Any, function: Any, logits: Tensor) -> Column:
    if not isinstance(function, MaskedScore):
        return Column(rule, name=None if function is None else function_name(function))
    mask = function.mask.cpu()
    score = float(function(None, logits, torch.zeros(1, dtype=torch.long), probability=False))
    factor = 1.0 if function.reduction == "sum" else 1 / float(mask.sum())
    return Column(rule, (int(function.indices[0]), mask), score, function.name, factor)


def logits_of(network: Network, batches: Iterator[Batch], aggregate: Aggregate) -> Tensor:
    """Returns the logits of an image (1, classes), from those of its windows.

    Args:
        network: is run without a graph.
        batches: places and windows.
        aggregate: of the windows.
    """
    logits = Running(aggregate)
    for _, windows in batches:
        logits.add(_run(network, windows))
    return logits.value()


def _run(network: Network, windows: Tensor) -> Tensor:
    """The network's scores of some windows, without a graph."""
    with torch.inference_mode(False), torch.no_grad():
        prepared = network.prepare(windows)
        with preserved(network.model, prepared.device):
            return network(prepared)[1].detach()


def blended_logits(
    network: Network, image: Tensor, windows: Layout, weight: Weight, batch_size: int
) -> tuple[Tensor, tuple[int, ...], list[int]]:
    """Returns the logits (1, classes, *output) of an image, the shape of a window's, and the voxels of a place of them.

    Args:
        network: a segmentation network, run without a graph.
        image: (1, C, *spatial).
        windows: of it.
        weight: of the places of a window.
        batch_size: windows in one pass.
    """
    logits: Blend | None = None
    for places, some in windows.of(image, batch_size):
        for place, one in zip(places, _run(network, some).cpu(), strict=True):
            logits = logits or Blend("the network's scores", one.float(), windows, weight)
            logits.add(place, one.float())
    assert logits is not None  # noqa: S101 (there is always a first window)
    shape = tuple(logits.shape)
    cells = [side // count for side, count in zip(windows.size, shape, strict=True)]
    kept = (slice(0, math.ceil(extent / cell)) for extent, cell in zip(image.shape[2:], cells, strict=True))
    return logits.value()[(slice(None), *kept)][None], shape, cells


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
