"""Picture files in, `Image` out: upright, without transparency, with every bit that the picture has."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import (
    ImageFile,
)

from cfcam.errors import ImageError, InputError, MissingExtraError
from cfcam.imaging.image import Image, Pixels
from cfcam.imaging.reading.bands import Bands, over_black, read_bands
from cfcam.imaging.reading.files import PathLike, error_text, megapixels, read_bytes, shown_path
from cfcam.imaging.reading.kinds import is_dicom_data, recognise

_TRANSPARENT = "it is transparent in places: they are black"
_MOST_BANDS = 64
_STRIP_PIXELS = 1_000_000
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
    where, place = shown_path(path), path if isinstance(path, Path) else Path(path)
    data = read_bytes(path, where)
    if is_dicom_data(data, path):
        from cfcam.imaging.reading.dicom import decode_picture

        return decode_picture(data, path, where, max_pixels=max_pixels, window=window)
    name, opener = recognise(data, where)
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise ImageError(
            f"{where}: not read, since other code set PIL.ImageFile.LOAD_TRUNCATED_IMAGES, which "
            "silently fills the missing part of a cut-off picture; set it back to False"
        )
    about = Bands.of(data) if name == "TIFF" else None
    bands = None if about is None or not about.special else _bands(data, about, where, max_pixels)
    if bands is not None and about is not None and about.shown in (1, 3):
        return _of_bands(bands, about, place, data)
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
            sha256 = hashlib.sha256(data).hexdigest()
            return Image(turn(pixels) if turn else pixels, place, sha256, notices=tuple(losses))
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
        return _without_key(_array(picture if mode == "L" else picture.convert("L")), picture, scale)
    if mode in ("LA", "La"):
        return _array(_over_black(picture.convert("LA"), "L"))
    if mode == "RGB":
        return _without_key(_array(picture), picture, 1)
    if mode == "LAB":
        return np.asarray(_lab_to_rgb(picture))
    if mode in ("RGBA", "RGBa", "PA") or (mode == "P" and picture.has_transparency_data):
        return _array(_over_black(picture.convert("RGBA"), "RGB"))
    if mode in ("P", "CMYK", "YCbCr", "HSV", "RGBX"):
        return _array(picture.convert("RGB"))
    raise ImageError(f"{where}: has pixels of mode {mode!r}, which cfcam does not read; {_SUGGESTED}")


def _array(picture: PILImage.Image) -> NDArray[Any]:
    """Returns the pixels of a picture; of a large one in strips, for at once Pillow holds all of them twice beside."""
    width, height = picture.size
    rows = max(1, _STRIP_PIXELS // width)
    if height <= rows:
        return np.asarray(picture)
    first = np.asarray(picture.crop((0, 0, width, rows)))
    pixels = np.empty((height, *first.shape[1:]), first.dtype)
    pixels[:rows] = first
    for top in range(rows, height, rows):
        below = min(height, top + rows)
        pixels[top:below] = picture.crop((0, top, width, below))
    return pixels


def _sixteen_bit(picture: ImageFile.ImageFile, where: str) -> NDArray[np.uint16]:
    values: NDArray[Any] = _array(picture)
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
