"""Radiographs of nobody, drawn and written as DICOM: to try the clinical commands without a patient."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cfcam.errors import MissingExtraError
from cfcam.exchange.dicom.uids import derived_uid
from cfcam.models.demo import make_phantom

if TYPE_CHECKING:
    from pydicom import Dataset

_SEED, _SIZE = 7, 512
_SPACING = 0.7  # mm: a chest of 36 cm
_STUDIES = {"prior": (date(2025, 3, 3), ()), "current": (date(2026, 3, 9), ("nodule",))}


def write_drawn_study(folder: Path) -> list[Path]:
    """Writes two radiographs of one drawn patient with a pacemaker: a healthy one, and a year later one with a nodule.

    Args:
        folder: where ``prior.dcm`` and ``current.dcm`` are written; made if missing. The bytes are the same each time.

    Returns:
        Both files.

    Raises:
        MissingExtraError: pydicom is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, (day, findings) in _STUDIES.items():
        phantom = make_phantom(_SEED, size=_SIZE, findings=findings, devices=["pacemaker"])
        file = folder / f"{name}.dcm"
        radiograph(phantom.image, _SPACING, day, name).save_as(file, enforce_file_format=True)
        files.append(file)
    return files


def radiograph(pixels: np.ndarray[Any, np.dtype[np.uint8]], spacing: float, day: date, name: str) -> Dataset:
    """Returns a computed radiograph (PS3.3 A.2) of nobody, with every element that derived objects inherit.

    Args:
        pixels: (H, W) uint8, seen from the front: the patient's left is on the right.
        spacing: mm between pixels.
        day: of the study.
        name: what its UIDs are derived from; the patient is always the same.

    Raises:
        MissingExtraError: pydicom is not installed.
    """
    try:
        from pydicom import Dataset
        from pydicom.dataset import FileMetaDataset
        from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian
    except ModuleNotFoundError as error:
        raise MissingExtraError("pydicom", "dicom", "writing DICOM") from error
    source = Dataset()
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    source.file_meta.MediaStorageSOPClassUID = source.SOPClassUID = ComputedRadiographyImageStorage
    instance, study, series = (UID(derived_uid("drawn", name, level)) for level in ("instance", "study", "series"))
    source.SOPInstanceUID = source.file_meta.MediaStorageSOPInstanceUID = instance
    source.StudyInstanceUID, source.SeriesInstanceUID = study, series
    source.PatientName, source.PatientID = "Drawn^Phantom", "PHANTOM"
    source.PatientBirthDate = source.PatientSex = source.AccessionNumber = source.StudyID = ""
    source.ReferringPhysicianName = source.StudyDescription = source.Manufacturer = ""
    source.BodyPartExamined = ""
    source.StudyDate = source.SeriesDate = source.ContentDate = day.strftime("%Y%m%d")
    source.StudyTime = source.SeriesTime = source.ContentTime = "090000"
    source.Modality, source.ViewPosition, source.BurnedInAnnotation = "CR", "PA", "NO"
    source.PatientOrientation, source.Laterality = ["L", "F"], ""
    source.SeriesNumber = source.InstanceNumber = 1
    source.Rows, source.Columns = pixels.shape
    source.SamplesPerPixel, source.PhotometricInterpretation = 1, "MONOCHROME2"
    source.BitsAllocated = source.BitsStored = 8
    source.HighBit, source.PixelRepresentation = 7, 0
    source.ImagerPixelSpacing = [spacing, spacing]
    source.PixelData = pixels.tobytes()
    return source
