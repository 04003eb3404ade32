"""Several layers from one pass: what is found is what a pass for each layer finds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam.capture import Capture, Network
from cfcam.errors import LayerError
from cfcam.methods import Fusion, GradCAM
from tests.contract.snapshot import snapshot
from tests.networks import GapNet
from tests.token_networks import TokenNet


class Deep(nn.Module):
    """Nested blocks, in-place activations, a branch beside them, and a layer that reaches no score."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.block = nn.Sequential(nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 1))
        self.side = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.unused = nn.Conv2d(8, 2, 1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        A = self.block(self.act(self.stem(x))) * self.side(x).tanh()
        self.unused(A)
        A += 1
        return self.head(A.tanh().mean((2, 3)))


LAYERS = ["side", "stem", "block", "block.0", "block.2"]


@pytest.fixture
def net() -> Deep:
    torch.manual_seed(3)
    return Deep().double().eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 8, 6, dtype=torch.float64)


def captured(net: nn.Module, x: Tensor, layer: str = "block", targets: object = None) -> Capture:
    return Capture(Network(net), x, layer=layer, targets=targets)


def test_each_layer_is_as_a_pass_of_its_own_finds_it(net: Deep, x: Tensor) -> None:
    capture = captured(net, x, targets=[0, 3])
    for one in capture.at(LAYERS):
        alone = capture.again(layer=one.layer)
        torch.testing.assert_close(one.activations, alone.activations)
        torch.testing.assert_close(one.gradients, alone.gradients)
        torch.testing.assert_close(one.scores, capture.scores)
    assert [one.layer for one in capture.at(LAYERS)] == LAYERS


def test_layers_of_tokens_and_of_their_patches() -> None:
    torch.manual_seed(8)
    net = TokenNet((3, 2), width=12, prefix=2).double().eval()
    x = torch.randn(2, 3, 6, 4, dtype=torch.float64)
    capture = captured(net, x, "blocks.2.norm1", targets=[1, 0])
    for one in capture.at(["blocks.0", "blocks.1.norm1", "blocks.2.norm1"]):
        alone = capture.again(layer=one.layer)
        assert one.grid == alone.grid
        torch.testing.assert_close(one.activations, alone.activations)
        torch.testing.assert_close(one.gradients, alone.gradients)


@pytest.mark.parametrize("limit", [None, 1])
def test_one_pass_and_one_gradient_a_target(
    limit: int | None, net: Deep, x: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    net.register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))
    backward: list[int] = []
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *args, **more: (backward.append(1), grad(*args, **more))[1])
    capture = captured(net, x, targets="all")
    found = [[one.gradients for one in part.at(LAYERS)] for part in ([capture] if limit is None else capture.split(1))]
    assert passes == [2, 2]
    assert len(backward) == 4
    for n, one in enumerate(capture.at(LAYERS)):
        assert torch.equal(torch.cat([part[n] for part in found], 1), one.gradients)


def test_parts_of_one_layers_targets_are_columns_of_the_gradients(net: Deep, x: Tensor) -> None:
    for one in captured(net, x, targets="all").at(LAYERS):
        parts = [part.gradients for part in one.split(1)]
        assert len(parts) == 4
        assert torch.equal(torch.cat(parts, 1), one.gradients)


def test_another_input_or_score_of_a_layer_is_its_own(net: Deep, x: Tensor) -> None:
    capture = captured(net, x, targets=[0, 3])
    one = capture.at(["stem", "block"])[0]
    expected = capture.again(x + 1, layer="stem").gradients
    torch.testing.assert_close(one.again(x + 1).gradients, expected)
    asked = one.asked(1)
    assert asked is not None
    torch.testing.assert_close(asked.gradients, captured(net, x, "stem", targets=1).gradients)
    torch.testing.assert_close(one.disturbed(lambda g: 2 * g).gradients, 2 * one.gradients)


def test_masked_layers_are_scored_at_each(net: Deep, x: Tensor) -> None:
    capture = captured(net, x, targets=1)
    for one in capture.at(["stem", "block.2"]):
        images = torch.tensor([1, 0])
        masked = one.activations[images] / 2
        expected = capture.again(layer=one.layer).rescore_activations(masked, images)
        torch.testing.assert_close(one.rescore_activations(masked, images), expected)


def test_a_layer_that_reaches_no_score_is_named_when_its_gradient_is_asked_for(net: Deep, x: Tensor) -> None:
    block, unused = captured(net, x).at(["block", "unused"])
    assert block.gradients.abs().sum() > 0
    with pytest.raises(LayerError, match="does not depend on layer 'unused'"):
        _ = unused.gradients


def test_a_layer_that_is_not_there(net: Deep, x: Tensor) -> None:
    with pytest.raises(LayerError, match="stemm"):
        captured(net, x).at(["stem", "stemm"])


def test_a_network_with_a_block_without_gradients_of_its_own(x: Tensor) -> None:
    torch.manual_seed(1)

    class Frozen(GapNet):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                A = self.features(x)
            return self.tail(A)

    net = Frozen(channels=8).double().eval()
    capture = captured(net, x, "features", targets=[0, 1])
    torch.testing.assert_close(capture.at(["features"])[0].gradients, capture.gradients)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_nothing_is_left_behind(context: type, net: Deep, x: Tensor) -> None:
    with context():
        net.train()
        state = snapshot(net)
        maps = cfcam.explain(net, x, Fusion(GradCAM(), layers=("stem", "block")), layer="block").maps["fusion"]
        assert snapshot(net) == state
    assert maps.isfinite().all()


def test_half_precision_keeps_the_gradients_of_every_layer(x: Tensor) -> None:
    torch.manual_seed(3)
    net = Deep().half().eval()
    with torch.no_grad():
        net.head.weight.mul_(1e-3)  # 24 places further, less than float16 knows
    exact = Deep().double().eval()
    exact.load_state_dict(net.state_dict())
    coarse, fine = captured(net, x.half(), targets=2), captured(exact, x.half().double(), targets=2)
    for one, other in zip(coarse.at(LAYERS), fine.at(LAYERS), strict=True):
        error = (one.gradients - other.gradients).norm() / other.gradients.norm()
        assert error < 0.02, one.layer
