"""Pictures as PNG files: written whole or not at all, and with nothing in them but pixels."""

from __future__ import annotations

import os
import struct
import zlib
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from cfcam.errors import ImageError, InputError
from cfcam.files import write_whole, writing

# Encoding is the dearest step of a folder run after the network, and Pillow spends most of it on trying five filters a
# row. Here the picture decides between two. Drawings (flat areas) take the difference to the row above. Photographs
# take that to the mean of the neighbours and, without isal, Huffman codes alone, since matches are rare. CPU time of an
# overlay of 512 x 512: 6.6 ms (7 % more bytes), with isal 3.4 ms, with Pillow at its level 1 17 ms.
# imagecodecs 2026.3.6, a dependency of 80 MB, takes 0.8 to 0.9 x the time without isal, 1.9 to 3 x that with it.
PNG_COMPRESS_LEVEL = 1
# At its levels 1 and 2 isal 1.9.1 packs the same data otherwise once in ten thousand times, by where in memory it works
# (findings/isal-bytes-by-address.sh); at level 3 it does not. An overlay of 512 x 512 takes 1.8 ms there in place of
# 1.4 ms (with zlib 6.6 ms), and 5 to 13 % more bytes.
ISAL_LEVEL = 3
# Share of zeros after filtering: photographs and ultrasound have 0.1 to 0.2, sheets 0.4 to 0.9.
_DRAWING = 0.35
_UP, _AVERAGE = 2, 3  # filter types, PNG (ISO/IEC 15948) section 9.2
_AT_ONCE = 1 << 22  # bytes that are packed at a time
_ROWS_AT_ONCE = 64  # so that what is worked on stays in the processor's cache


def save_image(array: NDArray[np.uint8] | NDArray[np.uint16], path: str | os.PathLike[str]) -> Path:
    """Write a picture as PNG: whole or not at all, and with nothing in it but pixels.

    The file is written under a temporary name in the same folder and then renamed. It carries no text, time,
    EXIF or colour profile. The same array gives the same bytes, as long as the zlib library stays the same;
    where the package isal is installed, it packs instead, in a third of the time.

    Args:
        array: uint8 `(H, W)` grey or `(H, W, 3)` RGB, or uint16 `(H, W)` grey.
        path: the file, ending in .png; an existing one is replaced.

    Returns:
        The path.

    Raises:
        InputError: an array of another kind, or a path that does not end in .png.
        ImageError: the file cannot be written.
    """
    target = Path(path)
    grey16 = array.ndim == 2 and array.dtype == np.uint16
    grey_or_rgb = array.dtype == np.uint8 and (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3))
    if not (grey16 or grey_or_rgb) or 0 in array.shape:
        raise InputError(
            f"array of shape {array.shape} and type {array.dtype}: a picture is uint8 (H, W) or (H, W, "
            "3), or uint16 (H, W)"
        )
    if target.suffix.lower() != ".png":
        raise InputError(f"{target}: pictures are written as PNG, without loss; let the name end in .png")
    with writing(str(target), ImageError):
        return write_whole(target, png_bytes(array))


def png_bytes(array: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """Returns a picture of a kind that `save_image` takes as the bytes of a PNG file: ISO/IEC 15948, 5 and 9 to 11."""
    height, width = array.shape[:2]
    pixels = np.ascontiguousarray(array.astype(">u2") if array.dtype == np.uint16 else array)
    step = pixels[0, 0].nbytes
    rows = pixels.view(np.uint8).reshape(height, -1)
    filtered = _filtered(rows, step, _UP)
    drawing = bool(np.count_nonzero(filtered) <= (1 - _DRAWING) * filtered.size)
    if not drawing:  # into the same memory: a large picture is as large as it once more
        _filtered(rows, step, _AVERAGE, filtered)
    packed = _deflated(filtered, drawing=drawing)
    del filtered
    colour_type = 2 if array.ndim == 3 else 0
    header = struct.pack(">IIBBBBB", width, height, 8 * array.itemsize, colour_type, 0, 0, 0)
    return b"".join([b"\x89PNG\r\n\x1a\n", *_chunk(b"IHDR", header), *_chunk(b"IDAT", packed), *_chunk(b"IEND", b"")])


def _filtered(rows: NDArray[np.uint8], step: int, kind: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Returns rows (H, W x step) as differences modulo 256, each behind its filter's number; in ``out``, if given."""
    filtered = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8) if out is None else out
    filtered[:, 0] = kind
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        here = rows[start : start + _ROWS_AT_ONCE]
        above = np.zeros_like(here)
        above[1:] = here[:-1]
        if start:
            above[0] = rows[start - 1]
        if kind == _AVERAGE:
            left = np.zeros_like(here)
            left[:, step:] = here[:, :-step]
            above = (above & left) + ((above ^ left) >> 1)  # the mean, rounded down, without a ninth bit
        np.subtract(here, above, out=filtered[start : start + len(here), 1:])
    return filtered


def _deflated(filtered: NDArray[np.uint8], *, drawing: bool) -> bytes:
    if (isal := _isal()) is not None:
        return cast("bytes", isal.compress(filtered.data, ISAL_LEVEL))
    strategy = zlib.Z_DEFAULT_STRATEGY if drawing else zlib.Z_HUFFMAN_ONLY
    packer = zlib.compressobj(PNG_COMPRESS_LEVEL, strategy=strategy)
    flat = filtered.reshape(-1)
    parts = [packer.compress(flat[start : start + _AT_ONCE].data) for start in range(0, len(flat), _AT_ONCE)]
    return b"".join([*parts, packer.flush()])


@cache
def _isal() -> Any:
    """Returns the module that deflates like zlib in a third of the time; None where it is not installed."""
    try:
        return import_module("isal.isal_zlib")
    except ImportError:
        return None


def _chunk(name: bytes, data: bytes) -> tuple[bytes, ...]:
    return struct.pack(">I", len(data)), name, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))
