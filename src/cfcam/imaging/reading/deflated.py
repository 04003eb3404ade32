"""DICOM files that are deflated as a whole: how large they become is asked before a parser makes them so."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Final

from cfcam.errors import ImageError

LARGEST: Final = 2**29
"""Bytes that a deflated file may become: pydicom makes them all at once, and deflate makes 1000 of one."""

_DEFLATED: Final = b"1.2.840.10008.1.2.1.99"  # PS3.5 A.5
_META: Final = 2**16
_PIECE: Final = 2**18
_LONG: Final = (b"OB", b"OW", b"UN", b"UT", b"SQ", b"OF", b"UC", b"UR")


def bounded(source: bytes | Path, where: str = "the DICOM file") -> bytes | Path:
    """Returns a DICOM file as it was given, if what it holds is not deflated to more than `LARGEST` bytes.

    Args:
        source: its bytes or its path.
        where: the file, for messages.

    Raises:
        ImageError: it would become larger.
        OSError: it cannot be read.
    """
    with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as stream:
        start = _beginning(stream.read(_META))
        if start is None:
            return source
        stream.seek(start)
        inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while not inflater.eof and (piece := inflater.unconsumed_tail or stream.read(_PIECE)):
            try:
                size += len(inflater.decompress(piece, _PIECE))
            except zlib.error:
                break  # the parser says so
            if size > LARGEST:
                raise ImageError(
                    f"{where}: is deflated, and would become more than {LARGEST >> 20} MiB; save it as Explicit VR"
                    " Little Endian"
                )
    return source


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
