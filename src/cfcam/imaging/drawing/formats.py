"""Pictures as files of the kind that was asked for: PNG, JPEG, WebP, SVG, PDF; with nothing in them but the picture.

| format | pixels | for |
|---|---|---|
| png | exactly those that were drawn | the default; figures, further computing |
| jpg | with loss, 4:2:0, quality 90, or that of the JPEG it was drawn on, if that is less | folders of photographs |
| webp | with loss, quality 90 | web pages |
| svg, pdf | exactly those that were drawn, in a file that papers and slides take | print |

No file holds a time, a name, EXIF or a colour profile: pictures are upright and in sRGB when they are drawn. The same
picture gives the same bytes, as long as Pillow and matplotlib stay the same.
"""

from __future__ import annotations

import base64
import math
import os
from io import BytesIO
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from cfcam.errors import ImageError, InputError
from cfcam.files import write_whole, writing
from cfcam.imaging.drawing.page import Page
from cfcam.imaging.drawing.png import png_bytes
from cfcam.imaging.drawing.text import text_artist, text_width

FORMATS = ("png", "jpg", "webp", "svg", "pdf")
"""What pictures can be written as; also what their names end in."""
QUALITY, LEAST_QUALITY = 90, 60
"""Of JPEG and WebP; and the least that a JPEG gets where the picture under it was a coarse JPEG itself."""

SMALLEST = 16
"""Pixels of the longer side that a picture is shrunk to, at least."""

_LONGEST = {"jpg": 65535, "webp": 16383}
# Luminance quantisation of ITU-T T.81, table K.1: what libjpeg's quality 50 is, in the order of rows.
_K1_SUM = 3688
_POINTS = 72  # a pixel of a page is a point in PDF


def check_format(name: str) -> None:
    """Raise an `InputError` unless this is one of `FORMATS`."""
    if name not in FORMATS:
        raise InputError(f"no picture format is called {name!r}: give one of {', '.join(FORMATS)}")


def write_picture(
    picture: NDArray[np.uint8] | Page, stem: str | os.PathLike[str], kind: str = "png", *, quality: int = QUALITY
) -> Path:
    """Write a picture or a page: whole or not at all.

    Args:
        picture: uint8 RGB `(H, W, 3)`; or a page, whose texts stay texts in SVG and PDF.
        stem: the path without its ending, which ``kind`` becomes.
        kind: of `FORMATS`.
        quality: of a JPEG or WebP, up to 95; see `quality_under`.

    Returns:
        The path.

    Raises:
        InputError: an array of another kind, an unknown format, or more pixels a side than the format takes.
        ImageError: the file cannot be written.
    """
    check_format(kind)
    page = picture if isinstance(picture, Page) else Page.of(picture)
    if max(page.height, page.width) * page.scale > _LONGEST.get(kind, math.inf):
        raise InputError(
            f"a picture of {page.width} x {page.height} pixels is too large for {kind}, which takes {_LONGEST[kind]} a"
            f" side: give --max-size {_LONGEST[kind]}, or another --format"
        )
    path = Path(f"{stem}.{kind}")
    data = _svg(page) if kind == "svg" else _pdf(page) if kind == "pdf" else _raster(page.drawn(), kind, quality)
    with writing(str(path), ImageError):
        return write_whole(path, data)


def quality_under(path: Path | None) -> int:
    """Returns the quality at which a JPEG is written over a picture: that of its own file, if that is a coarser JPEG.

    What a coarse JPEG has lost does not come back by writing it finer, which would only take room. A quality is read
    from the sum of the luminance quantisation table, as libjpeg scales table K.1 of ITU-T T.81.

    Args:
        path: of the picture; None: unknown.
    """
    if path is None or path.suffix.lower() not in (".jpg", ".jpeg", ".jpe", ".jfif"):
        return QUALITY
    try:
        with PILImage.open(path) as picture:
            tables = getattr(picture, "quantization", None)
    except OSError:
        return QUALITY
    if not tables:
        return QUALITY
    percent = 100 * sum(tables[min(tables)]) / _K1_SUM
    own = 5000 / percent if percent > 100 else (200 - percent) / 2
    return int(min(QUALITY, max(LEAST_QUALITY, own)))


