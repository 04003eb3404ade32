"""The line around what a map marks: light inside of the border, dark outside, so that it shows on any tissue."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from cfcam.errors import InputError
from cfcam.maps import otsu_threshold

LIGHT, DARK = (90, 235, 255), (0, 0, 0)
"""Colours of the line on the inner and the outer side of the border."""

BOX_COLOUR = 255, 255, 255  # with a dark line on both sides, so that it shows on any tissue and in any palette

_ROWS_AT_ONCE = 256
_SIDE_OF_ONE = 768  # pixels of the longer side for each pixel of a line's width, so that it stays thin and is seen


def threshold_of(values: NDArray[np.float32], threshold: float | str | None) -> float | None:
    """Returns the value from which on a map is outlined.

    Args:
        values: the map in [0, 1], of any shape.
        threshold: a number in (0, 1]; "otsu", by the function that regions are measured with; None: no outline.

    Returns:
        None where there is nothing to outline: it was not asked for, or the map is 0 everywhere.

    Raises:
        InputError: another word, or a number out of its range.
    """
    if threshold is None:
        return None
    if threshold == "otsu":
        if not values.size or not values.max() > 0:
            return None
        flat = torch.from_numpy(np.require(values, np.float32, ["C", "W"])).reshape(1, -1)
        return float(otsu_threshold(flat)[0])
    if isinstance(threshold, str) or not 0 < threshold <= 1:
        raise InputError(f"threshold is {threshold!r}: give a number in (0, 1], otsu, or None for no outline")
    return threshold


def line_width(shape: tuple[int, ...]) -> int:
    """Returns the pixels of each of the two lines on a picture of (height, width): 1 up to 1151 pixels, then more."""
    return max(1, round(max(shape[:2]) / _SIDE_OF_ONE))


def border(marked: NDArray[np.bool_], width: int = 1) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Returns the two sides of the border of a region.

    The border of the picture is none: nothing is known beyond it.

    Args:
        marked: `(H, W)`.
        width: of each side, in pixels.

    Returns:
        The marked pixels with one that is not within ``width`` steps up, down, left or right, and those that are not
        marked with a marked one so near.
    """
    return marked & _grown(~marked, width), ~marked & _grown(marked, width)


def border_segments(marked: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns the border of a region between pixels, for figures that draw lines as thin as they like.

    Args:
        marked: `(H, W)`.

    Returns:
        `(n, 2, 2)`: segments of one pixel's length from (x, y) to (x, y), with pixel (0, 0) around the origin.
    """
    rows, columns = np.nonzero(marked[1:] != marked[:-1])
    below = np.stack([np.stack([columns - 0.5, rows + 0.5], 1), np.stack([columns + 0.5, rows + 0.5], 1)], 1)
    rows, columns = np.nonzero(marked[:, 1:] != marked[:, :-1])
    beside = np.stack([np.stack([columns + 0.5, rows - 0.5], 1), np.stack([columns + 0.5, rows + 0.5], 1)], 1)
    return np.concatenate([below, beside])


def draw_outline(
    picture: NDArray[np.uint8], values: NDArray[np.float32], threshold: float, width: int | None = None
) -> None:
    """Draws the line around the values from a threshold on into a picture.

    Args:
        picture: uint8 `(H, W, 3)`; it is changed.
        values: `(H, W)`; what is 0 is never inside.
        threshold: the value of the line.
        width: of each of its two sides, in pixels; None: `line_width`.
    """
    draw_border(picture, marked_by(values, threshold), width)


def marked_by(values: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    """Returns where a map reaches a threshold and is not 0."""
    marked = values >= threshold
    if not threshold > 0:
        marked &= values > 0
    return marked


def draw_border(picture: NDArray[np.uint8], marked: NDArray[np.bool_], width: int | None = None) -> None:
    """Draws the line around a region into a picture, see `draw_outline`; strip by strip, for it may be large."""
    width = line_width(marked.shape) if width is None else width
    # the rest of a large picture is not looked at
    rows, columns = (np.flatnonzero(marked.any(axis)) for axis in (1, 0))
    if not len(rows):
        return
    top, bottom, left, right = (
        end for at in (rows, columns) for end in (max(0, int(at[0]) - width), int(at[-1]) + width + 1)
    )
    bottom = min(bottom, len(marked))
    for first in range(top, bottom, _ROWS_AT_ONCE):
        last, above = min(first + _ROWS_AT_ONCE, bottom), max(top, first - width)
        inner = slice(first - above, last - above)
        light, dark = (side[inner] for side in border(marked[above : last + width, left:right], width))
        part = picture[first:last, left:right]
        part[dark] = DARK
        part[light] = LIGHT


def boxed(picture: NDArray[np.uint8], box: tuple[float, float, float, float] | None) -> NDArray[np.uint8]:
    """Returns a picture with a box drawn into it; what lies outside of the picture is drawn along its edge.

    Args:
        picture: uint8 `(H, W, 3)`.
        box: its corners x0, y0, x1, y1, in pixels; None: the picture is returned as it is.

    Returns:
        uint8 `(H, W, 3)`, a new array where there is a box.
    """
    if box is None:
        return picture
    drawn, width = picture.copy(), line_width(picture.shape)
    sides = np.asarray(drawn.shape[1::-1])  # width, height
    low = np.clip(np.round(box[:2]), 0, sides - 1).astype(int)
    high = np.clip(np.round(box[2:]), low + 1, sides).astype(int)
    for colour, out, thick in ((DARK, width, 3 * width), (BOX_COLOUR, 0, width)):
        (x0, y0), (x1, y1) = np.maximum(low - out, 0), np.minimum(high + out, sides)
        ring = np.ones((y1 - y0, x1 - x0), dtype=bool)
        ring[thick:-thick, thick:-thick] = False
        drawn[y0:y1, x0:x1][ring] = colour
    return drawn


def _grown(mask: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    grown = mask
    for _ in range(steps):
        wider = grown.copy()
        wider[1:] |= grown[:-1]
        wider[:-1] |= grown[1:]
        wider[:, 1:] |= grown[:, :-1]
        wider[:, :-1] |= grown[:, 1:]
        grown = wider
    return grown
