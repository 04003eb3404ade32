"""Superpixels: a picture or volume in parts of like colour, by which a map can be told piece by piece."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cfcam.errors import InputError, MissingExtraError

_MOST = 4096


def superpixels(x: Tensor | NDArray[Any], count: int = 50, *, compactness: float = 0.1) -> NDArray[np.int32]:
    """Returns a label map (*spatial) of about so many superpixels, from 1 on, by SLIC.

    Args:
        x: (C, *spatial) with two or three spatial axes, as the network takes it: each channel is stretched to [0, 1].
        count: about how many.
        compactness: 0.01 follows edges, 1 gives squares.

    Raises:
        InputError: another shape, numbers that are not finite, or a number out of its range.
        MissingExtraError: scikit-image is not installed.

    Source: Achanta et al. 2012, doi 10.1109/TPAMI.2012.120; the implementation is scikit-image's ``slic``.
    """
    values = np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x, dtype=np.float64)
    if values.ndim not in (3, 4) or not np.isfinite(values).all():
        raise InputError(f"superpixels of shape {values.shape}: give (C, H, W) or (C, D, H, W), all finite")
    if not 2 <= count <= min(_MOST, math.prod(values.shape[1:])) or not 0 < compactness < math.inf:
        raise InputError(
            f"{count} superpixels of compactness {compactness:g}: give 2 to {_MOST}, no more than positions; above 0"
        )
    try:
        from skimage.segmentation import slic
    except ModuleNotFoundError as error:
        raise MissingExtraError("scikit-image", "clinical", "superpixels") from error
    spatial = tuple(range(1, values.ndim))
    low, high = values.min(spatial, keepdims=True), values.max(spatial, keepdims=True)
    scaled = (values - low) / np.where(high > low, high - low, 1)
    labels = slic(scaled, n_segments=count, compactness=compactness, channel_axis=0, start_label=1, convert2lab=False)
    return np.asarray(labels, dtype=np.int32)
