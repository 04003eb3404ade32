"""Which DICOM slices belong together: the series of a folder or of a multi-frame object, by their headers."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfcam.errors import ImageError, InputError
from cfcam.imaging.reading.dicom_object import HEAD, broken, extent, group, numbers, parsed, plane_axes
from cfcam.imaging.reading.files import DICOM_EXTENSIONS, shown_path
from cfcam.imaging.reading.kinds import is_dicom_file, other_kind
from cfcam.imaging.reading.listing import EXTENSIONS

_MODALITIES = frozenset({"CT", "MR", "PT", "NM", "US", "XA", "CR", "DX", "MG", "OT", "SEG", "RTDOSE", "OPT"})
_PICTURES = frozenset(EXTENSIONS) - frozenset(DICOM_EXTENSIONS)
_SAME_DIRECTION = 2e-3  # per component; headers round to six digits
_SAME_SPACING = 1e-3  # relative


@dataclass(frozen=True)
class Plane:
    """One slice with its place.

    Attributes:
        path: the file.
        frame: index of the frame in it, from 0; None in a single-frame object.
        position: centre of its first pixel, mm, LPS.
        axes: unit vectors (LPS) in which columns and rows count.
        spacing: between rows and between columns, mm.
        thickness: distance to the next slice as the header has it, mm.
        size: rows and columns.
        sop_class_uid: kind of object.
        sop_instance_uid: identity of the object.
    """

    path: Path = field(repr=False)
    frame: int | None
    position: NDArray[np.float64]
    axes: tuple[NDArray[np.float64], NDArray[np.float64]]
    spacing: tuple[float, float]
    thickness: float | None
    size: tuple[int, int]
    sop_class_uid: str = field(repr=False)
    sop_instance_uid: str = field(repr=False)

    def beside(self, other: Plane) -> bool:
        """Whether two slices could be of one grid: same size, spacing and directions."""
        near = all(np.abs(a - b).max() <= _SAME_DIRECTION for a, b in zip(self.axes, other.axes, strict=True))
        return near and self.size == other.size and np.allclose(self.spacing, other.spacing, rtol=_SAME_SPACING, atol=0)


@dataclass(frozen=True)
class Series:
    """Slices of one series that share size, spacing, orientation and frame of reference; a scout makes a second one.

    Attributes:
        uid: the DICOM series.
        series_number: of the header, if it has one.
        modality: such as "CT"; "other" for what is not usual.
        frame_of_reference_uid: the DICOM frame of reference.
        planes: the slices, in no particular order.
    """

    uid: str = field(repr=False)
    series_number: float
    modality: str
    frame_of_reference_uid: str | None = field(repr=False)
    planes: tuple[Plane, ...] = ()

    def same(self, other: Series) -> bool:
        """Whether two headers name one series and one frame of reference."""
        return (self.uid, self.frame_of_reference_uid) == (other.uid, other.frame_of_reference_uid)

    @property
    def files(self) -> list[Path]:
        """The files of the slices, each once."""
        return list(dict.fromkeys(plane.path for plane in self.planes))

    def __str__(self) -> str:
        rows, columns = self.planes[0].size
        count = len(self.planes)
        return f"{self.modality}, {count} slice{'s' if count > 1 else ''} of {columns} x {rows}"


@dataclass(frozen=True)
class Scan:
    """What a folder holds.

    Attributes:
        series: by number, so that the first is number 1 for a user.
        unplaced: DICOM files that are no slices: pictures without a place, reports, plans.
        faults: why files could not be read.
    """

    series: tuple[Series, ...]
    unplaced: int
    faults: tuple[ImageError, ...]


def scan_folder(folder: str | os.PathLike[str]) -> Scan:
    """Look at the headers of the DICOM files in a folder, not of those in its subfolders.

    Raises:
        ImageError: the folder may not be listed.
        MissingExtraError: there are DICOM files, and pydicom is not installed.
    """
    try:
        names = [name for name in os.listdir(folder) if os.path.splitext(name)[1].lower() not in _PICTURES]  # noqa: PTH122, PTH208 (slow)
        files = sorted(filter(_may_be_dicom, (Path(folder, name) for name in names)))
    except OSError as error:
        raise ImageError(f"{shown_path(folder)}: the folder may not be listed ({error.strerror}); check it") from error
    return scan_files(files)


def scan_files(files: Sequence[Path]) -> Scan:
    """Look at the headers of DICOM files; see `scan_folder`."""
    stacks: list[tuple[Series, list[Plane]]] = []
    unplaced, faults = 0, []
    for file in files:
        try:
            header, planes = _header(file)
        except ImageError as fault:
            faults.append(fault)
            continue
        unplaced += not planes
        for plane in planes:
            stack = next((found for one, found in stacks if one.same(header) and found[0].beside(plane)), None)
            if stack is None:
                stacks.append((header, [plane]))
            else:
                stack.append(plane)
    series = [replace(header, planes=tuple(planes)) for header, planes in stacks]
    series.sort(key=lambda one: (one.series_number, one.uid, one.planes[0].size))
    return Scan(tuple(series), unplaced, tuple(faults))


def has_several_planes(file: Path) -> bool:
    """Whether a file is a multi-frame DICOM object whose frames have places; False for all that cannot be read."""
    if not _may_be_dicom(file):
        return False
    return any(len(one.planes) > 1 for one in scan_files([file]).series)


def no_volume(file: Path) -> ImageError:
    """Why a file is no part of a volume: what is wrong with its header, if it is a slice, else what it is."""
    found = scan_files([file]) if _may_be_dicom(file) else None
    if found is not None and found.faults:
        return found.faults[0]
    placeless = " (it says no position and orientation of its plane)" if found is not None and found.unplaced else ""
    kind = "a picture" if found is not None else _other_kind(file) or "a picture"
    return ImageError(f"{file}: is {kind}, and the network takes volumes: give NIfTI or DICOM series{placeless}")


def _other_kind(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return other_kind(stream.read(HEAD), file.name)
    except OSError:
        return ""


def choose_series(found: Scan, number: int | None, where: str) -> Series:
    """Return the series of a folder that is wanted.

    Args:
        found: what the folder holds.
        number: of the series, from 1; None if there must be one only.
        where: the folder, as it is named in messages.

    Raises:
        ImageError: the folder holds no slices, or several series and no number was given; they are listed.
        InputError: there is no such series.
    """
    if not found.series:
        reason = f"; {found.unplaced} have no place in space" if found.unplaced else ""
        raise ImageError(f"{where}: holds no DICOM slices{reason}; name a folder of CT or MR slices, or a NIfTI file")
    if number is None and len(found.series) > 1:
        listed = "; ".join(f"{n}: {one}" for n, one in enumerate(found.series[:12], start=1))
        more = f"; and {len(found.series) - 12} more" if len(found.series) > 12 else ""
        raise ImageError(
            f"{where}: holds {len(found.series)} series ({listed}{more}); say which with series=N (--series N)"
        )
    if number is not None and number not in range(1, len(found.series) + 1):
        raise InputError(f"{where}: there is no series {number!r}: give 1 to {len(found.series)}")
    return found.series[int(number or 1) - 1]


def _may_be_dicom(path: Path) -> bool:
    suffix = path.suffix.lower()
    if path.name.startswith(".") or path.name == "DICOMDIR" or not path.is_file():
        return False
    if suffix in DICOM_EXTENSIONS:
        return True
    if suffix in EXTENSIONS:
        return False
    try:
        return is_dicom_file(path)
    except OSError:
        return True  # reading it will say what is wrong


def _header(file: Path) -> tuple[Series, list[Plane]]:
    where = shown_path(file)
    with parsed(file, where, pixels=False) as dataset, broken(where, "its header is broken"):
        rows, columns = (int(dataset.get(key) or 0) for key in ("Rows", "Columns"))
        modality = str(dataset.get("Modality") or "")
        series_number = numbers(dataset.get("SeriesNumber"))
        header = Series(
            uid=str(dataset.get("SeriesInstanceUID") or ""),
            series_number=series_number[0] if series_number else math.inf,
            modality=modality if modality in _MODALITIES else "other",
            frame_of_reference_uid=str(dataset.get("FrameOfReferenceUID") or "") or None,
        )
        if rows < 1 or columns < 1:
            if "SOPClassUID" not in dataset:
                raise ImageError(f"{where}: is no DICOM file, or its beginning is damaged; copy or export it again")
            return header, []
        _, _, frames = extent(dataset, where)
        described = len(dataset.get("PerFrameFunctionalGroupsSequence") or ())
        if described not in (0, frames):
            raise ImageError(f"{where}: declares {frames} frames and describes {described}; export it again")
        if frames > 1 and not described:
            return header, []  # a loop
        planes = [_plane(dataset, file, frame, described > 0, (rows, columns), where) for frame in range(frames)]
    return header, [plane for plane in planes if plane is not None]


def _plane(dataset: Any, file: Path, frame: int, several: bool, size: tuple[int, int], where: str) -> Plane | None:
    """The place of a frame; None for one that has none, such as a radiograph."""
    position = group(dataset, frame, "PlanePositionSequence").get("ImagePositionPatient")
    orientation = group(dataset, frame, "PlaneOrientationSequence").get("ImageOrientationPatient")
    if position is None or orientation is None:
        return None
    place, axes = np.array(numbers(position)), plane_axes(orientation)
    if place.shape != (3,) or axes is None:
        raise ImageError(
            f"{where}: its position or orientation is broken (three numbers, and two unit vectors at right angles);"
            " repair the header first"
        )
    measures = group(dataset, frame, "PixelMeasuresSequence")
    spacing = numbers(measures.get("PixelSpacing"))
    if len(spacing) != 2 or min(spacing) <= 0:
        raise ImageError(f"{where}: has no pixel spacing, so that its size in mm is unknown; repair the header first")
    thickness = [numbers(measures.get(key)) for key in ("SpacingBetweenSlices", "SliceThickness")]
    return Plane(
        path=file,
        frame=frame if several else None,
        position=place,
        axes=axes,
        spacing=(spacing[0], spacing[1]),
        thickness=next((abs(found[0]) for found in thickness if found and found[0] != 0), None),
        size=size,
        sop_class_uid=str(dataset.get("SOPClassUID") or ""),
        sop_instance_uid=str(dataset.get("SOPInstanceUID") or ""),
    )
