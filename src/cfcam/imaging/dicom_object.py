"""DICOM objects: parsed without anything of the patient, decoded, and their elements read with suspicion.

Only the elements in `TAGS` are ever parsed. Names, identifiers, dates and free text are skipped while reading, so
that they cannot reach a message; and no message of pydicom's is passed on, for it may quote what a file holds.
"""

from __future__ import annotations

import logging
import math
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfcam.errors import ImageError, InputError, MissingExtraError
from cfcam.imaging.geometry import LPS_TO_RAS, Affine

Window = tuple[float, float]

TAGS = (
    "SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "SeriesInstanceUID", "SeriesNumber",
    "FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "SpacingBetweenSlices",
    "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "SequenceOfUltrasoundRegions",
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit",
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction",
    "VOILUTSequence", "PresentationLUTShape", "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData", "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
    "FloatPixelData", "DoubleFloatPixelData", "PixelData",
)  # fmt: skip
"""Keywords of the elements that are parsed; all others are skipped."""

_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})  # SOF0 to SOF15 and JPEG-LS
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")

_LOGGERS = ("pydicom", "highdicom", "pylibjpeg", "libjpeg", "openjpeg", "rle", "jpeg_ls")

_PANIC = "PanicException"  # of pyo3_runtime, which cannot be imported

_QUIET = threading.RLock()


def is_dicom(data: bytes) -> bool:
    """Whether bytes begin as a DICOM file does: a preamble of 128 bytes, then "DICM"."""
    return data[128:132] == b"DICM"


@contextmanager
def parsed(source: bytes | Path, where: str, *, pixels: bool = True) -> Iterator[Any]:
    """Yield the dataset of a file, with the elements in `TAGS` alone; pydicom is silent until the block ends.

    Args:
        source: the file's bytes, or its path to have its header read only.
        where: the file, as it is named in messages.
        pixels: parse the pixel data too.

    Raises:
        ImageError: the file cannot be parsed. What pydicom says of it is not passed on.
        MissingExtraError: pydicom is not installed.
    """
    try:
        from pydicom import dcmread
    except ModuleNotFoundError as error:
        raise MissingExtraError("pydicom", "dicom", "reading DICOM") from error
    with quiet():
        with broken(where, "the DICOM file is broken or cut off"):
            stream: Any = BytesIO(source) if isinstance(source, bytes) else source
            dataset = dcmread(stream, force=True, specific_tags=list(TAGS), stop_before_pixels=not pixels)
            _complete_meta(dataset)
        yield dataset


def extent(dataset: Any, where: str) -> tuple[int, int, int]:
    """Return rows, columns and frames of an image object.

    Raises:
        ImageError: the object holds no pixels, or lies about its size.
    """
    with broken(where, "its description of the pixels is broken"):
        rows, columns = (int(dataset.get(key) or 0) for key in ("Rows", "Columns"))
        frames = int(dataset.get("NumberOfFrames") or 1)
    if rows < 1 or columns < 1 or frames < 1:
        raise ImageError(
            f"{where}: is a DICOM file without pixels (a report or a plan, or cut off), or broken; name one with an"
            " image, or a PNG, JPEG or TIFF"
        )
    return rows, columns, frames


def decoded(dataset: Any, frame: int, where: str) -> NDArray[Any]:
    """Return the stored values of one frame: `(H, W)`, or `(H, W, 3)` in RGB.

    Raises:
        ImageError: the pixels are missing, cut off, or cannot be decompressed.
    """
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import pixel_array

    if not any(key in dataset for key in _PIXELS):
        raise ImageError(f"{where}: is a DICOM file whose pixels are missing; copy or export it again")
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise ImageError(
            f"{where}: declares a transfer syntax that is not one of pictures; export it as Explicit VR Little Endian"
        ) from None
    if not decoder.is_available:
        raise MissingExtraError("pylibjpeg", "dicom", f"decoding {syntax.name}")
    with broken(where, f"its pixels are not what its transfer syntax says, {syntax.name}, or broken"):
        if syntax.is_encapsulated:
            _check_codestream(dataset, frame, where)
        else:
            _check_length(dataset, where)
        array: NDArray[Any] = pixel_array(dataset, index=frame)
    rows, columns, _ = extent(dataset, where)
    if array.shape not in ((rows, columns), (rows, columns, 3)):
        raise ImageError(f"{where}: holds pixels of shape {array.shape} instead of {(rows, columns)}; export it again")
    return array


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


def _check_codestream(dataset: Any, frame: int, where: str) -> None:
    """A few bytes may claim a picture of terabytes, and decoders would ask for the memory before they compare."""
    from pydicom.encaps import get_frame

    rows, columns, frames = extent(dataset, where)
    stream = get_frame(dataset.PixelData, frame, number_of_frames=frames)
    claimed = _jpeg_2000_size(stream) or _jpeg_size(stream)
    if claimed is not None and claimed != (rows, columns) and 0 not in claimed:  # 0 rows: they follow the scan
        raise ImageError(
            f"{where}: its compressed pixels claim to be {claimed[1]} x {claimed[0]}, its header says"
            f" {columns} x {rows}; export it again"
        )


def _jpeg_2000_size(stream: bytes) -> tuple[int, int] | None:
    """Rows and columns from the SIZ marker (ISO/IEC 15444-1, A.5.1), if this is JPEG 2000."""
    start = stream[:256].find(b"\xff\x4f\xff\x51")
    if start < 0 or len(stream) < start + 24:
        return None
    right, bottom, left, top = struct.unpack(">4I", stream[start + 8 : start + 24])
    return bottom - top, right - left


