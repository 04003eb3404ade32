"""Frames of DICOM objects: checked against what the header declares, then decoded to stored values."""

from __future__ import annotations

import struct
import zlib
from copy import copy
from typing import Any

from numpy.typing import NDArray

from cfcam.errors import ImageError, MissingExtraError
from cfcam.imaging.reading.dicom_object import broken, extent, photometric
from cfcam.imaging.reading.files import megapixels

_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})  # SOF0 to SOF15 and JPEG-LS
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")

_DEFLATED = "1.2.840.10008.1.2.8.1"  # each frame deflated by itself
_ENCAPSULATED = "1.2.840.10008.1.2.1.98"  # each frame as it is
_RLE = "1.2.840.10008.1.2.5"
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_MOST_SAMPLES, _MOST_BITS = 4, 64
_OTHER_COLOURS = ("HSV", "ARGB", "CMYK", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "XYB")


def decoded(dataset: Any, frame: int, where: str, *, every_bit: bool = False) -> NDArray[Any]:
    """Return the stored values of one frame: `(H, W)`, or `(H, W, 3)` in RGB.

    Args:
        dataset: the object.
        frame: which of its frames, from 0.
        where: the file, for messages.
        every_bit: with the bits that belong to no value (PS3.5 8.1.1), where the frame is not compressed.

    Raises:
        ImageError: the pixels are missing, cut off, of colours that are not read, or cannot be decompressed.
    """
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import pixel_array

    if not any(key in dataset for key in _PIXELS):
        raise ImageError(f"{where}: is a DICOM file whose pixels are missing; copy or export it again")
    _check_colours(dataset, where)
    shift = _shift(dataset, where)
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in (_DEFLATED, _ENCAPSULATED):
        with broken(where, "its compressed pixels are broken"):
            dataset, frame = _opened(dataset, frame, where), 0
        syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise ImageError(
            f"{where}: declares a transfer syntax that is not one of pictures, or that cfcam does not decode; export it"
            " as Explicit VR Little Endian"
        ) from None
    if not decoder.is_available:
        raise MissingExtraError("pylibjpeg", "dicom", f"decoding {syntax.name}")
    plain = not syntax.is_encapsulated or syntax == _RLE
    with broken(where, f"its pixels are not what its transfer syntax says, {syntax.name}, or broken"):
        if syntax.is_encapsulated:
            check_codestream(dataset, frame, where)
        else:
            _check_length(dataset, where)
        whole = plain and (every_bit or shift > 0)
        array: NDArray[Any] = pixel_array(dataset, index=frame, correct_unused_bits=not whole)
        if whole and shift > 0 and not every_bit:
            array = _in_place(array, dataset)
    rows, columns, _ = extent(dataset, where)
    if array.shape not in ((rows, columns), (rows, columns, 3)):
        raise ImageError(f"{where}: holds pixels of shape {array.shape} instead of {(rows, columns)}; export it again")
    return array


def is_native(dataset: Any) -> bool:
    """Whether the pixels of an object are compressed so that a decoder written in C, C++ or Rust opens them."""
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    return (
        syntax is not None
        and syntax.is_transfer_syntax
        and not syntax.is_private
        and syntax.is_encapsulated
        and syntax not in (_DEFLATED, _ENCAPSULATED)
    )


def inflated(dataset: Any, where: str) -> Any:
    """Return the object itself, or, where each of its frames is deflated or wrapped by itself, an uncompressed copy.

    pydicom 3.0 decodes neither of these transfer syntaxes (PS3.5 A.4.13, A.4.11).

    Raises:
        ImageError: a frame is cut off or broken.
    """
    if dataset.file_meta.TransferSyntaxUID not in (_DEFLATED, _ENCAPSULATED):
        return dataset
    _, _, frames = extent(dataset, where)
    with broken(where, "its compressed pixels are broken"):
        if frames > 1 and int(dataset.get("BitsAllocated", 0)) == 1:
            raise ImageError(f"{where}: holds compressed frames of single bits; export it as Explicit VR Little Endian")
        data = b"".join(_frame_bytes(dataset, frame, where) for frame in range(frames))
        return _uncompressed(dataset, data, frames)


def _opened(dataset: Any, frame: int, where: str) -> Any:
    """The object with one frame alone, uncompressed."""
    return _uncompressed(dataset, _frame_bytes(dataset, frame, where), 1)


