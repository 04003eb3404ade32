"""Makes the picture of docs/how-to/serial.md, of a drawn patient whose nodule grew: `python docs/serial_picture.py`."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import Image as PILImage
from scipy import ndimage

from cfcam.jobs.compare.pairs import Pair
from cfcam.jobs.compare.run import ComparePairs
from cfcam.jobs.compare.settings import CompareSettings
from cfcam.models import load
from cfcam.models.demo import make_phantom
from cfcam.models.demo.findings import Places

FILE = Path(__file__).parent / "images" / "serial.jpg"
MOST_BYTES = 120_000


def nodule_phantom(seed: int, radius: float, *, size: int = 512) -> np.ndarray:
    """The phantom of a seed whose nodule has this radius, in widths of the picture."""
    draw = Places.draw.__func__

    def with_radius(cls: type[Places], *arguments: object) -> Places:
        places = draw(cls, *arguments)
        (centre, _, strength) = places.nodule
        return replace(places, nodule=(centre, radius, strength))

    with patch.object(Places, "draw", classmethod(with_radius)):
        return make_phantom(seed, findings=["nodule"], size=size).image


def moved(image: np.ndarray, degrees: float, shift: tuple[float, float]) -> np.ndarray:
    """A picture turned about its middle and shifted (rows, columns), the border replicated."""
    turned = ndimage.rotate(image.astype(np.float32), degrees, reshape=False, order=1, mode="nearest")
    return ndimage.shift(turned, shift, order=1, mode="nearest").round().clip(0, 255).astype(np.uint8)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        PILImage.fromarray(nodule_phantom(7, 0.032)).save(folder / "year-1.png")
        PILImage.fromarray(moved(nodule_phantom(7, 0.055), 4, (14, -9))).save(folder / "year-2.png")
        settings = CompareSettings(output=folder / "out", target="nodule")
        pair = Pair(folder / "year-1.png", folder / "year-2.png", "serial")
        (result,) = ComparePairs(load("demo"), settings).run([pair])
        print(result.document.get("verdict"), result.reason)
        figure = PILImage.open(folder / "out" / "serial.png").convert("RGB")
    for quality in (90, 85, 80, 70, 60, 50):
        figure.save(FILE, quality=quality, optimize=True)
        if FILE.stat().st_size <= MOST_BYTES:
            break


if __name__ == "__main__":
    main()
