"""Contact sheets: a picture beside the maps of several methods and classes, all named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image as PILImage
from torch import Tensor

from cfcam.errors import InputError
from cfcam.imaging.overlay import check_rgb, overlay
from cfcam.imaging.palettes import as_array, check_unit_range, levels, note, table

if TYPE_CHECKING:
    from matplotlib.font_manager import FontProperties

Theme = Literal["dark", "light"]

MAX_COLUMNS = 6
COLORBAR_LABEL = "evidence for the class, 0 to 1 of each map's maximum"

_GAP, _MARGIN, _BAR = 10, 16, 14
_TITLE, _HEAD, _SMALL = 18, 14, 12  # heights of letters, in pixels
_LEADING = 1.4
_DPI = 100
_DOTS_PER_POINT = _DPI / 72
_CLASS_LINES = 2
_EAST_ASIAN = (
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans", "WenQuanYi Zen Hei",
    "PingFang SC",
    "Microsoft YaHei", "Hiragino Sans", "Yu Gothic", "Malgun Gothic", "Arial Unicode MS",
)  # fmt: skip


@dataclass(frozen=True)
class _Ink:
    paper: tuple[int, int, int]
    text: str
    faint: str


_THEMES: dict[str, _Ink] = {
    "dark": _Ink((18, 18, 20), "#f2f2f2", "#a8a8ad"),
    "light": _Ink((255, 255, 255), "#111111", "#5c5c61"),
}


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

    Raises:
        InputError: the status is "ok", but there is no map.
    """

    heatmap: Tensor | ArrayLike | None
    method: str
    label: str
    probability: float | None = None
    status: str = "ok"

    def __post_init__(self) -> None:
        if self.heatmap is None and self.status == "ok":
            raise InputError(f"panel {self.method!r}, {self.label!r}: the status is 'ok', but there is no map")


@dataclass(frozen=True)
class _Text:
    """A line of text: `x` its left or its centre, `y` its middle, in pixels from the sheet's top left."""

    x: float
    y: float
    line: str
    size: int
    colour: str
    bold: bool = False
    centred: bool = False
    box: str | None = None


