"""Figures of volumes: a place is drawn where a radiologist looks for it, and the picture says how to read it."""

from __future__ import annotations

import numpy as np
import pytest

from cfcam.errors import InputError
from cfcam.imaging import Panel
from cfcam.imaging.drawing import parts as figure_parts
from cfcam.imaging.drawing import volume_sheet as volume_figure
from cfcam.imaging.drawing.planes import EDGE_LETTERS, NORMAL_AXIS, PLANES, VolumeView, common_peak, peak_voxel
from cfcam.imaging.drawing.volume_sheet import (
    montage_figure,
    projection_figure,
    slices_figure,
    volume_sheet,
)
from cfcam.imaging.volume import Volume
from tests.imaging.dicoms import phantom
from tests.imaging.grids import ORDERS, affine_of, stored_as

SHAPE = (12, 20, 9)


def blob(at, shape=SHAPE, width=2.0):
    """A map with its peak at a voxel."""
    distance = sum(((axis - centre) / width) ** 2 for axis, centre in zip(np.indices(shape), at, strict=True))
    return np.exp(-distance).astype(np.float32)


def volume_of(codes="RAS", **options):
    return Volume(phantom(SHAPE).astype(np.float32), affine_of(codes, **options))


@pytest.fixture
def page(monkeypatch):
    """What was written on the last figure."""
    lines = []

    def spy(sheet, texts, original=figure_parts.write_texts):
        lines[:] = [text.line for text in texts]
        return original(sheet, texts)

    monkeypatch.setattr(figure_parts, "write_texts", spy)
    return lines


@pytest.mark.parametrize("codes", ORDERS)
@pytest.mark.parametrize("figure", [slices_figure, montage_figure, projection_figure])
def test_the_picture_does_not_depend_on_how_the_file_is_stored(codes, figure):
    volume = volume_of(tilt=4)
    heat = blob((3, 14, 6))
    other = stored_as(volume, codes)
    turned = stored_as(Volume(heat, volume.affine), codes).voxels
    np.testing.assert_array_equal(figure(other, turned, panel_size=100), figure(volume, heat, panel_size=100))


def test_radiological_convention():
    """Growing x (right) goes to the left of the picture, growing y (anterior) and z (superior) to the top or left."""
    view = VolumeView.of(volume_of(), None)
    scale = 10.0
    low, high = (2, 3, 1), (9, 16, 7)
    columns = {plane: [view.pixel(plane, at, scale)[0] for at in (low, high)] for plane in PLANES}
    rows = {plane: [view.pixel(plane, at, scale)[1] for at in (low, high)] for plane in PLANES}
    assert all(first > second for first, second in columns.values())
    assert all(first > second for first, second in rows.values())
    assert EDGE_LETTERS == {
        "axial": ("R", "L", "A", "P"),
        "coronal": ("R", "L", "S", "I"),
        "sagittal": ("A", "P", "S", "I"),
    }


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR"])
@pytest.mark.parametrize("plane", PLANES)
def test_a_bright_voxel_is_drawn_at_its_own_pixel(codes, plane):
    voxels = np.zeros(SHAPE, np.float32)
    voxels[3, 15, 2] = 100
    volume = stored_as(Volume(voxels, affine_of("RAS")), codes)
    view = VolumeView.of(volume, (50, 100))
    index = (3, 15, 2)
    picture = view.picture(plane, index[NORMAL_AXIS[plane]], 8.0)[..., 0]
    rows, columns = np.nonzero(picture >= picture.max() / 2)
    column, row = view.pixel(plane, index, 8.0)
    assert abs(columns.mean() - column) <= 1
    assert abs(rows.mean() - row) <= 1
    assert view.place(index) == pytest.approx((12 + 3 * 1.5, -34 + 15 * 2.0, 56 + 2 * 3.0))


def test_millimetres_are_equally_long_in_all_directions():
    view = VolumeView.of(volume_of(spacing=(1.5, 0.5, 5.0)), None)
    millimetres = np.array(SHAPE) * (1.5, 0.5, 5.0)
    scale = view.scale(450)
    assert scale == 10
    assert view.size("axial", scale) == (round(millimetres[0] * 10), round(millimetres[1] * 10))
    assert view.size("coronal", scale) == (round(millimetres[0] * 10), round(millimetres[2] * 10))
    assert view.size("sagittal", scale) == (round(millimetres[1] * 10), round(millimetres[2] * 10))


