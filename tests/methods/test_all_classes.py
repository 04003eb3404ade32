"""Maps of all classes at once: those of each class alone, from as many passes, in bounded memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import cfcam
from cfcam import Explainer
from cfcam.capture import Capture, Network
from cfcam.methods import EigenGradCAM, ExpectedGradCAM, ShapleyCAM, SmoothGradCAMPlusPlus

CLASSES = 30
METHODS = [
    EigenGradCAM(),
    EigenGradCAM(center=False),
    SmoothGradCAMPlusPlus(samples=3),
    ExpectedGradCAM(samples=3),
    ShapleyCAM(),
    ShapleyCAM("logit"),
]


def network(tail: str, channels: int = 10) -> nn.Sequential:
    torch.manual_seed(0)
    between = {"pooled": nn.Identity(), "sigmoid": nn.Sigmoid(), "convolution": nn.Conv2d(channels, channels, 3)}[tail]
    head = [nn.Conv2d(3, channels, 3, stride=2), nn.Tanh(), between]
    return nn.Sequential(*head, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)).eval()


@pytest.fixture
def small_blocks(monkeypatch):
    """Gradients of eight targets fill the memory: there are several blocks, of which the last is smaller."""
    monkeypatch.setattr("cfcam.capture.capture.fitting", lambda leaves, limit=None: 8)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("tail", ["pooled", "sigmoid", "convolution"])
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_they_are_those_of_each_class_alone(method, tail, batch):
    x = torch.rand(batch, 3, 11, 13)
    explainer = Explainer(network(tail), {"it": method}, layer="1")
    few = [list(range(k, k + 5)) for k in range(0, CLASSES, 5)]  # not so many that anything is done at once
    alone = torch.cat([explainer(x, some).maps["it"] for some in few], dim=1)
    found = explainer(x, "all").maps["it"]
    atol = 1e-5 * float(alone.abs().max())
    torch.testing.assert_close(found, alone, rtol=1e-4, atol=atol)
    assert bool((alone.flatten(2).amax(2) > 0).any())


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("tail", "times"), [("pooled", 1), ("sigmoid", 1), ("convolution", 4)])
@pytest.mark.parametrize("method", [SmoothGradCAMPlusPlus(samples=3), ExpectedGradCAM(samples=3)], ids=repr)
def test_noisy_pictures_are_run_once_unless_convolutions_follow(method, tail, times):
    net, runs = network(tail), []
    explainer = Explainer(net, method, layer="1")
    x = torch.rand(1, 3, 11, 13)
    explainer(x, 0)
    net.register_forward_hook(lambda *given: runs.append(1))
    explainer(x, "all")
    assert len(runs) == 1 + 3 * times


class Largest(TorchDispatchMode):
    """Remembers the bytes of the largest tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        made = [one.untyped_storage().nbytes() for one in tree_leaves(result) if isinstance(one, Tensor)]
        self.bytes = max([self.bytes, *made])
        return result


@pytest.mark.parametrize("tail", ["pooled", "sigmoid"])
@pytest.mark.parametrize("method", METHODS[:1] + METHODS[2:5], ids=repr)
def test_no_gradients_of_all_classes_are_written_down_for_all_places(method, tail):
    x = torch.rand(1, 3, 65, 65)
    explainer = Explainer(network(tail, channels=128), method, layer="1")
    with Largest() as largest:
        explainer(x, "all")
    assert CLASSES * 128 * 32 * 32 * 4 > 15e6  # so much it would be
    assert largest.bytes <= (1 << 23)


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 12, 1)
        self.head = nn.Sequential(nn.LayerNorm(12), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 20))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x).mean((2, 3)))


class Curved(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 12, 1)
        self.head = nn.Sequential(nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 20))

    def forward(self, x: Tensor) -> Tensor:
        a = self.layer(x)
        return self.head((a * a.sigmoid()).mean((2, 3))).softmax(1)


@pytest.mark.parametrize(("kind", "passes"), [(Normed, 60), (Curved, 6)])
def test_the_curvature_of_many_scores_is_that_of_each(kind, passes, monkeypatch):
    """A layer norm's third derivatives are not PyTorch's to give: each score has passes of its own there."""
    torch.manual_seed(1)
    net, x = kind().double().eval(), torch.randn(2, 3, 4, 5, dtype=torch.float64)
    few = [Capture(Network(net), x, layer="layer", targets=list(range(k, k + 5))) for k in range(0, 20, 5)]
    alone = torch.cat([one.curvatures for one in few], dim=1)
    assert bool((alone.abs() > 1e-6).any())
    many, runs, backward = Capture(Network(net), x, layer="layer", targets="all"), [], torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *given, **more: runs.append(1) or backward(*given, **more))
    torch.testing.assert_close(many.curvatures, alone)
    assert len(runs) == passes


def test_a_score_that_changes_with_the_layer_in_one_class_only():
    class Squares(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            total = self.layer(x).mean((2, 3)).sum(1, keepdim=True)
            return torch.cat([total**2, total.expand(-1, 11)], 1)

    x = torch.tensor([[[[1.0, 2.0, 0.0]]]])
    e = cfcam.explain(Squares(), x, ShapleyCAM("logit"), targets="all", layer="layer")
    found = e.maps["shapley-cam"][0, :, 0]
    # mean m = 1: d(m^2)/da = 2m/3 each, H A = 2/9 * 3 = 2/3, w = 2/3 - 1/3; of the others w = 1/3
    torch.testing.assert_close(found, x[0, 0, 0].expand(12, -1) / 3)
