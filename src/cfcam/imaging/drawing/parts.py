"""What every figure is made of: its measures and colours, its title, the colour bar, and the page itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from cfcam.errors import InputError
from cfcam.imaging.drawing.palettes import levels, note, table
from cfcam.imaging.drawing.text import (
    HEAD_SIZE,
    SMALL_SIZE,
    TITLE_SIZE,
    TextLine,
    line_height,
    text_width,
    wrapped_lines,
    write_texts,
)

Theme = Literal["dark", "light"]
Box = tuple[int, int, NDArray[np.uint8]]
"""A picture on a page: its top and left in pixels, and uint8 `(h, w, 3)`."""

COLORBAR_LABEL = "evidence for the class, 0 to 1 of each map's maximum"
"""What the values of a map mean, in every legend."""

GAP, MARGIN, BAR_HEIGHT = 10, 16, 14
"""Between panels, around the page, and of a colour bar, in pixels."""


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
    palette: str,
    opacity: float,
    ink: Ink,
) -> int:
    """Add the colour bar with its label beside it, or below where the page is narrow.

    Args:
        texts: of the page; the ticks and the label are added.
        boxes: of the page; the bar is added.
        y: its top, in pixels.
        left: of the bar, in pixels.
        width: of the page, in pixels.
        palette: as for `colorize`.
        opacity: share of a map over its picture, which the label says.
        ink: of the page.

    Returns:
        The next free height, in pixels.
    """
    label = described_label(f"{COLORBAR_LABEL} (laid over at {opacity:.0%})", palette)
    length = 240
    room = width - left - MARGIN - length - 2 * GAP
    beside = text_width(label, SMALL_SIZE) <= room
    below = place_bar(texts, boxes, y, left, length, palette, ink)
    if beside:
        texts.append(TextLine(left + length + 2 * GAP, y + BAR_HEIGHT / 2, label, SMALL_SIZE, ink.text))
        return below + 4
    for line in wrapped_lines(label, SMALL_SIZE, width - left - MARGIN, most=4):
        texts.append(TextLine(left, below + line_height(SMALL_SIZE) / 2, line, SMALL_SIZE, ink.text))
        below += line_height(SMALL_SIZE)
    return below + 4


def place_bar(
    texts: list[TextLine],
    boxes: list[Box],
    y: int,
    left: int,
    length: int,
    palette: str,
    ink: Ink,
) -> int:
    """Add a colour bar with ticks at 0, 0.5 and 1 below it.

    Args:
        texts: of the page; the ticks are added.
        boxes: of the page; the bar is added.
        y: its top, in pixels.
        left: its left, in pixels.
        length: in pixels.
        palette: as for `colorize`.
        ink: of the page.

    Returns:
        The next free height, in pixels.
    """
    ramp = table(palette)[levels(np.linspace(0, 1, length, dtype=np.float32))]
    framed = np.empty((BAR_HEIGHT + 2, length + 2, 3), dtype=np.uint8)
    framed[:] = [int(ink.faint[i : i + 2], 16) for i in (1, 3, 5)]
    framed[1:-1, 1:-1] = ramp
    boxes.append((y - 1, left - 1, framed))
    for part, tick in ((0.0, "0"), (0.5, "0.5"), (1.0, "1")):
        half = text_width(tick, SMALL_SIZE) / 2
        x = min(max(left + part * length, left + half), left + length - half)
        texts.append(
            TextLine(x, y + BAR_HEIGHT + 3 + line_height(SMALL_SIZE) / 2, tick, SMALL_SIZE, ink.text, centred=True)
        )
    return y + BAR_HEIGHT + 3 + line_height(SMALL_SIZE)


def described_label(label: str, palette: str) -> str:
    """Returns a label with a warning, where the palette's colours are not perceptually ordered."""
    return f"{label}; {warning}" if (warning := note(palette)) else label


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
