"""A volume cut into planes, as its figures show them: order, grey values, directions, millimetres.

All in radiological convention: the patient's right is on the left of axial and coronal pictures, anterior on the left
of sagittal ones. Millimetres are equally long in all directions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image as PILImage
from torch import Tensor

from cfcam.errors import InputError
from cfcam.imaging.drawing.palettes import check_unit_range
from cfcam.imaging.drawing.text import HEAD_SIZE, SMALL_SIZE, TextLine, text_width
from cfcam.imaging.geometry import axis_codes, cell_size, is_sheared, obliqueness, skewness, turned
from cfcam.imaging.image import as_array
from cfcam.imaging.volume import Volume
from cfcam.imaging.windows import named_window, windowed

Plane = Literal["axial", "coronal", "sagittal"]

PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
CONVENTION = (
    "radiological convention: the patient's right is on the left (axial, coronal), anterior on the left (sagittal)"
)
"""What every figure of a volume says of its directions."""

NORMAL_AXIS: dict[Plane, int] = {"axial": 2, "coronal": 1, "sagittal": 0}
"""Which of the axes R, A, S a plane stands across."""
EDGE_LETTERS: dict[Plane, tuple[str, str, str, str]] = {
    "axial": ("R", "L", "A", "P"),
    "coronal": ("R", "L", "S", "I"),
    "sagittal": ("A", "P", "S", "I"),
}
"""Directions at the left, right, top and bottom edge of a plane's picture."""
UNKNOWN_LETTERS = ("?", "?", "?", "?")
"""What stands there where nothing says how the volume lies."""
UNKNOWN_DIRECTIONS = (
    "left, right and all other directions are unknown (?): the header does not say how the volume lies in the patient;"
    " it is shown as it is stored, and where the network's input is turned its axes count as left, anterior, superior"
)
"""What every figure of such a volume says in place of `CONVENTION`."""
BAR_LENGTHS_MM = (1, 2, 5, 10, 20, 50, 100)
"""Lengths of a scale bar."""
OBLIQUE_DEGREES = 5
"""From more than this on, a figure says that its volume lies askew."""

_SIDES = (("L", "R"), ("P", "A"), ("I", "S"))
_SHADE = "#000000a0"
_FILTER = PILImage.Resampling.BILINEAR  # others overshoot, and draw rims around what is bright
_SLAB = 16  # planes of a map that are looked at together: neighbours along this axis often lie side by side
_SAMPLE = 2_000_000  # voxels that the grey range is taken from


