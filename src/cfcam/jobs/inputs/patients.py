"""Of whom a study is, for those who must not compare two patients; what is read here is shown nowhere."""

from __future__ import annotations

from pathlib import Path

from cfcam.imaging.reading.dicom_object import broken, quiet
from cfcam.imaging.reading.kinds import is_dicom_file
from cfcam.imaging.reading.parsing import parse


def patient_and_date(path: Path) -> tuple[str, str]:
    """Returns patient id and study date of a DICOM file, or of the first one in a folder; empty where there is none.

    Raises:
        ImageError: the header is broken.
        MissingExtraError: it is DICOM, and pydicom is not installed.
    """
    for file in filter(Path.is_file, sorted(path.iterdir()) if path.is_dir() else [path]):
        if not is_dicom_file(file):
            continue
        with quiet(), broken(path.name, "the DICOM header is broken"):
            header = parse(file, path.name, stop_before_pixels=True, specific_tags=["PatientID", "StudyDate"])
            return str(header.get("PatientID") or "").strip(), str(header.get("StudyDate") or "").strip()
    return "", ""
