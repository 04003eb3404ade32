"""Regions by hand and by threshold, against areas worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("skimage")

from cfcam.errors import InputError
from cfcam.web.live.regions import DRAWN, Field, axis_of, filled, outlines, stacked


def disc(radius, at, points=720):
    angle = np.linspace(0, 2 * math.pi, points, endpoint=False)
    return np.stack([at[0] + radius * np.sin(angle), at[1] + radius * np.cos(angle)], axis=1)


def test_a_rectangle_between_positions_has_the_area_of_paper():
    heat = np.full((20, 30), 0.25, np.float32)
    mask = filled(
        [(2.5, 3.5), (2.5, 13.5), (7.5, 13.5), (7.5, 3.5)], heat.shape
    )  # 5 rows of 0.5 mm, 10 columns of 2 mm
    region = Field(heat, spacing=(0.5, 2.0)).table(0.5, mask)[DRAWN]
    assert (region.size, region.unit, region.count, region.mean) == (5 * 0.5 * 10 * 2.0, "mm²", 50, 0.25)
    assert region.centroid_mm == (5 * 0.5, 8.5 * 2.0)
    assert region.energy == pytest.approx(50 / 600)


def test_a_disc_has_the_area_of_paper_also_where_pixels_are_no_squares():
    heat = np.ones((300, 400), np.float32)
    mask = filled(disc(100.2, (149.7, 200.3)), heat.shape)
    region = Field(heat, spacing=(0.2, 0.7)).table("otsu", mask)[DRAWN]
    assert region.size == pytest.approx(math.pi * 100.2**2 * 0.2 * 0.7, rel=2e-3)
    assert region.centroid == pytest.approx((149.7, 200.3), abs=0.05)


def test_without_a_spacing_areas_are_in_pixels():
    table = Field(np.ones((5, 5), np.float32)).table(0.5, filled([(0, 0), (0, 2), (2, 2), (2, 0)], (5, 5)))
    assert (table[DRAWN].size, table[DRAWN].unit, table["map"].size) == (9, "pixels", 25)


@pytest.mark.parametrize(
    ("polygon", "rows"),
    [
        ([(1, 1), (1, 3), (3, 3), (3, 1)], ["     ", " ### ", " ### ", " ### ", "     "]),  # centres on the line count
        ([(0.5, 0.5), (0.5, 3.5), (2.5, 3.5), (2.5, 0.5)], ["     ", " ### ", " ### ", "     ", "     "]),
        ([(0, 0), (4, 4), (4, 0)], ["#    ", "##   ", "###  ", "#### ", "#####"]),
        ([(1.1, 1.1), (1.1, 1.9), (1.9, 1.9)], ["     "] * 5),  # between four centres
        ([(-5, -5), (-5, 50), (1.5, 50), (1.5, -5)], ["#####", "#####", "     ", "     ", "     "]),
        ([(9, 9), (9, 12), (12, 12)], ["     "] * 5),
        ([(0, 0), (4, 4), (4, 0), (0, 4)], ["#   #", "## ##", "#####", "## ##", "#   #"]),  # crosses itself
    ],
)  # fmt: skip
def test_a_position_belongs_to_a_polygon_if_its_centre_lies_inside_or_on_the_line(polygon, rows):
    expected = np.array([[sign == "#" for sign in row] for row in rows])
    if polygon[-1] == (0, 4):  # an hourglass that lies on its side: left and right are open
        expected = filled([(0, 0), (2, 2), (0, 4)], (5, 5)) | filled([(4, 0), (2, 2), (4, 4)], (5, 5))
    np.testing.assert_array_equal(filled(polygon, (5, 5)), expected)


@pytest.mark.parametrize(
    "polygon", [[], [(0, 0), (1, 1)], [(0, 0), (1, 1), (1, math.nan)], [(0, 0, 0)] * 3, [(1, 2)] * 20000]
)
def test_what_is_no_polygon_is_refused(polygon):
    with pytest.raises(InputError, match="polygon"):
        filled(polygon, (5, 5))


def test_a_slice_of_a_volume_keeps_its_spacing_and_its_place_in_the_patient():
    rng = np.random.default_rng(0)
    heat = rng.random((4, 5, 6)).astype(np.float32)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * (3.0, 0.5, 0.25), (7, -8, 9)
    missing = np.zeros(heat.shape, bool)
    missing[2, 0, 0] = True
    field = Field(heat, (3.0, 0.5, 0.25), affine, missing)
    for axis, index in ((0, 2), (1, 3), (2, 5)):
        one = field.slice_of(axis, index)
        rest = [a for a in range(3) if a != axis]
        assert one.spacing == tuple((3.0, 0.5, 0.25)[a] for a in rest)
        np.testing.assert_array_equal(one.heat, np.take(heat, index, axis))
        region = one.table(0.2)["map"]
        whole = np.insert(np.array(region.peak), axis, index)
        np.testing.assert_allclose(region.peak_patient, (affine @ [*whole, 1])[:3], atol=1e-9)
        assert region.size == pytest.approx(region.count * math.prod(one.spacing), rel=1e-6)
        assert region.unit == "mm²"
    assert field.slice_of(0, 2).table(0.2).left_out == 1
    with pytest.raises(InputError, match="slices 0 to 3"):
        field.slice_of(0, 4)


def test_a_region_in_several_slices_has_a_volume():
    mask = filled([(0.5, 0.5), (0.5, 2.5), (3.5, 2.5), (3.5, 0.5)], (5, 6))  # 3 x 2
    whole = stacked(mask, (4, 5, 6), 0, (1, 2))
    region = Field(np.ones((4, 5, 6), np.float32), (3.0, 0.5, 0.25)).table(0.5, whole)[DRAWN]
    assert (region.size, region.unit, region.components) == (2 * 3 * 2 * 3.0 * 0.5 * 0.25, "mm³", 1)
    across = stacked(filled([(0, 0), (0, 5), (3, 5), (3, 0)], (4, 6)), (4, 5, 6), 1, (4, 4))
    assert across.sum() == 24
    assert across[:, 4].all()
    with pytest.raises(InputError, match="slices 0 to 3"):
        stacked(mask, (4, 5, 6), 0, (3, 4))


def test_planes_are_found_in_the_patient_and_not_in_the_array():
    sagittal_first = np.array([[0.9, 0, 0, 0], [0, 0.1, -1.0, 0], [0.1, 1.0, 0, 0], [0, 0, 0, 1]])
    found = [axis_of(plane, sagittal_first) for plane in ("axial", "coronal", "sagittal")]
    assert found == [1, 2, 0]
    assert [axis_of(plane, None) for plane in ("axial", "coronal", "sagittal")] == [0, 1, 2]
    assert axis_of("axial", sagittal_first, placed=False) == 0


def test_outlines_lie_between_positions_and_are_closed():
    heat = np.zeros((8, 9), np.float32)
    heat[2:5, 3:7] = 1.0
    (line,) = outlines(heat, 0.5)
    assert line[0] == line[-1]
    rows, columns = np.array(line).T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (1.5, 4.5, 2.5, 6.5)
    (low,) = outlines(heat * 0.8, 0.2)  # linear between 0.8 and 0: a quarter of the way from the outer position
    assert np.array(low)[:, 0].min() == pytest.approx(1.25)
    (whole,) = outlines(np.ones((3, 3), bool))  # at the border of the picture
    assert np.array(whole).min() == -0.5
    assert len(outlines(np.eye(5, dtype=bool)[:, [0, 4, 2, 3, 1]])) > 1
    assert outlines(np.zeros((4, 4), np.float32)) == []
