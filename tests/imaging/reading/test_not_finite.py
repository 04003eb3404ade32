"""Pixels and voxels that are NaN or infinite, in every kind of file: counted, told, and never drawn as anything."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as PILImage

from cfcam.errors import ImageError
from cfcam.imaging import read_dicom, read_image, read_volume
from tests.imaging import dicoms


def floating(dataset, values):
    """The object with floating point values (PS3.3 C.7.6.24), as parametric maps and quantitative images have."""
    for name in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue"):
        if name in dataset:
            delattr(dataset, name)
    dataset.BitsAllocated = 32
    dataset.FloatPixelData = values.astype("<f4").tobytes()
    return dataset


def pixels(count, size=(24, 20)):
    values = np.linspace(0, 100, size[0] * size[1], dtype=np.float32).reshape(size)
    values.flat[200 : 200 + count] = np.tile([np.nan, np.inf, -np.inf], count)[:count]
    return values


def slices(folder, counts):
    for n, (count, place) in enumerate(zip(counts, dicoms.positions(len(counts), dicoms.AXIAL), strict=True)):
        dataset = dicoms.ct(np.zeros((24, 20), np.int32), place, slope=1, intercept=0)
        dicoms.save(floating(dataset, pixels(count)), folder / f"{n}.dcm")
    return folder


def test_a_dicom_picture(tmp_path):
    slices(tmp_path, [5])
    image = read_dicom(tmp_path / "0.dcm", window=(50, 100))
    assert "5 of its 480 pixels are no finite numbers: they are black, as padding is" in image.notices
    assert (image.pixels.flat[200:205] == 0).all()
    plain = read_dicom(slices(tmp_path / "plain", [0]) / "0.dcm", window=(50, 100))
    assert not any("finite" in line for line in plain.notices)
    np.testing.assert_array_equal(image.pixels.flat[205:], plain.pixels.flat[205:])
    assert np.isfinite(read_dicom(tmp_path / "0.dcm").pixels).all()


def test_a_dicom_series(tmp_path):
    volume = read_volume(slices(tmp_path, [4, 0, 3]))
    assert volume.missing.sum() == 7
    assert any("7 voxels are no finite numbers (of 1440): they are taken as 0" in line for line in volume.notices)
    assert np.isfinite(volume.voxels).all()
    assert volume.voxels[volume.missing].tolist() == [0] * 7
    assert read_volume(slices(tmp_path / "plain", [0, 0, 0])).missing is None


def test_a_dicom_picture_without_any_number(tmp_path):
    with pytest.raises(ImageError, match="holds no finite number"):
        read_dicom(_empty(tmp_path))


def _empty(folder):
    dataset = dicoms.ct(np.zeros((24, 20), np.int32), dicoms.positions(1, dicoms.AXIAL)[0], slope=1, intercept=0)
    return dicoms.save(floating(dataset, np.full((24, 20), np.nan)), folder / "empty.dcm")


def test_a_floating_tiff_is_refused_with_their_number(tmp_path):
    values = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    values[0, :2] = (np.nan, np.inf)
    PILImage.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match="2 of 12 pixels are no finite numbers"):
        read_image(tmp_path / "a.tif")
