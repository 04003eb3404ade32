"""What the localisation metrics share: heatmaps and ground truth read, checked and thresholded."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from cfcam.errors import InputError
from cfcam.maps import ends

_RANGE_SLACK = 1e-4  # interpolation and blurring overshoot [0, 1] by rounding


def read_heatmaps(heatmap: Tensor) -> Tensor:
    """Returns heatmaps (B, *spatial) as (B, positions), at least in single precision.

    A map that is not finite becomes one without evidence. The result may share the heatmaps' memory: it is not to be
    written to.

    Raises:
        InputError: no floats, no spatial axis, or values outside [0, 1].
    """
    if heatmap.ndim < 2 or not heatmap.is_floating_point() or not heatmap[:1].flatten(1).shape[1]:
        raise InputError(
            f"heatmaps of shape {tuple(heatmap.shape)} and type {heatmap.dtype}: give floats (B, *spatial), one each"
        )
    heat = heatmap.detach().flatten(1)
    heat = heat.float() if heat.dtype in (torch.float16, torch.bfloat16) else heat
    if not len(heat):
        return heat
    low, high = ends(heat)  # they show a NaN or an infinity, too, without a copy of a volume
    finite = low.isfinite() & high.isfinite()
    if not bool(finite.all()):
        heat, low, high = torch.where(finite, heat, 0), torch.where(finite, low, 0), torch.where(finite, high, 0)
    least, most = float(low.min()), float(high.max())
    if least < -_RANGE_SLACK or most > 1 + _RANGE_SLACK:
        raise InputError(f"heatmaps from {least:.3g} to {most:.3g}: they must be in [0, 1], as of Explanation.heatmaps")
    return heat if least >= 0 and most <= 1 else heat.clamp(0, 1)


def read_pair(heatmap: Tensor, ground_truth: Tensor) -> tuple[Tensor, Tensor]:
    """Returns heatmaps and ground truth (B, *spatial) as (B, positions).

    Raises:
        InputError: as `read_heatmaps`; the ground truth is not bool of the same shape.
    """
    if ground_truth.shape != heatmap.shape or ground_truth.dtype is not torch.bool:
        raise InputError(
            f"ground truth of shape {tuple(ground_truth.shape)} and type {ground_truth.dtype} for heatmaps of shape "
            f"{tuple(heatmap.shape)}: give bool of the same shape (check_ground_truth)"
        )
    return read_heatmaps(heatmap), ground_truth.flatten(1)


def has_evidence(heat: Tensor) -> Tensor:
    """Returns (B,) whether a map (B, positions) is above 0 anywhere."""
    return ends(heat)[1].squeeze(1) > 0 if len(heat) == 1 else (heat > 0).any(1)


def has_both_sides(truth: Tensor) -> Tensor:
    """Returns (B,) whether a ground truth (B, positions) has an inside and an outside."""
    return truth.any(1) & ~truth.all(1)


def nan_unless(assessed: Tensor, values: Tensor) -> Tensor:
    """Returns the values, with NaN where they were not assessed."""
    return torch.where(assessed, values, torch.nan)


def increasing(numbers: Sequence[float]) -> list[float]:
    """Returns thresholds or IoU levels as floats.

    Raises:
        InputError: none, not increasing, or outside (0, 1].
    """
    values = [float(number) for number in numbers]
    steps = zip([0.0, *values], [*values, math.inf], strict=True)
    if not values or values[-1] > 1 or not all(low < high for low, high in steps):
        raise InputError(f"thresholds or levels {values}: give one or more increasing numbers in (0, 1]")
    return values


def marked_positions(heat: Tensor, threshold: float | Tensor) -> Tensor:
    """Returns (B, positions) bool: where a map reaches the threshold, one for all or (B,) one for each.

    Raises:
        InputError: a threshold outside (0, 1], or another number of thresholds than maps.
    """
    if isinstance(threshold, Tensor):
        if threshold.shape != heat.shape[:1]:
            raise InputError(
                f"thresholds of shape {tuple(threshold.shape)} for {len(heat)} maps: give one for each map"
            )
        return heat >= threshold.to(heat)[:, None]
    if not 0 < threshold <= 1:
        raise InputError(f"a threshold of {threshold}: it must be in (0, 1], as 0 marks everything")
    # As a tensor of the map's own type, so that the comparison rounds as it does for many thresholds at once.
    return heat >= torch.tensor(threshold, dtype=heat.dtype, device=heat.device)
