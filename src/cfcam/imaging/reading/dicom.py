"""DICOM pictures: one frame of a radiograph, an ultrasound loop or a scan, shown as the standard says."""

from __future__ import annotations

import hashlib
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfcam.errors import ImageError, InputError
from cfcam.imaging.image import Image, Pixels
from cfcam.imaging.measured import Measured
from cfcam.imaging.reading.dicom_frames import check_size, decoded
from cfcam.imaging.reading.dicom_object import (
    broken,
    extent,
    group,
    numbers,
    parsed,
    photometric,
    plane_affine,
    plane_axes,
)
from cfcam.imaging.reading.dicom_values import (
    inverted,
    is_little,
    own_window,
    padding,
    picture_edges,
    rescaled,
    stored_span,
    voi_table,
)
from cfcam.imaging.reading.files import read_bytes, shown_path
from cfcam.imaging.reading.lookup_tables import Tell, coloured, palette_of
from cfcam.imaging.windows import Window, named_window, windowed

_CENTIMETRES = 3  # PS3.3 C.8.5.5.1.15, physical units of an ultrasound region
_WORDS = 1 << 16  # values that a word has
_SQUARE = 0.01  # share by which the sides of a pixel may differ
_SAME = 1e-3  # share by which two spacings that mean the same may differ: they are written as decimals
_PROJECTIONS = frozenset({"CR", "DX", "MG", "RF", "XA", "PX", "IO"})
_TWO_D = 1  # PS3.3 C.8.5.5.1.1, region spatial format


def read_dicom(
    path: str | os.PathLike[str],
    *,
    frame: int = 0,
    window: str | Window | None = None,
    max_pixels: int = 64_000_000,
) -> Image:
    """Read a DICOM picture (CR, DX, MG, US, one slice of CT or MR, secondary capture) as it is meant to be seen.

    Grey values go through the modality LUT or rescaling (PS3.3 C.11.1), then through the window or VOI LUT
    (C.11.2): the one given, else the file's first, else from the smallest to the greatest value; so too, with a
    notice, where the file's own would leave nothing to see. Padding is black. MONOCHROME1 and the presentation LUT
    shape INVERSE are inverted. The result is uint16, 0 black and 65535 white. Colours become RGB; so do grey pictures
    some of whose values a supplemental palette colours (C.7.6.19). Overlay planes are not drawn. Of several windows
    the first is taken, and of several VOI LUTs.

    Args:
        path: the file; compressed ones need pylibjpeg.
        frame: which of several frames, from 0.
        window: centre and width in the units after rescaling (HU for CT), or one of `WINDOWS`.
        max_pixels: refuse, before decoding, a picture with more pixels than this.

    Returns:
        The picture with its spacing in mm and where these are measured, and, where the file has position and
        orientation, its affine from (row, column, 0) to mm in RAS+; with where its edges point, if it says so. Its
        notices say where tables, windows or spacings of the file were not what they should be, and that pixels are not
        square.

    Raises:
        ImageError: the file is missing, no DICOM, broken, without pixels, too large, or cannot be decoded.
        InputError: there is no such frame or window.
        MissingExtraError: pydicom is not installed.
    """
    where = shown_path(path)
    data = read_bytes(path, where)
    return decode_picture(data, path, where, frame=frame, window=window, max_pixels=max_pixels)


def decode_picture(
    data: bytes,
    path: str | os.PathLike[str],
    where: str,
    *,
    frame: int = 0,
    window: str | Window | None = None,
    max_pixels: int = 64_000_000,
) -> Image:
    """Decode the bytes of a DICOM file; see `read_dicom`."""
    wanted = named_window(window)
    with parsed(data, where) as dataset:
        _, _, frames = extent(dataset, where)
        check_size(dataset, where, max_pixels)
        if not 0 <= frame < frames:
            raise InputError(f"{where}: there is no frame {frame}: give 0 to {frames - 1}")
        stored = decoded(dataset, frame, where)
        told: dict[str, None] = {}
        if frames > 1:
            told[f"it holds {frames} frames: {f'number {frame + 1}' if frame else 'the first'} is read"] = None
        with broken(where, "its description of the pixels is broken"):
            if dataset.get("SamplesPerPixel", 1) == 3:
                pixels: Pixels = _colours(stored, dataset)
            elif photometric(dataset) == "PALETTE COLOR":
                tables = palette_of(dataset, is_little(dataset), stored_span(dataset), where, told.setdefault)
                pixels = coloured(stored, tables, where)
            else:
                empty = padding(stored, dataset, partial(decoded, dataset, frame, where, every_bit=True))
                shown = _shown(stored, empty, dataset, frame, where, wanted, told.setdefault)
                pixels = _with_palette(shown, stored, dataset, where, told.setdefault)
            spacing, affine, edges = _spacing(dataset, frame), _picture_affine(dataset, frame), picture_edges(dataset)
            measured = measured_of(dataset, frame)
            _tell_of_pixels(dataset, frame, spacing, told.setdefault)
    sha256 = hashlib.sha256(data).hexdigest()
    return Image(
        pixels, Path(path), sha256, spacing, affine, tuple(told), edges=edges, window=wanted, measured=measured
    )


