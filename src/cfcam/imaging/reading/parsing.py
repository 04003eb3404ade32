"""pydicom's parser, which allocates what a file claims: it is given no more than there is.

A length of four bytes may claim 4 GB, and a reader of files makes room for them before it looks. A file that is
deflated as a whole becomes a thousand times as large, all at once.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, BytesIO, FileIO
from pathlib import Path
from typing import Any, BinaryIO, Final

from cfcam.errors import ImageError, MissingExtraError

LARGEST: Final = 2**29
"""Bytes that a deflated file may become."""

_DEFLATED: Final = b"1.2.840.10008.1.2.1.99"  # PS3.5 A.5
_META: Final = 2**16
_PIECE: Final = 2**18
_LONG: Final = (b"OB", b"OW", b"UN", b"UT", b"SQ", b"OF", b"UC", b"UR")


def parse(source: bytes | Path, where: str = "the DICOM file", **options: Any) -> Any:
    """Returns the dataset of a file, by force: old files have no mark at their beginning.

    Args:
        source: its bytes or its path.
        where: the file, for messages.
        **options: of ``pydicom.dcmread``.

    Raises:
        ImageError: it is deflated, and would become larger than `LARGEST`.
        MissingExtraError: pydicom is not installed.
        Exception: whatever pydicom raises; see `cfcam.imaging.reading.dicom_object.broken`.
    """
    try:
        from pydicom import dcmread
    except ModuleNotFoundError as error:
        raise MissingExtraError("pydicom", "dicom", "reading DICOM") from error
    with opened(source, where) as stream:
        return dcmread(stream, force=True, **options)


@contextmanager
def opened(source: bytes | Path, where: str = "the DICOM file") -> Iterator[BinaryIO]:
    """Yields a DICOM file to be parsed, at its beginning; see `parse`."""
    with BytesIO(source) if isinstance(source, bytes) else _File(FileIO(source)) as stream:
        _check_deflated(stream, where)
        stream.seek(0)
        yield stream


class _File(BufferedReader):
    """A file that makes no room for more than it has."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _META:
            size = min(size, max(0, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


def _check_deflated(stream: BinaryIO, where: str) -> None:
    start = _beginning(stream.read(_META))
    if start is None:
        return
    stream.seek(start)
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while not inflater.eof and (piece := inflater.unconsumed_tail or stream.read(_PIECE)):
        try:
            size += len(inflater.decompress(piece, _PIECE))
        except zlib.error:
            return  # the parser says so
        if size > LARGEST:
            raise ImageError(
                f"{where}: is deflated, and would become more than {LARGEST >> 20} MiB; save it as Explicit VR Little"
                " Endian"
            )


def _beginning(head: bytes) -> int | None:
    """Where the deflated part of a file begins, behind its group of meta elements (PS3.10 7.1); None without one."""
    if head[128:132] != b"DICM" or _DEFLATED not in head:
        return None
    at, deflated = 132, False
    while at + 12 <= len(head) and head[at : at + 2] == b"\x02\x00":
        if head[at + 4 : at + 6] in _LONG:
            first, (length,) = at + 12, struct.unpack_from("<I", head, at + 8)
        else:
            first, (length,) = at + 8, struct.unpack_from("<H", head, at + 6)
        if head[at + 2 : at + 4] == b"\x10\x00":
            deflated = head[first : first + length].rstrip(b"\0 ") == _DEFLATED
        at = first + length
    return at if deflated else None