def test_the_slices_go_through_the_peak_and_the_picture_says_where(page):
    volume = volume_of()
    slices_figure(volume, blob((3, 15, 2)), title="scan", footer="layer x")
    x, y, z = volume.place((3, 15, 2))
    assert (x, y, z) == (16.5, -4.0, 62.0)
    assert "through the peak of the map: R 16.5 mm, P 4.0 mm, S 62.0 mm (stability not measured here)" in page
    for words in ("axial", "S 62.0 mm", "coronal", "P 4.0 mm", "sagittal", "R 16.5 mm", "scan", "layer x"):
        assert words in page
    assert any("the patient's right is on the left" in line for line in page)
    assert any("evidence for the class" in line for line in page)
    for letter, count in {"R": 2, "L": 2, "A": 2, "P": 2, "S": 2, "I": 2}.items():
        assert page.count(letter) == count
    assert not any("askew" in line for line in page)


def test_a_place_may_be_chosen_and_an_oblique_volume_is_told(page):
    volume = volume_of("LPS", tilt=20)
    slices_figure(volume, blob((3, 15, 2)), at=(1, 2, 3))
    x, _, _ = volume.place((1, 2, 3))
    side = "R" if x > 0 else "L"
    assert any(line.startswith(f"through the point chosen: {side} {abs(x):.1f} mm") for line in page)
    assert any("askew by up to" in line for line in page)
    with pytest.raises(InputError, match="at is"):
        slices_figure(volume, blob((3, 15, 2)), at=(12, 0, 0))


def test_the_crosshair_meets_at_the_peak_and_leaves_it_free():
    volume = volume_of()
    view = VolumeView.of(volume, None)
    picture = np.zeros((90, 120, 3), np.uint8)
    crossed = volume_figure._crossed(picture, 50, 30)
    assert (crossed[30, :39] > 0).all()
    assert (crossed[30, 62:, 1] > 0).all()
    assert (crossed[:19, 50, 1] > 0).all()
    assert (crossed[20:41, 40:61] == 0).all()
    assert (picture == 0).all()
    assert view.pixel("axial", (0, 0, 0), 10.0) == (172, 390)  # the middle of the last pixel of 180 x 400


def test_the_map_is_laid_over_at_its_place_only():
    volume = volume_of()
    heat = np.zeros(SHAPE, np.float32)
    heat[3, 15, 2] = 1
    bare = slices_figure(volume, np.zeros(SHAPE), at=(3, 15, 2), palette="viridis")
    over = slices_figure(volume, heat, at=(3, 15, 2), palette="viridis")
    changed = np.argwhere((bare != over).any(2))
    assert len(changed)
    # three spots, no wider than two voxels of 3 mm each
    scale = VolumeView.of(volume, None).scale(360)
    assert len(changed) < 3 * (4 * 3 * scale) ** 2


def test_a_sheet_names_methods_classes_and_what_is_missing(page):
    volume = volume_of()
    panels = [
        Panel(blob((3, 15, 2)), "grad-cam", "nodule", 0.912),
        Panel(None, "cam", "nodule", 0.912, "no positive evidence"),
        Panel(blob((8, 4, 5)), "grad-cam", "effusion", 0.04),
    ]
    sheet = volume_sheet(volume, panels, title="scan", panel_size=300)
    assert sheet.dtype == np.uint8
    for words in ("original", "grad-cam", "cam", "nodule 0.91", "effusion 0.04", "scan"):
        assert words in page
    assert "no positive" in page
    assert "evidence" in page
    z = volume.place((8, 4, 5))[2]
    assert f"axial, S {z:.1f} mm" in page  # each class at its own peak
    assert "axial, S 62.0 mm" in page


@pytest.mark.parametrize(("places", "originals"), [([(3, 15, 2)] * 2, 1), ([(3, 15, 2), (8, 4, 5)], 2)])
def test_the_bare_slices_stand_once_unless_those_of_another_class_lie_elsewhere(page, places, originals):
    panels = [Panel(blob(at), "cam", f"class {n}", 0.5) for n, at in enumerate(places)]
    volume_sheet(volume_of(), panels, panel_size=100)
    assert page.count("original") == originals
    assert sum(line.startswith("axial,") for line in page) == originals
    assert sum(line.startswith("class ") for line in page) == 2


def test_many_methods_are_broken_into_rows():
    volume = volume_of()
    panels = [Panel(blob((3, 15, 2)), f"method {n}", "a") for n in range(7)]
    wide = volume_sheet(volume, panels, panel_size=100)
    narrow = volume_sheet(volume, panels, panel_size=100, columns=3)
    assert narrow.shape[0] > 1.5 * wide.shape[0]
    with pytest.raises(InputError, match="between 2 and 6"):
        volume_sheet(volume, panels, columns=9)
    with pytest.raises(InputError, match="at least one panel"):
        volume_sheet(volume, [])


