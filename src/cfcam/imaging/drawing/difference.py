"""Two studies side by side: both images, both maps on one scale, their signed difference, and a table of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image as PILImage
from torch import Tensor

from cfcam.errors import InputError
from cfcam.imaging.drawing.look import OPACITY, Look
from cfcam.imaging.drawing.outline import DARK, LIGHT, border
from cfcam.imaging.drawing.overlay import check_rgb, overlay
from cfcam.imaging.drawing.palettes import EMBER, check_unit_range, table
from cfcam.imaging.drawing.parts import (
    GAP,
    MARGIN,
    Box,
    Ink,
    Theme,
    described_label,
    drawn_page,
    fitted_picture,
    ink_of,
    place_bar,
)
from cfcam.imaging.drawing.planes import (
    NORMAL_AXIS,
    PLANES,
    VolumeView,
    as_ras,
    cut_plane,
    draw_scale_bar,
    edge_texts,
    peak_voxel,
    view_notes,
)
from cfcam.imaging.drawing.sides import Letters, Scale
from cfcam.imaging.drawing.signed import (
    DIFFERENCE_OPACITY,
    DIFFERENCE_PALETTE,
    difference_overlay,
    difference_shares,
)
from cfcam.imaging.drawing.text import (
    HEAD_SIZE,
    SMALL_SIZE,
    TITLE_SIZE,
    TextLine,
    line_height,
    text_width,
    wrapped_lines,
)
from cfcam.imaging.image import as_array
from cfcam.imaging.volume import Volume

_COLUMNS = ("prior", "current, registered", "prior map", "current map", "difference: current − prior")
_SCALE_LABEL = "evidence for the class, as a share of the one scale of both maps"
_DIFFERENCE_LABEL = (
    "difference on that scale, over the prior image: purple less, orange more than before; opacity grows with it, up to"
    f" {DIFFERENCE_OPACITY:.0%}; outlines: prior solid, current dashed; hatched: not compared"
)
_DASH, _HATCH = 4, 8
_UNSEEN, _HATCHED = (222, 222, 222), (170, 170, 170)
_FILTER = PILImage.Resampling.BILINEAR


@dataclass(frozen=True, eq=False)
class Scene:
    """One view of a comparison, ready for the page.

    Attributes:
        prior: the prior image, uint8 `(h, w, 3)`.
        current: the current one, registered, of the same size.
        prior_heat: `(h, w)` in [0, 1], on the common scale.
        current_heat: likewise.
        difference: `(h, w)` in [-1, 1].
        seen: `(h, w)`, where both studies were compared.
        name: such as "axial"; empty for a picture.
        texts: what is written into the two images without a map.
        scale: pixels in a millimetre, for their scale bar; None: it is not known.
        words: what the bar says of them, such as "at the detector".
    """

    prior: NDArray[np.uint8]
    current: NDArray[np.uint8]
    prior_heat: NDArray[np.float32]
    current_heat: NDArray[np.float32]
    difference: NDArray[np.float32]
    seen: NDArray[np.bool_]
    name: str = ""
    texts: tuple[TextLine, ...] = ()
    scale: float | None = None
    words: str = ""


@dataclass(frozen=True)
class Table:
    """Numbers under the pictures.

    Attributes:
        headings: one a column.
        rows: as many cells each.
        marked: the rows that are set in bold.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: Sequence[bool]


def picture_scene(
    prior: NDArray[np.uint8],
    current: NDArray[np.uint8],
    heats: tuple[Tensor | ArrayLike, Tensor | ArrayLike],
    *,
    seen: NDArray[np.bool_] | None = None,
    panel_size: int = 260,
    letters: Letters | None = None,
    scale: Scale | None = None,
) -> Scene:
    """Prepare two pictures of one grid and their maps for the page.

    Args:
        prior: uint8 `(H, W, 3)`.
        current: the registered one, of the same size.
        heats: prior and current map, `(H, W)` in [0, 1] on the common scale.
        seen: `(H, W)`, where both studies were compared; None: everywhere.
        panel_size: the longer side on the page, in pixels.
        letters: directions at the left, right, top and bottom edge; None where the prior's source does not state them.
        scale: how large the prior is (`scale_of`); None where it is not known.

    Raises:
        InputError: sizes differ, or a value is out of its range.
    """
    check_rgb(prior)
    check_rgb(current)
    maps = [as_array(heat) for heat in heats]
    if {prior.shape[:2], current.shape[:2], *(values.shape for values in maps)} != {prior.shape[:2]}:
        raise InputError(
            f"images of {prior.shape[:2]} and {current.shape[:2]} with maps of {maps[0].shape} and {maps[1].shape}:"
            " bring all onto the prior's grid first"
        )
    for values in maps:
        check_unit_range(values)
    small, size = fitted_picture(prior, panel_size)
    here, there = (_resized(values, size) for values in maps)
    texts = () if letters is None else edge_texts(letters, small)
    after = fitted_picture(current, panel_size)[0]
    bar: dict[str, Any] = {} if scale is None else {"scale": size[1] / scale.width, "words": scale.words}
    return Scene(small, after, here, there, there - here, _kept(seen, size), texts=texts, **bar)


