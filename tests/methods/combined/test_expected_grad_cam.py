"""Expected Grad-CAM against its expectation, sample by sample."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam.errors import MethodError
from cfcam.methods import ExpectedGradCAM, GradCAM
from cfcam.methods.scored.score_cam import blurred
from tests.methods.test_oracles import inputs, network
from tests.networks import FlattenNet, GapNet


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_by_the_formula(dims: int) -> None:
    net, x = network(dims, FlattenNet, channels=4), inputs(dims)[:2]
    method = ExpectedGradCAM(samples=3, noise=0.2, seed=7)
    maps = cfcam.explain(net, x, method, targets=[1, 2], layer="features").maps["expected-grad-cam"]
    for column, c in enumerate((1, 2)):
        for n in range(2):
            generator, weights = torch.Generator().manual_seed(7), torch.zeros(4, dtype=torch.float64)
            for place in method.places():
                draw = torch.randn(1, *x.shape[1:], generator=generator)
                base = blurred(x)[n] + 0.2 * (x[n].max() - x[n].min()) * draw[0]
                A = net.features((base + place * (x[n] - base))[None]).detach().requires_grad_()
                (g,) = torch.autograd.grad(net.tail(A)[0, c], A)
                weights += g[0].flatten(1).mean(1) / 3
            A = net.features(x[n : n + 1])[0].detach()
            expected = (weights.reshape(-1, *[1] * dims) * A).sum(0).relu()
            torch.testing.assert_close(maps[n, column], expected)


def test_places_lie_one_in_each_part() -> None:
    places = ExpectedGradCAM(samples=5).places()
    assert [int(5 * t) for t in places] == [0, 1, 2, 3, 4]


def test_where_the_gradient_is_the_same_everywhere_it_is_grad_cam() -> None:
    net, x = network(2, GapNet), inputs(2)
    e = cfcam.explain(net, x, [ExpectedGradCAM(samples=2), GradCAM()], targets=1, layer="features")
    torch.testing.assert_close(e.maps["expected-grad-cam"], e.maps["grad-cam"])


def test_a_gradient_that_has_vanished_at_the_picture_is_found_on_the_way() -> None:
    class Sure(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            total = self.layer(x).clamp(0, 1).flatten(1).sum(1)  # nothing more to gain where a place is above 1
            return torch.stack([total, -total], 1)

    x = torch.zeros(1, 1, 8, 8)
    x[0, 0, 3, 3] = 8.0
    e = cfcam.explain(Sure(), x, [ExpectedGradCAM(noise=0.0), "hires-cam"], targets=0, layer="layer")
    assert e.maps["hires-cam"][0, 0, 3, 3] == 0
    assert e.maps["expected-grad-cam"][0, 0].argmax() == 3 * 8 + 3


@pytest.mark.parametrize("settings", [{"samples": 0}, {"noise": -0.1}], ids=str)
def test_parameters_that_make_no_sense_are_refused(settings: dict) -> None:
    with pytest.raises(MethodError, match=f"ExpectedGradCAM.{next(iter(settings))}="):
        ExpectedGradCAM(**settings)
