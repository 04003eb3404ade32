"""Deep Feature Factorization against scikit-learn's updates, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import NMF, non_negative_factorization
from torch import nn

import cfcam
from cfcam.capture import Capture, Network
from cfcam.errors import MethodError
from cfcam.methods import DeepFeatureFactorization
from cfcam.methods.components.deep_feature_factorization import factorised, start
from tests.methods.test_oracles import inputs, network
from tests.networks import FlattenNet, GapNet


def linear(weights: list[list[float]]) -> nn.Module:
    net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(len(weights[0]), len(weights)))
    net[3].weight.data = torch.tensor(weights)
    return net.eval()


def test_the_updates_are_scikit_learns_and_come_as_near_as_it_does() -> None:
    X = torch.rand(30, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    X[3], X[:, 5] = 0, 0
    W, H = start(X, 4)
    expected = non_negative_factorization(
        X.numpy(), W.numpy().copy(), H.numpy().copy(), n_components=4, init="custom", solver="mu", max_iter=50, tol=0
    )[:2]
    for ours, theirs in zip(factorised(X, 4, 50), expected, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-6, atol=1e-9)
    W, H = factorised(X, 4, 400)
    best = NMF(4, init="nndsvda", max_iter=2000, tol=1e-8).fit(X.numpy()).reconstruction_err_
    assert float((X - W @ H).norm()) < 1.02 * best


def test_by_hand() -> None:
    """Two concepts in places of their own: channels 0 and 1 (2 : 1) on the left, channel 2 on the right.

    Behind pooling of four places the gradients are a quarter of the weights, so the left concept, at its strength
    a, adds a (2 w_0 + w_1) / 4 and the right one a w_2 / 4.
    """
    x = torch.zeros(1, 3, 2, 2)
    x[0, :2, :, 0] = torch.tensor([[2.0, 4.0], [1.0, 2.0]])
    x[0, 2, :, 1] = torch.tensor([3.0, 6.0])
    net = linear([[4.0, 8.0, -4.0], [-4.0, 4.0, 2.0]])
    maps = cfcam.explain(net, x, DeepFeatureFactorization(concepts=2), targets=[0, 1], layer="0").maps["dff"][0]
    torch.testing.assert_close(maps[0], torch.tensor([[2 * 1.0 + 1 * 2.0, 0.0], [4 * 1.0 + 2 * 2.0, 0.0]]))
    torch.testing.assert_close(maps[1], torch.tensor([[0.0, 3 * 0.5], [0.0, 6 * 0.5]]))  # -8 + 4 < 0 on the left
    capture = Capture(Network(net), x, layer="0", targets=[0, 1])
    with capture.quiet():
        factors = DeepFeatureFactorization(concepts=2).factors(capture)
    left = int(factors.maps[0, :, 0, 0].argmax())
    torch.testing.assert_close(factors.vectors[0, left].float(), torch.tensor([1.0, 0.5, 0.0]))
    torch.testing.assert_close(factors.maps[0, left].float(), x[0, 0])
    torch.testing.assert_close(factors.evidence[0, :, left].float(), torch.tensor([1.0 + 0.5 * 2, -1.0 + 0.5 * 1]))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_with_as_many_concepts_as_channels_behind_pooling_it_is_grad_cam(dims: int) -> None:
    net, x = network(dims, GapNet, channels=3), inputs(dims)
    method = DeepFeatureFactorization(concepts=3, steps=3000)
    e = cfcam.explain(net, x, [method, "grad-cam"], targets=[0, 1], layer="features")
    torch.testing.assert_close(e.maps["dff"], e.maps["grad-cam"], rtol=0, atol=5e-3 * float(e.maps["grad-cam"].max()))


def test_where_gradients_vary_a_concept_is_weighed_where_it_is() -> None:
    net, x = network(2, FlattenNet), inputs(2)
    capture = Capture(Network(net), x, layer="features", targets=[1])
    method = DeepFeatureFactorization(concepts=3)
    with capture.quiet():
        factors = method.factors(capture)
        W, g = factors.maps[0].flatten(1), capture.gradients[0, 0].flatten(1).double()
        for j in range(3):
            expected = sum(float(W[j, p] / W[j].sum() * (g[:, p] @ factors.vectors[0, j])) for p in range(W.shape[1]))
            assert float(factors.evidence[0, 0, j]) == pytest.approx(expected, rel=1e-6)
        summed = (factors.evidence[0, 0, :, None, None] * factors.maps[0]).sum(0).relu()
        torch.testing.assert_close(method(capture)[0, 0].double(), summed, rtol=1e-4, atol=1e-9)


def test_negative_values_are_channels_of_their_own() -> None:
    x = torch.zeros(1, 1, 2, 2)
    x[0, 0, 0] = torch.tensor([2.0, -4.0])
    maps = cfcam.explain(linear([[4.0], [-4.0]]), x, DeepFeatureFactorization(2), targets=[0, 1], layer="0").maps["dff"]
    torch.testing.assert_close(maps[0], torch.tensor([[[2.0, 0.0], [0.0, 0.0]], [[0.0, 4.0], [0.0, 0.0]]]))


def test_shared_concepts_are_the_same_in_all_images_and_others_are_not() -> None:
    net, x = network(2, GapNet, channels=8), inputs(2)
    capture = Capture(Network(net), x, layer="features", targets=[0])
    with capture.quiet():
        together = DeepFeatureFactorization(concepts=2, shared=True).factors(capture)
        alone = DeepFeatureFactorization(concepts=2).factors(capture)
        vectors = together.vectors
    assert torch.equal(vectors[0], vectors[1])
    assert not torch.allclose(alone.vectors[0], alone.vectors[1], atol=1e-2)
    x[0] = torch.nan
    e = cfcam.explain(net, x, DeepFeatureFactorization(concepts=2, shared=True), targets=0, layer="features")
    assert e.status["dff"][:, 0].tolist() == ["not finite"] + ["ok"] * (len(x) - 1)


@pytest.mark.parametrize("settings", [{"concepts": 0}, {"steps": 0}, {"concepts": 2.5}], ids=str)
def test_parameters_that_make_no_sense_are_refused(settings: dict) -> None:
    with pytest.raises(MethodError, match="a whole number, 1 or more"):
        DeepFeatureFactorization(**settings)


def test_many_classes_share_one_factorisation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classes come in blocks, as those of a wide layer do; each has the map that it has alone."""
    calls: list[int] = []

    def watched(matrix: torch.Tensor, concepts: int, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(concepts)
        return factorised(matrix, concepts, steps)

    net, x = linear(torch.randn(12, 3, generator=torch.Generator().manual_seed(0)).tolist()), torch.rand(2, 3, 4, 4)
    alone = [cfcam.explain(net, x, "dff", targets=[c], layer="0").maps["dff"] for c in range(12)]
    monkeypatch.setattr("cfcam.methods.components.deep_feature_factorization.factorised", watched)
    capture, method = Capture(Network(net), x, layer="0", targets="all"), DeepFeatureFactorization()
    with capture.quiet():
        blocks = [method(part) for part in capture.split(2 * x.numel() * 4)]
    assert len(blocks) > 1
    assert len(calls) == len(x)
    torch.testing.assert_close(torch.cat(blocks, 1), torch.cat(alone, 1), rtol=1e-5, atol=1e-6)
