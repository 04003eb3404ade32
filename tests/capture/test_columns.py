"""Gradients of many scores at once are those of one after the other, and are taken so where that is quicker."""

import pytest
import torch
from torch import nn

from cfcam import Explainer
from cfcam.capture import Capture, Network
from cfcam.capture import recording as module
from cfcam.capture.columns import MANY, all_gradients, tail_of


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
    assert tail_of(tail(a), [a]).batchable is expected


def test_operators_before_the_layer_are_not_looked_at():
    a = nn.functional.conv2d(torch.ones(1, 2, 2, 2, requires_grad=True), torch.ones(2, 2, 1, 1))
    assert tail_of(pooled(a), [a]).batchable


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
    monkeypatch.setattr(module, "tail_of", lambda *given: asked.append(1) or tail_of(*given))
    capture = Capture(Network(net), torch.rand(1, 3, 9, 9), layer="2", targets=list(range(20)))
    parts = list(capture.split(4 * 5 * 25 * 10))
    assert [part.gradients.shape[1] for part in parts] == [10, 10]
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("mean", "places"),
    [
        (lambda a: a.mean((2, 3)), 6),
        (lambda a: nn.functional.adaptive_avg_pool2d(a, 1).flatten(1), 6),  # which keeps the axes, named -1 and -2
        (lambda a: a.clone().mean(-1).sum(-1), 3),  # along one axis only
        (lambda a: a.relu().mean((2, 3)), 1),
        (lambda a: a.mean((2, 3)) + a.amax((2, 3)), 1),  # there is another way
        (lambda a: a.sum((2, 3)), 1),
    ],
)
def test_behind_pooling_a_gradient_is_there_once(mean, places):
    a = torch.rand(2, 2, 2, 3).round(decimals=2).requires_grad_()
    scores = mean(a) @ torch.tensor([[1.0, 2, 3], [0, 0, 4]])
    tail = tail_of(scores, [a])
    assert tail.batchable
    assert tail.places == places
    (dense,), (found,) = all_gradients(scores, [a]), all_gradients(scores, [a], tail.pool)
    assert torch.equal(found, dense)
    assert found.untyped_storage().nbytes() <= 4 * found.numel() // places


METHODS = ("grad-cam", "grad-cam++", "hires-cam", "xgrad-cam", "layer-cam", "cf-cam", "cf-cam-reference")


def tails():
    torch.manual_seed(0)
    pooling = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 30)]
    head = [nn.Conv2d(3, 12, 3, stride=2), nn.Tanh()]
    return nn.Sequential(*head, *pooling).eval(), nn.Sequential(*head, nn.Sigmoid(), *pooling).eval()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pooled_at_once", [True, False])
def test_the_maps_of_all_classes_are_those_of_each_alone_from_one_pass_back(method, pooled_at_once, monkeypatch):
    network, x = tails()[not pooled_at_once], torch.rand(2, 3, 11, 13)
    explainer = Explainer(network, method, layer="1")
    alone = torch.cat([next(iter(explainer(x, k).maps.values())) for k in range(30)], dim=1)
    passes, backward = [], torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *given, **more: passes.append(1) or backward(*given, **more))
    found = next(iter(explainer(x, "all").maps.values()))
    assert len(passes) == 1
    torch.testing.assert_close(found, alone)


def test_many_parts_of_the_targets_share_one_pass_back_behind_pooling(monkeypatch):
    capture = Capture(Network(tails()[0]), torch.rand(1, 3, 11, 13), layer="1", targets="all")
    passes, backward = [], torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *given, **more: passes.append(1) or backward(*given, **more))
    column = 4 * 12 * 5 * 6  # bytes, written down
    parts = [part.gradients for part in capture.split(16 * column)]
    assert [part.shape[1] for part in parts] == [16, 14]
    assert len(passes) == 1
    assert torch.equal(torch.cat(parts, dim=1), capture.gradients)


def test_a_model_that_changes_gradients_itself_is_asked_place_by_place():
    class Doubled(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.head = tails()[0][:2], tails()[0][2:]

        def forward(self, x):
            seen = self.features(x)
            if seen.requires_grad:
                seen.register_hook(lambda g: 2 * g)
            return self.head(seen)

    x = torch.rand(1, 3, 11, 13)
    found, plain = (
        Capture(Network(net), x, layer=layer, targets="all").gradients
        for net, layer in ((Doubled().eval(), "features"), (tails()[0], "1"))
    )
    torch.testing.assert_close(found, 2 * plain)
