"""Results leave for other systems: DICOM objects, and the de-identification that comes before them."""

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
