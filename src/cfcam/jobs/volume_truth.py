"""Where a finding is in a volume: its masks, laid over it by their place in the patient."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from cfcam.clinical.organ_masks import OUTSIDE, laid_over
from cfcam.exchange.read_segmentation import is_segmentation, read_segmentation
from cfcam.imaging import Volume
from cfcam.imaging.nifti import read_nifti
from cfcam.imaging.volume import is_nifti
from cfcam.jobs.ground_truth import CaseError, Notice


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
    for line in mask.notices:
        notice(f"the mask {name}: {line}")
    marked = np.asarray(mask.voxels > 0)
    if mask.voxels.ndim > 3:
        raise CaseError(f"the mask {name} has several channels: save each as a file of its own")
    if not (mask.source.space and volume.source.space):
        _check_own_grid(mask, volume, name)
        return marked
    moved, notices = laid_over(marked, mask.affine, volume, name)
    for line in notices:
        _told(line, notice)
    _tell_cut(marked, mask, volume, name, notice)
    return moved


def _told(line: str, notice: Notice) -> None:
    if OUTSIDE in line:
        raise CaseError(line)
    notice(line)


def _check_own_grid(mask: Volume, volume: Volume, name: str) -> None:
    """Raises unless a mask and a volume of which one has no place are of one grid that has none."""
    if mask.source.space or volume.source.space:
        without, other = ("the mask", "the volume") if volume.source.space else ("the volume", "the mask")
        raise CaseError(
            f"the header of {without} does not say how it lies in the patient, and that of {other} does (mask {name}):"
            " save the mask with the volume's affine"
        )
    if mask.size != volume.size or not np.allclose(mask.affine, volume.affine, atol=1e-3):
        sizes = " and the volume ".join(" x ".join(map(str, one.size)) for one in (mask, volume))
        raise CaseError(
            f"the mask {name} has {sizes} voxels, and their headers do not say how they lie in the patient: save the"
            " mask on the volume's grid"
        )


def _tell_cut(marked: NDArray[np.bool_], mask: Volume, volume: Volume, name: str, notice: Notice) -> None:
    """Tells how much of a mask lies outside of the volume."""
    way = np.linalg.inv(volume.affine) @ mask.affine
    if mask.size == volume.size and np.allclose(way, np.eye(4), atol=1e-3):
        return
    within = ndimage.affine_transform(
        np.ones(volume.size, np.uint8),
        way[:3, :3],
        way[:3, 3],
        mask.size,
        order=0,
        mode="grid-constant",
        cval=0,
    )
    lost = int((marked & (within == 0)).sum())
    if lost:
        notice(f"{lost} of the {int(marked.sum())} voxels of the mask {name} lie outside of the volume and were cut")
