"""What every reader needs of a file: its bytes, and how messages speak of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cfcam.errors import ImageError
from cfcam.imaging.reading.elsewhere import Elsewhere
from cfcam.shown import absence

PathLike = str | os.PathLike[str]

DICOM_EXTENSIONS = (".dcm", ".dicom", ".ima")
"""File name endings (lower case) of DICOM, also of old files without its mark."""


def read_bytes(path: PathLike, where: str) -> bytes:
    """Returns the bytes of a file.

    Args:
        path: the file, or what lies `Elsewhere`.
        where: what it is called in messages.

    Raises:
        ImageError: it is missing, empty, no regular file, or cannot be read.
    """
    if isinstance(path, Elsewhere):
        try:
            return path.content()
        except ImageError as error:
            raise ImageError(f"{where}: {error}") from error
    try:
        kind = os.stat(path).st_mode  # noqa: PTH116 (paths are slow, and tiny pictures many)
        if stat.S_ISDIR(kind):
            raise ImageError(f"{where}: is a folder, not a picture; name a file in it")
        if not stat.S_ISREG(kind):
            raise ImageError(f"{where}: is a device or a pipe, not a picture; name a file")
        with open(path, "rb", buffering=0) as stream:  # noqa: PTH123 (as above)
            data = stream.read()
    except FileNotFoundError as error:
        raise ImageError(f"{where}: {absence(path)}; check the path") from error
    except PermissionError as error:
        raise ImageError(f"{where}: may not be read; check the permissions of the file and its folder") from error
    except ImageError:
        raise
    except (OSError, ValueError) as error:
        raise ImageError(f"{where}: cannot be read ({error_text(error)}); check the path and the disk") from error
    if not data:
        raise ImageError(f"{where}: the file is empty (0 bytes); copy or export it again")
    return data


def shown_path(path: PathLike) -> str:
    """Returns a path as messages name it: in quotes where it holds characters that cannot be printed."""
    text = os.fspath(path)
    return text if text.isprintable() and text else repr(text)


def error_text(error: BaseException) -> str:
    """Returns what an error says in one line of at most 160 characters, else what kind it is."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    line = " ".join(text.split())
    return (line if line.isprintable() else repr(line))[:160] or type(error).__name__


def megapixels(pixels: int) -> str:
    """Returns a number of pixels in millions; small ones keep their digits."""
    return f"{pixels / 1e6:.1f}" if pixels >= 100_000 else f"{pixels / 1e6:.6f}".rstrip("0")


NIFTI_EXTENSIONS = (".nii", ".nii.gz")


def is_nifti(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a NIfTI by its name."""
    return Path(path).name.lower().endswith(NIFTI_EXTENSIONS)
