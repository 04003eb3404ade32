"""The DICOM pictures that a map belongs to: checked, and brought into the state that writing needs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cfcam.errors import ImageError, InputError
from cfcam.imaging.reading.dicom_object import quiet
from cfcam.imaging.volume import MAX_VOXELS

if TYPE_CHECKING:
    from pydicom import Dataset

    from cfcam.imaging.volume import Volume

_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "Rows", "Columns")
# Type 2 in the modules Patient, General Study and General Series (PS3.3 C.7.1.1, C.7.2.1): may be empty, not missing.
_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
_ONE_OF_ALL = ("StudyInstanceUID", "SeriesInstanceUID", "PatientID", "Rows", "Columns", "FrameOfReferenceUID")
_PLACE = (
    ("PlaneOrientationSequence", "ImageOrientationPatient", 6),
    ("PlanePositionSequence", "ImagePositionPatient", 3),
    ("PixelMeasuresSequence", "PixelSpacing", 2),
)
_SHARED, _EACH = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
_EITHER_PLACE = (
    "PlaneOrientationSequence", "PixelMeasuresSequence", "FrameVOILUTSequence", "PixelValueTransformationSequence",
)  # fmt: skip
_UNEVEN = 0.02  # by which part distances of planes may differ and be one
_PSEUDONYM = re.compile(r"P-[A-Z2-7]{16}")
PIXELS = (0x7FE00001, 0x7FE00002, 0x7FE00008, 0x7FE00009, 0x7FE00010)
"""Tags of pixels, and of the tables of where frames begin."""


def headers_of(sources: Sequence[Dataset]) -> list[Dataset]:
    """Return copies of the sources without pixels, fit to derive objects from; the sources stay as they are.

    Raises:
        ImageError: a source lacks what every picture has, or they are not of one series.
        InputError: no source, or several of which one has several frames.
    """
    if not sources:
        raise InputError("no source is given: name the DICOM pictures that the map belongs to")
    for number, source in enumerate(sources, 1):
        missing = [key for key in _NEEDED if not source.get(key)]
        if missing:
            raise ImageError(f"source {number} of {len(sources)}: has no {', '.join(missing)}; export it again")
    for key in _ONE_OF_ALL:
        if len({str(source.get(key, "")) for source in sources}) > 1:
            raise ImageError(f"the {len(sources)} sources differ in {key}: give the pictures of one series only")
    if len({source.SOPInstanceUID for source in sources}) < len(sources):
        raise InputError(f"of the {len(sources)} sources some are there twice: give each once")
    if len(sources) > 1 and any(int(source.get("NumberOfFrames") or 1) > 1 for source in sources):
        raise InputError(f"{len(sources)} sources, one with several frames: give such an object alone")
    placed = not missing_place(sources)
    return [_header(source, placed) for source in sources]


def frames_of(sources: Sequence[Dataset]) -> int:
    """Return how many planes the sources have: frames of the one object, or single-frame objects."""
    return int(sources[0].get("NumberOfFrames") or 1) if len(sources) == 1 else len(sources)


def sources_of(volume: Volume, heatmap: NDArray[np.float32]) -> tuple[list[Dataset], NDArray[np.float32]]:
    """Read the DICOM objects behind a volume, and bring a map on its grid into their order.

    Args:
        volume: read from DICOM, with one slice for each source slice.
        heatmap: `(D, H, W)` on the volume's grid.

    Returns:
        The objects with all their elements, and the map `(planes, H, W)` as `write_objects` wants them: plane n of
        the map belongs to object n, or to frame n of a single object.

    Raises:
        InputError: the volume does not come from DICOM, its slices were resampled, or the map has another size.
        ImageError: a file is gone or broken.
    """
    if heatmap.shape != volume.size:
        raise InputError(f"map of shape {heatmap.shape} for a volume of {volume.size}: bring it onto that grid first")
    sources, order = planes_of(volume)
    return sources, np.ascontiguousarray(heatmap[order])


def planes_of(volume: Volume, *, pixels: bool = True) -> tuple[list[Dataset], NDArray[np.intp]]:
    """Read the DICOM objects behind a volume once, for several maps on its grid.

    Args:
        volume: the volume.
        pixels: whether the objects of single slices keep theirs, which overlays alone are drawn over.

    Returns:
        The objects, and `order`: `heatmap[order]` is what `write_objects` wants of a map `(D, H, W)`.

    Raises:
        InputError: the volume does not come from DICOM, or its slices were resampled.
        ImageError: a file is gone or broken.
    """
    instances = volume.source.instances
    if len(instances) != volume.size[0]:
        raise InputError(
            f"{volume!r}: its slices are not those of DICOM files (it was resampled, or is no DICOM), so that there is"
            " nothing to refer to; write the map as NIfTI"
        )
    paths = list(dict.fromkeys(instance.path for instance in instances))
    if len(paths) == 1:
        order = np.argsort([instance.frame or 1 for instance in instances])
        source = read_source(paths[0])
        if frames_of([source]) != len(instances):
            raise InputError("the volume has not all the frames of its object; write the map as NIfTI")
        return [source], order
    if len(paths) != len(instances):
        raise InputError("the volume is made of several multi-frame objects; write the map as NIfTI")
    return [_read(path, pixels=pixels) for path in paths], np.arange(len(instances))


def _read(path: Path, *, pixels: bool) -> Dataset:
    source = read_source(path)
    if not pixels:
        for tag in PIXELS:
            source.pop(tag, None)
    return source


def read_source(path: Path, *, max_pixels: int | None = None, max_voxels: int = MAX_VOXELS) -> Dataset:
    """Return a DICOM file with all its elements, parsed to the end so that nothing fails later.

    Args:
        path: the file.
        max_pixels: refuse, before anything is decompressed, an object whose frames have more; None: `max_voxels`.
        max_voxels: the same for all frames together.

    Raises:
        ImageError: it cannot be read; what pydicom says is not passed on, for it may quote the file.
        MissingExtraError: pydicom is not installed.
    """
    from cfcam.imaging.reading.dicom_frames import check_size, inflated
    from cfcam.imaging.reading.dicom_object import broken, complete_meta
    from cfcam.imaging.reading.parsing import parse

    with quiet(), broken("a source", "the DICOM file is broken or cut off"):
        source = parse(path, "a source")
        complete_meta(source)
        if any(key in source for key in ("Rows", "Columns")):  # a report has none
            check_size(source, "a source", max_voxels if max_pixels is None else max_pixels, max_voxels)
        source = inflated(source, "a source")
        source.walk(lambda _dataset, _element: None)
    return source


def pseudonym_of(source: Any) -> str | None:
    """Return the pseudonym of a source that cfcam de-identified; None for every other, whatever it says of itself."""
    method = str(source.get("DeidentificationMethod") or "")
    patient = str(source.get("PatientID") or "")
    ours = str(source.get("PatientIdentityRemoved") or "") == "YES" and method.startswith("cfcam ")
    return patient if ours and _PSEUDONYM.fullmatch(patient) else None


def is_projection(source: Any) -> bool:
    """Whether a picture has no place in the patient's space, as radiographs do."""
    return not source.get("FrameOfReferenceUID") or not (
        "ImageOrientationPatient" in source or "SharedFunctionalGroupsSequence" in source
    )


