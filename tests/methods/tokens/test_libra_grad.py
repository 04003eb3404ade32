"""LibraGrad: maps that add up to the score, and gradients written out with what is held."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import cfcam
from cfcam.capture import Capture, Network
from cfcam.errors import MethodError
from cfcam.methods import FinerCAM, GradCAM, LibraGrad, ScoreCAM
from cfcam.methods.tokens.libra_grad import Balanced
from tests.methods.test_oracles import inputs, network
from tests.networks import FlattenNet
from tests.token_networks import TokenNet

GRID = (3, 2)


def tokens_without_biases(kind: str = "plain") -> TokenNet:
    torch.manual_seed(8)
    net = TokenNet(GRID, width=12, prefix=0, reads="mean", kind=kind).double().eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    return net


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 6, 4, dtype=torch.float64)


@pytest.mark.parametrize("kind", ["plain", "fused", "multi-head"])
@pytest.mark.parametrize("layer", ["blocks.0", "blocks.1.norm2", "blocks.2", "norm"])
def test_without_biases_the_map_adds_up_to_the_score(kind: str, layer: str, x: Tensor) -> None:
    net = tokens_without_biases(kind)
    e = cfcam.explain(net, x, ["libra-grad", "hires-cam"], targets=[0, 1, 2], layer=layer)
    if "." in layer and layer.endswith("norm2"):  # beside it runs the residual way, which it does not see
        inside = e.maps["libra-grad"].sum((2, 3))
        assert not torch.allclose(inside, e.scores)
        return
    torch.testing.assert_close(e.maps["libra-grad"].sum((2, 3)), e.scores)
    if layer != "norm":
        assert not torch.allclose(e.maps["hires-cam"].sum((2, 3)), e.scores, rtol=0.05)


def test_by_the_formula(x: Tensor) -> None:
    torch.manual_seed(8)
    net = TokenNet(GRID, width=12, prefix=2, depth=2).double().eval()
    capture = Capture(Network(net), x, layer="blocks.0", targets=[1, 3])
    block, leaf = net.blocks[1], capture._recording.leaves[0].detach().requires_grad_()

    def norm(one: nn.LayerNorm, t: Tensor) -> Tensor:
        deviation = (t.var(-1, unbiased=False, keepdim=True) + one.eps).sqrt()
        return (t - t.mean(-1, keepdim=True)) / deviation.detach() * one.weight + one.bias

    seen = norm(block.norm1, leaf)
    q, k, v = (t.unflatten(-1, (2, -1)).transpose(1, 2) for t in block.attn.qkv(seen).chunk(3, -1))
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1).detach()
    out = leaf + block.attn.proj((weights @ v).transpose(1, 2).flatten(2))
    hidden = block.mlp[0](norm(block.norm2, out))
    gate = 0.5 * (1 + torch.erf(hidden / 2**0.5))
    out = norm(net.norm, out + block.mlp[2](hidden * gate.detach()))
    logits = net.head(out[:, 0])
    torch.testing.assert_close(logits, net(x))
    maps = cfcam.explain(net, x, "libra-grad", targets=[1, 3], layer="blocks.0").maps["libra-grad"]
    for column, c in enumerate((1, 3)):
        (g,) = torch.autograd.grad(logits[:, c].sum(), leaf, retain_graph=True)
        expected = (g * leaf).sum(-1)[:, 2:].unflatten(1, GRID)
        torch.testing.assert_close(maps[:, column], expected.detach())


def test_on_a_network_without_these_functions_it_is_its_base() -> None:
    net, x = network(2, FlattenNet), inputs(2)
    balanced = LibraGrad(GradCAM())
    e = cfcam.explain(net, x, [balanced, "grad-cam", "libra-grad", "hires-cam"], targets=[0, 1], layer="features")
    assert torch.equal(e.maps["grad-cam-libra-grad"], e.maps["grad-cam"])
    assert torch.equal(e.maps["libra-grad"], e.maps["hires-cam"])


GATES = [F.gelu, F.silu, F.mish, F.hardswish]


@pytest.mark.parametrize("gated", GATES, ids=lambda f: f.__name__)
def test_a_gate_is_held(gated) -> None:
    x = torch.tensor([-2.0, -0.5, 0.0, 1e-8, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
    with Balanced():
        y = gated(x)
    torch.testing.assert_close(y, gated(x))
    (g,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(g * x, gated(x))  # f(x) = x gate(x): gradient times input is the output


def test_norms_are_what_they_were_and_their_deviations_are_held() -> None:
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    weight, bias = torch.rand(4, dtype=torch.float64), torch.rand(4, dtype=torch.float64)
    for run, rest in (
        (lambda t: F.layer_norm(t, (4,), weight, bias), bias),
        (lambda t: F.layer_norm(t, (3, 4)), torch.zeros(())),
        (lambda t: F.rms_norm(t, (4,), weight), torch.zeros(())),
        (lambda t: F.rms_norm(t, (4,), eps=0.1), torch.zeros(())),
    ):
        with Balanced():
            y = run(x)
        torch.testing.assert_close(y, run(x))
        held = torch.autograd.grad(y.sum(), x)[0] * x
        torch.testing.assert_close(held.sum(), (run(x) - rest).sum())


def test_what_a_softmax_over_classes_gives_is_not_held() -> None:
    x = torch.randn(2, 5, requires_grad=True)
    with Balanced():
        assert x.softmax(1).requires_grad
        assert not x[None].softmax(-1).requires_grad


def test_its_names() -> None:
    assert LibraGrad().label == "libra-grad"
    assert LibraGrad(GradCAM()).label == "grad-cam-libra-grad"
    assert LibraGrad().parameters()["base"] == {"method": "HiResCAM"}


@pytest.mark.parametrize("base", [ScoreCAM(), FinerCAM(base=ScoreCAM())], ids=lambda m: m.name)
def test_a_method_without_gradients_is_refused(base) -> None:
    with pytest.raises(MethodError, match=r"it balances gradients, and (score|finer)-cam takes none"):
        LibraGrad(base)
