"""Objects as they are sent: what an association has to know of each, and their bytes as they lie in their files."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from cfcam.errors import ImageError
from cfcam.imaging.reading.dicom_object import broken, complete_meta, quiet
from cfcam.imaging.reading.kinds import is_dicom_file
from cfcam.imaging.reading.parsing import opened, parse

if TYPE_CHECKING:
    from pydicom import Dataset

_IDENTITY = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_PIECE = 1 << 20
_UNDEFINED = 0xFFFFFFFF  # a length that its value tells: items, up to the delimiter of their sequence (PS3.5 A.4)
_ITEM, _LAST_ITEM = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_BROKEN = "the DICOM file is broken or cut off"


@dataclass(frozen=True)
class DicomObject:
    """One object that can be sent.

    Attributes:
        number: its place among those given, from 0.
        path: its file; None: it was given as a dataset.
        dataset: what was given in place of a file.
        sop_class: UID of its class.
        uid: its SOP Instance UID.
        study: UID of its study.
        series: UID of its series.
        syntax: UID of its transfer syntax.
        whole: whether the file is one of PS3.10 as it lies there, with its preamble and its group 2.
        size: bytes of the file; of a dataset 0 until it is encoded.
    """

    number: int
    path: Path | None = field(repr=False)
    dataset: Dataset | None = field(repr=False)
    sop_class: str
    uid: str
    study: str
    series: str
    syntax: str
    whole: bool
    size: int

    @classmethod
    def of(cls, given: Path | Dataset, number: int, count: int) -> DicomObject:
        """Looks at the header of a file or at a dataset.

        Raises:
            ImageError: it is not DICOM, is broken, or has not the UIDs without which nobody can store it. The message
                calls it by its number.
        """
        where = f"object {number + 1} of {count}"
        if not isinstance(given, Path):
            return cls._described(given, None, given, where, number, whole=False, size=0)
        from pydicom import dcmread

        with quiet(), broken(where, _BROKEN):
            if not is_dicom_file(given):
                raise ImageError(f"{where}: is no DICOM file; leave it out")
            size = given.stat().st_size
            with opened(given, where) as file:
                header = dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(_IDENTITY))
                whole = header.preamble is not None and "TransferSyntaxUID" in header.file_meta
                complete_meta(header)
                cut = _is_cut(file, size, header.file_meta.TransferSyntaxUID)
        if cut:
            raise ImageError(f"{where}: the file is cut off; copy or export it again")
        return cls._described(header, given, None, where, number, whole=whole, size=size)

    @classmethod
    def _described(
        cls, header: Any, path: Path | None, dataset: Dataset | None, where: str, number: int, *, whole: bool, size: int
    ) -> DicomObject:
        with quiet(), broken(where, _BROKEN):
            complete_meta(header)
            sop_class, uid, study, series = (str(header.get(keyword) or "").strip() for keyword in _IDENTITY)
            syntax = str(header.file_meta.TransferSyntaxUID)
            told = header.file_meta.get("MediaStorageSOPInstanceUID", uid)
        missing = [name for name, value in zip(_IDENTITY, (sop_class, uid, study, series), strict=True) if not value]
        if missing:
            raise ImageError(f"{where}: has no {', '.join(missing)}, by which an archive knows it; export it again")
        if whole and str(told) != uid:
            raise ImageError(f"{where}: its header names another SOP Instance UID than its data; export it again")
        return cls(number, path, dataset, sop_class, uid, study, series, syntax, whole, size)

    def read(self) -> Dataset:
        """Returns the whole object as a dataset.

        Raises:
            ImageError: the file cannot be read any more.
        """
        if self.dataset is not None:
            return self.dataset
        assert self.path is not None  # noqa: S101 (one of the two is given)
        with quiet(), broken(f"object {self.number + 1}", _BROKEN):
            dataset = parse(self.path)
            complete_meta(dataset)
        return dataset

    def pieces(self) -> tuple[int, Iterator[bytes]]:
        """Returns how many bytes the object has as a file of PS3.10, and these bytes piece by piece.

        Raises:
            ImageError: the file cannot be read any more, or the dataset cannot be encoded.
        """
        if self.whole and self.path is not None:
            return self.path.stat().st_size, _read(self.path)
        stream, dataset = BytesIO(), self.read()
        with quiet(), broken(f"object {self.number + 1}", "an element of it cannot be encoded"):
            dataset.save_as(stream, enforce_file_format=True)
        data = stream.getvalue()
        return len(data), iter([data])


def _is_cut(file: BinaryIO, size: int, syntax: Any) -> bool:
    """Whether a file ends before its pixels do, at which it stands; nothing else in it is as long.

    Args:
        file: read up to its pixels, or to its end.
        size: its bytes.
        syntax: its transfer syntax, a UID of pydicom's.
    """
    if not syntax.is_transfer_syntax or syntax.is_deflated:  # nobody knows where one ends; the other was decoded
        return False
    place = file.tell()
    if place >= size:
        return place > size  # an element says that it is longer than the file
    order = "<" if syntax.is_little_endian else ">"
    head = file.read(8 if syntax.is_implicit_VR else 12)
    if len(head) < (8 if syntax.is_implicit_VR else 12):
        return True
    (length,) = struct.unpack(f"{order}I", head[-4:])
    if length != _UNDEFINED:
        return file.tell() + int(length) > size
    while len(item := file.read(8)) == 8:
        tag, length = struct.unpack("<4sI", item)
        if tag == _LAST_ITEM:
            return False
        if tag != _ITEM:
            break
        file.seek(length, 1)
    return True


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece
