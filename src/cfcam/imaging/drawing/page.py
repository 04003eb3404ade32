"""A page before it is pixels: pictures where they stand, and texts that files which can hold texts keep as such."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from cfcam.imaging.drawing.overlay import check_rgb
from cfcam.imaging.drawing.parts import Box, Ink, drawn_page, ink_of
from cfcam.imaging.drawing.text import TextLine


@dataclass(frozen=True, eq=False)
class Page:
    """What a figure is made of.

    Attributes:
        height: in pixels.
        width: in pixels.
        ink: colours of paper and letters.
        boxes: pictures, each where it stands.
        texts: written over them.
        scale: at which all of it is shown, up to 1.
    """

    height: int
    width: int
    ink: Ink
    boxes: Sequence[Box]
    texts: Sequence[TextLine]
    scale: float = 1.0

    @classmethod
    def of(cls, picture: NDArray[np.uint8]) -> Page:
        """Returns a page that is one picture, uint8 RGB `(H, W, 3)`."""
        check_rgb(picture)
        height, width = picture.shape[:2]
        return cls(height, width, ink_of("dark"), [(0, 0, picture)], [])

    def within(self, longest: int | None) -> Page:
        """Returns the page shown so small that its longer side is at most so many pixels; None: as it is."""
        larger = max(self.height, self.width)
        return self if longest is None or larger <= longest else replace(self, scale=longest / larger)

    def drawn(self) -> NDArray[np.uint8]:
        """Returns the page as pixels, uint8 RGB; of a page shown smaller each is the mean of the area it covers."""
        filled = len(self.boxes) == 1 and self.boxes[0][2].shape[:2] == (self.height, self.width)
        if filled and not self.texts:
            return shrunk(self.boxes[0][2], self.scale)
        return shrunk(drawn_page(self.height, self.width, self.ink, self.boxes, self.texts), self.scale)


def shrunk(picture: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Returns a picture at a scale up to 1, uint8 `(h, w, 3)`: each pixel is the mean of the area that it covers."""
    if scale >= 1:
        return picture
    height, width = picture.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(PILImage.fromarray(picture).resize(size, PILImage.Resampling.BOX))