def missing_place(sources: Sequence[Any]) -> list[str]:
    """Return what one of the sources lacks of a place in the patient's space; empty where all planes have one."""
    from cfcam.imaging.reading.dicom_object import group, numbers

    missing = [] if all(source.get("FrameOfReferenceUID") for source in sources) else ["FrameOfReferenceUID"]
    for keyword, element, count in _PLACE:
        places = ((source, frame) for source in sources for frame in range(int(source.get("NumberOfFrames") or 1)))
        if not all(len(numbers(group(source, frame, keyword).get(element))) == count for source, frame in places):
            missing.append(element)
    return missing


def modality_of(source: Any) -> str:
    """Return the modality as messages may show it: a few capitals, else "unknown", for anything may stand there."""
    found = str(source.get("Modality") or "")
    return found if found.isascii() and found.isalpha() and found.isupper() and len(found) <= 8 else "unknown"


def without_thickness(sources: Sequence[Any]) -> bool:
    """Whether one of the sources has a place, but no slice thickness, which may be absent or empty (type 2)."""
    from cfcam.imaging.reading.dicom_object import group

    return not missing_place(sources) and not all(
        group(source, frame, "PixelMeasuresSequence").get("SliceThickness")
        for source in sources
        for frame in range(int(source.get("NumberOfFrames") or 1))
    )


