#!/usr/bin/env bash
# highdicom 0.28.2 makes a straight volume of a CT series with a tilted gantry, up to 2.5 degrees, without a word: at 2
# degrees and 30 cm of slices the ends of the volume lie 10 mm beside where the file has them. (Seen 2026-11.)
#
# Guess: slices whose planes are stacked along another direction than their normal (Image Position Patient walks
# obliquely, PS3.3 C.7.6.2.1.1) form a sheared grid. get_volume_from_series either gives an affine with that shear, or
# refuses the series as not regular: it checks spacing to 1 %, and slices whose positions are rounded to 0.1 mm it
# does refuse.
# Seen: what is compared with a tolerance is the cosine between the walk of the slices and the normal, and a cosine
# hardly moves near zero degrees: 2 degrees are 0.9994. The walk is then replaced by the normal: the affine has no
# shear, and each slice lies beside its own Image Position by (number of slices) x (spacing) x sin(tilt), corner to corner.
# Why the guess was wrong: the tolerance speaks of an angle and is applied to its cosine; positions are checked along the
# normal only, never across it.
set -euo pipefail
here="$(mktemp -d)"; trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check highdicom==0.28.2 pydicom==3.0.2 numpy==2.4.6
cd "$here"
venv/bin/python -W ignore - <<'PYTHON'
import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SLICES, GAP = 120, 2.5
STUDY, SERIES, FRAME = generate_uid(), generate_uid(), generate_uid()


def series(tilt):
    """A CT whose slices lie in the axial plane and walk at an angle to its normal, every position exact."""
    found = []
    for n in range(SLICES):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = STUDY, SERIES, FRAME
        ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex = "phantom", "Phantom^", "", ""
        ds.StudyDate, ds.StudyTime, ds.StudyID = "20260101", "120000", "1"
        ds.AccessionNumber, ds.ReferringPhysicianName, ds.PositionReferenceIndicator = "", "", ""
        ds.Modality, ds.SeriesNumber, ds.InstanceNumber, ds.Manufacturer = "CT", 1, n + 1, "phantom"
        ds.ImageType, ds.BodyPartExamined = ["ORIGINAL", "PRIMARY", "AXIAL"], "HEAD"
        ds.ImagePositionPatient = [0, float(np.tan(np.radians(tilt)) * GAP * n), GAP * n]
        ds.ImageOrientationPatient, ds.GantryDetectorTilt = [1, 0, 0, 0, 1, 0], tilt
        ds.PixelSpacing, ds.SliceThickness, ds.Rows, ds.Columns = [1, 1], GAP, 4, 4
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleSlope, ds.RescaleIntercept = 1, 0
        ds.PixelData = np.full((4, 4), n, np.int16).tobytes()
        ds["PixelData"].VR = "OW"
        found.append(ds)
    return found


def worst(tilt):
    """The largest distance between a slice's corner in the volume and the position that its file states, in mm."""
    files = series(tilt)
    volume = hd.get_volume_from_series(files)
    slices = np.asarray(volume.array)[:, 0, 0].astype(int)  # which file each slice is: its grey value says so
    corners = (volume.affine @ np.c_[np.arange(SLICES), np.zeros((SLICES, 2)), np.ones(SLICES)].T).T[:, :3]
    stated = np.array([files[n].ImagePositionPatient for n in slices], float)
    return np.linalg.norm(corners - stated, axis=1).max(), volume.affine


straight, _ = worst(0.0)
tilted, affine = worst(2.0)
walk = affine[:3, 0] / np.linalg.norm(affine[:3, 0])
print(f"tilt 0: at most {straight:.3f} mm beside its stated position; tilt 2 degrees: {tilted:.2f} mm, walk {walk.round(4)}")
assert straight < 1e-6
assert 9.5 < tilted < 11.5, "the distance is not what it was"
assert abs(walk[1]) < 1e-6, "the affine has the shear now"
try:
    hd.get_volume_from_series(series(3.0))
except ValueError as error:
    print("tilt 3 degrees:", error)
else:
    raise SystemExit("3 degrees pass now too")
print("unchanged: a tilt of 2 degrees is straightened without a word")
PYTHON
