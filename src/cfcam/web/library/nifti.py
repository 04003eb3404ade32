"""An array in memory as an uncompressed NIfTI file that is sent piece by piece, without a copy of the array.

NIfTI counts its first index fastest. So a picture's rows, and the slices of a DICOM series, lie in memory as the file
wants them, and are sent from there. Both transforms are written, and agree; an affine whose axes are not at right
angles is written as sform alone, which a qform cannot hold.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfcam.errors import ImageError
from cfcam.imaging.geometry import Affine, is_sheared, spacing_of

_CODES = {"uint8": 2, "int16": 4, "float32": 16, "uint16": 512}  # nifti1.h, "DATA TYPE"
_RGB = 128
_MM = 2
_SCANNER = 1
_HEADER = struct.Struct("<i10s18sihcB8h3f4h8f3fhBB4f2i80s24s2h6f4f4f4f16s4s")
_VOXELS_AT = 352
_PIECE = 2**20


@dataclass(frozen=True, eq=False)
class Unwritten:
    """A file that is not written.

    Attributes:
        header: all that stands before the voxels.
        voxels: their bytes, as they lie in memory.
    """

    header: bytes
    voxels: memoryview

    def __len__(self) -> int:
        return len(self.header) + self.voxels.nbytes

    def pieces(self, size: int = _PIECE) -> Iterator[bytes | memoryview]:
        """Yields the file, a piece of it after the other."""
        yield self.header
        for start in range(0, self.voxels.nbytes, size):
            yield self.voxels[start : start + size]


@dataclass(frozen=True, eq=False)
class Nifti(Unwritten):
    """A NIfTI file that is not written.

    Attributes:
        shape: (i, j, k) of the file.
        dtype: of a value; "rgb" for three bytes of colour.
    """

    shape: tuple[int, int, int]
    dtype: str


def of_picture(
    pixels: NDArray[Any], spacing: tuple[float, float] | None = None, *, slope: float = 1.0, window: Any = None
) -> Nifti:
    """Returns a picture as one coronal slice, so that its left is shown on the left in radiological convention.

    Args:
        pixels: `(H, W)` uint8, uint16, int16 or float32; `(H, W, 3)` uint8.
        spacing: of rows and columns in mm; None: 1.
        slope: by which stored values are multiplied.
        window: from where to where values are shown.
    """
    height, width = pixels.shape[:2]
    down, right = spacing or (1.0, 1.0)
    return _file(pixels, (width, 1, height), np.diag([-right, 1.0, -down, 1.0]), slope, window)


def of_volume(voxels: NDArray[Any], affine: Affine, *, slope: float = 1.0, window: Any = None) -> Nifti:
    """Returns a volume whose last axis is the file's first, as that of a DICOM series is, or of an array turned about.

    Args:
        voxels: `(D, H, W)`, uint8, uint16, int16 or float32.
        affine: from (w, h, d) to mm, RAS+.
        slope: by which stored values are multiplied.
        window: from where to where values are shown.
    """
    depth, height, width = voxels.shape
    return _file(voxels, (width, height, depth), affine, slope, window)


def as_npy(values: NDArray[Any]) -> Unwritten:
    """Returns an array as NumPy's own file."""
    header, whole = BytesIO(), np.ascontiguousarray(values)
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(whole))
    return Unwritten(header.getvalue(), whole.data.cast("B"))


def _file(
    values: NDArray[Any], shape: tuple[int, int, int], affine: Affine, slope: float, window: tuple[float, float] | None
) -> Nifti:
    if max(shape) > np.iinfo(np.int16).max:
        raise ImageError(f"has a side of {max(shape)}: NIfTI-1 holds 32767 and browsers draw fewer; cut it into parts")
    colours = values.ndim == 3 and values.shape[2] == 3 and shape[1] == 1
    code = _RGB if colours else _CODES[values.dtype.name]
    memory = np.ascontiguousarray(values).data.cast("B")
    bits = 24 if colours else values.dtype.itemsize * 8
    header = _header(shape, code, bits, np.asarray(affine, np.float64), slope, window or (0.0, 0.0))
    return Nifti(header, memory, shape, "rgb" if colours else values.dtype.name)


def _header(
    shape: tuple[int, int, int], code: int, bits: int, affine: Affine, slope: float, window: tuple[float, float]
) -> bytes:
    sizes = spacing_of(affine)
    sheared = is_sheared(affine)
    handed, quaternion = (1.0, (0.0, 0.0, 0.0)) if sheared else _quaternion(affine[:3, :3] / sizes)
    low, high = window
    packed = _HEADER.pack(
        348, b"", b"", 0, 0, b"r", 0,
        3, *shape, 1, 1, 1, 1,
        0.0, 0.0, 0.0, 0, code, bits, 0,
        handed, *sizes, 0.0, 0.0, 0.0, 0.0,
        float(_VOXELS_AT), slope, 0.0, 0, 0, _MM,
        high, low, 0.0, 0.0, 0, 0, b"", b"",
        0 if sheared else _SCANNER, _SCANNER,
        *quaternion, *affine[:3, 3],
        *affine[0], *affine[1], *affine[2],
        b"", b"n+1\0",
    )  # fmt: skip
    return packed + bytes(_VOXELS_AT - len(packed))


def _quaternion(axes: NDArray[np.float64]) -> tuple[float, tuple[float, float, float]]:
    """The handedness of axes at right angles, and b, c, d of their rotation (nifti1.h, "METHOD 2").

    The greatest of the four components is found first, and the others by dividing by it.
    """
    handed = 1.0 if np.linalg.det(axes) > 0 else -1.0
    m = axes * (1.0, 1.0, handed)
    trace = float(np.trace(m))
    squares = np.array([1 + trace, *(1 - trace + 2 * np.diag(m))]) / 4
    most = int(np.argmax(squares))
    first = float(np.sqrt(squares[most]))
    mixed = {
        (0, 1): m[2, 1] - m[1, 2], (0, 2): m[0, 2] - m[2, 0], (0, 3): m[1, 0] - m[0, 1],
        (1, 2): m[0, 1] + m[1, 0], (1, 3): m[0, 2] + m[2, 0], (2, 3): m[1, 2] + m[2, 1],
    }  # fmt: skip
    found = [first if n == most else mixed[min(n, most), max(n, most)] / (4 * first) for n in range(4)]
    sign = -1.0 if found[0] < 0 else 1.0  # a is taken to be positive by every reader
    return handed, (sign * found[1], sign * found[2], sign * found[3])
