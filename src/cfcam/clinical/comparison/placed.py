"""Values with their place: grids in space, and sampling from one onto another.

Places are in mm where the spacing is known: of a volume in the patient (RAS+), of a picture (row, column) from the
first pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from cfcam.errors import InputError
from cfcam.imaging.geometry import metric_of

Matrix = NDArray[np.float64]

_BLOCK = 2**20  # positions that are looked at together


@dataclass(frozen=True, eq=False)
class Grid:
    """Positions in space.

    Attributes:
        size: numbers of positions along each of n = 2 or 3 axes.
        affine: (n + 1, n + 1), from an index to its place.
    """

    size: tuple[int, ...]
    affine: Matrix

    def __post_init__(self) -> None:
        axes = len(self.size)
        if axes not in (2, 3) or np.shape(self.affine) != (axes + 1, axes + 1):
            raise InputError(
                f"a grid of size {self.size} with an affine {np.shape(self.affine)}: give 2 or 3 axes and one more row"
            )

    @classmethod
    def of_spacing(cls, size: tuple[int, ...], spacing: tuple[float, ...] | None = None) -> Grid:
        """Returns a grid that begins at 0, with a spacing along each axis; None: 1."""
        steps = spacing or (1.0,) * len(size)
        return cls(tuple(size), np.diag([*map(float, steps), 1.0]))

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distances between neighbours along each axis."""
        axes = len(self.size)
        return tuple(float(step) for step in np.linalg.norm(self.affine[:axes, :axes], axis=0))

    @property
    def cell(self) -> float:
        """Area or volume that belongs to one position; on a sheared grid less than the product of the spacings."""
        axes = len(self.size)
        return float(abs(np.linalg.det(self.affine[:axes, :axes])))

    @property
    def metric(self) -> Matrix:
        """(n, n), lengths and angles of the axes, see `cfcam.imaging.geometry.metric_of`."""
        return metric_of(self.affine, len(self.size))

    @property
    def extent(self) -> tuple[float, ...]:
        """Lengths of the sides."""
        return tuple(n * step for n, step in zip(self.size, self.spacing, strict=True))

    @property
    def centre(self) -> Matrix:
        """The place of the middle, (n,)."""
        return self.places(np.array([(n - 1) / 2 for n in self.size]))

    def places(self, index: ArrayLike) -> Matrix:
        """Returns the places (..., n) of indices (..., n)."""
        axes = len(self.size)
        found: Matrix = np.asarray(index, dtype=np.float64) @ self.affine[:axes, :axes].T + self.affine[:axes, axes]
        return found

    def every(self, most: int) -> tuple[slice, ...]:
        """Returns an index that picks every position, or every second, third, ... so that about ``most`` remain."""
        step = max(1, math.ceil((math.prod(self.size) / most) ** (1 / len(self.size))))
        return tuple(slice((n - 1) % step // 2, None, step) for n in self.size)

    def picked(self, index: tuple[slice, ...]) -> Grid:
        """Returns the grid of the positions that an index from `every` picks."""
        picks = [range(*part.indices(n)) for part, n in zip(index, self.size, strict=True)]
        affine = self.affine @ np.diag([*(float(pick.step) for pick in picks), 1.0])
        affine[:-1, -1] = self.places([pick.start for pick in picks])
        return Grid(tuple(map(len, picks)), affine)


@dataclass(frozen=True, eq=False)
class Placed:
    """Values on a grid.

    Attributes:
        values: (*spatial) float32.
        grid: where they lie.
    """

    values: NDArray[np.float32]
    grid: Grid

    def __post_init__(self) -> None:
        if self.values.shape != self.grid.size:
            raise InputError(f"values of shape {self.values.shape} on a grid of {self.grid.size}: they must agree")

    def sampled(self, grid: Grid, matrix: Matrix | None = None) -> NDArray[np.float32]:
        """Returns the values at the places of another grid, linear between positions, 0 outside.

        Args:
            grid: where to sample.
            matrix: from the other grid's places to this one's; None: the same.
        """
        way = self._way(grid, matrix)
        values: NDArray[np.float32] = ndimage.affine_transform(
            np.asarray(self.values, dtype=np.float32), way[:-1, :-1], way[:-1, -1], grid.size, order=1, mode="nearest"
        )
        values[~self.covers(grid, matrix)] = 0
        return values

    def covers(self, grid: Grid, matrix: Matrix | None = None) -> NDArray[np.bool_]:
        """Returns where a place of another grid lies within this one, out to the border of its outermost positions."""
        way = self._way(grid, matrix)
        found = np.empty(grid.size, dtype=np.bool_)
        rows = max(1, _BLOCK // math.prod(grid.size[1:]))
        for start in range(0, grid.size[0], rows):
            block = found[start : start + rows]
            block[:] = True
            index = np.ogrid[(slice(start, start + len(block)), *(slice(n) for n in grid.size[1:]))]
            for line, shift, n in zip(way[:-1, :-1], way[:-1, -1], self.grid.size, strict=True):
                at = np.float64(shift + 0.5)
                for step, along in zip(line, index, strict=True):
                    at = at + step * along
                block &= at >= 0
                block &= at < n
        return found

    def _way(self, grid: Grid, matrix: Matrix | None) -> Matrix:
        through = np.eye(len(grid.affine)) if matrix is None else matrix
        return np.linalg.solve(self.grid.affine, through @ grid.affine).astype(np.float64)