def _uncompressed(dataset: Any, data: bytes, frames: int) -> Any:
    from pydicom.dataelem import DataElement
    from pydicom.uid import ExplicitVRLittleEndian

    opened = copy(dataset)
    opened.file_meta = copy(dataset.file_meta)
    opened.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    vr = "OW" if int(dataset.get("BitsAllocated", 0)) > 8 else "OB"
    opened[0x7FE00010] = DataElement(0x7FE00010, vr, data + b"\0" * (len(data) % 2))
    if frames > 1 or "NumberOfFrames" in opened:
        opened.NumberOfFrames = frames
    for key in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if key in opened:
            delattr(opened, key)
    return opened


def _frame_bytes(dataset: Any, frame: int, where: str) -> bytes:
    """The bytes of a frame that was deflated by itself (RFC 1951), or wrapped; no more than it should have."""
    stream = _stream(dataset, frame, where)
    rows, columns, _ = extent(dataset, where)
    samples, bits = int(dataset.get("SamplesPerPixel", 1)), int(dataset.get("BitsAllocated", 0))
    share = 2 / 3 if photometric(dataset) == "YBR_FULL_422" else 1
    needed = -(-int(rows * columns * samples * bits * share) // 8)
    if dataset.file_meta.TransferSyntaxUID == _DEFLATED:
        stream = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream, needed + 2)
    if not needed <= len(stream) <= needed + 1:
        more = "" if len(stream) < needed else "or more "
        raise ImageError(
            f"{where}: its compressed frame holds {len(stream)} {more}of {needed} bytes; copy or export it again"
        )
    return stream[:needed]


def _stream(dataset: Any, frame: int, where: str) -> bytes:
    from pydicom.encaps import get_frame

    _, _, frames = extent(dataset, where)
    tables = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    offsets = tables if all(tables) else None
    stream: bytes = get_frame(dataset.PixelData, frame, number_of_frames=frames, extended_offsets=offsets)
    return stream


def _check_colours(dataset: Any, where: str) -> None:
    """Colours that pydicom hands on as they are, would be taken for red, green and blue."""
    kind = photometric(dataset)
    samples = dataset.get("SamplesPerPixel") or 1
    if (samples == 3 and kind and kind not in _COLOURS) or kind in _OTHER_COLOURS:
        named = (
            kind if kind in (*_OTHER_COLOURS, "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR") else "of an unknown kind"
        )
        raise ImageError(
            f"{where}: has {samples} values for each pixel, and colours that are {named}; export it in RGB or in grey"
        )


def _shift(dataset: Any, where: str) -> int:
    """How many bits lie below the stored ones: none as the standard has it today (PS3.5 8.1.1), some in old files."""
    if "PixelData" not in dataset:
        return 0
    with broken(where, "its description of the pixels is broken"):
        allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
        high = dataset.get("HighBit")
        high = stored - 1 if high is None else int(high)
    if not stored - 1 <= high < allocated:
        raise ImageError(
            f"{where}: says that {stored} bits end at bit {high} of {allocated}, which cannot be; repair the header"
            " first"
        )
    return high + 1 - stored


def _in_place(whole: NDArray[Any], dataset: Any) -> NDArray[Any]:
    """The stored values of words that hold them between other bits; signed ones keep their sign."""
    stored, high = int(dataset.BitsStored), int(dataset.HighBit)
    width = 8 * whole.dtype.itemsize
    return (whole << (width - 1 - high)) >> (width - stored)


def _check_length(dataset: Any, where: str) -> None:
    """Without this, pydicom fills up what is missing, or takes compressed fragments for pixels."""
    rows, columns, frames = extent(dataset, where)
    samples, bits = int(dataset.get("SamplesPerPixel", 1)), int(dataset.get("BitsAllocated", 0))
    key = next(key for key in _PIXELS if key in dataset)
    bits = {"PixelData": bits, "FloatPixelData": 32, "DoubleFloatPixelData": 64}[key]
    shared = 2 / 3 if photometric(dataset) == "YBR_FULL_422" else 1
    needed, held = int(rows * columns * frames * samples * bits * shared) // 8, len(dataset[key].value)
    if dataset[key].is_undefined_length:
        raise ImageError(
            f"{where}: declares uncompressed pixels, but holds compressed ones: its transfer syntax is wrong; export it"
            " again"
        )
    if held < needed:
        raise ImageError(f"{where}: its pixels are cut off ({held} of {needed} bytes); copy or export it again")


