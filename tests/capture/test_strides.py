"""The gradient of one picture behind a normalisation whose output becomes tokens: the formula, and that of a batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import cfcam


class Tokens(nn.Module):
    """Channels of a picture, normalised, become tokens; the score of class c weighs each token and channel."""

    def __init__(self, axes: int, norm: str, *, inplace: bool = False) -> None:
        super().__init__()
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[axes]
        self.features = conv(2, 4, 1)
        self.norm = getattr(nn, f"{norm}{axes}d")(4, affine=True)
        self.act = nn.ReLU(inplace=True) if inplace else nn.Identity()
        self.weights = nn.Parameter(torch.randn(3, 3**axes, 4))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.act(self.norm(self.features(x))).flatten(2).transpose(1, 2)
        return torch.einsum("nsc,ksc->nk", tokens, self.weights)


def network(axes: int, norm: str, *, inplace: bool = False) -> Tokens:
    torch.manual_seed(0)
    net = Tokens(axes, norm, inplace=inplace).eval()
    nn.init.normal_(net.norm.weight)
    if norm == "BatchNorm":
        net.norm.running_var.uniform_(0.3, 2)
    return net


@pytest.mark.parametrize("axes", [2, 3])
def test_hires_cam_of_one_picture_is_the_formula(axes: int) -> None:
    net, x = network(axes, "BatchNorm"), torch.randn(1, 2, *[3] * axes)
    e = cfcam.explain(net, x, "hires-cam", targets=[0, 2], layer="features")
    slope = net.norm.weight / (net.norm.running_var + net.norm.eps).sqrt()
    A = net.features(x)[0].flatten(1)
    expected = torch.stack([(net.weights[c] * slope).T.mul(A).sum(0) for c in (0, 2)]).view(2, *[3] * axes)
    torch.testing.assert_close(e.maps["hires-cam"][0], expected.detach())


@pytest.mark.parametrize("targets", [[1], [0, 1, 2] * 4])
@pytest.mark.parametrize("norm", ["BatchNorm", "InstanceNorm"])
@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("inplace", [False, True])
def test_a_picture_alone_is_as_in_a_batch(axes: int, norm: str, targets: list[int], *, inplace: bool) -> None:
    net, x = network(axes, norm, inplace=inplace), torch.randn(2, 2, *[3] * axes)
    hooks = [len(part._forward_hooks) for part in net.modules()]
    for method in ("grad-cam", "hires-cam"):
        both = cfcam.explain(net, x, method, targets=targets, layer="features").maps[method]
        alone = cfcam.explain(net, x[1:], method, targets=targets, layer="features").maps[method]
        torch.testing.assert_close(alone, both[1:])
    assert hooks == [len(part._forward_hooks) for part in net.modules()]
