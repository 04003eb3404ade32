from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from cfcam.errors import LayerError
from cfcam.models.texts import grids


def config(**said):
    return SimpleNamespace(model_type="vit", **said)


def cells(grid, count):
    """Which token each cell is."""
    return grid.tokens.maps(torch.arange(float(count))[None, :, None])[0, 0].tolist()


def test_class_token_and_registers_before_the_patches_are_dropped():
    grid = grids.patches(config(patch_size=8), (16, 24), 6 + 5)
    assert cells(grid, 11) == [[5, 6, 7], [8, 9, 10]]
    assert grid.placement is None
    assert grid.words == "patches of 8 x 8 pixels; 5 other tokens before them dropped"


def test_patches_that_leave_a_rim_lie_where_they_lie():
    grid = grids.patches(config(patch_size=14), (30, 28), 4)
    assert grid.placement is not None
    assert grid.placement.spans == ((7.0, 14.0, 0.0, 28.0), None)


def test_patches_that_are_merged_stage_by_stage_are_larger():
    assert cells(grids.patches(config(patch_size=4, depths=[1, 1]), (16, 16), 4), 4) == [[0, 1], [2, 3]]


def test_tiles_are_put_together_and_the_small_whole_is_left_out():
    grid = grids.tiles(1, 2, 4, 12, (32, 32))
    assert cells(grid, 12) == [[0, 1, 4, 5], [2, 3, 6, 7]]
    assert grid.size == (32, 64)
    assert cells(grids.tiles(0, 0, 4, 4, (32, 32)), 4) == [[0, 1], [2, 3]]


def test_lines_of_any_resolution_end_with_a_token_of_no_place():
    # a picture twice as wide as high in two tiles of 2 x 2, behind the small whole of 4 tokens
    grid = grids.any_resolution((1, 2), 2, (50, 100), 4 + 2 * 5, (32, 32))
    assert cells(grid, 14) == [[4, 5, 6, 7], [9, 10, 11, 12]]
    assert grid.size == (32, 64)


def test_lines_that_lie_on_padding_alone_are_dropped():
    # 4 x 4 cells for a picture twice as wide as high: a line above and one below are padding
    grid = grids.any_resolution((2, 2), 2, (50, 100), 4 + 2 * 5, (32, 32))
    assert cells(grid, 14) == [[4, 5, 6, 7], [9, 10, 11, 12]]
    assert grid.size == (32, 64)


def test_merged_patches_of_a_picture_of_its_own_size():
    assert cells(grids.merged((1, 4, 6), 2, 14, 6), 6) == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    "make",
    [
        lambda: grids.patches(config(), (16, 16), 4),
        lambda: grids.patches(config(patch_size=8), (16, 16), 40),
        lambda: grids.patches(config(patch_size=8), (16, 16), 3),
        lambda: grids.square(5, (16, 16), "pooled"),
        lambda: grids.merged((2, 4, 4), 2, 14, 8),
        lambda: grids.tiles(2, 2, 4, 16, (32, 32)),
        lambda: grids.tiles(1, 1, 3, 6, (32, 32)),
        lambda: grids.any_resolution((1, 2), 2, (50, 100), 15, (32, 32)),
    ],
)
def test_a_grid_that_cannot_be_told_is_refused_in_one_line(make):
    with pytest.raises(LayerError, match=r"cannot be told|no square|no grid") as error:
        make()
    assert "\n" not in str(error.value)
