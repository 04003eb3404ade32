#!/usr/bin/env bash
# highdicom 0.28.2 writes into the picture that it makes a segmentation of: after one of every second plane of an enhanced CT the CT
# itself says that its planes are 5 mm apart, which are 2.5, and so do all that is made of it later. (Seen 2026-11.)
#
# Guess: source images are read: a Segmentation copies what it needs of them. Two segmentations of one picture are the same whichever
# is made first, and the picture can be saved, or used again, as it was.
# Seen: an enhanced multi-frame CT without Spacing Between Slices, which need not be there (PS3.3 C.7.6.16.2.1), has it once
# Segmentation(...) was called, with the distance of that segmentation's planes. A second segmentation, of all planes, takes it over: its planes
# are 2.5 mm apart and it says 5, and get_volume() of it raises "Frame positions do not form a regularly-spaced volume", as it
# does of the CT, where each of the two alone is a regular volume. Of a series of single-frame pictures nothing is written.
# Why the guess was wrong: for a multi-frame source the Pixel Measures are no copy but the picture's own sequence, and the constructor
# adds a distance for whoever will read the segmentation. Give copies: copy.deepcopy(source).
set -euo pipefail
here="$(mktemp -d)"; trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check highdicom==0.28.2 pydicom==3.0.2 numpy==2.4.6
cd "$here"
venv/bin/python -W ignore - <<'PYTHON'
from copy import deepcopy

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

PLANES, GAP = 6, 2.5


def item(**said):
    found = Dataset()
    for name, value in said.items():
        setattr(found, name, value)
    return found


ct = Dataset()
ct.file_meta = FileMetaDataset()
ct.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
ct.SOPClassUID = ct.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
ct.SOPInstanceUID = ct.file_meta.MediaStorageSOPInstanceUID = generate_uid()
ct.StudyInstanceUID, ct.SeriesInstanceUID, ct.FrameOfReferenceUID = generate_uid(), generate_uid(), generate_uid()
ct.PatientID, ct.PatientName, ct.PatientBirthDate, ct.PatientSex = "phantom", "Phantom^", "", ""
ct.StudyDate, ct.StudyTime, ct.StudyID, ct.AccessionNumber, ct.ReferringPhysicianName = "20260101", "120000", "1", "", ""
ct.Modality, ct.SeriesNumber, ct.InstanceNumber, ct.Manufacturer = "CT", 1, 1, "phantom"
ct.ContentDate, ct.ContentTime, ct.PositionReferenceIndicator = "20260101", "120000", ""
ct.Rows = ct.Columns = 8
ct.NumberOfFrames, ct.SamplesPerPixel, ct.PhotometricInterpretation = PLANES, 1, "MONOCHROME2"
ct.BitsAllocated, ct.BitsStored, ct.HighBit, ct.PixelRepresentation = 16, 16, 15, 0
measures, orientation = item(PixelSpacing=[0.8, 0.8], SliceThickness=2.5), item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
ct.SharedFunctionalGroupsSequence = [item(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[orientation])]
ct.PerFrameFunctionalGroupsSequence = [
    item(PlanePositionSequence=[item(ImagePositionPatient=[0, 0, GAP * n])]) for n in range(PLANES)
]
ct.PixelData = bytes(PLANES * 8 * 8 * 2)
ct["PixelData"].VR = "OW"
stored = deepcopy(ct)


def segmentation(source, planes):
    """Of some of the planes, all of them marked."""
    places = [source.PerFrameFunctionalGroupsSequence[n].PlanePositionSequence[0].ImagePositionPatient for n in planes]
    segment = hd.seg.SegmentDescription(1, "s", codes.SCT.Tissue, codes.SCT.Tissue, "MANUAL")
    return hd.seg.Segmentation(
        [source], np.ones((len(planes), 8, 8), np.uint8), segmentation_type="BINARY", segment_descriptions=[segment],
        plane_positions=[hd.PlanePositionSequence("PATIENT", place) for place in places],
        series_instance_uid=generate_uid(), series_number=2, sop_instance_uid=generate_uid(), instance_number=1,
        manufacturer="m", manufacturer_model_name="m", software_versions="1", device_serial_number="1",
    )


def spacing(dataset):
    found = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].get("SpacingBetweenSlices")
    return None if found is None else round(float(found), 3)


def volume(dataset):
    """The distance of the planes of its volume, or what is raised."""
    try:
        return float(dataset.get_volume().spacing[0])
    except RuntimeError as error:
        return str(error)


image = hd.Image.from_dataset(deepcopy(ct))
alone = segmentation(deepcopy(ct), range(PLANES))
print(f"the CT says {spacing(ct)}, its volume {volume(image)}; a segmentation of all planes {spacing(alone)}, volume {volume(alone)}")
assert (spacing(ct), volume(image), spacing(alone), volume(alone)) == (None, 2.5, 2.5, 2.5)

half = segmentation(ct, range(0, PLANES, 2))
print(f"a segmentation of every second plane {spacing(half)}, volume {volume(half)}; the CT now says {spacing(ct)}")
assert (spacing(half), volume(half)) == (5.0, 5.0)
assert spacing(ct) == 5.0 and ct != stored, "the source stays as it was now"

second = segmentation(ct, range(PLANES))
print(f"a segmentation of all planes, made second: says {spacing(second)}, volume: {volume(second)}")
assert spacing(second) == 5.0 and "regularly-spaced" in str(volume(second))
print(f"the CT's own volume: {volume(hd.Image.from_dataset(deepcopy(ct)))}")
assert "regularly-spaced" in str(volume(hd.Image.from_dataset(deepcopy(ct))))
print("unchanged: making a segmentation changes its source")
PYTHON
