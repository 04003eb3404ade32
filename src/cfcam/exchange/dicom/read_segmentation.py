"""DICOM Segmentations as masks: organs, devices and findings that another system has outlined."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfcam.clinical.checks.masks import OUTSIDE, fitted, laid_over
from cfcam.errors import InputError, MissingExtraError
from cfcam.imaging.geometry import Affine
from cfcam.imaging.image import Image
from cfcam.imaging.reading.dicom_object import broken, group, numbers, quiet
from cfcam.imaging.reading.kinds import is_dicom_file
from cfcam.imaging.reading.parsing import parse
from cfcam.imaging.reading.series import scan_files
from cfcam.imaging.reading.stacking import with_gaps
from cfcam.imaging.volume import Volume

_STORAGE = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # Segmentation, Label Map Segmentation
_IDENTITY = ["SOPClassUID", "SOPInstanceUID", "FrameOfReferenceUID", "PatientOrientation"]
_HALF = 0.5  # from which fraction on a position of a FRACTIONAL Segmentation is marked


def is_segmentation(path: str | os.PathLike[str]) -> bool:
    """Tells whether a file is a DICOM Segmentation (PS3.3 A.51); False for what is no DICOM."""
    return str(_header(Path(path)).get("SOPClassUID", "")) in _STORAGE


def read_segmentation(
    path: str | os.PathLike[str], image: Image | Volume, *, segments: Sequence[int] | None = None
) -> tuple[Tensor, tuple[str, ...]]:
    """Reads a DICOM Segmentation and brings it onto the grid of the image it belongs to, by nearest neighbours.

    One with a place in space is laid over the image by that place; its frame of reference has to be the image's. One of
    a radiograph, which has no place, has to refer to the very picture. Of a FRACTIONAL one, what is at least one half
    is marked.

    Args:
        path: the file.
        image: what it belongs to; of a `Volume` or an `Image` that is no DICOM the frame of reference is not known,
            and a notice says so.
        segments: numbers of segments, from 1; None: all, with a notice if there are several.

    Returns:
        (*spatial) bool, and a line for each thing that a user should know, as `cfcam.clinical.checks.masks.read_mask`.

    Raises:
        InputError: another frame of reference, orientation, size or picture, or there is no such segment.
        ImageError: the file is broken.
        MissingExtraError: highdicom is not installed.
    """
    name = Path(path).name
    try:
        from highdicom.seg import segread
    except ModuleNotFoundError as error:
        raise MissingExtraError("highdicom", "dicom", "reading a DICOM Segmentation") from error
    with quiet(), broken(name, "the DICOM Segmentation is broken or of a kind that cannot be read"):
        stored = segread(os.fspath(path))
        chosen, notices = _chosen(stored, segments, name)
        if _has_place(stored):
            marked, more = _by_place(stored, chosen, image, Path(path))
        else:
            marked, more = _by_picture(stored, chosen, image, name)
    notices += more
    if not marked.any() and not any(OUTSIDE in notice for notice in notices):
        notices.append(f"the mask {name} is empty")
    return torch.from_numpy(np.ascontiguousarray(marked)), tuple(notices)


def _chosen(stored: Any, segments: Sequence[int] | None, name: str) -> tuple[list[int], list[str]]:
    known = [int(number) for number in stored.segment_numbers]
    if segments is None:
        several = f"the mask {name} holds {len(known)} segments: all are taken; pick some as {name}#1,2"
        return known, [several] if len(known) > 1 else []
    unknown = [number for number in segments if number not in known]
    if unknown:
        raise InputError(f"the mask {name} has no segment {unknown[0]}: it has {', '.join(map(str, known))}")
    return list(segments), []


def _has_place(stored: Any) -> bool:
    frames = stored.get("PerFrameFunctionalGroupsSequence") or ()
    return bool(stored.get("FrameOfReferenceUID")) and any("PlanePositionSequence" in frame for frame in frames)


def _by_place(
    stored: Any, segments: list[int], image: Image | Volume, path: Path
) -> tuple[NDArray[np.bool_], list[str]]:
    name = path.name
    if isinstance(image, Image) and image.affine is None:
        raise InputError(f"the mask {name} has a place in space and the picture has none: give a mask of the picture")
    own, other = _frame_of_reference(image), str(stored.FrameOfReferenceUID)
    if own is not None and own != other:
        raise InputError(
            f"the mask {name} is in another frame of reference than the image: it is of another examination, or was"
            " registered to one; give one made on this image"
        )
    moved, notices = laid_over(*_planes_by_place(stored, segments, path), image, name)
    if own is None:
        notices.append(f"the mask {name}: that it is in the image's frame of reference cannot be checked")
    return moved, notices


def _planes_by_place(stored: Any, segments: list[int], path: Path) -> tuple[NDArray[np.bool_], Affine]:
    """The positions (D, H, W) that one of the segments marks, and where they lie, RAS+."""
    found = scan_files([path])
    if found.faults:
        raise found.faults[0]
    if len(found.series) != 1:
        raise InputError(
            f"the mask {path.name} has planes in {len(found.series)} directions or sizes: give one of each"
        )
    normal = np.cross(*found.series[0].planes[0].axes)
    planes = sorted(found.series[0].planes, key=lambda plane: float(plane.position @ normal))
    spacing = numbers(group(stored, 0, "PixelMeasuresSequence").get("SpacingBetweenSlices"))
    index, affine = with_gaps(planes, spacing[0] if spacing else None, path.name)
    marked = np.zeros((int(index[-1]) + 1, *planes[0].size), dtype=bool)
    for plane, at in zip(planes, index, strict=True):
        frame = plane.frame or 0
        number = group(stored, frame, "SegmentIdentificationSequence").get("ReferencedSegmentNumber")
        if number is None or int(number) in segments:
            marked[at] |= _marks(stored, stored.get_stored_frame(frame, as_index=True), segments)
    return marked, affine


def _marks(stored: Any, values: NDArray[Any], segments: list[int]) -> NDArray[np.bool_]:
    """What stored values mark: of a label map those that are one of the segments."""
    kind = str(stored.SegmentationType)
    if kind == "LABELMAP":
        return np.isin(values, segments)
    return np.asarray(values >= (_HALF * int(stored.MaximumFractionalValue) if kind == "FRACTIONAL" else 1))


def _by_picture(
    stored: Any, segments: list[int], image: Image | Volume, name: str
) -> tuple[NDArray[np.bool_], list[str]]:
    if isinstance(image, Volume):
        raise InputError(f"the mask {name} has no place in space, as that of a radiograph: give one of the volume")
    sources = [str(uids[2]) for uids in stored.get_source_image_uids()]
    header = _header(image.path) if image.path is not None else {}
    own, notices = header.get("SOPInstanceUID"), []
    if own is None:
        notices.append(f"the mask {name}: that it was made on this picture cannot be checked, for it is no DICOM")
        if len(sources) != 1:
            raise InputError(
                f"the mask {name} is of {len(sources)} pictures, and this one is no DICOM: which is not known"
            )
        own = sources[0]
    if str(own) not in sources:
        raise InputError(f"the mask {name} was made on another picture: give the one that refers to this")
    ways = [list(item.get("PatientOrientation") or []) for item in (header, stored)]
    if all(ways) and ways[0] != ways[1]:
        raise InputError(
            f"the mask {name} has the patient's orientation {'/'.join(ways[1])} and the picture {'/'.join(ways[0])}:"
            " one of them was turned or mirrored; export both again"
        )
    planes = stored.get_pixels_by_source_instance(
        [str(own)],
        segment_numbers=segments,
        ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
        skip_overlap_checks=True,
    )
    marked, more = fitted(_in_any(np.asarray(planes))[0], image, name)
    return marked, notices + more


def _in_any(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Positions (*spatial) that one of the segments (*spatial, S) marks."""
    return np.asarray(np.any(values >= _HALF if values.dtype.kind == "f" else values > 0, axis=-1))


def _frame_of_reference(image: Image | Volume) -> str | None:
    if isinstance(image, Volume):
        return image.source.frame_of_reference_uid
    found = _header(image.path).get("FrameOfReferenceUID") if image.path is not None else None
    return str(found) if found else None


def _header(path: Path) -> Any:
    """The identity of a DICOM file; empty for a file that is none."""
    try:
        if not is_dicom_file(path):
            return {}
        with quiet(), broken(path.name, "the DICOM file is broken or cut off"):
            return parse(path, path.name, specific_tags=_IDENTITY, stop_before_pixels=True)
    except (OSError, MissingExtraError):
        return {}
