"""Images that do not fit: explained window by window, the raw maps blended into one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch
from torch import Tensor

from cfcam.blending import (
    Aggregate,
    Blend,
    Column,
    Layout,
    Patch,
    Running,
    Weight,
    blended_logits,
    columns_of,
    cut,
    fitted,
    laid_out,
    logits_of,
)
from cfcam.capture import AllClasses, Capture, ClassTarget, Network, Target, probabilities
from cfcam.capture.targets.classes import check_targets, resolve_targets
from cfcam.capture.targets.dense import Segmentation
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
    dense = _is_dense(network, x, size)
    rules = check_targets(targets, len(x), spatial if dense else None)
    if dense:
        windows = _dense_windows(explainer, x, size, overlap)
        parts_of = [
            _blended_dense(explainer, image, windows, _of_image(rules, n, len(spatial)), weight, batch_size)
            for n, image in enumerate(x.split(1))
        ]
        whole = joined([one for one, _ in parts_of])
        settings = _settings(size, overlap, weight, aggregate, windows) | {"explained": sum(n for _, n in parts_of)}
        return replace(whole, provenance={**explainer.provenance(), "windows": settings})
    windows, _ = _laid_out(explainer, x, size, overlap, _for_each(_of_image(rules, 0)))
    rules = _settled(rules, x, windows, explainer, aggregate, batch_size)
    explained = []
    for n, image in enumerate(x.split(1)):
        own = _of_image(rules, n)
        parts = ((places, explainer(some, _for_each(own, len(some)))) for places, some in windows.of(image, batch_size))
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


def _is_dense(network: Network, x: Tensor, size: tuple[int, ...]) -> bool:
    """Whether the network gives scores for each place: a segmentation."""
    place = (0,) * len(size)
    return logits_of(network, iter([([place], cut(x[:1], place, size))]), "mean").ndim == x.ndim


def _dense_windows(explainer: Explainer, x: Tensor, size: tuple[int, ...], overlap: float) -> Layout:
    """Where the windows of a segmentation begin, whatever it is asked for."""
    return _laid_out(explainer, x, size, overlap, [Segmentation(0, torch.ones(size), background=None)])[0]


def _laid_out(
    explainer: Explainer, x: Tensor, size: tuple[int, ...], overlap: float, targets: Any
) -> tuple[Layout, Capture]:
    """Where windows begin, at whole cells of the layer, and a pass of the first one."""
    first = cut(x[:1], (0,) * len(size), size)
    layer = explainer.layer_for(first)
    capture = Capture(explainer._network, first, layer=layer, targets=targets, classes=explainer.classes)
    if capture.given.shape != capture.input.shape:
        raise InputError(
            f"windows cut (N, C, *spatial), and this network takes {tuple(x.shape)} with its frames on axis 1: give"
            " them on axis 2, and the model as cfcam.capture.Adapter(model, lambda x, images: x.transpose(1, 2))"
        )
    return laid_out(capture, x.shape[2:], overlap), capture


def _needs_logits(rule: Any) -> bool:
    return isinstance(rule, Target) and not isinstance(rule, (ClassTarget, AllClasses))


def _settled(
    rules: list[Any], x: Tensor, windows: Layout, explainer: Explainer, aggregate: Aggregate, batch_size: int
) -> list[Any]:
    """The rules, with those that ask for a prediction replaced by the indices (N, k) that the windows' logits give."""
    if not any(_needs_logits(rule) for rule in rules):
        return rules
    network = explainer._network
    logits = torch.cat([logits_of(network, windows.of(image, batch_size), aggregate) for image in x.split(1)])
    return [
        resolve_targets([rule], logits, explainer.classes, network.kind()).indices if _needs_logits(rule) else rule
        for rule in rules
    ]


def _of_image(rules: Sequence[Any], n: int, axes: int = 0) -> list[Any]:
    """The rules of one image: of classes and masks image by image its own, (1, K) and (*spatial)."""
    own = [rule[n : n + 1] if isinstance(rule, Tensor) else rule for rule in rules]
    return [
        replace(rule, mask=rule.mask[n]) if isinstance(rule, Segmentation) and _by_image(rule, axes) else rule
        for rule in own
    ]


def _for_each(rules: Sequence[Any], count: int = 1) -> Any:
    """The rules of an image as targets of some of its windows, for each the same."""
    if len(rules) == 1 and isinstance(rules[0], Tensor):
        return rules[0].expand(count, -1)
    return [target for rule in rules for target in (rule[0].tolist() if isinstance(rule, Tensor) else [rule])]


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


def _blended_dense(
    explainer: Explainer, image: Tensor, windows: Layout, rules: list[Any], weight: Weight, batch_size: int
) -> tuple[Explanation, int]:
    """The explanation of one image (1, C, *spatial) by a segmentation network, and how many windows it took."""
    spatial = tuple(image.shape[2:])
    whole, shape, cells = blended_logits(explainer._network, image, windows, weight, batch_size)
    columns = columns_of(rules, whole, explainer.classes, explainer._network.kind(), spatial)
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


