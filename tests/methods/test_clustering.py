"""The batched DBSCAN against scikit-learn's, which is the oracle, and the selected quantile against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import DBSCAN
from torch import Tensor

from cfcam.methods.clustering import dbscan, kth_smallest, squared_distances, squared_radius


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


@pytest.mark.parametrize("size", [2, 57, 700])
def test_random_features_of_a_network(size: int) -> None:
    features = torch.randn(3, size, 20).relu() * torch.rand(3, size, 1).pow(3)
    features[:, ::9] = 0  # dead channels are identical
    squared = squared_distances(features)
    count = torch.full((3,), size)
    for quantile in (0.02, 0.1, 0.25, 0.6):
        radius = squared_radius(squared, count, quantile)
        samples = max(2, size // 20)
        ours = dbscan(squared, radius, torch.full((3,), samples)).tolist()
        # scikit-learn with NumPy's interpolated quantile of the distances themselves
        for labels, d in zip(ours, squared.double().clamp(min=0).sqrt(), strict=True):
            eps = np.quantile(d[~torch.eye(size, dtype=torch.bool)].numpy(), quantile)
            assert labels == scikit_labels(d, max(float(eps), 1e-300), samples)


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
def test_the_radius_takes_in_what_numpys_quantile_does(
    diagonal: bool, places: list[int], padding: int, quantile: float
) -> None:
    values = torch.tensor(places, dtype=torch.float64)
    distances = (values[:, None] - values[None]).abs()
    pairs = distances if diagonal else distances[~torch.eye(len(places), dtype=torch.bool)]
    expected = np.quantile(pairs.numpy(), quantile, method="lower") if pairs.numel() else 0.0
    size = len(places) + padding
    padded = torch.full((1, size, size), torch.inf, dtype=torch.float64)
    padded[0, : len(places), : len(places)] = distances.square()
    found = squared_radius(padded, torch.tensor([len(places)]), quantile, diagonal=diagonal)
    assert found.item() == expected**2
    if pairs.numel():
        assert ((pairs <= found.sqrt()) == (pairs <= np.quantile(pairs.numpy(), quantile) + 1e-9)).all()


def test_the_radius_of_a_batch_with_different_counts() -> None:
    squared = squared_distances(torch.randn(2, 9, 5))
    squared[1, 6:], squared[1, :, 6:] = torch.inf, torch.inf
    found = squared_radius(squared, torch.tensor([9, 6]), 0.25)
    for n, count in enumerate((9, 6)):
        block = squared[n, :count, :count][~torch.eye(count, dtype=torch.bool)]
        assert found[n].item() == np.quantile(block.numpy(), 0.25, method="lower")


@pytest.mark.parametrize("shape", ["random", "sorted", "constant", "periodic", "infinite"])
def test_selection_equals_sorting(shape: str) -> None:
    """Long rows take the narrowed path; sorted and periodic ones mislead its sample."""
    length = 200_000
    values = {
        "random": torch.randn(3, length),
        "sorted": torch.arange(3 * length).reshape(3, -1).float(),
        "constant": torch.ones(3, length),
        "periodic": torch.randn(3, 25).repeat(1, length // 25),
        "infinite": torch.where(torch.rand(3, length) < 0.4, torch.inf, torch.rand(3, length)),
    }[shape]
    expected = values.sort(dim=1).values
    for ranks in ([0, 1, length - 1], [50_000, 50_000, 50_000], [7, 199_998, 100_000]):
        rank = torch.tensor(ranks)
        assert torch.equal(kth_smallest(values, rank), expected.gather(1, rank[:, None])[:, 0])


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "correlation"])
def test_distances_equal_scipys(metric: str) -> None:
    from scipy.spatial.distance import cdist

    features = torch.randn(2, 15, 8, dtype=torch.float64)
    expected = np.stack([cdist(f, f, metric) for f in features.numpy()])
    np.testing.assert_allclose(squared_distances(features, metric).numpy(), expected**2, atol=1e-12)


def test_copies_of_a_strong_channel_are_at_distance_zero() -> None:
    """A Gram matrix in float32 puts them 0.03 apart, further than the radius that quiet channels give."""
    strong = 100 * torch.rand(1, 1, 49).expand(1, 4, 49)
    squared = squared_distances(torch.cat([strong, 0.001 * torch.rand(1, 12, 49)], dim=1))
    assert squared[0, :4, :4].abs().max() < 1e-8
    assert torch.equal(squared, squared.mT)


def test_zero_vectors_under_the_cosine_metric() -> None:
    features = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [1.0, 2.0]]])
    assert squared_distances(features, "cosine")[0].tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 0]]
