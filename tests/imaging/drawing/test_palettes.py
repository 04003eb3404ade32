import matplotlib
import numpy as np
import pytest
import torch

from cfcam.errors import InputError
from cfcam.imaging import PALETTES, colorize, is_perceptually_ordered
from cfcam.imaging.drawing.look import Look
from cfcam.imaging.drawing.palettes import table
from cfcam.imaging.drawing.visibility import note


@pytest.mark.parametrize("palette", [*PALETTES[1:], "coolwarm", "viridis_r", "tab10"])
def test_table_is_matplotlibs(palette):
    colormap = matplotlib.colormaps[palette]
    coloured = colorize(np.linspace(0, 1, 256)[None], palette)[0]
    expected = np.array([colormap(i / 255, bytes=True)[:3] for i in range(256)])
    np.testing.assert_array_equal(coloured, expected)
    np.testing.assert_array_equal(coloured[0], colormap(0.0, bytes=True)[:3])
    np.testing.assert_array_equal(coloured[-1], colormap(1.0, bytes=True)[:3])


def test_level_is_rounded_to_the_nearest_of_256():
    values = np.array([0, 0.49, 0.51, 127.4, 127.6, 254.4, 254.6, 255]) / 255
    got = colorize(values[None], "gray")[0, :, 0]
    np.testing.assert_array_equal(got, table("gray")[[0, 0, 1, 127, 128, 254, 255, 255], 0])


def test_leading_axes_are_kept_and_tensors_taken():
    maps = torch.rand(2, 3, 5, 7, requires_grad=True)
    got = colorize(maps, "viridis")
    assert (got.shape, got.dtype) == ((2, 3, 5, 7, 3), np.uint8)
    np.testing.assert_array_equal(got[1, 2], colorize(maps[1, 2].detach().numpy(), "viridis"))
    assert colorize(torch.ones(2, 2).bfloat16()).shape == (2, 2, 3)


def test_ember_is_the_default():
    np.testing.assert_array_equal(colorize([[0.3]]), colorize([[0.3]], "ember"))
    assert PALETTES[0] == "ember"


def test_ember_goes_from_dark_red_to_amber():
    # at 0: 96 and nothing else; at 1: 96 + 159 and 190; between by the powers 0.7 and 0.8
    at = 51 / 255
    half = [round(96 + 159 * at**0.7), round(190 * at**0.8), 0]
    np.testing.assert_array_equal(table("ember")[[0, 51, 255]], [[96, 0, 0], half, [255, 190, 0]])
    with pytest.raises(InputError, match="ember"):
        table("amber")


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1, 1.1, 255])
def test_values_that_are_no_share_are_refused(value):
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        colorize([[0.5, value]])


def test_rounding_errors_are_taken_for_what_they_are():
    np.testing.assert_array_equal(colorize([[-1e-7, 1 + 1e-7]]), colorize([[0.0, 1.0]]))


def test_unknown_palette_names_the_nearest():
    with pytest.raises(InputError, match=r"'virdis'.*viridis"):
        colorize([[0.5]], "virdis")
    with pytest.raises(InputError, match="inferno"):
        colorize([[0.5]], "?")


def test_table_is_cached_and_cannot_be_spoilt():
    assert table("magma") is table("magma")
    with pytest.raises(ValueError, match="read-only"):
        table("magma")[0] = 1


def test_rainbows_are_not_ordered():
    assert {p for p in PALETTES if not is_perceptually_ordered(p)} == {"turbo", "jet"}
    assert not is_perceptually_ordered("hsv")
    assert is_perceptually_ordered("viridis_r")
    assert is_perceptually_ordered("Blues")
    assert note(Look("jet", blend="uniform")) == "jet: not perceptually ordered"
    assert note(Look("jet", blend="contour")) == ""
    assert note(Look()) == ""


@pytest.mark.parametrize("palette", [p for p in PALETTES if p not in ("turbo", "jet")])
def test_what_is_called_ordered_grows_in_brightness(palette):
    brightness = table(palette) @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(brightness) >= -1).all()
    assert brightness[-1] - brightness[0] > 150
