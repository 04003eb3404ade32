"""Boxes of a detector on the pictures of a run: from the pixels of the network's input to those of the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cfcam.explanation import Explanation
from cfcam.imaging import Preprocess
from cfcam.jobs.engine.boxes import View

Corners = tuple[float, float, float, float]
"""x0, y0, x1, y1."""


def view_of(preprocess: Any, size: Sequence[int]) -> View | None:
    """Returns what the network's input shows of a picture, see `cfcam.jobs.engine.boxes.View`; None of a volume.

    Args:
        preprocess: what was done to the picture.
        size: its height and width.
    """
    if not isinstance(preprocess, Preprocess):
        return None
    height, width = size
    return preprocess.frame((height, width)), preprocess.region((height, width))


def box_on(explanation: Explanation, k: int, preprocess: Any, size: Sequence[int]) -> Corners | None:
    """Returns the box that a map is of, in pixels of the picture; None if it is of no box.

    Args:
        explanation: of one image.
        k: column of its targets.
        preprocess: what was done to the picture.
        size: height and width of the picture, or of the one that is drawn of it.
    """
    if explanation.boxes is None or bool(explanation.boxes[0, k].isnan().any()):
        return None
    view = view_of(preprocess, size)
    if view is None:
        return None
    top, left, bottom, right = view[0]
    height, width = explanation.input_size
    down, across = (bottom - top) / height, (right - left) / width
    x0, y0, x1, y1 = explanation.boxes[0, k].tolist()
    return left + x0 * across, top + y0 * down, left + x1 * across, top + y1 * down