def volume_scenes(
    volume: Volume,
    current: NDArray[np.float32],
    heats: tuple[Tensor | ArrayLike, Tensor | ArrayLike],
    *,
    seen: NDArray[np.bool_] | None = None,
    window: str | tuple[float, float] | None = None,
    panel_size: int = 260,
) -> tuple[list[Scene], list[str]]:
    """Prepare three orthogonal slices of two volumes, through the greatest difference of their maps.

    Args:
        volume: the prior.
        current: `(D, H, W)` voxels of the current volume on the prior's grid.
        heats: prior and current map, `(D, H, W)` in [0, 1] on the common scale.
        seen: `(D, H, W)`, where both studies were compared; None: everywhere.
        window: grey values of both; None: the prior's own.
        panel_size: the longest side of the volume on the page, in pixels.

    Returns:
        A scene for each plane, and notes that belong under them.

    Raises:
        InputError: sizes differ, or a value is out of its range.
    """
    view = VolumeView.of(volume, window)
    here, there = (view.heat(heat) for heat in heats)
    if current.shape != volume.size:
        raise InputError(f"a current volume of {current.shape} for a prior of {volume.size}: bring it onto its grid")
    later = as_ras(current, view.order, view.flips)
    compared = None if seen is None else as_ras(seen.astype(np.float32), view.order, view.flips)
    difference = there - here
    apart = np.abs(difference)
    index = peak_voxel(apart if apart.any() else np.maximum(here, there))
    scale = view.scale(panel_size)
    scenes = []
    for plane in PLANES:
        axis = NORMAL_AXIS[plane]
        size = view.size(plane, scale)[::-1]
        bare = view.picture(plane, index[axis], scale)
        after = view.drawn(cut_plane(later, axis, index[axis]), plane, scale, view.window, view.function)
        first, second = (
            _resized(np.ascontiguousarray(cut_plane(values, axis, index[axis])[::-1, ::-1].T), size)
            for values in (here, there)
        )
        inside = None if compared is None else cut_plane(compared, axis, index[axis])[::-1, ::-1].T > 0
        name = f"{view.name(plane)} {view.where(plane, index)}"
        letters = edge_texts(view.letters(plane), bare)
        scenes.append(Scene(bare, after, first, second, second - first, _kept(inside, size), name, letters, scale))
    where = "greatest difference of the maps" if apart.any() else "peak of the maps"
    return scenes, [f"slices through the {where}", *view_notes(view)]


def comparison_figure(
    scenes: Sequence[Scene],
    numbers: Table,
    *,
    title: str,
    statement: str,
    verdict: str = "",
    notes: Sequence[str] = (),
    threshold: float = 0.5,
    palette: str = EMBER,
    opacity: float = OPACITY,
    blend: str = "value",
    theme: Theme = "light",
) -> NDArray[np.uint8]:
    """Draw a comparison.

    Maps share one scale and carry an outline at the threshold. The difference lies over the prior image, the more
    opaque the greater it is; over it stand both outlines, that of the prior map solid, that of the current one dashed.

    Args:
        scenes: from `picture_scene` or `volume_scenes`.
        numbers: the table.
        title: a line above.
        statement: the sentence that stands under every comparison, in bold.
        verdict: of all numbers, in bold under the title.
        notes: small lines at the end.
        threshold: of the contours, on the common scale.
        palette: of the maps.
        opacity: as for `overlay`.
        blend: likewise.
        theme: "light" or "dark".

    Returns:
        uint8 RGB `(height, width, 3)`.

    Raises:
        InputError: no scene, or a table whose rows do not fit its headings.
    """
    if not scenes or any(len(row) != len(numbers.headings) for row in numbers.rows):
        raise InputError("a comparison needs a scene, and a table with a cell for each heading in every row")
    ink, look = ink_of(theme), Look(palette, opacity, blend)
    look.check()
    cell = max(max(scene.prior.shape[1] for scene in scenes), 190)
    width = 2 * MARGIN + len(_COLUMNS) * cell + (len(_COLUMNS) - 1) * GAP
    page = _Page(width, ink)
    page.text(title, TITLE_SIZE, bold=True)
    page.text(verdict, HEAD_SIZE, bold=True)
    page.y += GAP // 2
    for scene in scenes:
        panels = _panels(scene, threshold, look)
        for n, (name, panel) in enumerate(zip(_COLUMNS, panels, strict=True)):
            x = MARGIN + n * (cell + GAP)
            caption = f"{name} · {scene.name}" if scene.name and not n else name
            page.texts.append(
                TextLine(x, page.y + line_height(HEAD_SIZE) / 2, caption, HEAD_SIZE, ink.text, bold=scene is scenes[0])
            )
            top = page.y + line_height(HEAD_SIZE) + 3
            if n < 2:
                panel = panel.copy()  # the maps lie on the images without a bar
                bar = () if scene.scale is None else draw_scale_bar(panel, scene.scale, scene.words)
                page.texts += [text.moved(x, top) for text in (*scene.texts, *bar)]
            page.boxes.append((top, x, panel))
        page.y += line_height(HEAD_SIZE) + 3 + scene.prior.shape[0] + GAP
    page.bars(look, threshold)
    page.table(numbers)
    page.text(statement, HEAD_SIZE, bold=True)
    for line in notes:
        page.text(line, SMALL_SIZE, faint=True)
    return page.drawn()


