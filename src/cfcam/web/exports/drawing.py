"""What is on the screen as one PNG: the study beside its maps, by the code that draws the pictures of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfcam.imaging import Image, Volume
from cfcam.imaging.drawing.png import png_bytes
from cfcam.imaging.drawing.sheet import MAX_COLUMNS, Panel, contact_sheet
from cfcam.imaging.drawing.sides import letters_of, scale_of
from cfcam.imaging.drawing.volume_sheet import slices_figure, volume_sheet

MOST_PIXELS = 100_000_000
"""Of a sheet: where more would be needed, its pictures are drawn smaller, and it says so."""

_SMALLEST = 96
_OF_A_VOLUME = 512


def drawn(
    image: Image | Volume,
    picture: NDArray[np.uint8],
    panels: Sequence[Panel],
    look: dict[str, Any],
    *,
    title: str,
    footer: str,
    at: Sequence[int] | None = None,
    window: tuple[float, float] | None = None,
) -> bytes:
    """Returns a study and its maps as a PNG: pictures pixel by pixel, volumes in three slices.

    Args:
        image: as it was read.
        picture: of no volume: uint8 `(H, W, 3)`, as it is shown.
        panels: its maps.
        look: palette, opacity and blend.
        title: over the sheet.
        footer: under it.
        at: voxel (d, h, w) of a volume to cut through; None: the peak.
        window: centre and width of the grey values of a volume; None: its own.

    Raises:
        InputError: a voxel that is not there, an unknown palette, or a number out of its range.
    """
    if isinstance(image, Volume):
        return png_bytes(_volume(image, panels, look, title, footer, at, window))
    columns = min(MAX_COLUMNS, len(panels) + 1)
    longest, pixels = max(picture.shape[:2]), picture.shape[0] * picture.shape[1]
    cells = len(panels) + len({panel.label for panel in panels})
    size = max(_SMALLEST, int(longest * min(1.0, (MOST_PIXELS / (pixels * cells)) ** 0.5)))
    if size < longest:
        footer = f"{footer} · drawn at {size / longest:.0%} of its size"
    words: dict[str, Any] = {"title": title, "footer": footer, "letters": letters_of(image), "scale": scale_of(image)}
    sheet = contact_sheet(picture, panels, columns=columns, panel_size=size, **words, **look)
    return png_bytes(sheet)


def _volume(
    image: Volume,
    panels: Sequence[Panel],
    look: dict[str, Any],
    title: str,
    footer: str,
    at: Sequence[int] | None,
    window: tuple[float, float] | None,
) -> NDArray[np.uint8]:
    size = max(_SMALLEST, _OF_A_VOLUME // max(1, len(panels) // 2))
    shared: dict[str, Any] = {"at": at, "footer": footer, "window": window, "panel_size": size, **look}
    first = panels[0]
    if len(panels) == 1 and first.status == "ok" and first.heatmap is not None:
        title = f"{title} · {first.label} · {first.method}"
        return slices_figure(image, first.heatmap, threshold=first.threshold or "otsu", title=title, **shared)
    return volume_sheet(image, panels, title=title, **shared)
