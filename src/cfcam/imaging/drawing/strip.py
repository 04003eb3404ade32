"""Strips: the words of a text, each over its map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from cfcam.errors import InputError
from cfcam.imaging.drawing.sheet import Panel, contact_page

MEANING = "evidence for the word, 0 to 1 of each map's maximum"


@dataclass(frozen=True, eq=False)
class MappedWord:
    """A word with its map.

    Attributes:
        word: what stands over the map.
        heatmap: `(H, W)` in [0, 1] on the picture's grid.
        status: "ok", or in words what is wrong with the map.
        probability: of the word given all before it, if known.
        margin: of an answer against another, in the place of a probability.
    """

    word: str
    heatmap: Tensor | ArrayLike
    status: str = "ok"
    probability: float | None = None
    margin: float | None = None


def word_strip(
    image_rgb: NDArray[np.uint8], words: Sequence[MappedWord], *, columns: int = 6, **drawing: Any
) -> NDArray[np.uint8]:
    """Draw a picture and the words of a text, in their order, each over its map and with its probability.

    Args:
        image_rgb: the picture, uint8 `(H, W, 3)`.
        words: with maps, at least one.
        columns: the most pictures in a row, the bare one included; from 2 to 6.
        **drawing: title, footer, palette, opacity, blend, panel_size, theme; see `contact_sheet`.

    Returns:
        uint8 RGB `(strip height, strip width, 3)`.

    Raises:
        InputError: no words, a map of another size than the picture, or a value out of its range.
    """
    if not words:
        raise InputError("a strip needs at least one word with its map")
    panels = [Panel(word.heatmap, word.word, "", word.probability, word.status, word.margin) for word in words]
    return contact_page(image_rgb, panels, columns=columns, meaning=MEANING, **drawing).drawn()
