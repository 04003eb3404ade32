"""TIFFs with more bands than a picture shows: how many, which of them are transparency, and all of them as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from cfcam.errors import MissingExtraError

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

# TIFF 6.0, sections 8 (tags) and 18 (ExtraSamples)
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION = 256, 257, 258, 262, 274
_SAMPLES, _PLANAR, _EXTRA, _FORMAT = 277, 284, 338, 339
_SEPARATE, _BIG = 2, 43
_ASSOCIATED, _UNASSOCIATED = 1, 2
_COLOURS = {2: 3, 5: 4, 6: 3, 8: 3}  # samples of RGB, CMYK, YCbCr and CIE L*a*b*; all others have one
_RGB, _PALETTE = 2, 3


@dataclass(frozen=True)
class Bands:
    """What a TIFF says of its bands.

    Attributes:
        size: height and width.
        count: of the bands.
        shown: how many of them make the picture, from the first on: 3 of RGB, 1 of grey.
        alpha: kind of the first further band where it is transparency, 1 (already multiplied) or 2; else 0.
        separate: whether each band lies by itself.
        bits: of one number.
        rgb: whether the first three are red, green and blue.
        orientation: as in EXIF.
        white_is_zero: whether grey counts downwards.
        palette: whether the first is an index of colours.
    """

    size: tuple[int, int]
    count: int
    shown: int
    alpha: int
    separate: bool
    bits: int
    rgb: bool
    orientation: int
    white_is_zero: bool = False
    palette: bool = False

    @classmethod
    def of(cls, data: bytes) -> Bands | None:
        """Reads the tags of the first page; None where they cannot be read, which the decoder will say better."""
        try:
            tags = _tags(data)
            count, photometric = int(tags.get(_SAMPLES, 1)), int(tags.get(_PHOTOMETRIC, 1))
            shown = _COLOURS.get(photometric, 1)
            kinds = tuple(tags.get(_EXTRA, ())) or (0,)
            return cls(
                (int(tags[_HEIGHT]), int(tags[_WIDTH])),
                count,
                shown,
                int(kinds[0]) if count > shown and kinds[0] in (_ASSOCIATED, _UNASSOCIATED) else 0,
                int(tags.get(_PLANAR, 1)) == _SEPARATE,
                max(tags.get(_BITS, (1,))),
                photometric == _RGB,
                int(tags.get(_ORIENTATION, 1)),
                photometric == 0,
                photometric == _PALETTE,
            )
        except Exception:  # noqa: BLE001 (arbitrary bytes)
            return None

    @property
    def special(self) -> bool:
        """Whether Pillow would drop bands, or take wrong ones: it reads separate planes of 16 bits as if of 8."""
        if self.palette:
            return False
        return self.count > self.shown or (self.separate and self.count > 1 and self.bits > 8)

    @property
    def told(self) -> list[str]:
        """What a user should know of the bands that the picture does not show."""
        further = self.count - self.shown - bool(self.alpha)
        if further <= 0:
            return []
        if self.shown == 1 and not self.palette:
            return [f"it has {self.count} bands, and which is which is not known: the first is drawn"]
        names = "red, green and blue" if self.rgb else "the first" if self.palette else f"the first {self.shown}"
        use = f"the other {further} are" if further > 1 else "the other is"
        return [f"it has {self.count} bands: {names} are taken, {use} left out, unless the network takes {self.count}"]

    @property
    def transparency(self) -> str:
        """What a user should know of a band that makes the picture darker."""
        return f"its band {self.shown + 1} of {self.count} is taken for transparency: where it is, the picture is black"


def _tags(data: bytes) -> Mapping[int, Any]:
    order = "little" if data[:2] == b"II" else "big"
    header = data[:16] if int.from_bytes(data[2:4], order) == _BIG else data[:8]  # type: ignore[arg-type]
    tags = ImageFileDirectory_v2(header)
    stream = BytesIO(data)
    stream.seek(tags.next)
    tags.load(stream)
    return tags


def read_bands(data: bytes, about: Bands) -> Pixels:
    """Read all bands of a TIFF's first page, as `(H, W, B)` uint8 or uint16, not turned upright.

    Raises:
        MissingExtraError: tifffile is not installed.
        ValueError: the numbers are of another kind, or the file says one thing and holds another.
    """
    try:
        import tifffile
    except ModuleNotFoundError as error:
        raise MissingExtraError("tifffile", "clinical", "reading the bands of a TIFF") from error
    with tifffile.TiffFile(BytesIO(data)) as file:
        values: NDArray[Any] = np.asarray(file.pages[0].asarray())
    if about.white_is_zero:
        raise ValueError("its bands count downwards, white is 0")
    if about.separate:
        values = np.moveaxis(values, 0, -1)
    if values.shape != (*about.size, about.count):
        raise ValueError(f"it holds numbers of shape {values.shape}")
    if values.dtype.kind == "f" and values.min() >= 0 and values.max() <= 1:
        return np.rint(values * 65535).astype(np.uint16)
    if values.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"its bands are of type {values.dtype}; save them as 8 or 16 bit, or floating in [0, 1]")
    return values


def over_black(bands: Pixels, about: Bands) -> Pixels:
    """The picture that some bands show, laid over black by its transparency: `(H, W)` or `(H, W, 3)`."""
    picture: NDArray[Any] = bands[..., : about.shown]
    if about.alpha == _UNASSOCIATED:  # an associated one is multiplied already
        most = np.iinfo(bands.dtype).max
        picture = np.rint(picture * (bands[..., about.shown, None].astype(np.float64) / most)).astype(bands.dtype)
    return picture[..., 0] if about.shown == 1 else picture
