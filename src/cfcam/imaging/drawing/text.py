"""Letters of a figure or on a picture: how wide they are, where a line breaks, how they are written onto the page.

All in the font that matplotlib brings along; characters that it lacks come from the East Asian fonts of the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFont

if TYPE_CHECKING:
    from matplotlib.font_manager import FontProperties
    from matplotlib.text import Text
    from matplotlib.transforms import Transform

TITLE_SIZE, HEAD_SIZE, SMALL_SIZE = 18, 14, 12
"""Heights of letters, in pixels."""

MISSING = "□"
"""What stands for a character that no font here has."""

_LEADING = 1.4
_DPI = 100
_DOTS_PER_POINT = _DPI / 72
_EAST_ASIAN = (
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans", "WenQuanYi Zen Hei",
    "PingFang SC",
    "Microsoft YaHei", "Hiragino Sans", "Yu Gothic", "Malgun Gothic", "Arial Unicode MS",
)  # fmt: skip


@dataclass(frozen=True)
class TextLine:
    """A line of text on a page or in a picture of it.

    Attributes:
        x: its left, or its centre if it is `centred`, in pixels from the left.
        y: its middle, in pixels from the top.
        line: what is written.
        size: height of its letters in pixels.
        colour: "#rrggbb".
        bold: whether it is set in bold.
        centred: whether `x` is its centre.
        box: colour behind it, "#rrggbb" or "#rrggbbaa"; None: nothing.
    """

    x: float
    y: float
    line: str
    size: int
    colour: str
    bold: bool = False
    centred: bool = False
    box: str | None = None

    def moved(self, x: int, y: int) -> TextLine:
        """Returns the same line, so many pixels further right and down."""
        return replace(self, x=self.x + x, y=self.y + y)


def line_height(size: int) -> int:
    """Returns the height of a line with its leading, in pixels, for letters of a height in pixels."""
    return round(size * _LEADING)


def wrapped_lines(text: str, size: int, width: float, *, most: int, bold: bool = False) -> list[str]:
    """Break a text at spaces and signs, at worst inside a word; cut it with "…" after the last line allowed.

    Args:
        text: its white space counts as single spaces; characters that no font here has become "□".
        size: height of its letters in pixels.
        width: of a line, in pixels.
        most: how many lines.
        bold: whether it is set in bold.

    Returns:
        The lines, none for an empty text.
    """
    rest = _drawable(text)
    lines: list[str] = []
    while rest and len(lines) < most:
        fits = _fitting(rest, size, width, bold)
        if fits < len(rest):
            if len(lines) == most - 1:
                shortened = max(1, _fitting(rest, size, width - text_width("…", size, bold), bold))
                lines.append(rest[:shortened].rstrip() + "…")
                break
            breaks = [i for i in range(1, fits + 1) if rest[i - 1] in " ,_-/" or rest[i] == " "]
            fits = breaks[-1] if breaks and breaks[-1] > fits // 3 else max(1, fits)
        lines.append(rest[:fits].rstrip())
        rest = rest[fits:].lstrip()
    return lines


@lru_cache(maxsize=4096)
def text_width(text: str, size: int, bold: bool = False) -> float:
    """Returns the width of a line as it will be drawn, in pixels, for letters of a height in pixels."""
    from matplotlib.backends.backend_agg import RendererAgg

    properties = _properties(_families(), size / _DOTS_PER_POINT, bold)
    renderer = RendererAgg(1, 1, _DPI)  # type: ignore[no-untyped-call]
    extent = renderer.get_text_width_height_descent(text, properties, ismath=False)  # type: ignore[no-untyped-call]
    return float(extent[0])


def write_texts(sheet: NDArray[np.uint8], texts: Sequence[TextLine]) -> NDArray[np.uint8]:
    """Write lines onto a page.

    Args:
        sheet: uint8 `(height, width, 3)`; it is changed.
        texts: in pixels from its top left.

    Returns:
        The same array.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = sheet.shape[:2]
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, frameon=False)
    canvas = FigureCanvasAgg(figure)
    for text in texts:
        figure.add_artist(text_artist(text, height, points=text.size / _DOTS_PER_POINT))
    canvas.draw()  # type: ignore[no-untyped-call]
    layer = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    alpha = layer[..., 3:].astype(np.uint16)
    inked = alpha[..., 0].any(axis=1)  # most rows hold no text
    under = sheet[inked].astype(np.uint16)
    over, share = layer[inked, :, :3].astype(np.uint16), alpha[inked]
    sheet[inked] = ((over * share + under * (255 - share) + 127) // 255).astype(np.uint8)
    return sheet


def text_artist(text: TextLine, height: int, *, points: float, transform: Transform | None = None) -> Text:
    """Returns a line as matplotlib draws it.

    Args:
        text: in pixels from the top left of its page.
        height: of the page, in pixels.
        points: size of the letters.
        transform: from pixels to those of the figure; None: they are the same.
    """
    from matplotlib.text import Text

    return Text(
        text.x,
        height - text.y,
        text.line,
        color=text.colour,
        fontproperties=_properties(_families(), points, text.bold),
        horizontalalignment="center" if text.centred else "left",
        verticalalignment="center_baseline",
        bbox={"boxstyle": "square,pad=0.25", "facecolor": text.box, "linewidth": 0} if text.box else None,
        parse_math=False,
        usetex=False,
        transform=transform,
    )


def _fitting(text: str, size: int, width: float, bold: bool) -> int:
    """How many leading characters fit into the width."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if text_width(text[:middle], size, bold) <= width else (low, middle - 1)
    return low


def _drawable(text: str) -> str:
    """One line, in which characters that no font here has are "□" rather than a warning."""
    known: frozenset[int] = frozenset().union(*(_characters(path) for path in _font_files(False)))
    return "".join(c if ord(c) in known else MISSING for c in " ".join(text[:2000].split()))


@cache
def _characters(path: str) -> frozenset[int]:
    from matplotlib.font_manager import get_font

    return frozenset(get_font(path).get_charmap())


@cache
def _families() -> tuple[str, ...]:
    """The font that matplotlib brings along, then what this machine has for East Asian scripts."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return ("DejaVu Sans", *(name for name in _EAST_ASIAN if name in installed))


@cache
def _font_files(bold: bool) -> tuple[str, ...]:
    from matplotlib.font_manager import fontManager

    return tuple(
        str(fontManager.findfont(_properties(family, 10, bold), fallback_to_default=True)) for family in _families()
    )


def _properties(family: str | tuple[str, ...], size: float, bold: bool) -> FontProperties:
    from matplotlib.font_manager import FontProperties

    # all spelt out, so that nothing is taken from the user's rcParams
    return FontProperties(
        family=[family] if isinstance(family, str) else list(family),
        style="normal",
        variant="normal",
        weight="bold" if bold else "normal",
        stretch="normal",
        size=size,
    )


def fitted_lines(text: str, width: int, height: int) -> tuple[list[str], ImageFont.FreeTypeFont, int]:
    """Break a text into lines on a picture, as large as fits: from a 32nd of its longer side down to 9 pixels.

    Args:
        text: words between single spaces.
        width: of the picture, in pixels.
        height: of the picture, in pixels.

    Returns:
        The lines, the font that they are drawn in, and the height of a line in pixels.
    """
    largest = max(9, min(round(max(height, width) / 32), height // 3))
    for size in sorted({*range(9, largest, max(1, largest // 12)), largest}, reverse=True):
        font = bold_font(size)
        lines = _wrap(text, font, 0.94 * width)
        line_height = round(1.3 * size)
        if size == 9 or (
            all(font.getlength(line) <= 0.94 * width for line in lines) and len(lines) * line_height <= height / 3
        ):
            break
    return lines, font, line_height


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if not lines[-1] or font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def bold_font(size: int) -> ImageFont.FreeTypeFont:
    """Returns the bold letters that matplotlib brings along, for drawing into pictures, so many pixels high."""
    from matplotlib import get_data_path

    return ImageFont.truetype(str(Path(get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf")), size)
