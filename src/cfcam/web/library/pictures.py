"""A study as a PNG: in its window, as a first sight of it, or small, in a list."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from cfcam.imaging.windows import windowed
from cfcam.web.library.facts import Facts
from cfcam.web.library.nifti import Nifti

SMALL = 192
"""Pixels of the longer side of a small picture."""


def shown(file: Nifti, facts: Facts) -> NDArray[np.uint8]:
    """Returns a study `(H, W)` grey or `(H, W, 3)` RGB in its window: a picture whole, of a volume the middle slice."""
    i, j, k = file.shape
    if file.dtype == "rgb":
        return np.frombuffer(file.voxels, np.uint8).reshape(k, i, 3)
    values: NDArray[Any] = np.frombuffer(file.voxels, file.dtype).reshape(k, j, i)
    low, high = facts.window.low, facts.window.high
    if len(facts.shape) == 2:
        plane = values[:, 0]
        if plane.dtype == np.uint8:
            return plane
        return (plane.astype(np.float32) * (255 / max(high - low, 1e-9)) + 0.5).astype(np.uint8)
    return _grey(values[k // 2], facts)


def _grey(values: NDArray[Any], facts: Facts) -> NDArray[np.uint8]:
    low, high = facts.window.low, facts.window.high
    grey: NDArray[np.uint8] = np.rint(
        windowed(values, ((low + high) / 2, high - low), facts.window.function) * 255
    ).astype(np.uint8)
    return grey


def small(picture: NDArray[np.uint8], side: int = SMALL) -> NDArray[np.uint8]:
    """Returns a picture brought to a longer side of so many pixels; a smaller one as it is."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return picture
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(PILImage.fromarray(picture).resize(size, PILImage.Resampling.BILINEAR, reducing_gap=2.0))


def png(picture: NDArray[np.uint8]) -> bytes:
    """Returns a picture as PNG, with nothing in it but pixels."""
    stream = io.BytesIO()
    PILImage.fromarray(np.ascontiguousarray(picture)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()
