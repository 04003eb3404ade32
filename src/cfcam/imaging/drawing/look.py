"""How a map is laid over its picture: the palette, the greatest opacity, and what the opacity follows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cfcam.errors import InputError
from cfcam.imaging.drawing.outline import threshold_of
from cfcam.imaging.drawing.palettes import EMBER, table

BLENDS = ("value", "uniform", "contour")
"""What the opacity follows: the map's value, nothing (it is the same everywhere), or that only an outline is drawn."""

OPACITY = 0.5
"""Of a map where it is 1, unless another is asked for."""


class Look(NamedTuple):
    """How maps are drawn.

    Attributes:
        palette: as for `colorize`.
        opacity: where the map is 1, in [0, 1]; with "uniform" everywhere.
        blend: one of `BLENDS`.
    """

    palette: str = EMBER
    opacity: float = OPACITY
    blend: str = "value"

    def check(self) -> None:
        """Raise an `InputError` unless a map can be drawn so."""
        table(self.palette)
        if not 0 <= self.opacity <= 1:
            raise InputError(f"opacity is {self.opacity!r}: it must lie in [0, 1]")
        if self.blend not in BLENDS:
            raise InputError(f"blend is {self.blend!r}: it must be one of {', '.join(BLENDS)}")

    @property
    def outlined(self) -> bool:
        """Whether a line stands around what reaches the threshold."""
        return self.blend != "uniform"

    def threshold(self, values: NDArray[np.float32], threshold: float | str | None) -> float | None:
        """Returns the value from which on a map is outlined (`cfcam.imaging.drawing.outline.threshold_of`), if it is.

        Raises:
            InputError: no look that there is, or no threshold.
        """
        self.check()
        return threshold_of(values, threshold) if self.outlined else None

    def shares(self) -> NDArray[np.float64]:
        """The opacity at each of the 256 levels of a map, `(256,)` in [0, 1]; with "contour" 0."""
        if self.blend == "uniform":
            return np.full(256, self.opacity)
        return np.arange(256) / 255 * (0 if self.blend == "contour" else self.opacity)

    def words(self) -> str:
        """What a legend says of it, such as "opacity grows with the value, up to 50 %"."""
        if self.blend == "contour":
            return "drawn as its outline alone"
        if self.blend == "uniform":
            return f"laid over at {self.opacity:.0%}, also where the map is 0"
        return f"opacity grows with the value, up to {self.opacity:.0%}"


SEEDS = Look("jet", 0.4, "uniform")
"""The look of the documents that the project began with: 40 % map in jet, 60 % picture."""
