"""The pictures of a page that holds them itself, one by one, so that memory does not grow with their number."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote_to_bytes

from PIL import Image as PILImage
from PIL import ImageOps

from cfcam.jobs.index.entry import Entry
from cfcam.jobs.index.glance import jpeg

SIDE = 640
"""Pixels of the longer side of a picture in the page."""
MOST = 1000
"""Pictures that a page may hold itself."""

_SMALL = 200_000  # bytes of a file that is put in as it is, where it is a JPEG


def embedded(entry: Entry, number: int, folder: Path) -> Iterator[str]:
    """Yields the pictures of an entry as elements that the page's script finds: ``t7``, ``o7``, ``v7-0``, ``v7-1``.

    Args:
        entry: a line of the page.
        number: of the line, from 0.
        folder: the output folder.
    """
    original = folder / os.fsdecode(unquote_to_bytes(entry.original)) if entry.original else None
    pictures = [
        (f"t{number}", folder / entry.thumb if entry.thumb else None),
        (f"o{number}", original),
        *((f"v{number}-{n}", folder / view.file) for n, view in enumerate(entry.views)),
    ]
    for name, file in pictures:
        if file is not None and (uri := _uri(file)):
            yield f'<script type="text/plain" id="{name}">{uri}</script>\n'


def _uri(file: Path) -> str:
    """A picture as data URI; "" for one that cannot be shown, such as a PDF, or is not there."""
    if file.suffix.lower() == ".svg":
        try:
            return f"data:image/svg+xml;base64,{base64.b64encode(file.read_bytes()).decode()}"
        except OSError:
            return ""
    try:
        if file.suffix.lower() == ".jpg" and file.stat().st_size < _SMALL:
            data = file.read_bytes()
        else:
            with PILImage.open(file) as opened:
                picture = ImageOps.exif_transpose(opened)
                picture.thumbnail((SIDE, SIDE), PILImage.Resampling.LANCZOS)
                data = jpeg(picture, 82)
    except (OSError, ValueError, PILImage.DecompressionBombError):
        return ""
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
