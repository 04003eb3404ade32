"""Scans of which an independent reader says where each voxel lies: nibabel for NIfTI, SimpleITK for DICOM series."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK

from tests.imaging.dicoms import AXIAL, CORONAL, SAGITTAL, ct_series, phantom, rotated
from tests.imaging.grids import affine_of

SHAPE = (9, 14, 12)
"""Slices, rows and columns of every scan: no two axes alike."""


@dataclass(frozen=True)
class Place:
    """A voxel as the independent reader has it.

    Attributes:
        value: what the scan holds there; no other voxel holds it.
        mm: its centre in the patient, RAS+.
        step: the longest way from it to a neighbour, in mm.
    """

    value: float
    mm: tuple[float, float, float]
    step: float


@dataclass(frozen=True)
class Scan:
    """A scan that is drawn into a folder, and read by somebody else.

    Attributes:
        name: what is special about it.
        draw: writes it into a folder and returns what is given to the viewer.
        read: values (any axes) and the affine from their indices to mm, RAS+.
    """

    name: str
    draw: Callable[[Path], Path]
    read: Callable[[Path], tuple[np.ndarray, np.ndarray]]

    def places(self, given: Path, count: int = 50) -> list[Place]:
        """Returns voxels anywhere in the scan, corners among them."""
        values, affine = self.read(given)
        chosen = np.random.default_rng(7).choice(values.size, count - 2, replace=False)
        step = float(np.linalg.norm(affine[:3, :3], axis=0).max())
        found = []
        for flat in (0, values.size - 1, *map(int, chosen)):
            index = np.unravel_index(flat, values.shape)
            x, y, z = (affine @ [*index, 1.0])[:3]
            found.append(Place(float(values[index]), (float(x), float(y), float(z)), step))
        return found


def _series(axes: tuple[tuple[float, ...], ...]) -> Callable[[Path], Path]:
    def draw(folder: Path) -> Path:
        ct_series(folder / "series", phantom(SHAPE), axes)
        return folder / "series"

    return draw


def _by_simpleitk(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    return SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0), to_ras @ affine


def _nifti(
    codes: str, tilt: float = 0.0, form: str = "both", kind: type[np.generic] = np.int16
) -> Callable[[Path], Path]:
    def draw(folder: Path) -> Path:
        affine = affine_of(codes, tilt=tilt)
        image = nib.Nifti1Image(phantom(SHAPE).astype(kind), affine)
        image.header.set_xyzt_units("mm")
        image.set_sform(affine if form != "qform" else None, code=1 if form != "qform" else 0)
        image.set_qform(affine if form != "sform" else None, code=1 if form != "sform" else 0)
        if form == "scaled":  # stored values are halves: slope and intercept of the header
            image.header.set_slope_inter(0.5, -1000)
        path = folder / f"{codes}.nii.gz"
        nib.save(image, path)
        return path

    return draw


def _by_nibabel(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = nib.load(path)
    return np.asarray(image.get_fdata()), image.affine


SCANS = (
    Scan("axial CT", _series(AXIAL), _by_simpleitk),
    Scan("coronal CT", _series(CORONAL), _by_simpleitk),
    Scan("sagittal CT", _series(SAGITTAL), _by_simpleitk),
    Scan("oblique CT", _series(rotated(AXIAL, 23)), _by_simpleitk),
    *(Scan(f"NIfTI {codes}", _nifti(codes), _by_nibabel) for codes in ("RAS", "LPS", "LAS", "PSR", "IRA")),
    Scan("oblique MR", _nifti("LPS", tilt=17), _by_nibabel),
    Scan("sform alone", _nifti("PIR", tilt=9, form="sform"), _by_nibabel),
    Scan("qform alone", _nifti("LAS", tilt=9, form="qform"), _by_nibabel),
    Scan("slope and intercept", _nifti("RAS", form="scaled"), _by_nibabel),
    Scan("float voxels", _nifti("LPS", kind=np.float32), _by_nibabel),
)
