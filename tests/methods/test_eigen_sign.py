"""The sign of Eigen-CAM behind a layer norm: where it is the activations', and where it is a convention."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam.methods import EigenCAM, EigenGradCAM


class Normed(nn.Module):
    """Channels normalised at each place, pooled, and one linear layer."""

    def __init__(self, affine: bool) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 12, 1)
        self.norm = nn.LayerNorm(12, elementwise_affine=affine)
        self.place = nn.Identity()
        self.sign = 1.0
        self.classifier = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        A = self.norm(self.mix(x).movedim(1, -1)).movedim(-1, 1)
        return self.classifier(self.place(self.sign * A).mean((2, 3)))


def maps(net: Normed, x: Tensor, method: EigenCAM | EigenGradCAM, sign: float = 1.0) -> Tensor:
    net.sign = sign
    return cfcam.explain(net, x, {"m": method}, targets=0, layer="place").maps["m"]


@pytest.fixture
def x() -> Tensor:
    return torch.randn(4, 3, 6, 5)


@pytest.mark.parametrize("center", [False, True])
def test_without_weights_the_largest_value_is_positive(center: bool, x: Tensor) -> None:
    """A convention, the same for every batch: the activations and their negatives have one map."""
    net = Normed(affine=False).eval()
    found = maps(net, x, EigenCAM(center=center))
    assert torch.equal(found.flatten(2).amax(2), found.flatten(2).abs().amax(2))
    torch.testing.assert_close(maps(net, x, EigenCAM(center=center), sign=-1.0), found)
    torch.testing.assert_close(torch.cat([maps(net, one[None], EigenCAM(center=center)) for one in x]), found)


def test_without_weights_a_small_change_may_turn_the_map_over() -> None:
    """Two opposite places of nearly one length: the longer one is positive, by whatever it is longer."""
    v = torch.tensor([1.0, -1.0, 0.5, -0.5]).reshape(1, 4, 1, 1)
    places = torch.tensor([1.0, -1.0, 0.1]).reshape(1, 1, 1, 3)
    net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    signs = []
    for change in (1e-2, -1e-2):
        A = v * (places + change * torch.tensor([1.0, 0.0, 0.0]))
        e = cfcam.explain(net, A, EigenCAM(), layer="0")
        signs.append(float(e.maps["eigen-cam"][0, 0, 0, 0].sign()))
    assert signs == [1.0, -1.0]


def test_with_weights_the_sign_is_that_of_the_mean_activation(x: Tensor) -> None:
    net = Normed(affine=True).eval()
    with torch.no_grad():
        net.norm.bias.fill_(0.5)
    found = maps(net, x, EigenCAM()).flatten(2)
    mean = (net.norm(net.mix(x).movedim(1, -1)).movedim(-1, 1)).mean(1).flatten(1)
    assert (torch.einsum("nks,ns->nk", found, mean) > 0).all()


def test_eigen_grad_cam_has_the_sign_of_the_evidence(x: Tensor) -> None:
    """Its map goes with HiResCAM's, whatever stands before: turned activations are turned evidence."""
    net = Normed(affine=False).eval()
    found = maps(net, x, EigenGradCAM(center=False))
    hires = cfcam.explain(net, x, "hires-cam", targets=0, layer="place").maps["hires-cam"]
    assert ((found * hires).flatten(2).sum(2) > 0).all()
    torch.testing.assert_close(maps(net, x, EigenGradCAM(center=False), sign=-1.0), -found)
