"""How a NIfTI header places its voxels: the transform that counts here, and what other readers make of the same header.

NIfTI-1.1 (nifti1.h, "3D IMAGE (VOLUME) ORIENTATION AND LOCATION IN SPACE") allows two transforms, each with a code for
the space it leads to, and leaves open which one counts. nibabel takes the sform, ITK (ITK-SNAP, 3D Slicer) the qform
unless the sform's code is 1, NiiVue the one with the higher code; ITK takes the voxel sizes from ``pixdim`` even where
it takes the sform. So a map carries all of it, field by field, and lies on its source in every one of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfcam.errors import ImageError
from cfcam.imaging.geometry import Affine, check_affine, is_sheared, spacing_of

NO_UNIT = "lengths are taken as mm"
"""What is said where a header names no unit, as most files made with nibabel do not."""

_FIELDS = (
    "sform_code", "qform_code", "xyzt_units", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y",
    "qoffset_z", "srow_x", "srow_y", "srow_z",
)  # fmt: skip
_TO_MM = {1: 1e3, 2: 1.0, 3: 1e-3}  # NIFTI_UNITS_METER, NIFTI_UNITS_MM, NIFTI_UNITS_MICRON
_UNIT_NAMES = {1: "metres", 3: "micrometres"}
_ELSEWHERE = {3: "Talairach", 4: "MNI"}  # codes of spaces that are not the scanner's; 5 is any other template
_AGREEMENT, _SHARE = 0.1, 0.25  # mm, and share of the smallest voxel: a quaternion of 32 bits is off by 0.15 of one
_SIZES = 0.01
_SCANNER = 1


@dataclass(frozen=True, eq=False)
class Reading:
    """Where another reader has the voxels of the same file.

    Attributes:
        affine: index to mm, RAS+.
        how: what that reader goes by.
        rival: whether a mask on another grid may just as well belong to this place as to the one that counts here.
    """

    affine: Affine
    how: str
    rival: bool = True


@dataclass(frozen=True, eq=False)
class NiftiSpace:
    """The place of a NIfTI file's voxels, as it is stored.

    Attributes:
        version: 1 or 2, of the format.
        affine: the transform that counts here, in mm.
        fields: the header's fields of sform, qform, both codes and units, untouched.
        pixdim: the first four, with the qform's handedness.
        readings: where other readers have the voxels, if elsewhere.
    """

    version: int
    affine: Affine
    fields: dict[str, Any] = field(repr=False)
    pixdim: NDArray[Any] = field(repr=False)
    readings: tuple[Reading, ...] = ()

    @property
    def assumed(self) -> tuple[str, ...]:
        """What was assumed for want of a word in the header, a line each; too common to be a notice."""
        return () if int(self.fields["xyzt_units"]) & 7 else (f"the header names no unit of length: {NO_UNIT}",)

    def write_to(self, header: Any) -> None:
        """Give another header of nibabel's the same place and units."""
        for name, value in self.fields.items():
            header[name] = value
        header["pixdim"][:4] = self.pixdim


def space_of(header: Any, stored: Any, where: str, notices: list[str]) -> tuple[NiftiSpace, int]:
    """Return the place of a file's voxels and the code of the space it is in; what a user should know is told.

    Args:
        header: nibabel's, checked and put right.
        stored: the same as it is in the file.
        where: the file, for messages.
        notices: lines are added.

    Raises:
        ImageError: the transform that counts is broken or singular.
    """
    unit = int(header["xyzt_units"]) & 7
    scale = _TO_MM.get(unit, 1.0)
    to_mm = np.diag([scale, scale, scale, 1.0])
    s_code, q_code = int(header["sform_code"]), int(header["qform_code"])
    affine = _best(header, to_mm, where)
    readings: list[Reading] = []
    if s_code and q_code:
        readings += _by_qform(header, affine, to_mm, s_code, notices)
    elif s_code:
        readings += _by_sizes(header, affine, scale, notices)
    elif not q_code:
        readings += _by_nothing(header, scale, notices)
    if (s_code or q_code) > 2:
        space = _ELSEWHERE.get(s_code or q_code, "a template's")
        notices.append(f"its transform leads to {space} space: places in mm are there, not in the scanner")
    if is_sheared(affine):
        notices.append(
            "its axes are not at right angles: sizes and distances are computed by its affine, and pictures are drawn"
            " as if they were"
        )
    if unit and unit not in _TO_MM:
        notices.append(f"its header names the unit of length by {unit}, which is none: {NO_UNIT}")
    elif unit in _UNIT_NAMES:
        notices.append(f"its header counts in {_UNIT_NAMES[unit]}, which nibabel and NiiVue take as mm: brought to mm")
        plain = np.linalg.inv(to_mm) @ affine
        readings.append(Reading(plain, "its numbers taken as mm (as nibabel does)", rival=False))
    fields = {name: np.array(stored[name]) for name in _FIELDS}
    version = 2 if int(stored["sizeof_hdr"]) == 540 else 1
    return NiftiSpace(version, affine, fields, np.array(stored["pixdim"][:4]), tuple(readings)), s_code or q_code


