#!/usr/bin/env bash
# highdicom 0.28.2 makes Segmentations of an odd number of bytes even with the letter "0" (30H), and not with a NULL: in a
# mask of one bit a pixel two bits are set behind the last frame that nobody drew. (Seen 2026-11.)
#
# Guess: values of the VR OB are made even by a single trailing NULL byte (PS3.5 section 6.2), so what stands behind the
# last pixel is 0, and a mask may be counted without looking at Rows and Columns.
# Seen: the last byte is 30H, the digit zero of ASCII. Of a mask of 2 x 4 pixels with one set, the bits of Pixel Data add up
# to three; of a fractional map of 3 x 3 pixels whose values are 0, the largest byte is 48, a fifth of the full scale.
# Why the guess was wrong: readers cut Pixel Data to frames first, so no picture shows it, and 512 x 512 pixels are never
# odd. Whoever sums, compares or compresses the element as it is meets it, with cropped masks first.
set -euo pipefail
here="$(mktemp -d)"; trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check highdicom==0.28.2 pydicom==3.0.2 numpy==2.4.6
cd "$here"
venv/bin/python -W ignore - <<'PYTHON'
import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def segmentation(pixels, kind):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = (generate_uid() for _ in range(3))
    ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex = "phantom", "Phantom^", "", ""
    ds.StudyDate, ds.StudyTime, ds.StudyID = "20260101", "120000", "1"
    ds.AccessionNumber, ds.ReferringPhysicianName = "", ""
    ds.Modality, ds.InstanceNumber = "CT", 1
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [1, 1], 1
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.PixelData = np.zeros(pixels.shape, np.uint16).tobytes()
    what = hd.seg.SegmentDescription(
        1, "finding", codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Lesion,
        hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )
    return hd.seg.Segmentation(
        [ds], pixels[None], kind, [what], generate_uid(), 1, generate_uid(), 1, "m", "m", "1", "1",
        transfer_syntax_uid=ExplicitVRLittleEndian, omit_empty_frames=False,
    )


kinds = hd.seg.SegmentationTypeValues
mask = np.zeros((2, 4), np.uint8)
mask[0, 0] = 1
binary = segmentation(mask, kinds.BINARY).PixelData
fractional = segmentation(np.zeros((3, 3), np.float32), kinds.FRACTIONAL).PixelData
bits = int(np.unpackbits(np.frombuffer(binary, np.uint8)).sum())
print(f"mask of 2 x 4 with one pixel set: {binary.hex(' ')}, {bits} bits set")
print(f"map of 3 x 3 zeros: {fractional.hex(' ')}")
assert binary == b"\x010" and bits == 3, binary
assert fractional == bytes(9) + b"0", fractional
PYTHON
echo "highdicom 0.28.2 pads with the digit 0"
