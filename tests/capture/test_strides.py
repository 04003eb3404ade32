"""The gradient of one picture behind a normalisation whose output becomes tokens: the formula, and that of a batch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import cfcam
from cfcam.capture import Capture, Network


class Tokens(nn.Module):
    """Channels of a picture, normalised, become tokens; the score of class c weighs each token and channel.

    Args:
        axes: of a picture.
        norm: "BatchNorm" or "InstanceNorm".
        inplace: the normalised numbers are changed in place.
        called: the normalisation is a function that forward calls, of parameters and statistics that stand by.
    """

    def __init__(self, axes: int, norm: str, *, inplace: bool = False, called: bool = False) -> None:
        super().__init__()
        self.called = called
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[axes]
        self.features = conv(2, 4, 1)
        self.norm = getattr(nn, f"{norm}{axes}d")(4, affine=True)
        self.act = nn.ReLU(inplace=True) if inplace else nn.Identity()
        self.weights = nn.Parameter(torch.randn(3, 3**axes, 4))

    def normalised(self, x: Tensor) -> Tensor:
        n = self.norm
        if not self.called:
            return n(x)
        if isinstance(n, (nn.InstanceNorm2d, nn.InstanceNorm3d)):
            return F.instance_norm(x, weight=n.weight, bias=n.bias, eps=n.eps)
        return F.batch_norm(x, n.running_mean, n.running_var, n.weight, n.bias, eps=n.eps)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.act(self.normalised(self.features(x))).flatten(2).transpose(1, 2)
        return (tokens.unsqueeze(1) * self.weights).sum((2, 3))


def network(axes: int, norm: str, *, inplace: bool = False, called: bool = False) -> Tokens:
    torch.manual_seed(0)
    net = Tokens(axes, norm, inplace=inplace, called=called).eval()
    nn.init.normal_(net.norm.weight)
    if norm == "BatchNorm":
        net.norm.running_var.uniform_(0.3, 2)
    return net


@pytest.mark.parametrize("called", [False, True])
@pytest.mark.parametrize("axes", [2, 3])
def test_hires_cam_of_one_picture_is_the_formula(axes: int, *, called: bool) -> None:
    net, x = network(axes, "BatchNorm", called=called), torch.randn(1, 2, *[3] * axes)
    e = cfcam.explain(net, x, "hires-cam", targets=[0, 2], layer="features")
    slope = net.norm.weight / (net.norm.running_var + net.norm.eps).sqrt()
    A = net.features(x)[0].flatten(1)
    expected = torch.stack([(net.weights[c] * slope).T.mul(A).sum(0) for c in (0, 2)]).view(2, *[3] * axes)
    torch.testing.assert_close(e.maps["hires-cam"][0], expected.detach())


@pytest.mark.parametrize("targets", [[1], [0, 1, 2] * 4])
@pytest.mark.parametrize("norm", ["BatchNorm", "InstanceNorm"])
@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize(("inplace", "called"), [(False, False), (True, False), (False, True), (True, True)])
def test_a_picture_alone_is_as_in_a_batch(
    axes: int, norm: str, targets: list[int], *, inplace: bool, called: bool
) -> None:
    net, x = network(axes, norm, inplace=inplace, called=called), torch.randn(2, 2, *[3] * axes)
    for method in ("grad-cam", "hires-cam"):
        both = cfcam.explain(net, x, method, targets=targets, layer="features").maps[method]
        alone = cfcam.explain(net, x[1:], method, targets=targets, layer="features").maps[method]
        torch.testing.assert_close(alone, both[1:])


def test_gradients_of_one_picture_at_several_layers() -> None:
    net, x = network(2, "BatchNorm", called=True), torch.randn(2, 2, 3, 3)
    both, alone = (
        Capture(Network(net), some, layer="features", targets=[1]).at(["features", "act"]) for some in (x, x[1:])
    )
    for one, of_both in zip(alone, both, strict=True):
        torch.testing.assert_close(one.gradients, of_both.gradients[1:])