def _shown(
    stored: NDArray[Any],
    empty: NDArray[np.bool_] | None,
    dataset: Any,
    frame: int,
    where: str,
    window: Window | None,
    tell: Tell,
) -> NDArray[np.uint16]:
    """Stored values as grey: of a large picture of words each value that occurs is worked on once, not each pixel."""
    words = stored.dtype.kind in "iu" and stored.dtype.itemsize == 2
    if words and empty is None and stored.size > _WORDS:
        native = np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("="))
        bits = native.view(np.uint16)
        there = np.zeros(_WORDS, dtype=bool)
        there[bits] = True
        levels = np.flatnonzero(there).astype(np.uint16)
        values = rescaled(levels.view(native.dtype), dataset, frame, where, tell)
        if np.isfinite(values).all():
            grey = np.zeros(_WORDS, dtype=np.uint16)
            grey[levels] = _grey(values, None, dataset, frame, where, window, tell)
            return np.take(grey, bits)
    values = rescaled(stored, dataset, frame, where, tell)
    empty = _without_numbers(values, empty, where, tell)
    return _grey(values, empty, dataset, frame, where, window, tell)


def _without_numbers(
    values: NDArray[Any], empty: NDArray[np.bool_] | None, where: str, tell: Tell
) -> NDArray[np.bool_] | None:
    """What is shown as padding: padding, and pixels of floating point files that are no finite numbers."""
    bad = ~np.isfinite(values)
    if not bad.any():
        return empty
    if bad.all():
        raise ImageError(f"{where}: holds no finite number; export it again")
    if count := int((bad if empty is None else bad & ~empty).sum()):
        tell(f"{count} of its {bad.size} pixels are no finite numbers: they are black, as padding is")
    return bad if empty is None else bad | empty


def _grey(
    values: NDArray[Any],
    empty: NDArray[np.bool_] | None,
    dataset: Any,
    frame: int,
    where: str,
    window: Window | None,
    tell: Tell,
) -> NDArray[np.uint16]:
    shown = _voi(values, dataset, frame, where, window, empty, tell)
    if inverted(dataset):
        shown = 1 - shown
    if empty is not None:
        shown[empty] = 0
    grey: NDArray[np.uint16] = np.rint(shown * 65535).astype(np.uint16)
    return grey


def _voi(
    values: NDArray[Any],
    dataset: Any,
    frame: int,
    where: str,
    window: Window | None,
    empty: NDArray[np.bool_] | None,
    tell: Tell,
) -> NDArray[np.float64]:
    if window is not None:
        return windowed(values, window)
    kept = values if empty is None else values[~empty]
    low, high = float(np.nanmin(kept)), float(np.nanmax(kept))
    table = voi_table(dataset, frame, where, tell)
    if table is not None and table.lacks(kept):
        tell(f"its VOI LUT holds {table.held}, and its pixels need more: it is left out")
    elif table is not None and np.isfinite(values).all():
        shown: NDArray[np.float64] = np.clip(table(values) / (2.0**table.bits - 1), 0, 1)
        if low == high or np.ptp(shown) > 0:
            return shown
        tell("its VOI LUT would leave nothing to see: it is left out")
    if (own := own_window(dataset, frame, tell)) is not None:
        shown = windowed(values, *own)
        if low == high or np.ptp(shown) > 0:
            return shown
        tell(
            f"its window (centre {own[0][0]:g}, width {own[0][1]:g}) would leave nothing to see of values from {low:g}"
            f" to {high:g}: these are shown from black to white"
        )
    return np.clip(np.nan_to_num((np.asarray(values, np.float64) - low) / ((high - low) or 1)), 0, 1)


def _with_palette(
    grey: NDArray[np.uint16], stored: NDArray[Any], dataset: Any, where: str, tell: Tell
) -> NDArray[np.uint16]:
    """Grey values, or RGB where a supplemental palette colours those from its first value on (PS3.3 C.7.6.19)."""
    presentation = str(dataset.get("PixelPresentation") or "").strip()
    if presentation in ("", "MONOCHROME"):
        return grey
    if presentation not in ("COLOR", "MIXED") or "RedPaletteColorLookupTableDescriptor" not in dataset:
        tell("the standard would have some of its values shown in colours: they are shown grey")
        return grey
    tables = palette_of(dataset, is_little(dataset), stored_span(dataset), where, tell)
    there = stored >= tables[0].first
    if not there.any():
        return grey
    colours = coloured(stored, tables, where).astype(np.uint16)
    colours *= 257 if tables[0].bits == 8 else 1
    tell(f"its values from {tables[0].first} on are colours: it is read as a colour picture")
    return np.where(there[..., None], colours, grey[..., None])