def check_size(dataset: Any, where: str, max_pixels: int, max_voxels: int | None = None) -> None:
    """Compares the size that the header of an object claims with what may be read.

    Args:
        dataset: the object.
        where: the file, for messages.
        max_pixels: of one frame.
        max_voxels: of all frames together; None where one is decoded alone.

    Raises:
        ImageError: it has more, or claims a kind of pixels that there is none of.
    """
    rows, columns, frames = extent(dataset, where)
    if rows * columns > max_pixels:
        raise ImageError(
            f"{where}: has {megapixels(rows * columns)} megapixels ({columns} x {rows}), more than the limit of"
            f" {megapixels(max_pixels)}; raise max_pixels (--max-megapixels on the command line)"
        )
    if max_voxels is not None and rows * columns * frames > max_voxels:
        raise ImageError(
            f"{where}: has {frames} frames of {columns} x {rows}, {rows * columns * frames / 1e6:.0f} million pixels"
            f" together, more than the limit of {max_voxels / 1e6:.0f}; take it apart into objects of fewer frames"
        )
    with broken(where, "its description of the pixels is broken"):
        samples, bits = int(dataset.get("SamplesPerPixel") or 1), int(dataset.get("BitsAllocated") or 0)
    if not (1 <= samples <= _MOST_SAMPLES and 0 <= bits <= _MOST_BITS):
        raise ImageError(
            f"{where}: claims {samples} values for each pixel of {bits} bits each, of which there are no pictures;"
            " repair the header first"
        )


def check_codestream(dataset: Any, frame: int, where: str) -> None:
    """A few bytes may claim a picture of terabytes, and decoders would ask for the memory before they compare.

    Raises:
        ImageError: a compressed frame claims another size than the header, or more colours than there are.
    """
    rows, columns, _ = extent(dataset, where)
    stream = _stream(dataset, frame, where)
    if (components := _components(stream)) > _MOST_SAMPLES:
        raise ImageError(f"{where}: its compressed pixels claim {components} values for each pixel; export it again")
    claimed = _jpeg_2000_size(stream) or _jpeg_size(stream)
    if claimed is not None and claimed != (rows, columns) and 0 not in claimed:  # 0 rows: they follow the scan
        raise ImageError(
            f"{where}: its compressed pixels claim to be {claimed[1]} x {claimed[0]}, its header says"
            f" {columns} x {rows}; export it again"
        )


def _components(stream: bytes) -> int:
    """How many values a compressed picture claims for each pixel (Csiz, Nf of the same markers); 0 if it is neither."""
    start = stream[:256].find(b"\xff\x4f\xff\x51")
    if start >= 0:
        return int.from_bytes(stream[start + 40 : start + 42], "big")
    at = _start_of_frame(stream)
    return 0 if at is None else stream[at + 9] if at + 9 < len(stream) else 0


def _jpeg_2000_size(stream: bytes) -> tuple[int, int] | None:
    """Rows and columns from the SIZ marker (ISO/IEC 15444-1, A.5.1), if this is JPEG 2000."""
    start = stream[:256].find(b"\xff\x4f\xff\x51")
    if start < 0 or len(stream) < start + 24:
        return None
    right, bottom, left, top = struct.unpack(">4I", stream[start + 8 : start + 24])
    return bottom - top, right - left


def _jpeg_size(stream: bytes) -> tuple[int, int] | None:
    """Rows and columns from the start of frame (ISO/IEC 10918-1, B.2.2; JPEG-LS has the same), if this is JPEG."""
    at = _start_of_frame(stream)
    return None if at is None else struct.unpack(">2H", stream[at + 5 : at + 9])


def _start_of_frame(stream: bytes) -> int | None:
    at = 2 if stream[:2] == b"\xff\xd8" else len(stream)
    while at + 9 <= len(stream) and stream[at] == 0xFF:
        marker, length = stream[at + 1], int.from_bytes(stream[at + 2 : at + 4], "big")
        if marker in _FRAME_MARKERS:
            return at
        at += 2 + length if marker != 0xFF else 1
    return None
