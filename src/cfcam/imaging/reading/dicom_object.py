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
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfcam.errors import ImageError, InputError, MissingExtraError
from cfcam.imaging.geometry import LPS_TO_RAS, Affine
from cfcam.imaging.reading.parsing import parse

TAGS = (
    "SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "SeriesInstanceUID", "SeriesNumber",
    "FrameOfReferenceUID", "PatientOrientation", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness",
    "SpacingBetweenSlices",
    "PixelSpacing", "PixelSpacingCalibrationType", "ImagerPixelSpacing", "NominalScannedPixelSpacing",
    "SequenceOfUltrasoundRegions",
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelAspectRatio", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "FloatPixelPaddingValue", "FloatPixelPaddingRangeLimit", "DoubleFloatPixelPaddingValue",
    "DoubleFloatPixelPaddingRangeLimit", "EstimatedRadiographicMagnificationFactor", "DoseGridScaling",
    "PixelPresentation", "PatientOrientation", "AnatomicalOrientationType",
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

HEAD = 1024
"""Bytes of a file that tell whether it is DICOM."""

_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG_VRS = frozenset(b"OB OW OF OD OL OV SQ UC UN UR UT SV UV".split())
_FIRST_GROUPS = (b"\2\0", b"\10\0", b"\0\2", b"\0\10")  # 2 and 8, in either order of bytes
_LONGEST_FIRST = 1 << 16  # bytes of a first element that runs beyond what was looked at

_LOGGERS = ("pydicom", "highdicom", "pylibjpeg", "libjpeg", "openjpeg", "rle", "jpeg_ls")

_PANIC = "PanicException"  # of pyo3_runtime, which cannot be imported

_SILENT = logging.CRITICAL + 1


def is_dicom(data: bytes) -> bool:
    """Whether bytes begin as a DICOM file does; `HEAD` of them are enough.

    That is a preamble of 128 bytes, then "DICM"; or, as old files have it that were saved without either, two elements
    in the order of their tags, the first of group 2 (of the file) or 8 (of the object), in any of the three encodings.
    """
    if data[128:132] == b"DICM":
        return True
    if data[:2] not in _FIRST_GROUPS:  # most files are none, and are told so at once
        return False
    return any(_begins(data, *how) for how in ((False, "<"), (True, "<"), (True, ">")))


def _begins(data: bytes, explicit: bool, order: str) -> bool:
    if len(data) < 16:
        return False
    group_, element = struct.unpack_from(f"{order}2H", data)
    if group_ not in (0x0002, 0x0008) or element > 0x1199:
        return False
    if not explicit:
        start, (length,) = 8, struct.unpack_from(f"{order}I", data, 4)
    elif data[4:6] in _LONG_VRS:
        start, (length,) = 12, struct.unpack_from(f"{order}I", data, 8)
    elif data[4:6] in _SHORT_VRS:
        start, (length,) = 8, struct.unpack_from(f"{order}H", data, 6)
    else:
        return False
    following = start + length
    if length % 2 or following + 4 > len(data):
        return length % 2 == 0 and explicit and following < _LONGEST_FIRST
    return struct.unpack_from(f"{order}2H", data, following) > (group_, element)


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
    with quiet():
        with broken(where, "the DICOM file is broken or cut off"):
            dataset = parse(source, where, specific_tags=list(TAGS), stop_before_pixels=not pixels)
            complete_meta(dataset)
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


def complete_meta(dataset: Any) -> None:
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
    """Keeps warnings and log lines of the libraries, which may quote what a file holds, from terminals and logs.

    Filters of warnings and levels of loggers are the process's: the first of the blocks that are open at a time, of
    whatever thread, silences them, and the last one to end gives them back. No block waits for another.
    """
    _SILENCE.begin()
    try:
        yield
    finally:
        _SILENCE.end()


class _Silence:
    """What is silent while anybody wants it to be."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # of the count alone, and of its first and last step
        self._count = 0
        self._before = ExitStack()

    def begin(self) -> None:
        with self._lock:
            if self._count == 0:
                self._before.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
                for logger in map(logging.getLogger, _LOGGERS):
                    self._before.callback(logger.setLevel, logger.level)
                    logger.setLevel(_SILENT)
            self._count += 1

    def end(self) -> None:
        with self._lock:
            self._count -= 1
            if self._count == 0:
                self._before.close()


_SILENCE = _Silence()
