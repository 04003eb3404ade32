"""Images that do not fit: explained window by window, the raw maps blended into one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from cfcam.capture import AllClasses, Capture, ClassTarget, Network, Target, probabilities
from cfcam.capture.state.guarantee import preserved
from cfcam.capture.targets.classes import check_targets, resolve_targets
from cfcam.errors import InputError
from cfcam.explainer import Explainer
from cfcam.explanation import Explanation

Weight = Literal["gaussian", "hann", "constant"]
Aggregate = Literal["mean", "max"]
Batch = tuple[list[tuple[int, ...]], Tensor]

_SIGMA = 1 / 8  # of the window, as in nnU-Net and MONAI
_MOST_OVERLAP = 0.9


def explain_windows(
    explainer: Explainer,
    x: Tensor,
    window: int | Sequence[int],
    overlap: float = 0.5,
    targets: Any = None,
    *,
    weight: Weight = "gaussian",
    aggregate: Aggregate = "mean",
    batch_size: int = 1,
) -> Explanation:
    """Explains images in overlapping windows, for volumes that do not fit the memory or the network's input size.

    Every window is explained for the same targets. Their raw maps are averaged at the layer's resolution with weights
    that fall towards the borders of the window, and never normalised window by window: what is weak stays weak. The
    network sees no farther than a window, so that the maps are those of the windows' own scores.

    Windows begin at whole cells of the layer, so that cells of different windows coincide and no map is interpolated.
    Where the image is no multiple of them, the last windows see its border repeated (by less than a cell), and the map
    is fitted to the image by linear interpolation.

    Args:
        explainer: the model and its methods.
        x: (N, C, *spatial); moved to the model's device window by window.
        window: size of a window in voxels, one number for all axes or one each; cut down to the image.
        overlap: share of a window that it has in common with the next, at least; in [0, 0.9].
        targets: as for `Explainer.__call__`. The predicted class and the top k are those of the aggregated logits,
            image by image, for which all windows are run once before.
        weight: "gaussian" (standard deviation an eighth of the window), "hann", or "constant".
        aggregate: how the logits and scores of the windows become those of the image: their "mean", each window with
            the weight 1 / windows, or their "max", for findings that fill a window at most.
        batch_size: windows in one pass.

    Returns:
        An explanation of the N whole images. `scores`, `logits` and `probabilities` are the aggregated ones; for a
        network whose output is no vector of classes, `logits` are the mean of the windows' outputs.

    Raises:
        InputError: the window, the overlap or a choice is out of range, or the window is no multiple of the layer's
            cells.
        CfcamError: as `Explainer.__call__`.
    """
    size = _checked(x, window, overlap, weight, aggregate, batch_size)
    spatial = tuple(x.shape[2:])
    if size == spatial:
        return explainer(x, targets)
    network = explainer._network
    rules = check_targets(targets, len(x))
    windows = _laid_out(explainer, x, size, overlap, _of_image(rules, 0))
    one_by_one = x.split(1)
    if any(_needs_logits(rule) for rule in rules):
        found = [_logits(network, windows.of(image, batch_size), aggregate) for image in one_by_one]
        rules = _settled(rules, torch.cat(found), explainer)
    explained = []
    for n, image in enumerate(one_by_one):
        parts = ((places, explainer(some, _of_image(rules, n))) for places, some in windows.of(image, batch_size))
        explained.append(_blended(parts, windows, spatial, weight, aggregate))
    whole = _joined(explained)
    settings = {"size": list(size), "overlap": overlap, "weight": weight, "aggregate": aggregate, "count": len(windows)}
    return replace(
        whole,
        input_size=spatial,
        probabilities=probabilities(whole.logits.float(), network.kind())
        if whole.logits.ndim == 2 and whole.logits.shape[1]
        else None,
        provenance={**explainer.provenance(), "windows": settings},
    )


def _checked(
    x: Tensor, window: int | Sequence[int], overlap: float, weight: str, aggregate: str, batch_size: int
) -> tuple[int, ...]:
    """The size of a window, cut down to the image."""
    if not isinstance(x, Tensor) or x.ndim < 3 or x.numel() == 0:
        raise InputError("the input is no batch of images: give a tensor (N, C, *spatial)")
    axes = x.ndim - 2
    size = (window,) * axes if isinstance(window, int) else tuple(window)
    if len(size) != axes or not all(isinstance(side, int) and side >= 1 for side in size):
        raise InputError(f"window {window!r} for an input with {axes} spatial axes: give a number of voxels, or {axes}")
    if not 0 <= overlap <= _MOST_OVERLAP:
        raise InputError(f"overlap is {overlap!r}: it must lie between 0 and {_MOST_OVERLAP}")
    if weight not in get_args(Weight):
        raise InputError(f"weight is {weight!r}: it must be one of {', '.join(get_args(Weight))}")
    if aggregate not in get_args(Aggregate):
        raise InputError(f"aggregate is {aggregate!r}: it must be one of {', '.join(get_args(Aggregate))}")
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}: give 1 or more")
    return tuple(min(side, extent) for side, extent in zip(size, x.shape[2:], strict=True))


def _laid_out(explainer: Explainer, x: Tensor, size: tuple[int, ...], overlap: float, targets: list[Any]) -> _Windows:
    """Where windows begin along each axis: evenly, at whole cells of the layer, the last one reaching the end."""
    first = _cut(x[:1], (0,) * len(size), size)
    layer = explainer.layer_for(first)
    capture = Capture(explainer._network, first, layer=layer, targets=targets, classes=explainer.classes)
    if capture.given.shape != capture.input.shape:
        raise InputError(
            f"windows cut (N, C, *spatial), and this network takes {tuple(x.shape)} with its frames on axis 1: give"
            " them on axis 2, and the model as cfcam.capture.Adapter(model, lambda x, images: x.transpose(1, 2))"
        )
    starts: list[tuple[int, ...]] = []
    for side, cells, extent in zip(size, capture.activations.shape[2:], x.shape[2:], strict=True):
        if side == extent:
            starts.append((0,))
            continue
        if side % cells:
            likely = 2 ** round(math.log2(side / cells))
            lower = max(likely, side // likely * likely)
            raise InputError(
                f"a window of {side} voxels becomes {cells} cells of layer {layer!r}, which do not divide it: take a"
                f" window of {lower} or {lower + likely}"
            )
        _check_covered(capture, size)
        cell = side // cells
        end = math.ceil(extent / cell) - cells  # in cells
        step = max(1, math.floor(cells * (1 - overlap)))
        count = math.ceil(end / step) + 1
        starts.append(tuple(round(n * end / (count - 1)) * cell for n in range(count)))
    return _Windows(size, tuple(starts))


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


def _cut(x: Tensor, start: Sequence[int], size: Sequence[int]) -> Tensor:
    """A window of ``x``, whose border is repeated where the window reaches beyond it."""
    where = tuple(slice(at, at + side) for at, side in zip(start, size, strict=True))
    inside = x[(slice(None), slice(None), *where)]
    beyond = [n for side, kept in zip(size[::-1], inside.shape[:1:-1], strict=True) for n in (0, side - kept)]
    return F.pad(inside, beyond, mode="replicate") if any(beyond) else inside


@dataclass(frozen=True)
class _Windows:
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
            yield some, torch.cat([_cut(x, place, self.size) for place in some])


def _logits(network: Network, batches: Iterator[Batch], aggregate: Aggregate) -> Tensor:
    """The logits of an image (1, classes), from those of its windows."""
    logits = _Running(aggregate)
    for _, windows in batches:
        with torch.inference_mode(False), torch.no_grad():
            prepared = network.prepare(windows)
            with preserved(network.model, prepared.device):
                logits.add(network(prepared)[1].detach())
    return logits.value()


class _Running:
    """The mean or the maximum of values (windows, ...) that come batch by batch."""

    def __init__(self, aggregate: Aggregate) -> None:
        self._mean, self._count = aggregate == "mean", 0
        self._total: Tensor | None = None

    def add(self, values: Tensor) -> None:
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


class _Blend:
    """The weighted mean of the maps (K, *cells) of overlapping windows."""

    def __init__(self, method: str, maps: Tensor, windows: _Windows, weight: Weight) -> None:
        self._cells = [side / count for side, count in zip(windows.size, maps.shape[1:], strict=True)]
        for cell, on_axis in zip(self._cells, windows.starts, strict=True):
            if any(at % cell for at in on_axis):
                raise InputError(
                    f"the maps of {method} have cells of {cell:g} voxels, on which the windows do not begin: take a"
                    " window that is a multiple of them, or leave the method out"
                )
        grid = [round(end / cell) for end, cell in zip(windows.ends, self._cells, strict=True)]
        self._share = _weights(maps.shape[1:], weight).to(maps)
        self._sum, self._weight = maps.new_zeros(len(maps), *grid), maps.new_zeros(grid)

    def add(self, place: Sequence[int], maps: Tensor) -> None:
        first = [round(at / cell) for at, cell in zip(place, self._cells, strict=True)]
        here = tuple(slice(at, at + count) for at, count in zip(first, maps.shape[1:], strict=True))
        self._sum[(slice(None), *here)] += self._share * maps
        self._weight[here] += self._share

    def value(self) -> Tensor:
        return self._sum / self._weight


def _needs_logits(rule: Any) -> bool:
    return isinstance(rule, Target) and not isinstance(rule, (ClassTarget, AllClasses))


def _settled(rules: Sequence[Any], logits: Tensor, explainer: Explainer) -> list[Any]:
    """The rules, with those that ask for a prediction replaced by the indices (N, k) that they give."""
    kind = explainer._network.kind()
    return [
        resolve_targets([rule], logits, explainer.classes, kind).indices if _needs_logits(rule) else rule
        for rule in rules
    ]


def _of_image(rules: Sequence[Any], n: int) -> list[Any]:
    """The targets of one image, as a list that holds for each of its windows."""
    return [target for rule in rules for target in (rule[n].tolist() if isinstance(rule, Tensor) else [rule])]


def _blended(
    parts: Iterator[tuple[list[tuple[int, ...]], Explanation]],
    windows: _Windows,
    spatial: tuple[int, ...],
    weight: Weight,
    aggregate: Aggregate,
) -> Explanation:
    """The explanation of one image from those of its windows."""
    blends: dict[str, _Blend] = {}
    scores, logits = _Running(aggregate), None
    for places, part in parts:
        logits = logits or _Running(aggregate if part.logits.ndim == 2 else "mean")
        scores.add(part.scores)
        logits.add(part.logits)
        for method, maps in part.maps.items():
            if method not in blends:
                blends[method] = _Blend(method, maps[0], windows, weight)
            for place, one in zip(places, maps, strict=True):
                blends[method].add(place, one)
    assert logits is not None  # noqa: S101 (there is always a first window)
    excess = [end / extent for end, extent in zip(windows.ends, spatial, strict=True)]
    return replace(
        part,
        maps={method: _fitted(blend.value(), excess)[None] for method, blend in blends.items()},
        targets=part.targets[:1],
        scores=scores.value(),
        logits=logits.value(),
        probabilities=None,
    )


def _weights(shape: Sequence[int], weight: Weight) -> Tensor:
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


def _fitted(maps: Tensor, excess: Sequence[float]) -> Tensor:
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


def _joined(images: Sequence[Explanation]) -> Explanation:
    """One explanation of N images."""
    first = images[0]
    return replace(
        first,
        maps={method: torch.cat([one.maps[method] for one in images]) for method in first.maps},
        targets=torch.cat([one.targets for one in images]),
        scores=torch.cat([one.scores for one in images]),
        logits=torch.cat([one.logits for one in images]),
    )


@dataclass(frozen=True)
class Windows:
    """How inputs are explained window by window; see `cfcam.explainer_windows.explain_windows`."""

    size: int | tuple[int, ...]
    overlap: float = 0.5
    aggregate: Aggregate = "mean"
