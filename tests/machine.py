"""What a test needs of the machine: a program, a library that is not Python's, the real pictures and networks.

Where it is absent the test is skipped, and the table at the end of a run says what was missing and how to get it. With
CFCAM_TESTS_COMPLETE set, as `.ci/run` does, a run in which something was not installed fails (see `tests/conftest.py`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

COMPLETE = "CFCAM_TESTS_COMPLETE"
DATA = "CFCAM_DATA"


def program(*names: str, package: str) -> str:
    """Returns the path of the first of some programs that is installed."""
    for name in names:
        if found := shutil.which(name):
            return found
    pytest.skip(f"{names[0]} is not installed: apt-get install {package}")


def chromium() -> str:
    """Returns the path of a Chromium, for Playwright."""
    return program("chromium", "chromium-browser", "google-chrome", package="chromium")


VALIDATORS = ("dciodvfy", "dciodvfy of PyPI", "dcmpschk")
"""Validators of DICOM objects: dciodvfy twice, for Debian's and PyPI's are years apart, and disagree."""


def validator(name: str) -> str:
    """Returns the path of one of `VALIDATORS`."""
    own = Path(sys.executable).parent  # where pip puts programs, and what often comes first on the PATH
    if name.endswith("of PyPI"):
        return python_program("dciodvfy", package="dicom3tools")
    rest = [place for place in os.environ.get("PATH", "").split(os.pathsep) if Path(place) != own]
    found = shutil.which(name, path=os.pathsep.join(rest))
    return found or program(f"{name} of Debian", package={"dciodvfy": "dicom3tools", "dcmpschk": "dcmtk"}[name])


def python_program(name: str, *, package: str) -> str:
    """Returns the path of a program that a Python package brings along."""
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"{name} of PyPI is not installed: pip install {package}")
    return found


def pdf_writer() -> None:
    """Asks for WeasyPrint and the C libraries that it loads."""
    if not _writes_pdf():
        pytest.skip("WeasyPrint's library Pango is not installed: apt-get install libpangoft2-1.0-0")


@cache
def _writes_pdf() -> bool:
    # Elsewhere: importing it changes Pillow, and that this does no harm is for a test to see.
    return subprocess.run([sys.executable, "-c", "import weasyprint"], capture_output=True, check=False).returncode == 0


def data_folder() -> Path:
    """Returns the folder of real pictures and networks, which lies beside the project on some machines."""
    folder = os.environ.get(DATA)
    if not folder:  # unset and empty are the same: `CFCAM_DATA= make test` runs without
        pytest.skip(f"{DATA} is not set: the real pictures and networks are not here")
    if not Path(folder).is_dir():
        pytest.fail(f"{DATA} names {folder}, which is no folder", pytrace=False)
    return Path(folder)


def fhir_tools() -> tuple[str, Path]:
    """Returns Node, and the folder with the validator and the server that FHIR Bundles are held against."""
    folder = Path(__file__).parents[1] / ".fhir"
    if not (folder / "node_modules" / "fhir").is_dir():
        pytest.skip("the validator of FHIR R4 is not installed: make .fhir")
    return program("node", package="nodejs"), folder
