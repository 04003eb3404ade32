"""The wheel is the same, byte for byte, wherever and whenever it is built from the same sources."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from supply.lock import ROOT

SOURCES = ("src", "pyproject.toml", "README.md", "LICENSE")


def built(place: Path, mode: int, moment: int) -> bytes:
    """Builds a wheel from a copy of the sources whose files have another age and other permissions."""
    for name in SOURCES:
        kind = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        kind(ROOT / name, place / name)
    for path in place.rglob("*"):
        if path.is_file():
            path.chmod(mode)
        os.utime(path, (moment, moment))
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    subprocess.run([*pip, "--wheel-dir", str(place / "out"), str(place)], check=True, cwd=place)
    (wheel,) = (place / "out").glob("cfcam-*.whl")
    return wheel.read_bytes()


def test_two_builds_are_one(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    places = [tmp_path / "here", tmp_path / "elsewhere" / "deep"]
    for place in places:
        place.mkdir(parents=True)
    first, second = built(places[0], 0o644, 1_700_000_000), built(places[1], 0o600, 1_790_000_000)
    assert first == second
    with zipfile.ZipFile(next((places[0] / "out").glob("*.whl"))) as wheel:
        names = wheel.namelist()
    assert "cfcam/py.typed" in names
    assert not [name for name in names if name.startswith(("tests", "supply", "benchmarks")) or "__pycache__" in name]