def contact_sheet(
    image_rgb: NDArray[np.uint8],
    panels: Sequence[Panel],
    *,
    title: str = "",
    footer: str = "research use only",
    palette: str = "inferno",
    opacity: float = 0.4,
    columns: int = MAX_COLUMNS,
    panel_size: int = 320,
    theme: Theme = "dark",
) -> NDArray[np.uint8]:
    """Draw a picture and its maps side by side.

    Each class has a row of its own (or several, if it has more panels than there are columns) that begins
    with the bare picture. Over each panel stand the method, the class and its probability. Below are the
    colour bar and the footer. Names that are too long are broken or shortened with "…"; a "$" is a dollar.

    Args:
        image_rgb: the picture, uint8 `(H, W, 3)`.
        panels: the maps, in the order in which they are to stand.
        title: a line over the sheet, such as the file's name.
        footer: a small line under the sheet, such as the layer and the network.
        palette: as for `colorize`.
        opacity: as for `overlay`.
        columns: the most pictures in a row, the bare one included; from 2 to 6.
        panel_size: the longer side of each picture on the sheet in pixels, at least 96.
        theme: "dark" (for the screen of a reading room) or "light" (for paper).

    Returns:
        uint8 RGB `(sheet height, sheet width, 3)`.

    Raises:
        InputError: no panels, a map of another size than the picture, or a value out of its range.
    """
    check_rgb(image_rgb)
    if not panels:
        raise InputError("a contact sheet needs at least one panel")
    if not 2 <= columns <= MAX_COLUMNS:
        raise InputError(f"columns is {columns}: it must lie between 2 and {MAX_COLUMNS}")
    if panel_size < 96:
        raise InputError(f"panel_size is {panel_size}: names cannot be read under 96 pixels")
    ink = _theme(theme)
    picture, size = _fitted(image_rgb, panel_size)

    rows = [row for of_class in _by_label(panels) for row in _rows(of_class, columns)]
    wide = max(map(len, rows))
    cell = max(size[1], 140)
    width = max(2 * _MARGIN + wide * cell + (wide - 1) * _GAP, 420)
    left = (width - wide * cell - (wide - 1) * _GAP) // 2
    texts: list[_Text] = []
    boxes: list[tuple[int, int, NDArray[np.uint8]]] = []

    y = _MARGIN
    if title.strip():
        for line in _wrapped(title, _TITLE, width - 2 * _MARGIN, most=2, bold=True):
            texts.append(_Text(left, y + _line(_TITLE) / 2, line, _TITLE, ink.text, bold=True))
            y += _line(_TITLE)
        y += _GAP // 2
    for row in rows:
        captions = [_caption(panel, cell) for panel in row]
        # every caption stands directly on its picture
        height = max(len(names) for names in captions) * _line(_HEAD)
        for number, (panel, names) in enumerate(zip(row, captions, strict=True)):
            x = left + number * (cell + _GAP)
            top = y + height - len(names) * _line(_HEAD)
            for n, name in enumerate(names):
                colour, middle = (ink.faint if n else ink.text), top + (n + 0.5) * _line(_HEAD)
                texts.append(_Text(x, middle, name, _HEAD, colour, bold=n == 0))
            drawn = _drawn(picture, panel, image_rgb.shape[:2], opacity, palette)
            boxes.append((y + height + 3, x, drawn))
            if panel is not None and panel.status != "ok":
                texts += _stamp(panel.status, x, y + height + 3, size)
        y += height + 3 + size[0] + _GAP + 4
    y = _legend(texts, boxes, y, left, width, palette, opacity, ink)
    for line in _wrapped(footer, _SMALL, width - 2 * _MARGIN, most=3):
        texts.append(_Text(left, y + _line(_SMALL) / 2, line, _SMALL, ink.faint))
        y += _line(_SMALL)

    sheet = np.empty((y + _MARGIN - 4, width, 3), dtype=np.uint8)
    sheet[:] = ink.paper
    for top, x, drawn in boxes:
        sheet[top : top + drawn.shape[0], x : x + drawn.shape[1]] = drawn
    return _written(sheet, texts)


def colorbar(
    palette: str = "inferno", *, width: int = 420, label: str = COLORBAR_LABEL, theme: Theme = "light"
) -> NDArray[np.uint8]:
    """Draw a horizontal colour bar with ticks at 0, 0.5 and 1 and its label below.

    Args:
        palette: as for `colorize`; where its colours are not perceptually ordered, the label says so.
        width: in pixels, at least 96.
        label: what the values mean; broken into lines.
        theme: "dark" or "light" paper.

    Returns:
        uint8 RGB `(height, width, 3)`; the height follows from the label.

    Raises:
        InputError: an unknown palette, or too little width.
    """
    if width < 96:
        raise InputError(f"width is {width}: the ticks of a colour bar need at least 96 pixels")
    ink = _theme(theme)
    texts: list[_Text] = []
    boxes: list[tuple[int, int, NDArray[np.uint8]]] = []
    lines = _wrapped(_described(label, palette), _SMALL, width - 2 * _MARGIN, most=4)
    y = _bar(texts, boxes, _GAP, _MARGIN, width - 2 * _MARGIN, palette, ink)
    for line in lines:
        texts.append(_Text(_MARGIN, y + _line(_SMALL) / 2, line, _SMALL, ink.text))
        y += _line(_SMALL)
    sheet = np.empty((y + _GAP, width, 3), dtype=np.uint8)
    sheet[:] = ink.paper
    for top, x, drawn in boxes:
        sheet[top : top + drawn.shape[0], x : x + drawn.shape[1]] = drawn
    return _written(sheet, texts)


def _theme(theme: str) -> _Ink:
    if theme not in _THEMES:
        raise InputError(f"theme is {theme!r}: it must be one of {', '.join(_THEMES)}")
    return _THEMES[theme]


