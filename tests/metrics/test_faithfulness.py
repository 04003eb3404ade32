from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam.errors import InputError
from cfcam.metrics import faithfulness as classes
from cfcam.metrics.base import MapMetric
from cfcam.metrics.functional.faithfulness import (
    adcc,
    arcc,
    auc,
    average_drop,
    average_gain,
    coherency,
    complexity,
    increase_in_confidence,
    insertion_minus_deletion,
    road,
    road_curves,
)
from cfcam.metrics.functional.perturbation import (
    baseline_image,
    masked_input,
    masked_probability,
    noisy_linear_imputation,
    perturbation_curve,
    rank_positions,
)

nan = math.nan


def mean_score(inputs: Tensor, images: Tensor) -> Tensor:
    return inputs.flatten(1).mean(1)


class Classifier(nn.Module):
    """A network that is cheap, not linear, and sure enough of itself to be worth masking."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(channels, 6, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)) * 8)


def probability_of(net: nn.Module, targets: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda inputs, images: net(inputs).softmax(1).gather(1, targets[images, None]).squeeze(1)


# --- numbers by hand ---


def test_average_drop_gain_and_increase_by_hand() -> None:
    original = torch.tensor([0.8, 0.5, 0.5, 0.0, 1.0, 0.4])
    masked = torch.tensor([0.6, 0.75, 0.5, 0.3, 0.25, nan])
    torch.testing.assert_close(average_drop(original, masked), torch.tensor([25.0, 0, 0, nan, 75, nan]), equal_nan=True)
    torch.testing.assert_close(average_gain(original, masked), torch.tensor([0.0, 50, 0, 30, nan, nan]), equal_nan=True)
    torch.testing.assert_close(
        increase_in_confidence(original, masked), torch.tensor([0.0, 100, 0, 100, 0, nan]), equal_nan=True
    )


def test_there_is_nothing_to_gain_on_a_probability_that_rounds_to_more_than_one() -> None:
    assert average_gain(torch.tensor([1.0000001]), torch.tensor([1.0])).isnan()


def test_area_by_hand_and_as_scikit_learns() -> None:
    from sklearn.metrics import auc as sklearn_auc

    curve = torch.rand(3, 9, dtype=torch.float64)
    expected = [sklearn_auc(np.linspace(0, 1, 9), row) for row in curve.numpy()]
    np.testing.assert_allclose(auc(curve), expected)
    assert float(auc(torch.ones(1, 5))) == 1
    assert float(insertion_minus_deletion(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 1.0]]))) == -0.5


def test_coherency_is_pearsons_correlation_moved_to_the_unit_range() -> None:
    from scipy.stats import pearsonr

    a, b = torch.rand(4, 6, 7), torch.rand(4, 6, 7)
    expected = [(pearsonr(x.ravel(), y.ravel()).statistic + 1) / 2 for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    np.testing.assert_allclose(coherency(a, b), expected, atol=1e-6)
    torch.testing.assert_close(coherency(a, 0.3 * a + 0.1), torch.ones(4))
    torch.testing.assert_close(coherency(a, 1 - a), torch.zeros(4), atol=1e-6, rtol=0)


def test_coherency_is_not_assessed_without_a_correlation() -> None:
    a = torch.rand(6, 5, 5)
    b = a.clone()
    b[0] = 0
    b[1] = 1
    b[2, 0, 0] = nan
    b[3] = 0.1  # its mean rounds to another number
    b[4] -= 1  # no positive evidence
    for values in (coherency(a, b), coherency(b, a)):
        assert values.isnan().tolist() == [True, True, True, True, True, False]


def test_complexity_is_the_share_that_is_marked() -> None:
    # Quantus' Complexity is another thing: the entropy of the map.
    heatmap = torch.zeros(4, 4, 5)
    heatmap[0] = 1
    heatmap[1, :2] = 0.5
    heatmap[2, 0, 0] = nan
    torch.testing.assert_close(complexity(heatmap), torch.tensor([1, 0.25, nan, nan]), equal_nan=True)


def test_adcc_is_a_harmonic_mean_of_three_map_by_map() -> None:
    coh, com, ad = torch.tensor([0.5, 1.0, 1.0]), torch.tensor([0.75, 0.0, 0.5]), torch.tensor([75.0, 0.0, 50.0])
    torch.testing.assert_close(adcc(coh, com, ad), torch.tensor([3 / (2 + 4 + 4), 1.0, 3 / (1 + 2 + 2)]))


def test_arcc_is_a_harmonic_mean_with_twice_the_road_clipped() -> None:
    coh, com = torch.full((4,), 0.5), torch.full((4,), 0.5)
    expected = torch.tensor([3 / (2 + 2 + 2), 3 / (2 + 2 + 1), 0.0, 0.0])
    torch.testing.assert_close(arcc(coh, com, torch.tensor([0.25, 0.5, 0.0, -0.3])), expected)


def test_a_map_of_the_whole_image_has_no_simplicity_and_no_adcc() -> None:
    """Also where the mean of ones has been rounded up."""
    assert adcc(torch.ones(2), torch.tensor([1.0, 1.0000001]), torch.zeros(2)).tolist() == [0, 0]


@pytest.mark.parametrize("metric", [adcc, arcc])
def test_a_term_of_zero_gives_zero_and_a_term_that_is_unknown_gives_nothing(metric: Callable[..., Tensor]) -> None:
    third = 0.0 if metric is adcc else 0.5
    terms = [
        [0.0, 0.5, third],
        [0.5, 1.0, third],
        [nan, 0.5, third],
        [0.5, nan, third],
        [0.5, 0.5, nan],
        [0.0, 0.5, nan],
    ]
    values = metric(*torch.tensor(terms).T)
    torch.testing.assert_close(values, torch.tensor([0, 0, nan, nan, nan, nan]), equal_nan=True)


def test_road_is_half_the_mean_gap() -> None:
    morf, lerf = torch.tensor([[0.1, 0.3], [0.5, nan]]), torch.tensor([[0.9, 0.5], [0.5, 0.5]])
    torch.testing.assert_close(road(morf, lerf), torch.tensor([(0.8 + 0.2) / 4, nan]), equal_nan=True)


# --- what must come out ---


def test_a_map_of_ones_shows_the_image_itself() -> None:
    net, x = Classifier().eval(), torch.randn(3, 3, 8, 8)
    score = probability_of(net, net(x).argmax(1))
    original = score(x, torch.arange(3)).detach()
    masked = masked_probability(score, x, torch.ones(3, 8, 8))
    assert (average_drop(original, masked) == 0).all()
    assert (average_gain(original, masked) == 0).all()
    assert (increase_in_confidence(original, masked) == 0).all()
    assert (complexity(torch.ones(3, 8, 8)) == 1).all()


def test_the_true_order_of_a_linear_network_is_the_best_and_its_reverse_the_worst() -> None:
    """Four positions of worth 0.4, 0.3, 0.2 and 0.1: curves and areas by hand."""
    worth = torch.tensor([[[0.1, 0.4], [0.3, 0.2]]])

    def score(inputs: Tensor, images: Tensor) -> Tensor:
        return (inputs[:, 0] * worth).flatten(1).sum(1)

    x = torch.ones(1, 1, 2, 2)
    curve = partial(perturbation_curve, score, x, baseline=torch.zeros_like(x), steps=4)
    best, worst = curve(worth), curve(1 - worth)
    torch.testing.assert_close(best, torch.tensor([[1.0, 0.6, 0.3, 0.1, 0.0]]))
    torch.testing.assert_close(worst, torch.tensor([[1.0, 0.9, 0.7, 0.4, 0.0]]))
    torch.testing.assert_close(auc(best), torch.tensor([0.375]))
    inserted = curve(worth, mode="insertion")
    torch.testing.assert_close(insertion_minus_deletion(inserted, best), torch.tensor([0.25]))
    ranks = torch.rand(24, 4).argsort(1).float()
    others = torch.cat([auc(curve(rank.view(1, 2, 2))) for rank in ranks])
    assert others.min() >= auc(best)[0] - 1e-6
    assert others.max() <= auc(worst)[0] + 1e-6


def test_maps_that_know_nothing_come_out_near_zero() -> None:
    """Random and constant orders: insertion agrees with deletion, and LeRF with MoRF."""
    x = torch.rand(6, 1, 40, 40)
    heatmap = torch.rand(6, 40, 40)
    heatmap[3:] = 1
    for kind in ("black", "mean", "blur"):
        curve = partial(perturbation_curve, mean_score, x, heatmap, baseline=baseline_image(x, kind), steps=20)
        gap = insertion_minus_deletion(curve(mode="insertion"), curve(mode="deletion"))
        assert gap.abs().max() < 0.02
    assert road(*road_curves(mean_score, x, heatmap)).abs().max() < 0.02


# --- ROAD ---


def test_road_curves_impute_the_most_and_the_least_relevant_away() -> None:
    x, heatmap = torch.rand(2, 3, 12, 14), torch.rand(2, 12, 14)
    net, targets = Classifier().eval(), torch.tensor([3, 1])
    score = probability_of(net, targets)
    morf, lerf = road_curves(score, x, heatmap, (10, 50, 90), noise=0.1, seed=5, batch_size=4)
    order = rank_positions(heatmap)
    for i in range(2):
        for column, percentile in enumerate((10, 50, 90)):
            count = round(12 * 14 * percentile / 100)
            for curve, removed in ((morf, order[i, :count]), (lerf, order[i, -count:])):
                keep = torch.ones(12 * 14, dtype=torch.bool)
                keep[removed] = False
                image = noisy_linear_imputation(x[i : i + 1], keep.view(1, 12, 14), noise=0.1, seed=5)
                torch.testing.assert_close(curve[i, column], score(image, torch.tensor([i]))[0].detach())


def test_an_image_of_one_colour_says_nothing_to_road() -> None:
    x = torch.full((2, 1, 16, 16), 0.6)
    morf, lerf = road_curves(mean_score, x, torch.rand(2, 16, 16), noise=0.0)
    torch.testing.assert_close(morf, torch.full((2, 4), 0.6))
    torch.testing.assert_close(lerf, torch.full((2, 4), 0.6))


def test_road_of_a_volume_of_depth_one_is_that_of_the_image_and_batches_do_not_mix() -> None:
    x, heatmap = torch.rand(3, 2, 10, 11), torch.rand(3, 10, 11)
    flat = road(*road_curves(mean_score, x, heatmap))
    deep = road(*road_curves(mean_score, x.unsqueeze(2), heatmap.unsqueeze(1)))
    torch.testing.assert_close(deep, flat, atol=1e-4, rtol=0)
    for i in range(3):
        alone = road(*road_curves(mean_score, x[i : i + 1], heatmap[i : i + 1], batch_size=1))
        torch.testing.assert_close(alone[0], flat[i], atol=1e-6, rtol=0)


def test_road_gives_nothing_for_maps_without_evidence_and_refuses_wrong_percentiles() -> None:
    x, heatmap = torch.rand(3, 1, 6, 6), torch.rand(3, 6, 6)
    heatmap[0] = 0
    heatmap[2, 1, 1] = nan
    assert road(*road_curves(mean_score, x, heatmap)).isnan().tolist() == [True, False, True]
    for percentiles in ((), (0, 50), (50, 100)):
        with pytest.raises(InputError, match="percentiles"):
            road_curves(mean_score, x, heatmap, percentiles)
    with pytest.raises(InputError, match=r"\(3, 6, 6\)"):
        road_curves(mean_score, x, heatmap[:, :3])


# --- other libraries ---


class FixedMaps:
    """What torch-cam's metrics ask of an extractor, with maps that are given."""

    def __init__(self, model: nn.Module, maps: Tensor) -> None:
        self.model = model
        self.maps = maps

    def __call__(self, *args: Any, **kwargs: Any) -> list[Tensor]:
        return [self.maps]

    def fuse_cams(self, cams: list[Tensor]) -> Tensor:
        return cams[0]

    def _hooks_off(self) -> Any:
        return nullcontext()


