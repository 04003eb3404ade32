"""The overlay as a DICOM Secondary Capture (PS3.3 A.8): a picture that every archive shows, without numbers."""

from __future__ import annotations

from copy import copy, deepcopy
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cfcam.exchange.dicom.job import RESEARCH, Job
from cfcam.exchange.dicom.sources import PIXELS, is_projection

if TYPE_CHECKING:
    from pydicom import Dataset

_CALIBRATION = ("ImagerPixelSpacing", "PixelSpacingCalibrationType", "PixelSpacingCalibrationDescription")
_BURNED_IN_BY_HABIT = ("US", "SC", "OT", "XC", "ES", "IVUS")
_PLACE = (
    ("PlanePositionSequence", "ImagePositionPatient"),
    ("PlaneOrientationSequence", "ImageOrientationPatient"),
    ("PixelMeasuresSequence", "PixelSpacing"),
)


def secondary_capture(job: Job, drawn: NDArray[np.uint8] | None = None) -> Dataset:
    """Return an RGB overlay of the source's size, drawn as the job says, with the outline of its region.

    One plane becomes a Secondary Capture, several one Multi-frame True Color Secondary Capture (A.8.5): in the sources'
    order, or along the normal where the planes have a place, as readers that look at one frame alone take them. The
    burned-in flag is the source's; without one it is NO, but YES for modalities whose
    machines burn in. Overlays of CT and MR keep position and orientation, so that they lie where the source lies.

    Args:
        job: the map.
        drawn: what `overlays` returns of it, if that is at hand.

    Raises:
        InputError: the map does not lie in [0, 1].
        ImageError: a source has no pixels, or broken ones.
    """
    picture = overlays(job) if drawn is None else drawn
    places = [_place(job.sources[0 if len(job.sources) == 1 else n], n) for n in range(len(picture))]
    if not all(places) or any(one.ImageOrientationPatient != places[0].ImageOrientationPatient for one in places):
        places = []
    if len(places) > 1:
        order = _along_normal(places)
        picture, places = picture[order], [places[n] for n in order]
    capture = _capture(job, picture[0])
    if len(picture) == 1:
        _say_place(capture, job.sources[0], places)
    else:
        _become_multi_frame(capture, job, picture, places)
    capture.SourceImageSequence = [_reference(source) for source in job.sources]
    return job.finish(capture, "sc")


def _along_normal(places: list[Dataset]) -> NDArray[np.intp]:
    axes = np.array(places[0].ImageOrientationPatient, dtype=np.float64)
    positions = np.array([place.ImagePositionPatient for place in places], dtype=np.float64)
    return np.argsort(positions @ np.cross(axes[:3], axes[3:]), kind="stable")


def overlays(job: Job) -> NDArray[np.uint8]:
    """Return the pictures of a Secondary Capture, `(planes, H, W, 3)`.

    Raises:
        CfcamError: as `secondary_capture`.
    """
    from cfcam.imaging.drawing.overlay import overlay
    from cfcam.imaging.reading.dicom import decode_picture

    job.check_unit_range("sc")
    single, data = len(job.sources) == 1, b""
    if job.shown is not None:
        return overlay(job.shown, job.heatmap[0], **job.look._asdict(), threshold=job.threshold)[None]
    found = np.empty((*job.heatmap.shape, 3), dtype=np.uint8)
    for number in range(len(found)):
        where = f"source {number + 1} of {len(found)}"
        if not (single and data):
            data = _encoded(job, number, where)
        grey = decode_picture(data, "source.dcm", where, frame=number if single else 0).rgb()
        found[number] = overlay(grey, job.heatmap[number], **job.look._asdict(), threshold=job.threshold)
    return found


def _encoded(job: Job, number: int, where: str) -> bytes:
    """A source as the bytes of a file. It is copied, for pydicom completes what it writes."""
    from pydicom.filewriter import dcmwrite

    from cfcam.imaging.reading.dicom_object import broken

    source, stream = job.originals[number], BytesIO()
    with broken(where, "its elements cannot be encoded"):
        whole = deepcopy(job.sources[number])
        for tag in PIXELS:
            if tag in source:
                whole[tag] = copy(source[tag])
        dcmwrite(stream, whole, enforce_file_format=True)
    return stream.getvalue()


