from __future__ import annotations

import io

import numpy as np
import pytest

nib = pytest.importorskip("nibabel")

from cfcam.errors import ImageError  # noqa: E402
from cfcam.web.library.nifti import Nifti, of_picture, of_volume  # noqa: E402

NUMBERS = np.random.default_rng(0)


def opened(file: Nifti):
    data = b"".join(bytes(piece) for piece in file.pieces(7))
    assert len(data) == len(file)
    return nib.Nifti1Image.from_stream(io.BytesIO(data))


def turned(axis: int, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    found = np.eye(3)
    a, b = [n for n in range(3) if n != axis]
    found[a, a], found[a, b], found[b, a], found[b, b] = c, -s, s, c
    return found


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_a_picture_is_a_coronal_slice_whose_left_column_is_at_the_patients_right_and_whose_first_row_is_on_top(dtype):
    pixels = NUMBERS.integers(0, 200, (4, 6)).astype(dtype)
    image = opened(of_picture(pixels, (0.5, 0.25)))
    assert image.shape == (6, 1, 4)
    assert np.array_equal(np.asanyarray(image.dataobj)[:, 0, :].T, pixels)
    assert nib.aff2axcodes(image.affine) == ("L", "A", "I")  # columns run to the left, rows downwards
    assert image.header.get_zooms() == (0.25, 1.0, 0.5)


def test_colours_are_sent_as_three_bytes_for_each_pixel():
    pixels = NUMBERS.integers(0, 256, (4, 6, 3)).astype(np.uint8)
    image = opened(of_picture(pixels))
    stored = np.asanyarray(image.dataobj)[:, 0, :].T
    assert np.array_equal(np.stack([stored[c] for c in "RGB"], -1), pixels)


def ways():
    yield "identity", np.eye(3)
    yield "las", np.diag([-1.0, 1, 1])
    yield "lps", np.diag([-1.0, -1, 1])
    yield "turned about", np.diag([1.0, -1, -1])
    for axis in range(3):
        for degrees in (10, 90, 179, 180, -120):
            yield f"{axis} by {degrees}", turned(axis, degrees)
            yield f"{axis} by {degrees}, mirrored", turned(axis, degrees) @ np.diag([1.0, 1, -1])
    yield "oblique", turned(0, 20) @ turned(1, -35) @ turned(2, 60)


@pytest.mark.parametrize("axes", [pytest.param(axes, id=name) for name, axes in ways()])
def test_both_transforms_of_a_volume_are_its_affine(axes):
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes * (0.7, 0.8, 2.5), (-12.5, 33.0, 7.25)
    voxels = NUMBERS.integers(-1000, 1000, (3, 4, 5)).astype(np.int16)
    image = opened(of_volume(voxels, affine))
    assert np.array_equal(np.asanyarray(image.dataobj), voxels.transpose(2, 1, 0))
    assert np.allclose(image.header.get_sform(), affine, atol=1e-5)
    assert np.allclose(image.header.get_qform(), affine, atol=1e-4)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)
    assert image.header.get_xyzt_units()[0] == "mm"


def test_a_sheared_affine_is_written_as_sform_alone():
    affine = np.eye(4)
    affine[1, 2] = 0.3
    image = opened(of_volume(np.zeros((2, 3, 4), np.uint8), affine))
    assert np.allclose(image.affine, affine)
    assert int(image.header["qform_code"]) == 0


def test_steps_of_a_map_are_read_as_shares_of_one():
    image = opened(of_picture(np.array([[0, 51, 255]], np.uint8), slope=1 / 255, window=(0, 1)))
    assert np.allclose(image.get_fdata().ravel(), [0, 0.2, 1])
    assert (float(image.header["cal_min"]), float(image.header["cal_max"])) == (0, 1)


def test_nothing_is_copied_of_values_that_lie_as_the_file_wants_them():
    voxels = np.zeros((3, 4, 5), np.int16)
    file = of_volume(voxels, np.eye(4))
    voxels[2, 3, 4] = 7
    assert bytes(file.voxels[-2:]) == b"\x07\x00"


def test_a_side_that_the_format_cannot_hold_is_refused_in_one_line():
    with pytest.raises(ImageError, match="has a side of 40000: NIfTI-1 holds 32767"):
        of_picture(np.zeros((1, 40000), np.uint8))
