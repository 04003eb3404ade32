import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from cfcam.clinical.checks.repeatability import (
    retest_samples,
)
from cfcam.clinical.comparison import RegistrationError
from cfcam.clinical.comparison.changes import compare
from cfcam.clinical.comparison.comparable import StudyMaps
from cfcam.clinical.comparison.placed import Grid, Placed
from cfcam.clinical.comparison.result import BEYOND, NOT_ASSESSED, WITHIN
from cfcam.clinical.study_result import ModelIdentity
from cfcam.errors import InputError
from cfcam.explainer import Explainer

MODEL = ModelIdentity("exact", "1", "a" * 64, "features", ("finding", "nothing"))


class Exact(nn.Module):
    """A network whose CAM of class 0 is its input: a 1x1 convolution, the mean, and one linear layer."""

    def __init__(self, axes):
        super().__init__()
        self.features = (nn.Conv2d if axes == 2 else nn.Conv3d)(1, 1, 1, bias=False)
        self.classifier = nn.Linear(1, 2, bias=False)
        with torch.no_grad():
            self.features.weight.fill_(1)
            self.classifier.weight.copy_(torch.tensor([[1.0], [-1.0]]))

    def forward(self, x):
        return self.classifier(self.features(x).flatten(2).mean(2))


def study(image, spacing=None, *, retests=0, degrees=2.0, **changed):
    """A study of the exact network: its raw map is the picture itself."""
    image = np.asarray(image, np.float32)
    explainer = Explainer(Exact(image.ndim), ["cam"], layer="features", classes=MODEL.classes)
    x = torch.from_numpy(image)[None, None]
    samples = retest_samples(explainer, x, 0, "cam", count=retests, steps=spacing, degrees=degrees)
    grid = Grid.of_spacing(image.shape, spacing)
    made = StudyMaps(
        Placed(image, grid), tuple(samples), grid, MODEL, "cam", 0, "finding", physical=spacing is not None
    )
    return replace(made, **changed)


def scene(size, radius, *, centre=None, spacing=None, seed=1):
    """A ball of value 1 (radius and centre in mm) over weak structure that a registration can hold on to."""
    steps = np.array(spacing or (1.0,) * len(size))
    mm = np.stack(np.meshgrid(*(np.arange(n) * s for n, s in zip(size, steps, strict=True)), indexing="ij"), -1)
    middle = (np.array(size) - 1) * steps / 2 if centre is None else np.array(centre)
    distance = np.linalg.norm(mm - middle, axis=-1)
    ball = np.clip((radius - distance) / steps.mean() + 0.5, 0, 1)
    coarse = np.random.default_rng(seed).random((6,) * len(size))
    structure = 0.3 * ndimage.zoom(coarse, np.array(size) / 6, order=1, grid_mode=True, mode="nearest")
    return np.maximum(structure, ball).astype(np.float32)


def moved(image, degrees, shift):
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = (np.array(image.shape) - 1) / 2
    return ndimage.affine_transform(image, turn.T, middle - turn.T @ (middle + shift), order=1, mode="nearest")


def test_known_growth_is_recovered_within_a_tenth_after_a_motion():
    prior = study(scene((128, 128), 12 * 0.7, spacing=(0.7, 0.7)), (0.7, 0.7), retests=6)
    current = study(
        moved(scene((128, 128), 18 * 0.7, spacing=(0.7, 0.7)), 5, (6, -9)), (0.7, 0.7), retests=6, degrees=5
    )
    found = compare(prior, current)
    truth = math.pi * (18**2 - 12**2) * 0.7**2
    assert found["hot area"].change == pytest.approx(truth, rel=0.1)
    assert found["hot area"].unit == "mm²"
    assert found["hot area"].verdict == BEYOND
    assert found["centroid shift"].change < 0.7
    assert found["centroid shift"].verdict == WITHIN
    assert found.verdict.startswith("beyond repeatability: ")


def test_known_growth_of_a_volume_on_another_grid_is_recovered_in_mm():
    first, second = (2.0, 1.5, 1.5), (1.5, 1.5, 3.0)
    centre = (30.0, 33.0, 31.0)
    prior = study(scene((32, 44, 44), 10, centre=centre, spacing=first), first, retests=4)
    image = scene((42, 44, 22), 14, centre=centre, spacing=second)
    current = study(image, second, retests=4)
    found = compare(prior, current, registration="none")
    assert found["hot volume"].unit == "mm³"
    assert found["hot volume"].change == pytest.approx(4 / 3 * math.pi * (14**3 - 10**3), rel=0.1)
    assert found["hot volume"].verdict == BEYOND
    assert found["centroid shift"].change < 1
    assert found.difference.shape == (32, 44, 44)


