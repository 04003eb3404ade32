"""A small convolution of one volume is run as a batch of its halves: the same numbers, forwards and backwards."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.profiler import ProfilerActivity, profile

from cfcam.capture import Capture, Network
from cfcam.capture.halves import InHalves, in_halves, small_convolutions
from cfcam.errors import InputError

ONE, TWO = (1, 1, 1), (2, 2, 2)


def test_by_hand():
    x, weight = torch.ones(1, 1, 5, 3, 3), torch.ones(1, 1, 3, 3, 3)
    found = in_halves(x, weight, torch.tensor([0.5]), ONE, ONE, ONE)[0, 0]
    assert found.shape == (5, 3, 3)
    assert found[:, 1, 1].tolist() == [18.5, 27.5, 27.5, 27.5, 18.5]  # how many of the 27 lie within, and the bias
    assert found[:, 0, 0].tolist() == [8.5, 12.5, 12.5, 12.5, 8.5]


@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 3, 3), (3, 1, 1), (2, 3, 4)])
@pytest.mark.parametrize("size", [(4, 5, 6), (7, 5, 5), (5, 3, 8)])
def test_forwards_and_backwards_as_one(kernel, size):
    torch.manual_seed(0)
    weight, bias = torch.randn(3, 2, *kernel).double(), torch.randn(3).double()
    for stride, padding, dilation in itertools.product(
        (ONE, TWO, (1, 2, 3)), ((0, 0, 0), ONE, (2, 1, 0)), (ONE, (2, 1, 1))
    ):
        x = torch.randn(1, 2, *size).double().requires_grad_()
        if any(n + 2 * p < d * (k - 1) + 1 for n, k, p, d in zip(size, kernel, padding, dilation, strict=True)):
            continue
        whole = F.conv3d(x, weight, bias, stride, padding, dilation)
        if max(whole.shape[2:]) == 1:
            continue
        found = in_halves(x, weight, bias, stride, padding, dilation)
        torch.testing.assert_close(found, whole)
        back = torch.randn_like(whole)
        torch.testing.assert_close(*(torch.autograd.grad(y, x, back)[0] for y in (found, whole)))


@pytest.mark.parametrize("size", [(2, 20, 21), (20, 2, 21), (20, 21, 2)])
def test_a_kernel_that_does_not_fit_is_told_with_the_size_that_was_given(size):
    model = nn.Sequential(nn.Conv3d(6, 2, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 2))
    with pytest.raises(InputError, match=rf"too small: .*\({' x '.join(map(str, size))}\). Kernel size: \(3 x 3 x 3\)"):
        Capture(Network(model), torch.randn(1, 6, *size), layer="0")


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(1, 8, 3, stride=2),
        nn.ReLU(),
        nn.Conv3d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv3d(16, 16, 3, padding="same"),  # a text in place of numbers stays as it is
        nn.Conv3d(16, 8, 1),
        nn.Conv3d(8, 8, 3, groups=2),
        nn.Conv3d(8, 5, 3, padding=1),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(5, 3),
    ).eval()


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")
def test_a_lone_volume_is_explained_by_the_fast_way_and_alike():
    net, x = network(), torch.rand(1, 1, 15, 15, 15)
    net[4] = nn.Identity()
    assert isinstance(small_convolutions(x), InHalves)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        alone = Capture(Network(net), x, layer="1", targets=[0, 1])
        gradients = alone.gradients
    slow = {event.key for event in seen.key_averages() if "slow_conv" in event.key}
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        net[5](torch.rand(1, 16, 7, 7, 7))
    left = {event.key for event in seen.key_averages() if "slow_conv" in event.key}
    pair = Capture(Network(net), torch.cat([x, x]), layer="1", targets=[0, 1])
    torch.testing.assert_close(gradients, pair.gradients[:1])
    torch.testing.assert_close(alone.logits, pair.logits[:1])
    assert slow <= left  # of the 1 x 1 x 1 kernel, on one thread


def test_what_is_left_as_it_is():
    assert not isinstance(small_convolutions(torch.rand(2, 1, 4, 4, 4)), InHalves)
    assert not isinstance(small_convolutions(torch.rand(1, 1, 4, 4)), InHalves)
    assert not isinstance(small_convolutions(torch.rand(1, 1, 4, 4, 4).double()), InHalves)
    net, x = network(), torch.rand(1, 1, 15, 15, 15)
    with torch.no_grad(), InHalves():
        found = net(x)
    torch.testing.assert_close(found, net(x).detach())
