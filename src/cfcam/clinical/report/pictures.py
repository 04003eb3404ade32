"""Pictures of a report: each in layers (picture, map, outline, marks), so that a reader can fade the map in and out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from cfcam.clinical.report.encoding import png
from cfcam.clinical.report.planes import Slice
from cfcam.clinical.study_result import Heat
from cfcam.imaging.drawing.look import Look
from cfcam.imaging.drawing.palettes import check_unit_range, levels, table

_MOST_POINTS = 400  # of an outline along one side of a picture


@dataclass(frozen=True)
class Scale:
    """What the colours of a map mean.

    Attributes:
        palette: of `cfcam.imaging.drawing.palettes`.
        highest: the value of the last colour; the first is 0.
        label: what is shown, with its unit.
        mark: a value to mark on the colour bar; None for none.
        mark_label: what that value is.
    """

    palette: str
    highest: float
    label: str
    mark: float | None = None
    mark_label: str = ""

    @property
    def mark_share(self) -> float:
        """Where the mark lies along the bar, in [0, 1]."""
        return 0.0 if self.mark is None else min(1.0, self.mark / self.highest)

    @property
    def ticks(self) -> tuple[str, str, str]:
        """The values at the beginning, the middle and the end of the bar."""
        return "0", f"{self.highest / 2:g}", f"{self.highest:g}"


@dataclass(frozen=True)
class Picture:
    """One picture on the page.

    Attributes:
        title: over it.
        note: a second line.
        alt: what it shows, for those who do not see it.
        base: PNG data URI of the picture without a map.
        heat: PNG data URI of the coloured map; None where there is none.
        clear: PNG data URI of nothing at all, where only the picture under it is shown: that is in the page once.
        outline: SVG path around the region from the threshold on; "" where there is none.
        view: width and height of the outline's units.
        letters: directions at the left, right, top and bottom edge.
        bar: millimetres of the scale bar, its share of the width, and where they are measured.
        cross: where to mark a point, as shares of width and height.
        through: whether the mark runs through the whole picture, as where planes of a volume meet.
        share: of the column's width that the picture takes.
        scale: of the colours.
        stamp: what is written over a picture that has no map.
    """

    title: str
    note: str
    alt: str
    base: str
    heat: str | None = None
    clear: str | None = None
    outline: str = ""
    view: tuple[int, int] = (1, 1)
    letters: tuple[str, ...] = ()
    bar: tuple[int, float, str] | None = None
    cross: tuple[float, float] | None = None
    through: bool = False
    share: float = 1.0
    scale: Scale | None = None
    stamp: str = ""


def bare(plane: Slice, title: str, alt: str, *, stamp: str = "") -> Picture:
    """Returns a plane without a map; with a stamp it says why."""
    return Picture(
        title=title,
        note=plane.name,
        alt=alt,
        base=plane.uri,
        clear=None if stamp else _clear(plane.base.shape),
        view=(plane.base.shape[1], plane.base.shape[0]),
        letters=plane.letters,
        bar=plane.bar,
        cross=plane.cross,
        through=plane.cross is not None,
        share=plane.share,
        stamp=stamp,
    )


def mapped(
    plane: Slice,
    heatmap: Heat,
    scale: Scale,
    title: str,
    alt: str,
    blend: str,
    *,
    threshold: float | None = None,
    peak: tuple[int, ...] | None = None,
) -> Picture:
    """Returns a plane with a map over it.

    Args:
        plane: from `planes_of`.
        heatmap: (*spatial) of the study, from 0 to ``scale.highest``.
        scale: of the colours.
        title: over the picture.
        alt: what it shows.
        blend: what the opacity of the map follows (`cfcam.imaging.drawing.look.BLENDS`).
        threshold: value of the outline; None for none.
        peak: index (row, column) to mark in a picture; not looked at for a volume, whose slices meet at a point.

    Raises:
        InputError: a value of the map is out of its range, or the palette is unknown.
    """
    values = plane.cut(heatmap) / np.float32(scale.highest)
    check_unit_range(values)
    height, width = values.shape
    cross = plane.cross
    if cross is None and peak is not None:
        cross = (peak[1] + 0.5) / width, (peak[0] + 0.5) / height
    return Picture(
        title=title,
        note=plane.name,
        alt=alt,
        base=plane.uri,
        heat=png(_coloured(values, plane.base.shape, scale.palette, blend)),
        outline="" if threshold is None else outline(values, threshold / scale.highest),
        view=(width, height),
        letters=plane.letters,
        bar=plane.bar,
        cross=cross,
        through=plane.cross is not None,
        share=plane.share,
        scale=scale,
    )


def outline(values: Heat, level: float) -> str:
    """Returns the SVG path around the values (rows, columns) from a level on, in pixels from the upper left corner."""
    from contourpy import contour_generator

    # a border of 0 closes outlines that run out of the picture; just under the level, as the level itself is inside
    bordered = np.pad(values.astype(np.float64), 1)
    lines = contour_generator(z=bordered).lines(float(level) * (1 - 1e-6))
    step = max(1, max(values.shape) // _MOST_POINTS)
    return "".join(_path(np.asarray(line)[:-1:step] - 0.5) for line in lines)


def gradient(palette: str, blend: str | None = None, steps: int = 16) -> str:
    """Returns the colours of a palette as stops of a CSS gradient; with a blend as opaque as a map is drawn at most."""
    places = np.linspace(0, 255, steps + 1).round().astype(int)
    stops = table(palette)[places]
    if blend is not None:
        stops = np.column_stack([stops, _alphas(blend)[places]])
    return ", ".join("#" + "".join(f"{part:02x}" for part in colour) for colour in stops.tolist())


def resampled(values: Heat, shape: tuple[int, ...]) -> Heat:
    """Returns a map (rows, columns) at the size (h, w, ...) of its picture; no value leaves the range of the map."""
    size = shape[1], shape[0]
    enlarged = PILImage.fromarray(np.ascontiguousarray(values)).resize(size, PILImage.Resampling.BILINEAR)
    return np.clip(np.asarray(enlarged), 0, 1)


def _clear(shape: tuple[int, ...]) -> str:
    return png(PILImage.new("LA", (shape[1], shape[0])))


def _coloured(values: Heat, shape: tuple[int, ...], palette: str, blend: str) -> PILImage.Image:
    """A picture with a palette, of which each colour has its opacity: a quarter of the bytes of RGBA, and exact."""
    picture = PILImage.fromarray(levels(resampled(values, shape)))
    picture.putpalette(table(palette).tobytes())
    alphas = _alphas(blend)
    if (alphas < 255).any():
        picture.info["transparency"] = alphas.tobytes()
    return picture


def _alphas(blend: str) -> NDArray[np.uint8]:
    """The opacity of each level of a map, uint8 `(256,)`; the page scales them all by the opacity that is chosen."""
    return np.rint(255 * Look(opacity=1, blend=blend).shares()).astype(np.uint8)


def _path(points: NDArray[np.float64]) -> str:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points.tolist())
    return f"M{places}Z"
