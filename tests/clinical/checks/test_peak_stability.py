"""The error bar of a peak, against networks whose map is a known function of the picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import cfcam
from cfcam.clinical.checks.peak_stability import PeakStability, peak_stabilities, peak_stability
from cfcam.clinical.regions import measure
from cfcam.errors import InputError
from cfcam.metrics.functional.peaks import peak_cells, peak_stays, small_motions, small_shifts
from cfcam.metrics.functional.robustness import shift

CELL = 8


class Pooled(nn.Module):
    """Means over cells of the picture; class 0 is their mean, so that Grad-CAM's map is the picture in cells."""

    def __init__(self, axes: int = 2, channels: int = 1, cell: int = CELL, classes: int = 2) -> None:
        super().__init__()
        conv, pool = (nn.Conv2d, nn.MaxPool2d) if axes == 2 else (nn.Conv3d, nn.MaxPool3d)
        self.grey = conv(channels, 1, 1, bias=False)
        self.cells = pool(cell)
        self.head = nn.Linear(1, classes, bias=False)
        with torch.no_grad():
            self.grey.weight.fill_(1.0)
            self.head.weight.copy_(torch.linspace(1, -1, classes)[:, None])

    def forward(self, x):
        return self.head(self.cells(self.grey(x)).flatten(2).mean(2))


def dot(row: int, column: int, size: int = 32, channels: int = 1) -> torch.Tensor:
    """A picture with one bright pixel."""
    x = torch.zeros(1, channels, size, size)
    x[0, :, row, column] = 1
    return x


def explainer(network: nn.Module, methods=("grad-cam",)) -> cfcam.Explainer:
    return cfcam.Explainer(network.eval(), list(methods), layer="cells")


@pytest.mark.parametrize(
    ("place", "stayed", "why"),
    [
        ((12, 12), 17, "the middle of a cell: no motion leaves it"),
        ((15, 12), 11, "the last row of a cell: 3 of 8 directions leave it, by 1 and by 2 pixels"),
        ((14, 12), 14, "the row before: the same 3 directions, by 2 pixels only"),
        ((16, 12), 11, "the first row of a cell: the 3 directions upwards"),
        ((15, 15), 7, "a corner: 5 of 8 directions leave it, by 1 and by 2 pixels"),
        ((14, 15), 9, "5 directions by 2 pixels, 3 by 1"),
    ],
)
def test_the_share_of_motions_is_the_one_counted_by_hand(place, stayed, why):
    found = peak_stability(explainer(Pooled()), dot(*place), 0, "grad-cam")
    assert (found.stayed, found.motions) == (stayed, 17), why
    assert found.share == stayed / 17
    assert str(found) == f"stays under {stayed} of 17 small motions"


def test_where_the_peak_goes_is_told_once_for_each_place():
    found = peak_stability(explainer(Pooled()), dot(15, 12), 0, "grad-cam")
    # the cell below, its middle (row 20) moved back by 1 or by 2 pixels: the first motion that led there is told
    assert len(found.elsewhere) == 1
    assert found.times == (6,)
    (row, column) = found.elsewhere[0]
    assert (row, abs(column - 12) <= 1) == (19, True)
    assert peak_stability(explainer(Pooled()), dot(12, 12), 0, "grad-cam").elsewhere == ()


def test_it_comes_back_on_the_grid_of_the_picture():
    def doubled_and_turned(heat: torch.Tensor) -> torch.Tensor:
        return heat.repeat_interleave(2, 0).repeat_interleave(2, 1).flip(1)

    found = peak_stability(explainer(Pooled()), dot(15, 12), 0, "grad-cam", back=doubled_and_turned)
    ((row, column),) = found.elsewhere
    plain = peak_stability(explainer(Pooled()), dot(15, 12), 0, "grad-cam").elsewhere[0]
    assert row // 2 == plain[0]
    assert (63 - column) // 2 == plain[1]


def test_of_a_cell_as_large_as_a_pixel_only_the_way_back_is_exact():
    x = dot(10, 11)
    assert peak_stability(explainer(Pooled(cell=1)), x, 0, "grad-cam").stayed == 17


def test_the_class_is_held_fixed_and_every_map_is_measured_by_the_same_passes():
    network = Pooled(classes=3)
    passes = []
    network.register_forward_hook(lambda module, args, out: passes.append(len(args[0])))
    explain = explainer(network, ("grad-cam", "grad-cam++"))
    x = dot(15, 12)
    first = explain(x, torch.tensor([[0, 2]]))
    before = sum(passes)
    found = peak_stabilities(explain, x, torch.tensor([0, 2]), methods=["grad-cam", "grad-cam++"], first=first)
    assert sum(passes) - before == 17
    assert set(found) == {("grad-cam", 0), ("grad-cam++", 0)}  # class 2 has negative weight: no evidence, no peak
    assert {one.stayed for one in found.values()} == {11}
    assert peak_stability(explain, x, 2, "grad-cam") is None


