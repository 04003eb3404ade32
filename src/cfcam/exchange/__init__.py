"""Results leave for other systems: DICOM objects, and the de-identification that comes before them."""

from cfcam.exchange.deidentify import Deidentifier
from cfcam.exchange.deidentify_folder import FolderReport, deidentify_folder
from cfcam.exchange.dicom import KINDS, fitting_kinds, write_objects
from cfcam.exchange.result import ResultInfo
from cfcam.exchange.sources import planes_of, pseudonym_of, read_source, sources_of
from cfcam.exchange.structured_report import MEASUREMENTS, measurements_of

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
