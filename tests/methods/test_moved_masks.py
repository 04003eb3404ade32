"""Masks of segmentation targets under test-time augmentation, and volumes thinner than a blur's window."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import cfcam
from cfcam.methods import Augmented, HiResCAM
from cfcam.methods.scored.score_cam import blurred


def test_a_mask_is_flipped_with_the_input() -> None:
    """A network that looks at every place by itself has one map, flipped or not."""
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 3, 1)).eval()
    x, mask = torch.randn(2, 3, 8, 8), torch.zeros(8, 8)
    mask[1:4, 0:3] = 1
    methods = {"flipped": Augmented(HiResCAM(), scales=()), "plain": HiResCAM()}
    maps = cfcam.explain(net, x, methods, targets=cfcam.Segmentation(1, mask), layer="1").maps
    torch.testing.assert_close(maps["flipped"], maps["plain"])


@pytest.mark.parametrize("shape", [(33, 40), (2, 8, 33), (1, 2), (17,)])
def test_blurred_is_the_mean_of_cut_windows(shape: tuple[int, ...]) -> None:
    x = torch.randn(1, 2, *shape, dtype=torch.float64)
    found = blurred(x)
    reach = [0 if size == 1 else max(1, size // 16) for size in shape]
    for place in ([0] * len(shape), [size - 1 for size in shape], [size // 2 for size in shape]):
        window = tuple(slice(max(p - r, 0), p + r + 1) for p, r in zip(place, reach, strict=True))
        expected = x[(slice(None), slice(None), *window)].flatten(2).mean(2)
        torch.testing.assert_close(found[(slice(None), slice(None), *place)], expected)