def distance_of(sources: Sequence[Any]) -> float | None:
    """Return the distance between neighbouring planes, mm; None where it is not the same everywhere, or for one."""
    from cfcam.imaging.reading.dicom_object import group, plane_axes

    places = [(source, frame) for source in sources for frame in range(int(source.get("NumberOfFrames") or 1))]
    axes = plane_axes(group(*places[0], "PlaneOrientationSequence").get("ImageOrientationPatient"))
    if axes is None or len(places) < 2:
        return None
    positions = [group(*place, "PlanePositionSequence").get("ImagePositionPatient") for place in places]
    steps = np.diff(np.sort(np.array(positions, dtype=np.float64) @ np.cross(*axes)))
    mean = float(steps.mean())
    return mean if mean > 0 and bool((np.abs(steps - mean) <= _UNEVEN * mean).all()) else None


def without_pixels(source: Dataset) -> Dataset:
    """Return an object's elements but its pixels, which it keeps."""
    from pydicom import Dataset as NewDataset

    return NewDataset({tag: source[tag] for tag in source.keys() if tag not in PIXELS})  # noqa: SIM118


def _say_once(header: Dataset) -> None:
    """Puts what all frames say alike where it is said for all of them: highdicom 0.28 looks for it there alone.

    Either place is right (PS3.3 C.7.6.16), and there are scanners that write everything frame by frame.
    """
    from pydicom import Dataset as NewDataset

    frames = list(header.get(_EACH) or ())
    if not frames:
        return
    alike = {key for key in _EITHER_PLACE if key in frames[0] and all(f.get(key) == frames[0].get(key) for f in frames)}
    said = [element for group in header.get(_SHARED) or () for element in group] + [frames[0][key] for key in alike]
    shared = deepcopy(NewDataset({element.tag: element for element in said}))  # to which highdicom adds a distance
    rest = [NewDataset({e.tag: e for e in frame if e.keyword not in alike}) for frame in frames]
    for key, groups in ((_SHARED, [shared]), (_EACH, rest)):
        header.pop(key, None)  # it is the source's element: another value for it would be the source's too
        setattr(header, key, groups)


def _header(source: Dataset, placed: bool) -> Dataset:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    header = without_pixels(source)
    _say_once(header)
    for tag in [element.tag for element in header if element.is_empty and element.VR != "SQ"]:
        del header[tag]  # it says as much as one that is absent, and highdicom takes it for a value
    if not placed:  # half a place is none, and highdicom takes it for a whole one
        header.pop("ImagePositionPatient", None)
        header.pop("ImageOrientationPatient", None)
    elif "ImagePositionPatient" in header and "SliceThickness" not in header:
        header.SliceThickness = None  # of type 2 (PS3.3 C.7.6.2): highdicom writes objects without it
    for key in _MAY_BE_EMPTY:
        if key not in header:
            setattr(header, key, "")
    meta = getattr(source, "file_meta", None)
    if meta is None or "TransferSyntaxUID" not in meta:
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta = meta
    return header
