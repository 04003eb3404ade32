"""What a file is, told from its first bytes and not from its name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from cfcam.errors import ImageError
from cfcam.imaging.reading.dicom_object import HEAD, is_dicom
from cfcam.imaging.reading.elsewhere import Elsewhere
from cfcam.imaging.reading.files import DICOM_EXTENSIONS, PathLike


def is_dicom_data(data: bytes, path: PathLike) -> bool:
    """Tells whether a file is DICOM: the one rule for all that take files.

    By its mark, or, for old files that have none, by its first elements, or else by its name; a picture under such a
    name is still a picture.

    Args:
        data: its beginning, `cfcam.imaging.reading.dicom_object.HEAD` bytes or more.
        path: its name.
    """
    if is_dicom(data):
        return True
    if not os.fspath(path).lower().endswith(DICOM_EXTENSIONS):
        return False
    return Path(path).suffix.lower() in DICOM_EXTENSIONS and not any(start.match(data) for start, _, _ in FORMATS)


def is_dicom_file(path: PathLike) -> bool:
    """Tells whether a file is DICOM; see `is_dicom_data`.

    Raises:
        OSError: it cannot be read.
        ImageError: likewise, of what lies elsewhere.
    """
    if isinstance(path, Elsewhere):
        return is_dicom_data(path.content()[:HEAD], path)
    with Path(path).open("rb") as stream:
        return is_dicom_data(stream.read(HEAD), path)


# (first bytes, name, how Pillow opens it). The plugins are called directly rather than through
# PIL.Image.open: that judges the size of a picture by a process-wide limit, which is not ours to change.
FORMATS: tuple[tuple[re.Pattern[bytes], str, Callable[[BytesIO], ImageFile.ImageFile]], ...] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n", re.DOTALL), "PNG", PngImagePlugin.PngImageFile),
    (re.compile(rb"\xff\xd8\xff", re.DOTALL), "JPEG", JpegImagePlugin.JpegImageFile),
    (re.compile(rb"II(\*\0|\0\*|\+\0)|MM(\*\0|\0\*|\0\+)", re.DOTALL), "TIFF", TiffImagePlugin.TiffImageFile),
    (re.compile(rb"BM", re.DOTALL), "BMP", BmpImagePlugin.BmpImageFile),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "WebP", WebPImagePlugin.WebPImageFile),
    (re.compile(rb"GIF8[79]a", re.DOTALL), "GIF", GifImagePlugin.GifImageFile),
)


_OTHERS: tuple[tuple[bytes, str], ...] = (
    (rb"%PDF", "a PDF document"),
    (rb".{4}ftyp(heic|heix|mif1|msf1)", "a HEIC picture"),
    (rb".{4}ftypavi[fs]", "an AVIF picture"),
    (rb"(\0\0\0\x0cjP  |\xff\x4f\xff\x51)", "a JPEG 2000 picture"),
    (rb"NRRD000", "an NRRD volume"),
    (rb"(ObjectType|NDims) *=", "a MetaImage volume"),
    (rb"\x93NUMPY", "a NumPy array"),
    (rb"\x89HDF\r\n", "an HDF5 file"),
    (rb"\x1f\x8b", "a gzip archive"),
    (rb"PK\x03\x04.{26}\w+\.npy", "a NumPy archive (.npz)"),
    (rb"PK\x03\x04", "a zip archive"),
)


def recognise(data: bytes, where: str) -> tuple[str, Callable[[BytesIO], ImageFile.ImageFile]]:
    """Returns what the format of a picture is called, and what opens it.

    Raises:
        ImageError: it is none of `FORMATS`.
    """
    for start, name, opener in FORMATS:
        if start.match(data):
            return name, opener
    raise ImageError(
        f"{where}: is {other_kind(data, where)}; cfcam reads {', '.join(name for _, name, _ in FORMATS[:-1])} and"
        f" {FORMATS[-1][1]}"
    )


def other_kind(data: bytes, where: str) -> str:
    """Returns what a file is, "" if it is a picture.

    Args:
        data: its beginning.
        where: its name.
    """
    if any(start.match(data) for start, _, _ in FORMATS):
        return ""
    if where.lower().endswith((".nii.gz", ".nii")):
        return "a NIfTI volume, and no picture"
    kind = next((name for start, name in _OTHERS if re.match(start, data, re.DOTALL)), None)
    return kind or ("a text file" if _is_text(data[:512]) else "no picture, or its beginning is damaged")


def _is_text(start: bytes) -> bool:
    text = start.decode("utf-8", errors="replace").rstrip("\ufffd")  # the cut may have split the last character
    return bool(text) and all(c.isprintable() or c in "\t\r\n\f" for c in text) and "\ufffd" not in text
