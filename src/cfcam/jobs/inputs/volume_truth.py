"""Where a finding is in a volume: its masks, laid over it by their place in the patient."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from cfcam.clinical.checks.mask_place import Lying, is_same, way_to_mask
from cfcam.clinical.checks.masks import OUTSIDE, laid_over, mask_notices, voxels_inside
from cfcam.errors import InputError
from cfcam.exchange.dicom.read_segmentation import is_segmentation, read_segmentation
from cfcam.imaging import Volume
from cfcam.imaging.geometry import Affine
from cfcam.imaging.reading.nifti import read_nifti
from cfcam.imaging.volume import is_nifti
from cfcam.jobs.inputs.ground_truth import CaseError, Notice


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
