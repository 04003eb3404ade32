"""Sources of every usual kind, of nobody, which validators find no error in: what is derived has only own errors."""

from __future__ import annotations

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset

from tests.imaging import dicoms

SIZE = (24, 20)
CLASSES = {
    "CT": uid.CTImageStorage, "MR": uid.MRImageStorage, "PT": uid.PositronEmissionTomographyImageStorage,
    "CR": uid.ComputedRadiographyImageStorage, "DX": uid.DigitalXRayImageStorageForPresentation,
    "MG": uid.DigitalMammographyXRayImageStorageForPresentation, "US": uid.UltrasoundImageStorage,
    "NM": uid.NuclearMedicineImageStorage,
}  # fmt: skip
SERIES = ("CT", "MR", "PT")
ENHANCED = ("ECT", "EMR")
PICTURES = ("CR", "DX", "MG", "US", "NM")


def code(value: str, meaning: str, scheme: str = "SCT") -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def sources(kind: str, planes: int = 4, axes=dicoms.AXIAL) -> list[Dataset]:
    """Pictures of a series (CT, MR, PT), one enhanced object (ECT, EMR) or one picture of another kind."""
    if kind in SERIES:
        places = dicoms.positions(planes, axes)
        return [_slice(kind, number, place, axes) for number, place in enumerate(places)]
    return [_enhanced(kind, planes, axes)] if kind in ENHANCED else [_picture(kind)]


def _common(kind: str, number: int) -> Dataset:
    stored = np.random.default_rng(number).integers(0, 4000, SIZE)
    ds = dicoms.with_pixels(Dataset(), stored, bits=12)
    ds.SOPClassUID, ds.SOPInstanceUID = CLASSES[kind], f"1.2.3.{len(kind)}{number + 1}.{list(CLASSES).index(kind)}"
    ds.file_meta = _meta(ds)
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Nobody^Drawn", "DRAWN", "", ""
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.1", f"1.2.5.{list(CLASSES).index(kind)}"
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = ds.AcquisitionDate = "20240506"
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = ds.AcquisitionTime = "070809"
    ds.AccessionNumber = ds.StudyID = ds.ReferringPhysicianName = ""
    ds.SeriesNumber, ds.InstanceNumber, ds.AcquisitionNumber = 3, number + 1, 1
    ds.Manufacturer, ds.Modality = "Nobody", kind
    ds.ManufacturerModelName, ds.DeviceSerialNumber, ds.SoftwareVersions = "Drawn", "1", "1"
    ds.BodyPartExamined, ds.BurnedInAnnotation, ds.LossyImageCompression = "CHEST", "NO", "00"
    ds.ImageType, ds.PositionReferenceIndicator = ["ORIGINAL", "PRIMARY", "AXIAL"], ""
    return ds


def _meta(ds: Dataset) -> Dataset:
    from pydicom.dataset import FileMetaDataset

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    return meta


def _slice(kind: str, number: int, place, axes) -> Dataset:
    ds = _common(kind, number)
    ds.FrameOfReferenceUID = "1.2.2"
    ds.ImagePositionPatient = [f"{v:.6f}"[:16] for v in place]
    ds.ImageOrientationPatient = [f"{v:.10f}"[:16] for direction in axes for v in direction]
    ds.PixelSpacing, ds.SliceThickness = [0.8, 0.7], 2.5
    ds.PatientPosition = "HFS"
    if kind == "CT":
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType, ds.KVP = 1, -1024, "HU", 120
        ds.WindowCenter, ds.WindowWidth = 40, 400
    elif kind == "MR":
        ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions, ds.MRAcquisitionType = "SE", "NONE", "", "2D"
        ds.RepetitionTime, ds.EchoTime, ds.EchoTrainLength = 500, 20, 1
        ds.ImageType, ds.WindowCenter, ds.WindowWidth = ["ORIGINAL", "PRIMARY", "M"], 2000, 4000
    else:
        _positron(ds, number)
    return ds


