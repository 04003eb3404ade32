"""What of a study is drawn: the picture itself, or three orthogonal slices of a volume through one point.

Each plane knows how it is shown (its grey picture, directions, millimetres) and how a map of the study is cut to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from cfcam.clinical.report.encoding import png
from cfcam.clinical.study_result import Heat, StudyResult
from cfcam.clinical.where import OPPOSITE, directions_of
from cfcam.imaging.drawing.overlay import check_rgb
from cfcam.imaging.drawing.planes import (
    BAR_LENGTHS_MM,
    NORMAL_AXIS,
    PLANES,
    Plane,
    VolumeView,
    common_peak,
    cut_plane,
    heat_picture,
)
from cfcam.imaging.volume import Source, Volume

_SMALLEST, _LARGEST = 240, 896  # pixels of the longer side of a picture in a report
_SLICE = 384
_TALLEST = 2.4  # times as tall as wide: what is taller would not fit a page at the full width of its column


@dataclass(frozen=True, eq=False)
class Slice:
    """One plane of a study, as shown.

    Attributes:
        name: "" for a picture; for a volume the plane and where it lies.
        base: uint8 (h, w, 3), the picture without a map.
        cut: takes a map on the study's grid, gives its values (rows, columns) in this plane, turned as shown.
        letters: directions at the left, right, top and bottom edge; of a volume "?" where they are not known, of a
            picture then empty.
        bar: millimetres of the scale bar, its share of the width, and where they are measured, if that is to be said;
            None where the spacing is not known.
        cross: where the planes of a volume meet, as shares of width and height; None for a picture.
        share: of the width of its column, less than 1 only where it is very tall.
    """

    name: str
    base: NDArray[np.uint8]
    cut: Callable[[Heat], Heat]
    letters: tuple[str, ...]
    bar: tuple[int, float, str] | None
    cross: tuple[float, float] | None = None
    share: float = 1.0

    @cached_property
    def uri(self) -> str:
        """The picture without a map as PNG."""
        return png(PILImage.fromarray(self.base))


def is_volume(study: StudyResult) -> bool:
    """Whether the study's picture is a volume; also known where there is no map."""
    return study.picture.ndim == 3 and study.picture.dtype != np.uint8


def planes_of(study: StudyResult, heatmaps: Sequence[Heat]) -> tuple[Slice, ...]:
    """Returns the planes in which maps of a study are shown.

    Args:
        study: the study.
        heatmaps: (*spatial) those that are to be shown together: slices of a volume go through the peak of their mean,
            without any through its middle.

    Raises:
        InputError: the picture is no RGB or grey picture of 8 bits.
    """
    return _slices(study, heatmaps) if is_volume(study) else (_picture(study),)


def _picture(study: StudyResult) -> Slice:
    grey = study.picture.ndim == 2
    rgb = np.repeat(study.picture[..., None], 3, axis=2) if grey else study.picture
    check_rgb(rgb)
    height, width = rgb.shape[:2]
    tall, wide = study.spacing or (1.0, 1.0)
    shown = _shown_size(height * tall, width * wide, max(height, width))
    bar = None if study.spacing is None else _bar(width * wide, study.measured or "")
    share = min(1.0, _TALLEST * shown[0] / shown[1])
    return Slice("", _resized(rgb, shown), lambda heat: heat, _picture_letters(study), bar, share=share)


def _shown_size(height: float, width: float, pixels: int) -> tuple[int, int]:
    """Width and height in pixels: as the source, unless that is very small or very large."""
    longer = min(pixels, _LARGEST) if pixels >= _SMALLEST else pixels * math.ceil(_SMALLEST / pixels)
    scale = longer / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resized(rgb: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    # enlarged pixels stay visible as what they are
    enlarged = size[0] >= 2 * rgb.shape[1]
    filter_ = PILImage.Resampling.BOX if enlarged else PILImage.Resampling.LANCZOS
    return np.asarray(PILImage.fromarray(rgb).resize(size, filter_))


def _picture_letters(study: StudyResult) -> tuple[str, ...]:
    known = directions_of(study)
    if not known:
        return ()
    bottom, right = known
    return OPPOSITE[right], right, OPPOSITE[bottom], bottom


def _bar(width_mm: float, measured: str = "") -> tuple[int, float, str] | None:
    fitting = [mm for mm in BAR_LENGTHS_MM if mm <= width_mm / 3]
    return (fitting[-1], fitting[-1] / width_mm, measured) if fitting else None


def _slices(study: StudyResult, heatmaps: Sequence[Heat]) -> tuple[Slice, ...]:
    """Three slices in radiological convention, as `cfcam.imaging.drawing.volume_sheet` draws them."""
    spacing = study.spacing or (1.0, 1.0, 1.0)
    affine = np.diag([*spacing, 1.0]) if study.affine is None else study.affine
    window = None if study.window is None else (sum(study.window) / 2, study.window[1] - study.window[0])
    placed = Source(space=0 if study.affine is None else 1)
    volume = Volume(study.picture, affine, placed, window, window_function=study.window_function)
    view = VolumeView.of(volume, None)
    heats = [view.heat(heat) for heat in heatmaps]
    index = common_peak(heats) if heats else _middle(view)
    return tuple(_slice(study, view, plane, index) for plane in PLANES)


def _slice(study: StudyResult, view: VolumeView, plane: Plane, index: tuple[int, int, int]) -> Slice:
    scale, axis = view.scale(_SLICE), NORMAL_AXIS[plane]
    size = view.size(plane, scale)
    column, row = view.pixel(plane, index, scale)
    placed = study.affine is not None
    known = placed or study.spacing is not None

    def cut(heat: Heat) -> Heat:
        return heat_picture(cut_plane(view.heat(heat), axis, index[axis]), size)

    return Slice(
        name=f"{view.name(plane)}, {view.where(plane, index)}" if placed else view.name(plane),
        base=view.picture(plane, index[axis], scale),
        cut=cut,
        letters=view.letters(plane),
        bar=_bar(size[0] / scale) if known else None,
        cross=((column + 0.5) / size[0], (row + 0.5) / size[1]),
        share=min(1.0, _TALLEST * size[0] / size[1]),
    )


def _middle(view: VolumeView) -> tuple[int, int, int]:
    depth, height, width = view.voxels.shape
    return depth // 2, height // 2, width // 2
