"""DICOM pictures: one frame of a radiograph, an ultrasound loop or a scan, shown as the standard says."""

from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfcam.errors import ImageError, InputError
from cfcam.imaging.dicom_object import (
    Window,
    broken,
    decoded,
    extent,
    group,
    numbers,
    own_window,
    padding,
    parsed,
    photometric,
    plane_affine,
    plane_axes,
    rescaled,
)
from cfcam.imaging.files import megapixels, read_bytes, shown_path
from cfcam.imaging.read import Image

WINDOWS: dict[str, Window] = {
    "brain": (40, 80),
    "soft-tissue": (50, 400),
    "mediastinum": (50, 350),
    "liver": (60, 160),
    "lung": (-600, 1500),
    "bone": (400, 1800),
}
"""Usual windows of CT by name: centre and width in HU."""

_CENTIMETRES = 3  # PS3.3 C.8.5.5.1.15, physical units of an ultrasound region
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
    (C.11.2): the one given, else the file's first, else from the smallest to the greatest value; so too where the
    file's own would leave nothing to see. Padding is black. MONOCHROME1 and the presentation LUT shape INVERSE are
    inverted. The result is uint16, 0 black and 65535 white. Colours become RGB. Overlay planes are not drawn.

    Args:
        path: the file; compressed ones need pylibjpeg.
        frame: which of several frames, from 0.
        window: centre and width in the units after rescaling (HU for CT), or one of `WINDOWS`.
        max_pixels: refuse, before decoding, a picture with more pixels than this.

    Returns:
        The picture with its spacing (mm; at the detector for projection radiographs) and, where the file has position
        and orientation, its affine from (row, column, 0) to mm in RAS+.

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
        rows, columns, frames = extent(dataset, where)
        if rows * columns > max_pixels:
            raise ImageError(
                f"{where}: has {megapixels(rows * columns)} megapixels ({columns} x {rows}), more than the limit of"
                f" {megapixels(max_pixels)}; raise max_pixels (--max-megapixels on the command line)"
            )
        if not 0 <= frame < frames:
            raise InputError(f"{where}: there is no frame {frame}: give 0 to {frames - 1}")
        stored = decoded(dataset, frame, where)
        with broken(where, "its description of the pixels is broken"):
            colour = dataset.get("SamplesPerPixel", 1) == 3 or photometric(dataset) == "PALETTE COLOR"
            pixels = _colours(stored, dataset) if colour else _grey(stored, dataset, frame, wanted)
            spacing, affine = _spacing(dataset, frame), _picture_affine(dataset, frame)
    return Image(pixels, Path(path), hashlib.sha256(data).hexdigest(), spacing, affine)


def named_window(window: str | Window | None) -> Window | None:
    """Return centre and width of a window given by name or by numbers.

    Raises:
        InputError: an unknown name, or a width that is not positive.
    """
    if window is None:
        return None
    if isinstance(window, str):
        if window not in WINDOWS:
            raise InputError(f"no window is called {window!r}: there are {', '.join(WINDOWS)}, or centre and width")
        return WINDOWS[window]
    centre, width = map(float, window)
    if not (math.isfinite(centre) and math.isfinite(width) and width > 0):
        raise InputError(f"window {centre:g}, {width:g}: give a finite centre, and a width above 0")
    return centre, width


def windowed(values: NDArray[Any], window: Window, function: str = "LINEAR") -> NDArray[np.float64]:
    """Return values brought to [0, 1] by a window (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Args:
        values: any shape, after rescaling.
        window: centre and width, width > 0.
        function: LINEAR, LINEAR_EXACT or SIGMOID.
    """
    centre, width = window
    x = np.asarray(values, dtype=np.float64)
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (x - centre) / width, -700, 700)))
    if function == "LINEAR_EXACT" or width < 1:
        return np.clip((x - centre) / width + 0.5, 0, 1)
    if width == 1:
        return (x > centre - 0.5).astype(np.float64)
    return np.clip((x - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def _grey(stored: NDArray[Any], dataset: Any, frame: int, window: Window | None) -> NDArray[np.uint16]:
    values, empty = rescaled(stored, dataset, frame), padding(stored, dataset)
    shown = _voi(values, dataset, frame, window, empty)
    if photometric(dataset) == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE":
        shown = 1 - shown
    if empty is not None:
        shown[empty] = 0
    grey: NDArray[np.uint16] = np.rint(shown * 65535).astype(np.uint16)
    return grey


def _voi(
    values: NDArray[Any], dataset: Any, frame: int, window: Window | None, empty: NDArray[np.bool_] | None
) -> NDArray[np.float64]:
    if window is not None:
        return windowed(values, window)
    kept = values if empty is None else values[~empty]
    if dataset.get("VOILUTSequence") and (values == np.rint(values)).all():
        from pydicom.pixels.processing import apply_voi

        most = float(2 ** int(dataset.VOILUTSequence[0].LUTDescriptor[2]) - 1)
        shown = np.clip(apply_voi(values.astype(np.int64), dataset) / most, 0, 1)
        if np.ptp(shown) > 0:
            return shown
    if (own := own_window(dataset, frame)) is not None:
        shown = windowed(values, *own)
        if np.ptp(shown) > 0:
            return shown
    low, high = float(np.nanmin(kept)), float(np.nanmax(kept))
    return np.clip(np.nan_to_num((np.asarray(values, np.float64) - low) / ((high - low) or 1)), 0, 1)


def _colours(stored: NDArray[Any], dataset: Any) -> NDArray[np.uint8] | NDArray[np.uint16]:
    if photometric(dataset) == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        coloured = apply_color_lut(stored, dataset)
        return coloured if coloured.dtype == np.uint8 else coloured.astype(np.uint16)
    bits = int(dataset.BitsStored)
    if stored.dtype == np.uint8 and bits == 8:
        return np.ascontiguousarray(stored)
    scaled = np.clip(stored.astype(np.float64) / (2.0**bits - 1), 0, 1)
    return np.rint(scaled * 65535).astype(np.uint16)


def _spacing(dataset: Any, frame: int) -> tuple[float, float] | None:
    at_patient = group(dataset, frame, "PixelMeasuresSequence").get("PixelSpacing")
    for value in (at_patient, dataset.get("ImagerPixelSpacing"), dataset.get("NominalScannedPixelSpacing")):
        found = numbers(value)
        if len(found) == 2 and min(found) > 0:
            return found[0], found[1]
    return _ultrasound_spacing(dataset)


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
