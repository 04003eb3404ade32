"""The walk-through of docs/clinical.md runs as it stands there, with the installed command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "clinical.md"


@pytest.mark.slow
def test_the_commands_of_the_page_make_what_it_says(tmp_path: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    commands = [block for block in blocks if "pip install" not in block]
    assert len(commands) >= 6
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "".join(commands)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = tmp_path / "results"
    assert len(list(results.glob("study-*_report.html"))) == len(list(results.glob("study-*_report.pdf"))) == 2
    kinds = {path.name.split("_")[0] for path in results.glob("study-*_dicom/*.dcm")}
    assert kinds == {"seg-fractional", "seg-binary", "sr", "sc", "gsps"}
    assert (results / "index.html").is_file()
    assert any(path.suffix == ".png" for path in (tmp_path / "compared").iterdir())
    assert "PHANTOM" not in done.stdout + done.stderr
    assert "Drawn" not in done.stdout + done.stderr
