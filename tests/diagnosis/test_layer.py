"""Checks of the layer that is mapped, of the way to the score, and of the maps that come out."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam import diagnose
from tests.diagnosis.networks import Net, gravest, image


def test_no_layer_with_places() -> None:
    found = diagnose(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)).eval(), image())
    assert gravest(found) == ["layer"]
    assert found.layer is None
    assert "before they are flattened" in found["layer"].advice


def test_a_layer_that_does_not_exist() -> None:
    found = diagnose(Net().eval(), image(), layer="feature")
    assert gravest(found) == ["layer"]
    assert "features" in found["layer"].seen


class Branches(Net):
    """With a shared activation, a branch that is never reached, and one that does not lead to the score."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.unused, self.side = nn.Identity(), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.pair, self.pool = nn.Softmax2d(), nn.AdaptiveAvgPool2d(1)

    def tail(self, A: Tensor) -> Tensor:
        self.side(A)
        return self.classifier(self.pool(self.shared(self.shared(A) + 1)).flatten(1))


@pytest.mark.parametrize(
    ("layer", "check", "words"),
    [
        ("shared", "layer", "runs 2 times"),
        ("unused", "layer", "did not run"),
        ("pool", "layer", "a grid of one place"),
        ("classifier", "layer", "cannot be told"),
        ("side", "gradient", "does not depend on layer"),
    ],
)
def test_layers_that_cannot_be_mapped(layer: str, check: str, words: str) -> None:
    found = diagnose(Branches().eval(), image(), layer=layer)
    assert gravest(found) == [check]
    assert words in found[check].seen + found[check].means
    assert "--layer features" in found[check].advice


def test_the_advice_to_take_another_layer_works() -> None:
    found = diagnose(Branches().eval(), image(), layer="shared")
    (other,) = re.findall(r"--layer (\S+)", found["layer"].advice)
    assert diagnose(Branches().eval(), image(), layer=other).ok
    assert found["layer"].values["candidates"][-1] == other
    assert "side" not in found["layer"].values["candidates"]


def test_a_grid_that_is_too_coarse() -> None:
    class Deep(Net):
        def __init__(self) -> None:
            super().__init__()
            steps = [layer for _ in range(3) for layer in (nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())]
            self.deep = nn.Sequential(*steps)
            self.last = nn.Conv2d(8, 8, 3, 2, 1)

        def tail(self, A: Tensor) -> Tensor:
            return super().tail(self.last(self.deep(A)))

    found = diagnose(Deep().eval(), image(size=32), layer="deep")
    assert found.ok
    assert found["grid"].severity == "warning"
    assert found["grid"].values == {"grid": [2, 2], "cell": [16, 16]}
    assert "--size 64" in found["grid"].advice
    assert "--layer" in found["grid"].advice
    lost = diagnose(Deep().eval(), image(size=32))
    assert lost.layer == "deep"
    assert diagnose(Deep().eval(), image(size=256))["grid"].severity == "ok"
    assert "'last' behind it has one place only" in diagnose(Deep().eval(), image(size=32))["grid"].means


def test_a_dead_layer_and_dead_channels() -> None:
    net = Net().eval()
    with torch.no_grad():
        net.features[2].bias[:6] = -100
    found = diagnose(net, image(), layer="features")
    assert found["activations"].severity == "warning"
    assert found["activations"].values["dead"] == pytest.approx(6 / 8)
    with torch.no_grad():
        net.features[2].bias.fill_(-100)
    found = diagnose(net, image(), layer="features")
    assert found["activations"].severity == "problem"
    assert "all zero" in found["activations"].seen


def test_an_in_place_activation_behind_the_layer() -> None:
    class InPlace(Net):
        def tail(self, A: Tensor) -> Tensor:
            return super().tail(A.sub_(0.1))

    found = diagnose(InPlace().eval(), image(), layer="features")
    assert found.ok
    assert found["in-place"].severity == "note"
    assert diagnose(Net().eval(), image(), layer="features")["in-place"].severity == "ok"


@pytest.mark.parametrize(
    "cut",
    [
        lambda A: A.detach(),
        lambda A: torch.from_numpy(A.detach().numpy()),
        lambda A: (A * 100).to(torch.int32).float() / 100,
    ],
)
def test_a_cut_chain_of_gradients(cut: object) -> None:
    class Cut(Net):
        def tail(self, A: Tensor) -> Tensor:
            return super().tail(cut(A))  # type: ignore[operator]

    found = diagnose(Cut().eval(), image(), layer="features")
    assert gravest(found) == ["gradient"]
    assert "score-cam" in found["gradient"].advice


def test_a_head_without_gradients() -> None:
    class Blocked(Net):
        def tail(self, A: Tensor) -> Tensor:
            with torch.no_grad():
                return super().tail(A)

    assert gravest(diagnose(Blocked().eval(), image(), layer="features")) == ["gradient"]
    assert gravest(diagnose(Blocked().eval(), None, layer="features")) == ["gradient"]


def test_rounding_gives_a_gradient_of_zero() -> None:
    class Rounded(Net):
        def tail(self, A: Tensor) -> Tensor:
            return super().tail((A * 100).round() / 100)

    found = diagnose(Rounded().eval(), image(), layer="features")
    assert gravest(found) == ["gradient"]
    assert "exactly 0" in found["gradient"].seen


def test_no_positive_evidence_with_reason_and_alternative() -> None:
    net = Net().eval()
    with torch.no_grad():
        net.classifier.weight.fill_(-1.0)
        net.classifier.bias.copy_(torch.tensor([5.0, 0.0, 0.0]))
    found = diagnose(net, image())
    assert found.ok
    assert found["evidence"].severity == "warning"
    assert found["evidence"].values["empty"] == 2
    assert "0 of 8 channels speak for the class" in found["evidence"].means
    for name in found["evidence"].values["methods_with_evidence"]:
        e = cfcam.explain(net, image(), name)
        assert (e.maps[name].flatten(2) > 0).any(2).all()


def test_signed_values_are_a_reason_of_their_own() -> None:
    class Signed(Net):
        def tail(self, A: Tensor) -> Tensor:
            return super().tail((A - 10) * torch.tensor(1.0))

        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Conv2d(8, 8, 1)
            with torch.no_grad():
                self.shift.weight.copy_(torch.eye(8)[..., None, None])
                self.shift.bias.fill_(-10)
                self.classifier.weight.fill_(1.0)

        def forward(self, x: Tensor) -> Tensor:
            return self.classifier(self.shift(self.features(x)).mean((2, 3)))

    found = diagnose(Signed().eval(), image(), layer="shift")
    assert found["evidence"].severity == "warning"
    assert "signed" in found["evidence"].means
    assert "8 of 8 channels speak for the class" in found["evidence"].means
