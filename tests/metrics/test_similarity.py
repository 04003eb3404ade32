"""Similarities of maps: hand-computed values, loops in NumPy, torchmetrics, and what none of them may hide."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from cfcam.errors import InputError
from cfcam.metrics.functional.similarity import comparison, pearson, soft_iou, spearman, ssim
from cfcam.metrics.similarity import SSIM, Pearson, SoftIoU, Spearman

SIZES = [(9,), (13, 8), (6, 9, 7)]
ALL = [soft_iou, pearson, ssim]


def blob(*corner: int, size: int = 64, extent: int = 8) -> Tensor:
    maps = torch.zeros(1, *[size] * len(corner))
    maps[(0, *(slice(c, c + extent) for c in corner))] = 1
    return maps


def drawn(maps: Tensor) -> Tensor:
    return maps / maps.flatten(1).amax(1).reshape(-1, *[1] * (maps.ndim - 1))


@pytest.mark.parametrize("size", SIZES)
def test_soft_iou_and_pearson_equal_loops(size: tuple[int, ...]) -> None:
    a, b = torch.rand(2, 4, *size)
    for n in range(4):
        x, y = (np.asarray(m[n], dtype=np.float64).ravel() for m in (a, b))
        lower = sum(min(u / x.max(), v / y.max()) for u, v in zip(x, y, strict=True))
        upper = sum(max(u / x.max(), v / y.max()) for u, v in zip(x, y, strict=True))
        assert float(soft_iou(a, b)[n]) == pytest.approx(lower / upper, rel=1e-5)
        assert float(pearson(a, b)[n]) == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_spearman_is_scipys_also_with_ties(size: tuple[int, ...]) -> None:
    a = torch.rand(3, *size).mul(5).round()  # many values more than once
    b = torch.rand(3, *size) + 0.2 * a
    expected = [spearmanr(x.ravel(), y.ravel()).statistic for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    np.testing.assert_allclose(spearman(a, b).numpy(), expected, atol=1e-6)
    torch.testing.assert_close(spearman(a, 6 - a), -torch.ones(3))
    torch.testing.assert_close(spearman(b.exp(), a), spearman(b, a))  # the order is all that counts
    metric = Spearman()
    metric.update(a, b)
    torch.testing.assert_close(metric.compute(), spearman(a, b).mean())


def test_maps_that_are_constant_empty_or_not_finite_have_no_ranks_to_compare() -> None:
    a = torch.rand(4, 3, 3)
    b = torch.rand(4, 3, 3)
    a[0], b[1], a[2, 0, 0] = 0.5, 0, torch.nan
    assert spearman(a, b).isnan().tolist() == [True, True, True, False]


def test_pearson_of_single_spots_and_of_many_positions() -> None:
    a, b = torch.zeros(2, 1, 224, 224)  # torchmetrics has no number for these
    a[:, :4, :4] = b[:, 1:5, 1:5] = 1
    assert float(pearson(a, b)) == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1], abs=1e-6)
    a, b = torch.rand(2, 1, 128, 128, 128)
    b += a
    assert float(pearson(a, b)) == pytest.approx(float(pearson(a.double(), b.double())), abs=1e-6)


@pytest.mark.parametrize("size", [(40, 31), (7, 7), (6, 9), (9, 12, 8)])
def test_ssim_equals_torchmetrics(size: tuple[int, ...]) -> None:
    from torchmetrics.functional.image import structural_similarity_index_measure

    a = drawn(torch.rand(3, *size))
    b = drawn(0.6 * a + 0.4 * torch.rand(3, *size))
    expected = structural_similarity_index_measure(a[:, None], b[:, None], data_range=1.0, reduction="none")
    torch.testing.assert_close(ssim(a, b), expected, atol=1e-5, rtol=0)
    assert 0.05 < float(expected.amin()) < float(expected.amax()) < 0.99


def test_ssim_of_two_positions_by_hand() -> None:
    # A radius of 1 on an axis of 2: reflection gives each position itself once and its neighbour twice.
    side = np.exp(-0.5 / 1.5**2)
    own, other = 1 / (1 + 2 * side), 2 * side / (1 + 2 * side)
    a, b = np.array([1.0, 0.0]), np.array([1.0, 0.5])
    total = 0.0
    for weights in ([own, other], [other, own]):
        mean_a, mean_b = np.dot(weights, a), np.dot(weights, b)
        variance_a, variance_b = np.dot(weights, a * a) - mean_a**2, np.dot(weights, b * b) - mean_b**2
        covariance = np.dot(weights, a * b) - mean_a * mean_b
        total += (
            (2 * mean_a * mean_b + 1e-4)
            / (mean_a**2 + mean_b**2 + 1e-4)
            * (2 * covariance + 9e-4)
            / (variance_a + variance_b + 9e-4)
        )
    value = ssim(torch.tensor(a)[None], torch.tensor(b)[None])
    assert float(value) == pytest.approx(total / 2, rel=1e-6)


@pytest.mark.parametrize("corners", [((8, 8), (48, 48)), ((8, 8, 8), (20, 20, 20))])
def test_blobs_apart_share_nothing_though_ssim_is_high(corners: tuple[tuple[int, ...], ...]) -> None:
    a, b = (blob(*corner, size=32, extent=6) if len(corner) == 3 else blob(*corner) for corner in corners)
    assert float(soft_iou(a, b)) == 0
    assert float(pearson(a, b)) < 0
    assert float(ssim(a, b)) > 0.8


@pytest.mark.parametrize("compare", ALL)
@pytest.mark.parametrize("size", SIZES)
def test_a_map_is_like_itself_at_any_scale(compare, size: tuple[int, ...]) -> None:
    a = torch.rand(3, *size)
    torch.testing.assert_close(compare(a, a), torch.ones(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(compare(a, 1e-30 * a), torch.ones(3), atol=1e-4, rtol=0)
    assert bool((compare(a, torch.rand(3, *size)) < 0.9).all())


@pytest.mark.parametrize("compare", ALL)
@pytest.mark.parametrize("size", SIZES)
def test_symmetric_and_one_by_one_as_in_a_batch(compare, size: tuple[int, ...]) -> None:
    a, b = torch.rand(2, 4, *size)
    together = compare(a, b)
    torch.testing.assert_close(together, compare(b, a))
    torch.testing.assert_close(together, torch.cat([compare(a[n : n + 1], b[n : n + 1]) for n in range(4)]))


@pytest.mark.parametrize("compare", ALL)
def test_a_volume_of_depth_one_is_its_slice(compare) -> None:
    a, b = torch.rand(2, 3, 12, 9)
    for axis in (1, 2, 3):
        torch.testing.assert_close(compare(a.unsqueeze(axis), b.unsqueeze(axis)), compare(a, b))


@pytest.mark.parametrize("compare", ALL)
def test_what_cannot_be_compared_is_not_assessed(compare) -> None:
    a = torch.rand(5, 8, 8)
    b = a.clone()
    b[1], b[2], b[3, 0, 0], b[4, 0, 0] = 0, -1, torch.nan, torch.inf
    for value in (compare(a, b), compare(b, a)):
        assert value.isnan().tolist() == [False, True, True, True, True]
        assert float(value[0]) == pytest.approx(1, abs=1e-5)


def test_constant_maps_agree_but_do_not_correlate() -> None:
    a = torch.full((1, 16, 16), 0.3)
    assert float(soft_iou(a, 2 * a)) == 1
    assert float(ssim(a, 2 * a)) == pytest.approx(1, abs=1e-5)
    assert pearson(a, torch.rand(1, 16, 16)).isnan()
    assert pearson(torch.rand(1, 16, 16), a).isnan()


def test_random_maps_come_out_as_chance() -> None:
    a, b = torch.rand(2, 8, 100, 100)
    # E min(u, v) / E max(u, v) = (1/3) / (2/3)
    torch.testing.assert_close(soft_iou(a, b), torch.full((8,), 0.5), atol=0.01, rtol=0)
    torch.testing.assert_close(pearson(a, b), torch.zeros(8), atol=0.05, rtol=0)
    torch.testing.assert_close(ssim(a, b), torch.zeros(8), atol=0.05, rtol=0)


def test_soft_iou_and_ssim_see_what_is_drawn_pearson_the_signed_values() -> None:
    a = torch.tensor([[[2.0, -4.0], [1.0, 0.0]]])
    torch.testing.assert_close(soft_iou(a, a.clamp(min=0)), torch.ones(1))
    torch.testing.assert_close(ssim(a, a.clamp(min=0)), torch.ones(1))
    expected = np.corrcoef([2, -4, 1, 0], [2, 0, 1, 0])[0, 1]
    assert float(pearson(a, a.clamp(min=0))) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("compare", ALL)
def test_half_precision_maps_are_compared_in_single(compare) -> None:
    a, b = torch.rand(2, 2, 32, 32).half()
    torch.testing.assert_close(compare(a, b), compare(a.float(), b.float()))
    assert compare(a, b).dtype == torch.float32


@pytest.mark.parametrize("compare", ALL)
@pytest.mark.parametrize(
    ("a", "b"),
    [
        (torch.rand(2, 4, 4), torch.rand(2, 4, 5)),
        (torch.rand(2), torch.rand(2)),
        (torch.ones(2, 4, dtype=torch.int64), torch.ones(2, 4, dtype=torch.int64)),
    ],
)
def test_wrong_maps_are_an_error(compare, a: Tensor, b: Tensor) -> None:
    with pytest.raises(InputError, match="cannot be compared"):
        compare(a, b)


def test_similarities_by_name() -> None:
    assert [comparison(name) for name in ("soft_iou", "pearson", "ssim")] == ALL
    assert comparison(torch.minimum) is torch.minimum
    with pytest.raises(InputError, match=r"'psnr'.*soft_iou"):
        comparison("psnr")  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "compare"), [(SoftIoU, soft_iou), (Pearson, pearson), (SSIM, ssim)])
def test_metrics_average_what_was_assessed(kind, compare) -> None:
    a, b = torch.rand(2, 5, 12, 12)
    b[3] = 0
    metric = kind()
    metric.update(a[:2], b[:2])
    metric.update(a[2:], b[2:])
    torch.testing.assert_close(metric.compute(), compare(a, b)[[0, 1, 2, 4]].mean())
    assert (int(metric.assessed), int(metric.not_assessed)) == (4, 1)