@dataclass(frozen=True)
class Windows:
    """How inputs are explained window by window; see `cfcam.explainer_windows.explain_windows`."""

    size: int | tuple[int, ...]
    overlap: float = 0.5
    aggregate: Aggregate = "mean"

    def hold(self, x: Tensor) -> bool:
        """Whether one window holds images (N, C, *spatial): these are explained whole."""
        sides = (self.size,) * (x.ndim - 2) if isinstance(self.size, int) else self.size
        return len(sides) == x.ndim - 2 and all(side >= extent for side, extent in zip(sides, x.shape[2:], strict=True))


class WindowScores:
    """The scores that `explain_windows` states of one image, asked again of changed versions of it.

    Classes, the places of a class and what each window counts for there stay those of the untouched image. Only windows
    that see a change are run, for a "max" all of them once.

    Args:
        explainer: as for `explain_windows`.
        x: (1, C, *spatial), larger than a window.
        windows: as the image was explained.
        targets: as for `explain_windows`.
        weight: likewise.

    Attributes:
        count: number of scores K.

    Raises:
        CfcamError: see `explain_windows`.
    """

    def __init__(
        self, explainer: Explainer, x: Tensor, windows: Windows, targets: Any = None, *, weight: Weight = "gaussian"
    ) -> None:
        self._explainer, self._x, self._max = explainer, x, False
        self._columns: list[Column] = []
        size = _checked(x, windows.size, windows.overlap, weight, windows.aggregate, 1)
        network, spatial = explainer._network, tuple(x.shape[2:])
        if _is_dense(network, x, size):
            self._windows = _dense_windows(explainer, x, size, windows.overlap)
            whole, shape, self._cells = blended_logits(network, x, self._windows, weight, 1)
            asked = _of_image(check_targets(targets, 1, spatial), 0, len(spatial))
            self._columns = columns_of(asked, whole, explainer.classes, network.kind(), spatial)
            self._shares = Blend("the network's scores", whole.new_zeros(1, *shape), self._windows, weight)
            for place in self._windows.places():
                self._shares.add(place, None)
            self.count = len(self._columns)
            return
        rules = check_targets(targets, 1)
        self._windows, capture = _laid_out(explainer, x, size, windows.overlap, _for_each(_of_image(rules, 0)))
        self._rules = _for_each(_of_image(_settled(rules, x, self._windows, explainer, windows.aggregate, 1), 0))
        self.count, self._max = capture.scores.shape[1], windows.aggregate == "max"

    def falls(self, patches: Sequence[Patch]) -> Tensor:
        """Returns how far each score falls with each of some changes: (changes, K) float64.

        Args:
            patches: what is changed, each by itself.
        """
        falls = torch.zeros(len(patches), self.count, dtype=torch.float64)
        most, rest = torch.full((self.count,), -math.inf, dtype=torch.float64), torch.full_like(falls, -math.inf)
        size, origin = self._windows.size, (0,) * len(self._windows.size)
        for (place,), window in self._windows.of(self._x, 1):
            here = (slice(at, at + side) for at, side in zip(place, size, strict=True))
            inside = self._x[(slice(None), slice(None), *here)]
            changed = {n: part for n, patch in enumerate(patches) if (part := patch.into(inside, place)) is not None}
            which, asked, parts = self._asked(place) if changed or self._max else ([], [], [])
            if not which:
                continue
            capture = self._explainer.capture(window, asked)
            before = capture.scores[0].double().cpu()
            after = before.repeat(len(patches), 1)
            for n, part in changed.items():
                other = cut(part, origin, size).to(capture.input.device)
                after[n] = capture.rescore(other, torch.zeros(1, dtype=torch.long, device=other.device))[0]
            falls[:, which] += torch.tensor(parts, dtype=torch.float64) * (before - after)
            most, rest = most.maximum(before), rest.maximum(after)
        return most - rest if self._max else falls

    def _asked(self, place: tuple[int, ...]) -> tuple[list[int], Any, list[float]]:
        """The columns of which a window sees something, what it is asked for, and what its answers count for."""
        mean = 1 / len(self._windows)
        if not self._columns:
            return list(range(self.count)), self._rules, [mean] * self.count
        found: list[tuple[int, Any, float]] = []
        share = self._shares.share(place)
        first = [at // cell for at, cell in zip(place, self._cells, strict=True)]
        for k, column in enumerate(self._columns):
            asked = column.asked(first, share.shape)
            if column.places is None:
                found.append((k, asked, mean))
            elif asked is not None:
                found.append((k, replace(asked, mask=asked.mask * share), column.factor))
        return [k for k, _, _ in found], [asked for _, asked, _ in found], [part for _, _, part in found]
