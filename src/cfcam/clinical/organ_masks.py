"""Where organs and artefacts are: masks from files, from a model of the user's, or, for lungs in CT, by threshold."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from cfcam.errors import InputError
from cfcam.imaging.masks import pixels_inside
from cfcam.imaging.nifti import read_nifti
from cfcam.imaging.read import Image, read_image
from cfcam.imaging.volume import Volume, is_nifti

_ASPECT = 0.01
_SAME_PLACE = 1e-3  # mm


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


def read_mask(path: str | os.PathLike[str], image: Image | Volume) -> tuple[Tensor, tuple[str, ...]]:
    """Reads a mask and brings it onto the grid of the image it belongs to.

    A grey picture that is somewhere at least half white marks what is; one that is nowhere (label values) and a
    coloured one mark what is not black. A NIfTI marks what is above 0.

    Args:
        path: a picture for a picture, a NIfTI for a volume.
        image: what the mask belongs to.

    Returns:
        (*spatial) bool, and a line for each thing that a user should know: that it was resampled, or is empty.

    Raises:
        InputError: the mask has other proportions than the picture, or is of another kind.
        ImageError: the file cannot be read.
    """
    name = Path(path).name
    if is_nifti(path) != isinstance(image, Volume):
        raise InputError(f"the mask {name}: give a NIfTI for a volume, and a picture for a picture")
    marked, notices = _from_volume(path, image) if isinstance(image, Volume) else _from_picture(path, image)
    if not marked.any():
        notices = [*notices, f"the mask {name} is empty"]
    return torch.from_numpy(marked), tuple(notices)


def _from_picture(path: str | os.PathLike[str], image: Image) -> tuple[NDArray[np.bool_], list[str]]:
    mask = read_image(path)
    marked = pixels_inside(mask)
    if mask.size == image.size:
        return marked, []
    sizes = f"{mask.size[0]} x {mask.size[1]} pixels and the picture {image.size[0]} x {image.size[1]}"
    if abs(mask.size[0] * image.size[1] / (mask.size[1] * image.size[0]) - 1) > _ASPECT:
        raise InputError(
            f"the mask {Path(path).name} is {sizes} (height x width): save it at the picture's proportions"
        )
    rows, columns = (
        ((np.arange(wanted) + 0.5) * have / wanted).astype(int)
        for wanted, have in zip(image.size, mask.size, strict=True)
    )
    return marked[np.ix_(rows, columns)], [f"the mask {Path(path).name} is {sizes}: it was resampled"]


def _from_volume(path: str | os.PathLike[str], volume: Volume) -> tuple[NDArray[np.bool_], list[str]]:
    mask = read_nifti(path)
    marked = np.asarray(mask.voxels > 0)
    way = np.linalg.inv(mask.affine) @ volume.affine
    same = mask.size == volume.size and bool(np.abs(mask.affine - volume.affine).max() < _SAME_PLACE)
    if same:
        return marked, []
    moved = ndimage.affine_transform(
        marked.astype(np.uint8), way[:3, :3], way[:3, 3], volume.size, order=0, mode="grid-constant"
    )
    return moved > 0, [f"the mask {Path(path).name} is on another grid: it was resampled by its place in the patient"]
