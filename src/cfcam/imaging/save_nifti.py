"""A map out, as a NIfTI file on the grid of its volume."""

from __future__ import annotations

import gzip
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from cfcam.errors import ImageError, InputError, MissingExtraError
from cfcam.files import write_whole, writing
from cfcam.imaging.geometry import is_sheared
from cfcam.imaging.image import as_array

if TYPE_CHECKING:
    pass
from cfcam.imaging.reading.files import is_nifti
from cfcam.imaging.volume import Volume, display_range

_GZIP_LEVEL = 4  # a map of 256 x 256 x 128 takes 0.5 s; level 9 takes thrice that for 2 % less


def save_map_nifti(
    values: Tensor | ArrayLike,
    volume: Volume,
    path: str | os.PathLike[str],
    *,
    description: str = "",
    window: tuple[float, float] | None = None,
) -> Path:
    """Write a map as NIfTI on the grid of the volume it belongs to, whole or not at all.

    The file has the volume's place, so that every reader lays it over the source: of a NIfTI both transforms, their
    codes and the units as they are stored in the source (a NIfTI-2 gives a NIfTI-2), though nothing else of its header.
    Its axes are the source's: i, j, k of a NIfTI; of a DICOM series columns, rows, slices, the order in which
    converters write it. A sheared affine that comes from no NIfTI is written as sform only, for a qform cannot hold it;
    SimpleITK then refuses the file. The same values give the same bytes.

    Args:
        values: `(D, H, W)` on the volume's own grid, of any sign and range; written as float32.
        volume: what the map belongs to.
        path: the file, ending in .nii or .nii.gz; an existing one is replaced.
        description: at most 79 ASCII characters for the header; nothing of a patient.
        window: from where to where viewers show it (``cal_min``, ``cal_max``), without which some stretch any map to
            full colour; None: 0 to 1 if all values lie there, else 0 to the greatest or, with negative values, the
            symmetric range.

    Returns:
        The path.

    Raises:
        InputError: the map does not have the volume's size, the path another ending, or the window is none.
        ImageError: the file cannot be written.
        MissingExtraError: nibabel is not installed.
    """
    target = Path(path)
    array = as_array(values)
    if array.shape != volume.size:
        raise InputError(
            f"map of shape {array.shape} for a volume of {volume.size}: bring it onto the volume's grid first"
            " (VolumePreprocess.to_original)"
        )
    if not is_nifti(target):
        raise InputError(f"{target}: maps of volumes are written as NIfTI; let the name end in .nii or .nii.gz")
    low, high = display_range(array) if window is None else window
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"window {window}: give two finite numbers, the smaller first")
    affine = np.array(volume.affine)
    if volume.source.kind == "dicom":
        array, affine = array.transpose(2, 1, 0), affine[:, [2, 1, 0, 3]]
    header = _map_header(volume, affine, array.shape)
    header["descrip"] = description.encode("ascii", "replace")[:79]
    header["cal_min"], header["cal_max"] = low, high
    data: bytes = header.binaryblock + bytes(4) + np.asarray(array, dtype="<f4").tobytes(order="F")
    if target.name.lower().endswith(".gz"):
        data = gzip.compress(data, _GZIP_LEVEL, mtime=0)
    with writing(str(target), ImageError):
        return write_whole(target, data)


def _map_header(volume: Volume, affine: NDArray[np.float64], shape: tuple[int, ...]) -> Any:
    """A header for float32 values on a volume's grid, with its place, little-endian."""
    try:
        import nibabel as nib
    except ModuleNotFoundError as error:
        raise MissingExtraError("nibabel", "volume", "writing a map as NIfTI") from error
    space = volume.source.nifti
    kept = space is not None and np.array_equal(space.affine, volume.affine)  # else the grid was changed since
    second = max(shape) > np.iinfo(np.int16).max or (kept and space is not None and space.version == 2)
    kind: Any = nib.Nifti2Header if second else nib.Nifti1Header
    header = kind(endianness="<")
    header.set_data_dtype(np.float32)
    header.set_data_shape(shape)
    if kept and space is not None:
        space.write_to(header)
    else:
        header.set_qform(affine, code=0 if is_sheared(affine) else volume.source.space)
        header.set_sform(affine, code=volume.source.space)
        header.set_xyzt_units("mm")
    header["magic"] = header.single_magic
    header["vox_offset"] = header.single_vox_offset
    header["scl_slope"], header["scl_inter"] = 1, 0
    return header
