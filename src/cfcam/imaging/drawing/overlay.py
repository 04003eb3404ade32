"""A map laid over its picture, and the mark on a picture without one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image as PILImage
from PIL import ImageDraw
from torch import Tensor

from cfcam.errors import InputError
from cfcam.imaging.drawing.palettes import levels, table
from cfcam.imaging.drawing.text import fitted_lines
from cfcam.imaging.image import as_array

_ROWS_AT_ONCE = 64  # so that what is worked on stays in the processor's cache
_STRIP, _TEXT = (178, 24, 32), (255, 255, 255)


def overlay(
    image_rgb: NDArray[np.uint8],
    heatmap: Tensor | ArrayLike,
    *,
    opacity: float = 0.4,
    palette: str = "inferno",
) -> NDArray[np.uint8]:
    """Lay a coloured map over its picture.

    Every value is `floor(opacity * colour + (1 - opacity) * picture + 0.5)`, computed in float32.

    Args:
        image_rgb: uint8 `(H, W, 3)`.
        heatmap: `(H, W)` in [0, 1], tensor or array.
        opacity: share of the map, in [0, 1].
        palette: as for `colorize`.

    Returns:
        uint8 `(H, W, 3)`, a new array of the picture's full size.

    Raises:
        InputError: picture and map differ in size, or a value is out of its range.
    """
    check_rgb(image_rgb)
    values = as_array(heatmap)
    if values.shape != image_rgb.shape[:2]:
        raise InputError(
            f"map of shape {values.shape} over a picture of shape {image_rgb.shape}: height and width "
            "must be the same; "
            "bring the map onto the picture's grid first (Preprocess.to_original)"
        )
    if not 0 <= opacity <= 1:
        raise InputError(f"opacity is {opacity!r}: it must lie in [0, 1]")
    colours = table(palette) * np.float32(opacity) + np.float32(0.5)
    entries = levels(values)
    blended = np.empty(image_rgb.shape, dtype=np.uint8)
    for row in range(0, len(blended), _ROWS_AT_ONCE):
        rows = slice(row, row + _ROWS_AT_ONCE)
        part = np.take(colours, entries[rows], axis=0)
        part += image_rgb[rows] * np.float32(1 - opacity)
        blended[rows] = part
    return blended


def banner(image_rgb: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """Burn a caption into the top of a picture, so that nobody takes a picture without a map for a map.

    White on a red strip that grows with the picture and covers at most its upper half; the text is broken
    into lines and, in a very small picture, cut.

    Args:
        image_rgb: uint8 `(H, W, 3)`.
        text: the caption, such as "no positive evidence".

    Returns:
        uint8 `(H, W, 3)`, a new array that differs from the picture in the strip only.

    Raises:
        InputError: not an RGB picture, or an empty text.
    """
    check_rgb(image_rgb)
    text = " ".join(text.split())
    if not text:
        raise InputError("the banner's text is empty: say what is to be marked")
    height, width = image_rgb.shape[:2]
    marked = image_rgb.copy()
    lines, font, line_height = fitted_lines(text, width, height)
    margin = max(1, line_height // 4)
    strip = PILImage.new("RGB", (width, max(1, min(height // 2, len(lines) * line_height + 2 * margin))), _STRIP)
    draw = ImageDraw.Draw(strip)
    for number, line in enumerate(lines):
        draw.text((width / 2, margin + (number + 0.5) * line_height), line, fill=_TEXT, font=font, anchor="mm")
    marked[: strip.height] = np.asarray(strip)
    return marked


def check_rgb(image_rgb: NDArray[Any]) -> None:
    """Raise an `InputError` unless this is a uint8 `(H, W, 3)` array with pixels."""
    if image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.dtype != np.uint8 or 0 in image_rgb.shape:
        raise InputError(
            f"picture of shape {image_rgb.shape} and type {image_rgb.dtype}: it must be uint8 (H, W, 3), "
            "as Image.rgb() gives it"
        )
