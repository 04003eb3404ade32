#!/usr/bin/env bash
# SimpleITK 2.5.7 (GDCM inside) decodes a 16-bit RGB DICOM picture in RLE Lossless to wrong colours, without a warning.
# (Seen 2026-11; pydicom 3.0.2 encodes and decodes beside it.)
#
# Guess: RLE (PS3.5 annex G) is the simplest compression of DICOM, byte planes packed by runs, and lossless: whatever
# library decodes it gives the pixels of the uncompressed file.
# Seen: a picture of three plain colours is read rightly when it is uncompressed and when it is 8 bits in RLE; of the
# 16-bit picture in RLE most pixels are wrong: red (65535, 0, 0) comes back as (0, 65280, 255). The same with pydicom's
# own file SC_rgb_rle_16bit.dcm, which another encoder wrote.
# Why the guess was wrong: for more than one byte a sample the planes are stored by colour and, within a colour, the high
# byte first (PS3.5 G.2); with three colours that order is not what the decoder puts together. Grey 16-bit pictures, the
# usual case, have no second colour to be mixed with and are right.
set -euo pipefail
here="$(mktemp -d)"; trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 pydicom==3.0.2 pydicom-data==1.0.0 numpy==2.4.6
cd "$here"
venv/bin/python - <<'PYTHON'
import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, SecondaryCaptureImageStorage, generate_uid


def picture(pixels):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.Modality, ds.ConversionType = "OT", "WSD"
    ds.Rows, ds.Columns, ds.SamplesPerPixel = pixels.shape[0], pixels.shape[1], pixels.shape[2]
    ds.BitsAllocated = ds.BitsStored = 8 * pixels.dtype.itemsize
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, 0
    ds.PhotometricInterpretation = "RGB" if pixels.shape[2] == 3 else "MONOCHROME2"
    if pixels.shape[2] == 3:
        ds.PlanarConfiguration = 0
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OW" if pixels.dtype.itemsize > 1 else "OB"
    return ds


def wrong(ds, name):
    ds.save_as(name, enforce_file_format=True)
    stored = pydicom.dcmread(name).pixel_array
    read = sitk.GetArrayFromImage(sitk.ReadImage(name)).reshape(stored.shape)
    share = float((read != stored).any(axis=-1).mean() if stored.ndim == 3 else (read != stored).mean())
    print(f"{name:24s} wrong pixels: {share:.0%}; first pixel stored {stored[0, 0].tolist()}, read {read[0, 0].tolist()}")
    return share


def rle(pixels):
    ds = picture(pixels)
    ds.compress(RLELossless, generate_instance_uid=False)
    return ds


colours = np.zeros((30, 8, 3), np.uint16)
for n in range(3):
    colours[10 * n : 10 * n + 10, :, n] = 65535
assert wrong(picture(colours), "16-bit colour plain.dcm") == 0
assert wrong(rle((colours >> 8).astype(np.uint8)), "8-bit colour RLE.dcm") == 0
assert wrong(rle(colours[..., :1].copy()), "16-bit grey RLE.dcm") == 0
assert wrong(rle(colours), "16-bit colour RLE.dcm") > 0.5
assert sitk.GetArrayFromImage(sitk.ReadImage("16-bit colour RLE.dcm")).reshape(colours.shape)[0, 0].tolist() == [0, 65280, 255]
path = get_testdata_file("SC_rgb_rle_16bit.dcm", download=False)
other = sitk.GetArrayFromImage(sitk.ReadImage(path)).reshape(100, 100, 3)
plain = pydicom.dcmread(get_testdata_file("SC_rgb_16bit.dcm", download=False)).pixel_array
assert (pydicom.dcmread(path).pixel_array == plain).all()
print(f"pydicom's own file       wrong pixels: {(other != plain).any(axis=-1).mean():.0%}")
assert (other != plain).any(axis=-1).mean() > 0.5
PYTHON
