"""The contract in three dimensions, on volumes whose axes all differ: nothing may take one axis for another."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam import Status
from tests.contract.snapshot import snapshot
from tests.contract.test_methods import (
    CLASSLESS,
    METHODS,
    SIGNED,
    SOFTMAX_WEIGHTS,
    assert_same,
    maps_of,
    similarity,
)
from tests.networks import GapNet, redundant, rescale

# Of these channels the published setting keeps one cluster alone: its weight is positive for both classes, and its map
# the same, a flaw of the publication that docs/methods/cf-cam.md describes.
ONE_CLUSTER = {"cf-cam-bilateral"}


@pytest.fixture
def net() -> GapNet:
    torch.manual_seed(1)
    return redundant(rescale(GapNet(3, channels=16, norm=True))).eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 8, 12, 10, generator=torch.Generator().manual_seed(2))


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    return request.param


def test_shape_finiteness_and_heatmaps_on_the_inputs_grid(method: str, net: GapNet, x: Tensor) -> None:
    e = cfcam.explain(net, x, method, targets=[0, 2], layer="features")
    assert e.maps[method].shape == (2, 2, 4, 6, 5)
    assert e.maps[method].isfinite().all()
    heat = e.heatmaps(method)
    assert heat.shape == (2, 2, 8, 12, 10)
    assert (heat >= 0).all()
    peaks = heat.flatten(2).amax(2)
    for n in range(2):
        for k in range(2):
            assert peaks[n, k] == pytest.approx(1.0 if e.status[method][n, k] == Status.OK else 0.0, abs=1e-6)
    assert (peaks == 1).any()
    if method not in SIGNED | {"cam", "hires-cam", "eigen-grad-cam", "libra-grad"}:
        assert (e.maps[method] >= 0).all()


def test_a_batch_equals_its_volumes_one_by_one(method: str, net: GapNet, x: Tensor) -> None:
    together = maps_of(method, net, x)
    assert_same(torch.cat([maps_of(method, net, volume[None]) for volume in x]), together)


def test_k_targets_equal_k_calls(method: str, net: GapNet, x: Tensor) -> None:
    together = maps_of(method, net, x, targets=[3, 0])
    assert_same(torch.cat([maps_of(method, net, x, targets=c) for c in (3, 0)], dim=1), together)


def test_targets_volume_by_volume(method: str, net: GapNet, x: Tensor) -> None:
    mixed = maps_of(method, net, x, targets=torch.tensor([2, 0]))
    single = torch.cat([maps_of(method, net, x[n : n + 1], targets=c) for n, c in enumerate((2, 0))])
    assert_same(mixed, single)


def test_the_class_matters(method: str, net: GapNet, x: Tensor) -> None:
    heat = cfcam.explain(net, x, method, targets=[0, 2], layer="features").heatmaps(method)
    difference = float((heat[:, 0] - heat[:, 1]).abs().mean())
    if method in CLASSLESS:
        assert difference == 0
    elif method not in SOFTMAX_WEIGHTS | ONE_CLUSTER:
        assert difference > 0.01


@pytest.mark.parametrize("order", [(4, 2, 3), (3, 4, 2)])
def test_axes_that_are_exchanged_are_exchanged_in_the_map(
    method: str, order: tuple[int, ...], net: GapNet, x: Tensor
) -> None:
    if method in ("ss-cam", "is-cam", "smooth-grad-cam++"):
        pytest.skip("its noise is drawn in the order of the voxels")
    turned = GapNet(3, channels=16, norm=True).eval()
    turned.load_state_dict(net.state_dict())
    with torch.no_grad():
        for module in turned.modules():
            if isinstance(module, nn.Conv3d):
                module.weight.copy_(module.weight.permute(0, 1, *order).clone())
    expected = maps_of(method, net, x, targets=[0, 2]).permute(0, 1, *order)
    assert_same(maps_of(method, turned, x.permute(0, 1, *order), targets=[0, 2]), expected, 2e-4)


def test_nothing_is_left_behind(method: str, net: GapNet, x: Tensor) -> None:
    state = snapshot(net)
    cfcam.explain(net, x, method, layer="features")
    assert snapshot(net) == state


def test_float64(method: str, net: GapNet, x: Tensor) -> None:
    coarse = cfcam.explain(net, x, method, targets=[0, 2], layer="features").heatmaps(method)
    exact = cfcam.explain(net.double(), x.double(), method, targets=[0, 2], layer="features")
    assert exact.maps[method].dtype == torch.float64
    assert similarity(coarse.double(), exact.heatmaps(method)) > 0.999
