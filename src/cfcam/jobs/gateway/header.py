"""What a gateway has to know of an object: who it is, what rules look at, and whether cfcam made it."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from cfcam.errors import ImageError
from cfcam.imaging.reading.dicom_object import broken, complete_meta, group, numbers, plane_axes, quiet
from cfcam.imaging.reading.parsing import opened

TAGS = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID", "Modality", "Manufacturer",
    "ManufacturerModelName", "BodyPartExamined", "SeriesDescription", "ViewPosition", "ImageType", "SliceThickness",
    "ImageOrientationPatient", "Rows", "Columns", "NumberOfFrames", "NumberOfSeriesRelatedInstances",
    "ImagesInAcquisition", "SpecificCharacterSet", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
"""All that is ever parsed of an object before its turn; of these the identity of the patient is kept as a hash."""

_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_STEEP = 0.9  # cosine of the angle between the normal of a plane and an axis, above which it is that axis's plane
_NAMES = ("sagittal", "coronal", "axial")  # by the axis (LPS) that the normal lies along
_LONGEST = 256  # characters of a text that are kept
_LONGEST_UID = 64  # PS3.5 9.1
_MANY = 1_000_000
_MOST_PARSED = 4 << 20  # bytes of a header that are parsed: sequences take 40 times as many of memory
_MOST_BEFORE_PIXELS = 64 << 20  # bytes, what is skipped counted; and of what a deflated object becomes


@dataclass(frozen=True)
class Header:
    """An object without its pixels.

    Attributes:
        uid: its SOP Instance UID.
        sop_class: UID of its class.
        study: UID of its study.
        series: UID of its series.
        patient: SHA-256 of the patient's id.
        modality: as it says.
        body_part: likewise.
        description: of its series.
        view: its view position.
        image_type: its values.
        plane: "axial", "coronal", "sagittal", "oblique"; "" without a place in the patient's space.
        thickness: of its slices, mm; None: not said.
        rows: of its picture; 0: it has none.
        columns: likewise.
        frames: of it, 1 or more.
        expected: how many objects its series or acquisition says it has; 0: not said.
        ours: whether cfcam made it, here or elsewhere.
    """

    uid: str
    sop_class: str
    study: str
    series: str
    patient: str
    modality: str = ""
    body_part: str = ""
    description: str = ""
    view: str = ""
    image_type: tuple[str, ...] = ()
    plane: str = ""
    thickness: float | None = None
    rows: int = 0
    columns: int = 0
    frames: int = 1
    expected: int = 0
    ours: bool = False

    @classmethod
    def of_file(cls, path: Path, where: str) -> Header:
        """Reads the header of a file.

        Args:
            path: the file.
            where: what messages call it.

        Raises:
            ImageError: it is broken or boundless, or lacks the UIDs without which nothing can be done with it.
        """
        from pydicom import dcmread

        with quiet(), broken(where, "the DICOM object is broken or cut off"), opened(path, where) as file:
            source: Any = _Bounded(file)
            try:
                dataset: Any = dcmread(source, stop_before_pixels=True, force=True, specific_tags=list(TAGS))
                complete_meta(dataset)
                found = cls.of(dataset, where)
                boundless = bool(found.rows) and file.tell() > _MOST_BEFORE_PIXELS
            except Exception:
                if not source.boundless:
                    raise
                boundless = True
        if boundless:
            raise ImageError(f"{where}: its header is larger than may be; send it without private elements")
        return found

    @classmethod
    def of(cls, dataset: Any, where: str) -> Header:
        """Takes what is needed from a dataset.

        Raises:
            ImageError: it lacks one of the UIDs.
        """
        uids = [str(dataset.get(keyword) or "").strip() for keyword in _NEEDED]
        missing = [name for name, uid in zip(_NEEDED, uids, strict=True) if not uid or len(uid) > _LONGEST_UID]
        if missing:
            raise ImageError(f"{where}: has no {', '.join(missing)}; export it again")
        sop_class, uid, study, series = uids
        thickness = numbers(group(dataset, 0, "PixelMeasuresSequence").get("SliceThickness"))
        made_by = {_text(dataset, "Manufacturer").casefold(), _text(dataset, "ManufacturerModelName").casefold()}
        return cls(
            uid=uid,
            sop_class=sop_class,
            study=study,
            series=series,
            patient=hashlib.sha256(_text(dataset, "PatientID").encode()).hexdigest(),
            modality=_text(dataset, "Modality"),
            body_part=_text(dataset, "BodyPartExamined"),
            description=_text(dataset, "SeriesDescription"),
            view=_text(dataset, "ViewPosition"),
            image_type=_texts(dataset.get("ImageType")),
            plane=_plane(group(dataset, 0, "PlaneOrientationSequence").get("ImageOrientationPatient")),
            thickness=thickness[0] if thickness else None,
            rows=_number(dataset, "Rows"),
            columns=_number(dataset, "Columns"),
            frames=max(1, _number(dataset, "NumberOfFrames")),
            expected=_number(dataset, "NumberOfSeriesRelatedInstances") or _number(dataset, "ImagesInAcquisition"),
            ours="cfcam" in made_by,
        )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Header:
        """Makes a header of what `as_dict` returned."""
        return cls(**{**values, "image_type": tuple(values["image_type"])})

    def as_dict(self) -> dict[str, Any]:
        """Returns it as plain values."""
        return asdict(self)

    @cached_property
    def key(self) -> str:
        """A neutral name of the object."""
        return key_of(self.uid)

    @cached_property
    def series_key(self) -> str:
        """A neutral name of its series."""
        return key_of(self.series)


class _Bounded:
    """A file of which pydicom reads so much and no more; what it skips does not count.

    Attributes:
        boundless: whether it asked for more.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._left, self.boundless = file, _MOST_PARSED, False
        self.seek, self.tell = file.seek, file.tell

    def read(self, count: int = -1) -> bytes:
        if count < 0:
            return self._deflated()
        self._left -= count
        if self._left < 0:
            self._stop()
        return self._file.read(count)

    def _deflated(self) -> bytes:
        """The rest of the file, which pydicom reads and inflates at once only where it is deflated."""
        data = self._file.read(_MOST_BEFORE_PIXELS)
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, _MOST_BEFORE_PIXELS)
        if max(len(data), len(inflated)) == _MOST_BEFORE_PIXELS:
            self._stop()
        return data

    def _stop(self) -> NoReturn:
        self.boundless = True
        raise ValueError("more than may be")


def key_of(*texts: str) -> str:
    """Returns a neutral name that belongs to UIDs: 32 hexadecimal digits of their SHA-256."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:32]


def _text(dataset: Any, keyword: str) -> str:
    value = dataset.get(keyword)
    return str(value).strip()[:_LONGEST] if value else ""


def _texts(value: Any) -> tuple[str, ...]:
    if not value:
        return ()
    return tuple(str(one)[:_LONGEST] for one in ([value] if isinstance(value, str) else list(value)[:16]))


def _number(dataset: Any, keyword: str) -> int:
    """A whole number of 0 or more; 0 for what is none."""
    found = numbers(dataset.get(keyword))
    return int(found[0]) if found and 0 < found[0] < _MANY else 0


def _plane(orientation: Any) -> str:
    axes = plane_axes(orientation)
    if axes is None:
        return ""
    normal = np.abs(np.cross(*axes))
    axis = int(np.argmax(normal))
    return _NAMES[axis] if normal[axis] >= _STEEP else "oblique"
