"""Left is left, and a millimetre is one: what is drawn on a picture whose source states directions and sizes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageDraw

from cfcam.imaging.drawing.overlay import check_rgb
from cfcam.imaging.drawing.text import bold_font
from cfcam.imaging.geometry import axis_codes
from cfcam.imaging.image import Image

Letters = tuple[str, str, str, str]
"""Directions at the left, right, top and bottom edge."""

_SQUARE = 0.01  # share by which the sides of a pixel may differ


class Scale(NamedTuple):
    """How large a picture is, for its scale bar.

    Attributes:
        width: of the whole picture, in mm.
        words: what is to be said of them, such as "at the detector"; "" for nothing.
    """

    width: float
    words: str = ""


def scale_of(image: Image) -> Scale | None:
    """Returns how large a picture is; None where its source does not state it.

    Where pixels are not square, which pictures show as squares, a bar holds from left to right alone, and says so.
    """
    if image.spacing is None:
        return None
    down, across = image.spacing
    squares = abs(down - across) <= _SQUARE * max(down, across)
    words = ", ".join(filter(None, ["" if squares else "across", image.measured or ""]))
    return Scale(image.size[1] * across, words)


_OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "S": "I", "I": "S"}
_SMALLEST = 64  # on a picture with a shorter side letters would hide what they name
_SHADE = (0, 0, 0, 140)


def letters_of(image: Image) -> Letters | None:
    """Returns the directions at the edges of a picture; None where its source does not state them.

    A slice with a place in the patient has them from that, a radiograph from its Patient Orientation.
    """
    if image.affine is not None:
        bottom, right, _ = tuple(axis_codes(np.asarray(image.affine, dtype=np.float64)))
    elif image.edges is not None:
        right, bottom = image.edges
    else:
        return None
    return _OPPOSITE[right], right, _OPPOSITE[bottom], bottom


def lettered(picture: NDArray[np.uint8], letters: Letters | None) -> NDArray[np.uint8]:
    """Write the directions at the edges of a picture: small, white on a shade, in the middle of each side.

    Args:
        picture: uint8 `(H, W, 3)`.
        letters: from `letters_of`; None: nothing is written.

    Returns:
        uint8 `(H, W, 3)`: a new array; the picture itself where nothing is written, as on one smaller than 64 pixels.
    """
    check_rgb(picture)
    height, width = picture.shape[:2]
    if letters is None or min(height, width) < _SMALLEST:
        return picture
    size = max(11, round(min(height, width) / 28))
    box, font = round(1.3 * size), bold_font(size)
    far = box // 2 + max(2, size // 4)
    shaded = PILImage.fromarray(picture)
    draw = ImageDraw.Draw(shaded, "RGBA")
    places = ((far, height // 2), (width - far, height // 2), (width // 2, far), (width // 2, height - far))
    for (x, y), letter in zip(places, letters, strict=True):
        corner = x - box // 2, y - box // 2
        draw.rectangle((*corner, corner[0] + box, corner[1] + box), fill=_SHADE)
        draw.text((x, y), letter, fill=(255, 255, 255, 255), font=font, anchor="mm")
    return np.asarray(shaded)
