"""The commands of docs/how-to/pacs.md run as they stand there, in a shell with loopback alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import orthanc

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "how-to" / "pacs.md"


def test_from_nothing_to_a_result_in_an_archive_in_five_commands(tmp_path: Path) -> None:
    if (lacking := orthanc.missing()) is not None:
        pytest.skip(lacking)
    text = PAGE.read_text(encoding="utf-8")
    _, prepare, five, look = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert five.count("\n") == five.count("cfcam ") == 5
    asked = look.replace("--list", "--list --json")
    script = f"{prepare}trap 'kill %1' EXIT\n{five}{asked}"
    path = f"{_shims(tmp_path)}:{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"
    done = subprocess.run(
        [*orthanc.namespace(), "bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=540, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    assert "2 stored in" in done.stdout
    assert "1 fetched in" in done.stdout
    assert "15 stored in" in done.stdout  # 3 methods: 2 Segmentations, a report, a picture and a state of each
    earlier, later = json.loads(done.stdout[done.stdout.index('{\n  "studies"') :])["studies"]
    assert (earlier["modalities"], earlier["objects"]) == ("CR", "1")
    assert (later["modalities"], later["objects"]) == ("CR, OT, PR, SEG, SR", "16")
    assert len(list((tmp_path / "study").rglob("*.dcm"))) == 1


def _shims(tmp_path: Path) -> Path:
    """A folder with the ``cfcam`` of this checkout, and an ``ip`` where the machine has none."""
    folder = tmp_path / "bin"
    folder.mkdir()
    programs = {"cfcam": f'exec {sys.executable} -m cfcam.cli "$@"'}
    if not any(Path(place, "ip").exists() for place in ("/usr/sbin", "/sbin", "/usr/bin", "/bin")):
        programs["ip"] = f"exec {sys.executable} -c 'from tests.orthanc import loopback; loopback()'"
    for name, line in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    return folder
