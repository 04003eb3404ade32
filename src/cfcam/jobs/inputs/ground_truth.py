"""Where a finding is: the masks and boxes of a case, checked against the picture that they belong to."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from cfcam import csv_text, json_text
from cfcam.clinical.checks.mask_place import Lying, is_same, way_to_mask
from cfcam.clinical.checks.masks import OUTSIDE, laid_over, mask_notices, voxels_inside
from cfcam.errors import CfcamError, InputError
from cfcam.exchange.dicom.read_segmentation import is_segmentation, read_segmentation
from cfcam.imaging import Volume, read_image
from cfcam.imaging.geometry import Affine
from cfcam.imaging.reading.files import is_nifti
from cfcam.imaging.reading.masks import pixels_inside
from cfcam.imaging.reading.nifti import read_nifti

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the picture, from its upper left corner."""
Notice = Callable[[str], None]
"""Told in one line what the user should know."""

_CORNERS = ("x0", "y0", "x1", "y1")


class CaseError(CfcamError, ValueError):
    """A case cannot be evaluated: its label or its ground truth does not fit."""


def parse_boxes(text: str) -> tuple[Box, ...]:
    """Returns the boxes in a JSON list of ``[x0, y0, x1, y1]``, or in a single such box.

    Raises:
        CaseError: the text is something else.
    """
    wrong = f"boxes {text[:80]!r}: give a JSON list of [x0, y0, x1, y1] in pixels, such as [[30, 23, 195, 182]]"
    try:
        values = json_text.parse(text, "boxes")
    except ValueError as error:
        raise CaseError(wrong) from error
    if isinstance(values, list) and len(values) == 4 and all(_is_number(v) for v in values):
        values = [values]
    if not isinstance(values, list) or not all(
        isinstance(box, list) and len(box) == 4 and all(_is_number(v) for v in box) for box in values
    ):
        raise CaseError(wrong)
    return tuple((float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in values)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def read_boxes(path: Path) -> dict[str, tuple[Box, ...]]:
    """Returns the boxes of each picture in a CSV file.

    It has a column ``image`` and either ``boxes``, as `cfcam.jobs.cases.table.read_table` reads it, or ``x0``, ``y0``,
    ``x1`` and ``y1`` with a line for each box. Commas, semicolons or tabs may separate the columns; others are ignored.

    Returns:
        File name of a picture, without its folder -> its boxes; a picture without any is there with none.

    Raises:
        CaseError: the file cannot be read, lacks these columns, or a line is wrong.
    """
    text = csv_text.read_text(path, CaseError)
    first = text.lstrip().partition("\n")[0]
    separator = next((s for s in (",", ";", "\t") if s in first), ",")
    lines = csv_text.lines_of(text, path.name, CaseError, separator=separator)
    first_line = next(lines, None)
    columns = [name.strip().casefold() for name in ([] if first_line is None else first_line.fields)]
    if "image" not in columns or not ("boxes" in columns or set(_CORNERS) <= set(columns)):
        raise CaseError(f"{path.name}: no boxes: give the columns image and boxes, or image, {', '.join(_CORNERS)}")
    found: dict[str, tuple[Box, ...]] = {}
    for line in lines:
        values = dict.fromkeys(columns, "") | {n: v.strip() for n, v in zip(columns, line.fields, strict=False)}
        name = Path(values["image"]).name
        try:
            found[name] = found.get(name, ()) + _boxes_of(values)
        except CaseError as error:
            raise CaseError(f"{path.name}: line {line.number}: {error}") from error
    return found


def _boxes_of(values: dict[str, str]) -> tuple[Box, ...]:
    if "boxes" in values:
        return parse_boxes(values["boxes"]) if values["boxes"] else ()
    corners = [values[name] for name in _CORNERS]
    return parse_boxes(f"[{', '.join(corners)}]") if any(corners) else ()


def read_masks(paths: Sequence[Path], size: tuple[int, int]) -> Tensor:
    """Returns the union of mask pictures as (H, W) bool; see `pixels_inside`.

    Args:
        paths: mask pictures.
        size: height and width of the picture that they belong to.

    Raises:
        ImageError: a file cannot be read.
        CaseError: a mask is of another size.
    """
    union = torch.zeros(size, dtype=torch.bool)
    for path in paths:
        mask = read_image(path)
        if mask.size != size:
            raise CaseError(_other_size(path, mask.size, size))
        union |= torch.from_numpy(pixels_inside(mask))
    return union


def _other_size(path: Path, mask: tuple[int, int], picture: tuple[int, int]) -> str:
    shown = f"the mask {path.name} is {mask[0]} x {mask[1]} pixels and the picture {picture[0]} x {picture[1]}"
    if mask == picture[::-1]:
        return f"{shown} (height x width): one of them is turned by a right angle; save both the same way up"
    return f"{shown} (height x width): save the mask at the picture's size"


def reaching(truth: Tensor, forth: Callable[[Tensor], Tensor], notice: Notice) -> Tensor | None:
    """Returns what of a ground truth reaches the network; None, with a notice, if nothing does.

    Args:
        truth: (*spatial) bool on the grid of the picture or volume.
        forth: brings it onto the grid of the network's input.
        notice: told why there is none.
    """
    if not bool(truth.any()):
        notice("the ground truth is empty: localisation is not assessed")
        return None
    on_grid = forth(truth)
    if not bool(on_grid.any()):
        notice("nothing of the ground truth reaches the network (cut away, or too small): localisation is not assessed")
        return None
    return on_grid


def fill_boxes(boxes: Sequence[Box], size: tuple[int, int], notice: Notice) -> Tensor:
    """Returns (H, W) bool: the pixels whose centres lie in a box, at least one for each box.

    Args:
        boxes: see `Box`; what reaches over the picture's edge is cut off, with a notice.
        size: height and width of the picture.
        notice: told of boxes that were cut.

    Raises:
        CaseError: a box has no area, or lies outside of the picture.
    """
    height, width = size
    mask = torch.zeros(size, dtype=torch.bool)
    for box in boxes:
        x0, y0, x1, y1 = box
        shown = f"the box [{', '.join(f'{v:g}' for v in box)}]"
        if x0 >= x1 or y0 >= y1:
            raise CaseError(f"{shown} is inverted or empty: give [x0, y0, x1, y1] with x0 < x1 and y0 < y1")
        if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
            raise CaseError(
                f"{shown} lies outside of the picture of {width} x {height} pixels (width x height): boxes are in"
                " pixels of the picture file"
            )
        if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
            notice(f"{shown} reaches out of the picture of {width} x {height} pixels (width x height) and was cut")
        mask[_between(y0, y1, height), _between(x0, x1, width)] = True
    return mask


def _between(low: float, high: float, length: int) -> slice:
    """The pixels of an axis whose centres lie in [low, high), or the one in the middle if there is none."""
    first, last = max(0, math.ceil(low - 0.5)), min(length, math.ceil(high - 0.5))
    if first >= last:
        first = min(length - 1, max(0, math.floor((low + high) / 2)))
        last = first + 1
    return slice(first, last)


def read_volume_masks(paths: Sequence[Path], volume: Volume, notice: Notice) -> Tensor:
    """Returns the union of masks as (D, H, W) bool on the volume's grid, by nearest neighbours.

    A NIfTI marks what is above 0. It is laid over the volume by its place in the patient, whichever way its axes run;
    where neither header says how it lies, it has to have the volume's own grid.

    Args:
        paths: NIfTI files, or DICOM Segmentations.
        volume: what they belong to.
        notice: told of masks that were resampled, that reach out of the volume, and of what is wrong in their headers.

    Raises:
        CaseError: a mask is of another kind, has no place where the volume has one, or lies outside of the volume.
        CfcamError: a file cannot be read.
    """
    union = torch.zeros(volume.size, dtype=torch.bool)
    for path in paths:
        union |= _read(path, volume, notice)
    return union


def _read(path: Path, volume: Volume, notice: Notice) -> Tensor:
    if not path.is_file():
        raise CaseError(f"the mask {path.name} is not there: check the path")
    if is_nifti(path):
        return torch.from_numpy(_from_nifti(path, volume, notice))
    if not is_segmentation(path):
        raise CaseError(f"the mask {path.name}: give a NIfTI (.nii, .nii.gz) or a DICOM Segmentation for a volume")
    marked, notices = read_segmentation(path, volume)
    for line in notices:
        _told(line, notice)
    return marked


def _from_nifti(path: Path, volume: Volume, notice: Notice) -> NDArray[np.bool_]:
    mask, name = read_nifti(path), path.name
    for line in mask_notices(mask, name):
        notice(line)
    grid = Lying.of(mask)
    try:
        marked = voxels_inside(mask, None, name)
        if mask.missing is not None and marked[~mask.missing].all():
            marked = np.ones_like(marked)  # numbers in the finding alone: what is outside of it the file does not say
        moved, notices = laid_over(marked, mask.affine, volume, name, placed=grid.placed, readings=grid.readings)
        way, _ = way_to_mask(grid, Lying.of(volume), name)
    except InputError as error:
        raise CaseError(str(error)) from error
    for line in notices:
        _told(line, notice)
    _tell_cut(marked, np.asarray(np.linalg.inv(way), dtype=np.float64), volume, name, notice)
    return moved


def _told(line: str, notice: Notice) -> None:
    if OUTSIDE in line:
        raise CaseError(line)
    notice(line)


def _tell_cut(marked: NDArray[np.bool_], way: Affine, volume: Volume, name: str, notice: Notice) -> None:
    """Tells how much of a mask lies outside of the volume, given the way from the mask's index to the volume's."""
    if marked.shape == volume.size and is_same(way):
        return
    within = ndimage.affine_transform(
        np.ones(volume.size, np.uint8),
        way[:3, :3],
        way[:3, 3],
        marked.shape,
        order=0,
        mode="grid-constant",
        cval=0,
    )
    lost = int((marked & (within == 0)).sum())
    if lost:
        notice(f"{lost} of the {int(marked.sum())} voxels of the mask {name} lie outside of the volume and were cut")
