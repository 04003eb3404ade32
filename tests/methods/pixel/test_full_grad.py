"""FullGrad: terms that add up to the score, and the published drawing of them written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import cfcam
from cfcam.capture import Capture, Network
from cfcam.errors import MethodError
from cfcam.methods.pixel.full_grad import contributions
from tests.methods.test_oracles import inputs, network
from tests.networks import GapNet
from tests.oracles import upsample


def trained(dims: int) -> GapNet:
    """With batch norms whose statistics are not those of a new network."""
    torch.manual_seed(3)
    net = GapNet(dims, channels=5, norm=True).double().eval()
    norm = net.features[1]
    with torch.no_grad():
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        norm.weight.normal_()
        norm.bias.normal_()
    return net


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_terms_add_up_to_the_score(dims: int) -> None:
    net, x = trained(dims), inputs(dims)
    capture = Capture(Network(net), x, layer="features", targets=[0, 3])
    for k, terms in enumerate(contributions(capture, "full-grad")):
        assert len(terms) == 1 + 2 + 1 + 1  # the input, two convolutions, the norm, the classifier
        torch.testing.assert_close(torch.stack([t.flatten(1).sum(1) for t in terms]).sum(0), capture.scores[:, k])


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_drawing_is_the_published_one(dims: int) -> None:
    net, x = trained(dims), inputs(dims)
    capture = Capture(Network(net), x, layer="features", targets=[0, 3])
    maps = cfcam.explain(net, x, "full-grad", targets=[0, 3], layer="features").maps["full-grad"]
    for k, terms in enumerate(contributions(capture, "full-grad")):
        for n in range(len(x)):
            expected = np.zeros(x.shape[2:])
            for term in terms[:4]:  # the classifier's bias has no place
                values = term[n].abs().numpy()
                values = (values - values.min()) / (values.max() - values.min())
                expected += sum(upsample(channel, tuple(x.shape[2:])) for channel in values)
            torch.testing.assert_close(maps[n, k], torch.from_numpy(expected))


def test_in_place_activations_change_nothing() -> None:
    torch.manual_seed(1)
    net, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3)).double().eval(), inputs(2)
    net.append(nn.ReLU(inplace=True)).append(nn.AdaptiveAvgPool2d(1)).append(nn.Flatten())
    capture = Capture(Network(net), x, layer="2", targets=1)
    (terms,) = contributions(capture, "full-grad")
    torch.testing.assert_close(torch.stack([t.flatten(1).sum(1) for t in terms]).sum(0), capture.scores[:, 0])


def test_float16_is_refused() -> None:
    net, x = network(2, GapNet, channels=4).half(), inputs(2).half()
    with pytest.raises(MethodError, match="float16 has no room for: use bfloat16"):
        cfcam.explain(net, x, "full-grad", layer="features")
