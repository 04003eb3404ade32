"""Signed differences of maps: purple for less, orange for more; over a picture as opaque as they are great."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from cfcam.errors import InputError
from cfcam.imaging.drawing.look import Look
from cfcam.imaging.drawing.overlay import blended, check_rgb
from cfcam.imaging.drawing.palettes import colorize, levels, table
from cfcam.imaging.image import as_array

DIFFERENCE_PALETTE = "PuOr_r"
"""Purple where there is less evidence than before, orange where there is more; the middle is white."""

DIFFERENCE_OPACITY = 0.8
"""Of a difference of -1 or 1 over its picture; maps rarely differ by so much."""


def difference_picture(difference: Tensor | ArrayLike) -> NDArray[np.uint8]:
    """Colour a signed difference: purple below 0, white at 0, orange above; the range is always -1 to 1.

    Args:
        difference: `(..., H, W)` in [-1, 1].

    Returns:
        uint8 RGB `(..., H, W, 3)`.

    Raises:
        InputError: a value is out of the range or not a number.
    """
    return colorize((as_array(difference) + 1) / 2, DIFFERENCE_PALETTE)


def difference_overlay(
    image_rgb: NDArray[np.uint8], difference: Tensor | ArrayLike, *, opacity: float = DIFFERENCE_OPACITY
) -> NDArray[np.uint8]:
    """Lay a signed difference over a picture: its opacity is `opacity` times its absolute value, linear.

    Args:
        image_rgb: uint8 `(H, W, 3)`.
        difference: `(H, W)` in [-1, 1], tensor or array.
        opacity: where the difference is -1 or 1, in [0, 1].

    Returns:
        uint8 `(H, W, 3)`; where nothing differs the picture is what it was.

    Raises:
        InputError: sizes differ, or a value is out of its range.
    """
    check_rgb(image_rgb)
    values = as_array(difference)
    Look(opacity=opacity).check()
    if values.shape != image_rgb.shape[:2]:
        raise InputError(
            f"a difference of {values.shape} over a picture of {image_rgb.shape[:2]}: give both in one size"
        )
    return blended(image_rgb, levels((values + 1) / 2), table(DIFFERENCE_PALETTE), difference_shares(opacity))


def difference_shares(opacity: float = DIFFERENCE_OPACITY) -> NDArray[np.float64]:
    """Returns the opacity of each of 256 levels from -1 to 1; the two in the middle, beside 0, have none."""
    return opacity * np.maximum(np.abs(np.arange(256) - 127.5) - 0.5, 0) / 127
