"""Whether the hottest cell stays under changes that nobody sees: what is changed, and what is counted."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cfcam.errors import InputError
from cfcam.metrics import PeakShift, RandomMap, Sample, evaluate
from cfcam.metrics.functional.peaks import peak_shift, small_changes
from cfcam.metrics.scorecard.controls import CentredGaussian, ChannelMean
from tests.networks import GapNet

MEAN, STD = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.25, 0.5])


def images(*size: int, seed: int = 0) -> Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(seed))


def at(cell: int, of: int = 4, peak: float = 2.0) -> Tensor:
    """Returns a map (of,) of ones with its peak in a cell."""
    return torch.ones(of).index_fill(0, torch.tensor(cell), peak)


def test_by_hand() -> None:
    """Cells of 3 pixels: a shift by one pixel is a third of a cell, and the hottest one has to stay."""
    original = torch.stack([at(1), at(1), at(0)])
    changed = torch.stack(
        [
            torch.stack([at(1), at(2), at(0)]),  # shifted by 1: stays, leaves, stays
            torch.stack([at(1), at(1), at(3)]),  # shifted by -1: stays, stays, leaves
            torch.stack([at(1, peak=9.0), at(1), at(3)]),  # not shifted
            torch.stack([at(1, peak=-1.0), at(1), at(0)]),  # the first lost it: three cells are as hot as each other
        ]
    )
    shifts = torch.tensor([[1], [-1], [0], [0]])
    values = peak_shift(original, changed, shifts, [12])
    torch.testing.assert_close(values, torch.tensor([0.75, 0.75, 0.5]))
    metric = PeakShift([12])
    for part in (slice(0, 1), slice(1, 3)):
        metric.update(original[part], changed[:, part], shifts)
    torch.testing.assert_close(metric.compute(), values.mean())
    assert PeakShift.higher_is_better


def test_on_the_grid_of_the_input_the_peak_goes_with_the_picture() -> None:
    original = at(1)[None]
    changed = torch.stack([at(2)[None], at(1)[None]])
    assert peak_shift(original, changed, torch.tensor([[1], [0]]), [4]).tolist() == [1.0]
    assert peak_shift(original, changed, torch.tensor([[0], [1]]), [4]).tolist() == [0.0]


@pytest.mark.parametrize(
    "without", [torch.ones(4), torch.zeros(4), -torch.ones(4), torch.tensor([2.0, 2, 1, 0]), at(0, peak=torch.inf)],
    ids=["constant", "empty", "negative", "two peaks", "infinite"],
)  # fmt: skip
def test_a_map_without_a_peak_has_no_number_and_one_that_lost_it_has_moved(without: Tensor) -> None:
    ways = torch.tensor([[0]])
    assert peak_shift(without[None], at(0)[None, None], ways, [12]).isnan().all()
    assert peak_shift(at(0)[None], without[None, None], ways, [12]).tolist() == [0.0]


def test_a_change_that_an_image_has_not_does_not_count() -> None:
    original = torch.stack([at(1), at(1), at(1)])
    none = torch.full((4,), torch.nan)
    changed = torch.stack([torch.stack([at(1), at(0), none]), torch.stack([none, at(1), none])])
    torch.testing.assert_close(
        peak_shift(original, changed, torch.zeros(2, 1, dtype=torch.long), [12]),
        torch.tensor([1.0, 0.5, torch.nan]),
        equal_nan=True,
    )


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_each_axis_is_shifted_to_and_fro_by_one_pixel(axes: int) -> None:
    x = images(2, 3, *[5] * axes)
    found = list(small_changes(x))
    assert [change.name for change in found] == ["shift"] * 2 * axes  # nothing is known of black and white
    for n, change in enumerate(found):
        axis, sign = n // 2, (-1, 1)[n % 2]
        assert change.shift == tuple(sign * (a == axis) for a in range(axes))
        inner = slice(1, -1)
        torch.testing.assert_close(
            change.x.movedim(2 + axis, 0)[inner], x.roll(sign, 2 + axis).movedim(2 + axis, 0)[inner]
        )


def test_jpeg_and_brightness_are_of_the_picture_and_not_of_what_the_network_takes() -> None:
    pixels = (images(2, 12, 16, 3) * 255).to(torch.uint8)
    mean, std = (each.reshape(1, 3, 1, 1) for each in (MEAN, STD))
    share = pixels.permute(0, 3, 1, 2) / 255
    jpeg, up, down = list(small_changes((share - mean) / std, -MEAN / STD, (1 - MEAN) / STD))[4:]
    assert (jpeg.name, up.name, down.name) == ("jpeg", "brightness", "brightness")
    for n, picture in enumerate(pixels.numpy()):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=90)
        coded = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255
        torch.testing.assert_close(jpeg.x[n] * std[0] + mean[0], coded)
    torch.testing.assert_close(up.x * std + mean, (share + 0.05).clamp(max=1))
    torch.testing.assert_close(down.x * std + mean, (share - 0.05).clamp(min=0))
    assert all(change.possible.all() for change in (jpeg, up, down))


def test_jpeg_is_for_pictures_and_values_beyond_black_and_white_are_not_guessed() -> None:
    names = [[c.name for c in small_changes(x, 0.0, 1.0)] for x in (images(1, 2, 4, 4), images(1, 1, 4, 4, 4))]
    assert names == [["shift"] * 4 + ["brightness"] * 2, ["shift"] * 6 + ["brightness"] * 2]
    x = images(3, 1, 8, 8)
    x[1, 0, 0, 0], x[2, 0, 0, 0] = 1.3, torch.nan
    for change in list(small_changes(x, 0.0, 1.0))[4:]:
        assert change.possible.tolist() == [True, False, False]


class _Constant(CentredGaussian):
    name = "constant"

    def __call__(self, capture: object) -> Tensor:
        return torch.ones_like(super().__call__(capture))


def samples(count: int, *size: int) -> list[Sample]:
    return [Sample(images(*size, seed=n), name=str(n)) for n in range(count)]


def test_in_the_scorecard_chance_is_chance_and_what_is_constant_has_no_number() -> None:
    torch.manual_seed(0)
    net = GapNet(channels=6).eval()
    methods = {"random": RandomMap(), "constant": _Constant(), "channel-mean": ChannelMean()}
    pictures = samples(40, 3, 8, 8)
    card = evaluate(net, pictures, methods, "peak-shift", controls=False, layer="features", white=1.0)
    of = {line.metric + " " + line.method: line for line in card.summary()}
    assert of["peak-shift constant"].n == 0
    cells = net.features(pictures[0].image[None])[0, 0].numel()
    assert of["peak-shift random"].mean == pytest.approx(1 / cells, abs=0.05)
    assert of["peak-shift channel-mean"].mean > 0.3
    assert card.left_out() == []
    alone = evaluate(net, pictures[3:4], methods, "peak-shift", controls=False, layer="features", white=1.0)
    assert alone.rows[2].values == next(r for r in card.rows if (r.image, r.method) == ("3", "channel-mean")).values


def test_what_is_left_out_is_said_beside_the_number() -> None:
    torch.manual_seed(0)
    net = GapNet(channels=6).eval()
    card = evaluate(net, samples(2, 3, 8, 8), "grad-cam", "peak-shift", controls=False, layer="features")
    assert [sentence[:32] for sentence in card.left_out()] == [
        "Peak stays is measured without J",
        "Peak stays is measured without b",
    ]
    assert "JPEG" in card.to_json()


def test_arguments_that_do_not_fit_are_named() -> None:
    maps = torch.rand(2, 4)
    with pytest.raises(InputError, match=r"give \(B, \*cells\) and \(M, B, \*cells\)"):
        peak_shift(maps, maps, torch.zeros(1, 1), [12])
    with pytest.raises(InputError, match=r"shifts \(2, 1\) for 1 changes: give \(M, axes\) in pixels"):
        peak_shift(maps, maps[None], torch.zeros(2, 1), [12])
    with pytest.raises(InputError, match=r"black is 1\.0 and white 1\.0: a range of no extent"):
        list(small_changes(images(1, 3, 4, 4), 1.0, 1.0))
    with pytest.raises(InputError, match=r"white has shape \(2,\) for images of 3 channels"):
        list(small_changes(images(1, 3, 4, 4), 0.0, torch.ones(2)))
    with pytest.raises(InputError, match="black is not finite"):
        list(small_changes(images(1, 3, 4, 4), float("nan"), 1.0))
    with pytest.raises(InputError, match="white='a': give a number, or one for each channel"):
        list(small_changes(images(1, 3, 4, 4), 0.0, "a"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a shift is not finite"):
        peak_shift(torch.rand(2, 3), torch.rand(1, 2, 3), torch.tensor([[float("nan")]]), [12])
    for size in ([0], [-3], [2.5], ["a"], [True], [], 12, "12"):
        with pytest.raises(InputError, match="size="):
            peak_shift(torch.rand(2, 3), torch.rand(1, 2, 3), torch.zeros(1, 1), size)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="size="):
            PeakShift(size)  # type: ignore[arg-type]
