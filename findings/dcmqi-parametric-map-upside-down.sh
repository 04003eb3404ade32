#!/usr/bin/env bash
# dcmqi 1.5.7 (3D Slicer's reader of quantitative DICOM) lays the frames of a Parametric Map that highdicom 0.28.2 wrote
# upside down: a value stored at z = 30 mm is read at z = 10 mm, with exit code 0 and a right-looking grid. (Seen 2026-11.)
#
# Guess: each frame of a multi-frame object says where it lies (Plane Position Sequence, PS3.3 C.7.6.16.2.3), so the order
# in which frames are stored does not matter to a reader; origin, spacing and directions of what comes out are right.
# Seen: the converter reads all positions, takes the lowest along the normal as origin and the right spacing, and then
# fills the volume with the frames in the order in which they are stored. highdicom stores them from head to feet,
# whatever order it is given, against the normal: the volume is mirrored about its middle slice.
# Why the guess was wrong: the two agree only where frames are stored along the normal, as dcmqi's own writer does. A
# symmetric phantom or a map of one slice shows nothing; and each library alone, reading what it wrote, is right.
set -euo pipefail
here="$(mktemp -d)"; trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check \
    highdicom==0.28.2 pydicom==3.0.2 dcmqi==1.5.7 SimpleITK==2.5.7 numpy==2.4.6
cd "$here"
venv/bin/python -W ignore - <<'PYTHON'
import subprocess
from pathlib import Path

import highdicom as hd
import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SLICES, HOT, GAP = 5, 3, 10
STUDY, SERIES, FRAME = generate_uid(), generate_uid(), generate_uid()


def ct(n):
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
    ds.ImageType, ds.BodyPartExamined = ["ORIGINAL", "PRIMARY", "AXIAL"], "CHEST"
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, GAP * n], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness, ds.Rows, ds.Columns = [1, 1], GAP, 8, 8
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleSlope, ds.RescaleIntercept = 1, 0
    ds.PixelData = np.zeros((8, 8), np.int16).tobytes()
    ds["PixelData"].VR = "OW"
    return ds


values = np.zeros((SLICES, 8, 8), np.float32)
values[HOT] = 1
mapping = hd.pm.RealWorldValueMapping(
    lut_label="1", lut_explanation="value", unit=codes.UCUM.NoUnits, value_range=[0.0, 1.0], slope=1, intercept=0
)
stored = hd.pm.ParametricMap(
    source_images=[ct(n) for n in range(SLICES)], pixel_array=values, series_instance_uid=generate_uid(),
    series_number=2, sop_instance_uid=generate_uid(), instance_number=1, manufacturer="phantom",
    manufacturer_model_name="phantom", software_versions="1", device_serial_number="1",
    contains_recognizable_visual_features=False, real_world_value_mappings=[mapping], window_center=0.5,
    window_width=1.0, content_label="MAP",
)
region, anatomy = Dataset(), Dataset()
region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "51185008", "SCT", "Thorax"
anatomy.FrameLaterality, anatomy.AnatomicRegionSequence = "U", [region]
stored.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [anatomy]
stored.save_as("map.dcm")
heights = [float(f.PlanePositionSequence[0].ImagePositionPatient[2]) for f in stored.PerFrameFunctionalGroupsSequence]
hot = [z for z, frame in zip(heights, stored.pixel_array) if frame.max() == 1]
print(f"frames are stored at z = {heights}; the value is in the one at {hot}")
assert hot == [HOT * GAP]
Path("out").mkdir()
command = ["venv/bin/paramap2itkimage", "--inputDICOM", "map.dcm", "--outputDirectory", "out", "--outputType", "nrrd"]
done = subprocess.run(command, capture_output=True, text=True)
image = sitk.ReadImage(str(next(Path("out").glob("*.nrrd"))))
found = [z for z in range(0, SLICES * GAP, GAP) if image[image.TransformPhysicalPointToIndex((3.0, 3.0, float(z)))] == 1]
print(f"dcmqi, exit code {done.returncode}: origin {image.GetOrigin()}, spacing {image.GetSpacing()}; the value is at z = {found}")
assert done.returncode == 0 and image.GetOrigin() == (0.0, 0.0, 0.0) and image.GetSpacing() == (1.0, 1.0, 10.0)
assert found == [(SLICES - 1 - HOT) * GAP], "the map is no longer mirrored"
PYTHON
