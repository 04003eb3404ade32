"""Do validators find errors in the DICOM objects that cfcam writes? Tried on objects of a drawn radiograph."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from cfcam._version import __version__
from cfcam.errors import MissingExtraError
from cfcam.exchange import ResultInfo, write_objects
from cfcam.files import make_folder
from cfcam.jobs.cases.drawn_study import radiograph
from cfcam.models.demo import make_phantom

NOT_INSTALLED = "not run: not installed"
VALIDATORS = {"dciodvfy": None, "dcmpschk": "gsps"}
"""Program -> the kind of objects that it reads; None: all."""

_SEED, _SIZE, _TIMEOUT = 7, 128, 60
_MOMENT = datetime(2026, 1, 1)
_KINDS = ("seg", "sr", "sc", "gsps")


def validated(folder: Path) -> dict[str, Any]:
    """Writes the objects of a drawn radiograph with a made-up map, and has them validated.

    Args:
        folder: where the objects are written; made if missing.

    Returns:
        ``objects`` (file, kind, errors by validator) and ``validators`` (program -> version, or why it was not run).
    """
    make_folder(folder)
    for old in folder.glob("*.dcm"):  # of another version
        old.unlink()
    try:
        files = _written(folder)
    except MissingExtraError as error:
        return {"objects": [], "validators": dict.fromkeys(VALIDATORS, f"not run: {error}")}
    objects = [{"file": file.name, "kind": file.name.partition("_")[0], "errors": {}} for file in files]
    tools: dict[str, str] = {}
    for program, only in VALIDATORS.items():
        found = shutil.which(program)
        tools[program] = NOT_INSTALLED if found is None else "run"
        if found is None:
            continue
        for file, entry in zip(files, objects, strict=True):
            if only is None or entry["kind"] == only:
                entry["errors"][program] = _errors(found, file)  # type: ignore[index]
    return {"objects": objects, "validators": tools}


def _written(folder: Path) -> list[Path]:
    phantom = make_phantom(_SEED, size=_SIZE, findings=["nodule"])
    source = radiograph(phantom.image, 1.5, _MOMENT.date(), "evidence")
    rows, columns = np.indices(phantom.image.shape)
    centre = np.argwhere(phantom.masks["nodule"]).mean(0)
    heat = np.exp(-((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / (2 * 12.0**2)).astype(np.float32)
    result = ResultInfo("drawn", __version__, "0" * 64, "grad-cam", "none", 1, "nodule", 0.5, created=_MOMENT)
    return write_objects([source], heat, result, kinds=_KINDS, threshold=0.5, output=folder)


def _errors(program: str, file: Path) -> list[str]:
    """What a validator calls an error, without the path of the file."""
    try:
        done = subprocess.run([program, str(file)], capture_output=True, text=True, check=False, timeout=_TIMEOUT)  # noqa: S603 (a validator found on the PATH)
    except subprocess.TimeoutExpired:
        return [f"no answer within {_TIMEOUT} s"]
    lines = (done.stdout + done.stderr).splitlines()
    found = [line for line in lines if re.match(r"Error|E:", line) or "Test failed" in line]
    return [line.replace(str(file), file.name) for line in found]
