"""When slices are a regular grid: judged by how far each lies from the grid nearest to all of them."""

from __future__ import annotations

import numpy as np
import pytest

from cfcam.errors import ImageError, InputError
from cfcam.imaging import read_volume
from tests.imaging.dicoms import AXIAL, CORONAL, ct, ct_series, enhanced, localizer, phantom, positions, rotated, save

OBLIQUE = rotated(AXIAL, 37)
RAS = np.array([-1, -1, 1])


def rounded(where, digits):
    return [np.round(place, digits) for place in where]


@pytest.mark.parametrize("axes", [AXIAL, CORONAL, OBLIQUE, rotated(CORONAL, 74)])
@pytest.mark.parametrize(("step", "digits"), [(7.0, 1), (3.3, 1), (10.0, 0), (0.6249, 2), (1.25, 3)])
@pytest.mark.parametrize("count", [2, 3, 20])
def test_rounded_positions_are_a_grid(tmp_path, axes, step, digits, count):
    true = positions(count, axes, step=step)
    where = rounded(true, digits)
    worst = np.sqrt(3) / 2 * 10.0**-digits
    if worst > 0.05 * step:
        pytest.skip("rounded away by more than a twentieth of the distance")
    ct_series(tmp_path, phantom((count, 4, 5)), axes, where=where)
    volume = read_volume(tmp_path)
    assert volume.size[0] == count
    assert volume.notices == ()
    for n in range(count):
        assert np.linalg.norm(volume.place((n, 0, 0)) - true[n] * RAS) <= worst + 1e-6
    stored = phantom((count, 4, 5)) - 1024
    order = 1 if np.cross(*axes) @ (true[-1] - true[0]) > 0 else -1
    np.testing.assert_array_equal(volume.voxels, stored[::order])


def test_the_affine_of_rounded_positions_is_nearer_to_the_truth_than_first_and_last(tmp_path):
    true = positions(40, OBLIQUE, step=2.0)
    where = rounded(true, 1)
    where[0] = where[0] + 0.06 * np.cross(*OBLIQUE)  # the first is off by most
    ct_series(tmp_path, phantom((40, 4, 5)), OBLIQUE, where=where)
    volume = read_volume(tmp_path)
    errors = [np.linalg.norm(volume.place((n, 0, 0)) - true[n] * RAS) for n in range(40)]
    chord = [np.linalg.norm(where[0] + (where[-1] - where[0]) * n / 39 - true[n]) for n in range(40)]
    assert max(errors) < 0.5 * max(chord)


def test_unrounded_positions_are_kept_as_they_are(tmp_path):
    where = positions(6, OBLIQUE, step=2.5)
    ct_series(tmp_path, phantom(), OBLIQUE, where=where)
    volume = read_volume(tmp_path)
    np.testing.assert_allclose(volume.place((0, 0, 0)), where[0] * RAS, atol=2e-6)
    np.testing.assert_allclose(volume.place((5, 0, 0)), where[5] * RAS, atol=2e-6)


def along_z(*places):
    return [np.array([0.0, 0.0, z]) for z in places]


@pytest.mark.parametrize(
    ("places", "off"),
    [
        ([0, 2.5, 5, 7.5, 10.3, 12.5, 15, 17.5], "0.26"),  # one slice out of place
        ([0, 3, 6.1, 9.3, 12.6, 16.0, 19.5, 23.1], "0.35"),  # a distance that grows
        ([0, 1.2, 3, 4.2, 6, 7.2, 9, 10.2], "0.19"),  # two interleaved acquisitions
    ],
)
def test_slices_off_a_grid_are_refused_with_figures(tmp_path, places, off):
    ct_series(tmp_path, phantom((8, 4, 5)), where=along_z(*places))
    with pytest.raises(ImageError, match=f"not evenly: up to {off} mm off a regular grid; .*resample"):
        read_volume(tmp_path)
    assert read_volume(tmp_path, irregular="resample").notices[0].startswith("its slices lie ")


