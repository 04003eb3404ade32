"""Where the network's input lies on a picture: worked out by hand for each way of resizing."""

from __future__ import annotations

import numpy as np
import pytest

from cfcam.clinical.comparison.placed import Grid
from cfcam.imaging import Image, Preprocess
from cfcam.jobs.compare.studies import Study, input_grid

SPACING = (0.5, 0.25)  # mm from row to row, from column to column


def study(height, width):
    return Study(Image(np.zeros((height, width), np.uint8), None, ""), Grid.of_spacing((height, width), SPACING), True)


def place(grid, row, column):
    return (grid.affine @ [row, column, 1])[:2].tolist()


def test_a_stretched_input_covers_the_whole_picture():
    grid = input_grid(Preprocess(size=(10, 20), resize="stretch", mean=(0.5,), std=(0.5,)), study(40, 40))
    # One cell is 4 x 2 pixels, and the middle of the first is 1.5 and 0.5 pixels from that of the first pixel.
    assert grid.size == (10, 20)
    assert place(grid, 0, 0) == pytest.approx([1.5 * 0.5, 0.5 * 0.25])
    assert place(grid, 9, 19) == pytest.approx([37.5 * 0.5, 38.5 * 0.25])


def test_padding_lies_outside_of_the_picture():
    grid = input_grid(Preprocess(size=20, resize="pad", mean=(0.5,), std=(0.5,)), study(40, 80))
    # 80 columns become 20, 40 rows 10 with 5 of padding above: row 5 of the input begins the picture.
    assert place(grid, 5, 0) == pytest.approx([1.5 * 0.5, 1.5 * 0.25])
    assert place(grid, 0, 0) == pytest.approx([-18.5 * 0.5, 1.5 * 0.25])
    assert place(grid, 19, 19) == pytest.approx([57.5 * 0.5, 77.5 * 0.25])


def test_a_crop_begins_within_the_picture():
    resized = Preprocess(size=20, resize="shorter-side+crop", crop_ratio=0.5, mean=(0.5,), std=(0.5,))
    grid = input_grid(resized, study(80, 160))
    # 80 rows become 40, of which 20 from the 10th are kept; 160 columns become 80, 20 from the 30th.
    assert place(grid, 0, 0) == pytest.approx([20.5 * 0.5, 60.5 * 0.25])
    assert place(grid, 19, 19) == pytest.approx([58.5 * 0.5, 98.5 * 0.25])