def _by_label(panels: Sequence[Panel]) -> list[list[Panel]]:
    classes: dict[str, list[Panel]] = {}
    for panel in panels:
        classes.setdefault(panel.label, []).append(panel)
    return list(classes.values())


def _rows(panels: list[Panel], columns: int) -> list[list[Panel | None]]:
    """Break the panels of one class into rows of about equal length; None is the bare picture."""
    cells: list[Panel | None] = [None, *panels]
    needed = -(-len(cells) // columns)
    length = -(-len(cells) // needed)
    return [cells[start : start + length] for start in range(0, len(cells), length)]


def _caption(panel: Panel | None, width: int) -> list[str]:
    if panel is None:
        return ["original"]
    names = _wrapped(panel.method, _HEAD, width, most=1, bold=True)
    tail = "" if panel.probability is None else f" {panel.probability:.2f}"
    label = _wrapped(panel.label, _HEAD, width - round(_width(tail, _HEAD)), most=_CLASS_LINES)
    if tail:
        label = [*label[:-1], f"{label[-1]}{tail}"] if label else [tail.strip()]
    return names + label


def _fitted(image_rgb: NDArray[np.uint8], panel_size: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    height, width = image_rgb.shape[:2]
    scale = panel_size / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    # enlarged pixels stay visible as what they are
    filter_ = PILImage.Resampling.BOX if scale >= 2 else PILImage.Resampling.LANCZOS
    small = PILImage.fromarray(image_rgb).resize(size[::-1], filter_, reducing_gap=2.0)
    return np.asarray(small), size


def _drawn(
    picture: NDArray[np.uint8], panel: Panel | None, shape: tuple[int, ...], opacity: float, palette: str
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
    if panel.status != "ok":
        return (picture * np.float32(0.45)).astype(np.uint8)
    check_unit_range(values)  # all of them, before they are thinned out and blurred
    height, width = picture.shape[:2]
    step = max(1, min(values.shape[0] // (2 * height), values.shape[1] // (2 * width)))
    thinned = np.ascontiguousarray(values[step // 2 :: step, step // 2 :: step])
    small = PILImage.fromarray(thinned).resize((width, height), PILImage.Resampling.BILINEAR)
    return overlay(picture, np.clip(np.asarray(small), 0, 1), opacity=opacity, palette=palette)


def _stamp(status: str, x: int, top: int, size: tuple[int, int]) -> list[_Text]:
    lines = _wrapped(status, _HEAD, max(60, size[1] - 16), most=4, bold=True)
    start = top + size[0] / 2 - (len(lines) - 1) * _line(_HEAD) / 2
    return [
        _Text(
            x + size[1] / 2,
            start + n * _line(_HEAD),
            line,
            _HEAD,
            "#ffffff",
            bold=True,
            centred=True,
            box="#b21820",
        )
        for n, line in enumerate(lines)
    ]


def _legend(
    texts: list[_Text],
    boxes: list[tuple[int, int, NDArray[np.uint8]]],
    y: int,
    left: int,
    width: int,
    palette: str,
    opacity: float,
    ink: _Ink,
) -> int:
    """Place the bar with its label beside it, or below where the sheet is narrow; the next free height."""
    label = _described(f"{COLORBAR_LABEL} (laid over at {opacity:.0%})", palette)
    length = 240
    room = width - left - _MARGIN - length - 2 * _GAP
    beside = _width(label, _SMALL) <= room
    below = _bar(texts, boxes, y, left, length, palette, ink)
    if beside:
        texts.append(_Text(left + length + 2 * _GAP, y + _BAR / 2, label, _SMALL, ink.text))
        return below + 4
    for line in _wrapped(label, _SMALL, width - left - _MARGIN, most=4):
        texts.append(_Text(left, below + _line(_SMALL) / 2, line, _SMALL, ink.text))
        below += _line(_SMALL)
    return below + 4


def _bar(
    texts: list[_Text],
    boxes: list[tuple[int, int, NDArray[np.uint8]]],
    y: int,
    left: int,
    length: int,
    palette: str,
    ink: _Ink,
) -> int:
    ramp = table(palette)[levels(np.linspace(0, 1, length, dtype=np.float32))]
    framed = np.empty((_BAR + 2, length + 2, 3), dtype=np.uint8)
    framed[:] = [int(ink.faint[i : i + 2], 16) for i in (1, 3, 5)]
    framed[1:-1, 1:-1] = ramp
    boxes.append((y - 1, left - 1, framed))
    for part, tick in ((0.0, "0"), (0.5, "0.5"), (1.0, "1")):
        half = _width(tick, _SMALL) / 2
        x = min(max(left + part * length, left + half), left + length - half)
        texts.append(_Text(x, y + _BAR + 3 + _line(_SMALL) / 2, tick, _SMALL, ink.text, centred=True))
    return y + _BAR + 3 + _line(_SMALL)


def _described(label: str, palette: str) -> str:
    return f"{label}; {warning}" if (warning := note(palette)) else label


def _line(size: int) -> int:
    return round(size * _LEADING)


def _wrapped(text: str, size: int, width: float, *, most: int, bold: bool = False) -> list[str]:
    """Break at spaces and signs, at worst inside a word; cut with "…" after `most` lines."""
    rest = _drawable(text)
    lines: list[str] = []
    while rest and len(lines) < most:
        fits = _fitting(rest, size, width, bold)
        if fits < len(rest):
            if len(lines) == most - 1:
                shortened = max(1, _fitting(rest, size, width - _width("…", size, bold), bold))
                lines.append(rest[:shortened].rstrip() + "…")
                break
            breaks = [i for i in range(1, fits + 1) if rest[i - 1] in " ,_-/" or rest[i] == " "]
            fits = breaks[-1] if breaks and breaks[-1] > fits // 3 else max(1, fits)
        lines.append(rest[:fits].rstrip())
        rest = rest[fits:].lstrip()
    return lines


def _fitting(text: str, size: int, width: float, bold: bool) -> int:
    """How many leading characters fit into the width."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _width(text[:middle], size, bold) <= width else (low, middle - 1)
    return low


@lru_cache(maxsize=4096)
def _width(text: str, size: int, bold: bool = False) -> float:
    """Width of a line as it will be drawn, in pixels."""
    from matplotlib.backends.backend_agg import RendererAgg

    properties = _properties(_families(), size / _DOTS_PER_POINT, bold)
    renderer = RendererAgg(1, 1, _DPI)  # type: ignore[no-untyped-call]
    extent = renderer.get_text_width_height_descent(text, properties, ismath=False)  # type: ignore[no-untyped-call]
    return float(extent[0])


def _drawable(text: str) -> str:
    """One line, in which characters that no font here has are "□" rather than a warning."""
    known: frozenset[int] = frozenset().union(*(_characters(path) for path in _font_files(False)))
    return "".join(c if ord(c) in known else "□" for c in " ".join(text[:2000].split()))


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


def _written(sheet: NDArray[np.uint8], texts: Sequence[_Text]) -> NDArray[np.uint8]:
    """Write the lines onto the sheet."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    height, width = sheet.shape[:2]
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, frameon=False)
    canvas = FigureCanvasAgg(figure)
    for text in texts:
        figure.add_artist(
            Text(
                text.x,
                height - text.y,
                text.line,
                color=text.colour,
                fontproperties=_properties(_families(), text.size / _DOTS_PER_POINT, text.bold),
                horizontalalignment="center" if text.centred else "left",
                verticalalignment="center_baseline",
                bbox={"boxstyle": "square,pad=0.25", "facecolor": text.box, "linewidth": 0} if text.box else None,
                parse_math=False,
                usetex=False,
                transform=None,
            )
        )
    canvas.draw()  # type: ignore[no-untyped-call]
    layer = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    alpha = layer[..., 3:].astype(np.uint16)
    inked = alpha[..., 0].any(axis=1)  # most rows hold no text
    under = sheet[inked].astype(np.uint16)
    over, share = layer[inked, :, :3].astype(np.uint16), alpha[inked]
    sheet[inked] = ((over * share + under * (255 - share) + 127) // 255).astype(np.uint8)
    return sheet
