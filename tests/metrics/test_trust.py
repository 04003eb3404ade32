"""Maps of other networks and other cases agree as loops in NumPy say; and what a call costs is counted right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from cfcam.errors import InputError
from cfcam.metrics.functional.similarity import soft_iou, ssim
from cfcam.metrics.functional.trust import c_score, repeatability, reproducibility
from cfcam.metrics.trust import CScore, Repeatability, Reproducibility


def loop(maps: Tensor, probabilities: Tensor, gamma: float) -> float:
    total = weight = 0.0
    scaled = [(m / m.max()).clamp(min=0).double().numpy() ** gamma for m in maps]
    for i in range(len(maps)):
        for j in range(i + 1, len(maps)):
            w = float(probabilities[i]) * float(probabilities[j])
            total += w * np.minimum(scaled[i], scaled[j]).sum() / np.maximum(scaled[i], scaled[j]).sum()
            weight += w
    return total / weight


@pytest.mark.parametrize("gamma", [1.0, 2.0, 3.5])
@pytest.mark.parametrize("size", [(9, 7), (4, 5, 6)])
def test_c_score_equals_a_loop(gamma: float, size: tuple[int, ...]) -> None:
    maps, probabilities = torch.rand(7, *size) - 0.2, torch.rand(7)
    score, cases = c_score(maps, probabilities, gamma)
    assert float(score) == pytest.approx(loop(maps, probabilities, gamma), rel=1e-5)
    assert cases == 7
    order = torch.tensor([3, 0, 6, 5, 1, 2, 4])
    torch.testing.assert_close(c_score(maps[order] * 40, probabilities[order], gamma)[0], score)


def test_c_score_of_equal_disjoint_constant_and_random_maps() -> None:
    w = torch.rand(5)
    assert float(c_score(torch.rand(1, 8, 8).expand(5, -1, -1), w)[0]) == pytest.approx(1)
    assert float(c_score(torch.eye(5), w)[0]) == pytest.approx(0, abs=1e-7)
    assert float(c_score(torch.full((5, 8, 8), 0.3), w)[0]) == pytest.approx(1)
    # E min(u, v)^2 / E max(u, v)^2 = (1/6) / (1/2)
    assert float(c_score(torch.rand(5, 100, 100), w)[0]) == pytest.approx(1 / 3, abs=0.01)


def test_c_score_leaves_out_what_is_not_a_map_and_counts_the_rest() -> None:
    maps, w = torch.rand(6, 5, 5), torch.rand(6)
    maps[1], maps[4, 0, 0] = 0, torch.nan
    kept = [0, 2, 3, 5]
    score, cases = c_score(maps, w)
    assert cases == 4
    torch.testing.assert_close(score, c_score(maps[kept], w[kept])[0])
    assert c_score(maps[:2], w[:2])[0].isnan()
    assert c_score(maps[:2], w[:2])[1] == 1


def test_a_sure_case_weighs_more() -> None:
    maps = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert float(c_score(maps, torch.tensor([0.9, 0.9, 0.1]))[0]) == pytest.approx(0.81 / (0.81 + 0.09 + 0.09))
    assert c_score(maps, torch.zeros(3))[0].isnan()


@pytest.mark.parametrize("function", [repeatability, reproducibility])
def test_networks_are_compared_by_ssim_and_otherwise_if_asked(function) -> None:
    a, b = torch.rand(2, 3, 20, 20)
    torch.testing.assert_close(function(a, b), ssim(a, b))
    torch.testing.assert_close(function(a, b, "soft_iou"), soft_iou(a, b))


@pytest.mark.parametrize(
    "call",
    [
        lambda: c_score(torch.rand(3, 4), torch.rand(2)),
        lambda: c_score(torch.rand(3), torch.rand(3)),
        lambda: c_score(torch.rand(3, 4), torch.tensor([0.1, 0.2, torch.nan])),
        lambda: c_score(torch.rand(3, 4), torch.tensor([0.1, 0.2, -0.1])),
        lambda: c_score(torch.rand(3, 4), torch.rand(3), gamma=0),
        lambda: CScore().update(torch.rand(3, 4), torch.rand(3), torch.zeros(3), torch.zeros(2)),
        lambda: repeatability(torch.rand(3, 4), torch.rand(3, 5)),
    ],
)
def test_bad_arguments_are_one_line(call) -> None:
    with pytest.raises(InputError) as error:
        call()
    assert "\n" not in str(error.value)


def test_c_score_metric_averages_classes_over_batches() -> None:
    maps, w = torch.rand(9, 6, 6), torch.rand(9)
    labels = torch.tensor([0, 1, 0, 1, 0, 1, 2, 0, 1])
    predicted = torch.tensor([0, 1, 0, 0, 0, 1, 2, 1, 1])
    maps[8] = 0
    metric = CScore()
    for part in (slice(0, 4), slice(4, 9)):
        metric.update(maps[part], w[part], predicted[part], labels[part])
    first, second = c_score(maps[[0, 2, 4]], w[[0, 2, 4]])[0], c_score(maps[[1, 5]], w[[1, 5]])[0]
    torch.testing.assert_close(metric.compute(), (first + second) / 2)
    assert (int(metric.assessed), int(metric.not_assessed)) == (6, 3)
    metric.reset()
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert metric.compute().isnan()
    metric.update(maps[:1], w[:1], predicted[:1], labels[:1])
    assert metric.compute().isnan()


def test_two_processes_count_as_one() -> None:
    maps, w, same = torch.rand(6, 6, 6), torch.rand(6), torch.zeros(6, dtype=torch.int64)
    parts = [CScore(), CScore()]
    for metric, part in zip(parts, (slice(0, 2), slice(2, 6)), strict=True):
        metric.update(maps[part], w[part], same[part], same[part])
    parts[0].merge_state(parts[1])
    torch.testing.assert_close(parts[0].compute(), c_score(maps, w)[0])
    assert int(parts[0].assessed) == 6


@pytest.mark.parametrize("kind", [Repeatability, Reproducibility])
def test_metrics_average_what_was_assessed(kind) -> None:
    a, b = torch.rand(2, 4, 16, 16)
    b[1] = torch.nan
    metric = kind()
    metric.update(a[:2], b[:2])
    metric.update(a[2:], b[2:])
    torch.testing.assert_close(metric.compute(), ssim(a, b)[[0, 2, 3]].mean())
    assert (int(metric.assessed), int(metric.not_assessed)) == (3, 1)
    assert kind.higher_is_better
