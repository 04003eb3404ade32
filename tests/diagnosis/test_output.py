"""Checks of a pass: whether it runs, and what it returns."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from cfcam import diagnose
from tests.diagnosis.networks import Net, gravest, image


def test_the_first_module_with_nan_is_named() -> None:
    class Log(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.log()

    class Logarithm(Net):
        def __init__(self) -> None:
            super().__init__()
            self.log = Log()
            self.after = nn.ReLU()

        def tail(self, A: Tensor) -> Tensor:
            return super().tail(self.after(self.log(A - 1)))

    found = diagnose(Logarithm().eval(), image())
    assert found["finite"].severity == "problem"
    assert found["finite"].values == {"module": "log"}
    assert "its input was finite" in found["finite"].seen
    assert found["weights"].severity == "ok"


def test_class_names_that_are_too_many() -> None:
    found = diagnose(Net(classes=3).eval(), image(), classes=["a", "b", "c", "d"])
    assert gravest(found) == ["classes"]
    assert found["classes"].values == {"names": 4, "outputs": 3}
    assert diagnose(Net(classes=1).eval(), image(), classes=["no", "yes"]).ok


@pytest.mark.parametrize("target", [3, -1, "dog"])
def test_a_class_out_of_range(target: int | str) -> None:
    found = diagnose(Net(classes=3).eval(), image(), targets=target, classes=["a", "b", "c"])
    assert gravest(found) == ["target"]
    assert "0 to 2" in found["target"].advice
    assert found["gradient"].severity == "ok"  # the other checks are made on another target


def test_a_saturated_softmax() -> None:
    net = Net().eval()
    with torch.no_grad():
        net.classifier.weight.zero_()
        net.classifier.weight[0] = 0.01
        net.classifier.bias.copy_(torch.tensor([40.0, 0.0, 0.0]))
    found = diagnose(net, image())
    assert found["saturation"].severity == "warning"
    z = float(net(image())[:, 0].detach().max())
    assert found["saturation"].values["rest"] == pytest.approx(2 * math.exp(-z) / (1 + 2 * math.exp(-z)), rel=1e-4)
    assert "exactly 1" in found["saturation"].means
    with torch.no_grad():
        net.classifier.bias[0] = 2.0
    assert diagnose(net, image())["saturation"].severity == "ok"


def test_the_rest_of_a_single_logit() -> None:
    net = Net(classes=1).eval()
    with torch.no_grad():
        net.classifier.weight.fill_(1e-3)
        net.classifier.bias.fill_(-20.0)
    found = diagnose(net, image())
    z = float(net(image()).detach().min())
    assert found["saturation"].values["rest"] == pytest.approx(1 / (1 + math.exp(-z)), rel=1e-3)