def test_average_drop_and_increase_equal_torch_cams() -> None:
    from torchcam.metrics import ClassificationMetric

    net, x, heatmap = Classifier().eval(), torch.randn(12, 3, 9, 9), torch.rand(12, 9, 9)
    peer = ClassificationMetric(FixedMaps(net, heatmap), partial(torch.softmax, dim=-1))
    targets = torch.arange(12) % 4
    peer.update(x, targets.tolist())
    score = probability_of(net, targets)
    original, masked = score(x, torch.arange(12)).detach(), masked_probability(score, x, heatmap)
    drop, increase = classes.AverageDrop(), classes.IncreaseInConfidence()
    drop.update(original, masked)
    increase.update(original, masked)
    # torch-cam gives shares and divides by f + 1e-7.
    assert peer.summary()["avg_drop"] * 100 == pytest.approx(float(drop.compute()), rel=1e-5)
    assert peer.summary()["conf_increase"] * 100 == pytest.approx(float(increase.compute()))
    assert 0 < float(increase.compute()) < 100


def test_deletion_and_insertion_equal_torch_cams() -> None:
    from torchcam.metrics import DeletionInsertionMetric

    # Where they differ: torch-cam breaks ties by index, and its steps are ceil(P / steps) positions; here there are no
    # ties, and 8 steps divide 64 positions.
    net, x, heatmap = Classifier().eval(), torch.randn(5, 3, 8, 8), torch.rand(5, 8, 8)
    baseline = baseline_image(x, "blur")
    peer = DeletionInsertionMetric(FixedMaps(net, heatmap), partial(torch.softmax, dim=-1), steps=8, baseline=baseline)
    peer.update(x)
    score = probability_of(net, net(x).argmax(1))
    deletion, insertion = classes.Deletion("blur", steps=8), classes.Insertion("blur", steps=8)
    deletion.update(score, x, heatmap)
    insertion.update(score, x, heatmap)
    assert float(deletion.compute()) == pytest.approx(peer.summary()["deletion_auc"], rel=1e-5)
    assert float(insertion.compute()) == pytest.approx(peer.summary()["insertion_auc"], rel=1e-5)


