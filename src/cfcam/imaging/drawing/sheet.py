"""Contact sheets: a picture beside the maps of several methods and classes, all named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image as PILImage
from torch import Tensor

from cfcam.errors import InputError
from cfcam.imaging.drawing.look import OPACITY, Look
from cfcam.imaging.drawing.outline import boxed
from cfcam.imaging.drawing.overlay import check_rgb, overlay
from cfcam.imaging.drawing.page import Page
from cfcam.imaging.drawing.palettes import EMBER, check_unit_range, table
from cfcam.imaging.drawing.parts import (
    COLORBAR_LABEL,
    GAP,
    MARGIN,
    Box,
    Theme,
    described_label,
    drawn_page,
    fitted_picture,
    ink_of,
    place_bar,
    place_legend,
    place_title,
    status_stamp,
)
from cfcam.imaging.drawing.planes import draw_scale_bar, edge_texts
from cfcam.imaging.drawing.sides import Scale
from cfcam.imaging.drawing.text import HEAD_SIZE, SMALL_SIZE, TextLine, line_height, text_width, wrapped_lines
from cfcam.imaging.image import as_array
from cfcam.shown import answer_text

MAX_COLUMNS = 6
_CLASS_LINES = 6  # a box ends with its corners, which tell it from another


@dataclass(frozen=True, eq=False)
class Panel:
    """One map on a contact sheet.

    Attributes:
        heatmap: `(H, W)` in [0, 1] on the picture's grid, tensor or array; None where there is no map to
            show.
        method: the method's name, such as `grad-cam`.
        label: the class's name; panels of one label stand together.
        probability: of the class, in [0, 1], if known.
        status: "ok", or in words what is wrong: then that is written over the bare picture, and no map is
            drawn.
        margin: of a contrast of two classes, in the place of a probability: see `cfcam.Explanation.margin`.
        threshold: of the map's outline, in (0, 1]; None: by Otsu.
        box: of a detector, which is explained: corners x0, y0, x1, y1 in pixels of the picture; None: there is none.

    Raises:
        InputError: the status is "ok", but there is no map.
    """

    heatmap: Tensor | ArrayLike | None
    method: str
    label: str
    probability: float | None = None
    status: str = "ok"
    margin: float | None = None
    threshold: float | None = None
    box: tuple[float, float, float, float] | None = None

    @property
    def answer(self) -> str:
        """What stands beside the class: its probability, of a contrast its margin; "" if neither is known."""
        return answer_text(self.probability, self.margin)

    def __post_init__(self) -> None:
        if self.heatmap is None and self.status == "ok":
            raise InputError(f"panel {self.method!r}, {self.label!r}: the status is 'ok', but there is no map")


def contact_sheet(
    image_rgb: NDArray[np.uint8],
    panels: Sequence[Panel],
    *,
    title: str = "",
    footer: str = "research use only",
    palette: str = EMBER,
    opacity: float = OPACITY,
    blend: str = "value",
    columns: int = MAX_COLUMNS,
    panel_size: int = 320,
    theme: Theme = "dark",
    letters: tuple[str, str, str, str] | None = None,
    scale: Scale | None = None,
) -> NDArray[np.uint8]:
    """Draw a picture and its maps side by side.

    The bare picture stands once, at the top left. Right of it each class has a row of its own (or several, if it has
    more panels than there are columns). Over each panel stand the method, the class and its probability. Below are the
    colour bar and the footer. Names that are too long are broken or shortened with "…"; a "$" is a dollar.

    Args:
        image_rgb: the picture, uint8 `(H, W, 3)`.
        panels: the maps, in the order in which they are to stand.
        title: a line over the sheet, such as the file's name.
        footer: a small line under the sheet, such as the layer and the network.
        palette: as for `colorize`.
        opacity: as for `overlay`.
        blend: likewise.
        columns: the most pictures in a row, the bare one included; from 2 to 6.
        panel_size: the longer side of each picture on the sheet in pixels, at least 96.
        theme: "dark" (for the screen of a reading room) or "light" (for paper).
        letters: directions at the left, right, top and bottom edge of the picture, written into each panel; None where
            its source does not state them.
        scale: how large the picture is (`scale_of`), for a scale bar in each panel; None where it is not known.

    Returns:
        uint8 RGB `(sheet height, sheet width, 3)`.

    Raises:
        InputError: no panels, a map of another size than the picture, or a value out of its range.
    """
    return contact_page(
        image_rgb,
        panels,
        title=title,
        footer=footer,
        palette=palette,
        opacity=opacity,
        blend=blend,
        columns=columns,
        panel_size=panel_size,
        theme=theme,
        letters=letters,
        scale=scale,
    ).drawn()


def contact_page(
    image_rgb: NDArray[np.uint8],
    panels: Sequence[Panel],
    *,
    title: str = "",
    footer: str = "research use only",
    palette: str = EMBER,
    opacity: float = OPACITY,
    blend: str = "value",
    columns: int = MAX_COLUMNS,
    panel_size: int = 320,
    theme: Theme = "dark",
    letters: tuple[str, str, str, str] | None = None,
    scale: Scale | None = None,
    meaning: str = COLORBAR_LABEL,
) -> Page:
    """Returns what `contact_sheet` draws before it is pixels, so that its letters can stay letters in a file.

    ``meaning`` is what the legend says of the values of the maps.
    """
    check_rgb(image_rgb)
    if not panels:
        raise InputError("a contact sheet needs at least one panel")
    if not 2 <= columns <= MAX_COLUMNS:
        raise InputError(f"columns is {columns}: it must lie between 2 and {MAX_COLUMNS}")
    if panel_size < 96:
        raise InputError(f"panel_size is {panel_size}: names cannot be read under 96 pixels")
    ink, look, thresholds = ink_of(theme), Look(palette, opacity, blend), list[float]()
    look.check()
    picture, size = fitted_picture(image_rgb, panel_size)

    rows: list[list[Panel | None]] = [row for of_class in panels_by_label(panels) for row in _rows(of_class, columns)]
    rows[0] = [None, *rows[0]]
    wide = max(len(rows[0]), *(1 + len(row) for row in rows[1:]), 2)
    cell = max(size[1], 140)
    width = max(2 * MARGIN + wide * cell + (wide - 1) * GAP, 420)
    left = (width - wide * cell - (wide - 1) * GAP) // 2
    texts: list[TextLine] = []
    boxes: list[Box] = []

    y = place_title(texts, title, MARGIN, left, width, ink)
    for number_of_row, row in enumerate(rows):
        first = int(number_of_row > 0)  # under the picture nothing stands
        captions = [_caption(panel, cell) for panel in row]
        # every caption stands directly on its picture
        height = max(len(names) for names in captions) * line_height(HEAD_SIZE)
        for number, (panel, names) in enumerate(zip(row, captions, strict=True), first):
            x = left + number * (cell + GAP)
            top = y + height - len(names) * line_height(HEAD_SIZE)
            for n, name in enumerate(names):
                colour, middle = (ink.faint if n else ink.text), top + (n + 0.5) * line_height(HEAD_SIZE)
                texts.append(TextLine(x, middle, name, HEAD_SIZE, colour, bold=n == 0))
            drawn = _drawn(picture, panel, image_rgb.shape[:2], look, thresholds)
            if scale is not None:
                drawn = drawn.copy()
                bar = draw_scale_bar(drawn, size[1] / scale.width, scale.words)
                texts += [text.moved(x, y + height + 3) for text in bar]
            boxes.append((y + height + 3, x, drawn))
            if letters is not None:
                texts += [text.moved(x, y + height + 3) for text in edge_texts(letters, picture)]
            if panel is not None and panel.status != "ok":
                texts += status_stamp(panel.status, x, y + height + 3, size)
        y += height + 3 + size[0] + GAP + 4
    y = place_legend(texts, boxes, y, left, width, look, ink, thresholds, meaning)
    told = "" if scale is None or not scale.words else f"mm {scale.words}"
    for line in wrapped_lines(" · ".join(filter(None, [footer, told])), SMALL_SIZE, width - 2 * MARGIN, most=5):
        texts.append(TextLine(left, y + line_height(SMALL_SIZE) / 2, line, SMALL_SIZE, ink.faint))
        y += line_height(SMALL_SIZE)

    return Page(y + MARGIN - 4, width, ink, boxes, texts)


def colorbar(
    palette: str = EMBER,
    *,
    width: int = 420,
    label: str = COLORBAR_LABEL,
    theme: Theme = "light",
    opacity: float = OPACITY,
    blend: str = "value",
    threshold: float | None = None,
) -> NDArray[np.uint8]:
    """Draw a horizontal colour bar with ticks at 0, 0.5 and 1 and its label below.

    The upper half has the palette's colours, the lower half what becomes of them over mid-grey (128).

    Args:
        palette: as for `colorize`; what is wrong with it (`cfcam.imaging.drawing.visibility`), the label says.
        width: in pixels, at least 96.
        label: what the values mean; broken into lines.
        theme: "dark" or "light" paper.
        opacity: as for `overlay`.
        blend: likewise.
        threshold: a value to mark, of the maps' outline; None for none.

    Returns:
        uint8 RGB `(height, width, 3)`; the height follows from the label.

    Raises:
        InputError: an unknown palette, or too little width.
    """
    if width < 96:
        raise InputError(f"width is {width}: the ticks of a colour bar need at least 96 pixels")
    ink = ink_of(theme)
    texts: list[TextLine] = []
    boxes: list[Box] = []
    look = Look(palette, opacity, blend)
    look.check()
    lines = wrapped_lines(described_label(label, look, threshold), SMALL_SIZE, width - 2 * MARGIN, most=6)
    y = place_bar(texts, boxes, GAP, MARGIN, width - 2 * MARGIN, table(palette), look.shares(), ink, threshold)
    for line in lines:
        texts.append(TextLine(MARGIN, y + line_height(SMALL_SIZE) / 2, line, SMALL_SIZE, ink.text))
        y += line_height(SMALL_SIZE)
    return drawn_page(y + GAP, width, ink, boxes, texts)


def panels_by_label(panels: Sequence[Panel]) -> list[list[Panel]]:
    """Return the panels of each class, in the order in which the classes first come."""
    classes: dict[str, list[Panel]] = {}
    for panel in panels:
        classes.setdefault(panel.label, []).append(panel)
    return list(classes.values())


def _rows(panels: list[Panel], columns: int) -> list[list[Panel | None]]:
    """Break the panels of one class into rows of about equal length, beside a column for the bare picture."""
    needed = -(-len(panels) // (columns - 1))
    length = -(-len(panels) // needed)
    return [[*panels[start : start + length]] for start in range(0, len(panels), length)]


def _caption(panel: Panel | None, width: int) -> list[str]:
    if panel is None:
        return ["original"]
    names = wrapped_lines(panel.method, HEAD_SIZE, width, most=1, bold=True)
    tail = f" {panel.answer}" if panel.answer else ""
    label = wrapped_lines(panel.label, HEAD_SIZE, width - round(text_width(tail, HEAD_SIZE)), most=_CLASS_LINES)
    if tail:
        label = [*label[:-1], f"{label[-1]}{tail}"] if label else [tail.strip()]
    return names + label


def _drawn(
    picture: NDArray[np.uint8], panel: Panel | None, shape: tuple[int, ...], look: Look, thresholds: list[float]
) -> NDArray[np.uint8]:
    if panel is None:
        return picture
    if panel.heatmap is not None:
        values = as_array(panel.heatmap)
        if values.shape != shape:
            raise InputError(
                f"panel {panel.method!r}, {panel.label!r}: its map of shape {values.shape} does not fit the "
                f"picture of {shape}; bring it onto the picture's grid first (Preprocess.to_original)"
            )
    down, across = picture.shape[0] / shape[0], picture.shape[1] / shape[1]
    box = panel.box and (panel.box[0] * across, panel.box[1] * down, panel.box[2] * across, panel.box[3] * down)
    if panel.status != "ok":
        return boxed((picture * np.float32(0.45)).astype(np.uint8), box)
    check_unit_range(values)  # all of them, before they are thinned out and blurred
    height, width = picture.shape[:2]
    step = max(1, min(values.shape[0] // (2 * height), values.shape[1] // (2 * width)))
    thinned = np.ascontiguousarray(values[step // 2 :: step, step // 2 :: step])
    small = PILImage.fromarray(thinned).resize((width, height), PILImage.Resampling.BILINEAR)
    level = look.threshold(values, "otsu" if panel.threshold is None else panel.threshold)
    thresholds += [] if level is None else [level]
    return boxed(overlay(picture, np.clip(np.asarray(small), 0, 1), **look._asdict(), threshold=level), box)
