"""The contract on networks that work on tokens: every registered method, with a class token and with their mean."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import cfcam
from cfcam.errors import MethodError
from tests.contract.snapshot import snapshot
from tests.networks import GapNet
from tests.token_networks import TokenNet

METHODS = cfcam.list_methods()
ATTENTION = ("attention-rollout", "legrad")
SAME_FOR_EACH_CLASS = {"attention-rollout", "eigen-cam", "kpca-cam"}
NEEDS_CONVOLUTIONS = {"winsor-cam"}
GRID = (5, 4)


@pytest.fixture(params=["class", "mean"])
def net(request: pytest.FixtureRequest) -> TokenNet:
    torch.manual_seed(8)
    # In float64: the weights of grad-cam++ divide by sums that may be near 0, where rounding would be seen.
    return TokenNet(GRID, width=24, prefix=2, reads=request.param).double().eval()


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest, net: TokenNet) -> str:
    if request.param in NEEDS_CONVOLUTIONS:
        pytest.skip(f"{request.param} does not apply to a network of tokens: see the test of its refusal")
    if request.param == "cam" and net.reads == "class":
        pytest.skip("cam does not apply where the classifier reads one token: see the test of its refusal")
    return request.param


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 3, 10, 8, dtype=torch.float64)


def maps_of(method: str, net: TokenNet, x: Tensor, targets: object = None) -> Tensor:
    return cfcam.explain(net, x, method, targets=targets).maps[method]


@pytest.mark.parametrize("name", sorted(NEEDS_CONVOLUTIONS))
def test_what_needs_convolutions_says_so(name: str, net: TokenNet, x: Tensor) -> None:
    with pytest.raises(MethodError, match=rf"{name} .* TokenNet has 1 .*: name layers, .* or use grad-cam"):
        maps_of(name, net, x)


def assert_same(actual: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= tolerance * expected.abs().max()


def test_the_layer_is_the_last_that_patches_matter_at(net: TokenNet, x: Tensor) -> None:
    e = cfcam.explain(net, x, "grad-cam")
    assert e.layer == ("blocks.2.norm1" if net.reads == "class" else "norm")


def test_shape_and_finiteness(method: str, net: TokenNet, x: Tensor) -> None:
    maps = maps_of(method, net, x, targets=[0, 2])
    assert maps.shape == (3, 2, *GRID)
    assert maps.isfinite().all()
    assert (maps.amax((2, 3)) > 0).any()
    assert not maps.requires_grad


def test_a_batch_equals_its_images_one_by_one(method: str, net: TokenNet, x: Tensor) -> None:
    together = maps_of(method, net, x)
    assert_same(torch.cat([maps_of(method, net, image[None]) for image in x]), together)


def test_k_targets_equal_k_calls(method: str, net: TokenNet, x: Tensor) -> None:
    together = maps_of(method, net, x, targets=[3, 0, 1])
    assert_same(torch.cat([maps_of(method, net, x, targets=c) for c in (3, 0, 1)], dim=1), together)


def test_targets_image_by_image(method: str, net: TokenNet, x: Tensor) -> None:
    classes = torch.tensor([2, 0, 1])
    mixed = maps_of(method, net, x, targets=classes)
    assert_same(mixed, torch.cat([maps_of(method, net, x[n : n + 1], targets=int(c)) for n, c in enumerate(classes)]))


def test_the_class_matters(method: str, net: TokenNet, x: Tensor) -> None:
    heat = cfcam.explain(net, x, method, targets=[0, 2]).heatmaps(method)
    difference = float((heat[:, 0] - heat[:, 1]).abs().mean())
    if method in SAME_FOR_EACH_CLASS:
        assert difference == 0
    elif method != "cf-cam-reference":  # its softmax removes the class: a documented flaw of the publication
        assert difference > 0.02


@pytest.mark.parametrize("context", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_grad_modes(method: str, context: type, net: TokenNet, x: Tensor) -> None:
    before = maps_of(method, net, x, targets=[0, 1])
    with context():
        state = snapshot(net)
        maps = maps_of(method, net, x.clone(), targets=[0, 1])
        assert snapshot(net) == state
    assert_same(maps, before)


def test_frozen_in_train_mode_with_gradients(method: str, net: TokenNet, x: Tensor) -> None:
    before = maps_of(method, net, x, targets=1)
    net(x).sum().backward()
    net.train().requires_grad_(False)
    state = snapshot(net)
    assert_same(maps_of(method, net, x, targets=1), before)
    assert snapshot(net) == state


def test_a_model_built_under_inference_mode(method: str, net: TokenNet, x: Tensor) -> None:
    with torch.inference_mode():
        torch.manual_seed(8)
        frozen = TokenNet(GRID, width=24, prefix=2, reads=net.reads).double().eval()
    assert_same(maps_of(method, frozen, x, targets=1), maps_of(method, net, x, targets=1))


def test_what_is_not_finite_says_so_and_stays_with_its_image(method: str, net: TokenNet, x: Tensor) -> None:
    clean = cfcam.explain(net, x, method, targets=0)
    x[1, 0, 3, 3] = torch.nan
    e = cfcam.explain(net, x, method, targets=0, layer=clean.layer)
    assert e.status[method][1, 0] is cfcam.Status.NOT_FINITE
    assert_same(e.maps[method][[0, 2]], clean.maps[method][[0, 2]])


def test_a_volume_of_tokens(method: str, net: TokenNet) -> None:
    torch.manual_seed(8)
    deep = TokenNet((3, 3, 4), width=24, prefix=2, reads=net.reads).eval()
    assert maps_of(method, deep, torch.randn(2, 3, 6, 6, 8), targets=[0, 1]).shape == (2, 2, 3, 3, 4)


def test_cam_is_refused_where_the_classifier_reads_one_token(x: Tensor) -> None:
    with pytest.raises(MethodError, match=r"cam does not apply at layer 'blocks.2.norm1' .* use grad-cam"):
        cfcam.explain(TokenNet(GRID).double().eval(), x, "cam")


@pytest.mark.parametrize("method", ATTENTION)
def test_a_network_without_attention_is_refused(method: str, x: Tensor) -> None:
    net = GapNet().double().eval()
    state = snapshot(net)
    with pytest.raises(MethodError, match=r"attn_implementation='eager' .* use grad-cam") as error:
        cfcam.explain(net, x, method)
    assert "\n" not in str(error.value)
    assert snapshot(net) == state
