import numpy as np
import pytest
import torch

from cfcam.clinical.regions import measure
from cfcam.errors import InputError
from cfcam.imaging.drawing.outline import DARK, LIGHT, border, border_segments, draw_outline, line_width, threshold_of
from cfcam.metrics.functional import otsu_threshold


def drawn_as(text: str) -> np.ndarray:
    return np.array([[c == "#" for c in row] for row in text.split()])


def lines(light: np.ndarray, dark: np.ndarray) -> str:
    return " ".join(
        "".join("o" if a else "x" if b else "." for a, b in zip(*rows, strict=True))
        for rows in zip(light, dark, strict=True)
    )


def test_the_light_line_is_just_inside_and_the_dark_one_just_outside():
    marked = drawn_as("....... .####.. .####.. .####.. .......")
    assert lines(*border(marked)) == ".xxxx.. xoooox. xo..ox. xoooox. .xxxx.."


def test_the_border_of_the_picture_is_no_line():
    assert lines(*border(drawn_as("##. ##. ##."))) == ".ox .ox .ox"
    assert lines(*border(np.ones((3, 3), bool))) == "... ... ..."


def test_thicker_lines_grow_to_both_sides_of_the_same_border():
    marked = drawn_as("....####")
    assert lines(*border(marked, 1)) == "...xo..."
    assert lines(*border(marked, 2)) == "..xxoo.."


def test_the_border_between_pixels_goes_once_around_each_part():
    found = border_segments(drawn_as(".... .##. ...."))
    # two pixels side by side: two segments above, two below, one at each end; none between them or at the rim
    assert sorted(map(tuple, found.mean(axis=1))) == [(0.5, 1), (1, 0.5), (1, 1.5), (2, 0.5), (2, 1.5), (2.5, 1)]
    assert (np.abs(np.diff(found, axis=1)).sum(axis=(1, 2)) == 1).all()
    assert border_segments(np.ones((3, 3), bool)).shape == (0, 2, 2)


@pytest.mark.parametrize(("shape", "width"), [((40, 60), 1), ((512, 512), 1), ((1151, 900), 1), ((3000, 2500), 4)])
def test_lines_are_as_thin_as_they_can_be_seen(shape, width):
    assert line_width(shape) == width


def test_a_line_is_drawn_only_where_it_is():
    values = np.zeros((9, 9), np.float32)
    values[3:6, 3:6] = 0.5
    picture = np.full((9, 9, 3), 77, np.uint8)
    draw_outline(picture, values, 0.5)
    light, dark = ((picture == colour).all(axis=2) for colour in (LIGHT, DARK))
    assert (int(light.sum()), int(dark.sum()), int((picture == 77).all(axis=2).sum())) == (8, 12, 61)
    assert picture[4, 4].tolist() == [77] * 3
    untouched = np.full((9, 9, 3), 77, np.uint8)
    draw_outline(untouched, values, 0.6)
    assert (untouched == 77).all()


@pytest.mark.parametrize("grey", [0, 20, 60, 128, 200, 245, 255])
def test_on_any_grey_one_of_the_two_lines_stands_out(grey):
    luma = np.array([0.2126, 0.7152, 0.0722])
    assert max(abs(luma @ np.array(colour) - grey) for colour in (LIGHT, DARK)) > 90


def test_otsu_is_that_of_regions_and_of_metrics():
    heat = torch.rand((60, 80), generator=torch.Generator().manual_seed(0)) ** 3
    found = threshold_of(heat.numpy(), "otsu")
    assert found == measure(heat).threshold == float(otsu_threshold(heat[None])[0])
    read_only = heat.numpy().copy()
    read_only.flags.writeable = False
    assert threshold_of(read_only[::-1], "otsu") == found
    assert threshold_of(np.array([[0, 0.1, 0.9, 1]], np.float32), "otsu") == 0.1015625  # 26 of 256 bins


def test_without_evidence_or_without_a_wish_there_is_nothing_to_outline():
    assert threshold_of(np.zeros((3, 3), np.float32), "otsu") is None
    assert threshold_of(np.ones((3, 3), np.float32), None) is None
    assert threshold_of(np.ones((3, 3), np.float32), 0.25) == 0.25
    with pytest.raises(InputError, match="quantile"):
        threshold_of(np.ones((3, 3), np.float32), "quantile:0.9")


def test_a_tall_region_is_outlined_in_strips_as_it_is_at_once() -> None:
    values = np.random.default_rng(3).random((900, 40), dtype=np.float32)
    values[300:620, 5:20] = 1
    for width in (1, 3):
        drawn = np.full((900, 40, 3), 9, dtype=np.uint8)
        draw_outline(drawn, values, 0.98, width)
        light, dark = border(values >= 0.98, width)
        expected = np.full((900, 40, 3), 9, dtype=np.uint8)
        expected[dark], expected[light] = DARK, LIGHT
        assert (drawn == expected).all()
