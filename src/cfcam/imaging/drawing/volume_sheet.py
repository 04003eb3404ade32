"""Volumes on paper: three orthogonal slices through the peak, a sheet of methods, a montage, projections.

All in radiological convention, which the picture states: the patient's right is on the left of axial and coronal
pictures, anterior on the left of sagittal ones. Millimetres are equally long in all directions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from cfcam.errors import InputError
from cfcam.imaging.drawing.cells import Cell, page_of
from cfcam.imaging.drawing.look import OPACITY, Look
from cfcam.imaging.drawing.overlay import overlay
from cfcam.imaging.drawing.palettes import EMBER
from cfcam.imaging.drawing.parts import (
    Theme,
    ink_of,
    status_stamp,
)
from cfcam.imaging.drawing.planes import (
    NORMAL_AXIS,
    PLANES,
    Plane,
    VolumeView,
    common_peak,
    cut_plane,
    draw_scale_bar,
    edge_texts,
    heat_picture,
    peak_voxel,
    usual_range,
    view_notes,
)
from cfcam.imaging.drawing.sheet import MAX_COLUMNS, Panel, panels_by_label
from cfcam.imaging.volume import Volume

_CROSS, _CROSS_SHARE, _CROSS_GAP = np.array([90, 235, 255], np.float32), 0.75, 11


def slices_figure(
    volume: Volume,
    heatmap: Tensor | ArrayLike,
    *,
    at: Sequence[int] | None = None,
    title: str = "",
    footer: str = "research use only",
    palette: str = EMBER,
    opacity: float = OPACITY,
    blend: str = "value",
    threshold: float | str | None = "otsu",
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
        blend: likewise.
        threshold: of the outline, as for `overlay`, of the whole volume's map.
        window: centre and width of the grey values, or a name of `cfcam.imaging.WINDOWS`; None: the volume's own,
            else from the 0.5th to the 99.5th percentile.
        panel_size: the longest side of the volume in pixels.
        theme: "dark" or "light".

    Returns:
        uint8 RGB `(height, width, 3)`.

    Raises:
        InputError: a map of another size, or a value out of its range.
    """
    view = VolumeView.of(volume, window)
    heat = view.heat(heatmap)
    index = _ras_index(view, at) if at is not None else peak_voxel(heat)
    scale = view.scale(_checked(panel_size))
    look = Look(palette, opacity, blend)
    level = look.threshold(heat, threshold)
    over, bare = [], []
    for plane in PLANES:
        axis = NORMAL_AXIS[plane]
        picture = view.picture(plane, index[axis], scale)
        shown = heat_picture(cut_plane(heat, axis, index[axis]), view.size(plane, scale))
        drawn = overlay(picture, shown, **look._asdict(), threshold=level)
        marked = _crossed(drawn, *view.pixel(plane, index, scale))
        marks = (*edge_texts(view.letters(plane), picture), *draw_scale_bar(marked, scale))
        over.append(Cell(marked, view.name(plane), view.where(plane, index), marks))
        bare.append(Cell(picture, "", "without the map"))
    place = view.point(index)
    where = (
        f"through the peak of the map: {place} (stability not measured here)"
        if at is None
        else f"through the point chosen: {place}"
    )
    notes = [where, *view_notes(view), footer]
    return page_of([over, bare], title, notes, look, ink_of(theme), _known(level))


