"""An explanation in a notebook: as a figure, and as the output of a cell."""

from __future__ import annotations

import base64
import html as escaping
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image as PILImage

from cfcam.errors import InputError
from cfcam.imaging.drawing.drawable import Corners, Drawable, Picture, as_pictures, box_on
from cfcam.imaging.drawing.look import OPACITY, Look
from cfcam.imaging.drawing.outline import BOX_COLOUR, DARK, LIGHT, border_segments, threshold_of
from cfcam.imaging.drawing.overlay import blended, overlay
from cfcam.imaging.drawing.palettes import EMBER, colorize, levels, table
from cfcam.imaging.drawing.parts import COLORBAR_LABEL, MID_GREY, described_label
from cfcam.imaging.drawing.sheet import Panel, contact_sheet
from cfcam.shown import answer_text

__all__ = ["NotebookFigure", "as_pictures", "html", "plot"]

_GREY = 128
_INCHES, _DPI = 2.1, 100
_SHOWN_IMAGES, _SHOWN_TARGETS = 4, 4
_PANEL = 176
_RESEARCH = "research use only"
_PLANES, _SHOWN_FRAMES = 3, 4


class NotebookFigure(Figure):
    """A matplotlib figure that a notebook shows by itself, without pyplot and its global state."""

    def _repr_png_(self) -> bytes:
        return _png_of(self)


@dataclass(frozen=True, eq=False)
class _Row:
    """One row of a figure: a picture (or a slice of one) and a map of each method, with what is written above."""

    picture: Picture | None
    heats: list[NDArray[np.float32] | None]
    cuts: list[float | None]
    label: str
    titles: list[str]
    statuses: list[str]
    again: bool = False  # the picture stands above already
    box: Corners | None = None  # of a detector, in pixels of what is shown


