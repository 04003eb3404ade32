#!/usr/bin/env bash
# pydicom 3.0.2: decompress() of a 1-bit segmentation in JPEG 2000 gives a file of other frames, and no error.
# (Seen 2026-11; highdicom 0.28.2 writes the object, pylibjpeg-openjpeg 2.5.0 decodes.)
#
# Guess: `Dataset.decompress()` changes the encoding of the pixels and nothing else: the array before and after is equal,
# and so is what is read from the saved file.
# Seen: a BINARY segmentation of 4 frames of 32 x 32, which highdicom writes in JPEG 2000 Lossless and pydicom reads
# rightly. After decompress() there are 4096 bytes of pixels, one for each, where BitsAllocated is still 1 and 512 bytes
# are due: the array, in memory and from the saved file, has 32 frames in place of 4, with NumberOfFrames still 4.
# Why the guess was wrong: the codec returns a byte for each pixel, which reading takes into account and decompress()
# stores as it came; native 1-bit pixels are packed eight to a byte (PS3.5 section 8.1.1). Grey and colour pictures, which
# fill whole bytes, never show it.
set -euo pipefail
here="$(mktemp -d)"; trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check \
    highdicom==0.28.2 pydicom==3.0.2 pylibjpeg==2.1.0 pylibjpeg-openjpeg==2.5.0 numpy==2.4.6
cd "$here"
venv/bin/python -W ignore - <<'PYTHON'
import highdicom as hd
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

STUDY, SERIES, FRAME, SIDE, SLICES = generate_uid(), generate_uid(), generate_uid(), 32, 4


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
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 10 * n], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness, ds.Rows, ds.Columns = [1, 1], 10, SIDE, SIDE
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleSlope, ds.RescaleIntercept = 1, 0
    ds.PixelData = np.zeros((SIDE, SIDE), np.int16).tobytes()
    ds["PixelData"].VR = "OW"
    return ds


mask = np.zeros((SLICES, SIDE, SIDE), bool)
mask[range(SLICES), range(SLICES), range(SLICES)] = True
segment = hd.seg.SegmentDescription(1, "region", codes.SCT.Tissue, codes.SCT.Tissue, "MANUAL")
hd.seg.Segmentation(
    source_images=[ct(n) for n in range(SLICES)], pixel_array=mask, segmentation_type="BINARY",
    segment_descriptions=[segment], series_instance_uid=generate_uid(), series_number=2,
    sop_instance_uid=generate_uid(), instance_number=1, manufacturer="phantom", manufacturer_model_name="phantom",
    software_versions="1", device_serial_number="1", transfer_syntax_uid=JPEG2000Lossless,
).save_as("compressed.dcm")
read = pydicom.dcmread("compressed.dcm")
before = read.pixel_array
print(f"compressed: {before.shape}, {before.sum()} pixels marked, BitsAllocated {read.BitsAllocated}")
assert before.shape == mask.shape and before.sum() == mask.sum()
read.decompress()
read.save_as("plain.dcm")
again = pydicom.dcmread("plain.dcm")
due = before.size // 8
print(f"decompressed: {len(again.PixelData)} bytes of pixels where {due} are due, BitsAllocated {again.BitsAllocated},"
      f" NumberOfFrames {again.NumberOfFrames}; the array is {again.pixel_array.shape}")
assert (len(again.PixelData), again.BitsAllocated, int(again.NumberOfFrames)) == (8 * due, 1, SLICES)
assert again.pixel_array.shape == (8 * SLICES, SIDE, SIDE), "decompress() keeps the frames now"
PYTHON
