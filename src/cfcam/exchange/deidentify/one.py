"""One file de-identified: bytes in, bytes out, and whether a native decoder has to open its pixels."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from cfcam.exchange.deidentify.deidentifier import Deidentifier
from cfcam.exchange.deidentify.pixels import check_same_stored
from cfcam.exchange.dicom.sources import read_source
from cfcam.imaging.reading.dicom_frames import is_native
from cfcam.imaging.reading.dicom_object import broken, quiet
from cfcam.imaging.reading.parsing import parse


class Clean(NamedTuple):
    """A de-identified picture: the names of its folders and its file, and the file's bytes."""

    patient: str
    series: str
    uid: str
    data: bytes


def needs_decoder(path: Path, where: str) -> bool:
    """Tells from a file's header whether its pixels are compressed in a way that a native decoder opens.

    Raises:
        ImageError: the header cannot be read.
    """
    with quiet(), broken(where, "the DICOM file is broken or cut off"):
        header = parse(path, where, stop_before_pixels=True, specific_tags=["Rows"])
        return is_native(header)


def cleaned(path: Path, where: str, deidentifier: Deidentifier) -> Clean:
    """Returns the picture in a file without its patient, as the bytes of a new file that was read back.

    Raises:
        ImageError: it is refused; see `Deidentifier`.
        MissingExtraError: a library is not installed.
    """
    source = read_source(path, max_pixels=deidentifier.max_pixels, max_voxels=deidentifier.max_voxels)
    dataset = deidentifier(source, where)

    stream = BytesIO()
    with quiet(), broken(where, "an element of it cannot be encoded"):
        dataset.save_as(stream, enforce_file_format=True)
        check_same_stored(dataset, parse(stream.getvalue(), where), where)
    series = str(dataset.get("SeriesInstanceUID") or dataset.StudyInstanceUID)
    return Clean(str(dataset.PatientID), series, str(dataset.SOPInstanceUID), stream.getvalue())
