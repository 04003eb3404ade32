import tracemalloc

import matplotlib
import numpy as np
import pytest
import torch

from cfcam.errors import InputError
from cfcam.imaging import banner, overlay
from cfcam.imaging import overlay as overlay_function
from cfcam.imaging.drawing.look import SEEDS, Look
from cfcam.imaging.drawing.palettes import table
from cfcam.imaging.drawing.png import png_bytes

RNG = np.random.default_rng(11)


def picture(H=40, W=60):
    return RNG.integers(0, 256, (H, W, 3), dtype=np.uint8)


def test_every_pixel_is_40_percent_map_and_60_percent_picture():
    image, levels = picture(200, 256), np.tile(np.arange(256), (200, 1))
    colours = np.array([matplotlib.colormaps["inferno"](int(i), bytes=True)[:3] for i in range(256)], dtype=np.int64)
    # in whole numbers: (4 c + 6 p) / 10, to the nearest; a tie cannot occur
    expected = (4 * colours[levels] + 6 * image.astype(np.int64) + 5) // 10
    drawn = overlay(image, levels / 255, palette="inferno", opacity=0.4, blend="uniform")
    np.testing.assert_array_equal(drawn, expected)


def test_the_seeds_are_40_percent_jet_everywhere_and_nothing_else():
    assert SEEDS == ("jet", 0.4, "uniform")
    image = np.full((1, 2, 3), 100, np.uint8)
    # jet: 0 -> (0, 0, 127), 1 -> (127, 0, 0); no line, although the map has a border
    drawn = overlay(image, [[0, 1]], **SEEDS._asdict())
    np.testing.assert_array_equal(drawn, [[[60, 60, 111], [111, 60, 60]]])


def test_chosen_values():
    image = np.full((1, 2, 3), 100, np.uint8)
    # inferno: 0 -> (0, 0, 3), 1 -> (252, 254, 164)
    plain = {"opacity": 0.4, "blend": "uniform"}
    np.testing.assert_array_equal(
        overlay(image, [[0, 1]], palette="inferno", **plain), [[[60, 60, 61], [161, 162, 126]]]
    )
    drawn = overlay(image, torch.tensor([[0, 1]]), palette="gray", **plain)
    np.testing.assert_array_equal(drawn, [[[60] * 3, [162] * 3]])


def test_opacity_follows_the_value_and_where_there_is_no_evidence_the_picture_is_what_it_was():
    image = np.full((1, 3, 3), 100, np.uint8)
    drawn = overlay(image, [[0, 102 / 255, 1]], palette="gray", opacity=0.5, threshold=None)
    # 0.5 * 102/255 = 0.2 of grey 102, and 0.5 of grey 255: 100.4 and 177.5, which is rounded up
    np.testing.assert_array_equal(drawn[0, :, 0], [100, 100, 178])
    image, heat = picture(64, 256), np.tile(np.arange(256) / 255, (64, 1))
    share = 0.5 * np.arange(256)[None, :, None] / 255
    exact = share * table("ember")[None] + (1 - share) * image
    assert np.abs(overlay(image, heat, threshold=None) - exact).max() <= 0.5 + 1e-4
    np.testing.assert_array_equal(overlay(image, heat, threshold=None)[:, 0], image[:, 0])


def test_the_default_is_ember_by_value_at_one_half_with_a_line_by_otsu():
    image, heat = picture(), RNG.random((40, 60), np.float32)
    named = overlay(image, heat, palette="ember", opacity=0.5, blend="value", threshold="otsu")
    np.testing.assert_array_equal(overlay(image, heat), named)
    assert tuple(Look()) == ("ember", 0.5, "value")


def test_a_contour_leaves_all_but_its_line_alone():
    image = np.full((4, 4, 3), 200, np.uint8)
    heat = np.zeros((4, 4))
    heat[1, 1] = heat[1, 2] = 1
    drawn = overlay(image, heat, blend="contour", threshold=0.5)
    light, dark = (90, 235, 255), (0, 0, 0)
    expected = image.copy()
    for row, column in [(0, 1), (0, 2), (1, 0), (1, 3), (2, 1), (2, 2)]:
        expected[row, column] = dark
    expected[1, 1:3] = light
    np.testing.assert_array_equal(drawn, expected)
    np.testing.assert_array_equal(overlay(image, heat, blend="contour", threshold=None), image)


