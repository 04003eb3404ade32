"""The companions on the input's grid: by hand, by loops, by Captum, and the contract that they can keep."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import cfcam
from cfcam import Status
from cfcam.errors import MethodError, MissingExtraError
from cfcam.methods import GradCAM, IntegratedGradients, SmoothGrad, list_pixel_methods
from cfcam.methods.pixel.input_gradients import Guided
from tests.contract.snapshot import snapshot
from tests.methods.test_oracles import inputs, network
from tests.networks import FlattenNet, GapNet
from tests.token_networks import TokenNet

PIXEL = list_pixel_methods()


def maps_of(method: object, net: nn.Module, x: Tensor, targets: object = None, layer: str = "features") -> Tensor:
    e = cfcam.explain(net, x, {"it": method}, targets=targets, layer=layer)
    return e.maps["it"]


@pytest.fixture(params=PIXEL)
def method(request: pytest.FixtureRequest) -> str:
    return request.param


class TestContract:
    @pytest.mark.parametrize("dims", [1, 2, 3])
    def test_maps_on_the_inputs_grid_image_by_image_and_class_by_class(self, method: str, dims: int) -> None:
        net, x = network(dims, GapNet, channels=6), inputs(dims)
        both = maps_of(method, net, x, targets=[0, 2])
        assert both.shape == (3, 2, *x.shape[2:])
        assert both.isfinite().all()
        assert not both.requires_grad
        assert (both[:, 0] - both[:, 1]).abs().max() > 0.01 * both.abs().max()
        for n, c in ((1, 0), (2, 1)):
            torch.testing.assert_close(maps_of(method, net, x[n : n + 1], (0, 2)[c]), both[n : n + 1, c : c + 1])

    @pytest.mark.parametrize("context", [torch.no_grad, torch.enable_grad, torch.inference_mode])
    def test_nothing_is_left_behind(self, method: str, context: type) -> None:
        net, x = network(2, GapNet, channels=6), inputs(2)
        expected = maps_of(method, net, x, 1)
        net.requires_grad_(False).train()
        with context():
            state = snapshot(net)
            maps = maps_of(method, net, x.clone(), 1)
            assert snapshot(net) == state
        torch.testing.assert_close(maps, expected)

    def test_what_is_not_finite_stays_with_its_image(self, method: str) -> None:
        net, x = network(2, GapNet, channels=6), inputs(2)
        expected = maps_of(method, net, x, 1)
        x[1, 0, 3, 3] = torch.nan
        e = cfcam.explain(net, x, method, targets=1, layer="features")
        assert e.status[method][1, 0] is Status.NOT_FINITE
        torch.testing.assert_close(e.maps[method][[0, 2]], expected[[0, 2]])

    def test_one_channel_and_precision(self, method: str) -> None:
        torch.manual_seed(2)
        net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        net = net.append(nn.Linear(4, 3)).eval()
        x = torch.randn(2, 1, 6, 5)
        exact = maps_of(method, net, x, 1, layer="1")
        coarse = maps_of(method, net.bfloat16(), x.bfloat16(), 1, layer="1")
        assert coarse.dtype == torch.float32
        assert np.corrcoef(coarse.flatten(), exact.flatten())[0, 1] > 0.97

    def test_tokens(self, method: str) -> None:
        torch.manual_seed(8)
        net = TokenNet((3, 2), width=12, prefix=2).double().eval()
        e = cfcam.explain(net, torch.randn(2, 3, 6, 4, dtype=torch.float64), method, targets=1)
        assert e.maps[method].shape == (2, 1, 6, 4)
        positive = e.maps[method].relu()
        peak = positive.amax((2, 3), keepdim=True)
        torch.testing.assert_close(e.heatmaps(method), torch.where(peak == 0, 0, positive / peak))

    @pytest.mark.parametrize("closed", [torch.no_grad, torch.inference_mode])
    def test_a_network_that_lets_no_gradient_through_is_named(self, method: str, closed: type) -> None:
        class Closed(GapNet):
            def forward(self, x: Tensor) -> Tensor:
                with closed():
                    A = self.features(x)
                return self.tail(A.clone() if closed is torch.no_grad else A * 1)

        net, x = Closed(channels=6).eval(), torch.randn(1, 3, 8, 8)
        with pytest.raises(MethodError, match=r"use occlusion or score-cam|does not depend on the input") as error:
            maps_of(method, net, x, 1)
        assert "\n" not in str(error.value)


def test_smooth_grad_by_the_formula() -> None:
    net, x = network(2, FlattenNet), inputs(2)
    expected = torch.zeros(3, 14, 10, dtype=torch.float64)
    generator, total = torch.Generator().manual_seed(5), torch.zeros_like(x)
    for _ in range(3):
        draw = torch.randn(1, *x.shape[1:], generator=generator)
        for n in range(3):
            noisy = (x[n] + 0.2 * (x[n].max() - x[n].min()) * draw[0]).requires_grad_()
            total[n] += torch.autograd.grad(net(noisy[None])[0, 2], noisy)[0] / 3
    expected = total.abs().sum(1)
    torch.testing.assert_close(maps_of(SmoothGrad(3, 0.2, 5), net, x, 2)[:, 0], expected)


class TestGuided:
    def test_by_hand(self) -> None:
        """y = relu(a) - relu(b): guided, what comes back to b is negative, and stopped."""
        net = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        net.append(nn.Linear(2, 2, bias=False))
        with torch.no_grad():
            net[0].weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1))
            net[4].weight.copy_(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
        x = torch.tensor([[[[2.0, -3.0, 4.0]]]])
        # Channels relu(x) and relu(-x). Class 0: slopes 1/3, -1/3, 1/3; class 1: 1/3 each, of which the second comes
        # by way of a gradient of -1/3 at its ReLU.
        found = maps_of("guided-backprop", net, x, [0, 1], layer="1")
        third = 1 / 3
        torch.testing.assert_close(found[0, 0], torch.tensor([[third, -third, third]]))
        torch.testing.assert_close(found[0, 1], torch.tensor([[third, 0.0, third]]))

    @pytest.mark.parametrize("dims", [1, 2, 3])
    def test_it_is_captums_where_relus_are_modules(self, dims: int) -> None:
        from captum.attr import GuidedBackprop as Captums

        net, x = network(dims, GapNet, channels=6), inputs(dims)
        expected = Captums(net).attribute(x.clone().requires_grad_(), target=1).sum(1)
        torch.testing.assert_close(maps_of("guided-backprop", net, x, 1)[:, 0], expected.detach())

    @pytest.mark.parametrize(
        "relu",
        [
            F.relu,
            torch.relu,
            lambda t: t.relu(),
            lambda t: (t * 1).relu_(),
            lambda t: F.relu(t * 1, inplace=True),
            nn.ReLU(inplace=False),
            lambda t: nn.ReLU(inplace=True)(t * 1),
            lambda t: F.relu6(t / 100) * 100,
            lambda t: nn.ReLU6()(t / 100) * 100,
        ],
    )
    def test_however_a_relu_is_written(self, relu) -> None:
        x = torch.tensor([-1.0, 1.0, 2.0], requires_grad=True)
        with Guided():
            y = relu(x)
        (g,) = torch.autograd.grad((y * torch.tensor([1.0, -1.0, 1.0])).sum(), x)
        torch.testing.assert_close(g, torch.tensor([0.0, 0.0, 1.0]))

    def test_guided_grad_cam_is_the_product(self) -> None:
        net, x = network(2, GapNet, channels=6), inputs(2)
        e = cfcam.explain(net, x, ["guided-backprop", "guided-grad-cam", GradCAM()], targets=[0, 1], layer="features")
        where = F.interpolate(e.maps["grad-cam"], x.shape[2:], mode="bilinear", align_corners=False)
        torch.testing.assert_close(e.maps["guided-grad-cam"], e.maps["guided-backprop"] * where)


class TestIntegratedGradients:
    @pytest.mark.parametrize("baseline", ["zero", "blur", 0.5])
    def test_the_map_adds_up_to_the_change_of_the_score(self, baseline: object) -> None:
        net, x = network(2, FlattenNet), inputs(2)
        maps = maps_of(IntegratedGradients(baseline, steps=64), net, x, [0, 1])  # type: ignore[arg-type]
        base = {"zero": torch.zeros_like(x), 0.5: torch.full_like(x, 0.5)}.get(baseline)  # type: ignore[call-overload]
        if base is None:
            from cfcam.methods.scored.score_cam import blurred

            base = blurred(x)
        due = (net(x) - net(base))[:, :2]
        torch.testing.assert_close(maps.sum((2, 3)), due, rtol=0.02, atol=1e-3)

    def test_of_a_linear_network_each_place_has_its_weight_times_its_value(self) -> None:
        net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
        x = torch.randn(2, 2, 3, 4)
        expected = (net[3].weight[1].reshape(1, 2, 1, 1) * x / 12).sum(1)
        torch.testing.assert_close(maps_of("integrated-gradients", net, x, 1, layer="0")[:, 0], expected.detach())

    def test_a_sum_that_misses_the_difference_is_refused(self) -> None:
        class Steep(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.Identity()

            def forward(self, x: Tensor) -> Tensor:
                total = self.layer(x).flatten(1).sum(1)
                return torch.stack([(50 * (total - 1)).tanh(), total], 1)

        x = torch.ones(1, 1, 2, 3)
        with pytest.raises(MethodError, match=r"image 0 add up to .* difference .* is 2: take more steps than 4"):
            maps_of(IntegratedGradients(steps=4), Steep(), x, 0, layer="layer")
        assert maps_of(IntegratedGradients(steps=4), Steep(), x, 1, layer="layer").sum() == pytest.approx(6)

    def test_without_captum_it_says_what_to_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "captum.attr", None)
        with pytest.raises(
            MissingExtraError, match=r"needs captum, which is not installed: pip install 'cfcam\[captum\]'"
        ):
            maps_of("integrated-gradients", GapNet().eval(), torch.randn(1, 3, 8, 8))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SmoothGrad(samples=0), "samples=0"),
        (lambda: SmoothGrad(noise=-1), "noise=-1"),
        (lambda: IntegratedGradients(steps=0), "steps=0"),
        (lambda: IntegratedGradients(baseline="grey"), "'zero', 'blur' or a number"),  # type: ignore[arg-type]
        (lambda: IntegratedGradients(tolerance=0), "tolerance=0"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(make, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        make()