def test_gaps_that_differ_by_rounding_alone_are_no_irregularity(tmp_path):
    """Neighbours rounded apart: gaps of 2.9 and 3.1 around 3.0, each slice a twentieth of a millimetre off."""
    places = [3.0 * n + (0.05 if n % 2 else -0.05) for n in range(12)]
    ct_series(tmp_path, phantom((12, 4, 5)), where=along_z(*places))
    np.testing.assert_allclose(read_volume(tmp_path).spacing[0], 3.0, atol=0.01)


@pytest.mark.parametrize("gone", [[1], [5], [10], [4, 5], [3, 8]])
def test_missing_slices_among_rounded_ones_are_counted(tmp_path, gone):
    where = rounded(positions(12, OBLIQUE, step=7.0), 1)
    stored = phantom((12, 4, 5))
    kept = [n for n in range(12) if n not in gone]
    ct_series(tmp_path, stored[kept], OBLIQUE, where=[where[n] for n in kept])
    told = rf"{len(gone)} slices? (is|are) missing: .* mm apart, most others [67]\.\d\d mm"
    with pytest.raises(ImageError, match=told):
        read_volume(tmp_path)


def test_directions_that_a_header_rounds_are_of_one_stack(tmp_path):
    for n, place in enumerate(positions(6, OBLIQUE)):
        axes = np.array(OBLIQUE) + 1e-4 * np.random.default_rng(n).uniform(-1, 1, (2, 3))
        save(ct(phantom()[n], place, axes), tmp_path / f"{n}.dcm")
    assert read_volume(tmp_path).size == (6, 10, 12)


@pytest.mark.parametrize("shift", [0.19, 0.4])
def test_slices_beside_their_line(tmp_path, shift):
    """A twentieth of the distance is rounding, sideways too: of 10 mm half a millimetre."""
    for step in (2.5, 10.0):
        where = positions(6, AXIAL, step=step)
        where[3] = where[3] + np.array([shift, 0, 0])
        ct_series(tmp_path / str(step), phantom(), where=where)
    assert read_volume(tmp_path / "10.0").size[0] == 6
    if shift < 0.2:
        assert read_volume(tmp_path / "2.5").size[0] == 6
    else:
        with pytest.raises(ImageError, match=r"shifted against each other by up to 0\.40 mm"):
            read_volume(tmp_path / "2.5")


def test_frames_of_one_object_too(tmp_path):
    where = rounded(positions(9, OBLIQUE, step=5.0), 1)
    path = save(enhanced(phantom((9, 4, 5)), OBLIQUE, where=where), tmp_path / "a.dcm")
    assert read_volume(path).size[0] == 9


def test_a_stack_of_an_object_with_several_is_picked_as_the_error_says(tmp_path):
    """A localizer: three planes in each of two directions, in one enhanced object."""
    path = save(localizer(phantom((6, 4, 5))), tmp_path / "a.dcm")
    with pytest.raises(ImageError, match=r"holds 2 series .* say which with series=N"):
        read_volume(path)
    for number, (axes, stored) in enumerate(((AXIAL, phantom((6, 4, 5))[:3]), (CORONAL, phantom((6, 4, 5))[3:])), 1):
        volume = read_volume(path, series=number)
        np.testing.assert_array_equal(np.sort(volume.voxels.ravel()), np.sort(stored.ravel() - 1024.0))
        np.testing.assert_allclose(abs(np.asarray(volume.affine)[:3, 0]), abs(2.5 * np.cross(*axes)), atol=1e-6)
    with pytest.raises(InputError, match="give 1 to 2"):
        read_volume(path, series=3)


def test_echoes_at_one_place_are_refused_with_figures(tmp_path):
    where = [place for place in positions(6, OBLIQUE) for _ in range(2)]
    ct_series(tmp_path, phantom((12, 4, 5)), OBLIQUE, where=where)
    with pytest.raises(ImageError, match="12 slices lie at 6 places, up to 2 at one"):
        read_volume(tmp_path)


def test_a_stack_is_picked_by_its_number_alone(tmp_path):

    stored = phantom((4, 5, 6))
    file = save(localizer(stored), tmp_path / "loc.dcm")
    for number, half in ((1, stored[:2]), (np.int64(2), stored[2:])):
        assert np.array_equal(read_volume(file, series=number).voxels, half - 1024)
    with pytest.raises(InputError, match="there is no series '1': give 1 to 2"):
        read_volume(file, series="1")