def _raster(picture: NDArray[np.uint8], kind: str, quality: int) -> bytes:
    if kind == "png":
        return png_bytes(picture)
    stream = BytesIO()
    if kind == "jpg":
        PILImage.fromarray(picture).save(stream, "JPEG", quality=quality, subsampling="4:2:0", optimize=True)
    else:
        PILImage.fromarray(picture).save(stream, "WEBP", quality=quality, method=4)
    return stream.getvalue()


def _svg(page: Page) -> bytes:
    """SVG 1.1 with each picture as PNG, and each text where it stands, as wide as it is drawn elsewhere."""
    width, height = round(page.width * page.scale), round(page.height * page.scale)
    box = f'viewBox="0 0 {page.width} {page.height}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" {box}>']
    if page.texts:
        parts.append(f'<rect width="100%" height="100%" fill="#{bytes(page.ink.paper).hex()}"/>')
    for top, left, picture in page.boxes:
        data = base64.b64encode(png_bytes(picture)).decode()
        size = f'x="{left}" y="{top}" width="{picture.shape[1]}" height="{picture.shape[0]}"'
        parts.append(f'<image {size} href="data:image/png;base64,{data}"/>')
    for text in page.texts:
        long, pad = text_width(text.line, text.size, text.bold), text.size / 4
        start = text.x - long / 2 if text.centred else text.x
        if text.box:
            fill, alpha = text.box[:7], int(text.box[7:] or "ff", 16) / 255
            parts.append(
                f'<rect x="{start - pad:.1f}" y="{text.y - text.size / 2 - pad:.1f}" width="{long + 2 * pad:.1f}"'
                f' height="{text.size + 2 * pad:.1f}" fill="{fill}" fill-opacity="{alpha:.3f}"/>'
            )
        weight = ' font-weight="bold"' if text.bold else ""
        parts.append(
            f'<text x="{start:.1f}" y="{text.y + 0.36 * text.size:.1f}" textLength="{long:.1f}" font-size="{text.size}"'
            f' font-family="DejaVu Sans, sans-serif"{weight} fill="{text.colour}">{escape(text.line)}</text>'
        )
    return "\n".join([*parts, "</svg>\n"]).encode()


def _pdf(page: Page) -> bytes:
    """PDF: a page of one point a pixel, pictures packed without loss, texts in fonts that it brings along; no date."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.figure import Figure
    from matplotlib.transforms import Affine2D

    size = page.width * page.scale / _POINTS, page.height * page.scale / _POINTS
    figure = Figure(figsize=size, dpi=_POINTS, facecolor=f"#{bytes(page.ink.paper).hex()}")
    for top, left, picture in page.boxes:
        high, wide = picture.shape[:2]
        place = left / page.width, 1 - (top + high) / page.height, wide / page.width, high / page.height
        axes = figure.add_axes(place)
        axes.set_axis_off()
        # the only way to matplotlib's pixels as they are; from below, so that they are stored as they stand
        axes.imshow(picture[::-1], interpolation="none", aspect="auto", origin="lower")
    whole = Affine2D().scale(page.scale)
    for text in page.texts:
        figure.add_artist(text_artist(text, page.height, points=text.size * page.scale, transform=whole))
    stream = BytesIO()
    nothing = {"Creator": None, "Producer": None, "CreationDate": None}
    # spelt out, so that nothing is taken from the user's rcParams; a font of type 42 can be searched in every script
    with rc_context({"pdf.fonttype": 42, "pdf.compression": 6, "pdf.use14corefonts": False, "pdf.inheritcolor": False}):
        FigureCanvasPdf(figure).print_pdf(stream, metadata=nothing)  # type: ignore[no-untyped-call]
    return stream.getvalue()
