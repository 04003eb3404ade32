"""How far the score falls without a region, by hand: a network that sums two channels, in two and three dimensions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import cfcam
from cfcam.clinical.removal import Removal
from cfcam.errors import InputError


class Sums(nn.Module):
    """Logit 0 is the sum of the first channel, logit 1 that of the second less the first."""

    def __init__(self, axes: int) -> None:
        super().__init__()
        self.layer = (nn.Conv2d if axes == 2 else nn.Conv3d)(2, 2, 1, bias=False)
        self.layer.weight.data = torch.eye(2)[(..., *[None] * axes)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = self.layer(x).flatten(2).sum(2).unbind(1)
        return torch.stack([first, second - first], 1)


def spot(axes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """An even picture of ones, a spot of 5 in its first channel, and its mask."""
    x, mask = torch.ones(1, 2, *[4] * axes), torch.zeros([4] * axes, dtype=torch.bool)
    mask[(1,) * axes] = True
    x[0, 0][mask] = 5.0
    return x, mask


@pytest.mark.parametrize("axes", [2, 3])
def test_the_score_falls_by_what_the_spot_is_above_its_surroundings(axes: int) -> None:
    x, mask = spot(axes)
    explainer = cfcam.Explainer(Sums(axes).eval(), "hires-cam", layer="layer")
    explanation = explainer(x, [0, 1])
    for target, fall in ((0, 4.0), (1, -4.0)):  # 5 becomes 1, the value around it
        removal = Removal(explainer, x, [0, 1], target=target)
        table = explanation.by_region({"spot": mask, "all": torch.ones_like(mask)}, target=target, removal=removal)
        assert table["spot"].removal == pytest.approx(fall, abs=1e-4)
        assert table["all"].removal is None  # nothing is left to fill it from


def test_the_class_stays_the_predicted_one_of_the_untouched_image() -> None:
    x, mask = spot(2)
    x[0, 0] *= 0.01
    x[0, 0][mask] = 20.0  # class 0 is predicted only because of the spot
    removal = Removal(cfcam.Explainer(Sums(2).eval(), "hires-cam", layer="layer"), x)
    assert removal(mask) == pytest.approx(20 - 0.01, abs=1e-3)
    assert removal(torch.zeros_like(mask)) is None


def test_another_image_or_target_is_refused() -> None:
    x, _ = spot(2)
    explainer = cfcam.Explainer(Sums(2).eval(), "hires-cam", layer="layer")
    with pytest.raises(InputError, match=r"^x holds 2 images"):
        Removal(explainer, torch.cat([x, x]), 0)
    with pytest.raises(InputError, match=r"^target 1: there are 1"):
        Removal(explainer, x, 0, target=1)
