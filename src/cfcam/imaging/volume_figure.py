"""Volumes on paper: three orthogonal slices through the peak, a sheet of methods, a montage, projections.

All in radiological convention, which the picture states: the patient's right is on the left of axial and coronal
pictures, anterior on the left of sagittal ones. Millimetres are equally long in all directions.
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
from cfcam.imaging.dicom import named_window, windowed
from cfcam.imaging.figure import (
    _GAP,
    _HEAD,
    _MARGIN,
    _SMALL,
    _TITLE,
    MAX_COLUMNS,
    Panel,
    Theme,
    _by_label,
    _Ink,
    _legend,
    _line,
    _stamp,
    _Text,
    _theme,
    _wrapped,
    _written,
)
from cfcam.imaging.geometry import obliqueness, turned
from cfcam.imaging.overlay import overlay
from cfcam.imaging.palettes import as_array, check_unit_range
from cfcam.imaging.volume import Volume

Plane = Literal["axial", "coronal", "sagittal"]

PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
CONVENTION = (
    "radiological convention: the patient's right is on the left (axial, coronal), anterior on the left (sagittal)"
)

_ACROSS: dict[Plane, int] = {"axial": 2, "coronal": 1, "sagittal": 0}  # which of R, A, S a plane stands across
_LETTERS: dict[Plane, tuple[str, str, str, str]] = {  # left, right, top, bottom
    "axial": ("R", "L", "A", "P"),
    "coronal": ("R", "L", "S", "I"),
    "sagittal": ("A", "P", "S", "I"),
}
_SIDES = (("L", "R"), ("P", "A"), ("I", "S"))
_CROSS, _CROSS_SHARE, _CROSS_GAP = np.array([90, 235, 255], np.float32), 0.75, 11
_SHADE = "#000000a0"
_SCALES_MM = (1, 2, 5, 10, 20, 50, 100)
_OBLIQUE_DEGREES = 5
_FILTER = PILImage.Resampling.BILINEAR  # others overshoot, and draw rims around what is bright
_SAMPLE = 2_000_000  # voxels that the grey range is taken from


@dataclass(frozen=True, eq=False)
class _View:
    """A volume in the order R, A, S (views, not copies), with the range of grey values to show."""

    voxels: NDArray[np.float32]
    spacing: tuple[float, float, float]
    window: tuple[float, float]
    volume: Volume
    order: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    @classmethod
    def of(cls, volume: Volume, window: str | tuple[float, float] | None) -> _View:
        order, flips = turned(volume.orientation, "RAS")
        voxels = volume.voxels if volume.voxels.ndim == 3 else volume.voxels[0]
        shown = named_window(window) or volume.window or usual_range(voxels)
        r, a, s = (volume.spacing[axis] for axis in order)
        return cls(_as_ras(voxels, order, flips), (r, a, s), shown, volume, order, flips)

    def heat(self, heatmap: Tensor | ArrayLike) -> NDArray[np.float32]:
        """A map of the volume in the same order."""
        values = as_array(heatmap)
        if values.shape != self.volume.size:
            raise InputError(
                f"map of shape {values.shape} over a volume of {self.volume.size}: bring it onto the volume's grid"
                " first (VolumePreprocess.to_original)"
            )
        check_unit_range(values)
        return _as_ras(values, self.order, self.flips)

    def place(self, index: Sequence[int]) -> tuple[float, float, float]:
        """Where a voxel in the order R, A, S lies, in mm."""
        source = [0, 0, 0]
        for at, axis, flip, length in zip(index, self.order, self.flips, self.voxels.shape, strict=True):
            source[axis] = length - 1 - at if flip else at
        return self.volume.place(source)

    def scale(self, panel_size: int) -> float:
        """Pixels of a picture in a millimetre, so that the longest side of the volume fills a panel."""
        return panel_size / float(max(n * mm for n, mm in zip(self.voxels.shape, self.spacing, strict=True)))

    def picture(self, plane: Plane, index: int, scale: float) -> NDArray[np.uint8]:
        """One slice, grey, uint8 `(h, w, 3)`."""
        return self.drawn(_cut(self.voxels, _ACROSS[plane], index), plane, scale, self.window)

    def drawn(
        self, values: NDArray[np.float32], plane: Plane, scale: float, window: tuple[float, float]
    ) -> NDArray[np.uint8]:
        """Values of a plane as a grey picture."""
        grey = np.rint(windowed(values[::-1, ::-1].T, window, "LINEAR_EXACT") * 255).astype(np.uint8)
        small = PILImage.fromarray(grey).resize(self.size(plane, scale), _FILTER)
        return np.repeat(np.asarray(small)[..., None], 3, axis=2)

    def size(self, plane: Plane, scale: float) -> tuple[int, int]:
        """Width and height of a plane's picture in pixels."""
        kept = [axis for axis in range(3) if axis != _ACROSS[plane]]
        width, height = (max(1, round(self.voxels.shape[axis] * self.spacing[axis] * scale)) for axis in kept)
        return width, height

    def pixel(self, plane: Plane, index: Sequence[int], scale: float) -> tuple[int, int]:
        """Column and row of a voxel in a plane's picture."""
        kept = [axis for axis in range(3) if axis != _ACROSS[plane]]
        column, row = (
            int((self.voxels.shape[axis] - 0.5 - index[axis]) * side / self.voxels.shape[axis])
            for axis, side in zip(kept, self.size(plane, scale), strict=True)
        )
        return column, row