def _positron(ds: Dataset, number: int) -> None:
    ds.BitsStored, ds.HighBit, ds.BitsAllocated = 16, 15, 16
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.RescaleSlope, ds.RescaleIntercept, ds.Units, ds.CountsSource = 1, 0, "BQML", "EMISSION"
    ds.SeriesType, ds.NumberOfSlices, ds.CorrectedImage = ["STATIC", "IMAGE"], 4, ["DECY", "ATTN"]
    ds.DecayCorrection, ds.CollimatorType, ds.ImageIndex, ds.FrameReferenceTime = "START", "NONE", number + 1, 0
    ds.ActualFrameDuration, ds.DecayFactor = 60000, 1
    medicine = Dataset()
    medicine.RadionuclideCodeSequence = [code("77004003", "^18^Fluorine")]
    medicine.RadiopharmaceuticalCodeSequence = [code("35321007", "Fluorodeoxyglucose F^18^")]
    medicine.RadiopharmaceuticalStartTime, medicine.RadionuclideTotalDose = "070000", 4e8
    medicine.RadionuclideHalfLife = 6588
    ds.RadiopharmaceuticalInformationSequence = [medicine]
    ds.PatientOrientationCodeSequence, ds.PatientGantryRelationshipCodeSequence = [], []
    del ds.PatientPosition


def _picture(kind: str) -> Dataset:
    ds = _common(kind, 0)
    ds.PatientOrientation = ["L", "F"]
    if kind == "US":
        _ultrasound(ds)
    elif kind == "NM":
        _scintigram(ds)
    else:
        ds.ImagerPixelSpacing = [0.2, 0.1]
        ds.ImageType = ["ORIGINAL", "PRIMARY", ""]
        if kind == "CR":
            ds.ViewPosition = "PA"
        else:
            _digital(ds, kind)
    if "PositionReferenceIndicator" in ds and "FrameOfReferenceUID" not in ds:
        del ds.PositionReferenceIndicator
    return ds


def _digital(ds: Dataset, kind: str) -> None:
    ds.PresentationIntentType, ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = (
        "FOR PRESENTATION",
        "LOG",
        -1,
    )
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType, ds.PresentationLUTShape = 1, 0, "US", "IDENTITY"
    ds.WindowCenter, ds.WindowWidth, ds.ImageLaterality = 2000, 4000, "U"
    ds.DetectorType, ds.AnatomicRegionSequence = "DIRECT", [code("816094009", "Chest")]
    ds.AcquisitionContextSequence, ds.ViewCodeSequence = [], [code("272479007", "Postero-anterior")]
    ds.PatientOrientation = ["L", "F"]
    ds.ViewCodeSequence[0].ViewModifierCodeSequence, ds.PositionerType = [], ""
    if kind == "MG":
        ds.BodyPartExamined, ds.ImageLaterality = "BREAST", "L"
        ds.AnatomicRegionSequence = [code("76752008", "Breast")]
        ds.PositionerType, ds.OrganExposed = "MAMMOGRAPHIC", "BREAST"
        ds.ViewCodeSequence = [code("399162004", "cranio-caudal")]
        ds.ViewCodeSequence[0].ViewModifierCodeSequence = []
        ds.PatientOrientation, ds.BreastImplantPresent, ds.PartialView = ["P", "L"], "NO", "NO"


def _ultrasound(ds: Dataset) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (*SIZE, 3)).astype(np.uint8)
    grey = pixels[..., :1].repeat(3, -1)
    dicoms.with_pixels(ds, grey, bits=8)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "", "0001"]
    ds.UltrasoundColorDataPresent = 0


def _scintigram(ds: Dataset) -> None:
    ds.BitsStored, ds.HighBit = 16, 15
    ds.ImageType, ds.PixelSpacing = ["ORIGINAL", "PRIMARY", "STATIC", "EMISSION"], [2, 2]
    ds.NumberOfFrames, ds.FrameIncrementPointer = 1, [0x00540010, 0x00540020]
    ds.NumberOfEnergyWindows = ds.NumberOfDetectors = 1
    ds.EnergyWindowVector = ds.DetectorVector = 1
    ds.FrameOfReferenceUID = "1.2.2"
    ds.CountsAccumulated, ds.ActualFrameDuration = 1000, 60000
    for key in ("EnergyWindowInformation", "RadiopharmaceuticalInformation", "DetectorInformation"):
        setattr(ds, f"{key}Sequence", [])
    ds.PatientOrientationCodeSequence, ds.PatientGantryRelationshipCodeSequence = [], []


def _enhanced(kind: str, planes: int, axes) -> Dataset:
    """A series converted as PS3.3 A.70 and A.71 say: enhanced, without what the series did not tell."""
    from highdicom import legacy

    classic = kind[1:]
    make = {"CT": legacy.LegacyConvertedEnhancedCTImage, "MR": legacy.LegacyConvertedEnhancedMRImage}[classic]
    return make(sources(classic, planes, axes), f"1.2.6.{kind == 'EMR':d}", 4, f"1.2.3.9.{kind == 'EMR':d}", 1)
