"""An oblique CT series and a radiograph whose maps have no symmetry, so that no turn or flip goes unseen."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np

from cfcam.exchange import ResultInfo
from tests.imaging import dicoms
from tests.machine import validator

AXES = dicoms.rotated(dicoms.AXIAL, 25)
SPACING = (0.8, 0.7)  # between rows, between columns
SHAPE = (5, 24, 20)
PEAK = (3, 6, 14)
THRESHOLD = 0.5
RESULT = ResultInfo("net", "1.2", "ab" * 32, "grad-cam", "layer4", 1, "nodule", 0.87, {"blur": 2})


def heatmap(shape=SHAPE):
    """A faint gradient that differs everywhere, a hot block around the peak, a smaller one in another plane."""
    rng = np.random.default_rng(5)
    values = rng.random(shape).astype(np.float32) * np.float32(0.3)
    plane, row, column = PEAK
    if len(shape) == 3:
        values[plane, row - 2 : row + 2, column - 3 : column + 4] = 0.7
        values[1, 20:22, 3:5] = 0.6
        values[PEAK] = 0.93
    else:
        values[row - 2 : row + 2, column - 3 : column + 4] = 0.7
        values[row, column] = 0.93
    return values


def ct_sources(**options):
    stored = np.random.default_rng(1).integers(0, 2000, SHAPE)
    places = dicoms.positions(len(stored), AXES)
    sources = [dicoms.ct(plane, place, AXES, SPACING, **options) for plane, place in zip(stored, places, strict=True)]
    for number, source in enumerate(sources):
        source.SOPInstanceUID = source.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
    return sources


def radiograph():
    source = dicoms.radiograph(np.random.default_rng(2).integers(0, 4000, SHAPE[1:]))
    source.PatientOrientation = ["L", "F"]
    source.pop("FrameOfReferenceUID", None)
    return source


def place_by_hand(plane, row, column):
    """Centre of a pixel in LPS, mm (PS3.3 C.7.6.2.1.1), from how the phantom was made, not from a file."""
    along, down = (np.array(axis) for axis in AXES)
    return dicoms.positions(SHAPE[0], AXES)[int(plane)] + column * SPACING[1] * along + row * SPACING[0] * down


def errors_of(name: str, path: Path) -> list[str]:
    """What one of `tests.machine.VALIDATORS` calls an error; skips where it is not installed."""
    done = subprocess.run([validator(name), str(path)], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    return [line for line in lines if line.startswith(("Error", "E:")) or "Test failed" in line]
