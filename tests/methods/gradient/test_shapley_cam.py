"""ShapleyCAM: gradient and Hessian by hand, and by finite differences."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam.capture import Capture, Network
from cfcam.errors import LayerError, MethodError
from cfcam.methods import ShapleyCAM
from tests.methods.test_oracles import inputs, network
from tests.networks import FlattenNet, GapNet
from tests.token_networks import TokenNet


def rest(net: GapNet, A: Tensor, c: int) -> Tensor:
    logits = net.tail(A)
    return logits[:, c] + logits.log_softmax(1)[:, c]


@pytest.mark.parametrize("score", ["rest", "logit"])
@pytest.mark.parametrize("kind", [GapNet, FlattenNet])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_by_the_formula_with_the_whole_hessian(dims: int, kind: type[GapNet], score: str) -> None:
    net, x = network(dims, kind, channels=3), inputs(dims)[:2]
    maps = cfcam.explain(net, x, ShapleyCAM(score), targets=[1, 3], layer="features").maps["shapley-cam"]
    A = net.features(x).detach()
    for n, (k, c) in itertools.product(range(2), enumerate((1, 3))):

        def value(flat: Tensor, c: int = c, n: int = n) -> Tensor:
            one = flat.unflatten(0, A[n].shape)[None]
            return rest(net, one, c)[0] if score == "rest" else net.tail(one)[0, c]

        flat = A[n].flatten()
        gradient = torch.autograd.functional.jacobian(value, flat)
        hessian = torch.autograd.functional.hessian(value, flat)
        worth = (gradient - hessian @ flat / 2).unflatten(0, A[n].shape)
        expected = (worth.flatten(1).mean(1).reshape(-1, *[1] * dims) * A[n]).sum(0).relu()
        torch.testing.assert_close(maps[n, k], expected)


def test_by_hand() -> None:
    """One channel of places a, b, ..., the score (a + b + ...)^2: g = 2 (a + b + ...) = H A, so w = a + b + ..."""

    class Square(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            total = self.layer(x).flatten(1).sum(1)
            return torch.stack([total**2, 0 * total], 1)

    x = torch.tensor([[[[1.0, 2.0, 0.0]]]])
    e = cfcam.explain(Square(), x, ShapleyCAM("logit"), targets=0, layer="layer")
    torch.testing.assert_close(e.maps["shapley-cam"][0, 0], torch.tensor([[3.0, 6.0, 0.0]]))


def test_behind_a_piecewise_linear_tail_the_logit_has_no_curvature() -> None:
    net, x = network(2, GapNet), inputs(2)
    e = cfcam.explain(net, x, ["grad-cam", ShapleyCAM("logit")], targets=1, layer="features")
    assert torch.equal(e.maps["shapley-cam"], e.maps["grad-cam"])


def test_curvatures_are_differences_of_gradients_in_the_direction_of_the_activations() -> None:
    torch.manual_seed(8)
    net = TokenNet((3, 2), width=12, prefix=2).double().eval()
    x = torch.randn(2, 3, 6, 4, dtype=torch.float64)
    capture = Capture(Network(net), x, layer="blocks.1", targets=[1, 0])
    layer, step = net.get_submodule("blocks.1"), 1e-5

    def gradients(factor: float) -> Tensor:
        def stretch(module: nn.Module, args: object, output: Tensor) -> Tensor:
            return torch.cat([output[:, :2] * factor, output[:, 2:] * factor], 1)

        handle = layer.register_forward_hook(stretch)
        try:
            found = Capture(Network(net), x, layer="blocks.1", targets=[1, 0]).gradients
        finally:
            handle.remove()
        return found

    difference = (gradients(1 + step) - gradients(1 - step)) / (2 * step)
    torch.testing.assert_close(capture.curvatures, difference, rtol=1e-4, atol=1e-7)


def test_a_callable_target_is_taken_as_it_is() -> None:
    net, x = network(2, FlattenNet), inputs(2)
    own = cfcam.explain(net, x, ShapleyCAM(), targets=lambda out: out[:, 1], layer="features").maps["shapley-cam"]
    logit = cfcam.explain(net, x, ShapleyCAM("logit"), targets=1, layer="features").maps["shapley-cam"]
    assert torch.equal(own, logit)


def test_half_precision_and_fused_attention_are_refused_in_one_line() -> None:
    torch.manual_seed(8)
    net, x = GapNet(channels=4).half().eval(), torch.randn(1, 3, 8, 8).half()
    with pytest.raises(LayerError, match="do not fit into float16: give the network and its input as bfloat16"):
        cfcam.explain(net, x, "shapley-cam", layer="features")
    fused = TokenNet((3, 2), width=12, prefix=1, kind="fused").eval()
    with pytest.raises(LayerError, match=r"^what follows layer .* has no second derivatives \(.*\): write .*$"):
        cfcam.explain(fused, torch.randn(1, 3, 6, 4), "shapley-cam")


def test_a_score_that_there_is_not_is_refused() -> None:
    with pytest.raises(MethodError, match="'rest' or 'logit'"):
        ShapleyCAM("probability")
