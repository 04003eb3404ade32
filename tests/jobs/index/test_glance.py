import numpy as np
import pytest
import torch
from PIL import Image

from cfcam.jobs.index.glance import (
    GRID,
    SIDE,
    packed,
    peak_of,
    reduced,
    save_original,
    save_thumb,
    shown_by_browsers,
    unpacked,
)
from tests.imaging import dicoms


def test_a_map_is_packed_as_means_of_equal_parts():
    heat = torch.zeros(2 * GRID, 3 * GRID)
    heat[0, 0] = 1.0  # one of the six pixels of the first cell
    heat[-1, -3:] = 0.5  # three of six
    grid = unpacked(packed(heat))
    assert grid.shape == (GRID, GRID)
    assert grid[0, 0] == pytest.approx(1 / 6, abs=0.5 / 255)
    assert grid[-1, -1] == pytest.approx(1 / 4, abs=0.5 / 255)
    assert np.count_nonzero(grid) == 2


def test_the_peak_is_a_share_of_width_and_height():
    heat = torch.zeros(10, 20)
    assert peak_of(heat) is None
    heat[9, 0] = 0.1
    assert peak_of(heat) == (0.025, 0.95)


def test_small_pictures_keep_their_shape(tmp_path):
    rgb = np.full((400, 1600, 3), 90, np.uint8)
    thumb, original = save_thumb(tmp_path, "ward/a", rgb), save_original(tmp_path, "ward/a", rgb)
    assert (thumb, original) == ("index_files/ward/a.jpg", "index_files/ward/a_original.jpg")
    with Image.open(tmp_path / thumb) as small, Image.open(tmp_path / original) as large:
        assert small.size == (SIDE, SIDE // 4)
        assert large.size == (1024, 256)
        assert np.asarray(small).min() >= 88


def test_browsers_show_pictures_by_what_is_in_them(tmp_path):
    grey = Image.fromarray(np.zeros((4, 4), np.uint8))
    for name, kind in (("a.png", "PNG"), ("b.dat", "JPEG"), ("c.tif", "TIFF")):
        grey.save(tmp_path / name, kind)
    dicoms.save(dicoms.radiograph(np.zeros((4, 4), np.int64)), tmp_path / "d.png")
    assert [shown_by_browsers(tmp_path / name) for name in ("a.png", "b.dat", "c.tif", "d.png")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_large_picture_is_reduced_to_its_longer_side_and_a_small_one_is_left():
    large = np.zeros((1000, 2400, 3), np.uint8)
    large[:, 1200:] = 200
    small = reduced(large, 960)
    assert small.shape == (400, 960, 3)
    assert (small[:, 10] == 0).all()
    assert (small[:, -10] == 200).all()
    assert reduced(np.zeros((3, 9600, 3), np.uint8), 960).shape == (1, 960, 3)
    fits = np.zeros((960, 300, 3), np.uint8)
    assert reduced(fits, 960) is fits
