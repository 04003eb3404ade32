"""How far numbers move without a cause: deviation within subjects, the coefficient, the retests."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from cfcam.clinical.checks.repeatability import (
    repeatability_coefficient,
    retest_samples,
    within_subject_sd,
)
from cfcam.errors import InputError
from cfcam.explainer import Explainer
from tests.clinical.comparison.test_changes import Exact, scene


def test_within_subject_deviation_is_the_mean_of_sample_variances():
    states = [[1.0, 3.0, 2.0, 7.0], [4.0, 4.5, 6.0, 1.0]]
    expected = math.sqrt(np.mean([np.var(several, ddof=1) for several in states]))
    assert within_subject_sd(states, lambda a, b: abs(a - b)) == pytest.approx(expected)
    assert within_subject_sd([[1.0], [2.0]], lambda a, b: abs(a - b)) is None
    assert within_subject_sd([[math.nan] * 3, [1.0, 3.0]], lambda a, b: abs(a - b)) == pytest.approx(math.sqrt(2))
    places = [np.random.default_rng(0).normal(size=(5, 3))]
    assert within_subject_sd([list(p) for p in places], lambda a, b: float(np.linalg.norm(a - b))) == pytest.approx(
        math.sqrt(places[0].var(0, ddof=1).sum())
    )


def test_the_coefficient_is_that_of_bland_and_altman_for_many_retests():
    assert repeatability_coefficient(2.0, 10**6) == pytest.approx(1.96 * math.sqrt(2) * 2, rel=1e-4)
    assert repeatability_coefficient(1.0, 16) == pytest.approx(2.1199 * math.sqrt(2), rel=1e-4)
    assert repeatability_coefficient(None, 3) is None


def test_95_percent_of_unchanged_pairs_lie_within():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        states = rng.normal(0, 3, (2, 5))
        limit = repeatability_coefficient(within_subject_sd(states, lambda a, b: abs(a - b)), 8)
        inside += abs(rng.normal(0, 3) - rng.normal(0, 3)) <= limit
    assert inside / 2000 == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("size", [(40, 56), (18, 24, 20)])
def test_retests_bring_the_maps_back_to_where_the_image_was(size):
    image = scene(size, min(size) / 4)
    explainer = Explainer(Exact(len(size)), ["cam"], layer="features")
    x = torch.from_numpy(image)[None, None]
    before = torch.random.get_rng_state()
    samples = retest_samples(explainer, x, 0, "cam", count=4, steps=tuple(1.0 + n for n in range(len(size))))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert samples[0].raw == pytest.approx(image, abs=1e-5)
    assert len(samples) == 5
    ball = image > 0.5
    for sample in samples[1:]:
        again = sample.raw > 0.5
        assert 2 * (again & ball).sum() / (again.sum() + ball.sum()) > 0.9
        assert not np.allclose(sample.raw, image, atol=0.02)
        assert sample.probability is not None
    same = retest_samples(explainer, x, 0, "cam", count=4, steps=tuple(1.0 + n for n in range(len(size))))
    assert all(np.array_equal(a.raw, b.raw) for a, b in zip(samples, same, strict=True))


def test_retests_shift_by_up_to_half_a_cell_of_the_layer():
    class Coarse(Exact):
        def forward(self, x):
            return self.classifier(self.features(nn.functional.avg_pool2d(x, 16)).flatten(2).mean(2))

    image = np.zeros((64, 64), np.float32)
    image[16:32, 16:32] = 1  # exactly one cell
    explainer = Explainer(Coarse(2), ["cam"], layer="features")
    x = torch.from_numpy(image)[None, None]
    samples = retest_samples(explainer, x, 0, "cam", count=8, degrees=0, zoom=0)
    peaks = [float(sample.raw.max()) for sample in samples]
    assert peaks[0] > 0.9
    assert min(peaks) < 0.7 * peaks[0]  # between cells the same square is spread over four of them


def test_retests_are_checked():
    explainer = Explainer(Exact(2), ["cam"], layer="features")
    for x, options in (
        (torch.zeros(2, 1, 8, 8), {}),
        (torch.zeros(1, 1, 8), {}),
        (torch.zeros(1, 1, 8, 8), {"steps": (1.0,)}),
        (torch.zeros(1, 1, 8, 8), {"count": -1}),
    ):
        with pytest.raises(InputError, match="retests"):
            retest_samples(explainer, x, 0, "cam", **options)