@dataclass(frozen=True, eq=False)
class VolumeView:
    """A volume as figures show it: its axes in the order R, A, S, and the range of grey values.

    Attributes:
        voxels: `(R, A, S)`, of several channels the first; a view of the volume's voxels, not a copy.
        spacing: of these axes, in mm.
        window: centre and width of the grey values.
        function: what the window does with them: LINEAR, LINEAR_EXACT or SIGMOID.
        volume: as it is stored.
        order: which of its axes becomes R, A and S.
        flips: which of these are then turned round.
    """

    voxels: NDArray[np.float32]
    spacing: tuple[float, float, float]
    window: tuple[float, float]
    function: str
    volume: Volume
    order: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    @classmethod
    def of(cls, volume: Volume, window: str | tuple[float, float] | None) -> VolumeView:
        """Returns the view of a volume.

        Args:
            volume: in any order.
            window: centre and width of the grey values, or a name of `cfcam.imaging.WINDOWS`; None: the volume's
                own, else `usual_range`.
        """
        # without a place nothing is turned: the picture shows the axes as they are stored
        order, flips = turned(axis_codes(volume.affine) if volume.placed else "RAS", "RAS")
        voxels = volume.channel()
        shown, function = shown_window(volume, window)
        r, a, s = (volume.spacing[axis] for axis in order)
        return cls(as_ras(voxels, order, flips), (r, a, s), shown, function, volume, order, flips)

    def heat(self, heatmap: Tensor | ArrayLike) -> NDArray[np.float32]:
        """Returns a map `(D, H, W)` on the volume's grid in the order of the view.

        Raises:
            InputError: it has another size, or a value out of [0, 1].
        """
        values = as_array(heatmap)
        if values.shape != self.volume.size:
            raise InputError(
                f"map of shape {values.shape} over a volume of {self.volume.size}: bring it onto the volume's grid"
                " first (VolumePreprocess.to_original)"
            )
        check_unit_range(values)
        return as_ras(values, self.order, self.flips)

    def place(self, index: Sequence[int]) -> tuple[float, float, float]:
        """Where a voxel in the order R, A, S lies, in mm."""
        source = [0, 0, 0]
        for at, axis, flip, length in zip(index, self.order, self.flips, self.voxels.shape, strict=True):
            source[axis] = length - 1 - at if flip else at
        return self.volume.place(source)

    def letters(self, plane: Plane) -> tuple[str, str, str, str]:
        """Directions at the left, right, top and bottom edge of a plane's picture; "?" where they are unknown."""
        return EDGE_LETTERS[plane] if self.volume.placed else UNKNOWN_LETTERS

    def name(self, plane: Plane) -> str:
        """What a plane is called: after the patient, or after the axis that it stands across."""
        return plane if self.volume.placed else f"across axis {NORMAL_AXIS[plane] + 1} of 3"

    def where(self, plane: Plane, index: Sequence[int]) -> str:
        """Where a plane lies: its coordinate in the patient, or the number of its slice."""
        axis = NORMAL_AXIS[plane]
        return coordinate_text(self.place(index), axis) if self.volume.placed else f"slice {index[axis]} (from 0)"

    def point(self, index: Sequence[int]) -> str:
        """Where a voxel lies: its place in the patient, or its index."""
        if self.volume.placed:
            return place_text(self.place(index))
        return f"voxel ({', '.join(map(str, index))}), from 0; its place in the patient is unknown"

    def gap(self, plane: Plane) -> float:
        """Distance between neighbouring slices of a plane in mm, at right angles to them."""
        kept = [self.order[axis] for axis in range(3) if axis != NORMAL_AXIS[plane]]
        affine = self.volume.affine
        return cell_size(affine, 3) / cell_size(affine[:, [*kept, 3]], 2)

    def scale(self, panel_size: int) -> float:
        """Pixels of a picture in a millimetre, so that the longest side of the volume fills a panel."""
        return panel_size / float(max(n * mm for n, mm in zip(self.voxels.shape, self.spacing, strict=True)))

    def picture(self, plane: Plane, index: int, scale: float) -> NDArray[np.uint8]:
        """One slice, grey, uint8 `(h, w, 3)`."""
        return self.drawn(cut_plane(self.voxels, NORMAL_AXIS[plane], index), plane, scale, self.window, self.function)

    def drawn(
        self,
        values: NDArray[np.float32],
        plane: Plane,
        scale: float,
        window: tuple[float, float],
        function: str = "LINEAR_EXACT",
    ) -> NDArray[np.uint8]:
        """Values of a plane as a grey picture."""
        grey = np.rint(windowed(values[::-1, ::-1].T, window, function) * 255).astype(np.uint8)
        small = PILImage.fromarray(grey).resize(self.size(plane, scale), _FILTER)
        return np.repeat(np.asarray(small)[..., None], 3, axis=2)

    def size(self, plane: Plane, scale: float) -> tuple[int, int]:
        """Width and height of a plane's picture in pixels."""
        kept = [axis for axis in range(3) if axis != NORMAL_AXIS[plane]]
        width, height = (max(1, round(self.voxels.shape[axis] * self.spacing[axis] * scale)) for axis in kept)
        return width, height

    def pixel(self, plane: Plane, index: Sequence[int], scale: float) -> tuple[int, int]:
        """Column and row of a voxel in a plane's picture."""
        kept = [axis for axis in range(3) if axis != NORMAL_AXIS[plane]]
        column, row = (
            int((self.voxels.shape[axis] - 0.5 - index[axis]) * side / self.voxels.shape[axis])
            for axis, side in zip(kept, self.size(plane, scale), strict=True)
        )
        return column, row


