"""A map laid over its picture, and the mark on a picture without one."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image as PILImage
from PIL import ImageDraw
from torch import Tensor

from cfcam.errors import InputError
from cfcam.imaging.drawing.look import OPACITY, Look
from cfcam.imaging.drawing.outline import draw_border, marked_by
from cfcam.imaging.drawing.palettes import EMBER, levels, table
from cfcam.imaging.drawing.text import fitted_lines
from cfcam.imaging.image import as_array

_ROWS_AT_ONCE = 16  # so that what is worked on stays in the processor's cache
_STRIP, _TEXT = (178, 24, 32), (255, 255, 255)


def overlay(
    image_rgb: NDArray[np.uint8],
    heatmap: Tensor | ArrayLike,
    *,
    opacity: float = OPACITY,
    palette: str = EMBER,
    blend: str = "value",
    threshold: float | str | None = "otsu",
) -> NDArray[np.uint8]:
    """Lay a coloured map over its picture.

    The map counts in 256 levels, n = `floor(255 v + 0.5)`. Every value is `floor(a colour + (1 - a) picture + 0.5)`,
    computed in float32, where colour is entry n of the palette and a the opacity there:

    * "value": a = opacity x n / 255. Where the map is 0 the picture is what it was.
    * "uniform": a = opacity, also where the map is 0, and no outline: what the project's first documents draw.
    * "contour": a = 0.

    With "value" and "contour" a line follows the border of what reaches the threshold: light inside, dark outside of it
    (`cfcam.imaging.drawing.outline`), a pixel wide each, more on pictures of more than 1151 pixels.

    Args:
        image_rgb: uint8 `(H, W, 3)`.
        heatmap: `(H, W)` in [0, 1], tensor or array.
        opacity: share of the map where it is 1, in [0, 1].
        palette: as for `colorize`.
        blend: "value", "uniform" or "contour".
        threshold: of the line: a number in (0, 1]; "otsu", as `cfcam.clinical.regions.measure` cuts a map that nothing
            else is said of; None: no line.

    Returns:
        uint8 `(H, W, 3)`, a new array of the picture's full size.

    Raises:
        InputError: picture and map differ in size, a value is out of its range, or an unknown palette or blend.
    """
    check_rgb(image_rgb)
    values = as_array(heatmap)
    if values.shape != image_rgb.shape[:2]:
        raise InputError(
            f"map of shape {values.shape} over a picture of shape {image_rgb.shape}: height and width "
            "must be the same; "
            "bring the map onto the picture's grid first (Preprocess.to_original)"
        )
    look = Look(palette, opacity, blend)
    return Ink.of(values, look, threshold).over(image_rgb)


class Ink(NamedTuple):
    """What of a map is drawn: a quarter of its memory, so that a large map need not be held beside what is drawn.

    Attributes:
        entries: `(H, W)` of the palette's table.
        marked: `(H, W)` bool, what the line is around; None: no line.
        look: how it is drawn.
    """

    entries: NDArray[np.uint8]
    marked: NDArray[np.bool_] | None
    look: Look

    @classmethod
    def of(cls, heatmap: Tensor | ArrayLike, look: Look, threshold: float | str | None) -> Ink:
        """Returns the ink of a map; see `overlay`."""
        values = as_array(heatmap)
        level = look.threshold(values, threshold)
        return cls(levels(values), None if level is None else marked_by(values, level), look)

    def over(self, image_rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Returns a picture of the map's size with it over it, a new array."""
        drawn = blended(image_rgb, self.entries, table(self.look.palette), self.look.shares())
        if self.marked is not None:
            draw_border(drawn, self.marked)
        return drawn


def blended(
    image_rgb: NDArray[np.uint8],
    entries: NDArray[np.uint8],
    colours: NDArray[np.uint8],
    shares: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """Mix a picture with the colours of a table.

    Args:
        image_rgb: uint8 `(H, W, 3)`.
        entries: `(H, W)` of the table.
        colours: the table, uint8 `(256, 3)`.
        shares: of the colour in the mixture, `(256,)` in [0, 1].

    Returns:
        uint8 `(H, W, 3)`, rounded to the nearest.
    """
    mixed = np.empty(image_rgb.shape, dtype=np.uint8)
    if not shares.any():
        mixed[:] = image_rgb
        return mixed
    # each colour weighted once, in front of the pixels, and rounded by what is cut off at the end
    over = colours * shares.astype(np.float32)[:, None] + np.float32(0.5)
    under = np.repeat((1 - shares).astype(np.float32)[:, None], 3, axis=1)
    alike = bool((shares == shares[0]).all())
    for row in range(0, len(mixed), _ROWS_AT_ONCE):
        rows = slice(row, row + _ROWS_AT_ONCE)
        part = np.take(over, entries[rows], axis=0, mode="clip")  # none is outside: no other way is as quick
        part += image_rgb[rows] * (under[0, 0] if alike else np.take(under, entries[rows], axis=0, mode="clip"))
        mixed[rows] = part
    return mixed


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
