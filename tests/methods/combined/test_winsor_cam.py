"""Winsor-CAM against the authors' arithmetic written out in NumPy, layer by layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam.errors import LayerError, MethodError
from cfcam.methods import GradCAM, WinsorCAM
from cfcam.methods.combined.winsor_cam import winsorized
from tests import oracles
from tests.methods.test_oracles import assert_equal_maps
from tests.networks import CONV

LAYERS = ("a", "b", "c")
SIZES = {1: (14,), 2: (8, 6), 3: (4, 6, 4)}


class Three(nn.Module):
    """Three convolutions on two grids."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        conv = CONV[dims]
        self.a, self.b = conv(3, 4, 3, padding=1), conv(4, 5, 3, stride=2, padding=1)
        self.c, self.head = conv(5, 6, 1), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.c(self.b(self.a(x).relu()).relu()).tanh().flatten(2).mean(2))


def network(dims: int) -> Three:
    torch.manual_seed(4)
    return Three(dims).double().eval()


def seen(net: Three, x: Tensor, c: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Activations and gradients (C, *s) of each layer for one image (1, C, *s), by plain differentiation."""
    kept: dict[str, Tensor] = {}
    handles = [
        net.get_submodule(n).register_forward_hook(lambda m, a, out, n=n: kept.__setitem__(n, out)) for n in LAYERS
    ]
    score = net(x)[0, c]
    for handle in handles:
        handle.remove()
    gradients = torch.autograd.grad(score, list(kept.values()))
    return {n: (kept[n][0].detach().numpy(), g[0].numpy()) for n, g in zip(kept, gradients, strict=True)}


def winsor_cam(layers: dict, size: tuple[int, ...], percentile: float, importance: str) -> np.ndarray:  # type: ignore[type-arg]
    importances, maps = [], []
    for A, g in layers.values():
        weights = np.array([channel.mean() for channel in g])
        importances.append(max({"mean": np.mean, "max": np.max}[importance](weights), 0.0))
        map_ = oracles.grad_cam(A, g)
        spread = map_.max() - map_.min()
        maps.append(oracles.upsample((map_ - map_.min()) / spread if spread > 0 else 0 * map_, size))
    positive = [i for i in importances if i > 0]
    if positive:
        cut = np.percentile(positive, percentile)
        importances = [min(i, cut) for i in importances]
        positive = [i for i in importances if i > 0]
    out = np.zeros(size)
    for i, map_ in zip(importances, maps, strict=True):
        if i > 0:
            spread = max(positive) - min(positive)
            out += (0.1 + 0.9 * (i - min(positive)) / spread if spread > 0 else 1.0) * map_
    return out


@pytest.mark.parametrize("settings", [{}, {"percentile": 40.0}, {"percentile": 100.0, "importance": "max"}], ids=str)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_by_the_formula(dims: int, settings: dict) -> None:
    net, x = network(dims), torch.randn(3, 3, *SIZES[dims], dtype=torch.float64)
    method = WinsorCAM(**settings)
    maps = cfcam.explain(net, x, method, targets=[0, 1, 2, 3], layer="c").maps["winsor-cam"]
    expected = [
        [winsor_cam(seen(net, x[n : n + 1], c), SIZES[dims], method.percentile, method.importance) for c in range(4)]
        for n in range(3)
    ]
    assert_equal_maps(maps, np.array(expected))


def test_by_hand() -> None:
    """Two layers of one channel each, of equal maps: their weights are 0.1 and 1, and at percentile 0 both 1."""
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Conv2d(1, 1, 1, bias=False), nn.AdaptiveAvgPool2d(1))
    net.append(nn.Flatten()).append(nn.Linear(1, 2, bias=False))
    with torch.no_grad():
        net[0].weight.fill_(1.0)
        net[1].weight.fill_(3.0)  # so the gradient is three times as large in front of it
        net[4].weight.copy_(torch.tensor([[1.0], [-1.0]]))
    x = torch.tensor([[[[1.0, 2.0, 3.0]]]])
    for percentile, weight in ((100.0, 1.1), (0.0, 2.0)):
        e = cfcam.explain(net, x, WinsorCAM(percentile), targets=[0, 1], layer="1")
        torch.testing.assert_close(e.maps["winsor-cam"][0, 0], weight * torch.tensor([[0.0, 0.5, 1.0]]))
        assert (e.maps["winsor-cam"][0, 1] == 0).all()  # every layer speaks against class 1


class TestWinsorized:
    def test_by_hand(self) -> None:
        found = winsorized(torch.tensor([0.0, 1.0, 2.0, 3.0, 100.0]), 50.0)
        # of 1, 2, 3, 100 the median is 2.5: 1, 2, 2.5, 2.5
        torch.testing.assert_close(found, torch.tensor([0.0, 0.1, 0.1 + 0.9 * 1 / 1.5, 1.0, 1.0]))

    def test_nothing_positive_stays_nothing(self) -> None:
        assert (winsorized(torch.zeros(4, 2), 90.0) == 0).all()

    def test_equal_importances_are_one(self) -> None:
        assert winsorized(torch.tensor([0.0, 7.0, 7.0]), 90.0).tolist() == [0.0, 1.0, 1.0]

    def test_images_and_classes_are_winsorised_each_by_itself(self) -> None:
        many = torch.rand(6, 2, 3).double()
        found = winsorized(many, 70.0)
        for n, k in np.ndindex(2, 3):
            torch.testing.assert_close(found[:, n, k], winsorized(many[:, n, k], 70.0))

    def test_what_is_not_finite_shows(self) -> None:
        assert winsorized(torch.tensor([1.0, torch.nan, 2.0]), 90.0).isnan().any()


def test_named_layers_are_taken_in_any_order() -> None:
    net, x = network(2), torch.randn(2, 3, 8, 6, dtype=torch.float64)
    there, back = (
        cfcam.explain(net, x, WinsorCAM(layers=names), targets=1, layer="c").maps["winsor-cam"]
        for names in (("b", "c"), ("c", "b"))
    )
    torch.testing.assert_close(there, back)
    assert there.shape == (2, 1, 4, 3)


def test_one_pass_for_all_layers_and_one_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = network(2), torch.randn(2, 3, 8, 6, dtype=torch.float64)
    passes: list[int] = []
    net.register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))
    backward: list[int] = []
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *args, **more: (backward.append(1), grad(*args, **more))[1])
    cfcam.explain(net, x, WinsorCAM(layers=LAYERS), targets=1, layer="c")
    assert passes == [2, 2]
    assert len(backward) == 1
    cfcam.explain(net, x, [GradCAM(), WinsorCAM()], targets=1, layer="c")
    assert passes[2:] == [2, 1, 2]  # one picture tells which convolutions there are


def test_a_convolution_beside_the_way_to_the_score_is_left_out_and_named_if_it_was_asked_for() -> None:
    class Beside(Three):
        def forward(self, x: Tensor) -> Tensor:
            self.aside(x)
            return super().forward(x)

    torch.manual_seed(4)
    net = Beside(2)
    net.aside = nn.Conv2d(3, 2, 1)
    net, x = net.double().eval(), torch.randn(1, 3, 8, 6, dtype=torch.float64)
    plain = cfcam.explain(net, x, WinsorCAM(layers=LAYERS), layer="c").maps["winsor-cam"]
    torch.testing.assert_close(cfcam.explain(net, x, "winsor-cam", layer="c").maps["winsor-cam"], plain)
    with pytest.raises(LayerError, match="does not depend on layer 'aside'"):
        cfcam.explain(net, x, WinsorCAM(layers=("a", "aside")), layer="c")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"percentile": 101.0}, "a number from 0 to 100"),
        ({"percentile": float("nan")}, "a number from 0 to 100"),
        ({"layers": "layer4"}, "a tuple of names of layers"),
        ({"importance": "sum"}, "'mean' or 'max'"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        WinsorCAM(**settings)


def test_provenance_says_which_percentile() -> None:
    assert WinsorCAM(80.0, ("a",)).parameters() == {
        "method": "WinsorCAM",
        "percentile": 80.0,
        "layers": ["a"],
        "importance": "mean",
    }