def as_ras(values: NDArray[Any], order: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> NDArray[np.float32]:
    """Returns an array of a volume's size with its axes in the order R, A, S.

    Args:
        values: `(D, H, W)`.
        order: as `cfcam.imaging.geometry.turned` gives it.
        flips: likewise.

    Returns:
        `(R, A, S)`, a view of it.
    """
    return np.flip(values.transpose(order), tuple(n for n, flip in enumerate(flips) if flip))


def peak_voxel(heat: NDArray[np.float32]) -> tuple[int, int, int]:
    """Returns the voxel with the greatest value of a map of three axes; of equal ones that nearest to their centre."""
    return common_peak([heat])


def common_peak(heats: Sequence[NDArray[np.float32]]) -> tuple[int, int, int]:
    """Returns the voxel with the greatest mean of maps of three axes, as `peak_voxel`; no map of the mean is made."""
    most, found = -np.inf, [np.empty((0, 3), dtype=np.intp)]
    for start in range(0, len(heats[0]), _SLAB):
        parts = [heat[start : start + _SLAB] for heat in heats]
        total = sum(parts[1:], start=parts[0])
        if (highest := float(total.max())) > most:
            most, found = highest, []
        if highest == most:
            found.append(np.argwhere(total == total.max()) + np.array([start, 0, 0]))
    best = np.concatenate(found)
    nearest = best[np.argmin(((best - best.mean(0)) ** 2).sum(1))]
    return int(nearest[0]), int(nearest[1]), int(nearest[2])


def shown_window(volume: Volume, window: str | tuple[float, float] | None) -> tuple[tuple[float, float], str]:
    """Returns the grey window of a volume and its function: that wanted, else its own, else its usual range."""
    if (wanted := named_window(window)) is not None:
        return wanted, "LINEAR_EXACT"
    if volume.window is not None:
        return volume.window, volume.window_function
    return usual_range(volume.channel()), "LINEAR_EXACT"


def usual_range(voxels: NDArray[np.float32]) -> tuple[float, float]:
    """Returns the grey window of a volume that says none: between these lie 99 % of its voxels."""
    step = max(1, math.ceil((voxels.size / _SAMPLE) ** (1 / 3)))
    low, high = (float(v) for v in np.percentile(voxels[(slice(None, None, step),) * voxels.ndim], (0.5, 99.5)))
    if high <= low:
        low, high = float(voxels.min()), float(voxels.max())
    return (low + high) / 2, (high - low) or 1.0


def cut_plane(values: NDArray[np.float32], axis: int, index: int) -> NDArray[np.float32]:
    """Returns the plane of an array `(R, A, S)` at an index of one axis, a view of it."""
    # np.take would copy all of it first
    plane: NDArray[np.float32] = values[(slice(None),) * axis + (index,)]
    return plane


def heat_picture(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Returns a plane of a map, as cut, turned as it is shown and at the size of its picture.

    Args:
        values: `(n, m)` in [0, 1].
        size: width and height in pixels (`VolumeView.size`).

    Returns:
        float32 `(height, width)` in [0, 1].
    """
    plane = PILImage.fromarray(np.ascontiguousarray(values[::-1, ::-1].T, dtype=np.float32))
    picture: NDArray[np.float32] = np.clip(np.asarray(plane.resize(size, _FILTER)), 0, 1)
    return picture


def edge_texts(letters: tuple[str, str, str, str], picture: NDArray[np.uint8]) -> tuple[TextLine, ...]:
    """Returns the directions of a plane (`VolumeView.letters`), to be written into its picture, uint8 `(h, w, 3)`."""
    height, width = picture.shape[:2]
    left, right, top, bottom = letters
    places = (
        (10, height / 2, left),
        (width - 10, height / 2, right),
        (width / 2, 11, top),
        (width / 2, height - 11, bottom),
    )
    # a little aside, so that a crosshair through the middle does not strike them out
    return tuple(
        TextLine(x + (14 if n > 1 else 0), y - (16 if n < 2 else 0), letter,
                 HEAD_SIZE, "#ffffff", bold=True, centred=True, box=_SHADE)
        for n, (x, y, letter) in enumerate(places)
    )  # fmt: skip


def draw_scale_bar(picture: NDArray[np.uint8], scale: float, words: str = "") -> tuple[TextLine, ...]:
    """Draws a bar of a round number of millimetres into the lower left corner.

    Args:
        picture: uint8 `(h, w, 3)`; it is changed.
        scale: pixels in a millimetre.
        words: what is to be said of them, such as "at the detector"; left out where there is no room.

    Returns:
        The bar's label; nothing where the picture is too small for a bar.
    """
    height, width = picture.shape[:2]
    fitting = [mm for mm in BAR_LENGTHS_MM if mm * scale <= width / 3]
    if not fitting or height < 60:
        return ()
    length = round(fitting[-1] * scale)
    picture[height - 9 : height - 5, 7 : 9 + length] = 0
    picture[height - 8 : height - 6, 8 : 8 + length] = 255
    label, whole = f"{fitting[-1]} mm", f"{fitting[-1]} mm {words}"
    if words and text_width(whole, SMALL_SIZE) <= width / 2 - 10:  # a letter may stand at the middle of the edge
        label = whole
    return (TextLine(8, height - 21, label, SMALL_SIZE, "#ffffff", box=_SHADE),)


def coordinate_text(place: Sequence[float], axis: int) -> str:
    """Returns a coordinate of a place (R, A, S) in mm, such as "L 23.5 mm"."""
    return f"{_SIDES[axis][int(place[axis] >= 0)]} {abs(place[axis]):.1f} mm"


def place_text(place: Sequence[float]) -> str:
    """Returns a place (R, A, S) in mm, such as "L 23.5 mm, P 4.0 mm, S 62.0 mm"."""
    return ", ".join(coordinate_text(place, axis) for axis in range(3))


def view_notes(view: VolumeView) -> list[str]:
    """Returns what a figure of a volume says of its directions and of how it was read, a line each."""
    volume = view.volume
    angle, skew = obliqueness(volume.affine), skewness(volume.affine)
    oblique = f"the volume lies askew by up to {angle:.0f}°: letters name the nearest direction"
    notes = [CONVENTION] if volume.placed else [UNKNOWN_DIRECTIONS]
    notes += [oblique] if volume.placed and angle > OBLIQUE_DEGREES else []
    notes += [sheared_note(skew)] if is_sheared(volume.affine) else []
    return [*notes, *volume.notices, *volume.assumed]


def sheared_note(degrees: float) -> str:
    """Returns what a picture of a sheared grid says of itself."""
    return (
        f"the grid's axes are up to {degrees:.1f}° off right angles, and drawn as if they were at right angles: a scale"
        " bar holds along them, angles and shapes are distorted"
    )