class _Page:
    """A page that grows downwards."""

    def __init__(self, width: int, ink: Ink) -> None:
        self.width, self.ink, self.y = width, ink, MARGIN
        self.texts: list[TextLine] = []
        self.boxes: list[Box] = []

    def text(self, text: str, size: int, *, bold: bool = False, faint: bool = False) -> None:
        colour = self.ink.faint if faint else self.ink.text
        for line in wrapped_lines(text, size, self.width - 2 * MARGIN, most=3, bold=bold):
            self.texts.append(TextLine(MARGIN, self.y + line_height(size) / 2, line, size, colour, bold=bold))
            self.y += line_height(size)

    def bars(self, look: Look, threshold: float) -> None:
        """Both colour bars, side by side."""
        half = (self.width - 2 * MARGIN - 2 * GAP) // 2
        length, below = min(320, half), self.y
        for n, words in enumerate((described_label(_SCALE_LABEL, look, threshold), _DIFFERENCE_LABEL)):
            x, y = MARGIN + n * (half + 2 * GAP), self.y
            place = self.texts, self.boxes, y, x, length
            if n:
                signed, ticks = table(DIFFERENCE_PALETTE), ("−1", "0", "+1")
                y = place_bar(*place, signed, difference_shares(), self.ink, ticks=ticks)
            elif look.blend != "contour":
                y = place_bar(
                    *place, table(look.palette), look.shares(), self.ink, threshold if look.outlined else None
                )
            for line in wrapped_lines(words, SMALL_SIZE, half, most=4):
                self.texts.append(TextLine(x, y + line_height(SMALL_SIZE) / 2, line, SMALL_SIZE, self.ink.text))
                y += line_height(SMALL_SIZE)
            below = max(below, y)
        self.y = below + GAP

    def table(self, numbers: Table) -> None:
        """Columns as wide as their widest cell."""
        rows = [numbers.headings, *numbers.rows]
        marked = [True, *numbers.marked]
        widths = [max(text_width(row[n], HEAD_SIZE, True) for row in rows) for n in range(len(numbers.headings))]
        for row, bold in zip(rows, marked, strict=True):
            x = float(MARGIN)
            for text, wide in zip(row, widths, strict=True):
                self.texts.append(
                    TextLine(x, self.y + line_height(HEAD_SIZE) / 2, text, HEAD_SIZE, self.ink.text, bold=bold)
                )
                x += wide + 2.4 * GAP
            self.y += line_height(HEAD_SIZE) + 2
            if row is numbers.headings:
                rule = np.full((1, self.width - 2 * MARGIN, 3), 150, dtype=np.uint8)
                self.boxes.append((self.y - 1, MARGIN, rule))
        self.y += GAP

    def drawn(self) -> NDArray[np.uint8]:
        return drawn_page(self.y + MARGIN - 4, self.width, self.ink, self.boxes, self.texts)


def _panels(scene: Scene, threshold: float, look: Look) -> list[NDArray[np.uint8]]:
    maps = [
        overlay(image, heat, **look._asdict(), threshold=threshold)
        for image, heat in ((scene.prior, scene.prior_heat), (scene.current, scene.current_heat))
    ]
    difference = difference_overlay(scene.prior, scene.difference)
    rows, columns = np.indices(scene.seen.shape)
    difference[~scene.seen] = _UNSEEN
    difference[~scene.seen & ((rows + columns) % _HATCH < 2)] = _HATCHED
    drawn = (rows + columns) // _DASH % 2 == 0
    for heat, where in ((scene.prior_heat, np.ones_like(drawn)), (scene.current_heat, drawn)):
        light, dark = border(heat >= threshold)
        difference[dark & where] = DARK
        difference[light & where] = LIGHT
    return [scene.prior, scene.current, *maps, _framed(difference)]


def _kept(seen: NDArray[np.bool_] | None, size: tuple[int, int]) -> NDArray[np.bool_]:
    if seen is None:
        return np.ones(size, dtype=bool)
    kept: NDArray[np.bool_] = _resized(seen.astype(np.float32), size) >= 0.5
    return kept


def _framed(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """With a thin line around, for white on white has no border."""
    for side in (picture[0], picture[-1], picture[:, 0], picture[:, -1]):
        side[:] = 150
    return picture


def _resized(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """A map (H, W) at the size (h, w) of a panel."""
    small = PILImage.fromarray(np.ascontiguousarray(values, dtype=np.float32)).resize(size[::-1], _FILTER)
    found: NDArray[np.float32] = np.clip(np.asarray(small), 0, 1)
    return found
