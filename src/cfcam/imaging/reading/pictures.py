"""Picture files in, `Image` out: upright, without transparency, with every bit that the picture has."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL import Image as PILImage
from torch import Tensor

from cfcam.errors import CfcamError, ImageError, InputError, MissingExtraError
from cfcam.imaging.reading.bands import Bands, over_black, read_bands
from cfcam.imaging.reading.dicom_object import HEAD, is_dicom, parsed
from cfcam.imaging.reading.files import DICOM_EXTENSIONS, PathLike, error_text, megapixels, read_bytes, shown_path

EXTENSIONS: tuple[str, ...] = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".dib", ".webp", ".gif",
    ".dcm", ".dicom", ".ima",
)  # fmt: skip
"""File name endings (lower case) that `list_images` takes for pictures inside a folder."""

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

# (first bytes, name, how Pillow opens it). The plugins are called directly rather than through
# PIL.Image.open: that judges the size of a picture by a process-wide limit, which is not ours to change.
_FORMATS: tuple[tuple[bytes, str, Callable[[BytesIO], ImageFile.ImageFile]], ...] = (
    (rb"\x89PNG\r\n\x1a\n", "PNG", PngImagePlugin.PngImageFile),
    (rb"\xff\xd8\xff", "JPEG", JpegImagePlugin.JpegImageFile),
    (rb"II(\*\0|\0\*|\+\0)|MM(\*\0|\0\*|\0\+)", "TIFF", TiffImagePlugin.TiffImageFile),
    (rb"BM", "BMP", BmpImagePlugin.BmpImageFile),
    (rb"RIFF....WEBP", "WebP", WebPImagePlugin.WebPImageFile),
    (rb"GIF8[79]a", "GIF", GifImagePlugin.GifImageFile),
)

_OTHERS: tuple[tuple[bytes, str], ...] = (
    (rb"%PDF", "a PDF document"),
    (rb".{4}ftyp(heic|heix|mif1|msf1)", "a HEIC picture"),
    (rb".{4}ftypavi[fs]", "an AVIF picture"),
    (rb"(\0\0\0\x0cjP  |\xff\x4f\xff\x51)", "a JPEG 2000 picture"),
    (rb"\x1f\x8b", "a gzip archive"),
    (rb"PK\x03\x04", "a zip archive"),
)

_TRANSPARENT = "it is transparent in places: they are black"
_MOST_BANDS = 64
_SUGGESTED = "save it as an 8 or 16 bit grey or an 8 bit RGB PNG"
_EXIF_ORIENTATION = 274
_TIFF_BITS, _TIFF_PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
_BROKEN_EXIF = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError)

_UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: np.rot90(p, 1),
}

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601-7, section 2.5.1; as Pillow's mode "L"

_TO_8_BIT = ((np.arange(65536, dtype=np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Image:
    """A picture as it is meant to be seen, and where it came from.

    Attributes:
        pixels: `(H, W)` grey or `(H, W, 3)` RGB, uint8 or uint16, upright (a stored EXIF orientation has been
            applied), over black where the file was transparent. The array is read-only.
        path: the file, if there is one.
        sha256: hexadecimal SHA-256 of the file's bytes.
        spacing: distance between pixel centres (rows, columns) in mm, where the source knows it.
        affine: 4 x 4 matrix from (row, column, 0, 1) to millimetres in the patient (RAS+, see
            `cfcam.imaging.geometry`), where the source knows it.
        notices: what a user should know of how it was read, a line each, without anything of a patient.
        bands: `(H, W, B)`, uint8 or uint16, all bands of a TIFF that has more than it shows, for networks that take
            exactly so many; read-only. Grey `pixels` beside it are its first band: no colours are known then.
    """

    pixels: Pixels
    path: Path | None
    sha256: str
    spacing: tuple[float, float] | None = None
    affine: tuple[tuple[float, ...], ...] | None = None
    notices: tuple[str, ...] = ()
    bands: Pixels | None = None

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3) or 0 in shape:
            raise InputError(f"pixels of shape {shape}: an image is (H, W) grey or (H, W, 3) RGB")
        if dtype not in (np.uint8, np.uint16):
            raise InputError(f"pixels of type {dtype}: an image is uint8 or uint16")
        if self.bands is not None and (self.bands.shape[:2] != shape[:2] or self.bands.ndim != 3):
            raise InputError(f"bands of shape {self.bands.shape}: give all bands of the image as (H, W, B)")
        for name in ("pixels", "bands"):
            if (values := getattr(self, name)) is not None:
                own = np.ascontiguousarray(values).view()
                own.flags.writeable = False
                object.__setattr__(self, name, own)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def rgb(self) -> NDArray[np.uint8]:
        """The picture for drawing: uint8 `(H, W, 3)`; 16 bit values are scaled by 255/65535, never clipped.

        An 8 bit RGB picture is returned as it is held, read-only; copy it before drawing into it.
        """
        pixels = self.pixels
        eight: NDArray[np.uint8] = (
            _TO_8_BIT[pixels] if pixels.dtype == np.uint16 else pixels.astype(np.uint8, copy=False)
        )
        return eight if eight.ndim == 3 else np.repeat(eight[..., None], 3, axis=2)

    def tensor(self) -> Tensor:
        """The picture for computing: float32 `(3, H, W)` in [0, 1], at the full precision of the file."""
        planes = self.planes()
        return planes if planes.shape[0] == 3 else planes.repeat(3, 1, 1)

    def planes(self) -> Tensor:
        """Like `tensor`, but with the channels the picture has: `(1, H, W)` if grey, `(3, H, W)` if RGB."""
        return _planes(self.pixels if self.pixels.ndim == 3 else self.pixels[..., None])

    def planes_for(self, channels: int) -> Tensor:
        """The planes for a network with so many channels: float32 in [0, 1] `(channels, H, W)`, or `(1, H, W)` if grey.

        A network with 3 takes a grey picture repeated, which is left to the caller; one with 1 takes colours as grey by
        the BT.601 luma. Any other number must be that of the file's own bands.

        Raises:
            InputError: the picture has another number of bands, so that some would be made up or dropped.
        """
        own = 1 if self.pixels.ndim == 2 else 3
        if self.bands is not None and self.bands.shape[2] == channels:
            return _planes(self.bands)
        if self.bands is not None and own == 1:
            raise InputError(
                f"the picture has {self.bands.shape[2]} bands, the network takes {channels}, and which of them it wants"
                " is not known: save those it was trained on as a picture of their own"
            )
        if channels not in (1, 3):
            has = "is grey" if own == 1 else "has three colours"
            raise InputError(
                f"the picture {has}, the network takes {channels} channels: give a TIFF with exactly {channels} bands,"
                " in the order of its training"
            )
        planes = self.planes()
        if channels == 1 and own == 3:
            return torch.einsum("c,chw->hw", torch.tensor(_LUMA), planes)[None]
        return planes


def _planes(pixels: Pixels) -> Tensor:
    values = torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, -1, 0), dtype=np.float32))
    return values.div_(float(np.iinfo(pixels.dtype).max))


def read_image(
    path: PathLike, *, max_pixels: int = 64_000_000, window: str | tuple[float, float] | None = None
) -> Image:
    """Read a PNG, JPEG, TIFF, BMP, WebP, GIF or DICOM picture.

    The file is opened once; its bytes are hashed and decoded in memory. What is made of the less usual files:

    * Grey pictures of 16 bit stay 16 bit, with 65535 as white; a scan whose values end at 4095 in a 16 bit
      file is therefore dark. 12 bit TIFFs are stretched to 16 bit, white-is-zero TIFFs are turned to
      black-is-zero.
    * Colour of 16 bit is read as 8 bit (Pillow has no such mode).
    * 32 bit integers are taken as 16 bit values; floating point values must lie in [0, 1] and become 16 bit.
    * Transparent pictures are laid over black, so that what was hidden stays hidden.
    * Of several pages or frames the first is read.
    * A TIFF with further bands shows its colours, and keeps all for a network that takes as many (`Image.bands`).

    Wherever something of the file is thereby lost, `Image.notices` says so.
    * DICOM is shown with its own window, if no other is given; see `cfcam.imaging.reading.dicom.read_dicom`.

    Args:
        path: the file. What it is follows from its first bytes, not from its name.
        max_pixels: refuse, before decoding, a picture with more pixels than this.
        window: of a DICOM picture, centre and width in its own units, or one of `cfcam.imaging.WINDOWS`; other
            pictures have none.

    Returns:
        The picture, upright, with the SHA-256 of the file.

    Raises:
        ImageError: the file is missing, empty, cut off, broken, too large, or not a picture that cfcam reads.
        InputError: `max_pixels` is not a positive number.
        MissingExtraError: a DICOM file, and pydicom is not installed.
    """
    if max_pixels < 1:
        raise InputError(f"max_pixels is {max_pixels}: it must be at least 1")
    where = shown_path(path)
    data = read_bytes(path, where)
    if is_dicom_data(data, path):
        from cfcam.imaging.reading.dicom import decode_picture

        return decode_picture(data, path, where, max_pixels=max_pixels, window=window)
    name, opener = _recognise(data, where)
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise ImageError(
            f"{where}: not read, since other code set PIL.ImageFile.LOAD_TRUNCATED_IMAGES, which "
            "silently fills the missing part of a cut-off picture; set it back to False"
        )
    about = Bands.of(data) if name == "TIFF" else None
    bands = None if about is None or not about.special else _bands(data, about, where, max_pixels)
    if bands is not None and about is not None and about.shown in (1, 3):
        return _of_bands(bands, about, Path(path), data)
    try:
        with opener(BytesIO(data)) as picture:
            width, height = picture.size
            _check_pixels(width, height, max_pixels, where)
            depth = data[24] if name == "PNG" else 8
            losses = _losses(picture, depth)
            picture.load()
            pixels = _pixels(picture, where, depth)
            losses += [*_hidden(picture), *(about.told if about is not None else ())]
            turn = _UPRIGHT.get(_orientation(picture))
            return Image(
                turn(pixels) if turn else pixels, Path(path), hashlib.sha256(data).hexdigest(), notices=tuple(losses)
            )
    except (ImageError, MissingExtraError):
        raise
    except (PILImage.DecompressionBombError, PILImage.DecompressionBombWarning) as error:
        raise ImageError(
            f"{where}: is too large a {name} for Pillow, whatever max_pixels is ({error_text(error)}); save it "
            "as PNG or make it smaller"
        ) from error
    except Exception as error:  # a decoder fed with arbitrary bytes may raise anything
        if _is_truncation(error):
            raise ImageError(
                f"{where}: the {name} file is cut off ({error_text(error)}); copy or export it again"
            ) from error
        raise ImageError(
            f"{where}: the {name} file is broken or of a kind that cannot be read ({error_text(error)}); "
            f"export it again or {_SUGGESTED}"
        ) from error


def _check_pixels(width: int, height: int, max_pixels: int, where: str) -> None:
    if width * height > max_pixels:
        raise ImageError(
            f"{where}: has {megapixels(width * height)} megapixels ({width} x {height}), more "
            f"than the limit of {megapixels(max_pixels)}; raise max_pixels "
            "(--max-megapixels on the command line)"
        )


def _bands(data: bytes, about: Bands, where: str, max_pixels: int) -> Pixels | None:
    """All bands of a TIFF; None where they cannot be had, but Pillow reads the colours and the rest can be told."""
    height, width = about.size
    _check_pixels(width, height, max_pixels, where)
    if about.count > _MOST_BANDS:
        raise ImageError(f"{where}: has {about.count} bands, more than {_MOST_BANDS}; save those that are wanted")
    pillow = about.bits <= 8 and not about.separate and (about.shown > 1 or about.alpha > 0)
    try:
        return read_bands(data, about)
    except MissingExtraError:
        if pillow:
            return None
        raise
    except Exception as error:  # a decoder fed with arbitrary bytes may raise anything
        if pillow:
            return None
        raise ImageError(
            f"{where}: its {about.count} bands cannot be read ({error_text(error)}); {_SUGGESTED}"
        ) from error


def _as_it_is(pixels: Pixels) -> Pixels:
    return pixels


def _of_bands(bands: Pixels, about: Bands, path: Path, data: bytes) -> Image:
    turn: Callable[[Pixels], Pixels] = _UPRIGHT.get(about.orientation, _as_it_is)
    notices = about.told
    if about.alpha and bool((bands[..., about.shown] < np.iinfo(bands.dtype).max).any()):
        notices.append(about.transparency)
    known = about.count == about.shown or (about.shown == 1 and about.alpha and about.count == 2)  # grey and alpha
    return Image(
        turn(over_black(bands, about)),
        path,
        hashlib.sha256(data).hexdigest(),
        notices=tuple(notices),
        bands=None if known else turn(bands),
    )


def _losses(picture: ImageFile.ImageFile, depth: int) -> list[str]:
    """What of a file is not read, as far as its beginning says; to be asked before its pixels are loaded."""
    found = []
    pages = int(getattr(picture, "n_frames", 1))
    if pages > 1:
        found.append(f"it holds {pages} pages or frames: the first is read")
    if picture.mode == "CMYK":
        found.append("it is CMYK: its colours are turned into RGB without its colour profile")
    bits = max(depth, *getattr(picture, "tag_v2", {}).get(_TIFF_BITS, (8,)))
    if picture.mode in ("LA", "RGB", "RGBA", "CMYK") and bits > 8:
        found.append(f"its {bits} bits are read as 8: only grey pictures without transparency keep them")
    return found


def _hidden(picture: ImageFile.ImageFile) -> list[str]:
    """Tells whether something of the picture is transparent, and therefore black."""
    if picture.mode in ("LA", "La", "RGBA", "RGBa", "PA"):
        lowest: Any = picture.getchannel("A").getextrema()[0]
    elif "transparency" not in picture.info:
        return []
    elif picture.mode in ("1", "L", "P", "RGB"):
        lowest = picture.convert("RGBA").getchannel("A").getextrema()[0]
    else:
        lowest = 255 * bool((np.asarray(picture) != picture.info["transparency"]).all())
    return [_TRANSPARENT] if lowest < 255 else []


def list_images(paths: PathLike | Iterable[PathLike], *, recursive: bool = False) -> list[Path]:
    """Expand files, folders and globs to a list of picture files.

    A file named explicitly is always taken, whatever it is called; from folders and globs come the files
    with one of the `EXTENSIONS` (in any case), and DICOM pictures under any other name. Hidden files and
    folders (`.name`) are passed over unless named explicitly, and links to folders are not followed inside
    a folder.

    Args:
        paths: a path or several; a glob (`scans/*.png`, `scans/**/*.png`) is expanded if no file has that
            very name.
        recursive: take the subfolders of folders too.

    Returns:
        Each file once, in natural order (`scan2` before `scan10`), folder by folder.

    Raises:
        ImageError: a path does not exist or may not be read, a glob matches nothing, a folder holds no
            picture.
    """
    several = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    found: dict[Path, Path] = {}
    folders: dict[Path, Path] = {}
    for path in several:
        for file in _expand(path, recursive):
            if file.parent not in folders:
                folders[file.parent] = file.parent.resolve()
            found.setdefault(folders[file.parent] / file.name, file)
    return sorted(found.values(), key=_natural)


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
    known = any(re.match(start, data, re.DOTALL) for start, _, _ in _FORMATS)
    return Path(path).suffix.lower() in DICOM_EXTENSIONS and not known


def is_dicom_file(path: PathLike) -> bool:
    """Tells whether a file is DICOM; see `is_dicom_data`.

    Raises:
        OSError: it cannot be read.
    """
    with Path(path).open("rb") as stream:
        return is_dicom_data(stream.read(HEAD), path)


def _recognise(data: bytes, where: str) -> tuple[str, Callable[[BytesIO], ImageFile.ImageFile]]:
    for start, name, opener in _FORMATS:
        if re.match(start, data, re.DOTALL):
            return name, opener
    kind = next((name for start, name in _OTHERS if re.match(start, data, re.DOTALL)), None)
    if kind is None:
        kind = "a text file" if _is_text(data[:512]) else "no picture, or its beginning is damaged"
    raise ImageError(
        f"{where}: is {kind}; cfcam reads {', '.join(name for _, name, _ in _FORMATS[:-1])} and {_FORMATS[-1][1]}"
    )


def _is_text(start: bytes) -> bool:
    text = start.decode("utf-8", errors="replace").rstrip("\ufffd")  # the cut may have split the last character
    return bool(text) and all(c.isprintable() or c in "\t\r\n\f" for c in text) and "\ufffd" not in text


def _pixels(picture: ImageFile.ImageFile, where: str, depth: int) -> Pixels:
    mode = picture.mode
    if 0 in picture.size:
        raise ImageError(f"{where}: has no pixels ({picture.width} x {picture.height}); export it again")
    if mode == "F" or mode == "I" or mode.startswith("I;16"):
        return _without_key(_sixteen_bit(picture, where), picture, 1)
    if mode in ("1", "L"):
        # a PNG's transparent grey value counts in the file's own depth, the pixels have been stretched to 8
        # bit
        scale = 255 // (2**depth - 1) if mode == "L" and depth < 8 else 1
        return _without_key(np.asarray(picture.convert("L")), picture, scale)
    if mode in ("LA", "La"):
        return np.asarray(_over_black(picture.convert("LA"), "L"))
    if mode == "RGB":
        return _without_key(np.asarray(picture), picture, 1)
    if mode == "LAB":
        return np.asarray(_lab_to_rgb(picture))
    if mode in ("RGBA", "RGBa", "PA") or (mode == "P" and picture.has_transparency_data):
        return np.asarray(_over_black(picture.convert("RGBA"), "RGB"))
    if mode in ("P", "CMYK", "YCbCr", "HSV", "RGBX"):
        return np.asarray(picture.convert("RGB"))
    raise ImageError(f"{where}: has pixels of mode {mode!r}, which cfcam does not read; {_SUGGESTED}")


def _sixteen_bit(picture: ImageFile.ImageFile, where: str) -> NDArray[np.uint16]:
    values: NDArray[Any] = np.asarray(picture)
    low, high = values.min(), values.max()
    if values.dtype.kind == "f":
        if bad := int((~np.isfinite(values)).sum()):
            raise ImageError(
                f"{where}: {bad} of {values.size} pixels are no finite numbers (NaN or infinite), and what they should"
                f" look like is not known; fill them and scale to [0, 1], or {_SUGGESTED}"
            )
        if not (low >= 0 and high <= 1):
            raise ImageError(
                f"{where}: holds floating point values from {low:g} to {high:g}, and what is white is not "
                f"known; scale them to [0, 1] or {_SUGGESTED}"
            )
        values, low, high = np.rint(values * 65535), 0, 65535
    if low < 0 or high > 65535:
        raise ImageError(f"{where}: holds values from {low} to {high}, which do not fit 16 bits; {_SUGGESTED}")
    grey: NDArray[np.uint16] = values.astype(np.uint16)
    tags = getattr(picture, "tag_v2", {})
    if tags.get(_TIFF_BITS) == (12,):
        grey = np.rint(values * (65535 / 4095)).astype(np.uint16)
    if tags.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO and picture.mode != "I":
        np.subtract(65535, grey, out=grey)  # Pillow does so at 8 bit, but not at 16
    return grey


def _without_key(pixels: Pixels, picture: ImageFile.ImageFile, scale: int) -> Pixels:
    """Blacken the one value that a PNG or GIF declares transparent."""
    key = picture.info.get("transparency")
    if key is None:
        return pixels
    value = np.atleast_1d(np.asarray(key)) * scale
    if pixels.dtype == np.uint8 and value.max() > 255:
        value = value >> 8  # 16 bit colour, which Pillow has cut to the upper 8
    hidden = pixels == value if pixels.ndim == 2 else (pixels == value).all(axis=-1, keepdims=True)
    return np.where(hidden, pixels.dtype.type(0), pixels)


def _over_black(picture: PILImage.Image, mode: str) -> PILImage.Image:
    black = PILImage.new(mode, picture.size)
    black.paste(picture.convert(mode), mask=picture.getchannel("A"))
    return black


def _lab_to_rgb(picture: PILImage.Image) -> PILImage.Image:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(picture, lab, srgb, outputMode="RGB")
    assert converted is not None  # noqa: S101 (None only with inPlace=True)
    return converted


def _orientation(picture: ImageFile.ImageFile) -> int:
    # To be asked after load(): TIFFs are turned by Pillow then, and lose the tag; a PNG may carry it at its
    # end.
    try:
        return int(picture.getexif().get(_EXIF_ORIENTATION, 1))
    except _BROKEN_EXIF:
        return 1  # like every viewer: damaged EXIF beside a sound picture does not turn it


def _is_truncation(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, EOFError) or "truncated" in text or "unexpected end" in text


def _expand(path: PathLike, recursive: bool) -> Iterator[Path]:
    where = shown_path(path)
    try:
        kind = Path(path).stat().st_mode
    except FileNotFoundError as error:
        if not glob.has_magic(os.fspath(path)):
            raise ImageError(f"{where}: no such file or folder; check the path") from error
        yield from _expand_glob(os.fspath(path), where, recursive)
        return
    except (OSError, ValueError) as error:
        raise ImageError(
            f"{where}: cannot be read ({error_text(error)}); check the path and its permissions"
        ) from error
    if not stat.S_ISDIR(kind):
        yield Path(path)
        return
    pictures = list(_walk(Path(path), recursive))
    if not pictures:
        deeper = "" if recursive else ", or list its subfolders too (--recursive, or recursive=True)"
        raise ImageError(f"{where}: the folder holds no picture; name one with {_shown_extensions()}{deeper}")
    yield from pictures


def _expand_glob(pattern: str, where: str, recursive: bool) -> Iterator[Path]:
    matches = [Path(match) for match in glob.glob(pattern, recursive=True)]  # noqa: PTH207 (Path.glob takes no absolute pattern)
    pictures: list[Path] = []
    for match in matches:
        if not match.is_dir():
            pictures += [match] if _may_be_picture(match) else []
        elif "**" not in Path(pattern).parts:
            pictures += _walk(match, recursive)
    if not pictures:
        found = f"no picture, only other files (pictures end in {_shown_extensions()})" if matches else "no file"
        raise ImageError(f"{where}: the pattern matches {found}; check it")
    yield from pictures


def _walk(folder: Path, recursive: bool) -> Iterator[Path]:
    def complain(error: OSError) -> None:
        raise ImageError(
            f"{shown_path(error.filename or folder)}: the folder may not be listed ({error.strerror}); check its"
            " permissions"
        ) from error

    for root, folders, files in os.walk(folder, onerror=complain):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        yield from (
            Path(root, name) for name in files if not name.startswith(".") and _may_be_picture(Path(root, name))
        )


def _may_be_picture(path: Path) -> bool:
    """Whether a file found in a folder is taken: by its name, or as DICOM with pixels, which often has no extension."""
    if path.suffix.lower() in EXTENSIONS:
        return True
    try:
        if path.name == "DICOMDIR" or not path.is_file() or not is_dicom_file(path):
            return False
        with parsed(path, shown_path(path), pixels=False) as dataset:
            return bool(dataset.get("Rows"))
    except OSError:
        return False
    except CfcamError:
        return True  # reading it will say what is wrong, or missing


def _shown_extensions() -> str:
    return ", ".join(EXTENSIONS)


def _natural(path: Path) -> tuple[list[list[tuple[int, int, str]]], str]:
    return [
        [(0, int(piece), "") if piece.isdigit() else (1, 0, piece) for piece in _DIGITS.split(part.casefold()) if piece]
        for part in path.parts
    ], str(path)


_DIGITS = re.compile(r"([0-9]+)")
