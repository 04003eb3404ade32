"""What differs between passes has one cause each: `cfcam.diagnose` names that, and does not judge what it hides."""

from __future__ import annotations

import random
from typing import ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import cfcam
from cfcam import diagnose
from tests.contract.snapshot import snapshot
from tests.diagnosis.networks import Net as Head
from tests.diagnosis.networks import image


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU())
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.f(x).mean((2, 3)))


class FunctionalDropout(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.dropout(self.f(x).mean((2, 3)), 0.5))


class DropoutTrains(Net):
    """Monte Carlo dropout, written into forward."""

    def forward(self, x: Tensor) -> Tensor:
        self.drop.train()
        return self.fc(self.drop(self.f(x).mean((2, 3))))


class StochasticDepth(Net):
    def forward(self, x: Tensor) -> Tensor:
        f = self.f(x).mean((2, 3))
        return self.fc(f * torch.empty(len(f), 1).bernoulli_(0.5))


class Noise(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0.1 * torch.randn_like(x))


class PythonRandom(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 + random.random())  # noqa: S311


class NumpyRandom(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 + np.random.rand())  # noqa: NPY002


class OutsideCounter(Net):
    calls: ClassVar[list[int]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(1)
        return super().forward(x) + len(self.calls)


class Counter(Net):
    n = 0

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        return super().forward(x) + self.n


class Notebook(Net):
    """Keeps its features for whoever wants to see them; the scores do not depend on them."""

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.f(x)
        return super().forward(x)


def pictures(n: int = 3) -> Tensor:
    return torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def diagnosed(kind: type[Net]) -> cfcam.Diagnosis:
    torch.manual_seed(3)
    net = kind().eval()
    before = snapshot(net)
    found = cfcam.diagnose(net, pictures())
    assert snapshot(net) == before
    return found


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        (FunctionalDropout, "dropout in 'the network'"),
        (DropoutTrains, "dropout in 'drop'"),
        (StochasticDepth, "bernoulli_ in 'the network'"),
        (Noise, "randn_like in 'the network'"),
        (PythonRandom, "drawn by random or numpy"),
        (NumpyRandom, "drawn by random or numpy"),
    ],
)
def test_what_is_random_is_named_and_mixing_is_not_assessed(kind: type[Net], cause: str) -> None:
    found = diagnosed(kind)
    assert found["repeat"].severity in ("warning", "problem")
    assert cause in found["repeat"].seen
    assert "images mix" not in str(found)
    assert found["batch"].seen.startswith("not assessed: two passes of the same input differ already")


def test_what_is_neither_random_nor_state_is_said_to_be_outside() -> None:
    found = diagnosed(OutsideCounter)
    assert "though they began with the same state and random numbers" in found["repeat"].seen
    assert "a class attribute" in found["repeat"].means
    assert "dropout" not in found["repeat"].advice
    assert found["batch"].seen.startswith("not assessed")


def test_a_state_that_matters() -> None:
    found = diagnosed(Counter)
    assert found["repeat"].severity == "ok"
    assert found["batch"].severity == "ok"
    assert found["state"].severity == "warning"
    assert "a pass changes what the network holds: n; a second call of yours then differs by 1" in found["state"].seen


def test_a_state_that_does_not_matter() -> None:
    found = diagnosed(Notebook)
    assert (found["state"].severity, found["batch"].severity) == ("note", "ok")
    assert found["state"].values["changed"] == ["last"]
    assert "state" not in diagnosed(Net)


def test_dropout_that_never_sleeps() -> None:
    class Restless(Head):
        def tail(self, A: Tensor) -> Tensor:
            return super().tail(F.dropout(A, 0.5))

    found = diagnose(Restless().eval(), image())
    assert found["repeat"].severity in ("warning", "problem")
    assert "training=self.training" in found["repeat"].advice
    assert found["repeat"].values["change"] > 0
