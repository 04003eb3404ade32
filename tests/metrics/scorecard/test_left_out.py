"""What a number was measured without is told once, with how many images it is."""

from __future__ import annotations

from cfcam.metrics import Row
from cfcam.metrics.scorecard.left_out import PEAK_CHANGES, left_out


def row(image: str, *changes: str, method: str = "grad-cam") -> Row:
    return Row(image, method, 0, "a", 0.9, "ok", {}, extra={PEAK_CHANGES: list(changes)} if changes else {})


def test_nothing_is_said_where_nothing_lacks() -> None:
    assert left_out([]) == left_out([row("a", "jpeg", "brightness", "shift"), row("b")]) == []


def test_images_are_counted_once_whatever_the_methods() -> None:
    rows = [row("a", "shift", "brightness"), row("a", "shift", "brightness", method="cam"), row("b", "shift")]
    jpeg, brightness = left_out(rows)
    assert jpeg.endswith("are known).")
    assert brightness.endswith("for 1 of 2 images.")