def plot(
    explanation: Drawable,
    images: Any = None,
    *,
    methods: Sequence[str] | None = None,
    targets: Sequence[int] | None = None,
    palette: str = EMBER,
    opacity: float = OPACITY,
    blend: str = "value",
) -> NotebookFigure:
    """Draws maps over their pictures; see `Explanation.plot`."""
    pictures = explanation.pictures if images is None else as_pictures(explanation, images)
    names, look = list(methods or explanation.methods), Look(palette, opacity, blend)
    look.check()
    asked = explanation.targets.shape[1]
    columns = list(range(asked) if targets is None else targets)
    if not columns or not all(0 <= k < asked for k in columns):
        raise InputError(f"targets {columns} of an explanation of {asked}: give columns from 0 to {asked - 1}")
    explanation = explanation.select(methods=names)
    rows = [
        row
        for n in range(len(explanation.targets))
        for k in columns
        for row in _rows(explanation, pictures, n, k, names, again=k != columns[0])
    ]
    wide = len(names) + (pictures is not None)
    flat = len(explanation.input_size) == 1
    high = 1.2 if flat else _INCHES * _ratio(rows[0]) + 0.45
    figure = NotebookFigure(figsize=(wide * _INCHES + 1.2, len(rows) * high + 0.9), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    for line, row in enumerate(rows):
        axes = [figure.add_subplot(len(rows), wide, line * wide + c + 1) for c in range(wide)]
        if pictures is not None:
            cell = axes.pop(0)
            if row.again:
                cell.set(xticks=[], yticks=[])
                cell.spines[:].set_visible(False)
            else:
                _draw(cell, row.picture, None, None, "", look, flat=flat)
                cell.set_title("picture" if row.titles else "", fontsize=9)
        figure.axes[-wide].set_ylabel(row.label, fontsize=9)
        for axis, heat, level, title, status in zip(
            axes, row.heats, row.cuts, row.titles or [""] * len(axes), row.statuses, strict=True
        ):
            _draw(axis, row.picture, heat, level if look.outlined else None, status, look, flat=flat)
            if row.box is not None:
                _draw_box(axis, row.box)
            axis.set_title(title, fontsize=9)
    # two colours in turn: the upper half of the bar is the palette, the lower what becomes of it over mid-grey
    bar = figure.colorbar(
        ScalarMappable(cmap=ListedColormap(table(palette) / 255)),
        ax=figure.axes, location="bottom", shrink=0.6, aspect=45, pad=0.01,
    )  # fmt: skip
    grey = np.full((1, 256, 3), MID_GREY, np.uint8)
    over = blended(grey, np.arange(256, dtype=np.uint8)[None], table(palette), look.shares())
    bar.ax.imshow(over, extent=(0, 1, 0, 0.5), aspect="auto", zorder=3)
    bar.ax.set_ylim(0, 1)
    label = described_label(COLORBAR_LABEL, look)
    bar.set_label(f"{fill(label, max(48, 26 * wide))}\nlayer {explanation.layer}, {_RESEARCH}", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


def _ratio(row: _Row) -> float:
    """Height over width of a row's pictures, within what a page bears."""
    shown = row.picture if row.picture is not None else next((h for h in row.heats if h is not None), np.zeros((1, 1)))
    return float(np.clip(shown.shape[0] / shown.shape[1], 0.4, 2))


def _rows(
    explanation: Drawable, pictures: tuple[Picture, ...] | None, n: int, k: int, methods: Sequence[str], *, again: bool
) -> Iterator[_Row]:
    """Yields the rows of one image and target: one, or of a volume one for each axis, through the peak.

    Each target of a volume has slices and frames of its own; a picture is the same for all and shown once.
    """
    picture: NDArray[Any] | None = None if pictures is None else pictures[n]
    axes = len(explanation.input_size)
    size = explanation.input_size
    if picture is not None:
        size = picture.shape[:axes] if axes == 2 or explanation.frames else picture.shape[-axes:]
    statuses = [str(explanation.status[m][n, k]) for m in methods]
    one = explanation.select(slice(n, n + 1), slice(k, k + 1), methods)
    heats = [
        one.heatmaps(m, size)[0, 0].float().numpy() if status == "ok" else None
        for m, status in zip(methods, statuses, strict=True)
    ]
    # of the whole map: the slices of a volume and the frames of a clip share one outline
    cuts = [None if heat is None else threshold_of(heat, "otsu") for heat in heats]
    answer = answer_text(explanation.probability(n, k), explanation.margin(n, k))
    label = f"{explanation.label(n, k)} {answer}".rstrip()
    if len(explanation.targets) > 1:
        label = f"image {n}\n{label}"
    if axes < _PLANES:
        box = box_on(explanation, n, k, size) if axes == _PLANES - 1 else None
        yield _Row(picture, heats, cuts, label, list(methods), statuses, again, box)
        return
    if explanation.frames:
        yield from _frame_rows(picture, heats, cuts, label, methods, statuses)
        return
    known = [heat for heat in heats if heat is not None]
    mean = sum(known[1:], start=known[0]) if known else np.zeros(size, np.float32)
    peak = np.unravel_index(int(mean.argmax()), size) if known else tuple(s // 2 for s in size)
    for axis in range(axes):
        at = int(peak[axis])
        cut = [None if heat is None else heat.take(at, axis) for heat in heats]
        shown = None if picture is None else np.repeat(picture.take(at, axis)[..., None], 3, axis=2)
        first = axis == 0
        name = f"{label}\n" if first else ""
        yield _Row(shown, cut, cuts, f"{name}axis {axis} at {at}", list(methods) if first else [], statuses)


def _frame_rows(
    picture: NDArray[Any] | None,
    heats: list[NDArray[np.float32] | None],
    cuts: list[float | None],
    label: str,
    methods: Sequence[str],
    statuses: list[str],
) -> Iterator[_Row]:
    """Yields a row for each of some frames of a clip, spread over it, that with the peak among them."""
    known = [heat for heat in heats if heat is not None]
    count = next((len(some) for some in (picture, *known) if some is not None), 1)
    shown = {round(at) for at in np.linspace(0, count - 1, min(count, _SHOWN_FRAMES))}
    if known:
        peak = int(np.stack(known).mean(0).reshape(count, -1).max(1).argmax())
        nearest = min(shown, key=lambda at: abs(at - peak))
        shown = {peak if at == nearest else at for at in shown}
    for first, at in zip([True] + [False] * count, sorted(shown), strict=False):
        cut = [None if heat is None else heat[at] for heat in heats]
        name = f"{label}\n" if first else ""
        under = None if picture is None else picture[at]
        yield _Row(under, cut, cuts, f"{name}frame {at}", list(methods) if first else [], statuses)


def _draw(
    axis: Axes,
    picture: Picture | None,
    heat: NDArray[np.float32] | None,
    level: float | None,
    status: str,
    look: Look,
    *,
    flat: bool,
) -> None:
    """Draws one cell; without a heat map and with a status, the status."""
    axis.set_xticks([])
    axis.set_yticks([])
    missing = bool(status) and status != "ok"
    if flat:
        _draw_signal(axis, picture, heat, look)
    elif heat is not None:
        if picture is None:  # the map alone
            axis.imshow(colorize(heat, look.palette))
        else:
            axis.imshow(overlay(picture, heat, **look._asdict(), threshold=None))
            if level is not None:  # as thin on the page of a small picture as on that of a large one
                lines = list(border_segments((heat >= level) & (heat > 0)))
                for width, colour in ((1.8, DARK), (0.8, LIGHT)):
                    rgb = [part / 255 for part in colour]
                    axis.add_collection(LineCollection(lines, linewidths=width, colors=[rgb], capstyle="projecting"))
    elif picture is not None:
        axis.imshow((picture * np.float32(0.45 if missing else 1)).astype(np.uint8))
    else:
        axis.imshow(np.full((1, 1, 3), _GREY, np.uint8))
    if missing:
        style = {"boxstyle": "square,pad=0.3", "facecolor": "#b21820", "linewidth": 0}
        words = status.replace(" ", "\n", 1)
        axis.text(
            0.5, 0.5, words, transform=axis.transAxes, ha="center", va="center", color="w", fontsize=8, bbox=style
        )


def _draw_box(axis: Axes, box: Corners) -> None:
    """Draws the box of a detector, which is explained; its corners lie between pixels, whose middles axes count."""
    x0, y0, x1, y1 = (corner - 0.5 for corner in box)
    for width, colour in ((2.6, DARK), (1.3, BOX_COLOUR)):
        rgb = [part / 255 for part in colour]
        axis.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, linewidth=width, edgecolor=rgb))


def _draw_signal(axis: Axes, picture: Picture | None, heat: NDArray[np.float32] | None, look: Look) -> None:
    """Draws a signal as lines, on a band in the colours of its map over white; an outline alone is as good as none."""
    if heat is not None:
        entries, white = levels(heat)[None], np.full((1, len(heat), 3), 255, np.uint8)
        shares = np.ones(256) if picture is None else look.shares()
        extent = (-0.5, len(heat) - 0.5, -8, 263)
        axis.imshow(blended(white, entries, table(look.palette), shares), aspect="auto", extent=extent)
    if picture is not None:
        axis.plot(picture.T, linewidth=0.8)
        axis.set_xlim(-0.5, picture.shape[1] - 0.5)
        axis.set_ylim(-8, 263)


def html(explanation: Drawable) -> str:
    """Returns an explanation as HTML that needs nothing else: its pictures and a table."""
    n, k = explanation.targets.shape
    shown = explanation.select(slice(0, _SHOWN_IMAGES), slice(0, _SHOWN_TARGETS))
    pictures = "".join(
        f'<img src="{source}" style="max-width:100%;display:block;margin:4px 0">' for source in _sources(shown)
    )
    left = n > _SHOWN_IMAGES or k > _SHOWN_TARGETS
    more = (
        f"<p>The first {len(shown.targets)} of {n} images and {shown.targets.shape[1]} of {k} targets.</p>"
        if left
        else ""
    )
    line = f"{n} image{'s' if n > 1 else ''}, layer <code>{escaping.escape(explanation.layer)}</code>, {_RESEARCH}"
    return f'<div style="font-size:90%">{pictures}{_table(shown)}{more}<p>{line}</p></div>'


def _sources(explanation: Drawable) -> list[str]:
    """The pictures as data URIs: a contact sheet for each image, or one figure of the maps alone."""
    if explanation.pictures is None or len(explanation.input_size) != 2:
        return [_uri(_png_of(plot(explanation)))]
    sheets = []
    for n, picture in enumerate(explanation.pictures):
        panels = [
            Panel(
                explanation.select(slice(n, n + 1), slice(k, k + 1), [m]).heatmaps(m, picture.shape[:2])[0, 0],
                m,
                explanation.label(n, k),
                explanation.probability(n, k),
                str(explanation.status[m][n, k]),
                explanation.margin(n, k),
                box=box_on(explanation, n, k, picture.shape[:2]),
            )
            for k in range(explanation.targets.shape[1])
            for m in explanation.methods
        ]
        footer = f"layer {explanation.layer}, {_RESEARCH}"
        sheet = contact_sheet(picture, panels, footer=footer, panel_size=_PANEL, theme="light")
        buffer = BytesIO()
        PILImage.fromarray(sheet).save(buffer, "PNG", optimize=True)  # in all its colours: fewer would draw steps
        sheets.append(_uri(buffer.getvalue()))
    return sheets


def _table(explanation: Drawable) -> str:
    cell = 'style="text-align:left;padding:2px 10px 2px 0"'
    heads = ["image", "class", "probability", "score", *explanation.methods]
    rows = []
    for n, k in np.ndindex(*explanation.targets.shape):
        answer = answer_text(explanation.probability(n, k), explanation.margin(n, k), 3)
        values = [str(n), explanation.label(n, k), answer]
        values += [f"{float(explanation.scores[n, k]):.3g}"]
        values += [str(explanation.status[m][n, k]) for m in explanation.methods]
        rows.append("".join(f"<td {cell}>{escaping.escape(value)}</td>" for value in values))
    header = "".join(f"<th {cell}>{escaping.escape(head)}</th>" for head in heads)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<table style="border-collapse:collapse"><tr>{header}</tr>{body}</table>'


def _png_of(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