def _best(header: Any, to_mm: Affine, where: str) -> Affine:
    from nibabel.spatialimages import HeaderDataError

    try:
        return check_affine(to_mm @ header.get_best_affine(), where)
    except (HeaderDataError, ValueError) as error:  # ValueError: a quaternion that is none
        if isinstance(error, ImageError):
            raise
        raise ImageError(
            f"{where}: its header holds no usable transform (voxel sizes or handedness are wrong); repair it first"
        ) from error


def _by_qform(header: Any, affine: Affine, to_mm: Affine, s_code: int, notices: list[str]) -> list[Reading]:
    from nibabel.spatialimages import HeaderDataError

    others = "" if s_code == _SCANNER else "; ITK (ITK-SNAP, 3D Slicer) takes the qform"
    try:
        other = check_affine(to_mm @ header.get_qform(), "qform")
    except (HeaderDataError, ValueError):
        notices.append(f"its qform is broken: the sform is used{others}")
        return []
    shape = header.get_data_shape()[:3]
    apart = corners_apart(affine, other, shape)
    if apart <= min(_AGREEMENT, _SHARE * min(spacing_of(affine))):
        return []
    shown = f"{apart:.1f}" if apart >= _AGREEMENT else f"{apart:.2g}"
    notices.append(f"its sform and qform disagree by {shown} mm: the sform is used{others}")
    return [Reading(other, "its qform" + (" (as ITK takes it)" if others else ""))]


def _by_sizes(header: Any, affine: Affine, scale: float, notices: list[str]) -> list[Reading]:
    """ITK takes directions and origin of an sform, and the sizes of the voxels from pixdim."""
    sizes = np.abs(np.asarray(header["pixdim"][1:4], dtype=np.float64)) * scale
    own = np.array(spacing_of(affine))
    if np.allclose(sizes, own, rtol=_SIZES) or not np.isfinite(sizes).all() or not (sizes > 0).all():
        return []
    shown, used = (" x ".join(f"{mm:.4g}" for mm in lengths) for lengths in (sizes, own))
    notices.append(
        f"its header gives voxels of {shown} mm and its sform of {used} mm: the sform is used; ITK (ITK-SNAP, 3D"
        " Slicer) takes the header's"
    )
    other = np.array(affine)
    other[:3, :3] *= sizes / own
    return [Reading(other, "its voxel sizes (as ITK takes them)", rival=False)]


def _by_nothing(header: Any, scale: float, notices: list[str]) -> list[Reading]:
    notices.append("its header does not say how it lies in the patient: left and right are unknown")
    sizes = np.abs(np.asarray(header["pixdim"][1:4], dtype=np.float64)) * scale
    ways = {"ITK": (-1, -1, 1), "NiiVue": (1, 1, 1)}
    return [
        Reading(np.diag([*(sizes * way), 1.0]), f"no transform (as {reader} takes it)", rival=False)
        for reader, way in ways.items()
    ]


def corners_apart(first: Affine, second: Affine, size: tuple[int, ...]) -> float:
    """Return how far apart two affines put the corner voxels of a grid at most, in mm; infinite if not finite."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in size], [1])).reshape(4, -1)
    apart = float(np.linalg.norm(((first - second) @ corners)[:3], axis=0).max())
    return apart if math.isfinite(apart) else math.inf
