"""A raw map: whether it can be read, how it comes to the size of its input, and where Otsu cuts it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cfcam.capture.layers.placement import Placement, upsampled
from cfcam.errors import InputError, shown, whole_number

_BINS = 256
_LARGEST_INPUT = 2**29  # pixels or voxels: the most that is read
_AT_ONCE = 1 << 16  # positions, so that what is worked on stays in the processor's cache


class Status(StrEnum):
    """Whether a map can be read."""

    OK = "ok"
    NO_POSITIVE_EVIDENCE = "no positive evidence"
    NOT_FINITE = "not finite"
    NOTHING_TO_EXPLAIN = "nothing to explain"
    """Of a column that this image has no target for, as a word behind the end of its text; its score is NaN."""


def heatmaps_of(maps: Tensor, size: Sequence[int], placement: Placement | None = None) -> Tensor:
    """Returns maps for the eye (N, K, *size) in [0, 1] of raw maps (N, K, *spatial); see `Explanation.heatmaps`.

    Args:
        maps: raw.
        size: of the result.
        placement: where the maps' cells lie on the input, see `Capture.placement`; None: they share it evenly.
    """
    heat = evidence_of(maps, size, placement)
    peak = heat.flatten(2).amax(2).reshape(*heat.shape[:2], *[1] * len(size))
    return torch.where(peak > 0, heat / peak, 0)


def evidence_of(maps: Tensor, size: Sequence[int], placement: Placement | None = None) -> Tensor:
    """Returns the positive part of raw maps at a size (N, K, *size), in the maps' own unit; see `heatmaps_of`."""
    usable = maps.flatten(2).isfinite().all(2).reshape(*maps.shape[:2], *[1] * (maps.ndim - 2))
    return upsampled(torch.where(usable, maps, 0).clamp_(min=0), size, placement)


def sides_of(size: Any) -> tuple[int, ...]:
    """Returns a size that was given for maps; raises `InputError` for what is no sequence of whole numbers."""
    try:
        return tuple(whole_number(side, "size", 1) for side in size)
    except TypeError as error:
        raise InputError(
            f"size is {shown(size)}: give one number of cells for each axis, such as (224, 224)"
        ) from error


def statuses_of(maps: Tensor, scores: Tensor | None = None) -> np.ndarray[Any, Any]:
    """Returns the (N, K) array of `Status` of raw maps (N, K, *spatial), and of their scores (N, K) where known."""
    flat = maps.flatten(2)
    finite, positive = (found.cpu().numpy() for found in (flat.isfinite().all(2), (flat > 0).any(2)))
    words = np.array([Status.NO_POSITIVE_EVIDENCE, Status.OK, Status.NOT_FINITE], dtype=object)
    codes = words[np.where(finite, positive.astype(int), 2)]
    if scores is not None:
        none = scores.isnan().cpu().numpy()
        codes[none & (codes == Status.NO_POSITIVE_EVIDENCE)] = Status.NOTHING_TO_EXPLAIN
    return codes


def otsu_threshold(heat: Tensor) -> Tensor:
    """Returns (B,) Otsu's thresholds of maps for the eye (B, positions), finite and each with a value above 0.

    See `cfcam.metrics.functional.otsu_threshold`, which checks what it is given.
    """
    if not len(heat):
        return heat.new_zeros(0)
    low, high = ends(heat)
    counts = torch.stack([_histogram(*one) for one in zip(heat, low, high, strict=True)]).double()
    moments = counts * torch.arange(_BINS, device=heat.device)
    below, moment_below = counts.cumsum(1)[:, :-1], moments.cumsum(1)[:, :-1]
    above, moment_above = counts.sum(1, keepdim=True) - below, moments.sum(1, keepdim=True) - moment_below
    # The lowest and the highest bin are never empty, but for a constant map, whose upper class is.
    between = below * above * (moment_below / below - moment_above / above.clamp(min=1)) ** 2
    edge = (between.argmax(1, keepdim=True) + 1) / _BINS
    return (low + edge * (high - low)).squeeze(1)


def ends(heat: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the least and the greatest value (B, 1) of maps (B, positions)."""
    if len(heat) == 1:  # of one large map torch finds them six times as fast where it need not keep rows apart
        low, high = heat.aminmax()
        return low.reshape(1, 1), high.reshape(1, 1)
    low, high = heat.aminmax(dim=1, keepdim=True)
    return low, high


def _histogram(heat: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Counts (bins,) of a map (positions,) between its least and its greatest value."""
    if not bool(high > low):
        return torch.bincount(torch.zeros_like(heat, dtype=torch.long), minlength=_BINS)
    counts = torch.zeros(_BINS, dtype=torch.long, device=heat.device)
    for part in heat.split(_AT_ONCE):
        position = part - low
        position /= high - low
        position *= _BINS
        counts += torch.bincount(position.clamp_(max=_BINS - 1).int(), minlength=_BINS)
    return counts


def check_together(
    maps: Mapping[str, Tensor],
    answers: Sequence[Tensor | None],
    size: Sequence[int],
    classes: int | None,
    names: Sequence[object],
) -> None:
    """Compares the parts of an explanation that come from a file.

    Args:
        maps: method -> (N, K, *spatial).
        answers: targets (N, K), scores (N, K), logits (N, C) and probabilities (N, C), or None for the last.
        size: of the network's input.
        classes: how many class names there are; None: none.
        names: of the targets; each a text or None.

    Raises:
        ValueError: parts do not belong together, or claim a size that nothing has.
    """
    targets, scores, logits, probabilities = answers
    if targets is None or scores is None or logits is None or targets.ndim != 2 or not maps:
        raise ValueError("no maps, or no targets for each image")
    if not all(type(n) is int and n > 0 for n in size) or not 0 < math.prod(size) <= _LARGEST_INPUT:
        raise ValueError(f"an input of {str(list(size))[:60]} pixels")
    if any(one.shape[:2] != targets.shape for one in maps.values()) or scores.shape[:2] != targets.shape:
        raise ValueError("maps or scores of another number than their targets")
    if targets.is_floating_point() or not all(one is None or isinstance(one, str) for one in names):
        raise ValueError("targets that are no whole numbers, or names that are no texts")
    known = min(2**31 if classes is None else classes, 2**31 if probabilities is None else probabilities.shape[-1])
    lowest, highest = (int(targets.min()), int(targets.max())) if targets.numel() else (0, -1)
    if highest >= known or (lowest < 0 and len(names) < targets.shape[1]):
        raise ValueError(f"a target that is none of {known} classes, or has no name")
