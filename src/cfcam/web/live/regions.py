"""Regions of what is on the screen, by a threshold or drawn by hand: their numbers and their outlines.

The numbers are those of `cfcam.clinical.regions`, in mm where the spacing is known: the page computes none. Needs
scikit-image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from cfcam.clinical.regions import RegionTable, measure
from cfcam.errors import InputError, MissingExtraError
from cfcam.imaging.geometry import axis_codes
from cfcam.imaging.measured import Measured

Plane = Literal["axial", "coronal", "sagittal"]
Outline = list[tuple[float, float]]
"""Places (row, column) of an array, with fractions; a closed line ends where it began."""

DRAWN = "drawn"
"""What the region of a polygon is called in a table."""
MOST_POINTS = 10_000

_NORMALS: dict[Plane, str] = {"sagittal": "LR", "coronal": "AP", "axial": "SI"}
_ORDER: tuple[Plane, ...] = ("axial", "coronal", "sagittal")


@dataclass(frozen=True, eq=False)
class Field:
    """A map with its place.

    Attributes:
        heat: float32 (H, W) or (D, H, W) in [0, 1], on the grid of the source.
        spacing: mm along its axes; None: unknown.
        affine: 4 x 4, from an index to mm in the patient; None: unknown.
        missing: bool, where the source held no finite number; None: nowhere.
        measured: where millimetres are measured (`Image.measured`).
    """

    heat: NDArray[np.float32]
    spacing: tuple[float, ...] | None = None
    affine: NDArray[np.float64] | None = None
    missing: NDArray[np.bool_] | None = None
    measured: Measured | None = None

    def table(self, threshold: str | float, drawn: NDArray[np.bool_] | None = None) -> RegionTable:
        """Returns the numbers of what reaches a threshold, and of a region drawn by hand; see `measure`."""
        masks = None if drawn is None else {DRAWN: torch.from_numpy(drawn)}
        return measure(
            torch.from_numpy(np.ascontiguousarray(self.heat)),
            self.spacing,
            threshold,
            masks,
            affine=self.affine,
            missing=self.missing,
            measured=self.measured,
        )

    def slice_of(self, axis: int, index: int) -> Field:
        """Returns one slice of a volume's map: rows and columns are the other two axes, in their order.

        Args:
            axis: across which the slice lies.
            index: of the slice.

        Raises:
            InputError: there is no such slice.
        """
        if not 0 <= index < self.heat.shape[axis]:
            raise InputError(f"slice {index}: this plane has slices 0 to {self.heat.shape[axis] - 1}")
        rest = [other for other in range(3) if other != axis]
        affine = None
        if self.affine is not None:  # of (row, column, 0, 1): where (0, 0) of this slice lies is the new origin
            affine = np.array(self.affine[:, [*rest, axis, 3]])
            affine[:, 3] += index * self.affine[:, axis]
        return Field(
            np.take(self.heat, [index], axis).squeeze(axis),
            None if self.spacing is None else tuple(self.spacing[other] for other in rest),
            affine,
            None if self.missing is None else np.take(self.missing, [index], axis).squeeze(axis),
        )


def axis_of(plane: Plane, affine: NDArray[np.float64] | None, *, placed: bool = True) -> int:
    """Returns across which axis of a volume's array a plane lies.

    Args:
        plane: as it is called in the patient.
        affine: of the volume; None: unknown.
        placed: whether the affine says how the volume lies in the patient. If not, the first axis is taken to be across
            axial planes, the second coronal, the third sagittal ones.
    """
    if affine is None or not placed:
        return _ORDER.index(plane)
    codes = axis_codes(affine)
    return next(axis for axis, code in enumerate(codes) if code in _NORMALS[plane])


def filled(polygon: ArrayLike, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Returns which positions of a slice a polygon drawn by hand holds.

    A position belongs to it if its centre lies inside or on the line; what a line that crosses itself encloses twice is
    outside. Centres have whole numbers: (0, 0) is the middle of the first pixel.

    Args:
        polygon: (points, 2) of (row, column), with fractions; the last point is joined to the first.
        shape: of the slice.

    Raises:
        InputError: fewer than three points, too many, or points that are no finite numbers.
        MissingExtraError: scikit-image is not installed.
    """
    points = np.asarray(polygon, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not 3 <= len(points) <= MOST_POINTS:
        raise InputError(f"a polygon of shape {points.shape}: give 3 to {MOST_POINTS} points (row, column)")
    if not np.isfinite(points).all():
        raise InputError("a polygon with points that are no finite numbers: give (row, column) of each")
    mask = np.zeros(shape, dtype=bool)
    low = np.clip(np.ceil(points.min(0)), 0, shape).astype(int)
    high = np.clip(np.floor(points.max(0)) + 1, 0, shape).astype(int)
    if (high > low).all():  # only where it can be: a small region of a large slice is found at once
        height, width = (int(side) for side in high - low)
        mask[low[0] : high[0], low[1] : high[1]] = _measuring().grid_points_in_poly((height, width), points - low)
    return mask


def outlines(values: NDArray[np.float32] | NDArray[np.bool_], level: float = 0.5) -> list[Outline]:
    """Returns the lines around what reaches a level, between positions and closed at the borders.

    Args:
        values: (H, W) map, or bool of a region.
        level: of the map.
    """
    found = _measuring().find_contours(np.pad(np.asarray(values, dtype=np.float64), 1), level)
    return [[(float(row), float(column)) for row, column in line - 1] for line in found]


def stacked(mask: NDArray[np.bool_], shape: Sequence[int], axis: int, slices: tuple[int, int]) -> NDArray[np.bool_]:
    """Returns a slice's region in several slices of a volume.

    Args:
        mask: of one slice.
        shape: of the volume.
        axis: across which the slices lie.
        slices: the first and the last of them.

    Raises:
        InputError: there are no such slices.
    """
    first, last = slices
    if not 0 <= first <= last < shape[axis]:
        raise InputError(f"slices {first} to {last}: this plane has slices 0 to {shape[axis] - 1}")
    whole = np.zeros(shape, dtype=bool)
    np.moveaxis(whole, axis, 0)[first : last + 1] = mask
    return whole


def _measuring() -> Any:
    try:
        from skimage import measure as found
    except ModuleNotFoundError as error:
        raise MissingExtraError("scikit-image", "view", "a region drawn by hand") from error
    return found