def test_the_line_is_where_the_map_reaches_the_threshold():
    image = np.full((1, 4, 3), 128, np.uint8)
    heat = [[0.2, 0.4, 0.5, 1.0]]
    for threshold, inside in ((0.5, 2), (0.51, 3), (0.4, 1)):
        drawn = overlay(image, heat, blend="contour", threshold=threshold)
        assert drawn[0, inside].tolist() == [90, 235, 255]
        assert drawn[0, inside - 1].tolist() == [0, 0, 0]
        assert (drawn != image).any(axis=2).sum() == 2


@pytest.mark.parametrize("wrong", [{"blend": "multiply"}, {"threshold": 0}, {"threshold": 1.2}, {"threshold": "best"}])
def test_what_is_no_look_is_refused(wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))} is"):
        overlay(picture(), np.zeros((40, 60)), **wrong)


def test_ends_of_opacity():
    image, heat = picture(), RNG.random((40, 60))
    np.testing.assert_array_equal(overlay(image, heat, opacity=0, threshold=None), image)
    gray = overlay(image, heat, opacity=1, palette="gray", blend="uniform")
    assert np.abs(gray[..., 0] / 255 - heat).max() < 1.51 / 255  # half a level, and matplotlib cuts


def test_full_size_is_kept_and_the_input_left_alone():
    image, heat = picture(3000, 2400), torch.rand(3000, 2400)
    image.flags.writeable = False
    blended = overlay(image, heat, threshold=None)
    assert blended.shape == (3000, 2400, 3)
    np.testing.assert_array_equal(blended[2990:], overlay(image[2990:], heat[2990:], threshold=None))


@pytest.mark.parametrize("heat", [np.zeros((60, 40)), np.zeros((1, 40, 60)), np.zeros((40, 61))])
def test_shapes_that_differ_are_both_named(heat):
    with pytest.raises(InputError) as caught:
        overlay(picture(), heat)
    assert str(heat.shape) in str(caught.value)
    assert "(40, 60, 3)" in str(caught.value)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3)),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_rgb_picture(image):
    for call in (lambda: overlay_function(image, np.zeros(image.shape[:2])), lambda: banner(image, "x")):
        with pytest.raises(InputError, match="uint8"):
            call()


@pytest.mark.parametrize("opacity", [-0.1, 1.1, float("nan")])
def test_opacity_is_a_share(opacity):
    with pytest.raises(InputError, match="opacity"):
        overlay(picture(), np.zeros((40, 60)), opacity=opacity)


# --- banner


@pytest.mark.parametrize("size", [(512, 512), (300, 900), (3000, 2400), (64, 64), (16, 200), (1, 1), (2, 9)])
def test_banner_changes_a_strip_at_the_top_only(size):
    image = picture(*size)
    before = image.copy()
    marked = banner(image, "no positive evidence for Pneumonia (grad-cam)")
    np.testing.assert_array_equal(image, before)
    assert marked.shape == image.shape
    changed = np.flatnonzero((marked != image).any(axis=(1, 2)))
    strip = changed[-1] + 1
    np.testing.assert_array_equal(changed, np.arange(strip))
    assert strip <= max(1, size[0] // 2)


@pytest.mark.parametrize("size", [(256, 256), (512, 512), (3000, 2400)])
def test_caption_is_readable_and_grows_with_the_picture(size):
    image = np.full((*size, 3), 128, np.uint8)
    marked = banner(image, "not finite")
    strip = marked[: np.flatnonzero((marked != image).any(axis=(1, 2)))[-1] + 1]
    white = (strip.min(axis=2) > 200).any(axis=1)
    letters = np.flatnonzero(white)
    assert size[0] / 60 < letters[-1] - letters[0] + 1 < size[0] / 15  # their height
    assert len(strip) < size[0] / 8
    assert not np.array_equal(marked, banner(image, "no positive evidence"))


def test_a_long_caption_is_broken_into_lines():
    image = np.full((400, 300, 3), 128, np.uint8)
    heights = [(banner(image, text) != image).any(axis=(1, 2)).sum() for text in ("short", "longer " * 12)]
    assert heights[0] < heights[1] <= 200


def test_empty_caption_is_refused():
    with pytest.raises(InputError, match="empty"):
        banner(picture(), " \n")


def test_a_large_map_takes_little_more_than_the_picture_it_is_drawn_on():
    image, heat = picture(2000, 1500), RNG.random((2000, 1500), dtype=np.float32)
    tracemalloc.start()
    drawn = overlay(image, heat)
    drawing = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    png_bytes(drawn)
    packing = tracemalloc.get_traced_memory()[1] - drawn.nbytes
    tracemalloc.stop()
    assert drawing < 2.3 * image.nbytes  # the drawing, the map in 256 levels, what is marked, a strip
    assert packing < 2.3 * image.nbytes  # what is packed, of noise as large as it, and the file that it becomes