@pytest.mark.parametrize("plane", PLANES)
def test_a_montage_runs_from_end_to_end(page, plane):
    volume = volume_of()
    montage_figure(volume, blob((3, 15, 2)), plane=plane, count=5, panel_size=100)
    axis = NORMAL_AXIS[plane]
    places = [line for line in page if line.endswith(" mm") and line[0] in "LRPAIS"]
    assert len(places) == 5
    values = [float(line.split()[1]) * (1 if line[0] in "RAS" else -1) for line in places]
    assert values == sorted(values)
    ends = [volume.place((0, 0, 0))[axis], volume.place([n - 1 for n in SHAPE])[axis]]
    assert ends[0] <= values[0]
    assert values[-1] <= ends[1]
    assert values[-1] - values[0] > 0.6 * (ends[1] - ends[0])
    montage_figure(volume, blob((3, 15, 2)), plane=plane, count=500, panel_size=100)
    places = [line for line in page if line.endswith(" mm") and line[0] in "LRPAIS"]
    assert len(places) == SHAPE[axis]


def test_a_projection_shows_what_lies_between_the_slices():
    volume = volume_of()
    heat = np.zeros(SHAPE, np.float32)
    nothing = projection_figure(volume, heat)
    heat[0, 0, 0] = 1
    corner = projection_figure(volume, heat)
    places = np.argwhere((corner != nothing).any(2))
    assert len(places)  # in a corner of all three
    assert np.ptp(places[:, 1]) > nothing.shape[1] / 2


def test_grey_values_follow_the_window():
    voxels = np.linspace(0, 100, np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    volume = Volume(voxels, affine_of("RAS"), window=(50, 20))
    assert VolumeView.of(volume, None).window == (50, 20)
    assert VolumeView.of(volume, "lung").window == (-600, 1500)
    assert VolumeView.of(volume, (1, 2)).window == (1, 2)
    centre, width = VolumeView.of(Volume(voxels, np.eye(4)), None).window
    np.testing.assert_allclose((centre - width / 2, centre + width / 2), np.percentile(voxels, (0.5, 99.5)), rtol=1e-4)
    assert VolumeView.of(Volume(np.full(SHAPE, 7.0), np.eye(4)), None).window == (7, 1)


def test_volumes_of_several_channels_show_the_first():
    voxels = np.stack([phantom(SHAPE), phantom(SHAPE, seed=1)]).astype(np.float32)
    heat = blob((3, 15, 2))
    two, one = Volume(voxels, affine_of("RAS")), Volume(voxels[0], affine_of("RAS"))
    np.testing.assert_array_equal(slices_figure(two, heat), slices_figure(one, heat))


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_flat_and_tiny_volumes_can_be_drawn(theme):
    for shape in ((1, 20, 30), (1, 1, 1), (300, 4, 2)):
        volume = Volume(np.random.default_rng(0).random(shape, np.float32), np.diag([1.0, 1.0, 6.0, 1.0]))
        figure = slices_figure(volume, np.zeros(shape), theme=theme, panel_size=100)
        assert figure.dtype == np.uint8
        assert figure.shape[1] >= 420


@pytest.mark.parametrize("figure", [slices_figure, montage_figure, projection_figure])
def test_wrong_input_is_one_line(figure):
    volume = volume_of()
    for heat, complaint in ((np.zeros((3, 3, 3)), "to_original"), (np.full(SHAPE, 2.0), "in \\[0, 1\\]")):
        with pytest.raises(InputError, match=complaint):
            figure(volume, heat)
    with pytest.raises(InputError, match="panel_size is 10"):
        figure(volume, np.zeros(SHAPE), panel_size=10)
    with pytest.raises(InputError, match="theme"):
        figure(volume, np.zeros(SHAPE), theme="pink")


def test_the_common_peak_of_maps_is_that_of_their_sum_and_of_equal_ones_the_middle(monkeypatch):
    monkeypatch.setattr("cfcam.imaging.drawing.planes._SLAB", 2)
    one, other = np.zeros((2, 5, 3, 3), dtype=np.float32)
    one[0, 1, 1] = other[4, 2, 0] = 0.75
    one[3, 0, 2] = other[3, 0, 2] = 0.5
    assert common_peak([one, other]) == (3, 0, 2)
    assert peak_voxel(one) == (0, 1, 1)
    assert peak_voxel(np.ones((5, 3, 3), dtype=np.float32)) == (2, 1, 1)
