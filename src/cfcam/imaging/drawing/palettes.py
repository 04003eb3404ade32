"""Colours for maps as tables of 256: one made for laying maps over pictures, and matplotlib's."""

from __future__ import annotations

import difflib
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from cfcam.errors import InputError
from cfcam.imaging.image import as_array

_AT_ONCE = 1 << 16  # values, so that what is worked on stays in the processor's cache
EMBER = "ember"
"""Dark red over orange to amber: what maps are drawn in unless another is asked for; see `ember_table`."""

PALETTES: tuple[str, ...] = (
    EMBER, "inferno", "magma", "plasma", "viridis", "cividis", "hot", "gray", "turbo", "jet",
)  # fmt: skip
"""The palettes on offer; every other name that matplotlib knows is taken too."""

_ORDERED = frozenset(
    {EMBER, "inferno", "magma", "plasma", "viridis", "cividis", "hot", "gray", "grey", "bone", "copper"}
)


@cache
def table(palette: str) -> NDArray[np.uint8]:
    """The 256 colours of a palette, uint8 `(256, 3)`, read-only.

    Raises:
        InputError: it is not `EMBER`, and matplotlib has no palette of that name; the message gives the nearest names.
    """
    if palette == EMBER:
        return ember_table()
    from matplotlib import colormaps

    if palette not in colormaps:
        near = difflib.get_close_matches(str(palette).lower(), [EMBER, *colormaps], n=3) or PALETTES
        raise InputError(f"no palette is called {palette!r}: the nearest are {', '.join(near)}")
    colours: NDArray[np.uint8] = colormaps[palette](np.linspace(0, 1, 256), bytes=True)[:, :3].copy()
    colours.flags.writeable = False
    return colours


def ember_table() -> NDArray[np.uint8]:
    """The 256 colours of "ember", uint8 `(256, 3)`, read-only: red `96 + 159 v^0.7`, green `190 v^0.8`, blue 0.

    It is there to be laid over grey pictures. It never comes near grey, so that a higher value changes any grey more
    (palettes that end in pale yellow vanish on white tissue, those that begin in violet on dark tissue, and for
    colour-blind eyes on their way from violet to yellow), and it grows in brightness all the way. Found among such
    ramps by the measure of `cfcam.imaging.drawing.visibility`.
    """
    v = np.arange(256) / 255
    colours = np.floor(np.stack([96 + 159 * v**0.7, 190 * v**0.8, 0 * v], axis=1) + 0.5).astype(np.uint8)
    colours.flags.writeable = False
    return colours


def is_perceptually_ordered(palette: str) -> bool:
    """Whether a higher value always looks brighter (or, reversed, darker), so that the eye ranks rightly.

    It does not in rainbow palettes such as turbo and jet, whose bright bands suggest borders that are not in
    the map (Borland & Taylor 2007, "Rainbow Color Map (Still) Considered Harmful", IEEE CG&A 27(2)).

    Raises:
        InputError: as `table`.
    """
    if palette.removesuffix("_r") in _ORDERED:
        return True
    steps = np.diff(table(palette) @ np.array([0.2126, 0.7152, 0.0722]))  # Rec. 709 luma
    return bool((steps >= -1).all() or (steps <= 1).all())


def levels(heatmap: Tensor | ArrayLike) -> NDArray[np.uint8]:
    """The map in 256 levels: `floor(255 v + 0.5)`, same shape.

    Raises:
        InputError: a value is outside of [0, 1] or not a number.
    """
    values = as_array(heatmap)
    low, high = check_unit_range(values)
    flat, found = values.reshape(-1), np.empty(values.size, np.uint8)
    for start in range(0, len(flat), _AT_ONCE):
        scaled = flat[start : start + _AT_ONCE] * np.float32(255)
        scaled += np.float32(0.5)
        if low < 0 or high > 1:
            scaled.clip(0, 255, out=scaled)
        found[start : start + _AT_ONCE] = scaled
    return found.reshape(values.shape)


def check_unit_range(values: NDArray[np.float32]) -> tuple[float, float]:
    """The least and the greatest value of a map; both are in [0, 1], but for what rounding does.

    Raises:
        InputError: a value is outside of [0, 1] or not a number.
    """
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    if not (low >= -1e-5 and high <= 1 + 1e-5):  # also when either is NaN
        raise InputError(
            f"map with values from {low:g} to {high:g}: only finite values in [0, 1] can be coloured; "
            "normalise it first"
        )
    return low, high


def colorize(heatmap: Tensor | ArrayLike, palette: str = EMBER) -> NDArray[np.uint8]:
    """Colour maps.

    Args:
        heatmap: `(..., H, W)` in [0, 1], tensor or array.
        palette: one of `PALETTES` or any other name that matplotlib knows.

    Returns:
        uint8 RGB `(..., H, W, 3)`: entry `floor(255 v + 0.5)` of the palette's table.

    Raises:
        InputError: an unknown palette, or a value that is outside of [0, 1] or not a number.
    """
    return np.take(table(palette), levels(heatmap), axis=0)