def test_the_deletion_curve_equals_quantus_pixel_flipping() -> None:
    quantus = pytest.importorskip("quantus")

    # Where they differ: Quantus ranks channels apart (so one channel here), leaves out the whole image, breaks ties by
    # NumPy's quicksort, and its area has a step of 1.
    net, x, heatmap = Classifier(channels=1).eval(), torch.rand(3, 1, 6, 6), torch.rand(3, 6, 6)
    targets = net(x).argmax(1)
    flipping = quantus.PixelFlipping(
        features_in_step=4, perturb_baseline=0.0, normalise=False, disable_warnings=True, display_progressbar=False
    )
    maps = heatmap.unsqueeze(1).numpy()
    expected = flipping(model=net, x_batch=x.numpy(), y_batch=targets.numpy(), a_batch=maps, softmax=True)
    score = probability_of(net, targets)
    curve = perturbation_curve(score, x, heatmap, baseline=torch.zeros_like(x), steps=9)
    np.testing.assert_allclose(curve[:, 1:].numpy(), np.array(expected), atol=1e-6)


# --- classes ---


def filled() -> dict[str, tuple[MapMetric, list[tuple[Any, ...]]]]:
    """Every class with the arguments of two updates; the second one holds a map that is empty."""
    x, heatmap, other = torch.rand(4, 2, 8, 8), torch.rand(4, 8, 8), torch.rand(4, 8, 8)
    heatmap[3] = 0
    p, q = torch.rand(4) * 0.9 + 0.05, torch.where(torch.arange(4) == 3, nan, torch.rand(4))
    share = torch.where(torch.arange(4) == 3, nan, torch.rand(4) / 2)
    arguments: dict[str, tuple[Any, ...]] = {
        "AverageDrop": (p, q),
        "IncreaseInConfidence": (p, q),
        "AverageGain": (p, q),
        "Deletion": (mean_score, x, heatmap),
        "Insertion": (mean_score, x, heatmap),
        "InsertionMinusDeletion": (mean_score, x, heatmap),
        "Coherency": (heatmap, other),
        "Complexity": (heatmap,),
        "ADCC": (p, share, 100 * share),
        "ROAD": (mean_score, x, heatmap),
        "ARCC": (p, share, share),
    }

    def part(values: tuple[Any, ...], where: slice) -> tuple[Any, ...]:
        return tuple(v[where] if isinstance(v, Tensor) else v for v in values)

    return {
        name: (getattr(classes, name)(), [part(values, slice(0, 2)), part(values, slice(2, 4)), values])
        for name, values in arguments.items()
    }


