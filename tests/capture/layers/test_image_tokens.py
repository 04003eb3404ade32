from __future__ import annotations

import torch

from cfcam.capture.layers.image_tokens import ImageTokens

GRID = ImageTokens((2, 2), index=(1, 2, 4, 5))  # two lines of two cells, each line behind a token of its own


def test_cells_are_picked_out_of_the_sequence_row_by_row():
    output = torch.arange(12.0).reshape(1, 6, 2)
    assert GRID.maps(output)[0, 0].tolist() == [[2.0, 4.0], [8.0, 10.0]]
    assert GRID.maps(output)[0, 1].tolist() == [[3.0, 5.0], [9.0, 11.0]]


def test_other_maps_go_back_to_their_places_and_the_other_tokens_stay():
    output = torch.arange(24.0).reshape(2, 6, 2)
    maps, images = torch.randn(3, 2, 2, 2), torch.tensor([1, 0, 1])
    replaced = GRID.replaced(output, maps, images)
    torch.testing.assert_close(GRID.maps(replaced), maps)
    torch.testing.assert_close(replaced[:, [0, 3]], output[images][:, [0, 3]])
    assert "2 x 2" in str(GRID)
