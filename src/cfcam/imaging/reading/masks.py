"""What a mask picture marks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cfcam.imaging.image import Image


def pixels_inside(mask: Image) -> NDArray[np.bool_]:
    """Returns (H, W) bool: which pixels a mask picture marks.

    A grey mask that is somewhere at least half white marks what is; one that is nowhere (label values such as 0 and 1)
    and a coloured one mark what is not black.
    """
    pixels = mask.pixels
    if pixels.ndim == 3:
        coloured = bool((pixels != pixels[..., :1]).any())
        pixels = pixels.max(axis=2)
        if coloured:
            return np.asarray(pixels > 0)
    half = np.iinfo(pixels.dtype).max // 2 + 1
    return np.asarray(pixels >= half if pixels.max() >= half else pixels > 0)
