"""Results leave for other systems: DICOM objects, and the de-identification that comes before them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cfcam._lazy import lazy

if TYPE_CHECKING:
    from cfcam.exchange.deidentify.deidentifier import Deidentifier
    from cfcam.exchange.deidentify.folder import FolderReport, deidentify_folder
    from cfcam.exchange.dicom.result import ResultInfo
    from cfcam.exchange.dicom.sources import planes_of, pseudonym_of, read_source, sources_of
    from cfcam.exchange.dicom.structured_report import MEASUREMENTS, measurements_of
    from cfcam.exchange.dicom.write import KINDS, fitting_kinds, write_objects

__all__ = [
    "KINDS",
    "MEASUREMENTS",
    "Deidentifier",
    "FolderReport",
    "ResultInfo",
    "deidentify_folder",
    "fitting_kinds",
    "measurements_of",
    "planes_of",
    "pseudonym_of",
    "read_source",
    "sources_of",
    "write_objects",
]

__getattr__ = lazy(
    __name__,
    {
        "cfcam.exchange.deidentify.deidentifier": "Deidentifier",
        "cfcam.exchange.deidentify.folder": "FolderReport deidentify_folder",
        "cfcam.exchange.dicom.result": "ResultInfo",
        "cfcam.exchange.dicom.sources": "planes_of pseudonym_of read_source sources_of",
        "cfcam.exchange.dicom.structured_report": "MEASUREMENTS measurements_of",
        "cfcam.exchange.dicom.write": "KINDS fitting_kinds write_objects",
    },
)
