"""A prior study laid onto the current one's grid, for those who look at the current one.

A comparison finds the way from the prior to the current image, and measures on the prior's grid. The other way is the
inverse of that matrix, which for rotation, shift, scale and shear is exact: nothing is registered anew, and the numbers
of the comparison stay what they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cfcam.clinical.comparison.placed import Grid, Matrix, Placed


@dataclass(frozen=True, eq=False)
class Beside:
    """What is to be laid onto the current study's grid; it keeps the raw maps, which are small, and no image.

    Attributes:
        matrix: from a place in the prior image to that in the current one, see `register`.
        prior: the raw map of the prior study.
        current: likewise, of the current one.
        prior_grid: of the prior image.
        grid: of the current image, onto which all is laid.
        scale: by which both maps are divided in a difference; 0: both are empty.
    """

    matrix: Matrix
    prior: Placed
    current: Placed
    prior_grid: Grid
    grid: Grid
    scale: float

    @property
    def way(self) -> Matrix:
        """From a place in the current image to that in the prior one."""
        found: Matrix = np.linalg.inv(self.matrix).astype(np.float64)
        return found

    def seen(self) -> NDArray[np.bool_]:
        """Returns where both networks saw the patient, and both images are."""
        here = self.prior.covers(self.grid, self.way)
        here &= Placed(np.broadcast_to(np.float32(0), self.prior_grid.size), self.prior_grid).covers(
            self.grid, self.way
        )
        here &= self.current.covers(self.grid)
        return here

    def map(self) -> NDArray[np.float32]:
        """Returns the prior's evidence for the class, raw, 0 where the prior saw nothing."""
        values = self.prior.sampled(self.grid, self.way)
        return np.maximum(values, 0, out=values)

    def difference(self) -> NDArray[np.float32]:
        """Returns current less prior on the common scale, in [-1, 1]; 0 where one of the two studies saw nothing."""
        if not self.scale > 0:
            return np.zeros(self.grid.size, np.float32)
        values = np.maximum(self.current.sampled(self.grid), 0)
        values -= self.map()
        values /= np.float32(self.scale)
        values[~self.seen()] = 0
        return np.clip(values, -1, 1, out=values)

    def laid(self, values: NDArray[np.float32], outside: float = 0.0) -> NDArray[np.float32]:
        """Returns grey values of the prior image on the current grid, linear between positions.

        Args:
            values: on the prior image's grid.
            outside: what stands where the prior image is not.
        """
        image = Placed(values, self.prior_grid)
        found = image.sampled(self.grid, self.way)
        if outside:
            found[~image.covers(self.grid, self.way)] = outside
        return found
