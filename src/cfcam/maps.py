"""A raw map: whether it can be read, and how it comes to the size of its input."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cfcam.capture.layers.placement import Placement, upsampled


class Status(StrEnum):
    """Whether a map can be read."""

    OK = "ok"
    NO_POSITIVE_EVIDENCE = "no positive evidence"
    NOT_FINITE = "not finite"


def heatmaps_of(maps: Tensor, size: Sequence[int], placement: Placement | None = None) -> Tensor:
    """Returns maps for the eye (N, K, *size) in [0, 1] of raw maps (N, K, *spatial); see `Explanation.heatmaps`.

    Args:
        maps: raw.
        size: of the result.
        placement: where the maps' cells lie on the input, see `Capture.placement`; None: they share it evenly.
    """
    usable = maps.flatten(2).isfinite().all(2).reshape(*maps.shape[:2], *[1] * (maps.ndim - 2))
    positive = torch.where(usable, maps, 0).clamp_(min=0)
    heat = upsampled(positive, size, placement)
    peak = heat.flatten(2).amax(2).reshape(*heat.shape[:2], *[1] * len(size))
    return torch.where(peak > 0, heat / peak, 0)


def statuses_of(maps: Tensor) -> np.ndarray[Any, Any]:
    """Returns the (N, K) array of `Status` of raw maps (N, K, *spatial)."""
    flat = maps.flatten(2)
    finite, positive = flat.isfinite().all(2).tolist(), (flat > 0).any(2).tolist()
    codes = np.empty(flat.shape[:2], dtype=object)
    for n, k in np.ndindex(*codes.shape):
        codes[n, k] = (
            Status.NOT_FINITE if not finite[n][k] else Status.OK if positive[n][k] else Status.NO_POSITIVE_EVIDENCE
        )
    return codes
