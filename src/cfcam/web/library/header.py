"""What a DICOM header says of how a picture is looked at; of the patient nothing is read."""

from __future__ import annotations

from typing import Any

from cfcam.errors import CfcamError
from cfcam.jobs.inputs.find import Input

_LETTERS = {"R": "R", "L": "L", "A": "A", "P": "P", "H": "S", "F": "I"}  # of DICOM: of RAS+


def header_of(source: Input) -> dict[str, Any]:
    """Returns the modality of a DICOM input, and where the edges of a picture lie; {} of others.

    The values are fields of `cfcam.web.library.study.Said`.
    """
    if source.label is None:
        return {}
    from cfcam.imaging.reading.dicom_object import parsed

    try:
        file = source.path
        if file.is_dir():
            from cfcam.imaging.reading.series import scan_folder

            file = scan_folder(file).series[0].files[0]
        with parsed(file, "the input", pixels=False) as dataset:
            modality = str(dataset.get("Modality") or "")
            return {"modality": modality if modality.isalnum() else None, "edges": _edges(dataset)}
    except (CfcamError, OSError, IndexError):
        return {}  # reading it will say what is wrong


def _edges(dataset: Any) -> tuple[str, str] | None:
    """Where the right and the lower edge of a picture lie by PatientOrientation (PS3.3 C.7.6.1.1.1), roughly."""
    stated = dataset.get("PatientOrientation") or ()
    if isinstance(stated, str) or len(stated) != 2:
        return None
    right, lower = (_LETTERS.get(str(one)[:1]) for one in stated)
    return None if right is None or lower is None else (right, lower)