def _capture(job: Job, picture: NDArray[np.uint8]) -> Any:
    from highdicom.sc import SCImage

    source = job.sources[0]
    capture: Any = SCImage(
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
        pixel_spacing=source.get("PixelSpacing") or source.get("ImagerPixelSpacing"),
        patient_orientation=("L", "P"),  # replaced: highdicom knows no oblique ones
        specific_character_set=source.get("SpecificCharacterSet"),
        **job.common("sc"),
    )
    for keyword in _CALIBRATION:  # without them millimetres at the detector would look like those in the patient
        if source.get(keyword):
            setattr(capture, keyword, source[keyword].value)
    given = source.get("PatientOrientation")
    capture.PatientOrientation = list(given) if given and len(given) == 2 else None
    capture.BurnedInAnnotation = source.get("BurnedInAnnotation") or (
        "YES" if source.Modality in _BURNED_IN_BY_HABIT else "NO"
    )
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.DerivationDescription = f"Overlay: {job.result.method}, class {job.result.class_index}"
    capture.ImageComments = RESEARCH
    return capture


def _place(source: Any, number: int) -> Dataset:
    """Position, orientation and measures of a plane, whether classic or in functional groups; empty without them."""
    from pydicom import Dataset

    from cfcam.imaging.reading.dicom_object import group

    found = Dataset()
    if is_projection(source):
        return found
    for keyword, element in _PLACE:
        item = group(source, number, keyword)
        if not item.get(element):
            return Dataset()
        found[element] = item[element]
    found.SliceThickness = group(source, number, "PixelMeasuresSequence").get("SliceThickness")
    return found


def _say_place(capture: Any, source: Any, places: list[Dataset]) -> None:
    """Of one plane: the modules Frame of Reference and Image Plane (PS3.3 C.7.4.1, C.7.6.2), whole or not at all."""
    for place in places:
        capture.update(place)
        capture.PatientOrientation = _orientation(place)
        _say_frame_of_reference(capture, source)


def _say_frame_of_reference(capture: Dataset, source: Any) -> None:
    capture.FrameOfReferenceUID = source.FrameOfReferenceUID
    capture.PositionReferenceIndicator = source.get("PositionReferenceIndicator") or ""


def _become_multi_frame(capture: Any, job: Job, picture: NDArray[np.uint8], places: list[Dataset]) -> None:
    """Of several planes: a page each; with places also the functional groups of position, orientation and measures."""
    from pydicom import Dataset
    from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage

    capture.SOPClassUID = MultiFrameTrueColorSecondaryCaptureImageStorage
    capture.file_meta.MediaStorageSOPClassUID = capture.SOPClassUID
    data = picture.tobytes()
    capture.NumberOfFrames, capture.PixelData = len(picture), data + b"\0" * (len(data) % 2)
    capture.PageNumberVector = list(range(1, len(picture) + 1))
    capture.FrameIncrementPointer = 0x00182001  # Page Number Vector
    capture.ContentDate = capture.ContentTime = ""  # set when the object is finished
    if not places:
        return
    capture.pop("PixelSpacing", None)
    capture.PatientOrientation = _orientation(places[0])
    _say_frame_of_reference(capture, job.sources[0])
    shared = _groups(places[0], "PlaneOrientationSequence", "PixelMeasuresSequence")
    if places[0].SliceThickness is not None:
        shared.PixelMeasuresSequence[0].SliceThickness = places[0].SliceThickness
    capture.SharedFunctionalGroupsSequence = [shared]
    capture.PerFrameFunctionalGroupsSequence = []
    for number, place in enumerate(places):
        frame, content = _groups(place, "PlanePositionSequence"), Dataset()
        content.StackID, content.InStackPositionNumber = "1", number + 1
        frame.FrameContentSequence = [content]
        capture.PerFrameFunctionalGroupsSequence.append(frame)


def _groups(place: Dataset, *keywords: str) -> Dataset:
    from pydicom import Dataset

    found = Dataset()
    for keyword, element in _PLACE:
        if keyword in keywords:
            item = Dataset()
            item[element] = place[element]
            setattr(found, keyword, [item])
    return found


def _orientation(place: Any) -> list[str]:
    return [_letters(place.ImageOrientationPatient[start : start + 3]) for start in (0, 3)]


def _letters(direction: Any) -> str:
    """Where a direction points, its greatest part first (PS3.3 C.7.6.1.1.1)."""
    parts = [(abs(float(v)), ("LR", "PA", "HF")[axis][int(float(v) < 0)]) for axis, v in enumerate(direction)]
    return "".join(letter for size, letter in sorted(parts, reverse=True) if size > 0.1)


def _reference(source: Any) -> Dataset:
    from pydicom import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    return item
