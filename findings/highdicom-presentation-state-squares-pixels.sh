#!/usr/bin/env bash
# highdicom 0.28.2: a presentation state of a picture whose pixels are twice as high as wide tells viewers to show them as squares:
# what is round in the patient becomes an ellipse, under annotations that lie rightly. (Seen 2026-11.)
#
# Guess: GrayscaleSoftcopyPresentationState takes over from its referenced images how they are shown: their window, their rescaling
# (it does), and the shape of their pixels, which Pixel Spacing, Imager Pixel Spacing, Nominal Scanned Pixel Spacing or Pixel Aspect
# Ratio say (PS3.3 C.7.6.3.1.7). A viewer shows the picture under the state as it shows it without.
# Seen: the state of each of five pictures, all with pixels of 2 to 1, says Presentation Pixel Aspect Ratio 1\1, the same as of a
# picture whose pixels are square; no argument changes it, and the ones for rescaling and window are taken over. DCMTK's dcmpsmk
# writes the spacing of the picture there.
# Why the guess was wrong: the displayed area is made in one form for all pictures, with a ratio that is a constant; and the ratio is no
# hint: where a presentation state is applied it is what counts (C.10.4, "Presentation Pixel Aspect Ratio"), and one that is required,
# so it cannot be left to the image.
set -euo pipefail
here="$(mktemp -d)"; trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check highdicom==0.28.2 pydicom==3.0.2 numpy==2.4.6
cd "$here"
venv/bin/python -W ignore - <<'PYTHON'
import highdicom as hd
import numpy as np
from highdicom.pr import GraphicAnnotation, GraphicLayer, GraphicObject, GrayscaleSoftcopyPresentationState
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid


def picture(**said):
    """A picture of 40 rows and 40 columns; what it says of its pixels is given."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = CTImageStorage if "PixelSpacing" in said else ComputedRadiographyImageStorage
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex = "phantom", "Phantom^", "", ""
    ds.StudyDate, ds.StudyTime, ds.StudyID = "20260101", "120000", "1"
    ds.AccessionNumber, ds.ReferringPhysicianName = "", ""
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber, ds.Manufacturer = "OT", 1, 1, "phantom"
    ds.Rows = ds.Columns = 40
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 2, -1024, "HU"
    ds.WindowCenter, ds.WindowWidth = 40, 400
    for name, value in said.items():
        setattr(ds, name, value)
    ds.PixelData = np.zeros((40, 40), np.uint16).tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def state(source):
    layer = GraphicLayer("MARKS", order=1)
    point = GraphicObject("POINT", np.array([[20.5, 10.5]]), "PIXEL")
    return GrayscaleSoftcopyPresentationState(
        referenced_images=[source],
        series_instance_uid=generate_uid(), series_number=2, sop_instance_uid=generate_uid(), instance_number=1,
        manufacturer="m", manufacturer_model_name="m", software_versions="1", device_serial_number="1",
        content_label="MARKS", graphic_layers=[layer],
        graphic_annotations=[GraphicAnnotation(referenced_images=[source], graphic_layer=layer, graphic_objects=[point])],
    )


pictures = {
    "Pixel Spacing 0.8 / 0.4": ({"PixelSpacing": [0.8, 0.4]}, 2),
    "Imager Pixel Spacing 0.2 / 0.1": ({"ImagerPixelSpacing": [0.2, 0.1]}, 2),
    "Nominal Scanned Pixel Spacing": ({"NominalScannedPixelSpacing": [0.2, 0.1]}, 2),
    "Pixel Aspect Ratio 2 / 1": ({"PixelAspectRatio": [2, 1]}, 2),
    "Pixel Aspect Ratio 200 / 100": ({"PixelAspectRatio": [200, 100]}, 2),
    "square": ({"PixelSpacing": [0.4, 0.4]}, 1),
}
for label, (said, shape) in pictures.items():
    found = state(picture(**said))
    (area,) = found.DisplayedAreaSelectionSequence
    high, wide = area.PresentationPixelAspectRatio
    print(f"{label:31} pixels {shape} : 1, the state shows them {high} : {wide} ({area.PresentationSizeMode})")
    assert (high, wide) == (1, 1) and "PresentationPixelSpacing" not in area, "the shape of the pixels is taken over now"
    assert (float(found.RescaleSlope), float(found.SoftcopyVOILUTSequence[0].WindowWidth)) == (2, 400)  # what is taken over
print("unchanged: whatever the picture says, its pixels are shown as squares under the state")
print(f"highdicom {hd.__version__}")
PYTHON
