"""Superpixels follow the edges of what they are made of."""

from __future__ import annotations

import pytest
import torch

from cfcam.errors import InputError
from cfcam.imaging import superpixels


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 16, 16), (1, 8, 16, 16)])
def test_no_superpixel_crosses_an_edge_and_all_places_are_in_one(shape: tuple[int, ...]) -> None:
    x = torch.zeros(shape)
    x[..., 8:] = 5
    labels = superpixels(x, 8, compactness=0.01)
    assert labels.shape == shape[1:]
    assert labels.min() == 1
    assert not set(labels[..., :8].ravel()) & set(labels[..., 8:].ravel())


@pytest.mark.parametrize(
    ("x", "count"), [(torch.rand(4, 4), 4), (torch.full((1, 4, 4), torch.nan), 4), (torch.rand(1, 4, 4), 17)]
)
def test_what_cannot_be_parted_is_refused(x: torch.Tensor, count: int) -> None:
    with pytest.raises(InputError, match="superpixels of"):
        superpixels(x, count)