@pytest.mark.parametrize(("degrees", "shift"), [(0, (9, -5)), (6, (0, 0)), (-4, (3.5, 7.5))])
def test_a_pure_motion_gives_no_change(degrees, shift):
    image = scene((128, 128), 14)
    found = compare(
        study(image, (1.0, 1.0), retests=6, degrees=max(2, abs(degrees))),
        study(moved(image, degrees, shift), (1.0, 1.0), retests=6, degrees=max(2, abs(degrees))),
    )
    assert found.verdict == "no change beyond repeatability"
    assert {change.verdict for change in found.changes} == {WITHIN}
    assert found["hot area"].change == pytest.approx(0, abs=0.02 * math.pi * 14**2)


def test_both_maps_are_divided_by_one_number():
    image = np.zeros((20, 30), np.float32)
    image[5:15, 10:20] = 4.0
    found = compare(study(image), study(image / 2), registration="none", threshold=0.4)
    assert found.scale == 4
    assert (found.prior.max(), found.current.max()) == (1, 0.5)
    assert found.difference.min() == -0.5
    assert found.difference.max() == 0
    assert found["mean in hot region"].change == pytest.approx(-0.5)
    assert found["hot area"].change == 0
    assert found["map change"].change == pytest.approx(0.5)  # 1 - sum of minima / sum of maxima
    assert compare(study(image), study(image / 2), registration="none")["hot area"].change == 0
    assert compare(study(image), study(image / 2), registration="none", threshold=0.6)["hot area"].change == -100


def test_numbers_computed_by_hand():
    prior, current = np.zeros((2, 10, 10), np.float32)
    prior[2:4, 2:4] = 1.0
    current[2:4, 5:8] = 1.0
    prior[8, 8] = -3.0  # evidence against the class
    mask = np.zeros((10, 10), bool)
    mask[2:4, 0:6] = True
    found = compare(study(prior, (2.0, 3.0)), study(current, (2.0, 3.0)), registration="none", masks={"lobe": mask})
    assert (found["hot area"].prior, found["hot area"].current, found["hot area"].change) == (24, 36, 12)
    assert found["centroid shift"].change == pytest.approx(3.5 * 3)
    assert found["map change"].change == 1
    assert found["mean in lobe"].prior == pytest.approx(4 / 12)
    assert found["mean in lobe"].change == pytest.approx(2 / 12 - 4 / 12)
    first, second = (1 / (1 + math.exp(-2 * image.mean())) for image in (prior, current))  # softmax of (m, -m)
    assert found["probability"].change == pytest.approx(second - first, abs=1e-6)
    assert found.difference[8, 8] == 0
    assert {change.verdict for change in found.changes} == {NOT_ASSESSED}
    assert "no test-retest was done" in " ".join(found.notes)


def test_left_is_left():
    healthy = scene((120, 120), 9, centre=(40, 30))
    ill = np.maximum(healthy, scene((120, 120), 9, centre=(80, 90)))
    found = compare(study(healthy), study(moved(ill, 3, (5, 4))))
    assert found.difference[70:90, 80:100].mean() > 0.3
    assert np.abs(found.difference[30:50, 20:40]).mean() < 0.05
    assert found.difference[70:90, 20:40].max() < 0.3
    assert np.corrcoef(found.picture[20:100, 20:100].ravel(), ill[20:100, 20:100].ravel())[0, 1] > 0.97


def test_what_one_study_alone_saw_is_not_compared():
    image = np.zeros((20, 20), np.float32)
    image[:, 15:] = image[4:8, 4:8] = 1
    current = study(image[:, :12])
    found = compare(study(image), current, registration="none")
    assert found.seen[:, :12].all()
    assert not found.seen[:, 12:].any()
    assert found["hot area"].change == 0
    assert "60% of the prior image" in " ".join(found.notes)


def test_a_bad_registration_is_no_comparison():
    noise = np.random.default_rng(0).random((64, 64))
    with pytest.raises(RegistrationError, match="not compared"):
        compare(study(scene((64, 64), 9)), study(noise))


def test_maps_without_evidence_have_no_scale_and_no_area():
    empty = -np.ones((16, 16), np.float32)
    found = compare(study(empty), study(empty), registration="none")
    assert found.scale == 0
    assert found["hot area"].change == 0
    assert found["map change"].change is None
    assert sum("no evidence" in note for note in found.notes) == 2
    image = np.zeros((16, 16), np.float32)
    image[4:8, 4:8] = 2
    appeared = compare(study(empty), study(image), registration="none")
    assert (appeared["hot area"].change, appeared.scale) == (16, 2)
    assert appeared["centroid shift"].change is None


def test_masks_and_thresholds_are_checked():
    a = study(scene((16, 16), 4))
    for masks in (
        {"lobe": np.ones((4, 4), bool)},
        {"lobe": np.ones((16, 16))},
        {"hot region": np.ones((16, 16), bool)},
    ):
        with pytest.raises(InputError, match="mask"):
            compare(a, a, registration="none", masks=masks)
    for threshold in (0, 1.5):
        with pytest.raises(InputError, match="threshold"):
            compare(a, a, registration="none", threshold=threshold)
