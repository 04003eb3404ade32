"""Volumes in: NIfTI files and DICOM series, told apart by what they hold."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cfcam.errors import ImageError

if TYPE_CHECKING:
    pass
from cfcam.imaging.reading.files import is_nifti
from cfcam.imaging.volume import MAX_VOXELS, Volume

_NOT_READ = (".hdr", ".img", ".hdr.gz", ".img.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh", ".mnc")


def read_volume(
    path: str | os.PathLike[str],
    *,
    time: int | None = None,
    channel: int | Literal["all"] | None = None,
    series: int | None = None,
    irregular: Literal["refuse", "resample"] = "refuse",
    max_voxels: int = MAX_VOXELS,
) -> Volume:
    """Read a NIfTI file, a folder of DICOM slices, or a multi-frame DICOM file.

    NIfTI: the affine is the sform if the header has one, else the qform; with neither, place and directions are unknown
    (`Volume.placed`), and the affine is nibabel's guess. Notices say where both are given and disagree, where other
    readers have the volume elsewhere, where no unit of length is named, and where the space is a template's. Units are
    brought to mm, intensities scaled (`scl_slope`, `scl_inter`). Voxels that are no finite numbers become the smallest
    finite value, with a notice.

    DICOM: slices are ordered by their place along the normal, never by file name. Intensities are rescaled slice by
    slice (HU for CT); padding becomes the smallest value of the rest; MONOCHROME1 is mirrored within its range, with a
    notice. A tilted gantry gives a sheared affine, with a notice.

    Args:
        path: the file or the folder; of a folder its own files are looked at, not those of its subfolders.
        time: which volume of a NIfTI with a fourth axis, from 0.
        channel: which channel of a NIfTI with a fourth or fifth axis, from 0, or "all" to keep them; a file with four
            axes does not say whether the fourth is time or channels, so that either word picks from it.
        series: which series of a folder with several, or which stack of a multi-frame file, by the number in the error
            that lists them.
        irregular: what to do with slices at irregular distances: "refuse", or "resample" linearly to their median
            distance, with a notice.
        max_voxels: refuse, before decoding, a volume with more voxels than this.

    Raises:
        ImageError: the path is missing or no volume, or what it holds is broken, ambiguous or no regular grid.
        InputError: a choice that the file does not offer.
        MissingExtraError: nibabel or pydicom is not installed.
    """
    place = Path(path)
    if place.is_dir():
        from cfcam.imaging.reading.stacking import read_series

        return read_series(place, series=series, irregular=irregular, max_voxels=max_voxels)
    if is_nifti(place):
        from cfcam.imaging.reading.nifti import read_nifti

        return read_nifti(place, time=time, channel=channel, max_voxels=max_voxels)
    if place.name.lower().endswith(_NOT_READ):
        raise ImageError(
            f"{place.name}: is no format of volumes that cfcam reads: give NIfTI as one file (.nii, .nii.gz) or DICOM;"
            " nibabel and SimpleITK convert"
        )
    from cfcam.imaging.reading.stacking import read_multi_frame

    return read_multi_frame(place, series=series, irregular=irregular, max_voxels=max_voxels)
