"""What every figure is made of: its measures and colours, its title, the colour bar, and the page itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from cfcam.errors import InputError
from cfcam.imaging.drawing.look import Look
from cfcam.imaging.drawing.outline import DARK, LIGHT
from cfcam.imaging.drawing.overlay import blended
from cfcam.imaging.drawing.palettes import levels, table
from cfcam.imaging.drawing.text import (
    HEAD_SIZE,
    MISSING,
    SMALL_SIZE,
    TITLE_SIZE,
    TextLine,
    line_height,
    text_width,
    wrapped_lines,
    write_texts,
)
from cfcam.imaging.drawing.visibility import note

Theme = Literal["dark", "light"]
Box = tuple[int, int, NDArray[np.uint8]]
"""A picture on a page: its top and left in pixels, and uint8 `(h, w, 3)`."""

COLORBAR_LABEL = "evidence for the class, 0 to 1 of each map's maximum"
"""What the values of a map mean, in every legend."""

GAP, MARGIN, BAR_HEIGHT = 10, 16, 9
"""Between panels, around the page, and of each half of a colour bar, in pixels."""

MID_GREY = 128
"""What the lower half of a colour bar lies over."""


@dataclass(frozen=True)
class Ink:
    """The colours of a page.

    Attributes:
        paper: of the page, RGB from 0 to 255.
        text: of names and numbers, "#rrggbb".
        faint: of what is said beside them, "#rrggbb".
    """

    paper: tuple[int, int, int]
    text: str
    faint: str


_THEMES: dict[str, Ink] = {
    "dark": Ink((18, 18, 20), "#f2f2f2", "#a8a8ad"),
    "light": Ink((255, 255, 255), "#111111", "#5c5c61"),
}


def ink_of(theme: str) -> Ink:
    """Returns the colours of a theme.

    Raises:
        InputError: it is not one of `Theme`.
    """
    if theme not in _THEMES:
        raise InputError(f"theme is {theme!r}: it must be one of {', '.join(_THEMES)}")
    return _THEMES[theme]


def fitted_picture(image_rgb: NDArray[np.uint8], panel_size: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Returns a picture at the size at which it stands on the page.

    Args:
        image_rgb: uint8 `(H, W, 3)`.
        panel_size: its longer side on the page, in pixels.

    Returns:
        uint8 `(h, w, 3)`, and (h, w).
    """
    height, width = image_rgb.shape[:2]
    scale = panel_size / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    # enlarged pixels stay visible as what they are
    filter_ = PILImage.Resampling.BOX if scale >= 2 else PILImage.Resampling.LANCZOS
    small = PILImage.fromarray(image_rgb).resize(size[::-1], filter_, reducing_gap=2.0)
    return np.asarray(small), size


def place_title(texts: list[TextLine], title: str, y: int, left: int, width: int, ink: Ink) -> int:
    """Add a title in bold, in two lines at most.

    Args:
        texts: of the page; the title is added.
        title: nothing is added where it is blank.
        y: its top, in pixels.
        left: its left, in pixels.
        width: of the page, in pixels.
        ink: of the page.

    Returns:
        The next free height, in pixels.
    """
    if not title.strip():
        return y
    for line in wrapped_lines(title, TITLE_SIZE, width - 2 * MARGIN, most=2, bold=True):
        texts.append(TextLine(left, y + line_height(TITLE_SIZE) / 2, line, TITLE_SIZE, ink.text, bold=True))
        y += line_height(TITLE_SIZE)
    return y + GAP // 2


def status_stamp(status: str, x: int, top: int, size: tuple[int, int]) -> list[TextLine]:
    """Returns what is wrong with a map, as lines in the middle of its panel.

    Args:
        status: in words.
        x: left of the panel, in pixels.
        top: of the panel, in pixels.
        size: its height and width, in pixels.
    """
    lines = wrapped_lines(status, HEAD_SIZE, max(60, size[1] - 16), most=4, bold=True)
    start = top + size[0] / 2 - (len(lines) - 1) * line_height(HEAD_SIZE) / 2
    return [
        TextLine(
            x + size[1] / 2,
            start + n * line_height(HEAD_SIZE),
            line,
            HEAD_SIZE,
            "#ffffff",
            bold=True,
            centred=True,
            box="#b21820",
        )
        for n, line in enumerate(lines)
    ]


