"""Compressed frames without what decoders skip: comments and application data of JPEG, JPEG-LS and JPEG 2000."""

from __future__ import annotations

import re
import struct

_JPEG_SIZES = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})  # SOF0 to SOF15, and of JPEG-LS
_JPEG_KEPT = _JPEG_SIZES | {0xC4, 0xCC, 0xDB, 0xDC, 0xDD, 0xDE, 0xDF, 0xF8}  # tables, restart interval, hierarchy
_APP0, _APP8, _APP14, _SOS, _EOI, _LS = 0xE0, 0xE8, 0xEE, 0xDA, 0xD9, 0xF7
_SCAN_ENDS = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # after a scan: not stuffing, restart or fill (ISO 10918-1 B.1.1)
_LS_SCAN_ENDS = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")  # JPEG-LS stuffs a bit (ISO 14495-1 9.1)

_J2K_START = b"\xff\x4f\xff\x51"
_J2K_KEPT = frozenset({0x50, 0x51, 0x52, 0x53, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5C, 0x5D, 0x5E, 0x5F, 0x60, 0x61, 0x63})
_COM, _SOT, _SOD = 0x64, 0x90, 0x93
_J2K_END = b"\xff\xd9"


def without_comments(frame: bytes, bits: int) -> bytes | None:
    """Return a compressed frame with nothing in it but the picture; None where that cannot be told.

    What decoders need stays byte for byte: of application data the marks of JFIF, Adobe and of the colour transform of
    JPEG-LS, which say what the colours are. What stands behind the end of the picture goes.

    Args:
        frame: a codestream of JPEG (ISO/IEC 10918-1), JPEG-LS (14495-1) or JPEG 2000 (15444-1, 15444-15).
        bits: how many of a sample are the picture's; with more in the codestream the others could hold anything.
    """
    try:
        if frame[:4] == _J2K_START:
            return _jpeg_2000(frame, bits)
        return _jpeg(frame, bits) if frame[:2] == b"\xff\xd8" else None
    except (IndexError, struct.error):  # cut off
        return None


def _jpeg(frame: bytes, bits: int) -> bytes | None:
    kept, at, ends = [frame[:2]], 2, _SCAN_ENDS
    while True:
        if frame[at] != 0xFF:
            return None
        marker = frame[at + 1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        if marker == _EOI:
            return b"".join([*kept, frame[at : at + 2]])
        end = at + 2 + struct.unpack_from(">H", frame, at + 2)[0]
        segment = frame[at:end]
        if marker in _JPEG_SIZES and segment[4] > bits:
            return None
        if marker == _LS:
            ends = _LS_SCAN_ENDS
        if marker == _SOS:
            found = ends.search(frame, end)
            if found is None:
                return None
            kept.append(frame[at : found.start()])
            end = found.start()
        elif marker in _JPEG_KEPT or _says_colours(marker, segment[4:]):
            kept.append(segment)
        elif not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            return None
        at = end


def _says_colours(marker: int, content: bytes) -> bool:
    return (
        (marker == _APP0 and content[:5] == b"JFIF\0" and content[12:] == b"\0\0")  # no thumbnail
        or (marker == _APP14 and content[:5] == b"Adobe" and len(content) == 12)
        or (marker == _APP8 and content[:4] == b"mrfx" and len(content) == 5)
    )


def _jpeg_2000(frame: bytes, bits: int) -> bytes | None:
    components = struct.unpack_from(">H", frame, 40)[0]
    if any((frame[42 + 3 * n] & 0x7F) + 1 > bits for n in range(components)):
        return None
    kept, at = [frame[:2]], 2
    while frame[at + 1] != _SOT:
        end = at + 2 + struct.unpack_from(">H", frame, at + 2)[0]
        if frame[at] != 0xFF or not (frame[at + 1] in _J2K_KEPT or frame[at + 1] == _COM):
            return None
        if frame[at + 1] != _COM:
            kept.append(frame[at:end])
        at = end
    while frame[at : at + 2] != _J2K_END:
        end = _end_of_tile_part(frame, at)
        if end is None:
            return None
        kept.append(frame[at:end])
        at = end
    return b"".join([*kept, _J2K_END])


def _end_of_tile_part(frame: bytes, start: int) -> int | None:
    """Where it ends; None if there is a comment in its header, whose length stands elsewhere too, or no tile-part."""
    if frame[start : start + 2] != bytes((0xFF, _SOT)):
        return None
    length, at = struct.unpack_from(">I", frame, start + 6)[0], start + 12
    while frame[at + 1] != _SOD:
        if frame[at] != 0xFF or frame[at + 1] not in _J2K_KEPT:
            return None
        at += 2 + struct.unpack_from(">H", frame, at + 2)[0]
    end = start + length if length else frame.find(_J2K_END, at)  # 0: up to the end of the codestream
    return end if at < end <= len(frame) else None