@dataclass(frozen=True, eq=False)
class _Cell:
    """A picture on the page, with its name and details above and what is written into it (from its top left)."""

    picture: NDArray[np.uint8]
    name: str = ""
    detail: str = ""
    texts: tuple[_Text, ...] = ()


def slices_figure(
    volume: Volume,
    heatmap: Tensor | ArrayLike,
    *,
    at: Sequence[int] | None = None,
    title: str = "",
    footer: str = "research use only",
    palette: str = "inferno",
    opacity: float = 0.4,
    window: str | tuple[float, float] | None = None,
    panel_size: int = 360,
    theme: Theme = "dark",
) -> NDArray[np.uint8]:
    """Draw three orthogonal slices through the peak of a map, with a crosshair, directions and millimetres.

    Args:
        volume: what the map belongs to; of several channels the first is shown.
        heatmap: `(D, H, W)` in [0, 1] on the volume's grid.
        at: voxel (d, h, w) to cut through; None: where the map is greatest.
        title: a line over the figure.
        footer: a small line under it.
        palette: as for `colorize`.
        opacity: as for `overlay`.
        window: centre and width of the grey values, or a name of `cfcam.imaging.dicom.WINDOWS`; None: the volume's own,
            else from the 0.5th to the 99.5th percentile.
        panel_size: the longest side of the volume in pixels.
        theme: "dark" or "light".

    Returns:
        uint8 RGB `(height, width, 3)`.

    Raises:
        InputError: a map of another size, or a value out of its range.
    """
    view = _View.of(volume, window)
    heat = view.heat(heatmap)
    index = _ras_index(view, at) if at is not None else _peak(heat)
    scale = view.scale(_checked(panel_size))
    over, bare = [], []
    for plane in PLANES:
        axis = _ACROSS[plane]
        picture = view.picture(plane, index[axis], scale)
        shown = _heat_picture(_cut(heat, axis, index[axis]), view.size(plane, scale))
        marked = _crossed(overlay(picture, shown, opacity=opacity, palette=palette), *view.pixel(plane, index, scale))
        marks = (*_letters(plane, picture), *_scale_bar(marked, scale))
        over.append(_Cell(marked, plane, _millimetres(view.place(index), axis), marks))
        bare.append(_Cell(picture, "", "without the map"))
    where = f"through the {'peak of the map' if at is None else 'point chosen'}: {_millimetres_of(view.place(index))}"
    return _page([over, bare], title, [where, *_notes(view), footer], palette, opacity, _theme(theme))