def place_legend(
    texts: list[TextLine],
    boxes: list[Box],
    y: int,
    left: int,
    width: int,
    look: Look,
    ink: Ink,
    thresholds: Collection[float] = (),
    meaning: str = COLORBAR_LABEL,
) -> int:
    """Add the colour bar with its label beside it, or below where the page is narrow.

    Args:
        texts: of the page; the ticks and the label are added.
        boxes: of the page; the bar is added.
        y: its top, in pixels.
        left: of the bar, in pixels.
        width: of the page, in pixels.
        look: of the maps.
        ink: of the page.
        thresholds: of the outlines on the page; one that all share is marked on the bar.
        meaning: what the values of a map mean.

    Returns:
        The next free height, in pixels.
    """
    shared = {f"{one:.2g}" for one in thresholds}  # as it is told: the last digits hang on what shared a batch
    mark = min(thresholds) if len(shared) == 1 else None
    label = described_label(meaning, look, mark)
    if any(MISSING in text.line for text in texts):
        label += f"; {MISSING}: a letter that no font of this machine has"
    if look.blend == "contour":
        length, below, beside = 0, y, False
    else:
        length = 240
        beside = text_width(label, SMALL_SIZE) <= width - left - MARGIN - length - 2 * GAP
        below = place_bar(texts, boxes, y, left, length, table(look.palette), look.shares(), ink, mark)
    if beside:
        texts.append(TextLine(left + length + 2 * GAP, y + BAR_HEIGHT, label, SMALL_SIZE, ink.text))
        return below + 4
    for line in wrapped_lines(label, SMALL_SIZE, width - left - MARGIN, most=5):
        texts.append(TextLine(left, below + line_height(SMALL_SIZE) / 2, line, SMALL_SIZE, ink.text))
        below += line_height(SMALL_SIZE)
    return below + 4


def place_bar(
    texts: list[TextLine],
    boxes: list[Box],
    y: int,
    left: int,
    length: int,
    colours: NDArray[np.uint8],
    shares: NDArray[np.float64],
    ink: Ink,
    mark: float | None = None,
    ticks: tuple[str, str, str] = ("0", "0.5", "1"),
) -> int:
    """Add a colour bar in two halves, the colours above and what becomes of them over mid-grey below, with ticks.

    Args:
        texts: of the page; the ticks are added.
        boxes: of the page; the bar is added.
        y: its top, in pixels.
        left: its left, in pixels.
        length: in pixels.
        colours: of the palette, uint8 `(256, 3)`.
        shares: of each colour over a picture, `(256,)` in [0, 1].
        ink: of the page.
        mark: a value in [0, 1] to mark across the bar, in the colours of an outline.
        ticks: what stands under its beginning, middle and end.

    Returns:
        The next free height, in pixels.
    """
    entries = levels(np.linspace(0, 1, length, dtype=np.float32))
    grey = np.full((1, length, 3), MID_GREY, np.uint8)
    framed = np.empty((2 * BAR_HEIGHT + 2, length + 2, 3), dtype=np.uint8)
    framed[:] = [int(ink.faint[i : i + 2], 16) for i in (1, 3, 5)]
    framed[1 : 1 + BAR_HEIGHT, 1:-1] = colours[entries]
    framed[1 + BAR_HEIGHT : -1, 1:-1] = blended(grey, entries[None], colours, shares)
    if mark is not None:
        at = 1 + min(length - 2, max(1, round(mark * (length - 1))))
        framed[1:-1, [at - 1, at + 1]] = DARK
        framed[1:-1, at] = LIGHT
    boxes.append((y - 1, left - 1, framed))
    height = framed.shape[0] - 2
    for part, tick in zip((0.0, 0.5, 1.0), ticks, strict=True):
        half = text_width(tick, SMALL_SIZE) / 2
        x = min(max(left + part * length, left + half), left + length - half)
        texts.append(
            TextLine(x, y + height + 3 + line_height(SMALL_SIZE) / 2, tick, SMALL_SIZE, ink.text, centred=True)
        )
    return y + height + 3 + line_height(SMALL_SIZE)


def described_label(label: str, look: Look, mark: float | None = None) -> str:
    """Returns what the values mean, how they are drawn, and a warning where the palette needs one.

    Args:
        label: what the values mean.
        look: of the maps.
        mark: the threshold of all outlines; None: each map has its own.
    """
    said = [label, look.words()]
    if look.outlined:
        said.append(f"outline from {mark:.2g} on" if mark is not None else "outline from each map's own threshold on")
    if look.blend != "contour":
        said.append("lower bar: over mid-grey")
    return "; ".join(filter(None, [*said, note(look)]))


def drawn_page(height: int, width: int, ink: Ink, boxes: Iterable[Box], texts: Sequence[TextLine]) -> NDArray[np.uint8]:
    """Draw a page.

    Args:
        height: in pixels.
        width: in pixels.
        ink: its colours.
        boxes: pictures, each where it stands.
        texts: written over them.

    Returns:
        uint8 RGB `(height, width, 3)`.
    """
    page = np.empty((height, width, 3), dtype=np.uint8)
    page[:] = ink.paper
    for top, left, picture in boxes:
        page[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return write_texts(page, texts)
