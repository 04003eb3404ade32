"""Affines in every order of axes, for tests of volumes."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np

from cfcam.imaging.volume import Volume
from tests.imaging.dicoms import rotated

ORDERS = [*("".join(letters) for letters in itertools.product("RL", "AP", "SI")), "PSR", "SPL", "IRA", "ASL", "PIR"]

_DIRECTIONS = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


def affine_of(codes, spacing=(1.5, 2.0, 3.0), tilt=0.0, origin=(12.0, -34.0, 56.0)):
    """An affine whose axes point as `codes` say, all turned by `tilt` degrees about an oblique axis."""
    axes = np.array([_DIRECTIONS[code] for code in codes], dtype=np.float64)
    if tilt:
        axes = np.array(rotated([tuple(axis) for axis in axes], tilt))
    affine = np.eye(4)
    affine[:3, :3] = (axes * np.array(spacing)[:, None]).T
    affine[:3, 3] = origin
    return affine


def stored_as(volume, codes):
    """The same voxels at the same places, in another order of axes."""
    image = nib.Nifti1Image(np.asarray(volume.voxels), volume.affine)
    change = nib.orientations.ornt_transform(
        nib.io_orientation(volume.affine), nib.orientations.axcodes2ornt(tuple(codes))
    )
    turned = image.as_reoriented(change)
    return Volume(turned.get_fdata(dtype=np.float32), turned.affine)