def volume_sheet(
    volume: Volume,
    panels: Sequence[Panel],
    *,
    title: str = "",
    footer: str = "research use only",
    palette: str = "inferno",
    opacity: float = 0.4,
    window: str | tuple[float, float] | None = None,
    columns: int = MAX_COLUMNS,
    panel_size: int = 240,
    theme: Theme = "dark",
) -> NDArray[np.uint8]:
    """Draw a volume beside the maps of several methods, in the same three slices, class by class.

    The slices of a class go through the peak of the mean of its maps.

    Args:
        volume: as for `slices_figure`.
        panels: the maps, each `(D, H, W)` in [0, 1] on the volume's grid, as for `contact_sheet`.
        title: a line over the sheet.
        footer: a small line under the sheet.
        palette: as for `colorize`.
        opacity: as for `overlay`.
        window: as for `slices_figure`.
        columns: the most pictures in a row, the bare one included; from 2 to 6.
        panel_size: the longest side of the volume in pixels.
        theme: "dark" or "light".

    Returns:
        uint8 RGB `(height, width, 3)`.

    Raises:
        InputError: no panels, a map of another size, or a value out of its range.
    """
    if not panels:
        raise InputError("a sheet needs at least one panel")
    if not 2 <= columns <= MAX_COLUMNS:
        raise InputError(f"columns is {columns}: it must lie between 2 and {MAX_COLUMNS}")
    view = _View.of(volume, window)
    scale = view.scale(_checked(panel_size))
    rows: list[list[_Cell]] = []
    for of_class in _by_label(panels):
        heats = [view.heat(p.heatmap) if p.heatmap is not None and p.status == "ok" else None for p in of_class]
        known = [heat for heat in heats if heat is not None]
        index = _peak(sum(known[1:], start=known[0])) if known else tuple(n // 2 for n in view.voxels.shape)
        for start in range(0, len(of_class), columns - 1):
            part = slice(start, start + columns - 1)
            rows += _class_rows(view, of_class[part], heats[part], index, scale, opacity, palette)
    where = "slices through the peak of the mean of each class's maps (without a map: through the middle)"
    notes = [where, *_notes(view), footer]
    return _page(rows, title, notes, palette, opacity, _theme(theme))


def montage_figure(
    volume: Volume,
    heatmap: Tensor | ArrayLike,
    *,
    plane: Plane = "axial",
    count: int = 12,
    columns: int = 4,
    title: str = "",
    footer: str = "research use only",
    palette: str = "inferno",
    opacity: float = 0.4,
    window: str | tuple[float, float] | None = None,
    panel_size: int = 240,
    theme: Theme = "dark",
) -> NDArray[np.uint8]:
    """Draw slices of one plane side by side, evenly from one end of the volume to the other.

    Axial slices come from the feet up, coronal ones from behind, sagittal ones from the patient's left.

    Args:
        volume: as for `slices_figure`.
        heatmap: `(D, H, W)` in [0, 1] on the volume's grid.
        plane: "axial", "coronal" or "sagittal".
        count: number of slices; no more than there are.
        columns: slices in a row.
        title: a line over the figure.
        footer: a small line under it.
        palette: as for `colorize`.
        opacity: as for `overlay`.
        window: as for `slices_figure`.
        panel_size: the longest side of the volume in pixels.
        theme: "dark" or "light".

    Returns:
        uint8 RGB `(height, width, 3)`.

    Raises:
        InputError: a map of another size, or a value out of its range.
    """
    if plane not in PLANES:
        raise InputError(f"plane is {plane!r}: it must be one of {', '.join(PLANES)}")
    if count < 1 or columns < 1:
        raise InputError(f"count is {count} and columns {columns}: both must be at least 1")
    view = _View.of(volume, window)
    heat = view.heat(heatmap)
    scale = view.scale(_checked(panel_size))
    axis = _ACROSS[plane]
    length = view.voxels.shape[axis]
    chosen = np.floor((np.arange(min(count, length)) + 0.5) * length / min(count, length)).astype(int)
    centre = [n // 2 for n in view.voxels.shape]
    cells = []
    for n, index in enumerate(chosen.tolist()):
        picture = overlay(
            view.picture(plane, index, scale),
            _heat_picture(_cut(heat, axis, index), view.size(plane, scale)),
            opacity=opacity,
            palette=palette,
        )
        place = view.place([index if a == axis else centre[a] for a in range(3)])
        texts = (*_letters(plane, picture), *_scale_bar(picture, scale)) if n == 0 else ()
        cells.append(_Cell(picture, "", _millimetres(place, axis), texts))
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    step = f"{plane} slices, {length} in all, {view.spacing[axis]:.3g} mm apart"
    return _page(rows, title, [step, *_notes(view), footer], palette, opacity, _theme(theme))


def projection_figure(
    volume: Volume,
    heatmap: Tensor | ArrayLike,
    *,
    title: str = "",
    footer: str = "research use only",
    palette: str = "inferno",
    opacity: float = 0.6,
    window: str | tuple[float, float] | None = None,
    panel_size: int = 360,
    theme: Theme = "dark",
) -> NDArray[np.uint8]:
    """Draw the maximum-intensity projections of a map over the mean of its volume, along the three directions.

    A projection shows that nothing was missed between the slices, not how deep something lies.

    Args:
        volume: as for `slices_figure`.
        heatmap: `(D, H, W)` in [0, 1] on the volume's grid.
        title: a line over the figure.
        footer: a small line under it.
        palette: as for `colorize`.
        opacity: as for `overlay`.
        window: as for `slices_figure`.
        panel_size: the longest side of the volume in pixels.
        theme: "dark" or "light".

    Returns:
        uint8 RGB `(height, width, 3)`.

    Raises:
        InputError: a map of another size, or a value out of its range.
    """
    view = _View.of(volume, window)
    heat = view.heat(heatmap)
    scale = view.scale(_checked(panel_size))
    cells = []
    for plane in PLANES:
        axis = _ACROSS[plane]
        size = view.size(plane, scale)
        under = view.voxels.mean(axis=axis)
        grey = view.drawn(under, plane, scale, usual_range(under) if window is None else view.window)
        picture = overlay(grey, _heat_picture(heat.max(axis=axis), size), opacity=opacity, palette=palette)
        marks = (*_letters(plane, picture), *_scale_bar(picture, scale))
        cells.append(_Cell(picture, plane, "projection", marks))
    notes = ["maximum-intensity projections of the map, over the mean of the volume", *_notes(view), footer]
    return _page([cells], title, notes, palette, opacity, _theme(theme))


def _class_rows(
    view: _View,
    panels: Sequence[Panel],
    heats: Sequence[NDArray[np.float32] | None],
    index: tuple[int, ...],
    scale: float,
    opacity: float,
    palette: str,
) -> list[list[_Cell]]:
    """One row for each plane: the bare slice, then the maps of the methods over it."""
    rows = []
    for plane in PLANES:
        axis = _ACROSS[plane]
        bare = view.picture(plane, index[axis], scale)
        column, row = view.pixel(plane, index, scale)
        first = plane == PLANES[0]
        where = f"{plane}, {_millimetres(view.place(index), axis)}"
        marked = _crossed(bare, column, row)
        marks = (*_letters(plane, bare), *_scale_bar(marked, scale))
        cells = [_Cell(marked, "original" if first else "", where, marks)]
        for panel, heat in zip(panels, heats, strict=True):
            name, detail = _named(panel) if first else ("", "")
            if heat is None:
                dimmed = (bare * np.float32(0.45)).astype(np.uint8)
                stamp = tuple(_stamp(panel.status, 0, 0, dimmed.shape[:2])) if first else ()
                cells.append(_Cell(dimmed, name, detail, stamp))
                continue
            shown = _heat_picture(_cut(heat, axis, index[axis]), view.size(plane, scale))
            picture = overlay(bare, shown, opacity=opacity, palette=palette)
            cells.append(_Cell(_crossed(picture, column, row), name, detail))
        rows.append(cells)
    return rows


def _named(panel: Panel) -> tuple[str, str]:
    known = "" if panel.probability is None else f" {panel.probability:.2f}"
    return panel.method, f"{panel.label}{known}"


def _page(
    rows: Sequence[Sequence[_Cell]],
    title: str,
    notes: Sequence[str],
    palette: str,
    opacity: float,
    ink: _Ink,
) -> NDArray[np.uint8]:
    """Places cells in rows and columns, with a title above, the colour bar and notes below."""
    wide = max(map(len, rows))
    columns = [max(_cell_width(row[n]) for row in rows if n < len(row)) for n in range(wide)]
    width = max(2 * _MARGIN + sum(columns) + (wide - 1) * _GAP, 420)
    left = (width - sum(columns) - (wide - 1) * _GAP) // 2
    texts: list[_Text] = []
    boxes: list[tuple[int, int, NDArray[np.uint8]]] = []
    y = _MARGIN
    if title.strip():
        for line in _wrapped(title, _TITLE, width - 2 * _MARGIN, most=2, bold=True):
            texts.append(_Text(left, y + _line(_TITLE) / 2, line, _TITLE, ink.text, bold=True))
            y += _line(_TITLE)
        y += _GAP // 2
    for number, row in enumerate(rows):
        y += 2 * _GAP if number and row[0].name else 0  # a new class
        captions = [_caption(cell, columns[n]) for n, cell in enumerate(row)]
        head = max(map(len, captions)) * _line(_HEAD)
        x = left
        for n, (cell, names) in enumerate(zip(row, captions, strict=True)):
            inside = x + (columns[n] - cell.picture.shape[1]) // 2
            top = y + head + 3
            begin = top - 3 - len(names) * _line(_HEAD)
            for i, (name, bold) in enumerate(names):
                colour = ink.text if bold else ink.faint
                texts.append(_Text(inside, begin + (i + 0.5) * _line(_HEAD), name, _HEAD, colour, bold=bold))
            boxes.append((top, inside, cell.picture))
            texts += [_moved(text, inside, top) for text in cell.texts]
            x += columns[n] + _GAP
        y += head + 3 + max(cell.picture.shape[0] for cell in row) + _GAP
    y += _GAP // 2
    y = _legend(texts, boxes, y, left, width, palette, opacity, ink)
    for note in notes:
        for line in _wrapped(note, _SMALL, width - left - _MARGIN, most=3):
            texts.append(_Text(left, y + _line(_SMALL) / 2, line, _SMALL, ink.faint))
            y += _line(_SMALL)
    page = np.empty((y + _MARGIN - 4, width, 3), dtype=np.uint8)
    page[:] = ink.paper
    for top, x, picture in boxes:
        page[top : top + picture.shape[0], x : x + picture.shape[1]] = picture
    return _written(page, texts)


def _caption(cell: _Cell, width: int) -> list[tuple[str, bool]]:
    """The lines over a picture, and whether they are bold."""
    name = [(line, True) for line in _wrapped(cell.name, _HEAD, width, most=1, bold=True)]
    return name + [(line, False) for line in _wrapped(cell.detail, _HEAD, width, most=2)]


def _cell_width(cell: _Cell) -> int:
    return max(int(cell.picture.shape[1]), 120)


def _moved(text: _Text, x: int, y: int) -> _Text:
    return _Text(text.x + x, text.y + y, text.line, text.size, text.colour, text.bold, text.centred, text.box)


def _as_ras(values: NDArray[Any], order: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> NDArray[np.float32]:
    return np.flip(values.transpose(order), tuple(n for n, flip in enumerate(flips) if flip))


def _ras_index(view: _View, at: Sequence[int]) -> tuple[int, int, int]:
    if len(at) != 3 or not all(0 <= n < length for n, length in zip(at, view.volume.size, strict=True)):
        raise InputError(f"at is {tuple(at)}: it must be a voxel of the volume of {view.volume.size}")
    picked = [
        view.volume.size[axis] - 1 - at[axis] if flip else at[axis]
        for axis, flip in zip(view.order, view.flips, strict=True)
    ]
    return picked[0], picked[1], picked[2]


def _peak(heat: NDArray[np.float32]) -> tuple[int, int, int]:
    """The voxel with the greatest value; of several equal ones that nearest to their centre."""
    best = np.argwhere(heat == heat.max())
    nearest = best[np.argmin(((best - best.mean(0)) ** 2).sum(1))]
    return int(nearest[0]), int(nearest[1]), int(nearest[2])


def usual_range(voxels: NDArray[np.float32]) -> tuple[float, float]:
    """Returns the grey window of a volume that says none: between these lie 99 % of its voxels."""
    step = max(1, math.ceil((voxels.size / _SAMPLE) ** (1 / 3)))
    low, high = (float(v) for v in np.percentile(voxels[(slice(None, None, step),) * voxels.ndim], (0.5, 99.5)))
    if high <= low:
        low, high = float(voxels.min()), float(voxels.max())
    return (low + high) / 2, (high - low) or 1.0


def _cut(values: NDArray[np.float32], axis: int, index: int) -> NDArray[np.float32]:
    """One plane of a view; `np.take` would copy all of it first."""
    plane: NDArray[np.float32] = values[(slice(None),) * axis + (index,)]
    return plane


def _heat_picture(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    plane = PILImage.fromarray(np.ascontiguousarray(values[::-1, ::-1].T, dtype=np.float32))
    picture: NDArray[np.float32] = np.clip(np.asarray(plane.resize(size, _FILTER)), 0, 1)
    return picture


def _crossed(picture: NDArray[np.uint8], column: int, row: int) -> NDArray[np.uint8]:
    """A picture with a crosshair that leaves its own centre free."""
    crossed = picture.astype(np.float32)
    for line, at in ((crossed[row], column), (crossed[:, column], row)):
        for part in (line[: max(0, at - _CROSS_GAP)], line[at + _CROSS_GAP + 1 :]):
            part *= 1 - _CROSS_SHARE
            part += _CROSS_SHARE * _CROSS
    return np.rint(crossed).astype(np.uint8)


def _letters(plane: Plane, picture: NDArray[np.uint8]) -> tuple[_Text, ...]:
    height, width = picture.shape[:2]
    left, right, top, bottom = _LETTERS[plane]
    places = (
        (10, height / 2, left),
        (width - 10, height / 2, right),
        (width / 2, 11, top),
        (width / 2, height - 11, bottom),
    )
    # a little aside, so that a crosshair through the middle does not strike them out
    return tuple(
        _Text(x + (14 if letter in (top, bottom) else 0), y - (16 if letter in (left, right) else 0), letter, _HEAD,
              "#ffffff", bold=True, centred=True, box=_SHADE)
        for x, y, letter in places
    )  # fmt: skip


def _scale_bar(picture: NDArray[np.uint8], scale: float) -> tuple[_Text, ...]:
    """Draws a bar of a round number of millimetres into the lower left corner, and returns its label."""
    height, width = picture.shape[:2]
    fitting = [mm for mm in _SCALES_MM if mm * scale <= width / 3]
    if not fitting or height < 60:
        return ()
    length = round(fitting[-1] * scale)
    picture[height - 9 : height - 6, 7 : 9 + length] = 0
    picture[height - 8 : height - 7, 8 : 8 + length] = 255
    return (_Text(8, height - 18, f"{fitting[-1]} mm", _SMALL, "#ffffff", box=_SHADE),)


def _millimetres(place: Sequence[float], axis: int) -> str:
    """A coordinate as "L 23.5 mm"."""
    return f"{_SIDES[axis][int(place[axis] >= 0)]} {abs(place[axis]):.1f} mm"


def _millimetres_of(place: Sequence[float]) -> str:
    return ", ".join(_millimetres(place, axis) for axis in range(3))


def _notes(view: _View) -> list[str]:
    angle = obliqueness(view.volume.affine)
    oblique = f"the volume lies askew by up to {angle:.0f}°: letters name the nearest direction"
    return [CONVENTION, *([oblique] if angle > _OBLIQUE_DEGREES else [])]


def _checked(panel_size: int) -> int:
    if panel_size < 96:
        raise InputError(f"panel_size is {panel_size}: names cannot be read under 96 pixels")
    return panel_size
