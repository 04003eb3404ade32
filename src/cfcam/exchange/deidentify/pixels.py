"""Pixels on their way through de-identification: nothing hidden stays beside them, and no value of them changes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cfcam.errors import ImageError, MissingExtraError
from cfcam.exchange.deidentify.codestream import without_comments
from cfcam.imaging.reading.dicom_frames import check_codestream

if TYPE_CHECKING:
    from pydicom import Dataset

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_FLOATS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}
_WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
"""Bytes whose order an element of a binary representation has (PS3.5 7.3)."""

# All that decides how stored bytes are read (PS3.3 C.7.6.3, C.7.6.6).
_DESCRIPTION = (
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PlanarConfiguration", "PhotometricInterpretation",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
)  # fmt: skip


def clean_pixels(dataset: Dataset, where: str) -> None:
    """Takes away what decoders skip: comments within compressed pixels, overlays in unused bits, bytes behind the end.

    Compressed pixels stay compressed, byte for byte but for comments, where their codestream is understood; else they
    are decompressed. Big endian becomes little endian. `check_same_pixels` tells whether a value changed.

    Raises:
        ImageError: the transfer syntax is not one of pictures that can be decoded, or pixels are cut off.
        MissingExtraError: the decoder is not installed.
    """
    from pydicom.uid import ExplicitVRLittleEndian

    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        _check_decoder(syntax, where)
        for frame in range(int(dataset.get("NumberOfFrames") or 1)):
            check_codestream(dataset, frame, where)
        if _keep_compressed(dataset):
            return
        _decompress(dataset)
    elif not syntax.is_little_endian:
        _swap(dataset)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    _trim(dataset, where)


def check_same_pixels(source: Dataset, clean: Dataset, where: str) -> None:
    """Compares what both decode to, frame by frame: number, shape, type and every value.

    Raises:
        ImageError: they differ, or the source cannot be decoded.
    """
    if _same_bytes(source, clean) and not source.file_meta.TransferSyntaxUID.is_encapsulated:
        return
    for number, (before, after) in enumerate(zip_longest(_frames(source), _frames(clean)), 1):
        if before is None or after is None:
            raise ImageError(f"{where}: de-identified it would have another number of frames; nothing is written")
        if before.shape != after.shape or before.dtype.newbyteorder("=") != after.dtype.newbyteorder("="):
            raise ImageError(
                f"{where}: de-identified, frame {number} would be {after.dtype} of {after.shape} instead of"
                f" {before.dtype} of {before.shape}; nothing is written"
            )
        if not np.array_equal(before, after, equal_nan=before.dtype.kind == "f"):
            raise ImageError(
                f"{where}: de-identified, frame {number} would have other pixel values (bits that belong to no grey"
                " value are set, or its decoders disagree); nothing is written: export it again, uncompressed"
            )


def check_same_stored(clean: Dataset, written: Dataset, where: str) -> None:
    """Compares what was checked with what was read back from the bytes of the file.

    Raises:
        ImageError: they differ.
    """
    if not _same_bytes(clean, written):
        raise ImageError(f"{where}: its pixels would not be read back as they are; nothing is written")


def _same_bytes(one: Dataset, other: Dataset) -> bool:
    syntaxes = [dataset.file_meta.TransferSyntaxUID for dataset in (one, other)]
    native = not any(syntax.is_encapsulated for syntax in syntaxes) and all(s.is_little_endian for s in syntaxes)
    return (
        (native or syntaxes[0] == syntaxes[1])
        and all(one.get(key) == other.get(key) for key in _DESCRIPTION)
        and all(_value(one, key) == _value(other, key) for key in PIXELS)
    )


def _value(dataset: Dataset, key: str) -> bytes | None:
    return bytes(dataset[key].value) if key in dataset else None


def _frames(dataset: Dataset) -> Iterator[NDArray[Any]]:
    from pydicom.pixels.utils import iter_pixels

    return iter_pixels(dataset)


def _check_decoder(syntax: Any, where: str) -> None:
    from pydicom.pixels.decoders.base import get_decoder

    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise ImageError(
            f"{where}: its pixels are compressed in a way that cannot be decoded here ({syntax.name}), so that nothing"
            " can be said of what is in them; export it as Explicit VR Little Endian"
        ) from None
    if not decoder.is_available:
        raise MissingExtraError("pylibjpeg", "dicom", f"decoding {syntax.name}")


def _keep_compressed(dataset: Dataset) -> bool:
    """Whether all frames could be cleaned without decoding them."""
    from pydicom.encaps import encapsulate, generate_frames

    count, bits = int(dataset.get("NumberOfFrames") or 1), int(dataset.BitsStored)
    if int(dataset.get("HighBit", bits - 1)) != bits - 1:
        return False
    extended = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    offsets = extended if all(extended) else None
    frames: list[bytes] = []
    for frame in generate_frames(dataset.PixelData, number_of_frames=count, extended_offsets=offsets):
        cleaned = without_comments(frame, bits)
        if cleaned is None:
            return False
        frames.append(cleaned)
    if len(frames) != count:
        return False
    first_item = int.from_bytes(dataset.PixelData[4:8], "little")
    dataset.PixelData = encapsulate(frames, has_bot=first_item > 0)
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    return True


def _decompress(dataset: Dataset) -> None:
    from pydicom.pixels.utils import pack_bits

    if int(dataset.BitsAllocated) > 1:
        dataset.decompress(generate_instance_uid=False)
        return
    # pydicom would leave a byte for each pixel, of which the header says that it is a bit (PS3.5 8.1.1).
    frames = [frame.ravel() for frame in _frames(dataset)]
    packed = pack_bits(np.concatenate(frames))
    del dataset["PixelData"]
    dataset.add_new("PixelData", "OB", packed)


def _swap(dataset: Dataset) -> None:
    """Values that the file kept in big endian order, to little endian."""
    for element in dataset.iterall():
        if element.VR not in _WORDS or not element.value:
            continue
        size = _WORDS[element.VR]
        if element.keyword == "PixelData":
            allocated = int(dataset.BitsAllocated)
            size = max(allocated // 8, 2)
        data = bytes(element.value)
        element.value = np.frombuffer(data[: len(data) // size * size], f">u{size}").astype(f"<u{size}").tobytes()
    dataset.set_original_encoding(False, True)  # else pydicom refuses to write what it read in the other order


def _trim(dataset: Dataset, where: str) -> None:
    """Cuts off bytes behind the pixels, and clears bits that belong to no grey value."""
    key = next(key for key in PIXELS if key in dataset)
    data, needed = bytes(dataset[key].value), _needed(dataset, key)
    if len(data) < needed:
        raise ImageError(f"{where}: its pixels are cut off ({len(data)} of {needed} bytes); copy or export it again")
    data = data[:needed]
    allocated, stored = int(dataset.get("BitsAllocated") or 0), int(dataset.get("BitsStored") or 0)
    lowest = key == "PixelData" and int(dataset.get("HighBit", stored - 1)) == stored - 1
    if lowest and allocated in (8, 16, 32, 64) and 0 < stored < allocated:
        kind = np.dtype(f"<{'i' if int(dataset.get('PixelRepresentation', 0)) else 'u'}{allocated // 8}")
        values, unused = np.frombuffer(data, kind), allocated - stored
        # for signed values this carries the sign into the unused bits
        data = ((values << unused) >> unused).astype(kind).tobytes()
    dataset[key].value = data + b"\0" * (len(data) % 2)


def _needed(dataset: Dataset, key: str) -> int:
    """Bytes of uncompressed pixels, without the one that makes their number even."""
    if key in _FLOATS:
        frames = int(dataset.get("NumberOfFrames") or 1)
        return int(dataset.Rows) * int(dataset.Columns) * frames * _FLOATS[key] // 8
    from pydicom.pixels.utils import get_expected_length

    return int(get_expected_length(dataset))
