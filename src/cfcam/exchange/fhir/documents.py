"""What a result was also written as: the report as PDF, and DICOM objects, each with its size and hashes."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cfcam.errors import ImageError, InputError
from cfcam.exchange.fhir.entries import DICOM_UID, URI, Entry, identified
from cfcam.exchange.fhir.reviews import coding
from cfcam.imaging.reading.parsing import parse

SHA256 = "urn:cfcam:sha256"
"""The extension that says the SHA-256 of an attachment; FHIR's own element is SHA-1."""

_MOST_PDF = 64 * 2**20


@dataclass(frozen=True)
class DicomFile:
    """A DICOM object that a result was written as.

    Attributes:
        uid: SOP Instance UID.
        sop_class: SOP Class UID.
        series: Series Instance UID.
        modality: of the object, such as SEG.
        title: its series description.
        study: Study Instance UID, which is that of the source.
        weights: SHA-256 of the weights of the network that it is of.
        size: of the file in bytes.
        sha1: of the file, 20 bytes.
        sha256: of the file, hexadecimal.
    """

    uid: str
    sop_class: str
    series: str
    modality: str
    title: str
    study: str
    weights: str
    size: int
    sha1: bytes
    sha256: str

    @classmethod
    def read(cls, path: Path) -> DicomFile:
        """Reads what is to be said of an object that cfcam wrote.

        Raises:
            ImageError: it cannot be read, or is no object of cfcam's own.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ImageError(f"{path.name}: cannot be read ({error.strerror}); check the folder") from error
        return cls.of(data, path.name)

    @classmethod
    def of(cls, data: bytes, shown: str = "object") -> DicomFile:
        """Returns what is to be said of an object.

        Args:
            data: the bytes of its file.
            shown: what messages call it.

        Raises:
            ImageError: it is no DICOM, or none of cfcam's own, which alone name no patient in their UIDs.
        """
        from cfcam.imaging.reading.dicom_object import broken, quiet

        with quiet(), broken(shown, "it is no DICOM object"):
            header: Any = parse(data, shown, stop_before_pixels=True)
            found = cls(
                str(header.SOPInstanceUID),
                str(header.SOPClassUID),
                str(header.SeriesInstanceUID),
                str(header.Modality),
                str(header.get("SeriesDescription") or ""),
                str(header.StudyInstanceUID),
                str(header.get("DeviceSerialNumber") or ""),
                len(data),
                hashlib.sha1(data, usedforsecurity=False).digest(),
                hashlib.sha256(data).hexdigest(),
            )
        if str(header.get("Manufacturer") or "") != "cfcam":
            raise ImageError(f"{shown}: was not written by cfcam; give the folder NAME_dicom of cfcam explain --dicom")
        return found


def pdf(data: bytes) -> dict[str, Any]:
    """Returns a report as the attachment that holds it.

    Raises:
        InputError: it is no PDF, or larger than any report.
    """
    if not data.startswith(b"%PDF-"):
        raise InputError("the report is no PDF; give the NAME_report.pdf that cfcam explain --report pdf writes")
    if len(data) > _MOST_PDF:
        raise InputError(f"the report has {len(data) >> 20} MiB, and a Bundle takes {_MOST_PDF >> 20}: leave it out")
    attached = _attachment("application/pdf", len(data), hashlib.sha1(data, usedforsecurity=False).digest())
    return {
        "extension": [{"url": SHA256, "valueString": hashlib.sha256(data).hexdigest()}],
        **attached,
        "language": "en",
        "data": base64.b64encode(data).decode(),
        "title": "Report of cfcam, research use only",
    }


def document(one: DicomFile, elements: dict[str, Any], author: dict[str, str], related: dict[str, str]) -> Entry:
    """Returns a reference to a DICOM object, which is known by its UID.

    Args:
        one: the object.
        elements: subject and date.
        author: reference to the device.
        related: reference to the ImagingStudy.
    """
    resource = {
        "resourceType": "DocumentReference",
        "masterIdentifier": {"system": URI, "value": f"urn:oid:{one.uid}"},
        "identifier": [{"system": DICOM_UID, "value": f"urn:oid:{one.uid}"}],
        "status": "current",
        "docStatus": "preliminary",
        "type": {"coding": [coding("dicom-object", "DICOM object of a map")]},
        **elements,
        "author": [author],
        "description": one.title,
        "content": [
            {
                "attachment": {
                    "extension": [{"url": SHA256, "valueString": one.sha256}],
                    **_attachment("application/dicom", one.size, one.sha1),
                    "title": f"{one.modality}: {one.title}",
                },
                "format": {"system": URI, "code": f"urn:oid:{one.sop_class}"},
            }
        ],
        "context": {"related": [related]},
    }
    return identified({name: value for name, value in resource.items() if value}, "object", one.uid, one.sha256)


def _attachment(kind: str, size: int, sha1: bytes) -> dict[str, Any]:
    """The size is before the content is encoded, and so is what is hashed."""
    return {"contentType": kind, "size": size, "hash": base64.b64encode(sha1).decode()}