def volume_sheet(
    volume: Volume,
    panels: Sequence[Panel],
    *,
    at: Sequence[int] | None = None,
    title: str = "",
    footer: str = "research use only",
    palette: str = EMBER,
    opacity: float = OPACITY,
    blend: str = "value",
    window: str | tuple[float, float] | None = None,
    columns: int = MAX_COLUMNS,
    panel_size: int = 240,
    theme: Theme = "dark",
) -> NDArray[np.uint8]:
    """Draw a volume beside the maps of several methods, in the same three slices, class by class.

    The slices of a class go through the peak of the mean of its maps. The bare slices stand once, unless those of
    another class lie elsewhere.

    Args:
        volume: as for `slices_figure`.
        panels: the maps, each `(D, H, W)` in [0, 1] on the volume's grid, as for `contact_sheet`.
        at: voxel (d, h, w) to cut through; None: the peak, as said.
        title: a line over the sheet.
        footer: a small line under the sheet.
        palette: as for `colorize`.
        opacity: as for `overlay`.
        blend: likewise.
        window: as for `slices_figure`.
        columns: the most pictures in a row, the bare one included; from 2 to 6.
        panel_size: the longest side of the volume in pixels.
        theme: "dark" or "light".

    Returns:
        uint8 RGB `(height, width, 3)`.

    Raises:
        InputError: no panels, a map of another size, a value out of its range, or a voxel that is not there.
    """
    if not panels:
        raise InputError("a sheet needs at least one panel")
    if not 2 <= columns <= MAX_COLUMNS:
        raise InputError(f"columns is {columns}: it must lie between 2 and {MAX_COLUMNS}")
    view = VolumeView.of(volume, window)
    scale = view.scale(_checked(panel_size))
    look, thresholds = Look(palette, opacity, blend), list[float]()
    rows: list[list[Cell]] = []
    shown: set[tuple[int, ...]] = set()
    for of_class in panels_by_label(panels):
        heats = [view.heat(p.heatmap) if p.heatmap is not None and p.status == "ok" else None for p in of_class]
        known = [heat for heat in heats if heat is not None]
        middle = common_peak(known) if known else tuple(n // 2 for n in view.voxels.shape)
        index = middle if at is None else _ras_index(view, at)
        levels = [
            None if heat is None else look.threshold(heat, "otsu" if panel.threshold is None else panel.threshold)
            for panel, heat in zip(of_class, heats, strict=True)
        ]
        thresholds += [level for level in levels if level is not None]
        for start in range(0, len(of_class), columns - 1):
            part = slice(start, start + columns - 1)
            found = _class_rows(view, of_class[part], heats[part], levels[part], index, scale, look)
            rows += [[_without_picture(row[0]), *row[1:]] for row in found] if index in shown else found
            shown.add(index)
    where = "slices through the peak of the mean of each class's maps (without a map: through the middle)"
    if at is not None:
        where = f"slices through the point chosen: {view.point(_ras_index(view, at))}"
    notes = [where, *view_notes(view), footer]
    return page_of(rows, title, notes, look, ink_of(theme), thresholds)


def montage_figure(
    volume: Volume,
    heatmap: Tensor | ArrayLike,
    *,
    plane: Plane = "axial",
    count: int = 12,
    columns: int = 4,
    title: str = "",
    footer: str = "research use only",
    palette: str = EMBER,
    opacity: float = OPACITY,
    blend: str = "value",
    threshold: float | str | None = "otsu",
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
        blend: likewise.
        threshold: of the outline, as for `overlay`, of the whole volume's map.
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
    view = VolumeView.of(volume, window)
    heat = view.heat(heatmap)
    scale = view.scale(_checked(panel_size))
    axis = NORMAL_AXIS[plane]
    look = Look(palette, opacity, blend)
    level = look.threshold(heat, threshold)
    length = view.voxels.shape[axis]
    chosen = np.floor((np.arange(min(count, length)) + 0.5) * length / min(count, length)).astype(int)
    centre = [n // 2 for n in view.voxels.shape]
    cells = []
    for n, index in enumerate(chosen.tolist()):
        picture = overlay(
            view.picture(plane, index, scale),
            heat_picture(cut_plane(heat, axis, index), view.size(plane, scale)),
            **look._asdict(),
            threshold=level,
        )
        where = view.where(plane, [index if a == axis else centre[a] for a in range(3)])
        texts = (*edge_texts(view.letters(plane), picture), *draw_scale_bar(picture, scale)) if n == 0 else ()
        cells.append(Cell(picture, "", where, texts))
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    called = f"{plane} slices" if view.volume.placed else f"slices {view.name(plane)}"
    step = f"{called}, {length} in all, {view.gap(plane):.3g} mm apart"
    return page_of(rows, title, [step, *view_notes(view), footer], look, ink_of(theme), _known(level))


def projection_figure(
    volume: Volume,
    heatmap: Tensor | ArrayLike,
    *,
    title: str = "",
    footer: str = "research use only",
    palette: str = EMBER,
    opacity: float = 0.6,
    blend: str = "value",
    threshold: float | str | None = "otsu",
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
        blend: likewise.
        threshold: of the outline, as for `overlay`, of the whole volume's map.
        window: as for `slices_figure`.
        panel_size: the longest side of the volume in pixels.
        theme: "dark" or "light".

    Returns:
        uint8 RGB `(height, width, 3)`.

    Raises:
        InputError: a map of another size, or a value out of its range.
    """
    view = VolumeView.of(volume, window)
    heat = view.heat(heatmap)
    scale = view.scale(_checked(panel_size))
    look = Look(palette, opacity, blend)
    level = look.threshold(heat, threshold)
    cells = []
    for plane in PLANES:
        axis = NORMAL_AXIS[plane]
        size = view.size(plane, scale)
        under = view.voxels.mean(axis=axis)
        grey = view.drawn(under, plane, scale, usual_range(under) if window is None else view.window)
        picture = overlay(grey, heat_picture(heat.max(axis=axis), size), **look._asdict(), threshold=level)
        marks = (*edge_texts(view.letters(plane), picture), *draw_scale_bar(picture, scale))
        cells.append(Cell(picture, view.name(plane), "projection", marks))
    notes = ["maximum-intensity projections of the map, over the mean of the volume", *view_notes(view), footer]
    return page_of([cells], title, notes, look, ink_of(theme), _known(level))


def _class_rows(
    view: VolumeView,
    panels: Sequence[Panel],
    heats: Sequence[NDArray[np.float32] | None],
    levels: Sequence[float | None],
    index: tuple[int, ...],
    scale: float,
    look: Look,
) -> list[list[Cell]]:
    """One row for each plane: the bare slice, then the maps of the methods over it."""
    rows = []
    for plane in PLANES:
        axis = NORMAL_AXIS[plane]
        bare = view.picture(plane, index[axis], scale)
        column, row = view.pixel(plane, index, scale)
        first = plane == PLANES[0]
        where = f"{view.name(plane)}, {view.where(plane, index)}"
        marked = _crossed(bare, column, row)
        marks = (*edge_texts(view.letters(plane), bare), *draw_scale_bar(marked, scale))
        cells = [Cell(marked, "original" if first else "", where, marks)]
        for panel, heat, level in zip(panels, heats, levels, strict=True):
            name, detail = _named(panel) if first else ("", "")
            if heat is None:
                dimmed = (bare * np.float32(0.45)).astype(np.uint8)
                stamp = tuple(status_stamp(panel.status, 0, 0, dimmed.shape[:2])) if first else ()
                cells.append(Cell(dimmed, name, detail, stamp))
                continue
            shown = heat_picture(cut_plane(heat, axis, index[axis]), view.size(plane, scale))
            picture = overlay(bare, shown, **look._asdict(), threshold=level)
            cells.append(Cell(_crossed(picture, column, row), name, detail))
        rows.append(cells)
    return rows


def _without_picture(cell: Cell) -> Cell:
    """The place of slices that stand further up already."""
    return Cell(cell.picture[:, :0])


def _known(level: float | None) -> list[float]:
    return [] if level is None else [level]


def _named(panel: Panel) -> tuple[str, str]:
    return panel.method, f"{panel.label} {panel.answer}".rstrip()


def _ras_index(view: VolumeView, at: Sequence[int]) -> tuple[int, int, int]:
    if len(at) != 3 or not all(0 <= n < length for n, length in zip(at, view.volume.size, strict=True)):
        raise InputError(f"at is {tuple(at)}: it must be a voxel of the volume of {view.volume.size}")
    picked = [
        view.volume.size[axis] - 1 - at[axis] if flip else at[axis]
        for axis, flip in zip(view.order, view.flips, strict=True)
    ]
    return picked[0], picked[1], picked[2]


def _crossed(picture: NDArray[np.uint8], column: int, row: int) -> NDArray[np.uint8]:
    """A picture with a crosshair that leaves its own centre free."""
    crossed = picture.astype(np.float32)
    for line, at in ((crossed[row], column), (crossed[:, column], row)):
        for part in (line[: max(0, at - _CROSS_GAP)], line[at + _CROSS_GAP + 1 :]):
            part *= 1 - _CROSS_SHARE
            part += _CROSS_SHARE * _CROSS
    return np.rint(crossed).astype(np.uint8)


def _checked(panel_size: int) -> int:
    if panel_size < 96:
        raise InputError(f"panel_size is {panel_size}: names cannot be read under 96 pixels")
    return panel_size