def test_one_at_a_time_and_many_at_a_time_agree():
    explain = explainer(Pooled())
    counts = {
        peak_stabilities(explain, dot(15, 15), torch.tensor([0]), methods=["grad-cam"], at_once=n)["grad-cam", 0].stayed
        for n in (1, 5, 32)
    }
    assert counts == {7}


class OneByOne(Pooled):
    def forward(self, x):
        if len(x) != 1:
            raise RuntimeError("one at a time")
        return super().forward(x)


def test_a_network_that_takes_one_picture_at_a_time_is_asked_one_by_one():
    assert peak_stability(explainer(OneByOne()), dot(15, 15), 0, "grad-cam").stayed == 7


def test_a_network_that_fails_is_not_a_peak_that_moved():
    calls = []  # not of the network: every pass begins with the same state of that

    class Tired(Pooled):
        def forward(self, x):
            calls.append(x)
            if len(calls) > 2:
                raise RuntimeError("no more")
            return super().forward(x)

    with pytest.raises(RuntimeError, match="no more"):
        peak_stability(explainer(Tired()), dot(15, 15), 0, "grad-cam")


def test_a_volume_is_moved_through_its_slices_too_and_has_no_jpeg():
    x = torch.zeros(1, 1, 16, 24, 24)
    x[0, 0, 7, 12, 12] = 1  # the last slice of a cell, the middle of its rows and columns
    found = peak_stability(explainer(Pooled(3)), x, 0, "grad-cam")
    # 20 motions, of which the one to and fro by 1 and by 2 slices leave the cell towards higher slices
    assert (found.stayed, found.motions) == (18, 20)
    assert found.left_out == ("no JPEG: it holds pictures of 1 or 3 channels only",)
    assert "no JPEG" in str(found)


def test_a_volume_of_one_slice_and_a_picture_of_many_channels_say_what_was_left_out():
    flat = torch.zeros(1, 1, 1, 24, 24)
    flat[0, 0, 0, 12, 12] = 1

    class Flat(Pooled):
        def __init__(self):
            super().__init__(3)
            self.cells = nn.MaxPool3d((1, 8, 8))

    found = peak_stability(explainer(Flat()), flat, 0, "grad-cam")
    assert (found.stayed, found.motions) == (16, 16)
    assert len(found.left_out) == 2
    many = peak_stability(explainer(Pooled(channels=4)), dot(12, 12, channels=4), 0, "grad-cam")
    assert (many.motions, len(many.left_out)) == (16, 1)


def test_jpeg_is_one_of_the_motions_of_a_picture():
    ways = [way for way, _ in small_motions(torch.rand(1, 3, 16, 16))]
    assert len(ways) == 17
    assert ways.count((0, 0)) == 1
    assert max(abs(step) for way in ways for step in way) == 2
    x = torch.rand(1, 3, 16, 16)
    for way, moved in small_motions(x):
        if any(way):
            assert torch.equal(moved, shift(x, way))


def test_small_shifts_are_eight_directions_twice():
    assert set(small_shifts(2)) == {
        (far * a, far * b) for far in (1, 2) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)
    }
    assert small_shifts(2, (2, 9)) == [way for way in small_shifts(2) if abs(way[0]) < 2]


def test_a_peak_that_is_lost_did_not_stay():
    before = torch.tensor([[0.0, 1.0, 0.0]]).expand(3, 3)
    after = torch.tensor([[0.0, 0.0, 0.0], [torch.nan, 1.0, 0.0], [0.0, -1.0, -2.0]])
    assert peak_stays(before, after, torch.zeros(3, 1), [12]).tolist() == [False] * 3
    assert peak_cells(after).tolist() == [[-1]] * 3
    with pytest.raises(InputError, match="shifts"):
        peak_stays(before, after, torch.zeros(2, 1), [12])


def test_what_is_no_image_or_no_class_is_refused():
    with pytest.raises(InputError, match="give one image"):
        peak_stability(explainer(Pooled()), dot(1, 1), -1, "grad-cam")
    with pytest.raises(InputError, match="give one image"):
        peak_stability(explainer(Pooled()), torch.zeros(2, 1, 32, 32), 0, "grad-cam")


def test_a_table_says_how_steady_its_peak_is_or_that_it_was_not_measured():
    from dataclasses import replace

    table = measure(torch.from_numpy(np.eye(8, dtype=np.float32)))
    assert table.to_text().endswith("peak of the map: stability not measured")
    assert table.as_dict()["stability"] is None
    assert table.to_csv().splitlines()[0].endswith("peak_stayed,peak_motions")
    assert table.to_csv().splitlines()[1].endswith(",,")
    measured = replace(table, stability=PeakStability(13, 17, ((0, 4),), (4,)))
    assert measured.to_text().endswith("peak of the map: stays under 13 of 17 small motions")
    assert measured.to_csv().splitlines()[1].endswith(",13,17")
    assert measured.as_dict()["stability"]["stayed"] == 13
