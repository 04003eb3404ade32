"""What a number was measured without is told once, with how many images it is."""

from __future__ import annotations

import torch
from torch import nn

import cfcam
from cfcam.methods import CFCAM, View
from cfcam.metrics import Row
from cfcam.metrics.scorecard.left_out import PEAK_CHANGES, left_out


def row(image: str, *changes: str, method: str = "grad-cam") -> Row:
    return Row(image, method, 0, "a", 0.9, "ok", {}, extra={PEAK_CHANGES: list(changes)} if changes else {})


def test_nothing_is_said_where_nothing_lacks() -> None:
    assert left_out([]) == left_out([row("a", "jpeg", "brightness", "shift"), row("b")]) == []


def test_a_measure_without_any_number_and_what_was_found_of_images_are_said() -> None:
    first = Row("a", "grad-cam", 0, "a", 0.9, "ok", {"adcc": 0.5}, notes=["a view is left out"])
    rows = [first, Row("a", "cam", 0, "a", 0.9, "ok", {}), Row("b", "grad-cam", 0, "a", 0.9, "ok", {})]
    asked = ["adcc", "part-removal", "enrichment", "milliseconds"]
    without, view = left_out(rows, asked)
    assert without.startswith("Not assessed on any image: Part removal, Enrichment;")
    assert view == "a view is left out (on 1 of 2 images)."


def test_images_are_counted_once_whatever_the_methods() -> None:
    rows = [row("a", "shift", "brightness"), row("a", "shift", "brightness", method="cam"), row("b", "shift")]
    jpeg, brightness = left_out(rows)
    assert jpeg.endswith("are known).")
    assert brightness.endswith("for 1 of 2 images.")


def test_a_view_that_is_left_out_is_said_of_its_image_and_of_the_whole() -> None:
    """A network of the left half alone: a flip moves its answer beyond the test-retest of one step."""
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), LeftHalf())
    nn.init.constant_(net[0].weight, 1.0)
    net[0].weight.data[1] = -1.0
    nn.init.zeros_(net[0].bias)
    ramp = torch.linspace(0, 1, 20).expand(1, 14, 20)
    x = torch.stack([ramp, ramp + ramp.flip(-1)])  # the second is its own mirror image
    flipped = CFCAM(views=(View(), View(shift=(0, 1)), View(shift=(1, 0)), View(flip=(-1,))))
    found = cfcam.explain(net, x, flipped, layer="1")
    assert [len(lines) for lines in found.said] == [1, 0]
    card = cfcam.evaluate(net, list(x), {"mine": flipped, "grad-cam": "grad-cam"}, ["adcc"], layer="1")
    assert [row.notes for row in card.rows if row.method == "mine"] == [list(lines) for lines in found.said]
    assert not any(row.notes for row in card.rows if row.method != "mine")
    assert card.left_out() == [f"{found.said[0][0]} (on 1 of 2 images)."]


class LeftHalf(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 10 * x[..., : x.shape[-1] // 2].mean((2, 3))
