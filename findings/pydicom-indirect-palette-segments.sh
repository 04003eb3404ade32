#!/usr/bin/env bash
# pydicom 3.0.2 takes the offset of an indirect segment of a 16-bit segmented palette for a count of words; the standard
# counts bytes. (Seen 2026-11.)
#
# Guess: `apply_color_lut` expands a segmented palette (discrete, linear and indirect segments) as PS3.3 C.7.9.2 says.
# Seen: an indirect segment names "the byte offset from the beginning of the table" of the segments to repeat
# (C.7.9.2.3). For a table of 16-bit entries whose second segment is repeated, the byte offset that the standard asks for
# raises "the first segment cannot be an indirect segment"; the same number halved, a count of words, gives the colours.
# With other offsets that mistake meets another segment and gives other colours in silence.
# Why the guess was wrong: discrete and linear segments, all that common palettes hold, work, and in a table of 8-bit
# entries a byte is an entry, so both readings agree; only 16-bit tables with indirect segments tell them apart.
set -euo pipefail
here="$(mktemp -d)"; trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6
cd "$here"
venv/bin/python - <<'PYTHON'
import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import dcmread
from pydicom.pixels import apply_color_lut
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

DISCRETE, INDIRECT = 0, 2
FIRST, SECOND = [DISCRETE, 2, 0x1000, 0x2000], [DISCRETE, 2, 0x7000, 0x9000]


def expanded(offset):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.PhotometricInterpretation, ds.SamplesPerPixel, ds.PixelRepresentation = "PALETTE COLOR", 1, 0
    ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit = 1, 6, 8, 8, 7
    table = np.array([*FIRST, *SECOND, INDIRECT, 1, offset & 0xFFFF, offset >> 16], "<u2").tobytes()
    for colour in ("Red", "Green", "Blue"):
        ds.add_new(tag_for_keyword(f"{colour}PaletteColorLookupTableDescriptor"), "US", [6, 0, 16])
        ds.add_new(tag_for_keyword(f"Segmented{colour}PaletteColorLookupTableData"), "OW", table)
    ds.PixelData = bytes(range(6))
    ds["PixelData"].VR = "OB"
    file = DicomBytesIO()
    ds.save_as(file, enforce_file_format=True)
    file.seek(0)
    read = dcmread(file)
    return [hex(value) for value in apply_color_lut(read.pixel_array, read)[..., 0].ravel()]


right = ["0x1000", "0x2000", "0x7000", "0x9000", "0x7000", "0x9000"]
words, octets = len(FIRST), 2 * len(FIRST)
try:
    print(f"offset {octets}, in bytes: {expanded(octets)}")
    raise SystemExit("the byte offset of the standard is read now")
except ValueError as error:
    print(f"offset {octets}, in bytes (the standard's): {error}")
    assert "indirect segment" in str(error)
print(f"offset {words}, in words: {expanded(words)}")
assert expanded(words) == right
PYTHON
