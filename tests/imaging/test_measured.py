"""Where the millimetres of a picture are measured: of each kind of file, by what its header says (PS3.3 10.7.1.3)."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DigitalXRayImageStorageForPresentation, UltrasoundImageStorage

from cfcam.imaging import read_image
from cfcam.imaging.measured import Measured, measured_in
from tests.imaging import dicoms

PIXELS = np.arange(48, dtype=np.uint16).reshape(6, 8)


@pytest.mark.parametrize(
    ("modality", "header", "measured", "spacing"),
    [
        ("DX", {"ImagerPixelSpacing": [0.2, 0.2]}, Measured.DETECTOR, 0.2),
        ("MG", {"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.2, 0.2]}, Measured.DETECTOR, 0.2),
        ("DX", {"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.16, 0.16]}, Measured.CALIBRATED, 0.16),
        ("XA", {"PixelSpacing": [0.3, 0.3], "PixelSpacingCalibrationType": "FIDUCIAL"}, Measured.CALIBRATED, 0.3),
        (
            "XA",
            {"PixelSpacing": [0.2, 0.2], "ImagerPixelSpacing": [0.2, 0.2], "PixelSpacingCalibrationType": "GEOMETRY"},
            Measured.CALIBRATED,
            0.2,
        ),
        ("CR", {"PixelSpacing": [0.2, 0.2]}, Measured.EITHER, 0.2),
        ("OT", {"NominalScannedPixelSpacing": [0.1, 0.1]}, Measured.FILM, 0.1),
        ("OT", {"PixelSpacing": [0.1, 0.1]}, Measured.STATED, 0.1),
        ("US", {"PixelSpacing": [0.1, 0.1]}, Measured.STATED, 0.1),
        ("DX", {}, None, None),
        ("DX", {"ImagerPixelSpacing": [0, 0]}, None, None),
    ],
)
def test_each_header_says_where(tmp_path, modality, header, measured, spacing):
    source = dicoms.with_pixels(dicoms.base(DigitalXRayImageStorageForPresentation, modality), PIXELS)
    for name, value in header.items():
        setattr(source, name, value)
    image = read_image(dicoms.save(source, tmp_path / "a.dcm"))
    assert image.measured is measured
    assert image.spacing == (None if spacing is None else (spacing, spacing))


def test_a_slice_is_measured_in_the_patient_and_an_ultrasound_as_its_regions_say(tmp_path):
    slice_ = dicoms.ct(PIXELS, (0, 0, 0))
    assert read_image(dicoms.save(slice_, tmp_path / "ct.dcm")).measured is None
    loop = dicoms.with_pixels(dicoms.base(UltrasoundImageStorage, "US"), PIXELS)
    region = Dataset()
    region.RegionSpatialFormat, region.PhysicalUnitsXDirection, region.PhysicalUnitsYDirection = 1, 3, 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.02, 0.02
    loop.SequenceOfUltrasoundRegions = Sequence([region])
    image = read_image(dicoms.save(loop, tmp_path / "us.dcm"))
    assert (image.spacing, image.measured) == ((0.2, 0.2), Measured.STATED)


def test_lengths_alone_are_measured_somewhere():
    said = [measured_in(unit, Measured.DETECTOR) for unit in ("mm", "mm²", "pixels", "probability")]
    assert said == ["mm at the detector", "mm² at the detector", "pixels", "probability"]
    assert measured_in("mm", None) == "mm"
    assert all(one.sentence.endswith(".") for one in Measured if one is not Measured.STATED)
