"""Images that do not fit: explained window by window, the raw maps blended into one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from cfcam.blending import Aggregate, Batch, Blend, Layout, Running, Weight, cut, fitted
from cfcam.capture import AllClasses, Capture, ClassTarget, Network, Target, probabilities
from cfcam.capture.state.guarantee import preserved
from cfcam.capture.targets.classes import check_targets, resolve_targets
from cfcam.capture.targets.dense import MaskedScore, Segmentation
from cfcam.capture.targets.scores import function_name
from cfcam.errors import InputError
from cfcam.explainer import Explainer, joined
from cfcam.explanation import Explanation

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

    For a segmentation, a class is explained where the whole image shows it: the windows' logits are blended as their
    maps are, the class's places are those of the blend (or of a mask that was given), and each window is explained for
    the part of them that it sees. A window that sees none has a map of 0, and is not explained.

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
        An explanation of the N whole images. `scores`, `logits` and `probabilities` are the aggregated ones; of a
        segmentation `logits` are the blended ones, and the score of a class is the sum of its own over its places. Of
        any other output that is no vector of classes they are the mean of the windows' outputs.

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
    first = cut(x[:1], (0,) * len(size), size)
    dense = _logits(network, iter([([(0,) * len(size)], first)]), "mean").ndim == x.ndim
    rules = check_targets(targets, len(x), spatial if dense else None)
    if dense:
        laid_out = _laid_out(explainer, x, size, overlap, [Segmentation(0, torch.ones(size), background=None)])
        parts_of = [
            _blended_dense(explainer, image, laid_out, _of_image(rules, n, len(spatial)), weight, batch_size)
            for n, image in enumerate(x.split(1))
        ]
        whole = joined([one for one, _ in parts_of])
        settings = _settings(size, overlap, weight, aggregate, laid_out) | {"explained": sum(n for _, n in parts_of)}
        return replace(whole, provenance={**explainer.provenance(), "windows": settings})
    windows = _laid_out(explainer, x, size, overlap, _of_image(rules, 0))
    one_by_one = x.split(1)
    if any(_needs_logits(rule) for rule in rules):
        found = [_logits(network, windows.of(image, batch_size), aggregate) for image in one_by_one]
        rules = _settled(rules, torch.cat(found), explainer)
    explained = []
    for n, image in enumerate(one_by_one):
        parts = ((places, explainer(some, _of_image(rules, n))) for places, some in windows.of(image, batch_size))
        explained.append(_blended(parts, windows, spatial, weight, aggregate))
    whole = joined(explained)
    settings = _settings(size, overlap, weight, aggregate, windows)
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


def _settings(size: Sequence[int], overlap: float, weight: str, aggregate: str, windows: Layout) -> dict[str, Any]:
    """What is told of the windows in the provenance."""
    return {
        "size": list(size),
        "overlap": overlap,
        "weight": weight,
        "aggregate": aggregate,
        "count": len(windows),
    }


def _laid_out(explainer: Explainer, x: Tensor, size: tuple[int, ...], overlap: float, targets: list[Any]) -> Layout:
    """Where windows begin along each axis: evenly, at whole cells of the layer, the last one reaching the end."""
    first = cut(x[:1], (0,) * len(size), size)
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


def _logits(network: Network, batches: Iterator[Batch], aggregate: Aggregate) -> Tensor:
    """The logits of an image (1, classes), from those of its windows."""
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


def _needs_logits(rule: Any) -> bool:
    return isinstance(rule, Target) and not isinstance(rule, (ClassTarget, AllClasses))


def _settled(rules: Sequence[Any], logits: Tensor, explainer: Explainer) -> list[Any]:
    """The rules, with those that ask for a prediction replaced by the indices (N, k) that they give."""
    kind = explainer._network.kind()
    return [
        resolve_targets([rule], logits, explainer.classes, kind).indices if _needs_logits(rule) else rule
        for rule in rules
    ]


def _of_image(rules: Sequence[Any], n: int, axes: int = 0) -> list[Any]:
    """The targets of one image, as a list that holds for each of its windows; of masks image by image its own."""
    own = [
        replace(rule, mask=rule.mask[n]) if isinstance(rule, Segmentation) and _by_image(rule, axes) else rule
        for rule in rules
    ]
    return [target for rule in own for target in (rule[n].tolist() if isinstance(rule, Tensor) else [rule])]


def _by_image(rule: Segmentation, axes: int) -> bool:
    return rule.mask is not None and rule.mask.ndim > axes > 0


def _blended(
    parts: Iterator[tuple[list[tuple[int, ...]], Explanation]],
    windows: Layout,
    spatial: tuple[int, ...],
    weight: Weight,
    aggregate: Aggregate,
) -> Explanation:
    """The explanation of one image from those of its windows."""
    blends: dict[str, Blend] = {}
    scores, logits, said = Running(aggregate), None, Counter[str]()
    for places, part in parts:
        logits = logits or Running(aggregate if part.logits.ndim == 2 else "mean")
        scores.add(part.scores)
        said.update(line for lines in part.said for line in lines)
        logits.add(part.logits)
        for method, maps in part.maps.items():
            if method not in blends:
                blends[method] = Blend(method, maps[0], windows, weight)
            for place, one in zip(places, maps, strict=True):
                blends[method].add(place, one)
    assert logits is not None  # noqa: S101 (there is always a first window)
    excess = [end / extent for end, extent in zip(windows.ends, spatial, strict=True)]
    return replace(
        part,
        maps={method: fitted(blend.value(), excess)[None] for method, blend in blends.items()},
        targets=part.targets[:1],
        scores=scores.value(),
        logits=logits.value(),
        probabilities=None,
        said=(tuple(f"{line} (in {count} of {len(windows)} windows)" for line, count in said.items()),),
    )


@dataclass(frozen=True, eq=False)
class _Column:
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


def _blended_dense(
    explainer: Explainer, image: Tensor, windows: Layout, rules: list[Any], weight: Weight, batch_size: int
) -> tuple[Explanation, int]:
    """The explanation of one image (1, C, *spatial) by a segmentation network, and how many windows it took."""
    network, spatial = explainer._network, tuple(image.shape[2:])
    logits: Blend | None = None
    for places, some in windows.of(image, batch_size):
        for place, one in zip(places, _run(network, some).cpu(), strict=True):
            logits = logits or Blend("the network's scores", one.float(), windows, weight)
            logits.add(place, one.float())
    assert logits is not None  # noqa: S101 (there is always a first window)
    shape = tuple(logits.shape)
    cells = [side // count for side, count in zip(windows.size, shape, strict=True)]
    kept = (slice(0, math.ceil(extent / cell)) for extent, cell in zip(spatial, cells, strict=True))
    whole = logits.value()[(slice(None), *kept)][None]
    columns = [column for rule in rules for column in _columns(rule, whole, explainer, spatial)]
    blends: dict[str, Blend] = {}
    scores = [Running("mean") for _ in columns]
    empty: list[tuple[int, ...]] = []
    part: Explanation | None = None
    for (place,), window in windows.of(image, 1):
        first = [at // cell for at, cell in zip(place, cells, strict=True)]
        asked = {k: found for k, column in enumerate(columns) if (found := column.asked(first, shape)) is not None}
        if not asked:
            empty.append(place)
            continue
        part = explainer(window, list(asked.values()))
        for position, k in enumerate(asked):
            scores[k].add(part.scores[:, position])
        for method, maps in part.maps.items():
            found = maps.new_zeros(len(columns), *maps.shape[2:])
            for position, k in enumerate(asked):
                found[k] = maps[0, position] * columns[k].factor
            if method not in blends:
                blends[method] = Blend(method, found, windows, weight)
            blends[method].add(place, found)
    assert part is not None  # noqa: S101 (some window sees a class that is somewhere)
    for blend in blends.values():
        for place in empty:
            blend.add(place, None)
    excess = [end / extent for end, extent in zip(windows.ends, spatial, strict=True)]
    own = [scores[k].value() if c.score is None else torch.tensor([c.score]) for k, c in enumerate(columns)]
    targets = [-1 if column.places is None else column.places[0] for column in columns]
    found = replace(
        part,
        maps={method: fitted(blend.value(), excess)[None] for method, blend in blends.items()},
        targets=torch.tensor([targets], device=part.targets.device),
        scores=torch.stack([score.to(part.scores).flatten()[0] for score in own])[None],
        logits=whole,
        probabilities=None,
        target_names=tuple(column.name for column in columns),
        margins=(False,) * len(columns),
        input_size=spatial,
    )
    return found, len(windows) - len(empty)


def _columns(rule: Any, logits: Tensor, explainer: Explainer, spatial: tuple[int, ...]) -> list[_Column]:
    """The scores that a rule asks for, of a segmentation of the whole image with these logits (1, classes, *output)."""
    resolved = resolve_targets([rule], logits, explainer.classes, explainer._network.kind(), spatial=spatial)
    columns = []
    for k in range(resolved.indices.shape[1]):
        function = resolved.functions.get(k)
        if not isinstance(function, MaskedScore):
            columns.append(_Column(rule, name=None if function is None else function_name(function)))
            continue
        mask = function.mask.cpu()
        score = float(function(None, logits, torch.zeros(1, dtype=torch.long), probability=False))
        factor = 1.0 if function.reduction == "sum" else 1 / float(mask.sum())
        columns.append(_Column(rule, (int(function.indices[0]), mask), score, function.name, factor))
    return columns


@dataclass(frozen=True)
class Windows:
    """How inputs are explained window by window; see `cfcam.explainer_windows.explain_windows`."""

    size: int | tuple[int, ...]
    overlap: float = 0.5
    aggregate: Aggregate = "mean"
