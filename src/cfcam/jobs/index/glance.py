"""What the page shows of a picture before it is opened: a small picture, and its map on a grid that all maps share.

torch is imported by what makes them alone: who reads a manifest, as the viewer does, does not wait for it.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from cfcam.files import make_folder, write_whole
from cfcam.imaging.reading.dicom_object import HEAD
from cfcam.imaging.reading.kinds import FORMATS, is_dicom_data

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = "index_files"
"""Where the small pictures lie, in the output folder."""
SIDE = 192
"""Pixels of the longer side of a small picture."""
GRID = 16
"""Cells of a map on the shared grid, along each side."""

_ORIGINAL_SIDE = 1024
_SHOWN_BY_BROWSERS = frozenset({"PNG", "JPEG", "WebP", "BMP"})


@dataclass(frozen=True)
class Glance:
    """What the page shows of an input before it is opened: of its first class and its first method.

    Attributes:
        thumb: file of the small picture with the map, relative to the output folder; "" without one.
        original: file of the picture without the map, relative to the output folder; "" where browsers can show the
            input itself.
        peak: where the map is hottest, as shares of the picture's width and height; None without a map.
        grid: the map on the shared grid, see `packed`; "" without one.
    """

    thumb: str = ""
    original: str = ""
    peak: tuple[float, float] | None = None
    grid: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """The files that there are, relative to the output folder."""
        return tuple(filter(None, (self.thumb, self.original)))


def packed(heatmap: Tensor) -> str:
    """Returns a map (h, w) in [0, 1] as text: means over `GRID` x `GRID` equal parts, in 255ths, base64.

    A grid of its own picture each, so that pictures of any shape can be averaged: what is a square there may be an
    oblong of the picture.
    """
    from torch.nn.functional import adaptive_avg_pool2d

    cells = adaptive_avg_pool2d(heatmap.detach().float().cpu()[None, None], GRID)[0, 0]
    return base64.b64encode(cells.mul(255).round().clamp(0, 255).byte().numpy().tobytes()).decode("ascii")


def unpacked(text: str) -> NDArray[np.float32]:
    """Returns the map (`GRID`, `GRID`) in [0, 1] that `packed` made a text of."""
    values = np.frombuffer(base64.b64decode(text), dtype=np.uint8).reshape(GRID, GRID)
    return values.astype(np.float32) / np.float32(255)


def peak_of(heatmap: Tensor) -> tuple[float, float] | None:
    """Returns where a map (h, w) is hottest, as shares of width and height; of equal places the first; None if 0."""
    height, width = heatmap.shape
    best = int(heatmap.argmax())
    if not float(heatmap.flatten()[best]) > 0:
        return None
    row, column = divmod(best, width)
    return round((column + 0.5) / width, 3), round((row + 0.5) / height, 3)


def reduced(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Returns a picture (h, w, 3) whose longer side has so many pixels at most."""
    height, width = rgb.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return rgb
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(PILImage.fromarray(rgb).resize(size, PILImage.Resampling.LANCZOS, reducing_gap=2.0))


def save_thumb(output: Path, name: str, rgb: NDArray[np.uint8]) -> str:
    """Writes the small picture of an input, and returns its file, relative to the output folder."""
    return _save(output, f"{FOLDER}/{name}.jpg", reduced(rgb, SIDE), quality=80)


def save_original(output: Path, name: str, rgb: NDArray[np.uint8]) -> str:
    """Writes a picture that browsers cannot show as one that they can, and returns its file likewise."""
    return _save(output, f"{FOLDER}/{name}_original.jpg", reduced(rgb, _ORIGINAL_SIDE), quality=88)


def _save(output: Path, file: str, rgb: NDArray[np.uint8], quality: int) -> str:
    path = output / file
    make_folder(path.parent)
    write_whole(path, jpeg(PILImage.fromarray(rgb), quality))
    return file


def jpeg(picture: PILImage.Image, quality: int) -> bytes:
    """Returns a picture as JPEG."""
    from io import BytesIO

    stream = BytesIO()
    picture.convert("RGB").save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def shown_by_browsers(path: Path) -> bool:
    """Tells whether browsers can show a file, by its first bytes; not so DICOM, whose name may be a patient's, too."""
    with path.open("rb") as stream:
        head = stream.read(HEAD)
    kind = next((name for start, name, _ in FORMATS if start.match(head)), "")
    return kind in _SHOWN_BY_BROWSERS and not is_dicom_data(head, path)
