"""The overlay as DICOM Secondary Captures (PS3.3 A.8): a picture that every archive shows, without numbers."""

from __future__ import annotations

from copy import copy, deepcopy
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cfcam.exchange.job import RESEARCH, Job
from cfcam.exchange.sources import PIXELS, is_projection

if TYPE_CHECKING:
    from pydicom import Dataset

_BURNED_IN_BY_HABIT = ("US", "SC", "OT", "XC", "ES", "IVUS")


def secondary_captures(job: Job) -> list[Dataset]:
    """Return an RGB overlay for each plane, of the source's size, with the palette and opacity of the job.

    The pixels' burned-in flag is the source's; without one it is NO, but YES for modalities whose machines burn in.
    Overlays of CT and MR keep position and orientation, so that they lie where the source lies.

    Raises:
        InputError: the map does not lie in [0, 1].
        ImageError: a source has no pixels, or broken ones.
    """
    from cfcam.imaging.dicom import decode_picture
    from cfcam.imaging.overlay import overlay

    job.check_unit_range("sc")
    palette, opacity = job.look
    captures, single, data = [], len(job.sources) == 1, b""
    for number in range(len(job.heatmap)):  # plane by plane: an object each
        where = f"source {number + 1} of {len(job.heatmap)}"
        if not (single and data):
            data = _encoded(job, number, where)
        grey = decode_picture(data, "source.dcm", where, frame=number if single else 0).rgb()
        picture = overlay(grey, job.heatmap[number], opacity=opacity, palette=palette)
        captures.append(job.finish(_capture(job, number, picture), "sc"))
    return captures


def _encoded(job: Job, number: int, where: str) -> bytes:
    """A source as the bytes of a file. It is copied, for pydicom completes what it writes."""
    from pydicom.filewriter import dcmwrite

    from cfcam.imaging.dicom_object import broken

    source, stream = job.originals[number], BytesIO()
    with broken(where, "its elements cannot be encoded"):
        whole = deepcopy(job.sources[number])
        for tag in PIXELS:
            if tag in source:
                whole[tag] = copy(source[tag])
        dcmwrite(stream, whole, enforce_file_format=True)
    return stream.getvalue()


def _capture(job: Job, number: int, picture: NDArray[np.uint8]) -> Dataset:
    from highdicom.sc import SCImage

    source = job.sources[0 if len(job.sources) == 1 else number]
    place = _place(source, number)
    capture = SCImage(
        picture,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=source.StudyInstanceUID,
        patient_id=source.PatientID,
        patient_name=source.PatientName,
        patient_birth_date=source.PatientBirthDate,
        patient_sex=source.PatientSex or None,
        accession_number=source.AccessionNumber,
        study_id=source.StudyID,
        study_date=source.StudyDate or None,
        study_time=source.StudyTime or None,
        referring_physician_name=source.ReferringPhysicianName,
        pixel_spacing=place.get("PixelSpacing") or source.get("ImagerPixelSpacing"),
        patient_orientation=("L", "P"),  # replaced below: highdicom knows no oblique ones
        specific_character_set=source.get("SpecificCharacterSet"),
        **job.common("sc", number + 1),
    )
    capture.PatientOrientation = _orientation(source, place)
    capture.BurnedInAnnotation = source.get("BurnedInAnnotation") or (
        "YES" if source.Modality in _BURNED_IN_BY_HABIT else "NO"
    )
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.DerivationDescription = f"Overlay: {job.result.method}, class {job.result.class_index}"
    capture.ImageComments = RESEARCH
    capture.SourceImageSequence = [_reference(source, number, len(job.heatmap))]
    for key in ("FrameOfReferenceUID", "PositionReferenceIndicator"):
        if place and key in source:
            capture[key] = source[key]
    for key in ("ImagePositionPatient", "ImageOrientationPatient"):
        if place:
            capture[key] = place[key]
    return capture


def _place(source: Any, number: int) -> Any:
    """The elements of position, orientation and spacing of a plane, whether classic or in functional groups."""
    from pydicom import Dataset

    from cfcam.imaging.dicom_object import group

    found = Dataset()
    if is_projection(source):
        return found
    for keyword, element in (
        ("PlanePositionSequence", "ImagePositionPatient"),
        ("PlaneOrientationSequence", "ImageOrientationPatient"),
        ("PixelMeasuresSequence", "PixelSpacing"),
    ):
        item = group(source, number, keyword)
        if element not in item:
            return Dataset()
        found[element] = item[element]
    return found


def _orientation(source: Any, place: Any) -> Any:
    if "ImageOrientationPatient" in place:
        return [_letters(place.ImageOrientationPatient[start : start + 3]) for start in (0, 3)]
    given = source.get("PatientOrientation")
    return list(given) if given and len(given) == 2 else None


def _letters(direction: Any) -> str:
    """Where a direction points, its greatest part first (PS3.3 C.7.6.1.1.1)."""
    parts = [(abs(float(v)), ("LR", "PA", "HF")[axis][int(float(v) < 0)]) for axis, v in enumerate(direction)]
    return "".join(letter for size, letter in sorted(parts, reverse=True) if size > 0.1)


def _reference(source: Any, number: int, planes: int) -> Dataset:
    from pydicom import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    if int(source.get("NumberOfFrames") or 1) > 1 and planes > 1:
        item.ReferencedFrameNumber = number + 1
    return item
