"""Curves that are kept are those that the metric is the area of; their mean and band are over images, by patient."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cfcam.errors import InputError
from cfcam.metrics import CentredGaussian, RandomMap, Row, Sample, Scorecard, evaluate
from cfcam.metrics.scorecard.curves import CURVES, band, mean_curves, stored
from tests.networks import GapNet


class Light(nn.Module):
    """The probability of class 0 is the mean of the picture."""

    inputs: ClassVar[list[int]] = []

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.features.weight)

    def forward(self, x: Tensor) -> Tensor:
        Light.inputs.append(len(x))  # what the network itself held would be put back after each pass
        lit = self.features(x).mean((1, 2, 3))
        return torch.stack([lit.log(), (1 - lit).log()], 1)


class Brightness(CentredGaussian):
    """A map that is the picture itself: the brightest pixel is the most important."""

    name = "brightness"

    def __call__(self, capture: object) -> Tensor:
        return capture.input.expand(-1, 2, -1, -1).clone()  # type: ignore[attr-defined]


class SometimesNone(Brightness):
    """No numbers for the second picture of a batch, no evidence in the third."""

    name = "sometimes-none"

    def __call__(self, capture: object) -> Tensor:
        maps = super().__call__(capture)
        maps[1] = torch.nan
        maps[2] = -1
        return maps


CAPTURE = 2
"""Passes of the first capture: one to look, and one as all later ones run."""
ALONE = 2
"""Passes of one picture alone: whether the network mixes those of a batch."""
FIRST, SECOND, THIRD = (0.8, 0.4, 0.2, 0.2), (0.1, 0.1, 0.1, 0.5), (0.2, 0.4, 0.6, 0.8)
BOTH = ["insertion-black", "deletion-black"]


def pictures(*values: tuple[float, ...]) -> list[Sample]:
    return [
        Sample(torch.tensor(v).reshape(1, 2, 2), 0, None, f"image {n}", patient=f"p{n}") for n, v in enumerate(values)
    ]


def card_of(metrics: list[str], *values: tuple[float, ...], method: type[Brightness] = Brightness) -> Scorecard:
    return evaluate(
        Light().eval(),
        pictures(*values),
        {"mine": method()},
        metrics,
        controls=False,
        layer="features",
        explained="label",
        steps=4,
    )


def test_the_mean_curves_are_those_computed_by_hand() -> None:
    card = card_of(BOTH, FIRST, SECOND)
    insertion, deletion = card.curves()
    assert (insertion.method, insertion.name, deletion.name) == ("mine", "insertion-black", "deletion-black")
    assert insertion.shares == deletion.shares == (0, 0.25, 0.5, 0.75, 1)
    assert card.rows[0].extra["curve-insertion-black"] == pytest.approx([0, 0.2, 0.3, 0.35, 0.4], abs=1e-6)
    assert card.rows[1].extra["curve-deletion-black"] == pytest.approx([0.2, 0.075, 0.05, 0.025, 0], abs=1e-6)
    assert insertion.mean == pytest.approx([0, 0.1625, 0.225, 0.2625, 0.3], abs=1e-6)
    assert deletion.mean == pytest.approx([0.3, 0.1375, 0.075, 0.0375, 0], abs=1e-6)
    assert insertion.n == deletion.n == 2


def test_the_area_under_the_mean_curve_is_the_mean_of_the_metric() -> None:
    metrics = [*BOTH, "insertion-deletion-black", "insertion-deletion-blur", "road"]
    card = card_of(metrics, FIRST, SECOND, THIRD, method=Brightness)
    means = {line.metric: line.mean for line in card.summary()}
    curves = {curve.name: curve for curve in card.curves()}
    areas = {name: np.trapezoid(curve.mean, curve.shares) for name, curve in curves.items()}
    assert means["insertion-black"] == pytest.approx(areas["insertion-black"], abs=1e-6)
    assert means["deletion-black"] == pytest.approx(areas["deletion-black"], abs=1e-6)
    for kind in ("black", "blur"):
        difference = areas[f"insertion-{kind}"] - areas[f"deletion-{kind}"]
        assert means[f"insertion-deletion-{kind}"] == pytest.approx(difference, abs=1e-6)
    assert curves["road-morf"].shares == (0.2, 0.4, 0.6, 0.8)
    gaps = np.subtract(curves["road-lerf"].mean, curves["road-morf"].mean)
    assert means["road"] == pytest.approx(gaps.mean() / 2, abs=1e-6)
    assert abs(means["road"]) > 0.01


@pytest.mark.parametrize(
    ("metrics", "kept", "inputs"),
    [
        (["complexity"], [], CAPTURE),  # no picture is masked for it
        (["insertion-black"], ["insertion-black"], CAPTURE + 1 + 3 + ALONE),  # capture, baseline, inner points
        (["insertion-deletion-black"], BOTH, CAPTURE + 1 + 2 * 3 + ALONE),
        (["insertion-deletion-black", *BOTH], BOTH, CAPTURE + 1 + 2 * 3 + ALONE),
        (["road"], ["road-morf", "road-lerf"], CAPTURE + 2 * 4 + ALONE),
    ],
)
def test_curves_cost_no_pass_and_those_not_asked_for_are_not_computed(
    metrics: list[str], kept: list[str], inputs: int
) -> None:
    net = Light().eval()
    Light.inputs.clear()
    card = evaluate(
        net,
        pictures(FIRST),
        {"mine": Brightness()},
        metrics,
        controls=False,
        layer="features",
        explained="label",
        steps=4,
    )
    assert [curve.name for curve in card.curves()] == kept
    assert set(card.rows[0].extra) == {f"curve-{name}" for name in kept}
    assert sum(Light.inputs) == inputs


def test_a_baseline_that_is_the_same_for_all_images_is_one_input() -> None:
    Light.inputs.clear()
    card = card_of(["insertion-black"], FIRST, SECOND, THIRD)
    assert (
        sum(Light.inputs) == 2 + 3 + ALONE + 1 + 3 * 3 + ALONE
    )  # two watched, the capture, the baseline, inner points
    assert [row.extra["curve-insertion-black"][0] for row in card.rows] == [0, 0, 0]
    Light.inputs.clear()
    card_of(["insertion-blur"], FIRST, SECOND, THIRD)
    assert sum(Light.inputs) == 2 + 3 + ALONE + 3 + 3 * 3 + ALONE


def test_a_baseline_is_asked_for_the_class_of_each_image() -> None:
    net = GapNet(channels=6).eval()
    several = [Sample(torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(n)), n) for n in range(4)]
    card = evaluate(net, several, RandomMap(), "insertion-black", controls=False, layer="features", explained="label")
    black = net(torch.zeros(1, 3, 16, 16)).softmax(1)[0]
    first = [row.extra["curve-insertion-black"][0] for row in card.rows]
    assert first == pytest.approx(black.tolist(), abs=1e-6)
    assert len(set(first)) == 4


def test_a_map_without_numbers_or_evidence_has_no_curve_and_is_in_no_mean() -> None:
    card = card_of(BOTH, FIRST, SECOND, THIRD, method=SometimesNone)
    assert [row.status for row in card.rows] == ["ok", "not finite", "no positive evidence"]
    assert [len(row.extra) for row in card.rows] == [2, 0, 0]
    insertion = card.curves()[0]
    assert insertion.n == 1
    assert insertion.mean == pytest.approx([0, 0.2, 0.3, 0.35, 0.4], abs=1e-6)


def test_a_curve_with_a_point_that_is_not_finite_is_not_kept() -> None:
    curves = torch.tensor([[0.5, 0.25], [0.5, torch.nan], [torch.inf, 0.5]])
    assert stored(curves) == [[0.5, 0.25], None, None]


def test_one_image_has_a_curve_and_no_band() -> None:
    (curve,) = card_of(["insertion-black"], FIRST).curves()
    assert curve.n == 1
    assert all(math.isnan(value) for value in (*curve.low, *curve.high))


def row(image: str, patient: str, curve: list[float] | None, method: str = "mine") -> Row:
    return Row(image, method, 0, "a", 0.9, "ok", {}, patient=patient, extra={"curve-insertion-blur": curve})


def test_with_three_patients_the_band_goes_from_the_lowest_patient_to_the_highest() -> None:
    # All three draws are the same patient in 1 of 27 resamples: more than the 2.5 % that are cut off at each end.
    images = {"a": [[0.0, 0.9]], "b": [[0.4, 0.5], [0.6, 0.1]], "c": [[0.9, 0.0], [1.0, 0.2], [0.8, 0.1]]}
    rows = [row(f"{p}{n}", p, curve) for p, curves in images.items() for n, curve in enumerate(curves)]
    (curve,) = mean_curves(rows, [r.patient or "" for r in rows])
    assert curve.mean == pytest.approx([3.7 / 6, 1.8 / 6])
    assert curve.low == pytest.approx([0.0, 0.1])
    assert curve.high == pytest.approx([0.9, 0.9])


def test_copies_of_an_image_in_one_patient_do_not_narrow_the_band() -> None:
    curves = np.random.default_rng(1).random((12, 5))
    patients = [f"p{n}" for n in range(12)]
    once, often = band(curves, patients), band(curves.repeat(6, 0), np.repeat(patients, 6).tolist())
    assert np.allclose(once, often)
    low, high = band(curves.repeat(6, 0), [f"p{n}" for n in range(72)])
    assert (high - low < 0.6 * (once[1] - once[0])).all()


def test_the_band_has_the_width_of_the_mean_s_standard_error() -> None:
    curves = np.random.default_rng(2).normal(0.5, 0.1, (200, 3))
    low, high = band(curves, [str(n) for n in range(200)])
    error = curves.std(0) / math.sqrt(200)
    assert np.allclose(high - low, 2 * 1.96 * error, rtol=0.06)
    assert np.allclose((high + low) / 2, curves.mean(0), atol=0.2 * error.max())


def test_the_band_is_the_same_each_time_whatever_the_global_random_state() -> None:
    curves = np.random.default_rng(3).random((6, 4))
    np.random.seed(1)  # noqa: NPY002
    first = band(curves, list("abcdef"))
    np.random.seed(2)  # noqa: NPY002
    assert np.array_equal(first, band(curves, list("abcdef")))


def test_rows_without_a_curve_are_left_out_and_methods_are_kept_apart() -> None:
    rows = [row("1", "a", [0.0, 1.0]), row("2", "b", None), replace(row("3", "c", None), extra={})]
    rows += [row("1", "a", [0.5, 0.5], "other")]
    curves = mean_curves(rows, ["a", "b", "c", "a"])
    assert [(c.method, c.n, c.mean) for c in curves] == [("mine", 1, (0.0, 1.0)), ("other", 1, (0.5, 0.5))]


def test_curves_of_different_steps_are_not_mixed() -> None:
    rows = [row("1", "a", [0.0, 1.0]), row("2", "b", [0.0, 0.5, 1.0])]
    with pytest.raises(InputError, match="insertion-blur of mine: curves of 2 and 3 points"):
        mean_curves(rows, ["a", "b"])


def test_every_curve_belongs_to_a_metric_and_a_direction() -> None:
    better = {info.name: info.higher_is_better for info in CURVES.values()}
    assert better["insertion-mean"]
    assert better["road-lerf"]
    assert not better["deletion-blur"]
    assert not better["road-morf"]
