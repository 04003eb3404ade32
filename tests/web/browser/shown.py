"""Studies with maps of which every value is known, for the viewer's tests in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfcam.web.library.maps import StudyMap
from cfcam.web.schemas import Peak


def blob(shape: tuple[int, ...], centre: tuple[float, ...], sigma: float) -> NDArray[np.float32]:
    """A Gaussian whose greatest value, 1, lies at a centre."""
    axes = np.ogrid[tuple(slice(0, n) for n in shape)]
    square = sum((axis - at) ** 2 for axis, at in zip(axes, centre, strict=True))
    return np.exp(-square / (2 * sigma**2)).astype(np.float32)


def study_map(name: str, method: str, heat: NDArray[np.float32], **more: Any) -> StudyMap:
    """A map by its values, with the peak where it is hottest."""
    index = [int(at) for at in np.unravel_index(int(heat.argmax()), heat.shape)]
    usual: dict[str, Any] = {
        "class_index": 0, "class_name": "pneumonia", "probability": 0.9431, "threshold": 0.5, "rule": "fixed",
        "peak": Peak(index=index, mm=None, patient=None), "scale_max": float(heat.max()), "seconds": 0.1,
    }  # fmt: skip
    return StudyMap(id=name, method=method, heat=lambda: heat, **(usual | more))


def radiograph(folder: Path, shape: tuple[int, int] = (256, 320)) -> Path:
    """A grey picture, brighter to the right and darker below, with a white square at its upper left."""
    from PIL import Image

    rows, columns = np.mgrid[: shape[0], : shape[1]]
    pixels = (40 + 120 * columns / shape[1] - 30 * rows / shape[0]).astype(np.uint8)
    pixels[16:48, 16:48] = 255
    path = folder / "phantom.png"
    Image.fromarray(pixels).save(path)
    return path


def scan(folder: Path, shape: tuple[int, int, int] = (40, 48, 32), name: str = "phantom.nii") -> Path:
    """A CT of an ellipsoid of 40 HU in air with a bone of 700 HU on the patient's right, 1 x 1 x 2 mm, RAS."""
    import nibabel

    x, y, z = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in shape)]
    values = np.where(x**2 / 0.8 + y**2 / 0.9 + z**2 < 0.9, 40, -1000).astype(np.int16)
    values[np.broadcast_to((x - 0.4) ** 2 + (y - 0.2) ** 2 + z**2 < 0.04, shape)] = 700
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[:3, 3] = [-shape[0] / 2, -shape[1] / 2, -shape[2]]
    path = folder / name
    nibabel.Nifti1Image(values, affine).to_filename(path)
    return path
