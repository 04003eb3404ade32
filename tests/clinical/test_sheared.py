"""Sheared grids: sizes by the determinant, distances by the affine; every oracle is computed by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from cfcam.clinical import checks
from cfcam.clinical.checks.interventions import dilate
from cfcam.clinical.checks.motions import warp
from cfcam.clinical.checks.repeatability import _theta, rotation
from cfcam.clinical.checks.results import Limits
from cfcam.clinical.comparison.changes import compare
from cfcam.clinical.comparison.placed import Grid, Placed
from cfcam.clinical.regions import measure
from cfcam.exchange.dicom.structured_report import measurements_of
from cfcam.imaging import VolumePreprocess
from cfcam.imaging.drawing.planes import VolumeView, view_notes
from cfcam.imaging.geometry import cell_size, is_sheared, metric_of, skewness
from cfcam.imaging.volume import Volume
from tests.clinical.comparison.test_changes import study

LEANING = np.diag([2.0, 3.0, 4.0, 1.0])
LEANING[1, 2] = 4.0  # the third axis leans by 45 degrees: it is 4 * sqrt(2) long, and a voxel still has 24 mm³


def test_a_cube_that_leans_by_45_degrees_has_its_volume():
    unit = np.eye(4)
    unit[0, 2] = 1
    assert cell_size(unit, 3) == pytest.approx(1)
    assert cell_size(unit[:, [0, 2, 1, 3]], 2) == pytest.approx(1)  # |(1, 0, 0) x (1, 0, 1)|
    assert cell_size(np.diag([2.0, 3, 4, 1]), 2) == pytest.approx(6)
    assert skewness(unit) == pytest.approx(45)
    assert is_sheared(unit)
    steps = np.array([1.0, 2, 3])
    assert np.linalg.norm(metric_of(LEANING, 3) @ steps) == pytest.approx(np.linalg.norm(LEANING[:3, :3] @ steps))
    np.testing.assert_allclose(metric_of(np.diag([2.0, 3, 4, 1]), 3), np.diag([2, 3, 4]))


def test_regions_and_the_numbers_of_a_report_have_the_volume_of_the_patient():
    heat = torch.zeros(4, 5, 6)
    heat[1, 1, 1:4] = 1.0
    region = measure(heat, Volume(np.zeros((4, 5, 6)), LEANING).spacing, 0.5, affine=LEANING)["map"]
    assert (region.size, region.largest, region.unit) == (pytest.approx(72), pytest.approx(72), "mm³")
    assert measurements_of(region)["volume_mm3"] == pytest.approx(72)
    assert region.centroid_patient == pytest.approx((2, 3 + 8, 8))


def test_areas_of_a_picture_that_leans_are_cross_products():
    plane = np.eye(4)
    plane[:3, 1] = (3, 4, 0)  # columns 5 mm apart, leaning on the rows: the cell has 4 mm²
    heat = torch.zeros(4, 5)
    heat[1, 1:4] = 1.0
    assert measure(heat, (1.0, 5.0), 0.5, affine=plane)["map"].size == pytest.approx(12)


@pytest.mark.parametrize("distance", [1.0, 4.0, 5.0, 6.1])
@pytest.mark.parametrize("lean", [0.0, 0.2, 4.0])
def test_a_mask_is_widened_by_millimetres_in_the_patient(distance, lean):
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[1, 2] = lean
    mask = np.zeros((7, 12, 8), bool)
    mask[3, 5, 3:5] = True
    mask[0, 11, 7] = True
    places = np.stack(np.meshgrid(*map(np.arange, mask.shape), indexing="ij"), -1) @ affine[:3, :3].T
    apart = np.min([np.linalg.norm(places - places[tuple(at)], axis=-1) for at in np.argwhere(mask)], axis=0)
    found = dilate(torch.from_numpy(mask), distance, (2.0, 3.0, math.hypot(4, lean)), affine=affine)
    np.testing.assert_array_equal(found.numpy(), apart <= distance + 1e-9)


def test_the_tolerance_of_a_check_is_one_in_the_patient():
    organ = torch.zeros(3, 9, 9, dtype=torch.bool)
    organ[1, 4, 4] = True
    heat = torch.zeros(3, 9, 9)
    # 4 along the third axis and -4 along the second: 3.9 mm by the affine, 5.7 and more by the spacings alone
    affine = np.eye(4)
    affine[:3, 2] = (0, 1, 0.2)
    heat[1, 0, 8] = 1.0
    place = {"spacing": (1.0, 1.0, math.hypot(1, 0.2)), "limits": Limits(tolerance_mm=1.0)}
    (energy, *_) = checks.plausibility(heat, organ, affine=affine, **place)
    assert energy.value == pytest.approx(1)
    (energy, *_) = checks.plausibility(heat, organ, **place)
    assert energy.value == pytest.approx(0)


def test_a_comparison_follows_the_volume_of_the_patient():
    prior, current = np.zeros((2, 6, 7, 8), np.float32)
    prior[1, 2, 2:5] = 1.0
    current[1, 2, 4:7] = 1.0
    grid = Grid(prior.shape, LEANING)
    prior, current = (
        replace(study(image, (1.0, 1.0, 1.0)), picture=Placed(image, grid), grid=grid) for image in (prior, current)
    )
    found = compare(prior, current, registration="none")
    assert found["hot volume"].prior == pytest.approx(3 * 24)
    assert found["centroid shift"].change == pytest.approx(2 * 4 * math.sqrt(2))
    assert Grid.of_spacing((4, 5), (2.0, 3.0)).cell == pytest.approx(6)


def test_a_retest_turns_the_patient_and_not_the_leaning_grid():
    """On a grid whose rows lean, a turn by the affine keeps a ball a ball; one by the spacings makes it an egg."""
    affine = np.eye(4)
    affine[:3, 2] = (0, 1, 1)
    index = np.stack(np.meshgrid(*map(np.arange, (11, 31, 21)), indexing="ij"), -1)
    places = index @ affine[:3, :3].T
    middle = np.array([5, 15, 10]) @ affine[:3, :3].T
    ball = np.clip(4.5 - np.linalg.norm(places - middle, axis=-1), 0, 1).astype(np.float32)
    x = torch.from_numpy(ball)[None, None]
    turn = _theta(rotation(np.radians([40.0, 0, 0])), np.zeros(3), ball.shape, metric_of(affine, 3))
    moved = warp(x, turn, "zeros")[0, 0].numpy()
    assert np.abs(moved - ball).mean() < 0.25 * ball.mean()
    steps = np.diag(np.linalg.norm(affine[:3, :3], axis=0))
    egg = warp(x, _theta(rotation(np.radians([40.0, 0, 0])), np.zeros(3), ball.shape, steps), "zeros")[0, 0].numpy()
    assert np.abs(egg - ball).mean() > 0.5 * ball.mean()


def test_components_do_not_depend_on_the_shear():
    heat = torch.zeros(4, 5, 6)
    heat[0, 0, 0] = heat[3, 4, 5] = 1.0
    region = measure(heat, None, 0.5, affine=LEANING)["map"]
    assert region.components == 2
    assert region.largest == pytest.approx(24)
    assert ndimage.label(heat.numpy())[1] == 2


def test_the_way_to_the_network_and_back_keeps_places():
    volume = Volume(np.random.default_rng(0).random((6, 7, 8)), LEANING)
    size, affine = VolumePreprocess(spacing=2.0).grid(volume)
    assert cell_size(affine, 3) == pytest.approx(2 * 2 * 2 / math.sqrt(2))
    middle = [(n - 1) / 2 for n in size]
    np.testing.assert_allclose((affine @ [*middle, 1])[:3], volume.place([2.5, 3, 3.5]))


def test_pictures_of_a_sheared_grid_say_so():
    view = VolumeView.of(Volume(np.random.default_rng(0).random((6, 7, 8)), LEANING), None)
    assert any("45.0° off right angles" in note for note in view_notes(view))
    assert view.gap("axial") == pytest.approx(4)  # between the slices, not along the leaning axis
    assert view.spacing[2] == pytest.approx(4 * math.sqrt(2))
    straight = VolumeView.of(Volume(np.random.default_rng(0).random((6, 7, 8)), np.diag([2.0, 3, 4, 1])), None)
    assert not any("right angles" in note for note in view_notes(straight))
    assert straight.gap("axial") == pytest.approx(4)


def test_voxels_without_a_number_are_in_no_region():
    heat = torch.zeros(2, 3, 4)
    heat[0] = 1.0
    heat[1] = 0.4
    missing = np.zeros((2, 3, 4), bool)
    missing[0, 0] = True
    mask = torch.ones(2, 3, 4, dtype=torch.bool)
    table = measure(heat, (1.0, 1.0, 1.0), 0.5, {"organ": mask}, missing=missing)
    assert table["map"].count == 8
    assert table["organ"].count == 20
    assert table["map"].energy == pytest.approx(8 / (8 + 12 * 0.4))
    assert table.left_out == 4
    assert table.left_out_energy == pytest.approx(4 / (12 + 12 * 0.4))
    assert "4 positions without a finite number" in table.to_text()
    assert table.as_dict()["left_out"] == 4
    assert "finite number" not in measure(heat, (1.0, 1.0, 1.0), 0.5).to_text()