def _colours(stored: NDArray[Any], dataset: Any) -> Pixels:
    bits = int(dataset.BitsStored)
    if stored.dtype == np.uint8 and bits == 8:
        return np.ascontiguousarray(stored)
    scaled = np.clip(stored.astype(np.float64) / (2.0**bits - 1), 0, 1)
    return np.rint(scaled * 65535).astype(np.uint16)


def _tell_of_pixels(dataset: Any, frame: int, spacing: tuple[float, float] | None, tell: Tell) -> None:
    """Tell that pixels are not square, and how sure their spacing is."""
    aspect = numbers(dataset.get("PixelAspectRatio"))
    if spacing is None and len(aspect) == 2 and min(aspect) > 0 and aspect[0] != aspect[1]:
        tell(
            f"its pixels are {aspect[0]:g} high to {aspect[1]:g} wide, in unknown units: overlays show them as squares,"
            " and sizes are counted in pixels"
        )
    if spacing is not None and abs(spacing[0] - spacing[1]) > _SQUARE * max(spacing):
        tell(f"its pixels are {spacing[0]:.4g} mm high and {spacing[1]:.4g} wide: overlays show them as squares")
    if spacing is None or numbers(group(dataset, frame, "PixelMeasuresSequence").get("PixelSpacing")):
        return
    enlarged = numbers(dataset.get("EstimatedRadiographicMagnificationFactor"))
    if enlarged and enlarged[0] > 0 and numbers(dataset.get("ImagerPixelSpacing")):
        tell(
            f"its millimetres are those at the detector: the file estimates that the patient is {enlarged[0]:g} times"
            " smaller"
        )


def _spacing(dataset: Any, frame: int) -> tuple[float, float] | None:
    at_patient = group(dataset, frame, "PixelMeasuresSequence").get("PixelSpacing")
    for value in (at_patient, dataset.get("ImagerPixelSpacing"), dataset.get("NominalScannedPixelSpacing")):
        found = numbers(value)
        if len(found) == 2 and min(found) > 0:
            return found[0], found[1]
    return _ultrasound_spacing(dataset)


def measured_of(dataset: Any, frame: int = 0) -> Measured | None:
    """Return where the millimetres of a header are measured (PS3.3 10.7.1.3); None: in a slice, or there are none."""
    if _spacing(dataset, frame) is None:
        return None
    pixel, imager, film = (
        found if len(found) == 2 and min(found) > 0 else []
        for found in (
            numbers(group(dataset, frame, "PixelMeasuresSequence").get("PixelSpacing")),
            numbers(dataset.get("ImagerPixelSpacing")),
            numbers(dataset.get("NominalScannedPixelSpacing")),
        )
    )
    projection = bool(imager or film) or str(dataset.get("Modality") or "").strip().upper() in _PROJECTIONS
    if not pixel:
        return Measured.DETECTOR if imager else Measured.FILM if film else Measured.STATED
    if not projection:
        return None if _picture_affine(dataset, frame) is not None else Measured.STATED
    if str(dataset.get("PixelSpacingCalibrationType") or "").strip():
        return Measured.CALIBRATED
    if imager or film:
        same = np.allclose(pixel, imager or film, rtol=_SAME, atol=0)
        return (Measured.DETECTOR if imager else Measured.FILM) if same else Measured.CALIBRATED
    return Measured.EITHER


def _ultrasound_spacing(dataset: Any) -> tuple[float, float] | None:
    """The spacing of the 2-D regions, if they agree on one (PS3.3 C.8.5.5)."""
    found = set()
    for region in dataset.get("SequenceOfUltrasoundRegions") or ():
        units = {region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection")}
        steps = numbers([region.get("PhysicalDeltaY"), region.get("PhysicalDeltaX")])
        if region.get("RegionSpatialFormat") == _TWO_D and units == {_CENTIMETRES} and steps and 0 not in steps:
            found.add((round(abs(steps[0]) * 10, 6), round(abs(steps[1]) * 10, 6)))
    return found.pop() if len(found) == 1 else None


def _picture_affine(dataset: Any, frame: int) -> tuple[tuple[float, ...], ...] | None:
    place = np.array(numbers(group(dataset, frame, "PlanePositionSequence").get("ImagePositionPatient")))
    axes = plane_axes(group(dataset, frame, "PlaneOrientationSequence").get("ImageOrientationPatient"))
    spacing = _spacing(dataset, frame)
    if place.shape != (3,) or axes is None or spacing is None:
        return None
    affine = plane_affine(place, axes, spacing)
    return tuple(tuple(map(float, row)) for row in affine)