def _jpeg_size(stream: bytes) -> tuple[int, int] | None:
    """Rows and columns from the start of frame (ISO/IEC 10918-1, B.2.2; JPEG-LS has the same), if this is JPEG."""
    at = 2 if stream[:2] == b"\xff\xd8" else len(stream)
    while at + 9 <= len(stream) and stream[at] == 0xFF:
        marker, length = stream[at + 1], int.from_bytes(stream[at + 2 : at + 4], "big")
        if marker in _FRAME_MARKERS:
            rows, columns = struct.unpack(">2H", stream[at + 5 : at + 9])
            return rows, columns
        at += 2 + length if marker != 0xFF else 1
    return None


def group(dataset: Any, frame: int, keyword: str) -> Any:
    """Return the item of a functional group (PS3.3 C.7.6.16) for a frame, or the dataset itself without one.

    Classic objects hold the same elements at their top, so that callers need not tell the two apart.
    """
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    shared = dataset.get("SharedFunctionalGroupsSequence") or ()
    for groups in (per_frame[frame : frame + 1], shared[:1]):
        items = groups[0].get(keyword) if len(groups) else None
        if items:
            return items[0]
    return dataset


def rescaled(stored: NDArray[Any], dataset: Any, frame: int) -> NDArray[Any]:
    """Return the values in the object's units (PS3.3 C.11.1): by its modality LUT, or its slope and intercept."""
    from pydicom.pixels.processing import apply_modality_lut

    item = group(dataset, frame, "PixelValueTransformationSequence")
    item = item if "RescaleSlope" in item else dataset
    return apply_modality_lut(stored, item)


def padding(stored: NDArray[Any], dataset: Any) -> NDArray[np.bool_] | None:
    """Return which pixels are padding (PS3.3 C.7.5.1.1.2); None if there are none, or nothing else."""
    value = dataset.get("PixelPaddingValue")
    if not isinstance(value, int) or stored.dtype.kind not in "iu":
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    limit = limit if isinstance(limit, int) else value
    mask = (stored >= min(value, limit)) & (stored <= max(value, limit))
    return mask if mask.any() and not mask.all() else None


def own_window(dataset: Any, frame: int) -> tuple[Window, str] | None:
    """Return the object's first window with its function (LINEAR, LINEAR_EXACT, SIGMOID); None without a usable one."""
    item = group(dataset, frame, "FrameVOILUTSequence")
    centre, width = numbers(item.get("WindowCenter")), numbers(item.get("WindowWidth"))
    if not centre or not width or not width[0] > 0:
        return None
    return (centre[0], width[0]), str(item.get("VOILUTFunction") or "LINEAR").strip()


def numbers(value: Any) -> tuple[float, ...]:
    """Return the finite numbers of an element with one or several; empty if one of them is none."""
    values = value if isinstance(value, (list, tuple)) or hasattr(value, "__iter__") else [value]
    try:
        found = tuple(float(v) for v in values)
    except (TypeError, ValueError):
        return ()
    return found if all(map(math.isfinite, found)) else ()


def plane_axes(orientation: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the unit vectors (LPS) in which columns and rows count, from ImageOrientationPatient; None if broken.

    The first is the direction of growing column index, the second of growing row index (PS3.3 C.7.6.2.1.1).
    """
    values = np.array(numbers(orientation))
    if values.shape != (6,):
        return None
    along, down = values[:3], values[3:]
    lengths = np.linalg.norm(along), np.linalg.norm(down)
    if not all(abs(length - 1) < 0.05 for length in lengths) or abs(along @ down) > 0.05:
        return None
    return along / lengths[0], down / lengths[1]


def plane_affine(
    position: NDArray[np.float64],
    axes: tuple[NDArray[np.float64], NDArray[np.float64]],
    spacing: tuple[float, float],
) -> Affine:
    """Return the affine from (row, column, mm along the normal) of one plane to mm in RAS+ (PS3.3 C.7.6.2.1.1).

    Args:
        position: centre of the first pixel, LPS, mm.
        axes: from `plane_axes`.
        spacing: between rows and between columns, mm.
    """
    along, down = axes
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = down * spacing[0], along * spacing[1]
    affine[:3, 2], affine[:3, 3] = np.cross(along, down), position
    return LPS_TO_RAS @ affine


def photometric(dataset: Any) -> str:
    """Return the photometric interpretation, or an empty text."""
    return str(dataset.get("PhotometricInterpretation") or "").strip()


def _complete_meta(dataset: Any) -> None:
    """Give a file without the group of meta elements the transfer syntax in which it was just parsed."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if getattr(dataset, "file_meta", None) is None:
        dataset.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little is not False else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit is not False else explicit


@contextmanager
def broken(where: str, what: str) -> Iterator[None]:
    """Turns whatever pydicom raises into one line that quotes nothing of the file."""
    try:
        yield
    except (ImageError, InputError, MissingExtraError):
        raise
    except MemoryError:
        raise ImageError(f"{where}: {what} (it asks for too much memory); copy or export it again") from None
    except OSError as error:
        raise ImageError(f"{where}: cannot be read ({_reason(error)}); check the file and the disk") from None
    except Exception as error:  # noqa: BLE001 (a parser fed with arbitrary bytes may raise anything, and quote it)
        raise ImageError(f"{where}: {what} ({type(error).__name__}); copy or export it again") from None
    except BaseException as error:
        # A decoder written in Rust panics on what it did not foresee, and that is no Exception.
        if type(error).__name__ != _PANIC:
            raise
        raise ImageError(f"{where}: {what} (its decoder gave up); copy or export it again") from None


def _reason(error: OSError) -> str:
    """What the system says; a library's own words are not passed on."""
    return error.strerror or type(error).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps warnings and log lines of the libraries, which may quote what a file holds, from terminals and logs."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    # Filters of warnings and levels of loggers are the process's: without the lock, threads would restore each other's.
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        levels = [logger.level for logger in loggers]
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL + 1)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
