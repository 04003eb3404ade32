"""Boxes of a detector among the targets of a run, which each picture is asked for in its own pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cfcam.capture.targets.asked_boxes import AskedBoxes, Edges
from cfcam.capture.targets.box_words import BoxWords, read_box

View = tuple[Edges, Edges]
"""What an input shows, and which part of its picture that is; see `AskedBoxes`."""


def asks_boxes(targets: Sequence[Any]) -> bool:
    """Whether boxes are among targets."""
    return any(isinstance(target, str) and read_box(target) is not None for target in targets)


def anywhere(targets: Sequence[Any]) -> list[Any]:
    """Returns what noise is asked: of boxes the first one, wherever it is."""
    return [
        target if box is None else AskedBoxes(BoxWords(box.label, rank=1))
        for target in targets
        for box in [read_box(target) if isinstance(target, str) else None]
    ]


def seen_in(view: View | None, targets: Any) -> Any:
    """Returns what a picture is asked: boxes in its own pixels; without a view the targets as they are."""
    if view is None:
        return targets
    return [
        target if box is None else AskedBoxes(box, *view)
        for target in targets
        for box in [read_box(target) if isinstance(target, str) else None]
    ]
