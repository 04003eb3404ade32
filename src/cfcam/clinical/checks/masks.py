"""Where organs and artefacts are: masks from files, from a model of the user's, or, for lungs in CT, by threshold."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from cfcam.clinical.checks.mask_place import Lying, is_reordering, is_same, way_to_mask
from cfcam.errors import InputError
from cfcam.imaging.geometry import Affine
from cfcam.imaging.image import Image
from cfcam.imaging.nifti_space import Reading
from cfcam.imaging.reading.files import is_nifti
from cfcam.imaging.reading.masks import pixels_inside
from cfcam.imaging.reading.nifti import read_nifti
from cfcam.imaging.reading.pictures import read_image
from cfcam.imaging.volume import NOT_FINITE, Volume

OUTSIDE = "lies wholly outside of the image"
"""What a notice says of a mask of which nothing lies in the image."""

_ASPECT = 0.01
_WHOLE = 2**24  # whole numbers up to this one are exact in float32
# Where the one slice's normal points: name of the view, where rows and columns run as radiologists are shown it.
_VIEWS = {"SI": ("axial", "PA", "LR"), "AP": ("coronal", "IS", "LR"), "LR": ("sagittal", "IS", "PA")}


class MaskProvider(Protocol):
    """Anything that finds regions in an image, such as a segmentation network."""

    def __call__(self, image: Image | Volume) -> Mapping[str, Tensor]:
        """Returns name -> (*spatial) bool, on the image's own grid."""
        ...


@dataclass(frozen=True)
class CtLungs:
    """A `MaskProvider` of the lungs in CT by threshold: air inside of the body, and the two largest parts of it.

    A fallback: consolidated lung is not air and is left out, a dilated airway or bowel gas may be taken in.

    Attributes:
        threshold: in HU; below it is air.
        closing: in voxels; vessels and small nodules up to twice this width count as lung.
    """

    threshold: float = -400.0
    closing: int = 3

    def __call__(self, image: Image | Volume) -> Mapping[str, Tensor]:
        """Returns {"lungs": (D, H, W) bool}, empty if there is no air inside.

        Raises:
            InputError: not a volume with one channel.
        """
        if not isinstance(image, Volume) or image.voxels.ndim != 3:
            raise InputError("lungs by threshold need a CT volume in HU with one channel: give a mask instead")
        if not image.placed:
            raise InputError("lungs by threshold: the header does not say where the head is: give a mask instead")
        up = next(axis for axis, code in enumerate(image.orientation) if code in "SI")
        labels, count = ndimage.label(image.voxels < self.threshold)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        sizes[0] = 0
        for axis in {0, 1, 2} - {up}:  # the chest is cut by the first and the last slice, and the lungs are open there
            for end in (0, -1):
                sizes[np.unique(labels.take(end, axis))] = 0
        largest = [part for part in np.argsort(sizes)[::-1][:2] if sizes[part]]
        lungs = np.isin(labels, largest)
        ball = ndimage.generate_binary_structure(3, 1)
        padded = np.pad(lungs, self.closing, mode="edge")
        closed = ndimage.binary_closing(padded, ball, iterations=self.closing)
        inner = (slice(self.closing, -self.closing),) * 3 if self.closing else (slice(None),) * 3
        return {"lungs": torch.from_numpy(closed[inner].copy())}


def read_mask(
    path: str | os.PathLike[str], image: Image | Volume, *, labels: Sequence[int] | None = None
) -> tuple[Tensor, tuple[str, ...]]:
    """Reads a mask and brings it onto the grid of the image it belongs to, by nearest neighbours.

    A grey picture that is somewhere at least half white marks what is; one that is nowhere (label values) and a
    coloured one mark what is not black. A NIfTI marks what is above 0. A NIfTI is laid by its place in the patient over
    volumes, and over pictures that have a place too; over a picture without one as it would be shown: columns towards
    the patient's left (of sagittal ones posterior), rows towards the feet or posterior.

    DICOM Segmentations are read by `cfcam.exchange.dicom.read_segmentation`.

    Args:
        path: a picture for a picture, or a NIfTI.
        image: what the mask belongs to.
        labels: which values of a NIfTI mark what is asked for; None: all above 0.

    Returns:
        (*spatial) bool, and a line for each thing that a user should know: that it was resampled, is empty, or lies
        wholly outside of the image.

    Raises:
        InputError: the mask has other proportions than the picture, or is of another kind.
        ImageError: the file cannot be read.
    """
    name = Path(path).name
    if is_nifti(path):
        marked, notices = _from_nifti(path, image, labels)
    elif isinstance(image, Volume):
        raise InputError(f"the mask {name}: give a NIfTI for a volume, or a DICOM Segmentation")
    elif labels is not None:
        raise InputError(
            f"the mask {name}: labels are chosen from NIfTI masks and DICOM Segmentations, not of pictures"
        )
    else:
        marked, notices = _from_picture(path, image)
    if not marked.any() and not any(OUTSIDE in notice for notice in notices):
        notices = [*notices, f"the mask {name} is empty"]
    return torch.from_numpy(marked), tuple(notices)


