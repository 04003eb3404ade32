"""An input read as the picture or volume that a network takes; the errors say so where it is the other."""

from __future__ import annotations

from pathlib import Path

from cfcam.errors import ImageError
from cfcam.imaging import Image, Volume, read_image, read_volume
from cfcam.imaging.reading.channels import read_channels
from cfcam.imaging.reading.files import is_nifti
from cfcam.imaging.reading.series import no_volume
from cfcam.jobs.inputs.burned_in import check_burned_in
from cfcam.jobs.inputs.find import Input, Kind
from cfcam.jobs.inputs.preparing import VolumeSettings
from cfcam.jobs.inputs.privacy import comes_from_dicom
from cfcam.shown import writable


def load_picture(
    given: Input, *, max_pixels: int = 64_000_000, window: str | tuple[float, float] | None = None
) -> Image:
    """Reads an input for a network that takes pictures; see `cfcam.imaging.read_image`.

    Raises:
        ImageError: it is a volume, or cannot be read.
    """
    if given.kind is not Kind.PICTURE:
        raise ImageError(f"{given.path}: is a volume, and the network takes pictures: give one that takes volumes")
    return read_image(given.path, max_pixels=max_pixels, window=window)


def load_volume(given: Input, how: VolumeSettings) -> Volume:
    """Reads an input for a network that takes volumes; see `cfcam.imaging.read_volume`.

    Raises:
        ImageError: it is a picture, or cannot be read.
    """
    if given.kind is not Kind.VOLUME:
        raise no_volume(given.path)
    return read_volume_of(given.path, how)


def read_volume_of(path: Path, how: VolumeSettings) -> Volume:
    """Reads a volume; time and channel are asked of a NIfTI file, the series of DICOM.

    Raises:
        ImageError: it cannot be read, or holds several volumes.
        InputError: it does not offer the time, channel or series that is asked for.
    """
    if len(files := how.files(path)) > 1:
        return read_channels(files, names=how.names if len(how.names) == len(files) else (), time=how.time)
    nifti = is_nifti(path)
    return read_volume(
        path,
        time=how.time if nifti else None,
        channel=how.channel if nifti else None,
        series=how.series,
        irregular=how.irregular,
    )


def check_storable(key: str) -> None:
    """Refuses an input that a store's tables cannot name.

    Args:
        key: how the manifest knows it.

    Raises:
        ImageError: its name is not in UTF-8.
    """
    if writable(key) != key:
        raise ImageError("its name, or a folder's, is not in UTF-8, which the tables of a store are: rename it")


def check_showable(image: Image | Volume, given: Input, *, allow_burned_in: bool) -> None:
    """Refuses a study that says of itself that a name stands in its pixels, unless that is allowed.

    Raises:
        ImageError: it says so, or its header cannot be read.
    """
    if not allow_burned_in and comes_from_dicom(given):
        check_burned_in(image, given)
