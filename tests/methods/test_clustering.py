"""The batched DBSCAN against scikit-learn's, which is the oracle, and the selected quantile against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import DBSCAN
from torch import Tensor

from cfcam.methods.clustering import dbscan, distance_quantile, pairwise_distances


def scikit_labels(distances: Tensor, eps: float, min_samples: int) -> list[int]:
    fitted = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed").fit(distances.double().numpy())
    return fitted.labels_.tolist()


def our_labels(distances: Tensor, eps: list[float], min_samples: list[int]) -> list[list[int]]:
    return dbscan(distances, torch.tensor(eps, dtype=distances.dtype), torch.tensor(min_samples)).tolist()


@st.composite
def point_sets(draw: st.DrawFn) -> tuple[Tensor, list[float], list[int]]:
    """Batches of points on a coarse grid: ties and duplicates everywhere, radii that equal distances."""
    images, size, axes = draw(st.integers(1, 3)), draw(st.integers(1, 24)), draw(st.integers(1, 3))
    coordinate = st.integers(0, draw(st.sampled_from([1, 3, 8, 40])))
    flat = draw(st.lists(coordinate, min_size=images * size * axes, max_size=images * size * axes))
    points = torch.tensor(flat, dtype=torch.float64).reshape(images, size, axes)
    eps = draw(st.lists(st.sampled_from([0.5, 1.0, 2.0**0.5, 2.0, 3.0]), min_size=images, max_size=images))
    samples = draw(st.lists(st.integers(1, 6), min_size=images, max_size=images))
    return points, eps, samples


@settings(max_examples=200)
@given(point_sets())
def test_labels_equal_scikit_learns(case: tuple[Tensor, list[float], list[int]]) -> None:
    points, eps, samples = case
    # Distances of integer points whose squares are exact: a radius of 1 or sqrt(2) ties with many of them.
    distances = torch.stack([(p[:, None] - p[None]).square().sum(-1).sqrt() for p in points])
    ours = our_labels(distances, eps, samples)
    assert ours == [scikit_labels(d, e, s) for d, e, s in zip(distances, eps, samples, strict=True)]


@pytest.mark.parametrize("order", ["in order", "reversed", "interleaved", "shuffled"])
def test_a_long_chain_is_one_cluster(order: str) -> None:
    """The worst case of label propagation: 600 points in a row, each near its two neighbours only."""
    places = {
        "in order": torch.arange(600),
        "reversed": torch.arange(600).flip(0),
        "interleaved": torch.stack([torch.arange(300), torch.arange(300, 600).flip(0)], 1).flatten(),
        "shuffled": torch.randperm(600),
    }[order].double()
    distances = (places[:, None] - places[None]).abs()[None]
    assert our_labels(distances, [1.0], [2]) == [[0] * 600]
    assert our_labels(distances, [0.5], [2]) == [[-1] * 600]  # no core point, no cluster


@pytest.mark.parametrize("size", [2, 57, 512])
def test_random_features_of_a_network(size: int) -> None:
    features = torch.randn(3, size, 20).relu() * torch.rand(3, size, 1).pow(3)
    features[:, ::9] = 0  # dead channels are identical
    distances = pairwise_distances(features)
    count = torch.full((3,), size)
    for quantile in (0.02, 0.1, 0.25, 0.6):
        eps = distance_quantile(distances, count, quantile)
        samples = max(2, size // 20)
        ours = dbscan(distances, eps, torch.full((3,), samples)).tolist()
        assert ours == [scikit_labels(d, max(float(e), 1e-300), samples) for d, e in zip(distances, eps, strict=True)]


def test_border_points_join_the_first_cluster_and_infinite_rows_take_no_part() -> None:
    # Two cores' neighbourhoods share the point at 0; point order decides: the cluster found first is the right one.
    places = torch.tensor([1.0, 1.1, 1.2, 0.0, -1.0, -1.1, -1.2])
    distances = (places[:, None] - places[None]).abs()[None]
    assert our_labels(distances, [1.0], [4]) == [scikit_labels(distances[0], 1.0, 4)] == [[0, 0, 0, 0, 1, 1, 1]]
    distances[:, 0], distances[:, :, 0] = torch.inf, torch.inf
    assert our_labels(distances, [1.0], [4])[0] == [-1, -1, -1, 0, 0, 0, 0]


@pytest.mark.parametrize("diagonal", [False, True])
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=12),
    st.integers(0, 4),
    st.floats(0, 1),
)
def test_quantile_equals_numpys(diagonal: bool, places: list[int], padding: int, quantile: float) -> None:
    values = torch.tensor(places, dtype=torch.float64)
    distances = (values[:, None] - values[None]).abs()
    pairs = distances if diagonal else distances[~torch.eye(len(places), dtype=torch.bool)]
    expected = np.quantile(pairs.numpy(), quantile) if pairs.numel() else 0.0
    size = len(places) + padding
    padded = torch.full((1, size, size), torch.inf, dtype=torch.float64)
    padded[0, : len(places), : len(places)] = distances
    found = distance_quantile(padded, torch.tensor([len(places)]), quantile, diagonal=diagonal)
    assert found.item() == pytest.approx(expected, abs=1e-12)


def test_quantile_of_a_batch_with_different_counts() -> None:
    distances = pairwise_distances(torch.randn(2, 9, 5))
    distances[1, 6:], distances[1, :, 6:] = torch.inf, torch.inf
    found = distance_quantile(distances, torch.tensor([9, 6]), 0.25)
    for n, count in enumerate((9, 6)):
        block = distances[n, :count, :count][~torch.eye(count, dtype=torch.bool)]
        assert found[n].item() == pytest.approx(np.quantile(block.numpy(), 0.25), rel=1e-6)


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "correlation"])
def test_distances_equal_scipys(metric: str) -> None:
    from scipy.spatial.distance import cdist

    features = torch.randn(2, 15, 8, dtype=torch.float64)
    expected = np.stack([cdist(f, f, metric) for f in features.numpy()])
    np.testing.assert_allclose(pairwise_distances(features, metric).numpy(), expected, atol=1e-7)


def test_copies_of_a_strong_channel_are_at_distance_zero() -> None:
    """A Gram matrix in float32 puts them 0.03 apart, further than the radius that quiet channels give."""
    strong = 100 * torch.rand(1, 1, 49).expand(1, 4, 49)
    distances = pairwise_distances(torch.cat([strong, 0.001 * torch.rand(1, 12, 49)], dim=1))
    assert distances[0, :4, :4].max() < 1e-4
    assert torch.equal(distances, distances.mT)


def test_zero_vectors_under_the_cosine_metric() -> None:
    features = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [1.0, 2.0]]])
    assert pairwise_distances(features, "cosine")[0].tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 0]]
