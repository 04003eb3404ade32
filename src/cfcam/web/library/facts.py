"""What is kept of a picture or volume once it was read: everything that is told of it, and its values as they are sent.

Voxels that are whole numbers, as those of CT are, are kept as such: half of what the network's float32 takes.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfcam.imaging.geometry import Affine, axis_codes
from cfcam.imaging.image import Image
from cfcam.imaging.measured import Measured
from cfcam.imaging.reading.files import NIFTI_EXTENSIONS
from cfcam.imaging.volume import Volume
from cfcam.imaging.windows import WINDOWS
from cfcam.web.library import nifti
from cfcam.web.schemas import Channel, Values, Window

_BLOCK = 2**18
_SAMPLE = 2_000_000
_WHOLE = (np.uint8, np.int16, np.uint16)


@dataclass(frozen=True, eq=False)
class Facts:
    """What is told of a study that was read.

    Attributes:
        sha256: of what was read.
        shape: `(H, W)`, or `(D, H, W)`.
        spacing: along these axes in mm, where it is known.
        affine: from an index of the array (of a picture row, column, 0) to mm in the patient, RAS+, where it is known.
        placed: whether left and right are known.
        edges: of a picture, where its right and its lower edge lie in the patient.
        window: from where to where it is shown.
        values: from where to where its values go.
        notices: of how it was read, a line each.
        bytes: of its values as they are sent.
        grid: of a volume where its voxels lie, and where they were missing; its own are all 0 and take no memory.
        measured: where the millimetres of a picture are measured (`Image.measured`).
        channels: of a volume with several; window and values above are those of the first.
    """

    sha256: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...] | None
    affine: Affine | None
    placed: bool
    edges: tuple[str, str] | None
    window: Window
    values: Values
    notices: tuple[str, ...]
    bytes: int
    grid: Volume | None = None
    measured: Measured | None = None
    channels: tuple[Channel, ...] = ()


def sent(image: Image | Volume, channel: int = 0) -> nifti.Nifti:
    """Returns a picture, or a channel of a volume, as the file that the page asks for."""
    if isinstance(image, Image):
        grey = image.pixels.ndim == 2
        high = float(np.iinfo(image.pixels.dtype).max) if grey else 255.0
        return nifti.of_picture(image.pixels if grey else image.rgb(), image.spacing, window=(0.0, high))
    values, affine = in_file_order(image.channel(channel), image)
    window = window_of(image, channel)
    return nifti.of_volume(compact(values), affine, window=(window.low, window.high))


def in_file_order(values: NDArray[Any], volume: Volume) -> tuple[NDArray[Any], Affine]:
    """Returns values on a volume's grid with the axis first that a file counts slowest, and the affine of that file.

    Of a NIfTI the file's axes are those of the array; of a DICOM series they are columns, rows, slices.
    """
    if volume.source.kind == "dicom":
        return values, volume.affine[:, [2, 1, 0, 3]]
    return values.transpose(2, 1, 0), volume.affine


def compact(values: NDArray[np.float32]) -> NDArray[Any]:
    """Returns values as the smallest kind of whole numbers that holds all of them, else as they are; block by block."""
    low, high = float(values.min()), float(values.max())
    for kind in _WHOLE:
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            whole = np.empty(values.shape, kind)
            step = max(1, _BLOCK // max(1, values[0].size))
            for start in range(0, len(values), step):
                part = values[start : start + step]
                whole[start : start + step] = part
                if not np.array_equal(whole[start : start + step], part):
                    return np.ascontiguousarray(values)
            return whole
    return np.ascontiguousarray(values)


def facts_of(image: Image | Volume, size: int, *, modality: str | None = None, edges: Any = None) -> Facts:
    """Returns what is told of a picture or volume.

    Args:
        image: as it was read.
        size: bytes of its values as they are sent.
        modality: of DICOM.
        edges: of a picture without an affine, where its right and lower edges lie, if its file says so.
    """
    if isinstance(image, Image):
        affine = None if image.affine is None else np.asarray(image.affine)
        codes = None if affine is None else axis_codes(affine)
        found = edges if codes is None else (codes[1], codes[0])
        top = float(np.iinfo(image.pixels.dtype).max)
        return Facts(
            sha256=image.sha256,
            shape=image.size,
            spacing=image.spacing,
            affine=affine,
            placed=found is not None,
            edges=found,
            window=Window(low=0, high=top, function="LINEAR_EXACT", source="as the file would be shown"),
            values=Values(min=float(image.pixels.min()), max=float(image.pixels.max())),
            notices=image.notices,
            bytes=size,
            measured=image.measured,
        )
    unit = "HU" if modality == "CT" else None
    channels = tuple(
        Channel(**called, url="", window=window_of(image, number), values=_values(image, number, unit))
        for number, called in enumerate(_called(image))
    )
    first = channels[0]
    return Facts(
        sha256=image.sha256,
        shape=image.size,
        spacing=image.spacing,
        affine=image.affine,
        placed=image.placed,
        edges=None,
        window=first.window,
        values=first.values,
        notices=(*image.notices, *image.assumed),
        bytes=size,
        grid=replace(without_values(image), missing=image.missing),
        channels=channels if len(channels) > 1 else (),
    )


def _called(volume: Volume) -> list[dict[str, Any]]:
    """What each channel is called: by its name, else by what tells its file from the others', else by its number."""
    names = [volume.channel_name(number) for number in range(volume.channels)]
    if not volume.source.channels:
        return [{"name": name} for name in names]
    files = [file for _, file in volume.source.channels]
    stems = [next((file[: -len(end)] for end in NIFTI_EXTENSIONS if file.lower().endswith(end)), "") for file in files]
    shared = re.match(r"(.*[_. -])?", os.path.commonprefix(stems))  # noqa: RUF071 (of names, not of paths)
    begin = len(shared[0]) if shared else 0  # the study's own part, such as "patient_7_", up to a whole word
    return [
        {"name": stem[begin:] or name if name != given else name, "file": file if stem else None}
        for name, stem, (given, file) in zip(names, stems, volume.source.channels, strict=True)
    ]


def _values(volume: Volume, number: int, unit: str | None) -> Values:
    voxels = volume.channel(number)
    return Values(min=float(voxels.min()), max=float(voxels.max()), unit=unit)


def without_values(volume: Volume) -> Volume:
    """Returns a volume of the same grid and place whose voxels are all 0 and take no memory."""
    return replace(volume, voxels=np.broadcast_to(np.zeros(1, np.float32), volume.size), missing=None)


def window_of(volume: Volume, channel: int = 0) -> Window:
    """Returns from where to where a channel of a volume is shown: as it says itself, else 99 % of its voxels."""
    own = volume.alone(channel)
    if own.window is not None:
        centre, width = own.window
        low, high = centre - width / 2, centre + width / 2
        return Window(low=low, high=high, function=own.window_function, source="the file")
    values = own.voxels
    step = max(1, int((values.size / _SAMPLE) ** (1 / 3)))
    low, high = (float(v) for v in np.percentile(values[::step, ::step, ::step], (0.5, 99.5)))
    return Window(low=low, high=high if high > low else low + 1, source="99 % of its voxels")


def windows_for(facts: Facts) -> dict[str, list[float]]:
    """Returns the named windows that make sense for a study: those of CT for values in HU."""
    return {name: list(map(float, pair)) for name, pair in WINDOWS.items()} if facts.values.unit == "HU" else {}
