"""Causal truth by parts: does a map mark the parts of a picture in the order in which the answer needs them?

The truth is what the network itself answers when a part is *not there*: the same picture made without it (rendered,
staged or photographed so), not one with a patch over it. No baseline has to be chosen, and the network sees nothing
that it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cfcam.capture.layers.placement import Placement, upsampled
from cfcam.errors import InputError
from cfcam.metrics.functional.perturbation import has_evidence
from cfcam.metrics.functional.similarity import rank_correlation

_STEPS = 1e5
_AVERAGED: dict[int, Callable[..., Tensor]] = {
    1: F.adaptive_avg_pool1d,
    2: F.adaptive_avg_pool2d,
    3: F.adaptive_avg_pool3d,
}


def part_density(maps: Tensor, parts: Tensor) -> Tensor:
    """Returns (B, P) the mean of each map in each part; NaN for a part without a position.

    Args:
        maps: (B, *spatial), of any sign.
        parts: (B, P, *spatial) bool.

    Raises:
        InputError: the shapes do not fit.

    Example:
        >>> part_density(torch.tensor([[0.0, 1.0, 3.0]]), torch.tensor([[[True, True, False], [False, False, True]]]))
        tensor([[0.5000, 3.0000]])
    """
    if parts.dtype is not torch.bool or parts.ndim != maps.ndim + 1 or parts[:, :1].shape[2:] != maps.shape[1:]:
        raise InputError(
            f"maps {tuple(maps.shape)} with parts {tuple(parts.shape)} of {parts.dtype}: give (B, *spatial) and bool"
            " (B, P, *spatial)"
        )
    inside = parts.flatten(2)
    # A NaN outside of a part is none of it: not multiplied, but left out.
    total = torch.where(inside, maps.flatten(1)[:, None], 0).sum(2, dtype=torch.float64)
    return (total / inside.sum(2)).to(maps)


def part_removal(maps: Tensor, parts: Tensor, falls: Tensor, placement: Placement | None = None) -> Tensor:
    """Returns (B,) how well a map's density in the parts goes with what removing each costs; higher is better.

    Spearman's correlation, over the parts of one image, of the map's mean in each part with the fall of the class's
    score when the part is removed. Ranks, because a map has no unit in which it could be held against a fall of the
    logit; Spearman's and not Kendall's, because to take the decisive part for the last one is worse than to swap two
    neighbours, which Kendall's counts alike; the mean and not the sum, so that a part does not win by its area. Between
    -1 and 1; with two parts it is one of these. 0 where the map is the same in all parts: it says nothing of them. NaN
    where the map is not finite or positive nowhere, or fewer than two parts differ in their falls. Values that differ
    by less than a hundred-thousandth of the largest are equal.

    Args:
        maps: (B, *cells) raw maps, of any grid, of the class whose score falls.
        parts: (B, P, *spatial) bool, at the size of the input; an empty one does not count.
        falls: (B, P) score of the image minus that without the part; negative where the part spoke against the class.
            NaN: an image without this part, where images have different numbers of them.
        placement: where the maps' cells lie on the input; None: they share it evenly.

    Raises:
        InputError: the shapes do not fit.

    Source: ours; the truth by removal as in CLEVR-XAI and in counterfactual tests of attributions.

    Example:
        >>> parts = torch.eye(3)[None] == 1
        >>> part_removal(torch.tensor([[1.0, 5.0, 4.0]]), parts, torch.tensor([[0.1, 0.4, 2.0]]))
        tensor([0.5000])
    """
    falls = _read(parts, falls)
    if maps.ndim != parts.ndim - 1 or len(maps) != len(parts) or not maps.is_floating_point():
        raise InputError(
            f"maps {tuple(maps.shape)} of {maps.dtype} with parts {tuple(parts.shape)}: give floats (B, *cells) and"
            " bool (B, P, *spatial)"
        )
    maps = maps.float() if maps.dtype in (torch.float16, torch.bfloat16) else maps
    assessed = has_evidence(maps)
    density = part_density(_on_input(maps, parts, placement), parts)
    return torch.where(assessed, _agreement(density, falls, parts), torch.nan)


def part_removal_ceiling(
    parts: Tensor, falls: Tensor, cells: Sequence[int], placement: Placement | None = None
) -> Tensor:
    """Returns (B,) the `part_removal` of a perfect map on a grid of a layer: what the grid alone costs.

    The falls are painted into their parts (where parts overlap, added up), averaged over each cell, and drawn over the
    input as maps are. With cells as small as pixels and parts that do not overlap it is 1. It is what knowing the truth
    earns there, and no bound: another map may by chance come out higher.

    Args:
        parts: see `part_removal`.
        falls: see there.
        cells: of the layer's grid, along each axis.
        placement: see there; the averages are over cells that share the input evenly.

    Raises:
        InputError: the shapes do not fit.

    Example:
        >>> parts = torch.tensor([[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]]]) == 1
        >>> falls = torch.tensor([[2.0, 0.1, 0.4]])
        >>> part_removal_ceiling(parts, falls, [4]), part_removal_ceiling(parts, falls, [2])
        (tensor([1.]), tensor([0.5000]))
    """
    falls = _read(parts, falls)
    axes = parts.ndim - 2
    whole = all(isinstance(n, int) and 0 < n <= size for n, size in zip(cells, parts.shape[2:], strict=False))
    if len(cells) != axes or not whole:
        raise InputError(
            f"a grid of {tuple(cells)} cells for parts of {tuple(parts.shape[2:])}: give one number for each axis, at"
            " most its size"
        )
    worth = falls.nan_to_num().reshape(*falls.shape, *[1] * axes)
    painted = torch.where(parts, worth, 0).sum(1)
    perfect = _AVERAGED[axes](painted[:, None], tuple(cells))[:, 0]
    density = part_density(_on_input(perfect, parts, placement), parts)
    return _agreement(density, falls, parts)


def _on_input(maps: Tensor, parts: Tensor, placement: Placement | None) -> Tensor:
    return upsampled(maps[:, None], parts.shape[2:], placement)[:, 0]


def _agreement(density: Tensor, falls: Tensor, parts: Tensor) -> Tensor:
    """Returns (B,) Spearman's correlation over the parts that an image has."""
    there = parts.flatten(2).any(2) & ~falls.isnan()
    found = falls.new_full((len(falls),), torch.nan)
    for n, known in enumerate(there):
        own, worth = _without_rounding(density[n, known]), _without_rounding(falls[n, known])
        if len(worth) > 1 and bool((worth != worth[0]).any()) and bool(own.isfinite().all()):
            found[n] = rank_correlation(own[None], worth[None])[0].nan_to_num(0)  # the same in all parts: no order
    return found.float()


def _without_rounding(values: Tensor) -> Tensor:
    """Returns (P,) the values in steps of a hundred-thousandth of the largest: rounding errors have no order."""
    if not len(values):
        return values
    return (values / values.abs().amax().clamp(min=torch.finfo(values.dtype).tiny) * _STEPS).round()


def _read(parts: Tensor, falls: Tensor) -> Tensor:
    """Returns the falls, at least in single precision: in half of it `_STEPS` have no place.

    Raises:
        InputError: they do not fit the parts, or are no finite real numbers.
    """
    if (
        parts.dtype is not torch.bool
        or parts.ndim - 2 not in _AVERAGED
        or falls.shape != parts.shape[:2]
        or falls.is_complex()
    ):
        raise InputError(
            f"parts {tuple(parts.shape)} of {parts.dtype} with falls {tuple(falls.shape)}: give bool (B, P, *spatial)"
            " and one number for each part, (B, P)"
        )
    if bool(falls.isinf().any()):
        raise InputError("a score falls by an infinite number: check what the network answers without the part")
    return falls if falls.dtype in (torch.float32, torch.float64) else falls.float()