def laid_over(
    marked: NDArray[np.bool_],
    affine: Affine,
    image: Image | Volume,
    name: str,
    *,
    placed: bool = True,
    readings: tuple[Reading, ...] = (),
) -> tuple[NDArray[np.bool_], list[str]]:
    """Lays a mask over an image that has a place in the patient, or over a volume of the same grid that has none.

    Args:
        marked: (D, H, W) on the mask's grid.
        affine: of the mask, index to mm, RAS+.
        image: a `Volume`, or an `Image` with an affine.
        name: what to call the mask.
        placed: whether the mask's file says how it lies in the patient.
        readings: where else other programs have the mask.

    Returns:
        (*spatial) on the image's grid, and notices: that it was resampled, by which of several transforms it was laid,
        or that nothing of it lies in the image.

    Raises:
        InputError: where it lies cannot be told, see `cfcam.clinical.checks.mask_place.way_to_mask`.
    """
    grid = Lying.of(image)
    way, notices = way_to_mask(Lying(_three(marked.shape), affine, placed, readings), grid, name)
    if is_same(way) and marked.shape == grid.size:
        moved = marked
    else:
        moved = (
            ndimage.affine_transform(
                marked.astype(np.uint8), way[:3, :3], way[:3, 3], grid.size, order=0, mode="grid-constant", cval=0
            )
            > 0
        )
    if not is_reordering(way):
        notices.append(f"the mask {name} is on another grid: it was resampled by its place in the patient")
    if marked.any() and not moved.any():
        notices.append(f"the mask {name} {OUTSIDE}: is it of this patient and this examination?")
    return moved.reshape(image.size), notices


def voxels_inside(mask: Volume, labels: Sequence[int] | None, name: str) -> NDArray[np.bool_]:
    """Returns (D, H, W) bool: which voxels of a NIfTI mask mark what is asked for; what is no number marks nothing.

    Raises:
        InputError: the mask has several channels, or a label cannot be told from its neighbours.
    """
    if mask.voxels.ndim > 3:
        raise InputError(f"the mask {name} has several channels: save each as a file of its own")
    if labels is not None and max(map(abs, labels), default=0) > _WHOLE:
        raise InputError(f"the mask {name}: labels above {_WHOLE} cannot be told apart: give it smaller ones")
    marked = np.asarray(mask.voxels > 0 if labels is None else np.isin(mask.voxels, list(labels)))
    return marked if mask.missing is None else marked & ~mask.missing


def fitted(marked: NDArray[np.bool_], image: Image, name: str) -> tuple[NDArray[np.bool_], list[str]]:
    """Brings a mask (H, W) to the size of a picture of the same proportions, with a notice.

    Raises:
        InputError: the proportions are others, or those of the picture on its side.
    """
    size = marked.shape
    if size == image.size:
        return marked, []
    sizes = f"{size[0]} x {size[1]} pixels and the picture {image.size[0]} x {image.size[1]} (height x width)"
    if abs(size[0] * image.size[1] / (size[1] * image.size[0]) - 1) > _ASPECT:
        turned = abs(size[1] * image.size[1] / (size[0] * image.size[0]) - 1) <= _ASPECT
        way = "one of them is turned by a right angle: " if turned else ""
        raise InputError(f"the mask {name} is {sizes}: {way}save it upright, at the picture's proportions")
    rows, columns = (
        ((np.arange(wanted) + 0.5) * have / wanted).astype(int) for wanted, have in zip(image.size, size, strict=True)
    )
    return marked[np.ix_(rows, columns)], [f"the mask {name} is {sizes}: it was resampled"]


def _from_picture(path: str | os.PathLike[str], image: Image) -> tuple[NDArray[np.bool_], list[str]]:
    return fitted(pixels_inside(read_image(path)), image, Path(path).name)


def _from_nifti(
    path: str | os.PathLike[str], image: Image | Volume, labels: Sequence[int] | None
) -> tuple[NDArray[np.bool_], list[str]]:
    mask = read_nifti(path)
    name = Path(path).name
    marked = voxels_inside(mask, labels, name)
    notices = mask_notices(mask, name)
    if isinstance(image, Volume) or image.affine is not None:
        grid = Lying.of(mask)
        moved, more = laid_over(marked, mask.affine, image, name, placed=grid.placed, readings=grid.readings)
    else:
        if not mask.placed:
            raise InputError(
                f"the header of the mask {name} does not say how it lies in the patient, and the picture has no place:"
                " which way up it is cannot be told; give the mask as a picture"
            )
        flat, view = _as_shown(marked, mask.orientation, name)
        moved, more = fitted(flat, image, name)
        more.append(
            f"the mask {name} was laid over the picture as a {view} view is shown, for the picture has no place"
        )
    return moved, notices + more


def mask_notices(mask: Volume, name: str) -> list[str]:
    """Returns what a user should know of how a NIfTI mask was read, a line each."""
    lines = [line for line in mask.notices if NOT_FINITE not in line]
    if mask.missing is not None:
        lines.append(f"{int(mask.missing.sum())} voxels {NOT_FINITE} (of {mask.missing.size}): they mark nothing")
    return [f"the mask {name}: {line}" for line in lines]


def _three(shape: tuple[int, ...]) -> tuple[int, int, int]:
    depth, height, width = shape
    return depth, height, width


def _as_shown(marked: NDArray[np.bool_], codes: str, name: str) -> tuple[NDArray[np.bool_], str]:
    """A mask of one slice as (rows, columns) of a picture in radiological convention, and what the view is called."""
    thin = [axis for axis in range(3) if marked.shape[axis] == 1]
    if not thin:
        shown = " x ".join(map(str, marked.shape))
        raise InputError(f"the mask {name} has {shown} voxels and the picture no place in space: give one slice")
    normal = thin[0]
    view, rows, columns = next(ways for ends, ways in _VIEWS.items() if codes[normal] in ends)
    order = [next(axis for axis in range(3) if codes[axis] in ends) for ends in (rows, columns)]
    flat = marked.transpose(normal, *order)[0]
    for axis, (source, ends) in enumerate(zip(order, (rows, columns), strict=True)):
        if codes[source] != ends[0]:
            flat = np.flip(flat, axis)
    return np.ascontiguousarray(flat), view
