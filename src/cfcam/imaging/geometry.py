"""Where the voxels of a grid lie in the patient: 4 x 4 affines, anatomical directions, spacings.

One convention throughout: ``affine @ (i, j, k, 1)`` is the centre of voxel ``[i, j, k]`` of an array, in
millimetres, with x towards the patient's right, y towards anterior and z towards superior (RAS+), as in
nibabel. DICOM and ITK count x and y the other way round (LPS+): ``RAS = diag(-1, -1, 1, 1) @ LPS``.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cfcam.errors import ImageError, InputError

Affine = NDArray[np.float64]

LPS_TO_RAS: Affine = np.diag([-1.0, -1.0, 1.0, 1.0])
LPS_TO_RAS.flags.writeable = False

_ENDS = ("LR", "PA", "IS")
_SMALLEST_SPACING, _LARGEST_SPACING = 1e-4, 1e4  # mm: from a micrograph to an error
_SHEAR = 1e-3  # cosine between two axes; scanners round theirs to six digits


def check_affine(affine: ArrayLike, where: str) -> Affine:
    """Return a 4 x 4 affine as a read-only array.

    Args:
        affine: of any array-like kind.
        where: what it belongs to, for the message.

    Raises:
        ImageError: it is not 4 x 4 and finite, an axis has no or an absurd length, or its axes lie in one plane
            (it is singular), so that there is no way back from a place to a voxel.
    """
    matrix = np.array(affine, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.allclose(matrix[3], (0, 0, 0, 1)):
        raise ImageError(
            f"{where}: its affine is no finite 4 x 4 matrix with the last row 0 0 0 1; repair the header first"
        )
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if not ((lengths > _SMALLEST_SPACING) & (lengths < _LARGEST_SPACING)).all():
        shown = " x ".join(f"{length:g}" for length in lengths)
        raise ImageError(f"{where}: its affine gives voxels of {shown} mm, which cannot be; repair the header first")
    volume = abs(float(np.linalg.det(matrix[:3, :3] / lengths)))
    if volume < 1e-3:
        raise ImageError(
            f"{where}: its affine is singular (its axes span a volume of {volume:.1g}, not 1): places cannot be told"
            " apart; repair the header first"
        )
    matrix.flags.writeable = False
    return matrix


def spacing_of(affine: Affine) -> tuple[float, float, float]:
    """Return the distances between voxel centres along the three axes of the array, in mm."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return float(lengths[0]), float(lengths[1]), float(lengths[2])


def cell_size(affine: Affine, axes: int) -> float:
    """Return the area (2 axes) or volume (3 axes) that belongs to one position of a grid, in mm² or mm³.

    Of a sheared grid it is less than the product of its spacings: the determinant; in a plane the cross product.
    """
    ways = np.asarray(affine, dtype=np.float64)[:3, :axes]
    return float(np.sqrt(np.linalg.det(ways.T @ ways)))


def metric_of(affine: Affine, axes: int) -> Affine:
    """Return an upper triangular (axes, axes) with the lengths and angles of a grid's axes, whichever way it lies.

    The length of ``metric_of(affine, n) @ steps`` is how far apart two positions are, in mm; on a grid at right angles
    it is the diagonal of its spacings.
    """
    ways = np.asarray(affine, dtype=np.float64)[:-1, :axes]
    upper = np.linalg.qr(ways)[1]
    found: Affine = upper * np.where(np.diag(upper) < 0, -1.0, 1.0)[:, None]
    return found


def axis_codes(affine: Affine) -> str:
    """Return for each axis of the array the patient's direction nearest to it, such as "RAS" or "PSR".

    The letter is where the index grows: R, L (right, left), A, P (anterior, posterior), S, I (superior, inferior).
    Of all assignments of axes to directions it is the one with the greatest sum of cosines.
    """
    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    best = max(permutations(range(3)), key=lambda ways: sum(abs(cosines[way, axis]) for axis, way in enumerate(ways)))
    return "".join(_ENDS[way][int(cosines[way, axis] > 0)] for axis, way in enumerate(best))


def obliqueness(affine: Affine) -> float:
    """Return the largest angle in degrees between an axis of the array and its anatomical direction."""
    cosines = np.abs(affine[:3, :3]) / np.linalg.norm(affine[:3, :3], axis=0)
    ways = [_way(code) for code in axis_codes(affine)]
    return float(np.degrees(np.arccos(np.clip([cosines[way, axis] for axis, way in enumerate(ways)], 0, 1)).max()))


def is_sheared(affine: Affine) -> bool:
    """Whether the axes are not at right angles, as after a tilted gantry."""
    return skewness(affine) > float(np.degrees(np.arcsin(_SHEAR)))


def skewness(affine: Affine) -> float:
    """Return by how many degrees two axes of the array are off a right angle at most."""
    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.degrees(np.arcsin(np.clip(np.abs(cosines.T @ cosines - np.eye(3)).max(), 0, 1))))


def turned(codes: str, into: str) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Return how an array with some axis codes is brought into others: by transposing and flipping, nothing else.

    Args:
        codes: of the array, from `axis_codes`.
        into: the codes wanted, such as "RAS".

    Returns:
        For each axis of the result: which axis of the array it is, and whether it runs backwards.

    Raises:
        InputError: ``codes`` or ``into`` do not name each of the three directions once.
    """
    check_codes(codes)
    check_codes(into)
    ways = [_way(code) for code in codes]
    axes = [ways.index(_way(code)) for code in into]
    flips = [codes[axis] != code for axis, code in zip(axes, into, strict=True)]
    return (axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2])


def check_codes(codes: str) -> None:
    """Raise an `InputError` unless these are three letters that name each direction once, such as "RAS"."""
    known = [_way(code) for code in codes if any(code in ends for ends in _ENDS)]
    if len(codes) != 3 or sorted(known) != [0, 1, 2]:
        raise InputError(
            f"orientation {codes!r}: give three letters, one each of R or L, A or P, S or I, for where the axes point,"
            " like RAS"
        )


def _way(code: str) -> int:
    return next(way for way, ends in enumerate(_ENDS) if code in ends)