@pytest.mark.parametrize("name", list(filled()))
def test_classes_average_over_batches_and_count_what_they_could_not_assess(name: str) -> None:
    metric, (first, second, both) = filled()[name]
    metric.update(*first)
    metric.update(*second)
    whole = type(metric)()
    whole.update(*both)
    torch.testing.assert_close(metric.compute(), whole.compute())
    assert (int(metric.assessed), int(metric.not_assessed)) == (3, 1)


@pytest.mark.parametrize("name", list(filled()))
def test_classes_of_two_processes_add_up(name: str) -> None:
    """What torchmetrics does to the states of all processes: reduce each of them as it was declared."""
    metric, (first, second, both) = filled()[name]
    metric.update(*first)
    other = pickle.loads(pickle.dumps(type(metric)()))  # noqa: S301
    other.update(*second)
    together = type(metric)()
    together.update(*both)
    for state in metric._defaults:
        stacked = torch.stack([getattr(metric, state), getattr(other, state)])
        reduce = metric._reductions[state]
        assert callable(reduce)
        torch.testing.assert_close(reduce(stacked), getattr(together, state))


def test_the_value_of_a_class_is_the_mean_of_the_function() -> None:
    x, heatmap = torch.rand(3, 2, 8, 8), torch.rand(3, 8, 8).round(decimals=1)  # ties, for the seed to matter
    black = torch.tensor([-1.0, -2.0])
    deletion = classes.Deletion("black", black=black, steps=5, batch_size=3, seed=4)
    deletion.update(mean_score, x, heatmap)
    curve = perturbation_curve(mean_score, x, heatmap, baseline=baseline_image(x, "black", black), steps=5, seed=4)
    torch.testing.assert_close(deletion.compute(), auc(curve).mean())
    metric = classes.ROAD((30, 60), noise=0.2, seed=1)
    metric.update(mean_score, x, heatmap)
    torch.testing.assert_close(
        metric.compute(), road(*road_curves(mean_score, x, heatmap, (30, 60), noise=0.2, seed=1)).mean()
    )


