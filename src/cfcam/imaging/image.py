"""A picture as it is meant to be seen, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cfcam.errors import InputError
from cfcam.imaging.measured import Measured

if TYPE_CHECKING:
    from torch import Tensor

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


_ROWS_AT_ONCE = 64  # so that what is worked on stays in the processor's cache
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
        edges: where its right and its lower edge point in the patient, two of R, L, A, P, S, I, where the source says
            so; that of a slice is in its affine too.
        window: centre and width that were given in place of those of a DICOM file; None: it is shown as it says.
        measured: where the millimetres of ``spacing`` are measured, as of a radiograph at the detector; None: they
            are those of a slice, or nothing is known of them.
    """

    pixels: Pixels
    path: Path | None
    sha256: str
    spacing: tuple[float, float] | None = None
    affine: tuple[tuple[float, ...], ...] | None = None
    notices: tuple[str, ...] = ()
    bands: Pixels | None = None
    edges: tuple[str, str] | None = None
    window: tuple[float, float] | None = None
    measured: Measured | None = None

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
        if pixels.ndim == 3:
            return np.take(_TO_8_BIT, pixels) if pixels.dtype == np.uint16 else pixels.astype(np.uint8, copy=False)
        shown = np.empty((*pixels.shape, 3), dtype=np.uint8)
        for row in range(0, len(pixels), _ROWS_AT_ONCE):
            rows = slice(row, row + _ROWS_AT_ONCE)
            grey = np.take(_TO_8_BIT, pixels[rows]) if pixels.dtype == np.uint16 else pixels[rows]
            for channel in range(3):
                shown[rows, :, channel] = grey
        return shown

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
            import torch

            return torch.einsum("c,chw->hw", torch.tensor(_LUMA), planes)[None]
        return planes


def _planes(pixels: Pixels) -> Tensor:
    import torch  # late: who only shows a picture needs none

    values = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32))
    return values.div_(float(np.iinfo(pixels.dtype).max))


def as_array(heatmap: Tensor | ArrayLike) -> NDArray[np.float32]:
    """A map from anywhere as a float32 array in main memory; not copied where that can be avoided."""
    if hasattr(heatmap, "detach"):
        values: Any = heatmap
        heatmap = values.detach().float().cpu().numpy()
    return np.asarray(heatmap, dtype=np.float32)


_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601-7, section 2.5.1; as Pillow's mode "L"
