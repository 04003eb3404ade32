"""Gradients of many scores at once are those of one after the other, and are taken so where that is quicker."""

import pytest
import torch
from torch import nn

from cfcam.capture import Capture, Network
from cfcam.capture import recording as module
from cfcam.capture.columns import MANY, all_gradients, is_batchable


class Own(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, g):
        return 2 * g


def pooled(a):
    return a.mean((2, 3)) @ torch.tensor([[1.0, 2, 3], [0, 0, 4]])


def test_the_gradients_of_three_scores_by_hand():
    a = torch.ones(2, 2, 1, 2, requires_grad=True)
    other = torch.ones(1, requires_grad=True)
    found, none = all_gradients(pooled(a), [a, other])
    by_hand = torch.tensor([[1.0, 0], [2, 0], [3, 4]]) / 2  # weight of class and channel, by the number of places
    assert found.shape == (3, 2, 2, 1, 2)
    assert torch.equal(found, by_hand[:, None, :, None, None].expand_as(found))
    assert none is None


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        (pooled, True),
        (lambda a: pooled(nn.functional.layer_norm(a.relu(), a.shape[1:])), True),
        (lambda a: pooled(nn.functional.conv2d(a, torch.ones(2, 2, 1, 1))), False),
        (lambda a: pooled(Own.apply(a)), False),
        (lambda a: pooled(nn.functional.scaled_dot_product_attention(a, a, a)), False),
    ],
)
def test_what_takes_many_gradients_at_once(tail, expected):
    before = torch.ones(1, 2, 2, 2, requires_grad=True)
    a = nn.functional.conv2d(before, torch.ones(2, 2, 1, 1)).detach().requires_grad_()
    assert is_batchable(tail(a), [a]) is expected


def test_operators_before_the_layer_are_not_looked_at():
    a = nn.functional.conv2d(torch.ones(1, 2, 2, 2, requires_grad=True), torch.ones(2, 2, 1, 1))
    assert is_batchable(pooled(a), [a])


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 20)
    ).eval()


@pytest.mark.parametrize(("layer", "at_once"), [("2", 1), ("0", 0)])
def test_a_capture_has_the_gradients_that_each_target_has_alone(net, monkeypatch, layer, at_once):
    calls = []
    monkeypatch.setattr(module, "all_gradients", lambda *given: calls.append(given) or all_gradients(*given))
    x = torch.rand(3, 3, 9, 9)
    many = Capture(Network(net), x, layer=layer, targets=list(range(20)))
    assert many.gradients.shape[:2] == (3, 20)
    assert len(calls) == at_once
    few = [Capture(Network(net), x, layer=layer, targets=list(range(k, k + MANY - 1))) for k in (0, 7)]
    alone = torch.cat([one.gradients for one in few], dim=1)
    assert len(calls) == at_once
    torch.testing.assert_close(many.gradients[:, : 2 * MANY - 2], alone)


def test_parts_of_the_targets_are_asked_of_once(net, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "is_batchable", lambda *given: asked.append(1) or is_batchable(*given))
    capture = Capture(Network(net), torch.rand(1, 3, 9, 9), layer="2", targets=list(range(20)))
    parts = list(capture.split(4 * 5 * 25 * 10))
    assert [part.gradients.shape[1] for part in parts] == [10, 10]
    assert len(asked) == 1