def test_insertion_minus_deletion_saves_the_shared_ends() -> None:
    calls = SimpleNamespace(inputs=0)

    def score(inputs: Tensor, images: Tensor) -> Tensor:
        calls.inputs += len(inputs)
        return mean_score(inputs, images)

    x, heatmap = torch.rand(2, 1, 8, 8), torch.rand(2, 8, 8)
    difference = classes.InsertionMinusDeletion("mean", steps=6)
    difference.update(score, x, heatmap)
    assert calls.inputs == 2 * (7 + 5)
    parts = [kind("mean", steps=6) for kind in (classes.Insertion, classes.Deletion)]
    for metric in parts:
        metric.update(score, x, heatmap)
    torch.testing.assert_close(difference.compute(), parts[0].compute() - parts[1].compute())


def test_every_class_says_which_way_is_better() -> None:
    lower = {"AverageDrop", "Deletion", "Complexity"}
    for name, (metric, _) in filled().items():
        assert metric.higher_is_better is (name not in lower)


# --- end to end ---


@pytest.mark.data
def test_on_real_pictures_grad_cam_beats_its_own_reverse(data: Path) -> None:
    from PIL import Image

    from cfcam.models import load

    net = load(f"{data}/networks.py:imagenet_mobilenet_v2").module
    files = sorted((data / "imagenet-val-boxes" / "images").iterdir())[:4]
    pixels = [np.asarray(Image.open(file).convert("RGB").resize((224, 224)), dtype=np.float32) for file in files]
    x = (torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2) - 128) / 128
    e = cfcam.explain(net, x, "grad-cam")
    heatmap, score = e.heatmaps("grad-cam")[:, 0], probability_of(net, e.targets[:, 0])
    reverse = 1 - heatmap
    road_of = {name: road(*road_curves(score, x, h, (30, 70))) for name, h in (("map", heatmap), ("reverse", reverse))}
    assert road_of["map"].mean() > 0.05 > -0.05 > road_of["reverse"].mean()
    curve = partial(perturbation_curve, score, x, baseline=baseline_image(x, "blur"), steps=8)
    assert auc(curve(heatmap, mode="insertion")).mean() > auc(curve(reverse, mode="insertion")).mean() + 0.1
    masked = masked_input(x, heatmap)
    again = cfcam.explain(net, masked, "grad-cam", targets=e.targets[:, 0]).heatmaps("grad-cam")[:, 0]
    assert coherency(heatmap, again).min() > 0.8
