"""One network, written in several ways: what methods look for on the way back is found in each, or refused."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import cfcam
from cfcam.errors import MethodError
from cfcam.methods import GuidedBackprop


def seeded(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


def modules() -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU6(), nn.ConvTranspose2d(6, 5, 2, 2),
        nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3),
    )  # fmt: skip
    network(4 * seeded(6, 2, 8, 10) + 1)
    return network.eval()


class Functions(nn.Module):
    """The same in functions."""

    def __init__(self, of: nn.Sequential) -> None:
        super().__init__()
        self.held = nn.ParameterDict({name.replace(".", "_"): p for name, p in of.named_parameters()})
        self.register_buffer("mean", of[1].running_mean)
        self.register_buffer("var", of[1].running_var)

    def forward(self, x: Tensor) -> Tensor:
        p = self.held
        x = F.conv2d(x, p["0_weight"], p["0_bias"], padding=1)
        x = F.relu6(F.batch_norm(x, self.mean, self.var, p["1_weight"], p["1_bias"]))  # type: ignore[arg-type]
        x = F.conv_transpose2d(x, p["3_weight"], p["3_bias"], stride=2).relu()
        return F.linear(x.mean((2, 3)), p["7_weight"], p["7_bias"])


@pytest.fixture(scope="module")
def exported() -> nn.Module:
    return torch.export.export(modules(), (seeded(2, 2, 8, 10),)).module()


@pytest.mark.parametrize("method", ["guided-backprop", "full-grad", "smooth-grad"])
def test_functions_and_exported_programs_give_the_maps_of_the_modules(method: str, exported: nn.Module) -> None:
    x = seeded(2, 2, 8, 10)
    due = cfcam.explain(modules(), x, method, targets=[0, 2]).maps[method]
    for network in (Functions(modules()).eval(), exported, torch.fx.symbolic_trace(modules())):
        torch.testing.assert_close(cfcam.explain(network, x, method, targets=[0, 2]).maps[method], due)


@pytest.mark.parametrize("method", ["guided-backprop", "full-grad", "libra-grad"])
def test_what_torch_jit_has_compiled_is_refused_by_name(method: str) -> None:
    part = torch.jit.trace(modules()[:5], seeded(2, 2, 8, 10))
    network = nn.Sequential(part, nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), modules()[7]).eval()
    with pytest.raises(MethodError, match=r"in '0', which torch.jit has compiled: give the Python module"):
        cfcam.explain(network, seeded(2, 2, 8, 10), method, layer="1")


def test_only_a_hardtanh_from_0_is_a_relu() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Hardtanh(-1, 1), nn.Flatten(), nn.Linear(2 * 9, 2)).eval()
    x = seeded(2, 1, 5, 5).requires_grad_()
    (plain,) = torch.autograd.grad(network(x)[:, 1].sum(), x)
    found = cfcam.explain(network, x.detach(), GuidedBackprop(), targets=1).maps["guided-backprop"]
    torch.testing.assert_close(found[:, 0], plain.sum(1))


def test_no_linear_layer_is_drawn_as_if_its_channels_were_places() -> None:
    """Behind it all is linear: its bias changes no gradient, and it is neither convolution nor batch norm."""

    class Pointwise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.stem, self.point, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.point(self.stem(x).relu().movedim(1, -1)).mean((1, 2)))

    network = Pointwise().eval()
    without = copy.deepcopy(network)
    without.point.bias.data.zero_()
    x = seeded(2, 1, 7, 9)
    both = [cfcam.explain(one, x, "full-grad", targets=[0, 1]).maps["full-grad"] for one in (network, without)]
    torch.testing.assert_close(*both)


class Blocks(nn.Module):
    """Softmax over places, layer norm and a gate, switched in place or not."""

    def __init__(self, *, inplace: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.norm, self.gate, self.head = (
            nn.Conv2d(2, 6, 3),
            nn.LayerNorm(6),
            nn.SiLU(inplace),
            nn.Linear(6, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(self.body(x).flatten(2).mT)
        shares = (tokens @ tokens.mT).softmax(-1)
        return self.head(self.gate(shares @ tokens).mean(1)).softmax(-1)


def test_balanced_gradients_are_those_of_the_modules_in_place_and_exported_too() -> None:
    x = seeded(2, 2, 8, 10)
    plain = Blocks(inplace=False).eval()
    due = cfcam.explain(plain, x, "libra-grad", targets=[0, 2], layer="body").maps["libra-grad"]
    program = torch.export.unflatten(torch.export.export(Blocks(inplace=True).eval(), (x,)))
    for network in (Blocks(inplace=True).eval(), program):
        found = cfcam.explain(network, x, "libra-grad", targets=[0, 2], layer="body").maps["libra-grad"]
        torch.testing.assert_close(found, due)


@pytest.mark.parametrize("end", [nn.Softmax(-1), nn.Sigmoid(), nn.LogSoftmax(-1)], ids=lambda m: type(m).__name__)
def test_an_activation_at_the_end_of_an_exported_program_is_heard(end: nn.Module) -> None:
    """The score is what the activation was given, and not the logarithm of what it returned."""
    network, x = nn.Sequential(*modules(), end).eval(), seeded(2, 2, 8, 10)
    program = torch.export.unflatten(torch.export.export(network, (x,)))
    own, found = (cfcam.explain(one, x, "grad-cam", targets=[0, 2], layer="4") for one in (network, program))
    torch.testing.assert_close(found.scores, own.scores)
    torch.testing.assert_close(found.maps["grad-cam"], own.maps["grad-cam"])
    assert found.provenance["probability"] == own.provenance["probability"]
